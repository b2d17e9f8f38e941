//! Desktops and servers: files, threads, sockets.

pub mod store;
