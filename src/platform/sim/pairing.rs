//! Devices that are let in by a code, as two users would do it, while codes are mistyped, relays name the wrong device, and
//! links, disks and the devices themselves fail.

use std::collections::{BTreeMap, BTreeSet};

use super::device::{Asked, Later};
use super::faults::Fault;
use super::world::{Event, Plan, World, vault_on};
use crate::engine::{Call, Input, Offer, Reply, SyncEvent};
use crate::error::{Error, ErrorCode, Result};
use crate::pairing::{PAIRING_WORDS, PairingPeer, ShownCode, SyncCode};
use crate::policy::{PolicyKind, SyncRole};
use crate::types::PeerId;

/// What users and relays know of pairings.
#[derive(Default, Debug)]
pub struct Pairings {
    /// Whether this world's devices are let in by codes too.
    pub on: bool,
    /// Whom the relay names by which number.
    nameplates: BTreeMap<u16, PeerId>,
    /// Whose codes a device's user has typed; of nobody where it was another than was shown.
    typed: BTreeMap<usize, Vec<Option<PeerId>>>,
    /// The device that a device shows its user, and the words with it.
    found: BTreeMap<usize, PairingPeer>,
    /// The words that they showed last, each with the other's.
    words: BTreeMap<(usize, PeerId), [&'static str; PAIRING_WORDS]>,
    /// Whose users have said yes to whom, since they were shown to each other last.
    confirmed: BTreeSet<(usize, PeerId)>,
}

impl Pairings {
    pub fn new(on: bool) -> Self {
        Self { on, ..Self::default() }
    }

    /// What was under way on a device is gone with its engine.
    pub fn forget(&mut self, d: usize) {
        self.found.remove(&d);
        self.typed.remove(&d);
    }
}

impl World {
    /// A device that may do so shows a code for one that is in no vault, or lost its own.
    pub fn pair_next(&mut self, by: usize) {
        let host = match self.plan {
            Plan::Members => self.view(by).and_then(|view| Some((view.role(&self.devices[by].peer)?, view.kind))),
            _ => self.devices[by].role.map(|role| (role, PolicyKind::Personal)),
        };
        let Some(other) = (0..self.devices.len()).find(|d| !self.devices[*d].joined && !self.devices[*d].gone) else {
            return;
        };
        let known = self.devices[other].role;
        let role = match host {
            Some((SyncRole::Admin, _)) => known.unwrap_or(SyncRole::Member),
            // A Member lets others in as Members, and knows of no other role for them.
            Some((SyncRole::Member, PolicyKind::Personal)) if known.is_none_or(|role| role == SyncRole::Member) => {
                SyncRole::Member
            }
            _ => return,
        };
        self.pair(by, other, role);
    }

    /// The user of one device shows a code, to be typed on another.
    pub fn pair(&mut self, by: usize, other: usize, role: SyncRole) {
        self.note_let_in(by, other, role);
        self.call(by, Call::PairOffer(Offer::default()), Asked::PairOffer(other));
    }

    /// The other user types the code that is shown, or nearly so, sooner or later.
    fn type_code(&mut self, by: usize, other: usize, shown: &ShownCode) {
        let unlucky = !self.healed;
        let mut code = shown.code.shown();
        if unlucky && self.rng.one_in(6) {
            self.faults.add(Fault::CodeMistyped);
            let last = if code.ends_with('7') { '3' } else { '7' };
            code.pop();
            code.push(last);
        }
        let Ok(code) = code.parse::<SyncCode>() else {
            return self.fail(format!("device {by} shows a code that cannot be typed: {}", *code));
        };
        let right = code == shown.code;
        let addresses = match code.nameplate() {
            // Found by the number alone.
            Some(_) if self.rng.one_in(2) => Vec::new(),
            _ => vec![super::device::address(&self.devices[by].peer)],
        };
        let wait = match self.rng.below(10) {
            0 if unlucky => self.rng.between(100_000_000, 200_000_000),
            _ => self.rng.between(0, 5_000_000),
        };
        let of = right.then_some(self.devices[by].peer);
        let later = Later { call: Call::PairJoin { code, addresses }, asked: Asked::PairJoin(of, self.now) };
        self.at(self.now + wait, Event::Call(other, Box::new(later)));
    }

    /// A user does what was planned, unless the screen shows something else by now.
    pub fn user_calls(&mut self, d: usize, later: Later) {
        match later.asked {
            // What was shown before all was healed has long ended.
            Asked::PairJoin(_, shown) if self.healed && self.now > shown + 60_000_000 => return,
            Asked::PairJoin(of, _) => self.pairings.typed.entry(d).or_default().push(of),
            Asked::PairConfirm(peer) => {
                if self.pairings.found.get(&d).is_none_or(|shown| shown.peer != peer) {
                    return;
                }
                self.pairings.confirmed.insert((d, peer));
            }
            _ => {}
        }
        self.call(d, later.call, later.asked);
    }

    /// The answer to something about pairing.
    pub fn pairing_reply(&mut self, d: usize, asked: &Asked, reply: Result<Reply>) {
        match (asked, reply) {
            (Asked::PairOffer(other), Ok(Reply::PairingCode(shown))) => {
                self.type_code(d, *other, &shown);
                if self.rng.one_in(2) {
                    self.call(d, Call::PairWait, Asked::Any("pair wait"));
                }
            }
            (Asked::PairConfirm(_), Ok(Reply::Paired(peer))) => self.paired(d, peer),
            _ => {}
        }
    }

    /// What a device tells its user of pairing.
    pub fn pairing_event(&mut self, d: usize, event: SyncEvent) {
        match event {
            SyncEvent::PairingFound(peer) => self.found_by(d, peer),
            SyncEvent::PairingEnded(code, _) => {
                let typed = self.pairings.typed.get(&d);
                let right = typed.is_some_and(|typed| typed.iter().all(Option::is_some));
                if code == ErrorCode::CodeMismatch && right && self.healed && self.twins.is_none() {
                    self.fail(format!("device {d} is told that the code was wrong, and it was right"));
                }
                self.faults.add(Fault::PairingFailed);
                self.pairings.forget(d);
            }
            _ => {}
        }
    }

    fn found_by(&mut self, d: usize, shown: PairingPeer) {
        let peer = shown.peer;
        let typed = self.pairings.typed.get(&d);
        if shown.joining && !typed.is_some_and(|typed| typed.contains(&Some(peer))) {
            return self.fail(format!("device {d} found {peer} by a code that is another's: {typed:?}"));
        }
        self.pairings.confirmed.remove(&(d, peer));
        self.pairings.words.insert((d, peer), shown.words);
        self.pairings.found.insert(d, shown);
        let wait = self.rng.between(0, if self.healed { 3_000_000 } else { 30_000_000 });
        let call = match self.rng.below(12) {
            0 if !self.healed => return, // the user has gone
            1 if !self.healed => Later { call: Call::PairReject, asked: Asked::Any("pair reject") },
            _ => {
                let of = self.devices.iter().find(|device| device.peer == peer).and_then(|device| device.role);
                let call = Call::PairConfirm(of.unwrap_or(SyncRole::Member));
                Later { call, asked: Asked::PairConfirm(peer) }
            }
        };
        self.at(self.now + wait, Event::Call(d, Box::new(call)));
    }

    /// Both trust each other: because both users said so, and on disk.
    fn paired(&mut self, d: usize, peer: PeerId) {
        let me = self.devices[d].peer;
        let Pairings { confirmed, words, .. } = &self.pairings;
        let shown = words.get(&(d, peer));
        let mut others = (0..self.devices.len()).filter(|e| self.devices[*e].peer == peer);
        let agreed = others.any(|e| confirmed.contains(&(e, me)) && words.get(&(e, me)) == shown);
        if !agreed || !confirmed.contains(&(d, peer)) {
            return self.fail(format!("device {d} trusts {peer}, and not both users saw the same words and said yes"));
        }
        self.faults.add(Fault::Paired);
        let joining = self.pairings.found.get(&d).is_some_and(|shown| shown.joining);
        self.pairings.forget(d);
        if !joining {
            return;
        }
        let vault = vault_on(&self.devices[d].disk.copy());
        if vault.is_none() {
            return self.fail(format!("device {d} says that it joined, and has no vault on its disk"));
        }
        if vault == self.vault {
            self.devices[d].joined = true;
            self.find_others(d);
        }
    }

    /// A device looks for another to pair with.
    pub fn pair_dial(&mut self, from: usize, peer: PeerId) {
        let at = self.now + self.rng.between(500, 300_000);
        let run = self.devices[from].run;
        self.at(at, Event::PairDialled(from, run, peer));
    }

    pub fn pair_dialled(&mut self, from: usize, peer: PeerId) {
        let there =
            |to: &usize| self.devices[*to].peer == peer && self.devices[*to].pairing_mode && self.reach(from, *to);
        let there: Vec<usize> = (0..self.devices.len()).filter(there).collect();
        let unlucky = !self.healed && self.rng.one_in(12);
        match self.rng.pick(&there).copied() {
            Some(to) if !unlucky => self.connect(from, to, true),
            _ => self.input(from, Input::PairingFailed(peer, "nobody there takes a code".into())),
        }
    }

    /// A relay gives a device a number, or does not answer.
    pub fn claim_nameplate(&mut self, d: usize) {
        if self.rng.one_in(4) {
            return;
        }
        let number = 1_000 + (self.pairings.nameplates.len() as u16) % 9_000;
        self.pairings.nameplates.insert(number, self.devices[d].peer);
        self.soon(d, Input::NameplateClaimed(number));
    }

    /// A relay says whom it named by a number, or lies.
    pub fn find_nameplate(&mut self, d: usize, number: u16) {
        let mut named = self.pairings.nameplates.get(&number).copied();
        if !self.healed && self.rng.one_in(8) {
            self.faults.add(Fault::NameplateWrong);
            let any = self.rng.below(self.devices.len() as u64) as usize;
            named = Some(self.devices[any].peer);
        }
        let unreachable = || Error::new(ErrorCode::Unreachable, "no relay answers");
        let found = if !self.healed && self.rng.one_in(12) { Err(unreachable()) } else { Ok(named) };
        self.soon(d, Input::NameplateFound(number, found));
    }

    fn soon(&mut self, d: usize, input: Input) {
        let at = self.now + self.rng.between(500, 300_000);
        let run = self.devices[d].run;
        self.at(at, Event::Tell(d, run, Box::new(input)));
    }

    /// No device shows or types a code any more.
    pub fn end_pairings(&mut self) -> Result<(), String> {
        for d in 0..self.devices.len() {
            if self.pairings.on && !self.devices[d].gone {
                self.ask(d, Call::PairCancel)?;
                self.ask(d, Call::PairUnlock)?;
            }
        }
        Ok(())
    }
}
