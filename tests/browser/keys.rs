//! The device's key in the browser.

use std::path::Path;

use indexed_db_futures::database::Database;
use indexed_db_futures::prelude::*;
use indexed_db_futures::transaction::TransactionMode;
use js_sys::{Object, Reflect, Uint8Array};
use privstack_sync::error::ErrorCode;
use privstack_sync::platform::web::keys::{check, derive, load_or_create, salt};
use privstack_sync::platform::web::store::{IndexedDbStore, delete, open};
use privstack_sync::store::{Read, SealKey, Store, Table, WriteBatch};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_test::wasm_bindgen_test as test;

async fn record(name: &str) -> JsValue {
    let db = Database::open(name).await.unwrap();
    let transaction = db.transaction("own").build().unwrap();
    let found = transaction.object_store("own").unwrap().get::<JsValue, _, _>("device").primitive().unwrap();
    found.await.unwrap().unwrap()
}

#[test]
async fn a_key_is_made_once_read_back_and_nowhere_in_plain() {
    delete("keys").await.unwrap();
    let name = Path::new("keys");
    let key = load_or_create(name, None).await.unwrap();
    assert_eq!(load_or_create(name, None).await.unwrap().peer_id(), key.peer_id());
    let record = record("keys").await;
    let wrap: web_sys::CryptoKey = Reflect::get(&record, &"wrap".into()).unwrap().unchecked_into();
    assert!(!wrap.extractable());
    let sealed: Uint8Array = Reflect::get(&record, &"sealed".into()).unwrap().unchecked_into();
    assert!(!sealed.to_vec().windows(32).any(|part| part == &key.seed()[..]));
}

#[test]
async fn a_damaged_key_is_refused_and_left_as_it_is() {
    delete("damaged key").await.unwrap();
    drop(IndexedDbStore::open("damaged key").await.unwrap());
    let db = Database::open("damaged key").await.unwrap();
    let transaction = db.transaction("own").with_mode(TransactionMode::Readwrite).build().unwrap();
    let own = transaction.object_store("own").unwrap();
    own.add(JsValue::from(Object::new())).with_key("device").primitive().unwrap().await.unwrap();
    transaction.commit().await.unwrap();
    db.close();
    let error = load_or_create(Path::new("damaged key"), None).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Storage);
    assert!(record("damaged key").await.is_object());
}

#[test]
async fn without_a_name_the_key_is_new_each_time() {
    let key = load_or_create(Path::new(""), None).await.unwrap();
    assert_ne!(load_or_create(Path::new(""), None).await.unwrap().peer_id(), key.peer_id());
}

#[test]
async fn a_passphrase_seals_the_key_and_all_values_and_no_other_opens_them() {
    delete("sealed").await.unwrap();
    let name = Path::new("sealed");
    let derived = |words: &str, salt: &[u8]| SealKey::new(derive(words, salt).unwrap());
    let salt_of_it = salt("sealed").await.unwrap();
    assert_eq!(salt("sealed").await.unwrap(), salt_of_it);
    let right = derived("correct horse", &salt_of_it);
    let wrong = derived("wrong horse", &salt_of_it);
    let device = load_or_create(name, Some(&right)).await.unwrap().peer_id();
    assert_eq!(load_or_create(name, Some(&right)).await.unwrap().peer_id(), device);
    for key in [None, Some(&wrong)] {
        assert_eq!(load_or_create(name, key).await.unwrap_err().code(), ErrorCode::Locked);
        assert_eq!(check("sealed", key).await.unwrap_err().code(), ErrorCode::Locked);
    }

    let mut store = open(name, Some(&right)).await.unwrap();
    let mut batch = WriteBatch::default();
    batch.put(Table::Meta, *b"row", *b"a secret note");
    store.commit(batch).await.unwrap();
    drop(store);
    let get = Read::Get(Table::Meta, b"row".to_vec());
    let read = async |key| open(name, key).await.unwrap().read(&get).await.unwrap();
    assert_eq!(read(Some(&right)).await.rows, [(b"row".to_vec(), b"a secret note".to_vec())]);
    assert_eq!(read(Some(&wrong)).await.damaged, [b"row".to_vec()]);
    let plain = read(None).await.rows;
    assert!(!plain[0].1.windows(6).any(|part| part == b"secret"), "nothing of it is readable without the key");
}

#[test]
async fn a_store_without_a_passphrase_opens_without_one_only() {
    delete("unsealed").await.unwrap();
    load_or_create(Path::new("unsealed"), None).await.unwrap();
    assert_eq!(salt("unsealed").await.unwrap_err().code(), ErrorCode::Locked);
}
