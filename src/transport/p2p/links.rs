//! The table of links: which one stream of a pair of peers counts.
//!
//! Both sides decide alike, from what both see: who opened a stream.
//! - Of two streams opened by different sides, the one opened by the side with the lower peer id wins. The opener of
//!   the other closes it; its acceptor keeps it waiting, for the winner may be dead without having been noticed yet.
//! - Of two streams opened by the same side, the later wins: whoever opens again knows that the earlier one is gone.
//! - When the link that counts ends, the waiting one takes its place.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::task::Context;

use futures::{AsyncRead, AsyncWrite};

use super::link::{Link, Progress};
use crate::engine::{LinkId, Via};
use crate::transport::TransportEvent;
use crate::types::PeerId;

/// Bytes that are read ahead of a link that waits.
const MAX_AHEAD: usize = 64 << 10;

/// A stream that has just been opened.
pub(super) struct Opened<S, C> {
    pub peer: PeerId,
    pub stream: S,
    /// The connection that it runs on.
    pub connection: C,
    /// Whether this side opened it.
    pub initiator: bool,
    pub via: Via,
}

struct Entry<S, C> {
    link: Link<S>,
    connection: C,
    initiator: bool,
    via: Via,
}

struct Waiting<S, C> {
    entry: Entry<S, C>,
    frames: Vec<Vec<u8>>,
}

struct Pair<S, C> {
    id: LinkId,
    active: Entry<S, C>,
    waiting: Option<Waiting<S, C>>,
}

/// All links of this device.
pub(super) struct Links<S, C> {
    me: PeerId,
    next: u64,
    pairs: HashMap<PeerId, Pair<S, C>>,
    peers: HashMap<LinkId, PeerId>,
    heard: Vec<C>,
    events: VecDeque<TransportEvent>,
}

impl<S: AsyncRead + AsyncWrite + Unpin, C: Copy + Eq + Hash> Links<S, C> {
    pub fn new(me: PeerId) -> Self {
        Self { me, next: 1, pairs: HashMap::new(), peers: HashMap::new(), heard: Vec::new(), events: VecDeque::new() }
    }

    /// This device.
    pub fn me(&self) -> PeerId {
        self.me
    }

    /// What has happened, in order.
    pub fn next_event(&mut self) -> Option<TransportEvent> {
        self.events.pop_front()
    }

    /// Whether [`Self::next_event`] has something.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Whether frames can go to this peer now.
    pub fn is_up(&self, peer: &PeerId) -> bool {
        self.pairs.get(peer).is_some_and(|pair| !pair.active.link.is_closing())
    }

    /// Whether a link, counting or waiting, runs on this connection.
    pub fn uses(&self, peer: &PeerId, connection: C) -> bool {
        self.pairs.get(peer).is_some_and(|pair| {
            pair.active.connection == connection
                || pair.waiting.as_ref().is_some_and(|waiting| waiting.entry.connection == connection)
        })
    }

    /// Whether another stream waits for this connection's link to end.
    pub fn has_rival(&self, peer: &PeerId, connection: C) -> bool {
        self.pairs.get(peer).is_some_and(|pair| pair.active.connection == connection && pair.waiting.is_some())
    }

    /// The connections on which something came in since the last call.
    pub fn take_heard(&mut self) -> Vec<C> {
        std::mem::take(&mut self.heard)
    }

    /// Takes a new stream in.
    pub fn add(&mut self, opened: Opened<S, C>) {
        let Opened { peer, stream, connection, initiator, via } = opened;
        let entry = Entry { link: Link::new(stream), connection, initiator, via };
        let Some(pair) = self.pairs.get_mut(&peer) else { return self.up(peer, entry, None) };
        let same_opener = pair.active.initiator == initiator;
        let lower_opener = initiator == (self.me < peer);
        if same_opener || lower_opener || pair.active.link.is_closing() {
            let Some(old) = self.down(&peer, "a newer stream took its place") else { return };
            let waiting = old.waiting.filter(|waiting| waiting.entry.initiator != initiator);
            self.up(peer, entry, waiting);
        } else if !initiator {
            pair.waiting = Some(Waiting { entry, frames: Vec::new() });
        }
        // Else this side opened the loser: dropping it closes it.
    }

    fn up(&mut self, peer: PeerId, entry: Entry<S, C>, waiting: Option<Waiting<S, C>>) {
        let id = LinkId(self.next);
        self.next += 1;
        self.peers.insert(id, peer);
        self.events.push_back(TransportEvent::LinkUp { link: id, peer, initiator: entry.initiator, via: entry.via });
        self.pairs.insert(peer, Pair { id, active: entry, waiting });
    }

    fn down(&mut self, peer: &PeerId, reason: &str) -> Option<Pair<S, C>> {
        let pair = self.pairs.remove(peer)?;
        self.peers.remove(&pair.id);
        tracing::debug!(%peer, link = pair.id.0, reason, "link down");
        self.events.push_back(TransportEvent::LinkDown(pair.id));
        Some(pair)
    }

    /// Ends the link that counts; the waiting one takes its place.
    fn end(&mut self, peer: &PeerId, reason: &str) {
        if let Some(Pair { waiting: Some(waiting), .. }) = self.down(peer, reason) {
            self.up(*peer, waiting.entry, None);
            let id = LinkId(self.next - 1);
            self.events.extend(waiting.frames.into_iter().map(|frame| TransportEvent::Frame(id, frame)));
        }
    }

    /// Queues a frame; dropped where the link is gone.
    pub fn send(&mut self, id: LinkId, frame: Vec<u8>) {
        let Some(peer) = self.peers.get(&id).copied() else { return };
        let Some(pair) = self.pairs.get_mut(&peer) else { return };
        if let Err(reason) = pair.active.link.send(frame) {
            self.end(&peer, &reason);
        }
    }

    /// Closes a link once what is queued is out. Frames that came before and were not taken are dropped.
    pub fn hang_up(&mut self, id: LinkId) {
        if let Some(pair) = self.peers.get(&id).and_then(|peer| self.pairs.get_mut(peer)) {
            pair.active.link.hang_up();
            self.events.retain(|event| !matches!(event, TransportEvent::Frame(link, _) if *link == id));
        }
    }

    /// Whether there is no link at all.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Hangs up every link.
    pub fn hang_up_all(&mut self) {
        let links: Vec<_> = self.peers.keys().copied().collect();
        for link in links {
            self.hang_up(link);
        }
    }

    /// Ends every link now.
    pub fn clear(&mut self) {
        self.events.retain(|event| !matches!(event, TransportEvent::Frame(..)));
        let peers: Vec<_> = self.pairs.keys().copied().collect();
        for peer in peers {
            self.down(&peer, "paused");
        }
    }

    /// A connection is gone: takes what still lies there, then ends the links on it.
    pub fn connection_closed(&mut self, cx: &mut Context<'_>, peer: &PeerId, connection: C) {
        let Some(pair) = self.pairs.get_mut(peer) else { return };
        pair.waiting.take_if(|waiting| waiting.entry.connection == connection);
        if pair.active.connection == connection && self.poll_active(cx, peer) {
            self.end(peer, "the connection closed");
        }
    }

    /// Moves bytes both ways on every link, without waiting.
    pub fn poll(&mut self, cx: &mut Context<'_>) {
        let peers: Vec<_> = self.pairs.keys().copied().collect();
        for peer in peers {
            self.poll_active(cx, &peer);
            self.poll_waiting(cx, &peer);
        }
    }

    /// Whether the link that counts is still there afterwards.
    fn poll_active(&mut self, cx: &mut Context<'_>, peer: &PeerId) -> bool {
        let Some(pair) = self.pairs.get_mut(peer) else { return false };
        let mut progress = Progress::default();
        let result = pair.active.link.poll(cx, true, &mut progress);
        if progress.heard {
            self.heard.push(pair.active.connection);
        }
        let id = pair.id;
        self.events.extend(progress.frames.into_iter().map(|frame| TransportEvent::Frame(id, frame)));
        if progress.sent > 0 {
            self.events.push_back(TransportEvent::Sent(id, progress.sent));
        }
        if let Err(reason) = result {
            self.end(peer, &reason);
            return false;
        }
        true
    }

    fn poll_waiting(&mut self, cx: &mut Context<'_>, peer: &PeerId) {
        let Some(pair) = self.pairs.get_mut(peer) else { return };
        let Some(waiting) = &mut pair.waiting else { return };
        let ahead: usize = waiting.frames.iter().map(Vec::len).sum();
        let mut progress = Progress::default();
        let result = waiting.entry.link.poll(cx, ahead < MAX_AHEAD, &mut progress);
        if progress.heard {
            self.heard.push(waiting.entry.connection);
        }
        waiting.frames.append(&mut progress.frames);
        if result.is_err() {
            pair.waiting = None;
        }
    }

    /// A second has gone by.
    pub fn tick(&mut self) {
        let peers: Vec<_> = self.pairs.keys().copied().collect();
        for peer in peers {
            let Some(pair) = self.pairs.get_mut(&peer) else { continue };
            pair.waiting.take_if(|waiting| waiting.frames.is_empty() && waiting.entry.link.tick().is_err());
            if let Err(reason) = pair.active.link.tick() {
                self.end(&peer, &reason);
            }
        }
    }
}
