//! Devices that have never met pair by a code, a link, a relay's number; whoever has no code gets nothing.

use std::path::Path;
use std::process::Command;

use futures::AsyncReadExt;
use privstack_sync::pairing::PairingMessage;
use privstack_sync::transport::p2p::{PAIRING_PROTOCOL, PROTOCOL};
use serde_json::{Value as Json, json};

use crate::device::*;
use crate::lan::{Lan, not_run};
use crate::p2p_support::{Hostile, write};

/// A device without a vault.
pub fn new_device(name: &str) -> Device {
    let device = Device::empty();
    device.ok(&["id", "--name", name]);
    device
}

/// Asks for a code, and gives it once it is as it should be.
pub fn offer(at: &mut Running, is_it: impl Fn(&Json) -> bool) -> Json {
    at.ask(json!({"cmd": "pair_offer"}));
    at.until(json!({"cmd": "pair_state"}), |state| is_it(&state["shown"]))["shown"].take()
}

pub fn has_address(shown: &Json) -> bool {
    shown["uri"].as_str().unwrap().contains("&a=")
}

/// Both users compare the words and say yes.
pub fn confirm(at_a: &mut Running, at_b: &mut Running, found: &Json) {
    let theirs = at_a.ask(json!({"cmd": "pair_wait"}));
    assert_eq!(theirs["words"], found["words"]);
    assert_eq!((theirs["joining"].clone(), found["joining"].clone()), (json!(false), json!(true)));
    at_a.ask(json!({"cmd": "pair_confirm", "wait": false}));
    let paired = at_b.ask(json!({"cmd": "pair_confirm"}));
    assert_eq!(paired["peer"], at_a.peer_id());
    at_a.wait_for_event("pairing_completed");
}

#[test]
fn two_devices_that_have_never_met_pair_by_six_digits_and_sync() {
    let (a, b) = (Device::with_vault("desk"), new_device("laptop"));
    let mut at_a = a.run(QUIC, &[]);
    let mut at_b = b.run(QUIC, &[]);
    let id = at_a.note("before they met");
    let shown = offer(&mut at_a, has_address);
    let address = at_a.address();
    let found = at_b.ask(json!({"cmd": "pair_join", "code": shown["code"], "addresses": [address]}));
    assert_eq!((found["name"].as_str(), found["peer"].as_str()), (Some("desk"), Some(at_a.peer_id())));
    assert!(at_b.status()["vault"].is_null(), "nothing before both users said so");
    confirm(&mut at_a, &mut at_b, &found);
    at_b.wait_for_update(&id);
    let other = at_b.note("after");
    at_a.wait_for_update(&other);
    until_equal(&mut [&mut at_a, &mut at_b]);
    let peers = at_a.ask(json!({"cmd": "peers"}))["peers"].clone();
    assert_eq!((peers[0]["name"].as_str(), peers[0]["role"].as_str()), (Some("laptop"), Some("member")), "{peers}");
    // The code is used up, and the device takes no pairing streams any more.
    let c = new_device("late");
    let late =
        c.fails(&["pair", shown["code"].as_str().unwrap(), "--yes", "--no-mdns", "--listen", TCP, "--peer", &address]);
    assert_eq!(late.1["code"], "unreachable");
}

#[test]
fn two_devices_on_one_network_pair_by_six_digits_alone() {
    let test = "two_devices_on_one_network_pair_by_six_digits_alone";
    let lan = match Lan::new() {
        Ok(lan) => lan,
        Err(why) => return not_run(test, &why),
    };
    let (a, b, c) = (Device::with_vault("desk"), new_device("laptop"), Device::with_vault("somebody else's"));
    let start = |side: &str, device: &Device| {
        let mut command = lan.command(side, env!("CARGO_BIN_EXE_privstack"));
        command.arg("--data").arg(&device.data).args(["run", "--json"]);
        Running::start(command)
    };
    let (mut at_a, mut at_b, mut at_c) = (start("a", &a), start("b", &b), start("a", &c));
    let shown = offer(&mut at_a, |shown| !shown.is_null());
    // mDNS finds all three; only the one that shows a code answers.
    let found = at_b.ask(json!({"cmd": "pair_join", "code": shown["code"]}));
    assert_eq!((found["name"].as_str(), found["peer"].as_str()), (Some("desk"), Some(at_a.peer_id())));
    confirm(&mut at_a, &mut at_b, &found);
    let id = at_a.note("across the room");
    at_b.wait_for_update(&id);
    until_equal(&mut [&mut at_a, &mut at_b]);
    assert_eq!(at_c.ask(json!({"cmd": "peers"}))["peers"], json!([]));
}

#[test]
fn two_commands_pair_by_a_link_and_what_the_new_device_wrote_before_comes_along() {
    let (a, b) = (Device::with_vault("desk"), Device::with_vault("laptop"));
    b.ok(&["put", "note", "title=from the laptop"]);
    let mut command = a.command(&["--json", "pair", "--yes", "--no-mdns", "--listen", TCP]);
    let mut offering = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(offering.stdout.take().unwrap()));
    let shown: Json = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    let answers = b.ok(&["--json", "pair", shown["uri"].as_str().unwrap(), "--yes", "--no-mdns", "--listen", TCP]);
    assert!(offering.wait().unwrap().success());
    let theirs: Vec<Json> = answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ours: Vec<Json> = lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    assert_eq!(ours[0]["words"], theirs[0]["words"]);
    assert_eq!((&ours[1]["event"], &theirs[1]["event"]), (&json!("paired"), &json!("paired")));
    assert_eq!(a.ok_json(&["status"])["vault"], b.ok_json(&["status"])["vault"]);
    assert_eq!(b.entities().len(), 1);
}

#[test]
fn a_wrong_code_is_refused_on_both_and_counted() {
    let (a, b) = (Device::with_vault("desk"), new_device("laptop"));
    let mut at_a = a.run(TCP, &[]);
    let shown = offer(&mut at_a, has_address);
    let code = shown["code"].as_str().unwrap();
    let wrong = format!("{}{}", &code[..code.len() - 1], if code.ends_with('7') { '3' } else { '7' });
    let address = at_a.address();
    let join = ["pair", &wrong, "--yes", "--no-mdns", "--listen", TCP, "--peer", &address];
    for expected in ["code_mismatch", "code_mismatch", "code_burned"] {
        let (exit, error) = b.fails(&join);
        assert_eq!((exit, error["code"].as_str()), (Some(1), Some(expected)), "{error}");
    }
    let next = at_a.ask(json!({"cmd": "pair_state"}))["shown"].clone();
    assert_ne!(next["code"], shown["code"], "another code is shown now");
    assert!(b.ok_json(&["status"])["vault"].is_null());
    assert_eq!(at_a.ask(json!({"cmd": "peers"}))["peers"], json!([]));
    at_a.ask(json!({"cmd": "pair_cancel"}));
    at_a.ask(json!({"cmd": "pair_unlock"}));
}

#[test]
fn a_user_who_says_no_ends_it_on_both() {
    let (a, b) = (Device::with_vault("desk"), new_device("laptop"));
    let mut at_a = a.run(TCP, &[]);
    let mut at_b = b.run(TCP, &[]);
    let shown = offer(&mut at_a, has_address);
    // As the notes board copies it.
    let address = format!("https://notes.example/board#pair={}", shown["uri"].as_str().unwrap());
    at_b.ask(json!({"cmd": "pair_join", "code": address}));
    at_a.ask(json!({"cmd": "pair_wait"}));
    at_a.ask(json!({"cmd": "pair_reject"}));
    at_b.wait_for_event("pairing_ended");
    assert!(at_b.status()["vault"].is_null());
}

#[cfg(feature = "relay")]
#[test]
fn devices_on_different_networks_pair_by_a_number_of_a_relay_and_the_code() {
    let folder = tempfile::tempdir().unwrap();
    let server = relay(folder.path());
    let address = server.address();
    let (a, b) = (Device::with_vault("desk"), new_device("laptop"));
    let mut at_a = a.run("", &["--relay", &address]);
    let mut at_b = b.run("", &["--relay", &address]);
    let shown = offer(&mut at_a, |shown| shown["code"].as_str().unwrap().contains('-'));
    let code = shown["code"].as_str().unwrap();
    assert_eq!(code.len(), "4821-482951".len());
    let found = at_b.ask(json!({"cmd": "pair_join", "code": code}));
    confirm(&mut at_a, &mut at_b, &found);
    let id = at_a.note("over the relay");
    at_b.wait_for_update(&id);
    // A number that names nobody (the first of all is as good as any other).
    let c = new_device("c");
    let other = if code.starts_with("1000") { "1001-482951" } else { "1000-482951" };
    let nobody = c.fails(&["pair", other, "--yes", "--no-mdns", "--listen", TCP, "--relay", &address]);
    assert_eq!(nobody.1["code"], "code_expired", "{}", nobody.1);
    let no_relay = c.fails(&["pair", other, "--yes", "--no-mdns", "--listen", TCP]);
    assert_eq!(no_relay.1["code"], "unreachable", "{}", no_relay.1);
    // A relay that is asked too often says so, and so does the device.
    let tries = || c.fails(&["pair", other, "--yes", "--no-mdns", "--listen", TCP, "--relay", &address]).1;
    let refused = std::iter::repeat_with(tries).take(12).find(|answer| answer["code"] != "code_expired").unwrap();
    assert_eq!(refused["code"], "busy", "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("wait a minute"), "{refused}");
}

#[cfg(feature = "relay")]
pub fn relay(data: &Path) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_privstack-relay"));
    command.arg("--data").arg(data).args(["--json", "--http", "127.0.0.1:0", "--listen", "/ip4/127.0.0.1/tcp/0/ws"]);
    Running::start(command)
}

#[cfg(target_os = "linux")]
#[test]
fn a_stranger_gets_nothing_out_of_pairing_and_memory_stays_flat() {
    let a = Device::with_vault("desk");
    let mut at_a = a.run(TCP, &[]);
    let address = at_a.address();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // Not in pairing mode: the protocol is not there.
    runtime.block_on(async {
        let mut hostile = Hostile::connect(200, &address);
        assert!(hostile.try_open(PAIRING_PROTOCOL).await.is_none());
        assert!(hostile.try_open(PROTOCOL).await.is_some(), "sessions are");
    });
    // In pairing mode: garbage, huge lengths, silence, guesses that are none; an end, and never more than a code of why.
    offer(&mut at_a, has_address);
    let hello = PairingMessage::Hello { versions: (1, 1), sort: 0, nonce: [7; 16] }.to_bytes();
    let framed = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat();
    let ask = |number: u8| {
        let sent = match number % 5 {
            0 => framed(&[0xa5; 900]),
            1 => vec![0xff; 64],
            2 => [framed(&hello), framed(&PairingMessage::Share([0xff; 32]).to_bytes())].concat(),
            3 => [framed(&hello), framed(&PairingMessage::Confirm([1; 32]).to_bytes())].concat(),
            _ => framed(&PairingMessage::Sealed(vec![1; 40]).to_bytes()),
        };
        runtime.block_on(async {
            let mut hostile = Hostile::connect(100 + number % 100, &address);
            let Some(mut stream) = hostile.try_open(PAIRING_PROTOCOL).await else { return 0 };
            write(&mut stream, &sent).await;
            let mut said = Vec::new();
            tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said)).await.expect("the link is ended").ok();
            said.len()
        })
    };
    (0..20).for_each(|number| assert!(ask(number) < 128));
    let before = at_a.rss();
    (20..100).for_each(|number| assert!(ask(number) < 128));
    let after = at_a.rss();
    assert!(after < before + 4_096, "memory grew from {before} to {after} KiB");
    assert!(!at_a.ask(json!({"cmd": "pair_state"}))["shown"].is_null(), "the offer goes on: nobody has guessed");
    at_a.note("it works on");
}
