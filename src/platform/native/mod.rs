//! Desktops and servers: files, threads, sockets.

#[cfg(feature = "p2p")]
pub mod p2p;
pub mod store;
