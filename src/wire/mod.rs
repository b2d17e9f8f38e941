//! What goes over the wire: frames, messages, blocks. Everything here takes any bytes and never panics.

mod block;
mod codec;
mod message;
mod names;
#[cfg(test)]
mod tests;

pub use block::*;
pub use codec::MAX_ERROR_TEXT_BYTES;
pub use message::*;
