//! How a command reaches the engine: in this process, or in the `privstack run` that holds the folder.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use privstack_sync::engine::{Call, Reply, SyncEvent};
use privstack_sync::error::{Error, ErrorCode, Result};
use serde_json::{Map, Value as Json};

use crate::{control, local, passphrase, request};

/// An engine in this process.
pub trait Engine: Send + Sync {
    /// Asks it; fails with `timeout` if there is no answer within `limit`.
    fn call(&self, call: Call, limit: Option<Duration>) -> Result<Reply>;
    /// Where this device can be reached now.
    fn addresses(&self) -> Vec<String>;
    /// Dials a multiaddress, and keeps a link wanted where it ends in `/p2p/PEERID`.
    fn add_address(&self, address: &str) -> Result<()>;
    /// Its events from now on; the iterator blocks and ends with the engine.
    fn events(&self) -> Box<dyn Iterator<Item = SyncEvent> + Send>;
}

/// What answers requests.
pub trait Client {
    /// Sends a request (an object with `cmd`) and waits for what stands under `"ok"`.
    fn request(&mut self, request: Json) -> Result<Json>;
}

/// A client of an engine in this process.
pub struct LocalClient<'a>(pub &'a dyn Engine);

impl Client for LocalClient<'_> {
    fn request(&mut self, request: Json) -> Result<Json> {
        request::perform(self.0, into_object(request)?)
    }
}

/// The object that a request is.
pub fn into_object(request: Json) -> Result<Map<String, Json>> {
    match request {
        Json::Object(map) => Ok(map),
        _ => Err(Error::invalid("a request is one JSON object, such as {\"id\":1,\"cmd\":\"status\"}")),
    }
}

/// How long a command waits for another one that holds the folder for a moment.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// A folder's engine, wherever it runs.
pub enum Connection {
    /// In this process; it stops when this is dropped.
    Local(local::LocalEngine),
    /// In a `privstack run`.
    Remote(control::ControlClient),
}

impl Client for Connection {
    fn request(&mut self, request: Json) -> Result<Json> {
        match self {
            Connection::Local(engine) => LocalClient(&*engine).request(request),
            Connection::Remote(client) => client.request(request),
        }
    }
}

/// Opens the folder: through the control socket of whoever runs it, else in this process with these options.
pub fn connect(data: &Path, options: &local::Options) -> Result<Connection> {
    let started = Instant::now();
    let mut seal = None;
    loop {
        if let Some(client) = control::ControlClient::connect(data)? {
            return Ok(Connection::Remote(client));
        }
        // Once, and only where it is needed: a running engine has its key.
        let seal = match &seal {
            Some(seal) => seal,
            None => seal.insert(passphrase::unlock(data, options.passphrase_fd)?),
        };
        match local::LocalEngine::start(data, options, seal.clone()) {
            Ok(engine) => return Ok(Connection::Local(engine)),
            // Another short command, or a `run` that has not opened its socket yet: try both again.
            Err(error) if error.code() == ErrorCode::Locked && started.elapsed() < LOCK_PATIENCE => {
                thread::sleep(Duration::from_millis(50));
            }
            Err(error) => return Err(error),
        }
    }
}
