//! A network in memory: transports of one process that reach each other by name, for tests and for apps that hold two
//! devices. It knows no time: a link opens at once, or never.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use super::{Transport, TransportEvent};
use crate::engine::{LinkId, Via};
use crate::error::{Error, ErrorCode, Result};
use crate::pairing::NAMEPLATES;
use crate::types::limits::MAX_FRAME_BYTES;
use crate::types::{PeerId, SortedMap};

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
    /// Whom the network names by a number, as a relay would.
    nameplates: SortedMap<u16, PeerId>,
}

#[derive(Default)]
struct Node {
    events: VecDeque<TransportEvent>,
    /// Peer, its number for the same link, bytes that wait for it, whether this side has hung up.
    links: HashMap<LinkId, End>,
    waker: Option<Waker>,
    paused: bool,
    /// Whether it takes pairing streams.
    pairing: bool,
}

struct End {
    peer: PeerId,
    /// Whether it is a pairing stream.
    pairing: bool,
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
        self.links.iter().find(|(_, end)| end.peer == *peer && !end.pairing).map(|(link, _)| *link)
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
        shared.nodes.entry(peer).or_default().push(TransportEvent::Listening(format!("{SCHEME}{peer}/p2p/{peer}")));
        MemoryTransport { network: self.clone(), me: peer }
    }

    /// Cuts the way between two devices: their link goes down, and dials fail until [`Self::heal`].
    pub fn cut(&self, one: PeerId, other: PeerId) {
        let mut shared = self.lock();
        shared.cut.extend([(one, other), (other, one)]);
        shared.close_all(one, |end| end.peer == other);
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
        let node = self.reach(me, peer)?;
        if node.link_to(&peer).is_some_and(|link| node.links.get(&link).is_some_and(|end| !end.closing)) {
            return Ok(());
        }
        if let Some(closing) = node.link_to(&peer) {
            self.close(me, closing);
        }
        self.open(me, peer, false);
        Ok(())
    }

    fn pair(&mut self, me: PeerId, peer: PeerId) -> std::result::Result<(), String> {
        self.reach(me, peer)?;
        if self.nodes.get(&peer).is_none_or(|node| !node.pairing) {
            return Err(format!("the device at {SCHEME}{peer} is not showing a code"));
        }
        self.open(me, peer, true);
        Ok(())
    }

    /// This device, where it may open a stream to that one.
    fn reach(&self, me: PeerId, peer: PeerId) -> std::result::Result<&Node, String> {
        let node = self.nodes.get(&me).ok_or("this device has left the network")?;
        if node.paused {
            return Err("links are paused on this device".into());
        }
        match peer == me || self.cut.contains(&(me, peer)) || self.nodes.get(&peer).is_none_or(|node| node.paused) {
            true => Err(format!("no answer at {SCHEME}{peer}")),
            false => Ok(node),
        }
    }

    fn open(&mut self, me: PeerId, peer: PeerId, pairing: bool) {
        let (ours, theirs) = (LinkId(self.links + 1), LinkId(self.links + 2));
        self.links += 2;
        for (node, link, peer, theirs, initiator) in [(me, ours, peer, theirs, true), (peer, theirs, me, ours, false)] {
            let Some(node) = self.nodes.get_mut(&node) else { continue };
            node.links.insert(link, End { peer, pairing, theirs, queued: 0, closing: false });
            let via = Via::Lan;
            node.push(match pairing {
                true => TransportEvent::PairingUp { link, peer, initiator, via },
                false => TransportEvent::LinkUp { link, peer, initiator, via },
            });
        }
    }

    /// Ends a stream of this device on both sides.
    fn close(&mut self, me: PeerId, link: LinkId) {
        let Some(end) = self.nodes.get(&me).and_then(|node| node.links.get(&link)) else { return };
        for (node, link) in [(me, link), (end.peer, end.theirs)] {
            let Some(node) = self.nodes.get_mut(&node) else { continue };
            if node.links.remove(&link).is_some() {
                node.push(TransportEvent::LinkDown(link));
            }
        }
    }

    fn close_all(&mut self, me: PeerId, which: impl Fn(&End) -> bool) {
        let links = self.nodes.get(&me).into_iter().flat_map(|node| &node.links);
        let links: Vec<_> = links.filter(|(_, end)| which(end)).map(|(link, _)| *link).collect();
        links.into_iter().for_each(|link| self.close(me, link));
    }

    fn leave(&mut self, me: PeerId) {
        self.close_all(me, |_| true);
        self.nodes.remove(&me);
        self.nameplates.retain(|_, peer| *peer != me);
    }

    fn tell(&mut self, me: PeerId, event: TransportEvent) {
        if let Some(node) = self.nodes.get_mut(&me) {
            node.push(event);
        }
    }

    fn send(&mut self, me: PeerId, link: LinkId, frame: Vec<u8>) {
        let Some(end) = self.nodes.get_mut(&me).and_then(|node| node.links.get_mut(&link)) else { return };
        if end.closing {
            return;
        }
        let (peer, theirs) = (end.peer, end.theirs);
        end.queued += frame.len();
        if frame.is_empty() || frame.len() > MAX_FRAME_BYTES || end.queued > MAX_QUEUED {
            return self.close(me, link);
        }
        self.tell(peer, TransportEvent::Frame(theirs, frame));
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
            self.close(me, *link);
        }
    }
}

/// One device on a [`MemoryNetwork`].
pub struct MemoryTransport {
    network: MemoryNetwork,
    me: PeerId,
}

impl Transport for MemoryTransport {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<TransportEvent> {
        let mut shared = self.network.lock();
        let Some(node) = shared.nodes.get_mut(&self.me) else { return Poll::Pending };
        let Some(event) = node.events.pop_front() else {
            node.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        shared.taken(self.me, &event);
        Poll::Ready(event)
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
        if end.queued == 0 {
            shared.close(self.me, link);
        }
    }

    fn dial(&mut self, peer: PeerId, _: Vec<String>) {
        let mut shared = self.network.lock();
        if let Err(why) = shared.dial(self.me, peer) {
            shared.tell(self.me, TransportEvent::DialFailed(peer, why));
        }
    }

    fn set_pairing(&mut self, on: bool) {
        let mut shared = self.network.lock();
        if let Some(node) = shared.nodes.get_mut(&self.me) {
            node.pairing = on;
        }
        shared.nameplates.retain(|_, peer| on || *peer != self.me);
    }

    fn pair(&mut self, peer: PeerId, _: Vec<String>) -> Result<()> {
        let mut shared = self.network.lock();
        if let Err(why) = shared.pair(self.me, peer) {
            shared.tell(self.me, TransportEvent::PairingFailed(peer, why));
        }
        Ok(())
    }

    fn claim_nameplate(&mut self) {
        let mut shared = self.network.lock();
        shared.nameplates.retain(|_, peer| *peer != self.me);
        let free = NAMEPLATES.into_iter().find(|number| !shared.nameplates.contains_key(number));
        if let Some(number) = free {
            shared.nameplates.insert(number, self.me);
            shared.tell(self.me, TransportEvent::NameplateClaimed(number));
        }
    }

    fn find_nameplate(&mut self, number: u16) -> Result<()> {
        let mut shared = self.network.lock();
        let peer = shared.nameplates.get(&number).copied();
        shared.tell(self.me, TransportEvent::NameplateFound(number, Ok(peer)));
        Ok(())
    }

    fn dial_address(&mut self, address: &str) -> Result<()> {
        let name = address.strip_prefix(SCHEME).and_then(|rest| rest.split('/').next());
        let peer = name.ok_or_else(|| {
            Error::new(ErrorCode::Invalid, format!("`{address}` is no address in memory; one is {SCHEME}12D3KooW…"))
        })?;
        self.dial(peer.parse()?, Vec::new());
        Ok(())
    }

    fn pause(&mut self) {
        let mut shared = self.network.lock();
        shared.close_all(self.me, |_| true);
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

    #[test]
    fn pairing_streams_reach_only_those_who_take_them_and_live_beside_links() {
        let (network, mut a, mut b) = pair();
        a.pair(B, Vec::new()).unwrap();
        assert!(matches!(take(&mut a), Some(TransportEvent::PairingFailed(B, _))));
        b.set_pairing(true);
        b.claim_nameplate();
        let Some(TransportEvent::NameplateClaimed(number)) = take(&mut b) else { panic!("no number") };
        a.find_nameplate(number).unwrap();
        assert!(matches!(take(&mut a), Some(TransportEvent::NameplateFound(_, Ok(Some(B))))));
        a.pair(B, Vec::new()).unwrap();
        let Some(TransportEvent::PairingUp { link, .. }) = take(&mut a) else { panic!("no pairing stream") };
        let Some(TransportEvent::PairingUp { link: theirs, initiator: false, .. }) = take(&mut b) else {
            panic!("no pairing stream")
        };
        a.dial(B, Vec::new());
        up(&mut a);
        up(&mut b);
        a.send(link, vec![1]);
        assert!(matches!(take(&mut b), Some(TransportEvent::Frame(from, _)) if from == theirs));
        assert!(matches!(take(&mut a), Some(TransportEvent::Sent(..))));
        a.hang_up(link);
        assert!(matches!(take(&mut b), Some(TransportEvent::LinkDown(down)) if down == theirs));
        assert!(matches!(take(&mut a), Some(TransportEvent::LinkDown(down)) if down == link));
        network.cut(A, B);
        assert!(matches!(take(&mut b), Some(TransportEvent::LinkDown(_))), "the link had stayed");
        b.set_pairing(false);
        a.find_nameplate(number).unwrap();
        assert!(matches!(take(&mut a), Some(TransportEvent::LinkDown(_))));
        assert!(matches!(take(&mut a), Some(TransportEvent::NameplateFound(_, Ok(None)))));
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
