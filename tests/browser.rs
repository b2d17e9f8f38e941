//! What only a real browser has: IndexedDB and WebCrypto. `make browser` runs this in Chromium and in Firefox.
#![cfg(target_arch = "wasm32")]

#[path = "browser/device.rs"]
mod device;
#[path = "browser/keys.rs"]
mod keys;
#[path = "browser/store.rs"]
mod store;

wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);
