//! Links and the sessions on them: the greeting, the membership exchange, and who may speak of what.

use std::collections::{BTreeMap, BTreeSet};

use super::io::{LinkId, Output, SyncEvent, Via};
use super::layout::LogKey;
use super::quarantine::CutOff;
use super::remote::is_refusal;
use super::{Landed, SyncEngine};
use crate::error::{Error, ErrorCode, Result};
use crate::protocol::{Frontier, Held, Parts, ReceiveWindow, SendWindow, WINDOW_BYTES, choose_version};
use crate::types::{Hash, LogName, PeerId};
use crate::wire::*;

/// How long a peer may take for its next step of the greeting, in microseconds.
const GREETING_TIME: u64 = 15_000_000;
/// How long one that is no member yet may take to show that it is.
const PROOF_TIME: u64 = 30_000_000;
/// Quiet for so long, a peer is asked whether it is there; quiet for twice as long, it is gone.
const PING_AFTER: u64 = 30_000_000;
/// Links at most: beyond them new ones are refused as `busy`.
const MAX_SESSIONS: usize = 128;
/// Short hashes of membership operations in one message.
const MAX_SHORTS: usize = 4_096;

/// How far a session is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Waiting for the peer's `Hello`.
    Hello,
    /// Waiting for the answer to ours.
    Ack,
    /// Greeted; frontiers may be exchanged once both hold each other's membership operations.
    Open,
}

/// What a frame under way carries.
#[derive(Debug)]
pub enum Carries {
    /// Commits of a log up to a number.
    Commits(LogKey, u64),
    /// Something else.
    Other,
}

impl Carries {
    /// The log whose commits it carries.
    pub fn log(&self) -> Option<LogKey> {
        match self {
            Carries::Commits(key, _) => Some(*key),
            Carries::Other => None,
        }
    }
}

/// One link's conversation.
#[derive(Debug)]
pub struct Session {
    pub peer: PeerId,
    pub initiator: bool,
    pub via: Via,
    pub stage: Stage,
    /// When this stage must have ended, or the peer must have been heard.
    pub deadline: u64,
    pub heard_at: u64,
    pinged: bool,
    nonce: [u8; 16],
    pub peer_heads: Vec<Hash>,
    pub sending: SendWindow<Carries>,
    pub receiving: ReceiveWindow,
    pub parts: Parts,
    /// What the peer has said to hold, or was sent and has on disk.
    pub theirs: Frontier,
    /// Whether `theirs` is known to be whole.
    pub known: bool,
    /// How far each log is sent.
    pub sent: BTreeMap<LogKey, u64>,
    /// Logs whose chain differs from the peer's: they are not sent until the peer says from where.
    pub stuck: BTreeSet<LogKey>,
    /// Logs of which the peer sends what does not follow what is held, for something of them was refused.
    pub cut_off: CutOff,
    /// The log that is read for the peer, and from which commit on.
    pub reading: Option<(LogKey, u64)>,
    /// The next read looks for the block that its first commit is in, not for one that starts with it.
    pub floor: bool,
    pub live: bool,
    /// The types that the peer wants pushed; `None`: all.
    pub only: Option<BTreeSet<crate::types::EntityType>>,
    /// A request that has no answer yet.
    pub request: Option<u32>,
    next_request: u32,
    /// The frontier that the request told, with its digest.
    pub told: Option<(Hash, Frontier)>,
    /// Full exchanges of entries: the one that we asked for, and the peer's.
    pub asking: super::sync::Exchange,
    pub answering: super::sync::Exchange,
    /// The peer's request for clocks that waits for pages.
    pub clocks: Option<super::clocks::ClockRequest>,
    pub next_check: u64,
    /// A new request is due.
    pub ask_again: bool,
    /// Something changed that the pump has to look at.
    pub stale: bool,
    /// Said to be in sync since the last change.
    pub complete: bool,
    /// In sync since the last exchange of frontiers: what comes now is live.
    pub caught_up: bool,
    /// Until when what it sends counts as a bulk sync, for which checkpoints wait.
    pub bulk_until: u64,
    pub connected: bool,
    pub sent_events: u64,
    pub received_events: u64,
    /// Bytes that the transport has queued.
    pub queued: usize,
}

impl Session {
    fn new(peer: PeerId, initiator: bool, via: Via, nonce: [u8; 16], now: u64, live: bool) -> Self {
        Self {
            peer,
            initiator,
            via,
            stage: if initiator { Stage::Ack } else { Stage::Hello },
            deadline: now + GREETING_TIME,
            heard_at: now,
            pinged: false,
            nonce,
            peer_heads: Vec::new(),
            sending: SendWindow::default(),
            receiving: ReceiveWindow::default(),
            parts: Parts::default(),
            theirs: Frontier::new(),
            known: false,
            sent: BTreeMap::new(),
            stuck: BTreeSet::new(),
            cut_off: CutOff::default(),
            reading: None,
            floor: false,
            live,
            only: None,
            request: None,
            // The two sides count in odd and even numbers, so that an answer is never taken for a question.
            next_request: if initiator { 1 } else { 2 },
            told: None,
            asking: super::sync::Exchange::default(),
            answering: super::sync::Exchange::default(),
            clocks: None,
            next_check: u64::MAX,
            ask_again: false,
            stale: true,
            complete: false,
            caught_up: false,
            bulk_until: 0,
            connected: false,
            sent_events: 0,
            received_events: 0,
            queued: 0,
        }
    }

    /// The number of a new request.
    pub fn next_request(&mut self) -> u32 {
        let id = self.next_request;
        self.next_request = if id > u32::MAX - 2 { id % 2 + 2 } else { id + 2 };
        id
    }

    /// The peer has this log up to `seq`: it sent that itself.
    pub fn note_has(&mut self, name: &LogName, seq: u64) {
        match self.theirs.get_mut(name) {
            Some(held) => held.seq = held.seq.max(seq),
            None => {
                self.theirs.insert(name.clone(), Held { seq, hash: Hash::ZERO, forked: false });
            }
        }
    }
}

impl SyncEngine {
    pub(super) fn link_up(&mut self, link: LinkId, peer: PeerId, initiator: bool, via: Via) {
        let full = self.sessions.len() >= MAX_SESSIONS;
        if self.paused || full || self.vault.is_none() || peer == self.me {
            let error = match (self.paused, full) {
                (true, _) if self.is_member(&peer) => Error::new(ErrorCode::Paused, "this device has paused its links"),
                (_, true) => Error::new(ErrorCode::Busy, "too many links are open; try again later"),
                _ => not_authorized(),
            };
            return self.refuse_link(link, error);
        }
        // The newer link is the one that lives: an older one may be dead without having noticed.
        let old: Vec<LinkId> =
            self.sessions.iter().filter(|(_, session)| session.peer == peer).map(|(link, _)| *link).collect();
        for link in old {
            self.close(link, Error::new(ErrorCode::Closed, "another link to the same device took its place"));
        }
        let nonce = self.entropy.bytes();
        let session = Session::new(peer, initiator, via, nonce, self.now.mono, self.config.live);
        self.sessions.insert(link, session);
        if initiator {
            match self.hello(&peer, nonce) {
                Ok(hello) => self.send(link, &Message::Hello(hello)),
                Err(error) => self.hang_up(link, error),
            }
        }
    }

    fn hello(&self, peer: &PeerId, nonce: [u8; 16]) -> Result<HelloMessage> {
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
            features: 0,
            nonce,
            proof: membership.selector(&self.me, peer, &nonce),
            heads: membership.heads_for(&self.me, &[]),
            credential,
        })
    }

    pub(super) fn send(&mut self, link: LinkId, message: &Message) {
        let mut bytes = Vec::new();
        match message.encode(&mut bytes) {
            Ok(()) => self.send_bytes(link, bytes),
            Err(error) => self.hang_up(link, error),
        }
    }

    pub(super) fn send_bytes(&mut self, link: LinkId, bytes: Vec<u8>) {
        if let Some(session) = self.sessions.get_mut(&link) {
            session.queued += bytes.len();
        }
        self.out.push(Output::Send(link, bytes));
    }

    pub(super) fn link_ready(&mut self, link: LinkId, sent: usize) {
        if let Some(session) = self.sessions.get_mut(&link) {
            session.queued = session.queued.saturating_sub(sent);
            session.stale = true;
        }
    }

    /// Says why and hangs up; used before a session exists.
    fn refuse_link(&mut self, link: LinkId, error: Error) {
        let mut bytes = Vec::new();
        let message = ErrorMessage { code: error.code(), message: error.message().to_owned() };
        if Message::Error(message).encode(&mut bytes).is_ok() {
            self.out.push(Output::Send(link, bytes));
        }
        self.out.push(Output::HangUp(link, error));
    }

    /// Tells the peer what is wrong, and ends the session.
    pub(super) fn hang_up(&mut self, link: LinkId, error: Error) {
        let Some(session) = self.sessions.get(&link) else { return };
        let peer = session.peer;
        let text = if session.stage == Stage::Open { error.message().to_owned() } else { String::new() };
        let mut bytes = Vec::new();
        if Message::Error(ErrorMessage { code: error.code(), message: text }).encode(&mut bytes).is_ok() {
            self.out.push(Output::Send(link, bytes));
        }
        if self.is_member(&peer) {
            self.out.push(Output::Emit(SyncEvent::SyncError(peer, error.to_string())));
        }
        if let Some(known) = self.peers.get_mut(&peer) {
            known.failure = Some(error.clone());
        }
        self.close(link, error);
    }

    fn close(&mut self, link: LinkId, error: Error) {
        self.out.push(Output::HangUp(link, error));
        self.link_down(link);
    }

    pub(super) fn link_down(&mut self, link: LinkId) {
        let Some(session) = self.sessions.remove(&link) else { return };
        self.compares.retain(|_, compare| compare.link != link);
        if let Some(peer) = self.peers.get_mut(&session.peer) {
            peer.last_seen = Some(self.now.wall);
        }
        self.redial_later(session.peer);
        if session.connected {
            self.store_peer(session.peer);
            self.out.push(Output::Emit(SyncEvent::PeerDisconnected(session.peer)));
        }
        self.forced_link_gone(link);
    }

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
            Message::Error(error) => {
                let peer = session.peer;
                let text = match error.code {
                    // To a stranger nothing else is said.
                    ErrorCode::NotAuthorized if error.message.is_empty() => {
                        "the other device does not know this one as a member of its vault; invite it there".to_owned()
                    }
                    code if error.message.is_empty() => format!("the other device refuses: {code}"),
                    code => format!("the other device says: {} ({code})", error.message),
                };
                if self.is_member(&peer) {
                    self.out.push(Output::Emit(SyncEvent::SyncError(peer, text.clone())));
                }
                if let Some(known) = self.peers.get_mut(&peer) {
                    known.failure = Some(Error::new(error.code, text.clone()));
                }
                self.close(link, Error::new(error.code, text));
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

    /// The responder's side of the greeting.
    fn greeted(&mut self, link: LinkId, hello: HelloMessage) -> Result<()> {
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
        self.open_session(link, hello.heads)
    }

    /// The initiator's side.
    fn acknowledged_hello(&mut self, link: LinkId, hello: HelloMessage) -> Result<()> {
        self.check_hello(link, &hello)?;
        self.open_session(link, hello.heads)
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
        if !is_member {
            let checked = membership.check_credential(&hello.credential, &peer);
            self.strangers.spend(hello.credential.len());
            checked.map_err(|_| not_authorized())?;
        }
        Ok(())
    }

    fn open_session(&mut self, link: LinkId, heads: Vec<Hash>) -> Result<()> {
        let now = self.now.mono;
        let Some(session) = self.sessions.get_mut(&link) else { return Ok(()) };
        session.stage = Stage::Open;
        session.deadline = now + PROOF_TIME;
        session.peer_heads = heads;
        let peer = session.peer;
        let heads = session.peer_heads.clone();
        let missing = self.vault()?.membership.missing_for(&heads);
        match missing {
            Some(ops) => self.send_items(link, ops.into_iter().map(Item::Membership)),
            None => {
                let mut shorts = self.vault()?.membership.shorts();
                shorts.truncate(MAX_SHORTS);
                let state = SyncState::Membership(shorts);
                self.send(link, &Message::SyncState(SyncStateMessage { id: 0, state }));
            }
        }
        self.peers.entry(peer).or_default().dialling = 0;
        self.membership_step(link)
    }

    /// Once the peer's operations are all held, and it is a member: frontiers.
    fn membership_step(&mut self, link: LinkId) -> Result<()> {
        let Some(session) = self.sessions.get(&link) else { return Ok(()) };
        if session.connected || session.stage != Stage::Open {
            return Ok(());
        }
        let vault = self.vault()?;
        if !vault.membership.contains_all(&session.peer_heads) {
            return Ok(());
        }
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

    /// Tells every open session something, but for the one it came from.
    pub(super) fn tell_all(&mut self, item: &Item, from: Option<LinkId>) {
        let links: Vec<LinkId> = self
            .sessions
            .iter()
            .filter(|(link, session)| session.stage == Stage::Open && Some(**link) != from)
            .map(|(link, _)| *link)
            .collect();
        for link in links {
            self.send_items(link, std::iter::once(item.clone()));
        }
    }

    /// Sends items in as many frames as they take.
    pub(super) fn send_items(&mut self, link: LinkId, items: impl Iterator<Item = Item>) {
        let mut frame: Vec<Item> = Vec::new();
        let mut bytes = 0;
        for item in items {
            let size = match &item {
                Item::Block(bytes) | Item::Membership(bytes) => bytes.len() + 8,
                Item::Fork(a, b) => a.len() + b.len() + 16,
            };
            if size > super::pump::FRAME_FILL {
                if !frame.is_empty() {
                    self.send_batch(link, std::mem::take(&mut frame), Carries::Other);
                    bytes = 0;
                }
                self.send_parts(link, &item, Carries::Other);
                continue;
            }
            if bytes + size > super::pump::FRAME_FILL && !frame.is_empty() {
                self.send_batch(link, std::mem::take(&mut frame), Carries::Other);
                bytes = 0;
            }
            bytes += size;
            frame.push(item);
        }
        if !frame.is_empty() {
            self.send_batch(link, frame, Carries::Other);
        }
    }

    pub(super) fn send_batch(&mut self, link: LinkId, items: Vec<Item>, carries: Carries) {
        let mut bytes = Vec::new();
        if let Err(error) = Message::EventBatch(EventBatchMessage::Items(items)).encode(&mut bytes) {
            return self.hang_up(link, error);
        }
        if let Some(session) = self.sessions.get_mut(&link) {
            session.sending.sent(bytes.len(), carries);
        }
        self.send_bytes(link, bytes);
    }

    pub(super) fn acknowledge(&mut self, link: LinkId, bytes: usize) {
        let Some(session) = self.sessions.get_mut(&link) else { return };
        let stored = session.receiving.stored(bytes);
        self.send(link, &Message::EventAck(EventAckMessage { stored, window: WINDOW_BYTES }));
    }

    /// Deadlines and pings.
    pub(super) fn sessions_due(&mut self) {
        let now = self.now.mono;
        let links: Vec<LinkId> = self.sessions.keys().copied().collect();
        for link in links {
            let Some(session) = self.sessions.get_mut(&link) else { continue };
            if !session.connected && session.deadline <= now {
                let error = match session.stage {
                    Stage::Open => not_authorized(),
                    _ => Error::new(ErrorCode::Timeout, "the other device did not finish its greeting in time"),
                };
                self.hang_up(link, error);
                continue;
            }
            if session.heard_at + 2 * PING_AFTER <= now {
                self.hang_up(link, Error::new(ErrorCode::Timeout, "the other device has gone quiet"));
                continue;
            }
            if session.heard_at + PING_AFTER <= now && !session.pinged && session.stage == Stage::Open {
                session.pinged = true;
                self.send(link, &Message::Ping(now));
                continue;
            }
            if session.connected && session.next_check <= now {
                session.next_check =
                    now.saturating_add(self.config.resync_interval_ms.saturating_mul(1_000).max(1_000_000));
                session.ask_again |= session.initiator;
            }
            if session.connected && session.ask_again && session.request.is_none() && self.job.is_none() {
                self.ask(link);
            }
        }
    }

    /// When the engine must be woken at the latest.
    pub(super) fn set_alarm(&mut self) {
        let mut at = self.next_dial().unwrap_or(u64::MAX);
        for session in self.sessions.values() {
            at = at.min(if session.connected { session.next_check } else { session.deadline });
            at = at.min(session.heard_at + if session.pinged { 2 * PING_AFTER } else { PING_AFTER });
        }
        if let Some(forward) = self.next_forward() {
            at = at.min(forward);
        }
        if let Some(checkpoint) = self.next_checkpoint() {
            at = at.min(checkpoint);
        }
        // A time that has passed is handled already, but for what the pump could not send.
        let at = at.max(self.now.mono + 1_000);
        if at != u64::MAX && at != self.wake_at {
            self.wake_at = at;
            self.out.push(Output::WakeAt(at));
        }
    }
}

/// All that a stranger learns.
pub fn not_authorized() -> Error {
    Error::new(ErrorCode::NotAuthorized, "not a member of this vault")
}

fn version_error() -> Error {
    Error::new(ErrorCode::Version, "the other device speaks another version of the protocol; update privstack on both")
}
