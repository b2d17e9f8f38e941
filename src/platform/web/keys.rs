//! The device's identity in the browser: its Ed25519 seed, wrapped by an AES-GCM key that WebCrypto never shows, both in
//! the vault's own database. So a script of this origin can use the key while it runs, but not carry it away.
//!
//! With a passphrase the seed is sealed by the key derived from that before it is wrapped: so the record is of no use
//! without the passphrase, wherever the database was copied to.

use std::path::Path;

use js_sys::{Array, Object, Reflect, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{Crypto, SubtleCrypto};
use zeroize::Zeroizing;

use super::seal::{self, CHANGE};
use super::store::{add_own, exists, own, own_all};
use crate::error::{Error, ErrorCode, Result};
use crate::platform::entropy;
use crate::platform::passphrase::{self, Cost, SALT_BYTES};
use crate::store::SealKey;
use crate::types::Keypair;

/// The record in the database: `{ format, wrap, nonce, sealed }`.
pub(super) const DEVICE: &str = "device";
/// The seed alone is wrapped.
const PLAIN: f64 = 1.0;
/// It was sealed before.
const SEALED: f64 = 2.0;
/// The record of the passphrase: `{ format, salt }`.
pub(super) const SALT: &str = "salt";
/// The format of that: Argon2id at the usual cost.
const ARGON2: f64 = 1.0;
const NONCE_BYTES: usize = 12;
/// What the sealed seed is bound to.
const PURPOSE: &[u8] = b"privstack-sync 1 device key";

#[wasm_bindgen]
extern "C" {
    type Global;
    #[wasm_bindgen(method, getter)]
    fn crypto(this: &Global) -> Option<Crypto>;
    #[wasm_bindgen(method, getter, js_name = subtle)]
    fn subtle_or_none(this: &CryptoOrNone) -> Option<SubtleCrypto>;
    type CryptoOrNone;
}

/// WebCrypto, which browsers give to secure contexts only.
fn subtle() -> Result<SubtleCrypto> {
    let crypto = js_sys::global().unchecked_into::<Global>().crypto();
    crypto.and_then(|crypto| crypto.unchecked_into::<CryptoOrNone>().subtle_or_none()).ok_or_else(|| {
        Error::new(
            ErrorCode::Unsupported,
            "the browser gives no WebCrypto here: serve the page by https, or from localhost",
        )
    })
}

/// Reads the device's key from the database of that name, or makes one where there is none; without a name, one that
/// ends with the page.
///
/// It fails on a record that is damaged, and never writes over one: the key *is* the device.
pub async fn load_or_create(name: &Path, seal: Option<&SealKey>) -> Result<Keypair> {
    let name = name.to_string_lossy();
    if name.is_empty() {
        return Ok(Keypair::from_seed(&*entropy::bytes()?));
    }
    let subtle = subtle()?;
    if let Some(device) = own(&name, DEVICE).await? {
        return Ok(Keypair::from_seed(&*seed_of(&subtle, &name, &device, seal).await?));
    }
    let seed = entropy::bytes()?;
    add_own(&name, DEVICE, record(&subtle, &seed, seal).await?).await?;
    Ok(Keypair::from_seed(&seed))
}

/// Fails with `locked` where the database of that name was made with another passphrase, with one, or without one.
pub async fn check(name: &str, seal: Option<&SealKey>) -> Result<()> {
    let (device, _) = settled(name).await?;
    match device {
        Some(device) => seed_of(&subtle()?, name, &device, seal).await.map(drop),
        None => Ok(()),
    }
}

/// Whether a passphrase seals the store of that name; `None` where no device is in it.
pub async fn is_sealed(name: &str) -> Result<Option<bool>> {
    if !exists(name).await? && !seal::is_left(name).await? {
        return Ok(None);
    }
    let (device, _) = settled(name).await?;
    Ok(device.map(|device| field(&device, "format").as_f64() == Some(SEALED)))
}

/// The salt for the passphrase of the database of that name; made where nothing is there yet.
pub async fn salt(name: &str) -> Result<Vec<u8>> {
    let (device, salt) = settled(name).await?;
    if let Some(record) = salt {
        return salt_of(name, &record);
    }
    if device.is_some() {
        return Err(locked(name, "has no passphrase; open it without one, or set one by `changePassphrase`"));
    }
    let salt = new_salt()?;
    match add_own(name, SALT, salt_record(&salt)?).await {
        Ok(()) => Ok(salt),
        // Another tab was quicker.
        Err(error) => match own(name, SALT).await? {
            Some(record) => salt_of(name, &record),
            None => Err(error),
        },
    }
}

/// The records of device and salt, once no change of the passphrase is under way.
async fn settled(name: &str) -> Result<(Option<JsValue>, Option<JsValue>)> {
    let read = async || -> Result<_> {
        let mut found = own_all(name, &[CHANGE, DEVICE, SALT]).await?.into_iter();
        let mut next = || found.next().flatten();
        Ok((next(), next(), next()))
    };
    let (change, device, salt) = read().await?;
    if seal::is_settled(&change, &device) {
        return Ok((device, salt));
    }
    seal::settle(name).await?;
    read().await.map(|(_, device, salt)| (device, salt))
}

/// A new salt.
pub fn new_salt() -> Result<Vec<u8>> {
    Ok(entropy::bytes()?.get(..SALT_BYTES).unwrap_or_default().to_vec())
}

/// The record of a salt.
pub(super) fn salt_record(salt: &[u8]) -> Result<JsValue> {
    let record = Object::new();
    let made = set(&record, "format", &ARGON2.into()).and_then(|()| set(&record, "salt", &Uint8Array::from(salt)));
    made.map_err(|error| Error::storage(text_of(&error)))?;
    Ok(record.into())
}

fn salt_of(name: &str, record: &JsValue) -> Result<Vec<u8>> {
    let salt = field(record, "salt").dyn_into::<Uint8Array>().map(|salt| salt.to_vec()).unwrap_or_default();
    if field(record, "format").as_f64() != Some(ARGON2) || salt.len() != SALT_BYTES {
        return Err(damaged(name));
    }
    Ok(salt)
}

fn field(record: &JsValue, name: &str) -> JsValue {
    Reflect::get(record, &name.into()).unwrap_or_default()
}

/// The record of the device in the database of that name, as another key seals it; nothing where no device is in it.
pub(super) async fn resealed(name: &str, old: Option<&SealKey>, new: Option<&SealKey>) -> Result<Option<JsValue>> {
    let subtle = subtle()?;
    let Some(device) = own(name, DEVICE).await? else { return Ok(None) };
    let seed = seed_of(&subtle, name, &device, old).await?;
    record(&subtle, &seed, new).await.map(Some)
}

/// The key of a passphrase, by Argon2id: a second or more of work and 64 MiB, on purpose.
pub fn derive(passphrase: &str, salt: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
    passphrase::derive(passphrase, salt, Cost::default())
}

/// The key that a passphrase stands for in the database of that name; holds up the thread while it is derived.
pub async fn of_passphrase(name: &Path, passphrase: &str) -> Result<SealKey> {
    let salt = salt(&name.to_string_lossy()).await?;
    derive(passphrase, &salt).map(SealKey::new)
}

fn damaged(name: &str) -> Error {
    Error::storage(format!(
        "the device key in the database `{name}` is damaged; clear this site's data to become a new device, which must \
         be invited again"
    ))
}

fn locked(name: &str, what: &str) -> Error {
    Error::new(ErrorCode::Locked, format!("the store `{name}` {what}"))
}

/// The seed in a record.
async fn seed_of(
    subtle: &SubtleCrypto,
    name: &str,
    record: &JsValue,
    seal: Option<&SealKey>,
) -> Result<Zeroizing<[u8; 32]>> {
    let (format, plain) = unwrap(subtle, record).await.ok_or_else(|| damaged(name))?;
    let seed = match (format == SEALED, seal) {
        (false, None) => plain,
        (true, Some(key)) => {
            key.unseal(PURPOSE, &plain).ok_or_else(|| locked(name, "has another passphrase than this one"))?
        }
        (true, None) => return Err(locked(name, "is sealed; open it with its passphrase")),
        (false, Some(_)) => return Err(locked(name, "has no passphrase; open it without one")),
    };
    <[u8; 32]>::try_from(seed.as_slice()).map(Zeroizing::new).map_err(|_| damaged(name))
}

/// The record of a seed.
async fn record(subtle: &SubtleCrypto, seed: &[u8; 32], seal: Option<&SealKey>) -> Result<JsValue> {
    let mut plain = Zeroizing::new(seed.to_vec());
    if let Some(key) = seal {
        let random = entropy::bytes()?;
        plain = Zeroizing::new(key.seal(*random.first_chunk().unwrap_or(&[0; 24]), PURPOSE, &plain)?);
    }
    let format = if seal.is_some() { SEALED } else { PLAIN };
    wrap(subtle, format, &plain)
        .await
        .map_err(|error| Error::storage(format!("the browser could not wrap the device key: {}", text_of(&error))))
}

async fn wrap(subtle: &SubtleCrypto, format: f64, plain: &[u8]) -> std::result::Result<JsValue, JsValue> {
    let wrap = new_key(subtle).await?;
    let mut nonce = [0; NONCE_BYTES];
    let random = entropy::bytes().map_err(|error| JsValue::from_str(error.message()))?;
    nonce.copy_from_slice(random.get(..NONCE_BYTES).unwrap_or(&[0; NONCE_BYTES]));
    let sealing = subtle.encrypt_with_object_and_u8_array(&parameters(&nonce)?, wrap.unchecked_ref(), plain)?;
    let sealed = JsFuture::from(sealing).await?;
    let record = Object::new();
    set(&record, "format", &format.into())?;
    set(&record, "wrap", &wrap)?;
    set(&record, "nonce", &Uint8Array::from(&nonce[..]))?;
    set(&record, "sealed", &Uint8Array::new(&sealed))?;
    Ok(record.into())
}

/// The format of a record, and what it wraps.
async fn unwrap(subtle: &SubtleCrypto, record: &JsValue) -> Option<(f64, Zeroizing<Vec<u8>>)> {
    let field = |name: &str| Reflect::get(record, &name.into()).ok();
    let format = field("format")?.as_f64().filter(|format| [PLAIN, SEALED].contains(format))?;
    let wrap = field("wrap")?.dyn_into::<web_sys::CryptoKey>().ok()?;
    let nonce = field("nonce")?.dyn_into::<Uint8Array>().ok()?.to_vec();
    let sealed = field("sealed")?.dyn_into::<Uint8Array>().ok()?.to_vec();
    let opening = subtle.decrypt_with_object_and_u8_array(&parameters(&nonce).ok()?, &wrap, &sealed).ok()?;
    let opened = Uint8Array::new(&JsFuture::from(opening).await.ok()?);
    let plain = Zeroizing::new(opened.to_vec());
    opened.fill(0, 0, opened.length());
    Some((format, plain))
}

/// A key for AES-GCM that can be used and stored, and never read.
async fn new_key(subtle: &SubtleCrypto) -> std::result::Result<JsValue, JsValue> {
    let algorithm = Object::new();
    set(&algorithm, "name", &"AES-GCM".into())?;
    set(&algorithm, "length", &256.into())?;
    let usages = Array::of2(&"encrypt".into(), &"decrypt".into());
    JsFuture::from(subtle.generate_key_with_object(&algorithm, false, &usages)?).await
}

fn parameters(nonce: &[u8]) -> std::result::Result<Object, JsValue> {
    let parameters = Object::new();
    set(&parameters, "name", &"AES-GCM".into())?;
    set(&parameters, "iv", &Uint8Array::from(nonce))?;
    set(&parameters, "additionalData", &Uint8Array::from(PURPOSE))?;
    Ok(parameters)
}

fn set(object: &Object, name: &str, value: &JsValue) -> std::result::Result<(), JsValue> {
    Reflect::set(object, &name.into(), value).map(drop)
}

fn text_of(error: &JsValue) -> String {
    error.dyn_ref::<js_sys::Error>().map_or_else(|| format!("{error:?}"), |error| String::from(error.message()))
}
