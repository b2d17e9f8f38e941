//! Roles and kinds of policy.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a member may do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum SyncRole {
    /// All, including who else may.
    Admin,
    /// Read and write.
    Member,
    /// Read, and carry others' commits.
    ReadOnly,
}

impl fmt::Display for SyncRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Admin => "Admin",
            Self::Member => "Member",
            Self::ReadOnly => "read-only",
        })
    }
}

/// Which rules a vault was made with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum PolicyKind {
    /// Every member reads all types; all but ReadOnly members write them.
    Personal,
    /// Roles, teams and access lists per type; what is not allowed is denied.
    Enterprise,
}

/// A team of an enterprise vault, by a name that the vault's Admins chose.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct TeamId(pub String);

/// Who may read, and with a role that writes also write, the entities of one type in an enterprise vault.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct EntityAcl {
    /// The type.
    pub entity_type: String,
    /// The roles that it admits.
    pub allowed_roles: Vec<SyncRole>,
    /// The team that it admits only, if any.
    pub team_id: Option<TeamId>,
}

impl EntityAcl {
    /// What two entries of one type both admit, if that is one entry.
    pub(super) fn both(one: &EntityAcl, other: &EntityAcl) -> Option<EntityAcl> {
        let allowed_roles: Vec<SyncRole> =
            one.allowed_roles.iter().copied().filter(|role| other.allowed_roles.contains(role)).collect();
        let team_id = match (&one.team_id, &other.team_id) {
            (Some(team), Some(another)) if team != another => return None,
            (team, another) => team.clone().or_else(|| another.clone()),
        };
        (!allowed_roles.is_empty()).then(|| EntityAcl { entity_type: one.entity_type.clone(), allowed_roles, team_id })
    }
}
