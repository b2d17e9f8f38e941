//! What goes over the wire: frames, messages, blocks. Everything here takes any bytes and never panics.

mod message;

pub use message::*;
