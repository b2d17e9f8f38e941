//! The membership log: the causal DAG of all stored operations, and its evaluation.
//!
//! **What is stored** depends on nothing but the operation and its past: it is well-formed and signed, belongs to this
//! vault, its parents are held, and some operation in its past names its author (or it is the root's). So the order of
//! arrival never matters, and no stranger's operation is ever kept.
//!
//! **What has effect** is a pure function of the set, by these rules (PROTOCOL.md section 7.1):
//!
//! 1. an operation counts only if its author had the right to it in the evaluation of its own past (`rights`);
//! 2. removals and demotions are judged by rule 1 alone;
//! 3. any other operation is void if its author has an effective removal or demotion concurrent with it, or if rule 1
//!    fails for it with the void operations of its own past left out (`voids`);
//! 4. a member is alive if some effective Add has every effective removal of it in its past; its role is the lowest among
//!    its latest effective grants (`standing`);
//! 5. the root's operations are never void; its `RootVoid` cancels others.
//!
//! Which commits count in the end is for `writing` and [`super::valid`] to say.

mod branches;
mod keys;
mod make;
mod rights;
mod standing;
mod voids;
mod writing;

pub(super) use writing::{Limit, Writing};

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::op::{Body, Genesis, Op};
use super::op_set::OpSet;
use super::view::View;
use crate::error::{Error, ErrorCode, Result};
use crate::types::limits::MAX_HEADS;
use crate::types::{EntityType, Hash, LogName, PeerId, SortedSet, VaultId};
use standing::Scope;
use voids::Voids;

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
    /// Its author's right to it by rule 1. It follows from the past alone, so it never changes.
    right: Option<Right>,
    /// It is a removal or a demotion that satisfies rule 1.
    restrains: bool,
    /// All that arrived before it and is about the same (in the same list of [`Lists`]) is in its past.
    covers: bool,
}

/// The operations that are about one device, in the order of arrival.
#[derive(Default, Debug)]
struct About {
    /// Its Adds (`Genesis` and `AddMember`).
    adds: Vec<usize>,
    /// Its Adds and `SetRole`s.
    grants: Vec<usize>,
    /// `Remove`s, and its own `Leave`s.
    removals: Vec<usize>,
    /// Removals and demotions that satisfy rule 1.
    restraints: Vec<usize>,
    teams: Vec<usize>,
    names: Vec<usize>,
    /// What it has signed.
    signed: Vec<usize>,
    /// `AcceptRange`s of its logs.
    accepted: Vec<usize>,
}

/// Operations by what they are about, in the order of arrival.
#[derive(Default, Debug)]
struct Lists {
    peers: HashMap<PeerId, About>,
    acls: HashMap<EntityType, Vec<usize>>,
    policies: Vec<usize>,
    keys: Vec<usize>,
    accepts: Vec<usize>,
    raises: Vec<usize>,
    /// `AcceptBranch`es by log.
    branches: HashMap<LogName, Vec<usize>>,
}

/// The membership operations of one vault. Debug output shows no operation, and so no secret.
pub struct Membership {
    genesis: Genesis,
    genesis_bytes: Arc<[u8]>,
    vault: VaultId,
    /// In the order of arrival, which is a causal one: parents come before children.
    nodes: Vec<Node>,
    numbers: HashMap<Hash, usize>,
    lists: Lists,
    heads: SortedSet<Hash>,
    bytes: usize,
    past_bytes: usize,
    /// What makes others void, ascending: removals and demotions with a concurrent operation of whom they are about, and
    /// `RootVoid`s.
    causes: Vec<usize>,
    /// What is void in the set of all.
    voids: Arc<Voids>,
    /// What is void where only some of the causes are known.
    partial: Mutex<HashMap<Vec<usize>, Arc<Voids>>>,
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
            lists: Lists::default(),
            heads: SortedSet::new(),
            bytes: 0,
            past_bytes: 0,
            causes: Vec::new(),
            voids: Arc::default(),
            partial: Mutex::default(),
            view: OnceLock::new(),
            pasts: Mutex::default(),
            genesis,
            genesis_bytes: op.encoded().clone(),
        };
        membership.push(op, Arc::default(), Some(Right::RootOrAdmin), false);
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
        if op.author != self.genesis.root && !self.is_named_in(&op.author, &past) {
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
        let (right, restrains) = self.judge(&op, &past);
        self.push(op, past, right, restrains);
        Ok(Inserted::New(hash))
    }

    fn push(&mut self, op: Op, past: Arc<OpSet>, right: Option<Right>, restrains: bool) {
        let number = self.nodes.len();
        self.numbers.insert(op.hash(), number);
        let covers = self.enlist(number, &op, &past, restrains);
        op.parents.iter().for_each(|parent| {
            self.heads.remove(parent);
        });
        self.heads.insert(op.hash());
        self.bytes = self.bytes.saturating_add(op.encoded().len());
        self.past_bytes = self.past_bytes.saturating_add(past.own_bytes());
        self.nodes.push(Node { op, past, right, restrains, covers });
        self.note_voids(number);
        self.view = OnceLock::new();
    }

    /// Puts an operation where it is looked for; whether it has all in its past that arrived before it in its list.
    fn enlist(&mut self, number: usize, op: &Op, past: &OpSet, restrains: bool) -> bool {
        let (author, subject) = (op.author, op.body.subject());
        let about = self.lists.peers.entry(subject.unwrap_or(author)).or_default();
        if restrains {
            about.restraints.push(number);
        }
        let list = match &op.body {
            Body::Genesis(_) | Body::AddMember(_) => {
                about.adds.push(number);
                Some(&mut about.grants)
            }
            Body::SetRole(_) => Some(&mut about.grants),
            Body::Remove(_) | Body::Leave { .. } => Some(&mut about.removals),
            Body::SetTeams(_) => Some(&mut about.teams),
            Body::SetName(_) => Some(&mut about.names),
            Body::SetAcl(set) => Some(self.lists.acls.entry(set.entity_type.clone()).or_default()),
            Body::SetPolicy(_) => Some(&mut self.lists.policies),
            Body::SetKey(_) => Some(&mut self.lists.keys),
            Body::AcceptRange(range) => {
                self.lists.accepts.push(number);
                let about = self.lists.peers.entry(range.log.id.author).or_default();
                Some(&mut about.accepted)
            }
            Body::RaiseCut(_) => Some(&mut self.lists.raises),
            Body::AcceptBranch { log, .. } => Some(self.lists.branches.entry(log.clone()).or_default()),
            Body::RootVoid(_) | Body::Unknown { .. } => None,
        };
        let covers = list.is_some_and(|list| {
            let nodes = &self.nodes;
            let covers = match list.last() {
                // Mostly each knows the one before it, which knows all before that.
                Some(last) if nodes.get(*last).is_some_and(|last| last.covers) && past.contains(*last) => true,
                _ => list.iter().all(|before| past.contains(*before)),
            };
            list.push(number);
            covers
        });
        self.lists.peers.entry(author).or_default().signed.push(number);
        covers
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

    /// Whether an operation is held and has effect.
    pub fn has_effect(&self, hash: &Hash) -> bool {
        self.numbers.get(hash).is_some_and(|number| !self.voids.contains(*number))
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
        let own = self.about(author).map(|about| &about.grants[..]).unwrap_or_default().iter().copied();
        let must: Vec<usize> = before.iter().filter_map(|hash| self.numbers.get(hash).copied()).chain(own).collect();
        let mut chosen: SortedSet<Hash> = SortedSet::new();
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

    /// What a removed device with these heads lacks to see its removal, parents before children: the effective removals,
    /// and what their authors knew, which it was a member for. Empty where it names heads that are not held here.
    pub fn removal_for(&self, peer: &PeerId, their_heads: &[Hash]) -> Vec<Arc<[u8]>> {
        let (Some(theirs), Some(about)) = (self.past_of(their_heads), self.about(peer)) else { return Vec::new() };
        let mut told = OpSet::default();
        for number in about.removals.iter().filter(|number| !self.voids.contains(**number)) {
            if let Some(node) = self.nodes.get(*number).filter(|node| node.right.is_some()) {
                told.union(&node.past);
                told.insert(*number);
            }
        }
        (self.nodes.iter().enumerate())
            .filter(|(number, _)| told.contains(*number) && !theirs.contains(*number))
            .map(|(_, node)| node.op.encoded().clone())
            .collect()
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
        self.about(peer).is_some_and(|about| !about.adds.is_empty())
    }

    /// Whether an operation in the past of `heads`, these included, names this device; `None` where a head is not held.
    pub fn named_in_past(&self, heads: &[Hash], peer: &PeerId) -> Option<bool> {
        Some(self.is_named_in(peer, &*self.past_of(heads)?))
    }

    /// Whether the past of `later` has all of `earlier` in it; false where anything is not held.
    pub fn advances(&self, earlier: &[Hash], later: &[Hash]) -> bool {
        self.past_of(later).is_some_and(|past| {
            earlier.iter().all(|hash| self.numbers.get(hash).is_some_and(|number| past.contains(*number)))
        })
    }

    /// The evaluation of all operations held.
    pub fn evaluate(&self) -> Arc<View> {
        self.view.get_or_init(|| Arc::new(self.view_of(self.lists.peers.keys(), &self.everything()))).clone()
    }

    /// The evaluation of the past of `heads`, these included; `None` where a head is not held.
    pub fn evaluate_at(&self, heads: &[Hash]) -> Option<View> {
        let past = self.past_of(heads)?;
        let voids = self.voids_in(&past);
        Some(self.view_of(self.lists.peers.keys(), &self.scope(&past, heads, &voids)))
    }

    /// [`Membership::evaluate_at`] with no other member than `peer` in it: cheap, whatever the number of members.
    pub fn evaluate_one(&self, heads: &[Hash], peer: &PeerId) -> Option<View> {
        let past = self.past_of(heads)?;
        let voids = self.voids_in(&past);
        Some(self.view_of(std::iter::once(peer), &self.scope(&past, heads, &voids)))
    }

    /// The same without what is void by all operations held, as commits that name these heads are judged.
    pub fn evaluate_one_now(&self, heads: &[Hash], peer: &PeerId) -> Option<View> {
        let past = self.past_of(heads)?;
        Some(self.view_of(std::iter::once(peer), &self.scope(&past, heads, &self.voids)))
    }

    /// Grants of one device that satisfied rule 1, from the last to arrive.
    pub(super) fn effective_grants(&self, peer: &PeerId) -> impl Iterator<Item = &Op> {
        (self.about(peer).into_iter().flat_map(|about| about.adds.iter().rev()))
            .filter_map(|number| self.nodes.get(*number))
            .filter(|node| node.right.is_some())
            .map(|node| &node.op)
    }

    fn about(&self, peer: &PeerId) -> Option<&About> {
        self.lists.peers.get(peer)
    }

    /// All operations held.
    fn everything(&self) -> Scope<'_> {
        Scope { upto: self.nodes.len(), sets: [None, None], one: None, except: None, voids: &self.voids }
    }

    /// The past of `heads`, which `past` is, without what is void.
    fn scope<'a>(&self, past: &'a OpSet, heads: &[Hash], voids: &'a Voids) -> Scope<'a> {
        let last = heads.iter().filter_map(|head| self.numbers.get(head)).max();
        let upto = last.map_or(0, |last| last + 1);
        Scope { upto, sets: [Some(past), None], one: None, except: None, voids }
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

    /// Whether an operation of `past` makes this device a member, with effect or without.
    fn is_named_in(&self, peer: &PeerId, past: &OpSet) -> bool {
        *peer == self.genesis.root
            || self.about(peer).is_some_and(|about| about.adds.iter().any(|number| past.contains(*number)))
    }
}
