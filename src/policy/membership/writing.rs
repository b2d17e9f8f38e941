//! Which commits of a log its author had the right to make, by all operations held.

use super::super::op::Body;
use super::super::op_set::OpSet;
use super::Membership;
use super::standing::Scope;
use crate::types::{Hash, LogName};

/// What the author of a log might do at some membership heads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::policy) enum Writing {
    /// It was no member.
    NotMember,
    /// It might not write the type.
    MayNotWrite,
    /// It might write, and each of these restrictions, which those heads do not know, lets some of it count.
    Within(Vec<Limit>),
}

/// How much one restriction lets count.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::policy) struct Limit {
    /// The last commit before the cut.
    pub cut: u64,
    /// First and last commits of what an Admin, knowing the restriction, has accepted beyond it.
    pub accepted: Vec<(u64, u64)>,
}

impl Limit {
    /// Whether a commit counts.
    pub fn lets(&self, seq: u64) -> bool {
        seq <= self.cut || self.accepted.iter().any(|(from, to)| (*from..=*to).contains(&seq))
    }
}

impl Membership {
    /// What the author of a log might do with its type by the operations in the past of `heads` that are not void, and
    /// which restrictions beyond them limit it; `None` where a head is not held.
    ///
    /// A restriction limits a log if it takes the right that its author had by those heads and by all that the restriction
    /// knew. Where several only together take it, each that the right would be there without does.
    pub(in crate::policy) fn writing(&self, heads: &[Hash], log: &LogName) -> Option<Writing> {
        let past = self.past_of(heads)?;
        let scope = self.scope(&past, heads, &self.voids);
        match self.access(&log.id.author, log.entity_type.as_str(), &scope) {
            None => return Some(Writing::NotMember),
            Some(access) if !access.write => return Some(Writing::MayNotWrite),
            Some(_) => {}
        }
        let may = |scope: &Scope<'_>| {
            self.access(&log.id.author, log.entity_type.as_str(), scope).is_some_and(|access| access.write)
        };
        let all = self.everything();
        let beyond = self.restrictions(log, &past);
        let takes = |number: &usize| {
            let Some(node) = self.nodes.get(*number) else { return false };
            let upto = scope.upto.max(number + 1);
            let before = Scope { upto, sets: [Some(&*past), Some(&*node.past)], ..all };
            may(&before) && !may(&Scope { one: Some(*number), ..before })
        };
        let mut limiting: Vec<usize> = beyond.iter().copied().filter(takes).collect();
        if limiting.is_empty() && !beyond.is_empty() && !may(&all) {
            limiting = beyond.iter().copied().filter(|number| may(&Scope { except: Some(*number), ..all })).collect();
            if limiting.is_empty() {
                limiting = beyond;
            }
        }
        Some(Writing::Within(limiting.into_iter().map(|number| self.limit(log, number)).collect()))
    }

    /// Operations with effect that may take rights to this log, and that `past` does not know.
    fn restrictions(&self, log: &LogName, past: &OpSet) -> Vec<usize> {
        let about = self.about(&log.id.author);
        let lists = about.into_iter().flat_map(|about| [&about.removals, &about.grants, &about.teams]);
        (lists.chain(self.lists.acls.get(&log.entity_type)).chain([&self.lists.policies]))
            .flat_map(|list| list.iter().rev())
            .copied()
            .filter(|number| !past.contains(*number) && !self.voids.contains(*number))
            .filter(|number| self.nodes.get(*number).is_some_and(|node| node.op.body.cuts().is_some()))
            .collect()
    }

    fn limit(&self, log: &LogName, number: usize) -> Limit {
        let cuts = self.nodes.get(number).and_then(|node| node.op.body.cuts());
        let cut = cuts.and_then(|cuts| cuts.get(log)).map_or(0, |cut| cut.seq);
        let accepted = (self.about(&log.id.author).into_iter().flat_map(|about| &about.accepted))
            .filter(|accept| !self.voids.contains(**accept))
            .filter_map(|accept| self.nodes.get(*accept))
            .filter_map(|node| match &node.op.body {
                Body::AcceptRange(range) if range.log == *log && node.past.contains(number) => {
                    Some((range.from, range.to))
                }
                _ => None,
            });
        Limit { cut, accepted: accepted.collect() }
    }
}
