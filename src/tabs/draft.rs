//! What a tab has written and not yet seen saved.

use std::collections::VecDeque;

use crate::engine::{TabSaved, TabWrite, draft_log, undraft};
use crate::error::{Error, Result};
use crate::types::{
    Dot, EntityId, EntityType, Event, FieldName, FieldOp, HybridTimestamp, LogId, PeerId, Seen, SortedMap,
};

/// Writes that one message carries.
const MAX_WRITES: usize = 256;
/// Operations after which a message is closed.
const MAX_OPS: usize = 4_096;

/// A write that will not be saved.
#[derive(Clone, PartialEq, Debug)]
pub struct Failure {
    /// The type of its entities.
    pub entity_type: EntityType,
    /// Its entities.
    pub ids: Vec<EntityId>,
    /// Why.
    pub error: Error,
}

/// One write.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Draft {
    /// Its number in the draft log.
    pub seq: u64,
    pub entity_type: EntityType,
    pub hlc: HybridTimestamp,
    /// What each has seen is told as the tab saw it: also of the device's own log.
    pub events: Vec<Event>,
    sent: bool,
    /// The number of its commit, once that is known. It is shown as a draft until the commit comes.
    place: Option<u64>,
}

impl Draft {
    pub fn touches(&self, entity_type: &EntityType, id: &EntityId) -> bool {
        self.entity_type == *entity_type && self.events.iter().any(|event| event.entity == *id)
    }

    pub fn ids(&self) -> Vec<EntityId> {
        self.events.iter().map(|event| event.entity).collect()
    }
}

/// The writes, in order. One message is under way at a time, so that what is sent names only what has its place.
#[derive(Default)]
pub(super) struct Drafts {
    queue: VecDeque<Draft>,
    last: u64,
    /// The number of the message that is under way, or of the last one.
    number: u64,
}

impl Drafts {
    pub fn next_seq(&self) -> u64 {
        self.last + 1
    }

    pub fn push(&mut self, entity_type: EntityType, hlc: HybridTimestamp, events: Vec<Event>) {
        self.last += 1;
        self.queue.push_back(Draft { seq: self.last, entity_type, hlc, events, sent: false, place: None });
    }

    pub fn of<'a>(&'a self, entity_type: &'a EntityType, id: &'a EntityId) -> impl Iterator<Item = &'a Draft> {
        self.queue.iter().filter(|draft| draft.touches(entity_type, id))
    }

    /// The entities of a type that writes touch that are not known to be saved.
    pub fn ids_of(&self, entity_type: &EntityType) -> Vec<EntityId> {
        let unsaved = self.queue.iter().filter(|draft| draft.place.is_none() && draft.entity_type == *entity_type);
        unsaved.flat_map(Draft::ids).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Writes that are not known to be saved.
    pub fn unsaved(&self) -> usize {
        self.queue.iter().filter(|draft| draft.place.is_none()).count()
    }

    /// The number of the oldest write that is not known to be saved, or that the next one will get.
    pub fn oldest_unsaved(&self) -> u64 {
        self.queue.iter().find(|draft| draft.place.is_none()).map_or(self.last + 1, |draft| draft.seq)
    }

    fn is_under_way(&self) -> bool {
        self.queue.iter().any(|draft| draft.sent && draft.place.is_none())
    }

    /// The next message, if none is under way: its number and the writes as the tab knows them.
    pub fn next_message(&mut self) -> Option<(u64, Vec<&Draft>)> {
        if self.is_under_way() || !self.queue.iter().any(|draft| !draft.sent) {
            return None;
        }
        self.number += 1;
        let mut ops = 0;
        for draft in self.queue.iter_mut().filter(|draft| !draft.sent).take(MAX_WRITES) {
            if ops > MAX_OPS {
                break;
            }
            ops += draft.events.iter().map(|event| event.ops.len()).sum::<usize>();
            draft.sent = true;
        }
        self.message()
    }

    /// The message that is under way.
    pub fn message(&self) -> Option<(u64, Vec<&Draft>)> {
        let under_way: Vec<&Draft> = self.queue.iter().filter(|draft| draft.sent && draft.place.is_none()).collect();
        (!under_way.is_empty()).then_some((self.number, under_way))
    }

    /// What became of a message: gives the drafts that will never be commits. Another message's result is passed over.
    pub fn saved(&mut self, number: u64, saved: TabSaved, me: PeerId) -> Vec<(Draft, Error)> {
        if number != self.number {
            return Vec::new();
        }
        let under_way: Vec<u64> =
            self.queue.iter().filter(|draft| draft.sent && draft.place.is_none()).map(|draft| draft.seq).collect();
        // Commits that came before this answer have their places already: results are told from the end.
        let results = saved.commits.into_iter().rev();
        let mut failed = Vec::new();
        for (seq, result) in under_way.into_iter().rev().zip(results) {
            match result {
                Ok(place) => self.place(seq, saved.log, place, me),
                Err(error) => failed.extend(self.remove(seq).map(|draft| (draft, error))),
            }
        }
        failed.reverse();
        failed
    }

    /// A write is a commit now: drafts that follow name it by its place, and have seen what it had.
    pub fn place(&mut self, seq: u64, log: LogId, place: u64, me: PeerId) {
        let Some(found) = self.queue.iter().position(|draft| draft.seq == seq && draft.place.is_none()) else { return };
        self.queue[found].place = Some(place);
        let (entity_type, mut seen) = (self.queue[found].entity_type.clone(), SortedMap::<EntityId, Seen>::new());
        for event in &self.queue[found].events {
            let known = seen.entry(event.entity).or_default();
            merge(known, &event.seen);
            merge(known, &[(log, place)]);
        }
        for draft in self.queue.iter_mut().skip(found + 1) {
            for event in &mut draft.events {
                for op in &mut event.ops {
                    let real = |dot: Dot| Some(if dot.seq == seq { Dot { log, seq: place, ..dot } } else { dot });
                    // Every dot has a place here, so nothing fails.
                    let _ = undraft(op, me, real);
                }
                if draft.entity_type == entity_type
                    && let Some(seen) = seen.remove(&event.entity)
                {
                    merge(&mut event.seen, &seen);
                }
            }
        }
    }

    /// A commit of this time has come. What is not saved yet will be committed after it, and so shows over it.
    pub fn raise(&mut self, over: HybridTimestamp) {
        let mut last = over;
        for draft in &mut self.queue {
            draft.hlc = draft.hlc.max(HybridTimestamp(last.0.saturating_add(1)));
            last = draft.hlc;
        }
    }

    /// The commit of a write has come: it is no draft any more.
    pub fn remove(&mut self, seq: u64) -> Option<Draft> {
        let found = self.queue.iter().position(|draft| draft.seq == seq)?;
        self.queue.remove(found)
    }

    /// A new leader: what has its place is in what it will send. Gives those drafts.
    pub fn drop_placed(&mut self) -> Vec<Draft> {
        let (placed, left) = std::mem::take(&mut self.queue).into_iter().partition(|draft| draft.place.is_some());
        self.queue = left;
        Vec::from_iter::<VecDeque<Draft>>(placed)
    }

    /// Takes out what was typed under a log that is no longer written: it is to be typed again.
    pub fn take_texts(&mut self) -> Vec<(EntityType, EntityId, FieldName)> {
        let mut fields = Vec::new();
        for draft in &mut self.queue {
            for event in &mut draft.events {
                let (entity_type, id) = (&draft.entity_type, event.entity);
                event.ops.retain(|op| match op {
                    FieldOp::Text { field, .. } => {
                        fields.push((entity_type.clone(), id, field.clone()));
                        false
                    }
                    _ => true,
                });
            }
            draft.events.retain(|event| !event.ops.is_empty());
        }
        self.queue.retain(|draft| !draft.events.is_empty());
        fields.sort();
        fields.dedup();
        fields
    }
}

/// As a message carries it: what the device's log has named before is left out.
pub(super) fn to_write(draft: &Draft, own: LogId, me: PeerId, named: impl Fn(&EntityId) -> Seen) -> TabWrite {
    let mut events = draft.events.clone();
    for event in &mut events {
        let named = named(&event.entity);
        let known = |log: &LogId, seq: u64| named.iter().any(|(known, upto)| known == log && *upto >= seq);
        event.seen.retain(|(log, seq)| *log != own && *log != draft_log(me) && !known(log, *seq));
    }
    TabWrite { seq: draft.seq, entity_type: draft.entity_type.clone(), hlc: draft.hlc, events }
}

fn merge(seen: &mut Seen, more: &[(LogId, u64)]) {
    for (log, upto) in more {
        match seen.binary_search_by_key(log, |(known, _)| *known) {
            Ok(found) => seen[found].1 = seen[found].1.max(*upto),
            Err(place) => seen.insert(place, (*log, *upto)),
        }
    }
}

/// Fails with the error of a message that was refused as a whole, unless it is worth sending again.
pub(super) fn is_lasting(error: &Error) -> Result<()> {
    if error.code().retryable() { Ok(()) } else { Err(error.clone()) }
}
