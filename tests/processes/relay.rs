//! Devices that reach each other only through a relay.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use privstack_sync::crdt::Edit;
use privstack_sync::engine::SyncEvent;
use privstack_sync::orchestrator::{OrchestratorConfig, SyncConfig, block_on, create_personal_orchestrator};
use privstack_sync::transport::p2p::P2pConfig;
use privstack_sync::types::EntityType;
use serde_json::{Value as Json, json};

use crate::device::*;

const WS: &str = "/ip4/127.0.0.1/tcp/0/ws";
/// To listen nowhere.
const NOWHERE: &str = "";

/// A relay with its key in a folder, at an address.
fn relay(data: &Path, listen: &str, words: &[&str]) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_privstack-relay"));
    command.arg("--data").arg(data).args(["--json", "--http", "127.0.0.1:0", "--listen", listen]).args(words);
    Running::start(command)
}

fn get(address: &str, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[test]
fn two_devices_that_only_know_a_relay_sync_through_it_and_again_after_it_was_gone() {
    let folder = tempfile::tempdir().unwrap();
    let server = relay(folder.path(), WS, &[]);
    let address = server.address();
    let a = Device::with_vault("a");
    let b = Device::joined(&a, "b");
    let mut at_a = a.run(NOWHERE, &["--relay", &address]);
    let mut at_b = b.run(NOWHERE, &["--relay", &address]);
    at_a.wait_for_event("peer_connected");
    let id = at_a.note("through the relay");
    at_b.wait_for_update(&id);
    let peers = at_b.ask(json!({"cmd": "peers"}))["peers"].clone();
    assert_eq!(peers[0]["via"], "relay", "{peers}");

    // The same relay, gone and back at the same place.
    let listen = address.split("/p2p/").next().unwrap();
    server.kill();
    at_b.wait_for_event("peer_disconnected");
    at_a.edit(&id, json!([{"set": ["title", "from a"]}]));
    at_b.edit(&id, json!([{"insert": ["tags", "from b"]}]));
    let server = relay(folder.path(), listen, &[]);
    assert_eq!(server.address(), address);
    until_equal(&mut [&mut at_a, &mut at_b]);
    assert_eq!(at_a.fields(&id), json!({"title": "from a", "tags": ["from b"]}));
}

#[test]
fn a_device_that_is_open_takes_a_relay_and_keeps_what_it_has() {
    let place = tempfile::tempdir().unwrap();
    let server = relay(&place.path().join("relay"), WS, &[]);
    let handle = create_personal_orchestrator(OrchestratorConfig {
        sync_config: SyncConfig::default(),
        p2p_config: P2pConfig {
            listen_addr: String::new(),
            extra_listen: vec![],
            enable_mdns: false,
            ..P2pConfig::default()
        },
        cloud_config: None,
        db_path: place.path().join("data"),
    });
    let mut events = handle.events();
    block_on(async {
        handle.start().await.unwrap();
        let note = EntityType::new("note").unwrap();
        let id = handle.create(note.clone(), vec![Edit::Create]).await.unwrap();
        assert!(handle.set_relays(vec!["nonsense".into()]).await.is_err());
        handle.set_relays(vec![server.address()]).await.unwrap();
        loop {
            match events.next().await.unwrap() {
                SyncEvent::Listening(address) if address.contains("/p2p-circuit/") => break,
                SyncEvent::ListenFailed(address, why) => panic!("{address}: {why}"),
                _ => {}
            }
        }
        assert_eq!(handle.get(note, id).await.unwrap().id, id);
        handle.stop().await.unwrap();
    });
}

#[test]
fn a_relay_that_has_no_room_says_so_and_the_device_says_why_it_has_no_place() {
    let folder = tempfile::tempdir().unwrap();
    let server = relay(folder.path(), WS, &["--max-devices", "0"]);
    let a = Device::with_vault("a");
    let mut at_a = a.run(NOWHERE, &["--relay", &server.address()]);
    at_a.wait_for_event("listen_failed");
}

#[test]
fn the_relay_tells_pages_of_any_origin_who_it_is_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let server = relay(folder.path(), WS, &[]);
    let http = server.ready()["http"].as_str().unwrap().to_owned();
    let (head, body) = get(&http, "GET /api/v1/identity HTTP/1.1\r\nhost: relay\r\nconnection: close\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("access-control-allow-origin: *"), "{head}");
    let body: Json = serde_json::from_str(&body).unwrap();
    assert_eq!(body, json!({"peer_id": server.peer_id(), "addresses": [server.address()]}));
    for (request, status) in [
        ("GET /etc/passwd HTTP/1.1\r\nhost: relay\r\n\r\n", "404"),
        ("POST /api/v1/identity HTTP/1.1\r\nhost: relay\r\ncontent-length: 0\r\n\r\n", "405"),
    ] {
        let (head, _) = get(&http, request);
        assert_eq!(head.split(' ').nth(1), Some(status), "{head}");
    }
}
