//! Whether this is still the store that the device wrote to: the instance mark.
//!
//! A device that goes on from an old or second copy of its store would number new commits as it already numbered others:
//! a fork of its own log. So the engine keeps the mark in `Meta` and starts a new epoch where it reads another at open.
//!
//! The mark is a hash of what a copy cannot take along, the file's inode number and creation time, and of a random
//! salt in the database. It changes when
//! - the folder was copied, or restored by a tool that writes new files (`cp -r`, rsync, most backups): another file;
//! - an old database was written over this one in place (`cp old vault.redb`): the file is the same, but it counts fewer
//!   commits than the *witness* has seen, a small file outside of the data folder
//!   (`$XDG_STATE_HOME/privstack/` or `~/.local/state/privstack/`, `%LOCALAPPDATA%` on Windows), named after the file's
//!   identity. Then the salt is drawn anew. The count is written down at the first commit after opening, every
//!   [`WITNESS_EVERY`] commits and at the end.
//!
//! It stays when the folder is moved within a file system. A counter *beside* the database would show nothing: it is
//! copied and restored along with it. The device number is left out: it changes with the order in which disks are found.
//!
//! What it misses: an in-place restore where there is no witness (no home folder, another machine's disk image, a state
//! folder restored together with the data), or of a copy less than [`WITNESS_EVERY`] commits old after a crash; a whole
//! virtual machine rolled back. The protocol catches those: a peer holds a longer log of this device than the device.
//! A mark that changes without need (a file system without stable inode numbers, such as FAT) costs a new epoch: one
//! more log a type, nothing else.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Commits between two notes in the witness.
const WITNESS_EVERY: u64 = 256;

/// What a copy of the file does not share with it.
fn identity(file: &Path) -> io::Result<blake3::Hash> {
    let meta = fs::metadata(file)?;
    let mut hasher = blake3::Hasher::new_derive_key("privstack-sync 2026 store file identity");
    #[cfg(unix)]
    hasher.update(&std::os::unix::fs::MetadataExt::ino(&meta).to_le_bytes());
    // Not every file system knows it.
    let born = meta.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    hasher.update(&born.map_or(0, |born| born.as_nanos()).to_le_bytes());
    Ok(hasher.finalize())
}

/// The mark of this file with this salt.
pub(super) fn mark(file: &Path, salt: u64) -> io::Result<[u8; 16]> {
    let mut hasher = blake3::Hasher::new_derive_key("privstack-sync 2026 store instance mark");
    hasher.update(identity(file)?.as_bytes());
    hasher.update(&salt.to_le_bytes());
    let mut out = [0; 16];
    hasher.finalize_xof().fill(&mut out);
    Ok(out)
}

/// Where programs of this user keep state, where the system has such a place.
pub(super) fn state_folder() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = if cfg!(windows) {
        absolute("LOCALAPPDATA")?
    } else {
        absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?
    };
    Some(base.join("privstack"))
}

/// The count of commits that is kept outside of the data folder. It helps and is never needed: failures change nothing.
#[derive(Debug)]
pub(super) struct Witness {
    path: Option<PathBuf>,
    noted: Option<u64>,
}

impl Witness {
    /// The witness of this file in this state folder.
    pub(super) fn of(file: &Path, state_folder: Option<&Path>) -> Self {
        let name = identity(file).ok().map(|id| id.to_hex().as_str().chars().take(32).collect::<String>());
        Self { path: state_folder.zip(name).map(|(folder, name)| folder.join(name)), noted: None }
    }

    /// Whether more commits of this file are on record than it holds.
    pub(super) fn saw_more_than(&self, commits: u64) -> bool {
        let Some(path) = &self.path else { return false };
        // Twenty digits at most: anything longer is not ours.
        let small = fs::metadata(path).is_ok_and(|meta| meta.len() <= 20);
        let seen = small.then(|| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok()).flatten();
        seen.is_some_and(|seen| seen > commits)
    }

    /// Notes that so many commits are safely on disk, where it is time again.
    pub(super) fn note(&mut self, commits: u64) {
        if self.noted.is_none_or(|noted| commits.saturating_sub(noted) >= WITNESS_EVERY) {
            self.write(commits);
        }
    }

    /// Notes the last count, unless nothing was committed: a restored copy must not lower the count unseen.
    pub(super) fn end(&mut self, commits: u64) {
        if self.noted.is_some_and(|noted| noted != commits) {
            self.write(commits);
        }
    }

    fn write(&mut self, commits: u64) {
        let Some(path) = &self.path else { return };
        self.noted = Some(commits);
        if let Some(folder) = path.parent()
            && let Err(error) = fs::create_dir_all(folder).and_then(|()| fs::write(path, commits.to_string()))
        {
            tracing::debug!(%error, path = %path.display(), "the store's witness could not be written");
        }
    }
}
