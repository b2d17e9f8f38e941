//! Yjs's update format, version 1 (yjs/INTERNALS.md and lib0's encoding): read with every length and number checked,
//! and only what a text may hold. yrs sees nothing that has not been through here.

use std::borrow::Cow;

use super::author_of_client;
use crate::error::{Error, Result};
use crate::types::limits::{MAX_NAME_BYTES, MAX_VALUE_DEPTH};

/// The name of the one root text of each document.
pub(super) const ROOT: &str = "t";
/// Clocks count UTF-16 code units, and yrs takes their differences in 32 signed bits.
const MAX_CLOCK: u64 = 1 << 30;
/// A client id is what JavaScript holds exactly.
const MAX_CLIENT: u64 = (1 << 53) - 1;
/// Bytes of a mark's or embedded thing's JSON.
const MAX_JSON_BYTES: usize = 64 << 10;

/// The first five bits of a struct's info byte say what it holds, the others what comes with it.
const HAS_ORIGIN: u8 = 0x80;
const HAS_RIGHT_ORIGIN: u8 = 0x40;
const CONTENT: u8 = 0x1f;

/// One code unit (or mark, or embedded thing) of a document.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Id {
    pub client: u64,
    pub clock: u32,
}

/// Things that a client inserted next to each other at once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Struct<'a> {
    pub clock: u32,
    /// At least 1; `clock + length` is at most 2^30.
    pub length: u32,
    pub origin: Option<Id>,
    pub right_origin: Option<Id>,
    pub content: Content<'a>,
}

#[cfg(feature = "text")]
impl Struct<'_> {
    pub fn end(&self) -> u32 {
        self.clock + self.length
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Content<'a> {
    /// Gone, or collected as garbage.
    Deleted,
    Text(Cow<'a, str>),
    /// JSON.
    Embed(&'a str),
    /// A mark's key, and its value as JSON.
    Format(&'a str, &'a str),
}

/// Clocks of a client that are deleted: from, to (exclusive).
pub(super) type Deleted = (u64, u32, u32);

/// An update.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Parsed<'a> {
    pub clients: Vec<(u64, Vec<Struct<'a>>)>,
    pub deleted: Vec<Deleted>,
}

/// Checks an update from outside: well formed, with nothing but what a text may hold, made by clients of one log only
/// (`author`: [`super::client_author`]).
pub(in crate::crdt) fn check_update(update: &[u8], author: u64) -> Result<()> {
    for (client, structs) in parse(update)?.clients {
        if author_of_client(client) != author {
            return Err(bad("it was made under another author's client id"));
        }
        for one in structs {
            match one.content {
                Content::Format(key, _) if key.len() > MAX_NAME_BYTES => {
                    return Err(bad("the name of a mark is too long"));
                }
                Content::Format(_, json) | Content::Embed(json) => check_json(json)?,
                Content::Deleted | Content::Text(_) => {}
            }
        }
    }
    Ok(())
}

/// The characters that an update brings, in the order in which it holds them.
pub fn typed_in(update: &[u8]) -> String {
    let clients = parse(update).map(|parsed| parsed.clients).unwrap_or_default();
    let texts = clients.into_iter().flat_map(|(_, structs)| structs).map(|one| match one.content {
        Content::Text(text) => text,
        Content::Deleted | Content::Embed(_) | Content::Format(..) => Cow::Borrowed(""),
    });
    texts.collect()
}

fn check_json(json: &str) -> Result<()> {
    fn depth(value: &serde_json::Value) -> usize {
        match value {
            serde_json::Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
            serde_json::Value::Object(items) => 1 + items.values().map(depth).max().unwrap_or(0),
            _ => 0,
        }
    }
    if json.len() > MAX_JSON_BYTES {
        return Err(bad("a mark's value is too long"));
    }
    // serde_json itself stops at 128 levels.
    match serde_json::from_str(json) {
        Ok(value) if depth(&value) <= MAX_VALUE_DEPTH => Ok(()),
        Ok(_) => Err(bad("a mark's value nests too deep")),
        Err(_) => Err(bad("a mark's value is not JSON")),
    }
}

/// Reads an update. Structs of one client stand in the order of their clocks and do not overlap.
pub(super) fn parse(update: &[u8]) -> Result<Parsed<'_>> {
    let mut input = Input { rest: update };
    let mut clients = Vec::new();
    for _ in 0..input.number(u64::from(u32::MAX))? {
        let count = input.number(u64::from(u32::MAX))?;
        let client = input.number(MAX_CLIENT)?;
        let mut clock = input.clock()?;
        let mut structs = Vec::new();
        for _ in 0..count {
            if let Some((end, one)) = input.one(clock)? {
                structs.extend(one);
                clock = end;
            }
        }
        clients.push((client, structs));
    }
    let mut deleted = Vec::new();
    for _ in 0..input.number(u64::from(u32::MAX))? {
        let client = input.number(MAX_CLIENT)?;
        for _ in 0..input.number(u64::from(u32::MAX))? {
            let start = input.clock()?;
            let end = input.end_after(start)?;
            deleted.push((client, start, end));
        }
    }
    if !input.rest.is_empty() {
        return Err(bad("bytes are left over behind it"));
    }
    Ok(Parsed { clients, deleted })
}

struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    fn byte(&mut self) -> Result<u8> {
        let (&first, rest) = self.rest.split_first().ok_or_else(|| bad("it ends too early"))?;
        self.rest = rest;
        Ok(first)
    }

    /// Seven bits a byte, the lowest first; at most `max`.
    fn number(&mut self, max: u64) -> Result<u64> {
        let mut number = 0_u64;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return if number <= max { Ok(number) } else { Err(bad("a number in it is too large")) };
            }
        }
        Err(bad("a number in it is too long"))
    }

    fn clock(&mut self) -> Result<u32> {
        Ok(self.number(MAX_CLOCK)? as u32)
    }

    /// A length, at least 1, and where it leads to from `start`.
    fn end_after(&mut self, start: u32) -> Result<u32> {
        match self.number(MAX_CLOCK)? {
            0 => Err(bad("a part of it is empty")),
            length => end(start, length),
        }
    }

    fn text(&mut self) -> Result<&'a str> {
        let length = self.number(self.rest.len() as u64)? as usize;
        let bytes = self.rest.get(..length).ok_or_else(|| bad("it ends too early"))?;
        self.rest = &self.rest[length..];
        std::str::from_utf8(bytes).map_err(|_| bad("a text in it is not UTF-8"))
    }

    fn id(&mut self) -> Result<Id> {
        let client = self.number(MAX_CLIENT)?;
        match self.clock()? {
            clock if u64::from(clock) < MAX_CLOCK => Ok(Id { client, clock }),
            _ => Err(bad("a number in it is too large")),
        }
    }

    /// A struct (none for a gap) and where the next one starts.
    fn one(&mut self, clock: u32) -> Result<Option<(u32, Option<Struct<'a>>)>> {
        let info = self.byte()?;
        if matches!(info, 0 | 10) {
            let end = self.end_after(clock)?;
            let garbage =
                Struct { clock, length: end - clock, origin: None, right_origin: None, content: Content::Deleted };
            return Ok(Some((end, (info == 0).then_some(garbage))));
        }
        let origin = if info & HAS_ORIGIN != 0 { Some(self.id()?) } else { None };
        let right_origin = if info & HAS_RIGHT_ORIGIN != 0 { Some(self.id()?) } else { None };
        if origin.is_none() && right_origin.is_none() && (self.number(1)? != 1 || self.text()? != ROOT) {
            return Err(bad("it changes something else than the text"));
        }
        let (length, content) = match info & !(HAS_ORIGIN | HAS_RIGHT_ORIGIN) {
            1 => (self.end_after(clock)? - clock, Content::Deleted),
            4 => {
                let text = self.text()?;
                (utf16_length(text)?, Content::Text(Cow::Borrowed(text)))
            }
            5 => (1, Content::Embed(self.text()?)),
            6 => (1, Content::Format(self.text()?, self.text()?)),
            other => return Err(bad(&format!("it holds something that no text holds ({})", other & CONTENT))),
        };
        let end = end(clock, u64::from(length))?;
        Ok(Some((end, Some(Struct { clock, length, origin, right_origin, content }))))
    }
}

fn end(start: u32, length: u64) -> Result<u32> {
    match u64::from(start) + length {
        end if end <= MAX_CLOCK => Ok(end as u32),
        _ => Err(bad("a number in it is too large")),
    }
}

/// Never 0.
fn utf16_length(text: &str) -> Result<u32> {
    let length = if text.is_ascii() { text.len() } else { text.encode_utf16().count() };
    match u32::try_from(length) {
        Ok(0) | Err(_) => Err(bad("a part of it is empty")),
        Ok(length) => Ok(length),
    }
}

fn bad(what: &str) -> Error {
    Error::invalid(format!("a text update cannot be taken: {what}"))
}

/// Writes an update; see [`parse`] for the format.
#[cfg(feature = "text")]
pub(super) fn write(clients: &[(u64, Vec<Struct<'_>>)], deleted: &[(u64, Vec<(u32, u32)>)]) -> Vec<u8> {
    use crate::types::codec::{put_bytes, put_varint};

    let mut out = Vec::new();
    put_varint(&mut out, clients.len() as u64);
    for (client, structs) in clients {
        put_varint(&mut out, structs.len() as u64);
        put_varint(&mut out, *client);
        put_varint(&mut out, structs.first().map_or(0, |first| u64::from(first.clock)));
        for one in structs {
            let content = match &one.content {
                Content::Deleted => 1,
                Content::Text(_) => 4,
                Content::Embed(_) => 5,
                Content::Format(..) => 6,
            };
            let origin = if one.origin.is_some() { HAS_ORIGIN } else { 0 };
            let right_origin = if one.right_origin.is_some() { HAS_RIGHT_ORIGIN } else { 0 };
            out.push(content | origin | right_origin);
            for id in [one.origin, one.right_origin].into_iter().flatten() {
                put_varint(&mut out, id.client);
                put_varint(&mut out, u64::from(id.clock));
            }
            if one.origin.is_none() && one.right_origin.is_none() {
                out.push(1);
                put_bytes(&mut out, ROOT.as_bytes());
            }
            match &one.content {
                Content::Deleted => put_varint(&mut out, u64::from(one.length)),
                Content::Text(text) => put_bytes(&mut out, text.as_bytes()),
                Content::Embed(json) => put_bytes(&mut out, json.as_bytes()),
                Content::Format(key, json) => {
                    put_bytes(&mut out, key.as_bytes());
                    put_bytes(&mut out, json.as_bytes());
                }
            }
        }
    }
    put_varint(&mut out, deleted.len() as u64);
    for (client, ranges) in deleted {
        put_varint(&mut out, *client);
        put_varint(&mut out, ranges.len() as u64);
        for (start, end) in ranges {
            put_varint(&mut out, u64::from(*start));
            put_varint(&mut out, u64::from(end - start));
        }
    }
    out
}
