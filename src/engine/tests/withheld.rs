//! What lies beyond a cut: told to those who hold it, and written again by its author once it may.

use proptest::collection::vec;
use proptest::prelude::*;

use super::members::{change, digest, shows};
use super::*;
use crate::crdt::FieldValue;
use crate::engine::{MemberChange, Quarantined};
use crate::error::ErrorCode;
use crate::test;

const ROLES: [SyncRole; 2] = [SyncRole::ReadOnly, SyncRole::Member];

fn pair(tuning: Tuning) -> (Device, Device) {
    let (mut a, mut b) = (Device::new(1, tuning), Device::new(2, tuning));
    a.init(PolicyKind::Personal);
    a.admit(&mut b, SyncRole::Member);
    (a, b)
}

fn edit(device: &mut Device, number: u8, edits: Vec<Edit>) -> Result<Reply> {
    let changes = vec![EntityEdit { id: Some(id(number)), edits }];
    device.call(Call::Write { entity_type: EntityType::new("note").unwrap(), changes })
}

fn withheld(device: &mut Device) -> Vec<Quarantined> {
    match device.call(Call::Quarantine).unwrap() {
        Reply::Quarantine(told) => told,
        other => panic!("{other:?}"),
    }
}

fn field(name: &str) -> FieldName {
    FieldName::new(name).unwrap()
}

fn text(told: &Quarantined) -> String {
    match told.entity.field("text") {
        Some(FieldValue::Text(text, _)) => text.clone(),
        other => panic!("{other:?}"),
    }
}

/// Gives `b` another role while it is away, lets `b` go on, and has it hear of that.
fn meanwhile(a: &mut Device, b: &mut Device, link: u64, role: SyncRole, writes: impl FnOnce(&mut Device)) {
    a.take(Input::LinkDown(LinkId(link - 1)));
    b.take(Input::LinkDown(LinkId(link - 1)));
    change(a, MemberChange::Role { peer: b.me, role });
    writes(b);
    connect(a, b, LinkId(link));
}

fn give(a: &mut Device, b: &mut Device, role: SyncRole) {
    change(a, MemberChange::Role { peer: b.me, role });
    talk(a, b);
}

#[test]
fn letters_typed_while_a_role_is_taken_are_shown_and_written_again_in_their_place() {
    let (mut a, mut b) = pair(Tuning::default());
    connect(&mut a, &mut b, LinkId(1));
    edit(&mut a, 1, vec![Edit::TextInsert(field("text"), 0, "one three".into()), Edit::Add(field("read"), 1)]).unwrap();
    a.write("note", id(2), "other");
    talk(&mut a, &mut b);
    meanwhile(&mut a, &mut b, 2, SyncRole::ReadOnly, |b| {
        edit(b, 1, vec![Edit::TextInsert(field("text"), 4, "two ".into()), Edit::Add(field("read"), 2)]).unwrap();
        edit(b, 1, vec![Edit::TextInsert(field("text"), 13, " four".into())]).unwrap();
        edit(b, 1, vec![Edit::TextDelete(field("text"), 0, 4)]).unwrap();
        b.write("note", id(3), "new");
    });
    assert!(!shows(&mut b, "note", 3, "new") && shows(&mut b, "note", 2, "other"));
    let (of_a, of_b) = (withheld(&mut a), withheld(&mut b));
    assert_eq!(of_a, of_b, "whoever holds it is told the same");
    let about: Vec<_> = of_b.iter().map(|told| (told.entity.id, told.by, told.commits, told.requested)).collect();
    assert_eq!(about, [(id(1), b.me, 3, false), (id(3), b.me, 1, false)]);
    assert_eq!(text(&of_b[0]), "two three four");
    assert_eq!(of_b[0].entity.field("read"), Some(&FieldValue::Counter(3)));

    // It asks; and may not help itself.
    let of_b = b.me;
    change(&mut b, MemberChange::AskToAccept(of_b));
    talk(&mut a, &mut b);
    assert!(withheld(&mut a).iter().all(|told| told.requested));
    assert_eq!(b.call(Call::WriteAgain).unwrap_err().code(), ErrorCode::PolicyDenied);
    assert_eq!(a.call(Call::WriteAgain).unwrap_err().code(), ErrorCode::NotFound, "others' is not a device's own");

    // Somebody goes on meanwhile; then it may write again.
    edit(&mut a, 1, vec![Edit::TextInsert(field("text"), 9, "!".into()), Edit::Add(field("read"), 4)]).unwrap();
    give(&mut a, &mut b, SyncRole::Member);
    assert!(!withheld(&mut b).is_empty(), "by itself nothing comes back");
    b.call(Call::WriteAgain).unwrap();
    talk(&mut a, &mut b);
    let view = |device: &mut Device| match device.call(Call::Get { entity_type: None, id: id(1) }).unwrap() {
        Reply::Entities(views) => views[0].clone(),
        other => panic!("{other:?}"),
    };
    for device in [&mut a, &mut b] {
        assert!(shows(device, "note", 3, "new"));
        let view = view(device);
        let Some(FieldValue::Text(text, _)) = view.field("text") else { panic!("{view:?}") };
        assert_eq!((text.as_str(), view.field("read")), ("two three four!", Some(&FieldValue::Counter(7))));
        assert!(withheld(device).is_empty() && device.status().quarantined == 0 && device.explain(None).is_empty());
    }
    assert_eq!(b.call(Call::WriteAgain).unwrap_err().code(), ErrorCode::NotFound, "once");

    // An Admin who accepts the first writing as well doubles nothing.
    let before = digest(&mut a);
    change(&mut a, MemberChange::Accept(of_b));
    talk(&mut a, &mut b);
    assert_eq!(view(&mut a).field("read"), Some(&FieldValue::Counter(7)));
    assert_eq!([digest(&mut a), digest(&mut b)], [before.clone(), before]);
}

#[test]
fn what_is_written_again_and_cut_again_is_told_once_and_comes_back_once() {
    let (mut a, mut b) = pair(SMALL);
    connect(&mut a, &mut b, LinkId(1));
    let mut link = 1;
    for round in 0..4 {
        link += 1;
        meanwhile(&mut a, &mut b, link, ROLES[0], |b| match round {
            0 => drop(edit(b, 1, vec![Edit::Add(field("n"), 5)]).unwrap()),
            _ => drop(b.call(Call::WriteAgain).unwrap()),
        });
        let told = withheld(&mut b);
        assert_eq!(told.len(), 1, "round {round}");
        assert_eq!(told[0].entity.field("n"), Some(&FieldValue::Counter(5)), "round {round}");
        assert_eq!(told, withheld(&mut a), "round {round}");
        give(&mut a, &mut b, ROLES[1]);
        assert!(!shows(&mut b, "note", 1, "5"));
    }
    // The same after a start.
    let mut b = Device::open_by_chance(2, 77, SMALL, b.disk);
    assert_eq!(withheld(&mut b).len(), 1);
    b.call(Call::WriteAgain).unwrap();
    a.take(Input::LinkDown(LinkId(link)));
    connect(&mut a, &mut b, LinkId(link + 1));
    assert!(withheld(&mut a).is_empty() && withheld(&mut b).is_empty());
    let Reply::Entities(views) = a.call(Call::Get { entity_type: None, id: id(1) }).unwrap() else { panic!() };
    assert_eq!(views[0].field("n"), Some(&FieldValue::Counter(5)));
    assert_eq!(digest(&mut a), digest(&mut b));
}

#[test]
fn what_is_written_again_wins_against_no_more_than_it_did() {
    written_again_beside(vec![Edit::Set(field("title"), "of b".into())]);
    // An edit that a deletion had not seen outlives it.
    written_again_beside(vec![Edit::Delete]);
}

/// `b` makes an edit while its role is taken, then sees a later one of `c`, and writes its own again.
fn written_again_beside(edits: Vec<Edit>) {
    let (mut a, mut b) = pair(Tuning::default());
    let mut c = Device::new(3, Tuning::default());
    a.admit(&mut c, SyncRole::Member);
    connect(&mut a, &mut c, LinkId(1));
    connect(&mut a, &mut b, LinkId(2));
    b.write("note", id(1), "shared");
    talk(&mut a, &mut b);
    talk(&mut a, &mut c);
    for (device, links) in [(&mut a, &[1, 2][..]), (&mut b, &[2]), (&mut c, &[1])] {
        links.iter().for_each(|link| device.take(Input::LinkDown(LinkId(*link))));
    }
    change(&mut a, MemberChange::Role { peer: b.me, role: SyncRole::ReadOnly });
    edit(&mut b, 1, edits).unwrap();
    c.now += 1_000_000;
    c.write("note", id(1), "of c, later");
    // Only what b writes after this has seen it.
    connect(&mut b, &mut c, LinkId(3));
    assert!(shows(&mut b, "note", 1, "of c"));
    edit(&mut b, 1, vec![Edit::Add(field("n"), 1)]).unwrap();
    [&mut b, &mut c].into_iter().for_each(|device| device.take(Input::LinkDown(LinkId(3))));
    connect(&mut a, &mut c, LinkId(4));
    connect(&mut a, &mut b, LinkId(5));
    assert_eq!(withheld(&mut b).len(), 1);
    give(&mut a, &mut b, SyncRole::Member);
    b.call(Call::WriteAgain).unwrap();
    talk(&mut a, &mut b);
    for device in [&mut a, &mut b] {
        assert!(shows(device, "note", 1, "of c, later"));
    }
    assert_eq!(digest(&mut a), digest(&mut b));
    // Each copy says that it had seen what the first writing had, which the vector clocks of the history show.
    let Reply::History(changes) = a.call(Call::History(id(1))).unwrap() else { panic!() };
    let of_b = changes
        .iter()
        .filter(|change| change.by == b.me && change.counts)
        .map(|change| change.clock.iter().any(|(log, _)| log.author == c.me));
    assert_eq!(of_b.collect::<Vec<_>>(), [false, false, true], "{changes:?}");
}

#[test]
fn a_removed_device_is_told_what_the_others_never_got() {
    let (mut a, mut b) = pair(SMALL);
    connect(&mut a, &mut b, LinkId(1));
    b.write("note", id(1), "shared");
    talk(&mut a, &mut b);
    a.take(Input::LinkDown(LinkId(1)));
    b.take(Input::LinkDown(LinkId(1)));
    change(&mut a, MemberChange::Remove(b.me));
    b.write("note", id(1), "lost");
    connect(&mut a, &mut b, LinkId(2));
    let told = withheld(&mut b);
    assert_eq!((told.len(), told[0].entity.id, told[0].commits), (1, id(1), 1));
    assert!(shows(&mut b, "note", 1, "shared") && withheld(&mut a).is_empty());
    assert_eq!(b.call(Call::WriteAgain).unwrap_err().code(), ErrorCode::NotAuthorized);
    // Let in again, it writes that again.
    a.admit(&mut b, SyncRole::Member);
    connect(&mut a, &mut b, LinkId(3));
    b.call(Call::WriteAgain).unwrap();
    talk(&mut a, &mut b);
    assert!(shows(&mut a, "note", 1, "lost") && shows(&mut b, "note", 1, "lost"));
}

fn an_edit() -> impl Strategy<Value = Edit> {
    let item = (0..3_i64).prop_map(crate::types::Value::Int);
    prop_oneof![
        3 => (0..12_u32, "[a-cé𝄞]{1,4}").prop_map(|(at, text)| Edit::TextInsert(field("text"), at, text)),
        2 => (0..6_u32, 1..3_u32).prop_map(|(at, length)| Edit::TextDelete(field("text"), at, length)),
        1 => "[x-z]{0,6}".prop_map(|text| Edit::TextReplace(field("text"), text)),
        2 => (0..9_i64).prop_map(|n| Edit::Set(field("title"), crate::types::Value::Int(n))),
        1 => Just(Edit::Clear(field("title"))),
        2 => (-4..9_i64).prop_map(|by| Edit::Add(field("n"), by)),
        2 => item.clone().prop_map(|item| Edit::Insert(field("tags"), item)),
        1 => item.prop_map(|item| Edit::Remove(field("tags"), item)),
        1 => Just(Edit::Delete),
        1 => Just(Edit::Restore),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 24 }))]

    /// Where nobody else has written meanwhile, all is as its author saw it: when it is written again, and when the
    /// first writing is accepted beside that.
    #[test]
    fn what_is_written_again_is_as_its_author_saw_it(
        shared in vec((0..3_u8, an_edit()), 0..12), late in vec((0..3_u8, an_edit()), 1..16), small in any::<bool>(),
        accepted_first in any::<bool>(),
    ) {
        let (mut a, mut b) = pair(if small { SMALL } else { Tuning::default() });
        connect(&mut a, &mut b, LinkId(1));
        for (number, one) in shared {
            let _ = edit(if number == 0 { &mut a } else { &mut b }, number, vec![one]); // some say nothing
            talk(&mut a, &mut b);
        }
        let before = digest(&mut a);
        let mut seen = before.clone();
        meanwhile(&mut a, &mut b, 2, SyncRole::ReadOnly, |b| {
            for (number, one) in late {
                let _ = edit(b, number, vec![one]);
            }
            seen = digest(b);
        });
        prop_assert_eq!([digest(&mut a), digest(&mut b)], [before.clone(), before]);
        let of_b = b.me;
        let accept = |a: &mut Device, b: &mut Device| {
            let _ = a.call(Call::Change(MemberChange::Accept(of_b))); // there may be nothing
            talk(a, b);
        };
        if accepted_first {
            accept(&mut a, &mut b);
            prop_assert_eq!([digest(&mut a), digest(&mut b)], [seen.clone(), seen]);
            return Ok(());
        }
        give(&mut a, &mut b, SyncRole::Member);
        let _ = b.call(Call::WriteAgain);
        talk(&mut a, &mut b);
        prop_assert_eq!([digest(&mut a), digest(&mut b)], [seen.clone(), seen.clone()]);
        prop_assert!(withheld(&mut a).is_empty() && withheld(&mut b).is_empty());
        accept(&mut a, &mut b);
        prop_assert_eq!([digest(&mut a), digest(&mut b)], [seen.clone(), seen]);
    }
}
