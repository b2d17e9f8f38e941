//! Pairings that somebody else wants to be part of, that are led to the wrong device, or that a crash cuts off.

use std::collections::BTreeSet;

use futures::AsyncReadExt;
use privstack_sync::error::ErrorCode;
use privstack_sync::pairing::PairingMessage;
use privstack_sync::transport::p2p::PAIRING_PROTOCOL;
use serde_json::{Value as Json, json};

use crate::device::*;
use crate::p2p_support::{Hostile, write};
#[cfg(feature = "relay")]
use crate::pairing::relay;
use crate::pairing::{confirm, has_address, new_device, offer};

/// Asserts that all show the same and take just each other for members.
fn only_members(all: &mut [&mut Running]) {
    until_equal(all);
    let ids: BTreeSet<String> = all.iter().map(|at| at.peer_id().to_owned()).collect();
    for at in all {
        at.until(json!({"cmd": "members"}), |told| told["members"].as_array().unwrap().len() == ids.len());
        assert_eq!(at.members(), ids);
    }
}

/// Whose guesses at its code a device has noted as wrong.
fn refused_at(at: &mut Running) -> BTreeSet<String> {
    let entries = at.ask(json!({"cmd": "audit"}))["entries"].take();
    let denied = entries.as_array().unwrap().iter().filter(|one| one["action"] == "pair" && one["decision"] == "deny");
    denied.map(|one| one["peer"].as_str().unwrap().to_owned()).collect()
}

fn join(code: &Json, address: &str) -> Json {
    json!({"cmd": "pair_join", "code": code, "addresses": [address]})
}

#[test]
fn of_two_devices_that_join_by_one_code_at_once_one_becomes_a_member_and_the_other_is_told() {
    let (a, b, c) = (Device::with_vault("desk"), new_device("b"), new_device("c"));
    let mut at_a = a.run(TCP, &[]);
    let (mut at_b, mut at_c) = (b.run(TCP, &[]), c.run(TCP, &[]));
    at_a.note("before they met");
    let shown = offer(&mut at_a, has_address);
    let request = join(&shown["code"], &at_a.address());
    for at in [&mut at_b, &mut at_c] {
        assert!(at.send(request.clone()));
    }
    let [of_b, of_c] = [&mut at_b, &mut at_c].map(|at| at.answer().unwrap());
    let ((mut first, found), (mut late, refused)) = match of_b["error"].is_null() {
        true => ((at_b, of_b), (at_c, of_c)),
        false => ((at_c, of_c), (at_b, of_b)),
    };
    assert!(["code_burned", "busy"].contains(&refused["error"]["code"].as_str().unwrap()), "{refused}");
    confirm(&mut at_a, &mut first, &found["ok"]);
    only_members(&mut [&mut at_a, &mut first]);
    let status = late.status();
    assert!(status["vault"].is_null() && status["events"] == 0, "{status}");
    assert_eq!(late.refused(json!({"cmd": "members"})), "no_vault");
}

#[test]
fn a_code_that_was_used_is_refused_while_it_is_compared_and_when_another_one_is_shown() {
    let (a, b, c) = (Device::with_vault("desk"), new_device("b"), new_device("c"));
    let mut at_a = a.run(TCP, &[]);
    let (mut at_b, mut at_c) = (b.run(TCP, &[]), c.run(TCP, &[]));
    let address = at_a.address();
    let shown = offer(&mut at_a, has_address);
    let found = at_b.ask(join(&shown["code"], &address));
    assert_eq!(at_c.refused(join(&shown["code"], &address)), "code_burned");
    confirm(&mut at_a, &mut at_b, &found);

    let next = offer(&mut at_a, has_address);
    assert_ne!(next["code"], shown["code"]);
    assert_eq!(at_c.refused(join(&shown["code"], &address)), "code_mismatch");
    // The link of that time, too.
    assert_eq!(at_c.refused(json!({"cmd": "pair_join", "code": shown["uri"]})), "code_mismatch");
    assert!(at_c.status()["vault"].is_null());
    let id = json!(at_c.peer_id());
    assert!(refused_at(&mut at_a).contains(id.as_str().unwrap()));
    only_members(&mut [&mut at_a, &mut at_b]);

    let found = at_c.ask(join(&next["code"], &address));
    confirm(&mut at_a, &mut at_c, &found);
    only_members(&mut [&mut at_a, &mut at_b, &mut at_c]);
}

#[cfg(feature = "relay")]
#[test]
fn a_relay_that_leads_to_another_device_makes_nobody_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let server = relay(folder.path());
    let words = ["--relay", &server.address()];
    let (a, x, b) = (Device::with_vault("desk"), Device::with_vault("somebody else's"), new_device("laptop"));
    let (mut at_a, mut at_x, mut at_b) = (a.run("", &words), x.run("", &words), b.run("", &words));
    let number = |shown: &Json| shown["code"].as_str().unwrap().contains('-');
    let (of_a, of_x) = (offer(&mut at_a, number), offer(&mut at_x, number));
    let parts = |shown: &Json| {
        let (number, digits) = shown["code"].as_str().unwrap().split_once('-').unwrap();
        (number.to_owned(), digits.to_owned())
    };
    let led_astray = format!("{}-{}", parts(&of_x).0, parts(&of_a).1);
    let error = at_b.try_ask(json!({"cmd": "pair_join", "code": led_astray})).unwrap_err();
    assert_eq!(error["code"], "code_mismatch", "{error}");
    let id = at_b.peer_id().to_owned();
    assert!(at_b.status()["vault"].is_null());
    assert_eq!(refused_at(&mut at_x), BTreeSet::from([id]));
    assert_eq!(refused_at(&mut at_a), BTreeSet::new(), "nobody has asked it");
    only_members(&mut [&mut at_a]);
    only_members(&mut [&mut at_x]);
    // Its own number leads to the right one, whose code is still good.
    let found = at_b.ask(json!({"cmd": "pair_join", "code": of_a["code"]}));
    confirm(&mut at_a, &mut at_b, &found);
    only_members(&mut [&mut at_a, &mut at_b]);
    only_members(&mut [&mut at_x]);
}

/// The next frame of a stream; none at its end.
async fn frame(from: &mut libp2p::Stream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length).await.ok()?;
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    from.read_exact(&mut frame).await.ok()?;
    Some(frame)
}

#[test]
fn whoever_ends_a_pairing_s_connection_and_makes_it_again_gets_no_key_and_no_trust() {
    let (a, b) = (Device::with_vault("desk"), new_device("laptop"));
    let (mut at_a, mut at_b) = (a.run(TCP, &[]), b.run(TCP, &[]));
    let shown = offer(&mut at_a, has_address);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (mut between, place, mut streams) = runtime.block_on(Hostile::between(220, &at_a.address(), PAIRING_PROTOCOL));
    let its_id = between.peer.to_string();
    let address = format!("{place}/p2p/{its_id}");

    for round in 0..3 {
        // Every frame goes on as it came; each side speaks in its turn. In the second round it says at the end, in place
        // of the refusal, what the joining device has proved itself.
        let forwards = async {
            let (_, mut to) = futures::StreamExt::next(&mut streams).await.unwrap();
            let mut from = between.try_open(PAIRING_PROTOCOL).await.unwrap();
            let mut said = Vec::new();
            loop {
                std::mem::swap(&mut from, &mut to);
                let Some(mut bytes) = frame(&mut from).await else { return said };
                let message = PairingMessage::decode(&bytes).unwrap();
                if let (1, PairingMessage::Abort(_), Some(proof)) = (round, &message, said.last()) {
                    bytes = PairingMessage::to_bytes(proof);
                }
                said.push(message);
                // Had the keys been confirmed, both sides would speak from now on.
                if matches!(said.last(), Some(PairingMessage::Sealed(_))) {
                    return said;
                }
                write(&mut to, &[&(bytes.len() as u32).to_be_bytes()[..], &bytes].concat()).await;
            }
        };
        assert!(at_b.send(join(&shown["code"], &address)));
        let said = runtime.block_on(async { tokio::time::timeout(PATIENCE, forwards).await }).unwrap();
        assert!(!said.iter().any(|message| matches!(message, PairingMessage::Sealed(_))), "{said:?}");
        let error = at_b.answer().unwrap()["error"]["code"].take();
        // The joining device's proof is not the one that the other expects: the key is bound to who talks to whom.
        let why = if round == 2 { ErrorCode::CodeBurned } else { ErrorCode::CodeMismatch };
        let [_, _, _, _, PairingMessage::Confirm(_), PairingMessage::Abort(code), ..] = &said[..] else {
            panic!("{said:?}")
        };
        assert_eq!((*code, &error), (why, &json!(why.as_str())), "round {round}");
    }
    // The guesses were its own, and cost the code.
    assert_eq!(refused_at(&mut at_a), BTreeSet::from([its_id]));
    let next = at_a.ask(json!({"cmd": "pair_state"}))["shown"].take();
    assert_ne!(next["code"], shown["code"]);
    // A link names the device: whoever else answers there is not spoken to.
    let real = at_a.address();
    let link = next["uri"].as_str().unwrap().replace(real.split("/p2p/").next().unwrap(), &place);
    assert!(link.contains(&place), "{link}");
    assert_eq!(at_b.refused(json!({"cmd": "pair_join", "code": link})), "unreachable");
    assert!(at_b.status()["vault"].is_null());
    only_members(&mut [&mut at_a]);

    let found = at_b.ask(join(&next["code"], &real));
    confirm(&mut at_a, &mut at_b, &found);
    only_members(&mut [&mut at_a, &mut at_b]);
}

/// Kills one side once these have confirmed the words, and has both come back. Where both have, it dies while they go on
/// from there: the other one is asked so often before.
fn crash(a_confirms: bool, b_confirms: bool, kills_a: bool, looks: usize) {
    let what = format!("a confirmed: {a_confirms}, b: {b_confirms}, a killed: {kills_a}, after {looks} looks");
    let (a, b) = (Device::with_vault("desk"), new_device("laptop"));
    let (mut at_a, mut at_b) = (a.run(TCP, &[]), b.run(TCP, &[]));
    at_a.note("before they met");
    let shown = offer(&mut at_a, has_address);
    at_b.ask(join(&shown["code"], &at_a.address()));
    at_a.ask(json!({"cmd": "pair_wait"}));
    let yes = json!({"cmd": "pair_confirm", "wait": false});
    if b_confirms {
        at_b.ask(yes.clone());
    }
    match (a_confirms, b_confirms) {
        (true, true) => assert!(at_a.send(yes)),
        (true, false) => drop(at_a.ask(yes)),
        (false, _) => {}
    }
    for _ in 0..looks {
        if kills_a { &mut at_b } else { &mut at_a }.status();
    }
    // The other one learns that it is over, or that it was over before.
    let (mut at_a, mut at_b) = match kills_a {
        true => {
            at_a.kill();
            until_over(&mut at_b, &what);
            (a.run(TCP, &["--peer", &at_b.address()]), at_b)
        }
        false => {
            at_b.kill();
            until_over(&mut at_a, &what);
            let at_b = b.run_with(TCP, &at_a);
            (at_a, at_b)
        }
    };
    assert!(a_confirms && b_confirms || at_a.members().len() == 1, "{what}: signed in without both users");
    if at_b.status()["vault"].is_null() {
        let shown = offer(&mut at_a, has_address);
        let found = at_b.ask(join(&shown["code"], &at_a.address()));
        confirm(&mut at_a, &mut at_b, &found);
    }
    only_members(&mut [&mut at_a, &mut at_b]);
    let id = at_b.note("after");
    at_a.wait_for_update(&id);
    only_members(&mut [&mut at_a, &mut at_b]);
}

/// Waits until a pairing is over for a device: it has paired, or knows that it has not.
fn until_over(at: &mut Running, what: &str) {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        match at.try_ask(json!({"cmd": "pair_state"})) {
            Err(error) => return assert_eq!(error["code"], "unreachable", "{what}: {error}"),
            Ok(state) if !state["paired"].is_null() => return,
            Ok(state) => assert!(std::time::Instant::now() < deadline, "{what}: {state}"),
        }
        at.pause();
    }
}

#[test]
fn a_crash_of_either_side_before_somebody_confirms_leaves_two_that_can_pair_again() {
    for kills_a in [true, false] {
        crash(false, false, kills_a, 0);
    }
}

#[test]
fn a_crash_of_either_side_once_one_has_confirmed_leaves_two_that_can_pair_again() {
    for kills_a in [true, false] {
        crash(true, false, kills_a, 0);
        crash(false, true, kills_a, 0);
    }
}

#[test]
fn a_crash_of_either_side_once_both_have_confirmed_leaves_two_members_or_two_that_can_pair_again() {
    // From before the device is signed in, by in between, to after it has joined.
    for looks in [0, 4, 16, 64] {
        crash(true, true, true, looks);
        crash(true, true, false, looks);
    }
}
