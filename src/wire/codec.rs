//! Messages to bytes and back. A frame is a tag byte and the message's fields in order (PROTOCOL.md); its length
//! prefix belongs to the transport.
//!
//! Every length is checked against a limit and against the bytes that are there before memory is taken for it. What is
//! encoded is held to the limits that a decoder checks, so a frame that leaves is one that will be read.

use std::sync::Arc;

use super::message::*;
use super::names::{ReadRefs, WriteRefs};
use crate::error::{Error, ErrorCode, Result};
use crate::types::codec::{Reader, put_bytes, put_varint};
use crate::types::limits::{
    MAX_CREDENTIAL_BYTES, MAX_CREDENTIAL_STEPS, MAX_FRAME_BYTES, MAX_HEADS, MAX_ITEM_BYTES, MAX_LARGE_BLOCK_BYTES,
    MAX_MEMBERSHIP_OP_BYTES, MAX_NAME_BYTES,
};
use crate::types::{EntityId, EntityType, Hash, VectorClock};

/// UTF-8 bytes of an error message's text; a longer one is cut when it is encoded.
pub const MAX_ERROR_TEXT_BYTES: usize = 256;
/// Entries of any list whose items are counted by the frame's size alone.
const MAX_LISTED: usize = MAX_FRAME_BYTES;

impl Message {
    /// Appends the message to `out`; on an error `out` is as before.
    ///
    /// # Errors
    /// [`ErrorCode::TooLarge`] where it does not fit into a frame of [`MAX_FRAME_BYTES`], or a list into its limit.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        let done = self.encode_fields(out).and_then(|()| match out.len() - start {
            ..=MAX_FRAME_BYTES => Ok(()),
            length => Err(Error::too_large(format!("a message of {length} bytes does not fit into a frame"))),
        });
        if done.is_err() {
            out.truncate(start);
        }
        done
    }

    fn encode_fields(&self, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Message::Hello(hello) => {
                out.push(0);
                encode_hello(hello, out)?;
            }
            Message::HelloAck(HelloAckMessage::Rejected { reason }) => {
                out.extend_from_slice(&[1, 0, reason.to_byte()]);
            }
            Message::HelloAck(HelloAckMessage::Accepted { version, hello }) => {
                out.extend_from_slice(&[1, 1]);
                put_varint(out, u64::from(*version));
                encode_hello(hello, out)?;
            }
            Message::SyncRequest(request) => {
                out.push(2);
                put_varint(out, u64::from(request.id));
                encode_scope(&request.scope, out);
                encode_summary(&request.have, out);
            }
            Message::SyncState(answer) => {
                out.push(3);
                put_varint(out, u64::from(answer.id));
                encode_state(&answer.state, out);
            }
            Message::EventBatch(EventBatchMessage::Items(items)) => {
                out.extend_from_slice(&[4, 0]);
                encode_items(items, out)?;
            }
            Message::EventBatch(EventBatchMessage::Part { total, bytes }) => {
                out.extend_from_slice(&[4, 1]);
                put_limited(out, *total as usize, MAX_ITEM_BYTES, "bytes of an item")?;
                put_bytes(out, bytes);
            }
            Message::EventAck(ack) => {
                out.push(5);
                put_varint(out, ack.stored);
                put_varint(out, u64::from(ack.window));
            }
            Message::EventNotify(notify) => {
                out.push(6);
                encode_items(&notify.items, out)?;
            }
            Message::Subscribe(subscribe) => {
                out.extend_from_slice(&[7, u8::from(subscribe.live)]);
                encode_scope(&subscribe.scope, out);
            }
            Message::Error(error) => {
                out.extend_from_slice(&[8, error.code.to_byte()]);
                put_bytes(out, cut_text(&error.message).as_bytes());
            }
            Message::Ping(number) => {
                out.push(9);
                put_varint(out, *number);
            }
            Message::Pong(number) => {
                out.push(10);
                put_varint(out, *number);
            }
        }
        Ok(())
    }

    /// Reads one whole message.
    ///
    /// # Errors
    /// [`ErrorCode::Protocol`] for anything but what [`Message::encode`] writes, [`ErrorCode::TooLarge`] for more than
    /// a frame holds.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_FRAME_BYTES {
            return Err(Error::too_large(format!("a frame of {} bytes", bytes.len())));
        }
        let reader = &mut Reader::new(bytes);
        let message = match reader.byte()? {
            0 => Message::Hello(decode_hello(reader)?),
            1 => Message::HelloAck(if decode_bool(reader)? {
                HelloAckMessage::Accepted { version: decode_u16(reader)?, hello: decode_hello(reader)? }
            } else {
                HelloAckMessage::Rejected { reason: ErrorCode::from_byte(reader.byte()?) }
            }),
            2 => Message::SyncRequest(SyncRequestMessage {
                id: decode_u32(reader)?,
                scope: decode_scope(reader)?,
                have: decode_summary(reader)?,
            }),
            3 => Message::SyncState(SyncStateMessage { id: decode_u32(reader)?, state: decode_state(reader)? }),
            4 => Message::EventBatch(if decode_bool(reader)? {
                let total = reader.bounded(MAX_ITEM_BYTES, "bytes of an item")? as u32;
                EventBatchMessage::Part { total, bytes: reader.bytes(MAX_FRAME_BYTES, "a part of an item")?.to_owned() }
            } else {
                EventBatchMessage::Items(decode_items(reader)?)
            }),
            5 => Message::EventAck(EventAckMessage { stored: reader.varint()?, window: decode_u32(reader)? }),
            6 => Message::EventNotify(EventNotifyMessage { items: decode_items(reader)? }),
            7 => {
                let live = decode_bool(reader)?;
                Message::Subscribe(SubscribeMessage { scope: decode_scope(reader)?, live })
            }
            8 => Message::Error(ErrorMessage {
                code: ErrorCode::from_byte(reader.byte()?),
                message: reader.text(MAX_ERROR_TEXT_BYTES, "the text of an error")?.to_owned(),
            }),
            9 => Message::Ping(reader.varint()?),
            10 => Message::Pong(reader.varint()?),
            tag => return Err(Error::protocol(format!("a message of an unknown sort: {tag}"))),
        };
        reader.finish()?;
        Ok(message)
    }
}

fn encode_hello(hello: &HelloMessage, out: &mut Vec<u8>) -> Result<()> {
    put_varint(out, u64::from(hello.versions.0));
    put_varint(out, u64::from(hello.versions.1));
    put_varint(out, hello.features);
    out.extend_from_slice(&hello.nonce);
    out.extend_from_slice(&hello.proof.0);
    put_limited(out, hello.heads.len(), MAX_HEADS, "membership heads")?;
    hello.heads.iter().for_each(|head| out.extend_from_slice(&head.0));
    put_limited(out, hello.credential.len(), MAX_CREDENTIAL_STEPS, "steps of a credential")?;
    if hello.credential.iter().map(|step| step.len()).sum::<usize>() > MAX_CREDENTIAL_BYTES {
        return Err(Error::too_large(format!("a credential of over {MAX_CREDENTIAL_BYTES} bytes")));
    }
    hello.credential.iter().for_each(|step| put_bytes(out, step));
    Ok(())
}

fn decode_hello(reader: &mut Reader<'_>) -> Result<HelloMessage> {
    let versions = (decode_u16(reader)?, decode_u16(reader)?);
    if versions.0 > versions.1 {
        return Err(Error::protocol("a range of versions that ends before it starts"));
    }
    let (features, nonce, proof) = (reader.varint()?, reader.array()?, Hash(reader.array()?));
    let count = reader.count(MAX_HEADS, "membership heads")?;
    let heads = (0..count).map(|_| Ok(Hash(reader.array()?))).collect::<Result<Vec<_>>>()?;
    if !heads.is_sorted_by(|a, b| a < b) {
        return Err(Error::protocol("membership heads out of order"));
    }
    let count = reader.count(MAX_CREDENTIAL_STEPS, "steps of a credential")?;
    let (mut credential, mut left) = (Vec::<Arc<[u8]>>::with_capacity(count), MAX_CREDENTIAL_BYTES);
    for _ in 0..count {
        let step = reader.bytes(left, "bytes of a credential")?;
        left -= step.len();
        credential.push(step.into());
    }
    Ok(HelloMessage { versions, features, nonce, proof, heads, credential })
}

fn encode_scope(scope: &Scope, out: &mut Vec<u8>) {
    match scope {
        Scope::All => out.push(0),
        Scope::Types(types) => {
            out.push(1);
            put_varint(out, types.len() as u64);
            types.iter().for_each(|entity_type| put_bytes(out, entity_type.as_str().as_bytes()));
        }
        Scope::Entities(entities) => {
            out.push(2);
            put_varint(out, entities.len() as u64);
            let mut refs = WriteRefs::default();
            for (entity_type, id) in entities {
                refs.entity_type(out, entity_type);
                out.extend_from_slice(&id.0);
            }
        }
    }
}

fn decode_scope(reader: &mut Reader<'_>) -> Result<Scope> {
    Ok(match reader.byte()? {
        0 => Scope::All,
        1 => Scope::Types(decode_list(reader, "types of a scope", decode_type)?),
        2 => {
            let mut refs = ReadRefs::default();
            Scope::Entities(decode_list(reader, "entities of a scope", |reader| {
                Ok((refs.entity_type(reader)?, EntityId(reader.array()?)))
            })?)
        }
        tag => return Err(Error::protocol(format!("an unknown sort of scope: {tag}"))),
    })
}

/// Bits of a summary's first byte.
const COMPLETE: u8 = 1;
const BASED: u8 = 2;

fn encode_summary(summary: &FrontierSummary, out: &mut Vec<u8>) {
    let based = if summary.base == 0 { 0 } else { BASED };
    out.push(if summary.complete { COMPLETE | based } else { based });
    out.extend_from_slice(&summary.digest.0);
    if summary.base != 0 {
        out.extend_from_slice(&summary.base.to_le_bytes());
    }
    encode_entries(&summary.entries, out);
}

fn decode_summary(reader: &mut Reader<'_>) -> Result<FrontierSummary> {
    let flags = reader.byte()?;
    if flags > COMPLETE | BASED {
        return Err(Error::protocol("a summary with unknown marks"));
    }
    let digest = Hash(reader.array()?);
    let base = if flags & BASED == 0 { 0 } else { u64::from_le_bytes(reader.array()?) };
    if flags & BASED != 0 && base == 0 {
        return Err(Error::protocol("a summary relative to nothing"));
    }
    Ok(FrontierSummary { digest, base, entries: decode_entries(reader)?, complete: flags & COMPLETE != 0 })
}

fn encode_entries(entries: &[FrontierEntry], out: &mut Vec<u8>) {
    put_varint(out, entries.len() as u64);
    let mut refs = WriteRefs::default();
    for entry in entries {
        refs.entity_type(out, &entry.entity_type);
        refs.log(out, &entry.log);
        put_varint(out, entry.seq);
        out.extend_from_slice(&entry.hash.0);
        out.push(u8::from(entry.forked));
    }
}

fn decode_entries(reader: &mut Reader<'_>) -> Result<Vec<FrontierEntry>> {
    let mut refs = ReadRefs::default();
    decode_list(reader, "entries of a frontier", |reader| {
        Ok(FrontierEntry {
            entity_type: refs.entity_type(reader)?,
            log: refs.log(reader)?,
            seq: reader.varint()?,
            hash: Hash(reader.array()?),
            forked: decode_bool(reader)?,
        })
    })
}

fn encode_state(state: &SyncState, out: &mut Vec<u8>) {
    match state {
        SyncState::Equal => out.push(0),
        SyncState::Have(summary) => {
            out.push(1);
            encode_summary(summary, out);
        }
        SyncState::Types(types) => {
            out.push(2);
            put_varint(out, types.len() as u64);
            for (entity_type, digest) in types {
                put_bytes(out, entity_type.as_str().as_bytes());
                out.extend_from_slice(&digest.to_le_bytes());
            }
        }
        SyncState::Entries { types, entries, last } => {
            out.extend_from_slice(&[3, u8::from(*last)]);
            put_varint(out, types.len() as u64);
            types.iter().for_each(|entity_type| put_bytes(out, entity_type.as_str().as_bytes()));
            encode_entries(entries, out);
        }
        SyncState::Clocks(clocks) => {
            out.push(4);
            put_varint(out, clocks.len() as u64);
            let mut refs = WriteRefs::default();
            for (entity_type, id, clock) in clocks {
                refs.entity_type(out, entity_type);
                out.extend_from_slice(&id.0);
                put_varint(out, clock.len() as u64);
                for (log, seq) in clock.iter() {
                    refs.log(out, log);
                    put_varint(out, *seq);
                }
            }
        }
        SyncState::Membership(operations) => {
            out.push(5);
            put_varint(out, operations.len() as u64);
            operations.iter().for_each(|short| out.extend_from_slice(&short.to_le_bytes()));
        }
    }
}

fn decode_state(reader: &mut Reader<'_>) -> Result<SyncState> {
    Ok(match reader.byte()? {
        0 => SyncState::Equal,
        1 => SyncState::Have(decode_summary(reader)?),
        2 => SyncState::Types(decode_list(reader, "types of a state", |reader| {
            Ok((decode_type(reader)?, u64::from_le_bytes(reader.array()?)))
        })?),
        3 => {
            let last = decode_bool(reader)?;
            let types = decode_list(reader, "types of a state", decode_type)?;
            SyncState::Entries { types, entries: decode_entries(reader)?, last }
        }
        4 => {
            let mut refs = ReadRefs::default();
            SyncState::Clocks(decode_list(reader, "clocks of a state", |reader| {
                let (entity_type, id) = (refs.entity_type(reader)?, EntityId(reader.array()?));
                Ok((entity_type, id, decode_clock(reader, &mut refs)?))
            })?)
        }
        5 => SyncState::Membership(decode_list(reader, "membership operations of a state", |reader| {
            Ok(u64::from_le_bytes(reader.array()?))
        })?),
        tag => return Err(Error::protocol(format!("an unknown sort of state: {tag}"))),
    })
}

fn decode_clock(reader: &mut Reader<'_>, refs: &mut ReadRefs) -> Result<VectorClock> {
    let count = reader.count(MAX_LISTED, "entries of a clock")?;
    let (mut clock, mut last) = (VectorClock::new(), None);
    for _ in 0..count {
        let (log, seq) = (refs.log(reader)?, reader.varint()?);
        if seq == 0 || last.is_some_and(|last| last >= log) {
            return Err(Error::protocol("a clock out of order"));
        }
        clock.observe(log, seq);
        last = Some(log);
    }
    Ok(clock)
}

impl Item {
    /// The item on its own, as the parts of a large one are cut from it.
    ///
    /// # Errors
    /// [`ErrorCode::TooLarge`] for a membership operation over its limit.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        encode_item(self, &mut out)?;
        Ok(out)
    }

    /// Reads [`Item::to_bytes`]: a block, or a fork of two, of any size that a block may have.
    ///
    /// # Errors
    /// [`ErrorCode::Protocol`] for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let item = decode_item(&mut reader, MAX_LARGE_BLOCK_BYTES)?;
        reader.finish()?;
        Ok(item)
    }
}

fn encode_items(items: &[Item], out: &mut Vec<u8>) -> Result<()> {
    put_varint(out, items.len() as u64);
    items.iter().try_for_each(|item| encode_item(item, out))
}

fn encode_item(item: &Item, out: &mut Vec<u8>) -> Result<()> {
    match item {
        Item::Block(block) => {
            out.push(0);
            put_bytes(out, block);
        }
        Item::Membership(operation) => {
            out.push(1);
            put_limited(out, operation.len(), MAX_MEMBERSHIP_OP_BYTES, "bytes of a membership operation")?;
            out.extend_from_slice(operation);
        }
        Item::Fork(one, other) => {
            out.push(2);
            put_bytes(out, one);
            put_bytes(out, other);
        }
    }
    Ok(())
}

fn decode_items(reader: &mut Reader<'_>) -> Result<Vec<Item>> {
    decode_list(reader, "items of a batch", |reader| decode_item(reader, MAX_FRAME_BYTES))
}

fn decode_item(reader: &mut Reader<'_>, max: usize) -> Result<Item> {
    Ok(match reader.byte()? {
        0 => Item::Block(reader.bytes(max, "a block")?.into()),
        1 => Item::Membership(reader.bytes(MAX_MEMBERSHIP_OP_BYTES, "a membership operation")?.into()),
        2 => {
            Item::Fork(reader.bytes(max, "a branch of a fork")?.into(), reader.bytes(max, "a branch of a fork")?.into())
        }
        tag => return Err(Error::protocol(format!("an unknown sort of item: {tag}"))),
    })
}

/// Reads a list; its memory grows with the items that were read, never with the number that was told.
fn decode_list<T>(
    reader: &mut Reader<'_>,
    what: &str,
    mut item: impl FnMut(&mut Reader<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    let count = reader.count(MAX_LISTED, what)?;
    let mut list = Vec::with_capacity(count.min(64));
    for _ in 0..count {
        list.push(item(reader)?);
    }
    Ok(list)
}

pub(super) fn decode_type(reader: &mut Reader<'_>) -> Result<EntityType> {
    EntityType::new(reader.text(MAX_NAME_BYTES, "an entity type")?).map_err(|error| Error::protocol(error.message()))
}

fn decode_bool(reader: &mut Reader<'_>) -> Result<bool> {
    match reader.byte()? {
        0 => Ok(false),
        1 => Ok(true),
        byte => Err(Error::protocol(format!("neither yes nor no: {byte}"))),
    }
}

fn decode_u16(reader: &mut Reader<'_>) -> Result<u16> {
    Ok(reader.bounded(usize::from(u16::MAX), "a version")? as u16)
}

fn decode_u32(reader: &mut Reader<'_>) -> Result<u32> {
    Ok(reader.bounded(u32::MAX as usize, "a number")? as u32)
}

fn put_limited(out: &mut Vec<u8>, number: usize, max: usize, what: &str) -> Result<()> {
    if number > max {
        return Err(Error::too_large(format!("{what}: {number} is over the limit of {max}")));
    }
    put_varint(out, number as u64);
    Ok(())
}

fn cut_text(text: &str) -> &str {
    let mut end = text.len().min(MAX_ERROR_TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
