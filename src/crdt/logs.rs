//! Small local numbers for logs, and where an event stands.

use std::collections::{HashMap, HashSet};

use super::text::client_author;
use crate::types::{Dot, HybridTimestamp, LogId};

/// The local number of a [`LogId`]; it never goes over the wire, since each device numbers logs as it meets them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub struct LogIx(pub u32);

/// The logs of which this device has heard, numbered in the order of first mention.
#[derive(Clone, Default, Debug)]
pub struct LogTable {
    ids: Vec<LogId>,
    numbers: HashMap<LogId, LogIx>,
    forked: HashSet<LogIx>,
    /// The text clients of forked logs, without their session bits.
    forked_authors: HashSet<u64>,
    fork_marks: u64,
}

impl LogTable {
    /// The number of a log; a new one gets the next.
    pub fn intern(&mut self, id: LogId) -> LogIx {
        if let Some(&number) = self.numbers.get(&id) {
            return number;
        }
        let number = LogIx(u32::try_from(self.ids.len()).unwrap_or(u32::MAX));
        self.ids.push(id);
        self.numbers.insert(id, number);
        number
    }

    /// The log of a number; `None` for a number that this table never gave.
    pub fn id(&self, number: LogIx) -> Option<&LogId> {
        self.ids.get(number.0 as usize)
    }

    /// The log of a number that this table gave.
    ///
    /// # Panics
    /// On a number that it never gave; numbers are read from a store through [`LogTable::id`].
    pub fn get(&self, number: LogIx) -> &LogId {
        &self.ids[number.0 as usize]
    }

    /// The number of a log, if it has one.
    pub fn find(&self, id: &LogId) -> Option<LogIx> {
        self.numbers.get(id).copied()
    }

    /// All logs, in the order of their numbers.
    pub fn ids(&self) -> &[LogId] {
        &self.ids
    }

    /// The logs that are marked as forked, ascending.
    pub fn forked(&self) -> Vec<LogIx> {
        let mut forked: Vec<LogIx> = self.forked.iter().copied().collect();
        forked.sort_unstable();
        forked
    }

    /// How many logs it holds; their numbers run from 0.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Marks a log as forked or not: what texts anchor in a forked log's missing part then counts as their start.
    pub fn set_forked(&mut self, number: LogIx, forked: bool) {
        if forked {
            self.forked.insert(number);
        } else {
            self.forked.remove(&number);
        }
        self.fork_marks += 1;
        self.forked_authors = self.forked.iter().filter_map(|number| self.id(*number)).map(client_author).collect();
    }

    /// Whether a log is marked as forked.
    pub fn is_forked(&self, number: LogIx) -> bool {
        self.forked.contains(&number)
    }

    /// Grows with each change of a fork mark.
    #[cfg(feature = "text")]
    pub(super) fn fork_marks(&self) -> u64 {
        self.fork_marks
    }

    /// Whether a text client is one of a forked log.
    #[cfg(feature = "text")]
    pub(super) fn is_forked_client(&self, client: u64) -> bool {
        !self.forked_authors.is_empty() && self.forked_authors.contains(&super::text::author_of_client(client))
    }

    /// The full name of a dot.
    pub(super) fn dot(&self, log: LogIx, pos: Pos) -> Option<Dot> {
        Some(Dot { log: *self.id(log)?, seq: pos.seq, index: pos.index })
    }
}

/// Where an event stands, and whether it counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventAt {
    /// Its log.
    pub log: LogIx,
    /// Its commit's number there, from 1.
    pub seq: u64,
    /// Its place in the commit, from 0.
    pub index: u32,
    /// Its commit's time.
    pub hlc: HybridTimestamp,
    /// The first eight bytes of its commit's hash ([`crate::types::Hash::short`]).
    pub commit: u64,
    /// False for what is void or in quarantine: it is noted, and changes nothing that a user sees.
    pub counts: bool,
}

/// A place in a log: commit and place in the commit. Commits count from 1, so the least place stands for none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub(super) struct Pos {
    pub seq: u64,
    pub index: u32,
}

impl Pos {
    pub const NONE: Pos = Pos { seq: 0, index: 0 };

    pub fn is_some(self) -> bool {
        self != Self::NONE
    }
}

impl EventAt {
    pub(super) fn pos(&self) -> Pos {
        Pos { seq: self.seq, index: self.index }
    }
}
