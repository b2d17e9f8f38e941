//! Who is a member, who may write and read what, and which commits count (DESIGN section 7).

mod membership;
mod op;
mod op_set;
mod roles;
mod view;

pub use membership::{Inserted, Membership};
pub use op::{AddMember, Body, Genesis, NO_VAULT, Op, code};
pub use roles::{EntityAcl, PolicyKind, SyncRole, TeamId};
pub use view::{Member, View};
