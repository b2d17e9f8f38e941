//! Sealing to one device: HPKE (RFC 9180) in base mode with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and
//! ChaCha20Poly1305, to the X25519 form of the device's own key. Says nothing about who sealed it.

use std::convert::Infallible;

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable, single_shot_open, single_shot_seal_with_rng};
use zeroize::Zeroizing;

use crate::error::{Error, ErrorCode, Result};
use crate::types::{Keypair, PeerId, VaultId};

/// Bytes that sealing adds.
pub const SEAL_OVERHEAD: usize = ENCAPPED + 16;
/// Bytes of the encapsulated key in front.
const ENCAPPED: usize = 32;
const ENTROPY_CONTEXT: &str = "privstack-sync 2026-11-22 seal entropy";

/// Seals `plain` so that only `recipient` reads it, and only as what it was sealed for: this vault and purpose.
/// `entropy` is 32 fresh random bytes. Fails with `invalid` where `recipient` is no usable key.
pub fn seal(
    recipient: &PeerId,
    vault: &VaultId,
    purpose: &str,
    plain: &[u8],
    entropy: &Zeroizing<[u8; 32]>,
) -> Result<Vec<u8>> {
    let unusable = || Error::invalid(format!("{recipient} is not a key that can be sealed to; check the peer id"));
    let public = recipient.x25519_public().map_err(|_| unusable())?;
    let public = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(&public).map_err(|_| unusable())?;
    let info = info(recipient, vault, purpose);
    let (encapped, sealed) = single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeS::Base,
        &public,
        &info,
        plain,
        &[],
        &mut Expanded::new(entropy, &info, plain),
    )
    .map_err(|_| unusable())?;
    Ok([&encapped.to_bytes()[..], &sealed].concat())
}

/// Opens what was sealed to this device for this vault and purpose; else fails with `invalid`.
pub fn unseal(device: &Keypair, vault: &VaultId, purpose: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let damaged = || Error::invalid("sealed data that is damaged, or was not sealed to this device for this purpose");
    let (encapped, sealed) = sealed.split_at_checked(ENCAPPED).ok_or_else(damaged)?;
    let encapped = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(encapped).map_err(|_| damaged())?;
    let secret = device.x25519_secret();
    let secret = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(&*secret).map_err(|_| damaged())?;
    single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        &secret,
        &encapped,
        &info(&device.peer_id(), vault, purpose),
        sealed,
        &[],
    )
    .map(Zeroizing::new)
    .map_err(|_| damaged())
}

fn info(recipient: &PeerId, vault: &VaultId, purpose: &str) -> Vec<u8> {
    [b"privstack-sync/seal/1\0", purpose.as_bytes(), b"\0", &vault.0, &recipient.0].concat()
}

/// The random numbers that HPKE asks for, from the entropy that the core was given. What is sealed, and for whom, goes
/// in too: even entropy that is used twice never makes the same key for two things.
struct Expanded {
    key: Zeroizing<[u8; 32]>,
    next: u64,
}

impl Expanded {
    fn new(entropy: &Zeroizing<[u8; 32]>, info: &[u8], plain: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(ENTROPY_CONTEXT);
        hasher.update(&**entropy).update(&(info.len() as u64).to_le_bytes()).update(info).update(plain);
        Self { key: Zeroizing::new(*hasher.finalize().as_bytes()), next: 0 }
    }
}

impl TryRng for Expanded {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        blake3::Hasher::new_keyed(&self.key).update(&self.next.to_le_bytes()).finalize_xof().fill(out);
        self.next = self.next.wrapping_add(1);
        Ok(())
    }
}

impl TryCryptoRng for Expanded {}

/// Why opening failed, where the caller knows that it was meant for this device.
pub(super) fn not_for_us(recipient: &PeerId) -> Error {
    Error::new(ErrorCode::Invalid, format!("this is sealed to {recipient}, not to this device"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test;

    const VAULT: VaultId = VaultId([9; 32]);

    #[test]
    fn only_the_recipient_opens_it_and_only_for_the_same_vault_and_purpose() {
        let (alice, bob) = (Keypair::from_seed(&[1; 32]), Keypair::from_seed(&[2; 32]));
        let sealed = seal(&alice.peer_id(), &VAULT, "key", b"secret", &Zeroizing::new([3; 32])).unwrap();
        assert_eq!(sealed.len(), 6 + SEAL_OVERHEAD);
        assert_eq!(&**unseal(&alice, &VAULT, "key", &sealed).unwrap(), b"secret");
        assert!(unseal(&bob, &VAULT, "key", &sealed).is_err());
        assert!(unseal(&alice, &VaultId([8; 32]), "key", &sealed).is_err());
        assert!(unseal(&alice, &VAULT, "invite", &sealed).is_err());
        for index in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[index] ^= 1;
            assert!(unseal(&alice, &VAULT, "key", &flipped).is_err(), "byte {index}");
            assert!(unseal(&alice, &VAULT, "key", &sealed[..index]).is_err());
        }
    }

    #[test]
    fn the_same_entropy_never_gives_two_things_the_same_ephemeral_key() {
        let alice = Keypair::from_seed(&[1; 32]).peer_id();
        let sealed = |plain: &[u8]| seal(&alice, &VAULT, "key", plain, &Zeroizing::new([3; 32])).unwrap();
        assert_eq!(sealed(b"a"), sealed(b"a"));
        assert_ne!(sealed(b"a")[..32], sealed(b"b")[..32]);
    }

    #[test]
    fn keys_that_are_no_curve_points_or_of_small_order_are_refused() {
        for bytes in [[0; 32], [0xff; 32], [2; 32]] {
            let mut one = [0; 32];
            one[0] = 1; // the neutral element
            for key in [bytes, one] {
                let result = seal(&PeerId(key), &VAULT, "key", b"secret", &Zeroizing::new([3; 32]));
                if PeerId(key).x25519_public().is_err() || key == one {
                    assert_eq!(result.unwrap_err().code(), ErrorCode::Invalid);
                }
            }
        }
    }
}
