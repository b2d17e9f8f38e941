//! Two chains of one log: finding where they part, proving it, and what the author does about it (PROTOCOL.md 4.6).
//!
//! Whoever notices that a peer's chain differs asks the peer to go on from further and further back, until the chains
//! meet. The author of the log takes the peer's chain where nobody can have its own, and makes its commits again in a
//! new epoch; in all other cases the two blocks after the last common commit are a proof that everybody keeps.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::io::{LinkId, SyncEvent};
use super::layout::{self, LogKey};
use super::local::Draft;
use super::log::Tip;
use super::remote::Arrived;
use super::sessions::Carries;
use super::{Job, SyncEngine, Wanted};
use crate::crdt::{Edit, EntityState, EventAt, FieldValue, LogTable, text_client_id};
use crate::error::{Error, Result};
use crate::protocol::Frontier;
use crate::store::{Read, Rows, Table, WriteBatch};
use crate::types::codec::{Reader, put_bytes, put_varint};
use crate::types::{
    Commit, Dot, EntityId, Event, FieldKind, FieldName, FieldOp, Hash, LogId, LogName, Seen, StandsFor,
};
use crate::wire::*;

/// How often the way back doubles before it reaches the start of any log.
const MAX_STEPS: u32 = 48;
/// Bytes of own blocks read at once.
const CHUNK: usize = 1 << 20;

/// A search for the place where two chains part.
#[derive(Debug)]
pub struct Compare {
    pub link: LinkId,
    step: u32,
}

/// A verified block of a log, and its commits.
type Branch = (Vec<Commit>, Arc<[u8]>);

/// A place that was found: own commits are read from there on.
#[derive(Debug)]
pub struct Divergence {
    key: LogKey,
    /// The other branch of a fork proof, where this one may turn out to be ours.
    other: Option<Branch>,
    started: bool,
    theirs: Vec<Commit>,
    their_block: Arc<[u8]>,
    next: Option<u64>,
    /// The chains differ, and not only from there on.
    apart: bool,
    /// The last common commit, and our block from the one after it on.
    found: Option<(Tip, Arc<[u8]>)>,
    /// Own blocks from there on, where they are this device's.
    own: Vec<Vec<u8>>,
    ids: BTreeSet<EntityId>,
    /// The start of the block that has to be cut.
    cut: Option<(u64, Vec<Commit>)>,
}

impl SyncEngine {
    /// Equal numbers with unequal hashes: two chains.
    pub(super) fn compare_tips(&mut self, link: LinkId, theirs: &Frontier) {
        let different: Vec<LogKey> = theirs
            .iter()
            .filter_map(|(name, held)| {
                let log = self.logs.get(self.log_names.get(name)?)?;
                let parted =
                    !held.forked && log.fork.is_none() && held.seq == log.stored.seq && held.hash != log.stored.hash;
                (parted && held.hash != Hash::ZERO).then_some(log.key)
            })
            .collect();
        for key in different {
            self.start_compare(link, key);
        }
    }

    fn start_compare(&mut self, link: LinkId, key: LogKey) {
        if let Entry::Vacant(place) = self.compares.entry(key) {
            place.insert(Compare { link, step: 0 });
            self.compare_step(key);
        }
    }

    fn compare_step(&mut self, key: LogKey) {
        let (Some(compare), Some(log)) = (self.compares.get_mut(&key), self.logs.get(&key)) else { return };
        let link = compare.link;
        let back = if compare.step == 0 { 0 } else { 64_u64.checked_shl(compare.step).unwrap_or(u64::MAX) };
        compare.step += 1;
        if compare.step > MAX_STEPS {
            self.compares.remove(&key);
            return self.hang_up(link, Error::protocol("a log whose chain changes while it is compared"));
        }
        let seq = log.stored.seq.saturating_sub(back).max(1);
        let read =
            Read::Floor { table: Table::Blocks, from: layout::log_prefix(key), key: layout::block_row(key, seq) };
        self.read(read, Wanted::Probe(key, link));
    }

    /// Asks the peer to go on from the start of one of our blocks.
    pub(super) fn probe_rows(&mut self, key: LogKey, link: LinkId, rows: Rows) {
        let header = rows.rows.first().and_then(|(_, block)| decode_header(block).ok());
        let (Some(log), true) = (self.logs.get(&key), self.compares.contains_key(&key)) else { return };
        let (seq, hash) = header.map_or((0, Hash::ZERO), |header| (header.first_seq - 1, header.prev));
        let entry = FrontierEntry { seq, hash, forked: false, ..log.entry() };
        let scope = Scope::Types(vec![log.name.entity_type.clone()]);
        let have = FrontierSummary { digest: Hash::ZERO, base: 0, entries: vec![entry], complete: false };
        let Some(session) = self.sessions.get_mut(&link) else { return };
        let id = session.next_request();
        self.send(link, &Message::SyncRequest(SyncRequestMessage { id, scope, have }));
    }

    /// A peer asks to be sent these logs from there on.
    pub(super) fn resume_from(&mut self, link: LinkId, entries: Vec<FrontierEntry>) -> Result<()> {
        for entry in entries {
            let name = LogName { entity_type: entry.entity_type, id: entry.log };
            let Some(key) = self.log_names.get(&name).copied() else { continue };
            let Some(session) = self.sessions.get_mut(&link) else { return Ok(()) };
            if !session.known {
                return Err(Error::protocol("a request to resume before any frontier was told"));
            }
            let held = crate::protocol::Held { seq: entry.seq, hash: entry.hash, forked: false };
            session.theirs.insert(name, held);
            session.sent.remove(&key);
            // What is under way does not fit the peer's chain: that it arrives does not say that the peer has it.
            session.sending.reconsider(|carries| {
                if matches!(carries, Carries::Commits(of, _) if *of == key) {
                    *carries = Carries::Other;
                }
            });
            session.stuck.remove(&key);
            session.stale = true;
            session.complete = false;
        }
        Ok(())
    }

    /// A peer says that its chain has another hash there.
    pub(super) fn probe(&mut self, link: LinkId, entries: Vec<FrontierEntry>) -> Result<()> {
        for entry in entries {
            let name = LogName { entity_type: entry.entity_type, id: entry.log };
            let Some(key) = self.log_names.get(&name).copied() else { continue };
            match self.compares.get(&key) {
                Some(compare) if compare.link == link => self.compare_step(key),
                Some(_) => {}
                None => self.start_compare(link, key),
            }
        }
        Ok(())
    }

    /// A block that does not continue our chain.
    pub(super) fn diverged(&mut self, link: LinkId, key: LogKey, theirs: Vec<Commit>, block: Arc<[u8]>) -> Result<()> {
        let (Some(log), Some(first)) = (self.logs.get(&key), theirs.first()) else { return Ok(()) };
        if first.header.seq > log.tip.seq {
            self.start_compare(link, key);
            return Ok(());
        }
        if self.job.is_none() {
            self.start_divergence(key, theirs, block, None);
        }
        Ok(())
    }

    fn start_divergence(&mut self, key: LogKey, theirs: Vec<Commit>, their_block: Arc<[u8]>, other: Option<Branch>) {
        self.job = Some(Job::Divergence(Divergence {
            key,
            other,
            started: false,
            theirs,
            their_block,
            next: None,
            apart: false,
            found: None,
            own: Vec::new(),
            ids: BTreeSet::new(),
            cut: None,
        }));
    }

    /// Starts reading once everything is on disk.
    pub(super) fn divergence_start(&mut self) {
        let Some(Job::Divergence(divergence)) = &mut self.job else { return };
        if divergence.started || !self.writes.is_empty() {
            return;
        }
        divergence.started = true;
        let key = divergence.key;
        let seq = divergence.theirs.first().map_or(1, |commit| commit.header.seq);
        let read =
            Read::Floor { table: Table::Blocks, from: layout::log_prefix(key), key: layout::block_row(key, seq) };
        self.read(read, Wanted::Divergence);
    }

    pub(super) fn divergence_rows(&mut self, rows: Rows) {
        let Some(Job::Divergence(divergence)) = &mut self.job else { return };
        let (Some(vault), Some(log)) = (&self.vault, self.logs.get(&divergence.key)) else { return };
        let (vault, tip, own) = (vault.membership.vault(), log.tip.seq, log.name.id.author == self.me);
        let key = divergence.key;
        let mut last = None;
        for (_, block) in &rows.rows {
            let Ok(commits) = decode_block(block, vault) else { break };
            last = commits.last().map(|commit| commit.header.seq);
            let (mut from, mut before) = (None, Vec::new());
            for commit in commits {
                let seq = commit.header.seq;
                if divergence.found.is_none() {
                    let other = divergence.theirs.iter().find(|other| other.header.seq == seq);
                    match other {
                        Some(other) if other.hash != commit.hash && other.header.prev == commit.header.prev => {
                            let common = Tip { seq: seq - 1, hash: commit.header.prev };
                            let Ok(suffix) = cut_suffix(block, vault, seq - 1) else { break };
                            divergence.found = Some((common, suffix.into()));
                            from = Some(seq);
                        }
                        other => {
                            divergence.apart |= other.is_some_and(|other| other.hash != commit.hash);
                            before.push(commit);
                            continue;
                        }
                    }
                }
                divergence.ids.extend(commit.events.iter().map(|event| event.entity));
            }
            if from.is_some()
                && let Some(first) = before.first()
            {
                divergence.cut = Some((first.header.seq, before));
            }
            if own && let Some((common, suffix)) = &divergence.found {
                divergence.own.push(if from.is_some() && common.seq > 0 { suffix.to_vec() } else { block.clone() });
            }
        }
        let over = divergence.theirs.last().map_or(0, |commit| commit.header.seq);
        let end = match last {
            None => true,
            Some(last) => {
                last >= tip || (divergence.found.is_none() && last >= over) || (divergence.found.is_some() && !own)
            }
        };
        if !end && let Some(last) = last {
            divergence.next = Some(last + 1);
            let read = Read::Range {
                table: Table::Blocks,
                from: layout::block_row(key, last + 1),
                to: layout::block_row(key, tip + 1),
                max_rows: usize::MAX,
                max_bytes: CHUNK,
            };
            return self.read(read, Wanted::Divergence);
        }
        let Some(Job::Divergence(divergence)) = self.job.take() else { return };
        match (&divergence.found, divergence.apart) {
            (Some(_), _) => drop(self.compares.remove(&key)),
            // They parted before what came: further back.
            (None, true) => self.compare_step(key),
            // They meet so far, and the blocks that follow are compared too.
            (None, false) => {}
        }
        if let Err(error) = self.settle_divergence(divergence) {
            let peer = self.me;
            self.complain(peer, error.to_string());
        }
    }

    fn settle_divergence(&mut self, divergence: Divergence) -> Result<()> {
        let key = divergence.key;
        let Some((common, ours)) = divergence.found else {
            // This branch is ours; or the chains meet further on, and the peer goes on sending.
            if let Some((theirs, block)) = divergence.other {
                self.start_divergence(key, theirs, block, None);
            }
            return Ok(());
        };
        let Some(log) = self.logs.get(&key) else { return Ok(()) };
        let vault = self.vault()?.membership.vault();
        let theirs: Arc<[u8]> = cut_suffix(&divergence.their_block, vault, common.seq)?.into();
        let own = log.name.id.author == self.me;
        let mut arrived = Arrived::default();
        if !own {
            self.establish_fork(key, common, &ours, &theirs, None, &mut arrived);
            self.finish_arrival(arrived);
            return Ok(());
        }
        let published = log.published > common.seq;
        let mut again: Vec<Vec<u8>> = divergence.own;
        if published {
            again.push(theirs.to_vec());
            self.establish_fork(key, common, &ours, &theirs, None, &mut arrived);
        } else {
            self.adopt(key, common, divergence.cut, &again, &mut arrived)?;
        }
        arrived.stale.add_ids(key.ty, divergence.ids);
        self.make_again_later(key, again, &mut arrived.batch);
        self.new_epoch(&mut arrived.batch);
        self.finish_arrival(arrived);
        self.sessions.values_mut().for_each(|session| session.ask_again = true);
        Ok(())
    }

    /// Drops this device's branch, which nobody else can have; the peer's is taken in its place.
    fn adopt(
        &mut self,
        key: LogKey,
        common: Tip,
        cut: Option<(u64, Vec<Commit>)>,
        branch: &[Vec<u8>],
        arrived: &mut Arrived,
    ) -> Result<()> {
        let Some(log) = self.logs.get_mut(&key) else { return Ok(()) };
        let events = log.events;
        log.roll_back(common, events);
        log.applied = common.seq;
        for block in branch {
            arrived.batch.delete(Table::Blocks, layout::block_row(key, decode_header(block)?.first_seq));
        }
        if let Some((first, mut before)) = cut {
            // The start of the block that was cut ends in a commit of ours: signed again.
            if let Some(last) = before.last_mut() {
                last.signature = Some(self.config.keypair.sign_commit(&last.hash));
            }
            arrived.batch.put(Table::Blocks, layout::block_row(key, first), encode_block(&before)?);
        }
        self.recent.forget(key);
        self.digests.remove(&key.ty);
        arrived.touch(key);
        Ok(())
    }

    /// Keeps a proof; from the first divergent commit on, the log counts nowhere.
    fn establish_fork(
        &mut self,
        key: LogKey,
        common: Tip,
        ours: &[u8],
        theirs: &[u8],
        from: Option<LinkId>,
        arrived: &mut Arrived,
    ) {
        let Some(log) = self.logs.get_mut(&key) else { return };
        if log.fork.is_some_and(|fork| fork.seq <= common.seq) {
            return;
        }
        log.fork = Some(common);
        if log.applied > common.seq {
            arrived.stale.add(key, common.seq + 1..log.applied + 1);
        }
        let author = log.name.id.author;
        self.ids.set_forked(key.ix, true);
        let mut row = Vec::new();
        put_bytes(&mut row, ours);
        put_bytes(&mut row, theirs);
        arrived.batch.put(Table::Logs, layout::fork_row(key), row);
        arrived.touch(key);
        self.digests.remove(&key.ty);
        self.revalidate(arrived);
        arrived.landed.tell.push((Item::Fork(ours.into(), theirs.into()), from));
        arrived.landed.events.push(SyncEvent::Forked(author));
        self.sessions.values_mut().for_each(|session| {
            session.stuck.remove(&key);
            session.ask_again = true;
        });
    }

    /// A proof from a peer.
    pub(super) fn take_fork(
        &mut self,
        from: Option<LinkId>,
        first: &[u8],
        second: &[u8],
        arrived: &mut Arrived,
    ) -> Result<()> {
        let vault = self.vault()?;
        let vault_id = vault.membership.vault();
        let one = decode_block(first, vault_id)?;
        let two = decode_block(second, vault_id)?;
        let (Some(a), Some(b)) = (one.first(), two.first()) else { return Ok(()) };
        let proven = a.header.log == b.header.log
            && a.header.seq == b.header.seq
            && a.header.prev == b.header.prev
            && a.hash != b.hash;
        if !proven {
            return Err(Error::protocol("two blocks that prove no fork"));
        }
        if !vault.membership.knows_author(&a.header.log.id.author) {
            return Err(Error::protocol("a fork proof of somebody who is no member"));
        }
        verify_block(&one)?;
        verify_block(&two)?;
        let common = Tip { seq: a.header.seq - 1, hash: a.header.prev };
        let name = a.header.log.clone();
        let log = self.log_mut(&name);
        let (key, tip) = (log.key, log.tip.seq);
        if let Some(link) = from
            && let Some(session) = self.sessions.get_mut(&link)
        {
            let held = session.theirs.entry(name.clone()).or_insert(crate::protocol::Held {
                seq: 0,
                hash: Hash::ZERO,
                forked: true,
            });
            held.forked = true;
            held.seq = held.seq.min(common.seq);
        }
        if self.logs.get(&key).is_some_and(|log| log.fork.is_some_and(|fork| fork.seq <= common.seq)) {
            return Ok(());
        }
        if name.id.author == self.me {
            let blocks = vec![first.to_vec(), second.to_vec()];
            if tip > common.seq {
                // Our own branch, all of it, is in the store; the blocks are read before anything is decided.
                let Some(log) = self.logs.get_mut(&key) else { return Ok(()) };
                log.published = tip;
                let ours = self.recent_hash(key, a.header.seq);
                // One of the two branches may be ours, as far as it goes: the other one is the different one.
                let (theirs, block, other) =
                    if ours == Some(a.hash) { (two, second, None) } else { (one, first, Some((two, second.into()))) };
                if self.job.is_none() {
                    self.start_divergence(key, theirs, block.into(), other);
                }
                return Ok(());
            }
            self.make_again_later(key, blocks, &mut arrived.batch);
            self.new_epoch(&mut arrived.batch);
        }
        self.establish_fork(key, common, first, second, from, arrived);
        Ok(())
    }

    fn recent_hash(&self, key: LogKey, seq: u64) -> Option<Hash> {
        let log = self.logs.get(&key)?;
        (log.tip.seq == seq).then_some(log.tip.hash)
    }

    /// Sends the proof of a fork.
    pub(super) fn send_fork(&mut self, link: LinkId, key: LogKey) {
        if let Some(session) = self.sessions.get_mut(&link) {
            session.stuck.insert(key);
        }
        self.read(Read::Get(Table::Logs, layout::fork_row(key)), Wanted::Fork(link, key));
    }

    pub(super) fn fork_rows(&mut self, link: LinkId, key: LogKey, rows: Rows) {
        let Some((_, row)) = rows.rows.into_iter().next() else { return };
        let mut reader = Reader::new(&row);
        let proof = reader.bytes(usize::MAX, "a block").and_then(|a| Ok((a, reader.bytes(usize::MAX, "a block")?)));
        if let Ok((ours, theirs)) = proof {
            self.send_items(link, std::iter::once(Item::Fork(ours.into(), theirs.into())));
        }
        let (Some(log), Some(session)) = (self.logs.get(&key), self.sessions.get_mut(&link)) else { return };
        let fork = log.fork.map_or(0, |fork| fork.seq);
        if let Some(held) = session.theirs.get_mut(&log.name) {
            held.forked = true;
            held.seq = held.seq.min(fork);
        } else {
            let held = crate::protocol::Held { seq: 0, hash: Hash::ZERO, forked: true };
            session.theirs.insert(log.name.clone(), held);
        }
        session.stuck.remove(&key);
        session.stale = true;
    }

    // ---- making commits again --------------------------------------------------------------------------------------

    /// Keeps blocks whose commits are to be made again, until they are.
    fn make_again_later(&mut self, key: LogKey, blocks: Vec<Vec<u8>>, batch: &mut WriteBatch) {
        self.again.extend(blocks.into_iter().map(|block| (key, block)));
        batch.put(Table::Meta, layout::meta::REMAKE, self.encode_again());
    }

    fn encode_again(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, self.again.len() as u64);
        self.again.iter().for_each(|(_, block)| put_bytes(&mut out, block));
        out
    }

    /// Reads the row of what is to be made again, at the opening.
    pub(super) fn read_again(&mut self, bytes: &[u8]) -> Result<()> {
        let mut reader = Reader::new(bytes);
        for _ in 0..reader.count(usize::MAX, "blocks")? {
            let block = reader.bytes(usize::MAX, "a block")?;
            let name = decode_header(block)?.log;
            self.again_unnamed.push((name, block.to_vec()));
        }
        Ok(())
    }

    /// Makes again, in the new epoch, the commits of branches that count no more.
    pub(super) fn make_again(&mut self) {
        for (name, block) in std::mem::take(&mut self.again_unnamed) {
            let key = self.log_mut(&name).key;
            self.again.push((key, block));
        }
        if self.again.is_empty() {
            return;
        }
        // What they touch must be in memory.
        let Some(vault) = self.vault.as_ref().map(|vault| vault.membership.vault()) else { return };
        let mut seen = BTreeSet::new();
        let mut commits: Vec<(LogKey, Commit)> = Vec::new();
        for (key, block) in &self.again {
            for commit in decode_block(block, vault).unwrap_or_default() {
                if seen.insert(commit.hash) {
                    commits.push((*key, commit));
                }
            }
        }
        let touched: BTreeSet<_> =
            commits.iter().flat_map(|(key, commit)| commit.events.iter().map(|event| (key.ty, event.entity))).collect();
        let pages = self.entities.pages_for(&touched);
        if !pages.is_empty() {
            self.read_pages(pages);
            return;
        }
        self.again.clear();
        let mut arrived = Arrived::default();
        arrived.batch.delete(Table::Meta, layout::meta::REMAKE);
        let count = commits.len() as u64;
        let mut again = Again::default();
        for (key, commit) in commits {
            if let Err(error) = self.make_one_again(key, commit, &mut again, &mut arrived) {
                let me = self.me;
                self.complain(me, format!("a commit of a branch could not be made again: {error}"));
            }
        }
        arrived.landed.events.push(SyncEvent::EpochRenewed { commits: count });
        self.finish_arrival(arrived);
    }

    fn make_one_again(&mut self, old: LogKey, commit: Commit, again: &mut Again, arrived: &mut Arrived) -> Result<()> {
        let header = &commit.header;
        let old_id = header.log.id;
        let stands_for =
            header.stands_for.unwrap_or(StandsFor { epoch: old_id.epoch, seq: header.seq, hash: commit.hash });
        if header.seq <= again.last {
            again.branch += 1;
        }
        again.last = header.seq;
        let name = self.own_log(&header.log.entity_type);
        let key = self.log_mut(&name).key;
        let seq = self.logs.get(&key).map_or(1, |log| log.tip.seq + 1);
        let mut events = Vec::with_capacity(commit.events.len());
        for (index, event) in (0..).zip(&commit.events) {
            let at = EventAt { log: key.ix, seq, index: events.len() as u32, hlc: header.hlc, commit: 0, counts: true };
            let state = self.entities.get(&(key.ty, event.entity)).cloned().unwrap_or_default();
            // What the branch showed before and after this event.
            let before = again.states.remove(&(again.branch, event.entity)).unwrap_or_else(|| state.clone());
            let mut after = before.clone();
            let place = EventAt { log: old.ix, seq: header.seq, index, commit: commit.hash.short(), ..at };
            after.apply(event, &place, &mut self.ids);
            let mut seen = event.seen.clone();
            if state.last_seq(key.ix) == 0 {
                merge_seen(&mut seen, before.named_by(old.ix, &self.ids));
            }
            seen.retain(|(log, _)| *log != name.id);
            let mut ops = Vec::with_capacity(event.ops.len());
            for op in event.ops.iter().cloned() {
                match op {
                    // Dots of the branch are those of the copies now.
                    FieldOp::Remove { field, item, dots } => {
                        ops.push(FieldOp::Remove { field, item, dots: again.dots_of(dots) });
                    }
                    FieldOp::ClearSet { field, dots } => {
                        ops.push(FieldOp::ClearSet { field, dots: again.dots_of(dots) });
                    }
                    FieldOp::ClearCounter { field, .. } => {
                        ops.extend(prepare_hidden(&state, &[Edit::Clear(field)], &at, &self.ids, name.id)?);
                    }
                    // An update belongs to the epoch that made it: its text is typed afresh.
                    FieldOp::Text { field, .. } => {
                        let text = |state: &EntityState| {
                            let view = state.view(header.log.entity_type.clone(), event.entity, &self.ids);
                            match view.field_of(field.as_str(), FieldKind::Text) {
                                Some(FieldValue::Text(text, _)) => text.clone(),
                                _ => String::new(),
                            }
                        };
                        let edits = type_again(&field, &text(&before), &text(&after), &text(&state));
                        ops.extend(prepare_hidden(&state, &edits, &at, &self.ids, name.id)?);
                    }
                    other => ops.push(other),
                }
            }
            again.states.insert((again.branch, event.entity), after);
            if !ops.is_empty() {
                let dot = Dot { log: old_id, seq: header.seq, index };
                again.dots.insert(dot, Dot { log: name.id, seq, index: at.index });
                events.push(Event { entity: event.entity, seen, ops });
            }
        }
        if events.is_empty() {
            return Ok(());
        }
        let draft = Draft { hlc: header.hlc, stands_for: Some(stands_for), events };
        self.commit(key, vec![draft], arrived)
    }
}

/// What is remembered while commits are made again.
#[derive(Default)]
struct Again {
    /// Several branches have the same numbers.
    branch: usize,
    last: u64,
    states: BTreeMap<(usize, EntityId), EntityState>,
    dots: BTreeMap<Dot, Dot>,
}

impl Again {
    fn dots_of(&self, dots: Vec<Dot>) -> Vec<Dot> {
        let mut dots: Vec<Dot> = dots.into_iter().map(|dot| self.dots.get(&dot).copied().unwrap_or(dot)).collect();
        dots.sort_unstable();
        dots.dedup();
        dots
    }
}

/// Prepares what was done before, even if the entity is deleted by now: the copy brings back no more than its original.
fn prepare_hidden(
    state: &EntityState,
    edits: &[Edit],
    at: &EventAt,
    logs: &LogTable,
    log: LogId,
) -> Result<Vec<FieldOp>> {
    if edits.is_empty() {
        return Ok(Vec::new());
    }
    if !state.exists() || state.is_visible() {
        return state.prepare(edits, at, logs, text_client_id(log, 0));
    }
    let restored = [&[Edit::Restore], edits].concat();
    Ok(state.prepare(&restored, at, logs, text_client_id(log, 0))?.split_off(1))
}

fn merge_seen(seen: &mut Seen, more: Seen) {
    for (log, upto) in more {
        match seen.iter_mut().find(|(named, _)| *named == log) {
            Some((_, known)) => *known = upto.max(*known),
            None => seen.push((log, upto)),
        }
    }
    seen.sort_unstable();
}

/// The change from `before` to `after` (one stretch), done to a text that may have gone on: what was typed is typed at
/// the same place or at the end, what was deleted is deleted where it still stands.
fn type_again(field: &FieldName, before: &str, after: &str, now: &str) -> Vec<Edit> {
    let [before, after, now] = [before, after, now].map(|text| text.encode_utf16().collect::<Vec<u16>>());
    let prefix = before.iter().zip(&after).take_while(|(a, b)| a == b).count();
    let rest = before.len().min(after.len()) - prefix;
    let suffix = before.iter().rev().zip(after.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
    let gone = &before[prefix..before.len() - suffix];
    let typed = String::from_utf16_lossy(&after[prefix..after.len() - suffix]);
    let at = prefix.min(now.len());
    let mut edits = Vec::new();
    if !gone.is_empty() && now.get(at..at + gone.len()) == Some(gone) {
        edits.push(Edit::TextDelete(field.clone(), at as u32, gone.len() as u32));
    }
    if !typed.is_empty() {
        edits.push(Edit::TextInsert(field.clone(), at as u32, typed));
    }
    edits
}
