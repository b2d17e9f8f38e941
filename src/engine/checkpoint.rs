//! Checkpoints: dirty states go to disk as pages, in one batch with how far they stand for.

use super::layout::{self, TypeIx, meta};
use super::refold::Stale;
use super::{Job, Landed, SyncEngine, Wanted};
use crate::store::{Durability, Read, Rows, Table, WriteBatch};
use crate::types::codec::put_varint;
use crate::types::{EntityId, SortedMap, SortedSet};

/// A checkpoint that waits for the pages it rewrites.
#[derive(Default, Debug)]
pub struct Checkpoint {
    missing: SortedSet<(TypeIx, EntityId)>,
    pages: SortedMap<(TypeIx, EntityId), Vec<u8>>,
}

/// How long nothing has to come, in microseconds, before a checkpoint is made early.
const QUIET: u64 = 3_000_000;

impl SyncEngine {
    pub(super) fn checkpoint_due(&self) -> bool {
        let events = if self.bulk_until() > self.now.mono {
            self.tuning.bulk_events.max(self.tuning.checkpoint_events)
        } else {
            self.tuning.checkpoint_events
        };
        !self.checkpointing
            && (self.entities.dirty_events >= events
                || self.entities.dirty_bytes >= self.tuning.dirty_bytes
                || self.quiet_at().is_some_and(|at| at <= self.now.mono))
    }

    /// Takes note of whether events have come. What an opening replays does not count: a store that is only read is not
    /// written.
    pub(super) fn note_quiet(&mut self) {
        let events = self.entities.dirty_events;
        if events == 0 {
            self.changed_at = None;
        } else if events > self.noted_events {
            self.changed_at = Some(self.now.mono);
        }
        self.noted_events = events;
    }

    /// When it will have been quiet for long enough.
    fn quiet_at(&self) -> Option<u64> {
        let enough = self.entities.dirty_events >= self.tuning.quiet_events;
        self.changed_at.filter(|_| enough).map(|at| at + QUIET)
    }

    /// Until when a checkpoint may wait because a peer sends in bulk: each that sends nothing for a moment ends it.
    fn bulk_until(&self) -> u64 {
        self.sessions.values().map(|session| session.bulk_until).max().unwrap_or(0)
    }

    /// When a checkpoint that waits for the end of a bulk sync, or for quiet, is due at the latest.
    pub(super) fn next_checkpoint(&self) -> Option<u64> {
        let waits = self.entities.dirty_events >= self.tuning.checkpoint_events;
        let bulk = Some(self.bulk_until()).filter(|until| waits && *until > self.now.mono);
        bulk.into_iter().chain(self.quiet_at()).min().filter(|_| !self.checkpointing)
    }

    /// Reads the pages that are to be rewritten; what comes in meanwhile waits.
    pub(super) fn start_checkpoint(&mut self) {
        let missing: SortedSet<_> = self.entities.dirty_pages().into_iter().collect();
        for (ty, first) in &missing {
            self.read(Read::Get(Table::Pages, layout::page_row(*ty, first)), Wanted::Checkpoint(*ty, *first));
        }
        self.job = Some(Job::Checkpoint(Checkpoint { missing, pages: SortedMap::new() }));
        self.checkpoint_step();
    }

    pub(super) fn checkpoint_page(&mut self, ty: TypeIx, first: EntityId, rows: Rows) {
        let Some(Job::Checkpoint(checkpoint)) = &mut self.job else { return };
        checkpoint.missing.remove(&(ty, first));
        let page = rows.one().ok().flatten().map(|(_, page)| page);
        match page.filter(|page| self.entities.load_page(ty, first, page, &mut self.ids).is_ok()) {
            Some(page) => {
                checkpoint.pages.insert((ty, first), page);
                self.checkpoint_step();
            }
            None => {
                self.job = None;
                self.rebuild_pages(ty);
            }
        }
    }

    fn checkpoint_step(&mut self) {
        let Some(Job::Checkpoint(checkpoint)) = &mut self.job else { return };
        if !checkpoint.missing.is_empty() {
            return;
        }
        let old = std::mem::take(&mut checkpoint.pages);
        self.job = None;
        let mut batch = WriteBatch { durability: Durability::Strict, ..WriteBatch::default() };
        if std::mem::take(&mut self.refolded) {
            batch.delete(Table::Meta, meta::STALE);
            self.stale_on_disk = Stale::default();
        }
        self.put_checkpoint(old, &mut batch);
        self.checkpointing = true;
        self.write(batch, Landed { checkpoint: true, ..Landed::default() });
    }

    /// Adds pages, directories and the checkpoint's row to a batch. Blocks up to the tips are in earlier batches.
    pub(super) fn put_checkpoint(&mut self, old: SortedMap<(TypeIx, EntityId), Vec<u8>>, batch: &mut WriteBatch) {
        let pages = self.entities.checkpoint(&old);
        for (ty, first) in pages.delete {
            batch.delete(Table::Pages, layout::page_row(ty, &first));
        }
        for (ty, first, bytes) in pages.put {
            batch.put(Table::Pages, layout::page_row(ty, &first), bytes);
        }
        for ty in pages.directories {
            let directory: Vec<u8> = self.entities.directory(ty).iter().flat_map(|id| id.0).collect();
            batch.put(Table::Pages, layout::directory_row(ty), directory);
        }
        let mut row = Vec::new();
        put_varint(&mut row, self.logs.len() as u64);
        for (key, log) in &self.logs {
            put_varint(&mut row, u64::from(key.ty.0));
            put_varint(&mut row, u64::from(key.ix.0));
            put_varint(&mut row, log.tip.seq);
        }
        batch.put(Table::Meta, meta::CHECKPOINT, row);
    }
}
