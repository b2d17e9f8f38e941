//! A store written anew into another file: every row, sealed by another key or by none, and nothing of the old file's
//! free pages.

use std::path::Path;

use redb::Database;

use super::fault::{Fault, guard};
use super::tables::{self, Change, End, Own};
use super::{create, open_file};
use crate::error::Result;
use crate::platform::entropy;
use crate::store::{Read, Rows, SealKey, Sealed, Store, WriteBatch, copy_rows};

/// Bytes read and written at once.
const CHUNK: usize = 4 << 20;

/// The new file while it is written; nobody else opens it.
struct Fresh<'a> {
    path: &'a Path,
    db: Database,
    own: Own,
}

impl Fresh<'_> {
    fn write(&mut self, changes: &[Change], end: End) -> Result<()> {
        let own = Own { commits: self.own.commits + 1, ..self.own };
        guard(|| tables::write(&self.db, changes, own, end, &mut Vec::new())).map_err(|fault| fault.at(self.path))?;
        self.own = own;
        Ok(())
    }
}

impl Store for Fresh<'_> {
    async fn commit(&mut self, batch: WriteBatch) -> Result<()> {
        let end = if batch.is_empty() { End::QuickToOpen } else { End::Durable };
        self.write(&batch.ops.into_iter().map(Change::of).collect::<Vec<_>>(), end)
    }

    async fn read(&self, read: &Read) -> Result<Rows> {
        guard(|| tables::read(&self.db, read)).map_err(|fault| fault.at(self.path))
    }

    async fn used_bytes(&self) -> Result<u64> {
        Ok(std::fs::metadata(self.path).map_err(|error| Fault::from(error).at(self.path))?.len())
    }
}

/// Copies all rows of a store into a new file at `path`, sealed by `key` if there is one, reads them back from there, and
/// leaves the file on disk, whole. `progress` hears how many bytes of how many are done, roughly, and ends it by an
/// error. A damaged row ends it too: what does not read back cannot be sealed.
pub(in crate::platform::native) async fn copy(
    old: &impl Store,
    path: &Path,
    key: Option<&SealKey>,
    progress: &mut dyn FnMut(u64, u64) -> Result<()>,
) -> Result<()> {
    create(path.parent().unwrap_or(Path::new(".")), path).map_err(|fault| fault.at(path))?;
    let (db, own) = open_file(&super::open_database, path).map_err(|fault| fault.at(path))?;
    let fresh = Fresh { path, db, own };
    // Each row is read twice, here and there.
    let total = old.used_bytes().await?.saturating_mul(2);
    let mut done = 0;
    let mut step = |_, bytes: usize| {
        done += bytes as u64;
        progress(done.min(total), total)
    };
    match key {
        None => copy_rows(old, fresh, CHUNK, &mut step).await,
        Some(key) => copy_rows(old, Sealed::new(fresh, key, &entropy::bytes()?), CHUNK, &mut step).await,
    }
}
