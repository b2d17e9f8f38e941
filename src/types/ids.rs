//! Names: devices, vaults, entities, logs.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::limits::MAX_NAME_BYTES;
use crate::error::{Error, Result};

/// A BLAKE3 hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// What stands before the first commit of a log.
    pub const ZERO: Hash = Hash([0; 32]);

    /// The BLAKE3 hash of `bytes` under a context string (BLAKE3's key derivation mode separates domains).
    pub fn derive(context: &'static str, bytes: &[u8]) -> Self {
        Hash(blake3::derive_key(context, bytes))
    }

    /// The first eight bytes, as a short name where a collision does no harm.
    pub fn short(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}…", self.short())
    }
}

/// One device: its Ed25519 public key, written as the full libp2p peer id (`12D3KooW…`).
///
/// An Ed25519 peer id *is* the key behind a fixed prefix (libp2p peer-id specification), so nothing is hashed away.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PeerId(pub [u8; 32]);

/// The identity multihash and protobuf header in front of an Ed25519 key (libp2p peer-id specification).
const PEER_ID_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

impl PeerId {
    /// The public key's 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 38 bytes of the libp2p peer id.
    pub fn to_libp2p_bytes(&self) -> [u8; 38] {
        let mut bytes = [0; 38];
        bytes[..6].copy_from_slice(&PEER_ID_PREFIX);
        bytes[6..].copy_from_slice(&self.0);
        bytes
    }

    /// Reads the 38 bytes of an Ed25519 libp2p peer id.
    pub fn from_libp2p_bytes(bytes: &[u8]) -> Result<Self> {
        bytes
            .strip_prefix(&PEER_ID_PREFIX)
            .and_then(|key| key.try_into().ok())
            .map(PeerId)
            .ok_or_else(|| Error::invalid("not the peer id of an Ed25519 key"))
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bs58::encode(self.to_libp2p_bytes()).into_string())
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.to_string();
        write!(f, "…{}", &text[text.len() - 6..])
    }
}

impl FromStr for PeerId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut bytes = [0; 64];
        let length = bs58::decode(text.trim())
            .onto(&mut bytes[..])
            .map_err(|_| Error::invalid(format!("`{text}` is not a peer id; it looks like 12D3KooW…")))?;
        Self::from_libp2p_bytes(&bytes[..length]).map_err(|_| {
            Error::invalid(format!("`{text}` is not the peer id of an Ed25519 key; it looks like 12D3KooW…"))
        })
    }
}

/// The set of devices that share data: the hash of its `Genesis`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct VaultId(pub [u8; 32]);

impl fmt::Display for VaultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hash(self.0).fmt(f)
    }
}

impl fmt::Debug for VaultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&Hash(self.0), f)
    }
}

/// One thing of the user's: a UUID, version 7 where this crate makes it (RFC 9562).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EntityId(pub [u8; 16]);

/// By their bytes, as numbers: lists of entities are sorted and searched by nothing else.
impl Ord for EntityId {
    fn cmp(&self, other: &Self) -> Ordering {
        u128::from_be_bytes(self.0).cmp(&u128::from_be_bytes(other.0))
    }
}

impl PartialOrd for EntityId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl EntityId {
    /// A version 7 UUID from a time in milliseconds since 1970 and ten random bytes.
    pub fn new_v7(millis: u64, random: [u8; 10]) -> Self {
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid().into_bytes())
    }

    /// The version 7 UUID of the same millisecond whose last 62 random bits are this one's plus `step`; none where they
    /// run over.
    pub(crate) fn v7_plus(&self, step: u64) -> Option<Self> {
        let [high @ .., a, b, c, d, e, f, g, h] = self.0;
        let low = u64::from_be_bytes([a, b, c, d, e, f, g, h]).checked_add(step).filter(|low| low >> 62 == 0b10)?;
        let [a, b, c, d, e, f, g, h] = low.to_be_bytes();
        let [i, j, k, l, m, n, o, p] = high;
        Some(Self([i, j, k, l, m, n, o, p, a, b, c, d, e, f, g, h]))
    }
}

impl fmt::Display for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_bytes(self.0).hyphenated().fmt(f)
    }
}

impl fmt::Debug for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for EntityId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        uuid::Uuid::try_parse(text)
            .map(|uuid| Self(uuid.into_bytes()))
            .map_err(|_| Error::invalid(format!("`{text}` is not an entity id; it looks like a UUID")))
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and keeps a name: 1 to 128 bytes of UTF-8 without control characters.
            pub fn new(name: impl AsRef<str>) -> Result<Self> {
                let name = name.as_ref();
                if name.is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
                    return Err(Error::invalid(format!(
                        "{} must have 1 to {MAX_NAME_BYTES} bytes and no control characters",
                        $what
                    )));
                }
                Ok(Self(name.into()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(name: &str) -> Result<Self> {
                Self::new(name)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let name = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Self::new(name).map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// What sort of thing an entity is: `note`, `task` … Access is granted per type.
    EntityType, "an entity type"
);
name!(
    /// The name of a field of an entity.
    FieldName, "a field name"
);

/// 64 random bits that tell an author's runs of commits apart; a new epoch is the way out of every doubt about an old
/// one (ARCHITECTURE.md, forks).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}…", self.0 >> 48)
    }
}

/// An author's epoch: with an entity type it names a log, in a vector clock it names a column.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct LogId {
    /// Who wrote it.
    pub author: PeerId,
    /// In which epoch.
    pub epoch: Epoch,
}

/// The full name of a log: (entity type, author, epoch).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct LogName {
    /// The type of all entities in it.
    pub entity_type: EntityType,
    /// Author and epoch.
    pub id: LogId,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test;

    #[test]
    fn a_peer_id_reads_back_from_its_text() {
        let peer = PeerId([7; 32]);
        let text = peer.to_string();
        assert!(text.starts_with("12D3KooW"), "{text}");
        assert_eq!(text.parse::<PeerId>().unwrap(), peer);
        assert!("12D3KooW".parse::<PeerId>().is_err());
        assert!("0OIl".parse::<PeerId>().is_err());
    }

    #[test]
    fn names_are_checked_when_they_are_read() {
        assert!(EntityType::new("").is_err());
        assert!(EntityType::new("a\nb").is_err());
        assert!(EntityType::new("x".repeat(129)).is_err());
        let bytes = postcard::to_allocvec("a\u{0}b").unwrap();
        assert!(postcard::from_bytes::<FieldName>(&bytes).is_err());
    }

    #[test]
    fn a_step_over_the_last_random_bits_gives_no_id() {
        let last = EntityId::new_v7(1, [255; 10]);
        assert_eq!(last.v7_plus(1), None);
        let first = EntityId::new_v7(1, [0; 10]);
        assert_eq!(first.v7_plus(0x1_02), Some(EntityId::new_v7(1, [0, 0, 0, 0, 0, 0, 0, 0, 1, 2])));
    }

    #[test]
    fn ids_made_later_sort_later() {
        assert!(EntityId::new_v7(1, [255; 10]) < EntityId::new_v7(2, [0; 10]));
    }
}
