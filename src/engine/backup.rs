//! The whole vault in parts: membership operations, then blocks; never the device key. Everything is verified on the
//! way in as if a peer had sent it.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::calls::Asked;
use super::io::{CallId, Output, Reply};
use super::layout;
use super::remote::Arrived;
use super::{SyncEngine, Wanted};
use crate::error::{Error, ErrorCode, Result};
use crate::policy::Membership;
use crate::store::{Read, Rows, Table};
use crate::wire::{decode_block, decode_header, verify_block};

/// Bytes in one part.
const PART_BYTES: usize = 1 << 20;
/// The first byte of an item says what it is.
const GENESIS: u8 = 0;
const MEMBERSHIP: u8 = 1;
const BLOCK: u8 = 2;
const VAULT_KEY: u8 = 3;

/// A part of a backup that is being read.
#[derive(Debug)]
pub struct Backup;

impl SyncEngine {
    /// The part after `after`: the first has the membership log, the others blocks in the order of their keys.
    pub(super) fn start_backup(&mut self, call: CallId, after: Option<Vec<u8>>) -> Result<()> {
        let vault = self.vault()?;
        match after {
            None => {
                let mut items = Vec::new();
                for (place, op) in vault.membership.ops().enumerate() {
                    items.push([&[if place == 0 { GENESIS } else { MEMBERSHIP }], &op[..]].concat());
                }
                items.push([&[VAULT_KEY], &vault.key[..]].concat());
                let next = Some(Vec::new());
                self.out.push(Output::Reply(call, Ok(Reply::Backup { items, next })));
            }
            Some(from) => {
                self.asked.insert(call, Asked::Backup(Backup));
                let read = Read::Range {
                    table: Table::Blocks,
                    from,
                    to: vec![0xff; 64],
                    max_rows: usize::MAX,
                    max_bytes: PART_BYTES,
                };
                self.read(read, Wanted::Call(call));
            }
        }
        Ok(())
    }

    pub(super) fn backup_rows(&mut self, call: CallId, _: Backup, rows: Rows) {
        let next = rows.last_key().map(|last| [last, &[0]].concat());
        if let Some((key, seq)) = rows.damaged.first().and_then(|row| layout::read_block_row(row).ok()) {
            self.damaged_block(key, seq);
            let error = Error::storage("a block is damaged; it is fetched again from other devices, then try again");
            return self.refuse(call, error);
        }
        let items = rows.rows.into_iter().map(|(_, block)| [&[BLOCK], &block[..]].concat()).collect();
        self.out.push(Output::Reply(call, Ok(Reply::Backup { items, next })));
    }

    /// Takes a part in. Without a vault its first item makes this a device of that vault, no member until it is invited.
    pub(super) fn restore(&mut self, call: CallId, items: Vec<Vec<u8>>) -> Result<()> {
        if self.job.is_some() {
            return Err(Error::new(ErrorCode::Busy, "this device is busy with its store; try again"));
        }
        let mut arrived = Arrived::default();
        let mut result = Ok(());
        for item in items {
            result = self.restore_item(&item, &mut arrived);
            if result.is_err() {
                break;
            }
        }
        if result.is_ok() {
            arrived.landed.replies.push((call, Reply::Done));
        }
        self.finish_arrival(arrived);
        result
    }

    fn restore_item(&mut self, item: &[u8], arrived: &mut Arrived) -> Result<()> {
        let Some((kind, bytes)) = item.split_first() else { return Err(Error::invalid("an empty item in a backup")) };
        match (*kind, &self.vault) {
            (GENESIS, None) => {
                let membership = Membership::new(bytes)?;
                self.take_vault(membership, Zeroizing::default(), &[], arrived)?;
                Ok(())
            }
            (GENESIS, Some(vault)) if vault.membership.genesis_bytes()[..] == *bytes => Ok(()),
            (GENESIS, Some(_)) => Err(Error::invalid(
                "the backup is of another vault than this folder's; restore it into an empty folder",
            )),
            (_, None) => Err(Error::invalid("a backup that does not start with its vault")),
            (VAULT_KEY, Some(_)) => {
                let key = bytes.try_into().map_err(|_| Error::invalid("a vault key of the wrong length"))?;
                if let Some(vault) = &mut self.vault
                    && vault.key.iter().all(|byte| *byte == 0)
                {
                    vault.key = Zeroizing::new(key);
                    arrived.batch.put(Table::Meta, layout::meta::VAULT_KEY, bytes);
                }
                Ok(())
            }
            (MEMBERSHIP, Some(_)) => self.take_membership(None, bytes, arrived),
            (BLOCK, Some(vault)) => {
                let vault_id = vault.membership.vault();
                let header = decode_header(bytes)?;
                if !vault.membership.knows_author(&header.log.id.author) {
                    return Err(Error::invalid("a backup with commits of somebody who is no member"));
                }
                let log = self.log_mut(&header.log);
                let (key, tip) = (log.key, log.tip);
                if header.last_seq() <= tip.seq {
                    return Ok(());
                }
                let mut commits = decode_block(bytes, vault_id)?;
                verify_block(&commits)?;
                let mut block: Arc<[u8]> = bytes.into();
                if header.first_seq <= tip.seq {
                    block = crate::wire::cut_suffix(bytes, vault_id, tip.seq)?.into();
                    commits.retain(|commit| commit.header.seq > tip.seq);
                }
                let follows = commits
                    .first()
                    .is_some_and(|first| first.header.seq == tip.seq + 1 && first.header.prev == tip.hash);
                if !follows {
                    return Err(Error::invalid(
                        "the backup's commits do not continue those held here: it has another branch of a log",
                    ));
                }
                self.append(key, commits, block, arrived);
                Ok(())
            }
            _ => Err(Error::invalid("an item of a backup that this version does not know; update privstack")),
        }
    }
}
