//! The rules, word for word, on plain sets: what the membership log must agree with.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::types::{SortedMap, SortedSet};

/// By which right an operation was made: as Admin (the root too), or as another member.
type Effective = BTreeMap<Hash, SyncRole>;

pub struct Model<'a> {
    ops: &'a BTreeMap<Hash, Op>,
    /// In a causal order.
    order: Vec<&'a Op>,
    pasts: BTreeMap<Hash, BTreeSet<Hash>>,
    /// Rule 1 of each: the right, and whether it is a removal or demotion.
    judged: RefCell<BTreeMap<Hash, Option<(SyncRole, bool)>>>,
}

impl<'a> Model<'a> {
    pub fn new(ops: &'a BTreeMap<Hash, Op>) -> Self {
        let mut model = Self { ops, order: Vec::new(), pasts: BTreeMap::new(), judged: RefCell::default() };
        for op in ops.values() {
            let past = model.with_past(&op.parents);
            model.pasts.insert(op.hash(), past);
        }
        model.order = ops.values().collect();
        model.order.sort_by_key(|op| model.pasts[&op.hash()].len());
        model
    }

    /// These and all before them.
    pub fn with_past(&self, heads: &[Hash]) -> BTreeSet<Hash> {
        let mut set = BTreeSet::new();
        let mut stack = heads.to_vec();
        while let Some(hash) = stack.pop() {
            if set.insert(hash) {
                stack.extend(&self.ops[&hash].parents);
            }
        }
        set
    }

    pub fn past(&self, hash: &Hash) -> &BTreeSet<Hash> {
        &self.pasts[hash]
    }

    fn concurrent(&self, one: &Hash, other: &Hash) -> bool {
        one != other && !self.past(one).contains(other) && !self.past(other).contains(one)
    }

    /// Rule 1, and whether rule 2 applies.
    fn judge(&self, op: &Op) -> Option<(SyncRole, bool)> {
        if let Some(known) = self.judged.borrow().get(&op.hash()) {
            return *known;
        }
        let past = self.past(&op.hash());
        let effective = self.effective(past);
        let judged = self.right(op, &effective, past).map(|right| {
            let restrains = match &op.body {
                Body::Remove(_) => true,
                Body::Leave { .. } => op.author != peer(ROOT),
                Body::SetRole(set) => self.role(&set.peer, &effective).is_some_and(|(role, _)| set.role > role),
                _ => false,
            };
            (right, restrains)
        });
        self.judged.borrow_mut().insert(op.hash(), judged);
        judged
    }

    fn right(&self, op: &Op, effective: &Effective, past: &BTreeSet<Hash>) -> Option<SyncRole> {
        if op.author == peer(ROOT) {
            return Some(SyncRole::Admin);
        }
        let (role, _) = self.role(&op.author, effective)?;
        let allowed = match (&op.body, role) {
            (Body::Genesis(_) | Body::RootVoid(_) | Body::Unknown { .. }, _) => false,
            (_, SyncRole::Admin) | (Body::Leave { .. } | Body::RaiseCut(_), _) => true,
            (Body::SetName(set), _) => set.peer == op.author,
            (Body::AddMember(add), SyncRole::Member) => {
                let named =
                    add.peer == peer(ROOT) || past.iter().any(|hash| self.ops[hash].body.subject() == Some(add.peer));
                self.kind(effective) == PolicyKind::Personal && add.role == SyncRole::Member && !named
            }
            _ => false,
        };
        allowed.then_some(if role == SyncRole::Admin { role } else { SyncRole::Member })
    }

    /// Rules 1, 2, 3 and 5: what of a set has effect.
    pub fn effective(&self, set: &BTreeSet<Hash>) -> Effective {
        let cancelled: BTreeSet<Hash> = (set.iter())
            .filter_map(|hash| match &self.ops[hash].body {
                Body::RootVoid(void) if self.ops[hash].author == peer(ROOT) => Some(void.ops.clone()),
                _ => None,
            })
            .flatten()
            .collect();
        let stands = |op: &Op| op.author == peer(ROOT) || !cancelled.contains(&op.hash());
        let restraints: Vec<&Op> = (set.iter().map(|hash| &self.ops[hash]))
            .filter(|op| self.judge(op).is_some_and(|(_, restrains)| restrains) && stands(op))
            .collect();
        let mut effective = Effective::new();
        for op in self.order.iter().filter(|op| set.contains(&op.hash())) {
            let Some((right, restrains)) = self.judge(op).filter(|_| stands(op)) else { continue };
            if op.author == peer(ROOT) || restrains {
                effective.insert(op.hash(), right);
                continue;
            }
            let restrained = restraints.iter().any(|restraint| {
                restraint.body.subject().unwrap_or(restraint.author) == op.author
                    && self.concurrent(&restraint.hash(), &op.hash())
            });
            let past = self.past(&op.hash());
            let left = effective.iter().filter(|(hash, _)| past.contains(hash)).map(|(hash, right)| (*hash, *right));
            if !restrained && let Some(right) = self.right(op, &left.collect(), past) {
                effective.insert(op.hash(), right);
            }
        }
        effective
    }

    fn removals(&self, of: &PeerId, effective: &Effective) -> Vec<Hash> {
        let removes = |op: &&Op| match &op.body {
            Body::Remove(remove) => remove.peer == *of,
            Body::Leave { .. } => op.author == *of,
            _ => false,
        };
        effective.keys().map(|hash| &self.ops[hash]).filter(removes).map(Op::hash).collect()
    }

    fn latest(&self, mut these: Vec<&'a Op>) -> Vec<&'a Op> {
        let all = these.clone();
        these.retain(|op| !all.iter().any(|later| self.past(&later.hash()).contains(&op.hash())));
        these
    }

    fn of(&self, effective: &Effective, wanted: impl Fn(&Op) -> bool) -> Vec<&'a Op> {
        self.order.iter().copied().filter(|op| effective.contains_key(&op.hash()) && wanted(op)).collect()
    }

    /// Rule 4: the role, and the grant that gives it.
    fn role(&self, of: &PeerId, effective: &Effective) -> Option<(SyncRole, &'a Op)> {
        let removals = self.removals(of, effective);
        let adds = self.of(effective, |op| op.grant().is_some_and(|(to, ..)| to == *of));
        let alive = |add: &&Op| removals.iter().all(|removal| self.past(&add.hash()).contains(removal));
        if !adds.iter().any(alive) {
            return None;
        }
        let role = |op: &Op| match &op.body {
            Body::SetRole(set) if set.peer == *of => Some(set.role),
            _ => op.grant().filter(|(to, ..)| to == of).map(|(_, role, _)| role),
        };
        let mut grants = self.of(effective, |op| role(op).is_some());
        if grants.iter().any(|op| effective[&op.hash()] == SyncRole::Admin) {
            grants.retain(|op| effective[&op.hash()] == SyncRole::Admin);
        }
        let latest = self.latest(grants);
        let demotions = self.of(effective, |op| {
            matches!(&op.body, Body::SetRole(set) if set.peer == *of)
                && self.judge(op).is_some_and(|(_, restrains)| restrains)
        });
        let grant = latest.iter().copied().min_by_key(|op| (Reverse(role(op)), op.hash()))?;
        let beside = demotions.iter().any(|one| latest.iter().any(|grant| self.concurrent(&one.hash(), &grant.hash())));
        Some((if beside { SyncRole::ReadOnly } else { role(grant)? }, grant))
    }

    fn kind(&self, effective: &Effective) -> PolicyKind {
        let latest = self.latest(self.of(effective, |op| matches!(op.body, Body::SetPolicy(_) | Body::Genesis(_))));
        let kind = |op: &Op| match &op.body {
            Body::SetPolicy(set) => set.policy,
            Body::Genesis(genesis) => genesis.policy,
            _ => PolicyKind::Personal,
        };
        latest.into_iter().map(kind).max().unwrap()
    }

    fn teams(&self, of: &PeerId, effective: &Effective) -> SortedSet<TeamId> {
        let removals = self.removals(of, effective);
        let latest = self.latest(self.of(effective, |op| {
            matches!(&op.body, Body::SetTeams(set) if set.peer == *of)
                && removals.iter().all(|removal| self.past(&op.hash()).contains(removal))
        }));
        let mut sets = latest.into_iter().map(|op| match &op.body {
            Body::SetTeams(set) => set.teams.clone(),
            _ => unreachable!(),
        });
        let first = sets.next().unwrap_or_default();
        sets.fold(first, |all, these| all.intersection(&these).cloned().collect())
    }

    fn acls(&self, effective: &Effective) -> SortedMap<String, Vec<Vec<EntityAcl>>> {
        let mut acls = SortedMap::new();
        for name in ["note", "task"] {
            let mut latest = self.latest(
                self.of(effective, |op| matches!(&op.body, Body::SetAcl(set) if set.entity_type.as_str() == name)),
            );
            latest.sort_by_key(|op| op.hash());
            let lists: Vec<Vec<EntityAcl>> = (latest.into_iter())
                .map(|op| match &op.body {
                    Body::SetAcl(set) => set.entries.clone(),
                    _ => unreachable!(),
                })
                .collect();
            if !lists.is_empty() {
                acls.insert(name.to_owned(), lists);
            }
        }
        acls
    }

    fn name(&self, of: &PeerId, grant: &Op, effective: &Effective) -> String {
        let set = self.latest(self.of(effective, |op| matches!(&op.body, Body::SetName(set) if set.peer == *of)));
        if let Some(op) = set.iter().min_by_key(|op| op.hash())
            && let Body::SetName(set) = &op.body
        {
            return set.name.clone();
        }
        let adds = self.latest(self.of(effective, |op| op.grant().is_some_and(|(to, ..)| to == *of)));
        let add = if grant.grant().is_some() { Some(grant) } else { adds.into_iter().min_by_key(|op| op.hash()) };
        add.and_then(|op| op.grant()).map(|(_, _, name)| name.to_owned()).unwrap_or_default()
    }

    /// What a set comes to.
    pub fn view(&self, set: &BTreeSet<Hash>) -> View {
        self.view_of(&self.effective(set))
    }

    fn view_of(&self, effective: &Effective) -> View {
        let member = |number| {
            let peer = peer(number);
            let (role, op) = self.role(&peer, effective)?;
            let (name, teams) = (self.name(&peer, op, effective), self.teams(&peer, effective));
            Some((peer, Member { role, name, added: op.hlc, by: op.author, grant: op.hash(), teams }))
        };
        let members = (0..8).filter_map(member).collect();
        View { kind: self.kind(effective), root: peer(ROOT), members, acls: self.acls(effective) }
    }

    /// Of the latest that `choose` says something of, what it says of the one with the lowest hash.
    fn lowest<T>(&self, effective: &Effective, choose: impl Fn(&Op) -> Option<T>) -> Option<T> {
        let latest = self.latest(self.of(effective, |op| choose(op).is_some()));
        latest.into_iter().min_by_key(|op| op.hash()).and_then(choose)
    }

    /// The vault key that is used.
    pub fn key(&self, effective: &Effective) -> Option<Hash> {
        self.lowest(effective, |op| match &op.body {
            Body::SetKey(set) => Some(set.name),
            _ => None,
        })
    }

    /// The branch of a log that was accepted.
    pub fn branch(&self, of: &LogName, effective: &Effective) -> Option<(u64, Hash)> {
        self.lowest(effective, |op| match &op.body {
            Body::AcceptBranch { log, seq, hash } if log == of => Some((*seq, *hash)),
            _ => None,
        })
    }

    /// Whether a commit counts that names these heads.
    pub fn counts(&self, log: &LogName, heads: &[Hash], seq: u64) -> bool {
        let all = self.effective(&self.ops.keys().copied().collect());
        let may = |keep: &dyn Fn(&Hash) -> bool| {
            let effective = all.iter().filter(|(hash, _)| keep(hash)).map(|(hash, right)| (*hash, *right)).collect();
            self.view_of(&effective).may_write(log.entity_type.as_str(), &log.id.author)
        };
        let past = self.with_past(heads);
        if !may(&|hash| past.contains(hash)) {
            return false;
        }
        let concerns = |op: &Op| match &op.body {
            Body::SetAcl(set) => set.entity_type == log.entity_type,
            Body::SetPolicy(_) => true,
            Body::Leave { .. } => op.author == log.id.author,
            Body::SetRole(_) | Body::Remove(_) | Body::SetTeams(_) => op.body.subject() == Some(log.id.author),
            _ => false,
        };
        let beyond = self.of(&all, |op| concerns(op) && !past.contains(&op.hash()));
        let takes = |op: &&&Op| {
            let known = |hash: &Hash| past.contains(hash) || self.past(&op.hash()).contains(hash);
            may(&known) && !may(&|hash| known(hash) || *hash == op.hash())
        };
        let mut limiting: Vec<&Op> = beyond.iter().filter(takes).copied().collect();
        if limiting.is_empty() && !may(&|_| true) {
            limiting = beyond.iter().filter(|op| may(&|hash| *hash != op.hash())).copied().collect();
            if limiting.is_empty() {
                limiting = beyond;
            }
        }
        limiting.iter().all(|op| {
            let accepted = self.of(&all, |accept| {
                matches!(&accept.body, Body::AcceptRange(range) if range.log == *log && (range.from..=range.to).contains(&seq))
                    && self.past(&accept.hash()).contains(&op.hash())
            });
            let cut = op.body.cuts().and_then(|cuts| cuts.get(log)).map_or(0, |cut| cut.seq);
            seq <= cut || !accepted.is_empty()
        })
    }
}
