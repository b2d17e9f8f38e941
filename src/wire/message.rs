//! The messages of the protocol (PROTOCOL.md section 3): nine, plus Ping and Pong.

use std::sync::Arc;

use crate::error::ErrorCode;
use crate::types::{EntityId, EntityType, Hash, LogId, VectorClock};

/// The version that this build speaks.
pub const PROTOCOL_VERSION: u16 = 1;
/// The oldest version that this build still speaks.
pub const OLDEST_PROTOCOL_VERSION: u16 = 1;

/// One message; each travels in one frame, but for [`EventBatchMessage`]s of large commits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// The first frame of a session, from the initiator.
    Hello(HelloMessage),
    /// The answer to it.
    HelloAck(HelloAckMessage),
    /// Asks what the other side holds, or where to go on.
    SyncRequest(SyncRequestMessage),
    /// The answer, and what follows from it.
    SyncState(SyncStateMessage),
    /// Commits, membership operations, fork proofs.
    EventBatch(EventBatchMessage),
    /// How much of them is dealt with.
    EventAck(EventAckMessage),
    /// New commits of their author.
    EventNotify(EventNotifyMessage),
    /// What to push.
    Subscribe(SubscribeMessage),
    /// Something is wrong; ends the session.
    Error(ErrorMessage),
    /// Answered by a `Pong` with the same number.
    Ping(u64),
    /// The answer to a `Ping`.
    Pong(u64),
}

/// In [`HelloMessage::features`]: the sender runs in a browser. It changes nothing but what apps show.
pub const FEATURE_BROWSER: u64 = 1;

/// Initiator to responder: who I am to you. Nothing in it names the vault or its data to a stranger.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HelloMessage {
    /// The oldest and newest protocol version spoken.
    pub versions: (u16, u16),
    /// Bits of optional features; unknown ones are ignored.
    pub features: u64,
    /// Random; keys `proof`.
    pub nonce: [u8; 16],
    /// Keyed hash of vault, both peer ids and the nonce: selects the vault, grants nothing.
    pub proof: Hash,
    /// The sender's membership heads, ascending.
    pub heads: Vec<Hash>,
    /// Membership operations from a known member to the sender's own `AddMember`; empty where the receiver knows it.
    pub credential: Vec<Arc<[u8]>>,
}

/// Responder to initiator: accepted, or why not. Refusals with a reason go to members only.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HelloAckMessage {
    /// Let us sync.
    Accepted {
        /// The version chosen: the highest that both speak.
        version: u16,
        /// What the responder would have said in a `Hello` of its own.
        hello: HelloMessage,
    },
    /// Not now, or not at all.
    Rejected {
        /// Version, paused, busy.
        reason: ErrorCode,
    },
}

/// One log's entry in a frontier.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FrontierEntry {
    /// Which log.
    pub entity_type: EntityType,
    /// Author and epoch.
    pub log: LogId,
    /// The last commit held; of a forked log, at most the last common one.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
    /// Whether two branches are known after it.
    pub forked: bool,
}

/// What a request is about.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Scope {
    /// All that the asker may read.
    #[default]
    All,
    /// These types: the logs in `have` are sent again, each from the commit after its entry; nothing else answers.
    Types(Vec<EntityType>),
    /// These entities: answered by their vector clocks.
    Entities(Vec<(EntityType, EntityId)>),
}

/// How a sender says what it holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FrontierSummary {
    /// Digest over membership heads, fork marks and the frontier of the types that both may read.
    pub digest: Hash,
    /// Short digest of the frontier that the entries are relative to, the last one that both had in common; zero for
    /// the empty frontier.
    pub base: u64,
    /// The entries that changed since `base`: none where there are more than 14 (then `complete` is false). In a request
    /// about types: from where on to send these logs again.
    pub entries: Vec<FrontierEntry>,
    /// Whether `base` and `entries` together are the whole frontier.
    pub complete: bool,
}

/// Either side: this is what I hold; tell me yours, and send me what I lack.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SyncRequestMessage {
    /// Number of the request, for the answer.
    pub id: u32,
    /// About what.
    pub scope: Scope,
    /// What the sender holds of it.
    pub have: FrontierSummary,
}

/// The answer to a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SyncStateMessage {
    /// The request's number.
    pub id: u32,
    /// What it tells.
    pub state: SyncState,
}

/// What a [`SyncStateMessage`] tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SyncState {
    /// The digests are equal: nothing to do.
    Equal,
    /// What the sender holds.
    Have(FrontierSummary),
    /// Short digests a type (the sender could not use `have`): ask for, or tell, the types that differ.
    Types(Vec<(EntityType, u64)>),
    /// All entries of the types that differ; may take several messages, `last` ends them.
    Entries {
        /// The types that these entries are complete for.
        types: Vec<EntityType>,
        /// Their entries.
        entries: Vec<FrontierEntry>,
        /// Whether all types that differ have been told.
        last: bool,
    },
    /// The vector clocks of the entities asked for; an unknown one has an empty clock.
    Clocks(Vec<(EntityType, EntityId, VectorClock)>),
    /// The short hashes of all membership operations held (the heads alone did not tell what is missing).
    Membership(Vec<u64>),
}

/// Something to store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Item {
    /// An encoded block.
    Block(Arc<[u8]>),
    /// An encoded membership operation.
    Membership(Arc<[u8]>),
    /// Two encoded blocks that prove a fork of one log.
    Fork(Arc<[u8]>, Arc<[u8]>),
}

/// Either side: things the other lacks, or a part of one that does not fit into a frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EventBatchMessage {
    /// Whole items.
    Items(Vec<Item>),
    /// Part of one large item ([`Item::to_bytes`]): parts come in order, without other batches between, until `total`
    /// bytes have come.
    Part {
        /// The whole item's length.
        total: u32,
        /// The next bytes of it.
        bytes: Vec<u8>,
    },
}

/// Either side: all that was sent up to here is on disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventAckMessage {
    /// How many bytes of the batch frames of this session, in all, are on disk or need not be.
    pub stored: u64,
    /// The window: how many bytes the sender may have sent beyond `stored`.
    pub window: u32,
}

/// The author of new commits: here they are, live. Stored and acknowledged like a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventNotifyMessage {
    /// The new commits.
    pub items: Vec<Item>,
}

/// Either side: push what is new in this scope as it happens; replaces the subscription before it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SubscribeMessage {
    /// What of.
    pub scope: Scope,
    /// False ends the subscription.
    pub live: bool,
}

/// Either side: something is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ErrorMessage {
    /// What.
    pub code: ErrorCode,
    /// For people; at most 256 bytes, and nothing that a stranger may not know.
    pub message: String,
}
