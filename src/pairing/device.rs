//! A device's whole part in pairing: streams, users' decisions, time limits.

use zeroize::Zeroizing;

use super::events::{PairLink, PairingEvent, PairingOutput, PairingPeer};
use super::exchange::{Exchange, Step, aborted};
use super::join::Join;
use super::message::{About, Inner, MAX_BROUGHT, PairingMessage};
use super::offer::{Offer, gone};
use super::source::Source;
use super::tries::Tries;
use crate::error::{Error, ErrorCode, Result};
use crate::policy::SyncRole;
use crate::types::{EntityType, Instant, PeerId, SortedMap};

pub(super) const SECOND: u64 = 1_000_000;
/// How long the other device may take for a step that needs no user.
pub(super) const STEP_TIME: u64 = 10 * SECOND;
/// How long the users may take to compare the words.
pub(super) const USER_TIME: u64 = 120 * SECOND;
/// How long signing in and joining may take: a device may bring much of its own.
pub(super) const INVITE_TIME: u64 = 60 * SECOND;
/// Exchanges that others may have under way with this device.
const MAX_EXCHANGES: usize = 4;

/// See the module. One offer or one joining at a time.
pub struct Pairing {
    pub(super) me: PeerId,
    about: About,
    /// See [`Pairing::set_brings`].
    pub(super) brings: Vec<EntityType>,
    /// Where this device can be reached.
    pub(super) addresses: Vec<String>,
    pub(super) source: Source,
    pub(super) now: Instant,
    pub(super) out: Vec<PairingOutput>,
    pub(super) tries: Tries,
    pub(super) active: Active,
    pub(super) exchanges: SortedMap<PairLink, Exchange>,
    /// The exchange whose keys are confirmed.
    pub(super) chosen: Option<PairLink>,
    /// Why the last offer ended, for those who come late, and until when it is said.
    pub(super) lingering: Option<(ErrorCode, u64)>,
    mode: bool,
    next_token: u64,
    /// Tries that are on their way to the disk.
    pub(super) counting: Vec<(u64, PairLink)>,
}

pub(super) enum Active {
    Nothing,
    Offer(Offer),
    Join(Join),
}

impl std::fmt::Debug for Pairing {
    /// Leaves all secrets out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let active = match self.active {
            Active::Nothing => "nothing",
            Active::Offer(_) => "offer",
            Active::Join(_) => "join",
        };
        f.debug_struct("Pairing")
            .field("active", &active)
            .field("exchanges", &self.exchanges.len())
            .finish_non_exhaustive()
    }
}

impl Pairing {
    /// A device that pairs with nobody yet. `seed` is 32 random bytes.
    pub fn new(me: PeerId, about: About, seed: &Zeroizing<[u8; 32]>) -> Self {
        Self {
            me,
            about,
            brings: Vec::new(),
            addresses: Vec::new(),
            source: Source::new(seed),
            now: Instant::default(),
            out: Vec::new(),
            tries: Tries::default(),
            active: Active::Nothing,
            exchanges: SortedMap::new(),
            chosen: None,
            lingering: None,
            mode: false,
            next_token: 0,
            counting: Vec::new(),
        }
    }

    /// Goes on from the row that [`PairingOutput::Persist`] stored, at the start.
    pub fn restore(&mut self, now: Instant, row: &[u8]) -> Result<()> {
        self.now = now;
        self.tries = Tries::decode(row)?;
        if self.tries.opened(now.wall) {
            self.persist();
        }
        Ok(())
    }

    /// What others are told of this device.
    pub fn set_name(&mut self, device_name: &str) {
        device_name.clone_into(&mut self.about.device_name);
    }

    /// Of which types this device has data of its own: where it joins, the other side sees before it signs it in
    /// whether it may write them. Only the first 256 are named.
    pub fn set_brings(&mut self, mut types: Vec<EntityType>) {
        types.truncate(MAX_BROUGHT);
        self.brings = types;
    }

    /// What is to be done now, in order.
    pub fn take_out(&mut self) -> Vec<PairingOutput> {
        std::mem::take(&mut self.out)
    }

    /// Whether an offer or a joining is under way.
    pub fn is_active(&self) -> bool {
        !matches!(self.active, Active::Nothing)
    }

    /// Whether this stream is one of its.
    pub fn has(&self, link: PairLink) -> bool {
        self.exchanges.contains_key(&link)
    }

    /// When [`Pairing::tick`] is due, on the monotonic clock.
    pub fn wake(&self) -> Option<u64> {
        let active = match &self.active {
            Active::Nothing => None,
            Active::Offer(offer) => Some(offer.wake()),
            Active::Join(join) => Some(join.wake(self.chosen.is_some())),
        };
        let exchanges = self.exchanges.values().map(|exchange| exchange.deadline).min();
        let lingering = self.lingering.as_ref().map(|(_, until)| *until);
        [active, exchanges, lingering].into_iter().flatten().min().filter(|at| *at != u64::MAX)
    }

    /// Some time has gone by.
    pub fn tick(&mut self, now: Instant) {
        self.now = now;
        let late: Vec<PairLink> = (self.exchanges.iter())
            .filter(|(_, exchange)| exchange.deadline <= now.mono)
            .map(|(link, _)| *link)
            .collect();
        for link in late {
            let error = Error::new(
                ErrorCode::Timeout,
                "the pairing took too long; start it again, and confirm on both devices within two minutes",
            );
            self.fail(link, error);
        }
        self.offer_tick();
        self.join_tick();
    }

    /// A pairing stream is open. `peer` is as the connection authenticated it; `initiator` says who opened it.
    pub fn link_up(&mut self, now: Instant, link: PairLink, peer: PeerId, initiator: bool) {
        self.now = now;
        if initiator {
            return self.joining_up(link, peer);
        }
        if !self.mode || peer == self.me {
            return self.out.push(PairingOutput::HangUp(link));
        }
        let again = self.exchanges.values().any(|exchange| exchange.peer == peer);
        if again || self.exchanges.len() >= MAX_EXCHANGES {
            return self.abort(link, ErrorCode::Busy);
        }
        let deadline = now.mono.saturating_add(STEP_TIME);
        self.exchanges.insert(link, Exchange::offer(self.me, peer, deadline));
    }

    /// A pairing stream has ended.
    pub fn link_down(&mut self, now: Instant, link: PairLink) {
        self.now = now;
        let Some(mut exchange) = self.exchanges.remove(&link) else { return };
        let invited = exchange.confirmed().is_some_and(|confirmed| confirmed.invited);
        let error = match (&self.active, invited) {
            (Active::Offer(_), true) => Error::new(
                ErrorCode::Unreachable,
                "the other device is signed in, but the link broke before it said that it has joined; if it does not \
                 show up, pair again",
            ),
            _ => gone(),
        };
        self.ended(link, exchange.peer, error);
    }

    /// One frame of a pairing stream.
    pub fn frame(&mut self, now: Instant, link: PairLink, bytes: &[u8]) {
        self.now = now;
        self.offer_tick(); // a late timer makes no code last longer
        let result = PairingMessage::decode(bytes).and_then(|message| self.message(link, message));
        if let Err(error) = result {
            self.fail(link, error);
        }
    }

    fn message(&mut self, link: PairLink, message: PairingMessage) -> Result<()> {
        let Some(exchange) = self.exchanges.get_mut(&link) else { return Ok(()) };
        if let PairingMessage::Abort(code) = message {
            let peer = exchange.peer;
            self.exchanges.remove(&link);
            self.out.push(PairingOutput::HangUp(link));
            self.ended(link, peer, aborted(code));
            return Ok(());
        }
        // Taken out, so that the password can be looked up beside it.
        let Some(mut exchange) = self.exchanges.remove(&link) else { return Ok(()) };
        let mut source = Source::new(&self.source.bytes());
        let step = exchange.take(message, |sort| self.password(sort), &mut source);
        if exchange.confirmed().is_none() {
            exchange.deadline = self.now.mono.saturating_add(STEP_TIME);
        }
        self.exchanges.insert(link, exchange);
        match step? {
            Step::Say(message) => self.send(link, &message),
            Step::Prove(message) => {
                self.may_prove()?;
                self.send(link, &message);
            }
            Step::Guess => self.guess(link)?,
            Step::Confirmed => self.proved(link),
            Step::Inner(inner) => self.inner(link, inner)?,
        }
        Ok(())
    }

    /// Both sides have the key: each says who it is.
    pub(super) fn keys_confirmed(&mut self, link: PairLink) {
        let about = self.about.clone();
        self.send_inner(link, &Inner::About(about));
        self.limit(link, STEP_TIME);
    }

    fn inner(&mut self, link: PairLink, inner: Inner) -> Result<()> {
        let joining = matches!(self.active, Active::Join(_));
        let Some(exchange) = self.exchanges.get_mut(&link) else { return Ok(()) };
        let peer = exchange.peer;
        let Some(confirmed) = exchange.confirmed() else { return Ok(()) };
        match inner {
            Inner::About(about) if confirmed.about.is_none() => {
                confirmed.about = Some(about.clone());
                let words = confirmed.words;
                self.limit(link, USER_TIME);
                self.tell(PairingEvent::Found(PairingPeer { peer, about, words, joining }));
            }
            Inner::Accept { brings } if !joining && confirmed.about.is_some() && confirmed.they_accepted.is_none() => {
                confirmed.they_accepted = Some(brings);
                self.invite_when_both(link);
            }
            Inner::Invite { last, bytes } => self.invite_part(link, last, &bytes)?,
            Inner::Joined if !joining && confirmed.invited => self.completed(link),
            _ => return Err(Error::protocol("a sealed pairing message out of place")),
        }
        Ok(())
    }

    /// This device's user has compared the words and confirms; where this device shows the code, `role` is what the
    /// other becomes.
    pub fn confirm(&mut self, now: Instant, role: SyncRole) -> Result<()> {
        self.now = now;
        let nothing = || Error::invalid("there is no pairing to confirm; wait until the other device is shown");
        let link = self.chosen.ok_or_else(nothing)?;
        let confirmed = self.exchanges.get_mut(&link).and_then(Exchange::confirmed).ok_or_else(nothing)?;
        if confirmed.about.is_none() {
            return Err(nothing());
        }
        if !std::mem::replace(&mut confirmed.accepted, true) {
            match self.active {
                Active::Offer(_) => self.confirm_offer(link, role),
                _ => self.confirm_join(link),
            }
        }
        Ok(())
    }

    /// This device's user says that the words differ, or that this is not the device.
    pub fn reject(&mut self, now: Instant) {
        self.now = now;
        self.end(Error::new(ErrorCode::Rejected, "the pairing was rejected on this device"));
    }

    /// This device's user gives up.
    pub fn cancel(&mut self, now: Instant) {
        self.now = now;
        self.end(Error::new(ErrorCode::Aborted, "the pairing was cancelled on this device"));
    }

    // ---- ends -----------------------------------------------------------------------------------------------------

    /// Ends one exchange and tells the other side why, by code only.
    pub(super) fn fail(&mut self, link: PairLink, error: Error) {
        let Some(exchange) = self.exchanges.remove(&link) else { return };
        self.abort(link, error.code());
        self.ended(link, exchange.peer, error);
    }

    pub(super) fn fail_all(&mut self, code: ErrorCode) {
        let links: Vec<_> = self.exchanges.keys().copied().collect();
        links.into_iter().for_each(|link| self.fail(link, aborted(code)));
    }

    /// What the end of one exchange means for the whole.
    fn ended(&mut self, link: PairLink, peer: PeerId, error: Error) {
        if self.chosen == Some(link) {
            return self.end(error);
        }
        // A stranger's wrong guess is no news for the user who shows the code.
        if let Active::Join(_) = self.active {
            self.candidate_failed(peer, error);
        }
    }

    /// Ends the offer or the joining.
    pub(super) fn end(&mut self, error: Error) {
        let offered = match std::mem::replace(&mut self.active, Active::Nothing) {
            Active::Nothing => return,
            Active::Offer(_) => true,
            Active::Join(_) => false,
        };
        self.chosen = None;
        for link in std::mem::take(&mut self.exchanges).into_keys() {
            self.abort(link, error.code());
        }
        if offered {
            self.linger(error.code());
        }
        self.tell(PairingEvent::Ended(error));
    }

    // ---- outputs --------------------------------------------------------------------------------------------------

    pub(super) fn tell(&mut self, event: PairingEvent) {
        self.out.push(PairingOutput::Tell(event));
    }

    pub(super) fn send(&mut self, link: PairLink, message: &PairingMessage) {
        self.out.push(PairingOutput::Send(link, message.to_bytes()));
    }

    pub(super) fn send_inner(&mut self, link: PairLink, inner: &Inner) {
        let sealed = self
            .exchanges
            .get_mut(&link)
            .and_then(Exchange::confirmed)
            .map(|confirmed| confirmed.channel.seal(&inner.to_bytes()));
        match sealed {
            Some(Ok(sealed)) => self.send(link, &PairingMessage::Sealed(sealed)),
            Some(Err(error)) => self.fail(link, error),
            None => {}
        }
    }

    pub(super) fn abort(&mut self, link: PairLink, code: ErrorCode) {
        self.send(link, &PairingMessage::Abort(code));
        self.out.push(PairingOutput::HangUp(link));
    }

    pub(super) fn limit(&mut self, link: PairLink, time: u64) {
        if let Some(exchange) = self.exchanges.get_mut(&link) {
            exchange.deadline = self.now.mono.saturating_add(time);
        }
    }

    pub(super) fn persist(&mut self) -> u64 {
        self.next_token += 1;
        self.out.push(PairingOutput::Persist(self.tries.encode(), self.next_token));
        self.next_token
    }

    pub(super) fn set_mode(&mut self, on: bool) {
        if std::mem::replace(&mut self.mode, on) != on {
            self.out.push(PairingOutput::Mode(on));
        }
    }
}
