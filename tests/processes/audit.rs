//! What was denied and who changed what, as the command line shows it.

use privstack_sync::platform::native::store::DiskStore;
use privstack_sync::store::{Read, Table, WriteBatch};
use serde_json::{Value as Json, json};

use crate::device::*;

fn entries(device: &Device) -> Vec<Json> {
    device.ok(&["--json", "audit"]).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Action, decision and type, in short.
fn short(entries: &[Json]) -> Vec<(&str, &str, &str)> {
    let text = |entry: &'_ Json, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    entries
        .iter()
        .map(|entry| {
            let words = ["action", "decision", "type"].map(|name| text(entry, name).leak() as &str);
            (words[0], words[1], words[2])
        })
        .collect()
}

#[test]
fn denials_and_changes_are_shown_and_one_that_somebody_changed_is_named() {
    let a = Device::empty();
    a.ok(&["init", "--name", "a", "--policy", "enterprise"]);
    assert_eq!(a.ok(&["audit", "--verify"]), "the audit log is empty");
    let b = Device::joined(&a, "b");
    let id = b.ok(&["id"]);
    a.ok(&["acl", "note", "--allow", "admin,member"]);
    a.ok(&["put", "task", "title=for Admins"]);
    let mut at_a = a.run(QUIC, &[]);
    let mut at_b = b.run_with(QUIC, &at_a);
    let note = at_a.note("for both");
    at_b.wait_for_update(&note);
    at_a.wait_for_event("audited");
    // Refused on the device itself, twice: one entry.
    for _ in 0..2 {
        at_b.send(json!({"cmd": "put", "type": "task", "ops": [{"set": ["title", "x"]}]}));
        assert_eq!(at_b.answer().unwrap()["error"]["code"], "policy_denied");
        at_b.send(json!({"cmd": "remove", "peer": a.ok(&["id"])}));
        assert_eq!(at_b.answer().unwrap()["error"]["code"], "policy_denied");
    }
    // Through the socket of the one that runs.
    let shown = entries(&a);
    let made = [("pair", "allow", ""), ("acl_changed", "allow", "note"), ("send", "deny", "task")];
    assert_eq!(short(&shown), made);
    assert_eq!(shown[2]["peer"], id.as_str());
    let refused = [("send", "deny", "task"), ("revoke", "deny", "")];
    let at_both = at_b.ask(json!({"cmd": "audit"}))["entries"].as_array().unwrap().clone();
    assert!(short(&at_both).ends_with(&refused), "{at_both:?}");
    assert_eq!(at_b.ask(json!({"cmd": "audit_verify"}))["last"], at_both.len());
    assert_eq!(short(&entries(&a)), made);
    at_a.end();
    at_b.end();
    assert_eq!(a.ok(&["audit", "--verify"]), "3 entries, 1 to 3, are as they were written");
    assert_eq!(a.ok_json(&["audit", "--limit", "1", "--after", "1"])["number"], 2);
    let lines = a.ok(&["audit"]);
    assert!(lines.lines().any(|line| line.contains("deny   send `task`") && line.contains(&id)), "{lines}");

    // Somebody with access to the disk makes a denial look like a permission.
    let key = [&[1][..], &3_u64.to_be_bytes()].concat();
    let mut store = DiskStore::open(&a.data).unwrap();
    let mut row = store.read_now(&Read::Get(Table::Audit, key.clone())).unwrap().one().unwrap().unwrap().1;
    let last = row.len() - 2;
    assert_eq!(row[last], 0);
    row[last] = 1;
    let mut batch = WriteBatch::default();
    batch.put(Table::Audit, key, row);
    store.commit_now(batch).unwrap();
    drop(store);
    let (code, error) = a.fails(&["audit", "--verify"]);
    assert_eq!((code, error["code"].as_str()), (Some(1), Some("storage")));
    assert!(error["message"].as_str().unwrap().contains("entry 3 of the audit log"), "{error}");
    // The vault itself goes on.
    assert!(a.ok(&["ls"]).contains("for both"));
}
