//! A text that somebody looks at or types in: one document that follows every update as it comes.

use std::borrow::Cow;

use yrs::updates::decoder::Decode;
use yrs::{ReadTxn, StateVector, Transact};

use super::author_of_client;
use super::doc::{Change, Document, open, shown, smallest_change};
use super::update::check_update;
use crate::crdt::edit::Edit;
use crate::crdt::logs::LogTable;
use crate::crdt::state::{EntityState, FieldState};
use crate::error::{Error, Result};
use crate::types::{FieldKind, FieldName};

/// A change of what a text shows: at a place so many code units go and this text comes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TextChange {
    /// The place, in UTF-16 code units.
    pub at: u32,
    /// How many code units go.
    pub gone: u32,
    /// What comes.
    pub new: String,
}

/// A text that is kept open, for edits under one client id.
pub struct TextDocument {
    document: Document,
    field: FieldName,
    client: u64,
    changes: Vec<TextChange>,
}

impl TextDocument {
    /// The text of a field; `client` is [`crate::crdt::text_client_id`] of a session that nobody else uses.
    pub fn open(state: &EntityState, field: &FieldName, logs: &LogTable, client: u64) -> Result<Self> {
        let held = match state.find(field, FieldKind::Text).ok().and_then(|found| state.fields.get(found)) {
            Some(found) => match &found.state {
                FieldState::Text(updates) => Some(&**updates),
                _ => None,
            },
            None => None,
        };
        let document = Document::new(open(held, logs, client)?, Default::default());
        Ok(Self { document, field: field.clone(), client, changes: Vec::new() })
    }

    /// What it shows.
    pub fn text(&self) -> &str {
        self.document.shown_text()
    }

    /// Makes a `Text…` edit and gives its update; none where it changes nothing.
    pub fn edit(&mut self, edit: &Edit) -> Result<Option<Vec<u8>>> {
        if let Edit::TextUpdate(_, update) = edit {
            return self.take_in(update);
        }
        let change = self.document.plan(&self.field, edit)?;
        if change.is_nothing() {
            return Ok(None);
        }
        if let Change::Replace { at, length, new } = &change {
            self.changes.push(TextChange { at: *at, gone: *length, new: (*new).to_owned() });
        }
        let Some(update) = self.document.change(&self.field, &[Cow::Borrowed(edit)])? else { return Ok(None) };
        check_update(&update, author_of_client(self.client))?;
        Ok(Some(update))
    }

    /// Takes an update of an editor that works under this client id, and gives what of it is new. After an error the
    /// document is to be opened again.
    fn take_in(&mut self, update: &[u8]) -> Result<Option<Vec<u8>>> {
        let before = self.document.doc().transact().state_vector();
        let deleted = self.document.doc().transact().snapshot().delete_set;
        self.apply(update)?;
        self.changes.clear();
        let transaction = self.document.doc().transact();
        if transaction.state_vector() == before && transaction.snapshot().delete_set == deleted {
            return Ok(None);
        }
        let new = transaction.encode_state_as_update_v1(&before);
        drop(transaction);
        check_update(&new, author_of_client(self.client)).map_err(|_| {
            Error::invalid(
                "an update from another Yjs document than this text's: give the editor's document `yjs.clientId`, and \
                 start it from `yjs.encode()`",
            )
        })?;
        Ok(Some(new))
    }

    /// Takes an update of somebody else.
    pub fn apply(&mut self, update: &[u8]) -> Result<()> {
        let unreadable = |error: &dyn std::fmt::Display| Error::invalid(format!("this is no Yjs update: {error}"));
        let update = yrs::Update::decode_v1(update).map_err(|error| unreadable(&error))?;
        self.document.doc().transact_mut().apply_update(update).map_err(|error| unreadable(&error))?;
        let now = shown(self.document.doc(), self.document.root()).0;
        if let Change::Replace { at, length, new } = smallest_change(self.text(), &now)
            && (length > 0 || !new.is_empty())
        {
            self.changes.push(TextChange { at, gone: length, new: new.to_owned() });
        }
        self.document.show(now);
        Ok(())
    }

    /// Notes how a text that showed `before` came to show this one.
    pub fn note_change_from(&mut self, before: &str) {
        if let Change::Replace { at, length, new } = smallest_change(before, self.document.shown_text()) {
            let change = TextChange { at, gone: length, new: new.to_owned() };
            self.changes.push(change);
        }
    }

    /// Everything, or what is new since a state vector, in Yjs's v1 encoding.
    pub fn encode(&self, since: Option<&[u8]>) -> Result<Vec<u8>> {
        let since = match since {
            Some(bytes) => StateVector::decode_v1(bytes)
                .map_err(|error| Error::invalid(format!("this is no Yjs state vector: {error}")))?,
            None => StateVector::default(),
        };
        Ok(self.document.doc().transact().encode_state_as_update_v1(&since))
    }

    /// What has changed since the last time.
    pub fn take_changes(&mut self) -> Vec<TextChange> {
        std::mem::take(&mut self.changes)
    }
}
