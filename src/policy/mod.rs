//! Who is a member, who may write and read what, and which commits count (DESIGN section 7).

mod credential;
mod membership;
mod op;
mod op_set;
mod roles;
mod sync_policy;
mod valid;
mod view;

pub use membership::{Inserted, MAX_BYTES, MAX_OPS, Membership};
pub use op::{AddMember, Body, Genesis, NO_VAULT, Op, code};
pub use roles::{EntityAcl, PolicyKind, SyncRole, TeamId};
pub use sync_policy::{AuditAction, AuditDecision, EnterpriseSyncPolicy, PersonalSyncPolicy, SyncPolicy, sync_policy};
pub use valid::{LogFacts, Refusal, Validity, valid};
pub use view::{Member, View};
