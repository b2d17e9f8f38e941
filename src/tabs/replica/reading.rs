//! What the page reads, and what it asks for.

use super::{Looked, Replica, Seen, Update};
use crate::crdt::{EntityState, FieldValue, TextDocument, text_client_id};
use crate::error::{Error, ErrorCode, Result};
use crate::tabs::answer::Ask;
use crate::tabs::message::ToLeader;
use crate::tabs::texts::TextKey;
use crate::types::limits::MAX_BATCH_SIZE;
use crate::types::{EntityId, EntityType, FieldName};

enum Known<'a> {
    Unknown,
    Absent,
    There(&'a EntityState),
}

impl Replica {
    /// Wants all entities of a type, and what changes of them:
    /// [`Update::Ready`] tells when they are here.
    pub fn watch(&mut self, entity_type: &EntityType) {
        let kind = self.kinds.entry(entity_type.clone()).or_default();
        if !std::mem::replace(&mut kind.watched, true) && self.welcome {
            self.out.push(ToLeader::Watch(self.tab, entity_type.clone()));
        }
    }

    /// Whether all entities of a type are here.
    pub fn is_ready(&self, entity_type: &EntityType) -> bool {
        self.kinds.get(entity_type).is_some_and(|kind| kind.ready)
    }

    /// Wants these entities: [`Update::Fetched`] tells when they are here.
    pub fn fetch(&mut self, entity_type: &EntityType, ids: &[EntityId]) {
        let kind = self.kinds.entry(entity_type.clone()).or_default();
        let new: Vec<EntityId> =
            ids.iter().filter(|id| !kind.entities.contains_key(id) && kind.fetching.insert(**id)).copied().collect();
        if self.welcome {
            for ids in new.chunks(MAX_BATCH_SIZE) {
                self.out.push(ToLeader::Fetch(self.tab, entity_type.clone(), ids.to_vec()));
            }
        }
    }

    /// What an entity shows.
    pub fn read(&self, entity_type: &EntityType, id: &EntityId) -> Seen {
        match self.known(entity_type, id) {
            Known::There(state) => {
                let fields = state.fields_but_texts(&self.logs).map(|(name, value)| (name.clone(), value));
                Seen::There { deleted: !state.is_visible(), fields: fields.collect() }
            }
            Known::Absent => Seen::Absent,
            Known::Unknown => Seen::Unknown,
        }
    }

    /// Runs `with` on the fields of an entity that is there and not deleted, but for texts; gives what it gives.
    pub fn look<T>(
        &self,
        entity_type: &EntityType,
        id: &EntityId,
        with: impl FnOnce(&mut dyn Iterator<Item = (&FieldName, FieldValue)>) -> T,
    ) -> Looked<T> {
        match self.known(entity_type, id) {
            Known::There(state) if state.is_visible() => Looked::Visible(with(&mut state.fields_but_texts(&self.logs))),
            Known::There(_) | Known::Absent => Looked::Gone,
            Known::Unknown => Looked::Unknown,
        }
    }

    fn known(&self, entity_type: &EntityType, id: &EntityId) -> Known<'_> {
        let Some(kind) = self.kinds.get(entity_type) else { return Known::Unknown };
        match kind.entities.get(id) {
            Some(shown) if shown.state().exists() => Known::There(shown.state()),
            Some(_) => Known::Absent,
            None if kind.ready => Known::Absent,
            None => Known::Unknown,
        }
    }

    /// The entities of a type that are here and not deleted, in the order of their ids.
    pub fn ids(&self, entity_type: &EntityType) -> Vec<EntityId> {
        let Some(kind) = self.kinds.get(entity_type) else { return Vec::new() };
        kind.entities.iter().filter(|(_, shown)| shown.state().is_visible()).map(|(id, _)| *id).collect()
    }

    /// What a text shows; empty where its entity is not here.
    pub fn text(&self, key: &(EntityType, EntityId, FieldName)) -> String {
        if let Some(document) = self.texts.get(key) {
            return document.text().to_owned();
        }
        let shown = self.kinds.get(&key.0).and_then(|kind| kind.entities.get(&key.1));
        let document = shown.and_then(|shown| {
            let client = self.text_client();
            TextDocument::open(shown.state(), &key.2, &self.logs, client).ok()
        });
        document.map(|document| document.text().to_owned()).unwrap_or_default()
    }

    /// Tells changes of a text from now on, until [`Replica::unwatch_text`].
    pub fn watch_text(&mut self, key: &(EntityType, EntityId, FieldName)) -> Result<()> {
        self.texts.watch(key);
        self.open_text(key)
    }

    /// See [`Replica::watch_text`].
    pub fn unwatch_text(&mut self, key: &(EntityType, EntityId, FieldName)) {
        self.texts.unwatch(key);
    }

    /// The Yjs client id for editors in this tab: not the one under which the tab itself types, for Yjs gives up an id
    /// that it sees somebody else use.
    pub fn editor_client(&self) -> u64 {
        self.own.map_or(0, |own| text_client_id(own, self.session * 2 + 1))
    }

    pub(super) fn text_client(&self) -> u64 {
        self.own.map_or(0, |own| text_client_id(own, self.session * 2))
    }

    /// A text, or what is new of it since a state vector, as a Yjs update.
    pub fn encode_text(&mut self, key: &(EntityType, EntityId, FieldName), since: Option<&[u8]>) -> Result<Vec<u8>> {
        self.open_text(key)?;
        match self.texts.get(key) {
            Some(document) => document.encode(since),
            None => Err(Error::new(ErrorCode::NotFound, "the text's entity is not here (yet); read it first")),
        }
    }

    fn open_text(&mut self, key: &TextKey) -> Result<()> {
        let client = self.text_client();
        let shown = self.kinds.get(&key.0).and_then(|kind| kind.entities.get(&key.1));
        match shown {
            Some(shown) => self.texts.document(key, shown.state(), &self.logs, client).map(drop),
            None => Ok(()),
        }
    }

    /// Asks the leader; [`Update::Answer`] comes with the same number. A leader that comes after is
    /// asked again.
    pub fn ask(&mut self, ask: Ask) -> u64 {
        self.next_ask += 1;
        if let Some(error) = &self.broken {
            self.updates.push(Update::Answer(self.next_ask, Err(error.clone())));
            return self.next_ask;
        }
        if self.welcome {
            self.out.push(ToLeader::Ask(self.tab, self.next_ask, ask.clone()));
        }
        self.asks.insert(self.next_ask, ask);
        self.next_ask
    }

    /// Nobody waits for this answer any more.
    pub fn forget(&mut self, ask: u64) {
        self.asks.remove(&ask);
    }
}
