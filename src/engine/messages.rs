//! What a peer says, and who may speak of what.

use super::greeting::{not_authorized, version_error};
use super::io::{LinkId, Output, SyncEvent};
use super::remote::is_refusal;
use super::sessions::Stage;
use super::{Landed, SyncEngine};
use crate::error::{Error, ErrorCode, Result};
use crate::protocol::choose_version;
use crate::wire::*;

impl SyncEngine {
    /// A frame of a peer.
    pub(super) fn frame(&mut self, link: LinkId, bytes: &[u8]) {
        let Some(session) = self.sessions.get_mut(&link) else { return };
        session.heard_at = self.now.mono;
        session.pinged = false;
        let result = Message::decode(bytes).and_then(|message| self.message(link, message, bytes.len()));
        if let Err(error) = result {
            if is_refusal(&error) || !matches!(self.phase, super::Phase::Failed(_)) {
                self.hang_up(link, error);
            }
        } else if let Some(session) = self.sessions.get_mut(&link) {
            session.stale = true;
        }
    }

    fn message(&mut self, link: LinkId, message: Message, bytes: usize) -> Result<()> {
        let Some(session) = self.sessions.get_mut(&link) else { return Ok(()) };
        let open = session.stage == Stage::Open;
        let batch = matches!(message, Message::EventBatch(EventBatchMessage::Items(_)) | Message::EventNotify(_));
        if batch && session.parts.is_open() {
            return Err(Error::protocol("another batch between the parts of an item"));
        }
        match message {
            Message::Hello(hello) if session.stage == Stage::Hello => self.greeted(link, hello),
            Message::HelloAck(ack) if session.stage == Stage::Ack => match ack {
                HelloAckMessage::Accepted { version, hello } => {
                    if choose_version((version, version)).is_none() {
                        return Err(version_error());
                    }
                    self.acknowledged_hello(link, hello)
                }
                HelloAckMessage::Rejected { reason } => Err(Error::new(reason, "the other device refuses to sync now")),
            },
            // To a removed device its removal is told before it is refused.
            Message::EventBatch(EventBatchMessage::Items(items))
                if session.stage == Stage::Ack && items.iter().all(|item| matches!(item, Item::Membership(_))) =>
            {
                self.items(link, items, bytes)
            }
            Message::Error(error) => {
                let peer = session.peer;
                let text = match error.code {
                    // To a stranger nothing else is said.
                    ErrorCode::NotAuthorized if error.message.is_empty() => {
                        "the other device does not know this one as a member of its vault; invite it there".to_owned()
                    }
                    code if error.message.is_empty() => {
                        format!("the other device refuses, without saying more than `{code}`")
                    }
                    _ => format!("the other device says: {}", error.message),
                };
                let told = Error::new(error.code, text);
                if self.is_member(&peer) {
                    self.out.push(Output::Emit(SyncEvent::SyncError(peer, told.to_string())));
                }
                if let Some(known) = self.peers.get_mut(&peer) {
                    known.failure = Some(told.clone());
                    if error.code == ErrorCode::NotAuthorized {
                        // It may have an older disk than it had: the next greeting shows again who this device is.
                        known.heads.clear();
                    }
                }
                self.close(link, told);
                Ok(())
            }
            _ if !open => Err(not_authorized()),
            Message::Ping(number) => {
                self.send(link, &Message::Pong(number));
                Ok(())
            }
            Message::Pong(_) => Ok(()),
            Message::EventBatch(EventBatchMessage::Items(items))
            | Message::EventNotify(EventNotifyMessage { items }) => {
                session.receiving.received(bytes)?;
                self.guard_items(link, &items)?;
                self.items(link, items, bytes)?;
                self.membership_step(link)
            }
            Message::EventBatch(EventBatchMessage::Part { total, bytes: part }) => {
                session.receiving.received(bytes)?;
                match session.parts.add(total, &part)? {
                    Some(whole) => {
                        let items = vec![Item::from_bytes(&whole)?];
                        self.guard_items(link, &items)?;
                        self.items(link, items, bytes)
                    }
                    None => {
                        // Parts are held in memory within a bound of their own; the window goes on.
                        self.write(Default::default(), Landed { acks: vec![(link, bytes)], ..Landed::default() });
                        Ok(())
                    }
                }
            }
            Message::EventAck(ack) => {
                let done = session.sending.acknowledged(ack.stored, ack.window)?;
                self.delivered(link, done);
                Ok(())
            }
            Message::SyncState(SyncStateMessage { state: SyncState::Membership(shorts), .. }) => {
                self.guard_credential(link)?;
                let missing = self.vault()?.membership.missing_for_shorts(&shorts);
                self.send_items(link, missing.into_iter().map(Item::Membership));
                Ok(())
            }
            Message::SyncRequest(request) => {
                self.guard_member(link)?;
                self.sync_request(link, request)
            }
            Message::SyncState(state) => {
                self.guard_member(link)?;
                self.sync_state(link, state)
            }
            Message::Subscribe(subscribe) => {
                self.guard_member(link)?;
                self.subscribe(link, subscribe);
                Ok(())
            }
            Message::Hello(_) | Message::HelloAck(_) => Err(Error::protocol("a second greeting")),
        }
    }

    /// Only members get past the membership exchange.
    fn guard_member(&self, link: LinkId) -> Result<()> {
        match self.sessions.get(&link) {
            Some(session) if self.is_member(&session.peer) => Ok(()),
            _ => Err(not_authorized()),
        }
    }

    fn guard_credential(&self, link: LinkId) -> Result<()> {
        match self.sessions.get(&link) {
            Some(session) if session.stage == Stage::Open => Ok(()),
            _ => Err(not_authorized()),
        }
    }

    /// One that is no member yet may send membership operations and nothing else.
    fn guard_items(&self, link: LinkId, items: &[Item]) -> Result<()> {
        if items.iter().all(|item| matches!(item, Item::Membership(_))) { Ok(()) } else { self.guard_member(link) }
    }
}
