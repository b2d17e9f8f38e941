//! What the rules mean for people.

use crate::test;
use proptest::prelude::*;

use super::world::{Device, name, view, visible};
use crate::crdt::*;
use crate::error::ErrorCode;
use crate::types::{FieldKind, HybridTimestamp, Value};

fn set(value: i64) -> [Edit; 1] {
    [Edit::Set(name("title"), value.into())]
}

fn meet(a: &mut Device, b: &mut Device) {
    a.take(b);
    b.take(a);
    assert_eq!(visible(&a.state, &a.logs), visible(&b.state, &b.logs));
}

#[test]
fn an_autosave_after_a_delete_does_not_bring_the_note_back_but_a_concurrent_edit_does() {
    let (mut a, mut b) = (Device::new(0, 10), Device::new(1, 10));
    a.write(&set(1)).unwrap();
    meet(&mut a, &mut b);
    a.write(&[Edit::Delete]).unwrap();
    assert!(!a.state.is_visible() && a.state.exists());
    assert_eq!(a.write(&set(2)).unwrap_err().code(), ErrorCode::Deleted);
    b.write(&set(3)).unwrap();
    meet(&mut a, &mut b);
    assert!(a.state.is_visible());
    assert_eq!(a.register("title"), Some(3.into()));

    // b deletes it now, and a knows; what a's engine lets through by mistake stays hidden.
    b.write(&[Edit::Delete]).unwrap();
    a.take(&b);
    let at = EventAt { log: a.own, seq: 9, index: 0, hlc: HybridTimestamp(99), commit: 0, counts: true };
    let event = crate::types::Event {
        entity: crate::types::EntityId([1; 16]),
        seen: a.state.seen_for(a.own, &a.logs),
        ops: vec![crate::types::FieldOp::Set { field: name("title"), value: 4.into(), lift: 0 }],
    };
    a.state.apply(&event, &at, &mut a.logs);
    assert!(!a.state.is_visible());
}

#[test]
fn restore_brings_back_all_fields_and_wins_over_the_delete_it_has_seen() {
    let (mut a, mut b) = (Device::new(0, 10), Device::new(1, 5_000));
    a.write(&set(1)).unwrap();
    a.write(&[Edit::Delete]).unwrap();
    b.take(&a);
    b.write(&[Edit::Restore]).unwrap();
    meet(&mut a, &mut b);
    assert!(a.state.is_visible());
    assert_eq!(a.register("title"), Some(1.into()));
    a.write(&[Edit::Delete, Edit::Restore, Edit::Delete]).unwrap();
    assert!(!a.state.is_visible());
    a.write(&[Edit::Restore, Edit::Delete, Edit::Restore]).unwrap();
    meet(&mut a, &mut b);
    assert!(b.state.is_visible());
}

#[test]
fn a_delete_that_nobody_contradicts_hides_on_both() {
    let (mut a, mut b) = (Device::new(0, 10), Device::new(1, 10));
    a.write(&set(1)).unwrap();
    b.take(&a);
    b.write(&set(2)).unwrap();
    a.take(&b);
    a.write(&[Edit::Delete]).unwrap();
    meet(&mut a, &mut b);
    assert!(!b.state.is_visible());
    assert_eq!(visible(&b.state, &b.logs).len(), 1);
}

#[test]
fn deleting_what_never_was_is_an_error() {
    let mut a = Device::new(0, 10);
    assert_eq!(a.write(&[Edit::Delete]).unwrap_err().code(), ErrorCode::NotFound);
    a.write(&[Edit::Create, Edit::Delete]).unwrap();
    assert_eq!(a.write(&[Edit::Delete]).unwrap_err().code(), ErrorCode::Deleted);
}

#[test]
fn an_insertion_wins_over_a_removal_that_had_not_seen_it() {
    let (mut a, mut b) = (Device::new(0, 10), Device::new(1, 10));
    let (tags, red) = (name("tags"), Value::from("red"));
    a.write(&[Edit::Insert(tags.clone(), red.clone())]).unwrap();
    meet(&mut a, &mut b);
    a.write(&[Edit::Remove(tags.clone(), red.clone())]).unwrap();
    b.write(&[Edit::Insert(tags.clone(), red.clone())]).unwrap();
    meet(&mut a, &mut b);
    let here = Some(&FieldValue::Set([red.clone()].into()));
    assert_eq!(view(&a.state, &a.logs).field("tags"), here);
    b.write(&[Edit::Insert(tags.clone(), 1.into()), Edit::Clear(tags.clone())]).unwrap();
    meet(&mut a, &mut b);
    assert_eq!(view(&a.state, &a.logs).field("tags"), None);
    b.write(&[Edit::Remove(tags.clone(), red.clone())]).unwrap();
    b.write(&[Edit::Clear(tags.clone()), Edit::Insert(tags, red)]).unwrap();
    meet(&mut a, &mut b);
    assert_eq!(view(&a.state, &a.logs).field("tags"), here);
}

#[test]
fn a_clear_takes_back_what_it_had_seen_of_a_counter_and_no_more() {
    let (mut a, mut b) = (Device::new(0, 10), Device::new(1, 10));
    let votes = name("votes");
    a.write(&[Edit::Add(votes.clone(), 5), Edit::Add(votes.clone(), 1)]).unwrap();
    b.write(&[Edit::Add(votes.clone(), 10)]).unwrap();
    meet(&mut a, &mut b);
    assert_eq!(view(&a.state, &a.logs).field("votes"), Some(&FieldValue::Counter(16)));
    a.write(&[Edit::Clear(votes.clone())]).unwrap();
    b.write(&[Edit::Add(votes.clone(), 3)]).unwrap();
    assert_eq!(view(&a.state, &a.logs).field("votes"), None);
    meet(&mut a, &mut b);
    assert_eq!(view(&a.state, &a.logs).field("votes"), Some(&FieldValue::Counter(3)));
    b.write(&[Edit::Add(votes.clone(), i64::MAX), Edit::Clear(votes.clone()), Edit::Add(votes, 2)]).unwrap();
    meet(&mut a, &mut b);
    assert_eq!(view(&a.state, &a.logs).field("votes"), Some(&FieldValue::Counter(2)));
}

#[test]
fn a_clear_that_comes_before_the_additions_it_has_seen_makes_no_sum_negative() {
    let (mut a, mut b, mut c) = (Device::new(0, 10), Device::new(1, 10), Device::new(2, 10));
    let votes = name("votes");
    a.write(&[Edit::Add(votes.clone(), 5)]).unwrap();
    a.write(&[Edit::Add(votes.clone(), 6)]).unwrap();
    b.take(&a);
    b.write(&[Edit::Clear(votes.clone()), Edit::Add(votes, 2)]).unwrap();
    c.take(&b);
    assert_eq!(view(&c.state, &c.logs).field("votes"), Some(&FieldValue::Counter(2)));
    c.take_some(&a, 1, |_| true);
    assert_eq!(view(&c.state, &c.logs).field("votes"), Some(&FieldValue::Counter(2)));
    c.take(&a);
    assert_eq!(view(&c.state, &c.logs).field("votes"), Some(&FieldValue::Counter(2)));
}

#[test]
fn kinds_never_mix_and_a_clear_empties_all_of_them() {
    let mut a = Device::new(0, 10);
    let x = name("x");
    a.write(&[Edit::Set(x.clone(), 1.into()), Edit::Add(x.clone(), 2), Edit::Insert(x.clone(), 3.into())]).unwrap();
    let shown = view(&a.state, &a.logs);
    assert_eq!(shown.field_of("x", FieldKind::Register), Some(&FieldValue::Register(1.into())));
    assert_eq!(shown.field_of("x", FieldKind::Counter), Some(&FieldValue::Counter(2)));
    assert_eq!(shown.field("x"), Some(&FieldValue::Set([3.into()].into())));
    a.write(&[Edit::Clear(x)]).unwrap();
    assert!(view(&a.state, &a.logs).fields.is_empty());
}

#[test]
fn another_crdts_update_waits_until_what_its_author_had_seen_is_here() {
    let (mut a, mut b, mut c) = (Device::new(0, 10), Device::new(1, 10), Device::new(2, 10));
    let doc = name("doc");
    a.write(&[Edit::Opaque(doc.clone(), vec![1])]).unwrap();
    b.take(&a);
    b.write(&[Edit::Opaque(doc, vec![2])]).unwrap();
    c.take(&b);
    assert_eq!(view(&c.state, &c.logs).field("doc"), None);
    c.take(&a);
    assert_eq!(view(&c.state, &c.logs).field("doc"), Some(&FieldValue::Opaque(vec![vec![1], vec![2]])));
}

#[test]
fn ten_registers_of_25_characters_fit_into_the_memory_budget() {
    let mut a = Device::new(0, 10);
    for number in 0..10 {
        a.write(&[Edit::Set(name(&format!("field{number}")), "a text of 25 characters..".into())]).unwrap();
    }
    // Values of the allocator's overhead come on top; the target is 1.5 kB in all.
    let size = a.state.memory_bytes();
    assert!(size < 1_500, "{size} bytes");
}

#[test]
fn a_page_reads_back() {
    let mut a = Device::new(0, 10);
    a.write(&set(1)).unwrap();
    let page = [(crate::types::EntityId([1; 16]), a.state.clone()), (crate::types::EntityId([2; 16]), a.state)];
    assert_eq!(decode_page(&encode_page(&page)).unwrap(), page);
}

/// What the devices of a random story do.
#[derive(Clone, Debug)]
enum Step {
    Write(usize, i64),
    Clear(usize),
    Tag(usize, i64),
    Untag(usize, i64),
    Count(usize, i64),
    Delete(usize),
    Restore(usize),
    Take(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0..3_usize;
    prop_oneof![
        3 => (who.clone(), any::<i64>()).prop_map(|(who, value)| Step::Write(who, value)),
        1 => who.clone().prop_map(Step::Clear),
        2 => (who.clone(), 0..3_i64).prop_map(|(who, item)| Step::Tag(who, item)),
        2 => (who.clone(), 0..3_i64).prop_map(|(who, item)| Step::Untag(who, item)),
        1 => (who.clone(), -5..5_i64).prop_map(|(who, by)| Step::Count(who, by)),
        1 => who.clone().prop_map(Step::Delete),
        1 => who.clone().prop_map(Step::Restore),
        4 => (who.clone(), who).prop_map(|(to, from)| Step::Take(to, from)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Each device reads what it just wrote, wherever its clock and the others' stand, and in the end all agree.
    #[test]
    fn a_device_always_sees_its_own_last_edit_and_all_devices_agree_in_the_end(
        steps in prop::collection::vec(step(), 1..40),
        clocks in prop::array::uniform3(prop_oneof![
            Just(10_u64),
            Just(HybridTimestamp::YEAR_6000.0),
            Just(HybridTimestamp::YEAR_8000.0 - 3),
        ]),
    ) {
        let mut devices: Vec<Device> = (0..3).map(|number| Device::new(number, clocks[usize::from(number)])).collect();
        for step in steps {
            match step {
                Step::Write(who, value) if devices[who].write(&set(value)).is_ok() => {
                    prop_assert_eq!(devices[who].register("title"), Some(value.into()));
                    prop_assert!(devices[who].state.is_visible());
                }
                Step::Clear(who) if devices[who].write(&[Edit::Clear(name("title"))]).is_ok() => {
                    prop_assert_eq!(devices[who].register("title"), None);
                }
                Step::Tag(who, item) if devices[who].write(&[Edit::Insert(name("tags"), item.into())]).is_ok() => {
                    let shown = view(&devices[who].state, &devices[who].logs);
                    prop_assert!(matches!(shown.field("tags"), Some(FieldValue::Set(tags)) if tags.contains(&item.into())));
                }
                Step::Untag(who, item) if devices[who].write(&[Edit::Remove(name("tags"), item.into())]).is_ok() => {
                    let shown = view(&devices[who].state, &devices[who].logs);
                    prop_assert!(!matches!(shown.field("tags"), Some(FieldValue::Set(tags)) if tags.contains(&item.into())));
                }
                Step::Count(who, by) => { let _ = devices[who].write(&[Edit::Add(name("votes"), by)]); }
                Step::Delete(who) if devices[who].write(&[Edit::Delete]).is_ok() => {
                    prop_assert!(!devices[who].state.is_visible());
                }
                Step::Restore(who) if devices[who].write(&[Edit::Restore]).is_ok() => {
                    prop_assert!(devices[who].state.is_visible());
                }
                Step::Take(to, from) if to != from => {
                    let (low, high) = devices.split_at_mut(to.max(from));
                    let (a, b) = (&mut low[to.min(from)], &mut high[0]);
                    if to < from { a.take(b) } else { b.take(a) }
                }
                _ => {}
            }
        }
        for to in 0..3 {
            for from in 0..3 {
                if to != from {
                    let (low, high) = devices.split_at_mut(to.max(from));
                    let (a, b) = (&mut low[to.min(from)], &mut high[0]);
                    if to < from { a.take(b) } else { b.take(a) }
                }
            }
        }
        for device in &devices[1..] {
            prop_assert_eq!(visible(&device.state, &device.logs), visible(&devices[0].state, &devices[0].logs));
            prop_assert_eq!(view(&device.state, &device.logs), view(&devices[0].state, &devices[0].logs));
        }
    }

    #[test]
    fn an_edit_that_has_seen_a_value_wins_over_it_wherever_the_clocks_stand(
        mine in any::<u64>(), theirs in any::<u64>(), again in any::<bool>(),
    ) {
        let limit = HybridTimestamp::YEAR_6000.0 - 10;
        let (mut a, mut b, mut c) = (Device::new(0, mine % limit), Device::new(1, theirs % limit), Device::new(2, 1));
        a.write(&set(1)).unwrap();
        b.take(&a);
        b.write(&set(2)).unwrap();
        if again {
            a.take(&b);
            a.write(&[Edit::Set(name("title"), 3.into()), Edit::Set(name("title"), 4.into())]).unwrap();
        }
        c.take(&b);
        c.take(&a);
        prop_assert_eq!(c.register("title"), Some(if again { 4.into() } else { 2.into() }));
    }
}
