//! Merging the small blocks at the end of a log, so that a vault of many small edits is not one of many small rows.

use super::layout::{self, LogKey};
use super::remote::SMALL_BLOCK;
use super::{Landed, SyncEngine, Wanted};
use crate::store::{Read, Rows, Table, WriteBatch};
use crate::wire::decode_header;

impl SyncEngine {
    /// Merges the small blocks at the end of a log once there are many.
    pub(super) fn merge_small(&mut self, key: LogKey) {
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
}
