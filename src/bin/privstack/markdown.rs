//! Markdown notes with YAML front matter, and back.

use privstack_sync::error::{Error, Result};
use privstack_sync::types::{EntityId, EntityType};
use serde_json::{Map, Value as Json, json};
use serde_yaml_ng::{Mapping, Value as Yaml};

use crate::document::{BODY, Document, IMPORT_MARK, default_kind, kinds_from_json, source_mark};
use crate::reply::kind_name;

/// Names in the front matter of exported notes that are no fields.
const ID: &str = "privstack_id";
const TYPE: &str = "privstack_type";
const KINDS: &str = "privstack_kinds";
/// [`source_mark`] of the exported note without this line: a note that nobody has touched since changes nothing when it
/// is imported again, whatever has been edited in the vault since.
const HASH: &str = "privstack_hash";

/// The type of a note whose front matter names none.
pub const DEFAULT_TYPE: &str = "note";

/// Reads a note. `path` is where it stood, for the field of that name and as the last resort for a title. A front matter
/// that cannot be read stays part of the text; the second result says so.
pub fn parse(text: &str, path: &str) -> Result<(Document, Option<String>)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (front, body, warning) = match split(text) {
        None => (Map::new(), text, None),
        Some((yaml, body)) => match read_yaml(yaml) {
            Ok(front) => (front, body, None),
            Err(error) => (Map::new(), text, Some(format!("the front matter stays part of the text: {error}"))),
        },
    };
    let mut document = Document { fields: front, ..Document::default() };
    if let Some(id) = document.fields.remove(ID) {
        let id = id.as_str().and_then(|id| id.parse::<EntityId>().ok());
        document.id = Some(id.ok_or_else(|| Error::invalid(format!("`{ID}` is not an entity's id")))?);
    }
    if let Some(name) = document.fields.remove(TYPE) {
        document.entity_type = Some(EntityType::new(name.as_str().unwrap_or_default())?);
    }
    if let Some(hash) = document.fields.remove(HASH) {
        let line = format!("{HASH}: {}\n", hash.as_str().unwrap_or_default());
        let mark = source_mark(text.replacen(&line, "", 1).as_bytes());
        document.pristine = hash.as_str() == Some(format!("h{mark}").as_str());
    }
    document.kinds = kinds_from_json(document.fields.remove(KINDS).as_ref())?;
    match document.fields.get(BODY) {
        None => {
            document.fields.insert(BODY.into(), body.into());
        }
        Some(_) if body.trim().is_empty() => {}
        Some(_) => return Err(Error::invalid("has a field `body` in its front matter and a text below it")),
    }
    // An exported note says everything itself.
    if document.id.is_none() {
        document.fields.entry("path").or_insert_with(|| path.into());
        document.fields.entry("title").or_insert_with(|| title(body, path).into());
    }
    Ok((document, warning))
}

/// The front matter and what follows it, where a text starts with `---` and a line `---` or `...` ends it.
fn split(text: &str) -> Option<(&str, &str)> {
    let mut lines = text.split_inclusive('\n');
    let first = lines.next().filter(|line| line.ends_with('\n') && line.trim_end() == "---")?;
    let mut end = first.len();
    for line in lines {
        let next = end + line.len();
        if matches!(line.trim_end(), "---" | "...") {
            return Some((text.get(first.len()..end)?, text.get(next..)?));
        }
        end = next;
    }
    None
}

fn read_yaml(yaml: &str) -> std::result::Result<Map<String, Json>, String> {
    if yaml.trim().is_empty() {
        return Ok(Map::new());
    }
    match serde_yaml_ng::from_str::<Yaml>(yaml) {
        Ok(Yaml::Mapping(map)) => to_object(&map),
        Ok(Yaml::Null) => Ok(Map::new()),
        Ok(_) => Err("it is not a list of names and values".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn to_object(map: &Mapping) -> std::result::Result<Map<String, Json>, String> {
    map.iter()
        .map(|(name, value)| {
            let name = match name {
                Yaml::String(name) => name.clone(),
                Yaml::Number(number) => number.to_string(),
                Yaml::Bool(value) => value.to_string(),
                _ => return Err("one of its names is not a plain word".to_owned()),
            };
            Ok((name, to_json(value)?))
        })
        .collect()
}

fn to_json(yaml: &Yaml) -> std::result::Result<Json, String> {
    Ok(match yaml {
        Yaml::Null => Json::Null,
        Yaml::Bool(value) => (*value).into(),
        Yaml::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(whole), ..) => whole.into(),
            (_, Some(whole), _) => whole.into(),
            (.., float) => crate::values::to_json(&float.unwrap_or(f64::NAN).into()),
        },
        Yaml::String(text) => text.clone().into(),
        Yaml::Sequence(items) => Json::Array(items.iter().map(to_json).collect::<std::result::Result<_, _>>()?),
        Yaml::Mapping(map) => to_object(map)?.into(),
        Yaml::Tagged(tagged) => to_json(&tagged.value)?,
    })
}

/// The first heading outside code, else the file's name.
fn title(body: &str, path: &str) -> String {
    let mut in_code = false;
    for line in body.lines().take(200) {
        if line.starts_with("```") || line.starts_with("~~~") {
            in_code = !in_code;
        }
        let heading = line.trim_start_matches('#');
        let level = line.len() - heading.len();
        if !in_code && (1..=6).contains(&level) && heading.starts_with([' ', '\t']) {
            let heading = heading.trim().trim_end_matches('#').trim_end();
            if !heading.is_empty() {
                return heading.to_owned();
            }
        }
    }
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_owned()
}

/// Writes an entity, as `--json` shows it, as a note that [`parse`] reads back.
pub fn render(entity: &Json) -> Result<String> {
    let object = entity.as_object().ok_or_else(|| Error::invalid("an entity that is no object"))?;
    let document = Document::from_entity(object).ok_or_else(|| Error::invalid("an object that is no entity"))??;
    let mut front = Map::new();
    if let Some(id) = document.id {
        front.insert(ID.into(), id.to_string().into());
    }
    if let Some(name) = document.entity_type.filter(|name| name.as_str() != DEFAULT_TYPE) {
        front.insert(TYPE.into(), name.as_str().into());
    }
    let mut kinds = Map::new();
    let mut body = "";
    for (field, value) in document.fields.iter().filter(|(field, _)| *field != IMPORT_MARK) {
        let kind = document.kinds.get(field).copied().unwrap_or(privstack_sync::types::FieldKind::Register);
        let is_default = default_kind(field, value) == kind;
        match value.as_str() {
            Some(text) if field == BODY && is_default => body = text,
            _ => {
                front.insert(field.clone(), value.clone());
            }
        }
        if !is_default {
            kinds.insert(field.clone(), kind_name(kind).into());
        }
    }
    if [ID, TYPE, KINDS, HASH].iter().any(|name| document.fields.contains_key(*name)) {
        return Err(Error::invalid("has a field with a name that exported notes use themselves; export it as JSON"));
    }
    if !kinds.is_empty() {
        front.insert(KINDS.into(), json!(kinds));
    }
    let yaml = serde_yaml_ng::to_string(&front)
        .map_err(|error| Error::invalid(format!("cannot be written as front matter: {error}")))?;
    let mark = source_mark(format!("---\n{yaml}---\n{body}").as_bytes());
    // The letter keeps YAML from reading digits as a number.
    Ok(format!("---\n{yaml}{HASH}: h{mark}\n---\n{body}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fields(text: &str) -> Json {
        parse(text, "a/b.md").unwrap().0.fields.into()
    }

    #[test]
    fn front_matter_becomes_fields_and_the_rest_the_body() {
        assert_eq!(
            fields("---\ntitle: T\ntags: [a, 1]\n2020: yes\nwhen: 2026-11-22\n---\n\n# H\n"),
            json!({"title": "T", "tags": ["a", 1], "2020": "yes", "when": "2026-11-22", "path": "a/b.md", "body": "\n# H\n"})
        );
    }

    #[test]
    fn the_title_is_the_first_heading_outside_code_else_the_name_of_the_file() {
        assert_eq!(fields("```\n# no\n```\n## Yes ##\n")["title"], "Yes");
        assert_eq!(fields("#hashtag\n")["title"], "b");
        assert_eq!(fields("")["title"], "b");
    }

    #[test]
    fn what_is_no_front_matter_stays_in_the_text() {
        for text in ["---\nno end\n", "---\n- a list\n---\nx", "---\n{ broken\n---\nx", "--- \ttext", "---"] {
            assert_eq!(fields(text)["body"], text);
        }
        assert!(parse("---\n{ broken\n---\nx", "x").unwrap().1.is_some());
        assert_eq!(fields("---\r\ntitle: T\r\n---\r\nx\r\n")["body"], "x\r\n");
        assert_eq!(fields("\u{feff}---\n---\nx")["body"], "x");
        assert!(parse("---\nbody: a\n---\nb", "x").is_err());
        assert!(parse("---\nprivstack_id: a\n---\nb", "x").is_err());
    }

    fn any_json() -> impl Strategy<Value = Json> {
        let text =
            prop_oneof![".{0,12}", Just("---".to_owned()), Just("yes\n---\nno: 1".to_owned()), Just("~".to_owned())];
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            any::<f64>().prop_map(|number| crate::values::to_json(&number.into())),
            text.prop_map(Json::from),
        ];
        leaf.prop_recursive(2, 12, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Json::from),
                proptest::collection::btree_map("[a-z]{1,4}|---|1|null", inner, 0..3).prop_map(|map| json!(map)),
            ]
        })
    }

    proptest! {
        #[test]
        fn an_exported_note_reads_back(
            front in proptest::collection::btree_map("[a-z ]{1,6}|---|12|tags|title|é", any_json(), 0..5),
            body in proptest::option::of("(---\n|\n|\\PC{0,9}\r?\n){0,4}.{0,9}"),
            entity_type in prop_oneof![Just("note"), Just("task")],
        ) {
            let mut fields: Map<String, Json> = front.into_iter().collect();
            let mut kinds = Map::new();
            for (name, value) in &fields {
                let kind = default_kind(name, value);
                if kind != privstack_sync::types::FieldKind::Register {
                    kinds.insert(name.clone(), kind_name(kind).into());
                }
            }
            if let Some(body) = &body {
                fields.insert("body".into(), body.as_str().into());
                kinds.insert("body".into(), "text".into());
            }
            let id = "0190a0b0-7c1d-7abc-8def-0123456789ab";
            let entity = json!({"id": id, "type": entity_type, "deleted": false, "fields": fields, "kinds": kinds});
            let (document, warning) = parse(&render(&entity).unwrap(), "other.md").unwrap();
            prop_assert_eq!(warning, None);
            prop_assert!(document.pristine);
            prop_assert_eq!(document.id.unwrap().to_string(), id);
            prop_assert_eq!(document.entity_type.map_or("note".into(), |name| name.to_string()), entity_type);
            fields.entry("body").or_insert("".into());
            // Floats are equal as values, not always as JSON numbers.
            prop_assert_eq!(
                crate::values::from_json(&document.fields.into()).unwrap(),
                crate::values::from_json(&fields.into()).unwrap()
            );
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "(---|[a-z]: |[\\[{&*!#]|\n|\\PC){0,24}") {
            let _ = parse(&text, "x.md");
        }
    }
}
