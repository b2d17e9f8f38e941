//! Keys out of passphrases: Argon2id, the same for browsers and for folders.

use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// Bytes of a salt.
pub const SALT_BYTES: usize = 16;
/// Bytes of a passphrase at most.
pub const MAX_PASSPHRASE_BYTES: usize = 1_024;

/// What a guess at a passphrase costs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cost {
    /// Memory, in KiB.
    pub kib: u32,
    /// Passes over it.
    pub passes: u32,
}

impl Default for Cost {
    /// 64 MiB, 3 passes, one lane: RFC 9106, section 4, second recommendation, with the lanes that a page has.
    fn default() -> Self {
        Self { kib: 64 << 10, passes: 3 }
    }
}

/// The key of a passphrase: a second or more of work, on purpose.
pub fn derive(passphrase: &str, salt: &[u8], cost: Cost) -> Result<Zeroizing<[u8; 32]>> {
    if passphrase.is_empty() || passphrase.len() > MAX_PASSPHRASE_BYTES {
        return Err(Error::invalid(format!("a passphrase has 1 to {MAX_PASSPHRASE_BYTES} bytes")));
    }
    let failed = |error: argon2::Error| Error::invalid(format!("the passphrase cannot be used: {error}"));
    let parameters = argon2::Params::new(cost.kib, cost.passes, 1, Some(32)).map_err(failed)?;
    let mut key = Zeroizing::new([0; 32]);
    argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, parameters)
        .hash_password_into(passphrase.as_bytes(), salt, &mut *key)
        .map_err(failed)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test;

    #[test]
    fn a_passphrase_and_a_salt_give_one_key() {
        let cost = Cost { kib: 64, passes: 1 };
        let key = derive("correct horse", &[1; SALT_BYTES], cost).unwrap();
        assert_eq!(derive("correct horse", &[1; SALT_BYTES], cost).unwrap(), key);
        assert_ne!(derive("correct horsE", &[1; SALT_BYTES], cost).unwrap(), key);
        assert_ne!(derive("correct horse", &[2; SALT_BYTES], cost).unwrap(), key);
        assert!(derive("", &[1; SALT_BYTES], cost).is_err());
        assert!(derive(&"x".repeat(MAX_PASSPHRASE_BYTES + 1), &[1; SALT_BYTES], cost).is_err());
    }
}
