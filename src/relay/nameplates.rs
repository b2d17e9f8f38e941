//! The relay's nameplates: short numbers that name devices in pairing mode, for two minutes each.
//!
//! A number is handed out at random and not again for a while after it was given back: who mistypes, or reads an old
//! screen, reaches nobody rather than a stranger. The relay knows who claims a number from the connection, and never
//! sees a code.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use zeroize::Zeroizing;

use crate::pairing::NAMEPLATES;
use crate::transport::p2p::{Answer, Ask};
use crate::types::PeerId;

/// Seconds that a number names a device.
const LIFE: u64 = 120;
/// Seconds that it then names nobody.
const REST: u64 = 240;
/// Devices named at once. Few numbers of the many lead anywhere, so guessing them finds little.
const MAX_PLATES: usize = 1_000;
/// Claims of a device in [`WINDOW`] seconds.
const MAX_CLAIMS: u32 = 10;
/// Numbers that a device may look up in it, and all devices at one IP address.
const MAX_FINDS: u32 = 10;
const MAX_FINDS_PER_IP: u32 = 60;
/// Numbers that are looked up in it in all: beyond that somebody is trying them out.
const MAX_FINDS_IN_ALL: u32 = 6_000;
const WINDOW: u64 = 60;
/// Devices and addresses that are counted in one window; others are refused until the next.
const MAX_COUNTED: usize = 10_000;

#[derive(Clone, Copy)]
struct Plate {
    peer: PeerId,
    until: u64,
}

/// See the module. Times are in seconds on any clock that never goes back.
pub(super) struct Nameplates {
    key: Zeroizing<[u8; 32]>,
    drawn: u64,
    plates: BTreeMap<u16, Plate>,
    /// Numbers that rest, and until when; the earliest first.
    resting: VecDeque<(u16, u64)>,
    window: u64,
    claims: BTreeMap<PeerId, u32>,
    finds: BTreeMap<PeerId, u32>,
    finds_of: BTreeMap<IpAddr, u32>,
    finds_in_all: u32,
}

impl Nameplates {
    /// None yet; `seed` is 32 random bytes.
    pub fn new(seed: Zeroizing<[u8; 32]>) -> Self {
        Self {
            key: seed,
            drawn: 0,
            plates: BTreeMap::new(),
            resting: VecDeque::new(),
            window: 0,
            claims: BTreeMap::new(),
            finds: BTreeMap::new(),
            finds_of: BTreeMap::new(),
            finds_in_all: 0,
        }
    }

    /// What the relay answers to a device: as the connection authenticated it, from this address if it is known.
    pub fn answer(&mut self, now: u64, peer: PeerId, from: Option<IpAddr>, ask: Ask) -> Answer {
        self.pass(now);
        match ask {
            Ask::Claim => self.claim(now, peer),
            Ask::Release => {
                self.release(now, &peer);
                Answer::Released
            }
            Ask::Find(number) => self.find(peer, from, number),
        }
    }

    fn pass(&mut self, now: u64) {
        if now >= self.window.saturating_add(WINDOW) {
            self.window = now;
            self.claims.clear();
            self.finds.clear();
            self.finds_of.clear();
            self.finds_in_all = 0;
        }
        let over: Vec<u16> =
            self.plates.iter().filter(|(_, plate)| plate.until <= now).map(|(number, _)| *number).collect();
        over.into_iter().for_each(|number| self.rest(now, number));
        while self.resting.front().is_some_and(|(_, until)| *until <= now) {
            self.resting.pop_front();
        }
    }

    fn rest(&mut self, now: u64, number: u16) {
        if self.plates.remove(&number).is_some() {
            self.resting.push_back((number, now.saturating_add(REST)));
        }
    }

    fn release(&mut self, now: u64, peer: &PeerId) {
        let own = self.plates.iter().find(|(_, plate)| plate.peer == *peer).map(|(number, _)| *number);
        own.into_iter().for_each(|number| self.rest(now, number));
    }

    fn claim(&mut self, now: u64, peer: PeerId) -> Answer {
        if !count(&mut self.claims, peer, MAX_CLAIMS) {
            return Answer::Busy;
        }
        self.release(now, &peer);
        if self.plates.len() >= MAX_PLATES {
            return Answer::Busy;
        }
        // Many more numbers are free than taken: a few draws find one.
        for _ in 0..64 {
            let number = self.draw();
            if !self.plates.contains_key(&number) && !self.resting.iter().any(|(resting, _)| *resting == number) {
                self.plates.insert(number, Plate { peer, until: now.saturating_add(LIFE) });
                return Answer::Number(number);
            }
        }
        Answer::Busy
    }

    fn draw(&mut self) -> u16 {
        self.drawn += 1;
        let hash = blake3::keyed_hash(&self.key, &self.drawn.to_le_bytes());
        let (first, _) = hash.as_bytes().split_first_chunk().unwrap_or((&[0; 8], &[]));
        let count = u64::from(NAMEPLATES.end() - NAMEPLATES.start()) + 1;
        NAMEPLATES.start() + (u64::from_le_bytes(*first) % count) as u16
    }

    fn find(&mut self, peer: PeerId, from: Option<IpAddr>, number: u16) -> Answer {
        let per_ip = from.is_none_or(|from| count(&mut self.finds_of, network(from), MAX_FINDS_PER_IP));
        self.finds_in_all = self.finds_in_all.saturating_add(1);
        if !per_ip || !count(&mut self.finds, peer, MAX_FINDS) || self.finds_in_all > MAX_FINDS_IN_ALL {
            return Answer::Busy;
        }
        self.plates.get(&number).map_or(Answer::Nobody, |plate| Answer::Device(plate.peer))
    }
}

/// Counts one more; `false` beyond the limit, or where too many are counted.
fn count<K: Ord>(counts: &mut BTreeMap<K, u32>, key: K, limit: u32) -> bool {
    if counts.len() >= MAX_COUNTED && !counts.contains_key(&key) {
        return false;
    }
    let count = counts.entry(key).or_insert(0);
    *count = count.saturating_add(1);
    *count <= limit
}

/// What one customer of a provider has: an IPv4 address, or half of the IPv6 ones.
fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) >> 64 << 64).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u64) -> PeerId {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_be_bytes());
        PeerId(key)
    }

    fn plates() -> Nameplates {
        Nameplates::new(Zeroizing::new([7; 32]))
    }

    fn claim(plates: &mut Nameplates, now: u64, who: u64) -> u16 {
        match plates.answer(now, peer(who), None, Ask::Claim) {
            Answer::Number(number) => number,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_number_names_the_device_that_claimed_it_for_two_minutes() {
        let mut plates = plates();
        let number = claim(&mut plates, 0, 1);
        assert!(NAMEPLATES.contains(&number));
        assert_eq!(plates.answer(119, peer(2), None, Ask::Find(number)), Answer::Device(peer(1)));
        assert_eq!(plates.answer(120, peer(2), None, Ask::Find(number)), Answer::Nobody);
    }

    #[test]
    fn a_new_claim_replaces_the_old_and_what_was_given_back_rests() {
        let mut plates = plates();
        let first = claim(&mut plates, 0, 1);
        let second = claim(&mut plates, 1, 1);
        assert_ne!(first, second);
        assert_eq!(plates.answer(1, peer(2), None, Ask::Find(first)), Answer::Nobody);
        assert_eq!(plates.answer(2, peer(1), None, Ask::Release), Answer::Released);
        assert_eq!(plates.answer(2, peer(2), None, Ask::Find(second)), Answer::Nobody);
        for who in 10..910 {
            assert!(![first, second].contains(&claim(&mut plates, 3, who)), "not again at once");
        }
    }

    #[test]
    fn whoever_tries_numbers_out_is_stopped_also_under_many_names() {
        let mut plates = plates();
        let number = claim(&mut plates, 0, 1);
        let ip: IpAddr = "192.0.2.1".parse().unwrap();
        let found = (0..100).filter(|_| plates.answer(0, peer(2), None, Ask::Find(number)) != Answer::Busy).count();
        assert_eq!(found, MAX_FINDS as usize);
        let by_names =
            (100..300).filter(|who| plates.answer(0, peer(*who), Some(ip), Ask::Find(5_000)) != Answer::Busy);
        assert_eq!(by_names.count(), MAX_FINDS_PER_IP as usize);
        assert_ne!(plates.answer(61, peer(2), Some(ip), Ask::Find(number)), Answer::Busy, "a minute later");
        let v6 = |text: &str| network(text.parse().unwrap());
        assert_eq!(v6("2001:db8:1:2::1"), v6("2001:db8:1:2:ffff::2"));
    }

    #[test]
    fn memory_and_numbers_are_bounded() {
        let mut plates = plates();
        let given = (0..20_000).filter(|who| plates.answer(0, peer(*who), None, Ask::Claim) != Answer::Busy).count();
        assert_eq!(given, MAX_PLATES);
        assert!(plates.claims.len() <= MAX_COUNTED && plates.plates.len() <= MAX_PLATES);
        assert_eq!((0..20).filter(|_| plates.answer(200, peer(1), None, Ask::Claim) != Answer::Busy).count(), 10);
    }
}
