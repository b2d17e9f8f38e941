//! The store's contract: sorted tables of bytes, read by key and range, written in batches that happen whole or not at
//! all. Every backend passes the one [`conformance`] suite.
//!
//! The core decides *what* is stored (`engine/layout.rs`); a store only keeps it. **Blocks, frontier and membership
//! operations are the truth, pages are a cache** (ARCHITECTURE.md, invariants).

pub mod conformance;
mod copy;
mod memory;
pub(crate) mod row;
mod sealed;

pub(crate) use copy::copy_rows;
pub use memory::MemoryStore;
pub use sealed::{SealKey, Sealed};

#[cfg(doc)]
use crate::error::ErrorCode;
use crate::error::{Error, Result};

/// The tables; each is a sorted map from bytes to bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Table {
    /// Format version, device and vault facts, checkpoints, unfinished refolds.
    Meta = 0,
    /// One row a log: its name, tip, fork mark, quarantine.
    Logs = 1,
    /// Membership operations by hash.
    Membership = 2,
    /// Blocks by (log number, first seq).
    Blocks = 3,
    /// Cache pages of entity state by (type number, first entity id).
    Pages = 4,
    /// What is remembered of each peer: last common frontier, addresses.
    Peers = 5,
    /// The audit log: its ends, its entries by number, and what is being counted.
    Audit = 6,
}

impl Table {
    /// All tables.
    pub const ALL: [Table; 7] =
        [Table::Meta, Table::Logs, Table::Membership, Table::Blocks, Table::Pages, Table::Peers, Table::Audit];
}

/// One change in a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WriteOp {
    /// Puts a row, over the old one if there is one.
    Put(Table, Vec<u8>, Vec<u8>),
    /// Deletes a row; nothing happens if there is none.
    Delete(Table, Vec<u8>),
    /// Deletes all rows of a table.
    Clear(Table),
}

/// How sure a batch must be before it is reported as committed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Durability {
    /// It survives a power cut (fdatasync, a strict transaction).
    #[default]
    Strict,
    /// It may be lost in a power cut, in order: never without all that came after it. For what peers still have.
    Relaxed,
}

/// Changes that happen all or none, in this order.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct WriteBatch {
    /// The changes.
    pub ops: Vec<WriteOp>,
    /// How sure.
    pub durability: Durability,
}

impl WriteBatch {
    /// Adds a row to put.
    pub fn put(&mut self, table: Table, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.ops.push(WriteOp::Put(table, key.into(), value.into()));
    }

    /// Adds a row to delete.
    pub fn delete(&mut self, table: Table, key: impl Into<Vec<u8>>) {
        self.ops.push(WriteOp::Delete(table, key.into()));
    }

    /// Adds that all rows of a table go.
    pub fn clear(&mut self, table: Table) {
        self.ops.push(WriteOp::Clear(table));
    }

    /// Bytes of its keys and values.
    pub fn bytes(&self) -> usize {
        let bytes = self.ops.iter().map(|op| match op {
            WriteOp::Put(_, key, value) => key.len().saturating_add(value.len()),
            WriteOp::Delete(_, key) => key.len(),
            WriteOp::Clear(_) => 0,
        });
        bytes.fold(0, usize::saturating_add)
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}

/// What to read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Read {
    /// The row of a key: one row or none.
    Get(Table, Vec<u8>),
    /// The last row whose key is at most `key` and not below `from`: one row or none.
    Floor {
        /// The table.
        table: Table,
        /// The lowest key that counts.
        from: Vec<u8>,
        /// The highest key that counts.
        key: Vec<u8>,
    },
    /// The rows with `from <= key < to` in ascending order: as many as fit into `max_rows` rows and `max_bytes` bytes
    /// of keys and values, but at least one if there is one. Damaged rows count. The reader goes on after
    /// [`Rows::last_key`].
    Range {
        /// The table.
        table: Table,
        /// The first key.
        from: Vec<u8>,
        /// The key after the last.
        to: Vec<u8>,
        /// At most so many rows.
        max_rows: usize,
        /// At most so many bytes, but for the first row.
        max_bytes: usize,
    },
}

impl Read {
    /// The table that it reads.
    pub fn table(&self) -> Table {
        match self {
            Read::Get(table, _) | Read::Floor { table, .. } | Read::Range { table, .. } => *table,
        }
    }
}

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// The answer to a [`Read`], both lists in ascending order of keys.
///
/// A row that does not read back as it was written never shows a value: its key stands in `damaged`. What that means is
/// the reader's to decide: a cache page is rebuilt, a block fetched again from a peer, a row of `Meta` is an error.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[must_use = "a damaged row is not an absent one"]
pub struct Rows {
    /// The rows that are as they were written.
    pub rows: Vec<Row>,
    /// The keys of rows that are there but damaged. A key that is itself damaged is shown as it now reads.
    pub damaged: Vec<Vec<u8>>,
}

impl Rows {
    /// The highest key among good and damaged rows: where the next page of a range starts after. `None`: no more rows.
    pub fn last_key(&self) -> Option<&[u8]> {
        let good = self.rows.last().map(|(key, _)| key.as_slice());
        let bad = self.damaged.last().map(Vec::as_slice);
        good.max(bad)
    }

    /// All rows, or a [`ErrorCode::Storage`] error if one of them is damaged.
    pub fn intact(self) -> Result<Vec<Row>> {
        match self.damaged.first() {
            None => Ok(self.rows),
            Some(key) => Err(Error::storage(format!(
                "{} of the rows read from the store are damaged, the first under key {}; \
                 restore a backup, or join again in a new folder and fetch everything from the other devices",
                self.damaged.len(),
                hex(key)
            ))),
        }
    }

    /// The value of the one row that [`Read::Get`] or [`Read::Floor`] asked for; an error if it is damaged.
    pub fn one(self) -> Result<Option<Row>> {
        Ok(self.intact()?.pop())
    }
}

/// The first 32 bytes in hexadecimal, for messages.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut out = String::new();
    for byte in bytes.iter().take(32) {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
    }
    if bytes.len() > 32 {
        out.push('…');
    }
    out
}

/// Counts the rows of a [`Read::Range`] against its two bounds, the same way in every backend.
#[derive(Debug)]
pub struct RangeBudget {
    rows: usize,
    bytes: usize,
    first: bool,
}

impl RangeBudget {
    /// The bounds of the read.
    pub fn new(max_rows: usize, max_bytes: usize) -> Self {
        Self { rows: max_rows, bytes: max_bytes, first: true }
    }

    /// Whether a row with so many bytes of key and value still goes in; takes its share if so.
    pub fn take(&mut self, bytes: usize) -> bool {
        let fits = self.rows > 0 && bytes <= self.bytes;
        if !fits && !self.first {
            return false;
        }
        self.first = false;
        self.rows = self.rows.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
        true
    }
}

/// A store of one device. One owner at a time: opening a folder or database that another holds fails with `locked`.
///
/// Errors: [`ErrorCode::Quota`] where the disk is full (the batch is not there, reads go on, and so do writes once there
/// is room), [`ErrorCode::Storage`] for everything else; the message names the file and says what to do.
#[allow(async_fn_in_trait)] // each platform drives its own store on its own thread; no future crosses threads
pub trait Store {
    /// Commits a whole batch or nothing; when it returns, the batch is as sure as asked for.
    async fn commit(&mut self, batch: WriteBatch) -> Result<()>;

    /// Reads rows of the last committed state; one damaged row is no reason to fail the others.
    async fn read(&self, read: &Read) -> Result<Rows>;

    /// The answers to several, all of the same committed state, in their order.
    async fn read_all(&self, reads: &[Read]) -> Result<Vec<Rows>> {
        let mut answers = Vec::with_capacity(reads.len());
        for read in reads {
            answers.push(self.read(read).await?);
        }
        Ok(answers)
    }

    /// Bytes in use, roughly.
    async fn used_bytes(&self) -> Result<u64>;

    /// Ends when the store fails without being asked anything, as a browser's database that is deleted; most never do.
    async fn failure(&self) -> Error {
        std::future::pending().await
    }
}
