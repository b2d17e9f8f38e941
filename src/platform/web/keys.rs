//! The device's identity in the browser: its Ed25519 seed, wrapped by an AES-GCM key that WebCrypto never shows, both in
//! the vault's own database. So a script of this origin can use the key while it runs, but not carry it away.

use std::path::Path;

use js_sys::{Array, Object, Reflect, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{Crypto, SubtleCrypto};
use zeroize::{Zeroize, Zeroizing};

use super::store::{add_own, own};
use crate::error::{Error, ErrorCode, Result};
use crate::platform::entropy;
use crate::types::Keypair;

/// The record in the database: `{ format, wrap, nonce, sealed }`.
const RECORD: &str = "device";
const FORMAT: f64 = 1.0;
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
pub async fn load_or_create(name: &Path) -> Result<Keypair> {
    let name = name.to_string_lossy();
    if name.is_empty() {
        return Ok(Keypair::from_seed(&*entropy::bytes()?));
    }
    let subtle = subtle()?;
    if let Some(record) = own(&name, RECORD).await? {
        return open(&subtle, &record).await.map(|seed| Keypair::from_seed(&seed)).ok_or_else(|| {
            Error::storage(format!(
                "the device key in the database `{name}` is damaged; clear this site's data to become a new device, \
                 which must be invited again"
            ))
        });
    }
    let seed = entropy::bytes()?;
    let record = seal(&subtle, &seed)
        .await
        .map_err(|error| Error::storage(format!("the browser could not wrap the device key: {}", text_of(&error))))?;
    add_own(&name, RECORD, record).await?;
    Ok(Keypair::from_seed(&seed))
}

async fn seal(subtle: &SubtleCrypto, seed: &Zeroizing<[u8; 32]>) -> std::result::Result<JsValue, JsValue> {
    let wrap = new_key(subtle).await?;
    let mut nonce = [0; NONCE_BYTES];
    let random = entropy::bytes().map_err(|error| JsValue::from_str(error.message()))?;
    nonce.copy_from_slice(random.get(..NONCE_BYTES).unwrap_or(&[0; NONCE_BYTES]));
    let mut plain = **seed;
    let sealing = subtle.encrypt_with_object_and_u8_array(&parameters(&nonce)?, wrap.unchecked_ref(), &mut plain);
    plain.zeroize();
    let sealed = JsFuture::from(sealing?).await?;
    let record = Object::new();
    set(&record, "format", &FORMAT.into())?;
    set(&record, "wrap", &wrap)?;
    set(&record, "nonce", &Uint8Array::from(&nonce[..]))?;
    set(&record, "sealed", &Uint8Array::new(&sealed))?;
    Ok(record.into())
}

async fn open(subtle: &SubtleCrypto, record: &JsValue) -> Option<Zeroizing<[u8; 32]>> {
    let field = |name: &str| Reflect::get(record, &name.into()).ok();
    if field("format")?.as_f64() != Some(FORMAT) {
        return None;
    }
    let wrap = field("wrap")?.dyn_into::<web_sys::CryptoKey>().ok()?;
    let nonce = field("nonce")?.dyn_into::<Uint8Array>().ok()?.to_vec();
    let sealed = field("sealed")?.dyn_into::<Uint8Array>().ok()?.to_vec();
    let opening =
        subtle.decrypt_with_object_and_u8_array(&parameters(&nonce).ok()?, &wrap, &mut sealed.clone()).ok()?;
    let opened = Uint8Array::new(&JsFuture::from(opening).await.ok()?);
    if opened.length() != 32 {
        return None;
    }
    let mut seed = Zeroizing::new([0; 32]);
    opened.copy_to(&mut *seed);
    opened.fill(0, 0, 32);
    Some(seed)
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
