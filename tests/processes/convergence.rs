//! Two devices that edit live, edit apart, and find each other.

use serde_json::{Value as Json, json};

use crate::device::*;
use crate::lan::{Lan, not_run};

/// Live edits both ways, then edits of the same notes while apart, then together again.
fn live_and_apart(listen: &str) {
    let a = Device::with_vault("a");
    let b = Device::joined(&a, "b");
    let mut at_a = a.run(listen, &[]);
    let mut at_b = b.run_with(listen, &at_a);
    at_b.wait_for_event("peer_connected");

    let notes: Vec<Json> = (0..5).map(|n| at_a.note(&format!("note {n}"))).collect();
    notes.iter().for_each(|id| at_b.wait_for_update(id));
    for id in &notes {
        at_b.edit(id, json!([{"text_insert": ["body", 0, "by b"]}, {"insert": ["tags", "b"]}]));
        at_a.wait_for_update(id);
    }
    at_a.edit(&notes[0], json!([{"text_insert": ["body", 0, "by a, "]}]));
    at_b.wait_for_update(&notes[0]);
    until_equal(&mut [&mut at_a, &mut at_b]);
    assert_eq!(at_b.fields(&notes[0])["body"], "by a, by b");
    // Equal digests come before the news that the other has stored the last edit.
    at_a.ask(json!({"cmd": "settled", "level": "peer"}));
    assert_eq!(at_a.explain(), json!([]));
    at_a.end();
    at_b.end();

    let id = notes[1].as_str().unwrap();
    a.ok(&["put", "note", id, "reads+=1", "tags+:a", "body@0+A ", "state=a"]);
    b.ok(&["put", "note", id, "reads+=1", "tags-:b", "body@4+ B", "other=b"]);
    a.ok(&["rm", notes[2].as_str().unwrap()]);
    b.ok(&["put", "note", notes[3].as_str().unwrap(), "title=renamed"]);
    assert_ne!(a.ok(&["digest"]), b.ok(&["digest"]));
    let (mut at_b, mut at_a) = {
        let at_b = b.run(listen, &[]);
        let at_a = a.run_with(listen, &at_b);
        (at_b, at_a)
    };
    until_equal(&mut [&mut at_a, &mut at_b]);
    for side in [&mut at_a, &mut at_b] {
        let fields = side.fields(&notes[1]);
        assert_eq!((&fields["reads"], &fields["tags"]), (&json!(2), &json!(["a"])));
        assert_eq!(
            (&fields["body"], &fields["state"], &fields["other"]),
            (&json!("A by b B"), &json!("a"), &json!("b"))
        );
        assert_eq!(side.ask(json!({"cmd": "get", "entity": notes[2]}))["entities"][0]["deleted"], true);
        assert_eq!(side.fields(&notes[3])["title"], "renamed");
    }
}

#[test]
fn two_devices_edit_live_and_apart_over_quic() {
    live_and_apart(QUIC);
}

#[test]
fn two_devices_edit_live_and_apart_over_tcp() {
    live_and_apart(TCP);
}

#[test]
fn an_offline_device_gets_through_a_third_what_the_first_wrote() {
    let a = Device::with_vault("a");
    let (b, c) = (Device::joined(&a, "b"), Device::joined(&a, "c"));
    // What b learned of c, it learns from a.
    let note = a.ok(&["put", "note", "title=from a"]);
    let mut at_b = b.run(TCP, &[]);
    let at_a = a.run_with(QUIC, &at_b);
    at_b.wait_for_update(&json!(note));
    at_a.end();
    let mut at_c = c.run_with(TCP, &at_b);
    at_c.wait_for_update(&json!(note));
    until_equal(&mut [&mut at_b, &mut at_c]);
}

#[test]
fn two_devices_on_one_network_find_each_other() {
    let lan = match Lan::new() {
        Ok(lan) => lan,
        Err(why) => return not_run("two_devices_on_one_network_find_each_other", &why),
    };
    let a = Device::with_vault("a");
    let b = Device::joined(&a, "b");
    let start = |side: &str, device: &Device| {
        let mut command = lan.command(side, env!("CARGO_BIN_EXE_privstack"));
        command.arg("--data").arg(&device.data).args(["run", "--json"]);
        Running::start(command)
    };
    let mut at_a = start("a", &a);
    let mut at_b = start("b", &b);
    at_b.wait_for_event("peer_connected");
    let note = at_a.note("seen across the room");
    at_b.wait_for_update(&note);
    until_equal(&mut [&mut at_a, &mut at_b]);
    let address = at_b.ask(json!({"cmd": "peers"}))["peers"][0].clone();
    assert_eq!(address["online"], true, "{address}");
}
