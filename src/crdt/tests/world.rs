//! Devices that edit one entity and hand each other their events.

use crate::crdt::*;
use crate::error::Result;
use crate::types::{EntityId, EntityType, Epoch, Event, FieldName, HybridTimestamp, LogId, PeerId, Value};

pub fn log_id(number: u8) -> LogId {
    // Peers and numbers sort differently, so that nothing depends on local numbers unseen.
    LogId { author: PeerId([number.wrapping_mul(151); 32]), epoch: Epoch(u64::from(number % 2)) }
}

pub fn table(logs: u8) -> LogTable {
    let mut table = LogTable::default();
    for number in 0..logs {
        table.intern(log_id(number));
    }
    table
}

pub fn name(name: &str) -> FieldName {
    FieldName::new(name).unwrap()
}

pub fn view(state: &EntityState, logs: &LogTable) -> EntityView {
    state.view(EntityType::new("note").unwrap(), EntityId([1; 16]), logs)
}

pub fn bytes(state: &EntityState) -> Vec<u8> {
    let mut out = Vec::new();
    state.encode(&mut out);
    out
}

pub fn visible(state: &EntityState, logs: &LogTable) -> Vec<u8> {
    let mut out = Vec::new();
    state.hash_visible(logs, &mut out);
    out
}

/// One device, with its copy of the entity, a clock that may be wrong, and what it wrote.
pub struct Device {
    pub logs: LogTable,
    pub own: LogIx,
    pub state: EntityState,
    pub clock: u64,
    pub written: Vec<(Event, EventAt)>,
}

impl Device {
    pub fn new(number: u8, clock: u64) -> Self {
        let mut logs = LogTable::default();
        let own = logs.intern(log_id(number));
        Self { logs, own, state: EntityState::default(), clock, written: Vec::new() }
    }

    pub fn client(&self) -> u64 {
        text_client_id(*self.logs.get(self.own), 1)
    }

    /// One commit with one event.
    pub fn write(&mut self, edits: &[Edit]) -> Result<()> {
        self.clock += 1;
        let at = EventAt {
            log: self.own,
            seq: self.written.len() as u64 + 1,
            index: 0,
            hlc: HybridTimestamp(self.clock),
            commit: self.written.len() as u64 * 77 % 5,
            counts: true,
        };
        let ops = self.state.prepare(edits, &at, &self.logs, self.client())?;
        if ops.is_empty() {
            return Ok(());
        }
        let event = Event { entity: EntityId([1; 16]), seen: self.state.seen_for(self.own, &self.logs), ops };
        check_event(&event, *self.logs.get(self.own)).unwrap();
        self.state.apply(&event, &at, &mut self.logs);
        self.written.push((event, at));
        Ok(())
    }

    /// Takes the events of another device from a commit on; those up to it are known.
    pub fn take(&mut self, other: &Device) {
        self.take_some(other, usize::MAX, |_| true);
    }

    pub fn take_some(&mut self, other: &Device, upto: usize, counts: impl Fn(usize) -> bool) {
        let log = self.logs.intern(*other.logs.get(other.own));
        for (number, (event, at)) in other.written.iter().enumerate().take(upto) {
            self.state.apply(event, &EventAt { log, counts: counts(number), ..*at }, &mut self.logs);
        }
    }

    pub fn register(&self, field: &str) -> Option<Value> {
        match view(&self.state, &self.logs).field_of(field, crate::types::FieldKind::Register) {
            Some(FieldValue::Register(value)) => Some(value.clone()),
            _ => None,
        }
    }

    pub fn text(&self, field: &str) -> String {
        match view(&self.state, &self.logs).field_of(field, crate::types::FieldKind::Text) {
            Some(FieldValue::Text(text, _)) => text.clone(),
            _ => String::new(),
        }
    }
}
