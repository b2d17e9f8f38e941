//! Folding entities again from their blocks, when what counts has changed, or their pages are damaged.
//!
//! What is stale is stored in one batch with the cause, so that an interrupted refold is finished at the next opening.

use std::ops::Range;

use super::layout::{self, LogKey, TypeIx};
use super::remote::event_at;
use super::{Job, Landed, SyncEngine, Wanted};
use crate::crdt::{EntityState, EventAt, LogIx};
use crate::error::{Error, Result};
use crate::store::{Read, Rows, Table, WriteBatch};
use crate::types::codec::{Reader, put_varint};
use crate::types::{EntityId, Event, SortedMap, SortedSet};
use crate::wire::decode_block;

/// Bytes of blocks read at once.
const CHUNK: usize = 1 << 20;

/// What has to be folded again: of a type all, or the entities that some ranges of commits touch.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Stale {
    all: SortedSet<TypeIx>,
    ranges: Vec<(LogKey, u64, u64)>,
    ids: SortedSet<(TypeIx, EntityId)>,
}

impl Stale {
    /// These entities.
    pub fn add_ids(&mut self, ty: TypeIx, ids: impl IntoIterator<Item = EntityId>) {
        self.ids.extend(ids.into_iter().map(|id| (ty, id)));
    }

    /// The whole type.
    pub fn add_all(&mut self, ty: TypeIx) {
        self.all.insert(ty);
    }

    /// Whatever these commits touch.
    pub fn add(&mut self, key: LogKey, range: Range<u64>) {
        if !self.ranges.contains(&(key, range.start, range.end)) {
            self.ranges.push((key, range.start, range.end));
        }
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty() && self.ranges.is_empty() && self.ids.is_empty()
    }

    pub fn append(&mut self, mut other: Stale) {
        self.all.append(&mut other.all);
        self.ids.append(&mut other.ids);
        for (key, from, to) in other.ranges {
            self.add(key, from..to);
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, self.all.len() as u64);
        self.all.iter().for_each(|ty| put_varint(&mut out, u64::from(ty.0)));
        put_varint(&mut out, self.ranges.len() as u64);
        for (key, from, to) in &self.ranges {
            for number in [u64::from(key.ty.0), u64::from(key.ix.0), *from, *to] {
                put_varint(&mut out, number);
            }
        }
        put_varint(&mut out, self.ids.len() as u64);
        for (ty, id) in &self.ids {
            put_varint(&mut out, u64::from(ty.0));
            out.extend_from_slice(&id.0);
        }
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let mut stale = Stale::default();
        let number = |reader: &mut Reader<'_>| Ok::<u32, Error>(reader.bounded(u32::MAX as usize, "a number")? as u32);
        for _ in 0..reader.count(usize::MAX, "types")? {
            stale.all.insert(TypeIx(number(&mut reader)?));
        }
        for _ in 0..reader.count(usize::MAX, "ranges")? {
            let key = LogKey { ty: TypeIx(number(&mut reader)?), ix: LogIx(number(&mut reader)?) };
            stale.ranges.push((key, reader.varint()?, reader.varint()?));
        }
        for _ in 0..reader.count(usize::MAX, "entities")? {
            stale.ids.insert((TypeIx(number(&mut reader)?), EntityId(reader.array()?)));
        }
        reader.finish()?;
        Ok(stale)
    }
}

/// A refold under way.
#[derive(Debug)]
pub struct Refold {
    /// All that it is for: a refold that has to start again starts with this.
    stale: Stale,
    started: bool,
    /// The ranges that the first pass has not looked through yet.
    unread: Vec<(LogKey, u64, u64)>,
    /// The first pass finds the entities, the second folds them.
    ids: SortedMap<TypeIx, SortedSet<EntityId>>,
    finding: bool,
    ty: Option<TypeIx>,
    states: SortedMap<EntityId, EntityState>,
    done: SortedMap<TypeIx, SortedMap<EntityId, EntityState>>,
    next: Vec<u8>,
}

impl SyncEngine {
    /// Starts a refold, or adds to the one under way.
    pub(super) fn start_refold(&mut self, stale: Stale) {
        let mut refold = match self.job.take() {
            Some(Job::Refold(running)) => Refold::new(running.stale),
            Some(other @ (Job::Divergence(_) | Job::Mending(_))) => {
                // The stale row is on disk; it is taken up after what runs now.
                self.job = Some(other);
                self.refold_next.append(stale);
                return;
            }
            // A checkpoint that was cut off is due again.
            Some(Job::Checkpoint(_)) | None => Refold::new(Stale::default()),
        };
        refold.stale.append(stale);
        refold.stale.append(std::mem::take(&mut self.refold_next));
        let Stale { all, ranges, .. } = &refold.stale;
        refold.unread = ranges.iter().filter(|(key, ..)| !all.contains(&key.ty)).copied().collect();
        self.reads.retain(|_, wanted| !matches!(wanted, Wanted::Refold | Wanted::Checkpoint(..)));
        self.job = Some(Job::Refold(refold));
    }

    /// Whether all pages of a type are being built again: until that is on disk, reading them tells nothing.
    pub(super) fn is_rebuilt(&self, ty: TypeIx) -> bool {
        let running = matches!(&self.job, Some(Job::Refold(refold)) if refold.stale.all.contains(&ty));
        running || self.refold_next.all.contains(&ty)
    }

    /// Starts reading once everything is on disk: readers see the last committed state.
    pub(super) fn refold_start(&mut self) {
        let Some(Job::Refold(refold)) = &mut self.job else { return };
        if !refold.started && self.writes.is_empty() {
            refold.started = true;
            self.refold_read();
        }
    }

    /// Asks for the next blocks, or ends the pass.
    fn refold_read(&mut self) {
        let Some(Job::Refold(refold)) = &mut self.job else { return };
        let read = |from: Vec<u8>, to: Vec<u8>| Read::Range {
            table: Table::Blocks,
            from,
            to,
            max_rows: usize::MAX,
            max_bytes: CHUNK,
        };
        if refold.finding {
            let Some((key, from, to)) = refold.unread.last().copied() else { return self.refold_types() };
            // The block that holds `from` may start before it: whole logs are small beside being sure.
            let start = if refold.next.is_empty() {
                layout::block_row(key, from.saturating_sub(1_000))
            } else {
                refold.next.clone()
            };
            let read = read(start, layout::block_row(key, to));
            return self.read(read, Wanted::Refold);
        }
        let Some(ty) = refold.ty else { return };
        let start = if refold.next.is_empty() { layout::type_prefix(ty) } else { refold.next.clone() };
        let read = read(start, layout::after_prefix(&layout::type_prefix(ty)));
        self.read(read, Wanted::Refold);
    }

    pub(super) fn refold_rows(&mut self, rows: Rows) {
        let last = rows.last_key().map(<[u8]>::to_vec);
        let Some(vault) = self.vault.as_ref().map(|vault| vault.membership.vault()) else { return };
        let Some(Job::Refold(refold)) = &mut self.job else { return };
        let mut damaged: Vec<(LogKey, u64)> =
            rows.damaged.iter().filter_map(|row| layout::read_block_row(row).ok()).collect();
        for (row, block) in &rows.rows {
            let Ok((key, first)) = layout::read_block_row(row) else { continue };
            if damaged.iter().any(|(of, from)| *of == key && *from <= first) {
                continue;
            }
            let Ok(commits) = decode_block(block, vault) else {
                damaged.push((key, first));
                continue;
            };
            let Some(log) = self.logs.get(&key) else { continue };
            for commit in commits.iter().filter(|commit| commit.header.seq <= log.tip.seq) {
                let seq = commit.header.seq;
                if refold.finding {
                    if refold.stale.ranges.iter().any(|(of, from, to)| *of == key && (*from..*to).contains(&seq)) {
                        refold.ids.entry(key.ty).or_default().extend(commit.events.iter().map(|event| event.entity));
                    }
                } else if !log.beyond_fork(seq) {
                    refold.fold(&commit.events, event_at(log, commit), &mut self.ids);
                }
            }
        }
        let ended = last.is_none();
        if let Some(mut key) = last {
            key.push(0);
            refold.next = key;
        } else {
            refold.next.clear();
            if refold.finding {
                refold.unread.pop();
            }
        }
        if ended && !refold.finding {
            self.refold_types();
        } else {
            self.refold_read();
        }
        for (key, seq) in damaged {
            self.damaged_block(key, seq);
        }
    }

    /// Goes on to the next type, or ends.
    fn refold_types(&mut self) {
        let Some(Job::Refold(refold)) = &mut self.job else { return };
        if refold.finding {
            refold.finding = false;
            for (ty, id) in &refold.stale.ids {
                refold.ids.entry(*ty).or_default().insert(*id);
            }
            for ty in &refold.stale.all {
                refold.ids.insert(*ty, SortedSet::new());
            }
        } else if let Some(ty) = refold.ty.take() {
            // An entity of which nothing is left is empty, and not as it was.
            for id in refold.ids.remove(&ty).unwrap_or_default() {
                refold.states.entry(id).or_default();
            }
            refold.done.insert(ty, std::mem::take(&mut refold.states));
        }
        refold.next.clear();
        if let Some(ty) = refold.ids.keys().next().copied() {
            refold.ty = Some(ty);
            return self.refold_read();
        }
        let Some(Job::Refold(refold)) = self.job.take() else { return };
        let mut refolded = Vec::new();
        for (ty, states) in refold.done {
            if refold.stale.all.contains(&ty) {
                self.entities.forget(ty);
            }
            refolded.extend(states.keys().copied());
            self.entities.replace(ty, states);
        }
        // The states are dirty now; the row of what is stale goes with the checkpoint that saves them.
        self.refolded = true;
        self.write(WriteBatch::default(), Landed { refolded, ..Landed::default() });
        self.start_checkpoint();
    }
}

impl Refold {
    fn new(stale: Stale) -> Self {
        Self {
            stale,
            started: false,
            unread: Vec::new(),
            ids: SortedMap::new(),
            finding: true,
            ty: None,
            states: SortedMap::new(),
            done: SortedMap::new(),
            next: Vec::new(),
        }
    }

    fn fold(&mut self, events: &[Event], at: EventAt, ids: &mut crate::crdt::LogTable) {
        let all = self.ty.is_some_and(|ty| self.stale.all.contains(&ty));
        let wanted = self.ty.and_then(|ty| self.ids.get(&ty));
        for (index, event) in (0..).zip(events) {
            if all || wanted.is_some_and(|wanted| wanted.contains(&event.entity)) {
                self.states.entry(event.entity).or_default().apply(event, &EventAt { index, ..at }, ids);
            }
        }
    }
}
