//! The local control socket of a `privstack run`: the JSON-lines protocol of [`crate::serve`] over a Unix socket that
//! only its owner can open, `control.sock` in the data folder. Where that path is too long for a socket address it lies
//! in a private folder under the runtime folder, and the file `control.path` names it.

#[cfg(not(unix))]
pub use elsewhere::{ControlClient, ControlServer};
#[cfg(unix)]
pub use unix::{ControlClient, ControlServer};

#[cfg(unix)]
mod unix {
    use std::fs::{self, DirBuilder, Permissions};
    use std::io::{self, BufReader, ErrorKind, Write};
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::{Path, PathBuf};
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::thread;
    use std::time::Duration;

    use privstack_sync::error::{Error, ErrorCode, Result};
    use privstack_sync::platform::entropy;
    use serde_json::{Value as Json, json};

    use crate::client::{Client, Engine};
    use crate::files::{AtomicFile, file_error, read_bounded};
    use crate::reply::{error_from_json, error_to_json};
    use crate::serve::{Line, Lines, Slot, read_line, ready, serve};

    /// The shortest limit among systems is 104 bytes with the ending zero (macOS; Linux: 108).
    const MAX_SOCKET_PATH: usize = 100;
    /// Connections at once.
    const MAX_CONNECTIONS: usize = 64;
    /// Bytes of one answer that a command reads: a page of large entities.
    const MAX_ANSWER_BYTES: usize = 1 << 30;
    /// How long a running engine may take to greet.
    const GREETING_PATIENCE: Duration = Duration::from_secs(10);

    fn socket_in(data: &Path) -> PathBuf {
        data.join("control.sock")
    }

    fn pointer_in(data: &Path) -> PathBuf {
        data.join("control.path")
    }

    fn pointed_at(data: &Path) -> Option<PathBuf> {
        let bytes = read_bounded(&pointer_in(data), 4_096).ok()?;
        Some(std::ffi::OsString::from_vec(bytes).into())
    }

    /// An open control socket; its files go when this is dropped.
    pub struct ControlServer {
        data: PathBuf,
    }

    impl ControlServer {
        /// Opens the socket of a folder whose engine runs in this process: so a socket that is there already is what a
        /// killed process left.
        pub fn start(data: &Path, engine: Arc<dyn Engine>) -> Result<Self> {
            let failed = |error: io::Error| file_error(&socket_in(data), "opened as control socket", &error);
            remove(data);
            // Bound in a private folder and moved once its mode is set: nobody else can open it in between.
            let staging = data.join(format!(".control-{}", std::process::id()));
            let listener = if staging.join("s").as_os_str().len() <= MAX_SOCKET_PATH {
                let listener = bind_private(&staging, &staging.join("s")).map_err(failed)?;
                let moved = fs::rename(staging.join("s"), socket_in(data));
                let _ = fs::remove_dir_all(&staging);
                moved.map_err(failed)?;
                listener
            } else {
                let folder = runtime_folder()?;
                let socket = folder.join("control.sock");
                let listener = bind_private(&folder, &socket).map_err(failed)?;
                let mut pointer = AtomicFile::create(&pointer_in(data), true)?;
                pointer.write(socket.as_os_str().as_bytes())?;
                pointer.commit()?;
                listener
            };
            let server = Self { data: data.to_owned() };
            let accept = move || accept(&listener, &engine);
            thread::Builder::new().name("control".into()).spawn(accept).map_err(failed)?;
            Ok(server)
        }
    }

    impl Drop for ControlServer {
        fn drop(&mut self) {
            remove(&self.data);
        }
    }

    /// Removes the socket of a folder, wherever it is.
    fn remove(data: &Path) {
        if let Some(socket) = pointed_at(data) {
            let _ = fs::remove_file(&socket);
            if let Some(folder) = socket.parent() {
                let _ = fs::remove_dir(folder); // only if empty
            }
        }
        let _ = fs::remove_file(pointer_in(data));
        let _ = fs::remove_file(socket_in(data));
    }

    fn runtime_folder() -> Result<PathBuf> {
        let base = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|folder| folder.is_dir());
        let [a, b, c, d, e, f, g, h, ..] = *entropy::bytes()?;
        let name = format!("privstack-{:016x}", u64::from_le_bytes([a, b, c, d, e, f, g, h]));
        Ok(base.unwrap_or_else(std::env::temp_dir).join(name))
    }

    fn bind_private(folder: &Path, socket: &Path) -> io::Result<UnixListener> {
        let _ = fs::remove_dir_all(folder);
        DirBuilder::new().mode(0o700).create(folder)?;
        let listener = UnixListener::bind(socket)?;
        fs::set_permissions(socket, Permissions::from_mode(0o600))?;
        Ok(listener)
    }

    fn accept(listener: &UnixListener, engine: &Arc<dyn Engine>) {
        let connections = Arc::new(AtomicUsize::new(0));
        loop {
            let Ok((stream, _)) = listener.accept() else {
                // Out of file descriptors, mostly: let others end before trying again.
                thread::sleep(Duration::from_millis(100));
                continue;
            };
            let Ok(writer) = stream.try_clone() else { continue };
            let lines = Arc::new(Lines::new(writer));
            let Some(slot) = Slot::take(&connections, MAX_CONNECTIONS) else {
                let busy = Error::new(ErrorCode::Busy, format!("{MAX_CONNECTIONS} programs are connected; try again"));
                let _ = lines.send(&json!({ "id": null, "error": error_to_json(&busy) }));
                continue;
            };
            let engine = engine.clone();
            // A connection that cannot be served is closed; its client says so.
            let _ = thread::Builder::new().name("connection".into()).spawn(move || {
                let greeting =
                    ready(&*engine).unwrap_or_else(|error| json!({ "id": null, "error": error_to_json(&error) }));
                if lines.send(&greeting).is_ok() {
                    let _ = serve(&engine, BufReader::new(stream), &lines);
                }
                drop(slot);
            });
        }
    }

    /// A connection to the control socket of a running engine.
    pub struct ControlClient {
        reader: BufReader<UnixStream>,
        writer: UnixStream,
        last_id: u64,
    }

    impl ControlClient {
        /// Connects; `None` if nobody listens.
        pub fn connect(data: &Path) -> Result<Option<Self>> {
            for socket in [Some(socket_in(data)), pointed_at(data)].into_iter().flatten() {
                if socket.as_os_str().len() > MAX_SOCKET_PATH {
                    continue;
                }
                match UnixStream::connect(&socket) {
                    Ok(stream) => return Self::greet(stream, &socket).map(Some),
                    Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {}
                    // The data folder is no folder, or may not be read: opening it gives the better message.
                    Err(error) if error.kind() == ErrorKind::NotADirectory => {}
                    Err(error) => return Err(file_error(&socket, "connected to", &error)),
                }
            }
            Ok(None)
        }

        fn greet(stream: UnixStream, socket: &Path) -> Result<Self> {
            let failed = |error: io::Error| file_error(socket, "read", &error);
            stream.set_read_timeout(Some(GREETING_PATIENCE)).map_err(failed)?;
            let mut client =
                Self { writer: stream.try_clone().map_err(failed)?, reader: BufReader::new(stream), last_id: 0 };
            let greeting = client.read()?;
            if let Some(error) = greeting.get("error") {
                return Err(error_from_json(error));
            }
            client.writer.set_read_timeout(None).map_err(failed)?;
            Ok(client)
        }

        fn read(&mut self) -> Result<Json> {
            let gone = || Error::new(ErrorCode::Closed, "the `privstack run` that holds the folder ended; try again");
            match read_line(&mut self.reader, MAX_ANSWER_BYTES) {
                Ok(Some(Line::Text(text))) => serde_json::from_slice(&text)
                    .map_err(|_| Error::protocol("the `privstack run` that holds the folder answered with no JSON")),
                Ok(Some(Line::TooLong)) => Err(Error::too_large("the answer is too long; ask for less")),
                Ok(None) => Err(gone()),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    Err(Error::new(ErrorCode::Timeout, "the `privstack run` that holds the folder does not answer"))
                }
                Err(_) => Err(gone()),
            }
        }
    }

    impl Client for ControlClient {
        fn request(&mut self, mut request: Json) -> Result<Json> {
            self.last_id += 1;
            if let Some(request) = request.as_object_mut() {
                request.insert("id".into(), self.last_id.into());
            }
            self.writer.write_all(format!("{request}\n").as_bytes()).map_err(|_| {
                Error::new(ErrorCode::Closed, "the `privstack run` that holds the folder ended; try again")
            })?;
            loop {
                let mut answer = self.read()?;
                match answer.get("id") {
                    Some(id)
                        if id.as_u64() == Some(self.last_id) || (id.is_null() && answer.get("error").is_some()) => {}
                    _ => continue,
                }
                return match answer.get_mut("ok") {
                    Some(ok) => Ok(ok.take()),
                    None => Err(error_from_json(answer.get("error").unwrap_or(&Json::Null))),
                };
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use privstack_sync::engine::{Call, Reply, SyncEvent};
        use privstack_sync::types::Hash;

        /// Knows one answer: enough to see lines go through the socket.
        struct OnlyDigest;

        impl Engine for OnlyDigest {
            fn call(&self, call: Call, _: Option<Duration>) -> Result<Reply> {
                match call {
                    Call::Digest => Ok(Reply::Digest(Hash([7; 32]))),
                    Call::Status => Ok(Reply::Status(Box::new(crate::testing::empty_status()))),
                    _ => Err(Error::new(ErrorCode::Unsupported, "not in this test")),
                }
            }
            fn addresses(&self) -> Vec<String> {
                vec![]
            }
            fn add_address(&self, _: &str) -> Result<()> {
                Ok(())
            }
            fn events(&self) -> Box<dyn Iterator<Item = SyncEvent> + Send> {
                Box::new(std::iter::empty())
            }
        }

        fn asks_and_is_answered(data: &Path) {
            assert!(ControlClient::connect(data).unwrap().is_none());
            let server = ControlServer::start(data, Arc::new(OnlyDigest)).unwrap();
            let socket = pointed_at(data).unwrap_or_else(|| socket_in(data));
            assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
            let mut client = ControlClient::connect(data).unwrap().unwrap();
            let digest = client.request(json!({ "cmd": "digest" })).unwrap();
            assert_eq!(digest, json!({ "digest": Hash([7; 32]).to_string() }));
            let error = client.request(json!({ "cmd": "fly" })).unwrap_err();
            assert_eq!(error.code(), ErrorCode::Invalid);
            assert!(client.request(json!({ "cmd": "digest" })).is_ok());
            drop(server);
            assert!(!socket.exists() && fs::read_dir(data).unwrap().next().is_none());
        }

        #[test]
        fn requests_go_through_the_socket_and_its_files_go_with_the_server() {
            asks_and_is_answered(tempfile::tempdir().unwrap().path());
        }

        #[test]
        fn a_folder_with_a_path_too_long_for_a_socket_has_one_elsewhere() {
            let folder = tempfile::tempdir().unwrap();
            let data = folder.path().join("x".repeat(120));
            fs::create_dir(&data).unwrap();
            asks_and_is_answered(&data);
        }

        #[test]
        fn the_socket_that_a_killed_process_left_is_replaced() {
            let folder = tempfile::tempdir().unwrap();
            drop(UnixListener::bind(socket_in(folder.path())).unwrap());
            asks_and_is_answered(folder.path());
        }
    }
}

#[cfg(not(unix))]
mod elsewhere {
    use std::path::Path;
    use std::sync::Arc;

    use privstack_sync::error::{Error, ErrorCode, Result};
    use serde_json::Value as Json;

    use crate::client::{Client, Engine};

    /// There is no control socket on this system: other commands fail with `locked` while a `run` holds the folder.
    pub struct ControlServer;

    impl ControlServer {
        /// Does nothing.
        pub fn start(_: &Path, _: Arc<dyn Engine>) -> Result<Self> {
            Ok(Self)
        }
    }

    /// Never made on this system.
    pub enum ControlClient {}

    impl ControlClient {
        /// Nobody listens.
        pub fn connect(_: &Path) -> Result<Option<Self>> {
            Ok(None)
        }
    }

    impl Client for ControlClient {
        fn request(&mut self, _: Json) -> Result<Json> {
            Err(Error::new(ErrorCode::Unsupported, "there is no control socket on this system; use `run --json`"))
        }
    }
}
