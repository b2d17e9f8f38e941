//! `valid`: the one function that decides which commits of a log count. It is pure: the same facts, fork proofs and
//! membership operations give the same answer on every replica, in whatever order they came (PROTOCOL.md section 8).
//!
//! Validity decides whether a commit is applied, never whether it is stored.

use std::ops::Range;
use std::sync::Arc;

use super::membership::{Limit, Membership, Writing};
use crate::types::{Hash, LogName, PeerId, SortedMap};

/// What `valid` needs to know of one log. Numbers beyond `tip` and number 0 are ignored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogFacts {
    /// Which log: whose, of which type, in which epoch.
    pub log: LogName,
    /// The last commit held.
    pub tip: u64,
    /// From which commit on the author named which membership heads, ascending by number. The first starts at 1.
    pub segments: Vec<(u64, Arc<[Hash]>)>,
    /// The last commit that two branches share, where a fork is proven.
    pub forked_after: Option<u64>,
    /// Commits that are invalid in themselves: a time beyond the year 6000, a text update under another author's
    /// client id.
    pub bad: Vec<u64>,
    /// Authors that commits name in clocks, each where it is named first (or more often): a commit is invalid unless an
    /// operation in the past of its heads names them.
    pub named: Vec<(u64, PeerId)>,
    /// Commits made again that stand for an original, and whether they give way: the original counts, or another copy
    /// of it with a lower (epoch, seq).
    pub copies: Vec<(u64, bool)>,
}

/// Why a commit does not count.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Refusal {
    /// It lies beyond the point where its log has two branches.
    Forked,
    /// It names membership heads that are not held yet; it may count once they come.
    HeadsMissing,
    /// Its membership heads do not have those of an earlier commit of its log in their past.
    HeadsWentBack,
    /// Its author is no member by the membership operations that it names.
    NotMember,
    /// Its author is a member, but may not write this type.
    MayNotWrite,
    /// Its author lost the right to write, and it lies beyond the cut that goes with that.
    BeyondCut,
    /// It is invalid in itself, or names an author that no operation it knows has added.
    Bad,
    /// It is a copy of a commit that counts itself.
    StandsForCounting,
}

/// Which commits of a log count; half-open ranges of numbers, ascending, as long as they can be.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Validity {
    /// Those that count.
    pub counts: Vec<Range<u64>>,
    /// All others, and why.
    pub refused: Vec<(Range<u64>, Refusal)>,
    /// Whether there is a bound to how many of the commits count that name the same heads as the last one.
    pub bounded: bool,
}

impl Validity {
    /// Whether a commit counts.
    pub fn is_valid(&self, seq: u64) -> bool {
        let after = self.counts.partition_point(|range| range.end <= seq);
        self.counts.get(after).is_some_and(|range| range.contains(&seq))
    }

    /// Why a commit does not count; `None` where it does, or is not held.
    pub fn refusal(&self, seq: u64) -> Option<Refusal> {
        let after = self.refused.partition_point(|(range, _)| range.end <= seq);
        self.refused.get(after).filter(|(range, _)| range.contains(&seq)).map(|(_, refusal)| *refusal)
    }

    fn push(&mut self, range: Range<u64>, refusal: Option<Refusal>) {
        if range.is_empty() {
            return;
        }
        match refusal {
            None => match self.counts.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => self.counts.push(range),
            },
            Some(refusal) => match self.refused.last_mut() {
                Some((last, why)) if last.end == range.start && *why == refusal => last.end = range.end,
                _ => self.refused.push((range, refusal)),
            },
        }
    }
}

/// Decides which commits of a log count.
pub fn valid(facts: &LogFacts, membership: &Membership) -> Validity {
    let end = facts.tip.saturating_add(1);
    let forked_from = facts.forked_after.map_or(end, |last| last.saturating_add(1)).min(end);

    // Commits that are refused one by one, by number.
    let mut single: SortedMap<u64, Refusal> = SortedMap::new();
    for (seq, gives_way) in &facts.copies {
        if *gives_way {
            single.insert(*seq, Refusal::StandsForCounting);
        }
    }
    for (seq, peer) in &facts.named {
        let segment = facts.segments.partition_point(|(first, _)| first <= seq).checked_sub(1);
        let heads = segment.and_then(|segment| facts.segments.get(segment));
        // Where heads are missing the whole segment is refused for that.
        if heads.is_some_and(|(_, heads)| membership.named_in_past(heads, peer) == Some(false)) {
            single.insert(*seq, Refusal::Bad);
        }
    }
    single.extend(facts.bad.iter().map(|seq| (*seq, Refusal::Bad)));

    let mut validity = Validity::default();
    let mut next = 1;
    let mut before: &[Hash] = &[];
    for (index, (first, heads)) in facts.segments.iter().enumerate() {
        let until = facts.segments.get(index + 1).map_or(end, |(first, _)| *first).min(forked_from);
        // A gap before the first segment: nothing says which heads these commits name.
        let start = (*first).max(next).min(forked_from);
        validity.push(next..start, Some(Refusal::HeadsMissing));
        let segment = segment(facts, membership, before, heads);
        if !matches!(segment, Err(Refusal::HeadsWentBack)) {
            before = heads;
        }
        next = start.max(until);
        validity.bounded = segment.as_ref().is_ok_and(|limits| !limits.is_empty());
        let limits = match segment {
            Ok(limits) => limits,
            Err(refusal) => {
                validity.push(start..next, Some(refusal));
                continue;
            }
        };
        for range in stretches(start..next, &limits) {
            if !limits.iter().all(|limit| limit.lets(range.start)) {
                validity.push(range, Some(Refusal::BeyondCut));
                continue;
            }
            let mut from = range.start;
            for (seq, refusal) in single.range(range.clone()) {
                validity.push(from..*seq, None);
                validity.push(*seq..seq.saturating_add(1), Some(*refusal));
                from = seq.saturating_add(1);
            }
            validity.push(from..range.end, None);
        }
    }
    validity.push(next..forked_from, Some(Refusal::HeadsMissing));
    validity.push(forked_from.max(1)..end, Some(Refusal::Forked));
    validity
}

/// What limits the commits of a log that name these heads, or why none of them counts.
fn segment(
    facts: &LogFacts,
    membership: &Membership,
    before: &[Hash],
    heads: &[Hash],
) -> std::result::Result<Vec<Limit>, Refusal> {
    if !membership.contains_all(heads) {
        return Err(Refusal::HeadsMissing);
    }
    // An operation's whole past is held with it: heads that are not held cannot be in the past of these.
    if !membership.advances(before, heads) {
        return Err(Refusal::HeadsWentBack);
    }
    match membership.writing(heads, &facts.log) {
        None => Err(Refusal::HeadsMissing),
        Some(Writing::NotMember) => Err(Refusal::NotMember),
        Some(Writing::MayNotWrite) => Err(Refusal::MayNotWrite),
        Some(Writing::Within(limits)) => Ok(limits),
    }
}

/// Cuts a range into parts in which the limits say the same of every commit.
fn stretches(range: Range<u64>, limits: &[Limit]) -> Vec<Range<u64>> {
    let after = |seq: u64| seq.saturating_add(1);
    let mut edges: Vec<u64> = (limits.iter())
        .flat_map(|limit| {
            let accepted = limit.accepted.iter().flat_map(|(from, to)| [*from, after(*to)]);
            accepted.chain([after(limit.cut)])
        })
        .filter(|edge| range.start < *edge && *edge < range.end)
        .chain([range.start, range.end])
        .collect();
    edges.sort_unstable();
    edges.dedup();
    edges.windows(2).map(|pair| pair[0]..pair[1]).collect()
}
