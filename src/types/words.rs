//! BIP-39's 2,048 English words: each stands for 11 bits.

/// One a line, in alphabetical order.
const LIST: &str = include_str!("words.txt");
/// How many bits a word stands for.
pub const WORD_BITS: usize = 11;

/// The word of a number; of its lowest 11 bits, that is.
pub fn word(number: u16) -> &'static str {
    LIST.lines().nth(usize::from(number % (1 << WORD_BITS))).unwrap_or_default()
}

/// The number of a word in small letters; none of another word.
pub fn number_of(word: &str) -> Option<u16> {
    LIST.lines().position(|listed| listed == word).and_then(|place| u16::try_from(place).ok())
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::test;

    #[test]
    fn the_list_is_bip39s() {
        let hash = Sha256::digest(LIST).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hash, "2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda");
    }

    #[test]
    fn words_and_numbers_stand_for_each_other() {
        assert_eq!((word(0), word(2_047)), ("abandon", "zoo"));
        for number in 0..1 << WORD_BITS {
            assert_eq!(number_of(word(number)), Some(number));
        }
        assert_eq!([number_of("xyzzy"), number_of(""), number_of("zoo\n")], [None; 3]);
    }
}
