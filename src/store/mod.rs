//! The store's contract: sorted tables of bytes, read by key and range, written in batches that happen whole or not at
//! all. Every backend passes the one [`conformance`] suite.
//!
//! The core decides *what* is stored (`engine/layout.rs`); a store only keeps it. **Blocks, frontier and membership
//! operations are the truth, pages are a cache** (DESIGN section 3, rule 3).

pub mod conformance;
mod memory;

pub use memory::MemoryStore;

use crate::error::Result;

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
    /// Blocks by (log number, first seq). A value ends in a checksum that the store adds and checks.
    Blocks = 3,
    /// Cache pages of entity state by (type number, first entity id).
    Pages = 4,
    /// What is remembered of each peer: last common frontier, addresses.
    Peers = 5,
}

impl Table {
    /// All tables.
    pub const ALL: [Table; 6] =
        [Table::Meta, Table::Logs, Table::Membership, Table::Blocks, Table::Pages, Table::Peers];
}

/// One change in a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WriteOp {
    /// Puts a row, over the old one if there is one.
    Put(Table, Vec<u8>, Vec<u8>),
    /// Deletes a row; nothing happens if there is none.
    Delete(Table, Vec<u8>),
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
    /// of keys and values, but at least one if there is one. The reader goes on after the last key it got.
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

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// A store of one device. One owner at a time: opening a folder or database that another holds fails with `locked`.
///
/// A row that does not read back as it was written is an error that names the table and key
/// ([`crate::error::ErrorCode::Storage`]), never another value, and no reason to fail other rows.
#[allow(async_fn_in_trait)] // each platform drives its own store on its own thread; no future crosses threads
pub trait Store {
    /// Commits a whole batch or nothing; when it returns, the batch is as sure as asked for.
    async fn commit(&mut self, batch: WriteBatch) -> Result<()>;

    /// Reads rows of the last committed state.
    async fn read(&self, read: &Read) -> Result<Vec<Row>>;

    /// Bytes in use, roughly.
    async fn used_bytes(&self) -> Result<u64>;
}
