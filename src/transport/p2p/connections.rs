//! What becomes of connections: the streams that are opened on them, and what tells whether they are alive.

use std::task::Context;

use libp2p::core::ConnectedPoint;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, identify, ping};

use super::address::{self, MAX_ADDRESSES};
use super::behaviour::Discovery;
use super::identity;
use super::links::Opened;
use super::streams::{Sort, StreamEvent};
use super::swarm::P2pTransport;
use crate::engine::Via;
use crate::transport::TransportEvent;
use crate::types::PeerId;

pub(super) struct Connection {
    pub(super) peer: PeerId,
    pub(super) remote: Multiaddr,
    pub(super) via: Via,
    /// The stream that is being opened on it, by us.
    pub(super) opening: Option<Opening>,
    /// Whether a pairing stream is.
    pub(super) pairing: bool,
    /// Whether it has failed and is being closed.
    pub(super) failed: bool,
    /// Seconds since anything was heard on it.
    pub(super) silent: u32,
}

/// A stream that is being opened by this side.
pub(super) enum Opening {
    /// On a connection just made: a failure is reported.
    Fresh,
    /// On a connection that was there already, and may be dead: a failure leads to a dial of these addresses.
    Reused(Vec<String>),
}

impl<D: Discovery> P2pTransport<D> {
    pub(super) fn on_connected(&mut self, id: ConnectionId, peer: PeerId, endpoint: &ConnectedPoint) {
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

    pub(super) fn open(&mut self, id: ConnectionId, opening: Opening) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if let Ok(peer) = identity::to_libp2p(&connection.peer) {
            connection.opening = Some(opening);
            self.swarm.behaviour_mut().streams.open(peer, id, Sort::Session);
        }
    }

    pub(super) fn open_pairing(&mut self, id: ConnectionId, peer: PeerId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if let Ok(name) = identity::to_libp2p(&peer) {
            connection.pairing = true;
            self.swarm.behaviour_mut().streams.open(name, id, Sort::Pairing);
        }
    }

    pub(super) fn pairing_failed(&mut self, peer: PeerId, why: String) {
        self.events.push_back(TransportEvent::PairingFailed(peer, why));
    }

    pub(super) fn on_stream(&mut self, id: ConnectionId, event: StreamEvent) {
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

    pub(super) fn on_closed(&mut self, cx: &mut Context<'_>, id: ConnectionId, why: &str) {
        let Some(connection) = self.connections.remove(&id) else { return };
        self.links.connection_closed(cx, &connection.peer, id);
        self.pairings.connection_closed(cx, id);
        let why = format!("{} closed the connection: {why}", connection.remote);
        if connection.pairing {
            self.pairing_failed(connection.peer, why.clone());
        }
        self.open_failed(connection.peer, connection.opening, why);
    }

    pub(super) fn on_identify(&mut self, event: identify::Event) {
        let identify::Event::Received { connection_id, info, .. } = event else { return };
        let Some(peer) = self.connections.get(&connection_id).map(|connection| connection.peer) else { return };
        if self.links.uses(&peer, connection_id) {
            let name = info.public_key.to_peer_id();
            self.on_found(info.listen_addrs.into_iter().take(MAX_ADDRESSES).map(|address| (name, address)).collect());
        }
    }

    pub(super) fn on_ping(&mut self, event: ping::Event) {
        match (event.result, self.connections.get_mut(&event.connection)) {
            (Ok(_), Some(connection)) => connection.silent = 0,
            (Err(error), Some(connection)) => {
                tracing::debug!(peer = %connection.peer, %error, "ping failed");
                self.swarm.close_connection(event.connection);
            }
            (_, None) => {}
        }
    }
}
