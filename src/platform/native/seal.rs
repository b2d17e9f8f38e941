//! Sets, changes and removes the passphrase of a data folder. The store is written anew into another file, so that no
//! free page keeps what it held, and takes the old one's place together with the device's key.
//!
//! Two files cannot be replaced at once, so there is a moment of decision between: both new files are whole on disk, then
//! the file `passphrase.decided` appears, then they take their places, then it goes. Whoever opens the folder after a crash
//! removes the new files where it is not there, and puts them in their places where it is: so either the old ones open
//! or the new ones.
//!
//! The old files are deleted, not overwritten: journals, snapshots and flash keep old blocks whatever is written over
//! them.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::store::{self, DiskStore};
use super::{file, keys};
use crate::error::{Error, ErrorCode, Result};
use crate::platform::entropy;
use crate::store::Sealed;

/// The new files are whole: they are the folder's from now on.
const DECIDED: &str = "passphrase.decided";
/// The files, and the names under which the new ones wait.
const FILES: [(&str, &str); 2] = [(store::FILE, "vault.redb.next"), (keys::FILE, "identity.key.next")];

/// Changes the passphrase of a folder from `old` to `new`: without an old one it is set, without a new one removed.
/// `progress` hears how many bytes of how many are done, and ends it by an error: then nothing has changed.
///
/// Fails with `locked` where another process holds the folder, or where `old` is not what it has; with `not_found` where
/// no device is in it.
pub async fn change(
    folder: &Path,
    old: Option<&str>,
    new: Option<&str>,
    progress: &mut dyn FnMut(u64, u64) -> Result<()>,
) -> Result<()> {
    change_by(folder, old, new, progress, &mut |_| Ok(())).await.inspect_err(|_| {
        if FILES.iter().any(|(_, next)| folder.join(next).exists()) {
            // Removes what was begun; where that fails the next opening does it.
            let _ = store::hold(folder);
        }
    })
}

/// `reached` is told of each step and may end it there, as a crash would.
async fn change_by(
    folder: &Path,
    old: Option<&str>,
    new: Option<&str>,
    progress: &mut dyn FnMut(u64, u64) -> Result<()>,
    reached: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<()> {
    let none = || Error::new(ErrorCode::NotFound, format!("no device is in {}; `init` makes one", folder.display()));
    match (keys::is_sealed(folder)?, old) {
        (None, _) => return Err(none()),
        (Some(true), None) => {
            return Err(keys::locked(folder, "has a passphrase already; change it (`privstack passphrase change`)"));
        }
        _ => {}
    }
    let key = match old {
        Some(old) => Some(keys::of_passphrase(folder, old).await?),
        None => None,
    };
    let disk = DiskStore::open(folder)?;
    let lock = disk.lock();
    // Under the lock now: it may have changed in between.
    let secrets = keys::secrets(folder, key.as_ref())?.ok_or_else(none)?;
    let (identity, store_key) = match new {
        Some(new) => {
            let (identity, _, store_key) = keys::sealed_file(&secrets.seed, new)?;
            (zeroize::Zeroizing::new(identity), Some(store_key))
        }
        None => (keys::plain_file(&secrets.seed), None),
    };
    let [next_store, next_identity] = FILES.map(|(_, next)| folder.join(next));
    match secrets.store {
        Some(old) => {
            let sealed = Sealed::new(disk, &old, &entropy::bytes()?);
            store::copy(&sealed, &next_store, store_key.as_ref(), progress).await?;
        }
        None => {
            store::copy(&disk, &next_store, store_key.as_ref(), progress).await?;
            // Some systems replace no file that is open.
            drop(disk);
        }
    }
    reached("the store is copied")?;
    file::create(&next_identity, &identity)?;
    reached("the keys are written")?;
    file::create(&folder.join(DECIDED), b"")?;
    reached("decided")?;
    settle_by(folder, reached)?;
    drop(lock);
    Ok(())
}

/// Whether a change was decided and has not ended.
pub(super) fn is_decided(folder: &Path) -> bool {
    folder.join(DECIDED).exists()
}

/// Ends what a crash has left. Only for whoever holds the folder.
pub(super) fn settle(folder: &Path) -> Result<()> {
    settle_by(folder, &mut |_| Ok(()))
}

fn settle_by(folder: &Path, reached: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
    let decided = is_decided(folder);
    let mut changed = false;
    for (name, next) in FILES {
        let (path, next) = (folder.join(name), folder.join(next));
        changed |= match decided {
            true => done("replacing", &path, fs::rename(&next, &path))?,
            false => done("removing", &next, fs::remove_file(&next))?,
        };
        if decided {
            reached(name)?;
        }
    }
    if changed {
        file::sync_folder(folder)?;
    }
    if decided {
        reached("replaced")?;
        let path: PathBuf = folder.join(DECIDED);
        done("removing", &path, fs::remove_file(&path))?;
        file::sync_folder(folder)?;
    }
    Ok(())
}

/// Whether it was done; not where there was no such file.
fn done(what: &str, path: &Path, result: std::io::Result<()>) -> Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(file::failed(what, path, &error)),
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::platform::native::store::DeviceStore;
    use crate::store::{Read, Store, Table, WriteBatch};

    const CANARY: &[u8] = b"a canary that must not be found";

    fn now<T>(future: impl Future<Output = T>) -> T {
        future.now_or_never().expect("a disk never waits")
    }

    /// A folder with a device and rows in several tables, some of them deleted again.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = now(store::open(folder.path(), None)).unwrap();
        now(keys::load_or_create(folder.path(), None)).unwrap();
        for (round, table) in Table::ALL.into_iter().enumerate() {
            for row in 0..200_u32 {
                let mut batch = WriteBatch::default();
                batch.put(table, row.to_be_bytes(), [CANARY, &[round as u8; 100]].concat());
                now(disk.commit(batch)).unwrap();
            }
        }
        let mut batch = WriteBatch::default();
        batch.clear(Table::Peers);
        now(disk.commit(batch)).unwrap();
        folder
    }

    type Shown = Vec<(Table, Vec<u8>, Vec<u8>)>;

    fn rows(store: &DeviceStore) -> Shown {
        let all = |table| {
            let (from, to) = (vec![], vec![0xff; 16]);
            let read = Read::Range { table, from, to, max_rows: usize::MAX, max_bytes: usize::MAX };
            now(store.read(&read)).unwrap().intact().unwrap()
        };
        Table::ALL.into_iter().flat_map(|table| all(table).into_iter().map(move |(k, v)| (table, k, v))).collect()
    }

    /// What the folder shows to this passphrase: who it is, and its rows.
    fn shown(folder: &Path, passphrase: Option<&str>) -> Result<(crate::types::PeerId, Shown)> {
        let key = passphrase.map(|passphrase| now(keys::of_passphrase(folder, passphrase))).transpose()?;
        let store = now(store::open(folder, key.as_ref()))?;
        let keypair = now(keys::load_or_create(folder, key.as_ref()))?;
        Ok((keypair.peer_id(), rows(&store)))
    }

    fn is_readable(folder: &Path) -> bool {
        let files = fs::read_dir(folder).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
        files.into_iter().any(|bytes| bytes.windows(CANARY.len()).any(|part| part == CANARY))
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_passphrase_is_set_changed_and_removed_and_only_then_something_is_readable() {
        let folder = folder();
        let folder = folder.path();
        let before = shown(folder, None).unwrap();
        assert!(is_readable(folder));
        let files = names(folder);
        let mut steps = Vec::new();
        let mut progress = |done, total| {
            steps.push((done, total));
            Ok(())
        };
        now(change(folder, None, Some("one"), &mut progress)).unwrap();
        assert!(!steps.is_empty() && steps.iter().all(|(done, total)| done <= total));
        assert_eq!((names(folder), is_readable(folder)), (files.clone(), false));
        assert_eq!(shown(folder, Some("one")).unwrap(), before);
        let mut quiet = |_, _| Ok(());
        for (old, new) in [(None, Some("two")), (Some("two"), Some("three")), (Some("two"), None), (None, None)] {
            assert_eq!(now(change(folder, old, new, &mut quiet)).unwrap_err().code(), ErrorCode::Locked);
        }
        let sealed = fs::read(folder.join(store::FILE)).unwrap();
        now(change(folder, Some("one"), Some("two"), &mut quiet)).unwrap();
        assert_ne!(fs::read(folder.join(store::FILE)).unwrap(), sealed);
        for wrong in [None, Some("one")] {
            assert_eq!(shown(folder, wrong).unwrap_err().code(), ErrorCode::Locked);
        }
        assert_eq!(shown(folder, Some("two")).unwrap(), before);
        now(change(folder, Some("two"), None, &mut quiet)).unwrap();
        assert_eq!(shown(folder, None).unwrap(), before);
        assert_eq!(shown(folder, Some("two")).unwrap_err().code(), ErrorCode::Locked);
        assert_eq!(names(folder), files);
    }

    #[test]
    fn after_a_crash_at_any_step_either_the_old_passphrase_opens_or_the_new_one() {
        let folder = folder();
        let folder = folder.path();
        let before = shown(folder, None).unwrap();
        let files = names(folder);
        let states = [None, Some("one"), Some("two")];
        let mut state = 0;
        let mut seen = Vec::new();
        for (to, crash_at) in (0..24).map(|round| ([1, 2, 0][round % 3], round / 3)) {
            let (old, new) = (states[state], states[to]);
            let mut step = 0;
            let mut reached = |what: &str| {
                if step == crash_at {
                    seen.push(what.to_owned());
                    return Err(Error::storage("a crash"));
                }
                step += 1;
                Ok(())
            };
            let mut decided = |what: &str| {
                let result = reached(what);
                if what == "decided" {
                    state = to;
                }
                result
            };
            let ended = now(change_by(folder, old, new, &mut |_, _| Ok(()), &mut decided));
            assert_eq!(ended.is_ok(), crash_at >= 6, "{crash_at}");
            assert_eq!(shown(folder, states[state]).unwrap(), before, "from {old:?} to {new:?}, crash at {crash_at}");
            for other in states.into_iter().filter(|other| *other != states[state]) {
                assert_eq!(shown(folder, other).unwrap_err().code(), ErrorCode::Locked);
            }
            assert_eq!(names(folder), files, "nothing is left over");
            assert_eq!(is_readable(folder), states[state].is_none());
            // The next round goes on from where this one should have come.
            if state != to {
                now(change(folder, old, new, &mut |_, _| Ok(()))).unwrap();
                state = to;
            }
        }
        seen.dedup();
        assert!(seen.len() >= 6, "{seen:?}");
    }

    #[test]
    fn who_gives_up_amid_the_copying_has_changed_nothing() {
        let folder = folder();
        let folder = folder.path();
        let before = shown(folder, None).unwrap();
        let files = names(folder);
        let error = Error::new(ErrorCode::Aborted, "enough");
        let ended = now(change(folder, None, Some("one"), &mut |_, _| Err(error.clone())));
        assert_eq!(ended.unwrap_err().code(), ErrorCode::Aborted);
        assert_eq!((names(folder), shown(folder, None).unwrap()), (files, before));
        let nobody = tempfile::tempdir().unwrap();
        let ended = now(change(nobody.path(), None, Some("one"), &mut |_, _| Ok(())));
        assert_eq!(ended.unwrap_err().code(), ErrorCode::NotFound);
        assert_eq!(names(nobody.path()), [""; 0]);
        let held = DiskStore::open(folder).unwrap();
        let ended = now(change(folder, None, Some("one"), &mut |_, _| Ok(())));
        assert_eq!(ended.unwrap_err().code(), ErrorCode::Locked);
        drop(held);
    }
}
