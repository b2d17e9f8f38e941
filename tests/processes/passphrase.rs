//! A data folder that a passphrase seals: nothing of it is readable, and a crash at any moment leaves one that opens.

use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::device::*;

const TITLE: &str = "CanaryInATitle";
const BODY: &str = "a canary that sings in a text";

/// Runs a command with these lines on its standard input, where it reads its passphrases.
fn with_input(device: &Device, words: &[&str], input: &str) -> Output {
    let words = [&["--json", "--passphrase-fd", "0"], words].concat();
    let mut command = device.command(&words);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // One that fails before it reads closes the pipe.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn ok(device: &Device, words: &[&str], input: &str) -> Json {
    let output = with_input(device, words, input);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {errors}{}", String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

/// The code of the error that it fails with.
fn fails(device: &Device, words: &[&str], input: &str) -> String {
    let output = with_input(device, words, input);
    assert_eq!(output.status.code(), Some(1), "{words:?}");
    let error = &serde_json::from_slice::<Json>(&output.stdout).unwrap()["error"];
    assert!(error["message"].as_str().unwrap().len() > 20, "{error}");
    error["code"].as_str().unwrap().to_owned()
}

/// Whether any byte of any file holds one of these.
fn is_in(folder: &Path, words: &[&str]) -> bool {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).any(|path| {
        if path.is_dir() {
            return is_in(&path, words);
        }
        let bytes = std::fs::read(&path).unwrap_or_default();
        words.iter().any(|word| bytes.windows(word.len()).any(|part| part == word.as_bytes()))
    })
}

#[test]
fn a_sealed_folder_shows_nothing_and_syncs_as_before() {
    let a = Device::with_vault("a");
    let b = Device::joined(&a, "b");
    let note = json!(a.ok(&["put", "note", &format!("title={TITLE}"), &format!("body@0+{BODY}")]));
    let words = [TITLE, BODY];
    assert!(is_in(&a.data, &[TITLE]) && is_in(&a.data, &[BODY]));
    let device = a.ok(&["id"]);

    assert_eq!(ok(&a, &["passphrase", "set"], "one two\n"), json!({ "sealed": true }));
    assert!(!is_in(&a.data, &words));
    let (code, error) = a.fails(&["ls"]);
    assert_eq!((code, error["code"].as_str()), (Some(1), Some("locked")));
    assert!(error["message"].as_str().unwrap().contains("--passphrase-fd"), "{error}");
    assert_eq!(fails(&a, &["ls"], "two one\n"), "locked");
    assert_eq!(fails(&b, &["ls"], "one two\n"), "locked");
    assert_eq!(fails(&a, &["passphrase", "set"], "three\n"), "locked");
    assert_eq!(fails(&b, &["passphrase", "change"], "one\ntwo\n"), "locked");
    assert_eq!(ok(&a, &["id"], "one two\n")["peer_id"], device.as_str());
    assert_eq!(ok(&a, &["ls"], "one two\n")["fields"]["title"], TITLE);

    // The passphrase comes first, then requests.
    let run = ["run", "--json", "--passphrase-fd", "0", "--no-mdns", "--listen", QUIC];
    let mut at_a = Running::start_with(a.command(&run), "one two\n");
    let mut at_b = b.run_with(QUIC, &at_a);
    at_b.wait_for_update(&note);
    assert_eq!(at_b.fields(&note)["body"], BODY);
    at_b.edit(&note, json!([{"set": ["title", format!("{TITLE} too")]}]));
    at_a.wait_for_update(&note);
    let digest = until_equal(&mut [&mut at_a, &mut at_b]);
    assert!(!is_in(&a.data, &words), "also while it runs");
    // Other commands go through the running one, which is open already.
    assert!(a.ok(&["ls"]).contains(TITLE));
    assert_eq!(fails(&a, &["passphrase", "remove"], "one two\n"), "locked");
    at_a.end();
    at_b.end();
    assert!(!is_in(&a.data, &words));

    assert_eq!(fails(&a, &["passphrase", "change"], "wrong\nthree\n"), "locked");
    ok(&a, &["passphrase", "change"], "one two\nthree\n");
    assert!(!is_in(&a.data, &words));
    assert_eq!(fails(&a, &["digest"], "one two\n"), "locked");
    assert_eq!(ok(&a, &["digest"], "three\n")["digest"], digest);
    assert_eq!(ok(&a, &["passphrase", "remove"], "three\n"), json!({ "sealed": false }));
    assert_eq!(a.ok_json(&["digest"])["digest"], digest);
    assert!(is_in(&a.data, &words));
    assert_eq!(fails(&a, &["ls"], "three\n"), "locked");
}

#[test]
fn a_new_device_can_be_sealed_from_its_first_moment() {
    let device = Device::empty();
    ok(&device, &["init", "--name", "a"], "one\n");
    assert_eq!(device.fails(&["ls"]).1["code"], "locked");
    ok(&device, &["put", "note", &format!("title={TITLE}")], "one\n");
    assert!(!is_in(&device.data, &[TITLE]));
    assert_eq!(ok(&device, &["ls"], "one\n")["fields"]["title"], TITLE);
    let nobody = Device::empty();
    assert_eq!(fails(&nobody, &["passphrase", "set"], "one\n"), "not_found");
    assert_eq!(fails(&device, &["passphrase", "change"], "one\n"), "invalid");
    assert_eq!(ok(&device, &["digest"], "one\n").as_object().unwrap().len(), 1);
}

/// Killed at a moment, a change has happened or has not, and the folder opens either way.
#[test]
fn a_change_that_is_killed_at_any_moment_leaves_a_folder_that_opens() {
    let device = Device::with_vault("a");
    let mut running = device.run(TCP, &[]);
    for batch in 0..8 {
        let change = json!({"entity": null, "ops": [{"set": ["title", format!("{TITLE} {batch}")]}]});
        running.ask(json!({"cmd": "put", "type": "note", "changes": vec![change; 1_000]}));
    }
    let digest = running.digest();
    running.end();
    let mut sealed = false;
    let mut ends = [0, 0];
    let mut full = Duration::from_secs(1);
    for round in 0..14_u32 {
        let word = if sealed { "remove" } else { "set" };
        let mut command = device.command(&["--passphrase-fd", "0", "passphrase", word]);
        let started = Instant::now();
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"one\n").unwrap();
        // The first one is let to its end, and says how long that takes; the others are killed on the way.
        if round > 0 {
            std::thread::sleep(full * round / 13);
            let _ = child.kill();
        }
        let ended = child.wait().unwrap().success();
        if round == 0 {
            full = started.elapsed();
        }
        let (plain, seal) = (device.output(&["digest"]), with_input(&device, &["digest"], "one\n"));
        let is_sealed = seal.status.success();
        assert_ne!(plain.status.success(), is_sealed, "exactly one of the two opens it");
        assert!(!ended || is_sealed != sealed);
        ends[usize::from(is_sealed != sealed)] += 1;
        sealed = is_sealed;
        let shown = if sealed { ok(&device, &["digest"], "one\n") } else { device.ok_json(&["digest"]) };
        assert_eq!(shown["digest"], digest);
        assert_eq!(is_in(&device.data, &[TITLE]), !sealed, "round {round}");
    }
    assert!(ends[0] > 0 && ends[1] > 0, "some were killed before, some after: {ends:?}");
}
