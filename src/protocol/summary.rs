//! Frontiers, and how they are told in few bytes (PROTOCOL.md section 4.3).

use crate::types::codec::put_bytes;
use crate::types::{EntityType, Hash, LogName, SortedMap};
use crate::wire::{FrontierEntry, FrontierSummary};

/// How far a log is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// The last commit; of a forked log at most the last common one.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
    /// Whether the log is known to be forked.
    pub forked: bool,
}

impl Held {
    /// Of a log that is known to be forked, and of which nothing else is known.
    pub const FORKED: Self = Self { seq: 0, hash: Hash::ZERO, forked: true };

    /// The log turned out to be forked after this commit: what is held beyond it counts no more.
    pub fn cut_at_fork(&mut self, seq: u64, hash: Hash) {
        self.forked = true;
        if self.seq > seq {
            (self.seq, self.hash) = (seq, hash);
        }
    }
}

/// What a replica holds, exactly.
pub type Frontier = SortedMap<LogName, Held>;

const TYPE_DOMAIN: &str = "privstack-sync 1 frontier of a type";
const FRONTIER_DOMAIN: &str = "privstack-sync 1 frontier";
/// Entries that go along with a digest: about 1 KiB.
const MAX_ENTRIES: usize = 14;

/// The digest of one type's entries, which come in the order of their logs.
pub fn type_digest<'a>(entries: impl Iterator<Item = (&'a LogName, Held)>) -> Hash {
    let mut bytes = Vec::new();
    for (name, held) in entries {
        bytes.extend_from_slice(&name.id.author.0);
        bytes.extend_from_slice(&name.id.epoch.0.to_be_bytes());
        bytes.extend_from_slice(&held.seq.to_be_bytes());
        bytes.extend_from_slice(&held.hash.0);
        bytes.push(u8::from(held.forked));
    }
    Hash::derive(TYPE_DOMAIN, &bytes)
}

/// The digest of a whole frontier: membership heads, and each type with its digest in the order of their names. Types
/// without a log are left out by the caller.
pub fn digest<'a>(heads: &[Hash], types: impl Iterator<Item = (&'a EntityType, Hash)>) -> Hash {
    let mut bytes = (heads.len() as u64).to_be_bytes().to_vec();
    heads.iter().for_each(|head| bytes.extend_from_slice(&head.0));
    for (name, digest) in types {
        put_bytes(&mut bytes, name.as_str().as_bytes());
        bytes.extend_from_slice(&digest.0);
    }
    Hash::derive(FRONTIER_DOMAIN, &bytes)
}

/// A frontier as entries.
pub fn entries_of(frontier: &Frontier) -> impl Iterator<Item = FrontierEntry> + '_ {
    frontier.iter().map(|(name, held)| FrontierEntry {
        entity_type: name.entity_type.clone(),
        log: name.id,
        seq: held.seq,
        hash: held.hash,
        forked: held.forked,
    })
}

/// Tells `frontier` relative to `base` (its short digest and entries), if the difference is small enough.
pub fn summarize(digest: Hash, frontier: &Frontier, base: Option<(u64, &Frontier)>) -> FrontierSummary {
    let empty = Frontier::new();
    let (short, base) = base.unwrap_or((0, &empty));
    // A log that the base has and the frontier lacks cannot be told as an entry.
    let whole = base.keys().all(|name| frontier.contains_key(name));
    let changed = || frontier.iter().filter(|(name, held)| base.get(*name) != Some(*held));
    if !whole || changed().count() > MAX_ENTRIES {
        return FrontierSummary { digest, base: short, entries: Vec::new(), complete: false };
    }
    let changed: Frontier = changed().map(|(name, held)| (name.clone(), *held)).collect();
    FrontierSummary { digest, base: short, entries: entries_of(&changed).collect(), complete: true }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test;
    use crate::types::{Epoch, LogId, PeerId};

    fn frontier(logs: u8, seq: u64) -> Frontier {
        (0..logs)
            .map(|log| {
                let id = LogId { author: PeerId([log; 32]), epoch: Epoch(1) };
                let name = LogName { entity_type: EntityType::new("note").unwrap(), id };
                (name, Held { seq, hash: Hash([seq as u8; 32]), forked: false })
            })
            .collect()
    }

    #[test]
    fn only_what_changed_since_the_base_is_told() {
        let base = frontier(50, 1);
        let mut now = base.clone();
        now.extend(frontier(1, 2));
        let summary = summarize(Hash::ZERO, &now, Some((7, &base)));
        assert!(summary.complete);
        assert_eq!((summary.base, summary.entries.len()), (7, 1));
        let without_base = summarize(Hash::ZERO, &now, None);
        assert!(!without_base.complete && without_base.entries.is_empty());
    }

    #[test]
    fn a_digest_tells_each_part_of_what_is_held() {
        let held = frontier(1, 1);
        let digest = |change: fn(&mut Held)| {
            let change = |(name, mut held): (_, Held)| {
                change(&mut held);
                (name, held)
            };
            type_digest(held.iter().map(|(name, held)| (name, *held)).map(change))
        };
        let same = digest(|_| ());
        let changes: [fn(&mut Held); 3] =
            [|held| held.seq = 2, |held| held.hash = Hash([9; 32]), |held| held.forked = true];
        assert!(changes.into_iter().all(|change| digest(change) != same));
    }

    #[test]
    fn a_frontier_that_lost_a_log_is_told_in_full() {
        assert!(!summarize(Hash::ZERO, &frontier(1, 1), Some((7, &frontier(2, 1)))).complete);
    }

    #[test]
    fn what_is_held_beyond_a_fork_ends_in_its_last_common_commit() {
        let held = Held { seq: 3, hash: Hash([3; 32]), forked: false };
        let cut = |seq| {
            let mut held = held;
            held.cut_at_fork(seq, Hash([9; 32]));
            held
        };
        assert_eq!(cut(2), Held { seq: 2, hash: Hash([9; 32]), forked: true });
        assert_eq!(cut(3), Held { forked: true, ..held });
        assert_eq!(cut(4), Held { forked: true, ..held });
    }
}
