//! What is read from pages, and when.

use super::*;
use crate::engine::layout::{self, TypeIx};
use crate::store::{Table, WriteBatch};
use crate::test;
use crate::types::VectorClock;
use crate::wire::{FrontierSummary, Scope, SyncRequestMessage, SyncState, SyncStateMessage};

const LINK: LinkId = LinkId(1);

fn two_devices() -> (Device, Device) {
    let (mut a, mut b) = (Device::new(1, SMALL), Device::new(2, SMALL));
    a.init(PolicyKind::Personal);
    for number in 0..200 {
        a.write("note", id(number), "x");
    }
    a.admit(&mut b, SyncRole::Member);
    connect(&mut a, &mut b, LINK);
    a.reads.clear();
    (a, b)
}

fn note() -> EntityType {
    EntityType::new("note").unwrap()
}

fn request(number: u32, entities: Vec<(EntityType, EntityId)>) -> Message {
    let have = FrontierSummary { digest: Default::default(), base: 0, entries: vec![], complete: false };
    Message::SyncRequest(SyncRequestMessage { id: number, scope: Scope::Entities(entities), have })
}

fn clocks(answers: Vec<Message>) -> Vec<(EntityType, EntityId, VectorClock)> {
    let clocks = answers.into_iter().map(|answer| match answer {
        Message::SyncState(SyncStateMessage { id: 8, state: SyncState::Clocks(clocks) }) => clocks,
        other => panic!("{other:?}"),
    });
    clocks.flatten().collect()
}

fn pages_read(device: &Device) -> usize {
    device.reads.iter().filter(|read| matches!(read, Read::Get(Table::Pages, _))).count()
}

#[test]
fn a_request_for_entities_is_answered_by_the_clocks_of_those_on_disk_too() {
    let (mut a, _b) = two_devices();
    let task = EntityType::new("task").unwrap();
    let asked = vec![(note(), id(150)), (note(), id(7)), (note(), id(250)), (task.clone(), id(7))];
    let told = clocks(answers(&mut a, LINK, &request(8, asked)));
    assert!(pages_read(&a) > 0, "nothing had to be read, so this tests nothing");
    let told: Vec<_> = told
        .iter()
        .map(|(name, id, clock)| (name.clone(), *id, clock.iter().map(|(_, seq)| *seq).collect::<Vec<_>>()))
        .collect();
    // The nth note was written by the log's nth commit.
    assert_eq!(
        told,
        [(task, id(7), vec![]), (note(), id(7), vec![8]), (note(), id(150), vec![151]), (note(), id(250), vec![])]
    );
}

#[test]
fn a_request_for_too_many_entities_ends_the_session() {
    let (mut a, _b) = two_devices();
    let asked = (0..257).map(|number: u16| {
        (note(), EntityId([number as u8, (number >> 8) as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]))
    });
    answers(&mut a, LINK, &request(8, asked.collect()));
    assert_eq!(
        a.hung_up.last().map(|(link, error)| (*link, error.code())),
        Some((LINK, crate::error::ErrorCode::Protocol))
    );
}

#[test]
fn a_page_is_read_once_for_all_entities_that_are_asked_for() {
    let (mut a, _b) = two_devices();
    let ids: Vec<EntityId> = (0..=250).rev().map(id).collect();
    let Reply::Entities(found) = a.call(Call::GetMany { entity_type: Some(note()), ids }).unwrap() else { panic!() };
    assert_eq!(found.iter().map(|view| view.id).collect::<Vec<_>>(), (0..200).map(id).collect::<Vec<_>>());
    assert_eq!(pages_read(&a), a.engine.entities.directory(TypeIx(0)).len());
}

#[test]
fn a_write_to_entities_of_several_pages_sees_what_they_hold() {
    let (mut a, _b) = two_devices();
    let changes = |edits: &[Edit]| (0..200).map(|n| EntityEdit { id: Some(id(n)), edits: edits.to_vec() }).collect();
    let count = FieldName::new("count").unwrap();
    for edits in [[Edit::Add(count.clone(), 1)], [Edit::Add(count.clone(), 1)], [Edit::Clear(count)]] {
        a.call(Call::Write { entity_type: note(), changes: changes(&edits) }).unwrap();
    }
    let Reply::Entities(found) = a.call(Call::Get { entity_type: None, id: id(199) }).unwrap() else { panic!() };
    // Only who has read the sum takes it away.
    assert_eq!(found[0].fields.keys().map(FieldName::as_str).collect::<Vec<_>>(), ["title"]);
}

#[test]
fn pages_that_are_gone_are_built_again_once_and_their_readers_wait() {
    let (mut a, _b) = two_devices();
    let (from, to) = (vec![], vec![0xff; 64]);
    let all = Read::Range { table: Table::Pages, from, to, max_rows: usize::MAX, max_bytes: usize::MAX };
    let mut batch = WriteBatch::default();
    let directory = layout::directory_row(TypeIx(0)).len();
    a.disk
        .rows(&all)
        .rows
        .into_iter()
        .filter(|(key, _)| key.len() > directory)
        .for_each(|(key, _)| batch.delete(Table::Pages, key));
    a.disk.apply(batch);
    let Reply::Entities(found) = a.call(Call::Get { entity_type: None, id: id(150) }).unwrap() else { panic!() };
    assert_eq!(found[0].fields.len(), 1);
    let of_blocks = |read: &&Read| matches!(read, Read::Range { table: Table::Blocks, .. });
    assert!(a.reads.iter().filter(of_blocks).count() <= 2, "{:?}", a.reads);
}

/// All states of the notes, listing after listing.
fn states(device: &mut Device) -> Vec<(EntityId, Vec<u8>)> {
    let mut all: Vec<(EntityId, Vec<u8>)> = Vec::new();
    loop {
        let after = all.last().map(|(id, _)| *id);
        let call = Call::States { entity_type: note(), after, limit: 70 };
        let Reply::States(part) = device.call(call).unwrap() else { panic!() };
        assert!(part.states.len() <= 140);
        all.extend(part.states);
        if !part.more {
            return all;
        }
    }
}

#[test]
fn a_list_of_states_has_each_entity_once_also_where_a_page_is_gone() {
    let (mut a, _b) = two_devices();
    let before = states(&mut a);
    assert!(before.len() == 200 && before.is_sorted_by(|(one, _), (next, _)| one < next), "{}", before.len());
    let read = Read::Range {
        table: Table::Pages,
        from: layout::page_row(TypeIx(0), &EntityId([0; 16])),
        to: layout::directory_row(TypeIx(1)),
        max_rows: usize::MAX,
        max_bytes: usize::MAX,
    };
    let pages = a.disk.rows(&read).rows;
    let mut batch = WriteBatch::default();
    batch.delete(Table::Pages, pages[pages.len() / 2].0.clone());
    a.disk.apply(batch);
    assert!(states(&mut a) == before);
}
