//! Requests by entities: answered by vector clocks, which come from the entities' pages where they are not in memory.
//! No blocks are sent for it in particular: a reader of a type gets its logs whole anyway.

use std::collections::VecDeque;

use super::SyncEngine;
use super::entities::Key;
use super::io::LinkId;
use super::local::PageKey;
use crate::error::{Error, Result};
use crate::types::{EntityId, EntityType, VectorClock};
use crate::wire::{Message, SyncState, SyncStateMessage};

/// Entities in one request.
const MAX_ENTITIES: usize = 256;
/// Bytes of clocks in one message.
const FRAME_FILL: usize = 60 << 10;
/// Bytes of an entity and of an entry of its clock at most, as they are written.
const ENTITY_BYTES: usize = 160;
const ENTRY_BYTES: usize = 52;

type Told = (EntityType, EntityId, VectorClock);

/// A request that waits for pages.
#[derive(Debug)]
pub struct ClockRequest {
    id: u32,
    /// Entities to come, ascending.
    keys: VecDeque<Key>,
    told: Vec<Told>,
    /// The pages that are waited for.
    pub waits: Vec<PageKey>,
}

impl SyncEngine {
    /// A peer asks for clocks. An entity of a type that it may not read is told like one that there is not.
    pub(super) fn clocks_asked(
        &mut self,
        link: LinkId,
        id: u32,
        mut entities: Vec<(EntityType, EntityId)>,
    ) -> Result<()> {
        if entities.len() > MAX_ENTITIES {
            return Err(Error::protocol(format!("a request for over {MAX_ENTITIES} entities")));
        }
        let Some(session) = self.sessions.get(&link) else { return Ok(()) };
        if session.clocks.is_some() {
            return Err(Error::protocol("a request for entities before the last one was answered"));
        }
        let peer = session.peer;
        let policy = self.vault()?.policy.clone();
        entities.sort_unstable();
        entities.dedup();
        self.audit_asked(link, entities.iter().map(|(name, _)| name));
        let (mut keys, mut told) = (Vec::new(), Vec::new());
        for (name, entity) in entities {
            match self.find_type(&name).filter(|_| policy.can_send(name.as_str(), &peer)) {
                Some(ty) => keys.push((ty, entity)),
                None => told.push((name, entity, VectorClock::new())),
            }
        }
        keys.sort_unstable();
        if let Some(session) = self.sessions.get_mut(&link) {
            session.clocks = Some(ClockRequest { id, keys: keys.into(), told, waits: Vec::new() });
        }
        self.clocks_step(link);
        Ok(())
    }

    /// Answers as soon as the pages have come.
    pub(super) fn clocks_step(&mut self, link: LinkId) {
        let Some(session) = self.sessions.get_mut(&link) else { return };
        let peer = session.peer;
        let Some(mut request) = session.clocks.take() else { return };
        while let Some(key) = request.keys.front().copied().filter(|key| self.entities.is_loaded(key)) {
            request.keys.pop_front();
            let clock = self.entities.get(&key).map(|state| state.clock(&self.ids)).unwrap_or_default();
            // What it may read can have changed since it asked.
            request.told.extend(self.type_name(key.0).map(|name| {
                let clock = if self.may_exchange(name.as_str(), &peer) { clock } else { VectorClock::new() };
                (name.clone(), key.1, clock)
            }));
        }
        if request.keys.is_empty() {
            self.let_go();
            return messages(request.told).into_iter().for_each(|clocks| {
                let state = SyncState::Clocks(clocks);
                self.send(link, &Message::SyncState(SyncStateMessage { id: request.id, state }));
            });
        }
        let pages = self.entities.pages_for(&request.keys);
        request.waits = self.read_pages(pages);
        if let Some(session) = self.sessions.get_mut(&link) {
            session.clocks = Some(request);
        }
    }
}

/// Cuts an answer into messages that fit into frames; a clock that fits into none is told empty.
fn messages(told: Vec<Told>) -> Vec<Vec<Told>> {
    let mut messages: Vec<Vec<Told>> = vec![Vec::new()];
    let mut bytes = 0;
    for (name, entity, mut clock) in told {
        if ENTITY_BYTES + clock.len() * ENTRY_BYTES > FRAME_FILL {
            clock = VectorClock::new();
        }
        let size = ENTITY_BYTES + clock.len() * ENTRY_BYTES;
        if bytes + size > FRAME_FILL {
            messages.push(Vec::new());
            bytes = 0;
        }
        bytes += size;
        if let Some(message) = messages.last_mut() {
            message.push((name, entity, clock));
        }
    }
    messages
}
