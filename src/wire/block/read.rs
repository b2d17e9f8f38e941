//! Reading a block's body.

use std::sync::Arc;

use super::BlockHeader;
use super::build::{COUNTER, HEADS, MANY, NEXT_TICK, STANDS_FOR};
use crate::error::{Error, Result};
use crate::types::codec::{Reader, put_varint};
use crate::types::limits::{MAX_BATCH_SIZE, MAX_COMMIT_BYTES, MAX_EVENT_BYTES, MAX_HEADS, MAX_NAME_BYTES};
use crate::types::{
    Commit, CommitHeader, EntityId, Epoch, Event, FieldName, Hash, HybridTimestamp, InFull, LogId, LogKey, PeerId,
    ReadNames, StandsFor, VaultId, encoded_events_hash,
};

/// The first part of the body: the ids of its entities.
pub(super) fn entities(reader: &mut Reader<'_>, max: usize) -> Result<Vec<EntityId>> {
    let count = reader.count(max, "entities of a block")?;
    let mut entities = Vec::with_capacity(count);
    let mut last = 0_u128;
    for _ in 0..count {
        let bytes = reader.bytes(16, "an entity id")?;
        if bytes.last() == Some(&0) {
            return Err(Error::protocol("an entity id that is not in its shortest form"));
        }
        let mut zigzag = [0; 16];
        zigzag[..bytes.len()].copy_from_slice(bytes);
        let zigzag = u128::from_le_bytes(zigzag);
        last = last.wrapping_add((zigzag >> 1) ^ (zigzag & 1).wrapping_neg());
        entities.push(EntityId(last.to_be_bytes()));
    }
    // Mostly they ascend; where they do not, it takes sorting to see that none is there twice.
    if !entities.is_sorted_by(|a, b| a < b) {
        let mut sorted = entities.clone();
        sorted.sort_unstable();
        if !sorted.is_sorted_by(|a, b| a < b) {
            return Err(Error::protocol("an entity that is in its block's dictionary twice"));
        }
    }
    Ok(entities)
}

/// All commits of a body; the last has no signature yet.
pub(super) fn commits(header: &BlockHeader, body: &[u8], vault: VaultId) -> Result<Vec<Commit>> {
    let mut reader = Reader::new(body);
    let mut names = Names::decode(&mut reader, header.events as usize)?;
    let key = LogKey::new(&vault, &header.log);
    let mut commits = Vec::<Commit>::with_capacity(header.commits as usize);
    let mut encoded = Vec::with_capacity(body.len().saturating_mul(2));
    let mut header_bytes = Vec::with_capacity(256);
    let mut events_left = header.events as usize;
    let (mut prev, mut hlc, mut heads) = (header.prev, HybridTimestamp::default(), Arc::<[Hash]>::from([]));
    for seq in header.first_seq..=header.last_seq() {
        let flags = reader.byte()?;
        if flags & !(HEADS | STANDS_FOR | MANY | NEXT_TICK | COUNTER) != 0 {
            return Err(Error::protocol(format!("a commit with unknown marks: {flags:#x}")));
        }
        hlc = read_time(&mut reader, flags, hlc)?;
        if flags & HEADS != 0 {
            heads = read_heads(&mut reader)?;
        }
        let stands_for = if flags & STANDS_FOR == 0 { None } else { Some(read_stands_for(&mut reader)?) };
        let count = if flags & MANY == 0 { 1 } else { reader.count(MAX_BATCH_SIZE, "events of a commit")? };
        events_left = match events_left.checked_sub(count) {
            Some(left) if count > 0 => left,
            _ => return Err(Error::protocol("a block with another number of events than it says")),
        };
        let events = read_events(&mut reader, &mut names, count, &header.log.id, &mut encoded)?;
        let header = CommitHeader {
            vault,
            log: header.log.clone(),
            seq,
            prev,
            hlc,
            heads: heads.clone(),
            stands_for,
            events: encoded_events_hash(&encoded),
        };
        prev = header.hash_with(&key, &mut header_bytes);
        commits.push(Commit { header, hash: prev, events, signature: None });
    }
    reader.finish()?;
    if events_left != 0 || !names.are_used_up() {
        return Err(Error::protocol("a block with other events or names than it says"));
    }
    Ok(commits)
}

fn read_time(reader: &mut Reader<'_>, flags: u8, last: HybridTimestamp) -> Result<HybridTimestamp> {
    let out_of_range = || Error::protocol("a time out of range");
    if flags & NEXT_TICK != 0 {
        return last.0.checked_add(1).map(HybridTimestamp).ok_or_else(out_of_range);
    }
    let millis = (last.millis() as i64).checked_add(reader.signed()?).and_then(|millis| u64::try_from(millis).ok());
    let millis = millis.filter(|millis| millis >> 48 == 0).ok_or_else(out_of_range)?;
    let counter = if flags & COUNTER == 0 { 0 } else { reader.bounded(0xffff, "the counter of a time")? };
    Ok(HybridTimestamp(millis << 16 | counter as u64))
}

fn read_heads(reader: &mut Reader<'_>) -> Result<Arc<[Hash]>> {
    let count = reader.count(MAX_HEADS, "membership heads of a commit")?;
    let heads = (0..count).map(|_| Ok(Hash(reader.array()?))).collect::<Result<Vec<_>>>()?;
    if heads.is_sorted_by(|a, b| a < b) { Ok(heads.into()) } else { Err(Error::protocol("heads out of order")) }
}

fn read_stands_for(reader: &mut Reader<'_>) -> Result<StandsFor> {
    let epoch = Epoch(u64::from_le_bytes(reader.array()?));
    Ok(StandsFor { epoch, seq: reader.varint()?, hash: Hash(reader.array()?) })
}

/// Reads a commit's events, and leaves their canonical encoding in `encoded`.
fn read_events(
    reader: &mut Reader<'_>,
    names: &mut Names,
    count: usize,
    own: &LogId,
    encoded: &mut Vec<u8>,
) -> Result<Vec<Event>> {
    encoded.clear();
    put_varint(encoded, count as u64);
    names.budget = MAX_COMMIT_BYTES;
    let mut events = Vec::with_capacity(count);
    for _ in 0..count {
        let event = Event::decode(reader, names, own)?;
        let before = encoded.len();
        event.encode(encoded, &mut InFull);
        if encoded.len() - before > MAX_EVENT_BYTES || encoded.len() > MAX_COMMIT_BYTES {
            return Err(Error::too_large("a commit or an event in a block is over its limit"));
        }
        events.push(event);
    }
    Ok(events)
}

/// The dictionaries of a block.
struct Names {
    entities: Dictionary<EntityId>,
    fields: Dictionary<FieldName>,
    logs: Dictionary<LogId>,
    last_entity: usize,
    /// What names in full may still take of this commit: a number of one byte may stand for 129.
    budget: usize,
}

/// Names are numbered in the order of their first mention. So a block lists the entities that it has and no others, and
/// whatever its writer did, this build writes it again in no more bytes.
struct Dictionary<T> {
    names: Vec<T>,
    mentioned: usize,
}

impl<T> Dictionary<T> {
    fn new(names: Vec<T>) -> Self {
        Self { names, mentioned: 0 }
    }

    fn get(&mut self, number: usize) -> Result<&T> {
        match self.names.get(number) {
            Some(name) if number <= self.mentioned => {
                self.mentioned = self.mentioned.max(number + 1);
                Ok(name)
            }
            _ => Err(Error::protocol("a name that is in no dictionary of its block, or out of order there")),
        }
    }

    fn is_used_up(&self) -> bool {
        self.mentioned == self.names.len()
    }
}

impl Names {
    fn decode(reader: &mut Reader<'_>, events: usize) -> Result<Self> {
        let entities = entities(reader, events)?;
        let count = reader.count(reader.rest().len() / 2, "fields of a block")?;
        let mut fields = Vec::new();
        for _ in 0..count {
            let field = FieldName::new(reader.text(MAX_NAME_BYTES, "a field name")?);
            fields.push(field.map_err(|error| Error::protocol(error.message()))?);
        }
        let count = reader.count(reader.rest().len() / 40, "logs of a block")?;
        let mut logs = Vec::with_capacity(count);
        for _ in 0..count {
            logs.push(LogId { author: PeerId(reader.array()?), epoch: Epoch(u64::from_le_bytes(reader.array()?)) });
        }
        let (entities, fields, logs) = (Dictionary::new(entities), Dictionary::new(fields), Dictionary::new(logs));
        Ok(Self { entities, fields, logs, last_entity: 0, budget: 0 })
    }

    fn are_used_up(&self) -> bool {
        self.entities.is_used_up() && self.fields.is_used_up() && self.logs.is_used_up()
    }

    fn spend(&mut self, bytes: usize) -> Result<()> {
        self.budget = self.budget.checked_sub(bytes).ok_or_else(|| Error::too_large("a commit is over its limit"))?;
        Ok(())
    }
}

impl ReadNames for Names {
    fn entity(&mut self, reader: &mut Reader<'_>) -> Result<EntityId> {
        let number = (self.last_entity as i64).checked_add(reader.signed()?).and_then(|at| usize::try_from(at).ok());
        let number = number.ok_or_else(|| Error::protocol("an entity number out of range"))?;
        let entity = *self.entities.get(number)?;
        self.last_entity = number;
        self.spend(entity.0.len())?;
        Ok(entity)
    }

    fn field(&mut self, reader: &mut Reader<'_>) -> Result<FieldName> {
        let number = reader.bounded(self.fields.mentioned, "a field number")?;
        let field = self.fields.get(number)?.clone();
        self.spend(field.as_str().len())?;
        Ok(field)
    }

    fn log(&mut self, reader: &mut Reader<'_>) -> Result<LogId> {
        let number = reader.bounded(self.logs.mentioned, "a log number")?;
        let log = *self.logs.get(number)?;
        self.spend(40)?;
        Ok(log)
    }
}
