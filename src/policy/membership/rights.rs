//! Rule 1: which operations their authors had the right to.

use super::super::op::{AddMember, Body, Op, SetName, SetRole};
use super::super::op_set::OpSet;
use super::super::roles::SyncRole;
use super::super::view::may_add;
use super::standing::Scope;
use super::{Membership, Right};
use crate::types::PeerId;

impl Membership {
    /// By which right an operation was made, in the evaluation of its own past, and whether it restrains whom it is
    /// about: a removal, or a demotion.
    pub(super) fn judge(&self, op: &Op, past: &OpSet) -> (Option<Right>, bool) {
        let voids = self.voids_in(past);
        let scope = self.scope(past, &op.parents, &voids);
        let right = self.right_to(&op.author, &op.body, &scope);
        let restrains = right.is_some()
            && match &op.body {
                Body::Remove(_) => true,
                Body::Leave { .. } => op.author != self.genesis.root,
                Body::SetRole(SetRole { peer, role, .. }) => {
                    self.standing(peer, &scope).is_some_and(|standing| *role > standing.role)
                }
                _ => false,
            };
        (right, restrains)
    }

    /// Rule 1 by what `scope` comes to.
    pub(super) fn right_to(&self, author: &PeerId, body: &Body, scope: &Scope<'_>) -> Option<Right> {
        if *author == self.genesis.root {
            return Some(Right::RootOrAdmin);
        }
        let own = self.standing(author, scope)?.role;
        let allowed = match body {
            Body::Genesis(_) | Body::RootVoid(_) | Body::Unknown { .. } => false,
            Body::AddMember(AddMember { peer, role, .. }) => {
                may_add(self.kind_in(scope), own, *role, || self.is_mentioned_in(peer, scope))
            }
            Body::SetName(SetName { peer, .. }) => own == SyncRole::Admin || peer == author,
            Body::Leave { .. } | Body::RaiseCut(_) => true,
            Body::SetRole(_)
            | Body::Remove(_)
            | Body::SetTeams(_)
            | Body::SetAcl(_)
            | Body::SetPolicy(_)
            | Body::AcceptRange(_)
            | Body::AcceptBranch { .. }
            | Body::SetKey(_) => own == SyncRole::Admin,
        };
        allowed.then_some(if own == SyncRole::Admin { Right::RootOrAdmin } else { Right::Member })
    }

    /// Whether any operation of the scope, with effect or without, is about this device.
    fn is_mentioned_in(&self, peer: &PeerId, scope: &Scope<'_>) -> bool {
        *peer == self.genesis.root
            || self.about(peer).is_some_and(|about| {
                [&about.grants, &about.removals, &about.teams, &about.names]
                    .into_iter()
                    .any(|list| list.iter().any(|number| scope.holds(*number)))
            })
    }
}
