//! Links between devices: in order and reliable while they last, and they may be lost at any time.

use super::faults::Fault;
use super::world::{Event, Plan, World};
use crate::engine::{Input, LinkId, Via};
use crate::types::PeerId;
use crate::wire::Message;

/// One stream between two devices.
#[derive(Debug)]
pub struct Link {
    /// The devices, and which of their runs; the first one dialled. `None`: a stranger outside of the world.
    pub ends: [Option<(usize, u32)>; 2],
    /// As whom each end shows itself.
    pub peers: [PeerId; 2],
    /// Which ends were told that it is open, and not yet that it has ended.
    pub up: [bool; 2],
    /// Lost, with everything under way.
    pub dead: bool,
    /// When the last frame towards each end arrives.
    arrive: [u64; 2],
    latency: u64,
    /// Bytes that each end has given and that are not out.
    queued: [usize; 2],
    /// For the exchange of a pairing, and nothing else.
    pairing: bool,
}

/// Bytes that an engine may queue on one link: two windows and some messages.
const MAX_QUEUED: usize = 4 << 20;

impl World {
    /// Whether two devices can reach each other now.
    pub fn reach(&self, a: usize, b: usize) -> bool {
        let there = |d: usize| self.devices[d].engine.is_some() && !self.devices[d].offline && !self.devices[d].gone;
        a != b && there(a) && there(b) && self.groups[a] == self.groups[b]
    }

    /// A device dials a peer.
    pub fn dial(&mut self, from: usize, peer: PeerId) {
        let run = self.devices[from].run;
        let at = self.now + self.rng.between(500, 300_000);
        let back = self.devices.iter().position(|device| device.peer == peer);
        if let Some(back) = back
            && self.dialling.contains(&(back, self.devices[from].peer))
        {
            self.faults.add(Fault::BothDialled);
        }
        self.dialling.insert((from, peer));
        self.at(at, Event::Dialled(from, run, peer));
    }

    pub fn dialled(&mut self, from: usize, peer: PeerId) {
        self.dialling.remove(&(from, peer));
        let there: Vec<usize> =
            (0..self.devices.len()).filter(|to| self.devices[*to].peer == peer && self.reach(from, *to)).collect();
        let unlucky = !self.healed && self.rng.one_in(12);
        match self.rng.pick(&there).copied() {
            Some(to) if !unlucky => self.connect(from, to, false),
            _ => {
                self.faults.add(Fault::DialFailed);
                self.input(from, Input::DialFailed(peer, "nobody there".into()));
            }
        }
    }

    pub fn connect(&mut self, from: usize, to: usize, pairing: bool) {
        let ends = [from, to].map(|d| Some((d, self.devices[d].run)));
        let peers = [from, to].map(|d| self.devices[d].peer);
        let link = self.open(ends, peers);
        if let Some(link) = self.links.get_mut(&link) {
            link.pairing = pairing;
        }
    }

    /// Opens a link; it comes up at each end in its own time.
    pub fn open(&mut self, ends: [Option<(usize, u32)>; 2], peers: [PeerId; 2]) -> u64 {
        self.next_link += 1;
        let number = self.next_link;
        let latency = if self.rng.one_in(3) { self.rng.between(20_000, 300_000) } else { self.rng.between(200, 5_000) };
        let arrive = [0, 1].map(|_| self.now + 1 + self.rng.below(latency));
        for (end, at) in arrive.into_iter().enumerate() {
            self.at(at, Event::Up(number, end));
        }
        let link = Link { ends, peers, up: [false; 2], dead: false, arrive, latency, queued: [0; 2], pairing: false };
        self.links.insert(number, link);
        number
    }

    pub fn up(&mut self, number: u64, end: usize) {
        let Some(link) = self.links.get(&number) else { return };
        let Some((d, run)) = link.ends[end] else {
            if let Some(link) = self.links.get_mut(&number) {
                link.up[end] = true;
            }
            return;
        };
        let (peer, pairing) = (link.peers[1 - end], link.pairing);
        if link.dead || self.devices[d].run != run || self.devices[d].engine.is_none() {
            return self.kill(number);
        }
        if pairing {
            if let Some(link) = self.links.get_mut(&number) {
                link.up[end] = true;
            }
            return self.input(d, Input::PairingUp { link: LinkId(number), peer, initiator: end == 0 });
        }
        match self.devices[d].links.get(&peer).copied() {
            // The newest wins, at both ends alike.
            Some(newer) if newer > number => return self.kill(number),
            Some(older) => {
                self.faults.add(Fault::LinkReplaced);
                self.kill(older);
                if self.rng.one_in(2) {
                    self.down(older, end);
                }
            }
            None => {}
        }
        self.devices[d].links.insert(peer, number);
        if let Some(link) = self.links.get_mut(&number) {
            link.up[end] = true;
        }
        let via = if self.rng.one_in(2) { Via::Lan } else { Via::Direct };
        self.input(d, Input::LinkUp { link: LinkId(number), peer, initiator: end == 0, via });
    }

    /// Frames of an engine.
    pub fn send(&mut self, d: usize, link: LinkId, frame: Vec<u8>) {
        let now = self.now;
        let Some(end) = self.end_of(link.0, d) else { return };
        let jitter = self.rng.below(3_000);
        let Some(of) = self.links.get_mut(&link.0) else { return };
        of.queued[end] += frame.len();
        let queued = of.queued[end];
        let (stranger, peer, pairing) = (of.ends[1 - end].is_none(), of.peers[1 - end], of.pairing);
        let out = now + 100 + jitter / 2;
        let arrives = (now + of.latency + jitter).max(of.arrive[1 - end] + 1);
        of.arrive[1 - end] = arrives;
        self.frames += 1;
        if queued > MAX_QUEUED {
            self.fail(format!("device {d} queues {queued} bytes on one link"));
        }
        if stranger && !matches!(Message::decode(&frame), Ok(Message::Error(_))) {
            self.fail(format!("device {d} tells a stranger more than that it is one: {:?}", Message::decode(&frame)));
        }
        if self.plan == Plan::Members && !stranger && !pairing {
            self.check_leaving(d, peer, &frame);
        }
        if self.options.trace > 0 {
            let what = Message::decode(&frame).map_or("garbage".into(), |message| short(&message));
            self.say(format!("{d} -> link {} : {what} ({} bytes)", link.0, frame.len()));
        }
        self.at(out, Event::Sent(link.0, end, frame.len()));
        self.at(arrives, Event::Frame(link.0, 1 - end, now, frame));
    }

    pub fn sent(&mut self, number: u64, end: usize, bytes: usize) {
        let Some(link) = self.links.get_mut(&number) else { return };
        link.queued[end] = link.queued[end].saturating_sub(bytes);
        if let (Some((d, run)), true, false) = (link.ends[end], link.up[end], link.dead)
            && self.devices[d].run == run
        {
            self.input(d, Input::LinkReady(LinkId(number), bytes));
        }
    }

    pub fn frame(&mut self, number: u64, end: usize, sent: u64, frame: Vec<u8>) {
        let Some(link) = self.links.get(&number) else { return };
        let Some((d, run)) = link.ends[end] else { return };
        if link.dead || !link.up[end] || self.devices[d].run != run {
            return;
        }
        let newest = self.devices[d].newest_sent;
        if newest.0 > sent && newest.1 != number {
            self.faults.add(Fault::Reordered);
        }
        self.devices[d].newest_sent = newest.max((sent, number));
        self.devices[d].last_frame = self.now;
        self.input(d, Input::Frame(LinkId(number), frame));
    }

    /// An engine closes a link: the other end hears of it after all that was sent.
    pub fn hang_up(&mut self, d: usize, link: LinkId) {
        let Some(end) = self.end_of(link.0, d) else { return };
        let peer = self.links.get(&link.0).map(|link| link.peers[1 - end]);
        let Some(of) = self.links.get_mut(&link.0) else { return };
        of.up[end] = false;
        let at = of.arrive[1 - end].max(self.now) + 1;
        if let Some(peer) = peer
            && self.devices[d].links.get(&peer) == Some(&link.0)
        {
            self.devices[d].links.remove(&peer);
        }
        self.at(at, Event::Down(link.0, 1 - end));
        if self.rng.one_in(2) {
            // Some transports say so to the end that closed it, too.
            self.at(self.now + 1, Event::Down(link.0, end));
        }
    }

    /// A link is lost: each end hears of it in its own time, and nothing under way arrives.
    pub fn kill(&mut self, number: u64) {
        let Some(link) = self.links.get_mut(&number) else { return };
        if std::mem::replace(&mut link.dead, true) {
            return;
        }
        for end in 0..2 {
            let wait = if self.rng.one_in(4) { self.rng.between(0, 20_000_000) } else { self.rng.between(0, 50_000) };
            self.at(self.now + 1 + wait, Event::Down(number, end));
        }
    }

    pub fn down(&mut self, number: u64, end: usize) {
        let Some(link) = self.links.get_mut(&number) else { return };
        link.up[end] = false;
        let (peer, at) = (link.peers[1 - end], link.ends[end]);
        if link.up == [false; 2] && link.dead {
            // Nothing more can come of it but the other end's report.
            link.queued = [0; 2];
        }
        let Some((d, run)) = at else { return };
        if self.devices[d].run != run {
            return;
        }
        if self.devices[d].links.get(&peer) == Some(&number) {
            self.devices[d].links.remove(&peer);
        }
        self.input(d, Input::LinkDown(LinkId(number)));
    }

    /// Cuts all links of a device.
    pub fn kill_links_of(&mut self, d: usize) {
        let links =
            self.links.iter().filter(|(_, link)| !link.dead && link.ends.iter().flatten().any(|(e, _)| *e == d));
        let links: Vec<u64> = links.map(|(number, _)| *number).collect();
        links.into_iter().for_each(|number| self.kill(number));
    }

    /// Which end of a link an engine is, if it is open there.
    fn end_of(&self, number: u64, d: usize) -> Option<usize> {
        let link = self.links.get(&number)?;
        (0..2).find(|end| link.up[*end] && link.ends[*end] == Some((d, self.devices[d].run)))
    }

    /// Open links.
    pub fn open_links(&self) -> Vec<u64> {
        self.links.iter().filter(|(_, link)| !link.dead && link.up == [true; 2]).map(|(number, _)| *number).collect()
    }
}

fn short(message: &Message) -> String {
    let mut text = format!("{message:?}");
    if text.len() > 300 {
        text = text.chars().take(300).collect();
        text.push('…');
    }
    text
}
