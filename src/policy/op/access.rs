//! Who may read and write what, in an enterprise vault.

use super::super::roles::{EntityAcl, PolicyKind, TeamId};
use super::cuts::Cuts;
use crate::types::{EntityType, PeerId, SortedSet};

/// Teams that one operation may name.
pub const MAX_TEAMS: usize = 64;
/// Entries that one type may have.
pub const MAX_ACL_ENTRIES: usize = 64;

/// A member's teams, in place of those that it had.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetTeams {
    /// The device.
    pub peer: PeerId,
    /// Its teams, at most [`MAX_TEAMS`].
    pub teams: SortedSet<TeamId>,
    /// What still counts of the logs that lose the right to write.
    pub cuts: Cuts,
}

/// The access entries of one type, in place of those that it had.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetAcl {
    /// The type.
    pub entity_type: EntityType,
    /// Its entries, at most [`MAX_ACL_ENTRIES`], each of this type; a union. None: only Admins read and write it.
    pub entries: Vec<EntityAcl>,
    /// What still counts of the logs that lose the right to write.
    pub cuts: Cuts,
}

/// The vault follows other rules.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetPolicy {
    /// Which.
    pub policy: PolicyKind,
    /// What still counts of the logs that lose the right to write.
    pub cuts: Cuts,
}
