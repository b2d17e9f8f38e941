//! What outlives one engine: what the next must be told again, and dials of peers that no engine knows yet.

use std::collections::VecDeque;

use crate::engine::Call;
use crate::types::{PeerId, SortedMap};

/// Peers found on the network that are remembered; the oldest go first.
const MAX_FOUND: usize = 256;
/// Peers that the app wants links to; further ones are known to the engine only.
const MAX_WANTED: usize = 1_024;

/// Addresses that are dialled again; further ones are dialled once.
const MAX_REDIALS: usize = 64;
/// The wait before an address is dialled again; it doubles with each failure up to the last.
const FIRST_REDIAL_US: u64 = 1_000_000;
const LAST_REDIAL_US: u64 = 60_000_000;

/// Wishes and findings that outlive one engine.
#[derive(Default)]
pub(super) struct Standing {
    paused: bool,
    wanted: SortedMap<PeerId, Vec<String>>,
    found: VecDeque<(PeerId, Vec<String>)>,
    /// Whether there are relays, through which members are reached without an address.
    pub relayed: bool,
}

impl Standing {
    /// Nothing wished and nothing found so far.
    pub fn new(relayed: bool) -> Self {
        Self { relayed, ..Self::default() }
    }

    /// Takes note of a wish in a call.
    pub fn note_call(&mut self, call: &Call) {
        match call {
            Call::AddPeer(peer, addresses) if self.wanted.len() < MAX_WANTED => {
                self.wanted.insert(*peer, addresses.clone());
            }
            Call::RemovePeer(peer) => {
                self.wanted.remove(peer);
            }
            Call::Pause => self.paused = true,
            Call::Resume => self.paused = false,
            _ => {}
        }
    }

    /// Whether the user has cut all links.
    pub fn paused(&self) -> bool {
        self.paused
    }

    /// Takes note of a peer found.
    pub fn note_found(&mut self, peer: PeerId, addresses: &[String]) {
        self.found.retain(|(other, _)| *other != peer);
        if self.found.len() >= MAX_FOUND {
            self.found.pop_front();
        }
        self.found.push_back((peer, addresses.to_vec()));
    }

    /// The calls that put a new engine where the one before was.
    pub fn calls(&self) -> Vec<Call> {
        let pause = self.paused.then_some(Call::Pause);
        let wanted = self.wanted.iter().map(|(peer, addresses)| Call::AddPeer(*peer, addresses.clone()));
        pause.into_iter().chain(wanted).collect()
    }

    /// The peers found, oldest first.
    pub fn found(&self) -> Vec<(PeerId, Vec<String>)> {
        self.found.iter().cloned().collect()
    }
}

/// Addresses whose peer is not known yet, so that the engine cannot want them: dialled again until one dial succeeds.
#[derive(Default)]
pub(super) struct Redials(SortedMap<String, Redial>);

struct Redial {
    /// When, on the monotonic clock; `None` while a dial is under way.
    at: Option<u64>,
    wait: u64,
}

impl Redials {
    /// A dial has failed.
    pub fn failed(&mut self, address: String, now: u64) {
        if self.0.len() >= MAX_REDIALS && !self.0.contains_key(&address) {
            return;
        }
        let redial = self.0.entry(address).or_insert(Redial { at: None, wait: FIRST_REDIAL_US / 2 });
        redial.wait = redial.wait.saturating_mul(2).min(LAST_REDIAL_US);
        redial.at = Some(now.saturating_add(redial.wait));
    }

    /// When the next dial is due.
    pub fn next(&self) -> Option<u64> {
        self.0.values().filter_map(|redial| redial.at).min()
    }

    /// The addresses to dial now.
    pub fn due(&mut self, now: u64) -> Vec<String> {
        let due = self.0.iter_mut().filter(|(_, redial)| redial.at.is_some_and(|at| at <= now));
        due.map(|(address, redial)| {
            redial.at = None;
            address.clone()
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_dialled_again_after_waits_that_double() {
        let mut redials = Redials::default();
        assert_eq!(redials.next(), None);
        let mut now = 0;
        for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
            redials.failed("a".into(), now);
            assert_eq!(redials.next(), Some(now + wait * 1_000_000));
            assert!(redials.due(now + wait * 1_000_000 - 1).is_empty());
            now += wait * 1_000_000;
            assert_eq!(redials.due(now), ["a"]);
            assert_eq!(redials.next(), None, "a dial is under way");
        }
    }

    #[test]
    fn a_new_engine_is_told_what_the_old_one_knew() {
        let (one, two) = (PeerId([1; 32]), PeerId([2; 32]));
        let mut standing = Standing::default();
        standing.note_call(&Call::Pause);
        standing.note_call(&Call::AddPeer(one, vec!["x".into()]));
        standing.note_call(&Call::AddPeer(two, Vec::new()));
        standing.note_call(&Call::RemovePeer(two));
        assert_eq!(standing.calls(), [Call::Pause, Call::AddPeer(one, vec!["x".into()])]);
        standing.note_found(one, &["old".into()]);
        standing.note_found(two, &[]);
        standing.note_found(one, &["new".into()]);
        assert_eq!(standing.found(), [(two, Vec::new()), (one, vec!["new".into()])]);
        for number in 0..300u16 {
            let [high, low] = number.to_be_bytes();
            let mut key = [9; 32];
            key[..2].copy_from_slice(&[high, low]);
            standing.note_found(PeerId(key), &[]);
        }
        assert_eq!(standing.found().len(), MAX_FOUND);
    }
}
