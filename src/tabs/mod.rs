//! One engine, several tabs: every tab works on a replica of the entities it shows and sends operations to the tab that
//! runs the engine.
//!
//! - [`Replica`]: a tab's side. Writes show at once; what is not saved yet lies over what is.
//! - [`Hub`]: the engine's side: tabs' messages in, calls of the engine out, and back.
//! - [`Election`]: which tab runs the engine.
//! - [`ToLeader`], [`ToTab`]: what they say. The leader's own page says the same to itself.
//!
//! All of it is sans-IO: messages, answers and time go in, outputs come out.

mod answer;
mod draft;
mod election;
mod hub;
mod message;
mod replica;
mod texts;
mod trust;

#[cfg(test)]
mod tests;

pub use answer::{Answer, Ask, AskLevel, AskRole, Asked, ChangeInfo, NotSyncedInfo, PeerInfo, StatusInfo};
pub use draft::Failure;
pub use election::{Election, ElectionInput, ElectionOutput, HANDOVER_US, Wish};
pub use hub::{Hub, HubInput, HubOutput};
pub use message::{Notice, ToLeader, ToTab};
pub use replica::{Looked, Replica, Seen, TextEvent, Update};
pub use trust::{
    AclInfo, AskChange, AuditInfo, CodeInfo, MemberInfo, PairPeerInfo, PairStateInfo, PolicyInfo, QuarantinedInfo,
};
