//! All rows of one store written into another, and read back from there.

use super::{Read, Row, Store, Table, WriteBatch};
use crate::error::{Error, Result};

/// Copies all rows of `old` into `new`, which has none yet and is durable with the last, empty batch; then reads them
/// back. About `chunk` bytes are read and written at once. `step` hears of how many rows and bytes each part was, here and
/// there, and ends it by an error. A damaged row ends it too.
pub async fn copy_rows(
    old: &impl Store,
    mut new: impl Store,
    chunk: usize,
    step: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<()> {
    let mut hash = Hash::default();
    for table in Table::ALL {
        let mut from = Vec::new();
        while let Some((rows, next)) = part(old, table, &from, chunk).await? {
            from = next;
            let (count, mut batch) = (rows.len(), WriteBatch::default());
            rows.into_iter().for_each(|(key, value)| {
                hash.row(table, &key, &value);
                batch.put(table, key, value);
            });
            step(count, batch.bytes())?;
            new.commit(batch).await?;
        }
    }
    new.commit(WriteBatch::default()).await?;
    let written = hash.end();
    let mut hash = Hash::default();
    for table in Table::ALL {
        let mut from = Vec::new();
        while let Some((rows, next)) = part(&new, table, &from, chunk).await? {
            from = next;
            rows.iter().for_each(|(key, value)| hash.row(table, key, value));
            step(rows.len(), rows.iter().map(|(key, value)| key.len() + value.len()).sum())?;
        }
    }
    match hash.end() == written {
        true => Ok(()),
        false => Err(Error::storage("the copy does not read back as it was written; the old one was left as it is")),
    }
}

/// The next rows of a table, and where those after them start; `None` at its end.
async fn part(store: &impl Store, table: Table, from: &[u8], chunk: usize) -> Result<Option<(Vec<Row>, Vec<u8>)>> {
    let (from, to) = (from.to_vec(), vec![0xff; 256]);
    let rows = store.read(&Read::Range { table, from, to, max_rows: usize::MAX, max_bytes: chunk }).await?;
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
