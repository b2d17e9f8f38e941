//! The desktop's surroundings: a folder with key and store, libp2p, the machine's clocks and randomness.

use super::config::OrchestratorConfig;
use super::handle::OrchestratorHandle;
use super::runner::SyncOrchestrator;
use super::store_driver::{drive_store, store_channel};
use super::world::{Opened, World};
use crate::error::Result;
use crate::platform::native::{entropy, keys, p2p, store::DiskStore, thread, time::Clock};
use crate::policy::PolicyKind;
use crate::types::{Instant, Keypair};
use zeroize::Zeroizing;

/// An orchestrator for one person's devices: every member reads all types. It returns at once and touches no disk;
/// [`super::SyncCommand::Start`] opens. A failed start is the first event, and the answer to every call.
pub fn create_personal_orchestrator(config: OrchestratorConfig) -> OrchestratorHandle {
    create(config, PolicyKind::Personal)
}

/// An orchestrator for a team: roles, teams and access lists; what is not allowed is denied. Otherwise as
/// [`create_personal_orchestrator`]. The policy takes effect where this device makes the vault; a vault that it joins
/// brings its own.
pub fn create_enterprise_orchestrator(config: OrchestratorConfig) -> OrchestratorHandle {
    create(config, PolicyKind::Enterprise)
}

fn create(config: OrchestratorConfig, policy: PolicyKind) -> OrchestratorHandle {
    let world = Desktop { config: config.clone(), clock: Clock::new() };
    let (orchestrator, handle) = SyncOrchestrator::new(world, config, policy);
    if let Err(error) = thread::spawn("privstack-engine", move || orchestrator.run()) {
        handle.has_no_thread(error);
    }
    handle
}

struct Desktop {
    config: OrchestratorConfig,
    clock: Clock,
}

impl World for Desktop {
    type Transport = p2p::P2pTransport;

    async fn open(&mut self) -> Result<Opened> {
        let folder = self.config.db_path.clone();
        let path = folder.clone();
        // The store first: it holds the folder's lock while the key is read or made.
        let (store, end) = store_channel();
        let open = move || {
            let store = DiskStore::open(&path)?;
            let mark = store.instance_mark();
            Ok((store, mark))
        };
        let instance_mark = thread::spawn_with("privstack-store", open, |store| drive_store(store, end)).await?;
        match keys::load_or_create(&folder) {
            Ok(keypair) => Ok(Opened { keypair, instance_mark, store }),
            Err(error) => {
                store.close().await;
                Err(error)
            }
        }
    }

    async fn connect(&mut self, keypair: &Keypair) -> Result<Option<Self::Transport>> {
        if self.config.sync_config.offline {
            return Ok(None);
        }
        p2p::start(keypair, &self.config.p2p_config).map(Some)
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }

    async fn sleep(&self, micros: u64) {
        tokio::time::sleep(std::time::Duration::from_micros(micros)).await;
    }

    fn entropy(&self) -> Result<Zeroizing<[u8; 32]>> {
        entropy::bytes()
    }
}
