//! Between JavaScript's values and the engine's.

use js_sys::{Array, Object, Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};

use crate::crdt::{Edit, FieldValue};
use crate::error::{Error, ErrorCode, Result};
use crate::tabs::Seen;
use crate::types::limits::MAX_VALUE_DEPTH;
use crate::types::{EntityId, EntityType, FieldName, SortedMap, Value};

/// The largest whole number up to which a JavaScript number is exact.
const MAX_SAFE: f64 = 9_007_199_254_740_991.0;

/// An error as JavaScript throws it: the facade makes a `SyncError` of its `code`.
pub fn to_error(error: &Error) -> JsValue {
    let thrown = js_sys::Error::new(error.message());
    set(&thrown, "code", &error.code().as_str().into());
    set(&thrown, "retryable", &error.code().retryable().into());
    thrown.into()
}

pub fn set(object: &JsValue, name: &str, value: &JsValue) {
    // It fails on frozen objects only, and these are new.
    let _ = Reflect::set(object, &JsValue::from_str(name), value);
}

pub fn get(object: &JsValue, name: &str) -> JsValue {
    Reflect::get(object, &JsValue::from_str(name)).unwrap_or_default()
}

/// A plain object of these members.
pub fn object<const N: usize>(members: [(&str, JsValue); N]) -> JsValue {
    let object: JsValue = Object::new().into();
    members.iter().for_each(|(name, value)| set(&object, name, value));
    object
}

pub fn entity_type(name: &str) -> Result<EntityType> {
    EntityType::new(name)
}

pub fn entity_id(id: &str) -> Result<EntityId> {
    id.parse()
}

/// Letters of an entity's id.
pub const ID_LETTERS: usize = 36;

/// Ids one after the other in one text: the facade takes it apart for less than it costs to hand over each.
pub fn ids_to_js(ids: &[EntityId]) -> JsValue {
    let mut text = String::with_capacity(ids.len() * ID_LETTERS);
    let mut letters = [0; ID_LETTERS];
    for id in ids {
        text.push_str(uuid::Uuid::from_bytes(id.0).hyphenated().encode_lower(&mut letters));
    }
    text.into()
}

/// A value as JavaScript has it.
pub fn value_to_js(value: &Value) -> JsValue {
    match value {
        Value::Null => JsValue::NULL,
        Value::Bool(value) => (*value).into(),
        // Beyond 2^53 the nearest number: JSON has no other.
        Value::Int(number) => (*number as f64).into(),
        Value::Float(number) => (*number).into(),
        Value::Text(text) => text.as_str().into(),
        Value::Bytes(bytes) => Uint8Array::from(bytes.as_slice()).into(),
        Value::List(items) => items.iter().map(value_to_js).collect::<Array>().into(),
        Value::Map(items) => {
            let object: JsValue = Object::new().into();
            items.iter().for_each(|(name, item)| set(&object, name, &value_to_js(item)));
            object
        }
    }
}

/// A value from JavaScript; what JSON leaves out (functions, symbols, `undefined`) is left out of objects.
pub fn value_from_js(value: &JsValue) -> Result<Value> {
    read_value(value, 0)?.ok_or_else(|| Error::invalid("functions, symbols and undefined are no values to keep"))
}

fn read_value(value: &JsValue, depth: usize) -> Result<Option<Value>> {
    if depth > MAX_VALUE_DEPTH {
        return Err(Error::too_large(format!(
            "a value nests deeper than {MAX_VALUE_DEPTH} levels, or contains itself"
        )));
    }
    if value.is_null() {
        return Ok(Some(Value::Null));
    }
    if let Some(value) = value.as_bool() {
        return Ok(Some(Value::Bool(value)));
    }
    if let Some(number) = value.as_f64() {
        let whole = number.fract() == 0.0 && number.abs() <= MAX_SAFE;
        return Ok(Some(if whole { Value::Int(number as i64) } else { Value::float(number) }));
    }
    if let Some(text) = value.as_string() {
        return Ok(Some(Value::Text(text)));
    }
    if let Some(bytes) = value.dyn_ref::<Uint8Array>() {
        return Ok(Some(Value::Bytes(bytes.to_vec())));
    }
    if value.is_bigint() {
        return Err(Error::invalid("a BigInt is no value to keep; use a number or a string"));
    }
    if let Some(items) = value.dyn_ref::<Array>() {
        let items = items.iter().map(|item| Ok(read_value(&item, depth + 1)?.unwrap_or_default()));
        return Ok(Some(Value::List(items.collect::<Result<_>>()?)));
    }
    if value.is_function() || !value.is_object() {
        return Ok(None);
    }
    let plain = get(value, "toJSON");
    if let Some(to_json) = plain.dyn_ref::<js_sys::Function>() {
        let json = to_json.call0(value).map_err(|_| Error::invalid("a value's toJSON() failed"))?;
        return read_value(&json, depth + 1);
    }
    let mut map = SortedMap::new();
    for entry in Object::entries(value.unchecked_ref()).iter() {
        let entry: Array = entry.unchecked_into();
        if let (Some(name), Some(item)) = (entry.get(0).as_string(), read_value(&entry.get(1), depth + 1)?) {
            map.insert(name, item);
        }
    }
    Ok(Some(Value::Map(map)))
}

/// What an entity shows: `undefined` where that is not known, `null` where there is none, else whether it is deleted and
/// its fields by kind.
pub fn seen_to_js(seen: &Seen) -> JsValue {
    let (deleted, fields) = match seen {
        Seen::Unknown => return JsValue::UNDEFINED,
        Seen::Absent => return JsValue::NULL,
        Seen::There { deleted, fields } => (*deleted, fields),
    };
    let [registers, counters, sets] = [0; 3].map(|_| JsValue::from(Object::new()));
    for (name, value) in fields {
        match value {
            FieldValue::Register(value) => set(&registers, name.as_str(), &value_to_js(value)),
            FieldValue::Counter(sum) => set(&counters, name.as_str(), &(*sum as f64).into()),
            FieldValue::Set(items) => {
                set(&sets, name.as_str(), &items.iter().map(value_to_js).collect::<Array>().into());
            }
            // Texts are read by themselves; no schema has a kind for others' updates.
            FieldValue::Text(..) | FieldValue::Opaque(_) => {}
        }
    }
    object([("deleted", deleted.into()), ("registers", registers), ("counters", counters), ("sets", sets)])
}

/// Edits as the facade writes them: `[name, field, …]` each.
pub fn edits_from_js(edits: &JsValue) -> Result<Vec<Edit>> {
    let edits = edits.dyn_ref::<Array>().ok_or_else(wrong)?;
    edits.iter().map(|edit| edit_from_js(edit.dyn_ref::<Array>().ok_or_else(wrong)?)).collect()
}

fn edit_from_js(edit: &Array) -> Result<Edit> {
    let name = edit.get(0).as_string().ok_or_else(wrong)?;
    let field = || FieldName::new(&edit.get(1).as_string().ok_or_else(wrong)?);
    let text = |place| edit.get(place).as_string().ok_or_else(wrong);
    let place = |place| {
        let number = edit.get(place).as_f64().filter(|number| number.fract() == 0.0);
        let number = number.filter(|number| (0.0..=f64::from(u32::MAX)).contains(number));
        number.map(|number| number as u32).ok_or_else(|| Error::invalid("places in texts are whole numbers from 0"))
    };
    Ok(match name.as_str() {
        "create" => Edit::Create,
        "delete" => Edit::Delete,
        "restore" => Edit::Restore,
        "set" => Edit::Set(field()?, value_from_js(&edit.get(2))?),
        "clear" => Edit::Clear(field()?),
        "add" => {
            let by = edit.get(2).as_f64().filter(|by| by.fract() == 0.0 && by.abs() <= MAX_SAFE);
            Edit::Add(field()?, by.ok_or_else(|| Error::invalid("counters take whole numbers up to 2^53"))? as i64)
        }
        "insert" => Edit::Insert(field()?, value_from_js(&edit.get(2))?),
        "remove" => Edit::Remove(field()?, value_from_js(&edit.get(2))?),
        "type" => Edit::TextInsert(field()?, place(2)?, text(3)?),
        "erase" => Edit::TextDelete(field()?, place(2)?, place(3)?),
        "retype" => Edit::TextReplace(field()?, text(2)?),
        "mark" => Edit::TextMark(field()?, place(2)?, place(3)?, text(4)?, value_from_js(&edit.get(5))?),
        "yjs" => {
            let update = edit.get(2).dyn_into::<Uint8Array>().map_err(|_| Error::invalid("a Yjs update is bytes"))?;
            Edit::TextUpdate(field()?, update.to_vec())
        }
        _ => return Err(wrong()),
    })
}

fn wrong() -> Error {
    Error::new(ErrorCode::Version, "the package's parts are of different versions; install it again")
}
