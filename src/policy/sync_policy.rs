//! `SyncPolicy`: what crosses a link. Whether a commit that crossed it counts is for [`super::valid`] to say, which
//! asks about its author, whoever carries it.

use std::sync::Arc;

use super::roles::{PolicyKind, SyncRole};
use super::view::{View, may_add};
use crate::types::PeerId;

/// Decides what may cross a link to a peer.
pub trait SyncPolicy: Send + Sync {
    /// Whether commits of this type may go to this peer: it may read the type. A type that it may not read does not
    /// show in digests, counts or clocks either.
    fn can_send(&self, entity_type: &str, peer_id: &PeerId) -> bool;

    /// Whether commits of this type may come from this peer, its own or those that it carries: it may read the type,
    /// so also a ReadOnly device may carry what others wrote.
    fn can_receive(&self, entity_type: &str, peer_id: &PeerId) -> bool;

    /// Whether this may be done, and whether it is to be recorded.
    fn audit(&self, action: AuditAction) -> AuditDecision;
}

/// What a policy is asked about.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum AuditAction {
    /// Commits of a type go to a peer.
    Send {
        /// The type.
        entity_type: String,
        /// The peer.
        peer: PeerId,
    },
    /// Commits of a type come from a peer.
    Receive {
        /// The type.
        entity_type: String,
        /// The peer.
        peer: PeerId,
    },
    /// A member makes a device, which no operation has named before, a member.
    Pair {
        /// Who.
        by: PeerId,
        /// Which device.
        peer: PeerId,
        /// Its role.
        role: SyncRole,
    },
    /// A member removes another one, or itself.
    Revoke {
        /// Who.
        by: PeerId,
        /// Which device.
        peer: PeerId,
    },
    /// A member gives another one another role.
    RoleChanged {
        /// Who.
        by: PeerId,
        /// Which device.
        peer: PeerId,
        /// Its new role.
        role: SyncRole,
    },
    /// A member puts another one into other teams.
    TeamsChanged {
        /// Who.
        by: PeerId,
        /// Which device.
        peer: PeerId,
    },
    /// A member changes who may read and write a type.
    AclChanged {
        /// Who.
        by: PeerId,
        /// The type.
        entity_type: String,
    },
    /// A member makes the vault follow other rules or lets count what did not, or the recovery key cancels operations.
    PolicyChanged {
        /// Who.
        by: PeerId,
    },
}

/// What a policy answers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AuditDecision {
    /// It may be done.
    Allow,
    /// It may not.
    Deny,
    /// It may be done, and is to be recorded.
    AllowAndRecord,
}

/// The policy of a personal vault: every member syncs all types.
#[derive(Clone, Debug)]
pub struct PersonalSyncPolicy {
    view: Arc<View>,
}

impl PersonalSyncPolicy {
    /// The policy by this evaluation of the membership log.
    pub fn new(view: Arc<View>) -> Self {
        Self { view }
    }
}

impl SyncPolicy for PersonalSyncPolicy {
    fn can_send(&self, _entity_type: &str, peer_id: &PeerId) -> bool {
        self.view.role(peer_id).is_some()
    }

    fn can_receive(&self, _entity_type: &str, peer_id: &PeerId) -> bool {
        self.view.role(peer_id).is_some()
    }

    fn audit(&self, action: AuditAction) -> AuditDecision {
        decide(self, &self.view, PolicyKind::Personal, &action)
    }
}

/// The policy of an enterprise vault: roles, teams and access lists per type; what none allows is denied.
#[derive(Clone, Debug)]
pub struct EnterpriseSyncPolicy {
    view: Arc<View>,
}

impl EnterpriseSyncPolicy {
    /// The policy by this evaluation of the membership log.
    pub fn new(view: Arc<View>) -> Self {
        Self { view }
    }
}

impl SyncPolicy for EnterpriseSyncPolicy {
    fn can_send(&self, entity_type: &str, peer_id: &PeerId) -> bool {
        self.view.may_read(entity_type, peer_id)
    }

    fn can_receive(&self, entity_type: &str, peer_id: &PeerId) -> bool {
        self.view.may_read(entity_type, peer_id)
    }

    fn audit(&self, action: AuditAction) -> AuditDecision {
        decide(self, &self.view, PolicyKind::Enterprise, &action)
    }
}

/// The policy that the vault follows.
pub fn sync_policy(view: Arc<View>) -> Arc<dyn SyncPolicy> {
    match view.kind {
        PolicyKind::Personal => Arc::new(PersonalSyncPolicy::new(view)),
        PolicyKind::Enterprise => Arc::new(EnterpriseSyncPolicy::new(view)),
    }
}

/// Changes of who may do what are few and tell how a lost device got in: they are recorded under either policy.
fn decide(policy: &dyn SyncPolicy, view: &View, kind: PolicyKind, action: &AuditAction) -> AuditDecision {
    let change = AuditDecision::AllowAndRecord;
    let admin = |by: &PeerId| *by == view.root || view.role(by) == Some(SyncRole::Admin);
    let (allowed, decision) = match action {
        AuditAction::Send { entity_type, peer } => (policy.can_send(entity_type, peer), AuditDecision::Allow),
        AuditAction::Receive { entity_type, peer } => (policy.can_receive(entity_type, peer), AuditDecision::Allow),
        AuditAction::Pair { by, peer, role } => {
            let named = || view.role(peer).is_some();
            (*by == view.root || view.role(by).is_some_and(|own| may_add(kind, own, *role, named)), change)
        }
        AuditAction::Revoke { by, peer } => (admin(by) || (by == peer && view.role(by).is_some()), change),
        AuditAction::RoleChanged { by, .. }
        | AuditAction::TeamsChanged { by, .. }
        | AuditAction::AclChanged { by, .. }
        | AuditAction::PolicyChanged { by } => (admin(by), change),
    };
    if allowed { decision } else { AuditDecision::Deny }
}
