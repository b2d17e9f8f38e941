use std::collections::{BTreeMap, BTreeSet};

use super::{Entry, LEAF, SortedMap, SortedSet};
use crate::test;

/// The same numbers on every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

fn assert_same(map: &SortedMap<u64, u64>, model: &BTreeMap<u64, u64>) {
    assert_eq!((map.len(), map.is_empty()), (model.len(), model.is_empty()));
    assert!(map.iter().eq(model), "{map:?} instead of {model:?}");
    assert!(map.iter().rev().eq(model.iter().rev()));
    assert!(map.leaves.iter().all(|leaf| (1..=LEAF).contains(&leaf.len())), "a leaf is empty or too long");
    assert_eq!(map.iter().len(), model.len());
    assert_eq!((map.first_key_value(), map.last_key_value()), (model.first_key_value(), model.last_key_value()));
}

#[test]
fn does_what_the_standard_map_does() {
    for (seed, keys) in [(1, 10), (2, 100), (3, 1_000), (4, 100_000)] {
        let mut numbers = Numbers(seed);
        let (mut map, mut model) = (SortedMap::new(), BTreeMap::new());
        for step in 0..6_000 {
            // It grows, shrinks and grows again.
            let grows = (step / 1_500) % 2 == 0;
            let (key, other, value) = (numbers.below(keys), numbers.below(keys), numbers.below(1_000));
            match numbers.below(20) {
                0..6 if grows => assert_eq!(map.insert(key, value), model.insert(key, value)),
                6..12 if grows => {
                    let (one, two) = (map.entry(key).or_default(), model.entry(key).or_default());
                    assert_eq!(one, two);
                    (*one, *two) = (value, value);
                }
                0..12 => assert_eq!(map.remove(&key), model.remove(&key)),
                12 => assert_eq!(map.pop_first(), model.pop_first()),
                13 => assert_eq!(map.get(&key), model.get(&key)),
                14 => {
                    let (low, high) = (key.min(other), key.max(other));
                    assert!(map.range(low..high).eq(model.range(low..high)));
                    assert!(map.range(low..=high).rev().eq(model.range(low..=high).rev()));
                    assert_eq!(map.range(low..).len(), model.range(low..).count());
                    assert_eq!(map.range(..high).next_back(), model.range(..high).next_back());
                    assert_eq!(map.range(high..low).next(), None);
                }
                15 => {
                    let (mut off, mut model_off) = (map.split_off(&key), model.split_off(&key));
                    assert_same(&off, &model_off);
                    assert_same(&map, &model);
                    map.append(&mut off);
                    model.append(&mut model_off);
                    assert!(off.is_empty());
                }
                16 => {
                    map.values_mut().for_each(|value| *value += 1);
                    model.values_mut().for_each(|value| *value += 1);
                }
                17 if step % 16 == 0 => {
                    map.retain(|key, value| (*key ^ *value) % 8 != 0);
                    model.retain(|key, value| (*key ^ *value) % 8 != 0);
                }
                _ => match map.entry(key) {
                    Entry::Occupied(found) => assert_eq!(Some(found), model.get_mut(&key)),
                    Entry::Vacant(_) => assert_eq!(model.get(&key), None),
                },
            }
            if step % 32 == 0 {
                assert_same(&map, &model);
            }
        }
        assert_same(&map, &model);
        assert!(map.into_iter().eq(model));
    }
}

#[test]
fn what_shrinks_gives_its_leaves_back() {
    let full: SortedMap<u64, ()> = (0..100_000).map(|key| (key, ())).collect();
    assert_eq!(full.leaves.len(), 100_000_usize.div_ceil(LEAF), "what comes in order fills its leaves");
    let mut removed = full.clone();
    (0..100_000).filter(|key| key % 100 != 0).for_each(|key| assert_eq!(removed.remove(&key), Some(())));
    let mut retained = full;
    retained.retain(|key, ()| key % 100 == 0);
    for map in [removed, retained] {
        assert!(map.keys().copied().eq((0..1_000).map(|key| key * 100)));
        assert!(map.leaves.len() <= 1_000 / (LEAF / 4), "{} leaves for 1,000 entries", map.leaves.len());
    }
}

#[test]
fn a_set_does_what_the_standard_set_does() {
    let mut numbers = Numbers(5);
    let mut some = || (0..300).map(|_| numbers.below(500)).collect::<Vec<_>>();
    let (one, two) = (some(), some());
    let [a, b] = [&one, &two].map(|items| items.iter().copied().collect::<SortedSet<_>>());
    let [model_a, model_b] = [&one, &two].map(|items| items.iter().copied().collect::<BTreeSet<_>>());
    assert!(a.iter().eq(&model_a));
    assert!(a.difference(&b).eq(model_a.difference(&model_b)));
    assert!(a.intersection(&b).eq(model_a.intersection(&model_b)));
    assert!(a.range(100..=200).eq(model_a.range(100..=200)));
    assert_eq!((a.first(), a.last()), (model_a.first(), model_a.last()));
    assert_eq!(a.cmp(&b), model_a.cmp(&model_b));
    assert!(a.intersection(&b).copied().collect::<SortedSet<_>>().is_subset(&a));
    assert!(!a.is_subset(&b));
    let mut all = a.clone();
    assert!(!all.insert(one[0]) && all.remove(&one[0]) && !all.contains(&one[0]) && all.insert(one[0]));
    all.extend(&b);
    assert!(all.iter().eq(model_a.union(&model_b)));
}

#[test]
fn maps_travel_as_maps() {
    let map = SortedMap::from([(2, "b".to_owned()), (1, "a".to_owned())]);
    let json = serde_json::to_string(&map).unwrap();
    assert_eq!(json, r#"{"1":"a","2":"b"}"#);
    assert_eq!(serde_json::from_str::<SortedMap<i32, String>>(&json).unwrap(), map);
}
