//! Opening: the truth is read, then the blocks after the last checkpoint are applied.

use std::collections::VecDeque;

use super::io::{CallId, Input, Output, SyncEvent};
use super::layout::{self, LogKey, TypeIx, meta};
use super::log::Log;
use super::peers::Peer;
use super::refold::Stale;
use super::{Landed, MAX_HELD, Phase, SyncEngine, Vault, Wanted};
use crate::crdt::LogIx;
use crate::error::{Error, ErrorCode, Result};
use crate::policy::{Inserted, Membership, sync_policy};
use crate::store::{Read, Rows, Table, WriteBatch};
use crate::types::codec::Reader;
use crate::types::{EntityId, EntityType, Epoch, Hlc, LogId, LogName, PeerId, SortedMap};
use crate::wire::decode_block;

/// Bytes asked for at once.
const CHUNK: usize = 1 << 20;

/// How far the opening is.
#[derive(Default, Debug)]
pub struct Opening {
    step: Step,
    reading: bool,
    next: Vec<u8>,
    /// Of each log, the last commit that the checkpoint stands for.
    checkpoint: SortedMap<LogKey, u64>,
    replay: VecDeque<(LogKey, u64)>,
    directories: VecDeque<TypeIx>,
    stale: Stale,
    instance_changed: bool,
    /// How many of the rows that every opening makes sure of are there as they should be.
    in_place: usize,
    damaged: Vec<(LogKey, u64)>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    #[default]
    Closed,
    Meta,
    Membership,
    Logs,
    Peers,
    Audit,
    Directories,
    Replay,
    Done,
}

impl Opening {
    /// The first input starts the opening; calls and links wait until it is done. Gives back what finds no room.
    pub fn begin_or_hold(&mut self, input: Input, held: &mut VecDeque<Input>) -> Option<Input> {
        if self.step == Step::Closed {
            self.step = Step::Meta;
        }
        if held.len() >= MAX_HELD {
            return Some(input);
        }
        if !matches!(input, Input::Tick) {
            held.push_back(input);
        }
        None
    }
}

impl SyncEngine {
    /// Goes on with the opening, as far as it needs no rows.
    pub(super) fn open_step(&mut self) {
        loop {
            let Phase::Opening(opening) = &mut self.phase else { return };
            if opening.reading {
                return;
            }
            let next = opening.next.clone();
            let all =
                |table| Read::Range { table, from: next, to: vec![0xff; 64], max_rows: usize::MAX, max_bytes: CHUNK };
            let read = match opening.step {
                Step::Closed => return,
                Step::Meta => all(Table::Meta),
                Step::Membership => all(Table::Membership),
                Step::Logs => all(Table::Logs),
                Step::Peers => all(Table::Peers),
                Step::Audit => all(Table::Audit),
                Step::Directories => match opening.directories.front() {
                    Some(ty) => Read::Get(Table::Pages, layout::directory_row(*ty)),
                    None => {
                        opening.step = Step::Replay;
                        continue;
                    }
                },
                Step::Replay => match opening.replay.front() {
                    Some((key, from)) if opening.next.is_empty() => Read::Floor {
                        table: Table::Blocks,
                        from: layout::log_prefix(*key),
                        key: layout::block_row(*key, *from),
                    },
                    Some((key, from)) => Read::Range {
                        table: Table::Blocks,
                        from: layout::block_row(*key, *from),
                        to: layout::after_prefix(&layout::log_prefix(*key)),
                        max_rows: usize::MAX,
                        max_bytes: CHUNK,
                    },
                    None => {
                        opening.step = Step::Done;
                        continue;
                    }
                },
                Step::Done => return self.opened(),
            };
            opening.reading = true;
            self.read(read, Wanted::Open);
        }
    }

    /// Rows of the opening have come.
    pub(super) fn open_rows(&mut self, rows: Rows) {
        let Phase::Opening(opening) = &mut self.phase else { return };
        opening.reading = false;
        let step = opening.step;
        let result = match step {
            Step::Replay => self.replay_rows(rows),
            Step::Directories => self.directory_rows(rows),
            _ => self.table_rows(step, rows),
        };
        if let Err(error) = result {
            self.fail(error);
        }
    }

    fn table_rows(&mut self, step: Step, rows: Rows) -> Result<()> {
        // A damaged peer row costs no more than an address; of a damaged audit log the chain tells.
        let (last, rows) = match step {
            Step::Peers | Step::Audit => (rows.last_key().map(<[u8]>::to_vec), rows.rows),
            _ => {
                let rows = rows.intact()?;
                (rows.last().map(|(key, _)| key.clone()), rows)
            }
        };
        for (key, value) in rows {
            match step {
                Step::Meta => self.meta_row(&key, &value)?,
                Step::Membership => self.membership_value(&value)?,
                Step::Logs => self.log_value(&key, &value)?,
                Step::Audit => self.audit.row(&key, &value),
                _ => {
                    if let (Ok(id), Ok(peer)) = (<[u8; 32]>::try_from(&key[..]), Peer::decode(&value)) {
                        self.last_sync = self.last_sync.max(peer.synced_at);
                        self.peers.insert(PeerId(id), peer);
                    }
                }
            }
        }
        if last.is_none()
            && step == Step::Membership
            && let Some(vault) = &mut self.vault
        {
            vault.policy = sync_policy(vault.membership.evaluate());
        }
        if last.is_none() && step == Step::Peers {
            self.validities_at_open();
            self.look_at_branches();
        }
        if last.is_none() && step == Step::Audit {
            self.audit.opened();
        }
        let Phase::Opening(opening) = &mut self.phase else { return Ok(()) };
        match last {
            Some(mut key) => {
                key.push(0);
                opening.next = key;
            }
            None => {
                opening.next.clear();
                opening.step = match step {
                    Step::Meta => Step::Membership,
                    Step::Membership => Step::Logs,
                    Step::Logs => Step::Peers,
                    Step::Peers => Step::Audit,
                    _ => {
                        opening.directories = (0..self.types.len() as u32).map(TypeIx).collect();
                        for (key, log) in &self.logs {
                            let from = opening.checkpoint.get(key).copied().unwrap_or(0) + 1;
                            if log.tip.seq >= from {
                                opening.replay.push_back((*key, from));
                            }
                        }
                        Step::Directories
                    }
                };
            }
        }
        Ok(())
    }

    fn meta_row(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let mut reader = Reader::new(value);
        if let Phase::Opening(opening) = &mut self.phase
            && [meta::FORMAT, meta::INSTANCE, meta::DEVICE_NAME, meta::EPOCH].contains(&key)
        {
            opening.in_place += 1;
        }
        match key {
            meta::FORMAT => {
                let format = reader.varint()?;
                if format > layout::FORMAT {
                    return Err(Error::new(
                        ErrorCode::Version,
                        format!(
                            "the store has format {format}, this version knows {}; update privstack",
                            layout::FORMAT
                        ),
                    ));
                }
                if let Phase::Opening(opening) = &mut self.phase
                    && format < layout::FORMAT
                {
                    opening.in_place -= 1;
                }
            }
            meta::DEVICE_NAME => self.device_name = String::from_utf8_lossy(value).into_owned(),
            meta::EPOCH => self.epoch = Epoch(u64::from_be_bytes(reader.array()?)),
            meta::INSTANCE => {
                if let Phase::Opening(opening) = &mut self.phase {
                    opening.instance_changed = value != self.config.instance_mark;
                }
            }
            meta::VAULT_KEY => self.pending_key = Some(zeroize::Zeroizing::new(reader.array()?)),
            meta::FIRST_KEY => self.pending_first_key = Some(zeroize::Zeroizing::new(reader.array()?)),
            meta::RECOVERY => self.recovery = Some(zeroize::Zeroizing::new(reader.array()?)),
            meta::CREDENTIAL => {
                while !reader.is_empty() {
                    self.credential.push(reader.bytes(usize::MAX, "a credential")?.into());
                }
            }
            meta::CHECKPOINT => {
                let Phase::Opening(opening) = &mut self.phase else { return Ok(()) };
                for _ in 0..reader.count(usize::MAX, "logs")? {
                    let ty = TypeIx(reader.bounded(u32::MAX as usize, "a type")? as u32);
                    let ix = LogIx(reader.bounded(u32::MAX as usize, "a log")? as u32);
                    opening.checkpoint.insert(LogKey { ty, ix }, reader.varint()?);
                }
            }
            meta::REMAKE => self.read_again(value)?,
            meta::TABS => self.tabs = super::tabs::Tabs::decode(value)?,
            meta::ALIASES => self.read_aliases(value)?,
            meta::PAIRING => self.pairing_row(value)?,
            meta::STALE => {
                let stale = Stale::decode(value)?;
                self.stale_on_disk = stale.clone();
                if let Phase::Opening(opening) = &mut self.phase {
                    opening.stale = stale;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn membership_value(&mut self, value: &[u8]) -> Result<()> {
        match &mut self.vault {
            None => {
                let membership = Membership::new(value)?;
                let key = self.pending_key.take().unwrap_or_default();
                let policy = sync_policy(membership.evaluate());
                let first_key = self.pending_first_key.take();
                self.vault = Some(Vault { membership, policy, key, first_key });
            }
            Some(vault) => match vault.membership.insert(value)? {
                Inserted::New(_) | Inserted::Known(_) => {}
                Inserted::MissingParents(_) => {
                    return Err(Error::storage("the membership log has a gap; restore a backup, or join again"));
                }
            },
        }
        Ok(())
    }

    fn log_value(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let number = layout::row_number(key)?;
        match key.first() {
            Some(&layout::TYPE_ROW) if number as usize == self.types.len() => {
                let name = std::str::from_utf8(value).map_err(|_| Error::storage("a type's name that is not UTF-8"))?;
                self.types.push(EntityType::new(name)?);
            }
            Some(&layout::LOG_ID_ROW) if number as usize == self.ids.len() => {
                let mut reader = Reader::new(value);
                let author = PeerId(reader.array()?);
                self.ids.intern(LogId { author, epoch: Epoch(u64::from_be_bytes(reader.array()?)) });
            }
            Some(&layout::LOG_ROW) => {
                let ix = key.get(5..9).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
                let ix = LogIx(ix.ok_or_else(|| Error::storage("a key of the logs table that is too short"))?);
                let key = LogKey { ty: TypeIx(number), ix };
                let (Some(entity_type), Some(id)) = (self.type_name(key.ty).cloned(), self.ids.id(ix).copied()) else {
                    return Err(Error::storage("a log without its names; restore a backup, or join again"));
                };
                let log = Log::decode(LogName { entity_type, id }, key, value)?;
                if log.fork.is_some() {
                    self.ids.set_forked(ix, true);
                }
                self.log_names.insert(log.name.clone(), key);
                self.logs.insert(key, log);
            }
            Some(&layout::FORK_ROW) => {}
            _ => {
                return Err(Error::storage(format!(
                    "row {key:?} of the logs table is out of order; restore a backup, or join again in a new folder"
                )));
            }
        }
        Ok(())
    }

    fn directory_rows(&mut self, rows: Rows) -> Result<()> {
        let Phase::Opening(opening) = &mut self.phase else { return Ok(()) };
        let Some(ty) = opening.directories.pop_front() else { return Ok(()) };
        match rows.one() {
            Ok(Some((_, value))) => {
                let firsts = value.chunks_exact(16).filter_map(|id| Some(EntityId(id.try_into().ok()?))).collect();
                self.entities.set_directory(ty, firsts);
            }
            Ok(None) => {}
            // The pages of a type whose directory is lost are built again from its blocks.
            Err(_) => opening.stale.add_all(ty),
        }
        Ok(())
    }

    fn replay_rows(&mut self, rows: Rows) -> Result<()> {
        let Phase::Opening(opening) = &mut self.phase else { return Ok(()) };
        let Some((key, from)) = opening.replay.front().copied() else { return Ok(()) };
        let first_damaged = rows.damaged.iter().filter_map(|row| Some(layout::read_block_row(row).ok()?.1)).min();
        let tip = self.logs.get(&key).map_or(0, |log| log.tip.seq);
        let floor = opening.next.is_empty();
        let mut next = from;
        let vault = self.vault.as_ref().map(|vault| vault.membership.vault());
        for (row, block) in &rows.rows {
            let (_, first) = layout::read_block_row(row)?;
            let Some(vault) = vault.filter(|_| first_damaged.is_none_or(|damaged| first < damaged)) else { break };
            let commits = decode_block(block, vault)
                .map_err(|error| Error::storage(format!("a stored block cannot be read: {}", error.message())))?;
            for commit in commits.into_iter().filter(|commit| (from..=tip).contains(&commit.header.seq)) {
                next = commit.header.seq + 1;
                self.apply(key, commit);
            }
        }
        let Phase::Opening(opening) = &mut self.phase else { return Ok(()) };
        if let Some(first) = first_damaged {
            opening.damaged.push((key, first.max(next)));
        }
        if next > tip || first_damaged.is_some() || (rows.rows.is_empty() && !floor) {
            if next <= tip && first_damaged.is_none() {
                opening.damaged.push((key, next));
            }
            opening.replay.pop_front();
            opening.next.clear();
        } else {
            opening.next = vec![0];
            if let Some(front) = opening.replay.front_mut() {
                front.1 = next;
            }
        }
        Ok(())
    }

    fn opened(&mut self) {
        let Phase::Opening(opening) = std::mem::replace(&mut self.phase, Phase::Open) else { return };
        let own = self.logs.values().filter(|log| log.name.id.author == self.me).map(|log| log.hlc).max();
        self.hlc = Hlc::new(own.unwrap_or_default());
        let mut batch = WriteBatch::default();
        // Nothing is written without need: a vault on a full disk can be opened and read.
        if opening.in_place < 4 || opening.instance_changed {
            let mut format = Vec::new();
            crate::types::codec::put_varint(&mut format, layout::FORMAT);
            batch.put(Table::Meta, meta::FORMAT, format);
            batch.put(Table::Meta, meta::INSTANCE, self.config.instance_mark);
            batch.put(Table::Meta, meta::DEVICE_NAME, self.device_name.as_bytes());
            if opening.instance_changed {
                self.epoch = Epoch(self.entropy.number());
            }
            batch.put(Table::Meta, meta::EPOCH, self.epoch.0.to_be_bytes());
        }
        self.write(batch, Landed { events: vec![SyncEvent::Started], ..Landed::default() });
        self.pairing_outputs();
        for (key, seq) in opening.damaged {
            self.damaged_block(key, seq);
        }
        self.watch_originals();
        if !opening.stale.is_empty() {
            self.start_refold(opening.stale);
        }
    }

    /// Answers a call with an error.
    pub(super) fn refuse(&mut self, call: CallId, error: Error) {
        self.out.push(Output::Reply(call, Err(error)));
    }
}
