//! The store in IndexedDB: one object store a table, keys and values as bytes, a row a record. A commit is one
//! transaction, strict or relaxed as the batch asks.
//!
//! What this room adds to IndexedDB: the checksum on every value; the *writer's number*, which each opening raises and
//! each commit checks, so that of two tabs only the one that opened last can write; and an exact word for what the
//! browser did: full, deleted, in use by a newer version.

mod database;
mod fault;

use std::path::Path;

use futures::future::try_join_all;
use indexed_db_futures::KeyRange;
use indexed_db_futures::cursor::CursorDirection;
use indexed_db_futures::internals::SystemRepr;
use indexed_db_futures::object_store::ObjectStore;
use indexed_db_futures::prelude::*;
use indexed_db_futures::transaction::{Transaction, TransactionDurability, TransactionMode, TransactionOptions};
use js_sys::Uint8Array;
use wasm_bindgen::{JsCast, JsValue};

pub use self::database::delete;
use self::database::{IndexedDb, OWN, name_of};
pub(super) use self::database::{MARK, WRITER, add_own, exists, own, own_all, put_own};
use self::fault::Fault;
use super::{quota, seal};
use crate::error::{Error, ErrorCode, Result};
use crate::platform::entropy;
use crate::store::{
    Durability, MemoryStore, RangeBudget, Read, Rows, SealKey, Sealed, Store, Table, WriteBatch, WriteOp, row,
};

/// Rows that one request of a range asks for at first; each further one asks for twice as many.
const FIRST_ROWS: u32 = 16;
const MOST_ROWS: u32 = 256;

/// The store of one device in one database of this origin.
#[derive(Debug)]
pub struct IndexedDbStore {
    db: IndexedDb,
}

/// The store of a device: in the database of that name, or without a name in memory, where it ends with the page.
#[derive(Debug)]
pub enum DeviceStore {
    /// In a database.
    Database(IndexedDbStore),
    /// In a database, sealed.
    Sealed(Sealed<IndexedDbStore>),
    /// In memory, with a mark that is made with it.
    Memory(MemoryStore, [u8; 16]),
}

/// Opens the store of a device, as [`IndexedDbStore::open`]; in memory nothing is sealed. It ends what a
/// crash amid a change of the passphrase has left; `locked` while a tab is at that.
pub async fn open(name: &Path, key: Option<&SealKey>) -> Result<DeviceStore> {
    let name = name.to_string_lossy();
    if name.is_empty() {
        let random = entropy::bytes()?;
        return Ok(DeviceStore::Memory(MemoryStore::default(), *random.first_chunk().unwrap_or(&[0; 16])));
    }
    seal::settle(&name).await?;
    DeviceStore::of(IndexedDbStore::open(&name).await?, key)
}

impl DeviceStore {
    /// That store, sealed if there is a key.
    pub(super) fn of(store: IndexedDbStore, key: Option<&SealKey>) -> Result<Self> {
        Ok(match key {
            Some(key) => Self::Sealed(Sealed::new(store, key, &entropy::bytes()?)),
            None => Self::Database(store),
        })
    }

    /// The mark of this instance of the store.
    pub fn instance_mark(&self) -> [u8; 16] {
        match self {
            Self::Database(store) => store.instance_mark(),
            Self::Sealed(store) => store.inner().instance_mark(),
            Self::Memory(_, mark) => *mark,
        }
    }
}

impl Store for DeviceStore {
    async fn commit(&mut self, batch: WriteBatch) -> Result<()> {
        match self {
            Self::Database(store) => store.commit(batch).await,
            Self::Sealed(store) => store.commit(batch).await,
            Self::Memory(store, _) => store.commit(batch).await,
        }
    }

    async fn read(&self, read: &Read) -> Result<Rows> {
        match self {
            Self::Database(store) => store.read(read).await,
            Self::Sealed(store) => store.read(read).await,
            Self::Memory(store, _) => store.read(read).await,
        }
    }

    async fn read_all(&self, reads: &[Read]) -> Result<Vec<Rows>> {
        match self {
            Self::Database(store) => store.read_all(reads).await,
            Self::Sealed(store) => store.read_all(reads).await,
            Self::Memory(store, _) => store.read_all(reads).await,
        }
    }

    async fn used_bytes(&self) -> Result<u64> {
        match self {
            Self::Database(store) => store.used_bytes().await,
            Self::Sealed(store) => store.used_bytes().await,
            Self::Memory(store, _) => store.used_bytes().await,
        }
    }

    async fn failure(&self) -> Error {
        match self {
            Self::Database(store) => store.failure().await,
            Self::Sealed(store) => store.failure().await,
            Self::Memory(store, _) => store.failure().await,
        }
    }
}

impl IndexedDbStore {
    /// Opens the database of that name and the store in it; makes both where there are none.
    ///
    /// Errors: `unsupported` where there is no IndexedDB, `version` for a newer format, `locked` where another tab holds
    /// up the opening, `quota` and `storage` for the rest.
    pub async fn open(name: &str) -> Result<Self> {
        IndexedDb::open(name).await.map(|db| Self { db })
    }

    /// Opens one that becomes a copy of another, or is one.
    pub(super) async fn open_copy(name: &str) -> Result<Self> {
        IndexedDb::open_copy(name).await.map(|db| Self { db }).map_err(|fault| fault.named(name))
    }

    /// How many rows it has.
    pub(super) async fn rows_count(&self) -> Result<u64> {
        let count = async || -> std::result::Result<_, Fault> {
            let db = self.db.get()?;
            let transaction = db.transaction(Table::ALL.map(name_of)).build()?;
            let mut count = 0;
            for table in Table::ALL {
                count += u64::from(transaction.object_store(name_of(table))?.count().primitive()?.await?);
            }
            Ok(count)
        };
        count().await.map_err(|fault| fault.of(&self.db))
    }

    /// The mark of this instance of the store; made with it, since a browser shows nothing that a copied profile lacks.
    pub fn instance_mark(&self) -> [u8; 16] {
        self.db.mark()
    }

    async fn put_batch(&self, batch: WriteBatch) -> std::result::Result<(), Fault> {
        let mut tables: Vec<Table> = batch.ops.iter().map(table_of).collect();
        tables.sort_unstable();
        tables.dedup();
        let names: Vec<&str> = tables.iter().map(|table| name_of(*table)).chain([OWN]).collect();
        let durability = match batch.durability {
            Durability::Strict => TransactionDurability::Strict,
            Durability::Relaxed => TransactionDurability::Relaxed,
        };
        let db = self.db.get()?;
        let transaction = db
            .transaction(names)
            .with_mode(TransactionMode::Readwrite)
            .with_options(TransactionOptions::new().with_durability(durability))
            .build()?;
        // All requests go out at once; what they add up to, the end of the transaction says.
        let writer = transaction.object_store(OWN)?.get::<f64, _, _>(WRITER).primitive()?;
        for op in batch.ops {
            let table = table_of(&op);
            let store = transaction.object_store(name_of(table))?;
            match op {
                WriteOp::Put(_, key, value) => {
                    let sealed = row::seal(table as u8, &key, value);
                    drop(store.put(bytes(&sealed)).with_key(bytes(&key)).primitive()?);
                }
                WriteOp::Delete(_, key) => drop(store.delete::<JsValue, _>(KeyRange::Only(bytes(&key))).primitive()?),
                WriteOp::Clear(_) => drop(store.clear()?),
            }
        }
        let ended = transaction.as_sys().clone();
        let why = |error| Fault::of_transaction(&ended, error);
        if writer.await.map_err(why)? != Some(self.db.writer()) {
            transaction.abort().await?;
            return Err(Fault::Fenced);
        }
        transaction.commit().await.map_err(why)
    }

    /// One transaction for all of them: opening one costs more than many a read.
    async fn all_rows(&self, reads: &[Read]) -> std::result::Result<Vec<Rows>, Fault> {
        let mut names: Vec<&str> = reads.iter().map(|read| name_of(read.table())).collect();
        names.sort_unstable();
        names.dedup();
        let db = self.db.get()?;
        let transaction = db.transaction(names).build()?;
        try_join_all(reads.iter().map(|read| Self::rows(&transaction, read))).await
    }

    async fn rows(transaction: &Transaction<'_>, read: &Read) -> std::result::Result<Rows, Fault> {
        let table = read.table();
        let store = transaction.object_store(name_of(table))?;
        let mut rows = Rows::default();
        match read {
            Read::Get(_, key) => {
                if let Some(value) = store.get::<JsValue, JsValue, _>(KeyRange::Only(bytes(key))).primitive()?.await? {
                    note(&mut rows, table, key.clone(), &value);
                }
            }
            Read::Floor { from, key, .. } => {
                if from <= key
                    && let Some((key, value)) = last(&store, from, key).await?
                {
                    note(&mut rows, table, key, &value);
                }
            }
            Read::Range { from, to, max_rows, max_bytes, .. } => {
                let mut budget = RangeBudget::new(*max_rows, *max_bytes);
                let (mut from, mut after) = (from.clone(), false);
                let mut limit = FIRST_ROWS;
                while from < *to {
                    let range = || KeyRange::Bound(bytes(&from), after, bytes(to), true);
                    let wanted = limit.min(u32::try_from(*max_rows).unwrap_or(u32::MAX).max(1));
                    let keys = store
                        .get_all_keys::<JsValue>()
                        .with_query::<JsValue, _>(range())
                        .with_limit(wanted)
                        .primitive()?;
                    let values =
                        store.get_all::<JsValue>().with_query::<JsValue, _>(range()).with_limit(wanted).primitive()?;
                    let (keys, values) = (keys.await?, values.await?);
                    let mut count = 0;
                    for (key, value) in keys.zip(values) {
                        let (key, value) = (Uint8Array::new(&key?).to_vec(), value?);
                        let size = value.dyn_ref::<Uint8Array>().map_or(0, Uint8Array::length) as usize;
                        if !budget.take(key.len() + size.saturating_sub(row::SUM_BYTES)) {
                            return Ok(rows);
                        }
                        count += 1;
                        from.clone_from(&key);
                        note(&mut rows, table, key, &value);
                    }
                    if count < wanted {
                        break;
                    }
                    after = true;
                    limit = limit.saturating_mul(2).min(MOST_ROWS);
                }
            }
        }
        Ok(rows)
    }
}

fn table_of(op: &WriteOp) -> Table {
    match op {
        WriteOp::Put(table, ..) | WriteOp::Delete(table, _) | WriteOp::Clear(table) => *table,
    }
}

fn bytes(bytes: &[u8]) -> JsValue {
    Uint8Array::from(bytes).into()
}

/// Adds a row as it was found: its value if it is whole, else its key among the damaged ones.
fn note(rows: &mut Rows, table: Table, key: Vec<u8>, stored: &JsValue) {
    // Nothing else is ever put; what is none of ours is a damaged row.
    let stored = stored.dyn_ref::<Uint8Array>().map(Uint8Array::to_vec).unwrap_or_default();
    match row::unseal(table as u8, &key, &stored) {
        Some(value) => rows.rows.push((key, value.to_vec())),
        None => rows.damaged.push(key),
    }
}

/// The last record with `from <= key <= to`, and its key.
async fn last(
    store: &ObjectStore<'_>,
    from: &[u8],
    to: &[u8],
) -> std::result::Result<Option<(Vec<u8>, JsValue)>, Fault> {
    let range = KeyRange::Bound(bytes(from), false, bytes(to), false);
    let cursor = store.open_cursor().with_query::<JsValue, _>(range).with_direction(CursorDirection::Prev).await?;
    let Some(mut cursor) = cursor else { return Ok(None) };
    let Some(value) = cursor.next_record::<JsValue>().await? else { return Ok(None) };
    let key = cursor.primary_key::<JsValue>()?;
    Ok(key.map(|key| (Uint8Array::new(&key).to_vec(), value)))
}

impl Store for IndexedDbStore {
    async fn commit(&mut self, batch: WriteBatch) -> Result<()> {
        self.put_batch(batch).await.map_err(|fault| fault.of(&self.db))
    }

    async fn read(&self, read: &Read) -> Result<Rows> {
        let rows = self.all_rows(std::slice::from_ref(read)).await.map_err(|fault| fault.of(&self.db))?;
        Ok(rows.into_iter().next().unwrap_or_default())
    }

    async fn read_all(&self, reads: &[Read]) -> Result<Vec<Rows>> {
        self.all_rows(reads).await.map_err(|fault| fault.of(&self.db))
    }

    /// Of the whole origin, as the browser rounds it.
    async fn used_bytes(&self) -> Result<u64> {
        Ok(quota::used().await as u64)
    }

    async fn failure(&self) -> Error {
        self.db.closed().await.named(self.db.name())
    }
}

/// What a caller is told where no store can be opened at all.
fn unsupported() -> Error {
    Error::new(
        ErrorCode::Unsupported,
        "there is no IndexedDB here (a private window of some browsers, or no browser): choose the memory store, which \
         keeps nothing when the page closes",
    )
}
