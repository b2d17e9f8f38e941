//! The tables in the file: what a transaction reads and writes.

use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};

use crate::store::row::{seal, unseal};
use crate::store::{RangeBudget, Read, Row, Rows, Table, WriteOp};

type StoredRows = redb::ReadOnlyTable<&'static [u8], &'static [u8]>;
type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// In the order of [`Table`].
const TABLES: [(Table, Definition); 7] = [
    (Table::Meta, TableDefinition::new("meta")),
    (Table::Logs, TableDefinition::new("logs")),
    (Table::Membership, TableDefinition::new("membership")),
    (Table::Blocks, TableDefinition::new("blocks")),
    (Table::Pages, TableDefinition::new("pages")),
    (Table::Peers, TableDefinition::new("peers")),
    (Table::Audit, TableDefinition::new("audit")),
];

/// The store's own facts; its number in checksums is none of [`Table`].
const OWN: Definition = TableDefinition::new("store");
const OWN_NUMBER: u8 = 255;

/// The version of the format of this file.
pub(super) const FORMAT: u64 = 1;

/// What the store keeps for itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Own {
    /// The format version.
    pub(super) format: u64,
    /// Commits so far.
    pub(super) commits: u64,
    /// A part of the instance mark.
    pub(super) salt: u64,
}

impl Own {
    fn to_bytes(self) -> Vec<u8> {
        [self.format, self.commits, self.salt].into_iter().flat_map(u64::to_le_bytes).collect()
    }

    /// A later format may append more.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (format, rest) = bytes.split_first_chunk()?;
        let (commits, rest) = rest.split_first_chunk()?;
        let (salt, _) = rest.split_first_chunk()?;
        let [format, commits, salt] = [*format, *commits, *salt].map(u64::from_le_bytes);
        Some(Self { format, commits, salt })
    }
}

const OWN_KEY: &[u8] = b"own";

/// One change with its value as stored.
#[derive(Clone, Debug)]
pub(super) struct Change {
    table: Table,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
    /// All rows of the table go; `key` and `value` say nothing.
    clear: bool,
}

impl Change {
    /// Adds the checksum.
    pub(super) fn of(op: WriteOp) -> Self {
        match op {
            WriteOp::Put(table, key, value) => {
                let value = Some(seal(table as u8, &key, value));
                Change { table, key, value, clear: false }
            }
            WriteOp::Delete(table, key) => Change { table, key, value: None, clear: false },
            WriteOp::Clear(table) => Change { table, key: Vec::new(), value: None, clear: true },
        }
    }

    /// Bytes it holds.
    pub(super) fn len(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Vec::len)
    }
}

/// How a transaction ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// On disk; after a crash redb walks the file to find its free pages.
    Durable,
    /// On disk, and the free pages along with it: costs a second sync, and opening after a crash takes no walk.
    QuickToOpen,
    /// In memory, until the next durable one.
    Relaxed,
}

/// Writes the changes and the store's own facts in one transaction. `undo` gets what each changed row was before, in the
/// order of the changes: put back in reverse, it takes the transaction back.
pub(super) fn write(
    db: &Database,
    changes: &[Change],
    own: Own,
    end: End,
    undo: &mut Vec<Change>,
) -> Result<(), redb::Error> {
    let mut transaction = db.begin_write()?;
    match end {
        End::Durable => {}
        End::QuickToOpen => transaction.set_quick_repair(true),
        End::Relaxed => transaction.set_durability(redb::Durability::None)?,
    }
    for (table, definition) in TABLES {
        let mut changes = changes.iter().filter(|change| change.table == table).peekable();
        // The first commit makes all tables.
        if changes.peek().is_none() && own.commits > 0 {
            continue;
        }
        let mut rows = transaction.open_table(definition)?;
        for change in changes {
            if change.clear {
                for row in rows.extract_if(|_, _| true)? {
                    let (key, value) = row?;
                    let (key, value) = (key.value().to_vec(), Some(value.value().to_vec()));
                    undo.push(Change { table, key, value, clear: false });
                }
                continue;
            }
            let key = change.key.as_slice();
            let old = match &change.value {
                Some(value) => rows.insert(key, value.as_slice())?,
                None => rows.remove(key)?,
            };
            let value = old.map(|old| old.value().to_vec());
            undo.push(Change { table, key: change.key.clone(), value, clear: false });
        }
    }
    let value = seal(OWN_NUMBER, OWN_KEY, own.to_bytes());
    transaction.open_table(OWN)?.insert(OWN_KEY, value.as_slice())?;
    transaction.commit()?;
    Ok(())
}

/// The store's own facts; `None` where they are damaged or are none of ours.
pub(super) fn own(db: &Database) -> Result<Option<Own>, redb::Error> {
    let stored = db.begin_read()?.open_table(OWN)?.get(OWN_KEY)?;
    Ok(stored.and_then(|stored| Own::from_bytes(unseal(OWN_NUMBER, OWN_KEY, stored.value())?)))
}

/// Whether every row of the small tables can be found. A damaged branch page hides rows without a trace, and a hidden log
/// of this device would be begun a second time; a hidden block leaves a gap that the engine sees. About a microsecond a
/// row.
pub(super) fn small_tables_are_whole(db: &Database) -> Result<bool, redb::Error> {
    let transaction = db.begin_read()?;
    for table in [Table::Meta, Table::Logs, Table::Membership] {
        let Some(rows) = rows(&transaction, table)? else { return Ok(false) };
        let mut found = 0;
        // Walking takes every page in turn, finding decides by the keys in the branches: they must agree.
        for row in rows.iter()? {
            let (key, _) = row?;
            found += u64::from(rows.get(key.value())?.is_some());
        }
        if found != rows.len()? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reads rows of the last commit.
pub(super) fn read(db: &Database, read: &Read) -> Result<Rows, redb::Error> {
    let transaction = db.begin_read()?;
    let mut out = Rows::default();
    let (Read::Get(table, _) | Read::Floor { table, .. } | Read::Range { table, .. }) = read;
    let Some(rows) = rows(&transaction, *table)? else { return Ok(out) };
    match read {
        Read::Get(_, key) => {
            if let Some(value) = rows.get(key.as_slice())? {
                add(&mut out, *table, key, value.value());
            }
        }
        Read::Floor { from, key, .. } => {
            if from <= key
                && let Some(row) = rows.range(from.as_slice()..=key.as_slice())?.next_back()
            {
                let (key, value) = row?;
                add(&mut out, *table, key.value(), value.value());
            }
        }
        Read::Range { from, to, max_rows, max_bytes, .. } => {
            if from < to {
                let mut budget = RangeBudget::new(*max_rows, *max_bytes);
                for row in rows.range(from.as_slice()..to.as_slice())? {
                    let (key, value) = row?;
                    let bytes = (key.value().len() + value.value().len()).saturating_sub(crate::store::row::SUM_BYTES);
                    if !budget.take(bytes) {
                        break;
                    }
                    add(&mut out, *table, key.value(), value.value());
                }
            }
        }
    }
    Ok(out)
}

fn rows(transaction: &ReadTransaction, table: Table) -> Result<Option<StoredRows>, redb::Error> {
    let definition = match table {
        Table::Meta => TABLES[0].1,
        Table::Logs => TABLES[1].1,
        Table::Membership => TABLES[2].1,
        Table::Blocks => TABLES[3].1,
        Table::Pages => TABLES[4].1,
        Table::Peers => TABLES[5].1,
        Table::Audit => TABLES[6].1,
    };
    match transaction.open_table(definition) {
        // A file of a version that did not know this table yet; the first write to it makes it.
        Err(redb::TableError::TableDoesNotExist(_)) if table == Table::Audit => Ok(None),
        rows => Ok(Some(rows?)),
    }
}

fn add(out: &mut Rows, table: Table, key: &[u8], stored: &[u8]) {
    match unseal(table as u8, key, stored) {
        Some(value) => out.rows.push(Row::from((key.to_vec(), value.to_vec()))),
        None => out.damaged.push(key.to_vec()),
    }
}
