//! The relays at which this device keeps a place (circuit relay v2), so that peers reach it through them.
//!
//! A place is a listener of the swarm. One that ends is asked for again: at once if it lasted for a minute, else after
//! waits that double up to a minute.

use libp2p::Multiaddr;
use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;

use super::P2pConfig;
use super::address;
use crate::error::{Error, Result};

/// Seconds between two tries, at first and at most.
const FIRST_WAIT: u32 = 1;
const LAST_WAIT: u32 = 60;
/// Relays that a device takes.
const MAX_RELAYS: usize = 4;

/// See the module.
#[derive(Default)]
pub(super) struct Relays {
    relays: Vec<Relay>,
}

struct Relay {
    peer: libp2p::PeerId,
    /// Where it is, with its name.
    address: Multiaddr,
    state: State,
    /// Seconds to wait after the next failure.
    wait: u32,
}

enum State {
    /// Seconds until the next try.
    Waiting(u32),
    Asked(ListenerId),
    /// And for how many seconds.
    Held(ListenerId, u32),
}

impl Relays {
    /// The relays of a configuration.
    pub fn new(config: &P2pConfig) -> Result<Self> {
        if config.enable_relay { Self::read(&config.bootstrap_nodes) } else { Ok(Self::default()) }
    }

    /// Fails on one without an address or a name, and on too many.
    fn read(relays: &[String]) -> Result<Self> {
        if relays.len() > MAX_RELAYS {
            return Err(Error::invalid(format!("{} relays are given; {MAX_RELAYS} are the limit", relays.len())));
        }
        let relays = relays.iter().map(|text| {
            let (address, peer) = address::parse(text)?;
            let peer = peer.ok_or_else(|| {
                Error::invalid(format!("`{text}` does not say which relay it is; a relay's address ends in /p2p/12D3…"))
            })?;
            let address = address.with(Protocol::P2p(peer));
            Ok(Relay { peer, address, state: State::Waiting(0), wait: FIRST_WAIT })
        });
        Ok(Self { relays: relays.collect::<Result<_>>()? })
    }

    /// Takes other relays, and gives the places at those that are none any more. Fails as at the start, and changes
    /// nothing then.
    pub fn replace(&mut self, relays: &[String]) -> Result<Vec<ListenerId>> {
        let mut new = Self::read(relays)?;
        for relay in &mut new.relays {
            if let Some(at) = self.relays.iter().position(|old| old.address == relay.address) {
                *relay = self.relays.swap_remove(at);
            }
        }
        let gone = self.give_up();
        *self = new;
        Ok(gone)
    }

    /// Whether this is a relay, which holds no session.
    pub fn has(&self, peer: &libp2p::PeerId) -> bool {
        self.relays.iter().any(|relay| relay.peer == *peer)
    }

    /// The ways to a peer that keeps a place at one of the same relays.
    pub fn circuits(&self) -> impl Iterator<Item = Multiaddr> {
        self.relays.iter().map(circuit)
    }

    /// The relays, those at which a place is held first.
    pub fn peers(&self) -> Vec<libp2p::PeerId> {
        let mut relays: Vec<&Relay> = self.relays.iter().collect();
        relays.sort_by_key(|relay| !matches!(relay.state, State::Held(..)));
        relays.into_iter().map(|relay| relay.peer).collect()
    }

    /// Whether some relay is to be asked later.
    pub fn is_waiting(&self) -> bool {
        self.relays.iter().any(|relay| matches!(relay.state, State::Waiting(_)))
    }

    /// A second has gone by.
    pub fn tick(&mut self) {
        for relay in &mut self.relays {
            match &mut relay.state {
                State::Waiting(left) => *left = left.saturating_sub(1),
                State::Held(_, seconds) => *seconds = seconds.saturating_add(1),
                State::Asked(_) => {}
            }
        }
    }

    /// Asks by `listen` for places that are due; it gives the listener, or none where it cannot.
    pub fn ask(&mut self, mut listen: impl FnMut(Multiaddr) -> Option<ListenerId>) {
        for relay in self.relays.iter_mut().filter(|relay| matches!(relay.state, State::Waiting(0))) {
            match listen(circuit(relay)) {
                Some(listener) => relay.state = State::Asked(listener),
                None => relay.failed(),
            }
        }
    }

    /// A listener has an address: if it is a place, the relay has given it.
    pub fn given(&mut self, listener: ListenerId) {
        if let Some(relay) = self.of(listener)
            && matches!(relay.state, State::Asked(_))
        {
            relay.state = State::Held(listener, 0);
        }
    }

    /// A listener has ended; of a place, gives the relay's address and the seconds until it is asked again.
    pub fn ended(&mut self, listener: ListenerId) -> Option<(String, u32)> {
        let relay = self.of(listener)?;
        match relay.state {
            State::Held(_, seconds) if seconds >= LAST_WAIT => {
                (relay.state, relay.wait) = (State::Waiting(0), FIRST_WAIT);
            }
            _ => relay.failed(),
        }
        let State::Waiting(seconds) = relay.state else { return None };
        Some((relay.address.to_string(), seconds))
    }

    /// Gives the places up; they are asked for again when it goes on.
    pub fn give_up(&mut self) -> Vec<ListenerId> {
        let mut listeners = Vec::new();
        for relay in &mut self.relays {
            if let State::Asked(listener) | State::Held(listener, _) = relay.state {
                listeners.push(listener);
            }
            (relay.state, relay.wait) = (State::Waiting(0), FIRST_WAIT);
        }
        listeners
    }

    fn of(&mut self, listener: ListenerId) -> Option<&mut Relay> {
        self.relays
            .iter_mut()
            .find(|relay| matches!(relay.state, State::Asked(other) | State::Held(other, _) if other == listener))
    }
}

impl Relay {
    fn failed(&mut self) {
        self.state = State::Waiting(self.wait);
        self.wait = self.wait.saturating_mul(2).min(LAST_WAIT);
    }
}

fn circuit(relay: &Relay) -> Multiaddr {
    relay.address.clone().with(Protocol::P2pCircuit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test;

    fn config(nodes: &[&str]) -> P2pConfig {
        let bootstrap_nodes = nodes.iter().map(|node| (*node).to_owned()).collect();
        P2pConfig { bootstrap_nodes, enable_relay: true, ..P2pConfig::default() }
    }

    #[test]
    fn a_relay_needs_an_address_and_a_name() {
        let name = libp2p::PeerId::random();
        assert!(Relays::new(&config(&[&format!("/ip4/127.0.0.1/tcp/1/ws/p2p/{name}")])).unwrap().has(&name));
        for bad in ["/ip4/127.0.0.1/tcp/1/ws", "relay.example", &format!("/p2p/{name}")] {
            assert!(Relays::new(&config(&[bad])).is_err(), "{bad}");
        }
        assert!(Relays::new(&config(&[format!("/ip4/127.0.0.1/tcp/1/ws/p2p/{name}").as_str(); 5])).is_err());
        let off = P2pConfig { enable_relay: false, ..config(&["nonsense"]) };
        assert_eq!(Relays::new(&off).unwrap().circuits().count(), 0);
    }

    #[test]
    fn a_lost_place_is_asked_for_at_once_if_it_lasted_and_else_ever_more_rarely() {
        let relay = format!("/ip4/127.0.0.1/tcp/1/ws/p2p/{}", libp2p::PeerId::random());
        let mut relays = Relays::new(&config(&[&relay])).unwrap();
        let ask = |relays: &mut Relays| {
            let mut asked = None;
            relays.ask(|_| {
                asked = Some(ListenerId::next());
                asked
            });
            asked
        };
        let place = ask(&mut relays).unwrap();
        assert_eq!(ask(&mut relays), None, "it is asked for already");
        relays.given(place);
        (0..60).for_each(|_| relays.tick());
        assert_eq!(relays.ended(place), Some((relay.clone(), 0)));
        let mut waits = Vec::new();
        for _ in 0..9 {
            let place = ask(&mut relays).unwrap();
            relays.given(place);
            let (_, wait) = relays.ended(place).unwrap();
            assert_eq!(ask(&mut relays), None);
            (0..wait).for_each(|_| relays.tick());
            waits.push(wait);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(relays.ended(ListenerId::next()), None, "another listener is none of them");
    }

    #[test]
    fn other_relays_leave_the_places_at_those_that_stay() {
        let relay = |port: u16| format!("/ip4/127.0.0.1/tcp/{port}/ws/p2p/{}", libp2p::PeerId::random());
        let (stays, goes, comes) = (relay(1), relay(2), relay(3));
        let mut relays = Relays::new(&config(&[&stays, &goes])).unwrap();
        let mut places = Vec::new();
        relays.ask(|_| {
            places.push(ListenerId::next());
            places.last().copied()
        });
        assert!(relays.replace(&["nonsense".into()]).is_err());
        assert_eq!(relays.replace(&[comes.clone(), stays]).unwrap(), [places[1]]);
        let mut asked = Vec::new();
        relays.ask(|address| {
            asked.push(address.to_string());
            None
        });
        assert_eq!(asked, [format!("{comes}/p2p-circuit")]);
    }
}
