//! One process at a time holds a folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::fault::Fault;
use crate::error::{Error, ErrorCode, Result};

/// The lock's name in the folder.
const FILE: &str = "vault.lock";

/// Written behind the process id once the folder has a database, so that a lost database is not taken for a new folder.
const HAS_STORE: &str = "store";
const NO_STORE: &str = "empty";

/// A held folder; the system lets go of it when this is dropped or the process ends, however it ends.
#[derive(Debug)]
pub(in crate::platform::native) struct FolderLock {
    file: File,
    /// Whether the folder had a database when it was last held.
    pub(super) had_store: bool,
}

impl FolderLock {
    /// Takes the folder, or says who holds it.
    pub(super) fn take(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&path).map_err(|error| Fault::from(error).at(&path))?;
        let taken = file.try_lock();
        let mut note = String::new();
        // Unreadable while another holds it on some systems: then the holder stays unnamed.
        let _ = (&mut file).take(64).read_to_string(&mut note);
        let mut words = note.split_whitespace();
        let pid = words.next().unwrap_or_default();
        match taken {
            Ok(()) => Ok(Self { file, had_store: words.next() == Some(HAS_STORE) }),
            Err(TryLockError::WouldBlock) => {
                let holder = if pid.is_empty() { String::new() } else { format!(" (process {pid})") };
                Err(Error::new(
                    ErrorCode::Locked,
                    format!(
                        "The folder {} is held by another privstack{holder}: end that one, or use another folder",
                        folder.display()
                    ),
                ))
            }
            Err(TryLockError::Error(error)) => Err(Fault::from(error).at(&path)),
        }
    }

    /// Writes down who holds the folder and whether it has a database. Best effort: the lock itself does not need it.
    pub(super) fn note(&mut self, has_store: bool) {
        let mark = if has_store { HAS_STORE } else { NO_STORE };
        // Of one length always, so that it is replaced in one write.
        let line = format!("{:<10} {mark}\n", std::process::id());
        let _ = self.file.seek(SeekFrom::Start(0)).and_then(|_| self.file.write_all(line.as_bytes()));
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Closing the file is not enough: a process that another thread starts at this moment has it too, until it runs.
        let _ = self.file.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_free_again_though_a_child_process_has_its_file_still() {
        let folder = tempfile::tempdir().unwrap();
        let lock = FolderLock::take(folder.path()).unwrap();
        assert_eq!(FolderLock::take(folder.path()).unwrap_err().code(), ErrorCode::Locked);
        // As a fork has it.
        let inherited = lock.file.try_clone().unwrap();
        drop(lock);
        FolderLock::take(folder.path()).unwrap();
        drop(inherited);
    }
}
