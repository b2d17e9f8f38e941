//! What the npm package is made of: one class, over a replica and, in the tab that leads, an orchestrator.
//!
//! It knows entities as fields in kinds. Schemas, queries and whatever else a TypeScript developer sees are the facade's
//! (`pkg/src`).

mod backup;
mod calls;
mod convert;
mod core;
mod passphrase;
mod qr;
mod reading;
mod tab;
mod testing;

pub use self::core::Core;
