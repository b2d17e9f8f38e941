//! What an app wants of an entity, before it is put into operations that name what the app had seen.

use crate::types::{FieldName, Value};

/// One wish. Positions and lengths in texts count UTF-16 code units, as JavaScript and Yjs do.
#[derive(Clone, PartialEq, Debug)]
pub enum Edit {
    /// Make the entity; no more than a mark where it exists already.
    Create,
    /// Delete it.
    Delete,
    /// Bring a deleted entity back with all its fields.
    Restore,
    /// Set a register.
    Set(FieldName, Value),
    /// Empty a field, whatever kinds it holds.
    Clear(FieldName),
    /// Add to a counter.
    Add(FieldName, i64),
    /// Put an item into a set.
    Insert(FieldName, Value),
    /// Take an item out of a set.
    Remove(FieldName, Value),
    /// Insert into a text.
    TextInsert(FieldName, u32, String),
    /// Delete from a text: position, length.
    TextDelete(FieldName, u32, u32),
    /// Make a text read so, by the smallest change found.
    TextReplace(FieldName, String),
    /// Mark a range of a text (position, length) with a key and value; `Null` takes the mark away.
    TextMark(FieldName, u32, u32, String, Value),
    /// An update in Yjs's v1 encoding, made by an editor under this device's client id.
    TextUpdate(FieldName, Vec<u8>),
    /// Another CRDT's update.
    Opaque(FieldName, Vec<u8>),
}

impl Edit {
    /// The text that it changes, by places in it or as a whole.
    pub(super) fn text_field(&self) -> Option<&FieldName> {
        match self {
            Edit::TextInsert(field, ..)
            | Edit::TextDelete(field, ..)
            | Edit::TextReplace(field, ..)
            | Edit::TextMark(field, ..) => Some(field),
            _ => None,
        }
    }
}
