//! The offering side: the code that is shown now, and the guesses at it.

use zeroize::Zeroizing;

use super::code::{CodeKind, Sort, SyncCode};
use super::device::{Active, Pairing, SECOND};
use super::events::{OfferOptions, PairLink, PairingEvent, PairingOutput, ShownCode};
use super::exchange::{Exchange, Stage, aborted, mismatch};
use super::link::PairingLink;
use super::message::{Inner, PART_BYTES};
use super::tries::Try;
use crate::error::{Error, ErrorCode, Result};
use crate::policy::SyncRole;
use crate::types::Instant;

/// How long codes are offered in all: nobody should stay open for guesses because a window was left open.
const OFFER_TIME: u64 = 15 * 60 * SECOND;
/// How long an ended offer still says why it has ended.
const LINGER: u64 = 60 * SECOND;
/// What a code's time may be, in seconds.
const TTL: std::ops::RangeInclusive<u64> = 10..=600;

/// An offer under way.
pub(super) struct Offer {
    options: OfferOptions,
    shown: ShownCode,
    /// When the code ends, on the monotonic clock; and all codes.
    ends: u64,
    last: u64,
    /// Somebody knew the code: it is used up.
    used: bool,
    /// The role that the user chose.
    role: Option<SyncRole>,
}

impl Offer {
    pub fn wake(&self) -> u64 {
        if self.used { u64::MAX } else { self.ends.min(self.last) }
    }

    fn password(&self, sort: Sort) -> Result<Zeroizing<Vec<u8>>> {
        if self.used {
            return Err(aborted(ErrorCode::CodeBurned));
        }
        Ok(match sort {
            Sort::Typed => self.shown.code.password().1,
            Sort::Link => self.shown.link.password().1,
        })
    }
}

impl Pairing {
    /// Shows a code; while one is shown already, the same. Fails with `pairing_locked`, and with `busy` while this
    /// device joins.
    pub fn offer(&mut self, now: Instant, options: OfferOptions) -> Result<ShownCode> {
        self.now = now;
        self.tries.check()?;
        match &self.active {
            Active::Nothing => {}
            Active::Offer(offer) if !offer.used => return Ok(offer.shown.clone()),
            _ => return Err(busy()),
        }
        if !TTL.contains(&options.ttl) {
            return Err(Error::invalid(format!("a code is valid for {} to {} seconds", TTL.start(), TTL.end())));
        }
        self.lingering = None;
        let first = options.code.clone();
        let shown = self.make_code(&options, first);
        let ends = now.mono.saturating_add(options.ttl * SECOND);
        let last = now.mono.saturating_add(OFFER_TIME);
        self.active = Active::Offer(Offer { options, shown: shown.clone(), ends, last, used: false, role: None });
        self.out.push(PairingOutput::ClaimNameplate);
        self.set_mode(true);
        Ok(shown)
    }

    fn make_code(&mut self, options: &OfferOptions, given: Option<SyncCode>) -> ShownCode {
        let code = given.unwrap_or_else(|| SyncCode::random(options.kind, &mut self.source));
        let expires_at = self.now.wall.saturating_add(options.ttl * 1_000);
        let secret = self.source.bytes();
        let link = PairingLink::new(self.me, self.addresses_for(options), expires_at / 1_000, secret);
        ShownCode { code, link: SyncCode::from_link(link), expires_at }
    }

    fn addresses_for<'a>(&'a self, options: &'a OfferOptions) -> &'a [String] {
        if options.addresses.is_empty() { &self.addresses } else { &options.addresses }
    }

    /// Where this device can be reached now: links say so.
    pub fn set_addresses(&mut self, addresses: Vec<String>) {
        if std::mem::replace(&mut self.addresses, addresses) == self.addresses {
            return;
        }
        let Active::Offer(offer) = &self.active else { return };
        let Some(link) = offer.shown.link.link().filter(|_| !offer.used) else { return };
        let addresses = self.addresses_for(&offer.options);
        let link = PairingLink::new(self.me, addresses, link.expires_at, link.secret.clone());
        if let Active::Offer(offer) = &mut self.active {
            offer.shown.link = SyncCode::from_link(link);
            let shown = offer.shown.clone();
            self.tell(PairingEvent::Code(shown));
        }
    }

    /// The code shown now.
    pub fn shown(&self) -> Option<&ShownCode> {
        match &self.active {
            Active::Offer(offer) if !offer.used => Some(&offer.shown),
            _ => None,
        }
    }

    /// A new code takes the place of one that has ended.
    fn renew(&mut self, why: ErrorCode) {
        let Active::Offer(offer) = &self.active else { return };
        if !offer.options.renew || offer.last <= self.now.mono {
            return self.end(aborted(why));
        }
        let options = offer.options.clone();
        let shown = self.make_code(&options, None);
        let ends = self.now.mono.saturating_add(options.ttl * SECOND);
        if let Active::Offer(offer) = &mut self.active {
            (offer.shown, offer.ends) = (shown.clone(), ends);
        }
        self.out.push(PairingOutput::ClaimNameplate);
        self.tell(PairingEvent::Code(shown));
    }

    /// The relays name this device by this number now.
    pub fn nameplate_claimed(&mut self, number: u16) {
        if let Active::Offer(offer) = &mut self.active
            && !offer.used
        {
            offer.shown.code = offer.shown.code.clone().with_nameplate(Some(number));
            let shown = offer.shown.clone();
            self.tell(PairingEvent::Code(shown));
        }
    }

    pub(super) fn offer_tick(&mut self) {
        if let Active::Offer(offer) = &self.active
            && offer.wake() <= self.now.mono
        {
            // What has begun with this code must not use up the next one. A guess that is being counted came in time.
            let counting = |exchange: &Exchange| matches!(exchange.stage, Stage::Counting { .. });
            let late: Vec<_> = self.exchanges.iter().filter(|(_, one)| !counting(one)).map(|(link, _)| *link).collect();
            late.into_iter().for_each(|link| self.fail(link, aborted(ErrorCode::CodeExpired)));
            self.renew(ErrorCode::CodeExpired);
        }
        if self.lingering.as_ref().is_some_and(|(_, until)| *until <= self.now.mono) {
            self.lingering = None;
            self.set_mode(false);
        }
    }

    /// The password of a sort; or why there is none.
    pub(super) fn password(&self, sort: Sort) -> Result<Zeroizing<Vec<u8>>> {
        self.tries.check()?;
        match (&self.active, &self.lingering) {
            (Active::Offer(offer), _) => offer.password(sort),
            (_, Some((why, _))) => Err(aborted(*why)),
            _ => Err(aborted(ErrorCode::Aborted)),
        }
    }

    /// A guess has come. It is counted, on disk, before anything is answered: right or wrong looks the same until then.
    /// One at a time: so never more than [`super::MAX_TRIES`] are looked at.
    pub(super) fn guess(&mut self, link: PairLink) -> Result<()> {
        let counting = self
            .exchanges
            .iter()
            .any(|(other, exchange)| *other != link && matches!(exchange.stage, Stage::Counting { .. }));
        if counting {
            return Err(busy());
        }
        // The code may have been used or burned since this exchange began.
        self.password(Sort::Typed)?;
        self.tries.count();
        let token = self.persist();
        self.counting.push((token, link));
        Ok(())
    }

    /// What [`PairingOutput::Persist`] asked for is on disk.
    pub fn persisted(&mut self, now: Instant, token: u64) {
        self.now = now;
        let Some(place) = self.counting.iter().position(|(waiting, _)| *waiting == token) else { return };
        let (_, link) = self.counting.swap_remove(place);
        let guessing = self.exchanges.get(&link);
        let right = guessing.is_some_and(|exchange| matches!(exchange.stage, Stage::Counting { right: true, .. }));
        if let Some(exchange) = guessing.filter(|_| !right) {
            self.out.push(PairingOutput::WrongGuess(exchange.peer));
        }
        let outcome = self.tries.judge(right, now.wall);
        if outcome != Try::Counted {
            self.persist();
        }
        match outcome {
            Try::Right => self.right(link),
            Try::Counted => self.fail(link, mismatch()),
            Try::Burned => {
                self.fail_all(ErrorCode::CodeBurned);
                self.renew(ErrorCode::CodeBurned);
            }
            Try::Locked => {
                self.fail_all(ErrorCode::PairingLocked);
                self.end(super::tries::locked());
            }
        }
    }

    /// Somebody knew the code: it is used up.
    fn right(&mut self, link: PairLink) {
        let Active::Offer(offer) = &mut self.active else { return };
        offer.used = true;
        let proof = self.exchanges.get_mut(&link).map(Exchange::answer);
        match proof {
            Some(Ok(proof)) => {
                self.send(link, &proof);
                self.chosen = Some(link);
                let others: Vec<_> = self.exchanges.keys().copied().filter(|other| *other != link).collect();
                others.into_iter().for_each(|other| self.fail(other, aborted(ErrorCode::CodeBurned)));
                self.keys_confirmed(link);
            }
            Some(Err(error)) => self.fail(link, error),
            None => self.end(gone()),
        }
    }

    /// The user of the device that shows the code confirms, and chooses the role.
    pub(super) fn confirm_offer(&mut self, link: PairLink, role: SyncRole) {
        if let Active::Offer(offer) = &mut self.active {
            offer.role = Some(role);
            self.invite_when_both(link);
        }
    }

    /// Both users have confirmed: the vault takes the device in.
    pub(super) fn invite_when_both(&mut self, link: PairLink) {
        let Active::Offer(Offer { role: Some(role), .. }) = &self.active else { return };
        let role = *role;
        let Some(exchange) = self.exchanges.get_mut(&link) else { return };
        let peer = exchange.peer;
        let Some(confirmed) = exchange.confirmed() else { return };
        if confirmed.accepted
            && !confirmed.invited
            && let Some(brings) = confirmed.they_accepted.clone()
        {
            confirmed.invited = true;
            let name = confirmed.about.as_ref().map(|about| about.device_name.clone()).unwrap_or_default();
            self.limit(link, super::device::INVITE_TIME);
            self.out.push(PairingOutput::Invite { link, peer, role, name, brings });
        }
    }

    /// The device is signed in, on disk, and this is its invite; or why it is not.
    pub fn invite_ready(&mut self, now: Instant, link: PairLink, invite: Result<Zeroizing<String>>) {
        self.now = now;
        if self.chosen != Some(link) {
            return;
        }
        let invite = match invite {
            Ok(invite) => invite,
            Err(error) => return self.fail(link, error),
        };
        let mut parts = invite.as_bytes().chunks(PART_BYTES).peekable();
        while let Some(part) = parts.next() {
            let bytes = Zeroizing::new(part.to_vec());
            self.send_inner(link, &Inner::Invite { last: parts.peek().is_none(), bytes });
        }
    }

    /// Whether `code` is the one shown now; counts as a try. Of use within this device only.
    pub fn verify(&mut self, now: Instant, code: &SyncCode) -> Result<bool> {
        self.now = now;
        self.tries.check()?;
        let shown = self.shown().ok_or_else(|| aborted(ErrorCode::CodeExpired))?;
        let right = shown.code.is_same(code) || shown.link.is_same(code);
        self.tries.count();
        let outcome = self.tries.judge(right, now.wall);
        self.persist();
        match outcome {
            Try::Right | Try::Counted => {}
            Try::Burned => {
                self.fail_all(ErrorCode::CodeBurned);
                self.renew(ErrorCode::CodeBurned);
            }
            Try::Locked => self.end(super::tries::locked()),
        }
        Ok(right)
    }

    /// The user says that pairing may go on after too many wrong codes.
    pub fn unlock(&mut self) {
        self.tries.unlock();
        self.persist();
    }

    /// Whether pairing is locked.
    pub fn is_locked(&self) -> bool {
        self.tries.check().is_err()
    }

    pub(super) fn linger(&mut self, why: ErrorCode) {
        let tells = [ErrorCode::CodeExpired, ErrorCode::CodeBurned, ErrorCode::PairingLocked].contains(&why);
        match tells {
            true => self.lingering = Some((why, self.now.mono.saturating_add(LINGER))),
            false => self.set_mode(false),
        }
    }
}

impl CodeKind {
    /// Eight characters where a team's data is at stake, else six digits.
    pub fn default_for(policy: crate::policy::PolicyKind) -> Self {
        match policy {
            crate::policy::PolicyKind::Personal => CodeKind::Digits,
            crate::policy::PolicyKind::Enterprise => CodeKind::Letters,
        }
    }
}

pub(super) fn busy() -> Error {
    Error::new(ErrorCode::Busy, "this device is pairing already; end that first")
}

pub(super) fn gone() -> Error {
    Error::new(ErrorCode::Unreachable, "the link to the other device broke; start the pairing again")
}
