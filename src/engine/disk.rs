//! What the engine asks of its store, and what follows once the store has answered.

use std::collections::HashSet;
use std::sync::Arc;

use super::io::{CallId, Input, LinkId, Output, Reply, SyncEvent, Ticket};
use super::layout::{self, LogKey, TypeIx};
use super::log::Tip;
use super::tabs::ChangedCommit;
use super::{Phase, SyncEngine};
use crate::crdt::LogIx;
use crate::error::{Error, Result};
use crate::store::{Read, Rows, Table, WriteBatch};
use crate::types::{EntityId, PeerId};

/// What follows once a write is on disk.
#[derive(Default, Debug)]
pub struct Landed {
    pub tips: Vec<(LogKey, Tip)>,
    pub replies: Vec<(CallId, Reply)>,
    /// The entities of new commits, by whose commits.
    pub updated: Vec<(PeerId, Vec<EntityId>)>,
    /// The commits themselves, where replicas are told.
    pub changed: Vec<ChangedCommit>,
    /// Entities that were built anew from their commits.
    pub refolded: Vec<EntityId>,
    pub acks: Vec<(LinkId, usize)>,
    pub events: Vec<SyncEvent>,
    /// Membership operations and fork proofs that all sessions are told, but for the one that they came from.
    pub tell: Vec<(crate::wire::Item, Option<LinkId>)>,
    /// Tries of pairing codes that are counted now.
    pub pairing: Vec<u64>,
    /// Who may do what is different now.
    pub access: bool,
    /// The pages of a checkpoint.
    pub checkpoint: bool,
}

/// Who waits for rows.
#[derive(Debug)]
pub enum Wanted {
    Open,
    Page(TypeIx, EntityId),
    Checkpoint(TypeIx, EntityId),
    Pump(LinkId, LogKey),
    Refold,
    Divergence,
    Mending,
    HashAt(LogKey, u64),
    Quarantine(LogKey),
    Probe(LogKey, LinkId),
    Fork(LinkId, LogKey),
    Merge(LogKey, u64),
    Call(CallId),
}

impl SyncEngine {
    fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }

    pub(super) fn read(&mut self, read: Read, wanted: Wanted) {
        let ticket = self.ticket();
        self.reads.insert(ticket, wanted);
        self.out.push(Output::Read(ticket, read));
    }

    /// Commits a batch, with the rows of new names in it; `landed` follows when it is on disk.
    pub(super) fn write(&mut self, mut batch: WriteBatch, mut landed: Landed) {
        self.name_rows(&mut batch);
        self.audit.take_into(&mut batch, &mut landed);
        if batch.is_empty() {
            // Nothing to wait for but what is under way.
            match self.writes.back_mut() {
                Some((_, last)) => last.append(landed),
                None => self.landed(landed),
            }
            return;
        }
        let ticket = self.ticket();
        self.writes.push_back((ticket, landed));
        self.out.push(Output::Write(ticket, batch));
    }

    /// Adds rows for the types and logs that got a number since the last batch.
    fn name_rows(&mut self, batch: &mut WriteBatch) {
        while let Some(name) = self.types.get(self.named.0) {
            batch.put(Table::Logs, layout::type_row(TypeIx(self.named.0 as u32)), name.as_str().as_bytes());
            self.named.0 += 1;
        }
        while let Some(id) = self.ids.id(LogIx(self.named.1 as u32)) {
            let value = [&id.author.0[..], &id.epoch.0.to_be_bytes()].concat();
            batch.put(Table::Logs, layout::log_id_row(LogIx(self.named.1 as u32)), value);
            self.named.1 += 1;
        }
    }

    pub(super) fn written(&mut self, ticket: Ticket, result: Result<()>) {
        let Some(place) = self.writes.iter().position(|(waiting, _)| *waiting == ticket) else { return };
        match result {
            Ok(()) => {
                if let Some((_, landed)) = self.writes.remove(place) {
                    self.landed(landed);
                }
            }
            Err(error) => self.fail(error),
        }
    }

    fn landed(&mut self, mut landed: Landed) {
        for (key, tip) in std::mem::take(&mut landed.tips) {
            if let Some(log) = self.logs.get_mut(&key) {
                log.stored = tip;
            }
            self.digests.remove(&key.ty);
        }
        let updated = landed.once_each();
        for changed in self.changed(&mut landed) {
            self.out.push(Output::Emit(SyncEvent::Changed(Arc::new(changed))));
        }
        for (call, reply) in landed.replies {
            self.out.push(Output::Reply(call, Ok(reply)));
        }
        for event in landed.events {
            self.out.push(Output::Emit(event));
        }
        if !updated.is_empty() {
            self.out.push(Output::Emit(SyncEvent::EntitiesUpdated(updated)));
        }
        for (link, bytes) in landed.acks {
            self.acknowledge(link, bytes);
        }
        for (item, from) in landed.tell {
            self.tell_all(&item, from);
        }
        if !landed.pairing.is_empty() {
            self.pairing_persisted(landed.pairing);
        }
        if landed.access {
            self.access_landed();
        }
        if landed.checkpoint {
            self.checkpointing = false;
            self.entities.evict(self.tuning.clean_bytes);
            self.resume_calls();
        }
        if self.unmatched {
            self.watch_originals();
        }
        self.sessions.values_mut().for_each(|session| session.stale = true);
    }

    /// The store failed: nothing that is not on disk has happened. Everybody who waits is told.
    pub(super) fn fail(&mut self, error: Error) {
        let mut calls: Vec<CallId> =
            self.writes.drain(..).flat_map(|(_, landed)| landed.replies).map(|(id, _)| id).collect();
        calls.extend(self.local.drain(..).map(|parked| parked.call));
        calls.extend(self.tabs.drain());
        calls.extend(std::mem::take(&mut self.asked).into_keys());
        calls.extend(self.settling.drain(..).map(|settling| settling.call));
        calls.extend(self.held_calls.drain(..).map(|(id, _)| id));
        self.end_pairing(&error);
        calls.extend(self.pair_waiting.drain());
        calls.extend(self.forced.drain(..).map(|forced| forced.call));
        for input in self.held.drain(..) {
            if let Input::Call(id, _) = input {
                calls.push(id);
            }
        }
        for call in calls {
            self.out.push(Output::Reply(call, Err(error.clone())));
        }
        for link in std::mem::take(&mut self.sessions).into_keys() {
            self.out.push(Output::HangUp(link, error.clone()));
        }
        self.out.push(Output::Emit(SyncEvent::StorageFailed(error.code(), error.message().to_owned())));
        self.phase = Phase::Failed(error);
    }

    pub(super) fn rows(&mut self, ticket: Ticket, rows: Result<Rows>) {
        let Some(wanted) = self.reads.remove(&ticket) else { return };
        let rows = match rows {
            Ok(rows) => rows,
            Err(error) => return self.fail(error),
        };
        match wanted {
            Wanted::Open => self.open_rows(rows),
            Wanted::Page(ty, first) => self.page_read(ty, first, rows),
            Wanted::Checkpoint(ty, first) => self.checkpoint_page(ty, first, rows),
            Wanted::Pump(link, key) => self.pump_rows(link, key, rows),
            Wanted::Refold => self.refold_rows(rows),
            Wanted::Divergence => self.divergence_rows(rows),
            Wanted::Mending => self.mending_rows(rows),
            Wanted::HashAt(key, seq) => self.hash_at_rows(key, seq, rows),
            Wanted::Quarantine(key) => self.quarantine_rows(key, rows),
            Wanted::Probe(key, link) => self.probe_rows(key, link, rows),
            Wanted::Fork(link, key) => self.fork_rows(link, key, rows),
            Wanted::Merge(key, upto) => self.merge_rows(key, upto, rows),
            Wanted::Call(call) => self.call_rows(call, rows),
        }
    }
}

impl Landed {
    fn append(&mut self, mut other: Landed) {
        self.tips.append(&mut other.tips);
        self.replies.append(&mut other.replies);
        self.updated.append(&mut other.updated);
        self.changed.append(&mut other.changed);
        self.refolded.append(&mut other.refolded);
        self.acks.append(&mut other.acks);
        self.events.append(&mut other.events);
        self.tell.append(&mut other.tell);
        self.pairing.append(&mut other.pairing);
        self.access |= other.access;
        self.checkpoint |= other.checkpoint;
    }

    /// Notes the entities of a commit.
    pub fn touch(&mut self, author: PeerId, ids: impl Iterator<Item = EntityId>) {
        match self.updated.last_mut() {
            Some((last, updated)) if *last == author => updated.extend(ids),
            _ => self.updated.push((author, ids.collect())),
        }
    }

    /// Leaves each entity once with each author, and gives all of them.
    fn once_each(&mut self) -> Vec<EntityId> {
        self.updated.iter_mut().for_each(|(_, ids)| once(ids));
        match &self.updated[..] {
            [(_, ids)] if self.refolded.is_empty() => ids.clone(),
            lists => {
                let lists = lists.iter().map(|(_, ids)| ids).chain([&self.refolded]);
                let mut ids = lists.flatten().copied().collect();
                once(&mut ids);
                ids
            }
        }
    }
}

/// Leaves the first of each.
fn once(ids: &mut Vec<EntityId>) {
    let mut known = HashSet::with_capacity(ids.len());
    ids.retain(|id| known.insert(*id));
}
