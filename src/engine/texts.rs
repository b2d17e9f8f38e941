//! Texts that the app edits now, kept open: building a document takes time that grows with the text.

use super::entities::Key;
use crate::crdt::{Edit, TextSession, text_client_id};
use crate::types::LogId;

/// Entities whose texts stay open; each costs the memory of its documents.
const OPEN_TEXTS: usize = 4;

/// The entities whose texts were edited last, the latest at the end.
#[derive(Default)]
pub struct Texts(Vec<(Key, LogId, TextSession)>);

impl Texts {
    /// Takes out the session for edits of an entity; a new one where none is kept, or where the texts were edited under
    /// another log, and so under another client id. A session looks by itself whether its documents are what the entity
    /// holds.
    pub fn take(&mut self, key: Key, log: LogId, edits: &[Edit]) -> TextSession {
        let place = self.0.iter().position(|(kept, _, _)| *kept == key).filter(|_| edits.iter().any(is_text));
        match place.map(|place| self.0.remove(place)) {
            Some((_, of, session)) if of == log => session,
            _ => TextSession::new(text_client_id(log, 0)),
        }
    }

    /// Keeps a session for the next edits, if there were texts in these.
    pub fn keep(&mut self, key: Key, log: LogId, edits: &[Edit], session: TextSession) {
        if edits.iter().any(is_text) {
            if self.0.len() >= OPEN_TEXTS {
                self.0.remove(0);
            }
            self.0.push((key, log, session));
        }
    }
}

fn is_text(edit: &Edit) -> bool {
    matches!(edit, Edit::TextInsert(..) | Edit::TextDelete(..) | Edit::TextReplace(..) | Edit::TextMark(..))
}
