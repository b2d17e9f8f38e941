//! Pairing streams: beside the sessions, few, short, and of anybody while this device is in pairing mode.

use std::collections::VecDeque;
use std::hash::Hash;
use std::task::Context;

use futures::{AsyncRead, AsyncWrite};

use super::link::{Link, Progress};
use super::links::Opened;
use crate::engine::LinkId;
use crate::transport::TransportEvent;
use crate::types::{PeerId, SortedMap};

/// Streams at once, both ways; further ones are dropped.
const MAX_PAIR_LINKS: usize = 16;
/// Numbers of pairing links start here, so that they are never those of sessions.
const FIRST: u64 = 1 << 63;

struct Entry<S, C> {
    link: Link<S>,
    connection: C,
}

/// See the module.
pub(super) struct PairLinks<S, C> {
    next: u64,
    links: SortedMap<LinkId, Entry<S, C>>,
    events: VecDeque<TransportEvent>,
}

impl<S, C> Default for PairLinks<S, C> {
    fn default() -> Self {
        Self { next: FIRST, links: SortedMap::new(), events: VecDeque::new() }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, C: Copy + Eq + Hash> PairLinks<S, C> {
    pub fn next_event(&mut self) -> Option<TransportEvent> {
        self.events.pop_front()
    }

    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    pub fn has(&self, id: LinkId) -> bool {
        self.links.contains_key(&id)
    }

    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    pub fn add(&mut self, opened: Opened<S, C>) {
        let Opened { peer, stream, connection, initiator, via } = opened;
        if self.links.len() >= MAX_PAIR_LINKS {
            return; // dropping it closes it
        }
        let link = LinkId(self.next);
        self.next += 1;
        self.links.insert(link, Entry { link: Link::new(stream), connection });
        self.events.push_back(TransportEvent::PairingUp { link, peer, initiator, via });
    }

    pub fn send(&mut self, id: LinkId, frame: Vec<u8>) {
        if let Some(Err(reason)) = self.links.get_mut(&id).map(|entry| entry.link.send(frame)) {
            self.end(id, &reason);
        }
    }

    /// Closes a link once what is queued is out; nothing more is told of it but its end.
    pub fn hang_up(&mut self, id: LinkId) {
        if let Some(entry) = self.links.get_mut(&id) {
            entry.link.hang_up();
            self.events.retain(|event| !matches!(event, TransportEvent::Frame(link, _) if *link == id));
        }
    }

    pub fn hang_up_all(&mut self) {
        let links: Vec<_> = self.links.keys().copied().collect();
        links.into_iter().for_each(|link| self.hang_up(link));
    }

    /// Ends every link now.
    pub fn clear(&mut self) {
        let links: Vec<_> = self.links.keys().copied().collect();
        links.into_iter().for_each(|link| self.end(link, "paused"));
    }

    fn end(&mut self, id: LinkId, reason: &str) {
        if self.links.remove(&id).is_some() {
            tracing::debug!(link = id.0, reason, "pairing link down");
            self.events.push_back(TransportEvent::LinkDown(id));
        }
    }

    /// A connection is gone: takes what still lies there, then ends the links on it.
    pub fn connection_closed(&mut self, cx: &mut Context<'_>, connection: C) {
        let links: Vec<_> =
            self.links.iter().filter(|(_, entry)| entry.connection == connection).map(|(id, _)| *id).collect();
        for id in links {
            self.poll_one(cx, id);
            self.end(id, "the connection closed");
        }
    }

    /// Moves bytes both ways on every link, without waiting; the connections on which something came in.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Vec<C> {
        let links: Vec<_> = self.links.keys().copied().collect();
        links.into_iter().filter_map(|id| self.poll_one(cx, id)).collect()
    }

    fn poll_one(&mut self, cx: &mut Context<'_>, id: LinkId) -> Option<C> {
        let entry = self.links.get_mut(&id)?;
        let connection = entry.connection;
        let mut progress = Progress::default();
        let result = entry.link.poll(cx, true, &mut progress);
        self.events.extend(progress.frames.into_iter().map(|frame| TransportEvent::Frame(id, frame)));
        if let Err(reason) = result {
            self.end(id, &reason);
        }
        progress.heard.then_some(connection)
    }

    /// A second has gone by.
    pub fn tick(&mut self) {
        let late: Vec<_> =
            self.links.iter_mut().filter_map(|(id, entry)| entry.link.tick().err().map(|why| (*id, why))).collect();
        late.into_iter().for_each(|(id, why)| self.end(id, &why));
    }
}

/// Who is to be paired with once a connection is there.
pub(super) type Wanted = crate::types::SortedSet<PeerId>;
