//! How far logs still count, and what an Admin makes count again.

use crate::error::{Error, Result};
use crate::types::codec::{Reader, put_bytes, put_varint};
use crate::types::limits::MAX_NAME_BYTES;
use crate::types::{EntityType, Epoch, Hash, LogId, LogName, PeerId, SortedMap};

/// Logs that one operation may cut: about as many as fit into one.
pub const MAX_CUTS: usize = 2_048;

/// The last commit of a log that still counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cut {
    /// Its number.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
}

/// Where logs are cut that lose the right to write. One that is not named is cut at 0: nothing of it counts.
pub type Cuts = SortedMap<LogName, Cut>;

/// Commits of one log: what `AcceptRange` accepts, and what `RaiseCut` asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogRange {
    /// The log.
    pub log: LogName,
    /// The first commit.
    pub from: u64,
    /// The last one.
    pub to: u64,
    /// The hash of the last one.
    pub hash: Hash,
}

/// Logs ascending; a type or author is written in full where it is named first (behind a zero), then by its number.
pub(super) fn put_cuts(out: &mut Vec<u8>, cuts: &Cuts) {
    let (mut types, mut authors): (Vec<&EntityType>, SortedMap<PeerId, u64>) = (Vec::new(), SortedMap::new());
    put_varint(out, cuts.len() as u64);
    for (log, cut) in cuts {
        // Ascending by type: the last one, or a new one.
        match types.last() {
            Some(last) if **last == log.entity_type => put_varint(out, types.len() as u64),
            _ => {
                types.push(&log.entity_type);
                put_varint(out, 0);
                put_bytes(out, log.entity_type.as_str().as_bytes());
            }
        }
        let next = authors.len() as u64 + 1;
        match authors.get(&log.id.author) {
            Some(number) => put_varint(out, *number),
            None => {
                authors.insert(log.id.author, next);
                put_varint(out, 0);
                out.extend_from_slice(&log.id.author.0);
            }
        }
        put_place(out, log.id.epoch, cut.seq, &cut.hash);
    }
}

pub(super) fn read_cuts(reader: &mut Reader<'_>) -> Result<Cuts> {
    let count = reader.count(MAX_CUTS, "cuts of a membership operation")?;
    let (mut types, mut authors): (Vec<EntityType>, Vec<PeerId>) = (Vec::new(), Vec::new());
    let mut cuts = Cuts::new();
    for _ in 0..count {
        match reader.bounded(MAX_CUTS, "number of a type")? {
            0 => types.push(read_type(reader)?),
            number if number == types.len() => {}
            _ => return Err(Error::protocol("a cut of a type that none before it names")),
        }
        let author = match reader.bounded(MAX_CUTS, "number of an author")? {
            0 => {
                let author = PeerId(reader.array()?);
                authors.push(author);
                author
            }
            number => *(authors.get(number - 1))
                .ok_or_else(|| Error::protocol("a cut of an author whom none before it names"))?,
        };
        let Some(entity_type) = types.last().cloned() else { break };
        let (epoch, seq, hash) = read_place(reader)?;
        let log = LogName { entity_type, id: LogId { author, epoch } };
        if cuts.last_key_value().is_some_and(|(last, _)| *last >= log) {
            return Err(Error::protocol("cuts that are not ascending"));
        }
        cuts.insert(log, Cut { seq, hash });
    }
    Ok(cuts)
}

pub(super) fn put_range(out: &mut Vec<u8>, range: &LogRange) {
    put_log(out, &range.log);
    put_varint(out, range.from);
    put_varint(out, range.to);
    out.extend_from_slice(&range.hash.0);
}

pub(super) fn read_range(reader: &mut Reader<'_>) -> Result<LogRange> {
    let range =
        LogRange { log: read_log(reader)?, from: reader.varint()?, to: reader.varint()?, hash: Hash(reader.array()?) };
    match 1 <= range.from && range.from <= range.to {
        true => Ok(range),
        false => Err(Error::protocol("a range of commits that has none in it")),
    }
}

pub(super) fn put_log(out: &mut Vec<u8>, log: &LogName) {
    put_bytes(out, log.entity_type.as_str().as_bytes());
    out.extend_from_slice(&log.id.author.0);
    out.extend_from_slice(&log.id.epoch.0.to_le_bytes());
}

pub(super) fn read_log(reader: &mut Reader<'_>) -> Result<LogName> {
    let entity_type = read_type(reader)?;
    let author = PeerId(reader.array()?);
    Ok(LogName { entity_type, id: LogId { author, epoch: Epoch(u64::from_le_bytes(reader.array()?)) } })
}

pub(super) fn read_type(reader: &mut Reader<'_>) -> Result<EntityType> {
    EntityType::new(reader.text(MAX_NAME_BYTES, "name of a type")?).map_err(|error| Error::protocol(error.message()))
}

fn put_place(out: &mut Vec<u8>, epoch: Epoch, seq: u64, hash: &Hash) {
    out.extend_from_slice(&epoch.0.to_le_bytes());
    put_varint(out, seq);
    out.extend_from_slice(&hash.0);
}

fn read_place(reader: &mut Reader<'_>) -> Result<(Epoch, u64, Hash)> {
    Ok((Epoch(u64::from_le_bytes(reader.array()?)), reader.varint()?, Hash(reader.array()?)))
}
