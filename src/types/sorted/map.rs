//! The map.

use std::borrow::Borrow;
use std::fmt;
use std::mem;
use std::ops::{Bound, RangeBounds};

use super::LEAF;
use super::iter::{Iter, Keys};

/// A map in the order of its keys.
#[derive(Clone)]
pub struct SortedMap<K, V> {
    /// None is empty.
    pub(super) leaves: Vec<Vec<(K, V)>>,
    len: usize,
}

/// Where an entry is, or would be: the leaf and the place in it.
pub(super) type Place = (usize, usize);

impl<K, V> SortedMap<K, V> {
    /// An empty map; allocates nothing.
    pub const fn new() -> Self {
        Self { leaves: Vec::new(), len: 0 }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes all entries out.
    pub fn clear(&mut self) {
        *self = Self::new();
    }

    /// The entries from the lowest key to the highest.
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter { leaves: &self.leaves, from: (0, 0), to: (self.leaves.len(), 0) }
    }

    /// The entries in order, their values to change.
    pub fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = (&K, &mut V)> {
        self.leaves.iter_mut().flatten().map(|(key, value)| (&*key, value))
    }

    /// The keys in order.
    pub fn keys(&self) -> Keys<'_, K, V> {
        Keys(self.iter())
    }

    /// The values in the order of their keys.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> + ExactSizeIterator + Clone {
        self.iter().map(|(_, value)| value)
    }

    /// The values in the order of their keys, to change.
    pub fn values_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut V> {
        self.leaves.iter_mut().flatten().map(|(_, value)| value)
    }

    /// The keys in order, the values dropped.
    pub fn into_keys(self) -> impl DoubleEndedIterator<Item = K> {
        self.into_iter().map(|(key, _)| key)
    }

    /// The values in the order of their keys, the keys dropped.
    pub fn into_values(self) -> impl DoubleEndedIterator<Item = V> {
        self.into_iter().map(|(_, value)| value)
    }

    /// The entry of the lowest key.
    pub fn first_key_value(&self) -> Option<(&K, &V)> {
        self.iter().next()
    }

    /// The entry of the highest key.
    pub fn last_key_value(&self) -> Option<(&K, &V)> {
        self.iter().next_back()
    }

    /// Takes the entry of the lowest key out.
    pub fn pop_first(&mut self) -> Option<(K, V)> {
        (!self.is_empty()).then(|| self.take((0, 0)))
    }

    fn put(&mut self, (mut leaf, mut at): Place, entry: (K, V)) -> &mut V {
        self.len += 1;
        let full = self.leaves.get(leaf).is_none_or(|found| found.len() == LEAF);
        if full && leaf + 1 >= self.leaves.len() && self.leaves.get(leaf).is_none_or(|found| found.len() == at) {
            // What comes in order, as most does, leaves full leaves behind.
            leaf = self.leaves.len();
            at = 0;
            self.leaves.push(Vec::new());
        } else if full {
            let upper = self.leaves[leaf].split_off(LEAF / 2);
            self.leaves.insert(leaf + 1, upper);
            if at > LEAF / 2 {
                (leaf, at) = (leaf + 1, at - LEAF / 2);
            }
        }
        self.leaves[leaf].insert(at, entry);
        &mut self.leaves[leaf][at].1
    }

    fn take(&mut self, (leaf, at): Place) -> (K, V) {
        self.len -= 1;
        let entry = self.leaves[leaf].remove(at);
        if self.leaves[leaf].is_empty() {
            self.leaves.remove(leaf);
        }
        self.join(leaf);
        self.join(leaf.saturating_sub(1));
        entry
    }

    /// Makes one leaf of this one and the next where both together fill no more than half a leaf.
    fn join(&mut self, leaf: usize) {
        if let Some([one, other]) = self.leaves.get_mut(leaf..leaf + 2)
            && one.len() + other.len() <= LEAF / 2
        {
            one.append(other);
            self.leaves.remove(leaf + 1);
        }
    }
}

impl<K: Ord, V> SortedMap<K, V> {
    fn find<Q: Ord + ?Sized>(&self, key: &Q) -> Result<Place, Place>
    where
        K: Borrow<Q>,
    {
        let starts_by = |leaf: &Vec<(K, V)>| leaf.first().is_some_and(|(first, _)| first.borrow() <= key);
        let leaf = self.leaves.partition_point(starts_by).saturating_sub(1);
        let entries = self.leaves.get(leaf).map_or(&[][..], Vec::as_slice);
        match entries.binary_search_by(|(other, _)| other.borrow().cmp(key)) {
            Ok(at) => Ok((leaf, at)),
            Err(at) => Err((leaf, at)),
        }
    }

    /// The value of a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.get_key_value(key).map(|(_, value)| value)
    }

    /// The entry of a key.
    pub fn get_key_value<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        let (leaf, at) = self.find(key).ok()?;
        let (key, value) = &self.leaves[leaf][at];
        Some((key, value))
    }

    /// The value of a key, to change.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let (leaf, at) = self.find(key).ok()?;
        Some(&mut self.leaves[leaf][at].1)
    }

    /// Whether there is an entry of this key.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.find(key).is_ok()
    }

    /// Sets the value of a key; gives the one before, whose key stays.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.find(&key) {
            Ok((leaf, at)) => Some(mem::replace(&mut self.leaves[leaf][at].1, value)),
            Err(place) => {
                self.put(place, (key, value));
                None
            }
        }
    }

    /// Takes the entry of a key out; gives its value.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let place = self.find(key).ok()?;
        Some(self.take(place).1)
    }

    /// The place of a key, taken or free.
    pub fn entry(&mut self, key: K) -> Entry<'_, K, V> {
        match self.find(&key) {
            Ok((leaf, at)) => Entry::Occupied(&mut self.leaves[leaf][at].1),
            Err(place) => Entry::Vacant(VacantEntry { map: self, place, key }),
        }
    }

    /// The entries whose keys lie in a range, in order; none where its ends cross.
    pub fn range(&self, range: impl RangeBounds<K>) -> Iter<'_, K, V> {
        let from = match range.start_bound() {
            Bound::Included(key) => self.end_of(key, false),
            Bound::Excluded(key) => self.end_of(key, true),
            Bound::Unbounded => (0, 0),
        };
        let to = match range.end_bound() {
            Bound::Included(key) => self.end_of(key, true),
            Bound::Excluded(key) => self.end_of(key, false),
            Bound::Unbounded => (self.leaves.len(), 0),
        };
        Iter { leaves: &self.leaves, from, to: to.max(from) }
    }

    /// Where a range ends at a key: behind it, or before it.
    fn end_of(&self, key: &K, behind: bool) -> Place {
        let (leaf, at) = match self.find(key) {
            Ok((leaf, at)) => (leaf, at + usize::from(behind)),
            Err(place) => place,
        };
        match self.leaves.get(leaf) {
            Some(entries) if entries.len() == at => (leaf + 1, 0),
            _ => (leaf, at),
        }
    }

    /// Takes out all entries for which `keep` is false; it sees them in order.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        self.leaves.iter_mut().for_each(|leaf| leaf.retain_mut(|(key, value)| keep(key, value)));
        self.leaves.retain(|leaf| !leaf.is_empty());
        self.len = self.leaves.iter().map(Vec::len).sum();
        if self.len < self.leaves.len() * (LEAF / 4) {
            *self = mem::take(self).into_iter().collect();
        }
    }

    /// Takes the entries from a key on out.
    pub fn split_off(&mut self, key: &K) -> Self {
        let (leaf, at) = self.end_of(key, false);
        let mut leaves = Vec::new();
        if at > 0 {
            leaves.push(self.leaves[leaf].split_off(at));
        }
        leaves.extend(self.leaves.drain(leaf + usize::from(at > 0)..));
        let len = leaves.iter().map(Vec::len).sum();
        self.len -= len;
        Self { leaves, len }
    }

    /// Moves all entries of another map in; where both have a key, the other's value stays.
    pub fn append(&mut self, other: &mut Self) {
        self.extend(mem::take(other));
    }
}

/// The place of a key, as [`SortedMap::entry`] gives it.
#[derive(Debug)]
pub enum Entry<'a, K, V> {
    /// The value that is there.
    Occupied(&'a mut V),
    /// None is there.
    Vacant(VacantEntry<'a, K, V>),
}

/// A place that is free.
pub struct VacantEntry<'a, K, V> {
    map: &'a mut SortedMap<K, V>,
    place: Place,
    key: K,
}

impl<K: fmt::Debug, V> fmt::Debug for VacantEntry<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VacantEntry").field(&self.key).finish()
    }
}

impl<'a, K, V> Entry<'a, K, V> {
    /// The value; if there is none, the one that `make` makes.
    pub fn or_insert_with(self, make: impl FnOnce() -> V) -> &'a mut V {
        match self {
            Self::Occupied(value) => value,
            Self::Vacant(vacant) => vacant.insert(make()),
        }
    }

    /// The value; if there is none, this one.
    pub fn or_insert(self, value: V) -> &'a mut V {
        self.or_insert_with(|| value)
    }

    /// The value; if there is none, the type's default.
    pub fn or_default(self) -> &'a mut V
    where
        V: Default,
    {
        self.or_insert_with(V::default)
    }
}

impl<'a, K, V> VacantEntry<'a, K, V> {
    /// Puts a value there.
    pub fn insert(self, value: V) -> &'a mut V {
        self.map.put(self.place, (self.key, value))
    }
}
