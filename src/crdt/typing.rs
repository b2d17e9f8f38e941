//! Keystrokes as one change: what is typed on and on at a cursor, in one event, is inserted once.
//!
//! An event has an effect as a whole, so nobody can tell the difference; and a place in a text takes long to find.

use std::borrow::Cow;

use super::edit::Edit;
use crate::types::FieldName;

/// The same edits, with keystrokes that follow each other joined.
pub(super) fn joined(edits: &[Edit]) -> Vec<Cow<'_, Edit>> {
    let mut all: Vec<Cow<'_, Edit>> = Vec::with_capacity(edits.len());
    let mut run: Option<Run> = None;
    for edit in edits {
        if let Some(open) = &mut run
            && open.take(edit)
        {
            continue;
        }
        all.extend(run.take().map(Run::edit).map(Cow::Owned));
        run = Run::of(edit);
        if run.is_none() {
            all.push(Cow::Borrowed(edit));
        }
    }
    all.extend(run.map(Run::edit).map(Cow::Owned));
    all
}

/// Keystrokes at one cursor. Places and lengths are in UTF-16 code units.
struct Run {
    field: FieldName,
    at: u32,
    kind: Kind,
}

enum Kind {
    /// So many units end in the cursor.
    Typed(String, u32),
    Deleted(u32),
}

impl Run {
    fn of(edit: &Edit) -> Option<Self> {
        let (field, at, kind) = match edit {
            Edit::TextInsert(field, at, text) => (field, at, Kind::Typed(text.clone(), units(text)?)),
            Edit::TextDelete(field, at, length) => (field, at, Kind::Deleted(*length)),
            _ => return None,
        };
        Some(Self { field: field.clone(), at: *at, kind })
    }

    /// Adds an edit, if it goes on where this run ends.
    fn take(&mut self, edit: &Edit) -> bool {
        let goes_on = match (&mut self.kind, edit) {
            (Kind::Typed(typed, length), Edit::TextInsert(field, at, text)) if *field == self.field => {
                let more = units(text).and_then(|more| length.checked_add(more));
                more.filter(|_| self.at.checked_add(*length) == Some(*at)).map(|more| {
                    typed.push_str(text);
                    *length = more;
                })
            }
            // Taken back before anybody has seen it.
            (Kind::Typed(typed, length), Edit::TextDelete(field, at, gone)) if *field == self.field => {
                let ends = at.checked_add(*gone) == self.at.checked_add(*length) && gone <= length;
                let kept = if ends { without_last(typed, *gone) } else { None };
                kept.map(|kept| {
                    typed.truncate(kept);
                    *length -= gone;
                })
            }
            (Kind::Deleted(length), Edit::TextDelete(field, at, gone)) if *field == self.field => {
                let back = at.checked_add(*gone) == Some(self.at);
                length.checked_add(*gone).filter(|_| back || *at == self.at).map(|all| {
                    self.at = *at;
                    *length = all;
                })
            }
            _ => None,
        };
        goes_on.is_some()
    }

    /// The edit that it comes to.
    fn edit(self) -> Edit {
        match self.kind {
            Kind::Typed(text, _) => Edit::TextInsert(self.field, self.at, text),
            Kind::Deleted(length) => Edit::TextDelete(self.field, self.at, length),
        }
    }
}

fn units(text: &str) -> Option<u32> {
    let units = if text.is_ascii() { text.len() } else { text.encode_utf16().count() };
    u32::try_from(units).ok()
}

/// How many bytes are left without the last units; `None` where that would leave half a character.
fn without_last(text: &str, units: u32) -> Option<usize> {
    let (mut left, mut gone) = (text.len(), 0);
    for char in text.chars().rev() {
        if gone >= units {
            break;
        }
        gone += char.len_utf16() as u32;
        left -= char.len_utf8();
    }
    (gone == units).then_some(left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test;

    fn body() -> FieldName {
        FieldName::new("body").unwrap()
    }

    fn insert(at: u32, text: &str) -> Edit {
        Edit::TextInsert(body(), at, text.into())
    }

    fn delete(at: u32, length: u32) -> Edit {
        Edit::TextDelete(body(), at, length)
    }

    fn check(edits: &[Edit], expected: &[Edit]) {
        let joined: Vec<Edit> = joined(edits).into_iter().map(Cow::into_owned).collect();
        assert_eq!(joined, expected);
    }

    #[test]
    fn what_is_typed_at_one_cursor_is_one_insertion() {
        check(&[insert(3, "a"), insert(4, "b"), insert(5, "c")], &[insert(3, "abc")]);
        check(&[insert(3, "\u{1f600}"), insert(5, "b")], &[insert(3, "\u{1f600}b")]);
    }

    #[test]
    fn what_is_taken_back_at_once_was_never_typed() {
        check(&[insert(3, "ab"), delete(4, 1), insert(4, "c")], &[insert(3, "ac")]);
        check(&[insert(3, "a\u{1f600}"), delete(4, 2)], &[insert(3, "a")]);
        let half = [insert(3, "a\u{1f600}"), delete(5, 1)];
        check(&half, &half);
    }

    #[test]
    fn deletions_that_touch_are_one() {
        check(&[delete(5, 1), delete(4, 1), delete(4, 2)], &[delete(4, 4)]);
    }

    #[test]
    fn edits_elsewhere_stay_as_they_are() {
        let other = Edit::TextInsert(FieldName::new("title").unwrap(), 4, "b".into());
        let apart = [insert(3, "a"), other, insert(4, "c"), insert(0, "d"), delete(4, 1), Edit::Delete, insert(1, "e")];
        check(&apart, &apart);
    }
}
