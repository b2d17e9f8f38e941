//! Texts in a build without the feature `text`: kept and replicated, neither read nor edited.

use crate::crdt::edit::Edit;
use crate::crdt::logs::LogTable;
use crate::crdt::updates::Updates;
use crate::error::{Error, ErrorCode, Result};
use crate::types::FieldName;

/// The texts that one event edits.
pub(in crate::crdt) struct TextEdits;

impl TextEdits {
    pub fn new(_client: u64) -> Self {
        Self
    }

    pub fn edit(
        &mut self,
        field: &FieldName,
        _edit: &Edit,
        _held: Option<&Updates>,
        _logs: &LogTable,
    ) -> Result<Option<Vec<u8>>> {
        Err(Error::new(
            ErrorCode::Unsupported,
            format!("`{field}` is a text, and this build has no texts; build it with the feature `text`"),
        ))
    }
}
