//! Blocks: whole commits of one log, packed, compressed and signed once (PROTOCOL.md section 6).
//!
//! A plain header, then the body (dictionaries of entities, fields and logs, then the commits), which is compressed
//! where that makes it shorter, then the signature of the last commit. What the previous commit implies is left out:
//! numbers, hashes and the chain are computed again when a block is read. PROTOCOL.md has every byte.

mod build;
mod read;

pub use build::BlockBuilder;

use crate::error::{Error, ErrorCode, Result};
use crate::types::codec::{Reader, put_bytes, put_varint};
use crate::types::limits::{MAX_BATCH_SIZE, MAX_BLOCK_BYTES, MAX_LARGE_BLOCK_BYTES, MAX_NAME_BYTES};
use crate::types::{Commit, EntityId, EntityType, Epoch, Hash, LogId, LogName, PeerId, Signature, VaultId};

/// The version of the block format.
const BLOCK_VERSION: u8 = 1;
/// What a block holds: commits. 1 is kept for the snapshots of compaction, which carry a "pruned up to" of their own.
const KIND_COMMITS: u8 = 0;
const KIND_SNAPSHOT: u8 = 1;
/// How the body is written.
const BODY_STORED: u8 = 0;
const BODY_LZ4: u8 = 1;
/// More than a header and a signature ever take: what is left of [`MAX_LARGE_BLOCK_BYTES`] is the body's.
const MAX_FRAMING_BYTES: usize = 512;
const MAX_BODY_BYTES: usize = MAX_LARGE_BLOCK_BYTES - MAX_FRAMING_BYTES;
const SIGNATURE_BYTES: usize = 64;

/// What a block says of itself in plain: enough to file it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlockHeader {
    /// The log that all its commits stand in.
    pub log: LogName,
    /// The number of its first commit, from 1.
    pub first_seq: u64,
    /// How many commits: 1 to [`MAX_BATCH_SIZE`].
    pub commits: u32,
    /// How many events: at least one a commit, at most [`MAX_BATCH_SIZE`].
    pub events: u32,
    /// The hash of the commit before the first; zero before the first of a log.
    pub prev: Hash,
    /// Bytes of the body when it is not compressed: over [`MAX_BLOCK_BYTES`] only around a single commit.
    pub body_bytes: u32,
}

impl BlockHeader {
    /// The number of its last commit.
    pub fn last_seq(&self) -> u64 {
        self.first_seq.saturating_add(u64::from(self.commits)).saturating_sub(1)
    }

    fn encode(&self, out: &mut Vec<u8>, body: u8) {
        out.extend_from_slice(&[BLOCK_VERSION, KIND_COMMITS, body]);
        put_bytes(out, self.log.entity_type.as_str().as_bytes());
        out.extend_from_slice(&self.log.id.author.0);
        out.extend_from_slice(&self.log.id.epoch.0.to_le_bytes());
        put_varint(out, self.first_seq);
        if self.first_seq > 1 {
            out.extend_from_slice(&self.prev.0);
        }
        put_varint(out, u64::from(self.commits));
        put_varint(out, u64::from(self.events));
        put_varint(out, u64::from(self.body_bytes));
    }
}

/// A block taken apart, its body as it was written.
struct Parts<'a> {
    header: BlockHeader,
    compressed: bool,
    body: &'a [u8],
    signature: Signature,
}

impl<'a> Parts<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self> {
        if bytes.len() > MAX_LARGE_BLOCK_BYTES {
            return Err(Error::too_large(format!("a block of {} bytes", bytes.len())));
        }
        let mut reader = Reader::new(bytes);
        match reader.byte()? {
            BLOCK_VERSION => {}
            version => return Err(unsupported(format!("a block of format {version}"))),
        }
        match reader.byte()? {
            KIND_COMMITS => {}
            KIND_SNAPSHOT => return Err(unsupported("a snapshot block")),
            kind => return Err(unsupported(format!("a block of kind {kind}"))),
        }
        let compressed = match reader.byte()? {
            BODY_STORED => false,
            BODY_LZ4 => true,
            body => return Err(unsupported(format!("a block with a body of form {body}"))),
        };
        let entity_type = EntityType::new(reader.text(MAX_NAME_BYTES, "an entity type")?)
            .map_err(|error| Error::protocol(error.message()))?;
        let id = LogId { author: PeerId(reader.array()?), epoch: Epoch(u64::from_le_bytes(reader.array()?)) };
        let first_seq = reader.varint()?;
        let prev = if first_seq > 1 { Hash(reader.array()?) } else { Hash::ZERO };
        let commits = reader.bounded(MAX_BATCH_SIZE, "commits of a block")? as u32;
        let events = reader.bounded(MAX_BATCH_SIZE, "events of a block")? as u32;
        let max = if commits == 1 { MAX_BODY_BYTES } else { MAX_BLOCK_BYTES };
        let body_bytes = reader.bounded(max, "bytes of a block")? as u32;
        let length = reader.rest().len().checked_sub(SIGNATURE_BYTES);
        let body = reader.take(length.ok_or_else(|| Error::protocol("a block without a signature"))?)?;
        let signature = Signature(reader.array()?);
        if first_seq == 0 || commits == 0 || events < commits || first_seq.checked_add(u64::from(commits)).is_none() {
            return Err(Error::protocol("a block whose numbers contradict each other"));
        }
        // LZ4 makes at most 255 bytes of one: no memory is taken for a body that cannot be there.
        let (written, plain) = (body.len(), body_bytes as usize);
        if if compressed { written >= plain || plain / 255 > written } else { written != plain } {
            return Err(Error::protocol("a block whose body is not as long as it says"));
        }
        let header = BlockHeader { log: LogName { entity_type, id }, first_seq, commits, events, prev, body_bytes };
        Ok(Self { header, compressed, body, signature })
    }

    /// The body in plain.
    fn plain(&self) -> Result<std::borrow::Cow<'a, [u8]>> {
        if !self.compressed {
            return Ok(self.body.into());
        }
        let mut plain = vec![0; self.header.body_bytes as usize];
        match lz4_flex::block::decompress_into(self.body, &mut plain) {
            Ok(length) if length == plain.len() => Ok(plain.into()),
            _ => Err(Error::protocol("a block whose body does not decompress")),
        }
    }
}

/// Packs commits into one block. They must be whole, of one log, follow one another and end in a signed one.
///
/// # Errors
/// [`ErrorCode::Invalid`] where they do not; [`ErrorCode::TooLarge`] where they do not fit into one block.
pub fn encode_block(commits: &[Commit]) -> Result<Vec<u8>> {
    let first = commits.first().ok_or_else(|| Error::invalid("a block of no commits"))?;
    let mut builder = BlockBuilder::new(first.header.vault, &first.header.log);
    for commit in commits {
        if !builder.push(commit)? {
            return Err(Error::too_large("these commits do not fit into one block"));
        }
    }
    builder.finish()
}

/// Packs commits of one log into as few blocks as it takes. Every commit that may end a block must be signed: where
/// the next one does not fit and the last is not signed, this fails with [`ErrorCode::Invalid`].
pub fn encode_blocks(commits: &[Commit]) -> Result<Vec<Vec<u8>>> {
    let Some(first) = commits.first() else { return Ok(Vec::new()) };
    let mut blocks = Vec::new();
    let mut builder = BlockBuilder::new(first.header.vault, &first.header.log);
    for commit in commits {
        if !builder.push(commit)? {
            blocks.push(builder.finish()?);
            builder = BlockBuilder::new(first.header.vault, &first.header.log);
            builder.push(commit)?;
        }
    }
    blocks.push(builder.finish()?);
    Ok(blocks)
}

/// Reads what a block says of itself, without decompressing it.
pub fn decode_header(bytes: &[u8]) -> Result<BlockHeader> {
    Ok(Parts::new(bytes)?.header)
}

/// Reads a block's commits; hashes and the chain are computed, so they are right by themselves. The last commit carries
/// the signature, which is **not** checked here: see [`verify_block`].
///
/// # Errors
/// [`ErrorCode::Protocol`], [`ErrorCode::TooLarge`] for what breaks the format or a limit, [`ErrorCode::Unsupported`]
/// for a block of a newer format.
pub fn decode_block(bytes: &[u8], vault: VaultId) -> Result<Vec<Commit>> {
    let parts = Parts::new(bytes)?;
    let mut commits = read::commits(&parts.header, &parts.plain()?, vault)?;
    if let Some(last) = commits.last_mut() {
        last.signature = Some(parts.signature);
    }
    Ok(commits)
}

/// Checks the one signature that vouches for all commits of a decoded block.
pub fn verify_block(commits: &[Commit]) -> Result<()> {
    match commits.last() {
        Some(Commit { header, hash, signature: Some(signature), .. }) => {
            Commit::verify_signature(&header.log.id.author, hash, signature)
        }
        _ => Err(Error::protocol("commits that do not end in a signature")),
    }
}

/// The entities that a block's events change, each once, in the order of their first mention; the commits are not
/// decoded (but the body is decompressed: ids are at its start).
pub fn block_entities(bytes: &[u8]) -> Result<Vec<EntityId>> {
    let parts = Parts::new(bytes)?;
    read::entities(&mut Reader::new(&parts.plain()?), parts.header.events as usize)
}

/// The block of exactly the commits after `after_seq`; the whole block where that is all of them.
///
/// # Errors
/// [`ErrorCode::Invalid`] where no commit of the block is after `after_seq`.
pub fn cut_suffix(bytes: &[u8], vault: VaultId, after_seq: u64) -> Result<Vec<u8>> {
    let header = decode_header(bytes)?;
    if after_seq < header.first_seq {
        return Ok(bytes.to_vec());
    }
    if after_seq >= header.last_seq() {
        return Err(Error::invalid(format!(
            "a block that ends at {} has nothing after {after_seq}",
            header.last_seq()
        )));
    }
    let commits = decode_block(bytes, vault)?;
    let skip = (after_seq - header.first_seq).saturating_add(1) as usize;
    encode_block(commits.get(skip..).unwrap_or_default())
}

/// Merges blocks that follow one another in one log into fewer. A block boundary stays where what comes before it was
/// filled: inside the result only the last commit of an old block can end a new one.
pub fn merge_blocks(blocks: &[impl AsRef<[u8]>], vault: VaultId) -> Result<Vec<Vec<u8>>> {
    let mut merged = Vec::new();
    let mut open: Option<BlockBuilder> = None;
    for block in blocks {
        let commits = decode_block(block.as_ref(), vault)?;
        let Some(first) = commits.first() else { continue };
        let log = &first.header.log;
        let builder = open.get_or_insert_with(|| BlockBuilder::new(vault, log));
        if !builder.push_all(&commits)? {
            let mut next = BlockBuilder::new(vault, log);
            if !next.push_all(&commits)? {
                return Err(Error::too_large("a block that cannot be written again"));
            }
            merged.push(std::mem::replace(builder, next).finish()?);
        }
    }
    if let Some(builder) = open {
        merged.push(builder.finish()?);
    }
    Ok(merged)
}

fn unsupported(what: impl std::fmt::Display) -> Error {
    Error::new(ErrorCode::Unsupported, format!("{what} cannot be read by this version; update this device"))
}
