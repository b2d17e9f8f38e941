//! What runs on every connection: session and pairing streams, identify, ping, questions to relays; and the platform's discovery beside it.

use std::time::Duration;

use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::NetworkBehaviour;
use libp2p::{Multiaddr, identify, identity, ping, relay};

use super::nameplates::{NAMEPLATE_PROTOCOL, NameplateCodec};
use super::streams::Streams;
use super::{IDENTIFY_PROTOCOL, PING_SECONDS};

/// How a platform finds peers without being told where they are.
pub trait Discovery: NetworkBehaviour {
    /// The peers that an event tells of, with addresses.
    fn found(event: Self::ToSwarm) -> Vec<(libp2p::PeerId, Multiaddr)>;
}

/// See the module.
#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p::swarm::derive_prelude")]
#[allow(missing_docs)] // the derive makes an enum of the fields
pub struct Behaviour<D: NetworkBehaviour> {
    pub(super) streams: Streams,
    pub(super) identify: identify::Behaviour,
    pub(super) ping: ping::Behaviour,
    pub(super) relay: relay::client::Behaviour,
    pub(super) nameplates: request_response::Behaviour<NameplateCodec>,
    pub(super) discovery: D,
}

impl<D: NetworkBehaviour> Behaviour<D> {
    /// For a device with this key; `relay` belongs to the transport that makes circuits.
    pub fn new(key: &identity::Keypair, relay: relay::client::Behaviour, discovery: D) -> Self {
        let identify = identify::Config::new(IDENTIFY_PROTOCOL.into(), key.public())
            .with_agent_version(concat!("privstack-sync/", env!("CARGO_PKG_VERSION")).into());
        let ping = ping::Config::new()
            .with_interval(Duration::from_secs(PING_SECONDS))
            .with_timeout(Duration::from_secs(2 * PING_SECONDS));
        Self {
            streams: Streams::default(),
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(ping),
            relay,
            // Asks only: devices hold no nameplates.
            nameplates: request_response::Behaviour::new(
                [(NAMEPLATE_PROTOCOL, ProtocolSupport::Outbound)],
                request_response::Config::default().with_request_timeout(Duration::from_secs(10)),
            ),
            discovery,
        }
    }
}
