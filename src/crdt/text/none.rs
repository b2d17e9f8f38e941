//! Texts in a build without the feature `text`: kept and replicated, neither read nor edited.

use std::borrow::Cow;

use crate::crdt::edit::Edit;
use crate::crdt::logs::{EventAt, LogTable};
use crate::crdt::updates::Updates;
use crate::error::{Error, ErrorCode, Result};
use crate::types::FieldName;

/// The texts of one entity as they are edited; nothing in this build.
pub struct TextSession;

impl TextSession {
    /// For edits under this client id ([`crate::crdt::text_client_id`]).
    pub fn new(_client: u64) -> Self {
        Self
    }

    pub(in crate::crdt) fn edit(
        &mut self,
        field: &FieldName,
        _edits: &[Cow<'_, Edit>],
        _held: Option<&Updates>,
        _at: &EventAt,
        _logs: &LogTable,
    ) -> Result<Option<Vec<u8>>> {
        Err(Error::new(
            ErrorCode::Unsupported,
            format!("`{field}` is a text, and this build has no texts; build it with the feature `text`"),
        ))
    }
}
