//! Who is no member gets nothing; who misbehaves is dropped; the others go on.

use futures::AsyncReadExt;
use serde_json::json;

use crate::device::*;
use crate::p2p_support::{Hostile, write};

#[cfg(target_os = "linux")]
#[test]
fn a_stranger_gets_nothing_however_often_it_asks() {
    let a = Device::with_vault("a");
    a.ok(&["put", "secret-type", "title=secret-text"]);
    let mut at_a = a.run(TCP, &[]);
    let peer = at_a.address();

    // One with a vault of its own, and one with none.
    let other = Device::with_vault("other");
    let output = other.output(&["--json", "sync", "--no-mdns", "--timeout", "3", "--peer", &peer]);
    assert_eq!(output.status.code(), Some(3));
    let answer = String::from_utf8(output.stdout).unwrap();
    assert!(!answer.contains("secret"), "{answer}");
    let none = Device::empty();
    none.ok(&["id", "--name", "none"]);
    assert_eq!(none.fails(&["sync", "--no-mdns", "--peer", &peer]).1["code"], "no_vault");
    let mut at_none = none.run_with(TCP, &at_a);
    assert_eq!(at_none.status()["events"], 0);
    at_none.end();
    assert_eq!(at_a.status()["online"], 0);

    // And one that speaks the protocol by itself: an error, then the end, and nothing else.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ask = |number: u8| {
        runtime.block_on(async {
            let mut hostile = Hostile::connect(100 + number % 100, &peer);
            let mut stream = hostile.open_stream().await;
            write(&mut stream, &greeting()).await;
            let mut said = Vec::new();
            let reading = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said)).await;
            reading.expect("the link is ended").ok();
            said
        })
    };
    for number in 0..20 {
        let said = ask(number);
        assert!(said.len() < 128, "{said:?}");
        assert!(!String::from_utf8_lossy(&said).contains("secret"));
    }
    let before = at_a.rss();
    (20..100).for_each(|number| drop(ask(number)));
    let after = at_a.rss();
    assert!(after < before + 4_096, "memory grew from {before} to {after} KiB");
    at_a.note("it works on");
}

/// A frame with a well-formed `Hello` of a device that is no member.
fn greeting() -> Vec<u8> {
    use privstack_sync::types::Hash;
    use privstack_sync::wire::{HelloMessage, Message, OLDEST_PROTOCOL_VERSION, PROTOCOL_VERSION};
    let hello = HelloMessage {
        versions: (OLDEST_PROTOCOL_VERSION, PROTOCOL_VERSION),
        features: 0,
        nonce: [7; 16],
        proof: Hash([9; 32]),
        heads: Vec::new(),
        credential: Vec::new(),
    };
    let mut bytes = Vec::new();
    Message::Hello(hello).encode(&mut bytes).unwrap();
    framed(&bytes)
}

/// A frame with its length, as the stream has it.
fn framed(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + bytes.len());
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
    out
}

#[test]
fn peers_that_send_garbage_huge_lengths_or_nothing_are_dropped_while_others_sync() {
    let a = Device::with_vault("a");
    let b = Device::joined(&a, "b");
    let mut at_a = a.run(TCP, &[]);
    let mut at_b = b.run_with(TCP, &at_a);
    at_b.wait_for_event("peer_connected");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let address = at_a.address();
    let hostiles: Vec<_> = (0..24)
        .map(|number: u8| {
            let address = address.clone();
            runtime.spawn(async move {
                let mut hostile = Hostile::connect(10 + number, &address);
                let mut stream = hostile.open_stream().await;
                match number % 4 {
                    0 => write(&mut stream, &framed(&[0xa5; 900])).await,
                    1 => write(&mut stream, &[0xff; 64]).await,
                    // A length, and never the frame.
                    2 => write(&mut stream, &[0, 0, 0x80, 0]).await,
                    _ => {}
                }
                let mut said = Vec::new();
                let reading = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said)).await;
                reading.expect("dropped").ok();
                said.len()
            })
        })
        .collect();
    for round in 0..20 {
        let (note, other) = (at_a.note(&format!("a {round}")), at_b.note(&format!("b {round}")));
        at_b.wait_for_update(&note);
        at_a.wait_for_update(&other);
    }
    for hostile in hostiles {
        assert!(runtime.block_on(hostile).unwrap() < 128);
    }
    assert_eq!(at_a.status()["online"], 1);
    let note = at_a.note("after all of them");
    at_b.wait_for_update(&note);
    until_equal(&mut [&mut at_a, &mut at_b]);
    assert_eq!(at_a.ask(json!({"cmd": "ls"}))["entities"].as_array().unwrap().len(), 41);
}
