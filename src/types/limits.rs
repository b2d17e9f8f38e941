//! Limits, checked at the local edit and at the wire before memory is taken (PROTOCOL.md section 11).

/// Events in one commit, and in one block.
pub const MAX_BATCH_SIZE: usize = 1_000;
/// Bytes of one event in its canonical encoding.
pub const MAX_EVENT_BYTES: usize = 1 << 20;
/// Bytes of one commit's events in their canonical encoding.
pub const MAX_COMMIT_BYTES: usize = 4 << 20;
/// Uncompressed bytes after which a block closes.
pub const MAX_BLOCK_BYTES: usize = 60 << 10;
/// Bytes of one frame on the wire, its length prefix not counted.
pub const MAX_FRAME_BYTES: usize = 64 << 10;
/// Bytes of a block that carries one large commit: its events, ids and headers.
pub const MAX_LARGE_BLOCK_BYTES: usize = MAX_COMMIT_BYTES + (256 << 10);
/// Bytes of an item that travels in parts: a fork proof has two blocks.
pub const MAX_ITEM_BYTES: usize = 2 * MAX_LARGE_BLOCK_BYTES + 64;
/// UTF-8 bytes of an entity type or a field name.
pub const MAX_NAME_BYTES: usize = 128;
/// Operations in one event.
pub const MAX_OPS: usize = 1_024;
/// Logs that one event may name as seen.
pub const MAX_SEEN: usize = 4_096;
/// Dots that one `Remove` or clear may name.
pub const MAX_DOTS: usize = 65_536;
/// How deep lists and maps of a value may nest.
pub const MAX_VALUE_DEPTH: usize = 32;
/// Membership heads that one commit or operation may name.
pub const MAX_HEADS: usize = 64;
/// Bytes of one membership operation.
pub const MAX_MEMBERSHIP_OP_BYTES: usize = 48 << 10;
/// Steps of a credential, and its bytes.
pub const MAX_CREDENTIAL_STEPS: usize = 32;
/// See [`MAX_CREDENTIAL_STEPS`].
pub const MAX_CREDENTIAL_BYTES: usize = 16 << 10;
/// UTF-8 bytes of a device's name.
pub const MAX_DEVICE_NAME_BYTES: usize = 128;
