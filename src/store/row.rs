//! The checksum that every stored value ends in.

/// Bytes of checksum after a value.
pub(crate) const SUM_BYTES: usize = 8;

/// The first bytes of BLAKE3 over table, key and value: a value under another key is as wrong as a flipped bit.
fn sum(table: u8, key: &[u8], value: &[u8]) -> [u8; SUM_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[table]);
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key);
    hasher.update(value);
    let mut out = [0; SUM_BYTES];
    hasher.finalize_xof().fill(&mut out);
    out
}

/// The value as it is stored.
pub(crate) fn seal(table: u8, key: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    let sum = sum(table, key, &value);
    value.extend_from_slice(&sum);
    value
}

/// The value that was put, or `None` where the stored bytes are not what was stored.
pub(crate) fn unseal<'a>(table: u8, key: &[u8], stored: &'a [u8]) -> Option<&'a [u8]> {
    let (value, found) = stored.split_last_chunk::<SUM_BYTES>()?;
    (sum(table, key, value) == *found).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test;

    #[test]
    fn a_sealed_value_opens_only_unchanged_in_its_place() {
        let stored = seal(3, b"key", b"value".to_vec());
        assert_eq!(unseal(3, b"key", &stored), Some(&b"value"[..]));
        assert_eq!(unseal(4, b"key", &stored), None, "another table");
        assert_eq!(unseal(3, b"kez", &stored), None, "another key");
        assert_eq!(unseal(3, b"key", stored.get(1..).unwrap_or_default()), None, "a byte missing");
        assert_eq!(unseal(3, b"key", b"short"), None);
        for at in 0..stored.len() {
            let mut flipped = stored.clone();
            flipped[at] ^= 1;
            assert_eq!(unseal(3, b"key", &flipped), None, "a bit flipped in byte {at}");
        }
    }
}
