//! The one mapping between values and JSON.
//!
//! | value | JSON |
//! |---|---|
//! | null, booleans, text, lists, maps | the same |
//! | whole numbers that fit 64 bits with a sign | `1` |
//! | other numbers, as the nearest 64-bit float | `1.0`, `1e300`, `18446744073709551615` |
//! | floats that JSON lacks | `{"$float": "nan"}`, `"inf"`, `"-inf"` |
//! | bytes | `{"$bytes": "<base64>"}` |
//! | a map whose only name starts with `$` | `{"$map": {"$name": …}}` |

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use privstack_sync::error::{Error, Result};
use privstack_sync::types::Value;
use serde_json::{Map, Number, Value as Json, json};

/// A value as JSON; [`from_json`] reads it back exactly.
pub fn to_json(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Int(number) => Json::from(*number),
        Value::Float(number) => float_to_json(*number),
        Value::Text(text) => Json::String(text.clone()),
        Value::Bytes(bytes) => bytes_to_json(bytes),
        Value::List(items) => Json::Array(items.iter().map(to_json).collect()),
        Value::Map(items) => {
            let map: Map<String, Json> = items.iter().map(|(name, item)| (name.clone(), to_json(item))).collect();
            let looks_special = map.len() == 1 && map.keys().all(|name| name.starts_with('$'));
            if looks_special { json!({ "$map": map }) } else { Json::Object(map) }
        }
    }
}

/// Bytes as JSON.
pub fn bytes_to_json(bytes: &[u8]) -> Json {
    json!({ "$bytes": to_base64(bytes) })
}

/// Bytes in base64.
pub fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Reads [`to_base64`].
pub fn from_base64(text: &str) -> Result<Vec<u8>> {
    STANDARD.decode(text).map_err(|error| Error::invalid(format!("bytes that are not base64: {error}")))
}

fn float_to_json(number: f64) -> Json {
    match Number::from_f64(number) {
        Some(number) => Json::Number(number),
        None if number.is_nan() => json!({ "$float": "nan" }),
        None if number > 0.0 => json!({ "$float": "inf" }),
        None => json!({ "$float": "-inf" }),
    }
}

/// A JSON value as a value; fails on malformed `$bytes`, `$float` and `$map`, and on one that nests too deep.
pub fn from_json(json: &Json) -> Result<Value> {
    // serde_json refuses to read deeper than 128 levels, so this recursion is bounded.
    read(json)?.canonical()
}

fn read(json: &Json) -> Result<Value> {
    Ok(match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => Value::Int(whole),
            None => Value::float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(items) => Value::List(items.iter().map(read).collect::<Result<_>>()?),
        Json::Object(map) => match special(map) {
            Some(("$bytes", Json::String(text))) => Value::Bytes(from_base64(text)?),
            Some(("$float", Json::String(name))) => match name.as_str() {
                "nan" => Value::float(f64::NAN),
                "inf" => Value::Float(f64::INFINITY),
                "-inf" => Value::Float(f64::NEG_INFINITY),
                _ => return Err(Error::invalid("`$float` takes \"nan\", \"inf\" or \"-inf\"")),
            },
            Some(("$map", Json::Object(inner))) => read_map(inner)?,
            Some((name @ ("$bytes" | "$float" | "$map"), _)) => {
                return Err(Error::invalid(format!("`{name}` with the wrong sort of content")));
            }
            _ => read_map(map)?,
        },
    })
}

fn special(map: &Map<String, Json>) -> Option<(&str, &Json)> {
    let (name, content) = map.iter().next()?;
    (map.len() == 1 && name.starts_with('$')).then_some((name.as_str(), content))
}

fn read_map(map: &Map<String, Json>) -> Result<Value> {
    map.iter().map(|(name, item)| Ok((name.clone(), read(item)?))).collect::<Result<_>>().map(Value::Map)
}

/// Bytes out of `{"$bytes": …}`.
pub fn bytes_from_json(json: &Json) -> Result<Vec<u8>> {
    match read(json)? {
        Value::Bytes(bytes) => Ok(bytes),
        _ => Err(Error::invalid("bytes are written {\"$bytes\": \"<base64>\"}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            any::<f64>().prop_map(Value::float),
            ".{0,8}".prop_map(Value::Text),
            proptest::collection::vec(any::<u8>(), 0..8).prop_map(Value::Bytes),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
                proptest::collection::btree_map("\\$?[a-z]{0,5}|\\$bytes|\\$map", inner, 0..3)
                    .prop_map(|items| Value::Map(items.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_value_reads_back_from_its_json_text(value in any_value()) {
            let text = to_json(&value).to_string();
            let json: Json = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(from_json(&json).unwrap(), value);
        }
    }

    #[test]
    fn numbers_beyond_64_bits_with_a_sign_become_floats_and_wrong_bytes_are_refused() {
        assert_eq!(from_json(&json!(u64::MAX)).unwrap(), Value::Float(u64::MAX as f64));
        assert_eq!(from_json(&json!(i64::MIN)).unwrap(), Value::Int(i64::MIN));
        assert_eq!(from_json(&json!(2.0)).unwrap(), Value::Float(2.0));
        assert!(from_json(&json!({"$bytes": "?"})).is_err());
        assert!(from_json(&json!({"$bytes": 1})).is_err());
        assert!(from_json(&json!({"$float": "big"})).is_err());
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = format!("{}{}", "[".repeat(60), "]".repeat(60));
        assert!(from_json(&serde_json::from_str(&deep).unwrap()).is_err());
    }
}
