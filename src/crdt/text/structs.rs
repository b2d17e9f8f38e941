//! The structs of one client, put in order: no overlaps, no gaps, runs of typing joined.

use std::borrow::Cow;

use super::update::{Content, Id, Struct};

/// Puts one client's structs, in the order in which its log brought them, into one chain from clock 0. What was said
/// before is not said again. At a gap the chain ends (what follows waits for what is missing), unless the log is
/// `forked`: what is missing then never comes, and a deleted placeholder at the start of the text stands for it.
pub(super) fn chain<'a>(client: u64, mut structs: Vec<Struct<'a>>, forked: bool) -> Vec<Struct<'a>> {
    structs.sort_by_key(|one| one.clock);
    let mut chain = Vec::<Struct<'_>>::with_capacity(structs.len());
    let mut end = 0;
    for one in structs {
        if one.end() <= end {
            continue;
        }
        if one.clock > end {
            if !forked {
                break;
            }
            chain.push(placeholder(end, one.clock));
            end = one.clock;
        }
        chain.extend(trimmed(client, one, end));
        end = chain.last().map_or(end, Struct::end);
    }
    chain
}

/// Stands for clocks that never come.
pub(super) fn placeholder(start: u32, end: u32) -> Struct<'static> {
    Struct { clock: start, length: end - start, origin: None, right_origin: None, content: Content::Deleted }
}

/// A struct without what is before `start`; `start` is below its end.
fn trimmed(client: u64, mut one: Struct<'_>, start: u32) -> Option<Struct<'_>> {
    let cut = start.checked_sub(one.clock)?;
    if cut == 0 {
        return Some(one);
    }
    if let Content::Text(text) = one.content {
        one.content = Content::Text(Cow::Owned(without_first(&text, cut)));
    }
    one.origin = Some(Id { client, clock: start - 1 });
    one.clock = start;
    one.length -= cut;
    Some(one)
}

/// A text without its first UTF-16 code units; half a character becomes U+FFFD, as in Yjs.
fn without_first(text: &str, units: u32) -> String {
    let mut left = units as usize;
    let mut rest = text.chars();
    while left > 0 {
        match rest.next().map_or(0, char::len_utf16) {
            0 => break,
            width if width > left => return format!("{}{}", char::REPLACEMENT_CHARACTER, rest.as_str()),
            width => left -= width,
        }
    }
    rest.as_str().to_owned()
}

/// Joins what was typed one behind the other: each starts where the one before ends, and has the same right neighbour.
pub(super) fn joined<'a>(client: u64, structs: Vec<Struct<'a>>) -> Vec<Struct<'a>> {
    let mut all = Vec::<Struct<'a>>::new();
    for one in structs {
        if let Some(last) = all.last_mut()
            && one.origin == Some(Id { client, clock: one.clock.wrapping_sub(1) })
            && one.right_origin == last.right_origin
            && last.end() == one.clock
        {
            match (&mut last.content, &one.content) {
                (Content::Text(text), Content::Text(more)) => {
                    text.to_mut().push_str(more);
                    last.length += one.length;
                    continue;
                }
                (Content::Deleted, Content::Deleted) => {
                    last.length += one.length;
                    continue;
                }
                _ => {}
            }
        }
        all.push(one);
    }
    all
}
