//! Making commits again, in the device's new epoch: those of branches that count no more, those behind a hole in its own
//! log, and those beyond a cut where the user wants that. Each copy names the commit that it stands for, and counts only
//! while that one does not.

use super::SyncEngine;
use super::io::{Reply, SyncEvent};
use super::layout::{self, LogKey, TypeIx};
use super::local::Draft;
use super::remote::Arrived;
use crate::crdt::{Changed, Edit, EntityState, EventAt, FieldValue, LogTable, text_client_id, typed_in};
use crate::error::{Error, Result};
use crate::policy::Refusal;
use crate::store::{Table, WriteBatch};
use crate::types::codec::{Reader, put_bytes, put_varint};
use crate::types::{
    Commit, Dot, EntityId, EntityType, Event, FieldKind, FieldName, FieldOp, Hash, LogId, Seen, SortedMap, SortedSet,
    StandsFor,
};
use crate::wire::*;

/// Blocks of commits, and the logs that they are of.
pub(super) type Blocks = Vec<(LogKey, Vec<u8>)>;

impl SyncEngine {
    /// Takes what another device holds of a branch of this device's own log.
    pub(super) fn take_branch(&mut self, key: LogKey, block: &[u8], fork: u64, arrived: &mut Arrived) -> Result<()> {
        let vault = self.vault()?.membership.vault();
        let commits = decode_block(block, vault)?;
        verify_block(&commits)?;
        let made = self.made_again();
        let wanted = |commit: &Commit| commit.header.seq > fork && !made.contains(&(key.ty, stands_for(commit)));
        if commits.iter().any(wanted) && !self.again.iter().any(|(_, held)| held == block) {
            self.make_again_later(key, vec![cut_suffix(block, vault, fork)?], &mut arrived.batch);
        }
        Ok(())
    }

    /// Keeps blocks whose commits are to be made again, until they are.
    pub(super) fn make_again_later(&mut self, key: LogKey, blocks: Vec<Vec<u8>>, batch: &mut WriteBatch) {
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

    /// Makes again, in the new epoch, the commits of branches that count no more, and those that a call wants written
    /// again. What this device may not write (any more, or yet) is kept until it may.
    pub(super) fn make_again(&mut self) {
        for (name, block) in std::mem::take(&mut self.again_unnamed) {
            let key = self.log_mut(&name).key;
            self.again.push((key, block));
        }
        for (call, blocks) in std::mem::take(&mut self.rewrites) {
            match blocks.iter().try_for_each(|(key, _)| self.may_write_to(*key)) {
                Ok(()) => self.rewrites.push((call, blocks)),
                Err(error) => self.refuse(call, error),
            }
        }
        let rewrites = self.rewrites.iter().flat_map(|(_, blocks)| blocks);
        let branches = self.again.iter().filter(|(key, _)| self.may_write_to(*key).is_ok());
        let ready: Vec<(LogKey, &[u8])> = branches.chain(rewrites).map(|(key, block)| (*key, &block[..])).collect();
        if ready.is_empty() {
            return;
        }
        // What they touch must be in memory.
        let Some(vault) = self.vault.as_ref().map(|vault| vault.membership.vault()) else { return };
        let mut seen = self.made_again();
        let mut commits: Vec<(LogKey, Commit)> = Vec::new();
        for (key, block) in ready {
            for commit in decode_block(block, vault).unwrap_or_default() {
                if seen.insert((key.ty, stands_for(&commit))) {
                    commits.push((key, commit));
                }
            }
        }
        let touched: SortedSet<_> =
            commits.iter().flat_map(|(key, commit)| commit.events.iter().map(|event| (key.ty, event.entity))).collect();
        let pages = self.entities.pages_for(&touched);
        if !pages.is_empty() {
            self.read_pages(pages);
            return;
        }
        let mut arrived = Arrived::default();
        let waiting = self.again.iter().filter(|(key, _)| self.may_write_to(*key).is_err()).cloned().collect();
        self.again = waiting;
        match self.again.is_empty() {
            true => arrived.batch.delete(Table::Meta, layout::meta::REMAKE),
            false => arrived.batch.put(Table::Meta, layout::meta::REMAKE, self.encode_again()),
        }
        let count = commits.len() as u64;
        let mut again = Again::default();
        let calls = std::mem::take(&mut self.rewrites);
        arrived.landed.replies.extend(calls.into_iter().map(|(call, _)| (call, Reply::Done)));
        for (key, commit) in commits {
            if let Err(error) = self.make_one_again(key, commit, &mut again, &mut arrived) {
                let me = self.me;
                let message = format!("a commit of a branch could not be made again: {}", error.message());
                self.complain(me, &Error::new(error.code(), message));
            }
        }
        arrived.landed.events.push(SyncEvent::EpochRenewed { commits: count });
        self.finish_arrival(arrived);
    }

    fn may_write_to(&self, log: LogKey) -> Result<()> {
        self.type_name(log.ty).map_or(Ok(()), |name| self.may_write(name))
    }

    /// Commits of own branches (those that touch an entity, where one is named) that wait until this device may write
    /// their type, by type.
    pub(super) fn wait_for_a_role(&self, id: Option<EntityId>) -> SortedMap<TypeIx, u64> {
        let mut waiting = SortedMap::new();
        let Some(vault) = self.vault.as_ref().map(|vault| vault.membership.vault()) else { return waiting };
        for (key, block) in self.again.iter().filter(|(key, _)| self.may_write_to(*key).is_err()) {
            let commits = decode_block(block, vault).unwrap_or_default();
            let touches = |commit: &&Commit| id.is_none_or(|id| commit.events.iter().any(|event| event.entity == id));
            let count = commits.iter().filter(touches).count() as u64;
            if count > 0 {
                *waiting.entry(key.ty).or_default() += count;
            }
        }
        waiting
    }

    /// What this device's copies stand for, by type; those beyond a fork or a cut, or made without the right to, are to be
    /// made again themselves.
    fn made_again(&self) -> SortedSet<(TypeIx, StandsFor)> {
        let own = self.logs.values().filter(|log| log.name.id.author == self.me);
        own.flat_map(|log| {
            let lost = move |seq| {
                let why = log.validity.refusal(seq);
                log.beyond_fork(seq)
                    || matches!(why, Some(Refusal::BeyondCut | Refusal::MayNotWrite | Refusal::NotMember))
            };
            let copies = log.copies.iter().filter(move |copy| !lost(copy.seq));
            copies.map(|copy| (log.key.ty, copy.of))
        })
        .collect()
    }

    fn make_one_again(&mut self, old: LogKey, commit: Commit, again: &mut Again, arrived: &mut Arrived) -> Result<()> {
        let (hlc, entity_type, old_id) =
            (commit.header.hlc, commit.header.log.entity_type.clone(), commit.header.log.id);
        let name = self.own_log(&entity_type);
        let key = self.log_mut(&name).key;
        let seq = self.logs.get(&key).map_or(1, |log| log.tip.seq + 1);
        let branch = again.branch_of(&commit);
        // An entity as it is now, with what this copy has changed of it so far.
        let mut now: SortedMap<EntityId, EntityState> = SortedMap::new();
        let mut events = Vec::with_capacity(commit.events.len());
        for (index, event) in (0..).zip(&commit.events) {
            let at = EventAt { log: key.ix, seq, index: events.len() as u32, hlc, commit: 0, counts: true };
            let mut state = now
                .remove(&event.entity)
                .or_else(|| self.entities.get(&(key.ty, event.entity)).cloned())
                .unwrap_or_default();
            // What the branch showed before and after this event.
            let before = again.states.remove(&(branch, event.entity)).unwrap_or_else(|| state.clone());
            let mut after = before.clone();
            let place = EventAt { log: old.ix, seq: commit.header.seq, index, commit: commit.hash.short(), ..at };
            if after.apply(event, &place, &mut self.ids) == Changed::Nothing {
                after.let_texts_count(&place); // beyond a cut it is held, and void
            }
            let mut seen = event.seen.clone();
            if state.last_seq(key.ix) == 0 {
                merge_seen(&mut seen, before.named_before(&place, &self.ids));
            }
            seen.retain(|(log, _)| *log != name.id);
            let mut ops = Vec::with_capacity(event.ops.len());
            let mut texts: SortedMap<&FieldName, String> = SortedMap::new();
            for op in &event.ops {
                match op {
                    // Dots of the branch are those of the copies now.
                    FieldOp::Remove { field, item, dots } => {
                        let (field, item) = (field.clone(), item.clone());
                        ops.push(FieldOp::Remove { field, item, dots: again.dots_of(dots) });
                    }
                    FieldOp::ClearSet { field, dots } => {
                        ops.push(FieldOp::ClearSet { field: field.clone(), dots: again.dots_of(dots) });
                    }
                    FieldOp::ClearCounter { field, .. } => {
                        let edits = [Edit::Clear(field.clone())];
                        ops.extend(prepare_hidden(&state, &edits, &at, &self.ids, name.id)?);
                    }
                    // An update belongs to the epoch that made it: its text is typed afresh, once a field.
                    FieldOp::Text { field, update } => texts.entry(field).or_default().push_str(&typed_in(update)),
                    other => ops.push(other.clone()),
                }
            }
            if !texts.is_empty() {
                // The branch is read as its author saw it.
                let forked = self.ids.is_forked(old.ix);
                self.ids.set_forked(old.ix, false);
                let shown: Vec<[String; 2]> = texts
                    .keys()
                    .map(|field| [&before, &after].map(|state| text_of(state, &entity_type, field, &self.ids)))
                    .collect();
                self.ids.set_forked(old.ix, forked);
                for ((field, typed), [before, after]) in texts.into_iter().zip(shown) {
                    let now = text_of(&state, &entity_type, field, &self.ids);
                    let edits = type_again(field, &before, &after, &now, &typed);
                    ops.extend(prepare_hidden(&state, &edits, &at, &self.ids, name.id)?);
                }
            }
            again.states.insert((branch, event.entity), after);
            if !ops.is_empty() {
                let dot = Dot { log: old_id, seq: commit.header.seq, index };
                again.dots.insert(dot, Dot { log: name.id, seq, index: at.index });
                let event = Event { entity: event.entity, seen, ops };
                state.apply(&event, &at, &mut self.ids);
                events.push(event);
            }
            now.insert(event.entity, state);
        }
        if events.is_empty() {
            return Ok(());
        }
        let draft = Draft { hlc, stands_for: Some(stands_for(&commit)), events };
        self.commit(key, vec![draft], arrived)
    }
}

/// The commit that a copy of this one names: itself, or what it is a copy of.
pub(super) fn stands_for(commit: &Commit) -> StandsFor {
    let header = &commit.header;
    header.stands_for.unwrap_or(StandsFor { epoch: header.log.id.epoch, seq: header.seq, hash: commit.hash })
}

fn text_of(state: &EntityState, entity_type: &EntityType, field: &FieldName, logs: &LogTable) -> String {
    let view = state.view(entity_type.clone(), EntityId([0; 16]), logs);
    match view.field_of(field.as_str(), FieldKind::Text) {
        Some(FieldValue::Text(text, _)) => text.clone(),
        _ => String::new(),
    }
}

/// What is remembered while commits are made again.
#[derive(Default)]
struct Again {
    /// Several branches have the same numbers: their last commits so far.
    tips: SortedMap<Hash, usize>,
    branches: usize,
    states: SortedMap<(usize, EntityId), EntityState>,
    dots: SortedMap<Dot, Dot>,
}

impl Again {
    fn branch_of(&mut self, commit: &Commit) -> usize {
        let branch = self.tips.remove(&commit.header.prev).unwrap_or_else(|| {
            self.branches += 1;
            self.branches
        });
        self.tips.insert(commit.hash, branch);
        branch
    }

    fn dots_of(&self, dots: &[Dot]) -> Vec<Dot> {
        let mut dots: Vec<Dot> = dots.iter().map(|dot| self.dots.get(dot).copied().unwrap_or(*dot)).collect();
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
/// the same place or at the end, what was deleted is deleted where it still stands. Where the branch does not show what
/// was `typed`, for what it follows is missing, it is typed at the end.
fn type_again(field: &FieldName, before: &str, after: &str, now: &str, typed: &str) -> Vec<Edit> {
    let [before, after, now] = [before, after, now].map(|text| text.chars().collect::<Vec<char>>());
    let units = |text: &[char]| text.iter().map(|one| one.len_utf16() as u32).sum::<u32>();
    let prefix = before.iter().zip(&after).take_while(|(a, b)| a == b).count();
    let rest = before.len().min(after.len()) - prefix;
    let suffix = before.iter().rev().zip(after.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
    let gone = &before[prefix..before.len() - suffix];
    let new = &after[prefix..after.len() - suffix];
    let at = prefix.min(now.len());
    let mut edits = Vec::new();
    if !gone.is_empty() && now.get(at..at + gone.len()) == Some(gone) {
        edits.push(Edit::TextDelete(field.clone(), units(&now[..at]), units(gone)));
    }
    if !new.is_empty() {
        edits.push(Edit::TextInsert(field.clone(), units(&now[..at]), new.iter().collect()));
    } else if gone.is_empty() && !typed.is_empty() {
        edits.push(Edit::TextInsert(field.clone(), units(&now), typed.to_owned()));
    }
    edits
}
