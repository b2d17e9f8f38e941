//! The platforms: what differs between worlds, under the same names. Nothing above this room knows which one it is on.

#[cfg(not(target_arch = "wasm32"))]
pub mod native;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
