//! The contract of the core: what goes into [`super::SyncEngine::handle`] and what comes out.

mod answers;
mod changes;

pub use answers::*;
pub use changes::*;

use std::sync::Arc;

use super::tabs::{Changed, TabId, TabWrite};
use crate::crdt::Edit;
use crate::error::{Error, ErrorCode, Result};
use crate::pairing::{CodeKind, PairingPeer, ShownCode, SyncCode};
use crate::policy::{AuditEntry, PolicyKind, SyncRole};
use crate::store::{Read, Rows, WriteBatch};
use crate::types::{EntityId, EntityType, Instant, LogId, PeerId};

/// One open stream to one authenticated peer. Numbers are never used again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct LinkId(pub u64);

/// A call of the app; its answer carries the same number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct CallId(pub u64);

/// A write or read that the engine asked for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Ticket(pub u64);

/// By which way a link goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Via {
    /// The same network.
    Lan,
    /// A direct connection.
    Direct,
    /// Through a relay.
    Relay,
}

impl Via {
    /// `lan`, `direct`, `relay`.
    pub fn as_str(self) -> &'static str {
        match self {
            Via::Lan => "lan",
            Via::Direct => "direct",
            Via::Relay => "relay",
        }
    }
}

/// What goes in.
#[derive(Debug)]
pub enum Input {
    /// The app calls.
    Call(CallId, Call),
    /// A stream to an authenticated peer is open.
    LinkUp {
        /// Its number.
        link: LinkId,
        /// The peer as the connection authenticated it.
        peer: PeerId,
        /// Whether this side opened it (and so speaks first).
        initiator: bool,
        /// The way.
        via: Via,
    },
    /// A stream has ended.
    LinkDown(LinkId),
    /// One frame from a peer (without its length prefix, at most `MAX_FRAME_BYTES`).
    Frame(LinkId, Vec<u8>),
    /// The link has sent so many of the bytes that it was given.
    LinkReady(LinkId, usize),
    /// A peer was found (mDNS) or is known at these addresses.
    PeerFound(PeerId, Vec<String>),
    /// A dial ended without a link.
    DialFailed(PeerId, String),
    /// A pairing stream is open; its frames and its end are told as a link's.
    PairingUp {
        /// Its number, of no link.
        link: LinkId,
        /// The peer as the connection authenticated it.
        peer: PeerId,
        /// Whether this side opened it.
        initiator: bool,
    },
    /// A pairing stream that was asked for could not be opened.
    PairingFailed(PeerId, String),
    /// A relay names this device by this number now.
    NameplateClaimed(u16),
    /// Whom the relays name by this number, if anybody.
    NameplateFound(u16, Result<Option<PeerId>>),
    /// A write batch is on disk, or is not and never will be.
    Written(Ticket, Result<()>),
    /// Rows that were asked for.
    Rows(Ticket, Result<Rows>),
    /// The time of an [`Output::WakeAt`] has come; harmless at any time.
    Tick,
}

/// What comes out, to be carried out in order.
#[derive(Debug)]
pub enum Output {
    /// Commit this batch, then say [`Input::Written`]. Batches are committed in the order they come out.
    Write(Ticket, WriteBatch),
    /// Read rows, then say [`Input::Rows`].
    Read(Ticket, Read),
    /// Send a frame (without length prefix).
    Send(LinkId, Vec<u8>),
    /// Close the stream once what was sent is out; the reason is for logs and people.
    HangUp(LinkId, Error),
    /// Connect to a peer: at these addresses, or wherever else it is known to be.
    Dial(PeerId, Vec<String>),
    /// Take pairing streams of anybody, or no more.
    PairingMode(bool),
    /// Open a pairing stream with a peer: at these addresses, or wherever else it is known to be.
    Pair(PeerId, Vec<String>),
    /// Let a relay name this device by a number.
    ClaimNameplate,
    /// Ask the relays whom they name by this number.
    FindNameplate(u16),
    /// The members of the vault, but for this device, are these now; and its policy.
    Members(Arc<Vec<TrustedPeer>>, PolicyKind),
    /// Answer a call.
    Reply(CallId, Result<Reply>),
    /// Tell the app.
    Emit(SyncEvent),
    /// Say [`Input::Tick`] at this time on the monotonic clock; replaces the one before.
    WakeAt(u64),
}

/// A change of one entity in a write.
#[derive(Clone, PartialEq, Debug)]
pub struct EntityEdit {
    /// Which; `None` makes a new entity.
    pub id: Option<EntityId>,
    /// What, in order.
    pub edits: Vec<Edit>,
}

/// What an app can ask of the engine.
#[derive(Clone, PartialEq, Debug)]
pub enum Call {
    /// Make a vault with this device as its first Admin. `root` is the secret seed of the recovery key.
    Init {
        /// This device's name.
        device_name: String,
        /// Personal or enterprise.
        policy: PolicyKind,
        /// 32 bytes that the recovery words stand for; the engine keeps only the public key.
        root: zeroize::Zeroizing<[u8; 32]>,
    },
    /// The recovery key of a vault that a first write or invite made, while it is kept; answers
    /// [`Reply::RecoveryKey`].
    RecoveryKey,
    /// The user has saved it: it is forgotten here.
    RecoverySaved,
    /// Sign a device into the vault; answers [`Reply::Invite`].
    Invite {
        /// The device.
        peer: PeerId,
        /// Its role.
        role: SyncRole,
        /// Where this device can be reached.
        addresses: Vec<String>,
    },
    /// Join a vault by an invite that names this device.
    Join(String),
    /// Show a pairing code; answers [`Reply::PairingCode`]. [`SyncEvent::PairingCode`] tells of each new one.
    PairOffer(Offer),
    /// Join by a pairing code; answers [`Reply::PairingPeer`] once the keys are confirmed.
    PairJoin {
        /// What the user typed.
        code: SyncCode,
        /// The device that shows it is one of those at these multiaddresses, which end in `/p2p/` and its PeerId; none:
        /// any that is found.
        addresses: Vec<String>,
    },
    /// The device that typed the code shown here; answers [`Reply::PairingPeer`] once the keys are confirmed.
    PairWait,
    /// This device's user has compared the words and confirms; where this device shows the code, the other gets this
    /// role. Answers [`Reply::Paired`] when both devices trust each other.
    PairConfirm(SyncRole),
    /// How far pairing is; answers [`Reply::PairingState`]. Fails with the reason where it has ended without trust.
    PairState,
    /// This device's user says no.
    PairReject,
    /// This device's user gives up.
    PairCancel,
    /// Pairing may go on after too many wrong codes.
    PairUnlock,
    /// Whether this is the code that is shown now; counts as a try. Fails with `code_mismatch` if not.
    PairVerify(SyncCode),
    /// Make a device of which the app knows the PeerId a Member.
    TrustPeer {
        /// The device.
        peer: PeerId,
        /// Its name.
        name: String,
        /// Where it can be reached.
        addresses: Vec<String>,
    },
    /// Write entities of one type: one commit, all or none, answered when it is on disk.
    Write {
        /// The type.
        entity_type: EntityType,
        /// 1 to `MAX_BATCH_SIZE` changes.
        changes: Vec<EntityEdit>,
    },
    /// Read one entity; without a type, whichever entities have that id.
    Get {
        /// The type, where known.
        entity_type: Option<EntityType>,
        /// The id.
        id: EntityId,
    },
    /// Read those of these entities that there are, in the order of type and id.
    GetMany {
        /// The type, where known.
        entity_type: Option<EntityType>,
        /// 1 to `MAX_BATCH_SIZE` ids.
        ids: Vec<EntityId>,
    },
    /// Read entities in the order of type and id, after a cursor, at most `limit`.
    List {
        /// One type, or all.
        entity_type: Option<EntityType>,
        /// Where the last page ended.
        after: Option<(EntityType, EntityId)>,
        /// At most so many, 1 to 10,000.
        limit: usize,
    },
    /// Every change of an entity, oldest first.
    History(EntityId),
    /// The engine's state.
    Status,
    /// Known devices.
    Peers,
    /// Why something is not in sync: of one entity, or of everything.
    Explain(Option<EntityId>),
    /// What lies beyond the cuts of removals and demotions, as its authors saw it; answers [`Reply::Quarantine`]. Of logs
    /// with two branches it tells nothing.
    Quarantine,
    /// Write again what of that is this device's own, of the types that it may write: in a new epoch, so that it counts
    /// once also where an Admin accepts the first writing. Fails with `not_found` where there is nothing, with
    /// `policy_denied` or `not_trusted` where this device may not write it.
    WriteAgain,
    /// One hash of the whole visible state.
    Digest,
    /// Keep a link to this peer wanted; it grants nothing.
    AddPeer(PeerId, Vec<String>),
    /// Stop wanting a link to this peer; it revokes nothing.
    RemovePeer(PeerId),
    /// Who is in the vault and may do what; answers [`Reply::Members`].
    Members,
    /// Change that; answered when it is on disk.
    Change(MemberChange),
    /// What was denied, and who changed who may do what, as far as this device has noted it: entries in the order of
    /// their numbers; answers [`Reply::Audit`].
    Audit {
        /// The number of the last entry of the page before; 0 starts.
        after: u64,
        /// At most so many, 1 to 1,000.
        limit: usize,
    },
    /// Call a device by this name on this device; an empty name takes it back.
    Rename(PeerId, String),
    /// A tab begins to work with this engine; answers [`Reply::Tab`]. From now on [`SyncEvent::Changed`] tells of
    /// changes.
    OpenTab(TabId),
    /// Commit a message of a tab; answers [`Reply::TabSaved`] once it is on disk, and a repeat with the same.
    TabWrites {
        /// The tab.
        tab: TabId,
        /// The message's number: higher than that of the message before.
        number: u64,
        /// The log that [`super::TabOpened`] has told.
        log: LogId,
        /// What becomes one commit each, in this order; one that fails says nothing about the others.
        writes: Vec<TabWrite>,
    },
    /// Tell commits of this type from now on, in [`SyncEvent::Changed`].
    Watch(EntityType),
    /// States of the entities of one type in the order of their ids, after a cursor, about `limit` (1 to 10,000) and
    /// never more than twice as many; fewer where they are large. Answers [`Reply::States`].
    States {
        /// The type.
        entity_type: EntityType,
        /// The last id of the page before.
        after: Option<EntityId>,
        /// About so many.
        limit: usize,
    },
    /// States of those of these entities that there are.
    StatesOf {
        /// The type.
        entity_type: EntityType,
        /// 1 to `MAX_BATCH_SIZE` ids.
        ids: Vec<EntityId>,
    },
    /// Compare with a peer now (with all: `None`); answered when nothing is owed either way.
    ForceSync(Option<PeerId>),
    /// Answers when every write before it is at least on this level.
    Settled(Level),
    /// Cut all links and keep them cut.
    Pause,
    /// Take links again.
    Resume,
    /// Dial everybody at once, without the waits after failures: the network has changed.
    Reconnect,
    /// The next part of a backup: all membership operations and blocks, in an order that [`Call::Restore`] can read.
    Backup {
        /// Where the last part ended; `None` starts.
        after: Option<Vec<u8>>,
    },
    /// A part of a backup, in order. In a folder without a vault the first part makes this a device of that vault that
    /// is not a member yet; elsewhere the vault must be the same.
    Restore {
        /// The items of the part.
        items: Vec<Vec<u8>>,
    },
}

/// How a pairing code is shown; what is `None` is as the vault's rules and the defaults have it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Offer {
    /// How codes are spelled.
    pub kind: Option<CodeKind>,
    /// Seconds that one is valid, 10 to 600; 120 by default.
    pub ttl: Option<u64>,
    /// Show a new code when one ends; `true` by default.
    pub renew: Option<bool>,
    /// What the link says of where this device can be reached; none: what is known of it.
    pub addresses: Vec<String>,
    /// The first code, where it was made already.
    pub code: Option<SyncCode>,
}

/// How far a write has come.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Level {
    /// On this device's disk.
    Disk,
    /// On the disk of at least one other device.
    Peer,
}

/// What the engine tells the app.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SyncEvent {
    /// The engine has opened its store and works.
    Started,
    /// The start failed; every call answers the same until a start succeeds. From the orchestrator.
    StartFailed(ErrorCode, String),
    /// The engine has stopped.
    Stopped,
    /// This device can be reached at this address now. From the orchestrator.
    Listening(String),
    /// This device cannot be reached, or no longer, at an address: the address, and why. From the orchestrator.
    ListenFailed(String, String),
    /// A part of the surroundings does not work, the rest goes on; the text says what and what to do. From the
    /// orchestrator.
    Warning(ErrorCode, String),
    /// This reader of the events was too slow: so many events before the next one are lost to it, and it should read
    /// again what it shows. From the orchestrator.
    Lagged(u64),
    /// A session with a member is open.
    PeerConnected(PeerId),
    /// It has ended.
    PeerDisconnected(PeerId),
    /// Nothing is owed either way.
    SyncCompleted(PeerId),
    /// Something failed with this peer; the text says what and what to do, and ends in the code in brackets:
    /// [`Error::from_text`] reads it.
    SyncError(PeerId, String),
    /// These entities show something new.
    EntitiesUpdated(Vec<EntityId>),
    /// The same, and what replicas need to follow, once a tab is open.
    Changed(Arc<Changed>),
    /// This device is in another vault now: replicas start anew.
    VaultChanged,
    /// Who is in the vault, or may do what, has changed.
    MembersChanged,
    /// A device was signed in, or this one was.
    PairingCompleted(PeerId),
    /// This pairing code is to be shown now.
    PairingCode(ShownCode),
    /// The other device of a pairing has the key: show its name, its kind and the words, and ask the user.
    PairingFound(PairingPeer),
    /// A pairing has ended without trust.
    PairingEnded(ErrorCode, String),
    /// The store failed: nothing since the last answer is saved; the engine opens it again.
    StorageFailed(ErrorCode, String),
    /// A stored block does not read back as it was written; it is fetched again from peers.
    StorageDamaged(String),
    /// This device found its own log ahead of itself or forked, and goes on in a new epoch.
    EpochRenewed {
        /// How many of its commits it makes again.
        commits: u64,
    },
    /// The log of this author has two branches; from there on it counts nowhere until it is settled.
    Forked(PeerId),
    /// Part of the log of this author does not count.
    Quarantined(PeerId, u64),
    /// The audit log has a new entry.
    Audited(AuditEntry),
}

/// A frontier position as the bindings show it.
pub type Now = Instant;
