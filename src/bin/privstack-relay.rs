//! `privstack-relay`: the relay as a program.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Parser;
use privstack_sync::error::{Error, ErrorCode, Result};
use privstack_sync::platform::native::keys;
use privstack_sync::relay::{Relay, RelayConfig, RelayEvent, serve_identity};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Carries encrypted circuits between devices that cannot reach each other. It can read none of what goes through.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// The folder of its key; made if there is none.
    #[arg(long)]
    data: PathBuf,
    /// Listen on this multiaddress (may be repeated) [default: QUIC and TCP on port 4001, WebSocket on 4003].
    #[arg(long, value_name = "MULTIADDR")]
    listen: Vec<String>,
    /// Others reach it here, behind a proxy or a port forward (may be repeated).
    #[arg(long, value_name = "MULTIADDR")]
    external: Vec<String>,
    /// Answer `GET /api/v1/identity` here.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:4002")]
    http: SocketAddr,
    /// Devices that may keep a place at once.
    #[arg(long, default_value_t = RelayConfig::default().max_reservations)]
    max_devices: usize,
    /// Circuits that may be open at once.
    #[arg(long, default_value_t = RelayConfig::default().max_circuits)]
    max_circuits: usize,
    /// Print events as JSON lines.
    #[arg(long)]
    json: bool,
}

/// How long the first line waits for addresses: of one wildcard come several, and nothing says which is the last.
const LISTEN_PATIENCE: Duration = Duration::from_millis(300);

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime
        .map_err(|error| Error::new(ErrorCode::Unsupported, format!("no runtime could be started: {error}")))
        .and_then(|runtime| runtime.block_on(run(args)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("privstack-relay: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<()> {
    let failed = |what: &str, path: &str, error: &std::io::Error| {
        Error::new(ErrorCode::Transport, format!("{what} {path} failed: {error}"))
    };
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(|error| failed("waiting for", "SIGTERM", &error))?;
    std::fs::create_dir_all(&args.data).map_err(|error| failed("making", &args.data.to_string_lossy(), &error))?;
    let keypair = keys::load_or_create(&args.data, None).await?;
    let mut config = RelayConfig {
        external: args.external,
        max_reservations: args.max_devices,
        max_circuits: args.max_circuits,
        ..RelayConfig::default()
    };
    if !args.listen.is_empty() {
        config.listen = args.listen;
    }
    let listener =
        TcpListener::bind(args.http).await.map_err(|error| failed("listening on", &args.http.to_string(), &error))?;
    let http = listener.local_addr().map_err(|error| failed("reading", "the address", &error))?;
    let mut relay = Relay::start(&keypair, &config)?;
    let mut early = Vec::new();
    let deadline = tokio::time::Instant::now() + LISTEN_PATIENCE;
    while let Ok(event) = tokio::time::timeout_at(deadline, relay.next()).await {
        match event {
            RelayEvent::ListenFailed(address, why) => {
                return Err(Error::new(ErrorCode::Transport, format!("cannot listen on {address}: {why}")));
            }
            RelayEvent::Listening(_) => {}
            event => early.push(event),
        }
    }
    let addresses = Arc::new(Mutex::new(relay.addresses()));
    tell(
        args.json,
        &json!({
            "event": "ready", "peer_id": relay.peer_id(), "addresses": relay.addresses(), "http": http.to_string(),
        }),
    );
    early.iter().for_each(|event| tell(args.json, &line(event)));
    let serving = serve_identity(listener, relay.peer_id(), addresses.clone());
    let relaying = async {
        loop {
            let event = relay.next().await;
            *addresses.lock().unwrap_or_else(PoisonError::into_inner) = relay.addresses();
            tell(args.json, &line(&event));
        }
    };
    tokio::select! {
        () = serving => Ok(()),
        () = relaying => Ok(()),
        _ = tokio::signal::ctrl_c() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

fn line(event: &RelayEvent) -> Value {
    match event {
        RelayEvent::Listening(address) => json!({ "event": "listening", "address": address }),
        RelayEvent::ListenFailed(address, why) => {
            json!({ "event": "listen_failed", "address": address, "message": why })
        }
        RelayEvent::Reserved(peer) => json!({ "event": "reserved", "peer": peer }),
        RelayEvent::ReservationRefused(peer, why) => {
            json!({ "event": "reservation_refused", "peer": peer, "message": why })
        }
        RelayEvent::CircuitOpened(from, to) => json!({ "event": "circuit_opened", "from": from, "to": to }),
        RelayEvent::CircuitRefused(from, to, why) => {
            json!({ "event": "circuit_refused", "from": from, "to": to, "message": why })
        }
        RelayEvent::CircuitClosed(from, to) => json!({ "event": "circuit_closed", "from": from, "to": to }),
    }
}

/// One line an event: as JSON, or as words. A reader that has gone does not stop the relay.
fn tell(as_json: bool, event: &Value) {
    let mut out = std::io::stdout().lock();
    let _ = match (as_json, event.as_object()) {
        (false, Some(fields)) => {
            let words: Vec<String> = fields
                .values()
                .map(|value| match value {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                })
                .collect();
            writeln!(out, "{}", words.join(" "))
        }
        _ => writeln!(out, "{event}"),
    };
    let _ = out.flush();
}
