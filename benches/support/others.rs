//! `yrs` and `automerge` on the same data: neither signs, checks who wrote, or keeps anything on disk.

use automerge::AutoCommit;
use automerge::transaction::Transactable;
use yrs::updates::decoder::Decode;
use yrs::{Doc, GetString, Map, OffsetKind, Options, ReadTxn, StateVector, Text, Transact, Update};

use super::work::text;

fn doc(client: u64) -> Doc {
    let options = Options { offset_kind: OffsetKind::Utf16, ..Options::with_client_id(yrs::ClientID::new(client)) };
    Doc::with_options(options)
}

/// W2 as one yrs document an entity, ten transactions each.
pub fn yrs_w2(entities: usize) -> Vec<Doc> {
    (0..entities)
        .map(|entity| {
            let doc = doc(1);
            let map = doc.get_or_insert_map("fields");
            for pass in 0..10 {
                map.insert(&mut doc.transact_mut(), format!("f{pass}"), text((entity * 10 + pass) as u64, 25));
            }
            doc
        })
        .collect()
}

/// A first sync of yrs documents: each encoded, decoded and applied to an empty one. Bytes sent.
pub fn yrs_first_sync(docs: &[Doc]) -> (Vec<Doc>, u64) {
    let mut bytes = 0;
    let copies = docs.iter().map(|from| {
        let update = from.transact().encode_state_as_update_v1(&StateVector::default());
        bytes += update.len() as u64;
        let to = doc(2);
        to.transact_mut().apply_update(Update::decode_v1(&update).expect("an update")).expect("an update that fits");
        to
    });
    (copies.collect(), bytes)
}

/// Whether two yrs documents hold the same values.
pub fn yrs_alike(a: &Doc, b: &Doc) -> bool {
    let (a_map, b_map) = (a.get_or_insert_map("fields"), b.get_or_insert_map("fields"));
    let (a, b) = (a.transact(), b.transact());
    let shown = |value: Option<yrs::Out>, txn: &yrs::Transaction<'_>| value.map(|value| value.to_string(txn));
    (0..10).map(|pass| format!("f{pass}")).all(|key| shown(a_map.get(&a, &key), &a) == shown(b_map.get(&b, &key), &b))
}

/// W2 as one automerge document an entity, ten commits each.
pub fn automerge_w2(entities: usize) -> Vec<AutoCommit> {
    (0..entities)
        .map(|entity| {
            let mut doc = AutoCommit::new();
            for pass in 0..10 {
                let value = text((entity * 10 + pass) as u64, 25);
                doc.put(automerge::ROOT, format!("f{pass}"), value).expect("a value");
                doc.commit();
            }
            doc
        })
        .collect()
}

/// A first sync of automerge documents: each saved and loaded. Bytes sent.
pub fn automerge_first_sync(docs: &mut [AutoCommit]) -> (Vec<AutoCommit>, u64) {
    let mut bytes = 0;
    let copies = docs.iter_mut().map(|from| {
        let saved = from.save();
        bytes += saved.len() as u64;
        AutoCommit::load(&saved).expect("a document")
    });
    (copies.collect(), bytes)
}

/// One edit of a text.
#[derive(Clone, Debug)]
pub enum Keys {
    /// Put in at a place.
    Insert(u32, String),
    /// Taken out: place, length.
    Delete(u32, u32),
}

/// Somebody writes a text: mostly on at the cursor, at times elsewhere, at times back.
pub fn typing(edits: usize) -> Vec<Keys> {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let (mut length, mut cursor) = (0_u32, 0_u32);
    (0..edits)
        .map(|_| {
            if next(40) == 0 {
                cursor = next(u64::from(length) + 1) as u32;
            }
            if cursor > 0 && next(8) == 0 {
                cursor -= 1;
                length -= 1;
                return Keys::Delete(cursor, 1);
            }
            let letter = char::from(b'a' + next(26) as u8);
            cursor += 1;
            length += 1;
            Keys::Insert(cursor - 1, letter.to_string())
        })
        .collect()
}

/// The same edits with keystrokes that follow each other joined, as ours does within a write.
fn joined(edits: &[Keys]) -> Vec<Keys> {
    let mut joined: Vec<Keys> = Vec::new();
    for edit in edits {
        match (joined.last_mut(), edit) {
            (Some(Keys::Insert(start, letters)), Keys::Insert(at, more)) if *at == *start + letters.len() as u32 => {
                letters.push_str(more);
            }
            (Some(Keys::Insert(start, letters)), Keys::Delete(at, 1)) if *at + 1 == *start + letters.len() as u32 => {
                letters.pop();
                if letters.is_empty() {
                    joined.pop();
                }
            }
            (Some(Keys::Delete(start, length)), Keys::Delete(at, more)) if *at + *more == *start => {
                (*start, *length) = (*at, *length + *more);
            }
            _ => joined.push(edit.clone()),
        }
    }
    joined
}

/// Plain yrs on the same edits, a transaction for each `group` of them (joined first where there are several); each
/// update is sent and applied on the other side. The text there, and the bytes.
pub fn yrs_typing(edits: &[Keys], group: usize) -> (String, u64) {
    let (from, to) = (doc(1), doc(2));
    let (writing, reading) = (from.get_or_insert_text("text"), to.get_or_insert_text("text"));
    let mut bytes = 0;
    for some in edits.chunks(group) {
        let update = {
            let mut txn = from.transact_mut();
            for edit in joined(some) {
                match edit {
                    Keys::Insert(at, letters) => writing.insert(&mut txn, at, &letters),
                    Keys::Delete(at, length) => writing.remove_range(&mut txn, at, length),
                }
            }
            txn.encode_update_v1()
        };
        bytes += update.len() as u64;
        let update = Update::decode_v1(&update).expect("an update");
        to.transact_mut().apply_update(update).expect("an update that fits");
    }
    let shown = reading.get_string(&to.transact());
    (shown, bytes)
}
