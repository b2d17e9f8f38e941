//! The device's identity on disk; where a passphrase seals the folder, the key of the store is with it.

use std::path::Path;

use zeroize::{Zeroize, Zeroizing};

use super::{file, store};
use crate::error::{Error, ErrorCode, Result};
use crate::platform::entropy;
use crate::platform::passphrase::{Cost, SALT_BYTES, derive};
use crate::store::SealKey;
use crate::types::Keypair;

/// The file in the data folder: a format byte, then
/// - 1: the 32-byte Ed25519 seed;
/// - 2: salt (16), what Argon2id costs (KiB and passes, 4 bytes each, little-endian), and seed and key of the store (32
///   each) sealed with nonce and tag (104);
///
/// and 8 bytes of checksum over what follows the format byte.
pub const FILE: &str = "identity.key";

const PLAIN: u8 = 1;
const SEALED: u8 = 2;
const HEAD_BYTES: usize = SALT_BYTES + 8;
const SEALED_BYTES: usize = 24 + 64 + 16;
const LENGTH: usize = 1 + HEAD_BYTES + SEALED_BYTES + 8;
/// What the sealed keys are bound to, before salt and cost.
const PURPOSE: &[u8] = b"privstack-sync 1 device key and store key";
/// More than this nobody has written.
const MAX_COST: Cost = Cost { kib: 4 << 20, passes: 64 };

/// What the folder's file holds.
enum Identity {
    Plain(Zeroizing<[u8; 32]>),
    Sealed { head: [u8; HEAD_BYTES], sealed: Vec<u8> },
}

/// The keys of a device.
pub(super) struct Secrets {
    /// Of the device.
    pub seed: Zeroizing<[u8; 32]>,
    /// Of its store, where that is sealed.
    pub store: Option<SealKey>,
}

/// Reads the device's key, or makes one where there is none. Call it with the folder locked.
///
/// It fails on a file that others may read, or that is damaged, and never writes over one: the key *is* the device. It
/// fails with `locked` where the folder is sealed by another passphrase, by one, or by none.
pub async fn load_or_create(folder: &Path, seal: Option<&SealKey>) -> Result<Keypair> {
    load_or_create_now(folder, seal)
}

fn load_or_create_now(folder: &Path, seal: Option<&SealKey>) -> Result<Keypair> {
    if let Some(secrets) = secrets(folder, seal)? {
        return Ok(Keypair::from_seed(&secrets.seed));
    }
    if seal.is_some() {
        return Err(Error::invalid("a new folder is sealed by `of_passphrase`, which makes its keys"));
    }
    let seed = entropy::bytes()?;
    file::create(&folder.join(FILE), &plain_file(&seed))?;
    Ok(Keypair::from_seed(&seed))
}

/// The key that a passphrase stands for in this folder; makes a sealed device where there is none yet. It takes a part of
/// a second and 64 MiB, on purpose.
///
/// Fails with `locked` for a wrong passphrase, for a folder that no passphrase seals, and where another process is at
/// it.
pub async fn of_passphrase(folder: &Path, passphrase: &str) -> Result<SealKey> {
    store::settled(folder)?;
    match read(folder)? {
        // Its key was moved away: what is in there, no new key opens.
        None if folder.join(store::FILE).exists() => Err(not_sealed(folder)),
        None => {
            let _lock = store::hold(folder)?;
            let seed = entropy::bytes()?;
            let (bytes, key, _) = sealed_file(&seed, passphrase)?;
            file::create(&folder.join(FILE), &bytes)?;
            Ok(key)
        }
        Some(Identity::Plain(_)) => Err(not_sealed(folder)),
        Some(Identity::Sealed { head, sealed }) => {
            let key = key_of(&head, passphrase)?;
            open(folder, &head, &sealed, &key)?;
            Ok(key)
        }
    }
}

/// Whether a passphrase seals the folder; `None` where no device is in it.
pub fn is_sealed(folder: &Path) -> Result<Option<bool>> {
    if !folder.is_dir() {
        return Ok(None);
    }
    store::settled(folder)?;
    Ok(read(folder)?.map(|identity| matches!(identity, Identity::Sealed { .. })))
}

/// The keys that are there, if any are.
pub(super) fn secrets(folder: &Path, seal: Option<&SealKey>) -> Result<Option<Secrets>> {
    match (read(folder)?, seal) {
        (None, _) => Ok(None),
        (Some(Identity::Plain(seed)), None) => Ok(Some(Secrets { seed, store: None })),
        (Some(Identity::Plain(_)), Some(_)) => Err(not_sealed(folder)),
        (Some(Identity::Sealed { .. }), None) => Err(locked(
            folder,
            "is sealed; give its passphrase, on the terminal or by --passphrase-fd (apps: `SyncConfig::seal`)",
        )),
        (Some(Identity::Sealed { head, sealed }), Some(key)) => open(folder, &head, &sealed, key).map(Some),
    }
}

fn read(folder: &Path) -> Result<Option<Identity>> {
    let path = folder.join(FILE);
    let Some((bytes, metadata)) = file::read(&path, LENGTH)? else { return Ok(None) };
    let bytes = Zeroizing::new(bytes);
    check_mode(&path, &metadata)?;
    decode(&bytes).map(Some).ok_or_else(|| {
        Error::storage(format!(
            "the device key in {} is damaged; put it back from a copy of this folder, or move the file away to become a \
             new device, which must be invited again",
            path.display()
        ))
    })
}

fn open(folder: &Path, head: &[u8; HEAD_BYTES], sealed: &[u8], key: &SealKey) -> Result<Secrets> {
    let plain = key
        .unseal(&purpose(head), sealed)
        .ok_or_else(|| locked(folder, "has another passphrase than this one; try again"))?;
    let keys = plain.split_first_chunk().and_then(|(seed, store)| Some((seed, <&[u8; 32]>::try_from(store).ok()?)));
    let (seed, store) = keys.ok_or_else(|| Error::storage("the sealed keys have another length than they should"))?;
    Ok(Secrets { seed: Zeroizing::new(*seed), store: Some(SealKey::new(Zeroizing::new(*store))) })
}

fn key_of(head: &[u8; HEAD_BYTES], passphrase: &str) -> Result<SealKey> {
    let (salt, cost) = head.split_at(SALT_BYTES);
    let number = |at: usize| cost.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes);
    let cost = Cost { kib: number(0), passes: number(4) };
    if cost.kib > MAX_COST.kib || cost.passes > MAX_COST.passes {
        return Err(Error::new(ErrorCode::Version, "the passphrase was set by a newer version; update privstack"));
    }
    derive(passphrase, salt, cost).map(SealKey::new)
}

fn purpose(head: &[u8; HEAD_BYTES]) -> Vec<u8> {
    [PURPOSE, head].concat()
}

/// A file without a passphrase.
pub(super) fn plain_file(seed: &[u8; 32]) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(LENGTH));
    bytes.push(PLAIN);
    bytes.extend_from_slice(seed);
    bytes.extend_from_slice(&checksum(seed));
    bytes
}

/// A file that a passphrase seals, the passphrase's key, and a new key for the store.
pub(super) fn sealed_file(seed: &[u8; 32], passphrase: &str) -> Result<(Vec<u8>, SealKey, SealKey)> {
    let cost = Cost::default();
    let random = entropy::bytes()?;
    let mut head = [0; HEAD_BYTES];
    let (salt, numbers) = head.split_at_mut(SALT_BYTES);
    salt.copy_from_slice(&random[..SALT_BYTES]);
    numbers.copy_from_slice(&[cost.kib.to_le_bytes(), cost.passes.to_le_bytes()].concat());
    let (key, store) = (key_of(&head, passphrase)?, entropy::bytes()?);
    let plain = Zeroizing::new([&seed[..], &store[..]].concat());
    let nonce = entropy::bytes()?;
    let sealed = key.seal(*nonce.first_chunk().unwrap_or(&[0; 24]), &purpose(&head), &plain)?;
    let body = [&head[..], &sealed].concat();
    let bytes = [&[SEALED], &body[..], &checksum(&body)].concat();
    Ok((bytes, key, SealKey::new(store)))
}

pub(super) fn locked(folder: &Path, what: &str) -> Error {
    Error::new(ErrorCode::Locked, format!("the data folder {} {what}", folder.display()))
}

pub(super) fn not_sealed(folder: &Path) -> Error {
    locked(folder, "has no passphrase; open it without one, or seal it first (`privstack passphrase set`)")
}

fn checksum(body: &[u8]) -> [u8; 8] {
    let mut hash = blake3::derive_key("privstack-sync 2026 identity file checksum", body);
    let [a, b, c, d, e, f, g, h, ..] = hash;
    hash.zeroize();
    [a, b, c, d, e, f, g, h]
}

fn decode(bytes: &[u8]) -> Option<Identity> {
    let (format, rest) = bytes.split_first()?;
    let (body, sum) = rest.split_last_chunk()?;
    if *sum != checksum(body) {
        return None;
    }
    match *format {
        PLAIN => Some(Identity::Plain(Zeroizing::new(<[u8; 32]>::try_from(body).ok()?))),
        SEALED => {
            let (head, sealed) = body.split_first_chunk()?;
            (sealed.len() == SEALED_BYTES).then(|| Identity::Sealed { head: *head, sealed: sealed.to_vec() })
        }
        _ => None,
    }
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
        let key = load_or_create_now(folder.path(), None).unwrap();
        assert_eq!(load_or_create_now(folder.path(), None).unwrap().peer_id(), key.peer_id());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left over");
        let other = tempfile::tempdir().unwrap();
        assert_ne!(load_or_create_now(other.path(), None).unwrap().peer_id(), key.peer_id());
    }

    #[test]
    fn a_half_written_key_of_a_crash_is_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("identity.new"), "half").unwrap();
        let key = load_or_create_now(folder.path(), None).unwrap();
        assert_eq!(load_or_create_now(folder.path(), None).unwrap().peer_id(), key.peer_id());
    }

    #[test]
    fn a_damaged_key_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        load_or_create_now(folder.path(), None).unwrap();
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
            let error = load_or_create_now(folder.path(), None).unwrap_err();
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
        load_or_create_now(folder.path(), None).unwrap();
        let path = folder.path().join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for mode in [0o640, 0o604, 0o660] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = load_or_create_now(folder.path(), None).unwrap_err();
            assert!(error.message().contains(&format!("chmod 600 {}", path.display())), "{error}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        load_or_create_now(folder.path(), None).unwrap();
    }

    #[test]
    fn a_new_folder_can_be_sealed_from_the_start_and_opens_with_its_passphrase_only() {
        let folder = tempfile::tempdir().unwrap();
        let made = |passphrase| futures::FutureExt::now_or_never(of_passphrase(folder.path(), passphrase)).unwrap();
        let key = made("one").unwrap();
        let device = load_or_create_now(folder.path(), Some(&key)).unwrap();
        assert_eq!(load_or_create_now(folder.path(), Some(&made("one").unwrap())).unwrap().peer_id(), device.peer_id());
        assert_eq!(made("two").unwrap_err().code(), ErrorCode::Locked);
        let other = SealKey::new(Zeroizing::new([1; 32]));
        for wrong in [None, Some(&other)] {
            assert_eq!(load_or_create_now(folder.path(), wrong).unwrap_err().code(), ErrorCode::Locked);
        }
        assert_eq!(is_sealed(folder.path()).unwrap(), Some(true));
        let bytes = fs::read(folder.path().join(FILE)).unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            fs::write(folder.path().join(FILE), damaged).unwrap();
            assert_eq!(secrets(folder.path(), Some(&key)).err().unwrap().code(), ErrorCode::Storage);
        }
    }

    #[test]
    fn a_passphrase_for_a_folder_without_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        load_or_create_now(folder.path(), None).unwrap();
        let key = futures::FutureExt::now_or_never(of_passphrase(folder.path(), "one")).unwrap();
        assert_eq!(key.unwrap_err().code(), ErrorCode::Locked);
        assert_eq!(is_sealed(folder.path()).unwrap(), Some(false));
        let other = SealKey::new(Zeroizing::new([1; 32]));
        assert_eq!(load_or_create_now(folder.path(), Some(&other)).unwrap_err().code(), ErrorCode::Locked);
    }
}
