//! All randomness of the engine, from one seed: BLAKE3 in its extendable-output mode, keyed once.

use crate::types::EntityId;

/// How far apart two ids of one millisecond are at most: a difference of two bytes in a block.
const MAX_STEP: u64 = (1 << 15) - 1;

/// A stream of bytes that nobody without the seed can tell from random ones.
pub struct Entropy {
    stream: blake3::OutputReader,
    /// The millisecond and the id of the last entity.
    last: Option<(u64, EntityId)>,
}

impl Entropy {
    /// The stream of a seed.
    pub fn new(seed: &[u8; 32]) -> Self {
        let key = blake3::derive_key("privstack-sync 1 engine entropy", seed);
        Self { stream: blake3::Hasher::new_keyed(&key).finalize_xof(), last: None }
    }

    /// The next bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.stream.fill(&mut bytes);
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

    /// A new entity's id. Within one millisecond it is the last one plus a small random step (RFC 9562, section 6.2,
    /// method 2): what is made together sorts in the order in which it was made, and takes three bytes an id in a block.
    pub fn entity_id(&mut self, millis: u64) -> EntityId {
        let millis = millis & 0xffff_ffff_ffff;
        let random: [u8; 10] = self.bytes();
        let step = 1 + u64::from(u16::from_le_bytes([random[0], random[1]])) % MAX_STEP;
        let next = self.last.filter(|(at, _)| *at == millis).and_then(|(_, last)| last.v7_plus(step));
        let id = next.unwrap_or_else(|| EntityId::new_v7(millis, random));
        self.last = Some((millis, id));
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test;

    #[test]
    fn ids_of_one_millisecond_ascend_in_small_steps_and_those_of_another_begin_anew() {
        let mut entropy = Entropy::new(&[1; 32]);
        let number = |id: EntityId| u128::from_be_bytes(id.0);
        let ids: Vec<EntityId> = (0..10_000).map(|_| entropy.entity_id(7)).collect();
        assert!(ids.windows(2).all(|pair| (1..1 << 15).contains(&(number(pair[1]) - number(pair[0])))));
        let later = entropy.entity_id(8);
        assert!(number(later).abs_diff(number(ids[9_999])) > 1 << 40);
        assert_eq!((later.0[6] >> 4, later.0[8] >> 6), (7, 2), "version and variant");
        assert_ne!(Entropy::new(&[2; 32]).entity_id(7), ids[0]);
    }
}
