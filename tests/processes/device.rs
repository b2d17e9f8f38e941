//! Devices as processes of the real binary, each with a folder of its own. Everything that waits has a limit.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

/// How long anything may take that a test waits for.
pub const PATIENCE: Duration = Duration::from_secs(60);
pub const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";
pub const TCP: &str = "/ip4/127.0.0.1/tcp/0";

/// A device: its data folder, removed at the end.
pub struct Device {
    pub data: PathBuf,
    _folder: Option<tempfile::TempDir>,
}

impl Device {
    pub fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { data: folder.path().join("data"), _folder: Some(folder) }
    }

    /// A device whose folder somebody else removes.
    pub fn at(data: PathBuf) -> Self {
        Self { data, _folder: None }
    }

    /// A device with a vault of its own.
    pub fn with_vault(name: &str) -> Self {
        let device = Self::empty();
        device.ok(&["init", "--name", name]);
        device
    }

    /// A device that joined the vault of `admin`.
    pub fn joined(admin: &Device, name: &str) -> Self {
        Self::joined_as(admin, name, "member")
    }

    pub fn joined_as(admin: &Device, name: &str, role: &str) -> Self {
        let device = Self::empty();
        device.join_as(admin, name, role);
        device
    }

    pub fn join(&self, admin: &Device, name: &str) -> String {
        self.join_as(admin, name, "member")
    }

    fn join_as(&self, admin: &Device, name: &str, role: &str) -> String {
        let id = self.ok(&["id", "--name", name]);
        self.ok(&["join", &admin.ok(&["invite", &id, "--role", role])])
    }

    pub fn copied_to(&self, data: &Path) {
        let copied = Command::new("cp").arg("-r").arg(&self.data).arg(data).status().unwrap();
        assert!(copied.success());
    }

    /// A file or folder beside the data folder.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.data.with_file_name(name)
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_privstack"));
        command.arg("--data").arg(&self.data).args(words);
        command
    }

    pub fn output(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Runs a command that must succeed and gives its standard output.
    pub fn ok(&self, words: &[&str]) -> String {
        let output = self.output(words);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {errors}{}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    pub fn ok_json(&self, words: &[&str]) -> Json {
        let text = self.ok(&[&["--json"], words].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{words:?}: {error}: {text}"))
    }

    /// A command that must fail: its exit code and its error as JSON.
    pub fn fails(&self, words: &[&str]) -> (Option<i32>, Json) {
        let output = self.output(&[&["--json"], words].concat());
        assert!(!output.status.success(), "{words:?} should fail");
        (output.status.code(), serde_json::from_slice::<Json>(&output.stdout).unwrap_or_default()["error"].clone())
    }

    /// Lists all entities.
    pub fn entities(&self) -> Vec<Json> {
        let text = self.ok(&["--json", "ls"]);
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// `privstack run --json` on it, with these further words.
    pub fn run(&self, listen: &str, words: &[&str]) -> Running {
        let words = [&["run", "--json", "--no-mdns", "--listen", listen], words].concat();
        Running::start(self.command(&words))
    }

    /// `privstack run` that keeps a link to another one.
    pub fn run_with(&self, listen: &str, other: &Running) -> Running {
        self.run(listen, &["--peer", &other.address()])
    }
}

/// A `privstack run --json`, and the lines that it writes; killed when dropped.
pub struct Running {
    pub child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<Json>,
    ready: Json,
    /// Entities that it told to be new, and that no test has waited for.
    updated: BTreeSet<String>,
    /// Names of other events that were passed over.
    passed: BTreeSet<String>,
    last_id: u64,
}

impl Running {
    pub fn start(command: Command) -> Self {
        Self::start_with(command, "")
    }

    /// The same, with these lines on its input before anything else.
    pub fn start_with(mut command: Command, input: &str) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = send.send(serde_json::from_str(&line).unwrap_or(Json::String(line)));
            }
        });
        let mut running = Self {
            input: child.stdin.take(),
            child,
            lines,
            ready: Json::Null,
            updated: BTreeSet::new(),
            passed: BTreeSet::new(),
            last_id: 0,
        };
        running.input.as_mut().unwrap().write_all(input.as_bytes()).unwrap();
        running.ready = running.wait_for("its first line", |_, _| true);
        assert_eq!(running.ready["event"], "ready", "{}", running.ready);
        running
    }

    /// Where it listens, with its PeerId.
    pub fn address(&self) -> String {
        self.ready["addresses"][0].as_str().unwrap().to_owned()
    }

    /// Its first line.
    #[cfg(feature = "relay")]
    pub fn ready(&self) -> &Json {
        &self.ready
    }

    pub fn peer_id(&self) -> &str {
        self.ready["peer_id"].as_str().unwrap()
    }

    /// The next line, within a limit; what an event tells is noted.
    fn line(&mut self, limit: Duration) -> Result<Json, RecvTimeoutError> {
        let line = self.lines.recv_timeout(limit)?;
        match line["event"].as_str() {
            Some("entities_updated") => {
                let ids = line["entities"].as_array().unwrap().iter();
                self.updated.extend(ids.map(|id| id.as_str().unwrap().to_owned()));
            }
            Some(event) => drop(self.passed.insert(event.to_owned())),
            None => {}
        }
        Ok(line)
    }

    /// The next line that is as it should be; those before it are passed over.
    fn wait_for(&mut self, what: &str, is_it: impl Fn(&Self, &Json) -> bool) -> Json {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.line(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if is_it(self, &line) => return line,
                Ok(_) => {}
                Err(error) => panic!("process {} ({}): {what}: {error}", self.child.id(), self.ready),
            }
        }
    }

    /// Waits until it has told this event since it was last waited for.
    pub fn wait_for_event(&mut self, name: &str) {
        if !self.passed.remove(name) {
            self.wait_for(name, |_, line| line["event"] == name);
            self.passed.remove(name);
        }
    }

    /// Waits until it has told that this entity shows something new, since it was last waited for.
    pub fn wait_for_update(&mut self, id: &Json) {
        let id = id.as_str().unwrap();
        if !self.updated.remove(id) {
            self.wait_for("an update", |this, _| this.updated.contains(id));
            self.updated.remove(id);
        }
    }

    /// Sends a request; false if the process is gone.
    pub fn send(&mut self, mut request: Json) -> bool {
        self.last_id += 1;
        request["id"] = self.last_id.into();
        writeln!(self.input.as_mut().unwrap(), "{request}").is_ok()
    }

    /// The next answer; `None` if the process ends before.
    pub fn answer(&mut self) -> Option<Json> {
        loop {
            match self.line(PATIENCE) {
                Ok(line) if !line["id"].is_null() => return Some(line),
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(error) => panic!("an answer: {error}"),
            }
        }
    }

    /// Asks, and gives what stands under `ok`.
    pub fn ask(&mut self, request: Json) -> Json {
        self.try_ask(request.clone()).unwrap_or_else(|error| panic!("{request}: {error}"))
    }

    /// Asks, and gives what stands under `ok`, or else under `error`.
    pub fn try_ask(&mut self, request: Json) -> Result<Json, Json> {
        assert!(self.send(request));
        let id = Json::from(self.last_id);
        let mut answer = self.wait_for("an answer", |_, line| line["id"] == id);
        match answer["error"].take() {
            Json::Null => Ok(answer["ok"].take()),
            error => Err(error),
        }
    }

    /// Asks for what must be refused, and gives the code of the error.
    pub fn refused(&mut self, request: Json) -> String {
        let error = self.try_ask(request.clone()).expect_err(&format!("{request} should be refused"));
        error["code"].as_str().unwrap().to_owned()
    }

    /// Asks again and again until the answer is as it should be, and gives it.
    pub fn until(&mut self, request: Json, is_it: impl Fn(&Json) -> bool) -> Json {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.ask(request.clone());
            if is_it(&answer) {
                return answer;
            }
            assert!(Instant::now() < deadline, "{request}: {answer}");
            self.pause();
        }
    }

    /// Waits until its role in the vault is this one; null where it is no member.
    pub fn until_role(&mut self, role: Json) {
        self.until(json!({"cmd": "status"}), |status| status["role"] == role);
    }

    /// Makes a note and gives its id; its own update is told, and not waited for again.
    pub fn note(&mut self, title: &str) -> Json {
        let put = json!({"cmd": "put", "type": "note", "ops": [{"set": ["title", title]}]});
        let id = self.ask(put)["entities"][0].clone();
        self.wait_for_update(&id);
        id
    }

    pub fn edit(&mut self, id: &Json, ops: Json) {
        self.ask(json!({"cmd": "put", "type": "note", "entity": id, "ops": ops}));
        self.wait_for_update(id);
    }

    pub fn fields(&mut self, id: &Json) -> Json {
        self.ask(json!({"cmd": "get", "entity": id}))["entities"][0]["fields"].clone()
    }

    pub fn digest(&mut self) -> Json {
        self.ask(json!({"cmd": "digest"}))["digest"].clone()
    }

    pub fn status(&mut self) -> Json {
        self.ask(json!({"cmd": "status"}))
    }

    pub fn explain(&mut self) -> Json {
        self.ask(json!({"cmd": "explain"}))["reasons"].clone()
    }

    /// The PeerIds of whom it takes for members of its vault.
    pub fn members(&mut self) -> BTreeSet<String> {
        let told = self.ask(json!({"cmd": "members"}))["members"].take();
        told.as_array().unwrap().iter().map(|member| member["peer_id"].as_str().unwrap().to_owned()).collect()
    }

    /// Passes over lines until the next event, or for a moment.
    pub fn pause(&mut self) {
        let _ = self.line(Duration::from_millis(20));
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it by the end of its input, as a program does that embeds it.
    pub fn end(mut self) {
        self.input.take();
        assert!(self.child.wait().unwrap().success());
    }

    #[cfg(target_os = "linux")]
    pub fn rss(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until all show the same, and gives the digest.
pub fn until_equal(all: &mut [&mut Running]) -> Json {
    let deadline = Instant::now() + PATIENCE;
    let mut events = Vec::new();
    loop {
        // The number of events first: it costs less than a digest.
        events.clear();
        events.extend(all.iter_mut().map(|one| one.status()["events"].clone()));
        if events.windows(2).all(|pair| pair[0] == pair[1]) {
            let digests: Vec<Json> = all.iter_mut().map(|one| one.digest()).collect();
            if digests.windows(2).all(|pair| pair[0] == pair[1]) {
                return digests[0].clone();
            }
        }
        if Instant::now() > deadline {
            let reasons: Vec<Json> = all.iter_mut().map(|one| one.explain()).collect();
            panic!("not equal after {PATIENCE:?}: events {events:?}, reasons {reasons:?}");
        }
        all[0].pause();
    }
}

/// [`until_equal`] where the same state may stand for different numbers of events.
pub fn until_same_state(all: &mut [&mut Running]) -> Json {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let digests: Vec<Json> = all.iter_mut().map(|one| one.digest()).collect();
        if digests.windows(2).all(|pair| pair[0] == pair[1]) {
            return digests[0].clone();
        }
        if Instant::now() > deadline {
            let reasons: Vec<Json> = all.iter_mut().map(|one| one.explain()).collect();
            panic!("not equal after {PATIENCE:?}: {digests:?}, reasons {reasons:?}");
        }
        all[0].pause();
    }
}
