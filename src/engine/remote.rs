//! What comes from peers: blocks, membership operations, fork proofs. Everything is checked here, at the receiver.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use super::io::{LinkId, SyncEvent};
use super::layout::{self, LogKey};
use super::log::{Copied, Log, Original, QUARANTINE_BYTES, Tip, changed};
use super::refold::Stale;
use super::{Landed, SyncEngine, Wanted};
use crate::crdt::{EventAt, check_event};
use crate::error::{Error, ErrorCode, Result};
use crate::policy::{Inserted, Validity, sync_policy};
use crate::store::{Read, Rows, Table, WriteBatch};
use crate::types::{Commit, Epoch, HybridTimestamp, LogId, LogName};
use crate::wire::{Item, cut_suffix, decode_block, decode_header, verify_block};

/// A block is small, and is merged with its neighbours when there are many, below this many bytes.
const SMALL_BLOCK: usize = 8 << 10;
/// Rounds of evaluation: more than an author has epochs with copies of the same commits.
const MAX_ROUNDS: usize = 32;
/// How long others' commits wait before they are forwarded: their author pushes them too.
const FORWARD_DELAY: u64 = 200_000;
/// How long a peer that sends in bulk may be silent before checkpoints wait no longer.
const BULK_PAUSE: u64 = 100_000;

/// What one frame brought, to be written at once.
#[derive(Default, Debug)]
pub struct Arrived {
    pub batch: WriteBatch,
    pub landed: Landed,
    touched: BTreeSet<LogKey>,
    pub stale: Stale,
    membership_grew: bool,
}

impl Arrived {
    /// What follows from new membership operations is to be worked out.
    pub fn membership_grew(&mut self) {
        self.membership_grew = true;
    }

    /// The log's row is to be written, and its tip to be told once it is.
    pub fn touch(&mut self, key: LogKey) {
        self.touched.insert(key);
    }
}

impl SyncEngine {
    /// Takes the items of one batch; `bytes` of the frame are acknowledged once all of it is on disk.
    pub(super) fn items(&mut self, link: LinkId, items: Vec<Item>, bytes: usize) -> Result<()> {
        let mut arrived = Arrived::default();
        let mut result = Ok(());
        for item in items {
            result = match item {
                Item::Block(block) => self.take_block(link, block, &mut arrived),
                Item::Membership(op) => self.take_membership(Some(link), &op, &mut arrived),
                Item::Fork(ours, theirs) => self.take_fork(Some(link), &ours, &theirs, &mut arrived),
            };
            if result.is_err() {
                break;
            }
        }
        if result.is_ok() {
            arrived.landed.acks.push((link, bytes));
        }
        // What came before a broken item is as good as without it.
        self.finish_arrival(arrived);
        result
    }

    /// Writes what arrived, and starts what follows from it.
    pub(super) fn finish_arrival(&mut self, mut arrived: Arrived) {
        if arrived.membership_grew {
            self.membership_changed(&mut arrived);
        }
        for key in &arrived.touched {
            if let Some(log) = self.logs.get(key) {
                arrived.landed.tips.push((*key, log.tip));
                arrived.batch.put(Table::Logs, layout::log_row(*key), log.encode());
            }
        }
        if !arrived.stale.is_empty() {
            self.stale_on_disk.append(arrived.stale.clone());
            arrived.batch.put(Table::Meta, layout::meta::STALE, self.stale_on_disk.encode());
        }
        self.write(arrived.batch, arrived.landed);
        if !arrived.stale.is_empty() {
            self.start_refold(arrived.stale);
        }
        for key in arrived.touched {
            self.merge_small(key);
        }
    }

    fn take_block(&mut self, link: LinkId, block: Arc<[u8]>, arrived: &mut Arrived) -> Result<()> {
        let header = decode_header(&block)?;
        let Some(session) = self.sessions.get(&link) else { return Ok(()) };
        let peer = session.peer;
        let vault = self.vault()?;
        let vault_id = vault.membership.vault();
        if !vault.membership.knows_author(&header.log.id.author) {
            return Err(Error::protocol(format!("a commit of {}, who is no member", header.log.id.author)));
        }
        let name = header.log.entity_type.as_str();
        if !vault.policy.can_receive(name, &peer) || !vault.policy.can_send(name, &self.me) {
            return Err(Error::new(
                ErrorCode::PolicyDenied,
                format!("{peer} sent `{name}`, which may not be exchanged with it"),
            ));
        }
        let live = session.caught_up && header.log.id.author == peer;
        if let Some(session) = self.sessions.get_mut(&link) {
            session.note_has(&header.log, header.last_seq());
        }
        let log = self.log_mut(&header.log);
        let (key, tip) = (log.key, log.tip);
        if log.beyond_fork(header.last_seq()) && log.beyond_fork(header.first_seq) {
            return Ok(()); // kept by whoever has it; it counts nowhere
        }
        if header.last_seq() <= tip.seq && !self.compares.contains_key(&key) {
            return Ok(()); // another peer was quicker
        }
        if header.first_seq > tip.seq + 1 {
            if self.compares.contains_key(&key) {
                return Ok(()); // sent before the peer knew that the chains part
            }
            return Err(Error::protocol(format!("commit {} of a log that ends at {}", header.first_seq, tip.seq)));
        }
        let log = self.log_mut(&header.log);
        if log.waiting_bytes > QUARANTINE_BYTES {
            let author = header.log.id.author;
            if let Some(session) = self.sessions.get_mut(&link) {
                session.over_quota.insert(header.log.clone());
            }
            tracing::debug!(%author, "quarantine is full");
            return Ok(());
        }
        let commits = decode_block(&block, vault_id)?;
        verify_block(&commits)?;
        if header.first_seq == tip.seq + 1 && header.prev == tip.hash {
            self.compares.remove(&key);
            if live && let Some(last) = commits.last() {
                // It was made just now: the difference is that of the two clocks.
                let known = self.peers.entry(peer).or_default();
                known.clock_offset = Some(self.now.wall as i64 - last.header.hlc.millis() as i64);
            }
            self.received(link, &commits);
            self.append(key, commits, block, arrived);
            return Ok(());
        }
        let common = (header.first_seq <= tip.seq)
            && commits.iter().any(|commit| commit.header.seq == tip.seq && commit.hash == tip.hash);
        if common {
            self.compares.remove(&key);
            if header.last_seq() > tip.seq {
                let suffix = cut_suffix(&block, vault_id, tip.seq)?;
                let commits: Vec<Commit> = commits.into_iter().filter(|commit| commit.header.seq > tip.seq).collect();
                self.received(link, &commits);
                self.append(key, commits, suffix.into(), arrived);
            }
            return Ok(());
        }
        self.diverged(link, key, commits, block)
    }

    /// Counts what a peer brought that was new here.
    fn received(&mut self, link: LinkId, commits: &[Commit]) {
        let events = commits.iter().map(|commit| commit.events.len() as u64).sum::<u64>();
        self.moved.1 += events;
        if let Some(session) = self.sessions.get_mut(&link) {
            session.received_events += events;
            if !session.caught_up {
                session.bulk_until = self.now.mono + BULK_PAUSE;
            }
        }
    }

    /// Appends verified commits that follow the tip, and applies them.
    pub(super) fn append(&mut self, key: LogKey, commits: Vec<Commit>, block: Arc<[u8]>, arrived: &mut Arrived) {
        let Some(first) = commits.first() else { return };
        let (first_seq, author, epoch) = (first.header.seq, first.header.log.id.author, first.header.log.id.epoch);
        let Some(log) = self.logs.get_mut(&key) else { return };
        let mut decided = true;
        for commit in &commits {
            let header = &commit.header;
            let bad = header.hlc > HybridTimestamp::YEAR_6000
                || commit.events.iter().any(|event| check_event(event, header.log.id).is_err());
            decided &= log.note(commit, bad);
        }
        log.small = match block.len() < SMALL_BLOCK {
            true => (log.small.0, log.small.1 + 1),
            false => (log.tip.seq + 1, 0),
        };
        arrived.batch.put(Table::Blocks, layout::block_row(key, first_seq), &block[..]);
        arrived.touched.insert(key);
        if author == self.me {
            log.published = log.tip.seq;
            if epoch == self.epoch {
                self.new_epoch(&mut arrived.batch);
                arrived.landed.events.push(SyncEvent::EpochRenewed { commits: 0 });
            }
        } else {
            log.forward_at = self.now.mono + FORWARD_DELAY;
            let last = commits.last().map(|commit| commit.header.hlc).unwrap_or_default();
            self.hlc.observe(last, self.now);
        }
        self.recent.put(key, first_seq, commits.last().map_or(first_seq, |last| last.header.seq), block.clone());
        self.commits_came(key, &commits, decided, arrived);
        let waiting = {
            let Some(log) = self.logs.get_mut(&key) else { return };
            let counts = log.validity.is_valid(log.tip.seq);
            log.waiting_bytes = if counts { 0 } else { log.waiting_bytes + block.len() as u64 };
            if counts { 0 } else { commits.len() as u64 }
        };
        if waiting > 0 {
            arrived.landed.events.push(SyncEvent::Quarantined(author, waiting));
        }
        for commit in commits {
            arrived.landed.updated.extend(commit.events.iter().map(|event| event.entity));
            self.apply(key, commit);
        }
    }

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

    /// Applies a commit that was noted to the entities.
    pub(super) fn apply(&mut self, key: LogKey, commit: Commit) {
        let Some(log) = self.logs.get_mut(&key) else { return };
        log.applied = log.applied.max(commit.header.seq);
        if log.beyond_fork(commit.header.seq) {
            return;
        }
        let at = event_at(log, &commit);
        self.entities.apply(key.ty, commit.events, at, &mut self.ids);
    }

    /// Evaluates every log again; what changed below a tip is to be folded again.
    pub(super) fn revalidate(&mut self, arrived: &mut Arrived) {
        // A copy depends on its original and on lower copies, and those on nothing later: the rounds settle.
        for _ in 0..MAX_ROUNDS {
            let mut moved = false;
            for (key, new) in self.evaluate_all() {
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
                log.validity = new;
                arrived.touched.insert(key);
                moved = true;
            }
            if !moved {
                break;
            }
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
                    arrived.touched.insert(log.key);
                }
            }
        }
        self.watch_originals();
    }

    /// Reads the hashes of commits that copies name and that are held but not compared yet.
    pub(super) fn watch_originals(&mut self) {
        let mut reads = BTreeSet::new();
        for log in self.logs.values() {
            for copy in log.copies.iter().filter(|copy| copy.original == Original::Missing) {
                let id = LogId { author: log.name.id.author, epoch: copy.of.epoch };
                let name = LogName { entity_type: log.name.entity_type.clone(), id };
                if let Some(original) = self.log_names.get(&name).and_then(|key| self.logs.get(key))
                    && copy.of.seq <= original.stored.seq
                {
                    reads.insert((original.key, copy.of.seq));
                }
            }
        }
        for (key, seq) in reads {
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

    /// Takes a membership operation from a peer, a backup, or this device.
    pub(super) fn take_membership(&mut self, from: Option<LinkId>, op: &[u8], arrived: &mut Arrived) -> Result<()> {
        let Some(vault) = &mut self.vault else { return Ok(()) };
        let place = vault.membership.len();
        match vault.membership.insert(op)? {
            Inserted::New(_) => {
                arrived.batch.put(Table::Membership, layout::membership_row(place), op);
                arrived.landed.tell.push((Item::Membership(op.into()), from));
                arrived.membership_grew = true;
            }
            Inserted::Known(_) => {}
            Inserted::MissingParents(_) => return Err(Error::protocol("a membership operation before its parents")),
        }
        Ok(())
    }

    /// The membership log grew: who may do what, and what counts, may be different.
    fn membership_changed(&mut self, arrived: &mut Arrived) {
        if let Some(vault) = &mut self.vault {
            vault.policy = sync_policy(vault.membership.evaluate());
        }
        self.revalidate(arrived);
    }

    pub(super) fn new_epoch(&mut self, batch: &mut WriteBatch) {
        self.epoch = Epoch(self.entropy.number());
        batch.put(Table::Meta, layout::meta::EPOCH, self.epoch.0.to_be_bytes());
    }

    /// Merges the small blocks at the end of a log once there are many.
    fn merge_small(&mut self, key: LogKey) {
        let Some(log) = self.logs.get_mut(&key) else { return };
        if log.small.1 < self.tuning.merge_blocks {
            return;
        }
        let (from, upto) = (log.small.0, log.tip.seq);
        log.small = (upto + 1, 0);
        let read = Read::Range {
            table: Table::Blocks,
            from: layout::block_row(key, from),
            to: layout::block_row(key, upto + 1),
            max_rows: usize::MAX,
            max_bytes: self.tuning.merge_blocks as usize * SMALL_BLOCK,
        };
        // Rows that are still on their way to the disk are not read: the reader sees the last committed state.
        self.read(read, Wanted::Merge(key, upto));
    }

    pub(super) fn merge_rows(&mut self, key: LogKey, upto: u64, rows: Rows) {
        let Some(vault) = self.vault.as_ref().map(|vault| vault.membership.vault()) else { return };
        if !rows.damaged.is_empty() || rows.rows.len() < 2 {
            return;
        }
        let blocks: Vec<&[u8]> = rows.rows.iter().map(|(_, block)| block.as_slice()).collect();
        let Ok(merged) = crate::wire::merge_blocks(&blocks, vault) else { return };
        if merged.len() >= rows.rows.len() || self.logs.get(&key).is_none_or(|log| log.tip.seq < upto) {
            return;
        }
        let mut batch = WriteBatch::default();
        rows.rows.iter().for_each(|(row, _)| batch.delete(Table::Blocks, row.clone()));
        for block in merged {
            let Ok(header) = decode_header(&block) else { return };
            batch.put(Table::Blocks, layout::block_row(key, header.first_seq), block);
        }
        self.recent.forget_upto(key, upto);
        self.write(batch, Landed::default());
    }

    /// A stored block does not read back: all from it on is forgotten and fetched again from peers.
    pub(super) fn damaged_block(&mut self, key: LogKey, seq: u64) {
        let Some(log) = self.logs.get(&key) else { return };
        let message = format!(
            "a stored block of {} is damaged from commit {seq} on; it is fetched again from the other devices",
            log.name.id.author
        );
        self.out.push(super::Output::Emit(SyncEvent::StorageDamaged(message)));
        if seq <= 1 {
            return self.roll_back(key, Tip::START, 0);
        }
        let read =
            Read::Floor { table: Table::Blocks, from: layout::log_prefix(key), key: layout::block_row(key, seq - 1) };
        self.read(read, Wanted::RollBack(key, seq));
    }

    pub(super) fn roll_back_rows(&mut self, key: LogKey, seq: u64, rows: Rows) {
        let tip = self
            .commits_in(key, rows)
            .into_iter()
            .rfind(|commit| commit.header.seq < seq)
            .map_or(Tip::START, |commit| Tip { seq: commit.header.seq, hash: commit.hash });
        let events = self.logs.get(&key).map_or(0, |log| log.events);
        self.roll_back(key, tip, events);
    }

    fn roll_back(&mut self, key: LogKey, to: Tip, events: u64) {
        let Some(log) = self.logs.get_mut(&key) else { return };
        let own = log.name.id.author == self.me;
        log.roll_back(to, events);
        let row = log.encode();
        let mut batch = WriteBatch::default();
        batch.put(Table::Logs, layout::log_row(key), row);
        // What lies behind the damage stays where it is: the same commits come again and are put over it.
        batch.delete(Table::Blocks, layout::block_row(key, to.seq + 1));
        if own {
            self.new_epoch(&mut batch);
        }
        self.digests.remove(&key.ty);
        self.write(batch, Landed::default());
        self.sessions.values_mut().for_each(|session| session.ask_again = true);
    }
}

/// Where a commit's events stand, and whether they count.
pub fn event_at(log: &Log, commit: &Commit) -> EventAt {
    EventAt {
        log: log.key.ix,
        seq: commit.header.seq,
        index: 0,
        hlc: commit.header.hlc,
        commit: commit.hash.short(),
        counts: log.validity.is_valid(commit.header.seq),
    }
}

/// `policy_denied`, `not_trusted` and the like: reasons to end a session that are not the peer's fault.
pub fn is_refusal(error: &Error) -> bool {
    matches!(error.code(), ErrorCode::NotAuthorized | ErrorCode::PolicyDenied | ErrorCode::Paused | ErrorCode::Busy)
}
