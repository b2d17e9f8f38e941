//! How an app hears of changes: every reader has a place of its own in one bounded ring of events.

use tokio::sync::broadcast::{self, error::RecvError};

use super::blocking::block_on;
use super::handle::OrchestratorHandle;
use crate::crdt::EntityView;
use crate::engine::SyncEvent;
use crate::error::{ErrorCode, Result};
use crate::types::{EntityId, EntityType, SortedSet};

/// Events that the ring holds. A reader further behind than this loses the oldest and is told how many.
pub const EVENT_CAPACITY: usize = 1_024;

/// The events of one orchestrator, in order, from when the stream was made; the first stream of an orchestrator starts
/// with its first event. It never stalls the engine: a reader that falls more than [`EVENT_CAPACITY`] events behind gets
/// [`SyncEvent::Lagged`] with the number of those it lost, then goes on with the oldest that is left.
#[derive(Debug)]
pub struct EventStream {
    receiver: broadcast::Receiver<SyncEvent>,
}

impl EventStream {
    pub(super) fn new(receiver: broadcast::Receiver<SyncEvent>) -> Self {
        Self { receiver }
    }

    /// The next event; `None` once the orchestrator is gone. Cancel-safe.
    pub async fn next(&mut self) -> Option<SyncEvent> {
        match self.receiver.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(lost)) => Some(SyncEvent::Lagged(lost)),
            Err(RecvError::Closed) => None,
        }
    }

    /// The same events for a thread that may block.
    pub fn blocking(self) -> BlockingEvents {
        BlockingEvents(self)
    }
}

/// An [`EventStream`] whose `next` blocks the thread.
#[derive(Debug)]
pub struct BlockingEvents(EventStream);

impl Iterator for BlockingEvents {
    type Item = SyncEvent;

    fn next(&mut self) -> Option<SyncEvent> {
        block_on(self.0.next())
    }
}

/// Which entities a [`Subscription`] is about: those that match every part that is given.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Filter {
    /// Entities of this type.
    pub entity_type: Option<EntityType>,
    /// These entities.
    pub ids: Option<SortedSet<EntityId>>,
}

impl Filter {
    /// Every entity of one type.
    pub fn of_type(entity_type: EntityType) -> Self {
        Self { entity_type: Some(entity_type), ids: None }
    }

    /// These entities, whatever their type.
    pub fn of_ids(ids: impl IntoIterator<Item = EntityId>) -> Self {
        Self { entity_type: None, ids: Some(ids.into_iter().collect()) }
    }
}

/// What a [`Subscription`] tells.
#[derive(Clone, PartialEq, Debug)]
pub enum Update {
    /// These entities changed, and read so now: deleted ones too. Changes that came quickly after one another may show
    /// as one.
    Entities(Vec<EntityView>),
    /// The subscriber was too slow and so many events are lost to it: read everything again.
    Lagged(u64),
}

/// Changes of the entities that a [`Filter`] picks, each with what the entity reads now.
#[derive(Debug)]
pub struct Subscription {
    events: EventStream,
    filter: Filter,
    handle: OrchestratorHandle,
}

impl Subscription {
    pub(super) fn new(events: EventStream, filter: Filter, handle: OrchestratorHandle) -> Self {
        Self { events, filter, handle }
    }

    /// The next update; `None` once the orchestrator has stopped. An error is about this update only.
    pub async fn next(&mut self) -> Option<Result<Update>> {
        loop {
            let ids = match self.events.next().await? {
                SyncEvent::EntitiesUpdated(ids) => ids,
                SyncEvent::Lagged(lost) => return Some(Ok(Update::Lagged(lost))),
                SyncEvent::Stopped => return None,
                _ => continue,
            };
            match self.read(ids).await {
                Ok(entities) if entities.is_empty() => {}
                Ok(entities) => return Some(Ok(Update::Entities(entities))),
                // The engine stopped between the event and the reading.
                Err(error) if error.code() == ErrorCode::Closed => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }

    async fn read(&self, ids: Vec<EntityId>) -> Result<Vec<EntityView>> {
        let mut entities = Vec::new();
        for id in ids {
            if self.filter.ids.as_ref().is_some_and(|wanted| !wanted.contains(&id)) {
                continue;
            }
            match self.handle.find(self.filter.entity_type.clone(), id).await {
                Ok(found) => entities.extend(found),
                Err(error) if error.code() == ErrorCode::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(entities)
    }
}
