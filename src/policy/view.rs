//! What a set of membership operations comes to: who is a member, and what each may do.

use std::collections::{BTreeMap, BTreeSet};

use super::roles::{EntityAcl, PolicyKind, SyncRole, TeamId};
use crate::types::{Hash, HybridTimestamp, PeerId};

/// A member as a [`View`] shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its role: the lowest among its latest effective grants.
    pub role: SyncRole,
    /// Its name as the grant gives it; may be empty.
    pub name: String,
    /// When the grant was made, by its author's clock.
    pub added: HybridTimestamp,
    /// Who made the grant: a member, or the root.
    pub by: PeerId,
    /// The grant itself.
    pub grant: Hash,
    /// Its teams; no operation that this version evaluates sets any.
    pub teams: BTreeSet<TeamId>,
}

/// The evaluation of a set of membership operations.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// Which rules the vault follows.
    pub kind: PolicyKind,
    /// The recovery key's public key: it may sign any operation, and is no member by that.
    pub root: PeerId,
    /// The members.
    pub members: BTreeMap<PeerId, Member>,
    /// The access entries by type; several of one type are a union. No operation that this version evaluates sets any.
    pub acls: BTreeMap<String, Vec<EntityAcl>>,
}

impl View {
    /// The role of a member; `None` for all others.
    pub fn role(&self, peer: &PeerId) -> Option<SyncRole> {
        self.members.get(peer).map(|member| member.role)
    }

    /// Whether `peer` may read this type. Personal: every member. Enterprise: Admins read every type, others where an
    /// entry of the type has their role and, if it names one, their team.
    pub fn may_read(&self, entity_type: &str, peer: &PeerId) -> bool {
        self.members.get(peer).is_some_and(|member| {
            self.kind == PolicyKind::Personal
                || member.role == SyncRole::Admin
                || self.entries(entity_type).any(|entry| entry.admits(member))
        })
    }

    /// Whether `peer` may write this type. Never as ReadOnly. Personal: every other member. Enterprise: where an entry
    /// of the type has their role and, if it names one, their team.
    ///
    /// A type without any entry is denied to Members, but Admins write it: they could give themselves the entry, and
    /// somebody must be able to write the first entity of a new type.
    pub fn may_write(&self, entity_type: &str, peer: &PeerId) -> bool {
        self.members.get(peer).is_some_and(|member| match (self.kind, member.role) {
            (_, SyncRole::ReadOnly) => false,
            (PolicyKind::Personal, _) => true,
            (PolicyKind::Enterprise, SyncRole::Admin) if self.entries(entity_type).next().is_none() => true,
            (PolicyKind::Enterprise, _) => self.entries(entity_type).any(|entry| entry.admits(member)),
        })
    }

    fn entries(&self, entity_type: &str) -> impl Iterator<Item = &EntityAcl> {
        self.acls.get(entity_type).into_iter().flatten()
    }
}

/// Rule 1 for grants: whether a member with the role `own` may make a device a member with `role`; `named` tells whether
/// an operation that the granter knows names that device already.
pub(super) fn may_add(kind: PolicyKind, own: SyncRole, role: SyncRole, named: impl FnOnce() -> bool) -> bool {
    match own {
        SyncRole::Admin => true,
        SyncRole::Member => kind == PolicyKind::Personal && role == SyncRole::Member && !named(),
        SyncRole::ReadOnly => false,
    }
}

impl EntityAcl {
    fn admits(&self, member: &Member) -> bool {
        self.allowed_roles.contains(&member.role)
            && self.team_id.as_ref().is_none_or(|team| member.teams.contains(team))
    }
}
