//! A network in memory: transports of one process that reach each other by name, for tests and for apps that hold two
//! devices. It knows no time: a link opens at once, or never.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};

use super::{Transport, TransportEvent};
use crate::engine::{LinkId, Via};
use crate::error::{Error, ErrorCode, Result};
use crate::types::PeerId;
use crate::types::limits::MAX_FRAME_BYTES;

/// Bytes that may wait for a peer to take them; more closes the link.
const MAX_QUEUED: usize = 8 << 20;
/// How an address of this network starts; a peer id follows.
const SCHEME: &str = "/memory/";

/// A network that [`MemoryTransport`]s join. Clones are the same network.
#[derive(Clone, Default)]
pub struct MemoryNetwork(Arc<Mutex<Shared>>);

#[derive(Default)]
struct Shared {
    nodes: HashMap<PeerId, Node>,
    cut: HashSet<(PeerId, PeerId)>,
    links: u64,
}

#[derive(Default)]
struct Node {
    events: VecDeque<TransportEvent>,
    /// Peer, its number for the same link, bytes that wait for it, whether this side has hung up.
    links: HashMap<LinkId, End>,
    waker: Option<Waker>,
    paused: bool,
}

struct End {
    peer: PeerId,
    theirs: LinkId,
    /// Bytes sent that the peer has not taken yet.
    queued: usize,
    closing: bool,
}

impl Node {
    fn push(&mut self, event: TransportEvent) {
        self.events.push_back(event);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn link_to(&self, peer: &PeerId) -> Option<LinkId> {
        self.links.iter().find(|(_, end)| end.peer == *peer).map(|(link, _)| *link)
    }
}

impl MemoryNetwork {
    /// A network without devices.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a device on the network, until the transport is dropped. A device that is there already is replaced.
    pub fn join(&self, peer: PeerId) -> MemoryTransport {
        let mut shared = self.lock();
        shared.leave(peer);
        shared.nodes.entry(peer).or_default().push(TransportEvent::Listening(format!("{SCHEME}{peer}")));
        MemoryTransport { network: self.clone(), me: peer }
    }

    /// Cuts the way between two devices: their link goes down, and dials fail until [`Self::heal`].
    pub fn cut(&self, one: PeerId, other: PeerId) {
        let mut shared = self.lock();
        shared.cut.extend([(one, other), (other, one)]);
        shared.close(one, other);
    }

    /// Undoes [`Self::cut`].
    pub fn heal(&self, one: PeerId, other: PeerId) {
        let mut shared = self.lock();
        shared.cut.remove(&(one, other));
        shared.cut.remove(&(other, one));
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Shared {
    fn dial(&mut self, me: PeerId, peer: PeerId) -> std::result::Result<(), String> {
        let node = self.nodes.get(&me).ok_or("this device has left the network")?;
        if node.paused {
            return Err("links are paused on this device".into());
        }
        if node.link_to(&peer).is_some_and(|link| node.links.get(&link).is_some_and(|end| !end.closing)) {
            return Ok(());
        }
        if peer == me || self.cut.contains(&(me, peer)) || self.nodes.get(&peer).is_none_or(|node| node.paused) {
            return Err(format!("no answer at {SCHEME}{peer}"));
        }
        self.close(me, peer);
        let (ours, theirs) = (LinkId(self.links + 1), LinkId(self.links + 2));
        self.links += 2;
        for (node, link, peer, theirs, initiator) in [(me, ours, peer, theirs, true), (peer, theirs, me, ours, false)] {
            let Some(node) = self.nodes.get_mut(&node) else { continue };
            node.links.insert(link, End { peer, theirs, queued: 0, closing: false });
            node.push(TransportEvent::LinkUp { link, peer, initiator, via: Via::Lan });
        }
        Ok(())
    }

    /// Ends the link of two devices, if there is one.
    fn close(&mut self, one: PeerId, other: PeerId) {
        for (me, peer) in [(one, other), (other, one)] {
            let Some(node) = self.nodes.get_mut(&me) else { continue };
            if let Some(link) = node.link_to(&peer) {
                node.links.remove(&link);
                node.push(TransportEvent::LinkDown(link));
            }
        }
    }

    fn close_all(&mut self, me: PeerId) {
        let peers: Vec<_> =
            self.nodes.get(&me).into_iter().flat_map(|node| node.links.values()).map(|end| end.peer).collect();
        for peer in peers {
            self.close(me, peer);
        }
    }

    fn leave(&mut self, me: PeerId) {
        self.close_all(me);
        self.nodes.remove(&me);
    }

    fn send(&mut self, me: PeerId, link: LinkId, frame: Vec<u8>) {
        let Some(end) = self.nodes.get_mut(&me).and_then(|node| node.links.get_mut(&link)) else { return };
        if end.closing {
            return;
        }
        let (peer, theirs) = (end.peer, end.theirs);
        end.queued += frame.len();
        if frame.is_empty() || frame.len() > MAX_FRAME_BYTES || end.queued > MAX_QUEUED {
            return self.close(me, peer);
        }
        if let Some(node) = self.nodes.get_mut(&peer) {
            node.push(TransportEvent::Frame(theirs, frame));
        }
    }

    /// The device has taken an event: a frame makes room at its sender.
    fn taken(&mut self, me: PeerId, event: &TransportEvent) {
        let TransportEvent::Frame(link, frame) = event else { return };
        let Some(end) = self.nodes.get(&me).and_then(|node| node.links.get(link)) else { return };
        let (peer, theirs) = (end.peer, end.theirs);
        let Some(sender) = self.nodes.get_mut(&peer) else { return };
        let Some(end) = sender.links.get_mut(&theirs) else { return };
        end.queued = end.queued.saturating_sub(frame.len());
        let done = end.closing && end.queued == 0;
        sender.push(TransportEvent::Sent(theirs, frame.len()));
        if done {
            self.close(me, peer);
        }
    }
}

/// One device on a [`MemoryNetwork`].
pub struct MemoryTransport {
    network: MemoryNetwork,
    me: PeerId,
}

impl Transport for MemoryTransport {
    async fn next(&mut self) -> TransportEvent {
        poll_fn(|cx| {
            let mut shared = self.network.lock();
            let Some(node) = shared.nodes.get_mut(&self.me) else { return Poll::Pending };
            let Some(event) = node.events.pop_front() else {
                node.waker = Some(cx.waker().clone());
                return Poll::Pending;
            };
            shared.taken(self.me, &event);
            Poll::Ready(event)
        })
        .await
    }

    fn send(&mut self, link: LinkId, frame: Vec<u8>) {
        self.network.lock().send(self.me, link, frame);
    }

    fn hang_up(&mut self, link: LinkId) {
        let mut shared = self.network.lock();
        let Some(node) = shared.nodes.get_mut(&self.me) else { return };
        node.events.retain(|event| !matches!(event, TransportEvent::Frame(other, _) if *other == link));
        let Some(end) = node.links.get_mut(&link) else { return };
        end.closing = true;
        let (peer, done) = (end.peer, end.queued == 0);
        if done {
            shared.close(self.me, peer);
        }
    }

    fn dial(&mut self, peer: PeerId, _: Vec<String>) {
        let mut shared = self.network.lock();
        if let Err(why) = shared.dial(self.me, peer)
            && let Some(node) = shared.nodes.get_mut(&self.me)
        {
            node.push(TransportEvent::DialFailed(peer, why));
        }
    }

    fn dial_address(&mut self, address: &str) -> Result<()> {
        let peer = address.strip_prefix(SCHEME).ok_or_else(|| {
            Error::new(ErrorCode::Invalid, format!("`{address}` is no address in memory; one is {SCHEME}12D3KooW…"))
        })?;
        self.dial(peer.parse()?, Vec::new());
        Ok(())
    }

    fn pause(&mut self) {
        let mut shared = self.network.lock();
        shared.close_all(self.me);
        if let Some(node) = shared.nodes.get_mut(&self.me) {
            node.paused = true;
            node.events.retain(|event| !matches!(event, TransportEvent::Frame(..)));
        }
    }

    fn resume(&mut self) {
        if let Some(node) = self.network.lock().nodes.get_mut(&self.me) {
            node.paused = false;
        }
    }
}

impl Drop for MemoryTransport {
    fn drop(&mut self) {
        self.network.lock().leave(self.me);
    }
}

#[cfg(test)]
mod tests {
    use crate::test;
    use futures::FutureExt;

    use super::*;

    const A: PeerId = PeerId([1; 32]);
    const B: PeerId = PeerId([2; 32]);

    fn pair() -> (MemoryNetwork, MemoryTransport, MemoryTransport) {
        let network = MemoryNetwork::new();
        let (mut a, mut b) = (network.join(A), network.join(B));
        assert!(matches!(take(&mut a), Some(TransportEvent::Listening(_))));
        assert!(matches!(take(&mut b), Some(TransportEvent::Listening(_))));
        (network, a, b)
    }

    fn take(transport: &mut MemoryTransport) -> Option<TransportEvent> {
        transport.next().now_or_never()
    }

    fn up(transport: &mut MemoryTransport) -> (LinkId, PeerId, bool) {
        match take(transport) {
            Some(TransportEvent::LinkUp { link, peer, initiator, .. }) => (link, peer, initiator),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn frames_arrive_in_order_and_the_sender_learns_that_they_were_taken() {
        let (_, mut a, mut b) = pair();
        a.dial_address(&format!("/memory/{B}")).unwrap();
        let ((link, _, true), (theirs, _, false)) = (up(&mut a), up(&mut b)) else { panic!() };
        a.send(link, vec![1]);
        a.send(link, vec![2, 3]);
        assert!(matches!(take(&mut b), Some(TransportEvent::Frame(from, frame)) if from == theirs && frame == [1]));
        assert!(matches!(take(&mut b), Some(TransportEvent::Frame(_, frame)) if frame == [2, 3]));
        assert!(matches!(take(&mut a), Some(TransportEvent::Sent(_, 1))));
        assert!(matches!(take(&mut a), Some(TransportEvent::Sent(_, 2))));
    }

    #[test]
    fn both_sides_dialling_makes_one_link() {
        let (_, mut a, mut b) = pair();
        a.dial(B, Vec::new());
        b.dial(A, Vec::new());
        up(&mut a);
        up(&mut b);
        assert!(take(&mut a).is_none() && take(&mut b).is_none());
    }

    #[test]
    fn a_hang_up_delivers_what_was_queued_first() {
        let (_, mut a, mut b) = pair();
        a.dial(B, Vec::new());
        let (link, ..) = up(&mut a);
        up(&mut b);
        a.send(link, vec![1]);
        a.hang_up(link);
        assert!(take(&mut a).is_none());
        assert!(matches!(take(&mut b), Some(TransportEvent::Frame(..))));
        assert!(matches!(take(&mut b), Some(TransportEvent::LinkDown(_))));
        assert!(matches!(take(&mut a), Some(TransportEvent::Sent(..))));
        assert!(matches!(take(&mut a), Some(TransportEvent::LinkDown(_))));
    }

    #[test]
    fn a_cut_way_a_pause_and_an_absent_peer_fail_the_dial() {
        let (network, mut a, mut b) = pair();
        network.cut(A, B);
        a.dial(B, Vec::new());
        assert!(matches!(take(&mut a), Some(TransportEvent::DialFailed(B, _))));
        network.heal(A, B);
        b.pause();
        a.dial(B, Vec::new());
        assert!(matches!(take(&mut a), Some(TransportEvent::DialFailed(B, _))));
        b.resume();
        a.dial(B, Vec::new());
        up(&mut a);
        up(&mut b);
        drop(b);
        assert!(matches!(take(&mut a), Some(TransportEvent::LinkDown(_))));
        a.dial(B, Vec::new());
        assert!(matches!(take(&mut a), Some(TransportEvent::DialFailed(B, _))));
    }

    #[test]
    fn a_peer_that_takes_nothing_loses_the_link_when_the_queue_is_full() {
        let (_, mut a, mut b) = pair();
        a.dial(B, Vec::new());
        let (link, ..) = up(&mut a);
        up(&mut b);
        for _ in 0..=MAX_QUEUED / MAX_FRAME_BYTES {
            a.send(link, vec![0; MAX_FRAME_BYTES]);
        }
        assert!(matches!(take(&mut a), Some(TransportEvent::LinkDown(_))));
    }
}
