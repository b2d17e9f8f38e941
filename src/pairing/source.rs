//! The random bytes of this room, from the one seed that it was given.

use std::convert::Infallible;

use hpke::rand_core::{TryCryptoRng, TryRng};
use zeroize::Zeroizing;

const CONTEXT: &str = "privstack-sync 2026-11-26 pairing entropy";

/// A stream of bytes that nobody without the seed can tell from random ones.
pub(super) struct Source {
    key: Zeroizing<[u8; 32]>,
    next: u64,
}

impl Source {
    pub fn new(seed: &Zeroizing<[u8; 32]>) -> Self {
        Self { key: Zeroizing::new(blake3::derive_key(CONTEXT, &**seed)), next: 0 }
    }

    fn fill(&mut self, out: &mut [u8]) {
        blake3::Hasher::new_keyed(&self.key).update(&self.next.to_le_bytes()).finalize_xof().fill(out);
        self.next = self.next.wrapping_add(1);
    }

    pub fn bytes<const N: usize>(&mut self) -> Zeroizing<[u8; N]> {
        let mut bytes = Zeroizing::new([0; N]);
        self.fill(&mut *bytes);
        bytes
    }

    /// A number below `bound`, which is small against 2^64: the bias is beyond notice.
    pub fn below(&mut self, bound: u64) -> u64 {
        u64::from_le_bytes(*self.bytes()) % bound.max(1)
    }
}

impl TryRng for Source {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(*self.bytes()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(*self.bytes()))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        self.fill(out);
        Ok(())
    }
}

impl TryCryptoRng for Source {}
