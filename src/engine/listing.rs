//! Reading many entities: pages in the order of their ids, with what is in memory laid over them.

use super::calls::Asked;
use super::entities::PAGE_FILL;
use super::import::imports;
use super::io::{CallId, Output, Reply};
use super::layout::{self, TypeIx};
use super::local::PageKey;
use super::{SyncEngine, Wanted};
use crate::crdt::{EntityView, StateReader, split_page};
use crate::error::{Error, Result};
use crate::policy::Invite;
use crate::store::{Read, Rows, Table};
use crate::types::codec::put_bytes;
use crate::types::{EntityId, EntityType, Hash};

/// Pages that are read at once.
const LISTED_PAGES: usize = 48;
/// Bytes of pages after which no further one is read along, and bytes of states after which a listing is full.
const MAX_BYTES: usize = 4 << 20;

/// What a listing is for.
#[derive(Debug)]
pub enum Purpose {
    /// Views of what is visible.
    Views,
    /// One hash over what is visible: a hash of (type, id, what shows) an entity, in the order of type and id.
    Digest(Box<blake3::Hasher>),
    /// The states of all that exists.
    States(Vec<(EntityId, Vec<u8>)>),
    /// All that exists, to be written into the vault of an invite.
    Move(Box<Invite>),
}

impl Purpose {
    pub fn digest() -> Self {
        Purpose::Digest(Box::new(blake3::Hasher::new_derive_key("privstack-sync 1 visible state")))
    }
}

/// A listing under way.
#[derive(Debug)]
pub struct Listing {
    /// Types to come, in the order of their names.
    types: Vec<TypeIx>,
    /// The next id that counts.
    from: EntityId,
    /// Ids of the first type that are in memory, ascending, as far as they are not behind.
    loaded: Option<Vec<EntityId>>,
    limit: usize,
    views: Vec<EntityView>,
    purpose: Purpose,
    /// Bytes of the states so far.
    bytes: usize,
    /// The first of the pages that were asked for.
    reading: Option<EntityId>,
    /// Pages that events wait for, and that were asked for.
    pub waits: Vec<PageKey>,
}

impl Listing {
    pub fn new(
        engine: &SyncEngine,
        mut types: Vec<TypeIx>,
        after: Option<(EntityType, EntityId)>,
        limit: usize,
        purpose: Purpose,
    ) -> Self {
        let mut from = START;
        if let Some((name, id)) = after {
            types.retain(|ty| engine.type_name(*ty).is_some_and(|known| *known >= name));
            if types.first().and_then(|ty| engine.type_name(*ty)) == Some(&name) {
                match following(id) {
                    Some(next) => from = next,
                    None => drop(types.remove(0)),
                }
            }
        }
        Self {
            types,
            from,
            loaded: None,
            limit,
            views: Vec::new(),
            purpose,
            bytes: 0,
            reading: None,
            waits: Vec::new(),
        }
    }

    fn count(&self) -> usize {
        let states = if let Purpose::States(states) = &self.purpose { states.len() } else { 0 };
        self.views.len() + states
    }

    /// Whether nothing more is read.
    fn is_full(&self) -> bool {
        self.count() >= self.limit || self.bytes >= MAX_BYTES
    }

    /// Whether nothing more is taken: states of pages that were read once need not be read again for the next listing.
    fn is_over(&self) -> bool {
        match self.purpose {
            Purpose::States(_) => self.count() >= self.limit.saturating_mul(2) || self.bytes >= 2 * MAX_BYTES,
            _ => self.is_full(),
        }
    }

    /// How many pages to read for what is wanted still.
    fn pages(&self) -> usize {
        self.limit.saturating_sub(self.count()).div_ceil(PAGE_FILL).clamp(1, LISTED_PAGES)
    }

    fn next_type(&mut self) {
        if !self.types.is_empty() {
            self.types.remove(0);
        }
        self.from = START;
        self.loaded = None;
    }
}

const START: EntityId = EntityId([0; 16]);

/// The id after this one.
fn following(id: EntityId) -> Option<EntityId> {
    u128::from_be_bytes(id.0).checked_add(1).map(|next| EntityId(next.to_be_bytes()))
}

impl SyncEngine {
    /// Goes on with a listing as far as what is in memory allows.
    ///
    /// A type is walked in stretches: the ids before its first page, which only memory can have, then page by page.
    pub(super) fn list_step(&mut self, call: CallId, mut listing: Listing) {
        while let Some(ty) = listing.types.first().copied()
            && !listing.is_full()
        {
            if listing.reading.is_some() || self.checkpointing || self.is_rebuilt(ty) {
                self.asked.insert(call, Asked::List(listing));
                return;
            }
            // Events that wait for pages come first: what is in memory must be whole.
            let waited = self.entities.pages_waited_for(ty);
            if !waited.is_empty() {
                listing.waits = self.read_pages(waited);
                self.asked.insert(call, Asked::List(listing));
                return;
            }
            if let Some(first) = self.entities.page_of(&(ty, listing.from)) {
                let read = Read::Range {
                    table: Table::Pages,
                    from: layout::page_row(ty, &first),
                    to: layout::directory_row(TypeIx(ty.0.saturating_add(1))),
                    max_rows: listing.pages(),
                    max_bytes: MAX_BYTES,
                };
                listing.reading = Some(first);
                self.asked.insert(call, Asked::List(listing));
                return self.read(read, Wanted::Call(call));
            }
            let end = self.entities.directory(ty).first().copied();
            // Without a page there is nothing to read wrong.
            let _ = self.list_stretch(&mut listing, ty, end, &[]);
        }
        self.list_done(call, listing);
    }

    pub(super) fn list_rows(&mut self, call: CallId, mut listing: Listing, rows: Rows) {
        let (Some(ty), Some(first)) = (listing.types.first().copied(), listing.reading.take()) else { return };
        let place = self.entities.directory(ty).binary_search(&first).ok();
        // Where the pages were cut anew meanwhile: the same stretch again.
        if let Some(place) = place
            && !self.checkpointing
            && self.entities.pages_waited_for(ty).is_empty()
            && self.list_pages(&mut listing, ty, place, rows).is_err()
        {
            self.rebuild_pages(ty);
        }
        self.list_step(call, listing);
    }

    /// Takes the entities of the pages that were read, the first of which stands at `place` in the directory. Fails at
    /// a page that is missing or damaged; the cursor stands there then.
    fn list_pages(&mut self, listing: &mut Listing, ty: TypeIx, mut place: usize, rows: Rows) -> Result<()> {
        let no_page = || Error::storage("a page of entities is missing or damaged");
        if rows.rows.is_empty() {
            return Err(no_page());
        }
        for (key, page) in rows.rows {
            let directory = self.entities.directory(ty);
            let Some(first) = directory.get(place) else { break };
            if key != layout::page_row(ty, first) {
                return Err(no_page());
            }
            place += 1;
            let end = directory.get(place).copied();
            self.list_stretch(listing, ty, end, &split_page(&page)?)?;
            if listing.is_over() || end.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// Takes the entities from the cursor on and before `end`, from a page and from memory. Fails where one of the page
    /// cannot be read; the cursor stands there then.
    fn list_stretch(
        &mut self,
        listing: &mut Listing,
        ty: TypeIx,
        end: Option<EntityId>,
        page: &[(EntityId, &[u8])],
    ) -> Result<()> {
        let loaded = listing.loaded.get_or_insert_with(|| {
            let mut ids: Vec<EntityId> = self.entities.in_memory(ty).map(|(id, _)| *id).collect();
            ids.sort_unstable();
            ids
        });
        let inside = |id: &EntityId| *id >= listing.from && end.is_none_or(|end| *id < end);
        let start = loaded.partition_point(|id| *id < listing.from);
        let memory = loaded.iter().skip(start).take_while(|id| inside(id)).copied();
        let entities = overlaid(memory, page.iter().copied().filter(|(id, _)| inside(id)));
        let Some(name) = self.type_name(ty).cloned() else {
            listing.next_type();
            return Ok(());
        };
        let (mut bytes, mut reader) = (Vec::new(), StateReader::default());
        for (id, stored) in entities {
            listing.from = id;
            if listing.is_over() {
                return Ok(());
            }
            let held = self.entities.get(&(ty, id));
            if let (Purpose::States(states), None, Some(stored)) = (&mut listing.purpose, held, stored) {
                // As it is stored: who reads it takes it apart.
                listing.bytes += stored.len();
                states.push((id, stored.to_vec()));
                continue;
            }
            let read = if held.is_none() { stored.map(|stored| reader.read(stored)).transpose()? } else { None };
            // What is deleted comes along into another vault: it can be restored there too.
            let hidden = matches!(listing.purpose, Purpose::Move(_) | Purpose::States(_));
            let state = held.or(read.as_ref()).filter(|state| state.is_visible() || (hidden && state.exists()));
            let Some(state) = state else { continue };
            match &mut listing.purpose {
                Purpose::Views | Purpose::Move(_) => listing.views.push(state.view(name.clone(), id, &self.ids)),
                Purpose::States(states) => {
                    let mut bytes = Vec::new();
                    state.encode(&mut bytes);
                    listing.bytes += bytes.len();
                    states.push((id, bytes));
                }
                Purpose::Digest(hasher) => {
                    bytes.clear();
                    put_bytes(&mut bytes, name.as_str().as_bytes());
                    bytes.extend_from_slice(&id.0);
                    state.hash_visible(&self.ids, &mut bytes);
                    hasher.update(blake3::hash(&bytes).as_bytes());
                }
            }
        }
        match end {
            Some(end) => listing.from = end,
            None => listing.next_type(),
        }
        Ok(())
    }

    fn list_done(&mut self, call: CallId, listing: Listing) {
        let reply = match listing.purpose {
            Purpose::Views => Reply::Entities(listing.views),
            Purpose::States(states) => self.states(states, !listing.types.is_empty()),
            Purpose::Digest(hasher) => Reply::Digest(Hash(*hasher.finalize().as_bytes())),
            Purpose::Move(invite) => {
                let result = self.join_now(call, &invite, imports(listing.views));
                if let Err(error) = result {
                    self.refuse(call, error);
                }
                return;
            }
        };
        self.out.push(Output::Reply(call, Ok(reply)));
    }

    /// Reads all that exists, for a device that joins another vault.
    pub(super) fn collect_for(&mut self, call: CallId, invite: Invite) {
        let types = (0..self.types.len() as u32).map(TypeIx).collect();
        let listing = Listing::new(self, types, None, usize::MAX, Purpose::Move(Box::new(invite)));
        self.list_step(call, listing);
    }
}

/// Both in the order of their ids; of an entity that is in both, the one in memory, which has no bytes here.
fn overlaid<'a>(
    memory: impl Iterator<Item = EntityId>,
    page: impl Iterator<Item = (EntityId, &'a [u8])>,
) -> Vec<(EntityId, Option<&'a [u8]>)> {
    let mut entities = Vec::with_capacity(page.size_hint().1.unwrap_or(0));
    let mut page = page.peekable();
    for id in memory {
        while let Some((stored, bytes)) = page.next_if(|(stored, _)| *stored < id) {
            entities.push((stored, Some(bytes)));
        }
        page.next_if(|(stored, _)| *stored == id);
        entities.push((id, None));
    }
    entities.extend(page.map(|(id, bytes)| (id, Some(bytes))));
    entities
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test;

    #[test]
    fn what_is_in_memory_lies_over_the_page_in_the_order_of_ids() {
        let id = |byte| EntityId([byte; 16]);
        let page = [1, 3, 4, 6].map(|byte| (id(byte), &b"stored"[..]));
        let shown = |memory: &[u8]| {
            let entities = overlaid(memory.iter().map(|byte| id(*byte)), page.into_iter());
            entities.into_iter().map(|(id, stored)| (id.0[0], stored.is_some())).collect::<Vec<_>>()
        };
        assert_eq!(shown(&[]), [(1, true), (3, true), (4, true), (6, true)]);
        assert_eq!(shown(&[2, 3, 6, 9]), [(1, true), (2, false), (3, false), (4, true), (6, false), (9, false)]);
    }
}
