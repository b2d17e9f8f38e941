//! Peers over libp2p: what all platforms share. A platform adds its transports, its discovery, and a way to wait.
//!
//! Each connected pair of peers has one bidirectional stream of the protocol [`PROTOCOL`]: frames of a big-endian `u32`
//! length and as many bytes, 1 to [`crate::types::limits::MAX_FRAME_BYTES`]. Whoever dialled a connection opens the
//! stream; `links.rs` says which one stays where both sides dialled.

mod address;
mod asking;
mod behaviour;
mod config;
mod connections;
mod dialling;
mod identity;
mod link;
mod links;
mod nameplates;
mod pairing;
mod pausing;
mod relays;
mod streams;
mod swarm;

pub use behaviour::{Behaviour, Discovery};
pub use config::P2pConfig;
pub use identity::{from_libp2p, keypair, to_libp2p};
pub use nameplates::{Answer, Ask, NAMEPLATE_PROTOCOL, NameplateCodec};
pub use swarm::{P2pTransport, Sleep};

/// The name of the protocol, version 1 of how a stream is opened and framed; what the frames say is negotiated in them.
pub const PROTOCOL: libp2p::StreamProtocol = libp2p::StreamProtocol::new("/privstack/sync/1.0.0");
/// The same for pairing (PROTOCOL.md section 12); taken in pairing mode only.
pub const PAIRING_PROTOCOL: libp2p::StreamProtocol = libp2p::StreamProtocol::new("/privstack/pair/1");
/// What `identify` tells of this protocol family.
pub const IDENTIFY_PROTOCOL: &str = "/privstack/1.0.0";
/// A connection without a session stream is closed after so many seconds.
pub const IDLE_SECONDS: u64 = 30;
/// Seconds between pings.
pub const PING_SECONDS: u64 = 5;
