//! What a tab asks about pairing and about who may do what, and what it is answered.

use serde::{Deserialize, Serialize};

use super::answer::AskRole;
use crate::crdt::FieldValue;
use crate::engine::{MemberChange, Members, PairingState, Quarantined};
use crate::error::Result;
use crate::pairing::{PairingPeer, ShownCode};
use crate::policy::{AuditEntry, EntityAcl, Member, PolicyKind, SyncRole, TeamId};
use crate::types::{EntityType, PeerId, Value};

/// A change of who is in the vault or may do what.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(target_arch = "wasm32", derive(tsify::Tsify), tsify(missing_as_null))]
#[serde(rename_all = "camelCase")]
pub enum AskChange {
    /// Remove a device.
    Remove {
        /// Which.
        peer: String,
    },
    /// Give a member another role.
    Role {
        /// Which.
        peer: String,
        /// Its new role.
        role: AskRole,
    },
    /// Put a member into these teams only.
    Teams {
        /// Which.
        peer: String,
        /// The teams.
        teams: Vec<String>,
    },
    /// Say who reads and writes a type.
    #[serde(rename_all = "camelCase")]
    Acl {
        /// The type.
        entity_type: String,
        /// A union of entries.
        entries: Vec<AclInfo>,
    },
    /// Accept what a device wrote beyond its cut.
    Accept {
        /// Which.
        peer: String,
    },
    /// Ask the Admins to.
    AskToAccept {
        /// Which.
        peer: String,
    },
    /// Follow other rules.
    Policy {
        /// Those of an enterprise, or personal ones.
        enterprise: bool,
    },
}

/// Whom a type admits.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(target_arch = "wasm32", derive(tsify::Tsify), tsify(missing_as_null))]
#[serde(rename_all = "camelCase")]
pub struct AclInfo {
    /// The type.
    pub entity_type: String,
    /// The roles that it admits.
    pub allowed_roles: Vec<AskRole>,
    /// The team that it admits only, if any.
    pub team_id: Option<String>,
}

/// A member of the vault.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(target_arch = "wasm32", derive(tsify::Tsify), tsify(missing_as_null))]
#[serde(rename_all = "camelCase")]
pub struct MemberInfo {
    /// Its peer id.
    pub id: String,
    /// Its role.
    pub role: AskRole,
    /// Its teams.
    pub teams: Vec<String>,
}

/// Who is in the vault and may do what.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(target_arch = "wasm32", derive(tsify::Tsify), tsify(missing_as_null))]
#[serde(rename_all = "camelCase")]
pub struct PolicyInfo {
    /// Whether the rules are an enterprise's.
    pub enterprise: bool,
    /// The members.
    pub members: Vec<MemberInfo>,
    /// The access lists.
    pub acls: Vec<AclInfo>,
}

/// A pairing code that is shown.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(target_arch = "wasm32", derive(tsify::Tsify), tsify(missing_as_null))]
#[serde(rename_all = "camelCase")]
pub struct CodeInfo {
    /// To be typed.
    pub code: String,
    /// The same as a link.
    pub uri: String,
    /// Milliseconds since 1970.
    pub expires_at: f64,
}

/// The other device of a pairing.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(target_arch = "wasm32", derive(tsify::Tsify), tsify(missing_as_null))]
#[serde(rename_all = "camelCase")]
pub struct PairPeerInfo {
    /// Its peer id.
    pub id: String,
    /// Its name, as it says.
    pub name: String,
    /// `web` or `desktop`, as it says.
    pub platform: String,
    /// The words that both screens must show alike.
    pub words: Vec<String>,
    /// Whether this device joins the other's vault.
    pub joining: bool,
}

/// How far pairing is.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(target_arch = "wasm32", derive(tsify::Tsify), tsify(missing_as_null))]
#[serde(rename_all = "camelCase")]
pub struct PairStateInfo {
    /// The code that is shown.
    pub shown: Option<CodeInfo>,
    /// The other device, once the keys are confirmed.
    pub peer: Option<PairPeerInfo>,
    /// The device of the last pairing, once both trust each other.
    pub paired: Option<String>,
}

/// An entry of the audit log.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(target_arch = "wasm32", derive(tsify::Tsify), tsify(missing_as_null))]
#[serde(rename_all = "camelCase")]
pub struct AuditInfo {
    /// Its number.
    pub number: f64,
    /// Milliseconds since 1970.
    pub at: f64,
    /// With which device, or about which.
    pub peer: String,
    /// Who did it, or wanted to.
    pub by: String,
    /// What, as [`crate::policy::AuditKind::as_str`] says.
    pub action: String,
    /// Of which type, where it is about one.
    pub entity_type: Option<String>,
    /// Whether it was allowed.
    pub allowed: bool,
    /// How many decisions it stands for.
    pub count: f64,
}

/// An entity with what one author wrote into it beyond a cut.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct QuarantinedInfo {
    /// Its type.
    pub entity_type: String,
    /// Its id.
    pub id: [u8; 16],
    /// The author's peer id.
    pub by: String,
    /// How many commits.
    pub commits: u32,
    /// Whether an Admin was asked to accept what this author wrote into this type.
    pub requested: bool,
    /// Whether its author saw it deleted.
    pub deleted: bool,
    /// Its fields as its author saw them: name, kind, and the bytes of a [`Value`]. A set is a list, a text has no marks.
    pub fields: Vec<(String, u8, Vec<u8>)>,
}

impl From<Quarantined> for QuarantinedInfo {
    fn from(told: Quarantined) -> Self {
        let plain = |value: &FieldValue| match value {
            FieldValue::Register(value) => value.clone(),
            FieldValue::Counter(sum) => Value::Int(*sum),
            FieldValue::Set(items) => Value::List(items.iter().cloned().collect()),
            FieldValue::Text(text, _) => Value::Text(text.clone()),
            FieldValue::Opaque(_) => Value::Null,
        };
        let fields = told.entity.fields.iter().flat_map(|(name, values)| {
            values.iter().map(move |value| (name.to_string(), value.kind() as u8, plain(value).to_bytes()))
        });
        Self {
            entity_type: told.entity.entity_type.to_string(),
            id: told.entity.id.0,
            by: told.by.to_string(),
            commits: u32::try_from(told.commits).unwrap_or(u32::MAX),
            requested: told.requested,
            deleted: told.entity.deleted,
            fields: fields.collect(),
        }
    }
}

impl From<AuditEntry> for AuditInfo {
    fn from(entry: AuditEntry) -> Self {
        let subject = entry.subject;
        Self {
            number: entry.number as f64,
            at: entry.at as f64,
            peer: subject.peer.to_string(),
            by: subject.by.to_string(),
            action: subject.kind.as_str().to_owned(),
            entity_type: subject.entity_type.map(|name| name.to_string()),
            allowed: subject.allowed,
            count: entry.count as f64,
        }
    }
}

impl AskChange {
    /// The change as the engine takes it.
    pub fn into_change(self) -> Result<MemberChange> {
        Ok(match self {
            AskChange::Remove { peer } => MemberChange::Remove(peer.parse()?),
            AskChange::Role { peer, role } => MemberChange::Role { peer: peer.parse()?, role: role.into() },
            AskChange::Teams { peer, teams } => {
                MemberChange::Teams { peer: peer.parse()?, teams: teams.into_iter().map(TeamId).collect() }
            }
            AskChange::Acl { entity_type, entries } => MemberChange::Acl {
                entity_type: EntityType::new(&entity_type)?,
                entries: entries.into_iter().map(EntityAcl::from).collect(),
            },
            AskChange::Accept { peer } => MemberChange::Accept(peer.parse()?),
            AskChange::AskToAccept { peer } => MemberChange::AskToAccept(peer.parse()?),
            AskChange::Policy { enterprise: true } => MemberChange::Policy(PolicyKind::Enterprise),
            AskChange::Policy { enterprise: false } => MemberChange::Policy(PolicyKind::Personal),
        })
    }
}

impl From<AskRole> for SyncRole {
    fn from(role: AskRole) -> Self {
        match role {
            AskRole::Admin => SyncRole::Admin,
            AskRole::Member => SyncRole::Member,
            AskRole::ReadOnly => SyncRole::ReadOnly,
        }
    }
}

impl From<SyncRole> for AskRole {
    fn from(role: SyncRole) -> Self {
        match role {
            SyncRole::Admin => AskRole::Admin,
            SyncRole::Member => AskRole::Member,
            SyncRole::ReadOnly => AskRole::ReadOnly,
        }
    }
}

impl From<AclInfo> for EntityAcl {
    fn from(acl: AclInfo) -> Self {
        Self {
            entity_type: acl.entity_type,
            allowed_roles: acl.allowed_roles.into_iter().map(SyncRole::from).collect(),
            team_id: acl.team_id.map(TeamId),
        }
    }
}

impl From<EntityAcl> for AclInfo {
    fn from(acl: EntityAcl) -> Self {
        Self {
            entity_type: acl.entity_type,
            allowed_roles: acl.allowed_roles.into_iter().map(AskRole::from).collect(),
            team_id: acl.team_id.map(|team| team.0),
        }
    }
}

impl From<Members> for PolicyInfo {
    fn from(members: Members) -> Self {
        let view = members.view;
        let member = |(peer, member): (&PeerId, &Member)| MemberInfo {
            id: peer.to_string(),
            role: member.role.into(),
            teams: member.teams.iter().map(|team| team.0.clone()).collect(),
        };
        Self {
            enterprise: view.kind == PolicyKind::Enterprise,
            members: view.members.iter().map(member).collect(),
            acls: view.acls.keys().flat_map(|name| view.entries(name)).map(AclInfo::from).collect(),
        }
    }
}

impl From<ShownCode> for CodeInfo {
    fn from(shown: ShownCode) -> Self {
        Self {
            code: shown.code.shown().to_string(),
            uri: shown.link.shown().to_string(),
            expires_at: shown.expires_at as f64,
        }
    }
}

impl From<PairingPeer> for PairPeerInfo {
    fn from(peer: PairingPeer) -> Self {
        Self {
            id: peer.peer.to_string(),
            name: peer.about.device_name,
            platform: peer.about.platform,
            words: peer.words.iter().map(|word| (*word).to_owned()).collect(),
            joining: peer.joining,
        }
    }
}

impl From<PairingState> for PairStateInfo {
    fn from(state: PairingState) -> Self {
        Self {
            shown: state.shown.map(CodeInfo::from),
            peer: state.peer.map(PairPeerInfo::from),
            paired: state.paired.map(|peer| peer.to_string()),
        }
    }
}
