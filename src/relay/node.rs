//! The relay's swarm and its limits.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use futures::StreamExt;
use libp2p::core::upgrade;
use libp2p::multiaddr::Protocol;
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::{ConnectionId, NetworkBehaviour, Swarm, SwarmEvent};
use libp2p::{
    Multiaddr, SwarmBuilder, Transport as _, connection_limits, identify, noise, ping, relay, tcp, websocket, yamux,
};

use super::nameplates::Nameplates;
use crate::error::{Error, ErrorCode, Result};
use crate::platform::entropy;
use crate::transport::p2p::{self, Answer, Ask, IDENTIFY_PROTOCOL, NAMEPLATE_PROTOCOL, NameplateCodec, PING_SECONDS};
use crate::types::Keypair;

/// How a relay is set up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RelayConfig {
    /// Multiaddresses to listen on.
    pub listen: Vec<String>,
    /// Multiaddresses at which others reach it, where those differ: behind a proxy or a port forward.
    pub external: Vec<String>,
    /// Devices that may keep a place at once.
    pub max_reservations: usize,
    /// Circuits that may be open at once.
    pub max_circuits: usize,
    /// Circuits that one device may have open at once.
    pub max_circuits_per_peer: usize,
}

impl Default for RelayConfig {
    fn default() -> Self {
        let listen = ["/ip4/0.0.0.0/udp/4001/quic-v1", "/ip4/0.0.0.0/tcp/4001", "/ip4/0.0.0.0/tcp/4003/ws"];
        Self {
            listen: listen.map(str::to_owned).to_vec(),
            external: Vec::new(),
            max_reservations: 1_024,
            max_circuits: 1_024,
            max_circuits_per_peer: 32,
        }
    }
}

/// How long a place is kept before the device asks again.
const RESERVATION: Duration = Duration::from_secs(60 * 60);
/// How long one circuit may last: a sync may be long, and devices stay connected.
const CIRCUIT: Duration = Duration::from_secs(24 * 60 * 60);
/// Places and circuits that one device may ask for in a minute, and one IP address.
const RATE_PER_PEER: NonZeroU32 = NonZeroU32::new(60).unwrap();
const RATE_PER_IP: NonZeroU32 = NonZeroU32::new(240).unwrap();
const RATE_INTERVAL: Duration = Duration::from_secs(60);
/// Connections of one device.
const MAX_CONNECTIONS_PER_PEER: u32 = 8;
/// Connections beyond one for each place.
const SPARE_CONNECTIONS: usize = 256;
/// A connection that carries nothing is closed after this time.
const IDLE: Duration = Duration::from_secs(60);
/// Streams of one connection: circuits, and some to spare.
const MAX_STREAMS: usize = 128;

/// Questions about nameplates under way on one connection.
const MAX_ASKING: usize = 4;

/// What a relay tells whoever runs it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RelayEvent {
    /// It can be reached here.
    Listening(String),
    /// An address cannot be listened on, or no longer: the address and why.
    ListenFailed(String, String),
    /// A device got a place, or renewed it.
    Reserved(String),
    /// A device got no place: who and why.
    ReservationRefused(String, String),
    /// A circuit opened: from and to.
    CircuitOpened(String, String),
    /// A circuit was refused: from, to and why.
    CircuitRefused(String, String, String),
    /// A circuit closed: from and to.
    CircuitClosed(String, String),
}

#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p::swarm::derive_prelude")]
struct RelayBehaviour {
    limits: connection_limits::Behaviour,
    relay: relay::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    nameplates: request_response::Behaviour<NameplateCodec>,
}

/// A running relay; it works while [`Relay::next`] is polled, within a tokio runtime with time and IO enabled.
pub struct Relay {
    swarm: Swarm<RelayBehaviour>,
    addresses: Vec<Multiaddr>,
    /// Whether they were given; else they are those on which it listens.
    external: bool,
    nameplates: Nameplates,
    /// Where connections come from.
    from: HashMap<ConnectionId, IpAddr>,
    started: Instant,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl Relay {
    /// Sets it up and listens. Fails on an address that is none, and on one that cannot be listened on.
    pub fn start(keypair: &Keypair, config: &RelayConfig) -> Result<Self> {
        let key = p2p::keypair(keypair)?;
        let failed = |error: &dyn std::fmt::Display| {
            Error::new(ErrorCode::Transport, format!("the relay could not be set up: {error}"))
        };
        let noise = noise::Config::new(&key).map_err(|error| failed(&error))?;
        let mut swarm = SwarmBuilder::with_existing_identity(key)
            .with_tokio()
            .with_tcp(tcp::Config::new().nodelay(true), noise::Config::new, muxer)
            .map_err(|error| failed(&error))?
            .with_quic()
            .with_other_transport(|_| {
                let tcp = tcp::tokio::Transport::new(tcp::Config::new().nodelay(true));
                websocket::Config::new(tcp).upgrade(upgrade::Version::V1Lazy).authenticate(noise).multiplex(muxer())
            })
            .map_err(|error| failed(&error))?
            .with_behaviour(|key| behaviour(key, config))
            .map_err(|error| failed(&error))?
            .with_swarm_config(|swarm| swarm.with_idle_connection_timeout(IDLE))
            .build();
        for text in &config.listen {
            swarm
                .listen_on(parse(text)?)
                .map_err(|error| Error::new(ErrorCode::Transport, format!("cannot listen on {text}: {error}")))?;
        }
        let mut relay = Self {
            swarm,
            addresses: Vec::new(),
            external: !config.external.is_empty(),
            nameplates: Nameplates::new(entropy::bytes()?),
            from: HashMap::new(),
            started: Instant::now(),
        };
        for text in &config.external {
            relay.reachable_at(parse(text)?);
        }
        Ok(relay)
    }

    /// Its PeerId.
    pub fn peer_id(&self) -> String {
        self.swarm.local_peer_id().to_string()
    }

    /// Where it can be reached, each ending in its PeerId.
    pub fn addresses(&self) -> Vec<String> {
        let me = *self.swarm.local_peer_id();
        self.addresses.iter().map(|address| address.clone().with(Protocol::P2p(me)).to_string()).collect()
    }

    /// A place carries the addresses under which the relay says that it can be reached.
    fn reachable_at(&mut self, address: Multiaddr) {
        if !self.addresses.contains(&address) {
            self.swarm.add_external_address(address.clone());
            self.addresses.push(address);
        }
    }

    /// The next event. Cancel-safe.
    pub async fn next(&mut self) -> RelayEvent {
        loop {
            match self.swarm.select_next_some().await {
                SwarmEvent::NewListenAddr { address, .. } => {
                    let text = address.to_string();
                    if !self.external {
                        self.reachable_at(address);
                    }
                    return RelayEvent::Listening(text);
                }
                SwarmEvent::ExpiredListenAddr { address, .. } => {
                    if !self.external {
                        self.swarm.remove_external_address(&address);
                        self.addresses.retain(|other| *other != address);
                    }
                    return RelayEvent::ListenFailed(address.to_string(), "it is gone from this machine".into());
                }
                SwarmEvent::ListenerClosed { addresses, reason: Err(error), .. } => {
                    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                    return RelayEvent::ListenFailed(addresses.join(", "), error.to_string());
                }
                SwarmEvent::Behaviour(RelayBehaviourEvent::Relay(event)) => {
                    if let Some(event) = told(event) {
                        return event;
                    }
                }
                SwarmEvent::Behaviour(RelayBehaviourEvent::Nameplates(event)) => self.on_nameplate(event),
                SwarmEvent::ConnectionEstablished { connection_id, endpoint, .. } => {
                    let ip = endpoint.get_remote_address().iter().find_map(|part| match part {
                        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
                        Protocol::Ip6(ip) => Some(IpAddr::V6(ip)),
                        _ => None,
                    });
                    self.from.extend(ip.map(|ip| (connection_id, ip)));
                }
                SwarmEvent::ConnectionClosed { connection_id, .. } => {
                    self.from.remove(&connection_id);
                }
                _ => {}
            }
        }
    }

    fn on_nameplate(&mut self, event: request_response::Event<Ask, Answer>) {
        let request_response::Event::Message {
            peer,
            connection_id,
            message: request_response::Message::Request { request, channel, .. },
        } = event
        else {
            return;
        };
        let now = self.started.elapsed().as_secs();
        let from = self.from.get(&connection_id).copied();
        let answer = match p2p::from_libp2p(&peer) {
            Ok(peer) => self.nameplates.answer(now, peer, from, request),
            Err(_) => Answer::Busy,
        };
        // A device that has gone needs no answer.
        let _ = self.swarm.behaviour_mut().nameplates.send_response(channel, answer);
    }
}

fn told(event: relay::Event) -> Option<RelayEvent> {
    Some(match event {
        relay::Event::ReservationReqAccepted { src_peer_id, .. } => RelayEvent::Reserved(src_peer_id.to_string()),
        relay::Event::ReservationReqDenied { src_peer_id, status } => {
            RelayEvent::ReservationRefused(src_peer_id.to_string(), format!("{status:?}"))
        }
        relay::Event::CircuitReqAccepted { src_peer_id, dst_peer_id } => {
            RelayEvent::CircuitOpened(src_peer_id.to_string(), dst_peer_id.to_string())
        }
        relay::Event::CircuitReqDenied { src_peer_id, dst_peer_id, status } => {
            RelayEvent::CircuitRefused(src_peer_id.to_string(), dst_peer_id.to_string(), format!("{status:?}"))
        }
        relay::Event::CircuitClosed { src_peer_id, dst_peer_id, .. } => {
            RelayEvent::CircuitClosed(src_peer_id.to_string(), dst_peer_id.to_string())
        }
        _ => return None,
    })
}

fn behaviour(key: &libp2p::identity::Keypair, config: &RelayConfig) -> RelayBehaviour {
    let relay = relay::Config {
        max_reservations: config.max_reservations,
        max_reservations_per_peer: MAX_CONNECTIONS_PER_PEER as usize,
        reservation_duration: RESERVATION,
        reservation_rate_limiters: Vec::new(),
        max_circuits: config.max_circuits,
        max_circuits_per_peer: config.max_circuits_per_peer,
        max_circuit_duration: CIRCUIT,
        // No limit: what a first sync takes is not known to anybody before.
        max_circuit_bytes: 0,
        circuit_src_rate_limiters: Vec::new(),
    }
    .reservation_rate_per_peer(RATE_PER_PEER, RATE_INTERVAL)
    .reservation_rate_per_ip(RATE_PER_IP, RATE_INTERVAL)
    .circuit_src_per_peer(RATE_PER_PEER, RATE_INTERVAL)
    .circuit_src_per_ip(RATE_PER_IP, RATE_INTERVAL);
    let most = u32::try_from(config.max_reservations.saturating_add(SPARE_CONNECTIONS)).unwrap_or(u32::MAX);
    let limits = connection_limits::ConnectionLimits::default()
        .with_max_established(Some(most))
        .with_max_established_per_peer(Some(MAX_CONNECTIONS_PER_PEER))
        .with_max_pending_incoming(Some(SPARE_CONNECTIONS as u32));
    let identify = identify::Config::new(IDENTIFY_PROTOCOL.into(), key.public())
        .with_agent_version(concat!("privstack-relay/", env!("CARGO_PKG_VERSION")).into());
    RelayBehaviour {
        limits: connection_limits::Behaviour::new(limits),
        relay: relay::Behaviour::new(key.public().to_peer_id(), relay),
        identify: identify::Behaviour::new(identify),
        ping: ping::Behaviour::new(ping::Config::new().with_interval(Duration::from_secs(PING_SECONDS))),
        nameplates: request_response::Behaviour::new(
            [(NAMEPLATE_PROTOCOL, ProtocolSupport::Inbound)],
            request_response::Config::default()
                .with_request_timeout(Duration::from_secs(10))
                .with_max_concurrent_streams(MAX_ASKING),
        ),
    }
}

fn muxer() -> yamux::Config {
    let mut config = yamux::Config::default();
    config.set_max_num_streams(MAX_STREAMS);
    config
}

/// Reads an address; the relay's own name at its end is left out.
fn parse(text: &str) -> Result<Multiaddr> {
    let mut address: Multiaddr = text.parse().map_err(|error| {
        Error::invalid(format!("`{text}` is not a multiaddress ({error}); one looks like /ip4/0.0.0.0/tcp/4003/ws"))
    })?;
    if let Some(Protocol::P2p(_)) = address.iter().last() {
        address.pop();
    }
    Ok(address)
}
