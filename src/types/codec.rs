//! Reading and writing the canonical encoding: postcard's wire format (LEB128 varints, zigzag for signed numbers,
//! length-prefixed bytes), by hand, because a peer's lengths and nesting must be checked before memory is taken.

use crate::error::{Error, Result};

/// Appends `number` as a varint.
pub fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends a signed number, zigzag coded.
pub fn put_signed(out: &mut Vec<u8>, number: i64) {
    put_varint(out, ((number << 1) ^ (number >> 63)) as u64);
}

/// Appends bytes behind their length.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// How many bytes a varint takes.
pub fn varint_len(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

/// Reads what the `put_` functions wrote. Every error is a [`crate::error::ErrorCode::Protocol`] error; nothing
/// panics, and no length is trusted beyond the bytes that are there.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether all has been read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Fails unless all has been read.
    pub fn finish(&self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(Error::protocol("bytes left over after a message")) }
    }

    /// One byte.
    pub fn byte(&mut self) -> Result<u8> {
        let (&first, rest) = self.rest.split_first().ok_or_else(truncated)?;
        self.rest = rest;
        Ok(first)
    }

    /// A varint in its shortest form (the encoding is canonical).
    pub fn varint(&mut self) -> Result<u64> {
        let mut number = 0_u64;
        for (index, &byte) in self.rest.iter().enumerate().take(10) {
            number |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                if (index > 0 && byte == 0) || (index == 9 && byte > 1) {
                    return Err(Error::protocol("a number that is not in its shortest form"));
                }
                self.rest = &self.rest[index + 1..];
                return Ok(number);
            }
        }
        Err(truncated())
    }

    /// A varint that is at most `max`; `what` names it in the error.
    pub fn bounded(&mut self, max: usize, what: &str) -> Result<usize> {
        let number = self.varint()?;
        if number > max as u64 {
            return Err(Error::protocol(format!("{what}: {number} is over the limit of {max}")));
        }
        Ok(number as usize)
    }

    /// How many items follow: at most `max`, and no more than there are bytes left (each takes at least one).
    pub fn count(&mut self, max: usize, what: &str) -> Result<usize> {
        let count = self.bounded(max, what)?;
        if count > self.rest.len() { Err(truncated()) } else { Ok(count) }
    }

    /// A signed number.
    pub fn signed(&mut self) -> Result<i64> {
        let number = self.varint()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// Exactly `length` bytes.
    pub fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        if length > self.rest.len() {
            return Err(truncated());
        }
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(taken)
    }

    /// An array of bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| truncated())
    }

    /// Bytes behind their length, at most `max`.
    pub fn bytes(&mut self, max: usize, what: &str) -> Result<&'a [u8]> {
        let length = self.bounded(max, what)?;
        self.take(length)
    }

    /// UTF-8 text behind its length, at most `max` bytes.
    pub fn text(&mut self, max: usize, what: &str) -> Result<&'a str> {
        std::str::from_utf8(self.bytes(max, what)?).map_err(|_| Error::protocol(format!("{what}: not UTF-8")))
    }
}

fn truncated() -> Error {
    Error::protocol("a message ends before its last field")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test;

    #[test]
    fn numbers_read_back_and_are_written_as_postcard_writes_them() {
        for number in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, number);
            assert_eq!(out, postcard::to_allocvec(&number).unwrap());
            assert_eq!(out.len(), varint_len(number));
            assert_eq!(Reader::new(&out).varint().unwrap(), number);
        }
        for number in [0, -1, 1, i64::MIN, i64::MAX] {
            let mut out = Vec::new();
            put_signed(&mut out, number);
            assert_eq!(out, postcard::to_allocvec(&number).unwrap());
            assert_eq!(Reader::new(&out).signed().unwrap(), number);
        }
    }

    #[test]
    fn long_forms_and_short_input_are_refused() {
        assert!(Reader::new(&[0x80, 0x00]).varint().is_err());
        assert!(Reader::new(&[0xff; 11]).varint().is_err());
        assert!(Reader::new(&[0x80]).varint().is_err());
        assert!(Reader::new(&[200, 1]).bytes(1_000, "x").is_err());
        assert!(Reader::new(&[3, 1, 2]).count(10, "x").is_err());
    }
}
