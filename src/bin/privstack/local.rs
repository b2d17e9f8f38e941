//! The engine in this process.

use std::path::Path;
use std::time::Duration;

use privstack_sync::engine::{Call, Reply, SyncEvent};
use privstack_sync::error::{Error, ErrorCode, Result};
use privstack_sync::orchestrator::{
    OrchestratorConfig, OrchestratorHandle, SyncConfig, block_on, create_personal_orchestrator,
};
use privstack_sync::store::SealKey;
use privstack_sync::transport::p2p::P2pConfig;

use crate::client::Engine;

/// How the engine is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The device's name where it is made now; the machine's if none is given.
    pub name: Option<String>,
    /// Where the folder's passphrase comes from, if not from the terminal.
    pub passphrase_fd: Option<u32>,
    /// The network; `None` for commands that only read and write the folder.
    pub network: Option<Network>,
}

/// How the network is used.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// Multiaddresses to listen on; none given: QUIC and TCP on any port of all interfaces.
    pub listen: Vec<String>,
    /// Relays to keep a place at.
    pub relays: Vec<String>,
    /// Neither look for devices on the local network nor be found there.
    pub no_mdns: bool,
}

/// A started engine; dropping it stops it and releases the folder.
pub struct LocalEngine {
    handle: OrchestratorHandle,
}

impl LocalEngine {
    /// Opens the folder with the key of its passphrase, if it has one; makes the folder if there is none.
    pub fn start(data: &Path, options: &Options, seal: Option<SealKey>) -> Result<Self> {
        let mut p2p_config = P2pConfig::default();
        if let Some(network) = &options.network {
            if let Some((first, more)) = network.listen.split_first() {
                p2p_config.listen_addr = first.clone();
                p2p_config.extra_listen = more.to_vec();
            }
            p2p_config.enable_mdns = !network.no_mdns;
            p2p_config.enable_relay = !network.relays.is_empty();
            p2p_config.bootstrap_nodes.clone_from(&network.relays);
        }
        let device_name = options.name.clone().unwrap_or_else(machine_name);
        let config = OrchestratorConfig {
            sync_config: SyncConfig {
                device_name,
                offline: options.network.is_none(),
                // Here `init` makes it, and shows the recovery words.
                makes_vault: false,
                seal,
                ..SyncConfig::default()
            },
            p2p_config,
            cloud_config: None,
            db_path: data.to_owned(),
        };
        let engine = Self { handle: create_personal_orchestrator(config) };
        block_on(engine.handle.start())?;
        Ok(engine)
    }

    /// Saves what is in flight, closes all links and releases the folder.
    pub fn stop(&self) -> Result<()> {
        block_on(self.handle.stop())
    }
}

impl Drop for LocalEngine {
    fn drop(&mut self) {
        // After a stop that was asked for this answers at once; what was acknowledged is on disk either way.
        let _ = self.stop();
    }
}

impl Engine for LocalEngine {
    fn call(&self, call: Call, limit: Option<Duration>) -> Result<Reply> {
        let Some(limit) = limit else { return self.handle.call_blocking(call) };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|error| Error::new(ErrorCode::Unsupported, format!("no timer could be made: {error}")))?;
        runtime.block_on(async { tokio::time::timeout(limit, self.handle.call(call)).await }).unwrap_or_else(|_| {
            Err(Error::new(ErrorCode::Timeout, format!("no answer within {} s", limit.as_secs_f32())))
        })
    }

    fn addresses(&self) -> Vec<String> {
        self.handle.addresses()
    }

    fn add_address(&self, address: &str) -> Result<()> {
        block_on(self.handle.dial(address))
    }

    fn events(&self) -> Box<dyn Iterator<Item = SyncEvent> + Send> {
        Box::new(self.handle.events().blocking())
    }
}

/// A name for this device where the user gives none.
fn machine_name() -> String {
    let name = std::fs::read_to_string("/etc/hostname").ok().or_else(|| std::env::var("COMPUTERNAME").ok());
    let name: String = name.unwrap_or_default().trim().chars().filter(|c| !c.is_control()).take(32).collect();
    if name.is_empty() { "device".to_owned() } else { name }
}
