//! What makes an event invalid beyond its encoding.

use super::text;
use crate::error::Result;
use crate::types::{Event, FieldOp, LogId};

/// Checks an event of the log `own`: its text updates are well formed, hold what a text may hold, and were made under
/// a client id of this log. An event that fails makes its commit invalid as a whole.
pub fn check_event(event: &Event, own: LogId) -> Result<()> {
    let mut author = None;
    for op in &event.ops {
        if let FieldOp::Text { update, .. } = op {
            let author = *author.get_or_insert_with(|| text::client_author(&own));
            text::check_update(update, author)?;
        }
    }
    Ok(())
}
