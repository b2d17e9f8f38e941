//! The sync engine: `SyncEngine::handle(now, input) -> outputs`.

mod io;

pub use io::*;
