//! Sets of operations by their number in a [`super::Membership`]: an operation's past.
//!
//! Numbers are given in a causal order, so a past is nearly always "everything up to here": leading full chunks are
//! only counted, later ones are shared between an operation and its children where they are equal.

use std::sync::Arc;

const WORDS: usize = 16;
const CHUNK: usize = WORDS * 64;
const FULL: [u64; WORDS] = [u64::MAX; WORDS];

/// A down-closed set of operations.
#[derive(Clone, Default, Debug)]
pub(crate) struct OpSet {
    /// How many leading chunks are full.
    full: usize,
    /// The chunks after them; the last one is not empty.
    tail: Vec<Arc<[u64; WORDS]>>,
}

impl OpSet {
    pub(crate) fn contains(&self, number: usize) -> bool {
        let (chunk, word, bit) = place(number);
        match chunk.checked_sub(self.full) {
            None => true,
            Some(chunk) => {
                self.tail.get(chunk).and_then(|words| words.get(word)).is_some_and(|word| word >> bit & 1 == 1)
            }
        }
    }

    pub(crate) fn insert(&mut self, number: usize) {
        let (chunk, word, bit) = place(number);
        let Some(chunk) = chunk.checked_sub(self.full) else { return };
        if chunk >= self.tail.len() {
            self.tail.resize_with(chunk + 1, || Arc::new([0; WORDS]));
        }
        if let Some(words) = self.tail.get_mut(chunk)
            && let Some(word) = Arc::make_mut(words).get_mut(word)
        {
            *word |= 1 << bit;
        }
        self.count_full();
    }

    pub(crate) fn union(&mut self, other: &OpSet) {
        if other.full > self.full {
            self.tail.drain(..(other.full - self.full).min(self.tail.len()));
            self.full = other.full;
        }
        let skip = self.full - other.full;
        for (index, theirs) in other.tail.iter().skip(skip).enumerate() {
            match self.tail.get_mut(index) {
                None => self.tail.push(theirs.clone()),
                Some(ours) if ours == theirs || theirs.iter().zip(ours.iter()).all(|(t, o)| t & !o == 0) => {}
                // Taking the larger chunk as it is keeps it shared.
                Some(ours) if ours.iter().zip(theirs.iter()).all(|(o, t)| o & !t == 0) => *ours = theirs.clone(),
                Some(ours) => Arc::make_mut(ours).iter_mut().zip(theirs.iter()).for_each(|(o, t)| *o |= t),
            }
        }
        self.count_full();
    }

    /// Bytes that this set alone holds.
    pub(crate) fn own_bytes(&self) -> usize {
        let alone = self.tail.iter().filter(|chunk| Arc::strong_count(chunk) == 1).count();
        self.tail.len() * size_of::<usize>() + alone * (CHUNK / 8 + 2 * size_of::<usize>())
    }

    fn count_full(&mut self) {
        let full = self.tail.iter().take_while(|chunk| ***chunk == FULL).count();
        self.tail.drain(..full);
        self.full += full;
    }
}

fn place(number: usize) -> (usize, usize, u32) {
    (number / CHUNK, number % CHUNK / 64, (number % 64) as u32)
}

#[cfg(test)]
mod tests {
    use crate::test;
    use crate::types::SortedSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_set_of_operations_is_a_set(
            dense in 0..4_000_usize,
            ours in prop::collection::vec(0..5_000_usize, 0..50),
            other_dense in 0..4_000_usize,
            theirs in prop::collection::vec(0..5_000_usize, 0..50),
        ) {
            let build = |dense: usize, more: &[usize]| {
                let mut set = OpSet::default();
                (0..dense).chain(more.iter().copied()).for_each(|number| set.insert(number));
                set
            };
            let (mut a, b) = (build(dense, &ours), build(other_dense, &theirs));
            a.union(&b);
            let expected: SortedSet<usize> = (0..dense.max(other_dense)).chain(ours).chain(theirs).collect();
            for number in 0..5_100 {
                prop_assert_eq!(a.contains(number), expected.contains(&number), "{}", number);
            }
        }
    }
}
