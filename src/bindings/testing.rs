//! Devices in one page, for tests of apps: stores in memory, and a network in memory between them.

use std::time::Duration;

use wasm_bindgen::prelude::*;
use zeroize::Zeroizing;

use crate::error::Result;
use crate::orchestrator::{
    Opened, OrchestratorConfig, OrchestratorHandle, SyncOrchestrator, World, drive_store, store_channel,
};
use crate::platform::entropy;
use crate::platform::web::{thread, time};
use crate::policy::PolicyKind;
use crate::store::MemoryStore;
use crate::transport::memory::{MemoryNetwork, MemoryTransport};
use crate::types::{Instant, Keypair};

/// A network in memory.
#[wasm_bindgen]
#[derive(Clone, Default)]
pub struct TestNetwork(MemoryNetwork);

#[wasm_bindgen]
impl TestNetwork {
    /// A network without devices.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same network, to be handed over.
    #[wasm_bindgen(js_name = share)]
    pub fn share(&self) -> TestNetwork {
        self.clone()
    }

    /// Cuts the way between two devices.
    pub fn cut(&self, one: &str, other: &str) {
        if let (Ok(one), Ok(other)) = (one.parse(), other.parse()) {
            self.0.cut(one, other);
        }
    }

    /// Undoes [`TestNetwork::cut`].
    pub fn heal(&self, one: &str, other: &str) {
        if let (Ok(one), Ok(other)) = (one.parse(), other.parse()) {
            self.0.heal(one, other);
        }
    }
}

struct TestDevice {
    network: MemoryNetwork,
    clock: time::Clock,
}

/// An orchestrator on a network in memory, with a store in memory.
pub fn create_test_orchestrator(network: &TestNetwork, config: OrchestratorConfig) -> OrchestratorHandle {
    let world = TestDevice { network: network.0.clone(), clock: time::Clock::new() };
    let (orchestrator, handle) = SyncOrchestrator::new(world, config, PolicyKind::Personal);
    // It cannot fail: there are no threads to run out of.
    let _ = thread::spawn("privstack-test", move || orchestrator.run());
    handle
}

impl World for TestDevice {
    type Transport = MemoryTransport;

    async fn open(&mut self) -> Result<Opened> {
        let (store, end) = store_channel();
        thread::spawn("privstack-test-store", move || drive_store(MemoryStore::default(), end))?;
        let keypair = Keypair::from_seed(&*entropy::bytes()?);
        let mark = entropy::bytes()?;
        Ok(Opened { keypair, instance_mark: *mark.first_chunk().unwrap_or(&[0; 16]), store })
    }

    async fn connect(&mut self, keypair: &Keypair) -> Result<Option<Self::Transport>> {
        Ok(Some(self.network.join(keypair.peer_id())))
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
