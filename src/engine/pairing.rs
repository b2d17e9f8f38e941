//! Pairing as a part of the engine: the exchange is `crate::pairing`'s; here it gets its disk, its links, and the vault
//! that the new device is signed into or joins.

use zeroize::Zeroizing;

use super::disk::Landed;
use super::io::{Call, CallId, LinkId, Offer, Output, PairingState, Reply, SyncEvent};
use super::layout::meta;
use super::{Phase, SyncEngine};
use crate::error::{Error, ErrorCode, Result};
use crate::pairing::{CodeKind, OfferOptions, PairLink, PairingEvent, PairingOutput, PairingPeer};
use crate::policy::{AuditKind, PolicyKind, SyncRole};
use crate::store::{Table, WriteBatch};
use crate::types::{EntityType, PeerId};

/// The number of the calls that pairing makes of the engine itself; no caller has it.
const OWN_CALL: CallId = CallId(u64::MAX);
/// Calls that may wait for the other device.
const MAX_WAITING: usize = 64;

/// Whoever waits for what the other device or its user does.
#[derive(Default, Debug)]
pub(super) struct Waiting {
    /// For the other device to be found and its keys to be confirmed.
    found: Vec<CallId>,
    /// For both users to confirm, and all that follows.
    confirmed: Vec<CallId>,
    /// The other device, once it is found.
    peer: Option<PairingPeer>,
    /// The stream that the call to the engine itself is for.
    own: Option<PairLink>,
    /// How the last pairing ended.
    ended: Option<Result<PeerId>>,
}

impl Waiting {
    pub fn drain(&mut self) -> Vec<CallId> {
        self.peer = None;
        self.own = None;
        self.found.drain(..).chain(self.confirmed.drain(..)).collect()
    }

    /// A pairing begins.
    fn begin(&mut self) {
        self.peer = None;
        self.ended = None;
    }
}

impl SyncEngine {
    pub(super) fn pairing_call(&mut self, id: CallId, call: Call) -> Result<()> {
        let now = self.now;
        match call {
            Call::PairOffer(offer) => return self.pair_offer(id, offer),
            Call::PairJoin { code, addresses } => {
                let known = self.pairing_candidates(&addresses)?;
                self.pairing.set_name(&self.device_name);
                self.pairing.join(now, code, known, addresses.is_empty())?;
                self.pair_waiting.begin();
                self.pair_waiting.found.push(id);
            }
            Call::PairWait => match &self.pair_waiting.peer {
                Some(peer) => self.out.push(Output::Reply(id, Ok(Reply::PairingPeer(Box::new(peer.clone()))))),
                None if !self.pairing.is_active() => return Err(nothing_to_wait_for()),
                None if self.pair_waiting.found.len() >= MAX_WAITING => return Err(super::busy()),
                None => self.pair_waiting.found.push(id),
            },
            Call::PairConfirm(role) => {
                if self.pair_waiting.confirmed.len() >= MAX_WAITING {
                    return Err(super::busy());
                }
                let brings = self.types_with_data();
                self.pairing.set_brings(brings);
                self.pairing.confirm(now, role)?;
                self.pair_waiting.confirmed.push(id);
            }
            Call::PairState => {
                let ended = self.pair_waiting.ended.clone().filter(|_| !self.pairing.is_active()).transpose()?;
                let peer = self.pair_waiting.peer.clone();
                let state = PairingState { shown: self.pairing.shown().cloned(), peer, paired: ended };
                self.out.push(Output::Reply(id, Ok(Reply::PairingState(Box::new(state)))));
            }
            Call::PairVerify(code) => {
                let right = self.pairing.verify(now, &code)?;
                self.pairing_outputs();
                let result = match right {
                    true => Reply::Done,
                    false => return Err(Error::new(ErrorCode::CodeMismatch, "this is not the code that is shown now")),
                };
                self.write(WriteBatch::default(), Landed { replies: vec![(id, result)], ..Landed::default() });
            }
            Call::PairReject | Call::PairCancel | Call::PairUnlock => {
                match call {
                    Call::PairReject => {
                        if let Some(peer) = self.pair_waiting.peer.take() {
                            self.note_denied(AuditKind::Pair, self.me, peer.peer, None);
                        }
                        self.pairing.reject(now);
                    }
                    Call::PairCancel => self.pairing.cancel(now),
                    _ => self.pairing.unlock(),
                }
                self.pairing_outputs();
                self.write(WriteBatch::default(), Landed { replies: vec![(id, Reply::Done)], ..Landed::default() });
            }
            _ => {}
        }
        self.pairing_outputs();
        Ok(())
    }

    /// Shows a code, making the vault that others are to join where there is none.
    fn pair_offer(&mut self, id: CallId, offer: Offer) -> Result<()> {
        self.vault_at_need()?;
        let view = self.vault()?.membership.evaluate();
        let may_add = match view.role(&self.me) {
            Some(SyncRole::Admin) => true,
            Some(SyncRole::Member) => view.kind == PolicyKind::Personal,
            _ => false,
        };
        if !may_add {
            self.note_denied(AuditKind::Pair, self.me, self.me, None);
            return Err(Error::new(
                ErrorCode::PolicyDenied,
                "this device may not sign others into its vault; show the code on one that may",
            ));
        }
        let default = OfferOptions::default();
        let options = OfferOptions {
            kind: offer.kind.unwrap_or(CodeKind::default_for(view.kind)),
            ttl: offer.ttl.unwrap_or(default.ttl),
            renew: offer.renew.unwrap_or(default.renew),
            addresses: offer.addresses,
            code: offer.code,
        };
        self.pairing.set_name(&self.device_name);
        let shown = self.pairing.offer(self.now, options)?;
        self.pair_waiting.begin();
        self.pairing_outputs();
        // After the vault is on disk, if it was made now.
        let landed = Landed {
            replies: vec![(id, Reply::PairingCode(Box::new(shown.clone())))],
            events: vec![SyncEvent::PairingCode(shown)],
            ..Landed::default()
        };
        self.write(WriteBatch::default(), landed);
        Ok(())
    }

    /// Whom a typed code may be of: those at the given addresses, else all that are known to be somewhere.
    fn pairing_candidates(&self, addresses: &[String]) -> Result<Vec<(PeerId, Vec<String>)>> {
        if addresses.is_empty() {
            let known = self.peers.iter().filter(|(_, known)| !known.addresses.is_empty());
            return Ok(known.map(|(peer, known)| (*peer, known.addresses.clone())).collect());
        }
        addresses
            .iter()
            .map(|address| {
                let peer = address.rsplit_once("/p2p/").and_then(|(_, peer)| peer.parse().ok());
                let peer = peer.ok_or_else(|| {
                    Error::invalid(format!("`{address}` does not say whose it is; it must end in /p2p/ and a PeerId"))
                })?;
                Ok((peer, vec![address.clone()]))
            })
            .collect()
    }

    /// A pairing stream is open.
    pub(super) fn pairing_up(&mut self, link: LinkId, peer: PeerId, initiator: bool) {
        self.pairing.link_up(self.now, PairLink(link.0), peer, initiator);
        self.pairing_outputs();
    }

    /// Whether this is a pairing stream's number.
    pub(super) fn is_pairing(&self, link: LinkId) -> bool {
        self.pairing.has(PairLink(link.0))
    }

    pub(super) fn pairing_frame(&mut self, link: LinkId, bytes: &[u8]) {
        self.pairing.frame(self.now, PairLink(link.0), bytes);
        self.pairing_outputs();
    }

    pub(super) fn pairing_down(&mut self, link: LinkId) {
        self.pairing.link_down(self.now, PairLink(link.0));
        self.pairing_outputs();
    }

    pub(super) fn pairing_dial_failed(&mut self, peer: PeerId, why: &str) {
        self.pairing.dial_failed(self.now, peer, why);
        self.pairing_outputs();
    }

    pub(super) fn nameplate_claimed(&mut self, number: u16) {
        self.pairing.nameplate_claimed(number);
        self.pairing_outputs();
    }

    pub(super) fn nameplate_found(&mut self, number: u16, found: Result<Option<PeerId>>) {
        self.pairing.nameplate_found(self.now, number, found);
        self.pairing_outputs();
    }

    /// A device was found on this network.
    pub(super) fn pairing_found(&mut self, peer: PeerId, addresses: Vec<String>) {
        self.pairing.found(self.now, peer, addresses);
        self.pairing_outputs();
    }

    pub(super) fn pairing_due(&mut self) {
        if self.pairing.wake().is_some_and(|at| at <= self.now.mono) {
            self.pairing.tick(self.now);
            self.pairing_outputs();
        }
    }

    /// The row of tries as the store has it.
    pub(super) fn pairing_row(&mut self, row: &[u8]) -> Result<()> {
        self.pairing.restore(self.now, row)
    }

    /// Tries are on disk.
    pub(super) fn pairing_persisted(&mut self, tokens: Vec<u64>) {
        for token in tokens {
            self.pairing.persisted(self.now, token);
        }
        self.pairing_outputs();
    }

    /// Carries out what pairing wants done.
    pub(super) fn pairing_outputs(&mut self) {
        loop {
            let outputs = self.pairing.take_out();
            if outputs.is_empty() {
                return;
            }
            outputs.into_iter().for_each(|output| self.pairing_output(output));
        }
    }

    fn pairing_output(&mut self, output: PairingOutput) {
        match output {
            PairingOutput::Send(link, frame) => self.out.push(Output::Send(LinkId(link.0), frame)),
            PairingOutput::HangUp(link) => {
                self.out.push(Output::HangUp(LinkId(link.0), Error::new(ErrorCode::Closed, "this pairing is over")));
            }
            PairingOutput::Persist(row, token) => {
                let mut batch = WriteBatch::default();
                batch.put(Table::Meta, meta::PAIRING, row);
                self.write(batch, Landed { pairing: vec![token], ..Landed::default() });
            }
            PairingOutput::Mode(on) => self.out.push(Output::PairingMode(on)),
            PairingOutput::Dial(peer, addresses) => self.out.push(Output::Pair(peer, addresses)),
            PairingOutput::ClaimNameplate => self.out.push(Output::ClaimNameplate),
            PairingOutput::FindNameplate(number) => self.out.push(Output::FindNameplate(number)),
            PairingOutput::Invite { link, peer, role, name, brings } => {
                self.pair_waiting.own = Some(link);
                if let Err(error) = self.invite_paired(peer, role, name, &brings) {
                    self.audit_pair_refused(&error, peer);
                    self.refuse(OWN_CALL, error);
                }
            }
            PairingOutput::Join(link, invite) => {
                self.pair_waiting.own = Some(link);
                if let Err(error) = self.join(OWN_CALL, &invite) {
                    self.refuse(OWN_CALL, error);
                }
            }
            PairingOutput::WrongGuess(peer) => self.note_denied(AuditKind::Pair, peer, peer, None),
            PairingOutput::Tell(event) => self.pairing_event(event),
        }
    }

    /// Signs a device in, unless data that it takes along would be lost.
    fn invite_paired(&mut self, peer: PeerId, role: SyncRole, name: String, brings: &[EntityType]) -> Result<()> {
        let addresses = self.own_addresses.clone();
        let view = self.vault()?.membership.evaluate();
        // Whoever is a member already keeps its role: it lost its data, or never got the invite.
        if let Some(known) = view.role(&peer) {
            return self.invite(OWN_CALL, peer, known, name, addresses);
        }
        if let Some(entity_type) =
            brings.iter().find(|entity_type| !view.newcomer_may_write(entity_type.as_str(), role))
        {
            return Err(Error::new(
                ErrorCode::PolicyDenied,
                format!(
                    "the other device has data of its own of type `{entity_type}`, which it could not take along in this \
                     role; pair again and choose another role, or have it join in a new data folder"
                ),
            ));
        }
        self.invite(OWN_CALL, peer, role, name, addresses)
    }

    fn types_with_data(&self) -> Vec<EntityType> {
        let mut types: Vec<EntityType> =
            self.logs.values().filter(|log| log.events > 0).map(|log| log.name.entity_type.clone()).collect();
        types.sort_unstable();
        types.dedup();
        types
    }

    /// The engine's answer to a call that pairing made of it.
    pub(super) fn answer_pairing(&mut self) -> bool {
        let own = |output: &Output| matches!(output, Output::Reply(OWN_CALL, _));
        let Some(place) = self.out.iter().position(own) else { return false };
        let Output::Reply(_, reply) = self.out.remove(place) else { return false };
        if let Some(link) = self.pair_waiting.own.take() {
            match reply {
                Ok(Reply::Invite(invite)) => self.pairing.invite_ready(self.now, link, Ok(Zeroizing::new(invite))),
                Ok(_) => self.pairing.joined(self.now, link, Ok(())),
                Err(error) => {
                    self.pairing.invite_ready(self.now, link, Err(error.clone()));
                    self.pairing.joined(self.now, link, Err(error));
                }
            }
            self.pairing_outputs();
        }
        true
    }

    fn pairing_event(&mut self, event: PairingEvent) {
        let (calls, reply, event) = match event {
            PairingEvent::Code(shown) => (Vec::new(), Ok(Reply::Done), SyncEvent::PairingCode(shown)),
            PairingEvent::Found(peer) => {
                self.pair_waiting.peer = Some(peer.clone());
                let calls = std::mem::take(&mut self.pair_waiting.found);
                (calls, Ok(Reply::PairingPeer(Box::new(peer.clone()))), SyncEvent::PairingFound(peer))
            }
            PairingEvent::Completed(peer) => {
                self.pair_waiting.ended = Some(Ok(peer));
                (self.pair_waiting.drain(), Ok(Reply::Paired(peer)), SyncEvent::PairingCompleted(peer))
            }
            PairingEvent::Ended(error) => {
                if let (ErrorCode::Rejected, Some(peer)) = (error.code(), &self.pair_waiting.peer) {
                    self.note_denied(AuditKind::Pair, peer.peer, peer.peer, None);
                }
                let event = SyncEvent::PairingEnded(error.code(), error.message().to_owned());
                self.pair_waiting.ended = Some(Err(error.clone()));
                (self.pair_waiting.drain(), Err(error), event)
            }
        };
        calls.into_iter().for_each(|call| self.out.push(Output::Reply(call, reply.clone())));
        self.out.push(Output::Emit(event));
    }

    /// Whether pairing made this call.
    pub(super) fn is_own(call: CallId) -> bool {
        call == OWN_CALL
    }

    /// The store has failed: what was under way is over.
    pub(super) fn end_pairing(&mut self, error: &Error) {
        debug_assert!(!matches!(self.phase, Phase::Failed(_)));
        if self.pairing.is_active() {
            self.out.push(Output::PairingMode(false));
            self.out.push(Output::Emit(SyncEvent::PairingEnded(error.code(), error.message().to_owned())));
        }
    }

    /// Where this device can be reached, for the devices that it signs in.
    pub fn set_addresses(&mut self, addresses: Vec<String>) {
        self.own_addresses.clone_from(&addresses);
        // What comes of it goes out with the next input.
        self.pairing.set_addresses(addresses);
    }

    /// Makes a device of which the app knows the PeerId a member.
    pub(super) fn trust_peer(
        &mut self,
        call: CallId,
        peer: PeerId,
        name: String,
        addresses: Vec<String>,
    ) -> Result<()> {
        self.invite(call, peer, SyncRole::Member, name, self.own_addresses.clone())?;
        if !addresses.is_empty() {
            self.add_peer(peer, addresses);
        }
        Ok(())
    }
}

fn nothing_to_wait_for() -> Error {
    Error::invalid("no pairing is under way; show a code or type one")
}
