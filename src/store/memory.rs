//! The store in memory.

/// A store in memory.
#[derive(Default, Debug)]
pub struct MemoryStore;
