//! Entity state in memory: what is dirty since the last checkpoint, and a bounded cache of the rest.
//!
//! State is a cache of the blocks (ARCHITECTURE.md). An event for an entity whose page is not in memory waits in line
//! until the page is read, by a reader or by the next checkpoint: applying a block reads nothing.

use foldhash::quality::FixedState;
use hashbrown::HashMap;

use super::layout::TypeIx;
use crate::crdt::{EntityState, EventAt, LogTable, decode_state, join_page, split_page};
use crate::error::Result;
use crate::types::{Dot, EntityId, Event, FieldOp, LogId, SortedMap, SortedSet};

/// An entity by type and id.
pub type Key = (TypeIx, EntityId);

/// A page splits when it has more entities.
const PAGE_ENTITIES: usize = 128;
/// A page splits when it has more bytes, so far as its entities allow.
const PAGE_BYTES: usize = 64 << 10;
/// How many entities a page has after a split.
pub const PAGE_FILL: usize = 64;

/// A state in memory, and whether it differs from the page on disk.
#[derive(Default, Debug)]
struct Loaded {
    state: EntityState,
    dirty: bool,
    /// While it is clean, its share of `clean_bytes`.
    bytes: u32,
}

/// What an entity takes in memory beside its fields, roughly.
const ENTITY_BYTES: usize = 256;
/// What an operation takes beside its value, roughly.
const OP_BYTES: usize = 64;

/// What a state takes with its place in the map.
fn memory_bytes(state: &EntityState) -> u32 {
    u32::try_from(state.memory_bytes() + size_of::<(Key, Loaded)>() - size_of::<EntityState>()).unwrap_or(u32::MAX)
}

/// Bytes that an event adds to its entity's state, or takes while it waits, roughly.
fn weight(event: &Event) -> usize {
    let seen = event.seen.len() * size_of::<(LogId, u64)>();
    let ops = event.ops.iter().map(|op| {
        OP_BYTES
            + match op {
                FieldOp::Set { value, .. } | FieldOp::Insert { item: value, .. } => value.memory_bytes(),
                FieldOp::Text { update: bytes, .. } | FieldOp::Opaque { bytes, .. } => bytes.len(),
                FieldOp::Remove { dots, .. } | FieldOp::ClearSet { dots, .. } => dots.len() * size_of::<Dot>(),
                FieldOp::ClearCounter { sums, .. } => sums.len() * size_of::<(Dot, i64)>(),
                FieldOp::Create | FieldOp::Delete | FieldOp::Clear { .. } | FieldOp::Add { .. } => 0,
            }
    });
    ops.sum::<usize>() + seen
}

/// An event whose entity's page has not been read.
type Waiting = (Event, EventAt);

/// All entity state that is in memory, and where the rest is.
/// The map is keyed from the engine's seed: a peer cannot choose ids that collide, and a simulation can be repeated.
#[derive(Debug)]
pub struct Entities {
    loaded: HashMap<Key, Loaded, FixedState>,
    waiting: SortedMap<Key, Vec<Waiting>>,
    /// Entities that somebody waits for: what their page does not have is nowhere.
    wanted: SortedSet<Key>,
    /// Of each type, the first ids of its pages, ascending.
    pages: SortedMap<TypeIx, Vec<EntityId>>,
    clean_bytes: usize,
    /// Events applied or waiting since the last checkpoint.
    pub dirty_events: u64,
    /// What events have added to states and to lines since then, in bytes, roughly. What a state had before was within
    /// the bound of the clean ones.
    pub dirty_bytes: usize,
}

impl Entities {
    /// Nothing in memory and nothing on disk.
    pub fn new(seed: u64) -> Self {
        Self {
            loaded: HashMap::with_hasher(FixedState::with_seed(seed)),
            waiting: SortedMap::new(),
            wanted: SortedSet::new(),
            pages: SortedMap::new(),
            clean_bytes: 0,
            dirty_events: 0,
            dirty_bytes: 0,
        }
    }

    /// Takes the page directory of a type from the store.
    pub fn set_directory(&mut self, ty: TypeIx, firsts: Vec<EntityId>) {
        self.pages.insert(ty, firsts);
    }

    /// The page directory of a type.
    pub fn directory(&self, ty: TypeIx) -> &[EntityId] {
        self.pages.get(&ty).map_or(&[], Vec::as_slice)
    }

    /// The first id of the page that an entity lives on, if the type has one that reaches so far down.
    pub fn page_of(&self, (ty, id): &Key) -> Option<EntityId> {
        let firsts = self.pages.get(ty)?;
        let after = firsts.partition_point(|first| first <= id);
        firsts.get(after.checked_sub(1)?).copied()
    }

    /// Where the page that starts at `first` ends: the first id of the next page.
    fn page_end(&self, ty: TypeIx, first: &EntityId) -> Option<EntityId> {
        let firsts = self.directory(ty);
        firsts.get(firsts.partition_point(|known| known <= first)).copied()
    }

    /// Whether an entity's state is in memory, or known to be nowhere else.
    pub fn is_loaded(&self, key: &Key) -> bool {
        self.loaded.contains_key(key) || (!self.waiting.contains_key(key) && self.page_of(key).is_none())
    }

    /// An entity's state, if it is loaded; `None` also where there is no such entity.
    pub fn get(&self, key: &Key) -> Option<&EntityState> {
        self.loaded.get(key).map(|loaded| &loaded.state)
    }

    /// Says that an entity is nowhere in the store: one that was just made up.
    pub fn know_absent(&mut self, key: Key) {
        if !self.loaded.contains_key(&key) {
            self.put_clean(key, EntityState::default());
        }
    }

    fn put_clean(&mut self, key: Key, state: EntityState) {
        let bytes = memory_bytes(&state);
        self.clean_bytes += bytes as usize;
        self.loaded.insert(key, Loaded { state, dirty: false, bytes });
    }

    /// Applies the events of one commit, or lets them wait for their pages.
    pub fn apply(&mut self, ty: TypeIx, events: Vec<Event>, at: EventAt, logs: &mut LogTable) {
        self.dirty_events += events.len() as u64;
        for (index, event) in (0..).zip(events) {
            let at = EventAt { index, ..at };
            let key = (ty, event.entity);
            self.dirty_bytes += weight(&event);
            if let Some(loaded) = self.loaded.get_mut(&key) {
                loaded.state.apply(&event, &at, logs);
                if !std::mem::replace(&mut loaded.dirty, true) {
                    self.clean_bytes = self.clean_bytes.saturating_sub(loaded.bytes as usize);
                    self.dirty_bytes += ENTITY_BYTES;
                }
            } else if self.page_of(&key).is_some() {
                self.dirty_bytes += size_of::<Waiting>();
                self.waiting.entry(key).or_default().push((event, at));
            } else {
                self.dirty_bytes += ENTITY_BYTES;
                let loaded = self.loaded.entry(key).or_default();
                loaded.state.apply(&event, &at, logs);
                loaded.dirty = true;
            }
        }
    }

    /// Takes from a page what somebody waits for: entities that are sought, and those that events wait for. Its other
    /// states are not even decoded. Fails where the page is no page.
    pub fn load_page(&mut self, ty: TypeIx, first: EntityId, page: &[u8], logs: &mut LogTable) -> Result<()> {
        let page = split_page(page)?;
        let state_of = |id: &EntityId| match page.binary_search_by_key(id, |(id, _)| *id) {
            Ok(found) => Ok(page.get(found).map(|(_, state)| decode_state(state)).transpose()?.unwrap_or_default()),
            Err(_) => Ok(EntityState::default()),
        };
        for (id, events) in self.take_waiting(ty, &first) {
            self.put_applied(ty, id, state_of(&id)?, events, logs);
        }
        for key in self.take_sought(ty, &first) {
            if !self.loaded.contains_key(&key) {
                self.put_clean(key, state_of(&key.1)?);
            }
        }
        Ok(())
    }

    /// The entities of a page that somebody waits for.
    fn take_sought(&mut self, ty: TypeIx, first: &EntityId) -> SortedSet<Key> {
        let mut sought = self.wanted.split_off(&(ty, *first));
        if let Some(end) = self.page_end(ty, first) {
            self.wanted.append(&mut sought.split_off(&(ty, end)));
        } else {
            self.wanted.append(&mut sought.split_off(&(TypeIx(ty.0.saturating_add(1)), EntityId([0; 16]))));
        }
        sought
    }

    /// The events that wait for a page.
    fn take_waiting(&mut self, ty: TypeIx, first: &EntityId) -> Vec<(EntityId, Vec<Waiting>)> {
        let mut waiting = self.waiting.split_off(&(ty, *first));
        let end = self.page_end(ty, first).map_or((TypeIx(ty.0.saturating_add(1)), EntityId([0; 16])), |id| (ty, id));
        self.waiting.append(&mut waiting.split_off(&end));
        waiting.into_iter().map(|((_, id), events)| (id, events)).collect()
    }

    fn put_applied(
        &mut self,
        ty: TypeIx,
        id: EntityId,
        mut state: EntityState,
        events: Vec<Waiting>,
        logs: &mut LogTable,
    ) {
        for (event, at) in events {
            state.apply(&event, &at, logs);
        }
        self.loaded.insert((ty, id), Loaded { state, dirty: true, bytes: 0 });
    }

    /// Forgets all states of a type, and its pages: they are put anew.
    pub fn forget(&mut self, ty: TypeIx) {
        self.loaded.retain(|(of, _), _| *of != ty);
        self.waiting.retain(|(of, _), _| *of != ty);
        self.pages.remove(&ty);
    }

    /// Replaces states that were folded again from their blocks.
    pub fn replace(&mut self, ty: TypeIx, states: impl IntoIterator<Item = (EntityId, EntityState)>) {
        for (id, state) in states {
            self.waiting.remove(&(ty, id));
            self.loaded.insert((ty, id), Loaded { state, dirty: true, bytes: 0 });
        }
    }

    /// The loaded entities of a type, in no order, for readers that lay them over the pages.
    pub fn in_memory(&self, ty: TypeIx) -> impl Iterator<Item = (&EntityId, &EntityState)> {
        self.loaded.iter().filter(move |((of, _), _)| *of == ty).map(|((_, id), loaded)| (id, &loaded.state))
    }

    /// The pages that must be read before `keys` are all loaded; those that a page turns out not to have count as
    /// loaded then.
    pub fn pages_for<'a>(&mut self, keys: impl IntoIterator<Item = &'a Key>) -> Vec<(TypeIx, EntityId)> {
        let unread: Vec<Key> = keys.into_iter().filter(|key| !self.is_loaded(key)).copied().collect();
        self.wanted.extend(unread.iter().copied());
        sorted(unread.iter().filter_map(|key| Some((key.0, self.page_of(key)?))).collect())
    }

    /// The pages of a type that events wait for.
    pub fn pages_waited_for(&self, ty: TypeIx) -> Vec<(TypeIx, EntityId)> {
        let waiting = self.waiting.keys().filter(|key| key.0 == ty);
        sorted(waiting.filter_map(|key| Some((key.0, self.page_of(key)?))).collect())
    }

    /// The pages that a checkpoint rewrites.
    pub fn dirty_pages(&self) -> Vec<(TypeIx, EntityId)> {
        let dirty = self.loaded.iter().filter(|(_, loaded)| loaded.dirty).map(|(key, _)| key);
        sorted(dirty.chain(self.waiting.keys()).filter_map(|key| Some((key.0, self.page_of(key)?))).collect())
    }

    /// Puts all dirty states into pages; `old` are those that [`Entities::dirty_pages`] named, as they are stored, and
    /// nothing waits any more. Everything is clean afterwards; what is clean stays in memory until the pages are on disk.
    pub fn checkpoint(&mut self, old: &SortedMap<(TypeIx, EntityId), Vec<u8>>) -> Pages {
        let mut dirty: Vec<Key> = self.loaded.iter().filter(|(_, loaded)| loaded.dirty).map(|(key, _)| *key).collect();
        dirty.sort_unstable();
        let mut by_page: SortedMap<(TypeIx, Option<EntityId>), Vec<EntityId>> = SortedMap::new();
        for key in dirty {
            by_page.entry((key.0, self.page_of(&key))).or_default().push(key.1);
        }
        let mut pages = Pages::default();
        for ((ty, first), ids) in by_page {
            let mut bytes = Vec::new();
            let mut ends = Vec::with_capacity(ids.len());
            for id in ids {
                if let Some(loaded) = self.loaded.get_mut(&(ty, id)) {
                    loaded.state.encode(&mut bytes);
                    ends.push((id, bytes.len()));
                    loaded.dirty = false;
                    loaded.bytes = memory_bytes(&loaded.state);
                    self.clean_bytes += loaded.bytes as usize;
                }
            }
            let mut start = 0;
            let fresh = ends.into_iter().filter_map(|(id, end)| {
                let state = bytes.get(start..end);
                start = end;
                Some((id, state?))
            });
            // What was looked at by `load_page` comes apart.
            let kept = first.and_then(|first| split_page(old.get(&(ty, first))?).ok()).unwrap_or_default();
            let new = split(&merge(kept, fresh.collect()));
            let directory = self.pages.entry(ty).or_default();
            if let Some(first) = first {
                if let Ok(place) = directory.binary_search(&first) {
                    directory.remove(place);
                }
                if !new.iter().any(|(id, _)| *id == first) {
                    pages.delete.push((ty, first));
                }
            }
            let firsts: Vec<EntityId> = new.iter().map(|(id, _)| *id).collect();
            let place = firsts.first().map_or(0, |id| directory.partition_point(|known| known < id));
            directory.splice(place..place, firsts.iter().copied());
            if first.is_none_or(|first| firsts != [first]) && !pages.directories.contains(&ty) {
                pages.directories.push(ty);
            }
            pages.put.extend(new.into_iter().map(|(id, bytes)| (ty, id, bytes)));
        }
        self.dirty_events = 0;
        self.dirty_bytes = 0;
        pages
    }

    /// Lets go of clean states, in no order, until half of the bound is free.
    pub fn evict(&mut self, bound: usize) {
        if self.clean_bytes <= bound {
            return;
        }
        let mut kept = 0;
        self.loaded.retain(|_, loaded| {
            let bytes = loaded.bytes as usize;
            let keep = loaded.dirty || kept + bytes <= bound / 2;
            kept += if keep && !loaded.dirty { bytes } else { 0 };
            keep
        });
        self.clean_bytes = kept;
    }
}

fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort_unstable();
    items.dedup();
    items
}

/// What a checkpoint writes.
#[derive(Default, Debug)]
pub struct Pages {
    /// Pages with their first id.
    pub put: Vec<(TypeIx, EntityId, Vec<u8>)>,
    /// Pages that are gone.
    pub delete: Vec<(TypeIx, EntityId)>,
    /// Types whose directory is to be written.
    pub directories: Vec<TypeIx>,
}

/// Both in the order of their ids; of an entity that is in both, the fresh state.
fn merge<'a>(kept: Vec<(EntityId, &'a [u8])>, fresh: Vec<(EntityId, &'a [u8])>) -> Vec<(EntityId, &'a [u8])> {
    let mut merged = Vec::with_capacity(kept.len() + fresh.len());
    let mut kept = kept.into_iter().peekable();
    for (id, state) in fresh {
        while let Some(before) = kept.next_if(|(kept, _)| *kept < id) {
            merged.push(before);
        }
        kept.next_if(|(kept, _)| *kept == id);
        merged.push((id, state));
    }
    merged.extend(kept);
    merged
}

/// Cuts the entities of a page into pages.
fn split(entities: &[(EntityId, &[u8])]) -> Vec<(EntityId, Vec<u8>)> {
    let bytes: usize = entities.iter().map(|(_, state)| state.len()).sum();
    let fits = entities.len() <= PAGE_ENTITIES && bytes <= PAGE_BYTES;
    let mut pages = Vec::new();
    let (mut start, mut size) = (0, 0);
    for (place, (_, state)) in entities.iter().enumerate() {
        if !fits && place > start && (place - start >= PAGE_FILL || size + state.len() > PAGE_BYTES) {
            pages.extend(entities.get(start..place).and_then(close));
            (start, size) = (place, 0);
        }
        size += state.len();
    }
    pages.extend(entities.get(start..).and_then(close));
    pages
}

/// A page under its first id.
fn close(page: &[(EntityId, &[u8])]) -> Option<(EntityId, Vec<u8>)> {
    Some((page.first()?.0, join_page(page)))
}
