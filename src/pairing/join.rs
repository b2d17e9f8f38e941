//! The joining side: whom to try a typed code with, and what became of it.

use zeroize::Zeroizing;

use super::code::SyncCode;
use super::device::{Active, INVITE_TIME, Pairing, SECOND, USER_TIME};
use super::events::{PairLink, PairingEvent, PairingOutput};
use super::exchange::Exchange;
use super::message::Inner;
use super::offer::busy;
use crate::error::{Error, ErrorCode, Result};
use crate::policy::MAX_INVITE_TEXT;
use crate::types::{Instant, PeerId, SortedMap};

/// How long the other device is looked for.
const SEARCH_TIME: u64 = 30 * SECOND;
/// How long others are waited for once one has refused the code.
const GRACE: u64 = 3 * SECOND;
/// Devices that are tried with one typed code.
const MAX_CANDIDATES: usize = 32;
/// Devices that may check one guess at the typed code: whoever makes up many devices gets no more.
const MAX_PROOFS: u8 = 3;
/// Exchanges at once.
const MAX_AT_ONCE: usize = 3;

/// A typed code on its way.
pub(super) struct Join {
    code: SyncCode,
    candidates: SortedMap<PeerId, Candidate>,
    /// Whether devices that are found meanwhile may be the one.
    searches: bool,
    until: u64,
    proofs: u8,
    /// The most telling failure so far.
    failure: Option<Error>,
}

#[derive(Clone, PartialEq, Eq)]
enum Candidate {
    Waiting(Vec<String>),
    Tried,
    Ended,
}

impl Join {
    pub fn wake(&self, chosen: bool) -> u64 {
        if chosen { u64::MAX } else { self.until }
    }
}

impl Pairing {
    /// Joins the vault of the device that shows this code: the one that a relay or the link names, else one of `known`
    /// or, if it `searches`, one that is found meanwhile.
    pub fn join(
        &mut self,
        now: Instant,
        code: SyncCode,
        known: Vec<(PeerId, Vec<String>)>,
        searches: bool,
    ) -> Result<()> {
        self.now = now;
        if !matches!(self.active, Active::Nothing) {
            return Err(busy());
        }
        code.check_time(now)?;
        let candidates = match (code.link(), code.nameplate()) {
            (Some(link), _) if link.peer == self.me => {
                return Err(Error::invalid("this is the link that this device shows itself; open it on another one"));
            }
            (Some(link), _) => vec![(link.peer, link.addresses.clone())],
            (None, Some(number)) => {
                self.out.push(PairingOutput::FindNameplate(number));
                Vec::new()
            }
            (None, None) => known,
        };
        let until = now.mono.saturating_add(SEARCH_TIME);
        let searches = searches && code.link().is_none() && code.nameplate().is_none();
        self.active =
            Active::Join(Join { code, candidates: SortedMap::new(), searches, until, proofs: 0, failure: None });
        candidates.into_iter().for_each(|(peer, addresses)| self.candidate(peer, addresses));
        Ok(())
    }

    /// A device was found on this network: a typed code without a number may be one of its.
    pub fn found(&mut self, now: Instant, peer: PeerId, addresses: Vec<String>) {
        self.now = now;
        if let Active::Join(Join { searches: true, .. }) = &self.active {
            self.candidate(peer, addresses);
        }
    }

    /// A relay names the device behind a number; or none does, or none could be asked.
    pub fn nameplate_found(&mut self, now: Instant, number: u16, found: Result<Option<PeerId>>) {
        self.now = now;
        let Active::Join(join) = &mut self.active else { return };
        if join.code.nameplate() != Some(number) || !join.candidates.is_empty() {
            return;
        }
        match found {
            Ok(Some(peer)) => self.candidate(peer, Vec::new()),
            Ok(None) => self.end(Error::new(
                ErrorCode::CodeExpired,
                format!(
                    "the relay knows no device by {number}; type what the other device shows now, and check that both \
                     use the same relay"
                ),
            )),
            Err(error) => self.end(error),
        }
    }

    fn candidate(&mut self, peer: PeerId, addresses: Vec<String>) {
        let (me, chosen) = (self.me, self.chosen.is_some());
        let Active::Join(join) = &mut self.active else { return };
        if peer == me || chosen || join.candidates.contains_key(&peer) || join.candidates.len() >= MAX_CANDIDATES {
            return;
        }
        join.candidates.insert(peer, Candidate::Waiting(addresses));
        self.try_next();
    }

    /// Dials whoever waits for it.
    fn try_next(&mut self) {
        let Active::Join(join) = &mut self.active else { return };
        if self.chosen.is_some() || join.proofs >= MAX_PROOFS {
            return;
        }
        let under_way = join.candidates.values().filter(|candidate| **candidate == Candidate::Tried).count();
        let room = MAX_AT_ONCE.min((MAX_PROOFS - join.proofs).into()).saturating_sub(under_way);
        let next: Vec<PeerId> = join
            .candidates
            .iter()
            .filter(|(_, candidate)| matches!(candidate, Candidate::Waiting(_)))
            .map(|(peer, _)| *peer)
            .take(room)
            .collect();
        for peer in next {
            if let Some(Candidate::Waiting(addresses)) = join.candidates.insert(peer, Candidate::Tried) {
                self.out.push(PairingOutput::Dial(peer, addresses));
            }
        }
    }

    /// A stream that this side asked for is open.
    pub(super) fn joining_up(&mut self, link: PairLink, peer: PeerId) {
        let expected = match &self.active {
            Active::Join(join) if self.chosen.is_none() => {
                (join.candidates.get(&peer) == Some(&Candidate::Tried)).then(|| join.code.password())
            }
            _ => None,
        };
        let known = self.exchanges.values().any(|exchange| exchange.peer == peer);
        let Some(password) = expected.filter(|_| !known) else {
            return self.out.push(PairingOutput::HangUp(link));
        };
        let deadline = self.now.mono.saturating_add(super::device::STEP_TIME);
        let (exchange, hello) = Exchange::join((self.me, peer), password, &mut self.source, deadline);
        self.exchanges.insert(link, exchange);
        self.send(link, &hello);
    }

    /// A device could not be reached, or takes no pairing streams.
    pub fn dial_failed(&mut self, now: Instant, peer: PeerId, why: &str) {
        self.now = now;
        // A device that merely is not in pairing mode is nobody's failure, unless the code names it.
        self.candidate_failed(peer, Error::new(ErrorCode::Unreachable, format!("{peer} could not be reached: {why}")));
    }

    pub(super) fn candidate_failed(&mut self, peer: PeerId, error: Error) {
        let now = self.now.mono;
        let Active::Join(join) = &mut self.active else { return };
        let Some(candidate) = join.candidates.get_mut(&peer) else { return };
        *candidate = Candidate::Ended;
        let told = error.code() != ErrorCode::Unreachable;
        if told || join.failure.is_none() {
            join.failure = Some(error);
        }
        let spent = join.proofs >= MAX_PROOFS;
        let over = |candidate: &Candidate| match candidate {
            Candidate::Waiting(_) => spent,
            Candidate::Tried => false,
            Candidate::Ended => true,
        };
        if join.candidates.values().all(over) {
            if !join.searches {
                return self.end_join();
            }
            if told || join.proofs > 0 {
                join.until = join.until.min(now.saturating_add(GRACE));
            }
        }
        self.try_next();
    }

    pub(super) fn join_tick(&mut self) {
        let chosen = self.chosen.is_some();
        if let Active::Join(join) = &self.active
            && join.wake(chosen) <= self.now.mono
        {
            self.end_join();
        }
    }

    fn end_join(&mut self) {
        let Active::Join(join) = &mut self.active else { return };
        let error = join.failure.take().unwrap_or_else(|| {
            Error::new(
                ErrorCode::Unreachable,
                "no device that shows a code was found; check that both are on the same network, or type the longer \
                 code of the relay, or use the link",
            )
        });
        self.end(error);
    }

    /// Whether this guess may be shown to one more device; counts it.
    pub(super) fn may_prove(&mut self) -> Result<()> {
        match &mut self.active {
            Active::Join(join) if self.chosen.is_none() && join.proofs < MAX_PROOFS => {
                join.proofs += 1;
                Ok(())
            }
            Active::Join(_) => Err(Error::new(
                ErrorCode::CodeMismatch,
                "several devices on this network show codes, and the first three have another one; use the link, or the \
                 longer code of a relay",
            )),
            _ => Err(super::exchange::aborted(ErrorCode::Aborted)),
        }
    }

    /// The first device that proves that it knows the code is the one.
    pub(super) fn proved(&mut self, link: PairLink) {
        self.chosen = Some(link);
        let others: Vec<_> = self.exchanges.keys().copied().filter(|other| *other != link).collect();
        for other in others {
            self.exchanges.remove(&other);
            self.abort(other, ErrorCode::Aborted);
        }
        self.keys_confirmed(link);
    }

    /// The user of the device that typed the code confirms.
    pub(super) fn confirm_join(&mut self, link: PairLink) {
        let brings = std::mem::take(&mut self.brings);
        self.send_inner(link, &Inner::Accept { brings });
        self.limit(link, USER_TIME + INVITE_TIME);
    }

    /// A part of the invite has come.
    pub(super) fn invite_part(&mut self, link: PairLink, last: bool, bytes: &Zeroizing<Vec<u8>>) -> Result<()> {
        let joining = matches!(self.active, Active::Join(_));
        let Some(confirmed) = self.exchanges.get_mut(&link).and_then(Exchange::confirmed) else { return Ok(()) };
        if !joining || !confirmed.accepted || confirmed.invited {
            return Err(Error::protocol("an invite out of place"));
        }
        if confirmed.invite.len() + bytes.len() > MAX_INVITE_TEXT {
            return Err(Error::protocol("an invite over its limit"));
        }
        if confirmed.invite.capacity() == 0 {
            // At once, so that no copy of it is left behind by growing.
            confirmed.invite.reserve_exact(if last { bytes.len() } else { MAX_INVITE_TEXT });
        }
        confirmed.invite.extend_from_slice(bytes);
        if last {
            confirmed.invited = true;
            let text =
                std::str::from_utf8(&confirmed.invite).map_err(|_| Error::protocol("an invite that is no text"))?;
            let text = Zeroizing::new(text.to_owned());
            self.limit(link, INVITE_TIME);
            self.out.push(PairingOutput::Join(link, text));
        }
        Ok(())
    }

    /// This device has joined, on disk; or why not.
    pub fn joined(&mut self, now: Instant, link: PairLink, result: Result<()>) {
        self.now = now;
        if self.chosen != Some(link) || !matches!(self.active, Active::Join(_)) {
            return;
        }
        match result {
            Ok(()) => {
                self.send_inner(link, &Inner::Joined);
                self.completed(link);
            }
            Err(error) => self.fail(link, error),
        }
    }

    /// Tells and forgets.
    pub(super) fn completed(&mut self, link: PairLink) {
        let Some(exchange) = self.exchanges.remove(&link) else { return };
        self.out.push(PairingOutput::HangUp(link));
        let offered = matches!(self.active, Active::Offer(_));
        (self.active, self.chosen) = (Active::Nothing, None);
        if offered {
            self.set_mode(false);
        }
        self.tell(PairingEvent::Completed(exchange.peer));
    }
}
