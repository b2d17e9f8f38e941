//! A whole device in a page: engine, IndexedDB, the page's clocks.

use std::path::PathBuf;

use privstack_sync::crdt::Edit;
use privstack_sync::orchestrator::{OrchestratorConfig, OrchestratorHandle, SyncConfig, create_personal_orchestrator};
use privstack_sync::platform::web::store::delete;
use privstack_sync::transport::p2p::P2pConfig;
use privstack_sync::types::{EntityType, FieldName, Value};
use wasm_bindgen_test::wasm_bindgen_test as test;

async fn start(name: &str) -> OrchestratorHandle {
    let handle = create_personal_orchestrator(OrchestratorConfig {
        sync_config: SyncConfig { device_name: "page".into(), offline: true, ..SyncConfig::default() },
        p2p_config: P2pConfig::default(),
        cloud_config: None,
        db_path: PathBuf::from(name),
    });
    handle.start().await.unwrap();
    handle
}

#[test]
async fn what_a_page_saved_is_there_when_it_opens_again() {
    delete("device").await.unwrap();
    let handle = start("device").await;
    handle.init().await.unwrap();
    let note = EntityType::new("note").unwrap();
    let title = FieldName::new("title").unwrap();
    let edits = vec![Edit::Set(title, Value::Text("milk".into()))];
    let id = handle.create(note.clone(), edits).await.unwrap();
    let digest = handle.digest().await.unwrap();
    handle.stop().await.unwrap();
    let again = start("device").await;
    assert_eq!(again.digest().await.unwrap(), digest);
    assert!(!again.get(note, id).await.unwrap().deleted);
    again.stop().await.unwrap();
}
