//! A simulated disk: what is committed, what is still on its way, what survives a crash.

use std::collections::{BTreeSet, VecDeque};

use super::faults::{Fault, Faults};
use super::rng::Rng;
use crate::engine::Ticket;
use crate::store::{Durability, MemoryStore, Read, Rows, Table, WriteBatch, WriteOp};

/// The disk of one device.
#[derive(Default, Debug)]
pub struct Disk {
    /// What readers see.
    store: MemoryStore,
    /// What survives every crash.
    durable: MemoryStore,
    /// Batches in `store` that a crash may lose from some place on.
    relaxed: Vec<WriteBatch>,
    /// Batches that were asked for, in order.
    pub writing: VecDeque<(Ticket, WriteBatch)>,
    damaged: BTreeSet<(Table, Vec<u8>)>,
    /// No write succeeds until the device starts again.
    pub full: bool,
}

impl Disk {
    /// A disk with this on it.
    pub fn holding(store: MemoryStore) -> Self {
        Self { durable: store.clone(), store, ..Self::default() }
    }

    /// What a copy of the disk would hold now.
    pub fn copy(&self) -> MemoryStore {
        self.store.clone()
    }

    pub fn durable(&self) -> &MemoryStore {
        &self.durable
    }

    /// Carries out the write that is first in the line.
    pub fn commit_next(&mut self) -> Option<Ticket> {
        let (ticket, batch) = self.writing.pop_front()?;
        for op in &batch.ops {
            match op {
                WriteOp::Put(table, key, _) | WriteOp::Delete(table, key) => {
                    if !self.damaged.is_empty() {
                        self.damaged.remove(&(*table, key.clone()));
                    }
                }
                WriteOp::Clear(table) => self.damaged.retain(|(of, _)| of != table),
            }
        }
        self.store.apply(batch.clone());
        let strict = batch.durability == Durability::Strict;
        self.relaxed.push(batch);
        if strict {
            self.relaxed.drain(..).for_each(|batch| self.durable.apply(batch));
        }
        Some(ticket)
    }

    pub fn read(&self, read: &Read) -> Rows {
        let mut rows = self.store.rows(read);
        if self.damaged.is_empty() {
            return rows;
        }
        let table = match read {
            Read::Get(table, _) | Read::Floor { table, .. } | Read::Range { table, .. } => *table,
        };
        for (key, value) in std::mem::take(&mut rows.rows) {
            if self.damaged.contains(&(table, key.clone())) {
                rows.damaged.push(key);
            } else {
                rows.rows.push((key, value));
            }
        }
        rows
    }

    pub fn damage(&mut self, table: Table, key: Vec<u8>) {
        self.damaged.insert((table, key));
    }

    /// Every row of a table.
    pub fn all(&self, table: Table) -> Vec<(Vec<u8>, Vec<u8>)> {
        all(&self.store, table)
    }

    /// The device stops in the middle of its work: of what was asked for, a beginning is done.
    pub fn crash(&mut self, rng: &mut Rng, faults: &mut Faults) {
        let asked = self.writing.len() as u64;
        let done = if self.full { 0 } else { rng.between(0, asked) };
        if asked > 0 {
            faults.add(match done {
                0 => Fault::CrashBeforeWrite,
                _ if done < asked => Fault::CrashBetweenWrites,
                _ => Fault::CrashAfterWrite,
            });
        }
        for _ in 0..done {
            self.commit_next();
        }
        let kept = rng.between(0, self.relaxed.len() as u64) as usize;
        self.relaxed.drain(..).take(kept).for_each(|batch| self.durable.apply(batch));
        self.writing.clear();
        self.store = self.durable.clone();
        self.full = false;
    }
}

/// Every row of a table.
pub fn all(store: &MemoryStore, table: Table) -> Vec<(Vec<u8>, Vec<u8>)> {
    let read = Read::Range { table, from: Vec::new(), to: vec![0xff; 64], max_rows: usize::MAX, max_bytes: usize::MAX };
    store.rows(&read).rows
}
