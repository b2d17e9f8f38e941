//! Making operations on this device.

use super::super::op::{AddMember, Body, Op};
use super::super::roles::SyncRole;
use super::Membership;
use crate::error::{Error, ErrorCode, Result};
use crate::types::{HybridTimestamp, Keypair, PeerId};

impl Membership {
    /// Makes, signs and inserts an `AddMember` that knows all that is held here. Fails with `policy_denied` where
    /// `author` may not make it.
    pub fn add_member(&mut self, author: &Keypair, add: AddMember, hlc: HybridTimestamp) -> Result<Op> {
        self.make(author, Body::AddMember(add), hlc)
    }

    /// Makes, signs and inserts an operation that knows all that is held here. Fails with `policy_denied` where `author`
    /// has no right to it, `too_large` or `invalid` where it cannot be written, `quota` where the log is full; nothing
    /// changes then.
    pub fn make(&mut self, author: &Keypair, body: Body, hlc: HybridTimestamp) -> Result<Op> {
        let peer = author.peer_id();
        self.check(&peer, &body)?;
        let op = Op::sign(author, self.vault, self.heads_for(&peer, &[]), hlc, body)?;
        self.insert(op.encoded())?;
        Ok(op)
    }

    /// Whether `author` may make this operation now; fails with `policy_denied`, and says who may.
    pub fn check(&self, author: &PeerId, body: &Body) -> Result<()> {
        let heads = self.heads_for(author, &[]);
        let past = self.past_of(&heads).unwrap_or_default();
        let voids = self.voids_in(&past);
        let scope = self.scope(&past, &heads, &voids);
        if self.right_to(author, body, &scope).is_some() {
            return Ok(());
        }
        let own = self.standing(author, &scope).map(|standing| standing.role);
        let what = match (body, own) {
            (_, None) => "this device is no member of the vault; have it invited, or recover the vault".to_owned(),
            (Body::AddMember(add), Some(SyncRole::Member)) if add.role == SyncRole::Member => {
                format!("this device may not make {} a member; ask an Admin", add.peer)
            }
            (Body::AddMember(add), _) => {
                format!("this device may not make {} a member as {}; ask an Admin", add.peer, add.role)
            }
            (Body::RootVoid(_), _) => "only the vault's recovery key cancels operations".to_owned(),
            (_, Some(role)) => format!("only an Admin may do this, and this device is {role}; ask an Admin"),
        };
        Err(Error::new(ErrorCode::PolicyDenied, what))
    }
}
