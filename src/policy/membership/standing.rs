//! Rule 4: what a set of operations comes to, once it is known which of them are void.

use std::cmp::Reverse;

use super::super::op::{Body, SetRole};
use super::super::op_set::OpSet;
use super::super::roles::{EntityAcl, PolicyKind, SyncRole, TeamId};
use super::super::view::{Access, Member, View};
use super::voids::Voids;
use super::{About, Membership, Node, Right};
use crate::types::{PeerId, SortedSet};

/// A set of operations, without those that are void.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    /// All of it have a lower number.
    pub upto: usize,
    /// It is the union of these; without any, all that is held.
    pub sets: [Option<&'a OpSet>; 2],
    /// And this one.
    pub one: Option<usize>,
    /// But not this one.
    pub except: Option<usize>,
    pub voids: &'a Voids,
}

impl Scope<'_> {
    /// Whether an operation is in the set, void or not.
    pub fn holds(&self, number: usize) -> bool {
        if number >= self.upto || self.except == Some(number) {
            return false;
        }
        let all = self.sets.iter().all(Option::is_none);
        all || self.one == Some(number) || self.sets.iter().flatten().any(|set| set.contains(number))
    }

    /// Whether an operation of the set has effect.
    pub fn has(&self, number: usize) -> bool {
        self.holds(number) && !self.voids.contains(number)
    }
}

/// A member's role, and the grant that gives it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub role: SyncRole,
    pub grant: usize,
}

impl Membership {
    /// The role of a device; `None` where it is no member.
    pub(super) fn standing(&self, peer: &PeerId, scope: &Scope<'_>) -> Option<Standing> {
        let about = self.about(peer)?;
        let removals: Vec<usize> = about.removals.iter().copied().filter(|number| scope.has(*number)).collect();
        let alive = about.adds.iter().rev().any(|number| scope.has(*number) && self.knows_all(*number, &removals));
        if !alive {
            return None;
        }
        let right = |number: usize, node: &Node| scope.voids.right(number).or(node.right);
        let strong = self.listed(&about.grants, scope).any(|(n, node)| right(n, node) == Some(Right::RootOrAdmin));
        let latest = self.latest(&about.grants, scope, |n, node| !strong || right(n, node) == Some(Right::RootOrAdmin));
        let grant = latest.iter().copied().min_by_key(|number| {
            let node = self.nodes.get(*number);
            (Reverse(node.and_then(granted)), node.map(|node| node.op.hash()))
        })?;
        let demoted = latest.iter().any(|grant| self.is_beside_a_demotion(*grant, about, scope));
        let role = if demoted { SyncRole::ReadOnly } else { self.nodes.get(grant).and_then(granted)? };
        Some(Standing { role, grant })
    }

    /// Whether an effective demotion is concurrent with this grant.
    fn is_beside_a_demotion(&self, grant: usize, about: &About, scope: &Scope<'_>) -> bool {
        let Some(node) = self.nodes.get(grant) else { return false };
        (about.restraints.iter().rev().copied())
            // All that arrived before a grant that covers is in its past.
            .take_while(|demotion| *demotion > grant || !node.covers)
            .filter(|demotion| *demotion != grant && scope.has(*demotion))
            .filter_map(|demotion| Some((demotion, self.nodes.get(demotion)?)))
            .filter(|(_, other)| matches!(other.op.body, Body::SetRole(_)))
            .any(|(demotion, other)| !node.past.contains(demotion) && !other.past.contains(grant))
    }

    /// The kind of policy: of concurrent ones the narrower.
    pub(super) fn kind_in(&self, scope: &Scope<'_>) -> PolicyKind {
        let latest = self.latest(&self.lists.policies, scope, |_, _| true);
        let kinds = latest.iter().filter_map(|number| match &self.nodes.get(*number)?.op.body {
            Body::SetPolicy(set) => Some(set.policy),
            _ => None,
        });
        kinds.max().unwrap_or(self.genesis.policy)
    }

    /// A member's teams: what concurrent operations agree on. What was set before a removal went with it.
    fn teams_in(&self, peer: &PeerId, scope: &Scope<'_>) -> SortedSet<TeamId> {
        let Some(about) = self.about(peer).filter(|about| !about.teams.is_empty()) else { return SortedSet::new() };
        let removals: Vec<usize> = about.removals.iter().copied().filter(|number| scope.has(*number)).collect();
        let latest = self.latest(&about.teams, scope, |number, _| self.knows_all(number, &removals));
        let teams = latest.iter().filter_map(|number| match &self.nodes.get(*number)?.op.body {
            Body::SetTeams(set) => Some(set.teams.clone()),
            _ => None,
        });
        teams.reduce(|all, these| all.intersection(&these).cloned().collect()).unwrap_or_default()
    }

    /// The access lists of a type, one for each of several concurrent operations.
    fn acl_in(&self, entity_type: &str, scope: &Scope<'_>) -> Vec<Vec<EntityAcl>> {
        let Some(list) = self.lists.acls.get(entity_type) else { return Vec::new() };
        let mut latest: Vec<&Node> =
            self.latest(list, scope, |_, _| true).iter().filter_map(|number| self.nodes.get(*number)).collect();
        latest.sort_by_key(|node| node.op.hash());
        let entries = latest.into_iter().filter_map(|node| match &node.op.body {
            Body::SetAcl(set) => Some(set.entries.clone()),
            _ => None,
        });
        entries.collect()
    }

    /// What a device may do with a type; `None` where it is no member.
    pub(super) fn access(&self, peer: &PeerId, entity_type: &str, scope: &Scope<'_>) -> Option<Access> {
        let role = self.standing(peer, scope)?.role;
        let kind = self.kind_in(scope);
        if kind == PolicyKind::Personal {
            return Some(Access::personal(role));
        }
        Some(Access::by_lists(role, &self.teams_in(peer, scope), &self.acl_in(entity_type, scope)))
    }

    fn name_in(&self, peer: &PeerId, scope: &Scope<'_>) -> Option<String> {
        let names = &self.about(peer)?.names;
        let latest = self.latest(names, scope, |_, _| true);
        let node = latest.iter().filter_map(|number| self.nodes.get(*number)).min_by_key(|node| node.op.hash())?;
        match &node.op.body {
            Body::SetName(set) => Some(set.name.clone()),
            _ => None,
        }
    }

    pub(super) fn view_of<'a>(&self, peers: impl Iterator<Item = &'a PeerId>, scope: &Scope<'_>) -> View {
        let members = peers
            .filter_map(|peer| {
                let standing = self.standing(peer, scope)?;
                let op = &self.nodes.get(standing.grant)?.op;
                let name = self.name_in(peer, scope).or_else(|| op.grant().map(|(_, _, name)| name.to_owned()));
                let member = Member {
                    role: standing.role,
                    name: name.or_else(|| self.first_name(peer, scope)).unwrap_or_default(),
                    added: op.hlc,
                    by: op.author,
                    grant: op.hash(),
                    teams: self.teams_in(peer, scope),
                };
                Some((*peer, member))
            })
            .collect();
        let acls = (self.lists.acls.keys())
            .map(|name| (name.as_str().to_owned(), self.acl_in(name.as_str(), scope)))
            .filter(|(_, lists)| !lists.is_empty())
            .collect();
        View { kind: self.kind_in(scope), root: self.genesis.root, members, acls }
    }

    /// The name in an Add, where a `SetRole` gives the role: of several the one of the lowest hash.
    fn first_name(&self, peer: &PeerId, scope: &Scope<'_>) -> Option<String> {
        let adds = self.latest(&self.about(peer)?.adds, scope, |_, _| true);
        let node = adds.iter().filter_map(|number| self.nodes.get(*number)).min_by_key(|node| node.op.hash())?;
        node.op.grant().map(|(_, _, name)| name.to_owned())
    }

    /// Whether all of these are in the past of an operation.
    fn knows_all(&self, number: usize, earlier: &[usize]) -> bool {
        self.nodes.get(number).is_some_and(|node| earlier.iter().all(|earlier| node.past.contains(*earlier)))
    }

    /// Those of a list that have effect, from the last to arrive.
    fn listed<'a>(&'a self, list: &'a [usize], scope: &'a Scope<'_>) -> impl Iterator<Item = (usize, &'a Node)> {
        let end = list.partition_point(|number| *number < scope.upto);
        (list.get(..end).unwrap_or_default().iter().rev())
            .filter(|number| scope.has(**number))
            .filter_map(|number| Some((*number, self.nodes.get(*number)?)))
    }

    /// Those of a list that have effect and are in no other's past. Nothing that arrived later is in the past of what
    /// arrived earlier, so one look from the last to the first finds them.
    pub(super) fn latest(
        &self,
        list: &[usize],
        scope: &Scope<'_>,
        wanted: impl Fn(usize, &Node) -> bool,
    ) -> Vec<usize> {
        let mut latest: Vec<(usize, &Node)> = Vec::new();
        for (number, node) in self.listed(list, scope).filter(|(number, node)| wanted(*number, node)) {
            if !latest.iter().any(|(_, later)| later.past.contains(number)) {
                latest.push((number, node));
            }
            if node.covers {
                break; // all that arrived before it is in its past
            }
        }
        latest.into_iter().map(|(number, _)| number).collect()
    }
}

fn granted(node: &Node) -> Option<SyncRole> {
    match &node.op.body {
        Body::SetRole(SetRole { role, .. }) => Some(*role),
        _ => node.op.grant().map(|(_, role, _)| role),
    }
}
