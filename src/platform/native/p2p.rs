//! libp2p on desktops: QUIC, TCP and WebSocket with Noise and Yamux, circuits through relays, mDNS, names from DNS.

use std::io;
use std::time::Duration;

use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::{self, Swarm};
use libp2p::{Multiaddr, SwarmBuilder, Transport as _, core::upgrade, identity, mdns, noise, tcp, websocket, yamux};

use crate::error::{Error, ErrorCode, Result};
use crate::transport::TransportEvent;
use crate::transport::p2p::{self, Behaviour, Discovery, IDLE_SECONDS, P2pConfig};
use crate::types::Keypair;

/// The local network's discovery, where it is wanted and works.
pub type Mdns = Toggle<mdns::tokio::Behaviour>;

/// The network of a desktop device.
pub type P2pTransport = p2p::P2pTransport<Mdns>;

/// Milliseconds without a packet after which QUIC gives a connection up; must be more than twice the next.
const QUIC_IDLE_MS: u32 = 10_000;
/// Seconds without a packet after which QUIC asks for one.
const QUIC_KEEP_ALIVE_SECONDS: u64 = 4;
/// Bytes that a peer may send on one QUIC stream, and on all streams of a connection, before they are read.
const QUIC_WINDOWS: (u32, u32) = (1 << 20, 2 << 20);
/// Streams that a peer may have open at once: session, identify, ping, and some to spare.
const MAX_STREAMS: usize = 32;
/// Seconds between two mDNS queries where nothing was heard in between.
const MDNS_QUERY_SECONDS: u64 = 60;

impl Discovery for Mdns {
    fn found(event: mdns::Event) -> Vec<(libp2p::PeerId, Multiaddr)> {
        match event {
            mdns::Event::Discovered(found) => found,
            mdns::Event::Expired(_) => Vec::new(),
        }
    }
}

/// Starts the network and listens. Must be called within a tokio runtime with time and IO enabled (one thread is
/// enough); sockets run as its tasks, and the transport must be driven on it by `next`.
///
/// mDNS that does not start is a warning. Fails on a listen address that is none, and on options of later versions.
pub fn start(keypair: &Keypair, config: &P2pConfig) -> Result<P2pTransport> {
    if config.enable_dht {
        return Err(Error::new(ErrorCode::Unsupported, "this version has no DHT; leave enable_dht off"));
    }
    let key = p2p::keypair(keypair)?;
    let (mdns, no_mdns) = match config.enable_mdns.then(|| start_mdns(&key)).transpose() {
        Ok(mdns) => (mdns, None),
        Err(error) => {
            let text = format!("mDNS does not work, devices on this network are not found: {error}");
            (None, Some(Error::new(ErrorCode::Transport, text)))
        }
    };
    let (swarm, no_dns) = build(key, Toggle::from(mdns))?;
    let sleep = Box::new(|time| Box::pin(tokio::time::sleep(time)) as _);
    let mut transport = P2pTransport::new(swarm, config, sleep)?;
    for warning in [no_mdns, no_dns].into_iter().flatten() {
        transport.report(TransportEvent::Warning(warning));
    }
    Ok(transport)
}

fn start_mdns(key: &identity::Keypair) -> io::Result<mdns::tokio::Behaviour> {
    let config = mdns::Config { query_interval: Duration::from_secs(MDNS_QUERY_SECONDS), ..Default::default() };
    mdns::tokio::Behaviour::new(config, key.public().to_peer_id())
}

fn build(key: identity::Keypair, mdns: Mdns) -> Result<(Swarm<Behaviour<Mdns>>, Option<Error>)> {
    let failed = |error: &dyn std::fmt::Display| {
        Error::new(ErrorCode::Transport, format!("the network could not be set up: {error}"))
    };
    let muxer = || {
        let mut config = yamux::Config::default();
        config.set_max_num_streams(MAX_STREAMS);
        config
    };
    let transports = || {
        let tcp = tcp::Config::new().nodelay(true);
        let builder = SwarmBuilder::with_existing_identity(key.clone()).with_tokio();
        let builder = builder.with_tcp(tcp, noise::Config::new, muxer).map_err(|error| failed(&error))?;
        let builder = builder.with_quic_config(|mut config| {
            config.max_idle_timeout = QUIC_IDLE_MS;
            config.keep_alive_interval = Duration::from_secs(QUIC_KEEP_ALIVE_SECONDS);
            config.max_concurrent_stream_limit = MAX_STREAMS as u32;
            (config.max_stream_data, config.max_connection_data) = QUIC_WINDOWS;
            config
        });
        let noise = noise::Config::new(&key).map_err(|error| failed(&error))?;
        builder
            .with_other_transport(|_| {
                let tcp = tcp::tokio::Transport::new(tcp::Config::new().nodelay(true));
                websocket::Config::new(tcp).upgrade(upgrade::Version::V1Lazy).authenticate(noise).multiplex(muxer())
            })
            .map_err(|error| failed(&error))
    };
    let limits = |config: swarm::Config| {
        config
            .with_idle_connection_timeout(Duration::from_secs(IDLE_SECONDS))
            .with_max_negotiating_inbound_streams(MAX_STREAMS)
    };
    match transports()?.with_dns() {
        Ok(builder) => {
            let builder = builder.with_relay_client(noise::Config::new, muxer).map_err(|error| failed(&error))?;
            let behaviour = |key: &identity::Keypair, relay| Behaviour::new(key, relay, mdns);
            let builder = builder.with_behaviour(behaviour).map_err(|error| failed(&error))?;
            Ok((builder.with_swarm_config(limits).build(), None))
        }
        // Without a resolver (no readable resolv.conf) addresses of numbers still work.
        Err(error) => {
            let builder = transports()?.with_relay_client(noise::Config::new, muxer).map_err(|error| failed(&error))?;
            let behaviour = |key: &identity::Keypair, relay| Behaviour::new(key, relay, mdns);
            let builder = builder.with_behaviour(behaviour).map_err(|error| failed(&error))?;
            let text = format!("names cannot be resolved, only addresses of numbers work: {error}");
            Ok((builder.with_swarm_config(limits).build(), Some(Error::new(ErrorCode::Transport, text))))
        }
    }
}
