//! Dots and vector clocks.

use serde::{Deserialize, Serialize};

use super::ids::LogId;
use super::sorted::{self, SortedMap};

/// The name of one event: its log, its commit's number there, its place in the commit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Dot {
    /// Author and epoch.
    pub log: LogId,
    /// The commit's number in its log, from 1.
    pub seq: u64,
    /// The event's place in the commit, from 0.
    pub index: u32,
}

/// For one entity: the last commit of each log that touched it.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct VectorClock(SortedMap<LogId, u64>);

impl VectorClock {
    /// A clock that has seen nothing.
    pub const fn new() -> Self {
        Self(SortedMap::new())
    }

    /// The last seq seen of a log, 0 if none.
    pub fn get(&self, log: &LogId) -> u64 {
        self.0.get(log).copied().unwrap_or(0)
    }

    /// Notes that `seq` of `log` was seen; a clock never goes back.
    pub fn observe(&mut self, log: LogId, seq: u64) {
        let entry = self.0.entry(log).or_insert(0);
        *entry = (*entry).max(seq);
    }

    /// Whether it has seen that commit.
    pub fn covers(&self, log: &LogId, seq: u64) -> bool {
        seq <= self.get(log)
    }

    /// The least clock that has seen what either has.
    pub fn join(&mut self, other: &VectorClock) {
        for (log, seq) in &other.0 {
            self.observe(*log, *seq);
        }
    }

    /// Its entries, in the order of the log ids.
    pub fn iter(&self) -> sorted::Iter<'_, LogId, u64> {
        self.0.iter()
    }

    /// How many logs it names.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has seen nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(LogId, u64)> for VectorClock {
    fn from_iter<I: IntoIterator<Item = (LogId, u64)>>(entries: I) -> Self {
        let mut clock = Self::new();
        for (log, seq) in entries {
            clock.observe(log, seq);
        }
        clock
    }
}
