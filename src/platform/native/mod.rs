//! Desktops and servers: files, threads, sockets.

mod file;
pub mod keys;
#[cfg(feature = "p2p")]
pub mod p2p;
pub mod store;
pub mod thread;
pub mod time;
