//! Local edits: from wishes to a signed commit.

use std::sync::Arc;

use super::io::{CallId, EntityEdit, Reply};
use super::layout::{self, LogKey, TypeIx};
use super::log::Tip;
use super::remote::Arrived;
use super::{Landed, SyncEngine, Wanted};
use crate::crdt::{Edit, EntityState, EventAt};
use crate::error::{Error, ErrorCode, Result};
use crate::policy::SyncRole;
use crate::store::{Read, Rows, Table, WriteBatch};
use crate::types::limits::{MAX_BATCH_SIZE, MAX_COMMIT_BYTES, MAX_EVENT_BYTES};
use crate::types::{
    Commit, CommitHeader, EntityId, EntityType, Event, Hash, HybridTimestamp, InFull, SortedMap, StandsFor, events_hash,
};
use crate::wire::encode_block;

/// Writes that may wait for pages.
const MAX_PARKED: usize = 4_096;
/// Pages that one write or read asks for at once: they take up to 4 MiB while they are under way.
const PAGES_AT_ONCE: usize = 64;
/// Keystrokes in one event, and bytes that one puts in: such an event is far from every limit.
const MAX_KEYSTROKES: usize = 500;
const MAX_KEYSTROKE_BYTES: usize = 64;

/// A write that waits for its entities' pages, or for a job to end.
#[derive(Debug)]
pub struct Parked {
    pub call: CallId,
    pub entity_type: EntityType,
    pub changes: Vec<EntityEdit>,
    /// The ids, given when the call came.
    ids: Vec<EntityId>,
    /// The pages that it waits for.
    pub waits: Vec<PageKey>,
}

/// A page by type and first id.
pub type PageKey = (TypeIx, EntityId);

/// A commit to be made.
pub struct Draft {
    pub hlc: HybridTimestamp,
    pub stands_for: Option<StandsFor>,
    pub events: Vec<Event>,
}

impl SyncEngine {
    /// Takes a write; it happens in its turn, once what it touches is in memory.
    pub(super) fn park_write(&mut self, call: CallId, entity_type: EntityType, changes: Vec<EntityEdit>) {
        if let Err(error) = self.check_write(&entity_type, &changes) {
            return self.refuse(call, error);
        }
        let ty = self.type_ix(&entity_type);
        let mut ids = Vec::with_capacity(changes.len());
        for change in &changes {
            let id = change.id.unwrap_or_else(|| {
                // Ten random bytes: nobody has this one.
                let id = self.entropy.entity_id(self.now.wall);
                self.entities.know_absent((ty, id));
                id
            });
            ids.push(id);
        }
        self.local.push_back(Parked { call, entity_type, changes, ids, waits: Vec::new() });
    }

    fn check_write(&mut self, entity_type: &EntityType, changes: &[EntityEdit]) -> Result<()> {
        if self.local.len() >= MAX_PARKED {
            return Err(Error::new(ErrorCode::Quota, "too many writes wait at once; wait for their answers"));
        }
        if changes.is_empty() || changes.iter().any(|change| change.edits.is_empty()) {
            return Err(Error::invalid("a write that changes nothing"));
        }
        if changes.len() > MAX_BATCH_SIZE {
            return Err(Error::too_large(format!(
                "a batch of {} changes; {MAX_BATCH_SIZE} are the limit: split it",
                changes.len()
            )));
        }
        self.vault_at_need()?;
        self.audited_write(entity_type)
    }

    /// Whether this device may write this type.
    pub(super) fn may_write(&self, entity_type: &EntityType) -> Result<()> {
        let view = self.vault()?.membership.evaluate();
        match view.role(&self.me) {
            None => {
                Err(Error::new(ErrorCode::NotAuthorized, "this device is no member of its vault (any more, or yet)"))
            }
            Some(_) if view.may_write(entity_type.as_str(), &self.me) => Ok(()),
            Some(SyncRole::ReadOnly) => Err(Error::new(
                ErrorCode::PolicyDenied,
                format!("this device may not write `{entity_type}`: it may only read; an Admin can change its role"),
            )),
            Some(_) => Err(Error::new(
                ErrorCode::PolicyDenied,
                format!(
                    "this device may not write `{entity_type}`: the access list of that type does not admit its role \
                     and teams; an Admin can change the list"
                ),
            )),
        }
    }

    /// Carries out the writes at the head of the line whose entities are in memory.
    pub(super) fn local_writes(&mut self) {
        while self.job.is_none()
            && let Some(parked) = self.local.front()
            && !self.are_read(&parked.waits)
        {
            let Some(ty) = self.find_type(&parked.entity_type) else { return };
            let keys: Vec<_> = parked.ids.iter().map(|id| (ty, *id)).collect();
            let pages = self.entities.pages_for(&keys);
            if !pages.is_empty() {
                let waits = self.read_pages(pages);
                if let Some(parked) = self.local.front_mut() {
                    parked.waits = waits;
                }
                return;
            }
            let Some(parked) = self.local.pop_front() else { return };
            let call = parked.call;
            // It may have lost the right while the write waited.
            let allowed = self.audited_write(&parked.entity_type);
            if let Err(error) = allowed.and_then(|()| self.write_now(parked, ty)) {
                self.refuse(call, error);
            }
        }
    }

    /// Asks for the first of these pages, where they are not being read already, and gives those that are being read
    /// now: it is no use to look again before they have come.
    pub(super) fn read_pages(&mut self, mut pages: Vec<PageKey>) -> Vec<PageKey> {
        if self.checkpointing {
            return Vec::new(); // asked again when its pages are on disk
        }
        pages.retain(|(ty, _)| !self.is_rebuilt(*ty));
        pages.truncate(PAGES_AT_ONCE);
        for (ty, first) in &pages {
            if self.pages.insert((*ty, *first)) {
                self.read(Read::Get(Table::Pages, layout::page_row(*ty, first)), Wanted::Page(*ty, *first));
            }
        }
        pages
    }

    /// Whether one of these pages is still being read.
    pub(super) fn are_read(&self, pages: &[PageKey]) -> bool {
        pages.iter().any(|page| self.pages.contains(page))
    }

    pub(super) fn page_read(&mut self, ty: TypeIx, first: EntityId, rows: Rows) {
        self.pages.remove(&(ty, first));
        let page = rows.one().ok().flatten().map(|(_, page)| page);
        if page.is_none_or(|page| self.entities.load_page(ty, first, &page, &mut self.ids).is_err()) {
            self.rebuild_pages(ty);
        }
        self.resume_calls();
    }

    fn write_now(&mut self, parked: Parked, ty: TypeIx) -> Result<()> {
        let name = self.own_log(&parked.entity_type);
        let key = self.log_mut(&name).key;
        let hlc = self.hlc.tick(self.now);
        let seq = self.logs.get(&key).map_or(1, |log| log.tip.seq + 1);
        // What an edit sees of an entity that the same commit has changed before is in `scratch`.
        let mut scratch: SortedMap<EntityId, EntityState> = SortedMap::new();
        let mut events: Vec<Event> = Vec::with_capacity(parked.changes.len());
        let changes = events_of(parked.changes, &parked.ids);
        let counts: SortedMap<EntityId, usize> = changes.iter().fold(SortedMap::new(), |mut counts, (id, _)| {
            *counts.entry(*id).or_default() += 1;
            counts
        });
        for (id, edits) in changes {
            let at = EventAt { log: key.ix, seq, index: events.len() as u32, hlc, commit: 0, counts: true };
            let fresh = EntityState::default();
            let state = scratch.get(&id).or_else(|| self.entities.get(&(ty, id))).unwrap_or(&fresh);
            let edits = canonical(edits)?;
            let mut texts = self.texts.take((ty, id), name.id, &edits);
            let ops = state.prepare_in(&edits, &at, &self.ids, &mut texts)?;
            self.texts.keep((ty, id), name.id, &edits, texts);
            if ops.is_empty() {
                continue; // it says already what was wished
            }
            let seen = state.seen_for(key.ix, &self.ids);
            let event = Event { entity: id, seen, ops };
            if counts.get(&id).is_some_and(|count| *count > 1) {
                let held = self.entities.get(&(ty, id));
                let state = scratch.entry(id).or_insert_with(|| held.cloned().unwrap_or_default());
                state.apply(&event, &at, &mut self.ids);
            }
            events.push(event);
        }
        let reply = Reply::Written(parked.ids);
        if events.is_empty() {
            self.write(WriteBatch::default(), Landed { replies: vec![(parked.call, reply)], ..Landed::default() });
            return Ok(());
        }
        let mut arrived = Arrived::default();
        self.commit(key, vec![Draft { hlc, stands_for: None, events }], &mut arrived)?;
        arrived.landed.replies.push((parked.call, reply));
        self.finish_arrival(arrived);
        Ok(())
    }

    /// Makes, signs and appends commits of this device's log, as few blocks as they fit into.
    pub(super) fn commit(&mut self, key: LogKey, drafts: Vec<Draft>, arrived: &mut Arrived) -> Result<()> {
        let vault = self.vault()?;
        let vault_id = vault.membership.vault();
        let Some(log) = self.logs.get(&key) else { return Ok(()) };
        let before: Vec<Hash> = log.segments.last().map(|(_, heads)| heads.to_vec()).unwrap_or_default();
        let heads: Arc<[Hash]> = vault.membership.heads_for(&self.me, &before).into();
        let (mut tip, name) = (log.tip, log.name.clone());
        let mut commits = Vec::with_capacity(drafts.len());
        let mut buffer = Vec::new();
        for draft in drafts {
            check_size(&draft.events, &mut buffer)?;
            let header = CommitHeader {
                vault: vault_id,
                log: name.clone(),
                seq: tip.seq + 1,
                prev: tip.hash,
                hlc: draft.hlc,
                heads: heads.clone(),
                stands_for: draft.stands_for,
                events: events_hash(&draft.events, &mut buffer),
            };
            let hash = header.hash();
            tip = Tip { seq: header.seq, hash };
            commits.push(Commit {
                header,
                hash,
                events: draft.events,
                signature: Some(self.config.keypair.sign_commit(&hash)),
            });
        }
        for commit in commits {
            let block: Arc<[u8]> = encode_block(std::slice::from_ref(&commit))?.into();
            self.append_own(key, commit, block, arrived);
        }
        Ok(())
    }

    pub(super) fn append_own(&mut self, key: LogKey, commit: Commit, block: Arc<[u8]>, arrived: &mut Arrived) {
        let published = self.logs.get(&key).map_or(0, |log| log.published);
        let epoch = self.epoch;
        // `append` takes a commit of our own for one that came from outside, and would renew the epoch.
        self.epoch.0 = !epoch.0;
        self.append(key, vec![commit], block, arrived);
        self.epoch = epoch;
        if let Some(log) = self.logs.get_mut(&key) {
            log.published = published;
        }
    }

    /// Pages cannot be read: they are built again from the blocks.
    pub(super) fn rebuild_pages(&mut self, ty: TypeIx) {
        if self.is_rebuilt(ty) {
            return;
        }
        let mut stale = super::refold::Stale::default();
        stale.add_all(ty);
        self.start_refold(stale);
    }
}

/// What each event of a write is to do. Keystrokes in one entity that follow each other are one event: a commit counts
/// as a whole, and finding a place in a text takes long.
fn events_of(changes: Vec<EntityEdit>, ids: &[EntityId]) -> Vec<(EntityId, Vec<Edit>)> {
    let mut events: Vec<(EntityId, Vec<Edit>)> = Vec::with_capacity(changes.len());
    for (change, id) in changes.into_iter().zip(ids) {
        match events.last_mut() {
            Some((last, edits))
                if last == id
                    && edits.len() + change.edits.len() <= MAX_KEYSTROKES
                    && edits.iter().chain(&change.edits).all(is_keystroke) =>
            {
                edits.extend(change.edits);
            }
            _ => events.push((*id, change.edits)),
        }
    }
    events
}

fn is_keystroke(edit: &Edit) -> bool {
    match edit {
        Edit::TextInsert(_, _, text) => text.len() <= MAX_KEYSTROKE_BYTES,
        Edit::TextDelete(..) => true,
        _ => false,
    }
}

fn canonical(edits: Vec<Edit>) -> Result<Vec<Edit>> {
    edits
        .into_iter()
        .map(|edit| {
            Ok(match edit {
                Edit::Set(field, value) => Edit::Set(field, value.canonical()?),
                Edit::Insert(field, item) => Edit::Insert(field, item.canonical()?),
                Edit::Remove(field, item) => Edit::Remove(field, item.canonical()?),
                Edit::TextMark(field, at, length, key, value) => {
                    Edit::TextMark(field, at, length, key, value.canonical()?)
                }
                other => other,
            })
        })
        .collect()
}

/// Events and commits have limits; over them nothing is written.
pub(crate) fn check_size(events: &[Event], buffer: &mut Vec<u8>) -> Result<()> {
    buffer.clear();
    let mut start = 0;
    for event in events {
        event.encode(buffer, &mut InFull);
        let size = buffer.len() - start;
        if size > MAX_EVENT_BYTES {
            return Err(Error::too_large(format!(
                "a change of {} takes {size} bytes; {MAX_EVENT_BYTES} are the limit",
                event.entity
            )));
        }
        start = buffer.len();
    }
    if buffer.len() > MAX_COMMIT_BYTES {
        return Err(Error::too_large(format!(
            "a batch of {} bytes; {MAX_COMMIT_BYTES} are the limit: split it",
            buffer.len()
        )));
    }
    Ok(())
}
