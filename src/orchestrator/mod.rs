//! Runs the engine over a platform: one thread owns engine, store and network; apps hold an [`OrchestratorHandle`].

mod blocking;
mod config;
mod core;
mod device;
mod entities;
mod events;
mod handle;
mod members;
mod pairing;
mod recovery;
mod runner;
mod running;
mod standing;
mod store_driver;
#[cfg(feature = "text")]
mod tabs;
mod world;

pub use crate::engine::TrustedPeer;
pub use crate::pairing::SyncCode;
pub use blocking::block_on;
pub use config::{CloudConfig, GoogleDriveConfig, ICloudConfig, OrchestratorConfig, SyncCommand, SyncConfig};
pub use device::{
    create_enterprise_orchestrator, create_on, create_orchestrator_with_pairing, create_personal_orchestrator, seal_key,
};
pub use events::{BlockingEvents, EVENT_CAPACITY, EventStream, Filter, Subscription, Update};
pub use handle::{BackupStream, NewVault, OrchestratorHandle};
pub use pairing::{DiscoveredPeerInfo, PairingManager};
pub use runner::SyncOrchestrator;
pub use store_driver::{StoreCommand, StoreDone, StoreEnd, StoreLink, drive_store, store_channel};
#[cfg(feature = "text")]
pub use tabs::{TAB_CAPACITY, serve_tabs};
pub use world::{Opened, World};
