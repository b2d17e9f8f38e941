//! How much this origin keeps. Whether the browser may throw it away is the page's to ask: it shows a question.

use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{StorageEstimate, StorageManager};

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

/// Bytes in use by the whole origin, as far as the browser says; it rounds them.
pub async fn used() -> f64 {
    let Some(Ok(promise)) = manager().map(|manager| manager.estimate()) else { return 0.0 };
    let Ok(estimate) = JsFuture::from(promise).await else { return 0.0 };
    estimate.unchecked_into::<StorageEstimate>().get_usage().unwrap_or(0.0)
}
