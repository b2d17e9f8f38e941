//! [`P2pTransport`]: a libp2p swarm behind the seam of [`crate::transport`].
//!
//! One task owns it and drives it by [`Transport::next`]: sockets run in tasks of their own, but streams are read only
//! there, so a slow owner slows its peers down instead of filling memory. Time comes from a `sleep` that the platform
//! passes in, a second at a time.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::StreamExt;
use libp2p::Multiaddr;
use libp2p::core::transport::{ListenerId, TransportError};
use libp2p::multiaddr::Protocol;
use libp2p::request_response::OutboundRequestId;
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{ConnectionId, Stream, Swarm, SwarmEvent};

use super::address::{self, AddressBook};
use super::behaviour::{Behaviour, BehaviourEvent, Discovery};
use super::connections::Connection;
use super::dialling::causes;
use super::links::Links;
use super::nameplates::Ask;
use super::pairing::{PairLinks, Wanted};
use super::relays::Relays;
use super::{P2pConfig, identity};
use crate::engine::LinkId;
use crate::error::{Error, ErrorCode, Result};
use crate::transport::{Transport, TransportEvent};
use crate::types::PeerId;

/// Seconds of silence (no pong, no frame) after which a connection is taken for dead; QUIC notices in 10 by itself.
const DEAD_TICKS: u32 = 15;
/// The same where a newer stream of the same peer waits: a little more than one ping.
const DEAD_TICKS_RIVAL: u32 = 7;
/// Swarm events handled between two looks at the links.
const SWARM_EVENTS: usize = 64;

/// How the platform waits.
pub type Sleep = Box<dyn Fn(Duration) -> Pin<Box<dyn Future<Output = ()>>>>;

/// The network over libp2p, with the platform's way to find peers.
pub struct P2pTransport<D: Discovery> {
    pub(super) swarm: Swarm<Behaviour<D>>,
    pub(super) links: Links<Stream, ConnectionId>,
    pub(super) pairings: PairLinks<Stream, ConnectionId>,
    /// Whom to pair with once a connection is there.
    pub(super) pair_wanted: Wanted,
    /// Questions to relays that are not answered.
    pub(super) asked: HashMap<OutboundRequestId, Ask>,
    /// Those for relays that there is no connection with yet.
    pub(super) unasked: Vec<(libp2p::PeerId, Ask)>,
    /// The number that is looked up, where a relay said that this device has to wait for that.
    pub(super) refused: Option<u16>,
    pub(super) connections: HashMap<ConnectionId, Connection>,
    pub(super) dialling: HashMap<ConnectionId, String>,
    /// Dials of known peers under way, and where they go: a new address is tried beside them at once.
    pub(super) attempts: HashMap<ConnectionId, (PeerId, Vec<Multiaddr>)>,
    listeners: HashMap<ListenerId, String>,
    pub(super) relays: Relays,
    pub(super) book: AddressBook,
    me: libp2p::PeerId,
    pub(super) sleep: Sleep,
    second: Option<Pin<Box<dyn Future<Output = ()>>>>,
    pub(super) paused: bool,
    /// Seconds until connections whose links still send are cut.
    pub(super) resting: Option<u32>,
    pub(super) events: VecDeque<TransportEvent>,
}

impl<D: Discovery> P2pTransport<D> {
    /// Listens as the configuration says. Fails on an address that is none; one that cannot be listened on is told by
    /// [`TransportEvent::ListenFailed`].
    pub fn new(swarm: Swarm<Behaviour<D>>, config: &P2pConfig, sleep: Sleep) -> Result<Self> {
        let me = *swarm.local_peer_id();
        let mut transport = Self {
            links: Links::new(identity::from_libp2p(&me)?),
            pairings: PairLinks::default(),
            pair_wanted: Wanted::new(),
            asked: HashMap::new(),
            unasked: Vec::new(),
            refused: None,
            swarm,
            connections: HashMap::new(),
            dialling: HashMap::new(),
            attempts: HashMap::new(),
            listeners: HashMap::new(),
            relays: Relays::new(config)?,
            book: AddressBook::default(),
            me,
            sleep,
            second: None,
            paused: false,
            resting: None,
            events: VecDeque::new(),
        };
        let addresses = std::iter::once(&config.listen_addr).chain(&config.extra_listen);
        for text in addresses.filter(|text| !text.trim().is_empty()) {
            transport.listen(text)?;
        }
        transport.ask_relays();
        Ok(transport)
    }

    /// Reports an event that the platform met while it set up.
    pub fn report(&mut self, event: TransportEvent) {
        self.events.push_back(event);
    }

    /// This device.
    pub fn peer_id(&self) -> PeerId {
        self.links.me()
    }

    fn listen(&mut self, text: &str) -> Result<()> {
        let (address, _) = address::parse(text)?;
        match self.swarm.listen_on(address) {
            Ok(id) => {
                self.listeners.insert(id, text.trim().to_owned());
            }
            Err(TransportError::MultiaddrNotSupported(_)) => {
                let error = Error::new(ErrorCode::Unsupported, format!("`{text}` names a transport that is not here"));
                self.events.push_back(TransportEvent::ListenFailed(text.to_owned(), error));
            }
            Err(TransportError::Other(error)) => self.listen_failed(text.to_owned(), &error),
        }
        Ok(())
    }

    pub(super) fn ask_relays(&mut self) {
        if !self.paused {
            self.relays.ask(|circuit| self.swarm.listen_on(circuit).ok());
        }
    }

    fn listen_failed(&mut self, address: String, error: &dyn std::error::Error) {
        let error = Error::new(
            ErrorCode::Transport,
            format!(
                "cannot listen on {address}: {}; if another program holds the port, choose another or 0 for any",
                causes(error)
            ),
        );
        self.events.push_back(TransportEvent::ListenFailed(address, error));
    }

    fn with_peer(&self, mut address: Multiaddr) -> String {
        if !matches!(address.iter().last(), Some(Protocol::P2p(_))) {
            address.push(Protocol::P2p(self.me));
        }
        address.to_string()
    }

    pub(super) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<TransportEvent> {
        loop {
            let event = self.events.pop_front().or_else(|| self.links.next_event());
            if let Some(event) = event.or_else(|| self.pairings.next_event()) {
                return Poll::Ready(event);
            }
            let mut again = self.poll_swarm(cx);
            self.links.poll(cx);
            let mut heard = self.pairings.poll(cx);
            self.cut_when_sent();
            heard.extend(self.links.take_heard());
            for connection in heard {
                if let Some(connection) = self.connections.get_mut(&connection) {
                    connection.silent = 0;
                }
            }
            again |= self.poll_second(cx);
            if !again && self.events.is_empty() && !self.links.has_events() && !self.pairings.has_events() {
                return Poll::Pending;
            }
        }
    }

    /// Whether the swarm may have more to say.
    fn poll_swarm(&mut self, cx: &mut Context<'_>) -> bool {
        for _ in 0..SWARM_EVENTS {
            match self.swarm.poll_next_unpin(cx) {
                Poll::Ready(Some(event)) => self.on_swarm_event(cx, event),
                Poll::Ready(None) | Poll::Pending => return false,
            }
        }
        true
    }

    /// Whether a second has gone by. Nothing is waited for while there is no connection.
    fn poll_second(&mut self, cx: &mut Context<'_>) -> bool {
        if self.connections.is_empty() && (self.paused || !self.relays.is_waiting()) {
            self.second = None;
            return false;
        }
        let second = self.second.get_or_insert_with(|| (self.sleep)(Duration::from_secs(1)));
        if second.as_mut().poll(cx).is_pending() {
            return false;
        }
        self.second = None;
        self.links.tick();
        self.pairings.tick();
        self.relays.tick();
        self.ask_relays();
        self.rest_tick();
        for (id, connection) in &mut self.connections {
            connection.silent += 1;
            let limit = if self.links.has_rival(&connection.peer, *id) { DEAD_TICKS_RIVAL } else { DEAD_TICKS };
            if connection.silent > limit {
                tracing::debug!(peer = %connection.peer, "connection is silent");
                self.swarm.close_connection(*id);
            }
        }
        true
    }

    fn on_swarm_event(&mut self, cx: &mut Context<'_>, event: SwarmEvent<BehaviourEvent<D>>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Streams((_, id, event))) => self.on_stream(id, event),
            SwarmEvent::Behaviour(BehaviourEvent::Identify(event)) => self.on_identify(event),
            SwarmEvent::Behaviour(BehaviourEvent::Ping(event)) => self.on_ping(event),
            SwarmEvent::Behaviour(BehaviourEvent::Nameplates(event)) => self.on_nameplate(event),
            SwarmEvent::Behaviour(BehaviourEvent::Discovery(event)) => self.on_found(D::found(event)),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                let was_given = self.dialling.remove(&connection_id).is_some();
                self.attempts.remove(&connection_id);
                if let Ok(peer) = identity::from_libp2p(&peer_id) {
                    if was_given {
                        // Now it is known whose address that is: it is good for the next time too.
                        let mut address = endpoint.get_remote_address().clone();
                        address::take_peer(&mut address);
                        self.events.push_back(TransportEvent::PeerFound(peer, vec![address.to_string()]));
                    }
                    self.on_connected(connection_id, peer, &endpoint);
                }
            }
            SwarmEvent::ConnectionClosed { connection_id, cause, .. } => {
                let cause = cause.map(|error| causes(&error));
                self.on_closed(cx, connection_id, cause.as_deref().unwrap_or("the other side closed it"));
            }
            SwarmEvent::OutgoingConnectionError { peer_id, connection_id, error } => {
                let address = self.dialling.remove(&connection_id);
                let attempt = self.attempts.remove(&connection_id);
                // Another dial of the same peer is still under way: that one is reported.
                let others = attempt.is_some_and(|(peer, _)| self.attempts.values().any(|(other, _)| *other == peer));
                if address.is_some() || !others {
                    self.on_dial_error(peer_id, address, &error);
                }
            }
            SwarmEvent::NewListenAddr { address, listener_id } => {
                self.relays.given(listener_id);
                self.events.push_back(TransportEvent::Listening(self.with_peer(address)));
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.events.push_back(TransportEvent::ListenEnded(self.with_peer(address)));
            }
            SwarmEvent::ListenerClosed { listener_id, addresses, reason } => {
                for address in addresses {
                    self.events.push_back(TransportEvent::ListenEnded(self.with_peer(address)));
                }
                if let Some((relay, seconds)) = self.relays.ended(listener_id) {
                    let why = reason.err().map_or_else(|| "it ended the place".to_owned(), |error| causes(&error));
                    let text = format!("no place at the relay: {why}; asking again in {seconds} s");
                    let error = Error::new(ErrorCode::Unreachable, text);
                    self.events.push_back(TransportEvent::ListenFailed(relay, error));
                    return self.ask_relays();
                }
                if let (Some(text), Err(error)) = (self.listeners.remove(&listener_id), reason) {
                    self.listen_failed(text, &error);
                }
            }
            SwarmEvent::ListenerError { listener_id, error } => {
                let address = self.listeners.get(&listener_id).map_or("", String::as_str);
                let text = format!("listening on {address} met an error and goes on: {}", causes(&error));
                self.events.push_back(TransportEvent::Warning(Error::new(ErrorCode::Transport, text)));
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                tracing::debug!(from = %send_back_addr, error = %causes(&error), "inbound connection failed");
            }
            _ => {}
        }
    }
}

impl<D: Discovery> Transport for P2pTransport<D> {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<TransportEvent> {
        self.poll_event(cx)
    }

    fn send(&mut self, link: LinkId, frame: Vec<u8>) {
        match self.pairings.has(link) {
            true => self.pairings.send(link, frame),
            false => self.links.send(link, frame),
        }
    }

    fn hang_up(&mut self, link: LinkId) {
        match self.pairings.has(link) {
            true => self.pairings.hang_up(link),
            false => self.links.hang_up(link),
        }
    }

    fn dial(&mut self, peer: PeerId, addresses: Vec<String>) {
        if let Err(why) = self.dial_peer(peer, &addresses) {
            self.events.push_back(TransportEvent::DialFailed(peer, why));
        }
    }

    fn dial_address(&mut self, text: &str) -> Result<()> {
        let (address, peer) = address::parse(text)?;
        if let Some(peer) = peer {
            let peer = identity::from_libp2p(&peer)?;
            self.dial(peer, vec![address.to_string()]);
            return Ok(());
        }
        if self.paused {
            return Err(Error::new(ErrorCode::Paused, format!("links are paused; resume before dialling {text}")));
        }
        let options = DialOpts::unknown_peer_id().address(address).build();
        let id = options.connection_id();
        self.dialling.insert(id, text.to_owned());
        if let Err(error) = self.swarm.dial(options) {
            self.dialling.remove(&id);
            self.on_dial_error(None, Some(text.to_owned()), &error);
        }
        Ok(())
    }

    fn set_relays(&mut self, relays: &[String]) -> Result<()> {
        for place in self.relays.replace(relays)? {
            self.swarm.remove_listener(place);
        }
        self.ask_relays();
        Ok(())
    }

    fn set_pairing(&mut self, on: bool) {
        self.swarm.behaviour_mut().streams.set_pairing(on);
        if !on {
            self.unasked.retain(|(_, ask)| *ask != Ask::Claim);
            let relays = self.relays.peers().into_iter();
            let connected: Vec<_> = relays.filter(|relay| self.swarm.is_connected(relay)).collect();
            connected.into_iter().for_each(|relay| self.ask_relay(relay, Ask::Release));
        }
    }

    fn pair(&mut self, peer: PeerId, addresses: Vec<String>) -> Result<()> {
        if self.paused {
            return Err(Error::new(ErrorCode::Paused, "links are paused on this device; resume before pairing"));
        }
        if let Some(id) = self.latest_connection(&peer) {
            self.open_pairing(id, peer);
            return Ok(());
        }
        self.pair_wanted.insert(peer);
        if let Err(why) = self.connect(peer, &addresses) {
            self.pair_wanted.remove(&peer);
            self.pairing_failed(peer, why);
        }
        Ok(())
    }

    fn claim_nameplate(&mut self) {
        // One relay, so that one number is shown.
        if let Some(relay) = self.relays.peers().first().copied() {
            self.unasked.retain(|(_, ask)| *ask != Ask::Claim);
            self.ask_relay(relay, Ask::Claim);
        }
    }

    fn find_nameplate(&mut self, number: u16) -> Result<()> {
        let relays = self.relays.peers();
        if relays.is_empty() {
            return Err(Error::new(
                ErrorCode::Unreachable,
                "a code with a relay's number needs a relay; name the one that the other device uses",
            ));
        }
        self.refused = None;
        relays.into_iter().for_each(|relay| self.ask_relay(relay, Ask::Find(number)));
        Ok(())
    }

    fn pause(&mut self) {
        self.pause_now();
    }

    fn rest(&mut self) {
        self.pause_soon();
    }

    fn resume(&mut self) {
        self.go_on();
    }
}

impl<D: Discovery> fmt::Debug for P2pTransport<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("P2pTransport").field("me", &self.me).field("connections", &self.connections.len()).finish()
    }
}
