//! The messages of a pairing and their bytes (PROTOCOL.md section 12). One message is one frame.

use std::fmt;

use zeroize::Zeroizing;

use super::channel::SEAL_BYTES;
use crate::error::{Error, ErrorCode, Result};
use crate::types::EntityType;
use crate::types::codec::{Reader, put_bytes, put_varint};
use crate::types::limits::{MAX_DEVICE_NAME_BYTES, MAX_NAME_BYTES};

/// The version of the pairing protocol that this build speaks, and the oldest.
pub const PAIRING_VERSION: u16 = 1;
/// See [`PAIRING_VERSION`].
pub const OLDEST_PAIRING_VERSION: u16 = 1;
/// Bytes of one pairing frame at most.
pub const MAX_PAIRING_FRAME: usize = 36 << 10;
/// Bytes of an invite in one message.
pub(super) const PART_BYTES: usize = 32 << 10;
/// Types of own data that a joining device names.
pub(super) const MAX_BROUGHT: usize = 256;
/// Bytes of a platform's name.
const MAX_PLATFORM_BYTES: usize = 32;

/// What goes over a pairing stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PairingMessage {
    /// The joining side begins.
    Hello {
        /// The oldest and the newest version it speaks.
        versions: (u16, u16),
        /// How its user came by the password: 0 typed, 1 by a link.
        sort: u8,
        /// 16 random bytes.
        nonce: [u8; 16],
    },
    /// The offering side goes on.
    HelloAck {
        /// The version that is spoken.
        version: u16,
        /// 16 random bytes.
        nonce: [u8; 16],
    },
    /// A share of the key exchange, from the joining side first.
    Share([u8; 32]),
    /// Proof of the key, from the joining side first.
    Confirm([u8; 32]),
    /// An [`Inner`], sealed.
    Sealed(Vec<u8>),
    /// The pairing ends; why.
    Abort(ErrorCode),
}

impl PairingMessage {
    /// Appends the message's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            PairingMessage::Hello { versions, sort, nonce } => {
                out.push(0);
                put_varint(out, versions.0.into());
                put_varint(out, versions.1.into());
                out.push(*sort);
                out.extend_from_slice(nonce);
            }
            PairingMessage::HelloAck { version, nonce } => {
                out.push(1);
                put_varint(out, (*version).into());
                out.extend_from_slice(nonce);
            }
            PairingMessage::Share(share) => {
                out.push(2);
                out.extend_from_slice(share);
            }
            PairingMessage::Confirm(proof) => {
                out.push(3);
                out.extend_from_slice(proof);
            }
            PairingMessage::Sealed(bytes) => {
                out.push(4);
                out.extend_from_slice(bytes);
            }
            PairingMessage::Abort(code) => out.extend_from_slice(&[5, code.to_byte()]),
        }
    }

    /// The message's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }

    /// Reads a message; every error is a `protocol` error.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_PAIRING_FRAME {
            return Err(Error::protocol("a pairing message over its limit"));
        }
        let mut reader = Reader::new(bytes);
        let message = match reader.byte()? {
            0 => {
                let versions = (version(&mut reader)?, version(&mut reader)?);
                let sort = reader.byte()?;
                if versions.0 > versions.1 || sort > 1 {
                    return Err(Error::protocol("a pairing hello out of its range"));
                }
                PairingMessage::Hello { versions, sort, nonce: reader.array()? }
            }
            1 => PairingMessage::HelloAck { version: version(&mut reader)?, nonce: reader.array()? },
            2 => PairingMessage::Share(reader.array()?),
            3 => PairingMessage::Confirm(reader.array()?),
            4 => {
                let bytes = reader.take(reader.rest().len())?;
                if bytes.len() < SEAL_BYTES {
                    return Err(Error::protocol("a sealed pairing message that is too short"));
                }
                PairingMessage::Sealed(bytes.to_vec())
            }
            5 => PairingMessage::Abort(ErrorCode::from_byte(reader.byte()?)),
            _ => return Err(Error::protocol("a pairing message of an unknown sort")),
        };
        reader.finish()?;
        Ok(message)
    }
}

fn version(reader: &mut Reader<'_>) -> Result<u16> {
    reader.bounded(u16::MAX.into(), "a version").map(|version| version as u16)
}

/// The highest version that both speak.
pub(super) fn choose_version(theirs: (u16, u16)) -> Option<u16> {
    let newest = theirs.1.min(PAIRING_VERSION);
    (newest >= theirs.0.max(OLDEST_PAIRING_VERSION)).then_some(newest)
}

/// What a device says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct About {
    /// Its name.
    pub device_name: String,
    /// `desktop` or `web`.
    pub platform: String,
}

/// What is said once the keys are confirmed; sealed.
#[derive(Clone, PartialEq, Eq)]
pub enum Inner {
    /// Both, at once.
    About(About),
    /// The user has confirmed; from the joining side.
    Accept {
        /// The types of the data that the device has of its own and takes along into the vault, at most 256.
        brings: Vec<EntityType>,
    },
    /// A part of the invite, from the offering side.
    Invite {
        /// No part follows.
        last: bool,
        /// Characters of the invite.
        bytes: Zeroizing<Vec<u8>>,
    },
    /// The joining side has joined; it is on its disk.
    Joined,
}

impl fmt::Debug for Inner {
    /// Leaves the invite out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Inner::About(about) => about.fmt(f),
            Inner::Accept { brings } => write!(f, "Accept({} types)", brings.len()),
            Inner::Invite { last, bytes } => write!(f, "Invite({} bytes, last: {last})", bytes.len()),
            Inner::Joined => f.write_str("Joined"),
        }
    }
}

impl Inner {
    /// The message's bytes.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(PART_BYTES + 16));
        match self {
            Inner::About(about) => {
                out.push(0);
                put_bytes(&mut out, about.device_name.as_bytes());
                put_bytes(&mut out, about.platform.as_bytes());
            }
            Inner::Accept { brings } => {
                out.push(1);
                put_varint(&mut out, brings.len() as u64);
                brings.iter().for_each(|entity_type| put_bytes(&mut out, entity_type.as_str().as_bytes()));
            }
            Inner::Invite { last, bytes } => {
                out.extend_from_slice(&[2, u8::from(*last)]);
                put_bytes(&mut out, bytes);
            }
            Inner::Joined => out.push(3),
        }
        out
    }

    /// Reads a message; every error is a `protocol` error.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let inner = match reader.byte()? {
            0 => {
                let device_name = reader.text(MAX_DEVICE_NAME_BYTES, "a device's name")?.to_owned();
                let platform = reader.text(MAX_PLATFORM_BYTES, "a platform")?.to_owned();
                if device_name.chars().chain(platform.chars()).any(char::is_control) {
                    return Err(Error::protocol("a name with control characters"));
                }
                Inner::About(About { device_name, platform })
            }
            1 => {
                let count = reader.count(MAX_BROUGHT, "types that a device brings")?;
                let types = (0..count).map(|_| EntityType::new(reader.text(MAX_NAME_BYTES, "a type's name")?));
                Inner::Accept { brings: types.collect::<Result<_>>()? }
            }
            2 => {
                let last = match reader.byte()? {
                    0 => false,
                    1 => true,
                    _ => return Err(Error::protocol("a part of an invite out of its range")),
                };
                let bytes = reader.bytes(PART_BYTES, "a part of an invite")?;
                Inner::Invite { last, bytes: Zeroizing::new(bytes.to_vec()) }
            }
            3 => Inner::Joined,
            _ => return Err(Error::protocol("a sealed pairing message of an unknown sort")),
        };
        reader.finish()?;
        Ok(inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::test;

    fn message() -> impl Strategy<Value = PairingMessage> {
        prop_oneof![
            (any::<u16>(), any::<u16>(), 0..2_u8, any::<[u8; 16]>()).prop_map(|(a, b, sort, nonce)| {
                PairingMessage::Hello { versions: (a.min(b), a.max(b)), sort, nonce }
            }),
            (any::<u16>(), any::<[u8; 16]>()).prop_map(|(version, nonce)| PairingMessage::HelloAck { version, nonce }),
            any::<[u8; 32]>().prop_map(PairingMessage::Share),
            any::<[u8; 32]>().prop_map(PairingMessage::Confirm),
            vec(any::<u8>(), SEAL_BYTES..200).prop_map(PairingMessage::Sealed),
            proptest::sample::select(ErrorCode::ALL).prop_map(PairingMessage::Abort),
        ]
    }

    fn inner() -> impl Strategy<Value = Inner> {
        prop_oneof![
            ("[^\\p{C}]{0,20}", "[a-z]{0,10}")
                .prop_map(|(device_name, platform)| Inner::About(About { device_name, platform })),
            vec("[a-z]{1,8}", 0..4).prop_map(|names| {
                Inner::Accept { brings: names.iter().map(|name| EntityType::new(name).unwrap()).collect() }
            }),
            (any::<bool>(), vec(any::<u8>(), 0..200))
                .prop_map(|(last, bytes)| Inner::Invite { last, bytes: Zeroizing::new(bytes) }),
            Just(Inner::Joined),
        ]
    }

    proptest! {
        #[test]
        fn messages_read_back_and_every_cut_or_longer_one_is_refused(message in message(), inner in inner()) {
            let bytes = message.to_bytes();
            prop_assert_eq!(&PairingMessage::decode(&bytes).unwrap(), &message);
            let sealed = matches!(message, PairingMessage::Sealed(_));
            for end in 0..bytes.len().min(if sealed { SEAL_BYTES } else { usize::MAX }) {
                prop_assert!(PairingMessage::decode(&bytes[..end]).is_err());
            }
            prop_assert!(sealed || PairingMessage::decode(&[&bytes[..], &[0]].concat()).is_err());
            let bytes = inner.to_bytes();
            prop_assert_eq!(&Inner::decode(&bytes).unwrap(), &inner);
            prop_assert!((0..bytes.len()).all(|end| Inner::decode(&bytes[..end]).is_err()));
            prop_assert!(Inner::decode(&[&bytes[..], &[0]].concat()).is_err());
        }

        #[test]
        fn any_bytes_are_refused_or_written_again_as_they_came(bytes in vec(any::<u8>(), 0..80)) {
            if let Ok(message) = PairingMessage::decode(&bytes) {
                prop_assert!(message.to_bytes() == bytes || matches!(message, PairingMessage::Abort(_)));
            }
            if let Ok(inner) = Inner::decode(&bytes) {
                prop_assert_eq!(&**inner.to_bytes(), &bytes[..]);
            }
        }
    }

    #[test]
    fn lengths_over_the_limit_and_names_that_move_a_cursor_are_refused() {
        assert!(PairingMessage::decode(&vec![4; MAX_PAIRING_FRAME + 1]).is_err());
        let mut part = vec![2, 1];
        put_varint(&mut part, u64::MAX);
        assert!(Inner::decode(&part).is_err());
        let evil = About { device_name: "a\u{1b}[2J".into(), platform: "desktop".into() };
        assert!(Inner::decode(&Inner::About(evil).to_bytes()).is_err());
    }

    #[test]
    fn the_highest_common_version_is_spoken() {
        assert_eq!(choose_version((1, 1)), Some(1));
        assert_eq!(choose_version((1, 9)), Some(1));
        assert_eq!(choose_version((2, 9)), None);
        assert_eq!(choose_version((0, 0)), None);
    }
}
