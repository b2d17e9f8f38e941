//! What a user sees of an entity, and the bytes that stand for it in a state hash.

use super::logs::LogTable;
use super::opaque;
use super::state::{EntityState, FieldState};
#[cfg(feature = "text")]
use super::text;
use super::view::{EntityView, FieldValue};
use crate::types::codec::{put_bytes, put_signed, put_varint};
use crate::types::{EntityId, EntityType, FieldName, SortedMap, Value};

impl EntityState {
    /// What a reader sees. A field that was emptied, a set without items and a text without characters are not there.
    pub fn view(&self, entity_type: EntityType, id: EntityId, logs: &LogTable) -> EntityView {
        let mut fields = SortedMap::<FieldName, Vec<FieldValue>>::new();
        for field in &self.fields {
            if let Some(value) = self.value(&field.state, logs) {
                fields.entry(field.name.clone()).or_default().push(value);
            }
        }
        EntityView { entity_type, id, deleted: self.exists() && !self.is_visible(), clock: self.clock(logs), fields }
    }

    /// The fields that a reader sees, but for texts, which are opened one by one.
    pub fn fields_but_texts<'a>(
        &'a self,
        logs: &'a LogTable,
    ) -> impl Iterator<Item = (&'a FieldName, FieldValue)> + 'a {
        let fields = self.fields.iter().filter(|field| !matches!(field.state, FieldState::Text(_)));
        fields.filter_map(|field| Some((&field.name, self.value(&field.state, logs)?)))
    }

    fn value(&self, state: &FieldState, logs: &LogTable) -> Option<FieldValue> {
        Some(match state {
            // The bytes were made by `Value::encode` or checked when they were read.
            FieldState::Register(register) => {
                FieldValue::Register(Value::from_bytes(register.value(&self.logs, logs)?).ok()?)
            }
            FieldState::Counter(counter) => FieldValue::Counter(counter.value()?),
            FieldState::Set(set) if set.is_empty() => return None,
            FieldState::Set(set) => {
                FieldValue::Set(set.items().filter_map(|item| Value::from_bytes(item).ok()).collect())
            }
            #[cfg(feature = "text")]
            FieldState::Text(updates) => {
                let (text, marks) = text::read(updates, logs);
                if text.is_empty() {
                    return None;
                }
                FieldValue::Text(text, marks)
            }
            #[cfg(not(feature = "text"))]
            FieldState::Text(_) => return None,
            FieldState::Opaque(updates) => {
                let ready = opaque::ready(updates, &self.logs, logs);
                if ready.is_empty() {
                    return None;
                }
                FieldValue::Opaque(ready)
            }
        })
    }

    /// Appends bytes for what a user sees: equal on two devices exactly when they show the same. Nothing for an entity
    /// of which no event counts, one byte for a deleted one, whatever it held.
    pub fn hash_visible(&self, logs: &LogTable, out: &mut Vec<u8>) {
        if !self.exists() {
            return;
        }
        if !self.is_visible() {
            out.push(1);
            return;
        }
        out.push(2);
        for field in &self.fields {
            if let FieldState::Register(register) = &field.state {
                // The common case, without a detour over a `Value`.
                if let Some(value) = register.value(&self.logs, logs) {
                    start(out, &field.name, 0);
                    put_bytes(out, value);
                }
            } else if let Some(value) = self.value(&field.state, logs) {
                start(out, &field.name, value.kind() as u8);
                hash_value(&value, out);
            }
        }
        out.push(0);
    }
}

/// Names are not empty, so a length of zero ends the list.
fn start(out: &mut Vec<u8>, name: &FieldName, kind: u8) {
    put_bytes(out, name.as_str().as_bytes());
    out.push(kind);
}

fn hash_value(value: &FieldValue, out: &mut Vec<u8>) {
    match value {
        FieldValue::Register(value) => put_bytes(out, &value.to_bytes()),
        FieldValue::Counter(sum) => put_signed(out, *sum),
        FieldValue::Set(items) => {
            put_varint(out, items.len() as u64);
            items.iter().for_each(|item| put_bytes(out, &item.to_bytes()));
        }
        FieldValue::Text(text, marks) => {
            put_bytes(out, text.as_bytes());
            put_varint(out, marks.len() as u64);
            for mark in marks {
                put_varint(out, u64::from(mark.at));
                put_varint(out, u64::from(mark.length));
                put_bytes(out, mark.key.as_bytes());
                put_bytes(out, &mark.value.to_bytes());
            }
        }
        FieldValue::Opaque(updates) => {
            put_varint(out, updates.len() as u64);
            updates.iter().for_each(|update| put_bytes(out, update));
        }
    }
}
