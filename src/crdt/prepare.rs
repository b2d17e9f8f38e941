//! From an app's wishes to operations that name what the app had seen.

use std::borrow::Cow;

use super::edit::Edit;
use super::logs::{EventAt, LogTable};
use super::state::{EntityState, FieldState};
use super::text::TextSession;
use super::typing::joined;
use crate::error::{Error, ErrorCode, Result};
use crate::types::limits::{MAX_DOTS, MAX_EVENT_BYTES, MAX_OPS};
use crate::types::{EntityId, Event, FieldKind, FieldName, FieldOp, HybridTimestamp, InFull};

impl EntityState {
    /// The operations of one event that does what `edits` wish, in order; each edit sees those before it. The state
    /// stays as it is until the event is applied. No operations mean that there is nothing to do (an item that is not
    /// in the set is taken out, say).
    ///
    /// `text_client` is [`super::text_client_id`] of the event's log, with a session that no other running copy of
    /// this device uses. Errors: `deleted` for anything but a `Restore` on a deleted entity, `not_found` for a `Delete`
    /// or `Restore` of one that never was, `invalid` for a place outside of a text or an update under another client,
    /// `too_large` for what does not fit into one event, `unsupported` for texts without the feature `text`.
    pub fn prepare(&self, edits: &[Edit], at: &EventAt, logs: &LogTable, text_client: u64) -> Result<Vec<FieldOp>> {
        self.prepare_in(edits, at, logs, &mut TextSession::new(text_client))
    }

    /// The same with texts that are already open: for an app that edits the same long text again and again.
    pub fn prepare_in(
        &self,
        edits: &[Edit],
        at: &EventAt,
        logs: &LogTable,
        texts: &mut TextSession,
    ) -> Result<Vec<FieldOp>> {
        let mut session = Session {
            exists: self.exists(),
            deleted: self.exists() && !self.is_visible(),
            state: Cow::Borrowed(self),
            logs: Cow::Borrowed(logs),
            texts,
            ops: Vec::new(),
            at,
        };
        let edits = joined(edits);
        let mut rest = &edits[..];
        while let Some(first) = rest.first() {
            let done = session.ops.len();
            let (step, after) = rest.split_at(edits_of_one_text(rest).max(1));
            match first.text_field() {
                Some(field) => session.text(field, step)?,
                None => session.edit(first)?,
            }
            if session.ops.len() > MAX_OPS {
                return Err(Error::too_large(format!("one change of an entity takes more than {MAX_OPS} operations")));
            }
            if !after.is_empty() {
                session.advance(done);
            }
            rest = after;
        }
        let event = Event { entity: EntityId([0; 16]), seen: self.seen_for(at.log, logs), ops: session.ops };
        let mut bytes = Vec::new();
        event.encode(&mut bytes, &mut InFull);
        if bytes.len() > MAX_EVENT_BYTES {
            return Err(Error::too_large(format!(
                "one change of an entity takes {} bytes, more than {MAX_EVENT_BYTES}; make it in several",
                bytes.len()
            )));
        }
        Ok(event.ops)
    }
}

/// How many edits at the start are of one text: they become one update.
fn edits_of_one_text(edits: &[Cow<'_, Edit>]) -> usize {
    let field = edits.first().and_then(|first| first.text_field());
    edits.iter().take_while(|edit| field.is_some() && edit.text_field() == field).count()
}

struct Session<'a> {
    state: Cow<'a, EntityState>,
    logs: Cow<'a, LogTable>,
    texts: &'a mut TextSession,
    ops: Vec<FieldOp>,
    at: &'a EventAt,
    exists: bool,
    deleted: bool,
}

impl Session<'_> {
    fn edit(&mut self, edit: &Edit) -> Result<()> {
        self.allows(edit)?;
        if !self.exists && matches!(edit, Edit::Delete | Edit::Restore) {
            return Err(Error::new(ErrorCode::NotFound, "there is no such entity to delete or restore"));
        }
        self.exists = true;
        let op = match edit {
            Edit::Create => FieldOp::Create,
            Edit::Delete => {
                self.deleted = true;
                FieldOp::Delete
            }
            Edit::Restore => {
                self.deleted = false;
                FieldOp::Create
            }
            Edit::Set(field, value) => {
                FieldOp::Set { field: field.clone(), value: value.clone().canonical()?, lift: self.lift(field) }
            }
            Edit::Clear(field) => return self.clear(field),
            Edit::Add(field, by) => FieldOp::Add { field: field.clone(), by: *by },
            Edit::Insert(field, item) => FieldOp::Insert { field: field.clone(), item: item.clone().canonical()? },
            Edit::Remove(field, item) => {
                let item = item.clone().canonical()?;
                let dots = match self.field(field, FieldKind::Set) {
                    Some(FieldState::Set(set)) => set.dots(Some(&item), &self.logs),
                    _ => Vec::new(),
                };
                for dots in dots.chunks(MAX_DOTS) {
                    self.ops.push(FieldOp::Remove { field: field.clone(), item: item.clone(), dots: dots.to_vec() });
                }
                return Ok(());
            }
            Edit::Opaque(field, bytes) => FieldOp::Opaque { field: field.clone(), bytes: bytes.clone() },
            Edit::TextUpdate(field, _)
            | Edit::TextInsert(field, ..)
            | Edit::TextDelete(field, ..)
            | Edit::TextReplace(field, ..)
            | Edit::TextMark(field, ..) => return self.text(field, &[Cow::Borrowed(edit)]),
        };
        self.ops.push(op);
        Ok(())
    }

    fn allows(&self, edit: &Edit) -> Result<()> {
        match self.deleted && *edit != Edit::Restore {
            true => Err(Error::new(ErrorCode::Deleted, "the entity is deleted; restore it first")),
            false => Ok(()),
        }
    }

    /// Edits of one text, as one update.
    fn text(&mut self, field: &FieldName, edits: &[Cow<'_, Edit>]) -> Result<()> {
        edits.iter().try_for_each(|edit| self.allows(edit))?;
        self.exists = true;
        let found = self.state.find(field, FieldKind::Text).ok().and_then(|found| self.state.fields.get(found));
        let held = match found.map(|field| &field.state) {
            Some(FieldState::Text(updates)) => Some(&**updates),
            _ => None,
        };
        let update = self.texts.edit(field, edits, held, self.at, &self.logs)?;
        self.ops.extend(update.map(|update| FieldOp::Text { field: field.clone(), update }));
        Ok(())
    }

    fn field(&self, name: &FieldName, kind: FieldKind) -> Option<&FieldState> {
        let found = self.state.find(name, kind).ok()?;
        self.state.fields.get(found).map(|field| &field.state)
    }

    /// What raises this commit's time over the stamp that is overwritten.
    fn lift(&self, name: &FieldName) -> u64 {
        self.at.hlc.lift_over(self.stamp(name))
    }

    fn stamp(&self, name: &FieldName) -> Option<HybridTimestamp> {
        match self.field(name, FieldKind::Register)? {
            FieldState::Register(register) => Some(register.stamp()),
            _ => None,
        }
    }

    /// Empties a field in each kind that it holds. Another CRDT's updates stay: only that CRDT can take them back.
    fn clear(&mut self, field: &FieldName) -> Result<()> {
        let before = self.ops.len();
        if let Some(FieldState::Counter(counter)) = self.field(field, FieldKind::Counter) {
            let sums = counter.sums(&self.logs);
            if !sums.is_empty() {
                self.ops.push(FieldOp::ClearCounter { field: field.clone(), sums });
            }
        }
        if let Some(FieldState::Set(set)) = self.field(field, FieldKind::Set) {
            let dots = set.dots(None, &self.logs);
            for dots in dots.chunks(MAX_DOTS) {
                self.ops.push(FieldOp::ClearSet { field: field.clone(), dots: dots.to_vec() });
            }
        }
        let update = match self.field(field, FieldKind::Text) {
            Some(FieldState::Text(updates)) => {
                let updates = updates.clone();
                let clear = [Cow::Owned(Edit::Clear(field.clone()))];
                self.texts.edit(field, &clear, Some(&updates), self.at, &self.logs)?
            }
            _ => None,
        };
        self.ops.extend(update.map(|update| FieldOp::Text { field: field.clone(), update }));
        if self.stamp(field).is_some() || self.ops.len() == before {
            self.ops.push(FieldOp::Clear { field: field.clone(), lift: self.lift(field) });
        }
        Ok(())
    }

    /// Shows the operations from `done` on to the edits that follow.
    fn advance(&mut self, done: usize) {
        let seen = self.state.seen_for(self.at.log, &self.logs);
        let logs = self.logs.to_mut();
        let state = self.state.to_mut();
        state.note(&seen, self.at, logs);
        for op in self.ops.iter().skip(done) {
            state.apply_op(op, self.at, logs);
        }
    }
}
