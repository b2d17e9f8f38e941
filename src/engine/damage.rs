//! Blocks that do not read back: their log goes back to before them, and peers send the rest again.
//!
//! What lies behind a hole cannot be told to anybody, for its chain is broken. Others' commits come again with those
//! of the hole; this device's own are made again in a new epoch, in case nobody else has them.

use super::io::{Output, SyncEvent};
use super::layout::{self, LogKey};
use super::log::{Left, Log, Tip};
use super::remote::Arrived;
use super::{Job, SyncEngine, Wanted};
use crate::store::{Read, Rows, Table};
use crate::wire::{decode_block, decode_header};

/// Bytes of blocks read at once.
const CHUNK: usize = 1 << 20;

/// A log that is taken back to before a hole.
#[derive(Debug)]
pub struct Mending {
    key: LogKey,
    /// No commit from this one on can be relied on.
    hole: u64,
    started: bool,
    /// The last commit before the hole, once it is found.
    kept: Option<Tip>,
    /// The rows that go.
    rows: Vec<Vec<u8>>,
    /// Own blocks behind the hole.
    own: Vec<Vec<u8>>,
    /// What stays is counted, from the start of the log: what a damaged block held is not known.
    counting: bool,
    left: Left,
    next: Vec<u8>,
}

impl SyncEngine {
    /// Takes note of a stored block that does not read back, at this commit or before.
    pub(super) fn damaged_block(&mut self, key: LogKey, seq: u64) {
        let Some(log) = self.logs.get(&key) else { return };
        let seq = seq.clamp(1, log.tip.seq + 1);
        if self.damaged.get(&key).is_some_and(|known| *known <= seq) {
            return;
        }
        let message = format!(
            "a stored block of {} is damaged from commit {seq} on; it is fetched again from the other devices",
            log.name.id.author
        );
        self.damaged.insert(key, seq);
        self.out.push(Output::Emit(SyncEvent::StorageDamaged(message)));
    }

    /// Starts with the next damaged log once no job runs, and reads once everything is on disk.
    pub(super) fn mending_start(&mut self) {
        if self.job.is_none()
            && let Some((key, hole)) = self.damaged.iter().next().map(|(key, hole)| (*key, *hole))
        {
            self.job = Some(Job::Mending(Mending {
                key,
                hole,
                started: false,
                kept: None,
                rows: Vec::new(),
                own: Vec::new(),
                counting: false,
                left: Left::default(),
                next: Vec::new(),
            }));
        }
        if let Some(Job::Mending(mending)) = &mut self.job
            && !mending.started
            && self.writes.is_empty()
        {
            mending.started = true;
            self.mending_read();
        }
    }

    fn mending_read(&mut self) {
        let Some(Job::Mending(mending)) = &mut self.job else { return };
        let key = mending.key;
        if mending.hole <= 1 {
            mending.kept = Some(Tip::START);
        }
        let read = match mending.kept {
            None => Read::Floor {
                table: Table::Blocks,
                from: layout::log_prefix(key),
                key: layout::block_row(key, mending.hole - 1),
            },
            Some(kept) => {
                let behind = layout::block_row(key, kept.seq + 1);
                let (start, to) = match mending.counting {
                    true => (layout::log_prefix(key), behind),
                    false => (behind, layout::after_prefix(&layout::log_prefix(key))),
                };
                let from = if mending.next.is_empty() { start } else { mending.next.clone() };
                Read::Range { table: Table::Blocks, from, to, max_rows: usize::MAX, max_bytes: CHUNK }
            }
        };
        self.read(read, Wanted::Mending);
    }

    pub(super) fn mending_rows(&mut self, rows: Rows) {
        let Some(Job::Mending(mending)) = &mut self.job else { return };
        let Some(vault) = self.vault.as_ref().map(|vault| vault.membership.vault()) else { return };
        if mending.kept.is_none() {
            let before = rows.rows.first().and_then(|(_, block)| decode_block(block, vault).ok());
            let last = before.and_then(|commits| commits.into_iter().rfind(|commit| commit.header.seq < mending.hole));
            match last {
                Some(last) if last.header.seq + 1 == mending.hole => {
                    mending.kept = Some(Tip { seq: last.header.seq, hash: last.hash });
                }
                // The block before is gone too.
                Some(last) => mending.hole = last.header.seq + 1,
                None => {
                    let row = rows.last_key().and_then(|row| layout::read_block_row(row).ok());
                    mending.hole = row.map_or(1, |(_, first)| first.min(mending.hole - 1));
                }
            }
            return self.mending_read();
        }
        let Some(mut last) = rows.last_key().map(<[u8]>::to_vec) else {
            if mending.counting {
                return self.mend();
            }
            mending.counting = true;
            mending.next.clear();
            return self.mending_read();
        };
        if mending.counting {
            if let Some(log) = self.logs.get(&mending.key) {
                rows.rows.iter().for_each(|(_, block)| mending.left.count(block, log));
            }
            last.push(0);
            mending.next = last;
            return self.mending_read();
        }
        let own = self.logs.get(&mending.key).is_some_and(|log| log.name.id.author == self.me);
        let first_damaged = rows.damaged.first().cloned();
        for (row, block) in rows.rows {
            let commits = decode_block(&block, vault).unwrap_or_default();
            let after_damage = !mending.rows.is_empty() || first_damaged.as_ref().is_some_and(|damaged| *damaged < row);
            // The chain may go on for a while: the hole is where it ends.
            let next = commits.iter().find(|commit| Some(commit.header.prev) == mending.kept.map(|kept| kept.hash));
            if let (false, Some(_), Some(last)) = (after_damage, next, commits.last()) {
                mending.kept = Some(Tip { seq: last.header.seq, hash: last.hash });
                continue;
            }
            mending.rows.push(row);
            if own && !commits.is_empty() {
                mending.own.push(block);
            }
        }
        mending.rows.extend(rows.damaged);
        last.push(0);
        mending.next = last;
        self.mending_read();
    }

    /// Everything is known: one batch takes the log back.
    fn mend(&mut self) {
        let Some(Job::Mending(mending)) = self.job.take() else { return };
        let key = mending.key;
        self.damaged.remove(&key);
        let (Some(log), Some(kept)) = (self.logs.get_mut(&key), mending.kept) else { return };
        let (id, held) = (log.name.id, log.tip.seq);
        let mut arrived = Arrived::default();
        if kept.seq >= held {
            return; // what lay beyond the tip is no loss
        }
        log.roll_back(kept, mending.left);
        log.applied = log.applied.min(kept.seq);
        for row in mending.rows {
            arrived.batch.delete(Table::Blocks, row);
        }
        // Which entities the hole touched is not known.
        arrived.stale.add_all(key.ty);
        if id.author == self.me {
            self.make_again_later(key, mending.own, &mut arrived.batch);
            if id.epoch == self.epoch {
                self.new_epoch(&mut arrived.batch);
            }
        }
        self.recent.forget(key);
        self.digests.remove(&key.ty);
        self.end_compare(key);
        arrived.touch(key);
        self.revalidate(&mut arrived);
        self.finish_arrival(arrived);
        for session in self.sessions.values_mut() {
            session.sent.remove(&key);
            session.stuck.remove(&key);
            session.ask_again = true;
        }
    }
}

impl Left {
    /// Counts a block that stays.
    fn count(&mut self, block: &[u8], log: &Log) {
        let Ok(header) = decode_header(block) else { return };
        self.events += u64::from(header.events);
        let counts = log.validity.is_valid(header.last_seq());
        self.waiting_bytes = if counts { 0 } else { self.waiting_bytes + block.len() as u64 };
    }
}
