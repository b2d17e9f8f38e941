//! Asking relays for numbers: to have one, and whose one is.

use libp2p::request_response;

use super::behaviour::Discovery;
use super::nameplates::{Answer, Ask};
use super::swarm::P2pTransport;
use crate::error::{Error, ErrorCode, Result};
use crate::transport::TransportEvent;
use crate::types::PeerId;

/// Questions that wait for a connection with a relay.
const MAX_UNASKED: usize = 16;

impl<D: Discovery> P2pTransport<D> {
    pub(super) fn on_nameplate(&mut self, event: request_response::Event<Ask, Answer>) {
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

    pub(super) fn is_asked(&self, number: u16) -> bool {
        let mut all = self.asked.values().chain(self.unasked.iter().map(|(_, ask)| ask));
        all.any(|ask| *ask == Ask::Find(number))
    }

    /// Asks once there is a connection: the place at the relay is what makes one.
    pub(super) fn ask_relay(&mut self, relay: libp2p::PeerId, ask: Ask) {
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
    pub(super) fn ask_what_waits(&mut self, relay: libp2p::PeerId) {
        let (now, later) = std::mem::take(&mut self.unasked).into_iter().partition(|(peer, _)| *peer == relay);
        self.unasked = later;
        let now: Vec<_> = now;
        now.into_iter().for_each(|(relay, ask)| self.ask_relay(relay, ask));
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
