//! Links and the sessions on them: how they begin and end, and what is sent on them.

use super::SyncEngine;
use super::greeting::not_authorized;
use super::io::{LinkId, Output, SyncEvent, Via};
use super::layout::LogKey;
use super::quarantine::CutOff;
use crate::error::{Error, ErrorCode};
use crate::protocol::{Frontier, Held, Parts, ReceiveWindow, SendWindow, WINDOW_BYTES};
use crate::types::{Hash, LogName, PeerId, SortedMap, SortedSet};
use crate::wire::*;

/// How long a peer may take for its next step of the greeting, in microseconds.
const GREETING_TIME: u64 = 15_000_000;
/// Quiet for so long, a peer is asked whether it is there; quiet for twice as long, it is gone.
const PING_AFTER: u64 = 30_000_000;
/// Links at most: beyond them new ones are refused as `busy`.
const MAX_SESSIONS: usize = 128;

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
    pub pinged: bool,
    pub nonce: [u8; 16],
    pub peer_heads: Vec<Hash>,
    /// How many membership operations were held when the `Hello` was sent; whether more were when it was answered, and the
    /// peer could not be told which of them it lacks.
    pub ops_at_hello: usize,
    pub untold: bool,
    pub sending: SendWindow<Carries>,
    pub receiving: ReceiveWindow,
    pub parts: Parts,
    /// What the peer has said to hold, or was sent and has on disk.
    pub theirs: Frontier,
    /// Whether `theirs` is known to be whole.
    pub known: bool,
    /// How far each log is sent.
    pub sent: SortedMap<LogKey, u64>,
    /// Logs whose chain differs from the peer's: they are not sent until the peer says from where.
    pub stuck: SortedSet<LogKey>,
    /// Logs of which the peer sends what does not follow what is held, for something of them was refused.
    pub cut_off: CutOff,
    /// The log that is read for the peer, and from which commit on.
    pub reading: Option<(LogKey, u64)>,
    /// The next read looks for the block that its first commit is in, not for one that starts with it.
    pub floor: bool,
    pub access: super::access::AccessChanges,
    /// Types of which the policy was asked whether they may go to the peer.
    pub audited: SortedSet<super::layout::TypeIx>,
    pub live: bool,
    /// The types that the peer wants pushed; `None`: all.
    pub only: Option<SortedSet<crate::types::EntityType>>,
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
            ops_at_hello: 0,
            untold: false,
            sending: SendWindow::default(),
            receiving: ReceiveWindow::default(),
            parts: Parts::default(),
            theirs: Frontier::new(),
            known: false,
            sent: SortedMap::new(),
            stuck: SortedSet::new(),
            cut_off: CutOff::default(),
            reading: None,
            floor: false,
            access: super::access::AccessChanges::default(),
            audited: SortedSet::new(),
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
            // Of which chain is not said.
            Some(held) if seq > held.seq => (held.seq, held.hash) = (seq, Hash::ZERO),
            Some(_) => {}
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
        let mut session = Session::new(peer, initiator, via, nonce, self.now.mono, self.config.live);
        session.ops_at_hello = self.vault.as_ref().map_or(0, |vault| vault.membership.len());
        self.sessions.insert(link, session);
        if initiator {
            match self.hello(&peer, nonce) {
                Ok(hello) => self.send(link, &Message::Hello(hello)),
                Err(error) => self.hang_up(link, error),
            }
        }
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

    pub(super) fn close(&mut self, link: LinkId, error: Error) {
        self.out.push(Output::HangUp(link, error));
        self.link_down(link);
    }

    pub(super) fn link_down(&mut self, link: LinkId) {
        let Some(session) = self.sessions.remove(&link) else { return };
        let ended: Vec<LogKey> =
            self.compares.iter().filter(|(_, compare)| compare.link == link).map(|(key, _)| *key).collect();
        ended.into_iter().for_each(|key| self.end_compare(key));
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

    /// Tells every open session something, but for the one it came from.
    pub(super) fn tell_all(&mut self, item: &Item, from: Option<LinkId>) {
        let links: Vec<LinkId> = self
            .sessions
            .iter()
            .filter(|(link, session)| session.stage == Stage::Open && Some(**link) != from)
            .filter(|(_, session)| self.may_hear(&session.peer, item))
            .map(|(link, _)| *link)
            .collect();
        for link in links {
            self.send_items(link, std::iter::once(item.clone()));
        }
    }

    /// A fork proof has commits in it: it is for those who read the type.
    fn may_hear(&self, peer: &PeerId, item: &Item) -> bool {
        let Item::Fork(block, _) = item else { return true };
        decode_header(block).is_ok_and(|header| self.may_exchange(header.log.entity_type.as_str(), peer))
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
        if let Some(pairing) = self.pairing.wake() {
            at = at.min(pairing);
        }
        // A time that has passed is handled already, but for what the pump could not send.
        let at = at.max(self.now.mono + 1_000);
        if at != u64::MAX && at != self.wake_at {
            self.wake_at = at;
            self.out.push(Output::WakeAt(at));
        }
    }
}
