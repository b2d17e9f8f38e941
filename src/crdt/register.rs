//! Registers: the highest stamp wins.
//!
//! Where stamps have run into [`HybridTimestamp::YEAR_8000`] they say nothing any more. From there on the latest entry
//! of each log is kept, and those that another one has seen drop out when the value is read.

use smallvec::SmallVec;

use super::life::{Logs, out_of_order, put_pos, read_log, read_pos};
use super::logs::{EventAt, LogIx, LogTable, Pos};
use crate::error::Result;
use crate::types::codec::{Reader, put_bytes, put_varint, varint_len};
use crate::types::limits::MAX_EVENT_BYTES;
use crate::types::{HybridTimestamp, Value};

/// Most values are short: those need no memory of their own.
type Bytes = SmallVec<[u8; 32]>;

/// A value that was written, or the emptying of the field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    stamp: HybridTimestamp,
    commit: u64,
    seq: u64,
    /// The canonical encoding of the value; nothing where the field was emptied.
    value: Bytes,
    log: LogIx,
    /// Below `MAX_BATCH_SIZE`.
    index: u16,
    /// A bool has room for the tags of the enums around it, which saves eight bytes a field.
    is_set: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Register {
    One(Entry),
    /// All at the last stamp there is, by log, at most one of each.
    Saturated(Vec<Entry>),
}

impl Entry {
    pub fn new(at: &EventAt, lift: u64, value: Option<&Value>) -> Self {
        Self {
            stamp: at.hlc.lifted(lift),
            commit: at.commit,
            seq: at.seq,
            value: value.map(compact).unwrap_or_default(),
            log: at.log,
            index: u16::try_from(at.index).unwrap_or(u16::MAX),
            is_set: value.is_some(),
        }
    }

    fn pos(&self) -> Pos {
        Pos { seq: self.seq, index: u32::from(self.index) }
    }

    fn value(&self) -> Option<&[u8]> {
        self.is_set.then_some(&self.value)
    }

    fn is_saturated(&self) -> bool {
        self.stamp >= HybridTimestamp::YEAR_8000
    }

    /// What decides between equal stamps. A number that the table never gave sorts first.
    fn tie_break<'a>(&self, logs: &'a LogTable) -> impl Ord + use<'a> {
        let id = logs.id(self.log);
        (id.map(|id| id.author), self.commit, self.index, id.map(|id| id.epoch), self.seq)
    }
}

impl Register {
    pub fn new(entry: Entry) -> Self {
        if entry.is_saturated() { Self::Saturated(vec![entry]) } else { Self::One(entry) }
    }

    /// Takes a further entry; says whether anything was taken.
    pub fn write(&mut self, entry: Entry, logs: &LogTable) -> bool {
        match self {
            Self::One(held) if entry.is_saturated() || held.stamp < entry.stamp => *self = Self::new(entry),
            // Two operations of one event tie in everything: the later one holds.
            Self::One(held) if held.stamp == entry.stamp && held.tie_break(logs) <= entry.tie_break(logs) => {
                *held = entry;
            }
            Self::One(_) => return false,
            Self::Saturated(_) if !entry.is_saturated() => return false,
            Self::Saturated(held) => match held.binary_search_by_key(&entry.log, |held| held.log) {
                Ok(found) => held[found] = entry,
                Err(place) => held.insert(place, entry),
            },
        }
        true
    }

    /// The stamp of what a reader sees: what a writer who has seen it must exceed.
    pub fn stamp(&self) -> HybridTimestamp {
        match self {
            Self::One(entry) => entry.stamp,
            Self::Saturated(_) => HybridTimestamp::YEAR_8000,
        }
    }

    /// The value's canonical bytes; `None` where the field was emptied.
    pub fn value(&self, seen: &Logs, logs: &LogTable) -> Option<&[u8]> {
        let winner = match self {
            Self::One(entry) => Some(entry),
            Self::Saturated(entries) => {
                let is_covered = |entry: &Entry| {
                    let here = (entry.log, entry.pos());
                    entries.iter().any(|by| by.log != entry.log && seen.covers((by.log, by.pos()), here))
                };
                // Should each be covered by another (clocks that lie), all are kept.
                entries.iter().max_by_key(|entry| (!is_covered(entry), entry.tie_break(logs)))
            }
        };
        winner.and_then(Entry::value)
    }

    pub fn memory_bytes(&self) -> usize {
        let heap = |entry: &Entry| if entry.value.spilled() { entry.value.capacity() + 16 } else { 0 };
        match self {
            Self::One(entry) => heap(entry),
            Self::Saturated(entries) => entries.iter().map(|entry| size_of::<Entry>() + heap(entry)).sum(),
        }
    }

    fn entries(&self) -> &[Entry] {
        match self {
            Self::One(entry) => std::slice::from_ref(entry),
            Self::Saturated(entries) => entries,
        }
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.stamp().0);
        put_varint(out, self.entries().len() as u64);
        for entry in self.entries() {
            put_varint(out, u64::from(entry.log.0));
            put_pos(out, entry.pos());
            out.extend_from_slice(&entry.commit.to_le_bytes());
            match entry.value() {
                None => out.push(0),
                Some(value) => {
                    out.push(1);
                    put_bytes(out, value);
                }
            }
        }
    }

    pub fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let stamp = HybridTimestamp(reader.varint()?);
        let count = reader.count(usize::MAX, "entries of a register")?;
        let mut entries = Vec::<Entry>::new();
        for _ in 0..count {
            let log = read_log(reader)?;
            let pos = read_pos(reader)?;
            let commit = u64::from_le_bytes(reader.array()?);
            let value = match reader.byte()? {
                0 => None,
                1 => Some(Bytes::from_slice(read_value(reader)?)),
                _ => return Err(out_of_order()),
            };
            if entries.last().is_some_and(|last| last.log >= log) {
                return Err(out_of_order());
            }
            let index = u16::try_from(pos.index).map_err(|_| out_of_order())?;
            let is_set = value.is_some();
            entries.push(Entry { stamp, commit, seq: pos.seq, value: value.unwrap_or_default(), log, index, is_set });
        }
        match entries.pop() {
            Some(entry) if !entry.is_saturated() && entries.is_empty() => Ok(Self::One(entry)),
            Some(entry) if stamp == HybridTimestamp::YEAR_8000 => {
                entries.push(entry);
                Ok(Self::Saturated(entries))
            }
            _ => Err(out_of_order()),
        }
    }
}

/// The canonical bytes of a value, in memory of just that size.
pub(super) fn encoded(value: &Value) -> Box<[u8]> {
    let size = match value {
        Value::Text(text) => 1 + varint_len(text.len() as u64) + text.len(),
        Value::Bytes(bytes) => 1 + varint_len(bytes.len() as u64) + bytes.len(),
        _ => 16,
    };
    let mut out = Vec::with_capacity(size);
    value.encode(&mut out);
    out.into_boxed_slice()
}

/// The same, inside the entry where they are few.
fn compact(value: &Value) -> Bytes {
    match value {
        // Without memory in between: this is what most fields hold.
        Value::Text(text) if text.len() <= 30 => {
            let mut out = Bytes::from_slice(&[Value::TEXT, text.len() as u8]);
            out.extend_from_slice(text.as_bytes());
            out
        }
        _ => {
            let encoded = encoded(value);
            if encoded.len() <= 32 { Bytes::from_slice(&encoded) } else { Bytes::from_vec(encoded.into_vec()) }
        }
    }
}

/// Reads bytes of a value behind their length, and checks that they are one.
pub(super) fn read_value<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8]> {
    let bytes = reader.bytes(MAX_EVENT_BYTES, "a value")?;
    Value::check(bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test;

    #[test]
    fn a_register_keeps_the_canonical_bytes_of_values_of_any_length() {
        for length in [0, 1, 29, 30, 31, 32, 127, 128, 300] {
            for value in
                [Value::Text("é".repeat(length / 2)), Value::Bytes(vec![7; length]), Value::Int(1 << length.min(60))]
            {
                assert_eq!(compact(&value)[..], encoded(&value)[..]);
                assert_eq!(compact(&value).spilled(), encoded(&value).len() > 32);
            }
        }
    }
}
