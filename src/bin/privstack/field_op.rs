//! FIELD-OPs: changes of one field as words of the command line.
//!
//! | written | does |
//! |---|---|
//! | `F=V` | sets the register F; V is JSON where it parses, else a string |
//! | `F!` | clears F |
//! | `F+=N` | adds N (a whole number, may be negative) to the counter F |
//! | `F+:V`, `F-:V` | puts V into the set F, takes it out |
//! | `F@POS+TEXT` | inserts TEXT into the text F at POS |
//! | `F@POS-LEN` | deletes LEN from the text F at POS |
//! | `F<FILE` | hands the bytes of FILE to another CRDT's field F |
//!
//! The first place where one of `=`, `!` (at the very end), `+=`, `+:`, `-:`, `<`, or `@` with digits and a sign stands
//! ends the name of the field. Positions and lengths count UTF-16 code units.

use std::path::PathBuf;
use std::str::FromStr;

use privstack_sync::error::{Error, Result};
use privstack_sync::types::FieldName;
use serde_json::{Value as Json, json};

use crate::values;

/// One FIELD-OP.
#[derive(Clone, PartialEq, Debug)]
pub struct FieldOp {
    /// The field.
    pub field: FieldName,
    /// What happens to it.
    pub action: Action,
}

/// What a FIELD-OP does.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// Sets a register.
    Set(Json),
    /// Clears the field.
    Clear,
    /// Adds to a counter.
    Add(i64),
    /// Puts an item into a set.
    Insert(Json),
    /// Takes an item out of a set.
    Remove(Json),
    /// Inserts into a text.
    TextInsert(u32, String),
    /// Deletes from a text: position, length.
    TextDelete(u32, u32),
    /// The bytes of a file.
    OpaqueFile(PathBuf),
}

impl FieldOp {
    /// As an operation of the JSON protocol; reads the file of `F<FILE`.
    pub fn to_json(&self) -> Result<Json> {
        let field = self.field.as_str();
        Ok(match &self.action {
            Action::Set(value) => json!({ "set": [field, value] }),
            Action::Clear => json!({ "clear": field }),
            Action::Add(by) => json!({ "add": [field, by] }),
            Action::Insert(item) => json!({ "insert": [field, item] }),
            Action::Remove(item) => json!({ "remove": [field, item] }),
            Action::TextInsert(at, text) => json!({ "text_insert": [field, at, text] }),
            Action::TextDelete(at, length) => json!({ "text_delete": [field, at, length] }),
            Action::OpaqueFile(path) => {
                let bytes = crate::files::read_bounded(path, privstack_sync::types::limits::MAX_EVENT_BYTES as u64)?;
                json!({ "opaque": [field, values::bytes_to_json(&bytes)] })
            }
        })
    }
}

/// Whether a word has the form of a FIELD-OP (an id has not).
pub fn looks_like_field_op(word: &str) -> bool {
    find(word).is_some()
}

impl FromStr for FieldOp {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        let (field, operator, rest) = find(word).ok_or_else(|| {
            Error::invalid(format!(
                "`{word}` is not a FIELD-OP: write F=V, F!, F+=N, F+:V, F-:V, F@POS+TEXT, F@POS-LEN or F<FILE"
            ))
        })?;
        let field = FieldName::new(field).map_err(|error| Error::invalid(format!("`{word}`: {}", error.message())))?;
        let wrong = |what: &str| Error::invalid(format!("`{word}`: {what}"));
        let action = match operator {
            Operator::Set => Action::Set(value(rest)?),
            Operator::Clear => Action::Clear,
            Operator::Add => Action::Add(rest.parse().map_err(|_| wrong("what follows += must be a whole number"))?),
            Operator::Insert => Action::Insert(value(rest)?),
            Operator::Remove => Action::Remove(value(rest)?),
            Operator::TextInsert(at) => {
                if rest.is_empty() {
                    return Err(wrong("there is no text to insert"));
                }
                Action::TextInsert(at.parse().map_err(|_| wrong("the position is too large"))?, rest.to_owned())
            }
            Operator::TextDelete(at) => Action::TextDelete(
                at.parse().map_err(|_| wrong("the position is too large"))?,
                rest.parse().map_err(|_| wrong("the length must be a whole number"))?,
            ),
            Operator::File if rest.is_empty() => return Err(wrong("a file must follow <")),
            Operator::File => Action::OpaqueFile(rest.into()),
        };
        Ok(Self { field, action })
    }
}

/// JSON where it parses, else a string; JSON that is no value (malformed `$bytes`) is an error.
fn value(text: &str) -> Result<Json> {
    let json = serde_json::from_str(text).unwrap_or_else(|_| Json::String(text.to_owned()));
    values::from_json(&json)?;
    Ok(json)
}

enum Operator<'a> {
    Set,
    Clear,
    Add,
    Insert,
    Remove,
    TextInsert(&'a str),
    TextDelete(&'a str),
    File,
}

/// Splits a word at its first operator: the field, the operator, what follows it.
fn find(word: &str) -> Option<(&str, Operator<'_>, &str)> {
    word.char_indices().find_map(|(at, _)| {
        let (field, tail) = word.split_at_checked(at)?;
        let (operator, rest) = operator(tail)?;
        Some((field, operator, rest))
    })
}

fn operator(tail: &str) -> Option<(Operator<'_>, &str)> {
    if tail == "!" {
        return Some((Operator::Clear, ""));
    }
    for (token, operator) in [
        ("+=", Operator::Add),
        ("+:", Operator::Insert),
        ("-:", Operator::Remove),
        ("=", Operator::Set),
        ("<", Operator::File),
    ] {
        if let Some(rest) = tail.strip_prefix(token) {
            return Some((operator, rest));
        }
    }
    let tail = tail.strip_prefix('@')?;
    let end = tail.find(|c: char| !c.is_ascii_digit()).filter(|end| *end > 0)?;
    let (at, rest) = tail.split_at_checked(end)?;
    match (rest.strip_prefix('+'), rest.strip_prefix('-')) {
        (Some(text), _) => Some((Operator::TextInsert(at), text)),
        (_, Some(length)) => Some((Operator::TextDelete(at), length)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(word: &str) -> Action {
        word.parse::<FieldOp>().unwrap().action
    }

    #[test]
    fn each_form_of_the_grammar_is_read() {
        assert_eq!(parse("title=hello world"), Action::Set(json!("hello world")));
        assert_eq!(parse("n=12"), Action::Set(json!(12)));
        assert_eq!(parse("l=[1,\"a\"]"), Action::Set(json!([1, "a"])));
        assert_eq!(parse("title="), Action::Set(json!("")));
        assert_eq!(parse("title!"), Action::Clear);
        assert_eq!(parse("n+=-3"), Action::Add(-3));
        assert_eq!(parse("tags+:a"), Action::Insert(json!("a")));
        assert_eq!(parse("tags-:7"), Action::Remove(json!(7)));
        assert_eq!(parse("body@0+a-b=c"), Action::TextInsert(0, "a-b=c".into()));
        assert_eq!(parse("body@10-3"), Action::TextDelete(10, 3));
        assert_eq!(parse("drawing<a=b.bin"), Action::OpaqueFile("a=b.bin".into()));
    }

    #[test]
    fn the_first_operator_ends_the_name() {
        let op: FieldOp = "due-date=a+=1".parse().unwrap();
        assert_eq!((op.field.as_str(), op.action), ("due-date", Action::Set(json!("a+=1"))));
        let op: FieldOp = "wow!=x".parse().unwrap();
        assert_eq!(op.field.as_str(), "wow!");
        let op: FieldOp = "e@mail=x@1+y".parse().unwrap();
        assert_eq!(op.field.as_str(), "e@mail");
    }

    #[test]
    fn what_is_none_of_them_is_refused_with_the_word_in_the_message() {
        for word in [
            "title",
            "",
            "=x",
            "n+=x",
            "n+=99999999999999999999",
            "body@1+",
            "body@5-x",
            "body@99999999999+x",
            "f<",
            "b={\"$bytes\":1}",
        ] {
            let error = word.parse::<FieldOp>().unwrap_err();
            assert_eq!(error.code(), privstack_sync::error::ErrorCode::Invalid, "{word}");
        }
        assert!(!looks_like_field_op("0190a0b0-7c1d-7abc-8def-0123456789ab"));
    }

    fn any_action() -> impl Strategy<Value = (Action, String)> {
        let text = "[^\u{0}]{1,12}";
        prop_oneof![
            text.prop_map(|v| (Action::Set(value(&v).unwrap_or(Json::Null)), format!("={v}"))),
            Just((Action::Clear, "!".to_owned())),
            any::<i64>().prop_map(|n| (Action::Add(n), format!("+={n}"))),
            any::<i64>().prop_map(|n| (Action::Insert(json!(n)), format!("+:{n}"))),
            any::<bool>().prop_map(|v| (Action::Remove(json!(v)), format!("-:{v}"))),
            (any::<u32>(), text).prop_map(|(at, t)| (Action::TextInsert(at, t.clone()), format!("@{at}+{t}"))),
            any::<(u32, u32)>().prop_map(|(at, n)| (Action::TextDelete(at, n), format!("@{at}-{n}"))),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_by_the_grammar_reads_back(
            field in "[a-z][a-z0-9_.é-]{0,10}[a-z0-9]", (action, rest) in any_action()
        ) {
            let op: FieldOp = format!("{field}{rest}").parse().unwrap();
            prop_assert_eq!(op.field.as_str(), field.as_str());
            prop_assert_eq!(op.action, action);
        }

        #[test]
        fn no_word_makes_the_parser_panic(word in "\\PC{0,20}|[a@+:=!<0-9-]{0,12}") {
            let _ = word.parse::<FieldOp>();
        }
    }
}
