//! The stable codes of all kinds of operations. This build evaluates all but [`COMPACT`], which is kept, forwarded and
//! without effect, as are codes that come later.

/// The start of a vault: root key, policy, first Admin.
pub const GENESIS: u64 = 0;
/// A device becomes a member.
pub const ADD_MEMBER: u64 = 1;
/// A member's role changes.
pub const SET_ROLE: u64 = 2;
/// A member is no member any more.
pub const REMOVE: u64 = 3;
/// A member's teams change.
pub const SET_TEAMS: u64 = 4;
/// The access entries of a type change.
pub const SET_ACL: u64 = 5;
/// The kind of policy changes.
pub const SET_POLICY: u64 = 6;
/// Commits beyond a cut are accepted.
pub const ACCEPT_RANGE: u64 = 7;
/// A member asks that commits beyond a cut be accepted; without effect by itself.
pub const RAISE_CUT: u64 = 8;
/// One branch of a forked log counts.
pub const ACCEPT_BRANCH: u64 = 9;
/// A new vault key, sealed to the members.
pub const SET_KEY: u64 = 10;
/// A device's name changes.
pub const SET_NAME: u64 = 11;
/// A member removes itself.
pub const LEAVE: u64 = 12;
/// The root declares operations void.
pub const ROOT_VOID: u64 = 13;
/// A type is compacted up to a frontier.
pub const COMPACT: u64 = 14;
