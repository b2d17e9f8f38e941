//! Roles, teams and names change while devices talk to each other, and members try for more than they have.

use std::collections::BTreeSet;

use super::members::*;
use super::*;
use crate::engine::{MemberChange, Reason};
use crate::error::ErrorCode;
use crate::policy::{Body, Op, SetRole, SetTeams, TeamId};
use crate::test;
use crate::wire::Item;

#[test]
fn a_reader_s_writes_have_no_effect_also_when_an_honest_member_carries_them() {
    let [mut a, mut b, mut c] = three(PolicyKind::Personal, SyncRole::ReadOnly, SyncRole::Member);
    b.write_unasked(id(1), 100);
    connect(&mut b, &mut c, LinkId(1));
    connect(&mut c, &mut a, LinkId(2));
    let reader = b.me;
    agree(&mut [&mut a, &mut b, &mut c], reader, 1);
    assert_eq!(digest(&mut a), digest(&mut Device::new(9, Tuning::default())));
}

#[test]
fn a_member_cannot_grant_itself_anything() {
    let [mut a, mut b, mut c] = three(PolicyKind::Enterprise, SyncRole::Member, SyncRole::Member);
    let admin = a.me;
    change(&mut a, teams(admin, &["blue"]));
    change(&mut a, entries("note", Some("blue")));
    a.write("note", id(1), "for the blue team");
    change(&mut a, entries("plan", None));
    a.write("plan", id(2), "for all");
    connect(&mut b, &mut a, LinkId(1));
    connect(&mut c, &mut a, LinkId(2));
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
    for body in [
        Body::SetRole(SetRole { peer: me, role: SyncRole::Admin, cuts: Default::default() }),
        Body::SetTeams(SetTeams { peer: me, teams: [TeamId("blue".into())].into(), cuts: Default::default() }),
    ] {
        let vault = b.engine.vault.as_ref().unwrap();
        let (keypair, heads) = (b.engine.config.keypair.clone(), vault.membership.heads());
        let op = Op::sign(&keypair, vault.membership.vault(), heads, Default::default(), body).unwrap();
        b.engine.tell_all(&Item::Membership(op.encoded().clone()), None);
        b.take(Input::Tick);
        talk_all(&mut [&mut a, &mut b, &mut c], &[(LinkId(1), 0, 1), (LinkId(2), 0, 2)]);
        for device in [&a, &c] {
            assert!(device.engine.vault.as_ref().unwrap().membership.contains(&op.hash()), "kept");
        }
        let own = members(&mut a).view.members.remove(&me).unwrap();
        assert_eq!((own.role, own.teams.len()), (SyncRole::Member, 0), "and void");
    }
    a.write("note", id(1), "and more");
    talk_all(&mut [&mut a, &mut b, &mut c], &[(LinkId(1), 0, 1), (LinkId(2), 0, 2)]);
    agree(&mut [&mut b, &mut c], me, 0);
    assert!(shows(&mut b, "plan", 2, "for all") && title(&mut b, "note", id(1)).is_none());
    assert_eq!(told(&mut a, me), [(Reason::PolicyDenied, 2)]);
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
    names.iter().for_each(|name| change(&mut admin, entries(name, Some(name))));
    // Two of each team, who meet the Admin and then each other.
    let mut others = [2, 3, 4, 5, 6, 7].map(|seed| Device::new(seed, Tuning::default()));
    for (number, other) in others.iter_mut().enumerate() {
        admin.admit(other, SyncRole::Member);
        change(&mut admin, teams(other.me, &[names[number % 3]]));
        let link = LinkId(1 + number as u64);
        connect(other, &mut admin, link);
        other.write(names[number % 3], id(number as u8), "secret");
        talk(other, &mut admin);
        unplug(&mut [other, &mut admin], &[link]);
    }
    let pairs: Vec<(usize, usize)> = (0..others.len()).flat_map(|a| (0..a).map(move |b| (a, b))).collect();
    for (a, b) in &pairs {
        let [one, two] = others.get_disjoint_mut([*a, *b]).unwrap();
        let link = LinkId(10 + *a as u64 * 6 + *b as u64);
        connect(one, two, link);
        one.now += 1_000_000;
        one.take(Input::Tick);
        talk(one, two);
        unplug(&mut [one, two], &[link]);
    }
    for (number, other) in others.iter_mut().enumerate() {
        let known: Vec<String> = other.engine.types.iter().map(ToString::to_string).collect();
        assert_eq!(known, [names[number % 3]]);
        assert_eq!(other.engine.logs.len(), 2);
        assert!(other.hung_up.is_empty(), "{:?}", other.hung_up);
        let denied = told(&mut admin, other.me).into_iter().filter(|(reason, _)| *reason == Reason::PolicyDenied);
        assert_eq!(denied.map(|(_, commits)| commits).collect::<Vec<_>>(), [2, 2], "of the other two teams");
    }
    let digests: Vec<Reply> = others.iter_mut().map(digest).collect();
    for (a, b) in pairs {
        assert_eq!(digests[a] == digests[b], a % 3 == b % 3, "{a} and {b}");
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
    assert_eq!(told(&mut a, b_peer), [(Reason::PolicyDenied, 8)]);

    let (before, sent) = (b.status().received, a.status().sent);
    change(&mut a, teams(b_peer, &["blue"]));
    talk(&mut a, &mut b);
    agree(&mut [&mut a, &mut b], b_peer, 0);
    assert_eq!((b.status().received - before, a.status().sent - sent), (5, 5), "exactly what was missed");
    b.write("note", id(1), "mine");
    talk(&mut a, &mut b);
    assert!(shows(&mut a, "note", 1, "mine"));
    assert!(a.hung_up.is_empty() && b.hung_up.is_empty());
    agree(&mut [&mut a, &mut b], b_peer, 0);
    assert_eq!(told(&mut a, b_peer), []);
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
        agree(&mut [&mut a, &mut b, &mut c], peer, u64::from(round) + 1);
    }
    assert!(a.hung_up.is_empty() && b.hung_up.is_empty() && c.hung_up.is_empty());
}
