//! What a commit says beside its events.

use super::*;
use crate::crdt::FieldValue;
use crate::engine::layout;
use crate::engine::local::Draft;
use crate::engine::log::Original;
use crate::engine::remote::Arrived;
use crate::store::{Read, Table};
use crate::test;
use crate::types::{Epoch, Event, FieldOp, Hash, LogId, LogName, StandsFor};

fn note() -> EntityType {
    EntityType::new("note").unwrap()
}

#[test]
fn a_commit_names_what_its_author_had_seen_so_that_a_delete_covers_it() {
    let (mut a, mut b) = (Device::new(1, Tuning::default()), Device::new(2, Tuning::default()));
    a.init(PolicyKind::Personal);
    a.admit(&mut b, SyncRole::Member);
    connect(&mut a, &mut b, LinkId(1));
    a.write("note", id(1), "x");
    talk(&mut a, &mut b);
    let changes = vec![EntityEdit { id: Some(id(1)), edits: vec![Edit::Delete] }];
    b.call(Call::Write { entity_type: note(), changes }).unwrap();
    talk(&mut a, &mut b);
    for device in [&mut a, &mut b] {
        let Reply::Entities(found) = device.call(Call::Get { entity_type: None, id: id(1) }).unwrap() else { panic!() };
        assert!(found[0].deleted);
    }
}

#[test]
fn of_several_copies_of_a_commit_the_one_of_the_lowest_epoch_counts() {
    let mut a = Device::new(1, Tuning::default());
    a.init(PolicyKind::Personal);
    let of = StandsFor { epoch: Epoch(1), seq: 1, hash: Hash([7; 32]) };
    // The copy that counts comes neither first nor last.
    for (epoch, by) in [(30, 3), (10, 1), (20, 2)] {
        let name = LogName { entity_type: note(), id: LogId { author: a.me, epoch: Epoch(epoch) } };
        let key = a.engine.log_mut(&name).key;
        let ops = vec![FieldOp::Add { field: FieldName::new("count").unwrap(), by }];
        let hlc = a.engine.hlc.tick(a.engine.now);
        let events = vec![Event { entity: id(1), seen: vec![], ops }];
        let mut arrived = Arrived::default();
        a.engine.commit(key, vec![Draft { hlc, stands_for: Some(of), events }], &mut arrived).unwrap();
        a.engine.finish_arrival(arrived);
        a.take(Input::Tick);
    }
    let Reply::Entities(found) = a.call(Call::Get { entity_type: None, id: id(1) }).unwrap() else { panic!() };
    assert_eq!(found[0].fields.values().collect::<Vec<_>>(), [&vec![FieldValue::Counter(1)]]);
}

#[test]
fn each_original_is_read_once_however_many_copies_wait_for_it() {
    let mut a = Device::new(1, Tuning::default());
    a.init(PolicyKind::Personal);
    (1..=5).for_each(|number| a.write("note", id(number), "x"));
    let epoch = a.engine.epoch;
    let name = LogName { entity_type: note(), id: LogId { author: a.me, epoch: Epoch(77) } };
    let key = a.engine.log_mut(&name).key;
    let copies = (1..=5).map(|seq| {
        let ops = vec![FieldOp::Create];
        let events = vec![Event { entity: id(10 + seq as u8), seen: vec![], ops }];
        Draft {
            hlc: a.engine.hlc.tick(a.engine.now),
            stands_for: Some(StandsFor { epoch, seq, hash: Hash([7; 32]) }),
            events,
        }
    });
    let copies = copies.collect();
    a.reads.clear();
    let mut arrived = Arrived::default();
    a.engine.commit(key, copies, &mut arrived).unwrap();
    a.engine.finish_arrival(arrived);
    // Something else lands while they are read.
    (0..3).for_each(|_| a.engine.watch_originals());
    a.take(Input::Tick);
    let originals = a.reads.iter().filter(|read| matches!(read, Read::Floor { .. })).count();
    assert_eq!(originals, 5);
    assert!(a.engine.logs[&key].copies.iter().all(|copy| copy.original == Original::Other));
}

#[cfg(feature = "text")]
#[test]
fn keystrokes_that_follow_each_other_in_a_write_are_one_event_and_other_changes_are_not() {
    let mut a = Device::new(1, Tuning::default());
    a.init(PolicyKind::Personal);
    let body = FieldName::new("body").unwrap();
    let insert = |at, text: &str| Edit::TextInsert(body.clone(), at, text.into());
    let change = |number, edit| EntityEdit { id: Some(id(number)), edits: vec![edit] };
    let set = |title: &str| Edit::Set(FieldName::new("title").unwrap(), title.into());
    let changes = vec![
        change(1, insert(0, "a")),
        change(1, insert(1, "b")),
        change(1, Edit::TextDelete(body.clone(), 0, 1)),
        change(2, insert(0, "c")),
        change(1, insert(1, "d")),
        change(1, set("x")),
        change(1, set("y")),
        change(1, insert(2, "a long text that is pasted, and not typed: it may be as long as an event may be")),
    ];
    let Reply::Written(ids) = a.call(Call::Write { entity_type: note(), changes }).unwrap() else { panic!() };
    assert_eq!((ids.len(), a.status().events), (8, 6));
    let Reply::Entities(found) = a.call(Call::Get { entity_type: None, id: id(1) }).unwrap() else { panic!() };
    let Some(FieldValue::Text(text, _)) = found[0].field("body") else { panic!() };
    assert!(text.starts_with("bda long text"), "{text}");
}

#[test]
fn a_checkpoint_comes_early_once_it_is_quiet_and_never_for_what_an_opening_replays() {
    let is_made = |device: &Device| {
        let read = Read::Get(Table::Meta, layout::meta::CHECKPOINT.to_vec());
        !device.disk.rows(&read).rows.is_empty()
    };
    let wait = |device: &mut Device, micros: u64| {
        device.now += micros;
        device.take(Input::Tick);
    };
    let mut a = Device::new(1, Tuning::default());
    a.init(PolicyKind::Personal);
    for batch in 0..3_u8 {
        let edits = vec![Edit::Set(FieldName::new("title").unwrap(), "x".into())];
        let changes = (0..700_u16).map(|number| {
            let mut id = [batch; 16];
            id[..2].copy_from_slice(&number.to_be_bytes());
            EntityEdit { id: Some(EntityId(id)), edits: edits.clone() }
        });
        a.call(Call::Write { entity_type: note(), changes: changes.collect() }).unwrap();
        wait(&mut a, 2_900_000);
    }
    assert!(!is_made(&a));
    let mut again = Device::open(1, Tuning::default(), a.disk.clone());
    wait(&mut again, 100_000_000);
    assert!(!is_made(&again), "of a store that is only read");
    wait(&mut a, 200_000);
    assert!(is_made(&a));
    let mut quick = Device::open(1, Tuning::default(), a.disk.clone());
    assert_eq!(quick.engine.entities.dirty_events, 0);
    let digests = [&mut a, &mut again, &mut quick].map(|device| device.call(Call::Digest).unwrap());
    assert!(digests[0] == digests[1] && digests[1] == digests[2]);
}
