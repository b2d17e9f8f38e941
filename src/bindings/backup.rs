//! Backups as files: the same bytes as those of the command line, so that a vault can go either way.
//!
//! 16 bytes of magic, a version (u16), then parts: a byte 1, the number of items (u32), the length of what follows
//! (u32), the items, each with its length (u32) before it, and a hash over the part and the hash before it. A byte 0,
//! the number of all items (u64) and such a hash end it. All numbers are little-endian.

use js_sys::{Array, Uint8Array};
use wasm_bindgen::prelude::*;

use super::convert::to_error;
use crate::error::{Error, Result};
use crate::types::Hash;

const MAGIC: &[u8; 16] = b"privstack-backup";
const VERSION: u16 = 1;
const CONTEXT: &str = "privstack-sync 2026 backup file";

/// Writes a backup, part by part.
#[wasm_bindgen]
pub struct BackupWriter {
    hash: Hash,
    items: u64,
}

#[wasm_bindgen]
impl BackupWriter {
    /// Before the first part.
    #[wasm_bindgen(constructor)]
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self { hash: Hash::derive(CONTEXT, &VERSION.to_le_bytes()), items: 0 }
    }

    /// What the file starts with.
    pub fn start(&self) -> Vec<u8> {
        [&MAGIC[..], &VERSION.to_le_bytes()].concat()
    }

    /// A part of these items.
    pub fn part(&mut self, items: Array) -> std::result::Result<Vec<u8>, JsValue> {
        let mut content = Vec::new();
        for item in items.iter() {
            let item = item.unchecked_into::<Uint8Array>().to_vec();
            content.extend_from_slice(&length(item.len())?);
            content.extend_from_slice(&item);
        }
        let record = [&[1][..], &length(items.length() as usize)?, &length(content.len())?, &content].concat();
        self.items += u64::from(items.length());
        Ok(self.chain(record))
    }

    /// What the file ends with.
    pub fn end(&mut self) -> Vec<u8> {
        let record = [&[0][..], &self.items.to_le_bytes()].concat();
        self.chain(record)
    }

    fn chain(&mut self, mut record: Vec<u8>) -> Vec<u8> {
        self.hash = chained(&self.hash, &record);
        record.extend_from_slice(&self.hash.0);
        record
    }
}

fn length(length: usize) -> std::result::Result<[u8; 4], JsValue> {
    let length =
        u32::try_from(length).map_err(|_| to_error(&Error::too_large("an item of the backup is too large")))?;
    Ok(length.to_le_bytes())
}

fn chained(before: &Hash, record: &[u8]) -> Hash {
    Hash::derive(CONTEXT, &[&before.0[..], record].concat())
}

/// The items of a backup, part by part. All of it is checked before anything is given.
#[wasm_bindgen(js_name = backupParts)]
pub fn backup_parts(bytes: &[u8]) -> std::result::Result<Array, JsValue> {
    let parts = read(bytes).map_err(|error| to_error(&error))?;
    let part = |items: Vec<&[u8]>| JsValue::from(items.into_iter().map(Uint8Array::from).collect::<Array>());
    Ok(parts.into_iter().map(part).collect())
}

fn read(bytes: &[u8]) -> Result<Vec<Vec<&[u8]>>> {
    let broken = || Error::invalid("the backup is damaged or cut off; nothing of it was taken");
    let mut rest = bytes.strip_prefix(MAGIC).ok_or_else(|| Error::invalid("this file is no privstack backup"))?;
    let mut take = |length: usize| -> Result<&[u8]> {
        let (taken, left) = rest.split_at_checked(length).ok_or_else(broken)?;
        rest = left;
        Ok(taken)
    };
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let version = take(2)?;
    if number(version) != u64::from(VERSION) {
        return Err(Error::invalid("the backup was made by a newer version; update this one"));
    }
    let mut hash = Hash::derive(CONTEXT, version);
    let (mut parts, mut total) = (Vec::new(), 0);
    loop {
        let kind = take(1)?;
        if kind == [0] {
            let count = take(8)?;
            hash = chained(&hash, &[kind, count].concat());
            let is_whole = take(32)? == hash.0 && number(count) == total;
            return if is_whole && rest.is_empty() { Ok(parts) } else { Err(broken()) };
        }
        let (count, length) = (take(4)?, take(4)?);
        let content = take(usize::try_from(number(length)).map_err(|_| broken())?)?;
        hash = chained(&hash, &[kind, count, length, content].concat());
        if kind != [1] || take(32)? != hash.0 {
            return Err(broken());
        }
        total += number(count);
        parts.push(items(content).filter(|items| items.len() as u64 == number(count)).ok_or_else(broken)?);
    }
}

fn items(mut content: &[u8]) -> Option<Vec<&[u8]>> {
    let mut items = Vec::new();
    while !content.is_empty() {
        let (length, rest) = content.split_first_chunk::<4>()?;
        let (item, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        items.push(item);
        content = rest;
    }
    Some(items)
}
