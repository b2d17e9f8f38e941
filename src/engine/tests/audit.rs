//! What is in the audit log after denials and changes, and that it is on disk with them.

use super::*;
use crate::engine::audit::WINDOW_MS;
use crate::engine::{MemberChange, io::SyncEvent};
use crate::error::ErrorCode;
use crate::policy::{
    AuditCheck, AuditEntry, AuditFault, AuditFaultKind, AuditKind, AuditPage, EntityAcl, MAX_AUDIT_ENTRIES,
};
use crate::store::{Table, WriteBatch};
use crate::test;
use crate::wire::{EventBatchMessage, Item, Message, Scope, SubscribeMessage};

fn page(device: &mut Device, after: u64, limit: usize) -> AuditPage {
    match device.call(Call::Audit { after, limit }).unwrap() {
        Reply::Audit(page) => *page,
        other => panic!("{other:?}"),
    }
}

fn verified(device: &mut Device) -> std::result::Result<Vec<AuditEntry>, AuditFault> {
    let (mut check, mut entries) = (AuditCheck::default(), Vec::new());
    loop {
        let page = page(device, check.after(), 100);
        let ended = check.take(&page)?;
        entries.extend(page.records.into_iter().filter_map(|record| record.entry));
        if ended {
            return Ok(entries);
        }
    }
}

/// Entries in short: action, by whom, about whom, type, whether it was allowed, how many.
type Short = (AuditKind, PeerId, PeerId, Option<String>, bool, u64);

fn log(device: &mut Device) -> Vec<Short> {
    let short = |entry: AuditEntry| {
        let AuditEntry { subject, count, .. } = entry;
        let name = subject.entity_type.map(|name| name.to_string());
        (subject.kind, subject.by, subject.peer, name, subject.allowed, count)
    };
    verified(device).unwrap().into_iter().map(short).collect()
}

fn acl(name: &str, roles: &[SyncRole]) -> Call {
    let entry = EntityAcl { entity_type: name.into(), allowed_roles: roles.to_vec(), team_id: None };
    Call::Change(MemberChange::Acl { entity_type: EntityType::new(name).unwrap(), entries: vec![entry] })
}

fn some(name: &str) -> Option<String> {
    Some(name.to_owned())
}

fn reopened(device: &Device, seed: u8) -> Device {
    Device::open(seed, Tuning::default(), device.disk.clone())
}

#[test]
fn changes_of_who_may_do_what_are_noted_where_they_are_made_and_where_they_arrive() {
    let (mut admin, mut member) = (Device::new(1, Tuning::default()), Device::new(2, Tuning::default()));
    admin.init(PolicyKind::Enterprise);
    admin.admit(&mut member, SyncRole::Member);
    connect(&mut admin, &mut member, LinkId(1));
    admin.call(acl("note", &[SyncRole::Member])).unwrap();
    admin.call(Call::Change(MemberChange::Role { peer: member.me, role: SyncRole::ReadOnly })).unwrap();
    admin.call(Call::Change(MemberChange::Policy(PolicyKind::Personal))).unwrap();
    admin.call(Call::Change(MemberChange::Remove(member.me))).unwrap();
    talk(&mut admin, &mut member);
    let (a, m) = (admin.me, member.me);
    let expected = [
        (AuditKind::Pair, a, m, None, true, 1),
        (AuditKind::AclChanged, a, a, some("note"), true, 1),
        (AuditKind::RoleChanged, a, m, None, true, 1),
        (AuditKind::PolicyChanged, a, a, None, true, 1),
        (AuditKind::Revoke, a, m, None, true, 1),
    ];
    assert_eq!(log(&mut admin), expected);
    assert_eq!(log(&mut member), expected);
    // And after a restart, from the disk.
    assert_eq!(log(&mut reopened(&admin, 1)), expected);
}

#[test]
fn a_refused_change_or_write_is_noted_and_the_same_one_again_is_counted() {
    let (mut admin, mut member) = (Device::new(1, Tuning::default()), Device::new(2, Tuning::default()));
    admin.init(PolicyKind::Personal);
    admin.admit(&mut member, SyncRole::ReadOnly);
    let (a, m) = (admin.me, member.me);
    let remove = || Call::Change(MemberChange::Remove(a));
    let edits = vec![Edit::Set(FieldName::new("title").unwrap(), "x".into())];
    let note = EntityType::new("note").unwrap();
    let write =
        || Call::Write { entity_type: note.clone(), changes: vec![EntityEdit { id: None, edits: edits.clone() }] };
    for _ in 0..3 {
        assert_eq!(member.call(remove()).unwrap_err().code(), ErrorCode::PolicyDenied);
        assert_eq!(member.call(write()).unwrap_err().code(), ErrorCode::PolicyDenied);
    }
    let mut expected = vec![
        (AuditKind::Pair, a, m, None, true, 1),
        (AuditKind::Revoke, m, a, None, false, 1),
        (AuditKind::Send, m, m, some("note"), false, 1),
    ];
    assert_eq!(log(&mut member), expected);
    // The count outlives a restart; when the time is over it gets its entry, and the next one is new.
    let mut member = reopened(&member, 2);
    member.now += (WINDOW_MS + 1) * 1_000;
    member.call(remove()).unwrap_err();
    expected.extend([
        (AuditKind::Revoke, m, a, None, false, 2),
        (AuditKind::Revoke, m, a, None, false, 1),
        (AuditKind::Send, m, m, some("note"), false, 2),
    ]);
    assert_eq!(log(&mut member), expected);
}

#[test]
fn what_a_link_may_not_carry_is_noted_once_a_session() {
    let (mut admin, mut member) = (Device::new(1, Tuning::default()), Device::new(2, Tuning::default()));
    admin.init(PolicyKind::Enterprise);
    admin.write("note", id(1), "x");
    admin.write("task", id(2), "y");
    admin.call(acl("note", &[SyncRole::Admin, SyncRole::Member])).unwrap();
    admin.admit(&mut member, SyncRole::Member);
    connect(&mut admin, &mut member, LinkId(1));
    let (a, m) = (admin.me, member.me);
    let mut expected = vec![
        (AuditKind::AclChanged, a, a, some("note"), true, 1),
        (AuditKind::Pair, a, m, None, true, 1),
        (AuditKind::Send, a, m, some("task"), false, 1),
    ];
    assert_eq!(log(&mut admin), expected);
    // More of it, and a type that is new, while the session is open.
    admin.write("task", id(3), "z");
    admin.write("plan", id(4), "z");
    talk(&mut admin, &mut member);
    expected.push((AuditKind::Send, a, m, some("plan"), false, 1));
    assert_eq!(log(&mut admin), expected);
    // The member asks for what it may not read.
    let subscribe = |name: &str| {
        let scope = Scope::Types(vec![EntityType::new(name).unwrap()]);
        Message::Subscribe(SubscribeMessage { scope, live: true })
    };
    answers(&mut admin, LinkId(1), &subscribe("plan"));
    answers(&mut admin, LinkId(1), &subscribe("note"));
    expected.push((AuditKind::Send, m, m, some("plan"), false, 1));
    assert_eq!(log(&mut admin), expected);
    // It pushes a commit of a type that is kept from it: the session ends.
    let block = {
        let mut other = reopened(&admin, 1);
        let log = other.engine.own_log(&EntityType::new("task").unwrap());
        let key = other.engine.log_mut(&log).key;
        let rows = other.disk.rows(&Read::Floor {
            table: Table::Blocks,
            from: super::super::layout::log_prefix(key),
            key: super::super::layout::block_row(key, 1),
        });
        rows.rows[0].1.clone()
    };
    let batch = Message::EventBatch(EventBatchMessage::Items(vec![Item::Block(block.into())]));
    answers(&mut admin, LinkId(1), &batch);
    expected.push((AuditKind::Receive, m, m, some("task"), false, 1));
    assert_eq!(log(&mut admin), expected);
    assert_eq!(admin.hung_up.last().unwrap().1.code(), ErrorCode::PolicyDenied);
}

#[test]
fn commits_of_an_author_without_the_right_are_noted_and_counted() {
    let (mut admin, mut member) = (Device::new(1, Tuning::default()), Device::new(2, Tuning::default()));
    admin.init(PolicyKind::Personal);
    admin.admit(&mut member, SyncRole::ReadOnly);
    connect(&mut admin, &mut member, LinkId(1));
    for number in 1..=3 {
        member.write_unasked(id(number), 10);
        talk(&mut member, &mut admin);
    }
    let (a, m) = (admin.me, member.me);
    let expected = [(AuditKind::Pair, a, m, None, true, 1), (AuditKind::Receive, m, m, some("note"), false, 1)];
    assert_eq!(log(&mut admin), expected);
    admin.now += (WINDOW_MS + 1) * 1_000;
    admin.take(Input::Tick);
    assert_eq!(log(&mut admin)[2], (AuditKind::Receive, m, m, some("note"), false, 2));
}

#[test]
fn the_log_is_bounded_and_its_chain_goes_on_from_what_was_dropped() {
    let mut device = Device::new(1, Tuning::default());
    device.init(PolicyKind::Enterprise);
    let more = 10;
    for number in 0..MAX_AUDIT_ENTRIES + more {
        let role = [SyncRole::Admin, SyncRole::Member][number as usize % 2];
        device.call(acl("note", &[role])).unwrap();
    }
    let first = page(&mut device, 0, 1);
    assert_eq!((first.start.number, first.end.number), (more, MAX_AUDIT_ENTRIES + more));
    assert_eq!(first.records[0].number, more + 1);
    assert_eq!(verified(&mut device).unwrap().len() as u64, MAX_AUDIT_ENTRIES);
    let rows = device.disk.rows(&Read::Range {
        table: Table::Audit,
        from: vec![],
        to: vec![0xff; 16],
        max_rows: usize::MAX,
        max_bytes: usize::MAX,
    });
    assert_eq!(rows.rows.len() as u64, MAX_AUDIT_ENTRIES + 1, "the entries and their two ends");
    let mut again = reopened(&device, 1);
    again.call(acl("note", &[SyncRole::Admin])).unwrap();
    assert_eq!(verified(&mut again).unwrap().len() as u64, MAX_AUDIT_ENTRIES);
}

#[test]
fn types_beyond_the_bound_are_counted_together() {
    let mut device = Device::new(1, Tuning::default());
    device.init(PolicyKind::Personal);
    let (me, peer) = (device.me, PeerId([7; 32]));
    for number in 0..1_000 {
        let name = EntityType::new(format!("type{number}")).unwrap();
        device.engine.note_denied(AuditKind::Receive, peer, peer, Some(&name));
    }
    device.take(Input::Tick);
    let entries = log(&mut device);
    assert_eq!(entries.len(), 129);
    assert_eq!(entries[128], (AuditKind::Receive, peer, peer, None, false, 1));
    device.now += (WINDOW_MS + 1) * 1_000;
    device.take(Input::Tick);
    assert_eq!(log(&mut device)[129..], [(AuditKind::Receive, peer, peer, None, false, 871)]);
    assert!(me != peer);
}

#[test]
fn what_somebody_changes_on_disk_is_found_with_its_number_and_stops_nothing() {
    let mut device = Device::new(1, Tuning::default());
    device.init(PolicyKind::Enterprise);
    for _ in 0..5 {
        device.call(acl("note", &[SyncRole::Admin])).unwrap();
    }
    let row = super::super::layout::audit_row;
    let value = |number| device.disk.rows(&Read::Get(Table::Audit, row(number))).rows[0].1.clone();
    let (two, three) = (value(2), value(3));
    let fault = |change: &dyn Fn(&mut WriteBatch)| {
        let mut batch = WriteBatch::default();
        change(&mut batch);
        let mut disk = device.disk.clone();
        disk.apply(batch);
        let mut device = Device::open(1, Tuning::default(), disk);
        // It goes on, and what is wrong stays to be seen.
        device.call(acl("note", &[SyncRole::Member])).unwrap();
        verified(&mut device).unwrap_err()
    };
    let flipped = {
        let mut flipped = three.clone();
        flipped[40] ^= 1;
        flipped
    };
    let found = |number, what| AuditFault { number, what };
    let put = |number, value: &Vec<u8>| {
        let value = value.clone();
        move |batch: &mut WriteBatch| batch.put(Table::Audit, row(number), value.clone())
    };
    assert_eq!(fault(&put(3, &flipped)), found(3, AuditFaultKind::Changed));
    assert_eq!(fault(&put(3, &two)), found(3, AuditFaultKind::Moved));
    assert_eq!(fault(&|batch| batch.delete(Table::Audit, row(4))), found(4, AuditFaultKind::Missing));
    assert_eq!(fault(&|batch| batch.delete(Table::Audit, row(5))), found(5, AuditFaultKind::Missing));
    let swapped = |batch: &mut WriteBatch| {
        batch.put(Table::Audit, row(2), three.clone());
        batch.put(Table::Audit, row(3), two.clone());
    };
    assert_eq!(fault(&swapped), found(2, AuditFaultKind::Moved));
    let ends = super::super::layout::AUDIT_ENDS;
    assert!(fault(&|batch| batch.delete(Table::Audit, ends)).number >= 1);
}

/// The batch that has an operation has its entry too.
#[test]
fn an_entry_is_in_the_batch_of_what_it_is_about_and_is_told_when_that_is_on_disk() {
    let mut device = Device::new(1, Tuning::default());
    device.init(PolicyKind::Enterprise);
    let now = Instant { mono: device.now, wall: 1 };
    let mut out = Vec::new();
    device.engine.handle(now, Input::Call(CallId(1_000), acl("note", &[SyncRole::Admin])), &mut out);
    let audited = |out: &[Output]| out.iter().any(|one| matches!(one, Output::Emit(SyncEvent::Audited(_))));
    assert!(!audited(&out), "not before it is on disk");
    let writes: Vec<_> = out
        .iter()
        .filter_map(|one| if let Output::Write(ticket, batch) = one { Some((ticket, batch)) } else { None })
        .collect();
    let tables = |batch: &WriteBatch| -> Vec<Table> {
        let table = |op: &crate::store::WriteOp| {
            if let crate::store::WriteOp::Put(table, ..) = op { Some(*table) } else { None }
        };
        batch.ops.iter().filter_map(table).collect()
    };
    let [(ticket, batch)] = writes[..] else { panic!("one batch") };
    assert!(tables(batch).contains(&Table::Membership) && tables(batch).contains(&Table::Audit));
    let mut told = Vec::new();
    device.engine.handle(now, Input::Written(*ticket, Ok(())), &mut told);
    assert!(audited(&told));
}
