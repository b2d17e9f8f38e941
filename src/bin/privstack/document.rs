//! What a file says about one entity, and the changes that make the vault say the same.

use std::collections::{BTreeMap, BTreeSet};

use privstack_sync::error::{Error, Result};
use privstack_sync::types::{EntityId, EntityType, FieldKind, Hash};
use serde_json::{Map, Value as Json, json};

use crate::reply::kind_name;
use crate::values;

/// Fields that become sets where a file gives a list of plain values.
const SET_FIELDS: [&str; 5] = ["aliases", "categories", "keywords", "labels", "tags"];
/// The field that becomes a text that several people may type in.
pub const BODY: &str = "body";
/// The register that remembers what a file looked like when it was last imported, so that an unchanged file changes
/// nothing, whatever has been edited in the vault since.
pub const IMPORT_MARK: &str = "imported_hash";

/// Bytes of the pieces in which a long text is written; a text below it is one piece.
const TEXT_PIECE: usize = 256 << 10;
/// Operations of one change (the engine takes `MAX_OPS`).
const OPS_PER_CHANGE: usize = 1_000;
/// Bytes of one change as JSON, above which the next one starts.
const BYTES_PER_CHANGE: usize = 512 << 10;

/// What a file says about one entity.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Document {
    /// Its id, where the file names it.
    pub id: Option<EntityId>,
    /// Its type, where the file names it.
    pub entity_type: Option<EntityType>,
    /// Its fields.
    pub fields: Map<String, Json>,
    /// The kinds of fields that are not of [`default_kind`].
    pub kinds: BTreeMap<String, FieldKind>,
    /// Marks of its texts.
    pub marks: Map<String, Json>,
    /// Whether the file says that it is deleted.
    pub deleted: bool,
    /// Whether it is an entity as `--json` shows it.
    pub is_entity: bool,
    /// Whether it is an exported note that nobody has touched since.
    pub pristine: bool,
}

/// What tells a file from itself after a change.
pub fn source_mark(source: &[u8]) -> String {
    format!("{:016x}", Hash::derive("privstack-sync 2026 imported file", source).short())
}

impl Document {
    /// An entity as `--json` shows it; `None` if the object is something else.
    pub fn from_entity(object: &Map<String, Json>) -> Option<Result<Self>> {
        const NAMES: [&str; 6] = ["id", "type", "deleted", "fields", "kinds", "marks"];
        let id = object.get("id")?.as_str()?.parse().ok()?;
        let entity_type = object.get("type")?.as_str()?;
        let fields = object.get("fields")?.as_object()?;
        if !object.keys().all(|name| NAMES.contains(&name.as_str())) {
            return None;
        }
        let read = || {
            Ok(Self {
                id: Some(id),
                entity_type: Some(EntityType::new(entity_type)?),
                fields: fields.clone(),
                kinds: kinds_from_json(object.get("kinds"))?,
                marks: object.get("marks").and_then(Json::as_object).cloned().unwrap_or_default(),
                deleted: object.get("deleted").and_then(Json::as_bool).unwrap_or(false),
                is_entity: true,
                pristine: false,
            })
        };
        Some(read())
    }
}

/// Reads what `kinds` holds.
pub fn kinds_from_json(kinds: Option<&Json>) -> Result<BTreeMap<String, FieldKind>> {
    let all = [FieldKind::Register, FieldKind::Counter, FieldKind::Set, FieldKind::Text, FieldKind::Opaque];
    kinds
        .and_then(Json::as_object)
        .into_iter()
        .flatten()
        .map(|(field, name)| {
            let kind = all.into_iter().find(|kind| Some(kind_name(*kind)) == name.as_str());
            let kind =
                kind.ok_or_else(|| Error::invalid(format!("the field `{field}` has an unknown kind: {name}")))?;
            Ok((field.clone(), kind))
        })
        .collect()
}

/// The kind that a field gets where nothing else says: `body` with text is a text, a list of plain values under `tags`
/// and the like is a set, all else are registers.
pub fn default_kind(field: &str, value: &Json) -> FieldKind {
    let plain = |item: &Json| !item.is_array() && !item.is_object();
    match value {
        Json::String(_) if field == BODY => FieldKind::Text,
        Json::Array(items) if SET_FIELDS.contains(&field) && items.iter().all(plain) => FieldKind::Set,
        _ => FieldKind::Register,
    }
}

fn fits(kind: FieldKind, value: &Json) -> bool {
    match kind {
        FieldKind::Register => true,
        FieldKind::Counter => value.is_i64(),
        FieldKind::Set | FieldKind::Opaque => value.is_array(),
        FieldKind::Text => value.is_string(),
    }
}

/// The operations that make an entity say what a document says; none if it does. `current` is the entity as `--json`
/// shows it. Fields that the document does not name stay.
pub fn operations(document: &Document, current: Option<&Json>) -> Result<Vec<Json>> {
    let current_fields = current.and_then(|entity| entity.get("fields"));
    let current_kinds = kinds_from_json(current.and_then(|entity| entity.get("kinds")))?;
    let mut ops = Vec::new();
    if current.is_none() {
        ops.push(json!("create"));
    }
    for (field, wanted) in &document.fields {
        let value = values::to_json(&values::from_json(wanted)?);
        let mut has = current_fields.and_then(|fields| fields.get(field));
        let had_kind = has.map(|_| current_kinds.get(field).copied().unwrap_or(FieldKind::Register));
        let said = document.kinds.get(field).copied();
        let kind = said.or(had_kind).filter(|kind| fits(*kind, &value)).unwrap_or(FieldKind::Register);
        let kind = if has.is_none() && said.is_none() { default_kind(field, &value) } else { kind };
        if had_kind.is_some_and(|had| had != kind) {
            ops.push(json!({ "clear": field }));
            has = None;
        }
        field_operations(field, kind, &value, has, &mut ops)?;
    }
    for (field, wanted) in &document.marks {
        let has = current.and_then(|entity| entity.get("marks")).and_then(|marks| marks.get(field));
        mark_operations(field, wanted, has, &mut ops);
    }
    Ok(ops)
}

fn field_operations(field: &str, kind: FieldKind, value: &Json, has: Option<&Json>, ops: &mut Vec<Json>) -> Result<()> {
    let items = |json: Option<&Json>| json.and_then(Json::as_array).cloned().unwrap_or_default();
    match kind {
        FieldKind::Register if has == Some(value) => {}
        FieldKind::Register => ops.push(json!({ "set": [field, value] })),
        FieldKind::Counter => {
            let number = |json: Option<&Json>| json.and_then(Json::as_i64).unwrap_or(0);
            let by = number(Some(value)).wrapping_sub(number(has));
            if by != 0 || has.is_none() {
                ops.push(json!({ "add": [field, by] }));
            }
        }
        FieldKind::Set => {
            let (wanted, has) = (items(Some(value)), items(has));
            let key = |item: &Json| values::from_json(item).map(|value| value.to_bytes());
            let wanted_keys: BTreeSet<_> = wanted.iter().map(key).collect::<Result<_>>()?;
            let mut has_keys: BTreeSet<_> = has.iter().map(key).collect::<Result<_>>()?;
            for item in &has {
                if !wanted_keys.contains(&key(item)?) {
                    ops.push(json!({ "remove": [field, item] }));
                }
            }
            for item in &wanted {
                if has_keys.insert(key(item)?) {
                    ops.push(json!({ "insert": [field, item] }));
                }
            }
        }
        FieldKind::Text => {
            let text = |json: Option<&Json>| json.and_then(Json::as_str).unwrap_or_default().to_owned();
            text_operations(field, &text(has), &text(Some(value)), ops);
        }
        FieldKind::Opaque => {
            let has = items(has);
            let new = items(Some(value)).into_iter().filter(|update| !has.contains(update));
            ops.extend(new.map(|update| json!({ "opaque": [field, update] })));
        }
    }
    Ok(())
}

fn text_operations(field: &str, has: &str, wanted: &str, ops: &mut Vec<Json>) {
    if has == wanted {
        return;
    }
    if has.len() <= TEXT_PIECE && wanted.len() <= TEXT_PIECE {
        ops.push(json!({ "text_replace": [field, wanted] }));
        return;
    }
    // A long text: what differs between the common start and the common end, in pieces that fit into events.
    let same = |(a, b): &(char, char)| a == b;
    let start: usize = has.chars().zip(wanted.chars()).take_while(same).map(|(c, _)| c.len_utf8()).sum();
    let (old, new) = (has.get(start..).unwrap_or_default(), wanted.get(start..).unwrap_or_default());
    let end: usize = old.chars().rev().zip(new.chars().rev()).take_while(same).map(|(c, _)| c.len_utf8()).sum();
    let old = old.get(..old.len().saturating_sub(end)).unwrap_or_default();
    let mut new = new.get(..new.len().saturating_sub(end)).unwrap_or_default();
    let mut at = utf16_length(wanted.get(..start).unwrap_or_default());
    if !old.is_empty() {
        ops.push(json!({ "text_delete": [field, at, utf16_length(old)] }));
    }
    while !new.is_empty() {
        let (piece, rest) = new.split_at(new.floor_char_boundary(TEXT_PIECE));
        ops.push(json!({ "text_insert": [field, at, piece] }));
        at += utf16_length(piece);
        new = rest;
    }
}

fn utf16_length(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

fn mark_operations(field: &str, wanted: &Json, has: Option<&Json>, ops: &mut Vec<Json>) {
    let list = |json: Option<&Json>| json.and_then(Json::as_array).cloned().unwrap_or_default();
    let (wanted, has) = (list(Some(wanted)), list(has));
    let op = |mark: &Json, value: &Json| {
        let part = |name: &str| mark.get(name).cloned().unwrap_or_default();
        json!({ "text_mark": [field, part("at"), part("length"), part("key"), value] })
    };
    ops.extend(has.iter().filter(|mark| !wanted.contains(mark)).map(|mark| op(mark, &Json::Null)));
    let new = wanted.iter().filter(|mark| !has.contains(mark));
    ops.extend(new.map(|mark| op(mark, mark.get("value").unwrap_or(&Json::Null))));
}

/// Operations in groups that each fit into one event.
pub fn in_changes(ops: Vec<Json>) -> Vec<(Vec<Json>, usize)> {
    let mut changes: Vec<(Vec<Json>, usize)> = Vec::new();
    for op in ops {
        let size = op.to_string().len() + 16;
        match changes.last_mut() {
            Some((ops, bytes)) if ops.len() < OPS_PER_CHANGE && *bytes + size <= BYTES_PER_CHANGE => {
                ops.push(op);
                *bytes += size;
            }
            _ => changes.push((vec![op], size)),
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn document(fields: Json) -> Document {
        Document { fields: fields.as_object().unwrap().clone(), ..Document::default() }
    }

    #[test]
    fn a_new_entity_gets_its_fields_in_their_kinds() {
        let ops = operations(&document(json!({"title": "x", "body": "hi", "tags": ["a", "a", "b"]})), None).unwrap();
        assert_eq!(
            ops,
            [
                json!("create"),
                json!({"text_replace": ["body", "hi"]}),
                json!({"insert": ["tags", "a"]}),
                json!({"insert": ["tags", "b"]}),
                json!({"set": ["title", "x"]}),
            ]
        );
    }

    #[test]
    fn only_what_differs_is_written() {
        let current = json!({
            "fields": {"title": "x", "body": "hi", "tags": ["a"], "n": 4, "kept": true, "list": [1]},
            "kinds": {"body": "text", "tags": "set", "n": "counter", "list": "set"}
        });
        let same = json!({"title": "x", "body": "hi", "tags": ["a"], "n": 4, "list": [1]});
        assert_eq!(operations(&document(same), Some(&current)).unwrap(), [] as [Json; 0]);
        let other = json!({"title": "y", "body": "ho", "tags": ["b"], "n": 1, "list": "none"});
        assert_eq!(
            operations(&document(other), Some(&current)).unwrap(),
            [
                json!({"text_replace": ["body", "ho"]}),
                json!({"clear": "list"}),
                json!({"set": ["list", "none"]}),
                json!({"add": ["n", -3]}),
                json!({"remove": ["tags", "a"]}),
                json!({"insert": ["tags", "b"]}),
                json!({"set": ["title", "y"]}),
            ]
        );
    }

    fn play(text: &str, ops: &[Json]) -> String {
        let mut units: Vec<u16> = text.encode_utf16().collect();
        let number = |json: &Json| json.as_u64().unwrap() as usize;
        for op in ops {
            if let Some(args) = op.get("text_insert") {
                let at = number(&args[1]);
                units.splice(at..at, args[2].as_str().unwrap().encode_utf16());
            } else if let Some(args) = op.get("text_delete") {
                let at = number(&args[1]);
                units.drain(at..at + number(&args[2]));
            } else {
                units = op["text_replace"][1].as_str().unwrap().encode_utf16().collect();
            }
        }
        String::from_utf16(&units).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn long_texts_are_changed_in_pieces_that_fit_into_events(
            filler in prop_oneof![Just("ab"), Just("é"), Just("😀")], old in ".{0,9}", new in ".{0,9}", at in 0usize..4
        ) {
            let long = filler.repeat(300_000);
            let cut = |part: &str| format!("{}{part}{long}", filler.repeat(at));
            for (has, wanted) in [(String::new(), cut(&new)), (cut(&old), cut(&new)), (cut(&old), new.clone())] {
                let mut ops = Vec::new();
                text_operations("body", &has, &wanted, &mut ops);
                prop_assert_eq!(play(&has, &ops), wanted);
                prop_assert!(in_changes(ops).iter().all(|(_, bytes)| *bytes < 900 << 10));
            }
        }
    }

    #[test]
    fn many_operations_are_several_changes() {
        let changes = in_changes(vec![json!({"clear": "x"}); 2_500]);
        assert_eq!(changes.iter().map(|(ops, _)| ops.len()).collect::<Vec<_>>(), [1_000, 1_000, 500]);
    }
}
