//! A disk that fails at every step of a commit in turn: the file tells afterwards which batches are in it.

use std::fs::OpenOptions;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};
use tempfile::TempDir;

use super::*;
use crate::error::ErrorCode;
use crate::store::Table;

/// How many more changes the disk takes; at 0 every one fails for want of room.
type Room = Arc<AtomicU64>;

const PLENTY: u64 = 1 << 40;

#[derive(Debug)]
struct TightDisk {
    file: FileBackend,
    room: Room,
    syncs: Arc<AtomicU64>,
}

impl TightDisk {
    fn take(&self) -> io::Result<()> {
        let step = self.room.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |room| room.checked_sub(1));
        step.map(drop).map_err(|_| io::ErrorKind::StorageFull.into())
    }
}

impl StorageBackend for TightDisk {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.take()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        // Nothing here loses its page cache, so the wait for the disk is left out.
        self.take()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.take()?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }
}

fn tight(folder: &Path) -> (DiskStore, Room) {
    let (store, room, _) = counted(folder);
    (store, room)
}

fn counted(folder: &Path) -> (DiskStore, Room, Arc<AtomicU64>) {
    let room = Room::new(PLENTY.into());
    let syncs: Arc<AtomicU64> = Arc::default();
    let (shared, count) = (room.clone(), syncs.clone());
    let opener = move |path: &Path| {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let disk = TightDisk { file: FileBackend::new(file)?, room: shared.clone(), syncs: count.clone() };
        Ok(builder().create_with_backend(disk)?)
    };
    (DiskStore::open_by(folder, None, Box::new(opener)).expect("opens"), room, syncs)
}

fn batch(number: u64, durability: Durability) -> WriteBatch {
    let mut batch = WriteBatch { durability, ..WriteBatch::default() };
    batch.put(Table::Blocks, number.to_be_bytes(), vec![number as u8; 40_000]);
    batch.put(Table::Meta, *b"last", number.to_be_bytes());
    batch
}

fn numbers(store: &DiskStore) -> Vec<u64> {
    let read = Read::Range {
        table: Table::Blocks,
        from: Vec::new(),
        to: vec![0xff; 9],
        max_rows: usize::MAX,
        max_bytes: usize::MAX,
    };
    let rows = store.read_now(&read).expect("reads").intact().expect("nothing is damaged");
    rows.into_iter().map(|(key, _)| u64::from_be_bytes(key.try_into().expect("8 bytes"))).collect()
}

#[test]
fn a_disk_that_fails_at_any_step_leaves_whole_batches_and_works_again() {
    let mut refused = 0;
    for (steps, steps_again) in (0..45).flat_map(|steps| [0, steps / 2, 25].map(|again| (steps, again))) {
        let dir = TempDir::new().expect("a temporary folder");
        let (mut store, room) = tight(dir.path());
        let mut held = Vec::new();
        // Relaxed ones before the failing one: reported as committed, so they must outlive the failure.
        for (number, durability) in [(0, Durability::Strict), (1, Durability::Relaxed), (2, Durability::Relaxed)] {
            store.commit_now(batch(number, durability)).expect("there is room");
            held.push(number);
        }
        room.store(steps, Ordering::SeqCst);
        match store.commit_now(batch(3, Durability::Strict)) {
            Ok(()) => held.push(3),
            Err(error) => {
                assert_eq!(error.code(), ErrorCode::Quota, "after {steps} steps: {error}");
                assert!(error.message().contains(FILE), "{error}");
                refused += 1;
            }
        }
        room.store(steps_again, Ordering::SeqCst);
        if store.commit_now(batch(5, Durability::Strict)).is_ok() {
            held.push(5);
        }
        room.store(PLENTY, Ordering::SeqCst);
        assert_eq!(numbers(&store), held, "after {steps} and {steps_again} steps");
        store.commit_now(batch(4, Durability::Strict)).expect("there is room again");
        held.push(4);
        held.sort_unstable();
        assert_eq!(numbers(&store), held, "after {steps} steps and another batch");
        drop(store);
        assert_eq!(numbers(&tight(dir.path()).0), held, "after {steps} steps and opening again");
    }
    assert!(refused > 5, "the disk failed within the commit: {refused}");
    assert!(refused < 135, "the commit has fewer steps than were tried: {refused}");
}

#[test]
fn an_edit_takes_one_sync_and_what_comes_in_bulk_saves_the_walk_through_a_large_file() {
    let dir = TempDir::new().expect("a temporary folder");
    let (mut store, _, syncs) = counted(dir.path());
    // A commit that makes the file longer may sync once more.
    let synced = |store: &mut DiskStore, bytes: usize| {
        let counts = (0..4_u64).map(|number| {
            let before = syncs.load(Ordering::SeqCst);
            let mut batch = WriteBatch::default();
            batch.put(Table::Blocks, number.to_be_bytes(), vec![7; bytes]);
            store.commit_now(batch).expect("there is room");
            syncs.load(Ordering::SeqCst) - before
        });
        counts.min()
    };
    assert_eq!((synced(&mut store, 200), synced(&mut store, EDIT_BYTES)), (Some(1), Some(1)), "a small file");
    synced(&mut store, 9 << 20);
    assert!(store.used_bytes_now().expect("a size") > WALK_BYTES);
    assert_eq!((synced(&mut store, 200), synced(&mut store, EDIT_BYTES)), (Some(1), Some(2)), "a large file");
}

#[test]
fn a_file_of_a_version_without_the_audit_log_reads_as_one_with_an_empty_log_and_gets_it_with_the_first_entry() {
    let folder = TempDir::new().unwrap();
    drop(DiskStore::open_with_state(folder.path(), None).unwrap());
    let db = Database::open(folder.path().join(FILE)).unwrap();
    let transaction = db.begin_write().unwrap();
    let table: redb::TableDefinition<'_, &[u8], &[u8]> = redb::TableDefinition::new("audit");
    assert!(transaction.delete_table(table).unwrap());
    transaction.commit().unwrap();
    drop(db);
    let mut store = DiskStore::open_with_state(folder.path(), None).unwrap();
    let get = Read::Get(Table::Audit, b"k".to_vec());
    assert_eq!(store.read_now(&get).unwrap(), Rows::default());
    let mut batch = WriteBatch::default();
    batch.put(Table::Audit, *b"k", *b"v");
    store.commit_now(batch).unwrap();
    drop(store);
    let store = DiskStore::open_with_state(folder.path(), None).unwrap();
    assert_eq!(store.read_now(&get).unwrap().one().unwrap(), Some((b"k".to_vec(), b"v".to_vec())));
}
