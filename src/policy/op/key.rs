//! `SetKey`: a new vault key for the members that are left.

use crate::types::{Hash, PeerId, SortedMap};

/// Members that one operation seals a key to; for more there are several of the same key.
pub const MAX_SEALED_KEYS: usize = 256;
/// Bytes of one sealed key at most.
pub(super) const MAX_SEALED_BYTES: usize = 256;
const KEY_CONTEXT: &str = "privstack-sync 2026-11-26 name of a vault key";

/// A new vault key, sealed to each member. Of concurrent ones the one with the lowest hash is used, and all are kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetKey {
    /// The key's name ([`SetKey::name_of`]): says whether what was unsealed is the key, and which operations are of one.
    pub name: Hash,
    /// To whom it is sealed, at most [`MAX_SEALED_KEYS`]: what `seal` made of it for the purpose [`SetKey::PURPOSE`].
    pub sealed: SortedMap<PeerId, Vec<u8>>,
}

impl SetKey {
    /// What the key is sealed for.
    pub const PURPOSE: &'static str = "vault key";

    /// The name of a vault key, which does not tell it.
    pub fn name_of(key: &[u8; 32]) -> Hash {
        Hash::derive(KEY_CONTEXT, key)
    }
}
