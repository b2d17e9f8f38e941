//! An engine of one device in memory, without merging: enough for import and export to be tested on their own. The real
//! engine is under test in `tests/cli.rs`.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use privstack_sync::crdt::{Edit, EntityView, FieldValue};
use privstack_sync::engine::{Call, EntityEdit, Reply, Status, SyncEvent};
use privstack_sync::error::{Error, ErrorCode, Result};
use privstack_sync::types::limits::{MAX_BATCH_SIZE, MAX_EVENT_BYTES, MAX_OPS};
use privstack_sync::types::{EntityId, EntityType, FieldKind, FieldName, PeerId, VectorClock};

use crate::client::Engine;

type Key = (EntityType, EntityId);

/// The engine; it remembers the number of changes in each commit.
#[derive(Default)]
pub struct Memory {
    pub entities: Mutex<BTreeMap<Key, EntityView>>,
    pub commits: Mutex<Vec<usize>>,
}

/// The status of a device that has done nothing.
pub fn empty_status() -> Status {
    Status {
        peer_id: PeerId([1; 32]),
        vault: None,
        device_name: "test".into(),
        role: None,
        paused: false,
        online: 0,
        syncing: 0,
        unsaved: 0,
        unsent: 0,
        last_sync: None,
        clock_offset: None,
        events: 0,
        sent: 0,
        received: 0,
        quarantined: 0,
        forked: 0,
        types: Default::default(),
    }
}

impl Engine for Memory {
    fn call(&self, call: Call, _: Option<Duration>) -> Result<Reply> {
        let mut entities = self.entities.lock().unwrap();
        Ok(match call {
            Call::Status => Reply::Status(Box::new(empty_status())),
            Call::Get { entity_type, id } => Reply::Entities(
                entities
                    .values()
                    .filter(|view| view.id == id && entity_type.as_ref().is_none_or(|name| *name == view.entity_type))
                    .cloned()
                    .collect(),
            ),
            Call::GetMany { entity_type, ids } => Reply::Entities(
                entities
                    .values()
                    .filter(|view| {
                        ids.contains(&view.id) && entity_type.as_ref().is_none_or(|name| *name == view.entity_type)
                    })
                    .cloned()
                    .collect(),
            ),
            Call::List { entity_type, after, limit } => Reply::Entities(
                entities
                    .values()
                    .filter(|view| !view.deleted && entity_type.as_ref().is_none_or(|name| *name == view.entity_type))
                    .filter(|view| after.as_ref().is_none_or(|key| *key < (view.entity_type.clone(), view.id)))
                    .take(limit)
                    .cloned()
                    .collect(),
            ),
            Call::Write { entity_type, changes } => {
                assert!(!changes.is_empty() && changes.len() <= MAX_BATCH_SIZE);
                let mut next = entities.clone();
                let ids = changes.iter().map(|change| write(&mut next, &entity_type, change)).collect::<Result<_>>()?;
                *entities = next;
                self.commits.lock().unwrap().push(changes.len());
                Reply::Written(ids)
            }
            _ => return Err(Error::new(ErrorCode::Unsupported, "not in tests")),
        })
    }

    fn addresses(&self) -> Vec<String> {
        Vec::new()
    }

    fn add_address(&self, _: &str) -> Result<()> {
        Ok(())
    }

    fn events(&self) -> Box<dyn Iterator<Item = SyncEvent> + Send> {
        Box::new(std::iter::empty())
    }
}

fn write(entities: &mut BTreeMap<Key, EntityView>, entity_type: &EntityType, change: &EntityEdit) -> Result<EntityId> {
    assert!(change.edits.len() <= MAX_OPS);
    let id = change.id.unwrap_or(EntityId([entities.len() as u8; 16]));
    let view = entities.entry((entity_type.clone(), id)).or_insert_with(|| EntityView {
        entity_type: entity_type.clone(),
        id,
        deleted: false,
        clock: VectorClock::new(),
        fields: Default::default(),
    });
    for edit in &change.edits {
        if view.deleted && *edit != Edit::Restore {
            return Err(Error::new(ErrorCode::Deleted, "the entity is deleted"));
        }
        apply(view, edit)?;
    }
    Ok(id)
}

fn apply(view: &mut EntityView, edit: &Edit) -> Result<()> {
    match edit {
        Edit::Create => {}
        Edit::Delete => view.deleted = true,
        Edit::Restore => view.deleted = false,
        Edit::Set(field, value) if value.to_bytes().len() > MAX_EVENT_BYTES => {
            return Err(Error::too_large(format!("{field} is too large")));
        }
        Edit::Set(field, value) => {
            *slot(view, field, FieldValue::Register(value.clone())) = FieldValue::Register(value.clone())
        }
        Edit::Clear(field) => {
            view.fields.remove(field);
        }
        Edit::Add(field, by) => {
            if let FieldValue::Counter(sum) = slot(view, field, FieldValue::Counter(0)) {
                *sum += by;
            }
        }
        Edit::Insert(field, item) => {
            if let FieldValue::Set(items) = slot(view, field, FieldValue::Set([].into())) {
                items.insert(item.clone());
            }
        }
        Edit::Remove(field, item) => {
            if let FieldValue::Set(items) = slot(view, field, FieldValue::Set([].into())) {
                items.remove(item);
            }
        }
        Edit::TextInsert(field, at, new) => splice(view, field, *at, 0, new),
        Edit::TextDelete(field, at, length) => splice(view, field, *at, *length, ""),
        Edit::TextReplace(field, new) => splice(view, field, 0, u32::MAX, new),
        other => panic!("{other:?} is not in these tests"),
    }
    Ok(())
}

fn slot<'a>(view: &'a mut EntityView, field: &FieldName, empty: FieldValue) -> &'a mut FieldValue {
    let kind: FieldKind = empty.kind();
    let kinds = view.fields.entry(field.clone()).or_default();
    if !kinds.iter().any(|value| value.kind() == kind) {
        kinds.push(empty);
        kinds.sort_by_key(FieldValue::kind);
    }
    kinds.iter_mut().find(|value| value.kind() == kind).unwrap()
}

fn splice(view: &mut EntityView, field: &FieldName, at: u32, length: u32, new: &str) {
    let FieldValue::Text(text, _) = slot(view, field, FieldValue::Text(String::new(), vec![])) else { return };
    let mut units: Vec<u16> = text.encode_utf16().collect();
    let (at, end) = (at as usize, (at as usize + length as usize).min(units.len()));
    units.splice(at..end, new.encode_utf16());
    *text = String::from_utf16(&units).unwrap();
}
