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

#[cfg(test)]
mod tests {
    use crate::test;
    use std::cell::Cell;
    use std::io;
    use std::pin::Pin;
    use std::rc::Rc;
    use std::task::Poll;

    use futures::task::noop_waker;

    use super::*;

    const LOW: PeerId = PeerId([1; 32]);
    const HIGH: PeerId = PeerId([2; 32]);

    /// A stream on which the peer sends one frame, then nothing until it ends.
    #[derive(Clone)]
    struct Silent(Rc<Cell<(bool, bool)>>);

    impl AsyncRead for Silent {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, to: &mut [u8]) -> Poll<io::Result<usize>> {
            let (spoken, ended) = self.0.get();
            if !spoken {
                self.0.set((true, ended));
                to[..5].copy_from_slice(&[0, 0, 0, 1, 7]);
                return Poll::Ready(Ok(5));
            }
            if ended { Poll::Ready(Ok(0)) } else { Poll::Pending }
        }
    }

    impl AsyncWrite for Silent {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(from.len()))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// A table whose one peer opens and is opened; streams are numbered by their connection.
    struct Table {
        links: Links<Silent, u32>,
        peer: PeerId,
        streams: HashMap<u32, Silent>,
    }

    impl Table {
        fn new(me: PeerId, peer: PeerId) -> Self {
            Self { links: Links::new(me), peer, streams: HashMap::new() }
        }

        fn add(&mut self, connection: u32, initiator: bool) {
            let stream = Silent(Rc::default());
            self.streams.insert(connection, stream.clone());
            self.links.add(Opened { peer: self.peer, stream, connection, initiator, via: Via::Lan });
        }

        fn end(&mut self, connection: u32) {
            self.streams[&connection].0.set((true, true));
            self.poll();
        }

        fn poll(&mut self) {
            self.links.poll(&mut Context::from_waker(&noop_waker()));
        }

        fn counts(&self) -> Option<u32> {
            self.links.pairs.get(&self.peer).map(|pair| pair.active.connection)
        }

        /// `+n` for a link that came up, `-n` for one that went down, `n.` for a frame.
        fn events(&mut self) -> String {
            let mut text = Vec::new();
            while let Some(event) = self.links.next_event() {
                text.push(match event {
                    TransportEvent::LinkUp { link, .. } => format!("+{}", link.0),
                    TransportEvent::LinkDown(link) => format!("-{}", link.0),
                    TransportEvent::Frame(link, _) => format!("{}.", link.0),
                    other => panic!("{other:?}"),
                });
            }
            text.join(" ")
        }
    }

    #[test]
    fn of_two_streams_at_once_both_sides_keep_the_one_that_the_lower_opened_in_whatever_order_they_come() {
        for low_first_at_low in [true, false] {
            for low_first_at_high in [true, false] {
                let (mut low, mut high) = (Table::new(LOW, HIGH), Table::new(HIGH, LOW));
                for first in [low_first_at_low, !low_first_at_low] {
                    if first { low.add(1, true) } else { low.add(2, false) }
                }
                for first in [low_first_at_high, !low_first_at_high] {
                    if first { high.add(1, false) } else { high.add(2, true) }
                }
                assert_eq!((low.counts(), high.counts()), (Some(1), Some(1)));
            }
        }
    }

    #[test]
    fn the_later_of_two_streams_of_one_opener_counts() {
        for initiator in [true, false] {
            let mut table = Table::new(LOW, HIGH);
            table.add(1, initiator);
            table.add(2, initiator);
            assert_eq!(table.counts(), Some(2));
            assert_eq!(table.events(), "+1 -1 +2");
        }
    }

    #[test]
    fn a_stream_that_lost_waits_with_what_it_said_and_counts_when_the_winner_ends() {
        let mut low = Table::new(LOW, HIGH);
        low.add(1, true);
        low.poll();
        low.add(2, false);
        low.poll();
        assert_eq!((low.counts(), low.links.has_rival(&HIGH, 1)), (Some(1), true));
        assert_eq!(low.events(), "+1 1.");
        low.end(1);
        assert_eq!(low.counts(), Some(2));
        assert_eq!(low.events(), "-1 +2 2.");
        low.end(2);
        assert_eq!((low.counts(), low.events().as_str()), (None, "-2"));
    }

    #[test]
    fn a_waiting_stream_that_ends_never_counts() {
        let mut low = Table::new(LOW, HIGH);
        low.add(1, true);
        low.add(2, false);
        low.end(2);
        assert!(!low.links.has_rival(&HIGH, 1));
        low.end(1);
        assert_eq!(low.counts(), None);
        assert!(!low.events().contains("+2"));
    }

    #[test]
    fn after_a_hang_up_no_frame_is_told_and_a_new_stream_takes_the_place_at_once() {
        let mut high = Table::new(HIGH, LOW);
        high.add(1, false);
        high.poll();
        high.links.hang_up(LinkId(1));
        assert!(!high.links.is_up(&LOW));
        high.add(2, true);
        assert_eq!(high.counts(), Some(2));
        assert_eq!(high.events(), "+1 -1 +2");
    }
}
