//! Whole pairings between devices in memory, with the network and the disk in the hands of the test.

mod codes;
mod ends;
mod hostile;
mod versions;

use std::collections::{BTreeMap, VecDeque};

use zeroize::Zeroizing;

use super::device::SECOND;
use super::*;
use crate::error::{Error, ErrorCode, Result};
use crate::policy::SyncRole;
use crate::test;
use crate::types::{Instant, Keypair, PeerId};

const INVITE: &str = "privstack-invite-1:of course not a real one";

/// A device, and what became of its pairing.
struct Device {
    id: PeerId,
    pairing: Pairing,
    row: Option<Vec<u8>>,
    events: Vec<PairingEvent>,
    mode: bool,
    /// Tries wait until the test lets the disk go on.
    slow_disk: bool,
    unwritten: Vec<u64>,
    invites: usize,
    joined: Option<String>,
    /// What the vault answers when a device is to be signed in.
    invite: Result<Zeroizing<String>>,
}

impl Device {
    fn found(&self) -> Option<&PairingPeer> {
        self.events.iter().find_map(|event| match event {
            PairingEvent::Found(peer) => Some(peer),
            _ => None,
        })
    }

    fn ended(&self) -> Option<ErrorCode> {
        self.events.iter().find_map(|event| match event {
            PairingEvent::Ended(error) => Some(error.code()),
            _ => None,
        })
    }

    fn completed(&self) -> Option<PeerId> {
        self.events.iter().find_map(|event| match event {
            PairingEvent::Completed(peer) => Some(*peer),
            _ => None,
        })
    }
}

/// Where a stream's two ends are, and who is authenticated to whom.
#[derive(Clone, Copy)]
struct Stream {
    ends: [usize; 2],
    open: bool,
}

struct World {
    now: Instant,
    devices: Vec<Device>,
    streams: BTreeMap<u64, Stream>,
    wire: VecDeque<(usize, u64, Vec<u8>)>,
    /// What went over the wire: all of it, for the test to look at.
    seen: Vec<Vec<u8>>,
    /// Deliver so many frames and then no more.
    frames: usize,
    /// Looks at each frame on its way to a device, and may change it; one of which it says false is late.
    on_its_way: fn(usize, &mut Vec<u8>) -> bool,
    late: Vec<(usize, u64, Vec<u8>)>,
    nameplates: BTreeMap<u16, PeerId>,
    lying_relay: Option<PeerId>,
}

fn key(index: usize) -> PeerId {
    Keypair::from_seed(&[index as u8 + 1; 32]).peer_id()
}

fn device(index: usize, salt: u8) -> Pairing {
    let about = About { device_name: format!("device {index}"), platform: "desktop".into() };
    Pairing::new(key(index), about, &Zeroizing::new([index as u8 + salt; 32]))
}

impl World {
    fn new(count: usize) -> Self {
        let devices = (0..count).map(|index| Device {
            id: key(index),
            pairing: device(index, 100),
            row: None,
            events: Vec::new(),
            mode: false,
            slow_disk: false,
            unwritten: Vec::new(),
            invites: 0,
            joined: None,
            invite: Ok(Zeroizing::new(INVITE.to_owned())),
        });
        Self {
            now: Instant { mono: 1, wall: 1_760_000_000_000 },
            devices: devices.collect(),
            streams: BTreeMap::new(),
            wire: VecDeque::new(),
            seen: Vec::new(),
            frames: usize::MAX,
            on_its_way: |_, _| true,
            late: Vec::new(),
            nameplates: BTreeMap::new(),
            lying_relay: None,
        }
    }

    fn offer(&mut self, index: usize) -> ShownCode {
        self.offer_with(index, OfferOptions::default()).unwrap()
    }

    fn offer_with(&mut self, index: usize, options: OfferOptions) -> Result<ShownCode> {
        let shown = self.devices[index].pairing.offer(self.now, options);
        self.settle();
        shown
    }

    /// Device `index` types a code, with all others known to it.
    fn join(&mut self, index: usize, code: &str) {
        let known = (0..self.devices.len()).map(|other| (key(other), Vec::new())).collect();
        let code = code.parse().unwrap();
        self.devices[index].pairing.join(self.now, code, known, true).unwrap();
        self.settle();
    }

    fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now.mono += SECOND;
            self.now.wall += 1_000;
            for device in &mut self.devices {
                if device.pairing.wake().is_some_and(|at| at <= self.now.mono) {
                    device.pairing.tick(self.now);
                }
            }
            self.settle();
        }
    }

    fn settle(&mut self) {
        loop {
            let mut quiet = true;
            for index in 0..self.devices.len() {
                for output in self.devices[index].pairing.take_out() {
                    quiet = false;
                    self.carry_out(index, output);
                }
            }
            if let Some((to, link, mut frame)) = self.wire.pop_front() {
                quiet = false;
                if self.frames == 0 {
                    continue;
                }
                if !(self.on_its_way)(to, &mut frame) {
                    self.late.push((to, link, frame));
                    continue;
                }
                self.frames -= 1;
                self.seen.push(frame.clone());
                self.devices[to].pairing.frame(self.now, PairLink(link), &frame);
            }
            if quiet {
                return;
            }
        }
    }

    fn carry_out(&mut self, index: usize, output: PairingOutput) {
        let now = self.now;
        match output {
            PairingOutput::Send(link, frame) => {
                let stream = self.streams[&link.0];
                if stream.open {
                    let to = if stream.ends[0] == index { stream.ends[1] } else { stream.ends[0] };
                    self.wire.push_back((to, link.0, frame));
                }
            }
            PairingOutput::HangUp(link) => self.close(link.0, index),
            PairingOutput::Persist(row, token) => {
                let device = &mut self.devices[index];
                device.row = Some(row);
                match device.slow_disk {
                    true => device.unwritten.push(token),
                    false => device.pairing.persisted(now, token),
                }
            }
            PairingOutput::WrongGuess(_) => {}
            PairingOutput::Mode(on) => self.devices[index].mode = on,
            PairingOutput::Dial(peer, _) => {
                match self.devices.iter().position(|other| other.id == peer && other.mode) {
                    Some(other) => self.connect(index, other),
                    None => self.devices[index].pairing.dial_failed(now, peer, "it takes no pairing streams"),
                }
            }
            PairingOutput::ClaimNameplate => {
                let number = 1_000 + self.nameplates.len() as u16;
                self.nameplates.insert(number, self.devices[index].id);
                self.devices[index].pairing.nameplate_claimed(number);
            }
            PairingOutput::FindNameplate(number) => {
                let peer = self.lying_relay.or(self.nameplates.get(&number).copied());
                self.devices[index].pairing.nameplate_found(now, number, Ok(peer));
            }
            PairingOutput::Invite { link, .. } => {
                self.devices[index].invites += 1;
                let invite = self.devices[index].invite.clone();
                self.devices[index].pairing.invite_ready(now, link, invite);
            }
            PairingOutput::Join(link, invite) => {
                self.devices[index].joined = Some(invite.to_string());
                self.devices[index].pairing.joined(now, link, Ok(()));
            }
            PairingOutput::Tell(event) => self.devices[index].events.push(event),
        }
    }

    fn connect(&mut self, from: usize, to: usize) {
        let link = self.streams.len() as u64 + 1;
        self.streams.insert(link, Stream { ends: [from, to], open: true });
        let (dialler, listener) = (self.devices[from].id, self.devices[to].id);
        self.devices[from].pairing.link_up(self.now, PairLink(link), listener, true);
        self.devices[to].pairing.link_up(self.now, PairLink(link), dialler, false);
    }

    /// One end hangs up: the other hears of it behind what was sent.
    fn close(&mut self, link: u64, by: usize) {
        let Some(stream) = self.streams.get_mut(&link) else { return };
        if std::mem::replace(&mut stream.open, false) {
            let to = if stream.ends[0] == by { stream.ends[1] } else { stream.ends[0] };
            while let Some(place) = self.wire.iter().position(|(at, on, _)| (*at, *on) == (to, link)) {
                let Some((_, _, frame)) = self.wire.remove(place) else { break };
                if self.frames > 0 {
                    self.frames -= 1;
                    self.devices[to].pairing.frame(self.now, PairLink(link), &frame);
                }
            }
            self.devices[to].pairing.link_down(self.now, PairLink(link));
        }
    }

    /// The process ends and starts again, with what is on its disk.
    fn crash(&mut self, index: usize) {
        let links: Vec<u64> =
            self.streams.iter().filter(|(_, stream)| stream.ends.contains(&index)).map(|(link, _)| *link).collect();
        let row = self.devices[index].row.clone();
        self.devices[index].pairing = device(index, 150);
        self.devices[index].mode = false;
        self.devices[index].unwritten.clear();
        if let Some(row) = row {
            self.devices[index].pairing.restore(self.now, &row).unwrap();
        }
        self.wire.retain(|(_, link, _)| !links.contains(link));
        links.into_iter().for_each(|link| self.close(link, index));
        self.settle();
    }

    fn confirm(&mut self, index: usize) {
        self.devices[index].pairing.confirm(self.now, SyncRole::Member).unwrap();
        self.settle();
    }

    fn nobody_trusts_anybody(&self) {
        for device in &self.devices {
            assert_eq!((device.invites, device.joined.as_ref(), device.completed()), (0, None, None));
        }
    }
}

/// Another code of the same spelling.
fn wrong(shown: &ShownCode) -> String {
    let text = right(shown);
    let last = if text.ends_with('7') { '3' } else { '7' };
    format!("{}{last}", &text[..text.len() - 1])
}

fn right(shown: &ShownCode) -> String {
    shown.code.clone().with_nameplate(None).shown().to_string()
}

#[test]
fn two_devices_pair_by_six_digits_and_only_after_both_users_said_so() {
    let mut world = World::new(2);
    let shown = world.offer(0);
    world.join(1, &right(&shown));
    let (ours, theirs) = (world.devices[0].found().unwrap(), world.devices[1].found().unwrap());
    assert_eq!(ours.words, theirs.words);
    assert_eq!((ours.peer, ours.about.device_name.as_str(), ours.joining), (key(1), "device 1", false));
    assert_eq!((theirs.peer, theirs.about.platform.as_str(), theirs.joining), (key(0), "desktop", true));
    world.nobody_trusts_anybody();
    world.confirm(0);
    world.nobody_trusts_anybody();
    world.confirm(1);
    assert_eq!(world.devices[1].joined.as_deref(), Some(INVITE));
    assert_eq!((world.devices[0].completed(), world.devices[1].completed()), (Some(key(1)), Some(key(0))));
    assert!(!world.devices[0].mode && !world.devices[0].pairing.is_active() && !world.devices[1].pairing.is_active());
    let digits = right(&shown).replace(' ', "");
    let leaks = |frame: &Vec<u8>, text: &str| frame.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(!world.seen.iter().any(|frame| leaks(frame, &digits) || leaks(frame, "invite") || leaks(frame, "device")));
}

#[test]
fn links_nameplates_and_strong_codes_lead_to_the_same_end() {
    for way in 0..3 {
        let mut world = World::new(3);
        let kind = if way == 0 { CodeKind::Letters } else { CodeKind::Digits };
        world.offer_with(0, OfferOptions { kind, ..OfferOptions::default() }).unwrap();
        let shown = world.devices[0].pairing.shown().unwrap().clone();
        world.join(
            1,
            &match way {
                0 => right(&shown),
                1 => shown.code.shown().to_string(),
                _ => shown.link.shown().to_string(),
            },
        );
        world.confirm(1);
        world.confirm(0);
        assert_eq!(world.devices[1].completed(), Some(key(0)), "way {way}");
    }
}

#[test]
fn a_large_invite_comes_whole() {
    let mut world = World::new(2);
    let large = "x".repeat(100_000);
    world.devices[0].invite = Ok(Zeroizing::new(large.clone()));
    let shown = world.offer(0);
    world.join(1, &right(&shown));
    world.confirm(0);
    world.confirm(1);
    assert_eq!(world.devices[1].joined, Some(large));
    assert!(world.seen.iter().all(|frame| frame.len() <= MAX_PAIRING_FRAME));
}
