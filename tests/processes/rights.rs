//! Who may no longer write or read has no effect and gets nothing, whoever carries it, and all others end equal.

use serde_json::{Value as Json, json};

use crate::crashes::noise;
use crate::device::*;

/// A device syncs with one that runs, and stops: nobody else hears of it.
fn meet(device: &Device, other: &Running) {
    device.ok(&["sync", "--no-mdns", "--timeout", "30", "--peer", &other.address()]);
}

fn title(at: &mut Running, id: &str) -> Json {
    at.fields(&json!(id))["title"].clone()
}

/// Asserts that a device explains why commits of this author do not count, and shows what is in them.
fn keeps_back(at: &mut Running, author: &str, commits: u64, titles: &[&str]) {
    assert_eq!(at.status()["quarantined"], commits);
    let reasons = at.explain();
    let of_author = |reason: &&Json| reason["reason"] == "quarantined" && reason["peer"] == author;
    let told: u64 =
        reasons.as_array().unwrap().iter().filter(of_author).map(|one| one["commits"].as_u64().unwrap()).sum();
    assert_eq!(told, commits, "{reasons}");
    let shown = at.ask(json!({"cmd": "quarantine"}))["quarantine"].take();
    let mut shown: Vec<Json> = shown.as_array().unwrap().clone();
    assert!(shown.iter().all(|one| one["by"] == author), "{shown:?}");
    let mut shown: Vec<Json> = shown.iter_mut().map(|one| one["entity"]["fields"]["title"].take()).collect();
    shown.sort_by_key(Json::to_string);
    assert_eq!(shown, titles);
}

#[test]
fn what_a_removed_device_wrote_before_it_knew_has_no_effect_also_when_a_friend_carries_it() {
    let a = Device::with_vault("a");
    let [lost, friend, other] = ["lost", "friend", "other"].map(|name| Device::joined(&a, name));
    let id = lost.ok(&["id"]);
    let note = lost.ok(&["put", "note", "title=before"]);
    let at_a = a.run(TCP, &[]);
    for device in [&lost, &friend, &other] {
        meet(device, &at_a);
    }
    meet(&friend, &at_a);
    at_a.end();

    // Neither of the two hears of the removal.
    a.ok(&["remove", &id]);
    lost.ok(&["put", "note", &note, "title=after"]);
    lost.ok(&["put", "note", "title=new"]);
    let mut at_friend = friend.run(TCP, &[]);
    meet(&lost, &at_friend);
    assert_eq!(title(&mut at_friend, &note), "after", "to the friend it is a member");

    let mut at_a = a.run_with(TCP, &at_friend);
    let mut at_other = other.run_with(TCP, &at_a);
    until_equal(&mut [&mut at_a, &mut at_friend, &mut at_other]);
    for at in [&mut at_a, &mut at_friend, &mut at_other] {
        assert_eq!(title(at, &note), "before");
        assert_eq!(at.ask(json!({"cmd": "ls"}))["entities"].as_array().unwrap().len(), 1);
        keeps_back(at, &id, 2, &["after", "new"]);
    }

    // Directly it is refused, and told why.
    let sync = ["--json", "sync", "--no-mdns", "--timeout", "5", "--peer", &at_a.address()];
    let refused = lost.output(&sync);
    assert_eq!(refused.status.code(), Some(3));
    let told: Json = serde_json::from_slice(&refused.stdout).unwrap();
    let reasons = told["reasons"].as_array().unwrap();
    assert!(!reasons.is_empty() && reasons.iter().any(|one| one["reason"] == "not_trusted"), "{told}");
    assert_eq!(lost.ok_json(&["status"])["role"], Json::Null);
    assert_eq!(lost.fails(&["put", "note", &note, "title=again"]).1["code"], "not_trusted");
    assert_eq!(title(&mut at_a, &note), "before");

    // An Admin may let it count after all.
    a.ok(&["accept", &id]);
    at_other.until(json!({"cmd": "status"}), |status| status["quarantined"] == 0);
    until_equal(&mut [&mut at_a, &mut at_friend, &mut at_other]);
    assert_eq!(title(&mut at_other, &note), "after");
}

#[test]
fn what_a_member_wrote_after_it_was_made_a_reader_has_no_effect_also_when_a_member_carries_it() {
    let a = Device::with_vault("a");
    let [reader, carrier] = ["reader", "carrier"].map(|name| Device::joined(&a, name));
    let id = reader.ok(&["id"]);
    let note = reader.ok(&["put", "note", "title=before"]);
    let at_a = a.run(TCP, &[]);
    for device in [&reader, &carrier] {
        meet(device, &at_a);
    }
    at_a.end();

    a.ok(&["role", &id, "read-only"]);
    reader.ok(&["put", "note", &note, "title=after"]);
    reader.ok(&["put", "note", "title=new"]);
    let mut at_carrier = carrier.run(TCP, &[]);
    meet(&reader, &at_carrier);
    assert_eq!(title(&mut at_carrier, &note), "after");

    let mut at_a = a.run_with(TCP, &at_carrier);
    until_equal(&mut [&mut at_a, &mut at_carrier]);
    let mut at_reader = reader.run_with(TCP, &at_a);
    at_reader.until_role(json!("read_only"));
    // It goes on reading, and shows the same as the others, its own later words left out.
    let later = at_carrier.note("later");
    at_reader.wait_for_update(&later);
    until_equal(&mut [&mut at_a, &mut at_carrier, &mut at_reader]);
    for at in [&mut at_a, &mut at_carrier, &mut at_reader] {
        assert_eq!(title(at, &note), "before");
        keeps_back(at, &id, 2, &["after", "new"]);
    }
    let again = json!({"cmd": "put", "type": "note", "entity": note, "ops": [{"set": ["title", "again"]}]});
    assert_eq!(at_reader.refused(again), "policy_denied");
    until_equal(&mut [&mut at_a, &mut at_carrier, &mut at_reader]);
}

#[test]
fn two_admins_who_remove_each_other_are_both_out_and_the_words_settle_it() {
    let a = Device::empty();
    let words = a.beside("words");
    let words = words.to_str().unwrap();
    a.ok(&["init", "--name", "a", "--recovery-file", words]);
    let b = Device::joined_as(&a, "b", "admin");
    let c = Device::joined(&a, "c");
    let [of_a, of_b, of_c] = [&a, &b, &c].map(|device| device.ok(&["id"]));
    let note = a.ok(&["put", "note", "title=before"]);
    let at_a = a.run(TCP, &[]);
    for device in [&b, &c] {
        meet(device, &at_a);
    }
    at_a.end();
    assert_eq!(b.ok_json(&["status"])["role"], "admin");

    a.ok(&["remove", &of_b]);
    b.ok(&["remove", &of_a]);
    let mut at_c = c.run(TCP, &[]);
    let mut at_a = a.run_with(TCP, &at_c);
    let mut at_b = b.run_with(TCP, &at_c);
    let put = json!({"cmd": "put", "type": "note", "entity": note, "ops": [{"set": ["title", "after"]}]});
    for at in [&mut at_a, &mut at_b] {
        at.until_role(Json::Null);
        assert_eq!(at.refused(put.clone()), "not_trusted");
        let reasons = at.explain();
        assert!(reasons.as_array().unwrap().iter().all(|one| one["reason"] == "not_trusted"), "{reasons}");
    }
    at_c.until(json!({"cmd": "members"}), |told| told["members"].as_array().unwrap().len() == 1);
    assert_eq!(at_c.members(), [of_c.clone()].into());
    at_c.edit(&json!(note), json!([{"set": ["title", "alone"]}]));
    assert_eq!(at_c.refused(json!({"cmd": "role", "peer": of_c, "role": "admin"})), "policy_denied");

    // Whoever has the words decides who is in again.
    c.ok(&["recover", "--recovery-file", words]);
    assert_eq!(at_c.status()["role"], "admin");
    let invite = c.ok(&["invite", &of_a]);
    a.ok(&["join", &invite]);
    at_a.until_role(json!("member"));
    until_equal(&mut [&mut at_a, &mut at_c]);
    assert_eq!(title(&mut at_a, &note), "alone");
    assert_eq!(at_b.status()["role"], Json::Null);
    assert_eq!(title(&mut at_b, &note), "before");
}

/// Sets who reads and writes a type: these roles, of a team or of all.
fn allow(at: &mut Running, name: &str, roles: &[&str], team: Option<&str>) {
    let entries = if roles.is_empty() { json!([]) } else { json!([{"roles": roles, "team": team}]) };
    at.ask(json!({"cmd": "acl", "type": name, "entries": entries}));
}

fn put(name: &str, title: &str) -> Json {
    json!({"cmd": "put", "type": name, "ops": [{"set": ["title", title]}]})
}

/// The types that a device holds anything of.
fn types(status: &Json) -> Vec<&str> {
    status["types"].as_object().unwrap().keys().map(String::as_str).collect()
}

fn enterprise() -> Device {
    let device = Device::empty();
    device.ok(&["init", "--name", "a", "--policy", "enterprise"]);
    device
}

#[test]
fn three_teams_that_must_not_see_each_other_see_their_own_and_an_admin_sees_all() {
    const TEAMS: [&str; 3] = ["blue", "green", "red"];
    let a = enterprise();
    // Two of each team, one team after the other.
    let devices: Vec<Device> = (0..6).map(|number| Device::joined(&a, &format!("{number}"))).collect();
    let mut at_a = a.run(TCP, &[]);
    for team in TEAMS {
        allow(&mut at_a, team, &["admin", "member"], Some(team));
    }
    let mut running: Vec<Running> = Vec::new();
    for (number, device) in devices.iter().enumerate() {
        let id = device.ok(&["id"]);
        at_a.ask(json!({"cmd": "team", "peer": id, "teams": [TEAMS[number % 3]]}));
        // The one before is of another team: they talk to each other, and not of what only one of them may see.
        let before = running.last().map_or(at_a.address(), Running::address);
        running.push(device.run(TCP, &["--peer", &at_a.address(), "--peer", &before]));
    }
    for (number, at) in running.iter_mut().enumerate() {
        let id = json!(at.peer_id());
        let in_team = |told: &Json| {
            let members = told["members"].as_array().unwrap();
            members.iter().any(|member| member["peer_id"] == id && member["teams"] == json!([TEAMS[number % 3]]))
        };
        at.until(json!({"cmd": "members"}), in_team);
        at.ask(put(TEAMS[number % 3], &format!("of {number}")));
    }
    at_a.until(json!({"cmd": "status"}), |status| status["events"] == 6);
    let mut digests = vec![at_a.digest()];
    let (first, second) = running.split_at_mut(3);
    for (one, two) in first.iter_mut().zip(second) {
        digests.push(until_equal(&mut [one, two]));
    }
    digests.sort_by_key(Json::to_string);
    digests.dedup();
    assert_eq!(digests.len(), 4, "each team has its own state, and the Admin that of all");

    assert_eq!(types(&at_a.status()), TEAMS);
    let reasons = at_a.explain();
    let denied = reasons.as_array().unwrap().iter().filter(|one| one["reason"] == "policy_denied");
    assert_eq!(denied.count(), 12, "two types to each of six: {reasons}");
    for (number, at) in running.iter_mut().enumerate() {
        let (own, other) = (TEAMS[number % 3], TEAMS[(number + 1) % 3]);
        assert_eq!(types(&at.status()), [own]);
        let list = |at: &mut Running, name: &str| at.ask(json!({"cmd": "ls", "type": name}))["entities"].take();
        let seen = list(at, own);
        assert_eq!(seen.as_array().unwrap().len(), 2);
        assert_eq!(seen, list(&mut at_a, own));
        assert_eq!(list(at, other), json!([]));
        assert_eq!(at.ask(json!({"cmd": "ls"}))["entities"], seen);
        let hidden = list(&mut at_a, other)[0]["id"].take();
        assert_eq!(at.refused(json!({"cmd": "get", "entity": hidden})), "not_found");
        assert_eq!(at.refused(put(other, "not ours")), "policy_denied");
        let told = at.explain();
        let names = |one: &Json| one["type"].is_null() || one["type"] == own;
        assert!(told.as_array().unwrap().iter().all(names), "it hears of no other type: {told}");
    }
}

#[test]
fn rights_that_are_taken_and_given_while_entities_stream_in_end_in_equal_states() {
    let a = enterprise();
    let b = Device::joined(&a, "b");
    let id = b.ok(&["id"]);
    let mut at_a = a.run(TCP, &[]);
    // Much that cannot be packed: many times what may be under way at once.
    for part in 0..40 {
        let change = |number| json!({"ops": [{"set": ["title", noise(&format!("{number:3000} {part}"))]}]});
        let changes: Vec<Json> = (0..100).map(change).collect();
        at_a.ask(json!({"cmd": "put", "type": "note", "changes": changes}));
    }
    let mut at_b = b.run_with(TCP, &at_a);
    at_a.wait_for_event("peer_connected");
    let give = |at_a: &mut Running| {
        allow(at_a, "note", &["admin", "member"], None);
        at_a.ask(json!({"cmd": "role", "peer": id, "role": "member"}));
    };
    let events = |at: &mut Running| at.status()["events"].as_u64().unwrap();
    let (mut held, mut interrupted) = (0, 0);
    for round in 0..6 {
        assert_eq!(events(&mut at_b), held, "nothing comes without the right");
        give(&mut at_a);
        at_b.until(json!({"cmd": "status"}), |status| status["events"].as_u64().unwrap() > held);
        // By the list, and by the role that the list asks for.
        if round % 2 == 0 {
            allow(&mut at_a, "note", &[], None);
            at_b.until(json!({"cmd": "members"}), |told| told["acls"][0]["entries"] == json!([]));
        } else {
            at_a.ask(json!({"cmd": "role", "peer": id, "role": "read_only"}));
            at_b.until_role(json!("read_only"));
        }
        let reasons = at_a.explain();
        let denied = |one: &Json| one["reason"] == "policy_denied" && one["type"] == "note" && one["peer"] == id;
        assert!(reasons.as_array().unwrap().iter().any(denied), "{reasons}");
        held = events(&mut at_b);
        if held == events(&mut at_a) {
            break;
        }
        interrupted += 1;
    }
    assert!(interrupted > 1, "all of it was there before the right was taken");
    give(&mut at_a);
    until_equal(&mut [&mut at_a, &mut at_b]);
    assert_eq!(events(&mut at_b), 4_000);
    at_a.ask(json!({"cmd": "settled", "level": "peer"}));
    assert_eq!(at_a.explain(), json!([]));
}

#[test]
fn a_right_that_is_given_back_brings_all_that_was_written_meanwhile() {
    let a = enterprise();
    let [b, c] = ["b", "c"].map(|name| Device::joined(&a, name));
    let of_b = b.ok(&["id"]);
    let mut at_a = a.run(TCP, &[]);
    allow(&mut at_a, "note", &["admin", "member"], Some("writers"));
    let teams = |at_a: &mut Running, peer: &str, teams: &[&str]| {
        at_a.ask(json!({"cmd": "team", "peer": peer, "teams": teams}));
    };
    for peer in [&of_b, &c.ok(&["id"]), &a.ok(&["id"])] {
        teams(&mut at_a, peer, &["writers"]);
    }
    let first = at_a.note("first");
    let mut at_b = b.run_with(TCP, &at_a);
    let mut at_c = c.run_with(TCP, &at_b);
    until_equal(&mut [&mut at_a, &mut at_b, &mut at_c]);
    at_b.edit(&first, json!([{"text_insert": ["body", 0, "by b"]}, {"add": ["read", 1]}]));
    let before = until_equal(&mut [&mut at_a, &mut at_b, &mut at_c]);

    teams(&mut at_a, &of_b, &[]);
    let out = |one: &Json| one["peer_id"] == of_b && one["teams"] == json!([]);
    at_b.until(json!({"cmd": "members"}), |told| told["members"].as_array().unwrap().iter().any(out));
    assert_eq!(at_b.refused(put("note", "not its own")), "policy_denied");
    at_c.ask(json!({"cmd": "add_peer", "addresses": [at_a.address()]}));
    at_a.edit(&first, json!([{"text_insert": ["body", 0, "by a, "]}, {"add": ["read", 2]}]));
    for number in 0..5 {
        at_a.note(&format!("of a, {number}"));
        at_c.note(&format!("of c, {number}"));
    }
    until_equal(&mut [&mut at_a, &mut at_c]);
    assert_eq!(at_b.digest(), before, "it keeps what it had");

    teams(&mut at_a, &of_b, &["writers"]);
    at_b.wait_for_update(&first);
    until_equal(&mut [&mut at_a, &mut at_b, &mut at_c]);
    let fields = at_b.fields(&first);
    assert_eq!((&fields["body"], &fields["read"]), (&json!("by a, by b"), &json!(3)));
    assert_eq!(at_b.status()["events"], at_a.status()["events"]);
    let last = at_b.note("it writes again");
    at_c.wait_for_update(&last);
    until_equal(&mut [&mut at_a, &mut at_b, &mut at_c]);
}

#[test]
fn a_full_device_and_an_empty_one_never_wipe_each_other() {
    let a = Device::with_vault("full");
    let [b, c] = ["empty", "empty too"].map(|name| Device::joined(&a, name));
    let file = a.beside("notes.json");
    let notes: Vec<Json> = (0..200).map(|number| json!({"title": format!("note {number}")})).collect();
    std::fs::write(&file, json!(notes).to_string()).unwrap();
    a.ok(&["import", file.to_str().unwrap()]);
    let full = json!(a.ok(&["digest"]));
    let empty = json!(b.ok(&["digest"]));
    assert_ne!(full, empty);

    // The empty one dials.
    let mut at_a = a.run(TCP, &[]);
    let mut at_b = b.run_with(TCP, &at_a);
    assert_eq!(until_equal(&mut [&mut at_a, &mut at_b]), full);
    at_a.end();
    // The full one does.
    let mut at_c = c.run(QUIC, &[]);
    let mut at_a = a.run_with(QUIC, &at_c);
    assert_eq!(until_equal(&mut [&mut at_a, &mut at_c]), full);
    // And after a start of whoever was empty.
    at_b.kill();
    at_c.kill();
    let mut at_b = b.run_with(TCP, &at_a);
    let mut at_c = c.run_with(TCP, &at_b);
    assert_eq!(until_equal(&mut [&mut at_a, &mut at_b, &mut at_c]), full);
    assert_eq!(at_c.ask(json!({"cmd": "ls", "limit": 1_000}))["entities"].as_array().unwrap().len(), 200);
}
