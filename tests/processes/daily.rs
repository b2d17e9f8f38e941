//! What people do with two devices, command by command.

use serde_json::{Value as Json, json};

use crate::device::*;

fn reasons(answer: &Json) -> Vec<&str> {
    answer.as_array().unwrap().iter().map(|reason| reason["reason"].as_str().unwrap()).collect()
}

#[test]
fn sync_ends_when_nothing_is_owed_and_says_what_it_moved() {
    let a = Device::with_vault("a");
    let b = Device::joined(&a, "b");
    (0..3).for_each(|n| drop(a.ok(&["put", "note", &format!("title=a {n}")])));
    b.ok(&["put", "note", "title=b"]);
    let at_a = a.run(QUIC, &[]);
    let peer = at_a.address();
    let words = ["sync", "--no-mdns", "--timeout", "30", "--peer", &peer];
    let answer = b.ok_json(&words);
    assert_eq!((&answer["in_sync"], &answer["sent"], &answer["received"]), (&json!(true), &json!(1), &json!(3)));
    assert_eq!(answer["synced"], json!([at_a.peer_id()]));
    assert_eq!(a.ok(&["digest"]), b.ok(&["digest"]));
    let again = b.ok_json(&words);
    assert_eq!((&again["in_sync"], &again["sent"], &again["received"]), (&json!(true), &json!(0), &json!(0)));
    at_a.end();

    // The peer is off: exit code 3, and why.
    b.ok(&["put", "note", "title=later"]);
    let output = b.output(&["--json", "sync", "--no-mdns", "--timeout", "2", "--peer", &peer]);
    assert_eq!(output.status.code(), Some(3));
    let answer: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(reasons(&answer["reasons"]), ["no_route"]);
}

#[test]
fn explain_names_the_peer_that_is_off_and_how_much_it_lacks() {
    let a = Device::with_vault("a");
    let b = Device::joined(&a, "b");
    let id = a.ok(&["put", "note", "title=x"]);
    let answer = a.ok_json(&["explain"]);
    assert_eq!(reasons(&answer["reasons"]), ["no_route"]);
    assert_eq!(answer["reasons"][0]["peer"], b.ok(&["id"]).as_str());
    assert_eq!(answer["reasons"][0]["commits"], 1);
    assert_eq!(reasons(&a.ok_json(&["explain", &id])["reasons"]), ["no_route"]);
    let at_a = a.run(TCP, &[]);
    b.ok(&["sync", "--no-mdns", "--peer", &at_a.address()]);
    at_a.end();
    let stranger = Device::with_vault("stranger").ok(&["id"]);
    let mut at_a = a.run(TCP, &[]);
    at_a.ask(json!({"cmd": "add_peer", "peer": stranger, "addresses": []}));
    let reasons = at_a.explain();
    let of = |peer: &str| reasons.as_array().unwrap().iter().find(|reason| reason["peer"] == peer).cloned();
    assert_eq!(of(&stranger).unwrap()["reason"], "not_trusted");
    at_a.ask(json!({"cmd": "pause"}));
    let paused = at_a.explain();
    assert!(paused.as_array().unwrap().iter().all(|reason| reason["reason"] == "paused"), "{paused}");
}

#[test]
fn own_data_comes_along_into_the_vault_that_is_joined() {
    let a = Device::with_vault("a");
    let b = Device::with_vault("b");
    let ours = a.ok(&["put", "note", "title=of a"]);
    let theirs = b.ok(&["put", "note", "title=of b", "body@0+long text", "tags+:x", "n+=3"]);
    let gone = b.ok(&["put", "note", "title=gone"]);
    b.ok(&["rm", &gone]);
    let said = b.join(&a, "b");
    assert!(said.contains("1 entities") || said.contains("2 entities"), "{said}");
    let mut at_a = a.run(QUIC, &[]);
    let mut at_b = b.run_with(QUIC, &at_a);
    until_equal(&mut [&mut at_a, &mut at_b]);
    for side in [&mut at_a, &mut at_b] {
        let fields = side.fields(&json!(theirs));
        assert_eq!(
            (&fields["title"], &fields["body"], &fields["tags"], &fields["n"]),
            (&json!("of b"), &json!("long text"), &json!(["x"]), &json!(3))
        );
        assert_eq!(side.fields(&json!(ours))["title"], "of a");
        assert_eq!(side.ask(json!({"cmd": "ls"}))["entities"].as_array().unwrap().len(), 2);
    }
}

#[test]
fn a_restored_backup_becomes_a_member_again_by_an_invite() {
    let a = Device::with_vault("a");
    let b = Device::joined(&a, "b");
    let id = a.ok(&["put", "note", "title=kept", "body@0+text"]);
    let file = a.beside("vault.backup");
    a.ok(&["backup", file.to_str().unwrap()]);
    // A new device from the file: it reads, and cannot write before it is invited.
    let c = Device::empty();
    c.ok(&["restore-backup", file.to_str().unwrap()]);
    assert_eq!(c.ok(&["digest"]), a.ok(&["digest"]));
    assert_eq!(c.fails(&["put", "note", &id, "title=no"]).1["code"], "not_trusted");
    c.join(&a, "c");
    c.ok(&["put", "note", &id, "title=by c"]);
    let mut at_a = a.run(QUIC, &[]);
    let (mut at_b, mut at_c) = (b.run_with(QUIC, &at_a), c.run_with(QUIC, &at_a));
    until_equal(&mut [&mut at_a, &mut at_b, &mut at_c]);
    assert_eq!(at_b.fields(&json!(id))["title"], "by c");
}

#[test]
fn history_names_every_device_that_changed_an_entity() {
    let a = Device::with_vault("a");
    let b = Device::joined(&a, "b");
    let id = a.ok(&["put", "note", "title=one"]);
    let mut at_a = a.run(TCP, &[]);
    let mut at_b = b.run_with(TCP, &at_a);
    at_b.wait_for_update(&json!(id));
    at_b.edit(&json!(id), json!([{"set": ["title", "two"]}]));
    at_a.wait_for_update(&json!(id));
    let changes = a.ok_json(&["history", &id])["changes"].clone();
    let by: Vec<&Json> = changes.as_array().unwrap().iter().map(|change| &change["by"]).collect();
    assert_eq!(by, [at_a.peer_id(), at_b.peer_id()]);
    assert!(changes.as_array().unwrap().iter().all(|change| change["fields"] == json!(["title"])), "{changes}");
}

#[test]
fn notes_imported_on_one_device_are_exported_on_the_other_as_they_were() {
    let a = Device::with_vault("a");
    let b = Device::joined(&a, "b");
    let notes = a.beside("notes");
    std::fs::create_dir_all(notes.join("deep")).unwrap();
    let files = [
        ("a.md", "---\ntitle: Alpha\ntags: [x, y]\n---\n# Alpha\n\ntext é 😀\n"),
        ("deep/b.md", "no front matter\n\n- a list\n"),
        ("c.md", ""),
    ];
    files.iter().for_each(|(name, text)| std::fs::write(notes.join(name), text).unwrap());
    a.ok(&["import", notes.to_str().unwrap()]);
    let at_a = a.run(QUIC, &[]);
    b.ok(&["sync", "--no-mdns", "--peer", &at_a.address()]);
    let out = b.beside("out");
    b.ok(&["export", out.to_str().unwrap()]);
    let texts = |folder: &std::path::Path| {
        let mut texts = Vec::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
                match entry.path() {
                    path if path.is_dir() => folders.push(path),
                    path => texts.push(std::fs::read_to_string(path).unwrap()),
                }
            }
        }
        texts.sort();
        texts
    };
    let exported = texts(&out);
    assert_eq!(exported.len(), 3);
    for (_, text) in files {
        let body = text.rsplit("---\n").next().unwrap();
        assert!(exported.iter().any(|one| one.ends_with(body)), "{text}: {exported:?}");
    }
    // And what was exported goes in again without a change.
    let digest = b.ok(&["digest"]);
    b.ok(&["import", out.to_str().unwrap()]);
    assert_eq!(b.ok(&["digest"]), digest);
}

#[cfg(unix)]
#[test]
fn a_second_run_says_who_holds_the_folder_and_ctrl_c_ends_the_first() {
    let a = Device::with_vault("a");
    let mut at_a = a.run(TCP, &[]);
    let (code, error) = a.fails(&["run", "--no-mdns"]);
    assert_eq!((code, error["code"].as_str()), (Some(1), Some("locked")));
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(a.data.to_str().unwrap()) && message.contains("run"), "{message}");
    let id = a.ok(&["put", "note", "title=through the socket"]);
    at_a.wait_for_update(&json!(id));
    std::process::Command::new("kill").args(["-INT", &at_a.child.id().to_string()]).status().unwrap();
    assert_eq!(at_a.child.wait().unwrap().code(), Some(0));
    assert!(a.ok(&["ls"]).contains("through the socket"));
}
