//! Many entities as one text: a page that shows thousands of them crosses into JavaScript once.

use serde_json::to_string;

use super::convert::ID_LETTERS;
use crate::crdt::FieldValue;
use crate::error::{Error, Result};
use crate::tabs::{Looked, Replica};
use crate::types::{EntityId, EntityType, FieldName, Value};

/// What stands for an entity that is not shown by its fields.
const UNKNOWN: &str = "0";
const GONE: &str = "1";
const BY_ITSELF: &str = "2";

/// Fields as a schema has them: `[["register", "title"], ["set", "tags"], …]`.
pub struct Wanted(Vec<(Kind, FieldName)>);

#[derive(Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
enum Kind {
    Register,
    Counter,
    Set,
    Text,
}

impl Wanted {
    pub fn from_json(json: &str) -> Result<Self> {
        let fields: Vec<(Kind, String)> =
            serde_json::from_str(json).map_err(|error| Error::invalid(format!("the schema's fields: {error}")))?;
        let fields = fields.into_iter().map(|(kind, name)| Ok((kind, FieldName::new(&name)?)));
        Ok(Self(fields.collect::<Result<_>>()?))
    }
}

/// A JSON array with an item for each id, one after the other in `ids`: 0 where nothing is known, 1 where there is none
/// or it is deleted, 2 where it holds what JSON cannot (bytes, say), else `[number of the field, its value, …]`.
pub fn read_many(replica: &Replica, entity_type: &EntityType, wanted: &Wanted, ids: &str) -> Result<String> {
    let mut out = String::with_capacity(ids.len() * 16);
    out.push('[');
    for id in ids.as_bytes().chunks(ID_LETTERS) {
        let id: EntityId = std::str::from_utf8(id).unwrap_or_default().parse()?;
        if out.len() > 1 {
            out.push(',');
        }
        let start = out.len();
        match replica.look(entity_type, &id, |fields| put_fields(&mut out, wanted, fields)) {
            Looked::Unknown => out.push_str(UNKNOWN),
            Looked::Gone => out.push_str(GONE),
            Looked::Visible(Some(())) => {}
            Looked::Visible(None) => {
                out.truncate(start);
                out.push_str(BY_ITSELF);
            }
        }
    }
    out.push(']');
    Ok(out)
}

fn put_fields(
    out: &mut String,
    wanted: &Wanted,
    fields: &mut dyn Iterator<Item = (&FieldName, FieldValue)>,
) -> Option<()> {
    out.push('[');
    let mut first = true;
    // Where the field after the last one stands, if both are in the same order.
    let mut next = 0;
    for (name, value) in fields {
        let kind = match &value {
            FieldValue::Register(_) => Kind::Register,
            FieldValue::Counter(_) => Kind::Counter,
            FieldValue::Set(_) => Kind::Set,
            FieldValue::Text(..) | FieldValue::Opaque(_) => continue,
        };
        let is_it = |(wanted, field): &(Kind, FieldName)| *wanted == kind && field == name;
        let place = if wanted.0.get(next).is_some_and(is_it) { Some(next) } else { wanted.0.iter().position(is_it) };
        let Some(place) = place else { continue };
        next = place + 1;
        if !std::mem::take(&mut first) {
            out.push(',');
        }
        out.push_str(&place.to_string());
        out.push(',');
        match &value {
            FieldValue::Register(value) => put_value(out, value)?,
            FieldValue::Counter(sum) => out.push_str(&sum.to_string()),
            FieldValue::Set(items) => put_list(out, items.iter())?,
            FieldValue::Text(..) | FieldValue::Opaque(_) => {}
        }
    }
    out.push(']');
    Some(())
}

fn put_list<'a>(out: &mut String, items: impl Iterator<Item = &'a Value>) -> Option<()> {
    out.push('[');
    for (place, item) in items.enumerate() {
        if place > 0 {
            out.push(',');
        }
        put_value(out, item)?;
    }
    out.push(']');
    Some(())
}

fn put_value(out: &mut String, value: &Value) -> Option<()> {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Int(number) => out.push_str(&number.to_string()),
        Value::Float(number) if number.is_finite() => out.push_str(&to_string(number).ok()?),
        Value::Float(_) | Value::Bytes(_) => return None,
        Value::Text(text) => put_text(out, text)?,
        Value::List(items) => put_list(out, items.iter())?,
        Value::Map(items) => {
            out.push('{');
            for (place, (name, item)) in items.iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                put_text(out, name)?;
                out.push(':');
                put_value(out, item)?;
            }
            out.push('}');
        }
    }
    Some(())
}

fn put_text(out: &mut String, text: &str) -> Option<()> {
    if text.bytes().any(|byte| byte < b' ' || byte == b'"' || byte == b'\\') {
        out.push_str(&to_string(text).ok()?);
    } else {
        // Most texts: nothing in it is to be escaped.
        out.push('"');
        out.push_str(text);
        out.push('"');
    }
    Some(())
}
