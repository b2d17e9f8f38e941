//! What only a real browser has: IndexedDB, WebCrypto, WebSocket. `make browser` runs this in Chromium and in Firefox.
#![cfg(target_arch = "wasm32")]

#[path = "browser/device.rs"]
mod device;
#[path = "browser/keys.rs"]
mod keys;
#[path = "browser/native_peer.rs"]
mod native_peer;
#[path = "browser/seal.rs"]
mod seal;
#[path = "browser/simulation.rs"]
mod simulation;
#[path = "browser/store.rs"]
mod store;

wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);
