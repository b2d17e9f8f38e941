//! A log's quarantine has a bound. What a full one has no room for is not taken, and is asked for again once there is
//! room: the operation that its commits wait for has come, or the log was taken back.

use super::io::LinkId;
use super::layout::{self, LogKey};
use super::log::{Log, QUARANTINE_BYTES};
use super::{SyncEngine, Wanted};
use crate::store::{Read, Rows, Table};
use crate::types::{LogName, SortedMap};

/// Logs of which a session sends what does not follow what is held.
#[derive(Default, Debug)]
pub struct CutOff(SortedMap<LogName, Until>);

/// Until when a log is cut off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Until {
    /// Its quarantine has room.
    Room,
    /// The peer has heard that it is to send it again; what it sent before that still comes.
    Heard,
}

impl CutOff {
    /// How many logs wait for room.
    pub fn waiting(&self) -> u64 {
        self.0.values().filter(|until| **until == Until::Room).count() as u64
    }

    /// Whether blocks of this log may come that follow nothing held here.
    pub fn contains(&self, name: &LogName) -> bool {
        self.0.contains_key(name)
    }

    /// A block of it was refused.
    pub fn refuse(&mut self, name: &LogName) {
        self.0.insert(name.clone(), Until::Room);
    }

    /// It is asked for again.
    pub fn ask_again(&mut self, name: &LogName) {
        self.0.insert(name.clone(), Until::Heard);
    }

    /// It goes on where it was cut off.
    pub fn goes_on(&mut self, name: &LogName) {
        self.0.remove(name);
    }
}

impl SyncEngine {
    /// Asks again for what was refused, of logs that have room now.
    pub(super) fn ask_for_refused(&mut self) {
        let mut again: Vec<(LinkId, LogKey)> = Vec::new();
        for (link, session) in self.sessions.iter_mut() {
            for (name, until) in session.cut_off.0.iter_mut() {
                let log = self.log_names.get(name).and_then(|key| self.logs.get(key));
                if *until == Until::Room
                    && let Some(log) = log.filter(|log| !log.is_full())
                {
                    *until = Until::Heard;
                    again.push((*link, log.key));
                }
            }
        }
        for (link, key) in again {
            let Some(log) = self.logs.get(&key) else { continue };
            let tip = log.shared();
            self.ask_to_resume(link, key, tip.seq, tip.hash);
        }
    }

    /// Measures again what full logs hold in quarantine, where some of it has come to count.
    pub(super) fn measure_quarantines(&mut self) {
        let changed = |log: &&mut Log| log.measure && log.stored == log.tip;
        let mut reads = Vec::new();
        for log in self.logs.values_mut().filter(changed) {
            log.measure = false;
            let after = log.validity.counts.last().map_or(1, |range| range.end);
            reads.push((log.key, after));
        }
        for (key, after) in reads {
            let read = Read::Range {
                table: Table::Blocks,
                from: layout::block_row(key, after),
                to: layout::after_prefix(&layout::log_prefix(key)),
                max_rows: usize::MAX,
                // More than full is full.
                max_bytes: QUARANTINE_BYTES as usize + 1,
            };
            self.read(read, Wanted::Quarantine(key));
        }
    }

    pub(super) fn quarantine_rows(&mut self, key: LogKey, rows: Rows) {
        let Some(log) = self.logs.get_mut(&key).filter(|log| log.is_full()) else { return };
        log.waiting_bytes = rows.rows.iter().map(|(_, block)| block.len() as u64).sum();
    }
}
