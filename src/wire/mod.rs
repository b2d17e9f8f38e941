//! What goes over the wire: frames, messages, blocks. Everything here takes any bytes and never panics.

mod block;
mod message;

pub use block::*;
pub use message::*;
