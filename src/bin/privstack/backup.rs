//! `backup` and `restore-backup`: the whole vault as verified blocks in one file.
//!
//! The file: 16 bytes of magic, a version (u16), then parts: a byte 1, the number of items (u32), the length of what
//! follows (u32), the items, each with its length (u32) before it, and a BLAKE3 hash over the part and the hash before
//! it. A byte 0, the number of all items (u64) and such a hash end it. All numbers are little-endian. It is read to its
//! end and checked before anything of it is used.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use privstack_sync::error::{Error, ErrorCode, Result};
use privstack_sync::types::Hash;
use serde_json::{Value as Json, json};

use crate::client::Client;
use crate::files::{AtomicFile, file_error};
use crate::output::Step;
use crate::request::unexpected;
use crate::values::{from_base64, to_base64};

const MAGIC: &[u8; 16] = b"privstack-backup";
const VERSION: u16 = 1;
const CONTEXT: &str = "privstack-sync 2026 backup file";
/// Bytes of one part that are believed before memory is taken; a part may hold one large block.
const MAX_PART_BYTES: usize = 64 << 20;
/// Bytes of the items of one request, small enough for a request line in base64.
const REQUEST_BYTES: usize = 4 << 20;

/// Writes a backup; a file that stands there is replaced only if it is a backup, and only once the new one is complete.
pub fn back_up(client: &mut dyn Client, path: &Path, progress: &mut dyn FnMut(Step)) -> Result<Json> {
    if path.symlink_metadata().is_ok() && !is_backup(path) {
        return Err(Error::invalid(format!(
            "{}: is there already and is no backup; take another name",
            path.display()
        )));
    }
    let mut file = AtomicFile::create(path, true)?;
    file.write(MAGIC)?;
    file.write(&VERSION.to_le_bytes())?;
    let (mut hash, mut total, mut bytes) = (Hash::derive(CONTEXT, &VERSION.to_le_bytes()), 0_u64, 18_u64);
    let mut after = Json::Null;
    loop {
        let part = client.request(json!({ "cmd": "backup_part", "after": after }))?;
        let items = part.get("items").and_then(Json::as_array).ok_or_else(unexpected)?;
        let mut content = Vec::new();
        for item in items {
            let item = from_base64(item.as_str().ok_or_else(unexpected)?)?;
            content.extend_from_slice(&length_of(item.len())?.to_le_bytes());
            content.extend_from_slice(&item);
        }
        if content.len() > MAX_PART_BYTES {
            return Err(Error::too_large(format!("a part of the backup has more than {MAX_PART_BYTES} bytes")));
        }
        let mut record = vec![1];
        record.extend_from_slice(&length_of(items.len())?.to_le_bytes());
        record.extend_from_slice(&length_of(content.len())?.to_le_bytes());
        record.append(&mut content);
        hash = chained(&hash, &record);
        file.write(&record)?;
        file.write(&hash.0)?;
        total += items.len() as u64;
        bytes += record.len() as u64 + 32;
        progress(Step::Done(total));
        match part.get("next") {
            Some(next) if !next.is_null() => after = next.clone(),
            _ => break,
        }
    }
    let mut end = vec![0];
    end.extend_from_slice(&total.to_le_bytes());
    file.write(&end)?;
    file.write(&chained(&hash, &end).0)?;
    file.commit()?;
    Ok(json!({ "items": total, "bytes": bytes + 41 }))
}

fn length_of(length: usize) -> Result<u32> {
    u32::try_from(length).map_err(|_| Error::too_large("an item of the backup is too large"))
}

fn chained(before: &Hash, record: &[u8]) -> Hash {
    let mut bytes = Vec::with_capacity(32 + record.len());
    bytes.extend_from_slice(&before.0);
    bytes.extend_from_slice(record);
    Hash::derive(CONTEXT, &bytes)
}

fn is_backup(path: &Path) -> bool {
    let mut magic = [0; 16];
    File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == *MAGIC
}

/// Takes a backup into the vault, or makes this the folder of a new device of its vault.
pub fn restore(client: &mut dyn Client, path: &Path, progress: &mut dyn FnMut(Step)) -> Result<Json> {
    let mut total = 0;
    for part in Parts::open(path)? {
        total += part?.len() as u64;
    }
    progress(Step::Total(total));
    let (mut done, mut waiting, mut bytes) = (0, Vec::new(), 0);
    let mut send = |items: &mut Vec<String>, bytes: &mut usize| -> Result<()> {
        if !items.is_empty() {
            done += items.len() as u64;
            *bytes = 0;
            client.request(json!({ "cmd": "restore_part", "items": std::mem::take(items) }))?;
            progress(Step::Done(done));
        }
        Ok(())
    };
    for part in Parts::open(path)? {
        for item in part? {
            if bytes + item.len() > REQUEST_BYTES {
                send(&mut waiting, &mut bytes)?;
            }
            bytes += item.len();
            waiting.push(to_base64(&item));
        }
    }
    send(&mut waiting, &mut bytes)?;
    Ok(json!({ "items": total }))
}

/// The parts of a backup file, each checked before it is given out; an error is the last.
struct Parts<'a> {
    path: &'a Path,
    file: BufReader<File>,
    hash: Hash,
    total: u64,
    ended: bool,
}

impl<'a> Parts<'a> {
    fn open(path: &'a Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| file_error(path, "read", &error))?;
        let hash = Hash::derive(CONTEXT, &VERSION.to_le_bytes());
        let mut parts = Self { path, file: BufReader::new(file), hash, total: 0, ended: false };
        if !is_backup(path) {
            return Err(Error::invalid(format!("{}: is no backup", path.display())));
        }
        parts.array::<16>()?;
        match u16::from_le_bytes(parts.array()?) {
            VERSION => Ok(parts),
            version => {
                let what = format!("{}: is a backup of version {version}; use a newer privstack", path.display());
                Err(Error::new(ErrorCode::Version, what))
            }
        }
    }

    fn damaged(&self, what: &str) -> Error {
        Error::storage(format!("{}: is damaged ({what}); nothing of it was used", self.path.display()))
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<()> {
        self.file.read_exact(buffer).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => self.damaged("it ends too early"),
            _ => file_error(self.path, "read", &error),
        })
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.read(&mut bytes)?;
        Ok(bytes)
    }

    fn part(&mut self) -> Result<Option<Vec<Vec<u8>>>> {
        match self.array::<1>()? {
            [0] => {
                let total = self.array::<8>()?;
                let mut end = vec![0];
                end.extend_from_slice(&total);
                if self.array::<32>()? != chained(&self.hash, &end).0 || u64::from_le_bytes(total) != self.total {
                    return Err(self.damaged("its end does not fit"));
                }
                return Ok(None);
            }
            [1] => {}
            _ => return Err(self.damaged("an unknown part")),
        }
        let (count, length) = (self.array::<4>()?, self.array::<4>()?);
        let size = u32::from_le_bytes(length) as usize;
        if size > MAX_PART_BYTES {
            return Err(self.damaged("a part that is too long"));
        }
        let mut record = vec![1];
        record.extend_from_slice(&count);
        record.extend_from_slice(&length);
        // Memory grows with what the file really holds, not with what it claims.
        let taken = (&mut self.file).take(size as u64).read_to_end(&mut record);
        taken.map_err(|error| file_error(self.path, "read", &error))?;
        if record.len() != 9 + size {
            return Err(self.damaged("it ends too early"));
        }
        let hash = chained(&self.hash, &record);
        if self.array::<32>()? != hash.0 {
            return Err(self.damaged("a checksum does not fit"));
        }
        self.hash = hash;
        let mut rest = record.get(9..).unwrap_or_default();
        let mut items = Vec::new();
        while let Some((length, tail)) = rest.split_first_chunk::<4>() {
            let length = u32::from_le_bytes(*length) as usize;
            let (item, tail) = tail.split_at_checked(length).ok_or_else(|| self.damaged("an item is too long"))?;
            items.push(item.to_vec());
            rest = tail;
        }
        if !rest.is_empty() || items.len() != u32::from_le_bytes(count) as usize {
            return Err(self.damaged("the number of items does not fit"));
        }
        self.total += items.len() as u64;
        Ok(Some(items))
    }
}

impl Iterator for Parts<'_> {
    type Item = Result<Vec<Vec<u8>>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let part = self.part().transpose();
        self.ended = !matches!(part, Some(Ok(_)));
        part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives out parts and keeps what is given back.
    #[derive(Default)]
    struct Vault {
        parts: Vec<Vec<Vec<u8>>>,
        restored: Vec<Vec<u8>>,
    }

    impl Client for Vault {
        fn request(&mut self, request: Json) -> Result<Json> {
            if request["cmd"] == "backup_part" {
                let at = request["after"].as_u64().unwrap_or(0) as usize;
                let items: Vec<String> = self.parts[at].iter().map(|item| to_base64(item)).collect();
                let next = (at + 1 < self.parts.len()).then_some(at + 1);
                return Ok(json!({ "items": items, "next": next }));
            }
            for item in request["items"].as_array().unwrap() {
                self.restored.push(from_base64(item.as_str().unwrap()).unwrap());
            }
            Ok(json!({}))
        }
    }

    fn ignore(_: Step) {}

    #[test]
    fn a_backup_gives_back_every_item_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vault.backup");
        let large: Vec<Vec<u8>> = (0..5).map(|n| vec![n; 2 << 20]).collect();
        let mut vault = Vault { parts: vec![vec![b"a".to_vec(), vec![]], vec![], large], ..Vault::default() };
        back_up(&mut vault, &path, &mut ignore).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let mut other = Vault::default();
        assert_eq!(restore(&mut other, &path, &mut ignore).unwrap(), json!({ "items": 7 }));
        assert_eq!(other.restored, vault.parts.concat());
        back_up(&mut vault, &path, &mut ignore).unwrap();
    }

    #[test]
    fn nothing_of_a_damaged_or_cut_backup_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vault.backup");
        let mut vault = Vault { parts: vec![vec![b"abc".to_vec()], vec![b"d".to_vec()]], ..Vault::default() };
        back_up(&mut vault, &path, &mut ignore).unwrap();
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut flipped = good.clone();
            flipped[at] ^= 0x80;
            for bad in [&flipped[..], &good[..at]] {
                std::fs::write(&path, bad).unwrap();
                let mut other = Vault::default();
                assert!(restore(&mut other, &path, &mut ignore).is_err(), "byte {at}");
                assert!(other.restored.is_empty());
            }
        }
    }

    #[test]
    fn a_file_that_is_no_backup_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("thesis.txt");
        std::fs::write(&path, "years of work").unwrap();
        let mut vault = Vault { parts: vec![vec![]], ..Vault::default() };
        assert_eq!(back_up(&mut vault, &path, &mut ignore).unwrap_err().code(), ErrorCode::Invalid);
        assert_eq!(restore(&mut vault, &path, &mut ignore).unwrap_err().code(), ErrorCode::Invalid);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "years of work");
    }
}
