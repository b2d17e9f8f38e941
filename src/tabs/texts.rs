//! The texts that a tab has open.

use crate::crdt::{EntityState, LogTable, TextChange, TextDocument};
use crate::error::Result;
use crate::types::{EntityId, EntityType, FieldName, SortedMap};

/// Texts that stay open though nobody watches them; each costs the memory of its document.
const MAX_IDLE: usize = 16;

/// A text: type, entity, field.
pub(super) type TextKey = (EntityType, EntityId, FieldName);

struct Open {
    document: TextDocument,
    /// How many watch it.
    users: usize,
    /// When it was last used.
    used: u64,
}

#[derive(Default)]
pub(super) struct Texts {
    open: SortedMap<TextKey, Open>,
    /// Watched, but not open: their entity is not here (yet).
    waiting: SortedMap<TextKey, usize>,
    clock: u64,
}

impl Texts {
    /// Whether none is open or watched.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty() && self.waiting.is_empty()
    }

    pub fn get(&self, key: &TextKey) -> Option<&TextDocument> {
        self.open.get(key).map(|open| &open.document)
    }

    /// The document of a text, opened where it is not.
    pub fn document(
        &mut self,
        key: &TextKey,
        state: &EntityState,
        logs: &LogTable,
        client: u64,
    ) -> Result<&mut TextDocument> {
        self.clock += 1;
        if !self.open.contains_key(key) {
            let document = TextDocument::open(state, &key.2, logs, client)?;
            let users = self.waiting.remove(key).unwrap_or(0);
            self.let_go();
            self.open.insert(key.clone(), Open { document, users, used: 0 });
        }
        let used = self.clock;
        // It was put there just now, if it was not there before.
        let open =
            self.open.get_mut(key).ok_or_else(|| crate::error::Error::storage("a text was closed amid its use"))?;
        open.used = used;
        Ok(&mut open.document)
    }

    fn let_go(&mut self) {
        let idle = self.open.iter().filter(|(_, open)| open.users == 0);
        if idle.clone().count() >= MAX_IDLE
            && let Some(key) = idle.min_by_key(|(_, open)| open.used).map(|(key, _)| key.clone())
        {
            self.open.remove(&key);
        }
    }

    pub fn watch(&mut self, key: &TextKey) {
        match self.open.get_mut(key) {
            Some(open) => open.users += 1,
            None => *self.waiting.entry(key.clone()).or_default() += 1,
        }
    }

    pub fn unwatch(&mut self, key: &TextKey) {
        if let Some(open) = self.open.get_mut(key) {
            open.users = open.users.saturating_sub(1);
        } else if let Some(users) = self.waiting.get_mut(key) {
            *users = users.saturating_sub(1);
            if *users == 0 {
                self.waiting.remove(key);
            }
        }
    }

    /// Whether a text is watched, open or not.
    pub fn is_watched(&self, key: &TextKey) -> bool {
        self.waiting.contains_key(key) || self.open.get(key).is_some_and(|open| open.users > 0)
    }

    /// The open and watched texts of an entity.
    pub fn of(&self, entity_type: &EntityType, id: &EntityId) -> Vec<TextKey> {
        let here = |key: &&TextKey| key.0 == *entity_type && key.1 == *id;
        self.open.keys().filter(here).chain(self.waiting.keys().filter(here)).cloned().collect()
    }

    /// Somebody else's update; a document that cannot take it is opened again.
    pub fn apply(&mut self, key: &TextKey, update: &[u8], state: &EntityState, logs: &LogTable, client: u64) {
        if let Some(open) = self.open.get_mut(key)
            && open.document.apply(update).is_err()
        {
            self.open_again(key, state, logs, client);
        }
    }

    /// The entity was read anew: its text is what that says.
    pub fn open_again(&mut self, key: &TextKey, state: &EntityState, logs: &LogTable, client: u64) {
        let Ok(mut document) = TextDocument::open(state, &key.2, logs, client) else { return };
        match self.open.get_mut(key) {
            Some(open) => {
                if open.document.text() != document.text() {
                    document.note_change_from(open.document.text());
                }
                open.document = document;
            }
            None => {
                if let Some(users) = self.waiting.remove(key) {
                    document.note_change_from("");
                    self.open.insert(key.clone(), Open { document, users, used: self.clock });
                }
            }
        }
    }

    pub fn take_changes(&mut self, key: &TextKey) -> Vec<TextChange> {
        self.open.get_mut(key).map(|open| open.document.take_changes()).unwrap_or_default()
    }
}
