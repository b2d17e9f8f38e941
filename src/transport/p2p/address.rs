//! Multiaddresses: reading them, what they say about the way, and where peers were last reached.

use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, Ipv6Addr};

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use crate::engine::Via;
use crate::error::{Error, Result};
use crate::types::PeerId;

/// Addresses kept for one peer.
pub(super) const MAX_ADDRESSES: usize = 16;
/// Peers whose addresses are kept.
const MAX_PEERS: usize = 1_024;

/// Reads an address; a trailing `/p2p/…` is taken off and returned beside it.
pub(super) fn parse(text: &str) -> Result<(Multiaddr, Option<libp2p::PeerId>)> {
    let mut address: Multiaddr = text.trim().parse().map_err(|error| {
        Error::invalid(format!(
            "`{text}` is not a multiaddress ({error}); one looks like /ip4/192.0.2.1/udp/4001/quic-v1"
        ))
    })?;
    let peer = take_peer(&mut address);
    match address.is_empty() {
        true => Err(Error::invalid(format!("`{text}` says who, not where; put an address such as /ip4/… before it"))),
        false => Ok((address, peer)),
    }
}

/// Takes a trailing `/p2p/…` off, unless it belongs to a relayed address.
pub(super) fn take_peer(address: &mut Multiaddr) -> Option<libp2p::PeerId> {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => {
            address.pop();
            Some(peer)
        }
        _ => None,
    }
}

/// By which way a connection with this remote address goes.
pub(super) fn via(remote: &Multiaddr) -> Via {
    if remote.iter().any(|part| matches!(part, Protocol::P2pCircuit)) {
        return Via::Relay;
    }
    let local = remote.iter().any(|part| match part {
        Protocol::Ip4(ip) => is_local_v4(ip),
        Protocol::Ip6(ip) => is_local_v6(ip),
        _ => false,
    });
    if local { Via::Lan } else { Via::Direct }
}

fn is_local_v4(ip: Ipv4Addr) -> bool {
    ip.is_loopback() || ip.is_private() || ip.is_link_local()
}

fn is_local_v6(ip: Ipv6Addr) -> bool {
    ip.is_loopback()
        || ip.is_unique_local()
        || ip.is_unicast_link_local()
        || ip.to_ipv4_mapped().is_some_and(is_local_v4)
}

/// Whether an address leads back to the device that dials it.
pub(super) fn is_loopback(address: &Multiaddr) -> bool {
    address.iter().any(|part| match part {
        Protocol::Ip4(ip) => ip.is_loopback(),
        Protocol::Ip6(ip) => ip.is_loopback(),
        _ => false,
    })
}

/// Where peers were last reached or found; the peers that were heard of longest ago are forgotten first.
#[derive(Default)]
pub(super) struct AddressBook {
    peers: HashMap<PeerId, VecDeque<Multiaddr>>,
    order: VecDeque<PeerId>,
}

impl AddressBook {
    /// Puts an address first in the list of a peer.
    pub fn remember(&mut self, peer: PeerId, address: Multiaddr) {
        let known = self.peers.entry(peer).or_default();
        known.retain(|other| *other != address);
        known.push_front(address);
        known.truncate(MAX_ADDRESSES);
        self.order.retain(|other| *other != peer);
        self.order.push_back(peer);
        if self.order.len() > MAX_PEERS
            && let Some(oldest) = self.order.pop_front()
        {
            self.peers.remove(&oldest);
        }
    }

    /// The latest first.
    pub fn of(&self, peer: &PeerId) -> impl Iterator<Item = &Multiaddr> {
        self.peers.get(peer).into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test;

    #[test]
    fn the_way_is_told_from_the_address() {
        for (text, expected) in [
            ("/ip4/127.0.0.1/udp/1/quic-v1", Via::Lan),
            ("/ip4/192.168.1.2/tcp/1", Via::Lan),
            ("/ip4/169.254.1.2/tcp/1", Via::Lan),
            ("/ip6/fe80::1/tcp/1", Via::Lan),
            ("/ip6/fd00::1/tcp/1", Via::Lan),
            ("/ip6/::ffff:10.0.0.1/tcp/1", Via::Lan),
            ("/ip4/192.0.2.1/udp/1/quic-v1", Via::Direct),
            ("/ip6/2001:db8::1/tcp/1", Via::Direct),
        ] {
            assert_eq!(via(&text.parse().unwrap()), expected, "{text}");
        }
        let relay = format!("/ip4/10.0.0.1/tcp/1/p2p/{}/p2p-circuit", libp2p::PeerId::random());
        assert_eq!(via(&relay.parse().unwrap()), Via::Relay);
    }

    #[test]
    fn an_address_is_read_with_and_without_a_peer() {
        let peer = libp2p::PeerId::random();
        let (address, found) = parse(&format!("/ip4/192.0.2.1/tcp/1/p2p/{peer}")).unwrap();
        assert_eq!((address.to_string().as_str(), found), ("/ip4/192.0.2.1/tcp/1", Some(peer)));
        assert_eq!(parse("/ip4/192.0.2.1/tcp/1").unwrap().1, None);
        assert!(parse("192.0.2.1:4001").is_err());
        assert!(parse(&format!("/p2p/{peer}")).is_err());
        assert!(parse("").is_err());
    }

    #[test]
    fn the_book_keeps_few_addresses_of_few_peers_the_latest_first() {
        let mut book = AddressBook::default();
        for port in 0..100u16 {
            book.remember(PeerId([1; 32]), format!("/ip4/10.0.0.1/tcp/{port}").parse().unwrap());
        }
        assert_eq!(book.of(&PeerId([1; 32])).count(), MAX_ADDRESSES);
        assert_eq!(book.of(&PeerId([1; 32])).next().unwrap().to_string(), "/ip4/10.0.0.1/tcp/99");
        for n in 0..MAX_PEERS as u64 {
            let mut name = [9; 32];
            name[..8].copy_from_slice(&n.to_be_bytes());
            book.remember(PeerId(name), "/ip4/10.0.0.1/tcp/1".parse().unwrap());
        }
        assert_eq!(book.of(&PeerId([1; 32])).count(), 0);
        assert_eq!(book.peers.len(), MAX_PEERS);
    }
}
