//! libp2p in browsers: WebSocket to a relay, and circuits through it to any peer. Nothing listens here.

use std::time::Duration;

use libp2p::swarm::dummy;
use libp2p::{Multiaddr, SwarmBuilder, Transport as _, core::upgrade, noise, relay, swarm, websocket_websys, yamux};

use super::time::sleep;
use crate::error::{Error, ErrorCode, Result};
use crate::transport::p2p::{self, Behaviour, Discovery, IDLE_SECONDS, P2pConfig};
use crate::types::Keypair;

/// The network of a browser device.
pub type P2pTransport = p2p::P2pTransport<dummy::Behaviour>;

/// Streams that a peer may have open at once: session, identify, ping, circuits, and some to spare.
const MAX_STREAMS: usize = 64;

/// A browser finds nobody by itself.
impl Discovery for dummy::Behaviour {
    fn found(event: std::convert::Infallible) -> Vec<(libp2p::PeerId, Multiaddr)> {
        match event {}
    }
}

/// Starts the network. The transport must be driven by `next`; sockets belong to the page.
///
/// Fails on options that a browser does not have.
pub fn start(keypair: &Keypair, config: &P2pConfig) -> Result<P2pTransport> {
    if config.enable_dht || config.enable_mdns {
        return Err(Error::new(
            ErrorCode::Unsupported,
            "browsers have no mDNS and no DHT; leave enable_mdns and enable_dht off, and name a relay",
        ));
    }
    let failed = |error: &dyn std::fmt::Display| {
        Error::new(ErrorCode::Transport, format!("the network could not be set up: {error}"))
    };
    let key = p2p::keypair(keypair)?;
    let noise = noise::Config::new(&key).map_err(|error| failed(&error))?;
    let mut muxer = yamux::Config::default();
    muxer.set_max_num_streams(MAX_STREAMS);
    let (circuits, relay) = relay::client::new(key.public().to_peer_id());
    // One kind of connection for both ways, so that what secures and divides it is compiled once.
    let ways = circuits.or_transport(websocket_websys::Transport::default());
    let swarm = SwarmBuilder::with_existing_identity(key)
        .with_wasm_bindgen()
        .with_other_transport(|_| ways.upgrade(upgrade::Version::V1Lazy).authenticate(noise).multiplex(muxer))
        .map_err(|error| failed(&error))?
        .with_behaviour(|key| Behaviour::new(key, relay, dummy::Behaviour))
        .map_err(|error| failed(&error))?
        .with_swarm_config(|config: swarm::Config| {
            config
                .with_idle_connection_timeout(Duration::from_secs(IDLE_SECONDS))
                .with_max_negotiating_inbound_streams(MAX_STREAMS)
        })
        .build();
    P2pTransport::new(swarm, config, Box::new(|time| Box::pin(sleep(time)) as _))
}
