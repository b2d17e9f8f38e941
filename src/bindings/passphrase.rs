//! The passphrase of a store: its key, and its change while no tab has the store open.

use std::pin::pin;
use std::time::Duration;

use js_sys::Function;
use tokio::sync::mpsc;
use wasm_bindgen::prelude::*;
use zeroize::{Zeroize, Zeroizing};

use super::convert::to_error;
use super::tab::LEAVE;
use crate::error::{Error, ErrorCode, Result};
use crate::platform::web::seal::NewSeal;
use crate::platform::web::tabs::{Channel, Lock, lock_name};
use crate::platform::web::{keys, seal};
use crate::store::SealKey;

/// How long other tabs may take to save and to close the store.
const LEAVE_LIMIT: Duration = Duration::from_secs(10);

type Thrown<T> = std::result::Result<T, JsValue>;

/// The salt for a store's passphrase.
#[wasm_bindgen(js_name = passphraseSalt)]
pub async fn passphrase_salt(name: String) -> Thrown<Vec<u8>> {
    keys::salt(&name).await.map_err(|error| to_error(&error))
}

/// The salt for a passphrase that comes in the place of another.
#[wasm_bindgen(js_name = newSalt)]
pub fn new_salt() -> Thrown<Vec<u8>> {
    keys::new_salt().map_err(|error| to_error(&error))
}

/// The key of a passphrase: takes seconds, so a worker does it.
#[wasm_bindgen(js_name = deriveKey)]
pub fn derive_key(passphrase: &str, salt: &[u8]) -> Thrown<Vec<u8>> {
    keys::derive(passphrase, salt).map(|key| key.to_vec()).map_err(|error| to_error(&error))
}

/// Whether a passphrase seals a store; undefined where there is none.
#[wasm_bindgen(js_name = isSealed)]
pub async fn is_sealed(name: String) -> Thrown<Option<bool>> {
    keys::is_sealed(&name).await.map_err(|error| to_error(&error))
}

/// Seals a store by another key, derived with that salt, or by none; `old` is the key that seals it now. All tabs close
/// it before. `progress` hears how much of how much is done, and ends it by answering `false`, as long as that can be.
#[wasm_bindgen(js_name = changePassphrase)]
pub async fn change_passphrase(
    name: String,
    old: Option<Vec<u8>>,
    new: Option<Vec<u8>>,
    salt: Vec<u8>,
    progress: Function,
) -> Thrown<()> {
    let change = async || {
        let old = old.map(seal_key).transpose()?;
        let new = new.map(seal_key).transpose()?.map(|key| NewSeal { key, salt });
        // Before anybody is asked to close anything.
        keys::check(&name, old.as_ref()).await?;
        let mut progress = |done: u64, total: u64| {
            let answer = progress.call2(&JsValue::UNDEFINED, &(done as f64).into(), &(total as f64).into());
            match answer.is_ok_and(|answer| answer == JsValue::FALSE) {
                true => Err(Error::new(ErrorCode::Aborted, "the passphrase was not changed: the call was given up")),
                false => Ok(()),
            }
        };
        progress(0, 0)?;
        with_all_out(&name, seal::change(&name, old.as_ref(), new.as_ref(), &mut progress)).await
    };
    change().await.map_err(|error| to_error(&error))
}

/// Does it once every tab has closed the store, and while none can open it. `tab_conflict` where one does not let go of it.
async fn with_all_out(name: &str, work: impl Future<Output = Result<()>>) -> Result<()> {
    let name = lock_name(name);
    let (begun, mut beginning) = mpsc::unbounded_channel();
    let channel = Channel::join(&name, move |bytes| {
        if bytes != [LEAVE] {
            let _ = begun.send(());
        }
    })?;
    channel.post(&[LEAVE]);
    let mut work = pin!(async {
        let Some(_lock) = Lock::within(&name, LEAVE_LIMIT).await? else {
            let text = "another tab has the store open and does not close it; close that tab and try again";
            return Err(Error::new(ErrorCode::TabConflict, text));
        };
        work.await
    });
    loop {
        tokio::select! {
            ended = &mut work => return ended,
            // Whoever says something has the store open, or wants to.
            Some(()) = beginning.recv() => channel.post(&[LEAVE]),
        }
    }
}

/// The key out of its 32 bytes, which are erased.
pub fn seal_key(mut bytes: Vec<u8>) -> Result<SealKey> {
    let key = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| Error::invalid("a key has 32 bytes"))?;
    bytes.zeroize();
    Ok(SealKey::new(Zeroizing::new(key)))
}
