//! All randomness of the engine, from one seed: BLAKE3 in its extendable-output mode, keyed once.

use crate::types::EntityId;

/// A stream of bytes that nobody without the seed can tell from random ones.
pub struct Entropy(blake3::OutputReader);

impl Entropy {
    /// The stream of a seed.
    pub fn new(seed: &[u8; 32]) -> Self {
        let key = blake3::derive_key("privstack-sync 1 engine entropy", seed);
        Self(blake3::Hasher::new_keyed(&key).finalize_xof())
    }

    /// The next bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill(&mut bytes);
        bytes
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }

    /// A number below `bound` (which is not 0), good enough for jitter.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound.max(1)
    }

    /// A new entity's id.
    pub fn entity_id(&mut self, millis: u64) -> EntityId {
        EntityId::new_v7(millis & 0xffff_ffff_ffff, self.bytes())
    }
}
