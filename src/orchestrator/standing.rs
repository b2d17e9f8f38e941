//! What an engine must be told again when it is opened anew, because only the one before knew it.

use std::collections::{BTreeMap, VecDeque};

use crate::engine::Call;
use crate::types::PeerId;

/// Peers found on the network that are remembered; the oldest go first.
const MAX_FOUND: usize = 256;
/// Peers that the app wants links to; further ones are known to the engine only.
const MAX_WANTED: usize = 1_024;

/// Wishes and findings that outlive one engine.
#[derive(Default)]
pub(super) struct Standing {
    /// Whether the app has paused.
    pub paused: bool,
    wanted: BTreeMap<PeerId, Vec<String>>,
    found: VecDeque<(PeerId, Vec<String>)>,
}

impl Standing {
    /// Takes note of a wish in a call.
    pub fn note_call(&mut self, call: &Call) {
        match call {
            Call::AddPeer(peer, addresses) if self.wanted.len() < MAX_WANTED => {
                self.wanted.insert(*peer, addresses.clone());
            }
            Call::RemovePeer(peer) => {
                self.wanted.remove(peer);
            }
            _ => {}
        }
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
