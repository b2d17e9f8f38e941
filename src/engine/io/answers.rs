//! What the engine answers to a [`Call`](super::Call).

use super::{Members, Via};
use crate::crdt::EntityView;
use crate::engine::tabs::{States, TabOpened, TabSaved};
use crate::pairing::{PairingPeer, ShownCode};
use crate::policy::{AuditPage, SyncRole};
use crate::types::{EntityId, EntityType, Hash, HybridTimestamp, PeerId, SortedMap, VaultId, VectorClock};

/// The answer to a [`Call`](super::Call).
#[derive(Clone, PartialEq, Debug)]
pub enum Reply {
    /// Done.
    Done,
    /// The vault that was made or joined; how many entities of this device's own came along.
    Vault(VaultId, usize),
    /// The recovery key, while it is kept.
    RecoveryKey(Option<RecoveryKey>),
    /// What a tab needs to know.
    Tab(Box<TabOpened>),
    /// What became of a tab's message.
    TabSaved(TabSaved),
    /// States of entities.
    States(Box<States>),
    /// An invite: text to hand to the invited device.
    Invite(String),
    /// The pairing code that is shown now.
    PairingCode(Box<ShownCode>),
    /// The other device of a pairing, and the words that both screens must show alike.
    PairingPeer(Box<PairingPeer>),
    /// Both devices trust each other.
    Paired(PeerId),
    /// How far pairing is.
    PairingState(Box<PairingState>),
    /// The ids written, in the order of the changes.
    Written(Vec<EntityId>),
    /// Entities.
    Entities(Vec<EntityView>),
    /// Changes of an entity.
    History(Vec<Change>),
    /// The engine's state.
    Status(Box<Status>),
    /// Who is in the vault and may do what.
    Members(Box<Members>),
    /// A part of the audit log, from the entry after the one that was named on.
    Audit(Box<AuditPage>),
    /// Known devices.
    Peers(Vec<PeerStatus>),
    /// Reasons.
    NotSynced(Vec<NotSynced>),
    /// What lies beyond cuts and was not written again, at most 1,000 entities.
    Quarantine(Vec<Quarantined>),
    /// A hash.
    Digest(Hash),
    /// What a sync moved, in events.
    Synced {
        /// Events sent.
        sent: u64,
        /// Events received.
        received: u64,
    },
    /// A part of a backup; `next` is where the following part starts, `None` after the last.
    Backup {
        /// The items.
        items: Vec<Vec<u8>>,
        /// The cursor.
        next: Option<Vec<u8>>,
    },
}

/// 32 bytes that recovery words stand for.
#[derive(Clone, PartialEq, Eq)]
pub struct RecoveryKey(pub zeroize::Zeroizing<[u8; 32]>);

impl std::fmt::Debug for RecoveryKey {
    /// Leaves the secret out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RecoveryKey")
    }
}

/// One change of one entity.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// When, by its author's clock.
    pub at: HybridTimestamp,
    /// By whom.
    pub by: PeerId,
    /// The entity's vector clock after it, as its author saw it.
    pub clock: VectorClock,
    /// The fields it changed; `+` stands for `Create`, `-` for `Delete`.
    pub fields: Vec<String>,
    /// Whether it counts, or is in quarantine.
    pub counts: bool,
}

/// The engine's state in short.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// This device.
    pub peer_id: PeerId,
    /// Its vault, once it has one.
    pub vault: Option<VaultId>,
    /// Its name.
    pub device_name: String,
    /// Its role, where it is a member.
    pub role: Option<SyncRole>,
    /// Whether links are cut on purpose.
    pub paused: bool,
    /// Peers with an open session.
    pub online: usize,
    /// Sessions that still owe something, either way.
    pub syncing: usize,
    /// Local commits that are not on disk yet.
    pub unsaved: u64,
    /// Local commits that no peer is known to hold.
    pub unsent: u64,
    /// Wall clock milliseconds when a session last had nothing owed either way.
    pub last_sync: Option<u64>,
    /// Milliseconds that this clock is ahead of its peers' (the median of what they stamped), if known.
    pub clock_offset: Option<i64>,
    /// Events held, of all types.
    pub events: u64,
    /// Events sent to other devices since the start, one that goes to two devices counted twice.
    pub sent: u64,
    /// New events received from other devices since the start.
    pub received: u64,
    /// Commits in quarantine.
    pub quarantined: u64,
    /// Logs with two branches.
    pub forked: u64,
    /// What each type holds: visible or deleted entities are not counted, logs and commits are.
    pub types: SortedMap<EntityType, TypeStatus>,
}

/// What is held of one type.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TypeStatus {
    /// Logs.
    pub logs: u64,
    /// Commits.
    pub commits: u64,
    /// Events.
    pub events: u64,
}

/// One known device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerStatus {
    /// The device.
    pub peer_id: PeerId,
    /// Its name.
    pub name: String,
    /// Its role, where it is a member.
    pub role: Option<SyncRole>,
    /// Whether a session with it is open.
    pub online: bool,
    /// Whether one is being opened.
    pub connecting: bool,
    /// Whether it runs in a browser, as far as known.
    pub browser: bool,
    /// By which way.
    pub via: Option<Via>,
    /// Wall clock milliseconds of its last message.
    pub last_seen: Option<u64>,
    /// Commits that it holds and this device lacks, as far as known.
    pub behind: u64,
    /// Commits that this device holds and it lacks, as far as known.
    pub ahead: u64,
}

/// How far pairing is, for those who would rather ask than listen.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct PairingState {
    /// The code to show now.
    pub shown: Option<ShownCode>,
    /// The other device, once the keys are confirmed.
    pub peer: Option<PairingPeer>,
    /// The device of the last pairing, once both trust each other.
    pub paired: Option<PeerId>,
}

/// A member of the vault, as [`Output::Members`](super::Output::Members) tells of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrustedPeer {
    /// The device.
    pub peer_id: PeerId,
    /// Its name.
    pub device_name: String,
    /// Its role.
    pub role: SyncRole,
    /// When it was signed in, by the clock of the device that did.
    pub trusted_at: HybridTimestamp,
}

/// Why something is not in sync with a peer (README.md has the table).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Reason {
    /// No link, and no address that answered.
    NoRoute,
    /// One side does not know the other as a member.
    NotTrusted,
    /// The policy keeps it back.
    PolicyDenied,
    /// A key is missing.
    MissingKey,
    /// The peer holds commits that this device lacks.
    Behind,
    /// This device holds commits that the peer lacks.
    Ahead,
    /// Stored, but does not count (yet).
    Quarantined,
    /// The author's log has two branches.
    Forked,
    /// No common protocol version.
    Version,
    /// A bounded place is full.
    Quota,
    /// Links are cut on purpose.
    Paused,
}

impl Reason {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::NoRoute => "no_route",
            Reason::NotTrusted => "not_trusted",
            Reason::PolicyDenied => "policy_denied",
            Reason::MissingKey => "missing_key",
            Reason::Behind => "behind",
            Reason::Ahead => "ahead",
            Reason::Quarantined => "quarantined",
            Reason::Forked => "forked",
            Reason::Version => "version",
            Reason::Quota => "quota",
            Reason::Paused => "paused",
        }
    }
}

/// An entity with what one author wrote into it beyond a cut.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Quarantined {
    /// The author.
    pub by: PeerId,
    /// How many commits that do not count.
    pub commits: u64,
    /// Whether a member has asked the Admins to accept what this author wrote into this type.
    pub requested: bool,
    /// The entity as it would be if they did.
    pub entity: EntityView,
}

/// One thing that is not in sync.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotSynced {
    /// The peer; for quarantine and forks, the author.
    pub peer: PeerId,
    /// The entity type, where the reason is about one.
    pub entity_type: Option<EntityType>,
    /// The entity, where one was asked about.
    pub id: Option<EntityId>,
    /// Why.
    pub reason: Reason,
    /// How many commits, where that is known.
    pub commits: u64,
    /// One sentence for people: what, and what to do.
    pub message: String,
}
