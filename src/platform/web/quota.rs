//! How much the browser lets this origin keep, and whether it may throw it away.

use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{StorageEstimate, StorageManager};

/// Storage of the whole origin, as far as the browser says.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Quota {
    /// Bytes in use; browsers round it.
    pub used: f64,
    /// Bytes that may be used; 0 where the browser does not say.
    pub granted: f64,
    /// The browser deletes nothing by itself.
    pub persistent: bool,
}

#[wasm_bindgen]
extern "C" {
    type Global;
    type Navigator;
    #[wasm_bindgen(method, getter)]
    fn navigator(this: &Global) -> Option<Navigator>;
    #[wasm_bindgen(method, getter)]
    fn storage(this: &Navigator) -> Option<StorageManager>;
}

/// Of the page or the worker; none outside a secure context and in Node.
fn manager() -> Option<StorageManager> {
    js_sys::global().unchecked_into::<Global>().navigator()?.storage()
}

/// What the browser says now.
pub async fn estimate() -> Quota {
    let Some(manager) = manager() else { return Quota::default() };
    let mut quota = Quota { persistent: is_persistent(&manager).await, ..Quota::default() };
    if let Ok(promise) = manager.estimate()
        && let Ok(estimate) = JsFuture::from(promise).await
    {
        let estimate: StorageEstimate = estimate.unchecked_into();
        quota.used = estimate.get_usage().unwrap_or(0.0);
        quota.granted = estimate.get_quota().unwrap_or(0.0);
    }
    quota
}

async fn is_persistent(manager: &StorageManager) -> bool {
    match manager.persisted() {
        Ok(promise) => JsFuture::from(promise).await.is_ok_and(|value| value.is_truthy()),
        Err(_) => false,
    }
}

/// Asks the browser to delete nothing by itself; says whether it agrees. Some ask their user.
pub async fn persist() -> bool {
    let Some(manager) = manager() else { return false };
    if is_persistent(&manager).await {
        return true;
    }
    match manager.persist() {
        Ok(promise) => JsFuture::from(promise).await.is_ok_and(|value| value.is_truthy()),
        Err(_) => false,
    }
}
