//! The membership log: the causal DAG of all stored operations, and its evaluation.
//!
//! **What is stored** depends on nothing but the operation and its past: it is well-formed and signed, belongs to this
//! vault, its parents are held, and some operation in its past names its author (or it is the root's). So the order of
//! arrival never matters, and no stranger's operation is ever kept.
//!
//! **What has effect** is a pure function of the set. The rules that the operations of this version need, by their
//! numbers in the design of trust:
//!
//! 1. a grant counts only if its author had the right to it in the evaluation of its own past: the root and Admins to
//!    any; in a personal vault a Member to add, as Member, a device that no operation in its past names;
//! 4. a device is a member if it has an effective grant; its role is the lowest among the latest ones (those in no
//!    other's past); a Member's grant is none where the device has an effective one by an Admin or the root.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::op::{AddMember, Body, Genesis, Op};
use super::op_set::OpSet;
use super::roles::SyncRole;
use super::view::{Member, View};
use crate::error::{Error, ErrorCode, Result};
use crate::types::limits::MAX_HEADS;
use crate::types::{Hash, HybridTimestamp, Keypair, PeerId, VaultId};

/// Operations that a membership log holds at most.
pub const MAX_OPS: usize = 100_000;
/// Bytes of operations that a membership log holds at most.
pub const MAX_BYTES: usize = 64 << 20;
/// Bytes of bookkeeping of who knew what: far more than any honest log comes to.
const MAX_PAST_BYTES: usize = 128 << 20;
/// Pasts of heads that are remembered.
const MAX_CACHED: usize = 256;

/// What [`Membership::insert`] did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Inserted {
    /// The operation is new and held now: store it.
    New(Hash),
    /// It is held already.
    Known(Hash),
    /// It may come again once these are held; it was not kept.
    MissingParents(Vec<Hash>),
}

/// By which right a grant was made; a Member's gives way to the others'.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Right {
    RootOrAdmin,
    Member,
}

#[derive(Clone, Debug)]
struct Node {
    op: Op,
    /// All operations before it, without itself.
    past: Arc<OpSet>,
    /// Of a grant that satisfies rule 1: its author's right. It follows from the past alone, so it never changes.
    right: Option<Right>,
}

/// The membership operations of one vault. Debug output shows no operation, and so no secret.
pub struct Membership {
    genesis: Genesis,
    genesis_bytes: Arc<[u8]>,
    vault: VaultId,
    /// In the order of arrival, which is a causal one: parents come before children.
    nodes: Vec<Node>,
    numbers: HashMap<Hash, usize>,
    /// For each device the operations that name it, with effect or without.
    named: HashMap<PeerId, Vec<usize>>,
    heads: BTreeSet<Hash>,
    bytes: usize,
    past_bytes: usize,
    view: OnceLock<Arc<View>>,
    pasts: Mutex<HashMap<Box<[Hash]>, Arc<OpSet>>>,
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership")
            .field("vault", &self.vault)
            .field("operations", &self.nodes.len())
            .field("heads", &self.heads)
            .finish_non_exhaustive()
    }
}

impl Membership {
    /// A log that holds only this encoded `Genesis`.
    pub fn new(genesis: &[u8]) -> Result<Self> {
        Self::from_genesis(Op::decode(genesis)?)
    }

    /// [`Membership::new`] of an operation that is decoded already.
    pub fn from_genesis(op: Op) -> Result<Self> {
        let Body::Genesis(genesis) = &op.body else {
            return Err(Error::protocol("a membership log starts with a Genesis, and this operation is none"));
        };
        let genesis = genesis.clone();
        let mut membership = Self {
            vault: op.vault_id(),
            nodes: Vec::new(),
            numbers: HashMap::new(),
            named: HashMap::new(),
            heads: BTreeSet::new(),
            bytes: 0,
            past_bytes: 0,
            view: OnceLock::new(),
            pasts: Mutex::default(),
            genesis,
            genesis_bytes: op.encoded().clone(),
        };
        membership.push(op, Arc::default(), Some(Right::RootOrAdmin));
        Ok(membership)
    }

    /// The vault.
    pub fn vault(&self) -> VaultId {
        self.vault
    }

    /// The `Genesis` itself, encoded.
    pub fn genesis_bytes(&self) -> &Arc<[u8]> {
        &self.genesis_bytes
    }

    /// The facts of the `Genesis`.
    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// Takes an operation in, from wherever it comes. Fails with `protocol` where it is malformed or badly signed,
    /// `not_trusted` where it is another vault's or a stranger's, `quota` where the log is full; nothing changes then.
    pub fn insert(&mut self, bytes: &[u8]) -> Result<Inserted> {
        let op = Op::decode(bytes)?;
        let hash = op.hash();
        if self.numbers.contains_key(&hash) {
            return Ok(Inserted::Known(hash));
        }
        if op.vault_id() != self.vault {
            return Err(Error::new(ErrorCode::NotAuthorized, "a membership operation of another vault"));
        }
        let missing: Vec<Hash> = op.parents.iter().filter(|parent| !self.contains(parent)).copied().collect();
        if !missing.is_empty() {
            return Ok(Inserted::MissingParents(missing));
        }
        let past = self.past_of(&op.parents).ok_or_else(|| Error::protocol("parents that are not held"))?;
        if op.author != self.genesis.root && !self.is_named_in(&op.author, Some(&past)) {
            return Err(Error::new(
                ErrorCode::NotAuthorized,
                format!("a membership operation of {}, whom none before it names", op.author),
            ));
        }
        if self.nodes.len() >= MAX_OPS
            || self.bytes.saturating_add(bytes.len()) > MAX_BYTES
            || self.past_bytes > MAX_PAST_BYTES
        {
            return Err(Error::new(
                ErrorCode::Quota,
                format!("the membership log is full: {} operations, {} bytes", self.nodes.len(), self.bytes),
            ));
        }
        let right = op.grant().and_then(|(peer, role, _)| self.right_to_grant(&op.author, &peer, role, &past));
        self.push(op, past, right);
        Ok(Inserted::New(hash))
    }

    fn push(&mut self, op: Op, past: Arc<OpSet>, right: Option<Right>) {
        let number = self.nodes.len();
        self.numbers.insert(op.hash(), number);
        if let Some((peer, ..)) = op.grant() {
            self.named.entry(peer).or_default().push(number);
        }
        op.parents.iter().for_each(|parent| {
            self.heads.remove(parent);
        });
        self.heads.insert(op.hash());
        self.bytes = self.bytes.saturating_add(op.encoded().len());
        self.past_bytes = self.past_bytes.saturating_add(past.own_bytes());
        self.nodes.push(Node { op, past, right });
        self.view = OnceLock::new();
    }

    /// How many operations are held.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Never: there is always a `Genesis`.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Whether an operation is held.
    pub fn contains(&self, hash: &Hash) -> bool {
        self.numbers.contains_key(hash)
    }

    /// Whether all of these are held.
    pub fn contains_all(&self, heads: &[Hash]) -> bool {
        heads.iter().all(|head| self.contains(head))
    }

    /// One operation.
    pub fn get(&self, hash: &Hash) -> Option<&Op> {
        self.node(hash).map(|(_, node)| &node.op)
    }

    /// The operations that are in no other's past, ascending. More than [`MAX_HEADS`] only where a member makes many
    /// at once; see [`Membership::heads_for`].
    pub fn heads(&self) -> Vec<Hash> {
        self.heads.iter().copied().collect()
    }

    /// The heads that a new commit or operation of `author` names, ascending: all, or where there are more than
    /// [`MAX_HEADS`] those that cover `before` (the heads that its log named last) and the author's own grants first.
    pub fn heads_for(&self, author: &PeerId, before: &[Hash]) -> Vec<Hash> {
        if self.heads.len() <= MAX_HEADS {
            return self.heads();
        }
        let own = self.named.get(author).into_iter().flatten().copied();
        let must: Vec<usize> = before.iter().filter_map(|hash| self.numbers.get(hash).copied()).chain(own).collect();
        let mut chosen: BTreeSet<Hash> = BTreeSet::new();
        let mut covered = OpSet::default();
        for number in must {
            if chosen.len() < MAX_HEADS
                && !covered.contains(number)
                && let Some(head) = self.heads.iter().find(|head| self.covers(head, number))
                && chosen.insert(*head)
                && let Some((number, node)) = self.node(head)
            {
                covered.union(&node.past);
                covered.insert(number);
            }
        }
        for head in &self.heads {
            if chosen.len() >= MAX_HEADS {
                break;
            }
            chosen.insert(*head);
        }
        chosen.into_iter().collect()
    }

    fn covers(&self, head: &Hash, number: usize) -> bool {
        self.node(head).is_some_and(|(own, node)| own == number || node.past.contains(number))
    }

    /// All operations, encoded, parents before children.
    pub fn ops(&self) -> impl Iterator<Item = &Arc<[u8]>> {
        self.nodes.iter().map(|node| node.op.encoded())
    }

    /// The operations in the past of `heads`, these included, parents before children and `Genesis` first; `None` where
    /// a head is not held.
    pub fn past_ops(&self, heads: &[Hash]) -> Option<impl Iterator<Item = &Arc<[u8]>> + use<'_>> {
        let past = self.past_of(heads)?;
        Some(
            (self.nodes.iter().enumerate())
                .filter(move |(number, _)| past.contains(*number))
                .map(|(_, node)| node.op.encoded()),
        )
    }

    /// What a peer with these heads lacks, parents before children; `None` where it names one that is not held here.
    pub fn missing_for(&self, their_heads: &[Hash]) -> Option<Vec<Arc<[u8]>>> {
        let theirs = self.past_of(their_heads)?;
        Some(
            (self.nodes.iter().enumerate())
                .filter(|(number, _)| !theirs.contains(*number))
                .map(|(_, node)| node.op.encoded().clone())
                .collect(),
        )
    }

    /// The short hashes of all operations held ([`Hash::short`]), ascending.
    pub fn shorts(&self) -> Vec<u64> {
        let mut shorts: Vec<u64> = self.numbers.keys().map(Hash::short).collect();
        shorts.sort_unstable();
        shorts
    }

    /// What a peer that holds the operations with these short hashes lacks, parents before children.
    pub fn missing_for_shorts(&self, theirs: &[u64]) -> Vec<Arc<[u8]>> {
        let theirs: std::collections::HashSet<u64> = theirs.iter().copied().collect();
        (self.nodes.iter())
            .filter(|node| !theirs.contains(&node.op.hash().short()))
            .map(|node| node.op.encoded().clone())
            .collect()
    }

    /// Whether any stored operation makes this device a member, with effect or without: its commits are stored.
    pub fn knows_author(&self, peer: &PeerId) -> bool {
        self.named.contains_key(peer)
    }

    /// Whether an operation in the past of `heads`, these included, names this device; `None` where a head is not held.
    pub fn named_in_past(&self, heads: &[Hash], peer: &PeerId) -> Option<bool> {
        Some(self.is_named_in(peer, Some(&*self.past_of(heads)?)))
    }

    /// Whether the past of `later` has all of `earlier` in it; false where anything is not held.
    pub fn advances(&self, earlier: &[Hash], later: &[Hash]) -> bool {
        self.past_of(later).is_some_and(|past| {
            earlier.iter().all(|hash| self.numbers.get(hash).is_some_and(|number| past.contains(*number)))
        })
    }

    /// The evaluation of all operations held.
    pub fn evaluate(&self) -> Arc<View> {
        self.view.get_or_init(|| Arc::new(self.view_of(self.named.keys(), None))).clone()
    }

    /// The evaluation of the past of `heads`, these included; `None` where a head is not held.
    pub fn evaluate_at(&self, heads: &[Hash]) -> Option<View> {
        Some(self.view_of(self.named.keys(), Some(&*self.past_of(heads)?)))
    }

    /// [`Membership::evaluate_at`] with no other member than `peer` in it: cheap, whatever the number of members.
    pub fn evaluate_one(&self, heads: &[Hash], peer: &PeerId) -> Option<View> {
        Some(self.view_of(std::iter::once(peer), Some(&*self.past_of(heads)?)))
    }

    /// Makes, signs and inserts an `AddMember` that knows all that is held here. Fails with `policy_denied` where
    /// `author` may not make it.
    pub fn add_member(&mut self, author: &Keypair, add: AddMember, hlc: HybridTimestamp) -> Result<Op> {
        let granter = author.peer_id();
        let heads = self.heads_for(&granter, &[]);
        let past = self.past_of(&heads).unwrap_or_default();
        if self.right_to_grant(&granter, &add.peer, add.role, &past).is_none() {
            return Err(Error::new(
                ErrorCode::PolicyDenied,
                format!("this device may not make {} a member as {:?}; ask an Admin", add.peer, add.role),
            ));
        }
        let op = Op::sign(author, self.vault, heads, hlc, Body::AddMember(add))?;
        self.insert(op.encoded())?;
        Ok(op)
    }

    /// The effective grants of one device, in the order of arrival.
    pub(super) fn effective_grants(&self, peer: &PeerId) -> impl Iterator<Item = &Op> {
        (self.named.get(peer).into_iter().flatten())
            .filter_map(|number| self.nodes.get(*number))
            .filter(|node| node.right.is_some())
            .map(|node| &node.op)
    }

    fn node(&self, hash: &Hash) -> Option<(usize, &Node)> {
        let number = *self.numbers.get(hash)?;
        Some((number, self.nodes.get(number)?))
    }

    /// The past of heads, these included; `None` where one is not held.
    fn past_of(&self, heads: &[Hash]) -> Option<Arc<OpSet>> {
        let mut pasts = self.pasts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(past) = pasts.get(heads) {
            return Some(past.clone());
        }
        let mut past = OpSet::default();
        for head in heads {
            let (number, node) = self.node(head)?;
            past.union(&node.past);
            past.insert(number);
        }
        let past = Arc::new(past);
        if pasts.len() >= MAX_CACHED {
            pasts.clear();
        }
        pasts.insert(heads.into(), past.clone());
        Some(past)
    }

    /// Whether an operation of `set` (`None`: of all) names this device.
    fn is_named_in(&self, peer: &PeerId, set: Option<&OpSet>) -> bool {
        *peer == self.genesis.root
            || (self.named.get(peer).into_iter().flatten()).any(|number| set.is_none_or(|set| set.contains(*number)))
    }

    /// Rule 1: the right by which `author` grants `role` to `peer`, knowing `past`.
    fn right_to_grant(&self, author: &PeerId, peer: &PeerId, role: SyncRole, past: &OpSet) -> Option<Right> {
        if *author == self.genesis.root {
            return Some(Right::RootOrAdmin);
        }
        let own = self.deciding_grant(author, Some(past))?.op.grant()?.1;
        let allowed = super::view::may_add(self.genesis.policy, own, role, || self.is_named_in(peer, Some(past)));
        allowed.then_some(if own == SyncRole::Admin { Right::RootOrAdmin } else { Right::Member })
    }

    /// Rule 4 within `set` (`None`: all): the grant that gives this device its role; `None` where it is no member.
    /// Of several that give the same role the lowest hash, so that every replica shows the same one.
    fn deciding_grant(&self, peer: &PeerId, set: Option<&OpSet>) -> Option<&Node> {
        let grants = || {
            (self.named.get(peer).into_iter().flatten().rev())
                .filter(|number| set.is_none_or(|set| set.contains(**number)))
                .filter_map(|number| Some((*number, self.nodes.get(*number)?)))
        };
        // From the last to arrive: nothing later can have an earlier one's place in its past, so what no kept one
        // covers is a latest grant.
        let mut latest: Vec<(usize, &Node)> = Vec::new();
        for (number, node) in grants().filter(|(_, node)| node.right == Some(Right::RootOrAdmin)) {
            if !latest.iter().any(|(_, later)| later.past.contains(number)) {
                latest.push((number, node));
            }
        }
        let lowest = |node: &&Node| {
            let role = node.op.grant().map(|(_, role, _)| role);
            (std::cmp::Reverse(role), node.op.hash())
        };
        if latest.is_empty() {
            // Grants by Members never have one another in their past (rule 1), so all of them are latest.
            return grants().map(|(_, node)| node).filter(|node| node.right == Some(Right::Member)).min_by_key(lowest);
        }
        latest.into_iter().map(|(_, node)| node).min_by_key(lowest)
    }

    fn view_of<'a>(&self, peers: impl Iterator<Item = &'a PeerId>, set: Option<&OpSet>) -> View {
        let members = peers
            .filter_map(|peer| {
                let op = &self.deciding_grant(peer, set)?.op;
                let (_, role, name) = op.grant()?;
                let member = Member {
                    role,
                    name: name.to_owned(),
                    added: op.hlc,
                    by: op.author,
                    grant: op.hash(),
                    teams: BTreeSet::new(),
                };
                Some((*peer, member))
            })
            .collect();
        View { kind: self.genesis.policy, root: self.genesis.root, members, acls: BTreeMap::new() }
    }
}
