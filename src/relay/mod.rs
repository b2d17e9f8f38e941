//! The relay: carries encrypted circuits between devices that cannot reach each other, and tells browsers who it is.
//!
//! For pairing it names devices by short numbers (`nameplates.rs`); the code itself it never sees.
//!
//! It speaks circuit relay v2 over QUIC, TCP and WebSocket. What goes through a circuit is encrypted from device to
//! device: the relay sees which PeerIds talk, when and how much, and nothing else. It keeps no data but its own key.

mod identity;
mod nameplates;
mod node;

pub use identity::serve as serve_identity;
pub use node::{Relay, RelayConfig, RelayEvent};
