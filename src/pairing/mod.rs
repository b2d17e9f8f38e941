//! Pairing: two devices that have never met become trusted by a short code that one shows and the user types into the
//! other (PROTOCOL.md section 12).
//!
//! State, input, time and entropy in; outputs out. [`Pairing`] is a device's whole part in it: it offers a code or
//! joins by one, runs one exchange a stream, and says what is to be stored, sent and shown. It knows nothing of vaults:
//! whoever drives it makes the invite and joins by it.

mod channel;
mod code;
mod device;
mod events;
mod exchange;
mod join;
mod link;
mod message;
mod offer;
mod pake;
mod source;
#[cfg(test)]
mod tests;
mod tries;

pub use channel::PAIRING_WORDS;
pub use code::{CODE_SECONDS, CodeKind, NAMEPLATES, SyncCode};
pub use device::Pairing;
pub use events::{OfferOptions, PairLink, PairingEvent, PairingOutput, PairingPeer, ShownCode};
pub use link::{MAX_LINK_ADDRESSES, MAX_LINK_BYTES, PairingLink};
pub use message::{About, Inner, MAX_PAIRING_FRAME, OLDEST_PAIRING_VERSION, PAIRING_VERSION, PairingMessage};
pub use tries::{MAX_BURNED, MAX_TRIES, WINDOW_MS};
