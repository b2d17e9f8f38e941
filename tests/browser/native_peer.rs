//! Sessions over WebSocket with a native device, which `scripts/browser-tests` starts beside the browser.

use std::path::PathBuf;
use std::time::Duration;

use futures::future::{Either, select};
use privstack_sync::crdt::{Edit, FieldValue};
use privstack_sync::engine::Level;
use privstack_sync::error::ErrorCode;
use privstack_sync::orchestrator::{OrchestratorConfig, OrchestratorHandle, SyncConfig, create_personal_orchestrator};
use privstack_sync::platform::web::store::delete;
use privstack_sync::platform::web::time::sleep;
use privstack_sync::transport::p2p::P2pConfig;
use privstack_sync::types::{EntityId, EntityType, FieldName, Value};
use wasm_bindgen::prelude::*;
use wasm_bindgen_test::wasm_bindgen_test as test;

/// What has not happened by then does not happen any more.
const LIMIT: Duration = Duration::from_secs(60);

#[wasm_bindgen(inline_js = "export async function ask(url, body) { \
    const answer = await fetch(url, body === undefined ? {} : { method: 'POST', body }); \
    const text = await answer.text(); \
    if (!answer.ok) throw new Error(text); \
    return text; }")]
extern "C" {
    #[wasm_bindgen(catch, js_name = ask)]
    async fn ask_server(url: String, body: Option<String>) -> Result<JsValue, JsValue>;
}

/// Asks the native device's server.
async fn ask(path: &str, body: Option<&str>) -> String {
    let server = option_env!("PRIVSTACK_TEST_PEER").expect("run this by scripts/browser-tests, which starts a device");
    let answer = ask_server(format!("{server}{path}"), body.map(str::to_owned)).await;
    answer.unwrap_or_else(|error| panic!("{path}: {error:?}")).as_string().expect("a text")
}

async fn start(name: &str) -> OrchestratorHandle {
    delete(name).await.unwrap();
    let p2p_config =
        P2pConfig { listen_addr: String::new(), extra_listen: Vec::new(), enable_mdns: false, ..P2pConfig::default() };
    let handle = create_personal_orchestrator(OrchestratorConfig {
        sync_config: SyncConfig { device_name: "page".into(), ..SyncConfig::default() },
        p2p_config,
        cloud_config: None,
        db_path: PathBuf::from(name),
    });
    handle.start().await.unwrap();
    handle
}

async fn join(handle: &OrchestratorHandle) {
    let me = handle.peer_id().expect("it has started");
    handle.join(ask("/invite", Some(&me.to_string())).await).await.unwrap();
}

/// Waits until this device has the digest.
async fn shows(handle: &OrchestratorHandle, digest: &str) {
    let mut events = handle.events();
    let wait = async {
        while handle.digest().await.unwrap().to_string() != digest {
            events.next().await.expect("it runs");
        }
    };
    match select(Box::pin(wait), Box::pin(sleep(LIMIT))).await {
        Either::Left(_) => {}
        Either::Right(_) => panic!("this device does not get to {digest}: {:?}", handle.status().await),
    }
}

fn note() -> EntityType {
    EntityType::new("note").unwrap()
}

fn title(text: &str) -> Vec<Edit> {
    vec![Edit::Set(FieldName::new("title").unwrap(), Value::Text(text.into()))]
}

async fn title_of(handle: &OrchestratorHandle, id: EntityId) -> String {
    match handle.get(note(), id).await.unwrap().field("title") {
        Some(FieldValue::Register(Value::Text(text))) => text.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
async fn a_page_and_a_native_device_have_the_same_over_a_web_socket() {
    let handle = start("native peer").await;
    let theirs: EntityId = ask("/title", Some("written natively")).await.parse().unwrap();
    join(&handle).await;
    shows(&handle, &ask("/digest", None).await).await;
    assert_eq!(title_of(&handle, theirs).await, "written natively");

    // Both write while they are apart; the same note too.
    handle.pause().await.unwrap();
    let ours = handle.create(note(), title("written in the page")).await.unwrap();
    handle.update(note(), theirs, title("changed in the page")).await.unwrap();
    ask("/title", Some("written apart")).await;
    handle.resume().await.unwrap();
    handle.settled(Level::Peer).await.unwrap();
    let digest = ask("/digest", None).await;
    shows(&handle, &digest).await;
    assert_eq!(title_of(&handle, ours).await, "written in the page");
    assert_eq!(title_of(&handle, theirs).await, "changed in the page");

    // Live, from here to there.
    handle.update(note(), ours, title("changed live")).await.unwrap();
    let digest = handle.digest().await.unwrap().to_string();
    assert_eq!(ask("/digest", Some(&digest)).await, digest);
    handle.stop().await.unwrap();
}

#[test]
async fn an_invite_for_another_device_lets_a_page_in_nowhere() {
    let invited = start("invited").await;
    let invite = ask("/invite", Some(&invited.peer_id().unwrap().to_string())).await;
    let stranger = start("stranger").await;
    assert_eq!(stranger.join(invite).await.unwrap_err().code(), ErrorCode::Invalid);
    assert_eq!(stranger.status().await.unwrap().vault, None);
    stranger.stop().await.unwrap();
    invited.stop().await.unwrap();
}
