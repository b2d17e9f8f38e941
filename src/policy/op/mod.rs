//! Membership operations: signed, immutable, in a causal DAG that starts at `Genesis` (PROTOCOL.md section 7).
//!
//! Encoding: vault (32 bytes), author (32), the number of parents and the parents (32 each, ascending), hlc, code,
//! body behind its length, signature (64). The body's length stands before it, so that a build that does not know a
//! code still reads, checks, stores and forwards the operation. A body never changes its shape: what needs more gets a
//! new code.

mod access;
mod body;
pub mod code;
mod cuts;
mod genesis;
mod key;
mod member;

pub use access::{MAX_ACL_ENTRIES, MAX_TEAMS, SetAcl, SetPolicy, SetTeams};
pub use body::Body;
pub use cuts::{Cut, Cuts, LogRange, MAX_CUTS};
pub use genesis::Genesis;
pub use key::{MAX_SEALED_KEYS, SetKey};
pub use member::{AddMember, Remove, RootVoid, SetName, SetRole};

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::roles::SyncRole;
use crate::error::{Error, Result};
use crate::types::codec::{Reader, put_bytes, put_varint};
use crate::types::limits::{MAX_HEADS, MAX_MEMBERSHIP_OP_BYTES};
use crate::types::{Hash, HybridTimestamp, Keypair, PeerId, Signature, VaultId, verify};

const HASH_DOMAIN: &[u8] = b"privstack-sync/operation/1\0";
const SIGN_DOMAIN: &[u8] = b"privstack-sync/membership/1\0";

/// One signed operation, checked: its signature holds and its encoding is canonical.
#[derive(Clone, PartialEq, Eq)]
pub struct Op {
    /// The vault; [`NO_VAULT`] in a `Genesis`, whose own hash names the vault.
    pub vault: VaultId,
    /// Who signed it.
    pub author: PeerId,
    /// The membership heads that its author knew, ascending; none in a `Genesis` only.
    pub parents: Vec<Hash>,
    /// When, by its author's clock; never decides anything.
    pub hlc: HybridTimestamp,
    /// What it does.
    pub body: Body,
    hash: Hash,
    encoded: Arc<[u8]>,
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Op")
            .field("hash", &self.hash)
            .field("author", &self.author)
            .field("parents", &self.parents)
            .field("hlc", &self.hlc)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

/// What a `Genesis` names as its vault: it cannot hold its own hash.
pub const NO_VAULT: VaultId = VaultId([0; 32]);

impl Op {
    /// Makes and signs a `Genesis` with the recovery key; `genesis.root` must be that key.
    pub fn genesis(root: &Keypair, genesis: Genesis, hlc: HybridTimestamp) -> Result<Self> {
        Self::sign(root, NO_VAULT, Vec::new(), hlc, Body::Genesis(genesis))
    }

    /// Makes and signs an operation. Parents are put in order. Fails with `invalid` or `too_large` where
    /// [`Op::decode`] would refuse the result.
    pub fn sign(
        author: &Keypair,
        vault: VaultId,
        mut parents: Vec<Hash>,
        hlc: HybridTimestamp,
        body: Body,
    ) -> Result<Self> {
        parents.sort_unstable();
        parents.dedup();
        let body_bytes = body.encode();
        let mut out = Zeroizing::new(Vec::with_capacity(192 + 32 * parents.len() + body_bytes.len()));
        out.extend_from_slice(&vault.0);
        out.extend_from_slice(&author.peer_id().0);
        put_varint(&mut out, parents.len() as u64);
        parents.iter().for_each(|parent| out.extend_from_slice(&parent.0));
        put_varint(&mut out, hlc.0);
        put_varint(&mut out, body.code());
        put_bytes(&mut out, &body_bytes);
        let hash = content_hash(&out);
        out.extend_from_slice(&author.sign(SIGN_DOMAIN, &hash.0).0);
        // One place decides what an operation may be, also for our own.
        Self::decode(&out).map_err(|error| match error.code() {
            crate::error::ErrorCode::TooLarge => error,
            _ => Error::invalid(format!("this membership operation cannot be made: {}", error.message())),
        })
    }

    /// Reads an operation and checks all that it says of itself: bounds, shape, the strict signature, and that there
    /// is no other way to write it. Whether its author had the right to it is for [`super::Membership`] to say.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_MEMBERSHIP_OP_BYTES {
            return Err(Error::too_large(format!(
                "a membership operation of {} bytes is over the limit of {MAX_MEMBERSHIP_OP_BYTES}",
                bytes.len()
            )));
        }
        let mut reader = Reader::new(bytes);
        let vault = VaultId(reader.array()?);
        let author = PeerId(reader.array()?);
        let count = reader.count(MAX_HEADS, "parents of a membership operation")?;
        let parents = (0..count).map(|_| reader.array().map(Hash)).collect::<Result<Vec<_>>>()?;
        let hlc = HybridTimestamp(reader.varint()?);
        let code = reader.varint()?;
        let body = Body::decode(code, reader.bytes(MAX_MEMBERSHIP_OP_BYTES, "body of a membership operation")?)?;
        let content_length = bytes.len() - reader.rest().len();
        let signature = Signature(reader.array()?);
        reader.finish()?;

        if !parents.is_sorted_by(|a, b| a < b) {
            return Err(Error::protocol("parents of a membership operation that are not ascending"));
        }
        match &body {
            Body::Genesis(genesis) if vault != NO_VAULT || !parents.is_empty() || genesis.root != author => {
                return Err(Error::protocol("a Genesis that names a vault or parents, or is not signed by its root"));
            }
            Body::Genesis(_) => {}
            _ if parents.is_empty() => {
                return Err(Error::protocol("a membership operation without parents that is no Genesis"));
            }
            _ => {}
        }
        // Every field above has one encoding (shortest varints, ascending parents, bodies that are written as they were
        // read), so what was read is canonical; tests hold that against `sign`.
        let hash = content_hash(bytes.get(..content_length).unwrap_or_default());
        verify(&author, SIGN_DOMAIN, &hash.0, &signature)?;
        Ok(Self { vault, author, parents, hlc, body, hash, encoded: bytes.into() })
    }

    /// Its name: BLAKE3 of all but the signature.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// The bytes that are stored and sent.
    pub fn encoded(&self) -> &Arc<[u8]> {
        &self.encoded
    }

    /// The vault it belongs to: a `Genesis` names it by its hash.
    pub fn vault_id(&self) -> VaultId {
        match self.body {
            Body::Genesis(_) => VaultId(self.hash.0),
            _ => self.vault,
        }
    }

    /// The device that it makes a member, with which role and name, if that is what it does.
    pub(crate) fn grant(&self) -> Option<(PeerId, SyncRole, &str)> {
        match &self.body {
            Body::Genesis(genesis) => Some((genesis.admin, SyncRole::Admin, &genesis.admin_name)),
            Body::AddMember(add) => Some((add.peer, add.role, &add.name)),
            _ => None,
        }
    }
}

fn content_hash(content: &[u8]) -> Hash {
    Hash(*blake3::Hasher::new().update(HASH_DOMAIN).update(content).finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use crate::test;
    use proptest::prelude::*;

    use super::super::roles::PolicyKind;
    use super::super::tests::{genesis, key};
    use super::*;
    use crate::types::limits::MAX_DEVICE_NAME_BYTES;

    fn add(name: &str) -> Body {
        Body::AddMember(AddMember { peer: key(2).peer_id(), role: SyncRole::Member, name: name.to_owned() })
    }

    fn sign(body: Body) -> Result<Op> {
        Op::sign(&key(1), VaultId([4; 32]), vec![Hash([6; 32]), Hash([5; 32])], HybridTimestamp(7), body)
    }

    #[test]
    fn operations_read_back_and_every_flipped_bit_is_found() {
        for op in [genesis(PolicyKind::Enterprise), sign(add("phone")).unwrap(), sign(unknown(vec![1, 2])).unwrap()] {
            assert_eq!(Op::decode(op.encoded()).unwrap(), op);
            for at in 0..op.encoded().len() * 8 {
                let mut flipped = op.encoded().to_vec();
                flipped[at / 8] ^= 1 << (at % 8);
                assert!(Op::decode(&flipped).is_err(), "bit {at}");
            }
            for end in 0..op.encoded().len() {
                assert!(Op::decode(&op.encoded()[..end]).is_err());
            }
        }
    }

    fn unknown(bytes: Vec<u8>) -> Body {
        Body::Unknown { code: code::COMPACT, bytes }
    }

    #[test]
    fn what_may_not_be_read_cannot_be_made() {
        assert!(sign(add(&"x".repeat(MAX_DEVICE_NAME_BYTES))).is_ok());
        assert!(sign(add(&"x".repeat(MAX_DEVICE_NAME_BYTES + 1))).is_err());
        assert!(sign(add("a\nb")).is_err());
        assert!(sign(unknown(vec![0; MAX_MEMBERSHIP_OP_BYTES - 300])).is_ok());
        let large = sign(unknown(vec![0; MAX_MEMBERSHIP_OP_BYTES])).unwrap_err();
        assert_eq!(large.code(), crate::error::ErrorCode::TooLarge);
        let parents = |count: u8| (0..count).map(|at| Hash([at; 32])).collect();
        assert!(Op::sign(&key(1), VaultId([4; 32]), parents(64), HybridTimestamp(7), add("")).is_ok());
        assert!(Op::sign(&key(1), VaultId([4; 32]), parents(65), HybridTimestamp(7), add("")).is_err());
        assert!(Op::sign(&key(1), VaultId([4; 32]), parents(0), HybridTimestamp(7), add("")).is_err());
        // A body under the code of another kind does not read as itself.
        assert!(sign(Body::Unknown { code: code::GENESIS, bytes: vec![1] }).is_err());
        assert!(sign(Body::Unknown { code: code::ADD_MEMBER, bytes: vec![1] }).is_err());
        let Body::Genesis(facts) = genesis(PolicyKind::Personal).body else { panic!("no Genesis") };
        assert!(Op::genesis(&key(1), facts, HybridTimestamp(7)).is_err(), "signed by another than the root");
    }

    #[test]
    fn debug_output_shows_no_secret() {
        assert!(!format!("{:?}", genesis(PolicyKind::Personal)).contains("77"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_an_operation_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            at in 64..200_usize,
            patch in prop::collection::vec(any::<u8>(), 0..12),
        ) {
            prop_assert!(Op::decode(&bytes).is_err());
            let mut patched = sign(add("phone")).unwrap().encoded().to_vec();
            patched.splice(at..at, patch.iter().copied());
            prop_assert_eq!(Op::decode(&patched).is_ok(), patch.is_empty());
        }
    }
}
