//! Who is in the vault and may do what: what an app may ask to change, and what it is told.

use super::RecoveryKey;
use crate::policy::{EntityAcl, LogRange, PolicyKind, SyncRole, TeamId, View};
use crate::types::{EntityType, Hash, PeerId, SortedSet};

/// A change of who may do what, signed by this device (or by the vault's recovery key).
#[derive(Clone, PartialEq, Debug)]
pub enum MemberChange {
    /// Give a member another role.
    Role {
        /// The device.
        peer: PeerId,
        /// Its new role.
        role: SyncRole,
    },
    /// Remove a device. What this one holds of its logs still counts, nothing after that; the others get a new vault key.
    Remove(PeerId),
    /// Put a member into these teams, in place of those that it was in.
    Teams {
        /// The device.
        peer: PeerId,
        /// Its teams.
        teams: SortedSet<TeamId>,
    },
    /// Say who reads and writes a type, in place of what was said before.
    Acl {
        /// The type.
        entity_type: EntityType,
        /// A union; none: only Admins.
        entries: Vec<EntityAcl>,
    },
    /// Follow other rules.
    Policy(PolicyKind),
    /// Call a device by this name on all devices: this one, or as an Admin any.
    Name {
        /// The device.
        peer: PeerId,
        /// Its name; may be empty.
        name: String,
    },
    /// Leave the vault: this device is no member any more. What it has written stays.
    Leave,
    /// Ask the Admins to accept what is held of a device beyond its cut.
    AskToAccept(PeerId),
    /// Accept what is held of a device beyond its cut: it counts again. Of a device that is no member any more, accept also
    /// the branches that are held here of its forked logs; other branches of these are dropped everywhere.
    Accept(PeerId),
    /// Make this device an Admin by the vault's recovery key.
    Recover(RecoveryKey),
    /// Cancel operations, also removals, by the vault's recovery key.
    Void {
        /// The recovery key.
        root: RecoveryKey,
        /// Which operations.
        ops: SortedSet<Hash>,
    },
}

/// Who is in the vault and may do what.
#[derive(Clone, PartialEq, Debug)]
pub struct Members {
    /// Members with their names, roles and teams; access lists; the kind of policy. Names that were given on this device
    /// stand in place of the others.
    pub view: View,
    /// What members ask the Admins to accept, and was not accepted yet.
    pub requests: Vec<LogRange>,
}
