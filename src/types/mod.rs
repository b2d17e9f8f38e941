//! The words of the design: ids, time, clocks, values, events, commits, limits. No behaviour beyond their own rules.

mod clock;
pub mod codec;
mod commit;
mod event;
mod ids;
pub mod limits;
pub mod sorted;
mod time;
mod value;
pub mod words;

pub use clock::{Dot, VectorClock};
pub use commit::{
    Commit, CommitHeader, Keypair, LogKey, Signature, StandsFor, encoded_events_hash, events_hash, verify,
};
pub use event::{Event, FieldKind, FieldOp, InFull, ReadNames, Seen, WriteNames};
pub use ids::{EntityId, EntityType, Epoch, FieldName, Hash, LogId, LogName, PeerId, VaultId};
pub use sorted::{SortedMap, SortedSet};
pub use time::{Hlc, HybridTimestamp, Instant};
pub use value::Value;
