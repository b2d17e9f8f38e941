//! Members are removed while devices talk to each other.

use super::members::*;
use super::*;
use crate::engine::{Level, MemberChange, RecoveryKey};
use crate::error::ErrorCode;
use crate::test;

#[test]
fn a_removed_device_is_told_and_its_sessions_end_as_not_trusted() {
    let [mut a, mut b, mut c] = three(PolicyKind::Personal, SyncRole::Member, SyncRole::Member);
    connect(&mut a, &mut b, LinkId(1));
    connect(&mut a, &mut c, LinkId(2));
    let me = b.me;
    change(&mut a, MemberChange::Remove(me));
    assert_eq!(
        a.hung_up.last().map(|(link, error)| (*link, error.code())),
        Some((LinkId(1), ErrorCode::NotAuthorized))
    );
    assert!(a.engine.sessions[&LinkId(2)].connected, "the others' go on");
    a.sent.retain(|(link, _)| *link == LinkId(1));
    talk(&mut a, &mut b);
    assert_eq!(role_of(&mut b, me), None, "it was told");
    assert!(b.engine.sessions.is_empty());
    let changes = vec![EntityEdit { id: Some(id(1)), edits: vec![Edit::Create] }];
    let write = Call::Write { entity_type: EntityType::new("note").unwrap(), changes };
    assert_eq!(b.call(write).unwrap_err().code(), ErrorCode::NotAuthorized);
    // It does not get in again, from either side.
    connect(&mut b, &mut a, LinkId(3));
    assert_eq!(
        a.hung_up.last().map(|(link, error)| (*link, error.code())),
        Some((LinkId(3), ErrorCode::NotAuthorized))
    );
    assert!(!a.engine.sessions.contains_key(&LinkId(3)) && !b.engine.sessions.contains_key(&LinkId(3)));
    assert!(a.call(Call::Change(MemberChange::Remove(me))).is_err(), "once");
}

#[test]
fn a_device_that_was_away_when_it_was_removed_hears_of_that_and_of_nothing_later() {
    let [mut a, mut b, mut c] = three(PolicyKind::Personal, SyncRole::Member, SyncRole::Member);
    let [of_b, of_c] = [b.me, c.me];
    connect(&mut a, &mut c, LinkId(1));
    connect(&mut a, &mut b, LinkId(2));
    unplug(&mut [&mut a, &mut b], &[LinkId(2)]);
    change(&mut a, MemberChange::Remove(of_b));
    change(&mut a, MemberChange::Role { peer: of_c, role: SyncRole::Admin });
    talk(&mut a, &mut c);
    // By whoever it reaches, whichever side has opened the connection.
    connect(&mut b, &mut c, LinkId(3));
    assert_eq!((role_of(&mut b, of_b), role_of(&mut b, of_c)), (None, Some(SyncRole::Member)));
    assert!(b.engine.sessions.is_empty() && c.engine.sessions.len() == 1);
    let write = Call::Write {
        entity_type: EntityType::new("note").unwrap(),
        changes: vec![EntityEdit { id: Some(id(1)), edits: vec![Edit::Create] }],
    };
    assert_eq!(b.call(write).unwrap_err().code(), ErrorCode::NotAuthorized);
    // It is on its disk.
    let mut b = Device::open(2, Tuning::default(), b.disk);
    assert_eq!(role_of(&mut b, of_b), None);
}

#[test]
fn what_a_removed_device_writes_has_no_effect_neither_directly_nor_through_a_friend() {
    let [mut a, mut b, mut c] = three(PolicyKind::Personal, SyncRole::Member, SyncRole::Member);
    connect(&mut b, &mut a, LinkId(1));
    connect(&mut c, &mut a, LinkId(2));
    b.write("note", id(1), "before");
    talk_all(&mut [&mut a, &mut b, &mut c], &[(LinkId(1), 0, 1), (LinkId(2), 0, 2)]);
    c.now += 1_000_000;
    c.take(Input::Tick);
    let removed = b.me;
    unplug(&mut [&mut a, &mut b, &mut c], &[LinkId(1), LinkId(2)]);

    // The removed one goes on, back-dated: it names the membership that it had. Its friend takes that, not knowing better.
    change(&mut a, MemberChange::Remove(removed));
    b.write("note", id(1), "after");
    b.write("note", id(2), "new");
    connect(&mut b, &mut c, LinkId(3));
    assert!(shows(&mut c, "note", 1, "after") && shows(&mut c, "note", 2, "new"));
    unplug(&mut [&mut b, &mut c], &[LinkId(3)]);

    connect(&mut c, &mut a, LinkId(4));
    for device in [&mut a, &mut c] {
        assert!(shows(device, "note", 1, "before"), "{:?}", title(device, "note", id(1)));
        assert!(!shows(device, "note", 2, "new"));
    }
    agree(&mut [&mut a, &mut c], removed, 2);

    // Directly it is not even heard, nor is what it writes once it knows of its removal.
    shut_out(&mut a, &mut b, LinkId(5));
    b.write_unasked(id(3), 10);
    [LinkId(6), LinkId(7)].into_iter().for_each(|link| shut_out(&mut a, &mut b, link));
    shut_out(&mut c, &mut b, LinkId(8));
    agree(&mut [&mut a, &mut c], removed, 2);
    // An Admin may accept it after all.
    change(&mut c, MemberChange::AskToAccept(removed));
    talk(&mut a, &mut c);
    assert_eq!(members(&mut a).requests.len(), 1);
    assert_eq!(refused(&mut c, MemberChange::Accept(removed)), ErrorCode::PolicyDenied);
    change(&mut a, MemberChange::Accept(removed));
    talk(&mut a, &mut c);
    for device in [&mut a, &mut c] {
        assert!(shows(device, "note", 1, "after") && shows(device, "note", 2, "new"));
        assert!(members(device).requests.is_empty());
    }
    agree(&mut [&mut a, &mut c], removed, 0);
}

#[test]
fn waiting_for_another_device_ends_where_none_may_ever_store_it() {
    const WAIT: CallId = CallId(2_000);
    let [mut a, mut b, mut c] = three(PolicyKind::Enterprise, SyncRole::Member, SyncRole::Member);
    let wait = |device: &mut Device| device.take(Input::Call(WAIT, Call::Settled(Level::Peer)));
    let code = |device: &mut Device| device.replies.remove(&WAIT).map(|reply| reply.unwrap_err().code());
    a.write("plan", id(1), "for Admins only");
    wait(&mut a);
    assert_eq!(code(&mut a), Some(ErrorCode::PolicyDenied), "nobody else reads plans");
    // Once somebody may, it waits, also for one that is away; and goes on to wait until that one has it.
    change(&mut a, entries("plan", None));
    wait(&mut a);
    assert!(a.replies.is_empty());
    connect(&mut a, &mut b, LinkId(1));
    assert_eq!(a.replies.remove(&WAIT), Some(Ok(Reply::Done)));
    // Whoever waits when the last reader loses the right is told then.
    a.take(Input::LinkDown(LinkId(1)));
    a.write("plan", id(2), "later");
    wait(&mut a);
    assert!(a.replies.is_empty());
    let plan = EntityType::new("plan").unwrap();
    change(&mut a, MemberChange::Acl { entity_type: plan, entries: Vec::new() });
    assert_eq!(code(&mut a), Some(ErrorCode::PolicyDenied));
    // And a removed device.
    change(&mut a, entries("note", None));
    connect(&mut a, &mut c, LinkId(2));
    c.take(Input::LinkDown(LinkId(2)));
    c.write("note", id(3), "mine");
    wait(&mut c);
    let removed = c.me;
    change(&mut a, MemberChange::Remove(removed));
    assert!(c.replies.is_empty());
    connect(&mut c, &mut a, LinkId(3));
    assert_eq!(code(&mut c), Some(ErrorCode::NotAuthorized));
}

#[test]
fn a_removal_is_followed_by_a_new_key_for_those_who_are_left() {
    let [mut a, mut b, mut c] = three(PolicyKind::Personal, SyncRole::Member, SyncRole::Member);
    connect(&mut a, &mut c, LinkId(2));
    let key = |device: &Device| device.engine.vault.as_ref().unwrap().key.clone();
    let first = key(&a);
    let removed = b.me;
    change(&mut a, MemberChange::Remove(removed));
    talk(&mut a, &mut c);
    assert!(key(&a) != first && key(&a) == key(&c) && key(&b) == first);
    assert!(!c.engine.lacks_key());
    // After a start, too.
    let again = Device::open(3, Tuning::default(), c.disk.clone());
    assert_eq!((key(&again), again.engine.vault.as_ref().unwrap().first_key.clone()), (key(&a), Some(first)));
    // Whoever is invited later gets the new one.
    let mut d = Device::new(4, Tuning::default());
    a.admit(&mut d, SyncRole::Member);
    assert_eq!(key(&d), key(&a));
    // And who comes back gets it, too, and counts from then on.
    a.admit(&mut b, SyncRole::Member);
    connect(&mut b, &mut a, LinkId(7));
    b.write("note", id(9), "back");
    talk(&mut b, &mut a);
    assert!(shows(&mut a, "note", 9, "back"));
}

#[test]
fn two_admins_who_remove_each_other_are_both_out_and_the_recovery_words_settle_it() {
    let [mut a, mut b, mut c] = three(PolicyKind::Personal, SyncRole::Admin, SyncRole::Member);
    connect(&mut a, &mut b, LinkId(1));
    connect(&mut a, &mut c, LinkId(2));
    a.write("note", id(1), "of one");
    b.write("note", id(2), "of the other");
    talk_all(&mut [&mut a, &mut b, &mut c], &[(LinkId(1), 0, 1), (LinkId(2), 0, 2)]);
    unplug(&mut [&mut a, &mut b, &mut c], &[LinkId(1), LinkId(2)]);
    let (one, two) = (a.me, b.me);
    change(&mut a, MemberChange::Remove(two));
    change(&mut b, MemberChange::Remove(one));
    connect(&mut a, &mut c, LinkId(3));
    connect(&mut b, &mut c, LinkId(4));
    assert_eq!((role_of(&mut c, one), role_of(&mut c, two)), (None, None));
    let key = |byte| RecoveryKey(zeroize::Zeroizing::new([byte; 32]));
    assert_eq!(refused(&mut c, MemberChange::Recover(key(8))), ErrorCode::Invalid);
    change(&mut c, MemberChange::Recover(key(9)));
    let me = c.me;
    assert_eq!(role_of(&mut c, me), Some(SyncRole::Admin));
    assert!(!c.engine.lacks_key(), "neither's new key was for all who are left");
    c.admit(&mut a, SyncRole::Member);
    connect(&mut a, &mut c, LinkId(5));
    assert!(c.engine.sessions[&LinkId(5)].connected);
    assert_eq!(role_of(&mut a, me), Some(SyncRole::Admin));
    // All that they wrote before counts, and who was not let in again is told so.
    shut_out(&mut c, &mut b, LinkId(6));
    assert!(shows(&mut c, "note", 1, "of one") && shows(&mut c, "note", 2, "of the other"));
    agree(&mut [&mut a, &mut c], two, 0);
}

#[test]
fn a_device_that_has_only_a_backup_becomes_an_admin_by_the_words_and_gets_in() {
    let (mut a, mut b, mut c) = (Device::new(1, SMALL), Device::new(2, SMALL), Device::new(3, SMALL));
    a.init(PolicyKind::Personal);
    a.admit(&mut b, SyncRole::Member);
    a.write("note", id(1), "kept");
    connect(&mut a, &mut b, LinkId(1));
    let root = || RecoveryKey(zeroize::Zeroizing::new([9; 32]));
    assert_eq!(refused(&mut c, MemberChange::Recover(root())), ErrorCode::NoVault);
    let mut after = None;
    loop {
        let Reply::Backup { items, next } = a.call(Call::Backup { after }).unwrap() else { panic!() };
        c.call(Call::Restore { items }).unwrap();
        after = next;
        if after.is_none() {
            break;
        }
    }
    drop(a);
    change(&mut c, MemberChange::Recover(root()));
    connect(&mut c, &mut b, LinkId(2));
    assert!(b.engine.sessions[&LinkId(2)].connected, "{:?}", b.hung_up);
    c.write("note", id(1), "found again");
    talk(&mut b, &mut c);
    assert!(shows(&mut b, "note", 1, "found again"));
    let lost = Keypair::from_seed(&[1; 32]).peer_id();
    change(&mut c, MemberChange::Remove(lost));
    talk(&mut b, &mut c);
    assert_eq!(role_of(&mut b, lost), None);
    assert!(shows(&mut b, "note", 1, "found again"));
}

#[test]
fn the_only_admin_neither_leaves_nor_steps_down_and_others_may_leave() {
    let [mut a, mut b, _] = three(PolicyKind::Personal, SyncRole::Member, SyncRole::Member);
    let (admin, member) = (a.me, b.me);
    assert_eq!(refused(&mut a, MemberChange::Leave), ErrorCode::Invalid);
    assert_eq!(refused(&mut a, MemberChange::Role { peer: admin, role: SyncRole::Member }), ErrorCode::Invalid);
    assert_eq!(refused(&mut a, MemberChange::Remove(admin)), ErrorCode::Invalid);
    b.write("note", id(1), "mine");
    connect(&mut b, &mut a, LinkId(1));
    change(&mut b, MemberChange::Leave);
    talk(&mut a, &mut b);
    assert_eq!((role_of(&mut a, member), role_of(&mut b, member)), (None, None));
    assert!(a.engine.sessions.is_empty() && b.engine.sessions.is_empty());
    assert!(shows(&mut a, "note", 1, "mine"), "what it wrote stays");
}
