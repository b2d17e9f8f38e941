//! What happened to one entity, from the blocks of its types.

use super::SyncEngine;
use super::calls::Asked;
use super::disk::Wanted;
use super::io::{CallId, Change, Output, Reply};
use super::layout::{self, LogKey, TypeIx};
use crate::store::{Read, Rows, Table};
use crate::types::{Commit, EntityId, Epoch, FieldOp, HybridTimestamp, PeerId, SortedMap, VectorClock};

/// Bytes of blocks read at once.
const CHUNK: usize = 1 << 20;

impl SyncEngine {
    pub(super) fn history_step(&mut self, call: CallId) {
        let Some(Asked::History { types, next, .. }) = self.asked.get(&call) else { return };
        let Some(ty) = types.first() else { return self.history_done(call) };
        let from = if next.is_empty() { layout::type_prefix(*ty) } else { next.clone() };
        let to = layout::after_prefix(&layout::type_prefix(*ty));
        let read = Read::Range { table: Table::Blocks, from, to, max_rows: usize::MAX, max_bytes: CHUNK };
        self.read(read, Wanted::Call(call));
    }

    pub(super) fn history_rows(
        &mut self,
        call: CallId,
        id: EntityId,
        mut types: Vec<TypeIx>,
        mut next: Vec<u8>,
        mut found: Vec<(LogKey, Commit)>,
        rows: Rows,
    ) {
        let vault = self.vault.as_ref().map(|vault| vault.membership.vault());
        for (row, block) in &rows.rows {
            let touches = crate::wire::block_entities(block).is_ok_and(|ids| ids.contains(&id));
            let (true, Some(vault), Ok((key, _))) = (touches, vault, layout::read_block_row(row)) else { continue };
            for commit in crate::wire::decode_block(block, vault).unwrap_or_default() {
                if commit.events.iter().any(|event| event.entity == id) {
                    found.push((key, commit));
                }
            }
        }
        match rows.last_key() {
            Some(last) => {
                next = last.to_vec();
                next.push(0);
            }
            None => {
                types.remove(0);
                next.clear();
            }
        }
        self.asked.insert(call, Asked::History { id, types, next, found });
        self.history_step(call);
    }

    fn history_done(&mut self, call: CallId) {
        let Some(Asked::History { id, mut found, .. }) = self.asked.remove(&call) else { return };
        found.sort_by_cached_key(|(_, commit)| deciding(commit, id));
        found.dedup_by(|(_, a), (_, b)| a.hash == b.hash);
        // The clock that each author had, from what each of its commits had newly seen.
        let mut clocks: SortedMap<LogKey, VectorClock> = SortedMap::new();
        let mut by_log: Vec<&(LogKey, Commit)> = found.iter().collect();
        by_log.sort_by_key(|(key, commit)| (*key, commit.header.seq));
        let mut told: SortedMap<(LogKey, u64), VectorClock> = SortedMap::new();
        for (key, commit) in by_log {
            let clock = clocks.entry(*key).or_default();
            for event in commit.events.iter().filter(|event| event.entity == id) {
                event.seen.iter().for_each(|(log, seq)| clock.observe(*log, *seq));
            }
            clock.observe(commit.header.log.id, commit.header.seq);
            told.insert((*key, commit.header.seq), clock.clone());
        }
        let changes = found.iter().map(|(key, commit)| {
            let ops = commit.events.iter().filter(|event| event.entity == id).flat_map(|event| &event.ops);
            let mut fields: Vec<String> = ops
                .map(|op| match op {
                    FieldOp::Create => "+".to_owned(),
                    FieldOp::Delete => "-".to_owned(),
                    op => op.target().map(|(field, _)| field.to_string()).unwrap_or_default(),
                })
                .collect();
            fields.dedup();
            let seq = commit.header.seq;
            let log = self.logs.get(key);
            Change {
                at: commit.header.hlc,
                by: commit.header.log.id.author,
                clock: told.remove(&(*key, seq)).unwrap_or_default(),
                fields,
                counts: log.is_some_and(|log| log.validity.is_valid(seq) && !log.beyond_fork(seq)),
            }
        });
        let changes = changes.collect();
        self.out.push(Output::Reply(call, Ok(Reply::History(changes))));
    }
}

/// By what the later of two concurrent changes wins: the stamp, a lifted one as such, then the author.
fn deciding(commit: &Commit, id: EntityId) -> (HybridTimestamp, PeerId, Epoch, u64) {
    let header = &commit.header;
    let lift = |op: &FieldOp| match op {
        FieldOp::Set { lift, .. } | FieldOp::Clear { lift, .. } => *lift,
        _ => 0,
    };
    let ops = commit.events.iter().filter(|event| event.entity == id).flat_map(|event| &event.ops);
    let stamp = header.hlc.lifted(ops.map(lift).max().unwrap_or(0));
    (stamp, header.log.id.author, header.log.id.epoch, header.seq)
}
