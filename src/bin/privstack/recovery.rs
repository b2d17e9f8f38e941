//! The 24 recovery words (BIP 39, English): 32 secret bytes from which the vault's root key is made.

use std::fs;
use std::io::Write;
use std::path::Path;

use bip39::{Language, Mnemonic};
use privstack_sync::error::{Error, ErrorCode, Result};
use zeroize::Zeroizing;

use crate::files::{file_error, open_new};

/// New words, from the system's randomness.
pub fn new_words() -> Result<Zeroizing<String>> {
    let mut entropy = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *entropy)
        .map_err(|error| Error::new(ErrorCode::Unsupported, format!("the system gave no random bytes: {error}")))?;
    let words = Mnemonic::from_entropy_in(Language::English, &*entropy)
        .map_err(|error| Error::invalid(format!("no recovery words could be made: {error}")))?;
    Ok(Zeroizing::new(words.to_string()))
}

/// The 32 bytes that words stand for.
pub fn root_of(words: &str) -> Result<Zeroizing<[u8; 32]>> {
    let wrong = || Error::invalid("these are not 24 recovery words; check the spelling and order of each");
    let words = Mnemonic::parse_in_normalized(Language::English, words.trim()).map_err(|_| wrong())?;
    let (entropy, length) = words.to_entropy_array();
    let entropy = Zeroizing::new(entropy);
    let root = entropy.get(..length).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()).ok_or_else(wrong)?;
    Ok(Zeroizing::new(root))
}

/// Writes words into a new file that only its owner may read; refuses a file that exists.
pub fn write_words(path: &Path, words: &str) -> Result<()> {
    let mut file = open_new(path, true).map_err(|error| file_error(path, "made for the recovery words", &error))?;
    let written = file.write_all(words.as_bytes()).and_then(|()| file.write_all(b"\n")).and_then(|()| file.sync_all());
    written.map_err(|error| {
        let _ = fs::remove_file(path);
        file_error(path, "written", &error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_for_the_same_bytes_and_a_wrong_word_is_refused() {
        let words = new_words().unwrap();
        assert_eq!(words.split(' ').count(), 24);
        assert_eq!(root_of(&words).unwrap(), root_of(&format!(" {}\n", *words)).unwrap());
        let twelve: Vec<_> = words.split(' ').take(12).collect();
        assert!(root_of(&twelve.join(" ")).is_err());
        assert!(root_of("").is_err());
        let other = new_words().unwrap();
        assert_ne!(root_of(&words).unwrap(), root_of(&other).unwrap());
    }

    #[test]
    fn a_recovery_file_is_private_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("words");
        write_words(&path, "one two").unwrap();
        assert_eq!(write_words(&path, "three").unwrap_err().code(), ErrorCode::Invalid);
        assert_eq!(fs::read_to_string(&path).unwrap(), "one two\n");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
}
