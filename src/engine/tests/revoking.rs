//! Members are removed, demoted and kept from types while devices talk to each other.

use std::collections::BTreeSet;

use super::*;
use crate::engine::{Level, MemberChange, Members, Reason, RecoveryKey};
use crate::error::ErrorCode;
use crate::policy::{Body, EntityAcl, Op, SetRole, TeamId};
use crate::test;
use crate::wire::Item;

pub fn change(device: &mut Device, change: MemberChange) {
    assert_eq!(device.call(Call::Change(change)).unwrap(), Reply::Done);
}

fn refused(device: &mut Device, change: MemberChange) -> ErrorCode {
    device.call(Call::Change(change)).unwrap_err().code()
}

fn members(device: &mut Device) -> Members {
    match device.call(Call::Members).unwrap() {
        Reply::Members(members) => *members,
        other => panic!("{other:?}"),
    }
}

fn role_of(device: &mut Device, peer: PeerId) -> Option<SyncRole> {
    members(device).view.role(&peer)
}

fn title(device: &mut Device, name: &str, id: EntityId) -> Option<String> {
    let call = Call::Get { entity_type: Some(EntityType::new(name).unwrap()), id };
    let Reply::Entities(views) = device.call(call).unwrap() else { panic!() };
    let field = FieldName::new("title").unwrap();
    let value = views.first()?.fields.iter().find(|(name, ..)| **name == field)?;
    Some(format!("{value:?}"))
}

pub fn shows(device: &mut Device, name: &str, number: u8, text: &str) -> bool {
    title(device, name, id(number)).is_some_and(|title| title.contains(text))
}

pub fn digest(device: &mut Device) -> Reply {
    device.call(Call::Digest).unwrap()
}

pub fn entries(name: &str, team: Option<&str>) -> MemberChange {
    let entry = EntityAcl {
        entity_type: name.into(),
        allowed_roles: vec![SyncRole::Admin, SyncRole::Member, SyncRole::ReadOnly],
        team_id: team.map(|team| TeamId(team.into())),
    };
    MemberChange::Acl { entity_type: EntityType::new(name).unwrap(), entries: vec![entry] }
}

pub fn teams(peer: PeerId, names: &[&str]) -> MemberChange {
    MemberChange::Teams { peer, teams: names.iter().map(|name| TeamId((*name).into())).collect() }
}

fn unplug(devices: &mut [&mut Device], links: &[LinkId]) {
    for device in devices {
        links.iter().for_each(|link| device.take(Input::LinkDown(*link)));
    }
}

fn three(policy: PolicyKind, b: SyncRole, c: SyncRole) -> [Device; 3] {
    let [mut one, mut two, mut three] = [1, 2, 3].map(|seed| Device::new(seed, Tuning::default()));
    one.init(policy);
    one.admit(&mut two, b);
    one.admit(&mut three, c);
    [one, two, three]
}

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
    assert_eq!(digest(&mut a), digest(&mut c));
    assert_eq!((a.status().quarantined, c.status().quarantined), (2, 2));
    let reasons: Vec<(PeerId, Reason)> = a.explain(None).iter().map(|one| (one.peer, one.reason)).collect();
    assert!(reasons.contains(&(removed, Reason::Quarantined)), "{reasons:?}");

    // Directly it is not even heard.
    connect(&mut b, &mut a, LinkId(5));
    assert_eq!(a.hung_up.last().map(|(_, error)| error.code()), Some(ErrorCode::NotAuthorized));
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
fn a_reader_s_writes_have_no_effect_also_when_an_honest_member_carries_them() {
    let [mut a, mut b, mut c] = three(PolicyKind::Personal, SyncRole::ReadOnly, SyncRole::Member);
    b.write_unasked(id(1), 100);
    connect(&mut b, &mut c, LinkId(1));
    connect(&mut c, &mut a, LinkId(2));
    assert_eq!((a.status().quarantined, c.status().quarantined), (1, 1), "carried, and kept back");
    assert_eq!(digest(&mut a), digest(&mut Device::new(9, Tuning::default())));
}

#[test]
fn a_member_cannot_grant_itself_anything() {
    let [mut a, mut b, _] = three(PolicyKind::Enterprise, SyncRole::Member, SyncRole::Member);
    let me = b.me;
    for own in [
        MemberChange::Role { peer: me, role: SyncRole::Admin },
        teams(me, &["blue"]),
        entries("note", None),
        MemberChange::Policy(PolicyKind::Personal),
        MemberChange::Remove(a.me),
    ] {
        assert_eq!(refused(&mut b, own), ErrorCode::PolicyDenied);
    }
    // Nor by an engine that does not ask.
    let vault = b.engine.vault.as_ref().unwrap();
    let body = Body::SetRole(SetRole { peer: me, role: SyncRole::Admin, cuts: Default::default() });
    let keypair = b.engine.config.keypair.clone();
    let op = Op::sign(&keypair, vault.membership.vault(), vault.membership.heads(), Default::default(), body).unwrap();
    connect(&mut b, &mut a, LinkId(1));
    b.engine.tell_all(&Item::Membership(op.encoded().clone()), None);
    b.take(Input::Tick);
    talk(&mut a, &mut b);
    assert!(a.engine.vault.as_ref().unwrap().membership.contains(&op.hash()), "kept");
    assert_eq!(role_of(&mut a, me), Some(SyncRole::Member), "and void");
}

#[test]
fn two_admins_who_remove_each_other_are_both_out_and_the_recovery_words_settle_it() {
    let [mut a, mut b, mut c] = three(PolicyKind::Personal, SyncRole::Admin, SyncRole::Member);
    connect(&mut a, &mut b, LinkId(1));
    connect(&mut a, &mut c, LinkId(2));
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

#[test]
fn a_device_that_was_invited_by_its_key_tells_the_others_its_name() {
    let [mut a, mut b, _] = three(PolicyKind::Personal, SyncRole::Member, SyncRole::Member);
    let mut c = Device::new(9, Tuning::default());
    c.engine.device_name = "phone".into();
    a.admit(&mut c, SyncRole::ReadOnly);
    let links = [(LinkId(1), 0, 1), (LinkId(2), 0, 2)];
    a.take(Input::LinkUp { link: LinkId(1), peer: b.me, initiator: true, via: Via::Direct });
    b.take(Input::LinkUp { link: LinkId(1), peer: a.me, initiator: false, via: Via::Direct });
    a.take(Input::LinkUp { link: LinkId(2), peer: c.me, initiator: true, via: Via::Direct });
    c.take(Input::LinkUp { link: LinkId(2), peer: a.me, initiator: false, via: Via::Direct });
    talk_all(&mut [&mut a, &mut b, &mut c], &links);
    let name = |device: &mut Device, peer: &PeerId| members(device).view.members[peer].name.clone();
    let peer = c.me;
    for device in [&mut a, &mut b, &mut c] {
        assert_eq!(name(device, &peer), "phone");
    }
}

#[test]
fn names_are_told_to_all_and_names_given_here_go_before_them() {
    let [mut a, mut b, _] = three(PolicyKind::Personal, SyncRole::Member, SyncRole::Member);
    connect(&mut a, &mut b, LinkId(1));
    let (admin, member) = (a.me, b.me);
    change(&mut b, MemberChange::Name { peer: member, name: "phone".into() });
    talk(&mut a, &mut b);
    let name = |device: &mut Device, peer: PeerId| match device.call(Call::Peers).unwrap() {
        Reply::Peers(peers) => peers.into_iter().find(|known| known.peer_id == peer).unwrap().name,
        other => panic!("{other:?}"),
    };
    assert_eq!(name(&mut a, member), "phone");
    assert_eq!(b.status().device_name, "phone");
    assert_eq!(refused(&mut b, MemberChange::Name { peer: admin, name: "x".into() }), ErrorCode::PolicyDenied);
    change(&mut a, MemberChange::Name { peer: member, name: "tablet".into() });
    a.call(Call::Rename(member, "mine".into())).unwrap();
    talk(&mut a, &mut b);
    assert_eq!(
        (name(&mut a, member), members(&mut a).view.members[&member].name.clone()),
        ("mine".into(), "mine".into())
    );
    assert_eq!(members(&mut b).view.members[&member].name, "tablet");
}

#[test]
fn three_teams_do_not_see_each_other() {
    let mut admin = Device::new(1, Tuning::default());
    admin.init(PolicyKind::Enterprise);
    let names = ["blue", "green", "red"];
    let mut others = [2, 3, 4].map(|seed| Device::new(seed, Tuning::default()));
    for (other, name) in others.iter_mut().zip(names) {
        admin.admit(other, SyncRole::Member);
        change(&mut admin, teams(other.me, &[name]));
        change(&mut admin, entries(name, Some(name)));
    }
    for (number, other) in (1..).zip(&mut others) {
        connect(other, &mut admin, LinkId(number));
    }
    for (number, (other, name)) in (1..).zip(others.iter_mut().zip(names)) {
        other.write(name, id(number), "secret");
        talk(other, &mut admin);
    }
    // They meet each other as well.
    for (a, b) in [(0, 1), (0, 2), (1, 2)] {
        let [one, two] = others.get_disjoint_mut([a, b]).unwrap();
        connect(one, two, LinkId(10 + a as u64 * 3 + b as u64));
        one.now += 1_000_000;
        one.take(Input::Tick);
        talk(one, two);
    }
    for (other, name) in others.iter_mut().zip(names) {
        let known: Vec<String> = other.engine.types.iter().map(ToString::to_string).collect();
        assert_eq!(known, [name]);
        assert_eq!(other.engine.logs.len(), 1);
        assert!(other.hung_up.is_empty(), "{:?}", other.hung_up);
    }
    assert_eq!(
        admin.engine.types.iter().map(ToString::to_string).collect::<BTreeSet<_>>(),
        names.map(String::from).into()
    );
}

#[test]
fn a_type_that_is_taken_brings_nothing_new_and_granted_again_it_fills_the_gap_exactly() {
    let [mut a, mut b, _] = three(PolicyKind::Enterprise, SyncRole::Member, SyncRole::Member);
    change(&mut a, entries("note", None));
    connect(&mut b, &mut a, LinkId(1));
    for number in 1..4 {
        a.write("note", id(number), "first");
    }
    talk(&mut a, &mut b);
    assert!(shows(&mut b, "note", 3, "first"));

    let admin = a.me;
    change(&mut a, teams(admin, &["blue"]));
    change(&mut a, entries("note", Some("blue")));
    talk(&mut a, &mut b);
    for number in 3..8 {
        a.write("note", id(number), "second");
    }
    talk(&mut a, &mut b);
    assert!(shows(&mut b, "note", 3, "first"), "what was there stays");
    assert!(!shows(&mut b, "note", 7, "second"), "nothing new comes");
    let changes = vec![EntityEdit { id: Some(id(1)), edits: vec![Edit::Create] }];
    let write = Call::Write { entity_type: EntityType::new("note").unwrap(), changes };
    assert_eq!(b.call(write).unwrap_err().code(), ErrorCode::PolicyDenied);
    let b_peer = b.me;
    let about_b: Vec<Reason> = a.explain(None).iter().filter(|one| one.peer == b_peer).map(|one| one.reason).collect();
    assert_eq!(about_b, [Reason::PolicyDenied]);

    let (before, sent) = (b.status().received, a.status().sent);
    change(&mut a, teams(b_peer, &["blue"]));
    talk(&mut a, &mut b);
    assert_eq!(digest(&mut a), digest(&mut b));
    assert_eq!((b.status().received - before, a.status().sent - sent), (5, 5), "exactly what was missed");
    b.write("note", id(1), "mine");
    talk(&mut a, &mut b);
    assert!(shows(&mut a, "note", 1, "mine"));
    assert!(a.hung_up.is_empty() && b.hung_up.is_empty());
    assert_eq!(a.explain(None).iter().filter(|one| one.peer == b_peer).count(), 0);
}

#[test]
fn a_role_that_changes_in_a_running_session_counts_from_there_on() {
    let [mut a, mut b, mut c] = three(PolicyKind::Personal, SyncRole::Member, SyncRole::Member);
    let links = [(LinkId(1), 0, 1), (LinkId(2), 0, 2)];
    connect(&mut b, &mut a, LinkId(1));
    connect(&mut c, &mut a, LinkId(2));
    b.write("note", id(1), "one");
    talk_all(&mut [&mut a, &mut b, &mut c], &links);
    let peer = b.me;
    for round in 0..3 {
        change(&mut a, MemberChange::Role { peer, role: SyncRole::ReadOnly });
        // Written before it hears of that.
        b.write("note", id(10 + round), "late");
        talk_all(&mut [&mut a, &mut b, &mut c], &links);
        assert_eq!(b.status().role, Some(SyncRole::ReadOnly));
        change(&mut a, MemberChange::Role { peer, role: SyncRole::Member });
        talk_all(&mut [&mut a, &mut b, &mut c], &links);
        b.write("note", id(20 + round), "again");
        for _ in 0..2 {
            talk_all(&mut [&mut a, &mut b, &mut c], &links);
            for device in [&mut a, &mut b, &mut c] {
                device.now += 300_000;
                device.take(Input::Tick);
            }
        }
        talk_all(&mut [&mut a, &mut b, &mut c], &links);
        for device in [&mut a, &mut b, &mut c] {
            assert!(shows(device, "note", 1, "one") && shows(device, "note", 20 + round, "again"));
            assert!(!shows(device, "note", 10 + round, "late"), "round {round}");
        }
        assert_eq!((digest(&mut a), digest(&mut a)), (digest(&mut b), digest(&mut c)));
    }
    assert!(a.hung_up.is_empty() && b.hung_up.is_empty() && c.hung_up.is_empty());
}
