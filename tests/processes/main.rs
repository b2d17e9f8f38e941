//! Real processes: devices that are `privstack` on this machine, killed, copied, lied to and cut apart.
#![cfg(all(feature = "cli", not(target_arch = "wasm32")))]

mod audit;
mod convergence;
mod copies;
mod crashes;
mod daily;
mod device;
#[path = "../lan/mod.rs"]
mod lan;
mod meddling;
#[allow(dead_code)] // made for the transport's tests
#[path = "../p2p_support/mod.rs"]
mod p2p_support;
mod pairing;
mod passphrase;
#[cfg(feature = "relay")]
mod relay;
mod revoking;
mod rights;
mod strangers;
