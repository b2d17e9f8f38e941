//! The merge state of one entity, and how an event changes it.
//!
//! Events of one log come in their order; those of different logs come in any order. Whatever an event names before it
//! has arrived is remembered. So the state is a function of the set of events, and nothing is ever taken back: where
//! validity changes later, the entity is built again from its log.

use std::cmp::Ordering;

use super::counter::Counter;
use super::life::Logs;
use super::logs::{EventAt, LogIx, LogTable, Pos};
use super::register::{Entry, Register, encoded};
use super::set::{EarlyRemovals, LocalDot, Set};
use super::updates::{Update, Updates};
use crate::types::{Dot, Event, FieldKind, FieldName, FieldOp, LogId, Seen, Value, VectorClock};

/// What an entity keeps so that any further event merges into it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct EntityState {
    pub(super) logs: Logs,
    /// Sorted by name and kind.
    pub(super) fields: Vec<Field>,
    pub(super) early: Option<Box<EarlyRemovals>>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Field {
    pub name: FieldName,
    pub state: FieldState,
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Field>() == 88, "ten fields of an entity fit into the memory budget");

/// Kinds never mix: a field that is used in two kinds has two of these.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum FieldState {
    Register(Register),
    Counter(Box<Counter>),
    Set(Box<Set>),
    Text(Box<Updates>),
    Opaque(Box<Updates>),
}

impl FieldState {
    pub fn kind(&self) -> FieldKind {
        match self {
            FieldState::Register(_) => FieldKind::Register,
            FieldState::Counter(_) => FieldKind::Counter,
            FieldState::Set(_) => FieldKind::Set,
            FieldState::Text(_) => FieldKind::Text,
            FieldState::Opaque(_) => FieldKind::Opaque,
        }
    }
}

/// What an event did to an entity's state.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Changed {
    /// It was known: nothing.
    Nothing,
    /// It is kept and shows nothing new: it is void, or lost against what was there.
    Kept,
    /// A reader may see something new.
    Shown,
}

/// Applies events to entities.
#[derive(Clone, Copy, Default, Debug)]
pub struct EventApplicator;

impl EventApplicator {
    /// The same as [`EntityState::apply`].
    pub fn apply(state: &mut EntityState, event: &Event, at: &EventAt, logs: &mut LogTable) -> Changed {
        state.apply(event, at, logs)
    }
}

impl EntityState {
    /// Applies an event of this entity. Events of one log come in its order; an event at or below the last one of its
    /// log is known already, and nothing happens. The order between logs makes no difference.
    pub fn apply(&mut self, event: &Event, at: &EventAt, logs: &mut LogTable) -> Changed {
        let pos = at.pos();
        if pos <= self.logs.last(at.log) {
            return Changed::Nothing;
        }
        self.note(&event.seen, at, logs);
        let mut changed = Changed::Kept;
        if at.counts {
            changed = self.come_alive(event, at.log, pos);
            for op in &event.ops {
                changed = changed.max(self.apply_op(op, at, logs));
            }
        } else {
            // A void text is not seen, but others' text may anchor in it.
            for op in event.ops.iter().filter(|op| matches!(op, FieldOp::Text { .. })) {
                self.apply_op(op, at, logs);
            }
        }
        if let Some(early) = &mut self.early {
            early.arrived(at.log, pos);
            if early.is_empty() {
                self.early = None;
            }
        }
        // Updates of other CRDTs may have waited for this event.
        if changed == Changed::Kept && self.fields.iter().any(|field| matches!(field.state, FieldState::Opaque(_))) {
            changed = Changed::Shown;
        }
        changed
    }

    /// Notes how far a log came, and what it has seen.
    pub(super) fn note(&mut self, seen: &Seen, at: &EventAt, logs: &mut LogTable) {
        let own = self.logs.get_or_insert(at.log);
        own.last = at.pos();
        for (log, seq) in seen {
            own.see(logs.intern(*log), *seq, at.pos());
        }
    }

    /// Notes what the event means for the entity as a whole: of several `Create` and `Delete`, the last one.
    fn come_alive(&mut self, event: &Event, log: LogIx, pos: Pos) -> Changed {
        let last = event.ops.iter().rev().find(|op| matches!(op, FieldOp::Create | FieldOp::Delete));
        let decides = last.is_some() || self.logs.any_delete() || !self.logs.exists();
        let before = decides && self.logs.is_visible();
        let own = self.logs.get_or_insert(log);
        match last {
            Some(FieldOp::Delete) => own.set_delete(pos),
            Some(_) => {
                own.set_create(pos);
                own.live = pos.seq;
            }
            None => own.live = pos.seq,
        }
        if decides && before != self.logs.is_visible() { Changed::Shown } else { Changed::Kept }
    }

    /// Applies one operation of an event that counts (or a text's of one that is void). An operation that names what has not arrived is remembered.
    pub(super) fn apply_op(&mut self, op: &FieldOp, at: &EventAt, logs: &mut LogTable) -> Changed {
        let pos = at.pos();
        match op {
            FieldOp::Create | FieldOp::Delete => return Changed::Kept,
            FieldOp::Set { field, value, lift } => return self.write(field, Entry::new(at, *lift, Some(value)), logs),
            FieldOp::Clear { field, lift } => return self.write(field, Entry::new(at, *lift, None), logs),
            FieldOp::Add { field, by } => {
                if let FieldState::Counter(counter) = self.field_mut(field, FieldKind::Counter) {
                    counter.add(at.log, pos, *by);
                }
            }
            FieldOp::ClearCounter { field, sums } => {
                for (dot, sum) in sums.iter().filter(|(dot, _)| dot.seq > 0) {
                    let log = logs.intern(dot.log);
                    if let FieldState::Counter(counter) = self.field_mut(field, FieldKind::Counter) {
                        counter.clear(log, Pos { seq: dot.seq, index: dot.index }, *sum);
                    }
                }
            }
            FieldOp::Insert { field, item } => {
                let item = encoded(item);
                if self.early.as_ref().is_some_and(|early| early.removes((at.log, pos), field, &item)) {
                    return Changed::Kept;
                }
                if let FieldState::Set(set) = self.field_mut(field, FieldKind::Set) {
                    set.insert(item, (at.log, pos));
                }
            }
            FieldOp::Remove { field, item, dots } => self.remove(field, Some(item), dots, logs),
            FieldOp::ClearSet { field, dots } => self.remove(field, None, dots, logs),
            FieldOp::Text { field, update } => {
                let update = Update { log: at.log, pos, counts: at.counts, bytes: update };
                if let FieldState::Text(updates) = self.field_mut(field, FieldKind::Text) {
                    updates.push(update);
                }
            }
            FieldOp::Opaque { field, bytes } => {
                let update = Update { log: at.log, pos, counts: at.counts, bytes };
                if let FieldState::Opaque(updates) = self.field_mut(field, FieldKind::Opaque) {
                    updates.push(update);
                }
            }
        }
        Changed::Shown
    }

    fn write(&mut self, name: &FieldName, entry: Entry, logs: &LogTable) -> Changed {
        match self.find(name, FieldKind::Register) {
            Ok(found) => match self.fields.get_mut(found).map(|field| &mut field.state) {
                Some(FieldState::Register(register)) => {
                    if register.write(entry, logs) {
                        Changed::Shown
                    } else {
                        Changed::Kept
                    }
                }
                _ => Changed::Kept,
            },
            Err(place) => {
                self.insert_field(place, name, FieldState::Register(Register::new(entry)));
                Changed::Shown
            }
        }
    }

    fn remove(&mut self, name: &FieldName, item: Option<&Value>, dots: &[Dot], logs: &mut LogTable) {
        let item = item.map(encoded);
        let mut arrived: Vec<LocalDot> = Vec::with_capacity(dots.len());
        for dot in dots {
            let named = (logs.intern(dot.log), Pos { seq: dot.seq, index: dot.index });
            if named.1 <= self.logs.last(named.0) {
                arrived.push(named);
            } else {
                self.early.get_or_insert_default().note(named, name, item.as_deref());
            }
        }
        arrived.sort_unstable();
        if let Ok(found) = self.find(name, FieldKind::Set)
            && let FieldState::Set(set) = &mut self.fields[found].state
        {
            set.remove(item.as_deref(), &arrived);
            // An empty set is none, so that it makes no difference whether an insertion or its removal came first.
            if set.is_empty() {
                self.fields.remove(found);
            }
        }
    }

    /// Where a field stands, or would.
    pub(super) fn find(&self, name: &FieldName, kind: FieldKind) -> Result<usize, usize> {
        let against = |field: &Field| field.name.cmp(name).then(field.state.kind().cmp(&kind));
        // Fields often come in the order of their names: then only the last one is looked at.
        match self.fields.last().map(against) {
            None | Some(Ordering::Less) => Err(self.fields.len()),
            Some(Ordering::Equal) => Ok(self.fields.len() - 1),
            Some(Ordering::Greater) => self.fields.binary_search_by(against),
        }
    }

    fn field_mut(&mut self, name: &FieldName, kind: FieldKind) -> &mut FieldState {
        let found = match self.find(name, kind) {
            Ok(found) => found,
            Err(place) => {
                let state = match kind {
                    FieldKind::Counter => FieldState::Counter(Box::default()),
                    FieldKind::Set => FieldState::Set(Box::default()),
                    FieldKind::Text => FieldState::Text(Box::default()),
                    // Registers are made with their first entry, by `write`.
                    FieldKind::Register | FieldKind::Opaque => FieldState::Opaque(Box::default()),
                };
                self.insert_field(place, name, state);
                place
            }
        };
        &mut self.fields[found].state
    }

    fn insert_field(&mut self, place: usize, name: &FieldName, state: FieldState) {
        // Entities are many and their fields few: grow by two or a quarter, not to the double.
        if self.fields.len() == self.fields.capacity() {
            self.fields.reserve_exact((self.fields.len() / 4).max(2));
        }
        self.fields.insert(place, Field { name: name.clone(), state });
    }

    /// Whether any event of it counts.
    pub fn exists(&self) -> bool {
        self.logs.exists()
    }

    /// Whether it exists and is not deleted.
    pub fn is_visible(&self) -> bool {
        self.logs.is_visible()
    }

    /// Its vector clock: for each log the last commit that touched it and counts. What is in quarantine is not in it,
    /// so that nobody names as seen what no reader was shown.
    pub fn clock(&self, logs: &LogTable) -> VectorClock {
        self.counted().filter_map(|(log, seq)| Some((*logs.id(log)?, seq))).collect()
    }

    /// What a new event of `own` has newly seen: this clock without what the events of `own` have named before.
    pub fn seen_for(&self, own: LogIx, logs: &LogTable) -> Seen {
        let named = self.logs.get(own);
        let new = self.counted().filter(|(log, seq)| *log != own && named.is_none_or(|named| named.seen(*log) < *seq));
        let mut seen: Vec<(LogId, u64)> = new.filter_map(|(log, seq)| Some((*logs.id(log)?, seq))).collect();
        seen.sort_unstable();
        seen
    }

    fn counted(&self) -> impl Iterator<Item = (LogIx, u64)> + '_ {
        self.logs.iter().map(|state| (state.log, state.counted())).filter(|(_, seq)| *seq > 0)
    }

    /// The last commit of a log that touched this entity, 0 if none.
    pub fn last_seq(&self, log: LogIx) -> u64 {
        self.logs.last(log).seq
    }

    /// What a log's events on this entity had seen by the last of them, in full, and how far the log itself went.
    pub fn named_by(&self, log: LogIx, logs: &LogTable) -> Seen {
        self.named_until(log, Pos { seq: u64::MAX, index: u32::MAX }, logs)
    }

    /// The same of its log's events before this one.
    pub fn named_before(&self, at: &EventAt, logs: &LogTable) -> Seen {
        let before = match at.index.checked_sub(1) {
            Some(index) => Pos { seq: at.seq, index },
            None => Pos { seq: at.seq.saturating_sub(1), index: u32::MAX },
        };
        self.named_until(at.log, before, logs)
    }

    fn named_until(&self, log: LogIx, last: Pos, logs: &LogTable) -> Seen {
        let Some(known) = self.logs.get(log) else { return Seen::new() };
        let last = last.min(known.last);
        let mut seen: Seen = known.clock_at(last).filter_map(|(other, seq)| Some((*logs.id(other)?, seq))).collect();
        seen.extend(logs.id(log).filter(|_| last.seq > 0).map(|id| (*id, last.seq)));
        seen.sort_unstable();
        seen
    }

    /// Has the texts of an event be read that was applied as void, for the view of its author.
    pub fn let_texts_count(&mut self, at: &EventAt) {
        for field in &mut self.fields {
            if let FieldState::Text(updates) = &mut field.state {
                updates.let_count(at.log, at.pos());
            }
        }
    }

    /// Bytes in memory, roughly.
    pub fn memory_bytes(&self) -> usize {
        let fields = self.fields.iter().map(|field| match &field.state {
            FieldState::Register(register) => register.memory_bytes(),
            FieldState::Counter(counter) => counter.memory_bytes(),
            FieldState::Set(set) => set.memory_bytes(),
            FieldState::Text(updates) | FieldState::Opaque(updates) => updates.memory_bytes(),
        });
        size_of::<Self>()
            + self.logs.memory_bytes()
            + self.fields.capacity() * size_of::<Field>()
            + fields.sum::<usize>()
            + self.early.as_ref().map_or(0, |early| early.memory_bytes())
    }
}
