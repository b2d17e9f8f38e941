//! Who is in the vault and may do what: the handle's methods for it.

use super::handle::{OrchestratorHandle, unexpected};
#[cfg(doc)]
use crate::engine::SyncEvent;
use crate::engine::{Call, MemberChange, Members, Quarantined, RecoveryKey, Reply};
use crate::error::Result;
use crate::policy::{AuditCheck, AuditFault, AuditPage, EntityAcl, PolicyKind, SyncRole, TeamId, parse_recovery_words};
use crate::types::{EntityType, Hash, PeerId, SortedSet};

/// Each change is answered once it is on this device's disk, and fails with `policy_denied` where this device may not
/// make it, with `not_found` where the other one is no member.
impl OrchestratorHandle {
    /// Members with their names, roles and teams; access lists; what members ask the Admins to accept.
    pub async fn members(&self) -> Result<Members> {
        match self.call(Call::Members).await? {
            Reply::Members(members) => Ok(*members),
            reply => unexpected(reply),
        }
    }

    /// Gives a member another role.
    pub async fn set_role(&self, peer: PeerId, role: SyncRole) -> Result<()> {
        self.change(MemberChange::Role { peer, role }).await
    }

    /// Removes a device. What this one holds of its commits still counts, nothing after that; the others get a new vault
    /// key.
    pub async fn remove_member(&self, peer: PeerId) -> Result<()> {
        self.change(MemberChange::Remove(peer)).await
    }

    /// Puts a member into these teams, in place of those that it was in.
    pub async fn set_teams(&self, peer: PeerId, teams: SortedSet<TeamId>) -> Result<()> {
        self.change(MemberChange::Teams { peer, teams }).await
    }

    /// Says who reads and writes a type, in place of what was said before: a union of entries; none: only Admins.
    pub async fn set_acl(&self, entity_type: EntityType, entries: Vec<EntityAcl>) -> Result<()> {
        self.change(MemberChange::Acl { entity_type, entries }).await
    }

    /// Makes the vault follow other rules. Under those of an enterprise a type without an access list is the Admins' only.
    pub async fn set_policy(&self, policy: PolicyKind) -> Result<()> {
        self.change(MemberChange::Policy(policy)).await
    }

    /// Calls a device by this name on all devices: this one, or as an Admin any.
    pub async fn set_name(&self, peer: PeerId, name: impl Into<String>) -> Result<()> {
        self.change(MemberChange::Name { peer, name: name.into() }).await
    }

    /// Leaves the vault: what this device has written stays there, and here.
    pub async fn leave(&self) -> Result<()> {
        self.change(MemberChange::Leave).await
    }

    /// Asks the Admins to accept what is held of a device's commits beyond the cut that its removal or demotion made.
    pub async fn ask_to_accept(&self, peer: PeerId) -> Result<()> {
        self.change(MemberChange::AskToAccept(peer)).await
    }

    /// Accepts them: they count again.
    pub async fn accept(&self, peer: PeerId) -> Result<()> {
        self.change(MemberChange::Accept(peer)).await
    }

    /// What lies beyond the cuts of removals and demotions and was not written again, as its authors saw it: at most 1,000
    /// entities. Of logs with two branches it tells nothing.
    pub async fn quarantine(&self) -> Result<Vec<Quarantined>> {
        match self.call(Call::Quarantine).await? {
            Reply::Quarantine(told) => Ok(told),
            reply => unexpected(reply),
        }
    }

    /// Writes again what of that is this device's own, of the types that it may write. It counts once, also where an Admin
    /// accepts the first writing. Fails with `not_found` where there is nothing.
    pub async fn write_again(&self) -> Result<()> {
        match self.call(Call::WriteAgain).await? {
            Reply::Done => Ok(()),
            reply => unexpected(reply),
        }
    }

    /// Makes this device an Admin by the vault's 24 recovery words. It must hold the vault: as a member, a former one, or
    /// by a backup.
    pub async fn recover(&self, words: &str) -> Result<()> {
        self.change(MemberChange::Recover(RecoveryKey(parse_recovery_words(words)?))).await
    }

    /// Cancels membership operations, also removals, by the vault's 24 recovery words.
    pub async fn void(&self, words: &str, ops: SortedSet<Hash>) -> Result<()> {
        self.change(MemberChange::Void { root: RecoveryKey(parse_recovery_words(words)?), ops }).await
    }

    /// What was denied, and who changed who may do what, as far as this device has noted it: at most `limit` (1 to 1,000)
    /// entries after the one of that number; 0 starts. [`SyncEvent::Audited`] tells of new ones.
    pub async fn audit(&self, after: u64, limit: usize) -> Result<AuditPage> {
        match self.call(Call::Audit { after, limit }).await? {
            Reply::Audit(page) => Ok(*page),
            reply => unexpected(reply),
        }
    }

    /// Checks that no entry of the audit log was changed, dropped or moved; answers the numbers of its first and its last
    /// entry. Fails with `storage`, and names the entry that is not as it was written.
    pub async fn verify_audit(&self) -> Result<(u64, u64)> {
        let mut check = AuditCheck::default();
        while !check.take(&self.audit(check.after(), 1_000).await?).map_err(AuditFault::to_error)? {}
        Ok(check.range())
    }

    async fn change(&self, change: MemberChange) -> Result<()> {
        match self.call(Call::Change(change)).await? {
            Reply::Done => Ok(()),
            reply => unexpected(reply),
        }
    }
}
