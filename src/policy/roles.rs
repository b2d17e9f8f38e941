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
