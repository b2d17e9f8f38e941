//! Events and field operations, and their one encoding.
//!
//! The encoding is written against [`WriteNames`] and read against [`ReadNames`]: the canonical form, which is hashed,
//! writes entities, fields and logs in full; a block writes their numbers in its dictionaries.

use super::clock::Dot;
use super::codec::{Reader, put_bytes, put_signed, put_varint};
use super::ids::{EntityId, Epoch, FieldName, LogId, PeerId};
use super::limits::{MAX_DOTS, MAX_EVENT_BYTES, MAX_NAME_BYTES, MAX_OPS, MAX_SEEN};
use super::value::Value;
use crate::error::{Error, Result};

/// The sort of merge that a field's operation belongs to. State is kept per (field, kind); kinds never mix.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum FieldKind {
    /// Last writer wins.
    Register = 0,
    /// A sum of additions, kept per author.
    Counter = 1,
    /// An add-wins set.
    Set = 2,
    /// Text that several people may type in.
    Text = 3,
    /// Another CRDT's updates, kept and handed on.
    Opaque = 4,
}

/// One change to one field, or to the entity as a whole (PROTOCOL.md section 9).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FieldOp {
    /// Makes the entity, or brings it back with all its fields.
    Create,
    /// Hides what the event's clock covers.
    Delete,
    /// Sets a register. Its stamp is the commit's time raised by `lift`.
    Set {
        /// The register.
        field: FieldName,
        /// Its new value.
        value: Value,
        /// See [`super::HybridTimestamp::lifted`].
        lift: u64,
    },
    /// Empties a register; competes with `Set` on the same terms.
    Clear {
        /// The register.
        field: FieldName,
        /// See [`super::HybridTimestamp::lifted`].
        lift: u64,
    },
    /// Adds to a counter, wrapping.
    Add {
        /// The counter.
        field: FieldName,
        /// By how much.
        by: i64,
    },
    /// Takes back what its author had seen of a counter.
    ClearCounter {
        /// The counter.
        field: FieldName,
        /// For each log the last addition seen and the log's sum up to it; ascending by log, each once.
        sums: Vec<(Dot, i64)>,
    },
    /// Puts an item into a set.
    Insert {
        /// The set.
        field: FieldName,
        /// The item.
        item: Value,
    },
    /// Takes an item out of a set, as far as its author had seen it.
    Remove {
        /// The set.
        field: FieldName,
        /// The item.
        item: Value,
        /// The insertions seen, ascending.
        dots: Vec<Dot>,
    },
    /// Takes out of a set all that its author had seen.
    ClearSet {
        /// The set.
        field: FieldName,
        /// The insertions seen, ascending.
        dots: Vec<Dot>,
    },
    /// A change to a text: an update in Yjs's v1 encoding. Clearing a text is an update that deletes all of it.
    Text {
        /// The text.
        field: FieldName,
        /// The update.
        update: Vec<u8>,
    },
    /// Another CRDT's update.
    Opaque {
        /// The field.
        field: FieldName,
        /// The update.
        bytes: Vec<u8>,
    },
}

impl FieldOp {
    /// The field it changes, and the kind; none for `Create` and `Delete`.
    pub fn target(&self) -> Option<(&FieldName, FieldKind)> {
        Some(match self {
            FieldOp::Create | FieldOp::Delete => return None,
            FieldOp::Set { field, .. } | FieldOp::Clear { field, .. } => (field, FieldKind::Register),
            FieldOp::Add { field, .. } | FieldOp::ClearCounter { field, .. } => (field, FieldKind::Counter),
            FieldOp::Insert { field, .. } | FieldOp::Remove { field, .. } | FieldOp::ClearSet { field, .. } => {
                (field, FieldKind::Set)
            }
            FieldOp::Text { field, .. } => (field, FieldKind::Text),
            FieldOp::Opaque { field, .. } => (field, FieldKind::Opaque),
        })
    }
}

/// What an event's author had seen of the entity since the previous commit of the same log on it: the entries of the
/// vector clock that are new, in full where there is none before. Ascending by log, each once, never the own log.
pub type Seen = Vec<(LogId, u64)>;

/// One immutable change to one entity: a list of field operations.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// The entity.
    pub entity: EntityId,
    /// What its author had newly seen of the entity.
    pub seen: Seen,
    /// What it does, in order; at least one, at most [`MAX_OPS`].
    pub ops: Vec<FieldOp>,
}

/// How an encoder writes the names that blocks keep in dictionaries.
pub trait WriteNames {
    /// Writes an entity's id.
    fn entity(&mut self, out: &mut Vec<u8>, entity: &EntityId);
    /// Writes a field's name.
    fn field(&mut self, out: &mut Vec<u8>, field: &FieldName);
    /// Writes a log's author and epoch.
    fn log(&mut self, out: &mut Vec<u8>, log: &LogId);
}

/// How a decoder reads what [`WriteNames`] wrote.
pub trait ReadNames {
    /// Reads an entity's id.
    fn entity(&mut self, reader: &mut Reader<'_>) -> Result<EntityId>;
    /// Reads a field's name.
    fn field(&mut self, reader: &mut Reader<'_>) -> Result<FieldName>;
    /// Reads a log's author and epoch.
    fn log(&mut self, reader: &mut Reader<'_>) -> Result<LogId>;
}

/// The canonical form: every name in full.
pub struct InFull;

impl WriteNames for InFull {
    fn entity(&mut self, out: &mut Vec<u8>, entity: &EntityId) {
        out.extend_from_slice(&entity.0);
    }

    fn field(&mut self, out: &mut Vec<u8>, field: &FieldName) {
        put_bytes(out, field.as_str().as_bytes());
    }

    fn log(&mut self, out: &mut Vec<u8>, log: &LogId) {
        out.extend_from_slice(&log.author.0);
        out.extend_from_slice(&log.epoch.0.to_le_bytes());
    }
}

impl ReadNames for InFull {
    fn entity(&mut self, reader: &mut Reader<'_>) -> Result<EntityId> {
        Ok(EntityId(reader.array()?))
    }

    fn field(&mut self, reader: &mut Reader<'_>) -> Result<FieldName> {
        FieldName::new(reader.text(MAX_NAME_BYTES, "a field name")?)
    }

    fn log(&mut self, reader: &mut Reader<'_>) -> Result<LogId> {
        Ok(LogId { author: PeerId(reader.array()?), epoch: Epoch(u64::from_le_bytes(reader.array()?)) })
    }
}

impl Event {
    /// Appends the event.
    pub fn encode(&self, out: &mut Vec<u8>, names: &mut impl WriteNames) {
        names.entity(out, &self.entity);
        // One byte for what nearly every event is: one operation, and nothing newly seen.
        let more_ops = (self.ops.len() as u64).saturating_sub(1);
        put_varint(out, more_ops << 1 | u64::from(!self.seen.is_empty()));
        if !self.seen.is_empty() {
            put_varint(out, self.seen.len() as u64);
            for (log, seq) in &self.seen {
                names.log(out, log);
                put_varint(out, *seq);
            }
        }
        for op in &self.ops {
            encode_op(op, out, names);
        }
    }

    /// Reads an event; `own` is the log that it stands in.
    pub fn decode(reader: &mut Reader<'_>, names: &mut impl ReadNames, own: &LogId) -> Result<Self> {
        let entity = names.entity(reader)?;
        let shape = reader.bounded(MAX_OPS * 2 - 1, "operations of an event")?;
        let (count, mut seen) = (shape / 2 + 1, Seen::new());
        if shape % 2 == 1 {
            decode_seen(reader, names, own, &mut seen)?;
        }
        let mut ops = Vec::with_capacity(count.min(16));
        for _ in 0..count {
            ops.push(decode_op(reader, names)?);
        }
        Ok(Self { entity, seen, ops })
    }
}

fn decode_seen(reader: &mut Reader<'_>, names: &mut impl ReadNames, own: &LogId, seen: &mut Seen) -> Result<()> {
    let count = reader.count(MAX_SEEN, "logs that an event has seen")?;
    if count == 0 {
        return Err(Error::protocol("a clock without entries"));
    }
    for _ in 0..count {
        let log = names.log(reader)?;
        let seq = reader.varint()?;
        if log == *own || seq == 0 || seen.last().is_some_and(|(last, _)| *last >= log) {
            return Err(Error::protocol("a clock out of order, or that names its own log"));
        }
        seen.push((log, seq));
    }
    Ok(())
}

fn encode_op(op: &FieldOp, out: &mut Vec<u8>, names: &mut impl WriteNames) {
    let mut start = |out: &mut Vec<u8>, tag: u8, field: &FieldName| {
        out.push(tag);
        names.field(out, field);
    };
    match op {
        FieldOp::Create => out.push(0),
        FieldOp::Delete => out.push(1),
        FieldOp::Set { field, value, lift: 0 } => {
            start(out, 2, field);
            value.encode(out);
        }
        FieldOp::Set { field, value, lift } => {
            start(out, 3, field);
            put_varint(out, *lift);
            value.encode(out);
        }
        FieldOp::Clear { field, lift } => {
            start(out, 4, field);
            put_varint(out, *lift);
        }
        FieldOp::Add { field, by } => {
            start(out, 5, field);
            put_signed(out, *by);
        }
        FieldOp::ClearCounter { field, sums } => {
            start(out, 6, field);
            put_varint(out, sums.len() as u64);
            for (dot, sum) in sums {
                encode_dot(dot, out, names);
                put_signed(out, *sum);
            }
        }
        FieldOp::Insert { field, item } => {
            start(out, 7, field);
            item.encode(out);
        }
        FieldOp::Remove { field, item, dots } => {
            start(out, 8, field);
            item.encode(out);
            encode_dots(dots, out, names);
        }
        FieldOp::ClearSet { field, dots } => {
            start(out, 9, field);
            encode_dots(dots, out, names);
        }
        FieldOp::Text { field, update } => {
            start(out, 10, field);
            put_bytes(out, update);
        }
        FieldOp::Opaque { field, bytes } => {
            start(out, 11, field);
            put_bytes(out, bytes);
        }
    }
}

fn decode_op(reader: &mut Reader<'_>, names: &mut impl ReadNames) -> Result<FieldOp> {
    let tag = reader.byte()?;
    match tag {
        0 => return Ok(FieldOp::Create),
        1 => return Ok(FieldOp::Delete),
        2..=11 => {}
        _ => return Err(Error::protocol(format!("an unknown field operation: {tag}"))),
    }
    let field = names.field(reader)?;
    Ok(match tag {
        2 => FieldOp::Set { field, value: Value::decode(reader)?, lift: 0 },
        3 => {
            let lift = reader.varint()?;
            if lift == 0 {
                return Err(Error::protocol("a lift of nothing"));
            }
            FieldOp::Set { field, value: Value::decode(reader)?, lift }
        }
        4 => FieldOp::Clear { field, lift: reader.varint()? },
        5 => FieldOp::Add { field, by: reader.signed()? },
        6 => {
            let count = reader.count(MAX_SEEN, "sums that a clear names")?;
            let mut sums = Vec::<(Dot, i64)>::new();
            for _ in 0..count {
                let dot = decode_dot(reader, names)?;
                if sums.last().is_some_and(|(last, _)| last.log >= dot.log) {
                    return Err(Error::protocol("sums out of order"));
                }
                sums.push((dot, reader.signed()?));
            }
            FieldOp::ClearCounter { field, sums }
        }
        7 => FieldOp::Insert { field, item: Value::decode(reader)? },
        8 => FieldOp::Remove { field, item: Value::decode(reader)?, dots: decode_dots(reader, names)? },
        9 => FieldOp::ClearSet { field, dots: decode_dots(reader, names)? },
        10 => FieldOp::Text { field, update: reader.bytes(MAX_EVENT_BYTES, "a text update")?.to_owned() },
        _ => FieldOp::Opaque { field, bytes: reader.bytes(MAX_EVENT_BYTES, "an opaque update")?.to_owned() },
    })
}

fn encode_dot(dot: &Dot, out: &mut Vec<u8>, names: &mut impl WriteNames) {
    names.log(out, &dot.log);
    put_varint(out, dot.seq);
    put_varint(out, u64::from(dot.index));
}

fn encode_dots(dots: &[Dot], out: &mut Vec<u8>, names: &mut impl WriteNames) {
    put_varint(out, dots.len() as u64);
    dots.iter().for_each(|dot| encode_dot(dot, out, names));
}

fn decode_dot(reader: &mut Reader<'_>, names: &mut impl ReadNames) -> Result<Dot> {
    let log = names.log(reader)?;
    let seq = reader.varint()?;
    let index = reader.bounded(super::limits::MAX_BATCH_SIZE, "an event's place in its commit")? as u32;
    Ok(Dot { log, seq, index })
}

fn decode_dots(reader: &mut Reader<'_>, names: &mut impl ReadNames) -> Result<Vec<Dot>> {
    let count = reader.count(MAX_DOTS, "insertions that a removal names")?;
    let mut dots = Vec::<Dot>::new();
    for _ in 0..count {
        let dot = decode_dot(reader, names)?;
        if dots.last().is_some_and(|last| *last >= dot) {
            return Err(Error::protocol("insertions out of order"));
        }
        dots.push(dot);
    }
    Ok(dots)
}
