//! Membership operations: signed, immutable, in a causal DAG that starts at `Genesis` (PROTOCOL.md section 7).
//!
//! Encoding: vault (32 bytes), author (32), the number of parents and the parents (32 each, ascending), hlc, code,
//! body behind its length, signature (64). The body's length stands before it, so that a build that does not know a
//! code still reads, checks, stores and forwards the operation. A body never changes its shape: what needs more gets a
//! new code.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::roles::{PolicyKind, SyncRole};
use crate::error::{Error, Result};
use crate::types::codec::{Reader, put_bytes, put_varint};
use crate::types::limits::{MAX_DEVICE_NAME_BYTES, MAX_HEADS, MAX_MEMBERSHIP_OP_BYTES};
use crate::types::{Hash, HybridTimestamp, Keypair, PeerId, Signature, VaultId, verify};

const HASH_DOMAIN: &[u8] = b"privstack-sync/operation/1\0";
const SIGN_DOMAIN: &[u8] = b"privstack-sync/membership/1\0";

/// The stable codes of all kinds of operations. This build evaluates [`code::GENESIS`] and [`code::ADD_MEMBER`]; the
/// others are kept, forwarded and without effect.
pub mod code {
    /// The start of a vault: root key, policy, first Admin.
    pub const GENESIS: u64 = 0;
    /// A device becomes a member.
    pub const ADD_MEMBER: u64 = 1;
    /// A member's role changes.
    pub const SET_ROLE: u64 = 2;
    /// A member is no member any more.
    pub const REMOVE: u64 = 3;
    /// A member's teams change.
    pub const SET_TEAMS: u64 = 4;
    /// The access entries of a type change.
    pub const SET_ACL: u64 = 5;
    /// The kind of policy changes.
    pub const SET_POLICY: u64 = 6;
    /// Commits that did not count are accepted.
    pub const ACCEPT_RANGE: u64 = 7;
    /// More of a removed member's log counts.
    pub const RAISE_CUT: u64 = 8;
    /// One branch of a forked log counts.
    pub const ACCEPT_BRANCH: u64 = 9;
    /// A new vault key, sealed to the members.
    pub const SET_KEY: u64 = 10;
    /// A device's name changes.
    pub const SET_NAME: u64 = 11;
    /// A member removes itself.
    pub const LEAVE: u64 = 12;
    /// The root declares operations void.
    pub const ROOT_VOID: u64 = 13;
    /// A type is compacted up to a frontier.
    pub const COMPACT: u64 = 14;
}

/// The start of a vault. Debug output never shows the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Genesis {
    /// The public key of the recovery key, which signs the Genesis and may do everything.
    pub root: PeerId,
    /// Which rules the vault follows.
    pub policy: PolicyKind,
    /// The first Admin.
    pub admin: PeerId,
    /// Its name: at most [`MAX_DEVICE_NAME_BYTES`] bytes, may be empty.
    pub admin_name: String,
    /// Random; keys the vault selector, so only members know it.
    pub secret: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for Genesis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Genesis")
            .field("root", &self.root)
            .field("policy", &self.policy)
            .field("admin", &self.admin)
            .field("admin_name", &self.admin_name)
            .finish_non_exhaustive()
    }
}

/// A grant of membership.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AddMember {
    /// The device.
    pub peer: PeerId,
    /// Its role.
    pub role: SyncRole,
    /// Its name as the granter knows it: at most [`MAX_DEVICE_NAME_BYTES`] bytes, may be empty.
    pub name: String,
}

/// What an operation does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// The start.
    Genesis(Genesis),
    /// A device becomes a member.
    AddMember(AddMember),
    /// A kind that this build does not evaluate.
    Unknown {
        /// Its code: at least [`code::SET_ROLE`].
        code: u64,
        /// Its body as it came.
        bytes: Vec<u8>,
    },
}

impl Body {
    /// The stable code.
    pub fn code(&self) -> u64 {
        match self {
            Body::Genesis(_) => code::GENESIS,
            Body::AddMember(_) => code::ADD_MEMBER,
            Body::Unknown { code, .. } => *code,
        }
    }

    fn encode(&self) -> Zeroizing<Vec<u8>> {
        // With room from the start: no copy of the secret stays behind where the buffer grows.
        let mut out = Zeroizing::new(Vec::with_capacity(32 * 3 + 8 + MAX_DEVICE_NAME_BYTES));
        match self {
            Body::Genesis(genesis) => {
                out.extend_from_slice(&genesis.root.0);
                out.push(policy_byte(genesis.policy));
                out.extend_from_slice(&genesis.admin.0);
                put_bytes(&mut out, genesis.admin_name.as_bytes());
                out.extend_from_slice(&*genesis.secret);
            }
            Body::AddMember(add) => {
                out.extend_from_slice(&add.peer.0);
                out.push(role_byte(add.role));
                put_bytes(&mut out, add.name.as_bytes());
            }
            Body::Unknown { bytes, .. } => out.extend_from_slice(bytes),
        }
        out
    }

    fn decode(code: u64, bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let body = match code {
            code::GENESIS => Body::Genesis(Genesis {
                root: PeerId(reader.array()?),
                policy: read_policy(reader.byte()?)?,
                admin: PeerId(reader.array()?),
                admin_name: read_name(&mut reader)?,
                secret: Zeroizing::new(reader.array()?),
            }),
            code::ADD_MEMBER => Body::AddMember(AddMember {
                peer: PeerId(reader.array()?),
                role: read_role(reader.byte()?)?,
                name: read_name(&mut reader)?,
            }),
            _ => return Ok(Body::Unknown { code, bytes: bytes.to_vec() }),
        };
        reader.finish()?;
        Ok(body)
    }
}

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
        // Every field above has one encoding (shortest varints, ascending parents, bodies read to their end), so what
        // was read is canonical; tests hold that against `sign`.
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
            Body::Unknown { .. } => None,
        }
    }
}

fn content_hash(content: &[u8]) -> Hash {
    Hash(*blake3::Hasher::new().update(HASH_DOMAIN).update(content).finalize().as_bytes())
}

fn read_name(reader: &mut Reader<'_>) -> Result<String> {
    let name = reader.text(MAX_DEVICE_NAME_BYTES, "name of a device")?;
    if name.chars().any(char::is_control) {
        return Err(Error::protocol("control characters in the name of a device"));
    }
    Ok(name.to_owned())
}

fn role_byte(role: SyncRole) -> u8 {
    match role {
        SyncRole::Admin => 0,
        SyncRole::Member => 1,
        SyncRole::ReadOnly => 2,
    }
}

fn read_role(byte: u8) -> Result<SyncRole> {
    match byte {
        0 => Ok(SyncRole::Admin),
        1 => Ok(SyncRole::Member),
        2 => Ok(SyncRole::ReadOnly),
        _ => Err(Error::protocol(format!("no role has the number {byte}"))),
    }
}

fn policy_byte(policy: PolicyKind) -> u8 {
    match policy {
        PolicyKind::Personal => 0,
        PolicyKind::Enterprise => 1,
    }
}

fn read_policy(byte: u8) -> Result<PolicyKind> {
    match byte {
        0 => Ok(PolicyKind::Personal),
        1 => Ok(PolicyKind::Enterprise),
        _ => Err(Error::protocol(format!("no kind of policy has the number {byte}"))),
    }
}

#[cfg(test)]
mod tests {
    use crate::test;
    use proptest::prelude::*;

    use super::super::tests::{genesis, key};
    use super::*;

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
        Body::Unknown { code: code::SET_ROLE, bytes }
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
