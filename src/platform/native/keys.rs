//! The device's identity on disk.

use std::path::Path;

use zeroize::{Zeroize, Zeroizing};

use super::{entropy, file};
use crate::error::{Error, Result};
use crate::types::Keypair;

/// The file in the data folder: a format byte, the 32-byte Ed25519 seed, 8 bytes of checksum.
pub const FILE: &str = "identity.key";

const FORMAT: u8 = 1;
const LENGTH: usize = 1 + 32 + 8;

/// Reads the device's key, or makes one where there is none. Call it with the folder locked.
///
/// It fails on a file that others may read, or that is damaged, and never writes over one: the key *is* the device.
pub fn load_or_create(folder: &Path) -> Result<Keypair> {
    let path = folder.join(FILE);
    match file::read(&path, LENGTH)? {
        Some((bytes, metadata)) => {
            let bytes = Zeroizing::new(bytes);
            check_mode(&path, &metadata)?;
            decode(&bytes).map(|seed| Keypair::from_seed(&seed)).ok_or_else(|| {
                Error::storage(format!(
                    "the device key in {} is damaged; put it back from a copy of this folder, or move the file away \
                     to become a new device, which must be invited again",
                    path.display()
                ))
            })
        }
        None => {
            let seed = entropy::bytes()?;
            file::create(&path, &encode(&seed))?;
            Ok(Keypair::from_seed(&seed))
        }
    }
}

fn checksum(seed: &[u8; 32]) -> [u8; 8] {
    let mut hash = blake3::derive_key("privstack-sync 2026 identity file checksum", seed);
    let [a, b, c, d, e, f, g, h, ..] = hash;
    hash.zeroize();
    [a, b, c, d, e, f, g, h]
}

fn encode(seed: &[u8; 32]) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(LENGTH));
    bytes.push(FORMAT);
    bytes.extend_from_slice(seed);
    bytes.extend_from_slice(&checksum(seed));
    bytes
}

fn decode(bytes: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let (seed, sum) = bytes.strip_prefix(&[FORMAT])?.split_at_checked(32)?;
    let seed = Zeroizing::new(<[u8; 32]>::try_from(seed).ok()?);
    (sum == checksum(&seed)).then_some(seed)
}

#[cfg(unix)]
fn check_mode(path: &Path, metadata: &std::fs::Metadata) -> Result<()> {
    let mode = std::os::unix::fs::MetadataExt::mode(metadata) & 0o777;
    if mode & 0o077 != 0 {
        return Err(Error::storage(format!(
            "others may read or change the device key in {path} (mode {mode:03o}); run: chmod 600 {path}",
            path = path.display()
        )));
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_mode(_: &Path, _: &std::fs::Metadata) -> Result<()> {
    Ok(())
}
