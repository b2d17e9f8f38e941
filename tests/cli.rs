//! The command line as a process, without a network: words, exit codes, import and export, backups, the JSON lines, the
//! control socket.
#![cfg(all(feature = "cli", not(target_arch = "wasm32")))]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value as Json, json};

/// How long a process may take to do what a test waits for.
const PATIENCE: Duration = Duration::from_secs(60);

fn privstack(data: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_privstack")).arg("--data").arg(data).args(words).output().unwrap()
}

/// Runs a command that must succeed and gives its standard output.
fn ok(data: &Path, words: &[&str]) -> String {
    let output = privstack(data, words);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {errors}{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

fn ok_json(data: &Path, words: &[&str]) -> Json {
    let text = ok(data, &[&["--json"], words].concat());
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{words:?}: {error}: {text}"))
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

struct Device {
    _folder: tempfile::TempDir,
    root: PathBuf,
    data: PathBuf,
}

impl Device {
    fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_owned();
        Self { data: root.join("data"), root, _folder: folder }
    }

    fn with_vault() -> Self {
        let device = Self::empty();
        ok(&device.data, &["init", "--name", "test"]);
        device
    }
}

/// A `privstack run --json` and the lines that it writes.
struct Running {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<Json>,
    /// Lines that came while another was waited for: answers and events come in no order between them.
    passed: Vec<Json>,
    /// Where it can be reached.
    address: String,
}

impl Running {
    fn start(data: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_privstack"))
            .arg("--data")
            .arg(data)
            .args(["run", "--json", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = send.send(serde_json::from_str(&line).unwrap_or(Json::String(line)));
            }
        });
        let mut running = Self { input: child.stdin.take(), child, lines, passed: Vec::new(), address: String::new() };
        let ready = running.wait_for(|_| true);
        assert_eq!(ready["event"], "ready", "{ready}");
        assert!(ready["peer_id"].as_str().unwrap().starts_with("12D3KooW"));
        running.address = ready["addresses"][0].as_str().unwrap().to_owned();
        assert!(running.address.starts_with("/ip4/127.0.0.1/tcp/"));
        running
    }

    fn wait_for(&mut self, what: impl Fn(&Json) -> bool) -> Json {
        if let Some(place) = self.passed.iter().position(&what) {
            return self.passed.remove(place);
        }
        loop {
            let line = self.lines.recv_timeout(PATIENCE).expect("the line that was waited for");
            if what(&line) {
                return line;
            }
            self.passed.push(line);
        }
    }

    fn send(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    fn ask(&mut self, request: Json) -> Json {
        self.send(&request.to_string());
        self.wait_for(|line| line["id"] == request["id"])
    }

    /// Ends it by the end of its input, as a program does that embeds it.
    fn end(mut self) {
        self.input.take();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn wrong_usage_ends_with_two_and_makes_nothing() {
    let device = Device::empty();
    for words in [
        &["fly"][..],
        &[],
        &["put", "note"],
        &["put", "note", "nonsense"],
        &["put", "note", "n+=x"],
        &["get", "no-id"],
        &["invite", "nobody"],
        &["sync", "--timeout", "-1"],
    ] {
        let output = privstack(&device.data, words);
        assert_eq!(code(&output), Some(2), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
    let without_data = Command::new(env!("CARGO_BIN_EXE_privstack")).arg("status").output().unwrap();
    assert_eq!(without_data.status.code(), Some(2));
    assert!(!device.data.exists());
}

#[test]
fn a_failure_ends_with_one_and_is_told_as_text_or_as_json() {
    let device = Device::empty();
    let output = privstack(&device.data, &["status"]);
    assert_eq!(code(&output), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("privstack: "));
    let output = privstack(&device.data, &["--json", "status"]);
    assert_eq!(code(&output), Some(1));
    let error: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(error["error"]["code"], "not_found");
    assert!(!device.data.exists(), "a slip of the pen makes no folder");
}

#[test]
fn a_device_keeps_its_id_and_a_vault_shows_its_words_once() {
    let device = Device::empty();
    let id = ok(&device.data, &["id", "--name", "phone"]);
    assert!(id.starts_with("12D3KooW"));
    let made = privstack(&device.data, &["init", "--name", "phone"]);
    assert_eq!(String::from_utf8(made.stdout).unwrap().trim(), id);
    let shown = String::from_utf8(made.stderr).unwrap();
    assert_eq!(shown.split_whitespace().filter(|word| word.parse::<u8>().is_ok_and(|n| n <= 24)).count(), 25);
    assert_eq!(ok(&device.data, &["id"]), id);
    let status = ok_json(&device.data, &["status"]);
    assert_eq!(
        (&status["peer_id"], &status["role"], &status["device_name"]),
        (&json!(id), &json!("admin"), &json!("phone"))
    );
    assert_eq!(privstack(&device.data, &["init", "--name", "again"]).status.code(), Some(1));
}

#[test]
fn recovery_words_go_into_a_new_private_file() {
    let device = Device::empty();
    let file = device.root.join("words");
    fs::write(&file, "mine").unwrap();
    let words = ["init", "--name", "a", "--recovery-file", file.to_str().unwrap()];
    assert_eq!(privstack(&device.data, &words).status.code(), Some(1));
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    fs::remove_file(&file).unwrap();
    ok(&device.data, &words);
    assert_eq!(fs::read_to_string(&file).unwrap().split_whitespace().count(), 24);
}

#[test]
fn an_entity_lives_from_put_to_restore() {
    let device = Device::with_vault();
    let data = &device.data;
    let id = ok(
        data,
        &["put", "task", "title=Buy milk", "n+=2", "tags+:home", "tags+:shop", "body@0+helo", "due=[2026,11]"],
    );
    assert_eq!(ok(data, &["put", "task", &id, "n+=-5", "tags-:shop", "body@3+l", "body@0-1", "body@0+H", "due!"]), id);
    let view = ok_json(data, &["get", &id])["entities"][0].clone();
    assert_eq!(view["type"], "task");
    assert_eq!(view["fields"]["title"], "Buy milk");
    assert_eq!(view["fields"]["n"], -3);
    assert_eq!(view["fields"]["tags"], json!(["home"]));
    assert_eq!(view["fields"]["body"], "Hello");
    assert!(view["fields"]["due"].is_null());
    assert_eq!((&view["kinds"]["n"], &view["kinds"]["tags"]), (&json!("counter"), &json!("set")));
    assert!(ok(data, &["ls"]).contains("Buy milk"));
    assert_eq!(ok(data, &["ls", "note"]), "");

    let before = ok(data, &["digest"]);
    ok(data, &["rm", &id]);
    assert_ne!(ok(data, &["digest"]), before);
    assert_eq!(ok(data, &["ls"]), "");
    assert_eq!(ok_json(data, &["get", &id])["entities"][0]["deleted"], true);
    let refused = privstack(data, &["--json", "put", "task", &id, "title=no"]);
    assert_eq!(code(&refused), Some(1));
    assert_eq!(serde_json::from_slice::<Json>(&refused.stdout).unwrap()["error"]["code"], "deleted");
    ok(data, &["restore", &id]);
    assert_eq!(ok_json(data, &["get", &id])["entities"][0]["fields"], view["fields"]);
    assert_eq!(ok_json(data, &["history", &id])["changes"].as_array().unwrap().len(), 4);

    let missing = "0190a0b0-7c1d-7abc-8def-0123456789ab";
    assert_eq!(privstack(data, &["get", missing]).status.code(), Some(1));
    assert_eq!(privstack(data, &["rm", missing]).status.code(), Some(1));
}

#[test]
fn notes_go_in_and_come_out_the_same() {
    let device = Device::with_vault();
    let notes = device.root.join("notes");
    fs::create_dir_all(notes.join("deep")).unwrap();
    fs::write(notes.join("a.md"), "---\ntags: [x, y]\nstars: 5\n---\n# Alpha\n\ntext é 😀\n").unwrap();
    fs::write(notes.join("deep/b.md"), "plain\r\ntext").unwrap();
    let notes = notes.to_str().unwrap();
    assert_eq!(ok_json(&device.data, &["import", notes])["created"], 2);
    let digest = ok(&device.data, &["digest"]);
    let again = ok_json(&device.data, &["import", notes]);
    assert_eq!((&again["unchanged"], &again["commits"]), (&json!(2), &json!(0)));
    assert_eq!(ok(&device.data, &["digest"]), digest);

    for format in ["md", "json", "jsonl"] {
        let first = device.root.join(format!("{format}-1"));
        ok(&device.data, &["export", first.to_str().unwrap(), "--format", format]);
        let other = Device::with_vault();
        assert_eq!(ok_json(&other.data, &["import", first.to_str().unwrap()])["created"], 2);
        let second = device.root.join(format!("{format}-2"));
        ok(&other.data, &["export", second.to_str().unwrap(), "--format", format]);
        assert_eq!(files_in(&first), files_in(&second), "{format}");
    }
}

fn files_in(folder: &Path) -> Vec<(PathBuf, String)> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap().map(Result::unwrap) {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path => {
                    let name = path.strip_prefix(folder).unwrap().to_owned();
                    files.push((name, fs::read_to_string(&path).unwrap()));
                }
            }
        }
    }
    files.sort();
    files
}

#[test]
fn many_records_are_imported_in_several_commits() {
    let device = Device::with_vault();
    let file = device.root.join("tasks.jsonl");
    let lines: String = (0..2_500).map(|n| format!("{{\"id\":{n},\"title\":\"task {n}\"}}\n")).collect();
    fs::write(&file, lines).unwrap();
    let report = ok_json(&device.data, &["import", "--type", "task", file.to_str().unwrap()]);
    assert_eq!((&report["created"], &report["events"], &report["commits"]), (&json!(2_500), &json!(2_500), &json!(3)));
    assert_eq!(ok(&device.data, &["ls", "task"]).lines().count(), 2_500);
    assert_eq!(ok_json(&device.data, &["status"])["types"]["task"]["events"], 2_500);
}

#[test]
fn a_backup_makes_a_new_device_with_the_same_state() {
    let device = Device::with_vault();
    for n in 0..20 {
        ok(&device.data, &["put", "note", &format!("title=note {n}"), "body@0+text"]);
    }
    let digest = ok(&device.data, &["digest"]);
    let file = device.root.join("vault.backup");
    let file = file.to_str().unwrap();
    ok(&device.data, &["backup", file]);
    let other = Device::empty();
    ok(&other.data, &["restore-backup", file]);
    assert_eq!(ok(&other.data, &["digest"]), digest);
    assert_ne!(ok(&other.data, &["id"]), ok(&device.data, &["id"]));
    assert_eq!(ok_json(&other.data, &["status"])["role"], Json::Null);
    ok(&device.data, &["restore-backup", file]);
    assert_eq!(ok(&device.data, &["digest"]), digest);

    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(file, bytes).unwrap();
    let third = Device::empty();
    assert_eq!(privstack(&third.data, &["restore-backup", file]).status.code(), Some(1));
    assert_eq!(ok_json(&third.data, &["status"])["vault"], Json::Null);
}

#[test]
fn json_lines_answer_every_request_and_end_with_their_input() {
    let device = Device::with_vault();
    let mut running = Running::start(&device.data);
    let put =
        running.ask(json!({"id": 1, "cmd": "put", "type": "note", "entity": null, "ops": [{"set": ["title", "x"]}]}));
    let id = put["ok"]["entities"][0].clone();
    running.wait_for(|line| line["event"] == "entities_updated" && line["entities"][0] == id);
    let get = running.ask(json!({"id": "two", "cmd": "get", "entity": id}));
    assert_eq!(get["ok"]["entities"][0]["fields"]["title"], "x");
    running.send("{broken");
    assert_eq!(running.wait_for(|line| line["id"].is_null() && line["event"].is_null())["error"]["code"], "invalid");
    let unknown = running.ask(json!({"id": 3, "cmd": "fly"}));
    assert_eq!(unknown["error"]["code"], "invalid");
    running.send(&"x".repeat((16 << 20) + 1));
    assert_eq!(running.wait_for(|line| line["id"].is_null() && line["event"].is_null())["error"]["code"], "too_large");
    assert_eq!(running.ask(json!({"id": 4, "cmd": "settled", "level": "disk"}))["ok"], json!({}));
    running.end();
    assert!(ok(&device.data, &["get", id.as_str().unwrap()]).contains("title: x"));
}

#[cfg(unix)]
#[test]
fn commands_go_through_the_process_that_holds_the_folder() {
    use std::os::unix::fs::PermissionsExt;
    let device = Device::with_vault();
    let mut running = Running::start(&device.data);
    let socket = device.data.join("control.sock");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let id = ok(&device.data, &["put", "note", "title=by another process"]);
    running.wait_for(|line| line["event"] == "entities_updated" && line["entities"][0] == id.as_str());
    assert_eq!(running.ask(json!({"id": 1, "cmd": "digest"}))["ok"]["digest"], ok(&device.data, &["digest"]));
    assert_eq!(privstack(&device.data, &["run", "--no-mdns"]).status.code(), Some(1));
    // Killed without a chance to tidy up, it leaves its socket; the folder works all the same.
    running.child.kill().unwrap();
    running.child.wait().unwrap();
    assert!(socket.exists());
    assert!(ok(&device.data, &["ls"]).contains(&id));
    Running::start(&device.data).end();
    assert!(!socket.exists());
}

#[test]
fn commands_at_the_same_time_wait_for_each_other() {
    let device = Device::with_vault();
    thread::scope(|scope| {
        for n in 0..6 {
            let data = &device.data;
            scope.spawn(move || ok(data, &["put", "note", &format!("title={n}")]));
        }
    });
    assert_eq!(ok(&device.data, &["ls", "note"]).lines().count(), 6);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let device = Device::with_vault();
    let file = device.root.join("tasks.jsonl");
    let lines: String = (0..3_000).map(|n| format!("{{\"id\":{n},\"title\":\"{}\"}}\n", "x".repeat(80))).collect();
    fs::write(&file, lines).unwrap();
    ok(&device.data, &["import", file.to_str().unwrap()]);
    let mut child = Command::new(env!("CARGO_BIN_EXE_privstack"))
        .arg("--data")
        .arg(&device.data)
        .arg("ls")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0; 10]).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((code(&output), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[cfg(target_os = "linux")]
#[test]
fn sigterm_ends_a_run_cleanly() {
    let device = Device::with_vault();
    let mut running = Running::start(&device.data);
    let id = running.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    assert_eq!(running.child.wait().unwrap().code(), Some(0));
    assert!(!device.data.join("control.sock").exists());
}

#[test]
fn a_device_alone_is_in_sync_and_one_with_an_absent_member_is_not() {
    let device = Device::with_vault();
    assert_eq!(ok_json(&device.data, &["sync", "--no-mdns", "--timeout", "2"])["in_sync"], true);
    let other = Device::empty();
    let peer = ok(&other.data, &["id"]);
    let invite = ok(&device.data, &["invite", &peer]);
    fs::write(device.root.join("invite"), &invite).unwrap();
    let file = format!("@{}", device.root.join("invite").display());
    assert!(ok(&other.data, &["join", &file]).starts_with("joined vault "));
    assert_eq!(ok_json(&other.data, &["status"])["role"], "member");
    let output = privstack(&device.data, &["--json", "sync", "--no-mdns", "--timeout", "1"]);
    assert_eq!(code(&output), Some(3));
    let answer: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&answer["in_sync"], &answer["unreached"]), (&json!(false), &json!([peer])));
    assert_eq!(answer["reasons"][0]["reason"], "no_route");
}

#[test]
fn a_device_is_found_again_where_it_was_last_time() {
    let (laptop, desktop) = (Device::with_vault(), Device::empty());
    let peer = ok(&desktop.data, &["id"]);
    let invite = ok(&laptop.data, &["invite", &peer]);
    ok(&desktop.data, &["join", &invite]);
    let mut running = Running::start(&laptop.data);
    let address = running.address.rsplit_once("/p2p/").unwrap().0.to_owned();
    for words in [&["sync", "--no-mdns", "--peer", &address][..], &["sync", "--no-mdns"]] {
        running.ask(json!({"id": 2, "cmd": "put", "type": "note", "ops": [{"set": ["title", "x"]}]}));
        let answer = ok_json(&desktop.data, words);
        assert_eq!((&answer["in_sync"], &answer["received"]), (&json!(true), &json!(1)), "{words:?}");
    }
    running.end();
}

#[test]
fn what_is_wrong_is_said_of_what_was_given() {
    let device = Device::with_vault();
    let file = device.root.join("a file");
    fs::write(&file, "x").unwrap();
    let absent = device.root.join("absent").join("b");
    let (file, absent) = (file.to_str().unwrap(), absent.to_str().unwrap());
    let nobody = "01a203fd-c835-7c82-8678-79772f014c70";
    for (data, words, message) in [
        (
            Path::new(file),
            &["ls"][..],
            format!("privstack: {file}: is a file; --data names the folder of this device\n"),
        ),
        (
            device.data.as_path(),
            &["export", file],
            format!("privstack: {file}: is a file; an export goes into a folder\n"),
        ),
        (
            device.data.as_path(),
            &["explain", nobody],
            format!("privstack: there is no entity {nobody} on this device\n"),
        ),
        (
            device.data.as_path(),
            &["backup", absent],
            format!("privstack: {absent}: cannot be made: No such file or directory (os error 2)\n"),
        ),
    ] {
        let output = privstack(data, words);
        assert_eq!((code(&output), String::from_utf8_lossy(&output.stderr).into_owned()), (Some(1), message));
    }
    let output = privstack(&device.data, &["put", "note", "body@x+y"]);
    assert_eq!(code(&output), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("what follows @ is a number"));
}

#[test]
fn without_a_vault_or_as_no_member_nothing_passes_for_in_sync() {
    let (device, restored) = (Device::with_vault(), Device::empty());
    ok(&device.data, &["put", "note", "title=x"]);
    let file = device.root.join("backup");
    ok(&device.data, &["backup", file.to_str().unwrap()]);
    ok(&restored.data, &["id"]);
    let output = privstack(&restored.data, &["--json", "explain"]);
    assert_eq!(code(&output), Some(1));
    assert_eq!(serde_json::from_slice::<Json>(&output.stdout).unwrap()["error"]["code"], "no_vault");
    ok(&restored.data, &["restore-backup", file.to_str().unwrap()]);
    let reasons = ok_json(&restored.data, &["explain"])["reasons"].clone();
    assert_eq!((reasons[0]["reason"].as_str(), &reasons[1]), (Some("not_trusted"), &Json::Null));
}

#[test]
fn entities_are_read_many_at_once() {
    let device = Device::with_vault();
    let mut running = Running::start(&device.data);
    let changes: Vec<Json> = (0..3).map(|n| json!({"ops": [{"set": ["n", n]}]})).collect();
    let put = running.ask(json!({"id": 1, "cmd": "put", "type": "note", "changes": changes}));
    let mut ids = put["ok"]["entities"].as_array().unwrap().clone();
    let mut asked = ids.clone();
    asked.push(json!("01a203fd-c835-7c82-8678-79772f014c70"));
    let got = running.ask(json!({"id": 2, "cmd": "get", "type": "note", "entities": asked}));
    let mut got: Vec<Json> =
        got["ok"]["entities"].as_array().unwrap().iter().map(|entity| entity["id"].clone()).collect();
    ids.sort_by_key(Json::to_string);
    got.sort_by_key(Json::to_string);
    assert_eq!(got, ids);
    for wrong in [json!({}), json!({"entities": []}), json!({"entity": ids[0], "entities": [ids[0]]})] {
        let mut request = json!({"id": 3, "cmd": "get"});
        request.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
        assert_eq!(running.ask(request)["error"]["code"], "invalid");
    }
    running.end();
}
