//! Tests of the room as a whole.

mod behaviour;
mod hostile;
mod order;
#[cfg(feature = "text")]
mod texts;
mod world;
