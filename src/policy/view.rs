//! What a set of membership operations comes to: who is a member, and what each may do.

use super::roles::{EntityAcl, PolicyKind, SyncRole, TeamId};
use crate::types::{Hash, HybridTimestamp, PeerId, SortedMap, SortedSet};

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
    /// Its teams: what the latest `SetTeams` agree on.
    pub teams: SortedSet<TeamId>,
}

/// The evaluation of a set of membership operations.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// Which rules the vault follows.
    pub kind: PolicyKind,
    /// The recovery key's public key: it may sign any operation, and is no member by that.
    pub root: PeerId,
    /// The members.
    pub members: SortedMap<PeerId, Member>,
    /// The access lists by type. The entries of one list are a union; where concurrent operations have set several
    /// lists, each must admit.
    pub acls: SortedMap<String, Vec<Vec<EntityAcl>>>,
}

impl View {
    /// The role of a member; `None` for all others.
    pub fn role(&self, peer: &PeerId) -> Option<SyncRole> {
        self.members.get(peer).map(|member| member.role)
    }

    /// Whether `peer` may read this type. Personal: every member. Enterprise: Admins read every type, others where an
    /// entry of the type has their role and, if it names one, their team.
    pub fn may_read(&self, entity_type: &str, peer: &PeerId) -> bool {
        self.access(entity_type, peer).is_some_and(|access| access.read)
    }

    /// Whether `peer` may write this type. Never as ReadOnly. Personal: every other member. Enterprise: where an entry
    /// of the type has their role and, if it names one, their team.
    ///
    /// A type without any entry is denied to Members, but Admins write it: they could give themselves the entry, and
    /// somebody must be able to write the first entity of a new type.
    pub fn may_write(&self, entity_type: &str, peer: &PeerId) -> bool {
        self.access(entity_type, peer).is_some_and(|access| access.write)
    }

    /// [`View::may_write`] of a device that is no member yet and gets this role, in no team.
    pub fn newcomer_may_write(&self, entity_type: &str, role: SyncRole) -> bool {
        self.access_as(entity_type, role, &SortedSet::new()).write
    }

    /// The access list of a type as one list: what all lists that concurrent operations have set admit. Where two of them
    /// ask for different teams, what needs both is left out, though it admits whoever is in both.
    pub fn entries(&self, entity_type: &str) -> Vec<EntityAcl> {
        let mut lists = self.acls.get(entity_type).into_iter().flatten();
        let first = lists.next().cloned().unwrap_or_default();
        lists.fold(first, |known, list| {
            let pairs = known.iter().flat_map(|one| list.iter().map(move |other| (one, other)));
            pairs.filter_map(|(one, other)| EntityAcl::both(one, other)).collect()
        })
    }

    fn access(&self, entity_type: &str, peer: &PeerId) -> Option<Access> {
        self.members.get(peer).map(|member| self.access_as(entity_type, member.role, &member.teams))
    }

    fn access_as(&self, entity_type: &str, role: SyncRole, teams: &SortedSet<TeamId>) -> Access {
        if self.kind == PolicyKind::Personal {
            return Access::personal(role);
        }
        let lists = self.acls.get(entity_type).map(Vec::as_slice).unwrap_or_default();
        Access::by_lists(role, teams, lists)
    }
}

/// What a member may do with a type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Access {
    pub read: bool,
    pub write: bool,
}

impl Access {
    pub fn personal(role: SyncRole) -> Self {
        Self { read: true, write: role != SyncRole::ReadOnly }
    }

    pub fn by_lists(role: SyncRole, teams: &SortedSet<TeamId>, lists: &[Vec<EntityAcl>]) -> Self {
        let admits = |entry: &EntityAcl| {
            entry.allowed_roles.contains(&role) && entry.team_id.as_ref().is_none_or(|team| teams.contains(team))
        };
        let admin = role == SyncRole::Admin;
        // No list at all admits whom an empty one does.
        let all = |list: &Vec<EntityAcl>| if list.is_empty() { admin } else { list.iter().any(admits) };
        let admitted = if lists.is_empty() { admin } else { lists.iter().all(all) };
        Self { read: admin || admitted, write: admitted && role != SyncRole::ReadOnly }
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
