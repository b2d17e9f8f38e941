//! Tells this copy of a data folder from every other.
//!
//! A folder that was copied or put back from a backup must not go on in the epoch of its original: two devices would
//! write the same log (DESIGN section 5). So the mark that the store remembers is made of something that a copy does not
//! take along: the file's inode number and birth time, beside random bytes.

use std::fs::Metadata;
use std::path::Path;
use std::time::UNIX_EPOCH;

use super::{entropy, file};
use crate::error::{Error, Result};

/// The file in the data folder: 32 random bytes.
pub const FILE: &str = "instance";

const LENGTH: usize = 32;

/// The mark of this copy, which stays the same while the folder stays where it is. Call it with the folder locked.
///
/// A lost or damaged file is made anew: another mark costs no more than a new epoch.
pub fn load_or_create(folder: &Path) -> Result<[u8; 16]> {
    let path = folder.join(FILE);
    if let Some((bytes, metadata)) = file::read(&path, LENGTH)? {
        if bytes.len() == LENGTH {
            return Ok(mark(&bytes, &metadata));
        }
        std::fs::remove_file(&path).map_err(|error| file::failed("removing", &path, &error))?;
    }
    file::create(&path, &*entropy::bytes()?)?;
    let (bytes, metadata) = file::read(&path, LENGTH)?
        .ok_or_else(|| Error::storage(format!("{} is gone as soon as it was written", path.display())))?;
    Ok(mark(&bytes, &metadata))
}

fn mark(bytes: &[u8], metadata: &Metadata) -> [u8; 16] {
    let born = metadata.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let mut input = bytes.to_vec();
    input.extend_from_slice(&born.map_or(0, |since| since.as_nanos()).to_le_bytes());
    input.extend_from_slice(&inode(metadata).to_le_bytes());
    let [mark @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] =
        blake3::derive_key("privstack-sync 2026 store instance", &input);
    mark
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> u64 {
    0
}
