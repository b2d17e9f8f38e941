//! The recovery key: 24 English words (BIP-39) that stand for 32 random bytes, and the vault's root key made of them.

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::types::Keypair;
use crate::types::words::{WORD_BITS, number_of, word};

/// How many words there are.
pub const RECOVERY_WORDS: usize = 24;
const ROOT_CONTEXT: &str = "privstack-sync 2026-11-22 vault root key";
/// 24 of the longest words, with room for numbers, blanks and line ends between them.
const MAX_TEXT: usize = 1_024;

/// The 24 words that stand for `entropy`, one blank between them.
pub fn recovery_words(entropy: &Zeroizing<[u8; 32]>) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(RECOVERY_WORDS * 9));
    let bytes = entropy.iter().copied().chain([checksum(entropy)]);
    // The bits read so far that no word stands for yet.
    let (mut bits, mut held) = (Zeroizing::new(0_u32), 0);
    for byte in bytes {
        *bits = *bits << 8 | u32::from(byte);
        held += 8;
        if held >= WORD_BITS {
            held -= WORD_BITS;
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(word((*bits >> held) as u16));
        }
    }
    text
}

/// What 24 words stand for. Forgives capital letters and any blanks or line ends; the error never repeats a word.
pub fn parse_recovery_words(text: &str) -> Result<Zeroizing<[u8; 32]>> {
    let count = text.split_whitespace().take(RECOVERY_WORDS + 1).count();
    if text.len() > MAX_TEXT || count != RECOVERY_WORDS {
        return Err(Error::invalid(format!("recovery words are {RECOVERY_WORDS} words; check that none is missing")));
    }
    let lower = Zeroizing::new(text.to_ascii_lowercase());
    let mut bytes = Zeroizing::new([0; 33]);
    let mut free = bytes.iter_mut();
    let (mut bits, mut held) = (Zeroizing::new(0_u32), 0);
    for (place, word) in (1..).zip(lower.split_whitespace()) {
        let number = number_of(word).ok_or_else(|| {
            Error::invalid(format!("word {place} is not one of the recovery words' list; check its spelling"))
        })?;
        *bits = *bits << WORD_BITS | u32::from(number);
        held += WORD_BITS;
        while held >= 8 {
            held -= 8;
            if let Some(byte) = free.next() {
                *byte = (*bits >> held) as u8;
            }
        }
    }
    let (entropy, sum) = bytes.split_first_chunk().unwrap_or((&[0; 32], &[]));
    let entropy = Zeroizing::new(*entropy);
    match sum == [checksum(&entropy)] {
        true => Ok(entropy),
        false => Err(Error::invalid("the recovery words do not belong together: one is wrong, or two are swapped")),
    }
}

/// BIP-39's: 8 bits for 32 bytes.
fn checksum(entropy: &Zeroizing<[u8; 32]>) -> u8 {
    Sha256::digest(**entropy)[0]
}

/// The vault's root key pair of a recovery secret.
pub fn root_keypair(entropy: &Zeroizing<[u8; 32]>) -> Keypair {
    Keypair::from_seed(&Zeroizing::new(blake3::derive_key(ROOT_CONTEXT, &**entropy)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test;

    #[test]
    fn words_read_back_also_when_typed_carelessly() {
        for byte in [0, 0x7f, 0x80, 0xff] {
            let entropy = Zeroizing::new([byte; 32]);
            let words = recovery_words(&entropy);
            assert_eq!(words.split(' ').count(), RECOVERY_WORDS);
            assert_eq!(parse_recovery_words(&words).unwrap(), entropy);
            let careless = format!("\n {} \r\n", words.to_uppercase().replace(' ', "  \n"));
            assert_eq!(parse_recovery_words(&careless).unwrap(), entropy);
        }
    }

    #[test]
    fn the_words_are_those_of_bip39() {
        // BIP-39's own test vectors: 32 zero bytes, and 32 bytes of 0x7f.
        let zero = recovery_words(&Zeroizing::new([0; 32]));
        assert_eq!(*zero, format!("{}art", "abandon ".repeat(23)));
        let words = recovery_words(&Zeroizing::new([0x7f; 32]));
        assert!(words.starts_with("legal winner thank year wave sausage worth useful"), "{}", *words);
        assert!(words.ends_with("title"), "{}", *words);
    }

    #[test]
    fn wrong_words_are_told_apart_and_never_repeated() {
        let words = recovery_words(&Zeroizing::new([5; 32]));
        let mut list: Vec<&str> = words.split(' ').collect();
        let short = parse_recovery_words(&list[..23].join(" ")).unwrap_err();
        assert!(short.message().contains("24 words"), "{short}");
        list[3] = "xyzzy";
        let unknown = parse_recovery_words(&list.join(" ")).unwrap_err();
        assert!(unknown.message().contains("word 4") && !unknown.message().contains("xyzzy"), "{unknown}");
        list[3] = if words.split(' ').nth(3) == Some("zoo") { "abandon" } else { "zoo" };
        assert!(parse_recovery_words(&list.join(" ")).is_err());
        assert!(parse_recovery_words(&"a ".repeat(1_000_000)).is_err());
        assert!(parse_recovery_words("").is_err());
    }

    #[test]
    fn the_root_key_is_not_the_secret_itself() {
        let entropy = Zeroizing::new([5; 32]);
        assert_ne!(*root_keypair(&entropy).seed(), *entropy);
    }
}
