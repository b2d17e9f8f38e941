//! `run`: keeps the folder's engine on the network until it is told to end.

use std::io::{BufReader, Write};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use privstack_sync::engine::SyncEvent;
use privstack_sync::error::{Error, ErrorCode, Result};

use crate::client::Engine;
use crate::control::{ControlClient, ControlServer};
use crate::local::{LocalEngine, Network, Options};
use crate::serve::{Lines, forward_events, ready, serve};
use crate::{audit, interrupt, output, passphrase, request};

/// How long the first line waits for an address to listen on.
const LISTEN_PATIENCE: Duration = Duration::from_secs(2);

/// Runs until Ctrl-C, SIGTERM or, with `json`, the end of standard input.
pub fn run(data: &Path, network: Network, passphrase_fd: Option<u32>, peers: &[String], json: bool) -> Result<()> {
    if ControlClient::connect(data)?.is_some() {
        let what = format!("{}: another `privstack run` holds this folder", data.display());
        return Err(Error::new(ErrorCode::Locked, what));
    }
    let (end, ended) = mpsc::channel();
    let on_signal = end.clone();
    // Before the folder is opened, so that a signal while it opens ends cleanly too.
    interrupt::install(move || drop(on_signal.send(Ok(()))))?;
    let seal = passphrase::unlock(data, passphrase_fd)?;
    let options = Options { network: Some(network), ..Options::default() };
    let local = Arc::new(LocalEngine::start(data, &options, seal)?);
    let engine: Arc<dyn Engine> = local.clone();
    let _control = ControlServer::start(data, engine.clone())?;
    peers.iter().try_for_each(|address| engine.add_address(address))?;
    if json {
        wait_for_addresses(&*engine);
        let lines = Arc::new(Lines::new(std::io::stdout()));
        let gone = |error| Error::new(ErrorCode::Closed, format!("standard output cannot be written: {error}"));
        lines.send(&ready(&*engine)?).map_err(gone)?;
        forward_events(&*engine, lines.clone())?;
        let work = move || {
            let result = serve(&engine, BufReader::new(std::io::stdin()), &lines);
            let _ = end.send(result);
        };
        thread::Builder::new().name("requests".into()).spawn(work).map_err(gone)?;
    } else {
        let status = request::status(&*engine)?;
        say(&format!("device {}", status.peer_id));
        if status.vault.is_none() {
            output::note(&format!("privstack: {}", request::no_vault().message()));
        }
        // From the very first, so that the addresses are among them.
        let events = engine.events();
        thread::spawn(move || events.for_each(|event| print_event(&event)));
    }
    // One sender lives in the signals' thread, so this only ends with a message.
    let ended = ended.recv().unwrap_or(Ok(()));
    local.stop()?;
    // A reader that has gone is how a program that embeds this one ends it.
    ended.or_else(|error| match error.kind() {
        std::io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(Error::new(ErrorCode::Closed, format!("standard input or output failed: {error}"))),
    })
}

/// Addresses come one after another, shortly after the start.
fn wait_for_addresses(engine: &dyn Engine) {
    let (started, mut known, mut since) = (Instant::now(), 0, Instant::now());
    while started.elapsed() < LISTEN_PATIENCE && interrupt::check().is_ok() {
        let now = engine.addresses().len();
        if now != known {
            (known, since) = (now, Instant::now());
        } else if known > 0 && since.elapsed() >= Duration::from_millis(50) {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Prints for people; a reader that has gone does not stop the engine.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

fn print_event(event: &SyncEvent) {
    match event {
        SyncEvent::Listening(address) => say(&format!("listening on {address}")),
        SyncEvent::ListenFailed(address, message) if message.contains(address.as_str()) => {
            output::note(&format!("privstack: {}", output::clean(message)));
        }
        SyncEvent::ListenFailed(address, message) => {
            output::note(&format!("privstack: {address}: {}", output::clean(message)));
        }
        SyncEvent::PeerConnected(peer) => say(&format!("connected to {peer}")),
        SyncEvent::PeerDisconnected(peer) => say(&format!("disconnected from {peer}")),
        SyncEvent::SyncCompleted(peer) => say(&format!("in sync with {peer}")),
        SyncEvent::SyncError(peer, message) => say(&format!("{peer}: {}", output::clean(message))),
        SyncEvent::EntitiesUpdated(ids) => say(&format!("{} entities changed", ids.len())),
        SyncEvent::PairingEnded(_, message) => output::note(&format!("privstack: {}", output::clean(message))),
        SyncEvent::PairingCompleted(peer) => say(&format!("paired with {peer}")),
        SyncEvent::StorageFailed(_, message) | SyncEvent::Warning(_, message) => {
            output::note(&format!("privstack: {}", output::clean(message)))
        }
        SyncEvent::EpochRenewed { commits } => {
            say(&format!("this folder was restored or copied: {commits} of its commits are made again"));
        }
        SyncEvent::Audited(entry) if !entry.subject.allowed => say(&audit::denial(entry)),
        SyncEvent::Quarantined(peer, commits) => {
            say(&format!("{commits} commits of {peer} do not count; see `explain`"))
        }
        _ => {}
    }
}
