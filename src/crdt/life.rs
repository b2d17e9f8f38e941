//! What an entity keeps of each log: how far it came, what its author had seen, whether it deletes or gives life.
//!
//! A Delete hides what its clock covers. An event defeats it that the clock does not cover, and that is a `Create` or
//! had not seen the Delete (PROTOCOL.md section 9). Events of different logs come in any order, so this must be decided
//! from what is kept: per log its latest Delete, its latest `Create`, the last commit that gave life, and where along
//! the log something was newly seen. A void event moves only what was seen.

use smallvec::SmallVec;

use super::logs::{LogIx, Pos};
use crate::error::{Error, Result};
use crate::types::codec::{Reader, put_varint};

/// One log's part in an entity.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct LogState {
    pub log: LogIx,
    /// The last event, whether it counts or not.
    pub last: Pos,
    /// The last commit with an event that counts and does not delete.
    pub live: u64,
    more: Option<Box<More>>,
}

/// What most logs have nothing of: they were not there when the entity was made, and do not delete.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct More {
    /// The last `Create` that counts.
    create: Pos,
    /// The last Delete that counts.
    delete: Pos,
    seen: Vec<Column>,
}

/// What a log has seen of another one.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Column {
    log: LogIx,
    /// Ascending in all of their numbers.
    steps: Vec<Step>,
}

/// An event that had newly seen something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Step {
    /// What it had seen: a commit of the other log.
    seq: u64,
    /// Which event this was.
    at: Pos,
    /// [`LogState::live`] before it.
    live: u64,
}

/// Sorted by log.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Logs(SmallVec<[LogState; 1]>);

impl LogState {
    /// The last `Create` that counts.
    pub fn create(&self) -> Pos {
        self.more.as_ref().map_or(Pos::NONE, |more| more.create)
    }

    /// The last Delete that counts.
    pub fn delete(&self) -> Pos {
        self.more.as_ref().map_or(Pos::NONE, |more| more.delete)
    }

    pub fn set_create(&mut self, pos: Pos) {
        self.more.get_or_insert_default().create = pos;
    }

    pub fn set_delete(&mut self, pos: Pos) {
        self.more.get_or_insert_default().delete = pos;
    }

    fn columns(&self) -> &[Column] {
        self.more.as_ref().map_or(&[], |more| &more.seen)
    }

    /// The last commit that counts, 0 if none.
    pub fn counted(&self) -> u64 {
        self.live.max(self.delete().seq)
    }

    /// What it had seen of another log, all in all, at one of its events.
    pub fn seen_at(&self, other: LogIx, at: Pos) -> u64 {
        let steps = self.steps(other);
        let count = steps.partition_point(|step| step.at <= at);
        count.checked_sub(1).and_then(|last| steps.get(last)).map_or(0, |step| step.seq)
    }

    /// What it has seen of another log by its last event.
    pub fn seen(&self, other: LogIx) -> u64 {
        self.steps(other).last().map_or(0, |step| step.seq)
    }

    /// All that it had seen at one of its events.
    pub fn clock_at(&self, at: Pos) -> impl Iterator<Item = (LogIx, u64)> + '_ {
        self.columns().iter().map(move |column| (column.log, self.seen_at(column.log, at))).filter(|(_, seq)| *seq > 0)
    }

    /// Notes what an event has seen; what was seen before adds nothing.
    pub fn see(&mut self, other: LogIx, seq: u64, at: Pos) {
        if other == self.log {
            return;
        }
        let live = self.live;
        let seen = &mut self.more.get_or_insert_default().seen;
        let column = match seen.binary_search_by_key(&other, |column| column.log) {
            Ok(found) => &mut seen[found],
            Err(place) => {
                seen.reserve_exact(1);
                seen.insert(place, Column { log: other, steps: Vec::with_capacity(1) });
                &mut seen[place]
            }
        };
        if column.steps.last().is_none_or(|last| last.seq < seq) {
            column.steps.push(Step { seq, at, live });
        }
    }

    fn steps(&self, other: LogIx) -> &[Step] {
        let columns = self.columns();
        match columns.binary_search_by_key(&other, |column| column.log) {
            Ok(found) => &columns[found].steps,
            Err(_) => &[],
        }
    }

    /// Whether this log (another one than `deleter`'s) defeats its Delete.
    fn defeats(&self, deleter: &LogState) -> bool {
        let (create, delete) = (self.create(), deleter.delete());
        let covered = deleter.seen_at(self.log, delete);
        let steps = self.steps(deleter.log);
        let saw = steps.get(steps.partition_point(|step| step.seq < delete.seq));
        // A clock never covers a commit that itself names the covering event, whatever the clock claims.
        let created = create.is_some() && (create.seq > covered || saw.is_some_and(|step| step.at <= create));
        created || saw.map_or(self.live, |step| step.live) > covered
    }
}

impl Logs {
    pub fn get(&self, log: LogIx) -> Option<&LogState> {
        self.0.binary_search_by_key(&log, |state| state.log).ok().and_then(|found| self.0.get(found))
    }

    pub fn get_or_insert(&mut self, log: LogIx) -> &mut LogState {
        let found = match self.0.binary_search_by_key(&log, |state| state.log) {
            Ok(found) => found,
            Err(place) => {
                if self.0.len() == self.0.capacity() {
                    self.0.reserve_exact(1);
                }
                self.0.insert(place, LogState { log, ..LogState::default() });
                place
            }
        };
        &mut self.0[found]
    }

    pub fn iter(&self) -> std::slice::Iter<'_, LogState> {
        self.0.iter()
    }

    /// How far a log came.
    pub fn last(&self, log: LogIx) -> Pos {
        self.get(log).map_or(Pos::NONE, |state| state.last)
    }

    /// Whether any event counts.
    pub fn exists(&self) -> bool {
        self.0.iter().any(|state| state.counted() > 0)
    }

    /// Whether any log deletes, defeated or not.
    pub fn any_delete(&self) -> bool {
        self.0.iter().any(|state| state.delete().is_some())
    }

    /// Whether it exists and every Delete is defeated.
    pub fn is_visible(&self) -> bool {
        self.exists() && self.0.iter().filter(|state| state.delete().is_some()).all(|state| self.is_defeated(state))
    }

    fn is_defeated(&self, deleter: &LogState) -> bool {
        deleter.create() > deleter.delete()
            || self.0.iter().any(|state| state.log != deleter.log && state.defeats(deleter))
    }

    /// Whether the event `by` of one log covers the event `pos` of another: its clock does, and the other does not
    /// name it.
    pub fn covers(&self, (by_log, by): (LogIx, Pos), (log, pos): (LogIx, Pos)) -> bool {
        let claims = self.get(by_log).is_some_and(|state| state.seen_at(log, by) >= pos.seq);
        claims && self.get(log).is_none_or(|state| state.seen_at(by_log, pos) < by.seq)
    }

    pub fn memory_bytes(&self) -> usize {
        let more = self.0.iter().filter_map(|state| state.more.as_ref()).map(|more| {
            let columns = more.seen.iter();
            size_of::<More>()
                + 16
                + columns.map(|column| size_of::<Column>() + column.steps.capacity() * size_of::<Step>()).sum::<usize>()
        });
        let own = if self.0.spilled() { self.0.capacity() * size_of::<LogState>() + 16 } else { 0 };
        own + more.sum::<usize>()
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.0.len() as u64);
        for state in &self.0 {
            put_varint(out, u64::from(state.log.0));
            put_pos(out, state.last);
            put_varint(out, state.live);
            put_pos(out, state.create());
            put_pos(out, state.delete());
            put_varint(out, state.columns().len() as u64);
            for column in state.columns() {
                put_varint(out, u64::from(column.log.0));
                put_varint(out, column.steps.len() as u64);
                for step in &column.steps {
                    put_varint(out, step.seq);
                    put_pos(out, step.at);
                    put_varint(out, step.live);
                }
            }
        }
    }

    pub fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let mut logs = SmallVec::<[LogState; 1]>::new();
        for _ in 0..reader.count(usize::MAX, "logs of an entity")? {
            let mut state =
                LogState { log: read_log(reader)?, last: read_pos(reader)?, live: reader.varint()?, more: None };
            let mut more = More { create: read_pos(reader)?, delete: read_pos(reader)?, seen: Vec::new() };
            for _ in 0..reader.count(usize::MAX, "logs that a log has seen")? {
                let mut column = Column { log: read_log(reader)?, steps: Vec::new() };
                for _ in 0..reader.count(usize::MAX, "what a log has seen")? {
                    let step = Step { seq: reader.varint()?, at: read_pos(reader)?, live: reader.varint()? };
                    if column.steps.last().is_some_and(|last| last.seq >= step.seq || last.at > step.at) {
                        return Err(out_of_order());
                    }
                    column.steps.push(step);
                }
                if more.seen.last().is_some_and(|last| last.log >= column.log) || column.steps.is_empty() {
                    return Err(out_of_order());
                }
                column.steps.shrink_to_fit();
                more.seen.push(column);
            }
            more.seen.shrink_to_fit();
            state.more = (more != More::default()).then(|| Box::new(more));
            if logs.last().is_some_and(|last| last.log >= state.log) {
                return Err(out_of_order());
            }
            logs.push(state);
        }
        logs.shrink_to_fit();
        Ok(Self(logs))
    }
}

pub(super) fn put_pos(out: &mut Vec<u8>, pos: Pos) {
    put_varint(out, pos.seq);
    put_varint(out, u64::from(pos.index));
}

pub(super) fn read_pos(reader: &mut Reader<'_>) -> Result<Pos> {
    Ok(Pos { seq: reader.varint()?, index: reader.bounded(u32::MAX as usize, "a place in a commit")? as u32 })
}

pub(super) fn read_log(reader: &mut Reader<'_>) -> Result<LogIx> {
    Ok(LogIx(reader.bounded(u32::MAX as usize, "a log's number")? as u32))
}

pub(super) fn out_of_order() -> Error {
    Error::storage("a cached entity is out of order; rebuild the cache")
}
