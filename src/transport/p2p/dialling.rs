//! Finding the way to a peer: addresses that are known, dials under way, and what is said of those that fail.

use std::collections::HashSet;

use libp2p::Multiaddr;
use libp2p::core::transport::TransportError;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError};

use super::address::{self, MAX_ADDRESSES};
use super::behaviour::Discovery;
use super::connections::Opening;
use super::identity;
use super::swarm::P2pTransport;
use crate::error::{Error, ErrorCode, Result};
use crate::transport::{Transport, TransportEvent};
use crate::types::PeerId;

impl<D: Discovery> P2pTransport<D> {
    pub(super) fn on_found(&mut self, found: Vec<(libp2p::PeerId, Multiaddr)>) {
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

    pub(super) fn dial_peer(&mut self, peer: PeerId, given: &[String]) -> Result<(), String> {
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
    pub(super) fn latest_connection(&self, peer: &PeerId) -> Option<ConnectionId> {
        let existing = self.connections.iter().filter(|(_, connection)| connection.peer == *peer && !connection.failed);
        existing.map(|(id, _)| *id).max()
    }

    pub(super) fn connect(&mut self, peer: PeerId, given: &[String]) -> Result<(), String> {
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
        let mut seen = HashSet::new();
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

    pub(super) fn open_failed(&mut self, peer: PeerId, opening: Option<Opening>, why: String) {
        match opening {
            None => {}
            Some(Opening::Fresh) => self.dial_failed(peer, why),
            Some(Opening::Reused(addresses)) => self.dial(peer, addresses),
        }
    }

    pub(super) fn dial_failed(&mut self, peer: PeerId, why: String) {
        if self.pair_wanted.remove(&peer) {
            self.pairing_failed(peer, why.clone());
        }
        if !self.links.is_up(&peer) {
            self.events.push_back(TransportEvent::DialFailed(peer, why));
        }
    }

    pub(super) fn on_dial_error(&mut self, peer: Option<libp2p::PeerId>, address: Option<String>, error: &DialError) {
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
}

/// An error and what caused it, in one line; a cause that its effect already quotes is left out.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    // Some list what they met on lines of their own.
    text.split_whitespace().collect::<Vec<_>>().join(" ")
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
