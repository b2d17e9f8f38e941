//! Reading many entities: pages in the order of their ids, with what is in memory laid over them.

use super::calls::Asked;
use super::io::{CallId, EntityEdit, Output, Reply};
use super::layout::{self, TypeIx};
use super::local::{Draft, PageKey};
use super::remote::Arrived;
use super::{SyncEngine, Wanted};
use crate::crdt::{Edit, EntityState, EntityView, EventAt, FieldValue, decode_page, text_client_id};
use crate::error::Result;
use crate::policy::Invite;
use crate::store::{Read, Rows, Table};
use crate::types::codec::put_bytes;
use crate::types::{EntityId, EntityType, Event, Hash, InFull, SortedMap};

/// Events in one commit of what is written again, and bytes after which it is closed.
const IMPORT_EVENTS: usize = 500;
const IMPORT_BYTES: usize = 2 << 20;
/// Bytes of text in one event of what is written again, and small edits in one.
const PIECE_BYTES: usize = 256 << 10;
const PIECE_EDITS: usize = 256;

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
    /// The page that was asked for.
    reading: Option<EntityId>,
    /// Pages that events wait for, and that were asked for.
    pub waits: Vec<PageKey>,
}

/// The entities of one type that come along into a joined vault.
#[derive(Debug)]
pub struct Import {
    pub entity_type: EntityType,
    pub entities: Vec<EntityEdit>,
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
        Self { types, from, loaded: None, limit, views: Vec::new(), purpose, reading: None, waits: Vec::new() }
    }

    fn is_full(&self) -> bool {
        let states = if let Purpose::States(states) = &self.purpose { states.len() } else { 0 };
        self.views.len() + states >= self.limit
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
                listing.reading = Some(first);
                self.asked.insert(call, Asked::List(listing));
                return self.read(Read::Get(Table::Pages, layout::page_row(ty, &first)), Wanted::Call(call));
            }
            let end = self.entities.directory(ty).first().copied();
            self.list_stretch(&mut listing, ty, end, SortedMap::new());
        }
        self.list_done(call, listing);
    }

    pub(super) fn list_rows(&mut self, call: CallId, mut listing: Listing, rows: Rows) {
        let (Some(ty), Some(first)) = (listing.types.first().copied(), listing.reading.take()) else { return };
        let place = self.entities.directory(ty).binary_search(&first).ok();
        match (read_page(rows), place) {
            (Some(page), Some(place)) if !self.checkpointing && self.entities.pages_waited_for(ty).is_empty() => {
                let end = self.entities.directory(ty).get(place + 1).copied();
                self.list_stretch(&mut listing, ty, end, page.into_iter().collect());
            }
            (None, Some(_)) if !self.checkpointing => self.rebuild_pages(ty),
            // The pages were cut anew meanwhile: the same stretch again.
            _ => {}
        }
        self.list_step(call, listing);
    }

    /// Takes the entities from the cursor on and before `end`, from a page and from memory.
    fn list_stretch(
        &mut self,
        listing: &mut Listing,
        ty: TypeIx,
        end: Option<EntityId>,
        page: SortedMap<EntityId, EntityState>,
    ) {
        let loaded = listing.loaded.get_or_insert_with(|| {
            let mut ids: Vec<EntityId> = self.entities.in_memory(ty).map(|(id, _)| *id).collect();
            ids.sort_unstable();
            ids
        });
        let inside = |id: &EntityId| *id >= listing.from && end.is_none_or(|end| *id < end);
        let start = loaded.partition_point(|id| *id < listing.from);
        let mut ids: Vec<EntityId> = loaded.iter().skip(start).take_while(|id| inside(id)).copied().collect();
        ids.extend(page.keys().filter(|id| inside(id)));
        ids.sort_unstable();
        ids.dedup();
        let Some(name) = self.type_name(ty).cloned() else { return listing.next_type() };
        let mut bytes = Vec::new();
        for id in ids {
            if listing.is_full() {
                listing.from = id;
                return;
            }
            let state = self.entities.get(&(ty, id)).or_else(|| page.get(&id));
            // What is deleted comes along into another vault: it can be restored there too.
            let hidden = matches!(listing.purpose, Purpose::Move(_) | Purpose::States(_));
            let Some(state) = state.filter(|state| state.is_visible() || (hidden && state.exists())) else { continue };
            match &mut listing.purpose {
                Purpose::Views | Purpose::Move(_) => listing.views.push(state.view(name.clone(), id, &self.ids)),
                Purpose::States(states) => {
                    let mut bytes = Vec::new();
                    state.encode(&mut bytes);
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
    }

    fn list_done(&mut self, call: CallId, listing: Listing) {
        let reply = match listing.purpose {
            Purpose::Views => Reply::Entities(listing.views),
            Purpose::States(states) => self.states(states),
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

    /// Writes entities of the old vault into the new one, under their ids.
    pub(super) fn write_import(&mut self, import: Import, arrived: &mut Arrived) -> Result<()> {
        let name = self.own_log(&import.entity_type);
        let key = self.log_mut(&name).key;
        let mut hlc = self.hlc.tick(self.now);
        let mut events: Vec<Event> = Vec::new();
        let (mut bytes, mut buffer) = (0, Vec::new());
        for entity in import.entities {
            let Some(id) = entity.id else { continue };
            let mut state = EntityState::default();
            for edits in pieces(entity.edits) {
                if events.len() >= IMPORT_EVENTS || bytes > IMPORT_BYTES {
                    let events = std::mem::take(&mut events);
                    self.commit(key, vec![Draft { hlc, stands_for: None, events }], arrived)?;
                    (hlc, bytes) = (self.hlc.tick(self.now), 0);
                }
                let seq = self.logs.get(&key).map_or(1, |log| log.tip.seq + 1);
                let at = EventAt { log: key.ix, seq, index: events.len() as u32, hlc, commit: 0, counts: true };
                let ops = state.prepare(&edits, &at, &self.ids, text_client_id(name.id, 0))?;
                if ops.is_empty() {
                    continue;
                }
                let event = Event { entity: id, seen: Vec::new(), ops };
                state.apply(&event, &at, &mut self.ids);
                buffer.clear();
                event.encode(&mut buffer, &mut InFull);
                bytes += buffer.len();
                events.push(event);
            }
        }
        if events.is_empty() {
            return Ok(());
        }
        self.commit(key, vec![Draft { hlc, stands_for: None, events }], arrived)
    }
}

/// Cuts edits so that each piece fits into an event; the order is kept.
fn pieces(edits: Vec<Edit>) -> Vec<Vec<Edit>> {
    let mut pieces: Vec<Vec<Edit>> = Vec::new();
    let mut room = 0;
    for edit in edits {
        if let Edit::TextInsert(field, mut at, text) = edit {
            let mut rest = text.as_str();
            while !rest.is_empty() {
                let mut end = rest.len().min(PIECE_BYTES);
                while !rest.is_char_boundary(end) {
                    end -= 1;
                }
                let (head, tail) = rest.split_at(end);
                pieces.push(vec![Edit::TextInsert(field.clone(), at, head.to_owned())]);
                at += head.encode_utf16().count() as u32;
                rest = tail;
            }
            room = 0;
            continue;
        }
        let bytes = match &edit {
            Edit::Set(_, value) | Edit::Insert(_, value) => value.to_bytes().len(),
            Edit::Opaque(_, bytes) => bytes.len(),
            _ => 0,
        };
        match pieces.last_mut() {
            Some(piece) if bytes < room && piece.len() < PIECE_EDITS => {
                room -= bytes;
                piece.push(edit);
            }
            _ => {
                room = PIECE_BYTES.saturating_sub(bytes);
                pieces.push(vec![edit]);
            }
        }
    }
    pieces
}

/// Views as the edits that make them.
fn imports(views: Vec<EntityView>) -> Vec<Import> {
    let mut imports: Vec<Import> = Vec::new();
    for view in views {
        let mut edits = vec![Edit::Create];
        for (field, values) in view.fields {
            for value in values {
                match value {
                    FieldValue::Register(value) => edits.push(Edit::Set(field.clone(), value)),
                    FieldValue::Counter(sum) => edits.push(Edit::Add(field.clone(), sum)),
                    FieldValue::Set(items) => {
                        edits.extend(items.into_iter().map(|item| Edit::Insert(field.clone(), item)));
                    }
                    FieldValue::Text(text, marks) => {
                        edits.push(Edit::TextInsert(field.clone(), 0, text));
                        edits.extend(
                            marks
                                .into_iter()
                                .map(|mark| Edit::TextMark(field.clone(), mark.at, mark.length, mark.key, mark.value)),
                        );
                    }
                    FieldValue::Opaque(updates) => {
                        edits.extend(updates.into_iter().map(|bytes| Edit::Opaque(field.clone(), bytes)));
                    }
                }
            }
        }
        if view.deleted {
            edits.push(Edit::Delete);
        }
        let entity = EntityEdit { id: Some(view.id), edits };
        match imports.last_mut() {
            Some(last) if last.entity_type == view.entity_type => last.entities.push(entity),
            _ => imports.push(Import { entity_type: view.entity_type, entities: vec![entity] }),
        }
    }
    imports
}

/// The entities of a page that was read; `None` where it is damaged.
fn read_page(rows: Rows) -> Option<Vec<(EntityId, EntityState)>> {
    match rows.one().ok()? {
        Some((_, bytes)) => decode_page(&bytes).ok(),
        None => None,
    }
}
