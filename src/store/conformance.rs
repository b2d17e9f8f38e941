//! One suite for every backend: what a [`Store`] must do, asked of the store itself.
//!
//! It needs nothing but the store: no runtime, no files, no clock, so it also runs in a browser. A backend's test calls
//! [`run`] and fails with the panic of the first case that does not hold.

use super::{Durability, Read, Row, Store, Table, WriteBatch};
use crate::error::Result;

/// Runs every case. `open(name)` opens the store of that name: empty the first time, with what was committed after
/// that. The store it returned before for that name has been dropped by then.
///
/// # Panics
///
/// At the first thing that is not as the contract says.
pub async fn run<S: Store>(mut open: impl AsyncFnMut(&str) -> Result<S>) {
    let store = open("empty").await.expect("an empty store opens");
    a_new_store_is_empty(&store).await;
    drop(store);
    let mut store = open("batch").await.expect("an empty store opens");
    changes_of_a_batch_happen_in_their_order(&mut store).await;
    a_put_replaces_the_whole_value(&mut store).await;
    an_empty_batch_changes_nothing(&mut store).await;
    tables_do_not_mix(&mut store).await;
    keys_and_values_may_be_any_bytes_or_none(&mut store).await;
    drop(store);
    let mut store = open("reads").await.expect("an empty store opens");
    floor_finds_the_last_key_within_its_bounds(&mut store).await;
    a_range_is_sorted_bytewise_and_excludes_its_end(&mut store).await;
    a_range_stops_at_either_bound_but_gives_one_row(&mut store).await;
    many_rows_are_read_in_pages_without_gap_or_repeat(&mut store).await;
    drop(store);
    let mut store = open("large").await.expect("an empty store opens");
    a_large_value_comes_back_whole(&mut store).await;
    used_bytes_grow_with_what_is_stored(&mut store).await;
    drop(store);
    what_was_committed_is_there_after_reopening(&mut open).await;
}

async fn get(store: &impl Store, table: Table, key: &[u8]) -> Option<Vec<u8>> {
    let rows = store.read(&Read::Get(table, key.to_vec())).await.expect("get answers");
    let row = rows.one().expect("the row is not damaged");
    row.map(|(found, value)| {
        assert_eq!(found, key, "get answers the key it was asked for");
        value
    })
}

async fn floor(store: &impl Store, from: &[u8], key: &[u8]) -> Option<Vec<u8>> {
    let read = Read::Floor { table: Table::Blocks, from: from.to_vec(), key: key.to_vec() };
    let rows = store.read(&read).await.expect("floor answers");
    rows.one().expect("the row is not damaged").map(|(key, _)| key)
}

async fn range(store: &impl Store, table: Table, from: &[u8], to: &[u8], rows: usize, bytes: usize) -> Vec<Row> {
    let read = Read::Range { table, from: from.to_vec(), to: to.to_vec(), max_rows: rows, max_bytes: bytes };
    store.read(&read).await.expect("range answers").intact().expect("no row is damaged")
}

async fn all(store: &impl Store, table: Table) -> Vec<Row> {
    range(store, table, &[], &[0xff; 64], usize::MAX, usize::MAX).await
}

async fn put(store: &mut impl Store, table: Table, rows: &[(&[u8], &[u8])]) {
    let mut batch = WriteBatch::default();
    for (key, value) in rows {
        batch.put(table, *key, *value);
    }
    store.commit(batch).await.expect("a batch commits");
}

async fn a_new_store_is_empty(store: &impl Store) {
    for table in Table::ALL {
        assert_eq!(all(store, table).await, [], "{table:?} of a new store");
        assert_eq!(get(store, table, b"k").await, None);
    }
    assert_eq!(floor(store, b"", b"k").await, None);
}

async fn changes_of_a_batch_happen_in_their_order(store: &mut impl Store) {
    let mut batch = WriteBatch::default();
    batch.put(Table::Meta, *b"gone", *b"1");
    batch.delete(Table::Meta, *b"gone");
    batch.delete(Table::Meta, *b"there");
    batch.put(Table::Meta, *b"there", *b"1");
    batch.put(Table::Meta, *b"last", *b"1");
    batch.put(Table::Meta, *b"last", *b"2");
    batch.delete(Table::Meta, *b"never was");
    store.commit(batch).await.expect("a batch commits");
    assert_eq!(get(store, Table::Meta, b"gone").await, None, "put, then deleted");
    assert_eq!(get(store, Table::Meta, b"there").await, Some(b"1".to_vec()), "deleted, then put");
    assert_eq!(get(store, Table::Meta, b"last").await, Some(b"2".to_vec()), "put twice");
    assert_eq!(get(store, Table::Meta, b"never was").await, None);
}

async fn a_put_replaces_the_whole_value(store: &mut impl Store) {
    put(store, Table::Peers, &[(b"k", &[7; 1000])]).await;
    put(store, Table::Peers, &[(b"k", b"short")]).await;
    assert_eq!(all(store, Table::Peers).await, [(b"k".to_vec(), b"short".to_vec())]);
}

async fn an_empty_batch_changes_nothing(store: &mut impl Store) {
    let before = all(store, Table::Meta).await;
    store.commit(WriteBatch::default()).await.expect("an empty batch commits");
    assert_eq!(all(store, Table::Meta).await, before);
}

async fn tables_do_not_mix(store: &mut impl Store) {
    let mut batch = WriteBatch::default();
    for table in Table::ALL {
        batch.put(table, *b"same key", vec![table as u8]);
    }
    store.commit(batch).await.expect("a batch over all tables commits");
    let mut batch = WriteBatch::default();
    batch.delete(Table::Logs, *b"same key");
    store.commit(batch).await.expect("a batch commits");
    for table in Table::ALL {
        let expected = (table != Table::Logs).then(|| vec![table as u8]);
        assert_eq!(get(store, table, b"same key").await, expected, "{table:?}");
    }
    let mut reads = Table::ALL.map(|table| Read::Get(table, b"same key".to_vec())).to_vec();
    let floor = Read::Floor { table: Table::Pages, from: b"s".to_vec(), key: b"t".to_vec() };
    let range =
        Read::Range { table: Table::Meta, from: b"s".to_vec(), to: b"t".to_vec(), max_rows: 9, max_bytes: 1 << 20 };
    for more in [floor, range] {
        reads.push(more);
        let mut one_by_one = Vec::new();
        for read in &reads {
            one_by_one.push(store.read(read).await.expect("a read answers"));
        }
        assert_eq!(store.read_all(&reads).await.expect("reads answer together"), one_by_one);
    }
}

async fn keys_and_values_may_be_any_bytes_or_none(store: &mut impl Store) {
    let rows: [(&[u8], &[u8]); 6] =
        [(b"", b"empty key"), (b"\0", b""), (b"\0\0", b"\0"), (b"\x7f", b"\xff"), (b"\x80\xff", b"x"), (b"\xff", b"")];
    put(store, Table::Pages, &rows).await;
    let mut found = all(store, Table::Pages).await;
    found.retain(|(key, _)| key != b"same key");
    assert_eq!(found, rows.map(|(key, value)| (key.to_vec(), value.to_vec())), "in the order of bytes");
    for (key, value) in rows {
        assert_eq!(get(store, Table::Pages, key).await.as_deref(), Some(value));
    }
    let mut batch = WriteBatch::default();
    batch.delete(Table::Pages, *b"");
    store.commit(batch).await.expect("the empty key can be deleted");
    assert_eq!(get(store, Table::Pages, b"").await, None);
}

async fn floor_finds_the_last_key_within_its_bounds(store: &mut impl Store) {
    put(store, Table::Blocks, &[(b"a1", b""), (b"a5", b""), (b"b3", b"")]).await;
    let found = async |from: &[u8], key: &[u8]| floor(store, from, key).await;
    assert_eq!(found(b"a", b"a5").await, Some(b"a5".to_vec()), "the key itself");
    assert_eq!(found(b"a", b"a4").await, Some(b"a1".to_vec()), "the one below");
    assert_eq!(found(b"a", b"a\xff").await, Some(b"a5".to_vec()), "not the next prefix");
    assert_eq!(found(b"b", b"b2").await, None, "not the prefix before");
    assert_eq!(found(b"a1", b"a1").await, Some(b"a1".to_vec()), "bounds that meet");
    assert_eq!(found(b"b", b"a").await, None, "bounds that cross");
    assert_eq!(found(b"", b"\xff").await, Some(b"b3".to_vec()), "the last of all");
}

async fn a_range_is_sorted_bytewise_and_excludes_its_end(store: &mut impl Store) {
    put(store, Table::Logs, &[(b"b", b"3"), (b"a\xff", b"2"), (b"a", b"1"), (b"b\0", b"4")]).await;
    let keys = async |from: &[u8], to: &[u8]| -> Vec<Vec<u8>> {
        let rows = range(store, Table::Logs, from, to, usize::MAX, usize::MAX).await;
        rows.into_iter().map(|(key, _)| key).collect()
    };
    assert_eq!(keys(b"", b"\xff").await, [&b"a"[..], b"a\xff", b"b", b"b\0"]);
    assert_eq!(keys(b"a", b"b").await, [&b"a"[..], b"a\xff"], "without its end");
    assert_eq!(keys(b"a\0", b"b\0").await, [&b"a\xff"[..], b"b"], "a start that is no key");
    assert_eq!(keys(b"b", b"b").await, Vec::<Vec<u8>>::new(), "bounds that meet");
    assert_eq!(keys(b"b", b"a").await, Vec::<Vec<u8>>::new(), "bounds that cross");
}

async fn a_range_stops_at_either_bound_but_gives_one_row(store: &mut impl Store) {
    put(store, Table::Membership, &[(b"1", &[0; 9]), (b"2", &[0; 9]), (b"3", &[0; 9])]).await;
    let count = async |rows, bytes| range(store, Table::Membership, b"", b"\xff", rows, bytes).await.len();
    assert_eq!(count(2, usize::MAX).await, 2, "rows");
    assert_eq!(count(usize::MAX, 20).await, 2, "exactly the bytes of two rows");
    assert_eq!(count(usize::MAX, 19).await, 1, "a byte too few for two");
    assert_eq!(count(usize::MAX, 0).await, 1, "no bytes, yet one row");
    assert_eq!(count(0, usize::MAX).await, 1, "no rows, yet one row");
    assert_eq!(count(3, 30).await, 3, "all");
}

async fn many_rows_are_read_in_pages_without_gap_or_repeat(store: &mut impl Store) {
    const MANY: u32 = 5_000;
    for start in (0..MANY).step_by(1_000) {
        let mut batch = WriteBatch::default();
        // Backwards, so that the order of reading is not that of writing.
        for n in (start..start + 1_000).rev() {
            batch.put(Table::Pages, n.to_be_bytes(), n.to_le_bytes());
        }
        batch.durability = Durability::Relaxed;
        store.commit(batch).await.expect("a relaxed batch commits");
    }
    let mut next = Vec::new();
    let mut seen = 0_u32;
    loop {
        let read =
            Read::Range { table: Table::Pages, from: next, to: vec![0xff; 5], max_rows: 700, max_bytes: 1 << 20 };
        let rows = store.read(&read).await.expect("range answers");
        let Some(last) = rows.last_key() else { break };
        next = last.to_vec();
        next.push(0);
        for (key, value) in rows.intact().expect("no row is damaged") {
            assert_eq!(key, seen.to_be_bytes());
            assert_eq!(value, seen.to_le_bytes());
            seen += 1;
        }
    }
    assert_eq!(seen, MANY);
}

/// Bytes that do not repeat early; a few multiplications, no source of randomness.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut out = Vec::with_capacity(len);
    while out.len() < len {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        out.extend_from_slice(&state.to_be_bytes());
    }
    out.truncate(len);
    out
}

const LARGE: usize = 5 << 20;

async fn a_large_value_comes_back_whole(store: &mut impl Store) {
    let large = noise(LARGE);
    put(store, Table::Blocks, &[(b"before", b"1"), (b"large", &large), (b"last", b"2")]).await;
    assert!(get(store, Table::Blocks, b"large").await == Some(large), "5 MiB come back as they were");
    let rows = range(store, Table::Blocks, b"", b"\xff", usize::MAX, LARGE).await;
    assert_eq!(rows.len(), 1, "the large row is over the bound together with the first");
    let rows = range(store, Table::Blocks, b"c", b"\xff", usize::MAX, LARGE).await;
    assert_eq!(rows.len(), 1, "alone it comes all the same");
}

async fn used_bytes_grow_with_what_is_stored(store: &mut impl Store) {
    assert!(store.used_bytes().await.expect("the store knows its size") >= LARGE as u64);
}

async fn what_was_committed_is_there_after_reopening<S: Store>(open: &mut impl AsyncFnMut(&str) -> Result<S>) {
    let mut store = open("reopen").await.expect("an empty store opens");
    put(&mut store, Table::Meta, &[(b"kept", b"1"), (b"changed", b"1"), (b"deleted", b"1")]).await;
    drop(store);
    let mut store = open("reopen").await.expect("the store opens again");
    let mut batch = WriteBatch::default();
    batch.put(Table::Meta, *b"changed", *b"2");
    batch.delete(Table::Meta, *b"deleted");
    store.commit(batch).await.expect("a batch commits");
    drop(store);
    let store = open("reopen").await.expect("the store opens a third time");
    let expected = [(b"changed".to_vec(), b"2".to_vec()), (b"kept".to_vec(), b"1".to_vec())];
    assert_eq!(all(&store, Table::Meta).await, expected);
    drop(store);
    let store = open("another").await.expect("an empty store opens");
    assert_eq!(all(&store, Table::Meta).await, [], "a store of another name shares nothing");
}
