//! Rules 2, 3 and 5: what of a set of operations is void.
//!
//! Whether an operation is void in a set depends on its own past, and on the *causes* in the set: removals and demotions
//! that are concurrent with an operation of whom they are about, and `RootVoid`s. They are few. So what is void is kept
//! for all causes, and grows with each operation; a set that has only some of them is worked out when it is asked for.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};

use super::super::op::{Body, Op, RootVoid};
use super::super::op_set::OpSet;
use super::standing::Scope;
use super::{Membership, Node, Right};
use crate::types::{Hash, SortedMap};

/// Sets of causes that are remembered.
const MAX_CACHED: usize = 64;

/// What is void, given some causes, of the operations with the lowest numbers.
#[derive(Clone, Default, Debug)]
pub(super) struct Voids {
    /// How many operations were looked at.
    upto: usize,
    bits: Vec<u64>,
    /// How many are void though they satisfy rule 1.
    beyond_rule_1: usize,
    /// Grants whose authors have another right to them with the void operations left out.
    rights: SortedMap<usize, Right>,
    /// What `RootVoid`s name.
    cancelled: HashSet<Hash>,
}

impl Voids {
    /// Whether an operation is void.
    pub fn contains(&self, number: usize) -> bool {
        self.bits.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// By which right a grant was made, where it is another than rule 1 alone says.
    pub fn right(&self, number: usize) -> Option<Right> {
        self.rights.get(&number).copied()
    }

    fn insert(&mut self, number: usize) {
        if self.bits.len() <= number / 64 {
            self.bits.resize(number / 64 + 1, 0);
        }
        if let Some(word) = self.bits.get_mut(number / 64) {
            *word |= 1 << (number % 64);
        }
    }

    /// Forgets what was found out of operations from `number` on; `satisfied` says which of those satisfied rule 1.
    fn truncate(&mut self, number: usize, satisfied: impl Fn(usize) -> bool) {
        let forgotten = (number..self.upto).filter(|number| self.contains(*number) && satisfied(*number)).count();
        self.beyond_rule_1 -= forgotten;
        self.upto = self.upto.min(number);
        self.bits.truncate(number.div_ceil(64));
        if let Some(word) = self.bits.get_mut(number / 64) {
            *word &= (1 << (number % 64)) - 1;
        }
        self.rights.split_off(&number);
    }
}

impl Membership {
    /// What is void in a set that is closed under the past.
    pub(super) fn voids_in(&self, set: &OpSet) -> Arc<Voids> {
        if self.causes.iter().all(|cause| set.contains(*cause)) {
            return self.voids.clone();
        }
        let causes: Vec<usize> = self.causes.iter().copied().filter(|cause| set.contains(*cause)).collect();
        let mut partial = self.partial.lock().unwrap_or_else(PoisonError::into_inner);
        let mut voids = partial.remove(&causes).unwrap_or_default();
        self.extend(Arc::make_mut(&mut voids), Some(&causes));
        if partial.len() >= MAX_CACHED {
            partial.clear();
        }
        partial.insert(causes, voids.clone());
        voids
    }

    /// Takes the newest operation in: whether it is void, and what it makes void.
    pub(super) fn note_voids(&mut self, number: usize) {
        let Some(first) = self.note_causes(number) else { return };
        let mut voids = std::mem::take(&mut self.voids);
        let all = Arc::make_mut(&mut voids);
        if first < number {
            all.truncate(first, |number| self.nodes.get(number).is_some_and(|node| node.right.is_some()));
        }
        self.extend(all, None);
        self.voids = voids;
    }

    /// From which operation on the newest one may change what is void.
    fn note_causes(&mut self, number: usize) -> Option<usize> {
        let node = self.nodes.get(number)?;
        let author = node.op.author;
        let mut first = number;
        let mut causes: Vec<usize> = Vec::new();
        if matches!(node.op.body, Body::RootVoid(_)) && node.right.is_some() {
            causes.push(number);
            first = 0;
        } else if node.right.is_some() {
            // Removals and demotions of its author that it does not know.
            let restraints = self.about(&author).map(|about| &about.restraints[..]).unwrap_or_default();
            causes.extend(restraints.iter().copied().filter(|other| *other != number && !node.past.contains(*other)));
            if node.restrains {
                // Operations of whom it is about that do not know it, as nothing does so far.
                let subject = node.op.body.subject().unwrap_or(author);
                let signed = self.about(&subject).map(|about| &about.signed[..]).unwrap_or_default();
                if let Some(beside) = signed.iter().find(|other| **other != number && !node.past.contains(**other)) {
                    causes.push(number);
                    first = *beside;
                }
            }
        }
        for cause in causes {
            if let Err(place) = self.causes.binary_search(&cause) {
                self.causes.insert(place, cause);
            }
        }
        Some(first)
    }

    /// Looks at the operations that were not looked at, in their order. `causes`: those that are in the set, if not all.
    fn extend(&self, voids: &mut Voids, causes: Option<&[usize]>) {
        let counts = |cause: usize| causes.is_none_or(|causes| causes.binary_search(&cause).is_ok());
        voids.cancelled.clear();
        for cause in self.causes.iter().copied().filter(|cause| counts(*cause)) {
            if let Some(Body::RootVoid(RootVoid { ops })) = self.nodes.get(cause).map(|node| &node.op.body) {
                voids.cancelled.extend(ops);
            }
        }
        for number in voids.upto..self.nodes.len() {
            voids.upto = number + 1;
            let Some(node) = self.nodes.get(number) else { continue };
            if node.op.author == self.genesis.root {
                continue; // rule 5
            }
            if node.right.is_none() {
                voids.insert(number);
                continue;
            }
            if voids.cancelled.contains(&node.op.hash()) || !self.stands(number, voids, &counts) {
                voids.insert(number);
                voids.beyond_rule_1 += 1;
            }
        }
    }

    /// Rules 2 and 3 of one operation that satisfies rule 1 and that the root has not cancelled.
    fn stands(&self, number: usize, voids: &mut Voids, counts: &impl Fn(usize) -> bool) -> bool {
        let Some(node) = self.nodes.get(number) else { return false };
        if node.restrains {
            return true;
        }
        let restraints = self.about(&node.op.author).map(|about| &about.restraints[..]).unwrap_or_default();
        let stands = |op: &Op| op.author == self.genesis.root || !voids.cancelled.contains(&op.hash());
        let beside = |other: usize, restraint: &Node| {
            !node.past.contains(other) && !restraint.past.contains(number) && counts(other) && stands(&restraint.op)
        };
        let restrained =
            restraints.iter().any(|other| self.nodes.get(*other).is_some_and(|restraint| beside(*other, restraint)));
        if restrained {
            return false;
        }
        if voids.beyond_rule_1 == 0 {
            return true; // nothing to leave out
        }
        let scope = Scope { upto: number, sets: [Some(&*node.past), None], one: None, except: None, voids: &*voids };
        let right = self.right_to(&node.op.author, &node.op.body, &scope);
        if let Some(right) = right.filter(|right| Some(*right) != node.right) {
            voids.rights.insert(number, right);
        }
        right.is_some()
    }
}
