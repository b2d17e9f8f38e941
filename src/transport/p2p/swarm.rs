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
use libp2p::core::ConnectedPoint;
use libp2p::core::transport::{ListenerId, TransportError};
use libp2p::multiaddr::Protocol;
use libp2p::request_response::{self, OutboundRequestId};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError, Stream, Swarm, SwarmEvent};
use libp2p::{Multiaddr, identify, ping};

use super::address::{self, AddressBook, MAX_ADDRESSES};
use super::behaviour::{Behaviour, BehaviourEvent, Discovery};
use super::links::{Links, Opened};
use super::nameplates::{Answer, Ask};
use super::pairing::{PairLinks, Wanted};
use super::relays::Relays;
use super::streams::{Sort, StreamEvent};
use super::{P2pConfig, identity};
use crate::engine::{LinkId, Via};
use crate::error::{Error, ErrorCode, Result};
use crate::transport::{Transport, TransportEvent};
use crate::types::PeerId;

/// Seconds of silence (no pong, no frame) after which a connection is taken for dead; QUIC notices in 10 by itself.
const DEAD_TICKS: u32 = 15;
/// The same where a newer stream of the same peer waits: a little more than one ping.
const DEAD_TICKS_RIVAL: u32 = 7;
/// Questions that wait for a connection with a relay.
const MAX_UNASKED: usize = 16;
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
    pair_wanted: Wanted,
    /// Questions to relays that are not answered.
    asked: HashMap<OutboundRequestId, Ask>,
    /// Those for relays that there is no connection with yet.
    unasked: Vec<(libp2p::PeerId, Ask)>,
    /// The number that is looked up, where a relay said that this device has to wait for that.
    refused: Option<u16>,
    pub(super) connections: HashMap<ConnectionId, Connection>,
    dialling: HashMap<ConnectionId, String>,
    /// Dials of known peers under way, and where they go: a new address is tried beside them at once.
    attempts: HashMap<ConnectionId, (PeerId, Vec<Multiaddr>)>,
    listeners: HashMap<ListenerId, String>,
    pub(super) relays: Relays,
    book: AddressBook,
    me: libp2p::PeerId,
    pub(super) sleep: Sleep,
    second: Option<Pin<Box<dyn Future<Output = ()>>>>,
    pub(super) paused: bool,
    /// Seconds until connections whose links still send are cut.
    pub(super) resting: Option<u32>,
    events: VecDeque<TransportEvent>,
}

pub(super) struct Connection {
    peer: PeerId,
    remote: Multiaddr,
    via: Via,
    /// The stream that is being opened on it, by us.
    opening: Option<Opening>,
    /// Whether a pairing stream is.
    pairing: bool,
    /// Whether it has failed and is being closed.
    failed: bool,
    /// Seconds since anything was heard on it.
    silent: u32,
}

/// A stream that is being opened by this side.
enum Opening {
    /// On a connection just made: a failure is reported.
    Fresh,
    /// On a connection that was there already, and may be dead: a failure leads to a dial of these addresses.
    Reused(Vec<String>),
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

    fn on_connected(&mut self, id: ConnectionId, peer: PeerId, endpoint: &ConnectedPoint) {
        let mut remote = endpoint.get_remote_address().clone();
        address::take_peer(&mut remote);
        let via = if endpoint.is_relayed() { Via::Relay } else { address::via(&remote) };
        self.connections.insert(
            id,
            Connection { peer, remote: remote.clone(), via, opening: None, pairing: false, failed: false, silent: 0 },
        );
        if let Ok(name) = identity::to_libp2p(&peer)
            && self.relays.has(&name)
        {
            self.ask_what_waits(name);
        }
        // A relay holds no session.
        if endpoint.is_dialer() && !identity::to_libp2p(&peer).is_ok_and(|peer| self.relays.has(&peer)) {
            self.book.remember(peer, remote);
            if self.pair_wanted.remove(&peer) {
                // Whoever pairs is no member yet; a session follows by a dial of its own.
                return self.open_pairing(id, peer);
            }
            // A link that the peer opened meanwhile stays: one stream a pair, opened once.
            if !self.links.is_up(&peer) {
                self.open(id, Opening::Fresh);
            }
        }
    }

    fn open(&mut self, id: ConnectionId, opening: Opening) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if let Ok(peer) = identity::to_libp2p(&connection.peer) {
            connection.opening = Some(opening);
            self.swarm.behaviour_mut().streams.open(peer, id, Sort::Session);
        }
    }

    fn open_pairing(&mut self, id: ConnectionId, peer: PeerId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if let Ok(name) = identity::to_libp2p(&peer) {
            connection.pairing = true;
            self.swarm.behaviour_mut().streams.open(name, id, Sort::Pairing);
        }
    }

    fn pairing_failed(&mut self, peer: PeerId, why: String) {
        self.events.push_back(TransportEvent::PairingFailed(peer, why));
    }

    fn on_stream(&mut self, id: ConnectionId, event: StreamEvent) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let (peer, via) = (connection.peer, connection.via);
        let (stream, initiator) = match event {
            StreamEvent::Inbound(Sort::Session, stream) => (stream, false),
            StreamEvent::Outbound(Sort::Session, stream) => (stream, true),
            StreamEvent::Inbound(Sort::Pairing, stream) => {
                return self.pairings.add(Opened { peer, stream, connection: id, initiator: false, via });
            }
            StreamEvent::Outbound(Sort::Pairing, stream) => {
                connection.pairing = false;
                return self.pairings.add(Opened { peer, stream, connection: id, initiator: true, via });
            }
            StreamEvent::Refused(Sort::Pairing, why) => {
                connection.pairing = false;
                return self.pairing_failed(peer, why);
            }
            StreamEvent::Refused(Sort::Session, why) => {
                let opening = connection.opening.take();
                let (peer, remote) = (connection.peer, connection.remote.clone());
                // A connection that cannot carry a session is of no use; the next dial makes a new one.
                connection.failed = true;
                self.swarm.close_connection(id);
                return self.open_failed(peer, opening, format!("{remote}: {why}"));
            }
        };
        connection.opening.take_if(|_| initiator);
        if !self.paused {
            self.links.add(Opened { peer, stream, connection: id, initiator, via });
        }
    }

    fn on_closed(&mut self, cx: &mut Context<'_>, id: ConnectionId, why: &str) {
        let Some(connection) = self.connections.remove(&id) else { return };
        self.links.connection_closed(cx, &connection.peer, id);
        self.pairings.connection_closed(cx, id);
        let why = format!("{} closed the connection: {why}", connection.remote);
        if connection.pairing {
            self.pairing_failed(connection.peer, why.clone());
        }
        self.open_failed(connection.peer, connection.opening, why);
    }

    fn open_failed(&mut self, peer: PeerId, opening: Option<Opening>, why: String) {
        match opening {
            None => {}
            Some(Opening::Fresh) => self.dial_failed(peer, why),
            Some(Opening::Reused(addresses)) => self.dial(peer, addresses),
        }
    }

    fn dial_failed(&mut self, peer: PeerId, why: String) {
        if self.pair_wanted.remove(&peer) {
            self.pairing_failed(peer, why.clone());
        }
        if !self.links.is_up(&peer) {
            self.events.push_back(TransportEvent::DialFailed(peer, why));
        }
    }

    fn on_dial_error(&mut self, peer: Option<libp2p::PeerId>, address: Option<String>, error: &DialError) {
        let why = if self.paused { "links are paused on this device".into() } else { describe(error) };
        let peer = peer.and_then(|peer| identity::from_libp2p(&peer).ok());
        match (peer, address) {
            (_, Some(address)) => {
                let error = Error::new(ErrorCode::Unreachable, format!("no link with {address}: {why}"));
                self.events.push_back(TransportEvent::AddressFailed(address, error));
            }
            (Some(peer), None) => self.dial_failed(peer, why),
            (None, None) => {}
        }
    }

    /// Where a peer with a link says it can be reached, for the time after this link. Of others nothing is believed.
    fn on_identify(&mut self, event: identify::Event) {
        let identify::Event::Received { connection_id, info, .. } = event else { return };
        let Some(peer) = self.connections.get(&connection_id).map(|connection| connection.peer) else { return };
        if self.links.uses(&peer, connection_id) {
            let name = info.public_key.to_peer_id();
            self.on_found(info.listen_addrs.into_iter().take(MAX_ADDRESSES).map(|address| (name, address)).collect());
        }
    }

    fn on_ping(&mut self, event: ping::Event) {
        match (event.result, self.connections.get_mut(&event.connection)) {
            (Ok(_), Some(connection)) => connection.silent = 0,
            (Err(error), Some(connection)) => {
                tracing::debug!(peer = %connection.peer, %error, "ping failed");
                self.swarm.close_connection(event.connection);
            }
            (_, None) => {}
        }
    }

    fn on_nameplate(&mut self, event: request_response::Event<Ask, Answer>) {
        let (id, answer) = match event {
            request_response::Event::Message {
                message: request_response::Message::Response { request_id, response },
                ..
            } => (request_id, Some(response)),
            request_response::Event::OutboundFailure { request_id, error, .. } => {
                tracing::debug!(%error, "a relay did not answer");
                (request_id, None)
            }
            _ => return,
        };
        match (self.asked.remove(&id), answer) {
            (Some(Ask::Claim), Some(Answer::Number(number))) => {
                self.events.push_back(TransportEvent::NameplateClaimed(number));
            }
            (Some(Ask::Find(number)), Some(Answer::Device(peer))) => {
                self.asked.retain(|_, ask| *ask != Ask::Find(number));
                self.unasked.retain(|(_, ask)| *ask != Ask::Find(number));
                self.events.push_back(TransportEvent::NameplateFound(number, Ok(Some(peer))));
            }
            (Some(Ask::Find(number)), answer) => {
                if answer == Some(Answer::Busy) {
                    self.refused = Some(number);
                }
                // Only once no other relay can say more.
                if !self.is_asked(number) {
                    let found = not_found(self.refused == Some(number), answer.is_some());
                    self.events.push_back(TransportEvent::NameplateFound(number, found));
                }
            }
            _ => {}
        }
    }

    fn is_asked(&self, number: u16) -> bool {
        let mut all = self.asked.values().chain(self.unasked.iter().map(|(_, ask)| ask));
        all.any(|ask| *ask == Ask::Find(number))
    }

    /// Asks once there is a connection: the place at the relay is what makes one.
    fn ask_relay(&mut self, relay: libp2p::PeerId, ask: Ask) {
        if !self.swarm.is_connected(&relay) {
            if self.unasked.len() < MAX_UNASKED {
                self.unasked.push((relay, ask));
            }
            return;
        }
        let id = self.swarm.behaviour_mut().nameplates.send_request(&relay, ask);
        self.asked.insert(id, ask);
    }

    /// A relay can be asked now.
    fn ask_what_waits(&mut self, relay: libp2p::PeerId) {
        let (now, later) = std::mem::take(&mut self.unasked).into_iter().partition(|(peer, _)| *peer == relay);
        self.unasked = later;
        let now: Vec<_> = now;
        now.into_iter().for_each(|(relay, ask)| self.ask_relay(relay, ask));
    }

    fn on_found(&mut self, found: Vec<(libp2p::PeerId, Multiaddr)>) {
        let mut peers: Vec<(PeerId, Vec<String>)> = Vec::new();
        for (peer, mut address) in found {
            let Ok(peer) = identity::from_libp2p(&peer) else { continue };
            address::take_peer(&mut address);
            if address.is_empty() || address::is_loopback(&address) {
                continue;
            }
            self.book.remember(peer, address.clone());
            match peers.iter_mut().find(|(other, _)| *other == peer) {
                Some((_, addresses)) => addresses.push(address.to_string()),
                None => peers.push((peer, vec![address.to_string()])),
            }
        }
        self.events.extend(peers.into_iter().map(|(peer, addresses)| TransportEvent::PeerFound(peer, addresses)));
    }

    fn dial_peer(&mut self, peer: PeerId, given: &[String]) -> Result<(), String> {
        if self.paused {
            return Err("links are paused on this device".into());
        }
        if self.links.is_up(&peer) {
            return Ok(());
        }
        if let Some(id) = self.latest_connection(&peer) {
            if self.connections.get(&id).is_some_and(|connection| connection.opening.is_none()) {
                self.open(id, Opening::Reused(given.to_vec()));
            }
            return Ok(());
        }
        self.connect(peer, given)
    }

    /// An older connection may be dead without having been noticed yet.
    fn latest_connection(&self, peer: &PeerId) -> Option<ConnectionId> {
        let existing = self.connections.iter().filter(|(_, connection)| connection.peer == *peer && !connection.failed);
        existing.map(|(id, _)| *id).max()
    }

    fn connect(&mut self, peer: PeerId, given: &[String]) -> Result<(), String> {
        let name = identity::to_libp2p(&peer).map_err(|error| error.to_string())?;
        let mut addresses = Vec::new();
        let mut bad = Vec::new();
        for text in given {
            match address::parse(text) {
                Ok((address, named)) if named.is_none_or(|named| named == name) => addresses.push(address),
                Ok(_) => bad.push(format!("`{text}` names another peer")),
                Err(error) => bad.push(error.message().to_owned()),
            }
        }
        addresses.extend(self.book.of(&peer).cloned());
        addresses.extend(self.relays.circuits());
        let mut seen = std::collections::HashSet::new();
        addresses.retain(|address| seen.insert(address.clone()));
        addresses.truncate(2 * MAX_ADDRESSES);
        if addresses.is_empty() {
            bad.insert(0, "no address is known where it could be reached".into());
            return Err(bad.join("; "));
        }
        let under_way: Vec<&Multiaddr> =
            self.attempts.values().filter(|(other, _)| *other == peer).flat_map(|(_, addresses)| addresses).collect();
        addresses.retain(|address| !under_way.contains(&address));
        if addresses.is_empty() {
            return Ok(()); // already on its way: that dial will be reported
        }
        let options = DialOpts::peer_id(name).condition(PeerCondition::Always).addresses(addresses.clone()).build();
        let id = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => {
                self.attempts.insert(id, (peer, addresses));
                Ok(())
            }
            Err(error) => Err(describe(&error)),
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

/// What is said of a number that no relay has named a device for: whether one `refused` to look it up, and whether the
/// last `answered`.
fn not_found(refused: bool, answered: bool) -> Result<Option<PeerId>> {
    match (refused, answered) {
        (true, _) => Err(Error::new(
            ErrorCode::Busy,
            "too many codes were looked up at the relay just now; wait a minute, then type the code that is shown then",
        )),
        (false, true) => Ok(None),
        (false, false) => Err(Error::new(
            ErrorCode::Unreachable,
            "the relay did not answer; check that it can be reached, and try again",
        )),
    }
}

/// An error and what caused it, in one line; a cause that its effect already quotes is left out.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    text
}

fn describe(error: &DialError) -> String {
    match error {
        DialError::Transport(tried) => {
            let tried: Vec<_> = tried
                .iter()
                .map(|(address, error)| {
                    let mut address = address.clone();
                    address::take_peer(&mut address);
                    match error {
                        TransportError::MultiaddrNotSupported(_) => format!("{address}: no such transport here"),
                        TransportError::Other(error) => format!("{address}: {}", causes(error)),
                    }
                })
                .collect();
            format!("no answer at {}", tried.join("; "))
        }
        DialError::WrongPeerId { obtained, address } => format!("another device answers at {address}: {obtained}"),
        DialError::LocalPeerId { address } => format!("{address} is this device itself"),
        DialError::NoAddresses => "no address is known where it could be reached".into(),
        DialError::Denied { cause } => causes(cause),
        other => causes(other),
    }
}
