//! What of the logs on a disk counts: the rules once more, over all commits at once instead of as they came.

use std::collections::BTreeMap;

use crate::policy::{LogFacts, Membership, Refusal, Validity, valid};
use crate::types::{Commit, LogId, LogName, StandsFor};

/// The commits of each log that a disk holds.
pub type Logs = BTreeMap<LogName, BTreeMap<u64, Commit>>;

/// The logs of a disk, which of them have branches behind which commit, and what counts.
pub struct Verdicts<'a> {
    logs: &'a Logs,
    forks: &'a BTreeMap<LogName, u64>,
    of: BTreeMap<LogName, Validity>,
}

impl<'a> Verdicts<'a> {
    pub fn new(logs: &'a Logs, forks: &'a BTreeMap<LogName, u64>, membership: &Membership) -> Self {
        let mut verdicts = Self { logs, forks, of: BTreeMap::new() };
        // A copy depends on its original and on lower copies, and those on nothing later.
        loop {
            let next = logs.keys().map(|name| (name.clone(), valid(&verdicts.facts(name), membership))).collect();
            if verdicts.of == next {
                return verdicts;
            }
            verdicts.of = next;
        }
    }

    pub fn of(&self, name: &LogName) -> Validity {
        self.of.get(name).cloned().unwrap_or_default()
    }

    fn counts(&self, name: &LogName, seq: u64) -> bool {
        self.of.get(name).is_some_and(|verdict| verdict.is_valid(seq))
    }

    /// How many commits of a log are in quarantine, as its author is told: not those of branches, nor those of which a
    /// copy counts.
    pub fn quarantined(&self, name: &LogName) -> u64 {
        let refused = self.of(name).refused.into_iter().filter(|(range, why)| match why {
            Refusal::Forked | Refusal::StandsForCounting => false,
            Refusal::BeyondCut => !range.clone().all(|seq| {
                self.copies_of_author(name)
                    .any(|(copy, at, of)| (of.epoch, of.seq) == (name.id.epoch, seq) && self.counts(copy, at))
            }),
            _ => true,
        });
        refused.map(|(range, _)| range.end - range.start).sum()
    }

    /// Commits that an author made again: where, and for what.
    fn copies_of_author(&self, name: &LogName) -> impl Iterator<Item = (&LogName, u64, StandsFor)> {
        let theirs = |other: &LogName| other.id.author == name.id.author && other.entity_type == name.entity_type;
        let logs = self.logs.iter().filter(move |(other, _)| theirs(other));
        logs.flat_map(|(other, commits)| {
            commits.values().filter_map(move |commit| Some((other, commit.header.seq, commit.header.stands_for?)))
        })
    }

    /// Whether a copy does not count: its original does, or a lower copy of it.
    fn gives_way(&self, name: &LogName, seq: u64, of: StandsFor) -> bool {
        let original = LogName { id: LogId { epoch: of.epoch, ..name.id }, ..name.clone() };
        let held = self.logs.get(&original).and_then(|commits| commits.get(&of.seq));
        held.is_some_and(|commit| commit.hash == of.hash && self.counts(&original, of.seq))
            || self.copies_of_author(name).any(|(other, at, also)| {
                also == of && (other.id.epoch, at) < (name.id.epoch, seq) && self.counts(other, at)
            })
    }

    /// What the rules need to know of a log, from its commits alone.
    fn facts(&self, log: &LogName) -> LogFacts {
        let commits = &self.logs[log];
        let mut facts = LogFacts {
            log: log.clone(),
            tip: commits.keys().last().copied().unwrap_or(0),
            segments: Vec::new(),
            forked_after: self.forks.get(log).copied(),
            bad: Vec::new(),
            named: Vec::new(),
            copies: Vec::new(),
        };
        for (seq, commit) in commits {
            if facts.segments.last().is_none_or(|(_, heads)| *heads != commit.header.heads) {
                facts.segments.push((*seq, commit.header.heads.clone()));
            }
            let seen = commit.events.iter().flat_map(|event| &event.seen);
            facts.named.extend(seen.map(|(of, _)| (*seq, of.author)).filter(|(_, author)| *author != log.id.author));
            if let Some(of) = commit.header.stands_for {
                facts.copies.push((*seq, self.gives_way(log, *seq, of)));
            }
        }
        facts
    }
}
