//! What two devices of a vault show each other before they know each other: the selector, which picks the vault
//! without naming it, and the credential, a chain of grants (PROTOCOL.md section 4). Neither grants access: the selector only
//! selects, the credential only opens the membership sync, whose evaluation then decides.

use std::collections::VecDeque;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::membership::Membership;
use super::op::{Body, Op};
use crate::error::{Error, ErrorCode, Result};
use crate::types::limits::{MAX_CREDENTIAL_BYTES, MAX_CREDENTIAL_STEPS};
use crate::types::{Hash, PeerId, SortedMap, SortedSet};

const SELECTOR_CONTEXT: &str = "privstack-sync 2026-11-22 vault selector key";

impl Membership {
    /// The proof in a `Hello` from `from` to `to`: a hash of vault, both devices and the nonce, keyed by the secret in
    /// `Genesis`. It is never replaced, so it selects the vault also for a device that was long away.
    pub fn selector(&self, from: &PeerId, to: &PeerId, nonce: &[u8; 16]) -> Hash {
        Hash(*self.selector_hash(from, to, nonce).as_bytes())
    }

    /// Whether `proof` is the selector of this vault; compared in constant time.
    pub fn check_selector(&self, from: &PeerId, to: &PeerId, nonce: &[u8; 16], proof: &Hash) -> bool {
        self.selector_hash(from, to, nonce) == blake3::Hash::from_bytes(proof.0)
    }

    fn selector_hash(&self, from: &PeerId, to: &PeerId, nonce: &[u8; 16]) -> blake3::Hash {
        let key = Zeroizing::new(blake3::derive_key(SELECTOR_CONTEXT, &*self.genesis().secret));
        blake3::Hasher::new_keyed(&key).update(&self.vault().0).update(&from.0).update(&to.0).update(nonce).finalize()
    }

    /// The credential by which `us` shows itself to a peer that holds the membership heads `known` (as it said last;
    /// `None` where nothing is known of it): `AddMember` operations, one a step, each adding the author of the next,
    /// the last adding `us`. It starts at a device that the peer knows, else at one that `Genesis` names, and is empty
    /// where that is `us`. `Genesis` itself, which holds a secret, is never in it.
    ///
    /// Fails with `not_trusted` where no chain leads to `us`, with `too_large` where the shortest one is over
    /// [`MAX_CREDENTIAL_STEPS`] or [`MAX_CREDENTIAL_BYTES`].
    pub fn credential_for(&self, us: &PeerId, known: Option<&[Hash]>) -> Result<Vec<Arc<[u8]>>> {
        let knows = |peer: &PeerId| {
            self.named_by_genesis(peer)
                || known.is_some_and(|heads| self.named_in_past(heads, peer).unwrap_or_default())
        };
        // Breadth first from `us` up to whoever the peer knows; `towards` holds the grant that leads back down.
        let mut towards: SortedMap<PeerId, Option<&Op>> = SortedMap::from([(*us, None)]);
        let mut queue = VecDeque::from([*us]);
        let mut top = None;
        while let Some(peer) = queue.pop_front() {
            if knows(&peer) {
                top = Some(peer);
                break;
            }
            for grant in self.effective_grants(&peer) {
                towards.entry(grant.author).or_insert_with(|| {
                    queue.push_back(grant.author);
                    Some(grant)
                });
            }
        }
        let mut peer = top.ok_or_else(|| {
            Error::new(ErrorCode::NotAuthorized, format!("no chain of grants makes {us} a member of this vault"))
        })?;
        let mut chain = Vec::new();
        while let Some(Some(grant)) = towards.get(&peer) {
            chain.push(grant.encoded().clone());
            peer = grant.grant().map_or(*us, |(peer, ..)| peer);
        }
        let bytes: usize = chain.iter().map(|grant| grant.len()).sum();
        if chain.len() > MAX_CREDENTIAL_STEPS || bytes > MAX_CREDENTIAL_BYTES {
            return Err(Error::too_large(format!(
                "the chain of grants to this device has {} steps and {bytes} bytes, over the limit of \
                 {MAX_CREDENTIAL_STEPS} and {MAX_CREDENTIAL_BYTES}; ask an Admin to invite it again",
                chain.len()
            )));
        }
        Ok(chain)
    }

    /// Checks a credential of `peer`, the device as the connection authenticated it: a chain of signed grants of this
    /// vault from a device that is known here, or that `Genesis` names, down to `peer`. A device that is known already
    /// needs none. Nothing is stored.
    pub fn check_credential<B: AsRef<[u8]>>(&self, ops: &[B], peer: &PeerId) -> Result<()> {
        if self.knows_author(peer) || self.named_by_genesis(peer) {
            return Ok(());
        }
        let bytes = ops.iter().fold(0, |sum: usize, op| sum.saturating_add(op.as_ref().len()));
        if ops.len() > MAX_CREDENTIAL_STEPS || bytes > MAX_CREDENTIAL_BYTES {
            return Err(Error::too_large("a credential over its limits"));
        }
        let mut granted: SortedSet<PeerId> = SortedSet::new();
        let mut last = None;
        for op in ops {
            let op = Op::decode(op.as_ref())?;
            let Body::AddMember(add) = &op.body else {
                return Err(refused());
            };
            let known = self.named_by_genesis(&op.author) || self.knows_author(&op.author);
            if op.vault != self.vault() || !(known || last == Some(op.author)) || !granted.insert(add.peer) {
                return Err(refused());
            }
            last = Some(add.peer);
        }
        if last == Some(*peer) { Ok(()) } else { Err(refused()) }
    }

    fn named_by_genesis(&self, peer: &PeerId) -> bool {
        *peer == self.genesis().root || *peer == self.genesis().admin
    }
}

fn refused() -> Error {
    Error::new(ErrorCode::NotAuthorized, "a credential that does not lead from a known member to the sender")
}
