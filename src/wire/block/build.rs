//! Writing a block.

use std::sync::Arc;

use super::{BODY_LZ4, BODY_STORED, BlockHeader, MAX_BODY_BYTES, MAX_FRAMING_BYTES};
use crate::error::{Error, Result};
use crate::types::codec::{put_bytes, put_signed, put_varint, varint_len};
use crate::types::limits::{
    MAX_BATCH_SIZE, MAX_BLOCK_BYTES, MAX_COMMIT_BYTES, MAX_DOTS, MAX_EVENT_BYTES, MAX_HEADS, MAX_NAME_BYTES, MAX_OPS,
    MAX_SEEN,
};
use crate::types::{
    Commit, EntityId, Event, FieldName, FieldOp, Hash, HybridTimestamp, InFull, LogId, LogName, Signature, SortedMap,
    VaultId, WriteNames,
};

/// Bits of a commit's first byte. The heads differ from those of the commit before it (of none: of the first).
pub(super) const HEADS: u8 = 1;
/// It stands for another commit.
pub(super) const STANDS_FOR: u8 = 2;
/// It has more than one event.
pub(super) const MANY: u8 = 4;
/// Its time is the previous one's plus one tick of the counter.
pub(super) const NEXT_TICK: u8 = 8;
/// The counter of its time is not zero.
pub(super) const COUNTER: u8 = 16;

/// Packs commits of one log, one after another. It may go on after [`BlockBuilder::finish`], which writes what is there.
#[derive(Clone, Debug)]
pub struct BlockBuilder {
    vault: VaultId,
    log: LogName,
    names: Names,
    commits: Vec<u8>,
    first: Option<(u64, Hash)>,
    count: u32,
    events: u32,
    last: Last,
}

/// What the next commit is written relative to.
#[derive(Clone, Debug)]
struct Last {
    seq: u64,
    hash: Hash,
    hlc: HybridTimestamp,
    heads: Arc<[Hash]>,
    signature: Option<Signature>,
}

impl BlockBuilder {
    /// An empty block of a log.
    pub fn new(vault: VaultId, log: &LogName) -> Self {
        let last =
            Last { seq: 0, hash: Hash::ZERO, hlc: HybridTimestamp::default(), heads: Arc::new([]), signature: None };
        Self {
            vault,
            log: log.clone(),
            names: Names::default(),
            commits: Vec::new(),
            first: None,
            count: 0,
            events: 0,
            last,
        }
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many events are in it.
    pub fn events(&self) -> u32 {
        self.events
    }

    /// Bytes of the body before compression.
    pub fn body_bytes(&self) -> usize {
        self.names.bytes() + self.commits.len()
    }

    /// Adds a commit. False: the block is full (1,000 events, 60 KiB before compression) and nothing was added. A
    /// commit that is too large for any other fits into an empty block.
    ///
    /// # Errors
    /// [`crate::error::ErrorCode::Invalid`] for a commit that does not follow the one before it,
    /// [`crate::error::ErrorCode::TooLarge`] for one that fits into no block.
    pub fn push(&mut self, commit: &Commit) -> Result<bool> {
        self.check(commit)?;
        if self.events as usize + commit.events.len() > MAX_BATCH_SIZE {
            return Ok(false);
        }
        let mark = (self.names.mark(), self.commits.len());
        self.write(commit);
        let bytes = self.body_bytes();
        let fits = bytes <= if self.is_empty() { MAX_BODY_BYTES } else { MAX_BLOCK_BYTES };
        let too_large = (self.is_empty() && !fits)
            || (self.commits.len() - mark.1 > MAX_EVENT_BYTES / MAX_EXPANSION && !fits_in_full(&commit.events));
        if too_large || !fits {
            self.names.go_back(mark.0);
            self.commits.truncate(mark.1);
        }
        if too_large {
            return Err(Error::too_large(format!(
                "commit {} is over 4 MiB, or one of its events over 1 MiB; split it",
                commit.header.seq
            )));
        }
        if !fits {
            return Ok(false);
        }
        self.first.get_or_insert((commit.header.seq, commit.header.prev));
        self.count += 1;
        self.events += commit.events.len() as u32;
        self.last = Last {
            seq: commit.header.seq,
            hash: commit.hash,
            hlc: commit.header.hlc,
            heads: commit.header.heads.clone(),
            signature: commit.signature,
        };
        Ok(true)
    }

    /// Adds all of these commits, or none and says false.
    pub fn push_all(&mut self, commits: &[Commit]) -> Result<bool> {
        let names = self.names.mark();
        let before = (self.commits.len(), self.first, self.count, self.events, self.last.clone());
        for commit in commits {
            let pushed = self.push(commit);
            if !matches!(pushed, Ok(true)) {
                self.names.go_back(names);
                self.commits.truncate(before.0);
                (_, self.first, self.count, self.events, self.last) = before;
                return pushed;
            }
        }
        Ok(true)
    }

    /// The block of what was added; the last commit must be signed.
    pub fn finish(&self) -> Result<Vec<u8>> {
        let (Some((first_seq, prev)), Some(signature)) = (self.first, self.last.signature) else {
            return Err(Error::invalid("a block must end in a signed commit"));
        };
        let mut body = Vec::with_capacity(self.body_bytes());
        self.names.encode(&mut body);
        body.extend_from_slice(&self.commits);
        let header = BlockHeader {
            log: self.log.clone(),
            first_seq,
            commits: self.count,
            events: self.events,
            prev,
            body_bytes: body.len() as u32,
        };
        let compressed = lz4_flex::block::compress(&body);
        let (form, body) = if compressed.len() < body.len() { (BODY_LZ4, compressed) } else { (BODY_STORED, body) };
        let mut out = Vec::with_capacity(body.len() + MAX_FRAMING_BYTES);
        header.encode(&mut out, form);
        out.extend_from_slice(&body);
        out.extend_from_slice(&signature.0);
        Ok(out)
    }

    fn check(&self, commit: &Commit) -> Result<()> {
        let header = &commit.header;
        let follows = match self.first {
            None => header.seq > 0 && (header.seq > 1 || header.prev == Hash::ZERO),
            Some(_) => header.seq == self.last.seq.saturating_add(1) && header.prev == self.last.hash,
        };
        if !follows || header.seq == u64::MAX || header.vault != self.vault || header.log != self.log {
            return Err(Error::invalid(format!("commit {} does not follow the last one of its block", header.seq)));
        }
        if header.heads.len() > MAX_HEADS || header.heads.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(Error::invalid(format!("commit {} names too many heads, or in no order", header.seq)));
        }
        if commit.events.is_empty() || commit.events.iter().any(|event| event.ops.is_empty()) {
            return Err(Error::invalid(format!("commit {} changes nothing", header.seq)));
        }
        if commit.events.len() > MAX_BATCH_SIZE || !commit.events.iter().all(names_and_ops_are_few) {
            return Err(Error::too_large(format!("commit {} has too many events or operations; split it", header.seq)));
        }
        Ok(())
    }

    fn write(&mut self, commit: &Commit) {
        let (header, last, out) = (&commit.header, &self.last, &mut self.commits);
        let heads = header.heads != last.heads;
        let next_tick = last.hlc.0.checked_add(1) == Some(header.hlc.0);
        let counter = !next_tick && header.hlc.counter() != 0;
        let many = commit.events.len() > 1;
        let bit = |is: bool, bit: u8| if is { bit } else { 0 };
        out.push(
            bit(heads, HEADS)
                | bit(header.stands_for.is_some(), STANDS_FOR)
                | bit(many, MANY)
                | bit(next_tick, NEXT_TICK)
                | bit(counter, COUNTER),
        );
        if !next_tick {
            // Both are below 2^48.
            put_signed(out, header.hlc.millis() as i64 - last.hlc.millis() as i64);
        }
        if counter {
            put_varint(out, u64::from(header.hlc.counter()));
        }
        if heads {
            put_varint(out, header.heads.len() as u64);
            header.heads.iter().for_each(|head| out.extend_from_slice(&head.0));
        }
        if let Some(original) = &header.stands_for {
            out.extend_from_slice(&original.epoch.0.to_le_bytes());
            put_varint(out, original.seq);
            out.extend_from_slice(&original.hash.0);
        }
        if many {
            put_varint(out, commit.events.len() as u64);
        }
        for event in &commit.events {
            event.encode(out, &mut self.names);
        }
    }
}

/// A field of 128 bytes behind its length, for a number of one byte: no canonical encoding is longer by more.
const MAX_EXPANSION: usize = MAX_NAME_BYTES + 2;

/// Whether events keep the limits of their canonical encoding, as a reader checks them.
fn fits_in_full(events: &[Event]) -> bool {
    let mut out = Vec::new();
    put_varint(&mut out, events.len() as u64);
    events.iter().all(|event| {
        let before = out.len();
        event.encode(&mut out, &mut InFull);
        out.len() - before <= MAX_EVENT_BYTES && out.len() <= MAX_COMMIT_BYTES
    })
}

fn names_and_ops_are_few(event: &Event) -> bool {
    let few = |op: &FieldOp| match op {
        FieldOp::ClearCounter { sums, .. } => sums.len() <= MAX_SEEN,
        FieldOp::Remove { dots, .. } | FieldOp::ClearSet { dots, .. } => dots.len() <= MAX_DOTS,
        _ => true,
    };
    event.seen.len() <= MAX_SEEN && event.ops.len() <= MAX_OPS && event.ops.iter().all(few)
}

/// The dictionaries, and the numbers of what is in them.
#[derive(Clone, Default, Debug)]
struct Names {
    entities: Dictionary<EntityId>,
    fields: Dictionary<FieldName>,
    logs: Dictionary<LogId>,
    /// The entity of the last event: the next is written as the distance from it.
    last_entity: u32,
}

/// Numbers for names in the order of their first mention.
#[derive(Clone, Debug)]
struct Dictionary<T> {
    names: Vec<T>,
    numbers: SortedMap<T, u32>,
    /// Encoded bytes of the names.
    bytes: usize,
}

impl<T> Default for Dictionary<T> {
    fn default() -> Self {
        Self { names: Vec::new(), numbers: SortedMap::new(), bytes: 0 }
    }
}

impl<T: Clone + Ord> Dictionary<T> {
    fn number(&mut self, name: &T, bytes: impl FnOnce(&[T]) -> usize) -> u32 {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let number = self.names.len() as u32;
        self.bytes += bytes(&self.names);
        self.names.push(name.clone());
        self.numbers.insert(name.clone(), number);
        number
    }

    fn go_back(&mut self, (length, bytes): (usize, usize)) {
        for name in self.names.drain(length..) {
            self.numbers.remove(&name);
        }
        self.bytes = bytes;
    }

    fn mark(&self) -> (usize, usize) {
        (self.names.len(), self.bytes)
    }
}

/// Where the dictionaries stood.
type NamesMark = ((usize, usize), (usize, usize), (usize, usize), u32);

impl Names {
    fn bytes(&self) -> usize {
        let counts = [self.entities.names.len(), self.fields.names.len(), self.logs.names.len()];
        let counts: usize = counts.iter().map(|&count| varint_len(count as u64)).sum();
        counts + self.entities.bytes + self.fields.bytes + self.logs.bytes
    }

    fn mark(&self) -> NamesMark {
        (self.entities.mark(), self.fields.mark(), self.logs.mark(), self.last_entity)
    }

    fn go_back(&mut self, mark: NamesMark) {
        self.entities.go_back(mark.0);
        self.fields.go_back(mark.1);
        self.logs.go_back(mark.2);
        self.last_entity = mark.3;
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.entities.names.len() as u64);
        let mut last = EntityId([0; 16]);
        for entity in &self.entities.names {
            let (length, bytes) = distance(&last, entity);
            out.push(length as u8);
            out.extend_from_slice(&bytes[..length]);
            last = *entity;
        }
        put_varint(out, self.fields.names.len() as u64);
        self.fields.names.iter().for_each(|field| put_bytes(out, field.as_str().as_bytes()));
        put_varint(out, self.logs.names.len() as u64);
        for log in &self.logs.names {
            out.extend_from_slice(&log.author.0);
            out.extend_from_slice(&log.epoch.0.to_le_bytes());
        }
    }
}

/// How far an id is from the one before it, both as numbers (and round the end): zigzag coded, lowest byte first, and
/// how many of these bytes say something. Ids of one batch are near each other (`Entropy::entity_id`).
fn distance(last: &EntityId, entity: &EntityId) -> (usize, [u8; 16]) {
    let distance = u128::from_be_bytes(entity.0).wrapping_sub(u128::from_be_bytes(last.0)) as i128;
    let zigzag = ((distance << 1) ^ (distance >> 127)) as u128;
    (16 - zigzag.leading_zeros() as usize / 8, zigzag.to_le_bytes())
}

impl WriteNames for Names {
    fn entity(&mut self, out: &mut Vec<u8>, entity: &EntityId) {
        let number =
            self.entities.number(entity, |names| 1 + distance(names.last().unwrap_or(&EntityId([0; 16])), entity).0);
        put_signed(out, i64::from(number) - i64::from(self.last_entity));
        self.last_entity = number;
    }

    fn field(&mut self, out: &mut Vec<u8>, field: &FieldName) {
        let length = field.as_str().len();
        put_varint(out, u64::from(self.fields.number(field, |_| varint_len(length as u64) + length)));
    }

    fn log(&mut self, out: &mut Vec<u8>, log: &LogId) {
        put_varint(out, u64::from(self.logs.number(log, |_| 40)));
    }
}
