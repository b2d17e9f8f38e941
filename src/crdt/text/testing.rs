//! Updates written and read by hand, for tests.

use std::collections::BTreeMap;

use super::update::{Content, parse};
use crate::types::codec::{put_bytes, put_varint};

/// A place: log, session, clock.
pub type RawId = (u8, u16, u32);

/// Characters by client and clock.
pub type Chars = BTreeMap<(u64, u32), char>;

#[derive(Clone, Debug)]
pub struct RawStruct {
    pub origin: Option<RawId>,
    pub right_origin: Option<RawId>,
    pub content: RawContent,
}

#[derive(Clone, Debug)]
pub enum RawContent {
    Text(String),
    Deleted(u32),
    Garbage(u32),
    Gap(u32),
    Embed(String),
    Format(String, String),
}

/// Writes an update of the log `own`: for each session its first clock and structs, then ranges that are deleted.
pub fn write_raw(
    own: u8,
    clients: &[(u8, u16, Vec<RawStruct>)],
    deleted: &[(u8, u16, u32, u32)],
    client_of: impl Fn(u8, u16) -> u64,
) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, clients.len() as u64);
    for (clock, session, structs) in clients {
        put_varint(&mut out, structs.len() as u64);
        put_varint(&mut out, client_of(own, *session));
        put_varint(&mut out, u64::from(*clock));
        for one in structs {
            let (info, plain) = match one.content {
                RawContent::Garbage(_) => (0, true),
                RawContent::Gap(_) => (10, true),
                RawContent::Deleted(_) => (1, false),
                RawContent::Text(_) => (4, false),
                RawContent::Embed(_) => (5, false),
                RawContent::Format(..) => (6, false),
            };
            if plain {
                out.push(info);
            } else {
                let flag = |id: &Option<RawId>, bit: u8| if id.is_some() { bit } else { 0 };
                out.push(info | flag(&one.origin, 0x80) | flag(&one.right_origin, 0x40));
                for (log, session, clock) in [one.origin, one.right_origin].into_iter().flatten() {
                    put_varint(&mut out, client_of(log, session));
                    put_varint(&mut out, u64::from(clock));
                }
                if one.origin.is_none() && one.right_origin.is_none() {
                    out.push(1);
                    put_bytes(&mut out, b"t");
                }
            }
            match &one.content {
                RawContent::Garbage(length) | RawContent::Gap(length) | RawContent::Deleted(length) => {
                    put_varint(&mut out, u64::from(*length));
                }
                RawContent::Text(text) | RawContent::Embed(text) => put_bytes(&mut out, text.as_bytes()),
                RawContent::Format(key, json) => {
                    put_bytes(&mut out, key.as_bytes());
                    put_bytes(&mut out, json.as_bytes());
                }
            }
        }
    }
    put_varint(&mut out, deleted.len() as u64);
    for (log, session, clock, length) in deleted {
        put_varint(&mut out, client_of(*log, *session));
        put_varint(&mut out, 1);
        put_varint(&mut out, u64::from(*clock));
        put_varint(&mut out, u64::from(*length));
    }
    out
}

/// The characters that an update inserts, by client and clock, and the clocks that it deletes.
pub fn contents(update: &[u8]) -> (Chars, Vec<(u64, u32)>) {
    let parsed = parse(update).unwrap();
    let mut chars = BTreeMap::new();
    for (client, structs) in parsed.clients {
        for one in structs {
            if let Content::Text(text) = one.content {
                let mut clock = one.clock;
                for char in text.chars() {
                    chars.insert((client, clock), char);
                    clock += char.len_utf16() as u32;
                }
            }
        }
    }
    let deleted = parsed.deleted.into_iter();
    (chars, deleted.flat_map(|(client, start, end)| (start..end).map(move |clock| (client, clock))).collect())
}
