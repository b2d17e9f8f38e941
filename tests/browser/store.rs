//! The store on real IndexedDB.

use std::collections::BTreeSet;
use std::path::Path;

use indexed_db_futures::database::Database;
use indexed_db_futures::prelude::*;
use indexed_db_futures::transaction::TransactionMode;
use js_sys::Uint8Array;
use privstack_sync::error::ErrorCode;
use privstack_sync::platform::web::store::{IndexedDbStore, delete, open};
use privstack_sync::store::{Read, Store, Table, WriteBatch, conformance};
use wasm_bindgen::JsValue;
use wasm_bindgen_test::wasm_bindgen_test as test;

async fn fresh(name: &str) -> IndexedDbStore {
    delete(name).await.unwrap();
    IndexedDbStore::open(name).await.unwrap()
}

fn one_row(value: &[u8]) -> WriteBatch {
    let mut batch = WriteBatch::default();
    batch.put(Table::Blocks, *b"key", value);
    batch
}

async fn value_of(store: &impl Store) -> Vec<u8> {
    store.read(&Read::Get(Table::Blocks, b"key".to_vec())).await.unwrap().one().unwrap().unwrap().1
}

#[test]
async fn indexed_db_passes_the_conformance_suite() {
    let mut known = BTreeSet::new();
    conformance::run(async |name| {
        let name = format!("conformance {name}");
        if known.insert(name.clone()) {
            delete(&name).await?;
        }
        IndexedDbStore::open(&name).await
    })
    .await;
}

#[test]
async fn the_store_in_memory_passes_it_too_and_has_a_mark() {
    let store = open(Path::new(""), None).await.unwrap();
    assert_ne!(store.instance_mark(), [0; 16]);
}

#[test]
async fn who_opened_the_database_before_can_read_but_write_no_more() {
    let mut first = fresh("fencing").await;
    first.commit(one_row(b"first")).await.unwrap();
    let mut second = IndexedDbStore::open("fencing").await.unwrap();
    let error = first.commit(one_row(b"late")).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::TabConflict, "{error}");
    assert_eq!(value_of(&second).await, b"first");
    second.commit(one_row(b"second")).await.unwrap();
    assert_eq!(value_of(&first).await, b"second");
}

#[test]
async fn a_database_deleted_while_it_is_open_is_told_as_such_and_is_not_made_again() {
    let mut store = fresh("deleted").await;
    store.commit(one_row(b"value")).await.unwrap();
    delete("deleted").await.unwrap();
    let error = store.commit(one_row(b"lost")).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Storage);
    assert!(error.message().contains("deleted"), "{error}");
    let error = IndexedDbStore::open("deleted").await.unwrap_err();
    assert!(error.message().contains("deleted"), "{error}");
}

#[test]
async fn a_newer_format_is_named_as_such() {
    delete("newer").await.unwrap();
    Database::open("newer").with_version(99u32).await.unwrap().close();
    let error = IndexedDbStore::open("newer").await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Version, "{error}");
}

#[test]
async fn a_database_of_the_version_without_the_audit_log_gets_one_and_keeps_what_it_has() {
    delete("older").await.unwrap();
    let stores = ["meta", "logs", "membership", "blocks", "pages", "peers", "own"];
    let request = Database::open("older").with_version(1u32).with_on_upgrade_needed(move |_, db| {
        for store in stores {
            db.create_object_store(store).build()?;
        }
        Ok(())
    });
    let db = request.await.unwrap();
    let transaction = db.transaction("own").with_mode(TransactionMode::Readwrite).build().unwrap();
    transaction.object_store("own").unwrap().put("kept").with_key("name").primitive().unwrap().await.unwrap();
    transaction.commit().await.unwrap();
    db.close();
    let mut store = IndexedDbStore::open("older").await.unwrap();
    let mut batch = one_row(b"value");
    batch.put(Table::Audit, *b"entry", *b"first");
    store.commit(batch).await.unwrap();
    assert_eq!(value_of(&store).await, b"value");
    let entry = store.read(&Read::Get(Table::Audit, b"entry".to_vec())).await.unwrap().one().unwrap();
    assert_eq!(entry, Some((b"entry".to_vec(), b"first".to_vec())));
    drop(store);
    let db = Database::open("older").await.unwrap();
    let own = db.transaction("own").build().unwrap();
    let kept: Option<String> = own.object_store("own").unwrap().get("name").primitive().unwrap().await.unwrap();
    assert_eq!(kept.as_deref(), Some("kept"));
}

#[test]
async fn a_changed_byte_is_a_damaged_row_and_the_others_are_read() {
    let mut store = fresh("damage").await;
    let mut batch = one_row(b"value");
    batch.put(Table::Blocks, *b"other", b"good".to_vec());
    store.commit(batch).await.unwrap();
    let db = Database::open("damage").await.unwrap();
    let transaction = db.transaction("blocks").with_mode(TransactionMode::Readwrite).build().unwrap();
    let blocks = transaction.object_store("blocks").unwrap();
    let bytes = |bytes: &[u8]| JsValue::from(Uint8Array::from(bytes));
    blocks.put(bytes(b"something else")).with_key(bytes(b"key")).primitive().unwrap().await.unwrap();
    transaction.commit().await.unwrap();
    db.close();
    let all = Read::Range { table: Table::Blocks, from: vec![], to: vec![255], max_rows: 9, max_bytes: 99 };
    let rows = store.read(&all).await.unwrap();
    assert_eq!((rows.rows.len(), rows.damaged.as_slice()), (1, &[b"key".to_vec()][..]));
}

#[test]
async fn the_mark_stays_with_the_database() {
    let mark = fresh("mark").await.instance_mark();
    assert_eq!(IndexedDbStore::open("mark").await.unwrap().instance_mark(), mark);
    assert_ne!(fresh("another mark").await.instance_mark(), mark);
}
