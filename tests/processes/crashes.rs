//! Processes killed at any moment, and disks that are full.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::device::*;

const BATCH: usize = 1_000;

/// Sends puts of a thousand events each, one after the other, until `upto` are answered or the process is gone; the
/// ids of all that were answered.
fn put_batches(running: &mut Running, upto: usize, mut answered: impl FnMut(usize)) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    let put = |running: &mut Running| {
        let change = json!({"entity": null, "ops": [{"set": ["title", "a note of some length, as they are"]}]});
        running.send(json!({"cmd": "put", "type": "note", "changes": vec![change; BATCH]}))
    };
    // One is always under way while another is answered.
    if !put(running) {
        return ids;
    }
    let mut sent = 1;
    for done in 1..=upto / BATCH {
        if sent < upto / BATCH {
            put(running);
            sent += 1;
        }
        let Some(answer) = running.answer() else { break };
        let written = answer["ok"]["entities"].as_array().unwrap_or_else(|| panic!("{answer}"));
        ids.extend(written.iter().map(|id| id.as_str().unwrap().to_owned()));
        answered(done);
    }
    ids
}

fn ids_of(device: &Device) -> BTreeSet<String> {
    device.entities().iter().map(|entity| entity["id"].as_str().unwrap().to_owned()).collect()
}

/// Kills a process by its id after a while, wherever it is then.
fn kill_after(running: &Running, wait: Duration) {
    let id = running.child.id().to_string();
    thread::spawn(move || {
        thread::sleep(wait);
        // Its owner has not waited for it: the id is still its own.
        std::process::Command::new("kill").args(["-KILL", &id]).status().unwrap();
    });
}

#[test]
fn what_was_acknowledged_survives_kills_in_the_middle_of_an_import_and_of_its_sync() {
    let a = Device::with_vault("a");
    let b = Device::joined(&a, "b");
    let mut saved = BTreeSet::new();
    // Killed in the middle of three of four rounds; the last one brings the number to 50,000.
    for round in 0..4 {
        let left = 50_000 - saved.len() / BATCH * BATCH;
        let (part, kill_at) = if round == 3 { (left, usize::MAX) } else { (20_000, 3 + 4 * round) };
        let mut at_a = a.run(TCP, &[]);
        let id = at_a.child.id().to_string();
        let new = put_batches(&mut at_a, part, |done| {
            if done == kill_at {
                std::process::Command::new("kill").args(["-KILL", &id]).status().unwrap();
            }
        });
        saved.extend(new);
        drop(at_a);
    }
    assert!(saved.len() >= 50_000);
    let there = ids_of(&a);
    // Most of it lies in pages now: an id that none of them has is found to be absent, and can be taken.
    let new = "0190a0b0-7c1d-7abc-8def-0123456789ab";
    let last = "ffffffff-7c1d-7abc-8def-0123456789ab";
    assert_eq!(a.fails(&["get", last]).1["code"], "not_found");
    assert_eq!(a.ok(&["put", "note", new, "title=x"]), new);
    assert_eq!(a.ok(&["put", "note", last, "title=x"]), last);
    assert!(saved.is_subset(&there), "{} of {} acknowledged are lost", saved.difference(&there).count(), saved.len());

    // Kills of either side while the other gets all of it, at moments that differ from run to run.
    let mut wait = u64::from(std::process::id()) % 200;
    for round in 0..4 {
        let mut at_a = a.run(QUIC, &[]);
        let mut at_b = b.run_with(QUIC, &at_a);
        at_b.wait_for_event("peer_connected");
        kill_after(if round % 2 == 0 { &at_b } else { &at_a }, Duration::from_millis(wait));
        let victim = if round % 2 == 0 { &mut at_b } else { &mut at_a };
        victim.child.wait().unwrap();
        wait = wait * 7 % 1_000 + 50;
    }
    let mut at_a = a.run(QUIC, &[]);
    let mut at_b = b.run_with(QUIC, &at_a);
    until_equal(&mut [&mut at_a, &mut at_b]);
    at_b.end();
    assert_eq!(ids_of(&b).len(), there.len() + 2);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_and_what_was_saved_stays() {
    let folder = tempfile::tempdir().unwrap();
    let mount = Mount::tmpfs(folder.path(), "8m");
    let Some(mount) = mount else {
        return crate::lan::not_run("a_full_disk_is_told_and_what_was_saved_stays", "mounting a tmpfs needs root");
    };
    let a = Device::at(folder.path().join("data"));
    a.ok(&["init", "--name", "small"]);
    let mut at_a = a.run(TCP, &[]);
    let mut saved = Vec::new();
    let refused = loop {
        let text = "x".repeat(500_000) + &saved.len().to_string();
        assert!(at_a.send(json!({"cmd": "put", "type": "note", "ops": [{"set": ["title", noise(&text)]}]})));
        let answer = at_a.answer().expect("the process goes on");
        match answer["ok"]["entities"][0].as_str() {
            Some(id) => saved.push(id.to_owned()),
            None => break answer["error"].clone(),
        }
        assert!(saved.len() < 100, "the disk is never full");
    };
    assert_eq!(refused["code"], "quota", "{refused}");
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("vault.redb") && message.contains("room"), "{message}");
    // It goes on reading, and everything that it said is saved is there, also after a kill.
    assert_eq!(at_a.ask(json!({"cmd": "ls", "limit": 1_000}))["entities"].as_array().unwrap().len(), saved.len());
    // And on writing, once there is room.
    mount.enlarge("64m");
    saved.push(at_a.note("there is room again").as_str().unwrap().to_owned());
    at_a.kill();
    let there = ids_of(&a);
    assert!(saved.iter().all(|id| there.contains(id)));
}

/// Text that does not compress.
pub fn noise(seed: &str) -> String {
    let mut state = seed
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let next = |_: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'0' + (state >> 58) as u8)
    };
    (0..seed.len()).map(next).collect()
}

#[cfg(target_os = "linux")]
struct Mount(std::path::PathBuf);

#[cfg(target_os = "linux")]
impl Mount {
    fn tmpfs(at: &std::path::Path, size: &str) -> Option<Self> {
        let options = format!("size={size}");
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(at)
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then(|| Self(at.to_owned()))
    }

    fn enlarge(&self, size: &str) {
        let options = format!("remount,size={size}");
        let mounted = std::process::Command::new("mount").args(["-o", &options]).arg(&self.0).status().unwrap();
        assert!(mounted.success());
    }
}

#[cfg(target_os = "linux")]
impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a process that is being killed may hold it for a moment.
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_write_that_was_answered_is_there_after_a_kill_at_once() {
    let a = Device::with_vault("a");
    for round in 0..5 {
        let mut at_a = a.run(TCP, &[]);
        let note: Json = at_a.note(&format!("round {round}"));
        at_a.kill();
        assert!(a.ok(&["get", note.as_str().unwrap()]).contains(&format!("round {round}")));
    }
}
