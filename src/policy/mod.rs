//! Who is a member, who may write and read what, and which commits count (PROTOCOL.md sections 7, 8).

mod audit;
mod credential;
mod invite;
mod membership;
mod op;
mod op_set;
mod recovery;
mod roles;
mod seal;
mod sync_policy;
#[cfg(test)]
mod tests;
mod valid;
mod view;

pub use audit::{
    AuditChain, AuditCheck, AuditEntry, AuditFault, AuditFaultKind, AuditKind, AuditMark, AuditPage, AuditRecord,
    AuditSubject, MAX_AUDIT_ENTRIES,
};
pub use invite::{INVITE_PREFIX, Invite, MAX_ADDRESS_BYTES, MAX_INVITE_ADDRESSES, MAX_INVITE_TEXT};
pub use membership::{Inserted, MAX_BYTES, MAX_OPS, Membership};
pub use op::{
    AddMember, Body, Cut, Cuts, Genesis, LogRange, MAX_ACL_ENTRIES, MAX_CUTS, MAX_SEALED_KEYS, MAX_TEAMS, NO_VAULT, Op,
    Remove, RootVoid, SetAcl, SetKey, SetName, SetPolicy, SetRole, SetTeams, code,
};
pub use recovery::{RECOVERY_WORDS, parse_recovery_words, recovery_words, root_keypair};
pub use roles::{EntityAcl, PolicyKind, SyncRole, TeamId};
pub use seal::{SEAL_OVERHEAD, seal, unseal};
pub use sync_policy::{AuditAction, AuditDecision, EnterpriseSyncPolicy, PersonalSyncPolicy, SyncPolicy, sync_policy};
pub use valid::{LogFacts, Refusal, Validity, valid};
pub use view::{Member, View};
