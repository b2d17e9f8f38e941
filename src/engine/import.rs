//! What comes along into a joined vault, written again there under its old ids.

use super::SyncEngine;
use super::io::EntityEdit;
use super::local::Draft;
use super::remote::Arrived;
use crate::crdt::{Edit, EntityState, EntityView, EventAt, FieldValue, text_client_id};
use crate::error::Result;
use crate::types::{EntityType, Event, InFull};

/// Events in one commit of what is written again, and bytes after which it is closed.
const IMPORT_EVENTS: usize = 500;
const IMPORT_BYTES: usize = 2 << 20;
/// Bytes of text in one event of what is written again, and small edits in one.
const PIECE_BYTES: usize = 256 << 10;
const PIECE_EDITS: usize = 256;

/// The entities of one type that come along into a joined vault.
#[derive(Debug)]
pub struct Import {
    pub entity_type: EntityType,
    pub entities: Vec<EntityEdit>,
}

impl SyncEngine {
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
pub(super) fn imports(views: Vec<EntityView>) -> Vec<Import> {
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
