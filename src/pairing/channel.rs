//! What follows from the shared key: proofs of it, a sealed channel, and the words that both screens show.

use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::types::PeerId;
use crate::types::codec::put_bytes;
use crate::types::words::{WORD_BITS, word};

/// How many words both screens show: 44 bits, which nobody can search through, for the key is not theirs to choose.
pub const PAIRING_WORDS: usize = 4;
/// Bytes that sealing adds.
pub(super) const SEAL_BYTES: usize = 16;

const TRANSCRIPT: &str = "privstack-sync 2026-11-26 pairing transcript";
const MASTER: &str = "privstack-sync 2026-11-26 pairing master key";
const CONFIRM_JOINER: &str = "privstack-sync 2026-11-26 pairing confirm joiner";
const CONFIRM_OFFERER: &str = "privstack-sync 2026-11-26 pairing confirm offerer";
const SEAL_JOINER: &str = "privstack-sync 2026-11-26 pairing seal joiner";
const SEAL_OFFERER: &str = "privstack-sync 2026-11-26 pairing seal offerer";
const WORDS: &str = "privstack-sync 2026-11-26 pairing words";

/// All that was said in the clear, and by whom.
pub(super) struct Transcript<'a> {
    /// As the connection authenticated them: the joining device first.
    pub peers: (PeerId, PeerId),
    pub hellos: (&'a [u8], &'a [u8]),
    pub shares: (&'a [u8; 32], &'a [u8; 32]),
}

/// Who talks to whom, for the key exchange.
pub(super) fn channel_name(joiner: &PeerId, offerer: &PeerId) -> Vec<u8> {
    let mut name = b"privstack-sync/pairing/1\0".to_vec();
    put_bytes(&mut name, &joiner.0);
    put_bytes(&mut name, &offerer.0);
    name
}

/// A key that is not confirmed yet.
pub(super) struct Keys {
    master: Zeroizing<[u8; 32]>,
    transcript: [u8; 32],
    joiner: bool,
}

impl Keys {
    /// `joiner` says which side this is.
    pub fn new(shared: &[u8], transcript: &Transcript<'_>, joiner: bool) -> Self {
        let mut said = channel_name(&transcript.peers.0, &transcript.peers.1);
        for part in [transcript.hellos.0, transcript.hellos.1, transcript.shares.0, transcript.shares.1] {
            put_bytes(&mut said, part);
        }
        let transcript = blake3::derive_key(TRANSCRIPT, &said);
        let mut input = Zeroizing::new(Vec::with_capacity(shared.len() + 32));
        input.extend_from_slice(shared);
        input.extend_from_slice(&transcript);
        Self { master: Zeroizing::new(blake3::derive_key(MASTER, &input)), transcript, joiner }
    }

    fn derive(&self, context: &str) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(blake3::derive_key(context, &*self.master))
    }

    fn proof_of(&self, joiner: bool) -> blake3::Hash {
        let key = self.derive(if joiner { CONFIRM_JOINER } else { CONFIRM_OFFERER });
        blake3::keyed_hash(&key, &self.transcript)
    }

    /// This side's proof that it has the key.
    pub fn proof(&self) -> [u8; 32] {
        *self.proof_of(self.joiner).as_bytes()
    }

    /// Whether the other side has it too; compared in constant time.
    pub fn check(&self, proof: &[u8; 32]) -> bool {
        self.proof_of(!self.joiner) == blake3::Hash::from_bytes(*proof)
    }

    /// What a confirmed key is for.
    pub fn into_channel(self) -> (Channel, [&'static str; PAIRING_WORDS]) {
        let cipher = |context| ChaCha20Poly1305::new((&*self.derive(context)).into());
        let (ours, theirs) = match self.joiner {
            true => (SEAL_JOINER, SEAL_OFFERER),
            false => (SEAL_OFFERER, SEAL_JOINER),
        };
        (Channel { ours: (cipher(ours), 0), theirs: (cipher(theirs), 0) }, words(&self.derive(WORDS)))
    }
}

fn words(bytes: &[u8; 32]) -> [&'static str; PAIRING_WORDS] {
    let (first, _) = bytes.split_first_chunk().unwrap_or((&[0; 8], &[]));
    let bits = u64::from_be_bytes(*first);
    std::array::from_fn(|place| word((bits >> (64 - WORD_BITS * (place + 1))) as u16))
}

/// Seals what this side says, and opens what the other says, each message once and in order.
pub(super) struct Channel {
    ours: (ChaCha20Poly1305, u64),
    theirs: (ChaCha20Poly1305, u64),
}

fn next_nonce(count: &mut u64) -> Result<Nonce> {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&count.to_le_bytes());
    *count = count.checked_add(1).ok_or_else(|| Error::protocol("a pairing with too many messages"))?;
    Ok(nonce.into())
}

impl Channel {
    pub fn seal(&mut self, plain: &[u8]) -> Result<Vec<u8>> {
        let nonce = next_nonce(&mut self.ours.1)?;
        self.ours.0.encrypt(&nonce, plain).map_err(|_| Error::too_large("a pairing message that is too long"))
    }

    pub fn open(&mut self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let nonce = next_nonce(&mut self.theirs.1)?;
        let plain = self.theirs.0.decrypt(&nonce, sealed);
        plain.map(Zeroizing::new).map_err(|_| Error::protocol("a sealed pairing message that does not open"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test;

    fn keys(shared: &[u8], peers: (u8, u8), joiner: bool) -> Keys {
        let transcript = Transcript {
            peers: (PeerId([peers.0; 32]), PeerId([peers.1; 32])),
            hellos: (b"hello", b"ack"),
            shares: (&[1; 32], &[2; 32]),
        };
        Keys::new(shared, &transcript, joiner)
    }

    #[test]
    fn only_the_other_side_with_the_same_key_and_the_same_peers_is_believed() {
        let (joiner, offerer) = (keys(b"key", (1, 2), true), keys(b"key", (1, 2), false));
        assert!(joiner.check(&offerer.proof()) && offerer.check(&joiner.proof()));
        assert!(!joiner.check(&joiner.proof()), "a proof sent back proves nothing");
        assert!(!joiner.check(&keys(b"other", (1, 2), false).proof()));
        assert!(!joiner.check(&keys(b"key", (3, 2), false).proof()));
        assert!(!joiner.check(&keys(b"key", (1, 3), false).proof()));
    }

    #[test]
    fn both_see_the_same_words_and_sealed_messages_open_once_in_order() {
        let (mut joiner, words) = keys(b"key", (1, 2), true).into_channel();
        let (mut offerer, same) = keys(b"key", (1, 2), false).into_channel();
        assert_eq!(words, same);
        assert!(words.iter().all(|word| !word.is_empty()));
        assert_ne!(words, keys(b"key", (1, 3), true).into_channel().1);
        let (one, two) = (joiner.seal(b"one").unwrap(), joiner.seal(b"two").unwrap());
        assert_eq!(one.len(), 3 + SEAL_BYTES);
        assert_eq!(&**offerer.open(&one).unwrap(), b"one");
        assert!(offerer.open(&one).is_err(), "a repeat is refused");
        assert!(offerer.open(&two).is_err(), "and costs its place");
        let mut flipped = offerer.seal(b"three").unwrap();
        flipped[0] ^= 1;
        assert!(joiner.open(&flipped).is_err());
    }
}
