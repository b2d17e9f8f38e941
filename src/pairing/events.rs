//! What comes out of [`super::Pairing`].

use std::fmt;

use zeroize::Zeroizing;

use super::channel::PAIRING_WORDS;
use super::code::{CODE_SECONDS, CodeKind, SyncCode};
use super::message::About;
use crate::error::Error;
use crate::policy::SyncRole;
use crate::types::{EntityType, PeerId};

/// One open pairing stream to one authenticated peer. Numbers are never used again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct PairLink(pub u64);

/// How codes are offered.
#[derive(Clone, PartialEq, Debug)]
pub struct OfferOptions {
    /// How codes are spelled.
    pub kind: CodeKind,
    /// Seconds that a code is valid, 10 to 600.
    pub ttl: u64,
    /// Show a new code when one ends.
    pub renew: bool,
    /// What the link says of where this device can be reached; none: what is known of it.
    pub addresses: Vec<String>,
    /// The first code, where it was made already.
    pub code: Option<SyncCode>,
}

impl Default for OfferOptions {
    fn default() -> Self {
        Self { kind: CodeKind::default(), ttl: CODE_SECONDS, renew: true, addresses: Vec::new(), code: None }
    }
}

/// A code to show now. `Debug` shows none of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShownCode {
    /// To be typed.
    pub code: SyncCode,
    /// The same offer as a link, for a QR code.
    pub link: SyncCode,
    /// When both end: milliseconds since 1970.
    pub expires_at: u64,
}

/// The other device, once the keys are confirmed: what both users compare.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PairingPeer {
    /// As the connection authenticated it.
    pub peer: PeerId,
    /// What it says of itself.
    pub about: About,
    /// The words that both screens must show alike.
    pub words: [&'static str; PAIRING_WORDS],
    /// Whether this device joins the other's vault.
    pub joining: bool,
}

/// What the app is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PairingEvent {
    /// This code is to be shown now.
    Code(ShownCode),
    /// The keys are confirmed: show name, kind and words, and let the user confirm.
    Found(PairingPeer),
    /// Both devices trust each other.
    Completed(PeerId),
    /// The offer or the joining has ended without that.
    Ended(Error),
}

/// What is to be done, in order.
#[derive(PartialEq, Eq)]
pub enum PairingOutput {
    /// Send a frame.
    Send(PairLink, Vec<u8>),
    /// Close the stream once what was sent is out.
    HangUp(PairLink),
    /// Store this row; then say [`super::Pairing::persisted`] with the number.
    Persist(Vec<u8>, u64),
    /// Take pairing streams of strangers, or no more.
    Mode(bool),
    /// Open a pairing stream with this device: at these addresses, or wherever else it is known to be.
    Dial(PeerId, Vec<String>),
    /// Let the relays name this device by a number.
    ClaimNameplate,
    /// Ask the relays whom they name by this number.
    FindNameplate(u16),
    /// Sign this device into the vault, and say [`super::Pairing::invite_ready`] when that is on disk.
    Invite {
        /// The stream.
        link: PairLink,
        /// The device.
        peer: PeerId,
        /// In which role.
        role: SyncRole,
        /// Its name, as it says.
        name: String,
        /// The types of the data that it takes along.
        brings: Vec<EntityType>,
    },
    /// Join by this invite, and say [`super::Pairing::joined`] when that is on disk.
    Join(PairLink, Zeroizing<String>),
    /// This device guessed wrong at the code that is shown.
    WrongGuess(PeerId),
    /// Tell the app.
    Tell(PairingEvent),
}

impl fmt::Debug for PairingOutput {
    /// Leaves the invite out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PairingOutput::Send(link, frame) => write!(f, "Send({link:?}, {} bytes)", frame.len()),
            PairingOutput::HangUp(link) => write!(f, "HangUp({link:?})"),
            PairingOutput::Persist(_, token) => write!(f, "Persist({token})"),
            PairingOutput::Mode(on) => write!(f, "Mode({on})"),
            PairingOutput::Dial(peer, addresses) => write!(f, "Dial({peer}, {addresses:?})"),
            PairingOutput::ClaimNameplate => f.write_str("ClaimNameplate"),
            PairingOutput::FindNameplate(number) => write!(f, "FindNameplate({number})"),
            PairingOutput::Invite { peer, role, .. } => write!(f, "Invite({peer}, {role:?})"),
            PairingOutput::Join(link, _) => write!(f, "Join({link:?})"),
            PairingOutput::WrongGuess(peer) => write!(f, "WrongGuess({peer})"),
            PairingOutput::Tell(event) => write!(f, "Tell({event:?})"),
        }
    }
}
