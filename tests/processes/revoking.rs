//! A lost device is removed, and a vault whose only Admin is lost is recovered by its words.

use serde_json::{Value as Json, json};

use crate::device::*;
use crate::pairing::{confirm, has_address, new_device, offer};

#[test]
fn a_removed_device_gets_nothing_more_and_what_it_writes_reaches_nobody() {
    let a = Device::with_vault("a");
    let (b, c) = (Device::joined(&a, "b"), Device::joined(&a, "c"));
    let lost = b.ok(&["id"]);
    let mut at_a = a.run(QUIC, &[]);
    let (mut at_b, mut at_c) = (b.run_with(QUIC, &at_a), c.run_with(TCP, &at_a));
    let note = at_b.note("before");
    until_equal(&mut [&mut at_a, &mut at_b, &mut at_c]);

    // The command line reaches the running one.
    a.ok(&["remove", &lost]);
    at_b.until_role(Json::Null);
    let members = at_a.ask(json!({"cmd": "members"}));
    assert_eq!(members["members"].as_array().unwrap().len(), 2, "{members}");
    let text = a.ok(&["members"]);
    assert!(!text.contains(&lost) && text.contains("admin") && text.contains("member"), "{text}");
    let reasons = at_b.explain();
    assert!(reasons.as_array().unwrap().iter().all(|reason| reason["reason"] == "not_trusted"), "{reasons}");
    at_b.send(json!({"cmd": "put", "type": "note", "entity": note, "ops": [{"set": ["title", "after"]}]}));
    assert_eq!(at_b.answer().unwrap()["error"]["code"], "not_trusted");

    at_a.edit(&note, json!([{"set": ["title", "without it"]}]));
    until_equal(&mut [&mut at_a, &mut at_c]);
    assert_eq!(at_c.fields(&note)["title"], "without it");
    assert_eq!(at_b.fields(&note)["title"], "before");
    // Started again, it is not let in either.
    at_b.end();
    let answer = b.output(&["--json", "sync", "--no-mdns", "--timeout", "3", "--peer", &at_a.address()]);
    assert_eq!(answer.status.code(), Some(3));
    assert_eq!(a.fails(&["remove", &lost]).1["code"], "not_found");
    assert_eq!(c.fails(&["remove", &a.ok(&["id"])]).1["code"], "policy_denied");
}

#[test]
fn the_words_make_a_device_an_admin_when_the_only_one_is_destroyed() {
    let a = Device::empty();
    let words = a.beside("words");
    a.ok(&["init", "--name", "a", "--recovery-file", words.to_str().unwrap()]);
    let b = Device::joined(&a, "b");
    let note = a.ok(&["put", "note", "title=kept"]);
    let mut at_a = a.run(QUIC, &[]);
    let mut at_b = b.run_with(QUIC, &at_a);
    until_equal(&mut [&mut at_a, &mut at_b]);
    let lost = at_a.peer_id().to_owned();
    at_a.kill();
    at_b.end();
    std::fs::remove_dir_all(&a.data).unwrap();

    let other = Device::empty();
    let wrong = other.beside("wrong");
    other.ok(&["init", "--name", "other", "--recovery-file", wrong.to_str().unwrap()]);
    assert_eq!(b.fails(&["recover", "--recovery-file", wrong.to_str().unwrap()]).1["code"], "invalid");
    assert_eq!(b.fails(&["remove", &lost]).1["code"], "policy_denied");
    b.ok(&["recover", "--recovery-file", words.to_str().unwrap()]);
    assert_eq!(b.ok_json(&["status"])["role"], "admin");
    b.ok(&["remove", &lost]);
    b.ok(&["rename", "desk"]);
    let c = Device::joined(&b, "c");
    let mut at_b = b.run(QUIC, &[]);
    let mut at_c = c.run_with(QUIC, &at_b);
    until_equal(&mut [&mut at_b, &mut at_c]);
    assert_eq!(at_c.fields(&json!(note))["title"], "kept");
    let peers = at_c.ask(json!({"cmd": "peers"}));
    assert_eq!(peers["peers"][0]["name"], "desk", "{peers}");
    // The last Admin stays; one that has made another may go.
    assert_eq!(b.fails(&["leave"]).1["code"], "invalid");
    let id = c.ok(&["id"]);
    b.ok(&["role", &id, "admin"]);
    at_c.until_role(json!("admin"));
    b.ok(&["leave"]);
    at_b.until_role(Json::Null);
}

#[test]
fn the_words_make_a_new_device_an_admin_once_it_has_the_vault_from_a_member() {
    let a = Device::empty();
    let words = a.beside("words");
    a.ok(&["init", "--name", "a", "--recovery-file", words.to_str().unwrap()]);
    let b = Device::joined(&a, "b");
    let (note, lost) = (b.ok(&["put", "note", "title=kept"]), a.ok(&["id"]));
    std::fs::remove_dir_all(&a.data).unwrap();

    let c = new_device("c");
    let (code, why) = c.fails(&["recover", "--recovery-file", words.to_str().unwrap()]);
    assert_eq!(why["code"], "no_vault", "{code:?} {why}");
    let (mut at_b, mut at_c) = (b.run(QUIC, &[]), c.run(QUIC, &[]));
    let shown = offer(&mut at_b, has_address);
    let found = at_c.ask(json!({"cmd": "pair_join", "code": shown["code"], "addresses": [at_b.address()]}));
    confirm(&mut at_b, &mut at_c, &found);
    let text = std::fs::read_to_string(&words).unwrap();
    at_c.ask(json!({"cmd": "recover", "recovery_words": text.trim()}));
    at_c.until_role(json!("admin"));
    c.ok(&["remove", &lost]);
    until_equal(&mut [&mut at_b, &mut at_c]);
    assert_eq!(at_c.fields(&json!(note))["title"], "kept");
    assert_eq!(at_b.members(), at_c.members());
    assert!(!at_b.members().contains(&lost));
}

#[test]
fn what_a_device_wrote_before_it_heard_that_it_may_no_longer_is_shown_and_written_again() {
    let a = Device::with_vault("a");
    let b = Device::joined(&a, "b");
    let id = b.ok(&["id"]);
    let note = a.ok(&["put", "note", "title=before"]);
    let at_a = a.run(TCP, &[]);
    let sync = ["sync", "--no-mdns", "--timeout", "30", "--peer", &at_a.address()];
    b.ok_json(&sync);
    assert!(b.ok(&["quarantine"]).contains("nothing"));
    a.ok(&["role", &id, "read-only"]);
    b.ok(&["put", "note", &note, "title=late"]);
    b.ok_json(&sync);
    assert_eq!(b.ok_json(&["get", &note])["entities"][0]["fields"]["title"], "before");
    let told = b.ok_json(&["quarantine"]);
    assert_eq!(told, a.ok_json(&["quarantine"]));
    let [one] = &told["quarantine"].as_array().unwrap()[..] else { panic!("{told}") };
    assert_eq!((&one["by"], &one["commits"], &one["requested"]), (&json!(id), &json!(1), &json!(false)));
    assert_eq!(one["entity"]["fields"]["title"], "late");
    assert_eq!(b.fails(&["quarantine", "--write-again"]).1["code"], "policy_denied");
    b.ok(&["accept", &id, "--ask"]);
    b.ok_json(&sync);
    assert!(a.ok(&["quarantine"]).contains("asked to accept"));
    a.ok(&["role", &id, "member"]);
    b.ok_json(&sync);
    b.ok(&["quarantine", "--write-again"]);
    b.ok_json(&sync);
    for device in [&a, &b] {
        assert_eq!(device.ok_json(&["get", &note])["entities"][0]["fields"]["title"], "late");
        assert_eq!(device.ok_json(&["quarantine"]), json!({ "quarantine": [] }));
    }
}

#[test]
fn teams_and_lists_of_an_enterprise_vault_are_set_on_the_command_line() {
    let a = Device::empty();
    a.ok(&["init", "--name", "a", "--policy", "enterprise"]);
    let b = Device::joined(&a, "b");
    let id = b.ok(&["id"]);
    let note = a.ok(&["put", "note", "title=x"]);
    let at_a = a.run(TCP, &[]);
    let sync = ["sync", "--no-mdns", "--timeout", "30", "--peer", &at_a.address()];
    assert_eq!(b.ok_json(&sync)["received"], 0);
    a.ok(&["team", &id, "blue"]);
    a.ok(&["acl", "note", "--allow", "admin,member@blue"]);
    assert_eq!(b.ok_json(&sync)["received"], 1);
    assert_eq!(b.ok_json(&["get", &note])["entities"][0]["fields"]["title"], "x");
    let members = b.ok_json(&["members"]);
    assert_eq!(members["acls"], json!([{"type": "note", "entries": [{"roles": ["admin", "member"], "team": "blue"}]}]));
    assert_eq!(b.fails(&["acl", "note"]).1["code"], "policy_denied");
    a.ok(&["team", &id]);
    b.ok_json(&sync);
    assert_eq!(b.fails(&["put", "note", &note, "title=y"]).1["code"], "policy_denied");
}
