//! The device's identity on disk.

use std::path::Path;

use zeroize::{Zeroize, Zeroizing};

use super::file;
use crate::error::{Error, Result};
use crate::platform::entropy;
use crate::store::SealKey;
use crate::types::Keypair;

/// The file in the data folder: a format byte, the 32-byte Ed25519 seed, 8 bytes of checksum.
pub const FILE: &str = "identity.key";

const FORMAT: u8 = 1;
const LENGTH: usize = 1 + 32 + 8;

/// Reads the device's key, or makes one where there is none. Call it with the folder locked.
///
/// It fails on a file that others may read, or that is damaged, and never writes over one: the key *is* the device.
pub async fn load_or_create(folder: &Path, _seal: Option<&SealKey>) -> Result<Keypair> {
    load_or_create_now(folder)
}

fn load_or_create_now(folder: &Path) -> Result<Keypair> {
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::error::ErrorCode;

    #[test]
    fn a_key_is_made_once_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let key = load_or_create_now(folder.path()).unwrap();
        assert_eq!(load_or_create_now(folder.path()).unwrap().peer_id(), key.peer_id());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left over");
        let other = tempfile::tempdir().unwrap();
        assert_ne!(load_or_create_now(other.path()).unwrap().peer_id(), key.peer_id());
    }

    #[test]
    fn a_half_written_key_of_a_crash_is_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("identity.new"), "half").unwrap();
        let key = load_or_create_now(folder.path()).unwrap();
        assert_eq!(load_or_create_now(folder.path()).unwrap().peer_id(), key.peer_id());
    }

    #[test]
    fn a_damaged_key_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        load_or_create_now(folder.path()).unwrap();
        let path = folder.path().join(FILE);
        let good = fs::read(&path).unwrap();
        let mut damages: Vec<Vec<u8>> = (0..good.len())
            .map(|at| {
                let mut bytes = good.clone();
                bytes[at] ^= 1;
                bytes
            })
            .collect();
        damages.extend([Vec::new(), good[..20].to_vec(), [good.as_slice(), b"x"].concat()]);
        for damage in damages {
            fs::write(&path, &damage).unwrap();
            let error = load_or_create_now(folder.path()).unwrap_err();
            assert_eq!(error.code(), ErrorCode::Storage);
            assert!(error.message().contains("identity.key"), "{error}");
            assert_eq!(fs::read(&path).unwrap(), damage);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_key_is_private_and_one_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        load_or_create_now(folder.path()).unwrap();
        let path = folder.path().join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for mode in [0o640, 0o604, 0o660] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = load_or_create_now(folder.path()).unwrap_err();
            assert!(error.message().contains(&format!("chmod 600 {}", path.display())), "{error}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        load_or_create_now(folder.path()).unwrap();
    }
}
