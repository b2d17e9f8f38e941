//! The device's key in the browser.

use std::path::Path;

use indexed_db_futures::database::Database;
use indexed_db_futures::prelude::*;
use indexed_db_futures::transaction::TransactionMode;
use js_sys::{Object, Reflect, Uint8Array};
use privstack_sync::error::ErrorCode;
use privstack_sync::platform::web::keys::load_or_create;
use privstack_sync::platform::web::store::{IndexedDbStore, delete};
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
    let key = load_or_create(name).await.unwrap();
    assert_eq!(load_or_create(name).await.unwrap().peer_id(), key.peer_id());
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
    let error = load_or_create(Path::new("damaged key")).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Storage);
    assert!(record("damaged key").await.is_object());
}

#[test]
async fn without_a_name_the_key_is_new_each_time() {
    let key = load_or_create(Path::new("")).await.unwrap();
    assert_ne!(load_or_create(Path::new("")).await.unwrap().peer_id(), key.peer_id());
}
