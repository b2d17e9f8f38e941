//! A sync engine for local-first apps: one vault of notes, tasks and the like, the same on every device, with no server
//! that can read it.
//!
//! The rooms of the crate, from the ground up; imports point down only:
//!
//! | room | what lives there |
//! |---|---|
//! | [`error`] | one table of error codes |
//! | [`types`] | ids, time, clocks, values, events, commits, limits |
//! | [`crdt`] | how field operations merge |
//! | [`wire`] | frames, messages, blocks |
//! | [`policy`] | membership, validity, who may read and write what |
//! | [`store`] | the store's contract, its in-memory form, one conformance suite |
//! | [`protocol`] | one conversation with one peer |
//! | [`pairing`] | how two devices that have never met become trusted |
//! | [`engine`] | `SyncEngine::handle(now, input)`: ties the rooms above together |
//! | [`tabs`] | one engine, several tabs: replicas, and who leads |
//! | [`transport`] | the seam to networks, and libp2p |
//! | [`platform`] | native, web, sim: the same names, different worlds |
//! | [`orchestrator`] | runs the engine over a platform |

#[cfg(all(target_arch = "wasm32", feature = "p2p", feature = "text"))]
pub mod bindings;
pub mod crdt;
pub mod engine;
pub mod error;
// It needs a network to configure; the web's world comes with its own issue.
#[cfg(feature = "p2p")]
pub mod orchestrator;
pub mod pairing;
pub mod platform;
pub mod policy;
pub mod protocol;
#[cfg(all(feature = "relay", not(target_arch = "wasm32")))]
pub mod relay;
pub mod store;
#[cfg(feature = "text")]
pub mod tabs;
pub mod transport;
pub mod types;
pub mod wire;

// The core's unit tests run natively and in wasm: `use crate::test;` picks the attribute.
#[cfg(all(test, not(target_arch = "wasm32")))]
pub(crate) use core::prelude::v1::test;
#[cfg(all(test, target_arch = "wasm32"))]
pub(crate) use wasm_bindgen_test::wasm_bindgen_test as test;
