//! What lies beyond a cut: its author wrote it before it heard that it might no longer. Nobody is shown it among the
//! entities; here it is told as its author saw it, and its author writes it again once it may.

use std::collections::VecDeque;
use std::ops::Range;

use super::again::stands_for;
use super::calls::Asked;
use super::disk::Wanted;
use super::io::{CallId, Output, Quarantined, Reply};
use super::layout::{self, LogKey, TypeIx};
use super::log::Log;
use super::remote::event_at;
use super::{Landed, SyncEngine};
use crate::crdt::{EntityState, EventAt, LogTable};
use crate::error::{Error, ErrorCode, Result};
use crate::policy::Refusal;
use crate::store::{Read, Rows, Table, WriteBatch};
use crate::types::{Commit, EntityId, PeerId, SortedMap, SortedSet, StandsFor};
use crate::wire::{block_entities, decode_block, encode_block};

/// Bytes of blocks read at once.
const CHUNK: usize = 1 << 20;
/// Entities that one answer tells of.
const MAX_ENTITIES: usize = 1_000;

/// What the commits are read for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// To be told, of all authors.
    Show,
    /// To be written again, of this device.
    WriteAgain,
}

/// A call that reads the commits beyond cuts; to show them, then all that their entities are made of.
#[derive(Debug)]
pub struct Withheld {
    purpose: Purpose,
    /// Where the commits are, and those found so far.
    ranges: VecDeque<(LogKey, Range<u64>)>,
    /// What is written again already, or found: of several copies of one commit, the first.
    seen: SortedSet<(TypeIx, PeerId, StandsFor)>,
    kept: SortedSet<(LogKey, u64)>,
    commits: Vec<(LogKey, Commit)>,
    /// Whose commits touch which entity: what the second pass folds, type by type.
    touched: SortedMap<TypeIx, SortedMap<EntityId, SortedMap<PeerId, u64>>>,
    types: VecDeque<TypeIx>,
    states: SortedMap<(TypeIx, EntityId, PeerId), EntityState>,
    next: Vec<u8>,
}

impl SyncEngine {
    /// Tells what lies beyond cuts, or has this device's part of it written again.
    pub(super) fn withheld(&mut self, call: CallId, purpose: Purpose) -> Result<()> {
        self.vault()?;
        let mut ranges = VecDeque::new();
        let mut denied = Ok(());
        for log in self.logs.values().filter(|log| purpose == Purpose::Show || log.name.id.author == self.me) {
            let beyond = log.validity.refused.iter().filter(|(_, why)| *why == Refusal::BeyondCut);
            let beyond: Vec<(LogKey, Range<u64>)> = beyond.map(|(range, _)| (log.key, range.clone())).collect();
            match purpose {
                Purpose::WriteAgain if !beyond.is_empty() => match self.may_write(&log.name.entity_type) {
                    Ok(()) => ranges.extend(beyond),
                    Err(error) => denied = Err(error),
                },
                _ => ranges.extend(beyond),
            }
        }
        if ranges.is_empty() {
            denied?;
        }
        let withheld = Withheld {
            purpose,
            ranges,
            seen: self.written_again(),
            kept: SortedSet::new(),
            commits: Vec::new(),
            touched: SortedMap::new(),
            types: VecDeque::new(),
            states: SortedMap::new(),
            next: Vec::new(),
        };
        self.withheld_read(call, withheld);
        Ok(())
    }

    /// Commits of a log that do not count, nor does what stands for them, or they for it.
    pub(super) fn quarantined(&self, log: &Log) -> u64 {
        let waits = |(range, why): &&(Range<u64>, Refusal)| match why {
            Refusal::StandsForCounting => false,
            Refusal::BeyondCut => !self.is_written_again(log, range),
            _ => true,
        };
        log.validity.refused.iter().filter(waits).map(|(range, _)| range.end - range.start).sum()
    }

    /// Whether each of these commits has a copy that counts.
    pub(super) fn is_written_again(&self, log: &Log, range: &Range<u64>) -> bool {
        let of_author =
            super::logs_of(&self.logs, log.key.ty).filter(|other| other.name.id.author == log.name.id.author);
        let copied = of_author.flat_map(|other| {
            let counts = other.copies.iter().filter(|copy| other.validity.is_valid(copy.seq));
            counts.map(|copy| copy.of).filter(|of| of.epoch == log.name.id.epoch && range.contains(&of.seq))
        });
        copied.map(|of| of.seq).collect::<SortedSet<u64>>().len() as u64 == range.end - range.start
    }

    /// What copies that count stand for.
    fn written_again(&self) -> SortedSet<(TypeIx, PeerId, StandsFor)> {
        let copies = self.logs.values().flat_map(|log| {
            let counts = log.copies.iter().filter(|copy| log.validity.is_valid(copy.seq));
            counts.map(|copy| (log.key.ty, log.name.id.author, copy.of))
        });
        copies.collect()
    }

    /// Asks for the next blocks, or ends the pass.
    fn withheld_read(&mut self, call: CallId, mut withheld: Withheld) {
        let (start, to) = if let Some((key, range)) = withheld.ranges.front() {
            // The block with the first commit may start before it.
            (layout::block_row(*key, range.start.saturating_sub(1_000)), layout::block_row(*key, range.end))
        } else if let Some(ty) = withheld.types.front() {
            let prefix = layout::type_prefix(*ty);
            let end = layout::after_prefix(&prefix);
            (prefix, end)
        } else {
            return self.withheld_done(call, withheld);
        };
        let from = if withheld.next.is_empty() { start } else { std::mem::take(&mut withheld.next) };
        let read = Read::Range { table: Table::Blocks, from, to, max_rows: usize::MAX, max_bytes: CHUNK };
        self.asked.insert(call, Asked::Withheld(Box::new(withheld)));
        self.read(read, Wanted::Call(call));
    }

    pub(super) fn withheld_rows(&mut self, call: CallId, mut withheld: Withheld, rows: Rows) {
        let Some(vault) = self.vault.as_ref().map(|vault| vault.membership.vault()) else { return };
        for (row, block) in &rows.rows {
            let Some(log) = layout::read_block_row(row).ok().and_then(|(key, _)| self.logs.get(&key)) else { continue };
            let finding = withheld.ranges.front().map(|(_, range)| range.clone());
            let touched = withheld.touched.get(&log.key.ty);
            let touches = |ids: Vec<EntityId>| ids.iter().any(|id| touched.is_some_and(|all| all.contains_key(id)));
            if finding.is_none() && !block_entities(block).is_ok_and(touches) {
                continue;
            }
            let commits = decode_block(block, vault).unwrap_or_default();
            for commit in commits.into_iter().filter(|commit| !log.beyond_fork(commit.header.seq)) {
                let (seq, author) = (commit.header.seq, log.name.id.author);
                match &finding {
                    Some(range) if range.contains(&seq) => withheld.found(log.key, author, commit),
                    Some(_) => {}
                    None => withheld.fold(log.key, &commit, event_at(log, &commit), author, &mut self.ids),
                }
            }
        }
        match rows.last_key() {
            Some(last) => {
                withheld.next = last.to_vec();
                withheld.next.push(0);
            }
            None if withheld.ranges.pop_front().is_some() => {
                if withheld.ranges.is_empty() && withheld.purpose == Purpose::Show {
                    withheld.types = withheld.touched.keys().copied().collect();
                }
            }
            None => drop(withheld.types.pop_front()),
        }
        self.withheld_read(call, withheld);
    }

    fn withheld_done(&mut self, call: CallId, withheld: Withheld) {
        if withheld.purpose == Purpose::WriteAgain {
            return self.write_again_later(call, withheld);
        }
        let requests = self.vault.as_ref().map(|vault| vault.membership.requests()).unwrap_or_default();
        let mut told = Vec::new();
        for ((ty, id, author), state) in &withheld.states {
            let commits = withheld.touched.get(ty).and_then(|ids| ids.get(id)).and_then(|by| by.get(author));
            let (Some(name), Some(commits)) = (self.type_name(*ty).cloned(), commits) else { continue };
            let requested =
                requests.iter().any(|range| range.log.entity_type == name && range.log.id.author == *author);
            let entity = state.view(name, *id, &self.ids);
            told.push(Quarantined { by: *author, commits: *commits, requested, entity });
        }
        told.truncate(MAX_ENTITIES);
        self.out.push(Output::Reply(call, Ok(Reply::Quarantine(told))));
    }

    /// Has own commits made again as those of a branch are, in a new epoch. They are on disk in their old places, so it
    /// needs no note there: where it is cut off nothing has happened.
    fn write_again_later(&mut self, call: CallId, withheld: Withheld) {
        if withheld.commits.is_empty() {
            let error = Error::new(ErrorCode::NotFound, "nothing that this device wrote lies beyond a cut");
            return self.refuse(call, error);
        }
        let mut batch = WriteBatch::default();
        self.new_epoch(&mut batch);
        self.write(batch, Landed::default());
        let mut runs: Vec<(LogKey, Vec<Commit>)> = Vec::new();
        for (key, commit) in withheld.commits {
            match runs.last_mut() {
                Some((of, run)) if *of == key && run.last().is_some_and(|last| last.hash == commit.header.prev) => {
                    run.push(commit);
                }
                _ => runs.push((key, vec![commit])),
            }
        }
        let mut blocks = Vec::new();
        for (key, mut run) in runs {
            if let Some(last) = run.last_mut() {
                last.signature = Some(self.config.keypair.sign_commit(&last.hash));
            }
            match encode_block(&run) {
                Ok(block) => blocks.push((key, block)),
                Err(error) => return self.refuse(call, error),
            }
        }
        self.rewrites.push((call, blocks));
    }
}

impl Withheld {
    fn found(&mut self, key: LogKey, author: PeerId, commit: Commit) {
        if !self.seen.insert((key.ty, author, stands_for(&commit))) {
            return;
        }
        self.kept.insert((key, commit.header.seq));
        for id in commit.events.iter().map(|event| event.entity).collect::<SortedSet<_>>() {
            *self.touched.entry(key.ty).or_default().entry(id).or_default().entry(author).or_default() += 1;
        }
        if self.purpose == Purpose::WriteAgain {
            self.commits.push((key, commit));
        }
    }

    /// Takes a commit into the states that it belongs to; what was found counts for its author.
    fn fold(&mut self, key: LogKey, commit: &Commit, at: EventAt, author: PeerId, ids: &mut LogTable) {
        let Some(touched) = self.touched.get(&key.ty) else { return };
        let is_kept = self.kept.contains(&(key, at.seq));
        for (index, event) in (0..).zip(&commit.events) {
            for by in touched.get(&event.entity).into_iter().flat_map(SortedMap::keys) {
                let at = EventAt { index, counts: at.counts || (is_kept && *by == author), ..at };
                self.states.entry((key.ty, event.entity, *by)).or_default().apply(event, &at, ids);
            }
        }
    }
}
