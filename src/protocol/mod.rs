//! One conversation with one peer, as far as it needs nothing of the engine: the greeting, the credit window, large
//! blocks in parts, and how frontiers are told in few bytes (PROTOCOL.md section 4).

mod parts;
mod summary;
mod version;
mod window;

pub use crate::types::limits::MAX_BATCH_SIZE;
pub use crate::wire::{
    ErrorMessage, EventAckMessage, EventBatchMessage, EventNotifyMessage, HelloAckMessage, HelloMessage,
    PROTOCOL_VERSION, SubscribeMessage, SyncRequestMessage, SyncStateMessage,
};
pub use parts::Parts;
pub use summary::{Frontier, Held, digest, entries_of, summarize, type_digest};
pub use version::choose_version;
pub use window::{ReceiveWindow, SendWindow, WINDOW_BYTES};
