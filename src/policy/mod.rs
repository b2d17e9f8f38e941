//! Who is a member, who may write and read what, and which commits count (DESIGN section 7).

mod roles;

pub use roles::{PolicyKind, SyncRole};
