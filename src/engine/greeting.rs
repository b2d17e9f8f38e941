//! The greeting: whether both are of one vault, and the membership operations that either lacks.

use super::io::{LinkId, Output, SyncEvent};
use super::sessions::Stage;
use super::{Landed, SyncEngine};
use crate::error::{Error, ErrorCode, Result};
use crate::policy::AuditKind;
use crate::protocol::choose_version;
use crate::types::PeerId;
use crate::wire::*;

/// How long one that is no member yet may take to show that it is.
const PROOF_TIME: u64 = 30_000_000;
/// Short hashes of membership operations in one message.
const MAX_SHORTS: usize = 4_096;

impl SyncEngine {
    pub(super) fn hello(&self, peer: &PeerId, nonce: [u8; 16]) -> Result<HelloMessage> {
        let membership = &self.vault()?.membership;
        let known = self.peers.get(peer).map(|peer| &peer.heads[..]).filter(|heads| !heads.is_empty());
        let knows_us = known.is_some_and(|heads| membership.named_in_past(heads, &self.me) == Some(true))
            || membership.genesis().admin == self.me;
        let credential = match knows_us {
            true => Vec::new(),
            false if !self.credential.is_empty() => self.credential.clone(),
            false => membership.credential_for(&self.me, known).unwrap_or_default(),
        };
        Ok(HelloMessage {
            versions: (OLDEST_PROTOCOL_VERSION, PROTOCOL_VERSION),
            features: if self.config.browser { FEATURE_BROWSER } else { 0 },
            nonce,
            proof: membership.selector(&self.me, peer, &nonce),
            heads: membership.heads_for(&self.me, &[]),
            credential,
        })
    }

    /// The responder's side of the greeting.
    pub(super) fn greeted(&mut self, link: LinkId, hello: HelloMessage) -> Result<()> {
        self.check_hello(link, &hello)?;
        let Some(session) = self.sessions.get(&link) else { return Ok(()) };
        let (peer, nonce) = (session.peer, session.nonce);
        let Some(version) = choose_version(hello.versions) else {
            if self.is_member(&peer) {
                self.send(link, &Message::HelloAck(HelloAckMessage::Rejected { reason: ErrorCode::Version }));
                return Err(version_error());
            }
            return Err(not_authorized());
        };
        let ours = self.hello(&peer, nonce)?;
        self.send(link, &Message::HelloAck(HelloAckMessage::Accepted { version, hello: ours }));
        self.open_session(link, hello)
    }

    /// The initiator's side.
    pub(super) fn acknowledged_hello(&mut self, link: LinkId, hello: HelloMessage) -> Result<()> {
        self.check_hello(link, &hello)?;
        self.open_session(link, hello)
    }

    /// The proof selects our vault, and the peer is a member or shows a chain of grants. What grants access is that the
    /// connection authenticated a member.
    fn check_hello(&mut self, link: LinkId, hello: &HelloMessage) -> Result<()> {
        let Some(peer) = self.sessions.get(&link).map(|session| session.peer) else { return Ok(()) };
        let is_member = self.is_member(&peer);
        if !is_member {
            self.strangers.admit(self.now.mono)?;
        }
        let membership = &self.vault()?.membership;
        if !membership.check_selector(&peer, &self.me, &hello.nonce, &hello.proof) {
            return Err(not_authorized());
        }
        // One that was removed, and brings nothing that is not known here.
        if !is_member && membership.knows_author(&peer) && membership.contains_all(&hello.heads) {
            self.note_denied(AuditKind::Receive, peer, peer, None);
            self.tell_removal(link, peer, &hello.heads)?;
            return Err(not_authorized());
        }
        if !is_member {
            let checked = membership.check_credential(&hello.credential, &peer);
            self.strangers.spend(hello.credential.len());
            checked.map_err(|_| not_authorized())?;
        }
        Ok(())
    }

    /// A device that was away when it was removed hears of it, and nothing beyond.
    fn tell_removal(&mut self, link: LinkId, peer: PeerId, heads: &[crate::types::Hash]) -> Result<()> {
        let ops = self.vault()?.membership.removal_for(&peer, heads);
        if ops.is_empty() {
            return Ok(()); // it knows
        }
        let items: Vec<Item> = ops.into_iter().map(Item::Membership).collect();
        self.strangers.spend(items.len());
        // What does not fit into one frame is too much for one that has no session; it is refused all the same.
        let message = Message::EventBatch(EventBatchMessage::Items(items));
        let mut bytes = Vec::new();
        if message.encode(&mut bytes).is_ok() {
            self.out.push(Output::Send(link, bytes));
        }
        Ok(())
    }

    fn open_session(&mut self, link: LinkId, hello: HelloMessage) -> Result<()> {
        let now = self.now.mono;
        let Some(session) = self.sessions.get_mut(&link) else { return Ok(()) };
        session.stage = Stage::Open;
        session.deadline = now + PROOF_TIME;
        session.peer_heads = hello.heads;
        let peer = session.peer;
        let heads = session.peer_heads.clone();
        let missing = self.vault()?.membership.missing_for(&heads);
        match missing {
            Some(ops) => self.send_items(link, ops.into_iter().map(Item::Membership)),
            None => {
                let held = self.vault()?.membership.len();
                if let Some(session) = self.sessions.get_mut(&link) {
                    session.untold = session.initiator && held > session.ops_at_hello;
                }
                let mut shorts = self.vault()?.membership.shorts();
                shorts.truncate(MAX_SHORTS);
                let state = SyncState::Membership(shorts);
                self.send(link, &Message::SyncState(SyncStateMessage { id: 0, state }));
            }
        }
        let known = self.peers.entry(peer).or_default();
        known.dialling = 0;
        known.browser = hello.features & FEATURE_BROWSER != 0;
        self.membership_step(link)
    }

    /// Once the peer's operations are all held, and it is a member: frontiers.
    pub(super) fn membership_step(&mut self, link: LinkId) -> Result<()> {
        let Some(session) = self.sessions.get(&link) else { return Ok(()) };
        if session.connected || session.stage != Stage::Open {
            return Ok(());
        }
        let vault = self.vault()?;
        if !vault.membership.contains_all(&session.peer_heads) {
            return Ok(());
        }
        if session.untold {
            // Operations that came since our `Hello` are in no answer to it.
            let ops = vault.membership.missing_for(&session.peer_heads).unwrap_or_default();
            if let Some(session) = self.sessions.get_mut(&link) {
                session.untold = false;
            }
            self.send_items(link, ops.into_iter().map(Item::Membership));
        }
        let Some(session) = self.sessions.get(&link) else { return Ok(()) };
        let vault = self.vault()?;
        let view = vault.membership.evaluate();
        if view.role(&session.peer).is_none() || view.role(&self.me).is_none() {
            return Ok(()); // what it takes may be on its way; the deadline decides
        }
        let (peer, initiator) = (session.peer, session.initiator);
        let (heads, via) = (session.peer_heads.clone(), session.via);
        let (now, interval) = (self.now, self.config.resync_interval_ms.saturating_mul(1_000));
        let known = self.peers.entry(peer).or_default();
        known.heads = heads;
        known.failure = None;
        known.via = Some(via);
        known.last_seen = Some(now.wall);
        if let Some(session) = self.sessions.get_mut(&link) {
            session.connected = true;
            session.next_check = now.mono.saturating_add(interval);
            session.ask_again = initiator;
        }
        if !self.credential.is_empty() {
            self.credential.clear();
            let mut batch = crate::store::WriteBatch::default();
            batch.delete(crate::store::Table::Meta, super::layout::meta::CREDENTIAL);
            self.write(batch, Landed::default());
        }
        self.out.push(Output::Emit(SyncEvent::PeerConnected(peer)));
        Ok(())
    }
}

/// All that a stranger learns.
pub fn not_authorized() -> Error {
    Error::new(ErrorCode::NotAuthorized, "not a member of this vault")
}

pub(super) fn version_error() -> Error {
    Error::new(ErrorCode::Version, "the other device speaks another version of the protocol; update privstack on both")
}
