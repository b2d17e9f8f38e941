//! Writing and reading entities: the handle's methods for it.

use super::handle::{OrchestratorHandle, unexpected};
use crate::crdt::{Edit, EntityView};
use crate::engine::{Call, Change, EntityEdit, Reply};
use crate::error::{Error, ErrorCode, Result};
use crate::types::{EntityId, EntityType, Hash};

/// A write is answered once it is on the disk.
impl OrchestratorHandle {
    /// Makes an entity and answers its id.
    pub async fn create(&self, entity_type: EntityType, edits: Vec<Edit>) -> Result<EntityId> {
        let edits = if edits.is_empty() { vec![Edit::Create] } else { edits };
        let ids = self.batch(entity_type, vec![EntityEdit { id: None, edits }]).await?;
        match ids[..] {
            [id] => Ok(id),
            _ => unexpected(Reply::Written(ids)),
        }
    }

    /// Changes an entity. On a deleted one it fails with `deleted`.
    pub async fn update(&self, entity_type: EntityType, id: EntityId, edits: Vec<Edit>) -> Result<()> {
        self.batch(entity_type, vec![EntityEdit { id: Some(id), edits }]).await.map(drop)
    }

    /// Deletes an entity.
    pub async fn delete(&self, entity_type: EntityType, id: EntityId) -> Result<()> {
        self.update(entity_type, id, vec![Edit::Delete]).await
    }

    /// Brings a deleted entity back with all its fields.
    pub async fn restore(&self, entity_type: EntityType, id: EntityId) -> Result<()> {
        self.update(entity_type, id, vec![Edit::Restore]).await
    }

    /// Writes several entities of one type as one commit, all or none: 1 to `MAX_BATCH_SIZE` changes. Answers their ids
    /// in the same order.
    pub async fn batch(&self, entity_type: EntityType, changes: Vec<EntityEdit>) -> Result<Vec<EntityId>> {
        match self.call(Call::Write { entity_type, changes }).await? {
            Reply::Written(ids) => Ok(ids),
            reply => unexpected(reply),
        }
    }

    /// Writes entities of several types: one commit for each element, in this order, each all or none by itself. The
    /// answers stand in the same order; one that failed says nothing about the others.
    pub async fn batches(&self, batches: Vec<(EntityType, Vec<EntityEdit>)>) -> Vec<Result<Vec<EntityId>>> {
        // All are under way at once, so that they share one sync of the disk; the channel keeps their order.
        let writes = batches.into_iter().map(|(entity_type, changes)| self.batch(entity_type, changes));
        futures::future::join_all(writes).await
    }

    /// Reads one entity, deleted or not; fails with `not_found` if there is none of this type and id.
    pub async fn get(&self, entity_type: EntityType, id: EntityId) -> Result<EntityView> {
        let missing = format!("there is no {entity_type} {id}");
        let found = self.find(Some(entity_type), id).await?;
        found.into_iter().next().ok_or_else(|| Error::new(ErrorCode::NotFound, missing))
    }

    /// Reads whichever entities have this id: more than one if it is used under several types.
    pub async fn find(&self, entity_type: Option<EntityType>, id: EntityId) -> Result<Vec<EntityView>> {
        self.entities(Call::Get { entity_type, id }).await
    }

    /// Reads those of these entities (1 to 1,000) that there are, deleted or not, in the order of type and id.
    pub async fn get_many(&self, entity_type: Option<EntityType>, ids: Vec<EntityId>) -> Result<Vec<EntityView>> {
        self.entities(Call::GetMany { entity_type, ids }).await
    }

    /// Reads entities in the order of type and id, at most `limit` (1 to 10,000). `after` is the type and id of the last
    /// one of the page before.
    pub async fn list(
        &self,
        entity_type: Option<EntityType>,
        after: Option<(EntityType, EntityId)>,
        limit: usize,
    ) -> Result<Vec<EntityView>> {
        self.entities(Call::List { entity_type, after, limit }).await
    }

    /// Every change of an entity, oldest first.
    pub async fn history(&self, id: EntityId) -> Result<Vec<Change>> {
        match self.call(Call::History(id)).await? {
            Reply::History(changes) => Ok(changes),
            reply => unexpected(reply),
        }
    }

    /// One hash of the whole visible state: equal on two devices that show the same.
    pub async fn digest(&self) -> Result<Hash> {
        match self.call(Call::Digest).await? {
            Reply::Digest(digest) => Ok(digest),
            reply => unexpected(reply),
        }
    }

    async fn entities(&self, call: Call) -> Result<Vec<EntityView>> {
        match self.call(call).await? {
            Reply::Entities(entities) => Ok(entities),
            reply => unexpected(reply),
        }
    }
}
