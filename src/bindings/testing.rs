//! Devices in one page, for tests of apps: stores in memory, and a network in memory between them.

use wasm_bindgen::prelude::*;

use crate::orchestrator::{OrchestratorConfig, OrchestratorHandle, create_on};
use crate::policy::PolicyKind;
use crate::transport::memory::MemoryNetwork;

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

/// An orchestrator on a network in memory; without a name its store is in memory too.
pub fn create_test_orchestrator(
    network: &TestNetwork,
    config: OrchestratorConfig,
    policy: PolicyKind,
) -> OrchestratorHandle {
    let network = network.0.clone();
    create_on(config, policy, move |keypair, _| Ok(Some(network.join(keypair.peer_id()))))
}
