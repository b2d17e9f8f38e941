//! What the page writes: drafts over what is saved, until the leader says that they are.

use super::{Blind, MAX_DRAFTS, Replica, Update, text_event};
use crate::crdt::{Edit, EntityState, EventAt, TextSession};
use crate::engine::draft_log;
use crate::engine::local::check_size;
use crate::error::{Error, ErrorCode, Result};
use crate::tabs::draft::to_write;
use crate::tabs::message::ToLeader;
use crate::types::limits::MAX_BATCH_SIZE;
use crate::types::{EntityId, EntityType, Event, FieldOp, HybridTimestamp, Instant};

impl Replica {
    /// Lays an entity's drafts over what is saved of it.
    pub(super) fn redraft(&mut self, entity_type: &EntityType, id: EntityId) {
        let Some(own) = self.own else { return };
        let Some(shown) = self.kinds.get_mut(entity_type).and_then(|kind| kind.entities.get_mut(&id)) else { return };
        let log = self.logs.intern(draft_log(own.author));
        let mut drafted: Option<EntityState> = None;
        for draft in self.drafts.of(entity_type, &id) {
            let state = drafted.get_or_insert_with(|| shown.base.clone());
            let at = EventAt { log, seq: draft.seq, index: 0, hlc: draft.hlc, commit: 0, counts: true };
            for (index, event) in (0..).zip(&draft.events).filter(|(_, event)| event.entity == id) {
                state.apply(event, &EventAt { index, ..at }, &mut self.logs);
            }
        }
        shown.drafted = drafted;
    }

    pub(super) fn reopen_texts(&mut self, entity_type: &EntityType, id: EntityId) {
        let client = self.text_client();
        for key in self.texts.of(entity_type, &id) {
            let Some(shown) = self.kinds.get(entity_type).and_then(|kind| kind.entities.get(&id)) else { return };
            self.texts.open_again(&key, shown.state(), &self.logs, client);
            text_event(&mut self.texts, &mut self.updates, key, None);
        }
    }

    /// A new entity's id.
    pub fn new_id(&mut self, now: Instant) -> EntityId {
        self.entropy.entity_id(now.wall)
    }

    /// Writes entities of one type as one commit, all or none. It shows at once. Of an entity that is not here the
    /// write waits until it is.
    pub fn write(&mut self, now: Instant, entity_type: &EntityType, changes: Vec<(EntityId, Vec<Edit>)>) -> Result<()> {
        if changes.len() > MAX_BATCH_SIZE {
            return Err(Error::too_large(format!(
                "a batch of {} changes; {MAX_BATCH_SIZE} are the limit: split it",
                changes.len()
            )));
        }
        if self.unsaved() >= MAX_DRAFTS {
            return Err(Error::new(ErrorCode::Quota, "too many writes wait to be saved; wait for `settled()`"));
        }
        let kind = self.kinds.entry(entity_type.clone()).or_default();
        let mut unknown: Vec<EntityId> = Vec::new();
        for (id, edits) in &changes {
            // An id that was made just now is nowhere else.
            if matches!(edits.first(), Some(Edit::Create)) || (kind.ready && !kind.entities.contains_key(id)) {
                kind.entities.entry(*id).or_default();
            } else if !kind.entities.contains_key(id) {
                unknown.push(*id);
            }
        }
        let waits = |(of, earlier): &Blind| {
            of == entity_type && earlier.iter().any(|(id, _)| changes.iter().any(|(other, _)| other == id))
        };
        // Between two leaders what is here is written as its user sees it.
        if !unknown.is_empty() || self.own.is_none() || self.blind.iter().any(waits) {
            self.fetch(entity_type, &unknown);
            self.blind.push_back((entity_type.clone(), changes));
            return Ok(());
        }
        self.draft(now, entity_type, changes)?;
        self.send(now);
        Ok(())
    }

    pub(super) fn draft(
        &mut self,
        now: Instant,
        entity_type: &EntityType,
        changes: Vec<(EntityId, Vec<Edit>)>,
    ) -> Result<()> {
        let hlc = self.hlc.tick(now);
        let mut events: Vec<Event> = Vec::with_capacity(changes.len());
        let mut done: Vec<EntityId> = Vec::with_capacity(changes.len());
        let mut result = Ok(());
        for (id, edits) in changes {
            done.push(id);
            if let Err(error) = self.draft_one(entity_type, id, edits, hlc, &mut events) {
                result = Err(error);
                break;
            }
        }
        result = result.and_then(|()| check_size(&events, &mut Vec::new()));
        if let Err(error) = result {
            for id in done {
                self.redraft(entity_type, id);
                self.reopen_texts(entity_type, id);
            }
            return Err(error);
        }
        if !events.is_empty() {
            self.drafts.push(entity_type.clone(), hlc, events);
            self.updates.push(Update::Entities(entity_type.clone(), done));
        }
        Ok(())
    }

    fn draft_one(
        &mut self,
        entity_type: &EntityType,
        id: EntityId,
        edits: Vec<Edit>,
        hlc: HybridTimestamp,
        events: &mut Vec<Event>,
    ) -> Result<()> {
        let own = self.own.ok_or_else(|| Error::new(ErrorCode::Closed, "the store is not open yet"))?;
        let client = self.text_client();
        let edits = self.typed(entity_type, id, edits, client)?;
        let log = self.logs.intern(draft_log(own.author));
        let at = EventAt { log, seq: self.drafts.next_seq(), index: events.len() as u32, hlc, commit: 0, counts: true };
        let kind = self.kinds.entry(entity_type.clone()).or_default();
        let shown = kind.entities.entry(id).or_default();
        let state = shown.state();
        let ops = state.prepare_in(&edits, &at, &self.logs, &mut TextSession::new(client))?;
        if ops.is_empty() {
            return Ok(());
        }
        let event = Event { entity: id, seen: state.seen_for(log, &self.logs), ops };
        // A field that was cleared may be a text that is open.
        for op in &event.ops {
            let FieldOp::Text { field, update } = op else { continue };
            let key = (entity_type.clone(), id, field.clone());
            self.texts.apply(&key, update, shown.state(), &self.logs, client);
            let users = self.texts.is_watched(&key);
            if users {
                text_event(&mut self.texts, &mut self.updates, key, Some(update.clone()));
            }
        }
        if shown.drafted.is_none() {
            shown.drafted = Some(shown.base.clone());
        }
        if let Some(state) = &mut shown.drafted {
            state.apply(&event, &at, &mut self.logs);
        }
        events.push(event);
        Ok(())
    }

    /// Puts edits of texts into updates, by the documents that the user sees.
    fn typed(&mut self, entity_type: &EntityType, id: EntityId, edits: Vec<Edit>, client: u64) -> Result<Vec<Edit>> {
        let mut typed = Vec::with_capacity(edits.len());
        for edit in edits {
            let field = match &edit {
                Edit::TextInsert(field, ..)
                | Edit::TextDelete(field, ..)
                | Edit::TextReplace(field, ..)
                | Edit::TextMark(field, ..)
                | Edit::TextUpdate(field, ..) => field.clone(),
                _ => {
                    typed.push(edit);
                    continue;
                }
            };
            let kind = self.kinds.entry(entity_type.clone()).or_default();
            let state = kind.entities.entry(id).or_default().state();
            if state.exists() && !state.is_visible() {
                return Err(Error::new(ErrorCode::Deleted, "the entity is deleted; restore it first"));
            }
            let key = (entity_type.clone(), id, field.clone());
            let update = self.texts.document(&key, state, &self.logs, client)?.edit(&edit)?;
            typed.extend(update.map(|update| Edit::TextUpdate(field, update)));
        }
        Ok(typed)
    }

    /// Writes what waited for entities that are here now.
    pub(super) fn write_blind(&mut self, now: Instant) {
        if !self.welcome {
            return;
        }
        for (key, text) in std::mem::take(&mut self.retype) {
            if self.is_here(&key.0, &key.1) {
                let edits = vec![Edit::TextReplace(key.2.clone(), text)];
                if let Err(error) = self.draft(now, &key.0, vec![(key.1, edits)]) {
                    self.fail(key.0, vec![key.1], error);
                }
            } else {
                self.retype.push((key, text));
            }
        }
        while let Some((entity_type, changes)) = self.blind.front()
            && changes.iter().all(|(id, _)| self.is_here(entity_type, id))
        {
            let Some((entity_type, changes)) = self.blind.pop_front() else { return };
            let ids: Vec<EntityId> = changes.iter().map(|(id, _)| *id).collect();
            if let Err(error) = self.draft(now, &entity_type, changes) {
                self.fail(entity_type, ids, error);
                self.updates.push(Update::Saved);
            }
        }
    }

    pub(super) fn is_here(&self, entity_type: &EntityType, id: &EntityId) -> bool {
        self.kinds.get(entity_type).is_some_and(|kind| kind.ready || kind.entities.contains_key(id))
    }

    pub(super) fn send(&mut self, now: Instant) {
        if self.welcome && self.drafts.next_message().is_some() {
            self.sent_at = now.mono;
            self.out.extend(self.message_under_way());
        }
    }

    pub(super) fn message_under_way(&self) -> Option<ToLeader> {
        let own = self.own?;
        let (number, drafts) = self.drafts.message()?;
        let log = self.logs.find(&own);
        let writes = drafts.into_iter().map(|draft| {
            let kind = self.kinds.get(&draft.entity_type);
            to_write(draft, own, own.author, |id| {
                let shown = kind.and_then(|kind| kind.entities.get(id));
                log.zip(shown).map(|(log, shown)| shown.base.named_by(log, &self.logs)).unwrap_or_default()
            })
        });
        Some(ToLeader::Write(self.tab, number, own, writes.collect()))
    }
}
