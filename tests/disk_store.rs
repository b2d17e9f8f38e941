//! The disk store against what disks and people do to it: crashes, damage, full disks, second processes, old copies.
#![cfg(not(target_arch = "wasm32"))]

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

// --- damage ----------------------------------------------------------------------------------------------------------

/// A closed store with some rows in every table; what is in it.
fn filled(folder: &Path) -> Vec<(Table, Vec<Row>)> {
    let mut store = open(folder).expect("opens");
    let mut random = Seeded(1);
    for number in 0..60_u64 {
        let mut batch = WriteBatch::default();
        for table in Table::ALL {
            let size = if table == Table::Blocks { random.below(12_000) } else { random.below(400) };
            let value: Vec<u8> = (0..size).map(|_| random.next() as u8).collect();
            batch.put(table, number.to_be_bytes(), value);
        }
        store.commit_now(batch).expect("commits");
    }
    Table::ALL.map(|table| (table, read_all(&store, table))).into()
}

/// What came of a damaged file. Wrong values and panics are failures, never an outcome.
#[derive(Default, Debug)]
struct Outcomes {
    refused: u32,
    damaged_rows: u32,
    failed_reads: u32,
    missing_rows: u32,
    unfound_keys: u32,
    unharmed: u32,
}

/// Opens a damaged folder, reads everything and writes: only right values and clear errors may come.
fn examine(folder: &Path, expected: &[(Table, Vec<Row>)], outcomes: &mut Outcomes, case: &str) {
    let before = fs::metadata(folder.join(FILE)).expect("the file is there").len();
    let mut store = match open(folder) {
        Ok(store) => store,
        Err(error) => {
            assert!(matches!(error.code(), ErrorCode::Storage | ErrorCode::Version), "{case}: {error}");
            assert!(error.message().contains(FILE), "{case}: the message names the file: {error}");
            assert_eq!(fs::metadata(folder.join(FILE)).expect("still there").len(), before, "{case}: left as it is");
            outcomes.refused += 1;
            return;
        }
    };
    let mut unharmed = true;
    for (table, rows) in expected {
        let read = Read::Range {
            table: *table,
            from: Vec::new(),
            to: vec![0xff; 40],
            max_rows: usize::MAX,
            max_bytes: usize::MAX,
        };
        match store.read_now(&read) {
            Ok(found) => {
                for row in &found.rows {
                    assert!(rows.contains(row), "{case}: {table:?} shows a row that was never written");
                }
                outcomes.damaged_rows += u32::from(!found.damaged.is_empty());
                outcomes.missing_rows += u32::from(found.rows.len() + found.damaged.len() < rows.len());
                unharmed &= &found.rows == rows;
            }
            Err(error) => {
                assert_eq!(error.code(), ErrorCode::Storage, "{case}: {error}");
                assert!(error.message().contains(FILE), "{case}: the message names the file: {error}");
                outcomes.failed_reads += 1;
                unharmed = false;
            }
        }
        for (key, value) in rows {
            match store.read_now(&Read::Get(*table, key.clone())) {
                Ok(found) => {
                    unharmed &= !found.rows.is_empty();
                    outcomes.unfound_keys += u32::from(found.rows.is_empty() && found.damaged.is_empty());
                    for (_, shown) in found.rows {
                        assert!(shown == *value, "{case}: {table:?} shows another value");
                    }
                }
                Err(error) => assert_eq!(error.code(), ErrorCode::Storage, "{case}: {error}"),
            }
        }
    }
    if let Err(error) = put(&mut store, Durability::Strict, b"after", b"1") {
        assert!(error.message().contains(FILE), "{case}: the message names the file: {error}");
        unharmed = false;
    }
    outcomes.unharmed += u32::from(unharmed);
}

fn each_damage(cases: u64, damage: impl Fn(&mut Vec<u8>, &mut Seeded)) -> Outcomes {
    let dir = TempDir::new().expect("a temporary folder");
    let good = dir.path().join("good");
    let expected = filled(&good);
    let whole = fs::read(good.join(FILE)).expect("a file");
    let mut outcomes = Outcomes::default();
    for seed in 0..cases {
        let folder = dir.path().join("bad");
        fs::create_dir(&folder).expect("a folder");
        let mut bytes = whole.clone();
        damage(&mut bytes, &mut Seeded(seed));
        fs::write(folder.join(FILE), bytes).expect("a damaged file");
        examine(&folder, &expected, &mut outcomes, &format!("seed {seed}"));
        fs::remove_dir_all(&folder).expect("cleared");
    }
    outcomes
}

#[test]
fn flipped_bits_anywhere_give_right_values_or_clear_errors() {
    let outcomes = each_damage(200, |bytes, random| {
        let at = random.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << random.below(8);
    });
    println!("{outcomes:?}");
    assert!(outcomes.damaged_rows > 0, "some bit fell into a value: {outcomes:?}");
    assert!(outcomes.unharmed > 0, "some bit fell into free space: {outcomes:?}");
}

#[test]
fn overwritten_stretches_give_right_values_or_clear_errors() {
    let outcomes = each_damage(100, |bytes, random| {
        let at = random.below(bytes.len() as u64) as usize;
        let fill = random.next() as u8;
        let end = (at + 1 + random.below(8_192) as usize).min(bytes.len());
        bytes[at..end].fill(fill);
    });
    println!("{outcomes:?}");
}

#[test]
fn damage_to_the_first_pages_gives_right_values_or_clear_errors() {
    let outcomes = each_damage(100, |bytes, random| {
        let at = random.below(4_096 * 4) as usize;
        bytes[at] ^= 1 << random.below(8);
    });
    println!("{outcomes:?}");
}

#[test]
fn a_cut_file_gives_right_values_or_clear_errors() {
    let outcomes = each_damage(60, |bytes, random| {
        let keep = match random.below(4) {
            0 => random.below(600),
            _ => random.below(bytes.len() as u64),
        };
        bytes.truncate(keep as usize);
    });
    println!("{outcomes:?}");
    assert!(outcomes.refused > 30, "most cut files are refused: {outcomes:?}");
}

#[test]
fn a_foreign_or_empty_file_is_refused_and_left_as_it_is() {
    for content in [&b""[..], b"SQLite format 3\0 and more", &[0; 100_000]] {
        let dir = TempDir::new().expect("a temporary folder");
        fs::write(dir.path().join(FILE), content).expect("a file");
        let error = open(dir.path()).expect_err("is none of ours");
        assert_eq!(error.code(), ErrorCode::Storage);
        assert!(error.message().contains(FILE) && error.message().contains("restore-backup"), "{error}");
        assert_eq!(fs::read(dir.path().join(FILE)).expect("still there"), content);
    }
}

#[test]
fn a_database_of_another_program_is_refused() {
    let dir = TempDir::new().expect("a temporary folder");
    drop(redb::Database::create(dir.path().join(FILE)).expect("a redb file"));
    let error = open(dir.path()).expect_err("is none of ours");
    assert_eq!(error.code(), ErrorCode::Storage, "{error}");
}

#[test]
fn a_lost_database_is_not_taken_for_a_new_folder() {
    let dir = TempDir::new().expect("a temporary folder");
    drop(open(dir.path()).expect("opens"));
    fs::remove_file(dir.path().join(FILE)).expect("removed");
    let error = open(dir.path()).expect_err("the file is missing");
    assert_eq!(error.code(), ErrorCode::Storage);
    assert!(error.message().contains("missing"), "{error}");
    assert!(!dir.path().join(FILE).exists(), "nothing was made in its place");
}

// --- other processes and versions ------------------------------------------------------------------------------------

#[test]
fn a_folder_is_held_by_one_store_at_a_time() {
    let dir = TempDir::new().expect("a temporary folder");
    let store = open(dir.path()).expect("opens");
    let error = open(dir.path()).expect_err("is held");
    assert_eq!(error.code(), ErrorCode::Locked);
    assert!(error.message().contains(&dir.path().display().to_string()), "{error}");
    assert!(error.message().contains(&std::process::id().to_string()), "{error}");
    drop(store);
    open(dir.path()).expect("is free again");
}

#[test]
fn a_newer_format_is_named_as_such() {
    let dir = TempDir::new().expect("a temporary folder");
    drop(open(dir.path()).expect("opens"));
    let db = redb::Database::open(dir.path().join(FILE)).expect("a redb file");
    let transaction = db.begin_write().expect("begins");
    // The own row as a later version would write it: the format first, then what it needs, then the checksum.
    let mut value = [2_u64, 5, 0, 77].map(u64::to_le_bytes).concat();
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[255]).update(&3_u64.to_le_bytes()).update(b"own").update(&value);
    value.extend_from_slice(&hasher.finalize().as_bytes()[..8]);
    let own = redb::TableDefinition::<&[u8], &[u8]>::new("store");
    transaction.open_table(own).expect("the own table").insert(&b"own"[..], value.as_slice()).expect("puts");
    transaction.commit().expect("commits");
    drop(db);
    let error = open(dir.path()).expect_err("is newer");
    assert_eq!(error.code(), ErrorCode::Version);
    assert!(error.message().contains(FILE) && error.message().contains("update privstack"), "{error}");
}

// --- full disks ------------------------------------------------------------------------------------------------------

/// A small file system of its own; unmounted at the end. `None` where this user may not mount.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn new(size: &str) -> Option<Self> {
        let dir = TempDir::new().expect("a temporary folder");
        let options = format!("size={size}");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(dir.path()).output();
        mount.is_ok_and(|output| output.status.success()).then(|| SmallDisk(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_fails_the_batch_and_nothing_else() {
    let Some(disk) = SmallDisk::new("6m") else {
        eprintln!("SKIPPED a_full_disk_fails_the_batch_and_nothing_else: mounting a tmpfs needs root");
        return;
    };
    let ballast = disk.0.path().join("ballast");
    fs::write(&ballast, vec![1; 1 << 20]).expect("there is room");
    let folder = disk.0.path().join("data");
    let mut store = open(&folder).expect("opens");
    put(&mut store, Durability::Relaxed, b"relaxed", b"kept").expect("commits");
    let mut number = 0_u64;
    let error = loop {
        let durability = if number.is_multiple_of(2) { Durability::Strict } else { Durability::Relaxed };
        let mut batch = WriteBatch { durability, ..WriteBatch::default() };
        batch.put(Table::Blocks, number.to_be_bytes(), vec![number as u8; 60_000]);
        batch.put(Table::Meta, *b"next", (number + 1).to_be_bytes());
        match store.commit_now(batch) {
            Ok(()) => number += 1,
            Err(error) => break error,
        }
        assert!(number < 1_000, "the disk never fills");
    };
    assert_eq!(error.code(), ErrorCode::Quota, "{error}");
    assert!(error.message().contains(FILE), "{error}");
    let whole = |store: &DiskStore| {
        assert_eq!(get(store, Table::Meta, b"relaxed"), Some(b"kept".to_vec()));
        assert_eq!(get(store, Table::Meta, b"next"), Some(number.to_be_bytes().to_vec()));
        let rows = read_all(store, Table::Blocks);
        assert_eq!(rows.len() as u64, number, "the failed batch is not there, all others are");
    };
    whole(&store);
    for _ in 0..3 {
        let error = store
            .commit_now({
                let mut batch = WriteBatch::default();
                batch.put(Table::Pages, *b"big", vec![7; 3 << 20]);
                batch
            })
            .expect_err("still full");
        assert_eq!(error.code(), ErrorCode::Quota, "{error}");
        whole(&store);
    }
    fs::remove_file(&ballast).expect("room is made");
    put(&mut store, Durability::Strict, b"after", b"room").expect("commits once there is room");
    whole(&store);
    drop(store);
    let store = open(&folder).expect("opens again");
    whole(&store);
    assert_eq!(get(&store, Table::Meta, b"after"), Some(b"room".to_vec()));
}

// --- copies ----------------------------------------------------------------------------------------------------------

#[test]
fn the_instance_mark_stays_over_reopening_and_moving() {
    let dir = TempDir::new().expect("a temporary folder");
    let (state, a, b) = (dir.path().join("state"), dir.path().join("a"), dir.path().join("b"));
    let mut store = DiskStore::open_with_state(&a, Some(&state)).expect("opens");
    let mark = store.instance_mark();
    put(&mut store, Durability::Strict, b"k", b"1").expect("commits");
    drop(store);
    assert_eq!(DiskStore::open_with_state(&a, Some(&state)).expect("opens").instance_mark(), mark);
    fs::rename(&a, &b).expect("moves");
    assert_eq!(DiskStore::open_with_state(&b, Some(&state)).expect("opens").instance_mark(), mark);
}

#[test]
fn the_instance_mark_changes_with_a_copied_folder() {
    let dir = TempDir::new().expect("a temporary folder");
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    let store = open(&a).expect("opens");
    let mark = store.instance_mark();
    drop(store);
    fs::create_dir(&b).expect("a folder");
    fs::copy(a.join(FILE), b.join(FILE)).expect("copies");
    assert_ne!(open(&b).expect("opens").instance_mark(), mark);
    assert_eq!(open(&a).expect("opens").instance_mark(), mark, "the first one stays what it was");
}

#[test]
fn the_instance_mark_changes_when_an_old_copy_is_restored_in_place() {
    let dir = TempDir::new().expect("a temporary folder");
    let (state, a, old) = (dir.path().join("state"), dir.path().join("a"), dir.path().join("old"));
    let reopen = || DiskStore::open_with_state(&a, Some(&state)).expect("opens");
    let mut store = reopen();
    let mark = store.instance_mark();
    put(&mut store, Durability::Strict, b"k", b"1").expect("commits");
    drop(store);
    fs::copy(a.join(FILE), &old).expect("a backup");
    let mut store = reopen();
    put(&mut store, Durability::Strict, b"k", b"2").expect("commits");
    drop(store);
    // Copying over an existing file keeps its inode.
    fs::copy(&old, a.join(FILE)).expect("restores");
    let store = reopen();
    let restored = store.instance_mark();
    assert_ne!(restored, mark);
    assert_eq!(get(&store, Table::Meta, b"k"), Some(b"1".to_vec()));
    drop(store);
    let mut store = reopen();
    assert_ne!(store.instance_mark(), mark, "opened without a write, it is still found");
    let restored = store.instance_mark();
    put(&mut store, Durability::Strict, b"k", b"3").expect("commits");
    drop(store);
    assert_eq!(reopen().instance_mark(), restored, "once written down the new mark stays");
}
