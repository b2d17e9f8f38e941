//! The store in memory.

use super::{RangeBudget, Read, Rows, Store, Table, WriteBatch, WriteOp};
use crate::error::Result;
use crate::types::SortedMap;

/// A store in memory; a clone is a snapshot that later commits do not touch.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct MemoryStore {
    tables: SortedMap<Table, SortedMap<Vec<u8>, Vec<u8>>>,
    bytes: u64,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Commits a whole batch; in memory this cannot fail and does not wait.
    pub fn apply(&mut self, batch: WriteBatch) {
        for op in batch.ops {
            let (table, key, value) = match op {
                WriteOp::Put(table, key, value) => (table, key, Some(value)),
                WriteOp::Delete(table, key) => (table, key, None),
                WriteOp::Clear(table) => {
                    let rows = self.tables.remove(&table).unwrap_or_default();
                    let bytes: u64 = rows.iter().map(|(key, value)| row_bytes(key.len(), value)).sum();
                    self.bytes = self.bytes.saturating_sub(bytes);
                    continue;
                }
            };
            let rows = self.tables.entry(table).or_default();
            let key_len = key.len();
            let old = match value {
                Some(value) => {
                    self.bytes = self.bytes.saturating_add(row_bytes(key_len, &value));
                    rows.insert(key, value)
                }
                None => rows.remove(&key),
            };
            if let Some(old) = old {
                self.bytes = self.bytes.saturating_sub(row_bytes(key_len, &old));
            }
        }
    }

    /// Reads rows; in memory this cannot fail and does not wait.
    pub fn rows(&self, read: &Read) -> Rows {
        let mut out = Rows::default();
        match read {
            Read::Get(table, key) => {
                let row = self.tables.get(table).and_then(|rows| rows.get_key_value(key));
                out.rows.extend(row.map(owned));
            }
            Read::Floor { table, from, key } => {
                let row = self.tables.get(table).and_then(|rows| rows.range(from..=key).next_back());
                out.rows.extend(row.map(owned));
            }
            Read::Range { table, from, to, max_rows, max_bytes } => {
                let Some(rows) = self.tables.get(table) else { return out };
                let mut budget = RangeBudget::new(*max_rows, *max_bytes);
                let fitting = rows.range(from..to).take_while(|(k, v)| budget.take(k.len() + v.len()));
                out.rows.extend(fitting.map(owned));
            }
        }
        out
    }
}

fn owned((key, value): (&Vec<u8>, &Vec<u8>)) -> (Vec<u8>, Vec<u8>) {
    (key.clone(), value.clone())
}

fn row_bytes(key_len: usize, value: &[u8]) -> u64 {
    (key_len + value.len()) as u64
}

impl Store for MemoryStore {
    async fn commit(&mut self, batch: WriteBatch) -> Result<()> {
        self.apply(batch);
        Ok(())
    }

    async fn read(&self, read: &Read) -> Result<Rows> {
        Ok(self.rows(read))
    }

    async fn used_bytes(&self) -> Result<u64> {
        Ok(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use crate::test;
    use crate::types::SortedMap;
    use std::cell::RefCell;
    use std::rc::Rc;

    use zeroize::Zeroizing;

    use super::*;
    use crate::store::{SealKey, Sealed, conformance};

    /// Several handles of one memory, as a database can be opened again.
    struct Handle(Rc<RefCell<MemoryStore>>);

    impl Store for Handle {
        async fn commit(&mut self, batch: WriteBatch) -> Result<()> {
            self.0.borrow_mut().apply(batch);
            Ok(())
        }

        async fn read(&self, read: &Read) -> Result<Rows> {
            Ok(self.0.borrow().rows(read))
        }

        async fn used_bytes(&self) -> Result<u64> {
            Ok(self.0.borrow().bytes)
        }
    }

    #[test]
    fn memory_is_a_store() {
        let mut memories: SortedMap<String, Rc<RefCell<MemoryStore>>> = SortedMap::new();
        let run = conformance::run(async |name: &str| Ok(Handle(memories.entry(name.into()).or_default().clone())));
        futures::FutureExt::now_or_never(run).expect("memory never waits");
    }

    #[test]
    fn a_sealed_store_is_a_store() {
        let mut memories: SortedMap<String, Rc<RefCell<MemoryStore>>> = SortedMap::new();
        let key = SealKey::new(Zeroizing::new([5; 32]));
        let mut opened = 0;
        let run = conformance::run(async |name: &str| {
            opened += 1;
            let inner = Handle(memories.entry(name.into()).or_default().clone());
            Ok(Sealed::new(inner, &key, &Zeroizing::new([opened; 32])))
        });
        futures::FutureExt::now_or_never(run).expect("memory never waits");
    }

    #[test]
    fn a_clone_is_a_snapshot() {
        let mut store = MemoryStore::new();
        let mut batch = WriteBatch::default();
        batch.put(Table::Meta, *b"k", *b"old");
        store.apply(batch);
        let snapshot = store.clone();
        let mut batch = WriteBatch::default();
        batch.put(Table::Meta, *b"k", *b"new");
        store.apply(batch);
        let get = Read::Get(Table::Meta, b"k".to_vec());
        assert_eq!(snapshot.rows(&get).rows, [(b"k".to_vec(), b"old".to_vec())]);
        assert_eq!(store.rows(&get).rows, [(b"k".to_vec(), b"new".to_vec())]);
    }
}
