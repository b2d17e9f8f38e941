//! Browsers, and Node with the memory store: IndexedDB, WebSocket, WebCrypto, the event loop.

/// What peers are told of this device.
pub const IS_BROWSER: bool = true;

pub mod keys;
#[cfg(feature = "p2p")]
pub mod p2p;
pub mod quota;
pub mod seal;
pub mod store;
pub mod tabs;
pub mod thread;
pub mod time;
