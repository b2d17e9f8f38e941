//! What can go wrong with the file, and the sentences that say so.

use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::error::{Error, ErrorCode};

/// Why the database did not do what it was asked.
#[derive(Debug)]
pub(super) enum Fault {
    /// No room on the disk, or over a quota.
    Full,
    /// Somebody else holds the file.
    Held,
    /// The file is not as it was written, or no such file at all.
    Damaged(String),
    /// The file is of a later version of this program.
    Newer(u64),
    /// The system refused.
    Io(String),
}

impl Fault {
    /// The error for people, about this file.
    pub(super) fn at(&self, path: &Path) -> Error {
        let file = path.display();
        match self {
            Fault::Full => Error::new(
                ErrorCode::Quota,
                format!(
                    "No room on the disk for {file}: nothing of this change was saved; free some space and try again"
                ),
            ),
            Fault::Held => Error::new(
                ErrorCode::Locked,
                format!("{file} is held by another program: end that one, or use another folder"),
            ),
            Fault::Damaged(what) => Error::storage(format!(
                "{file} is damaged ({what}); it was left as it is. Restore a backup into a new folder (privstack --data \
                 NEW restore-backup FILE), or fetch everything from another device (privstack --data NEW join INVITE)"
            )),
            Fault::Newer(format) => Error::new(
                ErrorCode::Version,
                format!("{file} was written by a newer version (storage format {format}): update privstack"),
            ),
            Fault::Io(what) => Error::storage(format!(
                "{file} could not be used: {what}; check the disk and the permissions of the folder"
            )),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => Fault::Full,
            // redb says InvalidData of a file that is none of its own; reading past the end means a cut file.
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Fault::Damaged(error.to_string()),
            _ => Fault::Io(error.to_string()),
        }
    }
}

impl From<redb::Error> for Fault {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::Io(error) => error.into(),
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => Fault::Held,
            redb::Error::PreviousIo | redb::Error::DatabaseClosed => Fault::Io(error.to_string()),
            other => Fault::Damaged(other.to_string()),
        }
    }
}

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic on this thread, now, is one that the store catches and turns into an error about a damaged file. A
/// program's panic hook asks this to keep quiet about it.
pub fn catches_panic() -> bool {
    GUARDED.get()
}

/// Runs a step on the database. redb trusts its own pages and panics on some that are damaged: that is a fault of the
/// file like any other, and must not end the program. (Under `panic = "abort"` it would.)
pub(super) fn guard<T>(step: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, Fault> {
    let before = GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(step));
    GUARDED.set(before);
    match result {
        Ok(result) => result.map_err(Fault::from),
        Err(_) => Err(Fault::Damaged("its pages contradict each other".into())),
    }
}
