//! What a tab asks the engine beside reading and writing, and what it is answered.

use serde::{Deserialize, Serialize};

use super::trust::{AskChange, AuditInfo, CodeInfo, PairPeerInfo, PairStateInfo, PolicyInfo, QuarantinedInfo};
use crate::engine::{Call, Change, Level, NotSynced, Offer, PeerStatus, Reply, Status};
use crate::error::{Error, ErrorCode, Result};
use crate::policy::{AuditRecord, recovery_words};
use crate::types::{EntityId, PeerId};

/// A question.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Ask {
    /// The engine's state.
    Status,
    /// The known devices.
    Peers,
    /// Why something is not in sync.
    Explain(Option<[u8; 16]>),
    /// One hash of what is visible.
    Digest,
    /// Answered when all that is saved has reached this level.
    Settled(AskLevel),
    /// Compare with a peer, or all, now.
    Sync(Option<PeerId>),
    /// Cut all links.
    Pause,
    /// Take links again.
    Resume,
    /// Make all links anew.
    Reconnect,
    /// Sign a device in.
    Invite(PeerId, AskRole),
    /// Join a vault.
    Join(String),
    /// Every change of an entity.
    History([u8; 16]),
    /// A part of a backup.
    Backup(Option<Vec<u8>>),
    /// A part of a backup to take in.
    Restore(Vec<Vec<u8>>),
    /// The recovery words.
    Words,
    /// They are written down.
    WordsSaved,
    /// Call a device so.
    Rename(PeerId, String),
    /// Dial a multiaddress.
    Dial(String),
    /// Show a pairing code; for how many seconds one is valid.
    PairOffer(Option<u32>),
    /// Join by a code or link that was typed or pasted.
    PairJoin(String),
    /// The device that types the code shown here, once the keys are confirmed.
    PairWait,
    /// The user has compared the words; the other device gets this role where this one shows the code.
    PairConfirm(AskRole),
    /// How far pairing is.
    PairState,
    /// The user says no.
    PairReject,
    /// The user gives up.
    PairCancel,
    /// Pairing may go on after too many wrong codes.
    PairUnlock,
    /// Who is in the vault and may do what.
    Policy,
    /// Change that.
    Change(AskChange),
    /// What lies beyond cuts.
    Quarantine,
    /// Write this device's own part of it again.
    WriteAgain,
    /// Entries of the audit log after the one of this number.
    Audit(u64),
}

/// How far writes have come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum AskLevel {
    /// On this device's disk.
    Disk,
    /// On another device's.
    Peer,
}

/// A role, as the engine names them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(target_arch = "wasm32", derive(tsify::Tsify), tsify(missing_as_null))]
#[serde(rename_all = "camelCase")]
pub enum AskRole {
    /// May sign devices in.
    Admin,
    /// May write.
    Member,
    /// May read.
    ReadOnly,
}

/// The answer.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// Done.
    Done,
    /// The engine's state.
    Status(StatusInfo),
    /// The known devices.
    Peers(Vec<PeerInfo>),
    /// Reasons.
    NotSynced(Vec<NotSyncedInfo>),
    /// A hash in hex, an invite.
    Text(String),
    /// Changes.
    History(Vec<ChangeInfo>),
    /// Events sent and received.
    Synced(u64, u64),
    /// A part of a backup, and where the next starts.
    Backup(Vec<Vec<u8>>, Option<Vec<u8>>),
    /// The 24 words, where they are kept.
    Words(Option<String>),
    /// The code to show.
    Code(CodeInfo),
    /// The other device of a pairing.
    PairPeer(PairPeerInfo),
    /// How far pairing is.
    PairState(PairStateInfo),
    /// Who is in the vault and may do what.
    Policy(PolicyInfo),
    /// Entries of the audit log, at most 1,000.
    Audit(Vec<AuditInfo>),
    /// What lies beyond cuts.
    Quarantine(Vec<QuarantinedInfo>),
}

/// Entries of the audit log in one answer.
pub const AUDIT_PAGE: usize = 1_000;

/// What answers a question.
#[derive(Debug)]
pub enum Asked {
    /// A call of the engine.
    Call(Box<Call>),
    /// A dial of this address.
    Dial(String),
}

/// The engine's state, as an app shows it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(target_arch = "wasm32", derive(tsify::Tsify), tsify(missing_as_null))]
#[serde(rename_all = "camelCase")]
pub struct StatusInfo {
    /// Whether links are cut on purpose.
    pub paused: bool,
    /// Peers with an open session.
    pub online: u32,
    /// Those among them that are owed something, or owe.
    pub syncing: u32,
    /// Commits that are not on disk.
    pub unsaved: u32,
    /// Commits that no peer has.
    pub unsent: u32,
    /// Milliseconds since 1970.
    pub last_sync: Option<f64>,
    /// Milliseconds.
    pub clock_offset: Option<f64>,
    /// Whether there is a vault.
    pub vault: Option<String>,
    /// Commits that are held and do not count.
    pub quarantined: u32,
}

/// A device.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(target_arch = "wasm32", derive(tsify::Tsify), tsify(missing_as_null))]
#[serde(rename_all = "camelCase")]
pub struct PeerInfo {
    /// Its peer id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether a session with it is open.
    pub online: bool,
    /// Whether one is being opened.
    pub connecting: bool,
    /// Its role, where it is a member.
    pub role: Option<AskRole>,
    /// `web` or `desktop`.
    pub platform: Platform,
    /// The way.
    pub via: Option<String>,
    /// Milliseconds since 1970.
    pub last_seen: Option<f64>,
    /// Commits that it has and this device lacks.
    pub behind: u32,
    /// Commits that this device has and it lacks.
    pub ahead: u32,
}

/// What a device runs on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(target_arch = "wasm32", derive(tsify::Tsify), tsify(missing_as_null))]
#[serde(rename_all = "camelCase")]
pub enum Platform {
    /// A browser.
    Web,
    /// An operating system.
    Desktop,
}

/// Why something is not in sync.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(target_arch = "wasm32", derive(tsify::Tsify), tsify(missing_as_null))]
#[serde(rename_all = "camelCase")]
pub struct NotSyncedInfo {
    /// The entity, where one was asked about; empty else.
    pub id: String,
    /// The peer.
    pub peer: String,
    /// The reason.
    pub reason: String,
    /// How many commits.
    pub commits: u32,
    /// The type, where the reason is about one.
    pub entity_type: Option<String>,
    /// One sentence for people.
    pub message: String,
}

/// A change.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(target_arch = "wasm32", derive(tsify::Tsify), tsify(missing_as_null))]
#[serde(rename_all = "camelCase")]
pub struct ChangeInfo {
    /// Milliseconds since 1970, by its author's clock.
    pub at: f64,
    /// Its author.
    pub by: String,
    /// "PeerId/epoch in hex" and number.
    pub clock: Vec<(String, f64)>,
    /// The fields that it changes.
    pub fields: Vec<String>,
    /// Whether it counts.
    pub counts: bool,
}

impl Ask {
    /// What answers this; `addresses` are where this device can be reached. Fails with `invalid` where something in it
    /// cannot be read.
    pub fn into_call(self, addresses: &[String]) -> Result<Asked> {
        let call = match self {
            Ask::Status => Call::Status,
            Ask::Peers => Call::Peers,
            Ask::Explain(id) => Call::Explain(id.map(EntityId)),
            Ask::Digest => Call::Digest,
            Ask::Settled(AskLevel::Disk) => Call::Settled(Level::Disk),
            Ask::Settled(AskLevel::Peer) => Call::Settled(Level::Peer),
            Ask::Sync(peer) => Call::ForceSync(peer),
            Ask::Pause => Call::Pause,
            Ask::Resume => Call::Resume,
            Ask::Reconnect => Call::Reconnect,
            Ask::Invite(peer, role) => Call::Invite { peer, role: role.into(), addresses: addresses.to_vec() },
            Ask::Join(invite) => Call::Join(invite),
            Ask::History(id) => Call::History(EntityId(id)),
            Ask::Backup(after) => Call::Backup { after },
            Ask::Restore(items) => Call::Restore { items },
            Ask::Words => Call::RecoveryKey,
            Ask::WordsSaved => Call::RecoverySaved,
            Ask::Rename(peer, name) => Call::Rename(peer, name),
            Ask::Dial(address) => return Ok(Asked::Dial(address)),
            Ask::PairOffer(ttl) => Call::PairOffer(Offer { ttl: ttl.map(u64::from), ..Offer::default() }),
            Ask::PairJoin(code) => Call::PairJoin { code: code.parse()?, addresses: Vec::new() },
            Ask::PairWait => Call::PairWait,
            Ask::PairConfirm(role) => Call::PairConfirm(role.into()),
            Ask::PairState => Call::PairState,
            Ask::PairReject => Call::PairReject,
            Ask::PairCancel => Call::PairCancel,
            Ask::PairUnlock => Call::PairUnlock,
            Ask::Policy => Call::Members,
            Ask::Audit(after) => Call::Audit { after, limit: AUDIT_PAGE },
            Ask::Quarantine => Call::Quarantine,
            Ask::WriteAgain => Call::WriteAgain,
            Ask::Change(change) => Call::Change(change.into_change()?),
        };
        Ok(Asked::Call(Box::new(call)))
    }
}

impl Answer {
    /// The engine's reply as an answer.
    pub fn of(reply: Reply) -> Result<Self> {
        Ok(match reply {
            Reply::Done | Reply::Vault(..) => Answer::Done,
            Reply::Invite(invite) => Answer::Text(invite),
            Reply::Digest(hash) => Answer::Text(hash.to_string()),
            Reply::Status(status) => Answer::Status((*status).into()),
            Reply::Peers(peers) => Answer::Peers(peers.into_iter().map(PeerInfo::from).collect()),
            Reply::NotSynced(reasons) => Answer::NotSynced(reasons.into_iter().map(NotSyncedInfo::from).collect()),
            Reply::History(changes) => Answer::History(changes.into_iter().map(ChangeInfo::from).collect()),
            Reply::Synced { sent, received } => Answer::Synced(sent, received),
            Reply::Backup { items, next } => Answer::Backup(items, next),
            Reply::RecoveryKey(key) => Answer::Words(key.map(|key| recovery_words(&key.0).to_string())),
            Reply::PairingCode(shown) => Answer::Code((*shown).into()),
            Reply::PairingPeer(peer) => Answer::PairPeer((*peer).into()),
            Reply::Paired(peer) => Answer::Text(peer.to_string()),
            Reply::PairingState(state) => Answer::PairState((*state).into()),
            Reply::Audit(page) => {
                let read = |record: AuditRecord| match record.entry {
                    Some(entry) => Ok(entry.into()),
                    None => Err(Error::new(
                        ErrorCode::Storage,
                        format!("entry {} of the audit log is not as it was written", record.number),
                    )),
                };
                Answer::Audit(page.records.into_iter().map(read).collect::<Result<_>>()?)
            }
            Reply::Members(members) => Answer::Policy((*members).into()),
            Reply::Quarantine(told) => Answer::Quarantine(told.into_iter().map(QuarantinedInfo::from).collect()),
            // No tab asks for these.
            Reply::Written(_) | Reply::Entities(_) | Reply::Tab(_) | Reply::TabSaved(_) | Reply::States(_) => {
                return Err(Error::new(ErrorCode::Unsupported, "the engine answered with another kind of reply"));
            }
        })
    }
}

/// A count as JavaScript holds it.
fn count(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl From<Status> for StatusInfo {
    fn from(status: Status) -> Self {
        Self {
            paused: status.paused,
            online: count(status.online as u64),
            syncing: count(status.syncing as u64),
            unsaved: count(status.unsaved),
            unsent: count(status.unsent),
            last_sync: status.last_sync.map(|at| at as f64),
            clock_offset: status.clock_offset.map(|offset| offset as f64),
            vault: status.vault.map(|vault| vault.to_string()),
            quarantined: count(status.quarantined),
        }
    }
}

impl From<PeerStatus> for PeerInfo {
    fn from(peer: PeerStatus) -> Self {
        Self {
            id: peer.peer_id.to_string(),
            name: peer.name,
            role: peer.role.map(AskRole::from),
            online: peer.online,
            connecting: peer.connecting,
            platform: if peer.browser { Platform::Web } else { Platform::Desktop },
            via: peer.via.map(|via| via.as_str().to_owned()),
            last_seen: peer.last_seen.map(|at| at as f64),
            behind: count(peer.behind),
            ahead: count(peer.ahead),
        }
    }
}

impl From<NotSynced> for NotSyncedInfo {
    fn from(reason: NotSynced) -> Self {
        Self {
            id: reason.id.map(|id| id.to_string()).unwrap_or_default(),
            peer: reason.peer.to_string(),
            reason: reason.reason.as_str().to_owned(),
            commits: count(reason.commits),
            entity_type: reason.entity_type.map(|name| name.to_string()),
            message: reason.message,
        }
    }
}

impl From<Change> for ChangeInfo {
    fn from(change: Change) -> Self {
        let clock = change.clock.iter().map(|(log, seq)| (format!("{}/{:016x}", log.author, log.epoch.0), *seq as f64));
        Self {
            at: change.at.millis() as f64,
            by: change.by.to_string(),
            clock: clock.collect(),
            fields: change.fields,
            counts: change.counts,
        }
    }
}
