//! One exchange with one device, from its first message to the confirmed keys, and what is sealed after them.
//!
//! ```text
//! joining                         offering
//! Hello            ->
//!                  <-             HelloAck
//! Share            ->
//!                  <-             Share
//! Confirm          ->                            the offering side counts the try on disk, then answers
//!                  <-             Confirm, or Abort
//! Sealed About     ->  <-         Sealed About
//! Sealed Accept    ->             (its user has confirmed)
//!                  <-             Sealed Invite  (its user has too, and AddMember is on disk)
//! Sealed Joined    ->
//! ```

use zeroize::Zeroizing;

use super::channel::{Channel, Keys, PAIRING_WORDS, Transcript, channel_name};
use super::code::Sort;
use super::message::{About, Inner, OLDEST_PAIRING_VERSION, PAIRING_VERSION, PairingMessage, choose_version};
use super::pake::{CPace, Context, Pake};
use super::source::Source;
use crate::error::{Error, ErrorCode, Result};
use crate::types::{EntityType, PeerId};

type Started = <CPace as Pake>::Started;

/// See the module.
pub(super) struct Exchange {
    me: PeerId,
    /// As the connection authenticated it.
    pub peer: PeerId,
    pub stage: Stage,
    /// When it must be further, on the monotonic clock.
    pub deadline: u64,
    hellos: (Vec<u8>, Vec<u8>),
    /// Both nonces.
    session: Vec<u8>,
}

pub(super) enum Stage {
    /// Joining: the password is told, nothing is answered.
    HelloSent { password: Zeroizing<Vec<u8>> },
    /// Joining.
    ShareSent { share: [u8; 32], started: Box<Started> },
    /// Joining.
    Proved(Keys),
    /// Offering: nothing was said yet.
    Waiting,
    /// Offering.
    Acknowledged { password: Zeroizing<Vec<u8>> },
    /// Offering.
    Answered(Keys),
    /// Offering: whether the guess was right, kept until the try is on disk.
    Counting { keys: Keys, right: bool },
    /// Both have the key.
    Confirmed(Box<Confirmed>),
}

/// An exchange whose keys are confirmed.
pub(super) struct Confirmed {
    pub channel: Channel,
    pub words: [&'static str; PAIRING_WORDS],
    /// What the other says of itself.
    pub about: Option<About>,
    /// This side's user has confirmed.
    pub accepted: bool,
    /// The other's has (told to the offering side only), and takes data of its own of these types along.
    pub they_accepted: Option<Vec<EntityType>>,
    /// The invite was sent, or has come whole.
    pub invited: bool,
    /// What has come of the invite.
    pub invite: Zeroizing<Vec<u8>>,
}

/// What follows from a message.
pub(super) enum Step {
    /// This goes back.
    Say(PairingMessage),
    /// Joining: this goes back, and lets the other side check one guess.
    Prove(PairingMessage),
    /// Offering: the other side has made its guess.
    Guess,
    /// Joining: the keys are confirmed.
    Confirmed,
    /// Something sealed.
    Inner(Inner),
}

impl Exchange {
    /// The joining side's, with its first message.
    pub fn join(
        (me, peer): (PeerId, PeerId),
        (sort, password): (Sort, Zeroizing<Vec<u8>>),
        source: &mut Source,
        deadline: u64,
    ) -> (Self, PairingMessage) {
        let nonce: [u8; 16] = *source.bytes();
        let versions = (OLDEST_PAIRING_VERSION, PAIRING_VERSION);
        let hello = PairingMessage::Hello { versions, sort: sort as u8, nonce };
        let hellos = (hello.to_bytes(), Vec::new());
        let stage = Stage::HelloSent { password };
        (Self { me, peer, stage, deadline, hellos, session: nonce.to_vec() }, hello)
    }

    /// The offering side's.
    pub fn offer(me: PeerId, peer: PeerId, deadline: u64) -> Self {
        Self { me, peer, stage: Stage::Waiting, deadline, hellos: Default::default(), session: Vec::new() }
    }

    /// Whether the keys are confirmed.
    pub fn confirmed(&mut self) -> Option<&mut Confirmed> {
        match &mut self.stage {
            Stage::Confirmed(confirmed) => Some(confirmed),
            _ => None,
        }
    }

    /// Takes a message; `password` gives the offering side's password of a sort, or says why there is none.
    pub fn take(
        &mut self,
        message: PairingMessage,
        password: impl FnOnce(Sort) -> Result<Zeroizing<Vec<u8>>>,
        source: &mut Source,
    ) -> Result<Step> {
        // A message out of place leaves the stage `Waiting`; the exchange is over then.
        match (std::mem::replace(&mut self.stage, Stage::Waiting), message) {
            (Stage::Waiting, PairingMessage::Hello { versions, sort, nonce }) => {
                let version = choose_version(versions).ok_or_else(version_error)?;
                let password = password(if sort == 0 { Sort::Typed } else { Sort::Link })?;
                let ours: [u8; 16] = *source.bytes();
                let ack = PairingMessage::HelloAck { version, nonce: ours };
                self.hellos = (PairingMessage::Hello { versions, sort, nonce }.to_bytes(), ack.to_bytes());
                self.session = [nonce, ours].concat();
                self.stage = Stage::Acknowledged { password };
                Ok(Step::Say(ack))
            }
            (Stage::HelloSent { password }, PairingMessage::HelloAck { version, nonce }) => {
                if !(OLDEST_PAIRING_VERSION..=PAIRING_VERSION).contains(&version) {
                    return Err(version_error());
                }
                self.hellos.1 = PairingMessage::HelloAck { version, nonce }.to_bytes();
                self.session.extend_from_slice(&nonce);
                let channel = channel_name(&self.me, &self.peer);
                let (share, started) = CPace::start(&password, self.context(&channel), source)?;
                self.stage = Stage::ShareSent { share, started: Box::new(started) };
                Ok(Step::Say(PairingMessage::Share(share)))
            }
            (Stage::Acknowledged { password }, PairingMessage::Share(theirs)) => {
                let channel = channel_name(&self.peer, &self.me);
                let (ours, shared) = CPace::respond(&password, self.context(&channel), &theirs, source)?;
                self.stage = Stage::Answered(self.keys(&shared, (&theirs, &ours), false));
                Ok(Step::Say(PairingMessage::Share(ours)))
            }
            (Stage::ShareSent { share, started }, PairingMessage::Share(theirs)) => {
                let channel = channel_name(&self.me, &self.peer);
                let shared = CPace::finish(*started, self.context(&channel), &theirs)?;
                let keys = self.keys(&shared, (&share, &theirs), true);
                let proof = PairingMessage::Confirm(keys.proof());
                self.stage = Stage::Proved(keys);
                Ok(Step::Prove(proof))
            }
            (Stage::Answered(keys), PairingMessage::Confirm(proof)) => {
                let right = keys.check(&proof);
                self.stage = Stage::Counting { keys, right };
                Ok(Step::Guess)
            }
            (Stage::Proved(keys), PairingMessage::Confirm(proof)) => {
                // Whoever answers with a proof that is none has another code, or stands in the middle.
                if !keys.check(&proof) {
                    return Err(mismatch());
                }
                self.confirm(keys);
                Ok(Step::Confirmed)
            }
            (Stage::Confirmed(mut confirmed), PairingMessage::Sealed(sealed)) => {
                let inner = Inner::decode(&confirmed.channel.open(&sealed)?)?;
                self.stage = Stage::Confirmed(confirmed);
                Ok(Step::Inner(inner))
            }
            _ => Err(Error::protocol("a pairing message out of place")),
        }
    }

    /// The counted try was right: this side's proof.
    pub fn answer(&mut self) -> Result<PairingMessage> {
        match std::mem::replace(&mut self.stage, Stage::Waiting) {
            Stage::Counting { keys, right: true } => {
                let proof = PairingMessage::Confirm(keys.proof());
                self.confirm(keys);
                Ok(proof)
            }
            _ => Err(mismatch()),
        }
    }

    fn confirm(&mut self, keys: Keys) {
        let (channel, words) = keys.into_channel();
        self.stage = Stage::Confirmed(Box::new(Confirmed {
            channel,
            words,
            about: None,
            accepted: false,
            they_accepted: None,
            invited: false,
            invite: Zeroizing::default(),
        }));
    }

    fn context<'a>(&'a self, channel: &'a [u8]) -> Context<'a> {
        Context { channel, session: &self.session, said: (&self.hellos.0, &self.hellos.1) }
    }

    fn keys(&self, shared: &[u8], shares: (&[u8; 32], &[u8; 32]), joiner: bool) -> Keys {
        let peers = if joiner { (self.me, self.peer) } else { (self.peer, self.me) };
        Keys::new(shared, &Transcript { peers, hellos: (&self.hellos.0, &self.hellos.1), shares }, joiner)
    }
}

pub(super) fn mismatch() -> Error {
    Error::new(
        ErrorCode::CodeMismatch,
        "the code is not the one that the other device shows; look again, a new one may have taken its place",
    )
}

pub(super) fn version_error() -> Error {
    Error::new(ErrorCode::Version, "the other device speaks another version of pairing; update privstack on both")
}

/// What the other side's reason means to people.
pub(super) fn aborted(code: ErrorCode) -> Error {
    match code {
        ErrorCode::CodeMismatch => mismatch(),
        ErrorCode::Version => version_error(),
        ErrorCode::PairingLocked => super::tries::locked(),
        ErrorCode::CodeExpired => {
            Error::new(code, "this code has expired; type the one that the other device shows now")
        }
        ErrorCode::CodeBurned => Error::new(
            code,
            "this code was used already, or tried wrongly too often; type the one that the other device shows now",
        ),
        ErrorCode::PolicyDenied => Error::new(
            code,
            "the other device may not sign this one in, or this device's own data could not be taken along in the role \
             that was chosen for it; choose another role, or join in a new data folder",
        ),
        ErrorCode::Rejected => Error::new(code, "the pairing was rejected on the other device"),
        ErrorCode::Aborted => Error::new(code, "the pairing was cancelled on the other device"),
        ErrorCode::Busy => Error::new(code, "the other device is pairing with somebody else just now; try again"),
        ErrorCode::Timeout => Error::new(code, "the other device has waited too long; start the pairing again"),
        code => Error::new(code, format!("the other device ended the pairing ({code}); try again")),
    }
}
