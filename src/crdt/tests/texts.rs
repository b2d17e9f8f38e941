//! Texts: edits, merging, quarantine, forked logs, hostile updates.

use crate::test;
use proptest::prelude::*;
use yrs::updates::decoder::Decode;
use yrs::{ClientID, Doc, GetString, OffsetKind, Options, Text, Transact, Update};

use super::order::apply_in;
use super::world::{Device, bytes, log_id, name, table, view, visible};
use crate::crdt::text::testing::{RawContent, RawStruct, write_raw};
use crate::crdt::*;
use crate::error::ErrorCode;
use crate::types::{EntityId, Event, FieldKind, FieldOp, HybridTimestamp, Value};

fn insert(at: u32, text: &str) -> Edit {
    Edit::TextInsert(name("body"), at, text.to_owned())
}

fn delete(at: u32, length: u32) -> Edit {
    Edit::TextDelete(name("body"), at, length)
}

fn take_all(devices: &mut [Device]) {
    for to in 0..devices.len() {
        for from in 0..devices.len() {
            if to != from {
                take(devices, to, from, usize::MAX);
            }
        }
    }
}

fn take(devices: &mut [Device], to: usize, from: usize, upto: usize) {
    let (low, high) = devices.split_at_mut(to.max(from));
    let (a, b) = (&mut low[to.min(from)], &mut high[0]);
    if to < from { a.take_some(b, upto, |_| true) } else { b.take_some(a, upto, |_| true) }
}

#[test]
fn a_text_is_edited_at_utf16_places_and_never_inside_of_a_character() {
    let mut a = Device::new(0, 10);
    a.write(&[insert(0, "hé🙂!"), insert(4, "x")]).unwrap();
    assert_eq!(a.text("body"), "hé🙂x!");
    a.write(&[delete(2, 2)]).unwrap();
    assert_eq!(a.text("body"), "héx!");
    a.write(&[Edit::TextReplace(name("body"), "h🙃x!".into())]).unwrap();
    assert_eq!(a.text("body"), "h🙃x!");
    for wrong in [insert(2, "x"), insert(6, "x"), delete(1, 1), delete(4, 9), delete(u32::MAX, 2)] {
        assert_eq!(a.write(&[wrong]).unwrap_err().code(), ErrorCode::Invalid);
    }
    let before = a.written.len();
    a.write(&[Edit::TextReplace(name("body"), "h🙃x!".into()), insert(0, ""), delete(5, 0)]).unwrap();
    assert_eq!(a.written.len(), before, "nothing to do makes no event");
    a.write(&[Edit::Clear(name("body"))]).unwrap();
    assert_eq!(view(&a.state, &a.logs).fields.len(), 0);
    a.write(&[insert(0, "again")]).unwrap();
    assert_eq!(a.text("body"), "again");
}

#[test]
fn a_replacement_changes_only_what_differs_so_that_concurrent_typing_stays() {
    let mut devices = [Device::new(0, 10), Device::new(1, 10)];
    devices[0].write(&[insert(0, "one two three")]).unwrap();
    take_all(&mut devices);
    devices[0].write(&[Edit::TextReplace(name("body"), "one 2 three".into())]).unwrap();
    devices[1].write(&[insert(13, "!"), insert(0, "> ")]).unwrap();
    take_all(&mut devices);
    assert_eq!(devices[0].text("body"), "> one 2 three!");
    assert_eq!(devices[1].text("body"), "> one 2 three!");
}

#[test]
fn typing_that_others_have_come_between_stays_where_its_author_saw_it() {
    for (first, second) in [(0, 1), (1, 0)] {
        let mut devices = [Device::new(0, 10), Device::new(1, 10)];
        devices[first].write(&[insert(0, "X")]).unwrap();
        devices[first].write(&[insert(0, "a")]).unwrap();
        take_all(&mut devices);
        devices[second].write(&[insert(1, "y")]).unwrap();
        take_all(&mut devices);
        devices[first].write(&[insert(1, "b")]).unwrap();
        take_all(&mut devices);
        assert_eq!([devices[0].text("body"), devices[1].text("body")], ["abyX", "abyX"]);
    }
}

#[test]
fn marks_show_where_they_are_and_go_away_by_null() {
    let mut a = Device::new(0, 10);
    let mark = |at, length, key: &str, value: Value| Edit::TextMark(name("body"), at, length, key.to_owned(), value);
    a.write(&[insert(0, "bold and link"), mark(0, 4, "bold", true.into()), mark(2, 6, "link", "x".into())]).unwrap();
    let marks = |device: &Device| match view(&device.state, &device.logs).field("body") {
        Some(FieldValue::Text(_, marks)) => marks.clone(),
        other => panic!("{other:?}"),
    };
    let shown = |at, length, key: &str, value: Value| Mark { at, length, key: key.to_owned(), value };
    assert_eq!(marks(&a), [shown(0, 4, "bold", true.into()), shown(2, 6, "link", "x".into())]);
    a.write(&[mark(0, 13, "bold", Value::Null), mark(0, 1, "size", 7.into())]).unwrap();
    assert_eq!(marks(&a), [shown(0, 1, "size", 7.into()), shown(2, 6, "link", "x".into())]);
    assert_eq!(a.write(&[mark(0, 1, "x", Value::Bytes(vec![1]))]).unwrap_err().code(), ErrorCode::Invalid);
    assert_eq!(a.write(&[mark(0, 1, "x", Value::float(f64::NAN))]).unwrap_err().code(), ErrorCode::Invalid);
    assert_eq!(a.write(&[mark(0, 1, &"x".repeat(200), 1.into())]).unwrap_err().code(), ErrorCode::Invalid);
}

#[test]
fn an_editors_update_counts_under_this_devices_client_id_only() {
    let mut a = Device::new(0, 10);
    let typed = |client: u64| {
        let doc = Doc::with_options(Options::with_client_id(ClientID::new(client)));
        let text = doc.get_or_insert_text("t");
        let mut transaction = doc.transact_mut();
        text.insert(&mut transaction, 0, "typed");
        transaction.encode_update_v1()
    };
    let own = text_client_id(log_id(0), 9);
    a.write(&[Edit::TextUpdate(name("body"), typed(own)), insert(5, "!")]).unwrap();
    assert_eq!(a.text("body"), "typed!");
    let foreign = typed(text_client_id(log_id(1), 9));
    assert_eq!(a.write(&[Edit::TextUpdate(name("body"), foreign.clone())]).unwrap_err().code(), ErrorCode::Invalid);
    let ops = vec![FieldOp::Text { field: name("body"), update: foreign }];
    let event = Event { entity: EntityId([1; 16]), seen: Vec::new(), ops };
    assert!(check_event(&event, log_id(0)).is_err());
    assert!(check_event(&event, log_id(1)).is_ok());
}

#[test]
fn text_that_hangs_on_a_forked_log_shows_as_if_typed_without_neighbours_and_otherwise_waits_for_that_log() {
    let mut devices = [Device::new(0, 10), Device::new(1, 10), Device::new(2, 10)];
    devices[0].write(&[insert(0, "start ")]).unwrap();
    take_all(&mut devices);
    devices[1].write(&[insert(6, "forked")]).unwrap();
    take(&mut devices, 0, 1, usize::MAX);
    devices[0].write(&[insert(9, "HONEST")]).unwrap();
    assert_eq!(devices[0].text("body"), "start forHONESTked");
    take(&mut devices, 2, 0, usize::MAX);
    assert_eq!(devices[2].text("body"), "start ");
    let forked = devices[2].logs.intern(log_id(1));
    devices[2].logs.set_forked(forked, true);
    let shown = devices[2].text("body");
    assert!(shown == "HONESTstart " || shown == "start HONEST", "{shown}");
    devices[2].write(&[insert(0, "more ")]).unwrap();
    assert_eq!(devices[2].text("body"), format!("more {shown}"));
    devices[2].logs.set_forked(forked, false);
    assert!(!devices[2].text("body").contains("HONEST"));
}

#[derive(Clone, Debug)]
enum Step {
    Type(usize, u32, u32),
    Erase(usize, u32, u32),
    Mark(usize, u32, u32, bool),
    Take(usize, usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_usize, any::<u32>(), 1..4_u32).prop_map(|(who, at, length)| Step::Type(who, at, length)),
        2 => (0..3_usize, any::<u32>(), 1..6_u32).prop_map(|(who, at, length)| Step::Erase(who, at, length)),
        1 => (0..3_usize, any::<u32>(), 1..6_u32, any::<bool>()).prop_map(|(who, at, length, on)| Step::Mark(who, at, length, on)),
        4 => (0..3_usize, 0..3_usize, 0..30_usize).prop_map(|(to, from, upto)| Step::Take(to, from, upto)),
    ]
}

/// Everything that each device types is a character of its own, so that it can be found again.
fn play(steps: &[Step]) -> Vec<Device> {
    let mut devices: Vec<Device> = (0..3).map(|number| Device::new(number, 10)).collect();
    let mut next = ['a' as u32, '\u{4e00}' as u32, '\u{1f300}' as u32];
    for step in steps {
        match step {
            Step::Type(who, at, length) => {
                let text: String = (0..*length).filter_map(|more| char::from_u32(next[*who] + more)).collect();
                next[*who] += length;
                let at = place(&devices[*who], *at);
                devices[*who].write(&[insert(at, &text)]).unwrap();
            }
            Step::Erase(who, at, length) => {
                let at = place(&devices[*who], *at);
                let end = place(&devices[*who], at.saturating_add(*length));
                if at < end {
                    devices[*who].write(&[delete(at, end - at)]).unwrap();
                }
            }
            Step::Mark(who, at, length, on) => {
                let at = place(&devices[*who], *at);
                let end = place(&devices[*who], at.saturating_add(*length));
                if at < end {
                    let value = if *on { true.into() } else { Value::Null };
                    devices[*who].write(&[Edit::TextMark(name("body"), at, end - at, "b".into(), value)]).unwrap();
                }
            }
            Step::Take(to, from, upto) if to != from => take(&mut devices, *to, *from, *upto),
            Step::Take(..) => {}
        }
    }
    devices
}

/// A place between two characters.
fn place(device: &Device, wish: u32) -> u32 {
    let mut places = vec![0];
    for char in device.text("body").chars() {
        places.push(places[places.len() - 1] + char.len_utf16() as u32);
    }
    places[wish as usize % places.len()]
}

fn updates(device: &Device) -> Vec<Vec<u8>> {
    let ops = device.written.iter().flat_map(|(event, _)| &event.ops);
    ops.filter_map(|op| if let FieldOp::Text { update, .. } = op { Some(update.clone()) } else { None }).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn texts_merge_as_in_plain_yrs_and_the_same_on_all_devices(steps in prop::collection::vec(step(), 1..40)) {
        let mut devices = play(&steps);
        take_all(&mut devices);
        let mut options = Options::with_client_id(ClientID::new(1));
        options.offset_kind = OffsetKind::Utf16;
        let doc = Doc::with_options(options);
        let text = doc.get_or_insert_text("t");
        for update in devices.iter().flat_map(updates) {
            doc.transact_mut().apply_update(Update::decode_v1(&update).unwrap()).unwrap();
        }
        prop_assert_eq!(devices[0].text("body"), text.get_string(&doc.transact()));
        for device in &devices {
            prop_assert_eq!(visible(&device.state, &device.logs), visible(&devices[0].state, &devices[0].logs));
        }
    }

    /// Many edits in one event, or in events of their own through a session that is kept while others' text arrives.
    #[test]
    fn a_text_session_that_is_kept_prepares_what_a_new_one_does(
        wishes in prop::collection::vec((any::<u32>(), 0..4_u32, "[a-c🙂]{0,3}", 0..6_u8), 1..24),
    ) {
        let (mut kept, mut other) = (Device::new(0, 10), Device::new(1, 10));
        let mut session = TextSession::new(kept.client());
        let mut all = Vec::new();
        for (number, (at, length, text, what)) in wishes.into_iter().enumerate() {
            let at = place(&kept, at);
            let end = place(&kept, at.saturating_add(length)).max(at);
            let edit = if what % 2 == 0 { insert(at, &text) } else { delete(at, end - at) };
            if what == 5 {
                other.take(&kept);
                other.write(&[insert(0, "other ")]).unwrap();
                kept.take(&other);
                continue;
            }
            if other.written.is_empty() {
                all.push(edit.clone());
            }
            let seq = kept.written.len() as u64 + 1;
            let hlc = HybridTimestamp(number as u64);
            let at = EventAt { log: kept.own, seq, index: 0, hlc, commit: 0, counts: true };
            let ops = kept.state.prepare_in(std::slice::from_ref(&edit), &at, &kept.logs, &mut session).unwrap();
            prop_assert_eq!(&ops, &kept.state.prepare(&[edit], &at, &kept.logs, kept.client()).unwrap());
            if what == 4 || ops.is_empty() {
                // The write failed: what was prepared never comes to be.
                if other.written.is_empty() { all.pop(); }
                continue;
            }
            let event = Event { entity: EntityId([1; 16]), seen: kept.state.seen_for(kept.own, &kept.logs), ops };
            kept.state.apply(&event, &at, &mut kept.logs);
            kept.written.push((event, at));
            if other.written.is_empty() {
                let mut fresh = Device::new(0, 10);
                fresh.write(&all).unwrap();
                prop_assert_eq!(fresh.text("body"), kept.text("body"));
                prop_assert!(fresh.written.iter().all(|(event, _)| event.ops.len() == 1), "one update an event");
            }
        }
    }

    #[test]
    fn whoever_is_in_quarantine_the_text_of_all_others_stays_visible(
        steps in prop::collection::vec(step(), 1..40),
        void in prop::array::uniform3(any::<bool>()),
        from in 0..6_usize,
    ) {
        let devices = play(&steps);
        let mut reader = Device::new(3, 10);
        for (author, device) in devices.iter().enumerate() {
            reader.take_some(device, usize::MAX, |commit| !void[author] || commit < from);
        }
        let shown = reader.text("body");
        let counts = |author: usize, commit: usize| !void[author] || commit < from;
        let mut deleted = std::collections::BTreeSet::new();
        let mut typed = std::collections::BTreeSet::new();
        // What was typed and deleted, seen by plain yrs: each update's own items, and the ranges that it deletes.
        let mut chars = std::collections::BTreeMap::new();
        for (author, device) in devices.iter().enumerate() {
            for (commit, (event, _)) in device.written.iter().enumerate() {
                for op in &event.ops {
                    let FieldOp::Text { update, .. } = op else { continue };
                    let (items, gone) = crate::crdt::text::testing::contents(update);
                    for (id, char) in items {
                        chars.insert(id, char);
                        if counts(author, commit) { typed.insert(id); }
                    }
                    if counts(author, commit) { deleted.extend(gone); }
                }
            }
        }
        let mut expected: Vec<char> =
            typed.iter().filter(|id| !deleted.contains(*id)).filter_map(|id| chars.get(id).copied()).collect();
        let mut shown: Vec<char> = shown.chars().collect();
        expected.sort_unstable();
        shown.sort_unstable();
        prop_assert_eq!(shown, expected);
    }

    #[test]
    fn a_forked_logs_absence_hides_no_text_of_others(
        steps in prop::collection::vec(step(), 1..40),
        kept in 0..6_usize,
    ) {
        let devices = play(&steps);
        let mut reader = Device::new(3, 10);
        for (author, device) in devices.iter().enumerate() {
            let log = reader.logs.intern(log_id(author as u8));
            reader.logs.set_forked(log, author == 1);
            reader.take_some(device, if author == 1 { kept } else { usize::MAX }, |_| true);
        }
        let shown = reader.text("body");
        let mut gone = std::collections::BTreeSet::new();
        let mut typed = Vec::new();
        for (author, device) in devices.iter().enumerate() {
            for update in updates(device).iter().take(if author == 1 { kept } else { usize::MAX }) {
                let (items, deleted) = crate::crdt::text::testing::contents(update);
                typed.extend(items);
                gone.extend(deleted);
            }
        }
        // A device counts its commits without those that did nothing; each holds one update here.
        for (id, char) in typed {
            prop_assert_eq!(shown.contains(char), !gone.contains(&id));
        }
    }
}

fn raw_structs() -> impl Strategy<Value = Vec<(u8, u16, Vec<RawStruct>)>> {
    let id = (0..3_u8, 0..2_u16, 0..12_u32);
    let content = prop_oneof![
        3 => "[a-c🙂]{1,4}".prop_map(RawContent::Text),
        1 => (1..5_u32).prop_map(RawContent::Deleted),
        1 => (1..5_u32).prop_map(RawContent::Garbage),
        1 => (1..5_u32).prop_map(RawContent::Gap),
        1 => Just(RawContent::Embed("{\"x\":1}".into())),
        1 => prop_oneof![Just("null"), Just("true"), Just("1e3"), Just("[18446744073709551615]")]
            .prop_map(|json| RawContent::Format("b".into(), json.into())),
    ];
    let one = (prop::option::of(id.clone()), prop::option::of(id), content)
        .prop_map(|(origin, right_origin, content)| RawStruct { origin, right_origin, content });
    prop::collection::vec((0..10_u8, 0..2_u16, prop::collection::vec(one, 1..5)), 1..3)
}

/// Updates of one log, as hostile as the walker lets them be.
fn hostile_log(number: u8) -> impl Strategy<Value = Vec<(Event, EventAt)>> {
    let deleted = prop::collection::vec((0..3_u8, 0..2_u16, 0..12_u32, 1..6_u32), 0..3);
    prop::collection::vec((raw_structs(), deleted, prop::bool::weighted(0.8)), 0..5).prop_map(move |all| {
        let client = |log: u8, session: u16| text_client_id(log_id(log), session);
        let mut log = Vec::new();
        for (commit, (clients, deleted, counts)) in all.into_iter().enumerate() {
            let update = write_raw(number, &clients, &deleted, client);
            let ops = vec![FieldOp::Text { field: name("body"), update }];
            let event = Event { entity: EntityId([1; 16]), seen: Vec::new(), ops };
            check_event(&event, log_id(number)).unwrap();
            let at =
                EventAt { log: LogIx(0), seq: commit as u64 + 1, index: 0, hlc: HybridTimestamp(1), commit: 0, counts };
            log.push((event, at));
        }
        log
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn updates_that_no_editor_writes_neither_panic_nor_depend_on_the_order(
        logs in (hostile_log(0), hostile_log(1), hostile_log(2)),
        one in prop::collection::vec(any::<u8>(), 1..12),
        other in prop::collection::vec(any::<u8>(), 1..12),
        forked in any::<bool>(),
    ) {
        let logs = [logs.0, logs.1, logs.2];
        let mut table = table(4);
        table.set_forked(LogIx(2), forked);
        let first = apply_in(&logs, &one, &mut table);
        let second = apply_in(&logs, &other, &mut table);
        prop_assert_eq!(bytes(&first), bytes(&second));
        prop_assert_eq!(visible(&first, &table), visible(&second, &table));
        // And a device can go on typing.
        let at = EventAt { log: LogIx(3), seq: 1, index: 0, hlc: HybridTimestamp(2), commit: 0, counts: true };
        let client = text_client_id(log_id(3), 1);
        let edits = [insert(0, "ab"), delete(0, 1), Edit::TextReplace(name("body"), "c".into())];
        let ops = first.prepare(&edits, &at, &table, client).unwrap();
        let event = Event { entity: EntityId([1; 16]), seen: first.seen_for(LogIx(3), &table), ops };
        let mut third = first.clone();
        third.apply(&event, &at, &mut table);
        let shown = view(&third, &table);
        prop_assert!(matches!(shown.field_of("body", FieldKind::Text), Some(FieldValue::Text(text, _)) if text == "c"));
    }

    #[test]
    fn flipped_bytes_of_honest_updates_are_refused_or_harmless(
        steps in prop::collection::vec(step(), 1..12),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..3),
        which in any::<prop::sample::Index>(),
    ) {
        let mut devices = play(&steps);
        take_all(&mut devices);
        let mut all: Vec<Vec<u8>> = devices.iter().flat_map(updates).collect();
        prop_assume!(!all.is_empty());
        let which = which.index(all.len());
        for (place, byte) in damage {
            let place = place.index(all[which].len());
            all[which][place] = byte;
        }
        let mut table = table(4);
        let mut state = EntityState::default();
        for (commit, update) in all.into_iter().enumerate() {
            let ops = vec![FieldOp::Text { field: name("body"), update }];
            let event = Event { entity: EntityId([1; 16]), seen: Vec::new(), ops };
            let seq = commit as u64 + 1;
            let at = EventAt { log: LogIx(0), seq, index: 0, hlc: HybridTimestamp(1), commit: 0, counts: true };
            let _ = check_event(&event, log_id(0));
            // Also what a check would refuse: a cache page may hold anything.
            state.apply(&event, &at, &mut table);
        }
        let _ = view(&state, &table);
    }

    #[test]
    fn any_bytes_are_a_text_update_or_refused(noise in prop::collection::vec(any::<u8>(), 0..48)) {
        let ops = vec![FieldOp::Text { field: name("body"), update: noise }];
        let _ = check_event(&Event { entity: EntityId([1; 16]), seen: Vec::new(), ops }, log_id(0));
    }
}
