//! Texts: Yjs documents, one per (entity, field), with one root text named `t`. At rest a text is its updates; a
//! document is built when somebody reads or edits it.

#[cfg(feature = "text")]
mod build;
#[cfg(feature = "text")]
mod doc;
#[cfg(feature = "text")]
mod live;
#[cfg(not(feature = "text"))]
mod none;
#[cfg(feature = "text")]
mod structs;
#[cfg(test)]
pub(super) mod testing;
mod update;

#[cfg(feature = "text")]
pub use doc::TextSession;
#[cfg(feature = "text")]
pub(super) use doc::read;
#[cfg(feature = "text")]
pub use live::{TextChange, TextDocument};
#[cfg(not(feature = "text"))]
pub use none::TextSession;
pub(super) use update::check_update;
pub use update::typed_in;

use crate::types::codec::put_varint;
use crate::types::{Hash, LogId};

/// Sessions of a log: client ids have 12 bits for them.
pub const MAX_TEXT_SESSIONS: u16 = 1 << 12;

/// The Yjs client id for texts that a log's author edits: 41 bits of hash(author, epoch), 12 of a session number
/// (taken modulo [`MAX_TEXT_SESSIONS`]) that is never used again. 53 bits, so that JavaScript can hold it.
pub fn text_client_id(log: LogId, session: u16) -> u64 {
    client_author(&log) << 12 | u64::from(session % MAX_TEXT_SESSIONS)
}

/// The 41 bits that all client ids of a log share.
pub(super) fn client_author(log: &LogId) -> u64 {
    let mut bytes = log.author.0.to_vec();
    put_varint(&mut bytes, log.epoch.0);
    Hash::derive("privstack-sync 2026-11 text client of a log", &bytes).short() >> 23
}

/// The author's bits of a client id.
pub(super) fn author_of_client(client: u64) -> u64 {
    client >> 12
}
