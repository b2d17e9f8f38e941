//! Who is a member, as what, under which name.

use super::super::roles::SyncRole;
use super::cuts::Cuts;
use crate::types::{Hash, PeerId, SortedSet};

/// A grant of membership.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AddMember {
    /// The device.
    pub peer: PeerId,
    /// Its role.
    pub role: SyncRole,
    /// Its name as the granter knows it: at most `MAX_DEVICE_NAME_BYTES` bytes, may be empty.
    pub name: String,
}

/// A member gets another role. A lower one than it has by the operations that the author knows is a demotion.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetRole {
    /// The device.
    pub peer: PeerId,
    /// Its new role.
    pub role: SyncRole,
    /// What still counts of the logs that lose the right to write.
    pub cuts: Cuts,
}

/// A device is no member any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remove {
    /// The device.
    pub peer: PeerId,
    /// What still counts of its logs.
    pub cuts: Cuts,
}

/// A device is called otherwise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetName {
    /// The device.
    pub peer: PeerId,
    /// Its name: at most `MAX_DEVICE_NAME_BYTES` bytes, may be empty.
    pub name: String,
}

/// The root cancels operations, also removals. Its own are never cancelled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RootVoid {
    /// Which; held or not.
    pub ops: SortedSet<Hash>,
}
