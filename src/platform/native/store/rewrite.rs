//! A store written anew into another file: every row, sealed by another key or by none, and nothing of the old file's
//! free pages.

use std::path::Path;

use redb::Database;

use super::fault::{Fault, guard};
use super::tables::{self, Change, End, Own};
use super::{create, open_file};
use crate::error::{Error, Result};
use crate::platform::entropy;
use crate::store::{Read, Rows, SealKey, Sealed, Store, Table, WriteBatch};

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
    match key {
        None => copy_into(old, fresh, progress).await,
        Some(key) => copy_into(old, Sealed::new(fresh, key, &entropy::bytes()?), progress).await,
    }
}

async fn copy_into(
    old: &impl Store,
    mut new: impl Store,
    progress: &mut dyn FnMut(u64, u64) -> Result<()>,
) -> Result<()> {
    // Each row is read twice, here and there.
    let total = old.used_bytes().await?.saturating_mul(2);
    let mut done = 0;
    let mut step = |bytes: usize| {
        done += bytes as u64;
        progress(done.min(total), total)
    };
    let mut hash = Hash::default();
    for table in Table::ALL {
        let mut from = Vec::new();
        while let Some((rows, next)) = chunk(old, table, &from).await? {
            from = next;
            let mut batch = WriteBatch::default();
            rows.into_iter().for_each(|(key, value)| {
                hash.row(table, &key, &value);
                batch.put(table, key, value);
            });
            step(batch.bytes())?;
            new.commit(batch).await?;
        }
    }
    new.commit(WriteBatch::default()).await?;
    let written = hash.end();
    let mut hash = Hash::default();
    for table in Table::ALL {
        let mut from = Vec::new();
        while let Some((rows, next)) = chunk(&new, table, &from).await? {
            from = next;
            rows.iter().for_each(|(key, value)| hash.row(table, key, value));
            step(rows.iter().map(|(key, value)| key.len() + value.len()).sum())?;
        }
    }
    match hash.end() == written {
        true => Ok(()),
        false => {
            Err(Error::storage("the new file does not read back as it was written; the old one was left as it is"))
        }
    }
}

/// The next rows of a table, and where those after them start; `None` at its end.
async fn chunk(store: &impl Store, table: Table, from: &[u8]) -> Result<Option<(Vec<crate::store::Row>, Vec<u8>)>> {
    let (from, to) = (from.to_vec(), vec![0xff; 256]);
    let rows = store.read(&Read::Range { table, from, to, max_rows: usize::MAX, max_bytes: CHUNK }).await?;
    let next = rows.last_key().map(|last| [last, &[0]].concat());
    let rows = rows.intact()?;
    Ok(next.map(|next| (rows, next)))
}

/// Of rows in their order.
struct Hash(blake3::Hasher);

impl Default for Hash {
    fn default() -> Self {
        Self(blake3::Hasher::new_derive_key("privstack-sync 2026 store rewritten"))
    }
}

impl Hash {
    fn row(&mut self, table: Table, key: &[u8], value: &[u8]) {
        self.0.update(&[table as u8]);
        for part in [key, value] {
            self.0.update(&(part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
    }

    fn end(&self) -> blake3::Hash {
        self.0.finalize()
    }
}
