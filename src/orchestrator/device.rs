//! A device's surroundings, as its platform has them: key and store, libp2p, clocks and randomness.

use std::path::Path;
use std::time::Duration;

use zeroize::Zeroizing;

use super::config::OrchestratorConfig;
use super::handle::OrchestratorHandle;
use super::runner::SyncOrchestrator;
use super::store_driver::{drive_store, store_channel};
use super::world::{Opened, World};
use crate::error::Result;
use crate::platform::entropy;
use crate::platform::host::{IS_BROWSER, keys, p2p, store, thread, time};
use crate::policy::PolicyKind;
use crate::store::SealKey;
use crate::transport::Transport;
use crate::types::{Instant, Keypair};

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

/// A personal orchestrator for an app that pairs devices: [`OrchestratorHandle::pairing`] and the `pair_` methods are the
/// way, and the engine's. (Those of the other orchestrators pair too; this name says so.)
pub fn create_orchestrator_with_pairing(config: OrchestratorConfig) -> OrchestratorHandle {
    create(config, PolicyKind::Personal)
}

/// The key of a passphrase for [`super::SyncConfig::seal`]: of the data folder `db_path` (in browsers, of the database of
/// that name). Where nothing is there yet, what is made will be sealed. Deriving it takes a part of a second and 64 MiB,
/// on purpose, on this thread.
///
/// Natively it fails with `locked` for a wrong passphrase, for a folder that has none, and while a passphrase is being
/// changed.
pub async fn seal_key(db_path: &Path, passphrase: &str) -> Result<SealKey> {
    keys::of_passphrase(db_path, passphrase).await
}

fn create(config: OrchestratorConfig, policy: PolicyKind) -> OrchestratorHandle {
    create_on(config, policy, |keypair, config| match config.sync_config.offline {
        true => Ok(None),
        false => p2p::start(keypair, &config.p2p_config).map(Some),
    })
}

/// An orchestrator on another network than the platform's, for tests of apps say: `connect` starts it on the engine's
/// thread; `None` is no network.
pub fn create_on<T: Transport + 'static>(
    config: OrchestratorConfig,
    policy: PolicyKind,
    mut connect: impl FnMut(&Keypair, &OrchestratorConfig) -> Result<Option<T>> + Send + 'static,
) -> OrchestratorHandle {
    let connect = move |keypair: &Keypair, config: &OrchestratorConfig| match connect(keypair, config)? {
        Some(network) => Ok(Some(Box::new(network) as Box<dyn Transport>)),
        None => Ok(None),
    };
    let world = Device { config: config.clone(), clock: time::Clock::new(), connect: Box::new(connect) };
    let (orchestrator, handle) = SyncOrchestrator::new(world, config, policy);
    if let Err(error) = thread::spawn("privstack-engine", move || orchestrator.run()) {
        handle.has_no_thread(error);
    }
    handle
}

/// Starts a network.
type Connect = Box<dyn FnMut(&Keypair, &OrchestratorConfig) -> Result<Option<Box<dyn Transport>>> + Send>;

/// The same type for every network, so that what runs on it is compiled once.
struct Device {
    config: OrchestratorConfig,
    clock: time::Clock,
    connect: Connect,
}

impl World for Device {
    async fn open(&mut self) -> Result<Opened> {
        let path = self.config.db_path.clone();
        let seal = self.config.sync_config.seal.clone();
        // The store first: it holds the folder's lock while the key is read or made.
        let (link, end) = store_channel();
        let open = move || async move {
            let store = store::open(&path, seal.as_ref()).await?;
            let mark = store.instance_mark();
            Ok((store, mark))
        };
        let instance_mark = thread::spawn_with("privstack-store", open, |store| drive_store(store, end)).await?;
        match keys::load_or_create(&self.config.db_path, self.config.sync_config.seal.as_ref()).await {
            Ok(keypair) => Ok(Opened { keypair, instance_mark, browser: IS_BROWSER, store: link }),
            Err(error) => {
                link.close().await;
                Err(error)
            }
        }
    }

    async fn connect(&mut self, keypair: &Keypair) -> Result<Option<Box<dyn Transport>>> {
        (self.connect)(keypair, &self.config)
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }

    async fn sleep(&self, micros: u64) {
        time::sleep(Duration::from_micros(micros)).await;
    }

    async fn give_turn(&self) {
        self.clock.give_turn().await;
    }

    fn entropy(&self) -> Result<Zeroizing<[u8; 32]>> {
        entropy::bytes()
    }
}
