//! Whole pairings between devices in memory, with the network and the disk in the hands of the test.

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
            if let Some((to, link, frame)) = self.wire.pop_front() {
                quiet = false;
                if self.frames == 0 {
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

#[test]
fn a_wrong_code_is_refused_and_three_burn_the_code() {
    let mut world = World::new(2);
    let shown = world.offer(0);
    for code in [ErrorCode::CodeMismatch, ErrorCode::CodeMismatch, ErrorCode::CodeBurned] {
        world.join(1, &wrong(&shown));
        world.wait(4);
        assert_eq!(world.devices[1].ended(), Some(code));
        world.devices[1].events.clear();
    }
    let next = world.devices[0].pairing.shown().unwrap().clone();
    assert!(!next.code.is_same(&shown.code), "a new code took its place");
    assert!(world.devices[0].events.iter().any(|event| *event == PairingEvent::Code(next.clone())));
    world.join(1, &right(&shown));
    world.wait(4);
    assert_eq!(world.devices[1].ended(), Some(ErrorCode::CodeMismatch), "the burned one is of no use");
    world.nobody_trusts_anybody();
}

#[test]
fn five_burned_codes_lock_pairing_until_the_user_unlocks_it_also_after_a_restart() {
    let mut world = World::new(2);
    for attempt in 0..15 {
        let shown = world.offer(0);
        world.join(1, &wrong(&shown));
        world.wait(4);
        let expected = match attempt {
            14 => ErrorCode::PairingLocked,
            2 | 5 | 8 | 11 => ErrorCode::CodeBurned,
            _ => ErrorCode::CodeMismatch,
        };
        assert_eq!(world.devices[1].ended(), Some(expected), "attempt {attempt}");
        world.devices[1].events.clear();
    }
    assert_eq!(world.devices[0].ended(), Some(ErrorCode::PairingLocked));
    world.join(1, "482951");
    world.wait(4);
    assert_eq!(world.devices[1].ended(), Some(ErrorCode::PairingLocked), "who comes late is told why");
    world.crash(0);
    let locked = world.offer_with(0, OfferOptions::default()).unwrap_err();
    assert_eq!(locked.code(), ErrorCode::PairingLocked);
    world.devices[0].pairing.unlock();
    assert!(world.offer_with(0, OfferOptions::default()).is_ok());
}

#[test]
fn a_code_is_of_no_use_a_second_time() {
    let mut world = World::new(3);
    let shown = world.offer(0);
    world.join(1, &right(&shown));
    world.join(2, &right(&shown));
    world.wait(4);
    assert_eq!(world.devices[2].ended(), Some(ErrorCode::CodeBurned));
    world.confirm(0);
    world.confirm(1);
    assert_eq!(world.devices[1].completed(), Some(key(0)));
    world.devices[2].events.clear();
    world.join(2, &right(&shown));
    world.wait(31);
    assert_eq!(world.devices[2].ended(), Some(ErrorCode::Unreachable), "nobody is in pairing mode any more");
}

#[test]
fn of_two_devices_that_type_the_code_at_once_one_is_taken() {
    let mut world = World::new(3);
    let shown = world.offer(0);
    world.devices[0].slow_disk = true;
    world.join(1, &right(&shown));
    world.join(2, &right(&shown));
    assert!(world.devices[1].found().is_none(), "nothing is answered before the try is on disk");
    world.devices[0].slow_disk = false;
    for token in std::mem::take(&mut world.devices[0].unwritten) {
        let now = world.now;
        world.devices[0].pairing.persisted(now, token);
    }
    world.settle();
    world.wait(4);
    let found: Vec<bool> = (1..3).map(|index| world.devices[index].found().is_some()).collect();
    assert_eq!(found.iter().filter(|found| **found).count(), 1, "{found:?}");
    let loser = if found[0] { 2 } else { 1 };
    assert!(matches!(world.devices[loser].ended(), Some(ErrorCode::Busy | ErrorCode::CodeBurned)));
}

#[test]
fn the_counter_is_on_disk_before_a_guess_is_answered() {
    for guess in [right as fn(&ShownCode) -> String, wrong] {
        let mut world = World::new(2);
        let shown = world.offer(0);
        world.devices[0].slow_disk = true;
        world.join(1, &guess(&shown));
        assert!(world.devices[1].events.is_empty(), "no answer yet, right or wrong");
        assert_eq!(world.devices[0].unwritten.len(), 1);
        // It is pulled out of the wall: the guess counts, and the code is gone.
        world.crash(0);
        let (row, mut expected) = (world.devices[0].row.clone().unwrap(), super::tries::Tries::default());
        expected.count();
        expected.opened(world.now.wall);
        assert_eq!(row, expected.encode());
    }
}

/// A device in the middle that ends the connection of either side and begins another with it: it relays every message
/// as it is, for it does not know the code.
#[test]
fn a_man_in_the_middle_who_passes_all_messages_on_gets_no_keys_confirmed() {
    let mut world = World::new(3);
    let (offering, joining, middle) = (0, 1, 2);
    let shown = world.offer(offering);
    let now = world.now;
    // The joining device believes that the middle shows the code (a lying relay says so).
    world.lying_relay = Some(key(middle));
    world.devices[middle].mode = true;
    let code = shown.code.clone().with_nameplate(Some(1_000));
    world.devices[joining].pairing.join(now, code, Vec::new(), true).unwrap();
    let mut to_joining = Vec::new();
    let (a, b) = (PairLink(901), PairLink(902));
    world.devices[offering].pairing.link_up(now, b, key(middle), false);
    for _ in 0..20 {
        let mut to_offering = Vec::new();
        for output in world.devices[joining].pairing.take_out() {
            match output {
                PairingOutput::FindNameplate(number) => {
                    world.devices[joining].pairing.nameplate_found(now, number, Ok(Some(key(middle))))
                }
                PairingOutput::Dial(peer, _) => world.devices[joining].pairing.link_up(now, a, peer, true),
                PairingOutput::Send(_, frame) => to_offering.push(frame),
                PairingOutput::Tell(event) => world.devices[joining].events.push(event),
                _ => {}
            }
        }
        to_joining.drain(..).for_each(|frame: Vec<u8>| world.devices[joining].pairing.frame(now, a, &frame));
        to_offering.iter().for_each(|frame| world.devices[offering].pairing.frame(now, b, frame));
        for output in world.devices[offering].pairing.take_out() {
            match output {
                PairingOutput::Send(_, frame) => to_joining.push(frame),
                PairingOutput::Persist(_, token) => world.devices[offering].pairing.persisted(now, token),
                PairingOutput::Tell(event) => world.devices[offering].events.push(event),
                _ => {}
            }
        }
    }
    assert_eq!(world.devices[joining].ended(), Some(ErrorCode::CodeMismatch));
    assert!(world.devices.iter().all(|device| device.found().is_none()));
    world.nobody_trusts_anybody();
}

#[test]
fn a_relay_that_names_the_wrong_device_brings_no_trust() {
    let mut world = World::new(3);
    world.offer(0);
    world.offer(2);
    let shown = world.devices[0].pairing.shown().unwrap().clone();
    world.lying_relay = Some(key(2));
    world.join(1, &shown.code.shown());
    assert_eq!(world.devices[1].ended(), Some(ErrorCode::CodeMismatch));
    world.nobody_trusts_anybody();
}

#[test]
fn whoever_makes_up_many_devices_checks_no_more_than_three_guesses_at_a_typed_code() {
    let mut world = World::new(12);
    (1..12).for_each(|index| drop(world.offer(index)));
    world.join(0, "482951");
    world.wait(4);
    assert_eq!(world.devices[0].ended(), Some(ErrorCode::CodeMismatch));
    let proofs = world.seen.iter().filter(|frame| frame.first() == Some(&3)).count();
    assert!(proofs <= 3, "{proofs}");
}

#[test]
fn codes_expire_and_links_say_so_by_themselves() {
    let mut world = World::new(2);
    let options = OfferOptions { renew: false, ttl: 30, ..OfferOptions::default() };
    let shown = world.offer_with(0, options).unwrap();
    world.wait(31);
    assert_eq!(world.devices[0].ended(), Some(ErrorCode::CodeExpired));
    world.join(1, &right(&shown));
    world.wait(4);
    assert_eq!(world.devices[1].ended(), Some(ErrorCode::CodeExpired));
    let now = world.now;
    let late = world.devices[1].pairing.join(now, shown.link.clone(), Vec::new(), true).unwrap_err();
    assert_eq!(late.code(), ErrorCode::CodeExpired);
    world.wait(60);
    assert!(!world.devices[0].mode, "and then nothing is said any more");
}

#[test]
fn a_new_code_follows_one_that_has_expired_until_the_offer_itself_is_over() {
    let mut world = World::new(1);
    let first = world.offer(0);
    world.wait(121);
    let second = world.devices[0].pairing.shown().unwrap().clone();
    assert!(!first.code.is_same(&second.code) && second.expires_at > first.expires_at);
    world.wait(15 * 60);
    assert_eq!(world.devices[0].ended(), Some(ErrorCode::CodeExpired));
    assert!(!world.devices[0].pairing.is_active());
}

#[test]
fn either_user_can_say_no_and_the_other_hears_it() {
    for (by, cancel) in [(0, false), (1, false), (0, true), (1, true)] {
        let mut world = World::new(2);
        let shown = world.offer(0);
        world.join(1, &right(&shown));
        world.confirm(1 - by);
        let now = world.now;
        let code = match cancel {
            true => {
                world.devices[by].pairing.cancel(now);
                ErrorCode::Aborted
            }
            false => {
                world.devices[by].pairing.reject(now);
                ErrorCode::Rejected
            }
        };
        world.settle();
        assert_eq!((world.devices[0].ended(), world.devices[1].ended()), (Some(code), Some(code)));
        world.nobody_trusts_anybody();
        assert!(!world.devices[0].mode);
    }
}

#[test]
fn a_crash_of_either_side_after_any_message_ends_the_other_side_and_a_new_pairing_works() {
    let whole = {
        let mut world = World::new(2);
        let shown = world.offer(0);
        world.join(1, &right(&shown));
        world.confirm(0);
        world.confirm(1);
        world.seen.len()
    };
    for crashing in 0..2 {
        for frames in 0..whole {
            let mut world = World::new(2);
            world.frames = frames;
            let shown = world.offer(0);
            world.join(1, &right(&shown));
            let now = world.now;
            for device in &mut world.devices {
                let _ = device.pairing.confirm(now, SyncRole::Member);
            }
            world.settle();
            world.crash(crashing);
            world.wait(200);
            let survivor = &world.devices[1 - crashing];
            assert!(
                survivor.ended().is_some() || survivor.completed().is_some() || survivor.pairing.is_active(),
                "crash of {crashing} after {frames} frames leaves the other side with no answer"
            );
            let now = world.now;
            world.frames = usize::MAX;
            for device in &mut world.devices {
                device.pairing.cancel(now);
                device.events.clear();
            }
            world.settle();
            world.devices.iter_mut().for_each(|device| device.events.clear());
            let shown = world.offer(0);
            world.join(1, &right(&shown));
            world.confirm(0);
            world.confirm(1);
            assert_eq!(world.devices[1].completed(), Some(key(0)), "crash of {crashing} after {frames} frames");
        }
    }
}

#[test]
fn a_silent_device_and_a_user_who_does_not_answer_end_in_time() {
    let mut world = World::new(2);
    world.frames = 3;
    let shown = world.offer(0);
    world.join(1, &right(&shown));
    world.wait(60);
    assert!(matches!(world.devices[1].ended(), Some(ErrorCode::Timeout | ErrorCode::Unreachable)));
    let mut world = World::new(2);
    let shown = world.offer(0);
    world.join(1, &right(&shown));
    world.confirm(1);
    world.wait(121);
    assert_eq!(world.devices[0].ended(), Some(ErrorCode::Timeout));
    assert_eq!(world.devices[1].ended(), Some(ErrorCode::Timeout));
    world.nobody_trusts_anybody();
}

#[test]
fn strangers_get_nothing_but_in_pairing_mode_and_then_a_bounded_little() {
    let mut world = World::new(2);
    let now = world.now;
    world.devices[0].pairing.link_up(now, PairLink(1), key(7), false);
    assert_eq!(world.devices[0].pairing.take_out(), [PairingOutput::HangUp(PairLink(1))]);
    world.offer(0);
    for stranger in 0..100 {
        world.devices[0].pairing.link_up(now, PairLink(10 + stranger), key(10 + stranger as usize), false);
    }
    let refused = world.devices[0].pairing.take_out();
    assert_eq!(refused.iter().filter(|output| matches!(output, PairingOutput::HangUp(_))).count(), 96);
    for (place, frame) in [&[][..], &[9; 40], &[4; 16], &[0, 1, 1, 0], &[0xff; 40_000], &[3; 33]].iter().enumerate() {
        let link = PairLink(10 + place as u64);
        world.devices[0].pairing.frame(now, link, frame);
        let out = world.devices[0].pairing.take_out();
        assert!(place >= 4 || out.contains(&PairingOutput::Send(link, vec![5, 0])), "{out:?}");
    }
    assert!(world.devices[0].pairing.is_active(), "the offer goes on");
}

#[test]
fn any_message_flipped_on_its_way_ends_without_trust() {
    let frames = {
        let mut world = World::new(2);
        let shown = world.offer(0);
        world.join(1, &right(&shown));
        world.seen.len()
    };
    for flipped in 0..frames {
        let mut world = World::new(2);
        world.frames = flipped;
        let shown = world.offer(0);
        let known = vec![(key(0), Vec::new())];
        let now = world.now;
        world.devices[1].pairing.join(now, right(&shown).parse().unwrap(), known, true).unwrap();
        // All up to the one to flip is delivered; that one is the next on the wire.
        loop {
            for index in 0..2 {
                for output in world.devices[index].pairing.take_out() {
                    world.carry_out(index, output);
                }
            }
            let Some((to, link, mut frame)) = world.wire.pop_front() else { break };
            if world.frames == 0 {
                let last = frame.len() - 1;
                frame[last] ^= 1;
                world.frames = usize::MAX;
            } else if world.frames != usize::MAX {
                world.frames -= 1;
            }
            world.devices[to].pairing.frame(now, PairLink(link), &frame);
        }
        let found = world.devices.iter().all(|device| device.found().is_some());
        assert!(!found, "frame {flipped}");
        world.nobody_trusts_anybody();
    }
}

#[test]
fn messages_of_the_wrong_side_or_twice_end_the_exchange() {
    let mut world = World::new(2);
    let shown = world.offer(0);
    world.join(1, &right(&shown));
    let link = PairLink(1);
    let now = world.now;
    let mut refuse = |frame: Vec<u8>| {
        world.devices[0].pairing.frame(now, link, &frame);
        world.settle();
        world.devices[0].ended()
    };
    let hello = PairingMessage::Hello { versions: (1, 1), sort: 0, nonce: [0; 16] };
    assert_eq!(refuse(hello.to_bytes()), Some(ErrorCode::Protocol));
}

#[test]
fn a_vault_that_refuses_the_device_is_told_to_both() {
    let mut world = World::new(2);
    world.devices[0].invite = Err(Error::new(ErrorCode::PolicyDenied, "only Admins add devices"));
    let shown = world.offer(0);
    world.join(1, &right(&shown));
    world.confirm(0);
    world.confirm(1);
    assert_eq!(world.devices[0].ended(), Some(ErrorCode::PolicyDenied));
    assert_eq!(world.devices[1].ended(), Some(ErrorCode::PolicyDenied));
    assert_eq!(world.devices[1].joined, None);
}

#[test]
fn a_local_check_of_a_code_counts_as_a_try() {
    let mut world = World::new(1);
    let shown = world.offer(0);
    let now = world.now;
    let pairing = &mut world.devices[0].pairing;
    assert!(pairing.verify(now, &shown.code).unwrap());
    for _ in 0..3 {
        assert!(!pairing.verify(now, &wrong(&shown).parse().unwrap()).unwrap());
    }
    assert!(!pairing.verify(now, &shown.code).unwrap(), "it is burned, another one is shown");
}
