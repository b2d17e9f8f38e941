//! The platforms: what differs between worlds, under the same names. Nothing above this room knows which one it is on.

pub mod entropy;
#[cfg(not(target_arch = "wasm32"))]
pub mod native;
pub mod passphrase;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
#[cfg(target_arch = "wasm32")]
pub mod web;

/// The platform that this build runs on; its twins have the same public names.
#[cfg(not(target_arch = "wasm32"))]
pub use native as host;
#[cfg(target_arch = "wasm32")]
pub use web as host;
