//! Desktops and servers: files, threads, sockets.

/// What peers are told of this device.
pub const IS_BROWSER: bool = false;

mod file;
pub mod keys;
#[cfg(feature = "p2p")]
pub mod p2p;
pub mod seal;
pub mod store;
pub mod thread;
pub mod time;
