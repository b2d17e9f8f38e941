//! What a register or a set item holds.

use std::cmp::Ordering;

use super::codec::{Reader, put_bytes, put_signed, put_varint};
use super::limits::{MAX_EVENT_BYTES, MAX_VALUE_DEPTH};
use super::sorted::SortedMap;
use crate::error::{Error, Result};

/// A value: the data model of JSON, plus integers and bytes of their own.
///
/// Floats have one NaN and no negative zero, so that equal values have equal bytes.
#[derive(Clone, Debug, Default)]
pub enum Value {
    /// Nothing; not the same as a cleared field.
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number; see the type's note.
    Float(f64),
    /// Text that is replaced as a whole.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A list, replaced as a whole.
    List(Vec<Value>),
    /// Named values, replaced as a whole.
    Map(SortedMap<String, Value>),
}

const CANONICAL_NAN: u64 = 0x7ff8_0000_0000_0000;

impl Value {
    /// The tag of a text.
    pub(crate) const TEXT: u8 = 4;

    /// The canonical form of a float: one NaN, no negative zero.
    pub fn float(number: f64) -> Self {
        Self::Float(if number.is_nan() {
            f64::from_bits(CANONICAL_NAN)
        } else if number == 0.0 {
            0.0
        } else {
            number
        })
    }

    /// The same value with its floats in canonical form; fails on one that nests deeper than
    /// [`MAX_VALUE_DEPTH`]. Every value from an app goes through here before it is written.
    pub fn canonical(self) -> Result<Self> {
        self.canonical_at(0)
    }

    fn canonical_at(self, depth: usize) -> Result<Self> {
        if depth > MAX_VALUE_DEPTH {
            return Err(Error::too_large(format!("a value nests deeper than {MAX_VALUE_DEPTH} levels")));
        }
        Ok(match self {
            Value::Float(number) => Value::float(number),
            Value::List(items) => {
                Value::List(items.into_iter().map(|item| item.canonical_at(depth + 1)).collect::<Result<_>>()?)
            }
            Value::Map(items) => Value::Map(
                items
                    .into_iter()
                    .map(|(name, item)| Ok((name, item.canonical_at(depth + 1)?)))
                    .collect::<Result<_>>()?,
            ),
            other => other,
        })
    }

    /// Bytes that its content takes in memory, roughly.
    pub(crate) fn memory_bytes(&self) -> usize {
        match self {
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => 0,
            Value::Text(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            Value::List(items) => items.iter().map(|item| size_of::<Value>() + item.memory_bytes()).sum(),
            Value::Map(items) => {
                items.iter().map(|(name, item)| size_of::<(String, Value)>() + name.len() + item.memory_bytes()).sum()
            }
        }
    }

    /// Appends the canonical encoding: a tag byte, then the content.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Value::Null => out.push(0),
            Value::Bool(value) => out.extend_from_slice(&[1, u8::from(*value)]),
            Value::Int(number) => {
                out.push(2);
                put_signed(out, *number);
            }
            Value::Float(number) => {
                out.push(3);
                out.extend_from_slice(&number.to_bits().to_le_bytes());
            }
            Value::Text(text) => {
                out.push(Self::TEXT);
                put_bytes(out, text.as_bytes());
            }
            Value::Bytes(bytes) => {
                out.push(5);
                put_bytes(out, bytes);
            }
            Value::List(items) => {
                out.push(6);
                put_varint(out, items.len() as u64);
                items.iter().for_each(|item| item.encode(out));
            }
            Value::Map(items) => {
                out.push(7);
                put_varint(out, items.len() as u64);
                for (name, item) in items {
                    put_bytes(out, name.as_bytes());
                    item.encode(out);
                }
            }
        }
    }

    /// Reads a canonical encoding; anything else (another NaN, names out of order, too deep) is a protocol error.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        Self::decode_at(reader, 0)
    }

    fn decode_at(reader: &mut Reader<'_>, depth: usize) -> Result<Self> {
        if depth > MAX_VALUE_DEPTH {
            return Err(Error::protocol("a value nests too deep"));
        }
        Ok(match reader.byte()? {
            0 => Value::Null,
            1 => match reader.byte()? {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                _ => return Err(Error::protocol("a boolean that is neither")),
            },
            2 => Value::Int(reader.signed()?),
            3 => {
                let number = f64::from_bits(u64::from_le_bytes(reader.array()?));
                match Value::float(number) {
                    Value::Float(canonical) if canonical.to_bits() == number.to_bits() => Value::Float(number),
                    _ => return Err(Error::protocol("a float that is not in canonical form")),
                }
            }
            Self::TEXT => Value::Text(reader.text(MAX_EVENT_BYTES, "a text value")?.to_owned()),
            5 => Value::Bytes(reader.bytes(MAX_EVENT_BYTES, "a bytes value")?.to_owned()),
            6 => {
                let count = reader.count(MAX_EVENT_BYTES, "items of a list")?;
                // A null takes one byte on the wire and 32 here: grow as items come, do not reserve.
                let mut items = Vec::new();
                for _ in 0..count {
                    items.push(Self::decode_at(reader, depth + 1)?);
                }
                Value::List(items)
            }
            7 => {
                let count = reader.count(MAX_EVENT_BYTES, "items of a map")?;
                let mut items = SortedMap::<String, Value>::new();
                for _ in 0..count {
                    let name = reader.text(MAX_EVENT_BYTES, "a name in a map")?;
                    if items.last_key_value().is_some_and(|(last, _)| last.as_str() >= name) {
                        return Err(Error::protocol("names of a map out of order"));
                    }
                    items.insert(name.to_owned(), Self::decode_at(reader, depth + 1)?);
                }
                Value::Map(items)
            }
            tag => return Err(Error::protocol(format!("an unknown sort of value: {tag}"))),
        })
    }

    /// Whether these bytes are a canonical encoding, as [`Value::from_bytes`] finds; a text needs no memory for that.
    pub(crate) fn check(bytes: &[u8]) -> Result<()> {
        match bytes.split_first() {
            Some((&Self::TEXT, rest)) => {
                let mut reader = Reader::new(rest);
                reader.text(MAX_EVENT_BYTES, "a text value")?;
                reader.finish()
            }
            _ => Self::from_bytes(bytes).map(drop),
        }
    }

    /// The canonical encoding on its own.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }

    /// Reads [`Value::to_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let value = Self::decode(&mut reader)?;
        reader.finish()?;
        Ok(value)
    }
}

/// By canonical bytes: total, and the same on every device.
impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        self.to_bytes().cmp(&other.to_bytes())
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Bit by bit: the one NaN equals itself.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
            (Value::Text(a), Value::Text(b)) => a == b,
            (Value::Bytes(a), Value::Bytes(b)) => a == b,
            (Value::List(a), Value::List(b)) => a == b,
            (Value::Map(a), Value::Map(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Value::Int(number)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Value::float(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test;

    #[test]
    fn values_read_back() {
        let map = [("a".to_owned(), Value::from(1)), ("b".to_owned(), Value::float(f64::NAN))].into();
        let value = Value::List(vec![Value::Null, true.into(), (-5).into(), 0.5.into(), "hé".into(), Value::Map(map)]);
        assert_eq!(Value::from_bytes(&value.to_bytes()).unwrap(), value);
    }

    #[test]
    fn only_canonical_floats_and_bounded_nesting_are_read() {
        assert_eq!(Value::float(-0.0).to_bytes(), Value::float(0.0).to_bytes());
        let mut bytes = vec![3];
        bytes.extend_from_slice(&(-0.0_f64).to_bits().to_le_bytes());
        assert!(Value::from_bytes(&bytes).is_err());
        let deep: Vec<u8> = [6, 1].into_iter().cycle().take(2_000_000).collect();
        assert!(Value::from_bytes(&deep).is_err());
    }
}
