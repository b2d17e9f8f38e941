//! What of the logs counts, worked out anew when something came that it depends on: commits, copies and their
//! originals, membership operations, fork proofs. The rule itself is [`crate::policy::valid`].

use std::ops::Range;

use super::layout::{self, LogKey};
use super::log::{Copied, Log, Original, changed};
use super::remote::Arrived;
use super::{SyncEngine, Wanted};
use crate::policy::{Refusal, Validity};
use crate::store::{Read, Rows, Table};
use crate::types::{Commit, LogId, LogName, SortedSet};
use crate::wire::decode_block;

/// Rounds of evaluation: more than an author has epochs with copies of the same commits.
const MAX_ROUNDS: usize = 32;

impl SyncEngine {
    /// Decides what counts after commits were noted: of this log, and of what stands in relation to it.
    /// `decided` says that the log's own part is known already.
    pub(super) fn commits_came(&mut self, key: LogKey, commits: &[Commit], decided: bool, arrived: &mut Arrived) {
        let made_again = commits.iter().any(|commit| commit.header.stands_for.is_some());
        let has_copies = self.logs.get(&key).is_some_and(|log| !log.copies.is_empty());
        if made_again || has_copies || self.is_original(key) {
            self.match_originals(key, commits, arrived);
            self.revalidate(arrived);
        } else if !decided
            && let Some(vault) = &self.vault
            && let Some(log) = self.logs.get_mut(&key)
        {
            log.validity = log.evaluate(&vault.membership, |_| false);
        }
    }

    /// Evaluates every log again; what changed below a tip is to be folded again.
    pub(super) fn revalidate(&mut self, arrived: &mut Arrived) {
        // A copy depends on its original and on lower copies, and those on nothing later: the rounds settle.
        for _ in 0..MAX_ROUNDS {
            let mut moved = false;
            for (key, new) in self.evaluate_all() {
                self.audit_validity(key, &new);
                let Some(log) = self.logs.get_mut(&key) else { continue };
                if log.validity == new {
                    continue;
                }
                for range in changed(&log.validity, &new, log.tip.seq) {
                    // What has not been applied yet needs no second fold.
                    let known: Range<u64> = range.start..range.end.min(log.applied + 1);
                    if known.start < known.end {
                        arrived.stale.add(key, known);
                    }
                }
                if new.is_valid(log.tip.seq) {
                    log.waiting_bytes = 0;
                }
                log.measure = log.is_full();
                log.validity = new;
                arrived.touch(key);
                moved = true;
            }
            if !moved {
                break;
            }
        }
    }

    /// Notes where commits that were taken in before turn out to be of an author without the right to them.
    fn audit_validity(&mut self, key: LogKey, new: &Validity) {
        let Some(log) = self.logs.get(&key) else { return };
        let last = log.applied.min(log.tip.seq);
        let why = new.refusal(last);
        // What a restriction takes back is no commit that was refused: the restriction has its own entry.
        if log.validity.refusal(last) == Some(Refusal::HeadsMissing) && why != Some(Refusal::HeadsMissing) {
            let (author, name) = (log.name.id.author, log.name.entity_type.clone());
            self.audit_refused(why, author, &name);
        }
    }

    fn evaluate_all(&self) -> Vec<(LogKey, Validity)> {
        let Some(vault) = &self.vault else { return Vec::new() };
        self.logs
            .iter()
            .map(|(key, log)| (*key, log.evaluate(&vault.membership, |copy| self.gives_way(log, copy))))
            .collect()
    }

    /// Whether a copy does not count: its original does, or a lower copy of it.
    fn gives_way(&self, log: &Log, copy: &Copied) -> bool {
        let author = log.name.id.author;
        let original =
            LogName { entity_type: log.name.entity_type.clone(), id: LogId { author, epoch: copy.of.epoch } };
        let counts = copy.original == Original::Held
            && (self.log_names.get(&original).and_then(|key| self.logs.get(key)))
                .is_some_and(|log| log.validity.is_valid(copy.of.seq));
        counts
            || super::logs_of(&self.logs, log.key.ty).filter(|other| other.name.id.author == author).any(|other| {
                other.copies.iter().any(|lower| {
                    lower.of == copy.of
                        && (other.name.id.epoch, lower.seq) < (log.name.id.epoch, copy.seq)
                        && other.validity.is_valid(lower.seq)
                })
            })
    }

    pub(super) fn validities_at_open(&mut self) {
        for _ in 0..MAX_ROUNDS {
            let mut moved = false;
            for (key, validity) in self.evaluate_all() {
                if let Some(log) = self.logs.get_mut(&key)
                    && log.validity != validity
                {
                    log.validity = validity;
                    moved = true;
                }
            }
            if !moved {
                break;
            }
        }
    }

    /// Whether some copy stands for a commit of this log.
    fn is_original(&self, key: LogKey) -> bool {
        let Some(log) = self.logs.get(&key) else { return false };
        let id = log.name.id;
        super::logs_of(&self.logs, key.ty)
            .any(|other| other.name.id.author == id.author && other.copies.iter().any(|copy| copy.of.epoch == id.epoch))
    }

    /// Finds out which copies have their originals held, now that these commits have come.
    fn match_originals(&mut self, key: LogKey, commits: &[Commit], arrived: &mut Arrived) {
        let Some(id) = self.logs.get(&key).map(|log| log.name.id) else { return };
        for log in self.logs.values_mut().filter(|log| log.key.ty == key.ty && log.name.id.author == id.author) {
            for copy in log.copies.iter_mut().filter(|copy| copy.of.epoch == id.epoch) {
                if let Some(commit) = commits.iter().find(|commit| commit.header.seq == copy.of.seq) {
                    copy.original = if commit.hash == copy.of.hash { Original::Held } else { Original::Other };
                    arrived.touch(log.key);
                }
            }
        }
        self.watch_originals();
    }

    /// Reads the hashes of commits that copies name and that are held but not compared yet, nor being read for that.
    pub(super) fn watch_originals(&mut self) {
        let mut reads = SortedSet::new();
        let under_way: SortedSet<_> = (self.reads.values())
            .filter_map(|wanted| match wanted {
                Wanted::HashAt(key, seq) => Some((*key, *seq)),
                _ => None,
            })
            .collect();
        self.unmatched = false;
        for log in self.logs.values() {
            for copy in log.copies.iter().filter(|copy| copy.original == Original::Missing) {
                let id = LogId { author: log.name.id.author, epoch: copy.of.epoch };
                let name = LogName { entity_type: log.name.entity_type.clone(), id };
                let Some(original) = self.log_names.get(&name).and_then(|key| self.logs.get(key)) else { continue };
                if copy.of.seq <= original.stored.seq {
                    reads.insert((original.key, copy.of.seq));
                }
                // On its way to the disk: compared when it is there.
                self.unmatched |= copy.of.seq > original.stored.seq && copy.of.seq <= original.tip.seq;
            }
        }
        for (key, seq) in reads.difference(&under_way).copied() {
            let read =
                Read::Floor { table: Table::Blocks, from: layout::log_prefix(key), key: layout::block_row(key, seq) };
            self.read(read, Wanted::HashAt(key, seq));
        }
    }

    pub(super) fn hash_at_rows(&mut self, key: LogKey, seq: u64, rows: Rows) {
        let commits = self.commits_in(key, rows);
        let commits: Vec<Commit> = commits.into_iter().filter(|commit| commit.header.seq == seq).collect();
        if commits.is_empty() {
            return;
        }
        let mut arrived = Arrived::default();
        self.match_originals(key, &commits, &mut arrived);
        self.revalidate(&mut arrived);
        self.finish_arrival(arrived);
    }

    /// The commits of stored blocks; a damaged block is reported and fetched again.
    pub(super) fn commits_in(&mut self, key: LogKey, rows: Rows) -> Vec<Commit> {
        let Some(vault) = self.vault.as_ref().map(|vault| vault.membership.vault()) else { return Vec::new() };
        let mut commits = Vec::new();
        let mut damaged = rows.damaged.first().and_then(|row| layout::read_block_row(row).ok());
        for (row, block) in rows.rows {
            match decode_block(&block, vault) {
                Ok(mut more) => commits.append(&mut more),
                Err(_) => damaged = damaged.or_else(|| layout::read_block_row(&row).ok()),
            }
        }
        if let Some((_, seq)) = damaged {
            self.damaged_block(key, seq);
            commits.retain(|commit| commit.header.seq < seq);
        }
        commits
    }
}
