//! Names that a message mentions more than once: in full the first time, behind a 0; by their number after that.

use super::codec::decode_type;
use crate::error::{Error, Result};
use crate::types::codec::{Reader, put_bytes, put_varint};
use crate::types::{EntityType, Epoch, LogId, PeerId};

/// Writes names; one for each list.
#[derive(Default)]
pub(super) struct WriteRefs {
    types: Vec<EntityType>,
    authors: Vec<PeerId>,
    logs: Vec<LogId>,
}

impl WriteRefs {
    pub(super) fn entity_type(&mut self, out: &mut Vec<u8>, entity_type: &EntityType) {
        if put_ref(&mut self.types, out, entity_type) {
            put_bytes(out, entity_type.as_str().as_bytes());
        }
    }

    pub(super) fn log(&mut self, out: &mut Vec<u8>, log: &LogId) {
        if put_ref(&mut self.logs, out, log) {
            if put_ref(&mut self.authors, out, &log.author) {
                out.extend_from_slice(&log.author.0);
            }
            out.extend_from_slice(&log.epoch.0.to_le_bytes());
        }
    }
}

/// Writes a known name's number, or a 0 and says that the name must follow. A frame holds at most some 1,600 logs, and
/// neighbours are alike: searching from the end is quick.
fn put_ref<T: Clone + PartialEq>(known: &mut Vec<T>, out: &mut Vec<u8>, name: &T) -> bool {
    match known.iter().rposition(|other| other == name) {
        Some(at) => {
            put_varint(out, at as u64 + 1);
            false
        }
        None => {
            out.push(0);
            known.push(name.clone());
            true
        }
    }
}

/// Reads what [`WriteRefs`] wrote.
#[derive(Default)]
pub(super) struct ReadRefs {
    types: Vec<EntityType>,
    authors: Vec<PeerId>,
    logs: Vec<LogId>,
}

impl ReadRefs {
    pub(super) fn entity_type(&mut self, reader: &mut Reader<'_>) -> Result<EntityType> {
        read_ref(&mut self.types, reader, decode_type)
    }

    pub(super) fn log(&mut self, reader: &mut Reader<'_>) -> Result<LogId> {
        let authors = &mut self.authors;
        read_ref(&mut self.logs, reader, |reader| {
            let author = read_ref(authors, reader, |reader| Ok(PeerId(reader.array()?)))?;
            Ok(LogId { author, epoch: Epoch(u64::from_le_bytes(reader.array()?)) })
        })
    }
}

fn read_ref<T: Clone>(
    known: &mut Vec<T>,
    reader: &mut Reader<'_>,
    in_full: impl FnOnce(&mut Reader<'_>) -> Result<T>,
) -> Result<T> {
    match reader.bounded(known.len(), "the number of a name")?.checked_sub(1) {
        Some(at) => known.get(at).cloned().ok_or_else(|| Error::protocol("an unknown number of a name")),
        None => {
            let name = in_full(reader)?;
            known.push(name.clone());
            Ok(name)
        }
    }
}
