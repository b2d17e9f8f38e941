//! What comes from peers: blocks, membership operations, fork proofs. Everything is checked here, at the receiver.

use std::sync::Arc;

use super::io::{LinkId, SyncEvent};
use super::layout::{self, LogKey};
use super::log::Log;
use super::refold::Stale;
use super::{Landed, SyncEngine};
use crate::crdt::{EventAt, check_event};
use crate::error::{Error, ErrorCode, Result};
use crate::policy::{AuditAction, Inserted, sync_policy};
use crate::store::{Table, WriteBatch};
use crate::types::{Commit, Epoch, Hash, HybridTimestamp, SortedSet};
use crate::wire::{Item, cut_suffix, decode_block, decode_header, verify_block};

/// A block is small, and is merged with its neighbours when there are many, below this many bytes.
pub const SMALL_BLOCK: usize = 8 << 10;
/// How long others' commits wait before they are forwarded: their author pushes them too.
const FORWARD_DELAY: u64 = 200_000;
/// How long a peer that sends in bulk may be silent before checkpoints wait no longer.
const BULK_PAUSE: u64 = 100_000;

/// What one frame brought, to be written at once.
#[derive(Default, Debug)]
pub struct Arrived {
    pub batch: WriteBatch,
    pub landed: Landed,
    touched: SortedSet<LogKey>,
    pub stale: Stale,
    membership_grew: bool,
    /// Membership operations that are new, for the audit log.
    ops: Vec<Hash>,
}

impl Arrived {
    /// What follows from this new membership operation is to be worked out.
    pub fn membership_grew(&mut self, op: Hash) {
        self.membership_grew = true;
        self.ops.push(op);
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
            self.audit_ops(&arrived.ops);
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
        let reads = vault.policy.can_send(name, &self.me);
        // Sent before it heard that this type is kept from it, or from this device.
        let late = session.access.interrupted.contains(&header.log.entity_type);
        let may = self.audited(AuditAction::Receive { entity_type: name.to_owned(), peer }, peer);
        if !may || !reads {
            if late {
                return Ok(());
            }
            return Err(Error::new(
                ErrorCode::PolicyDenied,
                format!("{peer} sent `{name}`, which may not be exchanged with it"),
            ));
        }
        let Some(session) = self.sessions.get(&link) else { return Ok(()) };
        let live = session.caught_up && header.log.id.author == peer;
        let log = self.log_mut(&header.log);
        let (key, tip, fork) = (log.key, log.tip, log.fork.map_or(u64::MAX, |fork| fork.seq));
        if let Some(session) = self.sessions.get_mut(&link) {
            session.note_has(&header.log, header.last_seq().min(fork));
        }
        if header.last_seq() > fork && header.log.id.author == self.me {
            self.take_branch(key, &block, fork, arrived)?;
        }
        if header.first_seq > fork {
            return Ok(()); // kept by whoever has it, and made again by its author; it counts nowhere
        }
        if header.last_seq() <= tip.seq && !self.compares.contains_key(&key) {
            return Ok(()); // another peer was quicker
        }
        if header.first_seq > tip.seq + 1 {
            if self.compares.contains_key(&key) {
                return Ok(()); // sent before the peer knew that the chains part
            }
            if self.sessions.get(&link).is_some_and(|session| session.cut_off.contains(&header.log)) {
                return Ok(()); // follows what was not taken
            }
            if let Some(session) = self.sessions.get_mut(&link)
                && session.access.interrupted.contains(&header.log.entity_type)
            {
                session.ask_again = true; // what is between came while the type was kept back
                return Ok(());
            }
            return Err(Error::protocol(format!("commit {} of a log that ends at {}", header.first_seq, tip.seq)));
        }
        let log = self.log_mut(&header.log);
        let full = log.is_full();
        if let Some(session) = self.sessions.get_mut(&link) {
            match full {
                true => session.cut_off.refuse(&header.log),
                false => session.cut_off.goes_on(&header.log),
            }
        }
        if full {
            let author = header.log.id.author;
            tracing::debug!(%author, "quarantine is full");
            return Ok(());
        }
        let commits = decode_block(&block, vault_id)?;
        verify_block(&commits)?;
        if let Some((seq, hash)) = self.accepted_branch(key)
            && commits.iter().any(|commit| commit.header.seq == seq && commit.hash != hash)
        {
            // Of a branch that was not accepted; the peer has yet to leave it.
            if self.compares.get(&key).is_some_and(|compare| compare.link == link) {
                self.end_compare(key);
            }
            return Ok(());
        }
        if header.first_seq == tip.seq + 1 && header.prev == tip.hash {
            self.end_compare(key);
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
            self.end_compare(key);
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
            // What is told of a fork is this chain's hash: where it is another than the proof's, it parts before that.
            if let Some(fork) = log.fork.as_mut().filter(|fork| fork.seq == header.seq) {
                fork.hash = commit.hash;
            }
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
            let log = self.logs.get(&key).map(|log| (log.validity.refusal(log.tip.seq), log.name.entity_type.clone()));
            log.into_iter().for_each(|(why, name)| self.audit_refused(why, author, &name));
            arrived.landed.events.push(SyncEvent::Quarantined(author, waiting));
        }
        for commit in commits {
            arrived.landed.touch(author, commit.events.iter().map(|event| event.entity));
            if let Some(log) = self.logs.get(&key).filter(|log| !log.beyond_fork(commit.header.seq)) {
                let counts = log.validity.is_valid(commit.header.seq);
                self.note_change(&commit, counts, &mut arrived.landed);
            }
            self.apply(key, commit);
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

    /// Takes a membership operation from a peer, a backup, or this device.
    pub(super) fn take_membership(&mut self, from: Option<LinkId>, op: &[u8], arrived: &mut Arrived) -> Result<()> {
        let Some(vault) = &mut self.vault else { return Ok(()) };
        let place = vault.membership.len();
        match vault.membership.insert(op)? {
            Inserted::New(hash) => {
                arrived.batch.put(Table::Membership, layout::membership_row(place), op);
                arrived.landed.tell.push((Item::Membership(op.into()), from));
                arrived.membership_grew(hash);
            }
            Inserted::Known(_) => {}
            Inserted::MissingParents(_) => return Err(Error::protocol("a membership operation before its parents")),
        }
        Ok(())
    }

    /// The membership log grew: who may do what, and what counts, may be different.
    fn membership_changed(&mut self, arrived: &mut Arrived) {
        self.say_own_name(arrived);
        if let Some(vault) = &mut self.vault {
            let before = std::mem::replace(&mut vault.policy, sync_policy(vault.membership.evaluate()));
            self.access_changed(&before, arrived);
            self.forget_the_removed();
            self.learn_key(arrived);
        }
        self.revalidate(arrived);
        self.look_at_branches();
    }

    pub(super) fn new_epoch(&mut self, batch: &mut WriteBatch) {
        self.epoch = Epoch(self.entropy.number());
        batch.put(Table::Meta, layout::meta::EPOCH, self.epoch.0.to_be_bytes());
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
