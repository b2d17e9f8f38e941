//! The disk store against what disks and people do to it: crashes, damage, full disks, second processes, old copies.

use std::fs;
use std::future::Future;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::pin::pin;
use std::process::{Command, Stdio};
use std::task::{Context, Poll, Waker};

use privstack_sync::error::{ErrorCode, Result};
use privstack_sync::platform::native::store::{DiskStore, FILE};
use privstack_sync::store::{Durability, Read, Row, Table, WriteBatch, conformance};
use tempfile::TempDir;

/// The disk store blocks instead of waiting, so its futures are ready at once.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a blocking store never waits"),
    }
}

fn open(folder: &Path) -> Result<DiskStore> {
    DiskStore::open_with_state(folder, None)
}

fn get(store: &DiskStore, table: Table, key: &[u8]) -> Option<Vec<u8>> {
    let rows = store.read_now(&Read::Get(table, key.to_vec())).expect("reads");
    rows.one().expect("is not damaged").map(|(_, value)| value)
}

fn put(store: &mut DiskStore, durability: Durability, key: &[u8], value: &[u8]) -> Result<()> {
    let mut batch = WriteBatch { durability, ..WriteBatch::default() };
    batch.put(Table::Meta, key, value);
    store.commit_now(batch)
}

/// A small generator, so that a failing case is its seed.
struct Seeded(u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }
}

#[test]
fn the_disk_is_a_store() {
    let dir = TempDir::new().expect("a temporary folder");
    now(conformance::run(async |name: &str| open(&dir.path().join(name))));
}

#[test]
fn a_reader_sees_the_last_commit_from_another_thread() {
    let dir = TempDir::new().expect("a temporary folder");
    let mut store = open(dir.path()).expect("opens");
    put(&mut store, Durability::Relaxed, b"k", b"v").expect("commits");
    let reader = store.reader();
    let read = std::thread::spawn(move || reader.read_now(&Read::Get(Table::Meta, b"k".to_vec())));
    let rows = read.join().expect("the thread ends").expect("reads");
    assert_eq!(rows.rows, [(b"k".to_vec(), b"v".to_vec())]);
}

#[test]
fn relaxed_batches_survive_an_orderly_end() {
    let dir = TempDir::new().expect("a temporary folder");
    let mut store = open(dir.path()).expect("opens");
    put(&mut store, Durability::Relaxed, b"k", b"v").expect("commits");
    drop(store);
    assert_eq!(get(&open(dir.path()).expect("opens"), Table::Meta, b"k"), Some(b"v".to_vec()));
}

#[cfg(unix)]
#[test]
fn folder_and_files_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new().expect("a temporary folder");
    let folder = dir.path().join("new");
    let _store = open(&folder).expect("opens");
    let mode = |path: &Path| fs::metadata(path).expect("is there").permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for entry in fs::read_dir(&folder).expect("a folder") {
        assert_eq!(mode(&entry.expect("an entry").path()), 0o600);
    }
}

// --- crashes ---------------------------------------------------------------------------------------------------------

const CHILD: &str = "PRIVSTACK_DISK_STORE_CHILD";
const CHILD_NAME: &str = "a_killed_process_loses_nothing_that_was_committed";
/// Each batch puts so many rows, so that half a batch would show.
const ROWS: u64 = 8;

/// Commits batches 0, 1, 2 … from where the folder stands and prints each number once it is committed.
fn commit_until_killed(folder: &Path) -> ! {
    let mut store = open(folder).expect("the child opens");
    let mut number =
        get(&store, Table::Meta, b"next").map_or(0, |v| u64::from_be_bytes(v.try_into().expect("8 bytes")));
    let mut out = std::io::stdout();
    loop {
        let mut batch = WriteBatch::default();
        for row in 0..ROWS {
            let size = if row == 0 { 50_000 } else { 100 };
            batch.put(Table::Blocks, (number * ROWS + row).to_be_bytes(), vec![number as u8; size]);
        }
        batch.put(Table::Meta, *b"next", (number + 1).to_be_bytes());
        if number % 3 == 1 {
            batch.durability = Durability::Relaxed;
        }
        let strict = batch.durability == Durability::Strict;
        store.commit_now(batch).expect("the child commits");
        if strict {
            // The harness captures nothing of this: it goes to the pipe.
            out.write_all(format!("committed {number}\n").as_bytes()).and_then(|()| out.flush()).expect("prints");
        }
        number += 1;
    }
}

#[test]
fn a_killed_process_loses_nothing_that_was_committed() {
    if let Some(folder) = std::env::var_os(CHILD) {
        commit_until_killed(Path::new(&folder));
    }
    let dir = TempDir::new().expect("a temporary folder");
    let mut random = Seeded(7);
    let mut rounds_with_commits = 0;
    for round in 0..20 {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args([CHILD_NAME, "--exact", "--nocapture", "--test-threads=1"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the child starts");
        // Killed after a random number of commits and a random part of the next one.
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let stop_after = 1 + random.below(30);
        let mut last = None;
        let mut take = |line: String| {
            let number = line.rsplit_once("committed ").and_then(|(_, number)| number.parse::<u64>().ok());
            last = number.or(last);
            number.is_some()
        };
        let mut seen = 0;
        while seen < stop_after {
            let line = lines.next().expect("the child goes on until it is killed").expect("prints lines");
            seen += u64::from(take(line));
        }
        let spin = random.below(200_000);
        for n in 0..spin {
            std::hint::black_box(n);
        }
        child.kill().expect("kill -9");
        child.wait().expect("it ends");
        for line in lines.map_while(std::io::Result::ok) {
            take(line);
        }
        let store = open(dir.path()).unwrap_or_else(|error| panic!("round {round}: {error}"));
        let next = get(&store, Table::Meta, b"next").map_or(0, |v| u64::from_be_bytes(v.try_into().expect("8 bytes")));
        let last = last.expect("it committed something");
        assert!(next > last, "round {round}: {last} was committed, the store ends before {next}");
        let rows = read_all(&store, Table::Blocks);
        assert_eq!(rows.len() as u64, next * ROWS, "round {round}: whole batches only");
        for (key, value) in rows {
            let number = u64::from_be_bytes(key.try_into().expect("8 bytes")) / ROWS;
            assert!(value.iter().all(|&byte| byte == number as u8), "round {round}: batch {number} is as written");
        }
        rounds_with_commits += 1;
    }
    assert_eq!(rounds_with_commits, 20);
}

fn read_all(store: &DiskStore, table: Table) -> Vec<Row> {
    let read = Read::Range { table, from: Vec::new(), to: vec![0xff; 40], max_rows: usize::MAX, max_bytes: usize::MAX };
    store.read_now(&read).expect("reads").intact().expect("nothing is damaged")
}
