//! What the orchestrator needs of the platform that it runs on.

use super::store_driver::StoreLink;
use crate::error::Result;
use crate::transport::Transport;
use crate::types::{Instant, Keypair};
use zeroize::Zeroizing;

/// A device's data, open.
#[derive(Debug)]
pub struct Opened {
    /// The device's key.
    pub keypair: Keypair,
    /// Tells this copy of the store from every other (ARCHITECTURE.md, restored devices).
    pub instance_mark: [u8; 16],
    /// Whether it is a browser's.
    pub browser: bool,
    /// The store, which runs on its own.
    pub store: StoreLink,
}

/// One device's surroundings: disk, network, clock, randomness. Everything is used on the engine's thread.
#[allow(async_fn_in_trait)] // driven by the one thread that owns the engine
pub trait World {
    /// Opens key and store; may be called again once the [`StoreLink`] of the time before has closed.
    async fn open(&mut self) -> Result<Opened>;

    /// Starts the network; `None` where this device uses none.
    async fn connect(&mut self, keypair: &Keypair) -> Result<Option<Box<dyn Transport>>>;

    /// The clocks.
    fn now(&self) -> Instant;

    /// Waits so many microseconds, or a little longer.
    async fn sleep(&self, micros: u64);

    /// Called between steps: gives whoever else lives on this thread a turn, where somebody does.
    async fn give_turn(&self) {}

    /// 32 bytes of the best randomness there is.
    fn entropy(&self) -> Result<Zeroizing<[u8; 32]>>;
}
