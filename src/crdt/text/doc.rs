//! Reading and editing texts through yrs.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use yrs::types::Attrs;
use yrs::types::text::YChange;
use yrs::updates::decoder::Decode;
use yrs::{Any, ClientID, Doc, Number, OffsetKind, Options, Out, Text, TextRef, Transact, TransactionMut};

use super::author_of_client;
use super::build::build;
use super::update::{ROOT, check_update};
use crate::crdt::edit::Edit;
use crate::crdt::logs::{EventAt, LogTable};
use crate::crdt::updates::{Update, Updates, Version, next_version};
use crate::crdt::view::Mark;
use crate::error::{Error, ErrorCode, Result};
use crate::types::{FieldName, SortedMap, Value};

/// Stands in a text for an embedded thing: one code unit, as in Yjs's positions.
const EMBEDDED: &str = "\u{fffc}";

/// A text and its marks in the order of their starts.
pub(in crate::crdt) fn read(updates: &Updates, logs: &LogTable) -> (String, Vec<Mark>) {
    match open(Some(updates), logs, 0) {
        Ok((doc, text)) => shown(&doc, &text),
        Err(error) => {
            // The update was built here from checked parts; should it fail all the same, say so.
            tracing::error!(%error, "a text cannot be shown");
            Default::default()
        }
    }
}

/// The texts of one entity as they are edited. Building a document takes time that grows with the text, so a session
/// may be kept for the next [`EntityState::prepare_in`](crate::crdt::EntityState::prepare_in) of the same entity: a
/// document is used again as long as the entity holds just what the document was built from and what was prepared
/// in this session since. It costs memory for each text that was edited.
pub struct TextSession {
    client: u64,
    open: SortedMap<FieldName, Document>,
}

impl TextSession {
    /// For edits under this client id ([`crate::crdt::text_client_id`]).
    pub fn new(client: u64) -> Self {
        Self { client, open: SortedMap::new() }
    }

    /// The one update that makes some edits (each a `Text…` or a `Clear`), in their order, of a text of which `held` is
    /// known; none where they change nothing.
    pub(in crate::crdt) fn edit(
        &mut self,
        field: &FieldName,
        edits: &[Cow<'_, Edit>],
        held: Option<&Updates>,
        at: &EventAt,
        logs: &LogTable,
    ) -> Result<Option<Vec<u8>>> {
        if let [edit] = edits
            && let Edit::TextUpdate(_, update) = &**edit
        {
            check_update(update, author_of_client(self.client))?;
            self.open.remove(field);
            return Ok(Some(update.clone()));
        }
        let version = (held.map(Updates::version).unwrap_or_default(), logs.fork_marks());
        let mut document = match self.open.remove(field).filter(|document| document.version == version) {
            Some(document) => document,
            None => Document::new(open(held, logs, self.client)?, version),
        };
        // A document that an error leaves half changed is not kept.
        let update = document.change(field, edits)?;
        if let Some(bytes) = &update {
            check_update(bytes, author_of_client(self.client))?;
            let before = document.version.0.entry(at.log).or_default();
            *before = next_version(*before, &Update { log: at.log, pos: at.pos(), counts: at.counts, bytes });
        }
        self.open.insert(field.clone(), document);
        Ok(update)
    }
}

pub(super) enum Change<'a> {
    Replace { at: u32, length: u32, new: &'a str },
    Mark { at: u32, length: u32, key: &'a str, value: Any },
}

impl Change<'_> {
    pub fn is_nothing(&self) -> bool {
        match self {
            Change::Replace { length, new, .. } => *length == 0 && new.is_empty(),
            Change::Mark { length, .. } => *length == 0,
        }
    }
}

pub(super) struct Document {
    doc: Doc,
    text: TextRef,
    shown: Shown,
    /// What it was built from and changed by, and under which fork marks.
    version: (Version, u64),
}

/// A document's characters, so that a place is found without asking yrs for all of them at each edit.
struct Shown {
    text: String,
    /// All code units are bytes.
    is_ascii: bool,
}

impl Shown {
    fn new(text: String) -> Self {
        Self { is_ascii: text.is_ascii(), text }
    }

    /// The bytes of a range in UTF-16 code units; `None` outside of the text or inside of a character.
    fn bytes_of(&self, at: u32, length: u32) -> Option<Range<usize>> {
        let (start, end) = (at as usize, at.checked_add(length)? as usize);
        if self.is_ascii {
            return (end <= self.text.len()).then_some(start..end);
        }
        let (mut units, mut first) = (0, None);
        for (byte, char) in self.text.char_indices() {
            if units == start {
                first = first.or(Some(byte));
            }
            if units == end {
                return Some(first?..byte);
            }
            units += char.len_utf16();
        }
        let last = self.text.len();
        (units == end).then_some(if start == end { last } else { first? }..last)
    }

    fn units(&self) -> usize {
        if self.is_ascii { self.text.len() } else { self.text.encode_utf16().count() }
    }

    /// What an edit comes to here.
    fn plan<'a>(&self, field: &FieldName, edit: &'a Edit) -> Result<Change<'a>> {
        let inside = |at: u32, length: u32| match self.bytes_of(at, length) {
            Some(_) => Ok(()),
            None => Err(Error::invalid(format!(
                "{at} + {length} is no place in the text `{field}` of {} code units, or is inside of a character",
                self.units()
            ))),
        };
        Ok(match edit {
            Edit::TextInsert(_, at, new) => {
                inside(*at, 0)?;
                Change::Replace { at: *at, length: 0, new }
            }
            Edit::TextDelete(_, at, length) => {
                inside(*at, *length)?;
                Change::Replace { at: *at, length: *length, new: "" }
            }
            Edit::TextReplace(_, new) => smallest_change(&self.text, new),
            Edit::TextMark(_, at, length, key, value) => {
                inside(*at, *length)?;
                Change::Mark { at: *at, length: *length, key, value: to_any(value.clone().canonical()?)? }
            }
            _ => smallest_change(&self.text, ""),
        })
    }

    fn replace(&mut self, at: u32, length: u32, new: &str) {
        if let Some(range) = self.bytes_of(at, length) {
            self.text.replace_range(range, new);
            self.is_ascii &= new.is_ascii();
        }
    }
}

pub(super) fn open(updates: Option<&Updates>, logs: &LogTable, client: u64) -> Result<(Doc, TextRef)> {
    let mut options = Options::with_guid_and_client_id(ROOT.into(), ClientID::new(client));
    options.offset_kind = OffsetKind::Utf16;
    options.skip_gc = true;
    let doc = Doc::with_options(options);
    let text = doc.get_or_insert_text(ROOT);
    if let Some(updates) = updates {
        let built = build(updates, logs);
        if built.is_waiting(client) {
            return Err(Error::new(
                ErrorCode::Busy,
                "this device's own text waits for text of others that has not arrived; sync, or start anew",
            ));
        }
        let unreadable =
            |error: &dyn std::fmt::Display| Error::storage(format!("a text cannot be read from its updates: {error}"));
        let update = yrs::Update::decode_v1(&built.update).map_err(|error| unreadable(&error))?;
        doc.transact_mut().apply_update(update).map_err(|error| unreadable(&error))?;
    }
    Ok((doc, text))
}

impl Document {
    pub fn new((doc, text): (Doc, TextRef), version: (Version, u64)) -> Self {
        let shown = Shown::new(shown(&doc, &text).0);
        Self { doc, text, shown, version }
    }

    pub fn doc(&self) -> &Doc {
        &self.doc
    }

    pub fn root(&self) -> &TextRef {
        &self.text
    }

    pub fn shown_text(&self) -> &str {
        &self.shown.text
    }

    /// Takes note of what it shows after an update.
    pub fn show(&mut self, text: String) {
        self.shown = Shown::new(text);
    }

    /// What an edit comes to here.
    pub fn plan<'a>(&self, field: &FieldName, edit: &'a Edit) -> Result<Change<'a>> {
        self.shown.plan(field, edit)
    }

    /// Makes changes and gives the update of just those.
    pub fn change(&mut self, field: &FieldName, edits: &[Cow<'_, Edit>]) -> Result<Option<Vec<u8>>> {
        let mut transaction: TransactionMut<'_> = self.doc.transact_mut();
        let mut changed = false;
        for edit in edits {
            let change = self.shown.plan(field, edit)?;
            if change.is_nothing() {
                continue;
            }
            changed = true;
            match change {
                Change::Replace { at, length, new } => {
                    if length > 0 {
                        self.text.remove_range(&mut transaction, at, length);
                    }
                    self.text.insert(&mut transaction, at, new);
                    self.shown.replace(at, length, new);
                }
                Change::Mark { at, length, key, value } => {
                    self.text.format(&mut transaction, at, length, Attrs::from([(key.into(), value)]));
                }
            }
        }
        Ok(changed.then(|| transaction.encode_update_v1()))
    }
}

pub(super) fn shown(doc: &Doc, text: &TextRef) -> (String, Vec<Mark>) {
    let chunks = text.diff(&doc.transact(), YChange::identity);
    let mut text = String::new();
    let mut at = 0_u32;
    let mut marks = Vec::new();
    let mut open = SortedMap::<Arc<str>, (u32, Any)>::new();
    for chunk in chunks {
        let attributes = chunk.attributes.as_deref();
        let goes_on = |key: &Arc<str>, value: &Any| attributes.and_then(|all| all.get(key)) == Some(value);
        open.retain(|key, (start, value)| {
            let goes_on = goes_on(key, value);
            if !goes_on {
                marks.push(mark(*start, at, key, value));
            }
            goes_on
        });
        for (key, value) in attributes.into_iter().flatten().filter(|(_, value)| **value != Any::Null) {
            open.entry(key.clone()).or_insert_with(|| (at, value.clone()));
        }
        let piece = match &chunk.insert {
            Out::Any(Any::String(piece)) => piece,
            _ => EMBEDDED,
        };
        text.push_str(piece);
        // A text's clocks, and so its code units, are bounded far below 2^32 (see `update`).
        at = at.saturating_add(u32::try_from(piece.encode_utf16().count()).unwrap_or(u32::MAX));
    }
    marks.extend(open.iter().map(|(key, (start, value))| mark(*start, at, key, value)));
    marks.sort_by(|a, b| (a.at, &a.key).cmp(&(b.at, &b.key)));
    (text, marks)
}

/// The change from one text to another that leaves their common start and end as they are.
pub(super) fn smallest_change<'a>(old: &str, new: &'a str) -> Change<'a> {
    let start: usize = old.chars().zip(new.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum();
    let (old_rest, new_rest) = (&old[start..], &new[start..]);
    let same = old_rest.chars().rev().zip(new_rest.chars().rev()).take_while(|(a, b)| a == b);
    let end: usize = same.map(|(a, _)| a.len_utf8()).sum();
    let gone = &old_rest[..old_rest.len() - end];
    Change::Replace {
        at: old[..start].encode_utf16().count() as u32,
        length: gone.encode_utf16().count() as u32,
        new: &new_rest[..new_rest.len() - end],
    }
}

fn mark(start: u32, end: u32, key: &str, value: &Any) -> Mark {
    Mark { at: start, length: end - start, key: key.to_owned(), value: to_value(value) }
}

/// Marks travel as JSON: whole numbers come back as `Int`, whatever they were.
fn to_value(any: &Any) -> Value {
    match any {
        Any::Null | Any::Undefined => Value::Null,
        Any::Bool(value) => Value::Bool(*value),
        Any::Number(Number::Int(number)) => Value::Int(*number),
        Any::Number(Number::Float(number)) if number.fract() == 0.0 && number.abs() < 9e15 => {
            Value::Int(*number as i64)
        }
        Any::Number(Number::Float(number)) => Value::float(*number),
        Any::String(text) => Value::Text(text.as_ref().to_owned()),
        Any::Buffer(bytes) => Value::Bytes(bytes.to_vec()),
        Any::Array(items) => Value::List(items.iter().map(to_value).collect()),
        Any::Map(items) => Value::Map(items.iter().map(|(name, item)| (name.clone(), to_value(item))).collect()),
    }
}

fn to_any(value: Value) -> Result<Any> {
    Ok(match value {
        Value::Null => Any::Null,
        Value::Bool(value) => Any::Bool(value),
        Value::Int(number) => Any::Number(Number::Int(number)),
        Value::Float(number) if number.is_finite() => Any::Number(Number::Float(number)),
        Value::Text(text) => Any::String(text.into()),
        Value::List(items) => Any::Array(items.into_iter().map(to_any).collect::<Result<_>>()?),
        Value::Map(items) => {
            let items = items.into_iter().map(|(name, item)| Ok((name, to_any(item)?)));
            Any::Map(Arc::new(items.collect::<Result<_>>()?))
        }
        Value::Float(_) | Value::Bytes(_) => {
            return Err(Error::invalid("a mark's value travels as JSON, which has no bytes and only finite numbers"));
        }
    })
}
