//! Roles and kinds of policy.

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
