//! Strangers, teams that must not see each other, and devices that lost everything.

use std::collections::BTreeSet;

use super::members::{agree, change, digest, entries, shows, teams, told};
use super::*;
use crate::engine::{MemberChange, Reason};
use crate::error::ErrorCode;
use crate::test;
use crate::wire::{
    ErrorMessage, EventBatchMessage, EventNotifyMessage, FrontierSummary, Item, Scope, SyncRequestMessage, SyncState,
};

macro_rules! golden {
    ($($name:literal)*) => { &[$(($name, include_bytes!(concat!("../../../tests/golden/message_", $name, ".bin")))),*] };
}

/// One message of each kind and shape.
const EVERY_KIND: &[(&str, &[u8])] = golden!(
    "hello" "hello_credential" "hello_ack_accepted" "hello_ack_rejected" "sync_request_all" "sync_request_types"
    "sync_request_entities" "sync_state_equal" "sync_state_have" "sync_state_types" "sync_state_entries"
    "sync_state_clocks" "sync_state_membership" "event_batch_items" "event_batch_part" "event_ack" "event_notify"
    "subscribe" "error" "ping" "pong"
);

#[test]
fn a_stranger_who_sends_every_kind_of_message_hears_only_that_it_is_one_and_leaves_nothing_behind() {
    let mut a = Device::new(1, Tuning::default());
    a.init(PolicyKind::Personal);
    a.write("note", id(1), "secret");
    let before = (digest(&mut a), a.engine.peers.len(), a.disk.clone());
    let mut link = 0;
    for (name, bytes) in EVERY_KIND {
        for seed in 100..104 {
            link += 1;
            let from = Keypair::from_seed(&[seed; 32]).peer_id();
            // Twice: what it is told first does not open anything.
            a.take(Input::LinkUp { link: LinkId(link), peer: from, initiator: false, via: Via::Direct });
            a.take(Input::Frame(LinkId(link), bytes.to_vec()));
            a.take(Input::Frame(LinkId(link), bytes.to_vec()));
            let said: Vec<Message> =
                std::mem::take(&mut a.sent).iter().map(|(_, bytes)| Message::decode(bytes).unwrap()).collect();
            let ended = a.hung_up.pop().map(|(of, error)| (of, error.code()));
            assert_eq!(ended, Some((LinkId(link), ErrorCode::NotAuthorized)), "{name}");
            // An error is not answered by another one.
            let refusal = ErrorMessage { code: ErrorCode::NotAuthorized, message: String::new() };
            let expected = if *name == "error" { vec![] } else { vec![Message::Error(refusal)] };
            assert_eq!(said, expected, "{name}");
        }
    }
    assert!(a.engine.sessions.is_empty() && a.engine.held.is_empty());
    assert_eq!((digest(&mut a), a.engine.peers.len()), (before.0, before.1));
    assert_eq!(format!("{:?}", a.disk), format!("{:?}", before.2), "nothing is written for a stranger");
}

/// Bytes of a frame that tell of data: membership operations, which every member holds, are left out.
fn about_data(frame: &[u8]) -> Vec<u8> {
    let keep = |items: Vec<Item>| items.into_iter().filter(|item| !matches!(item, Item::Membership(_))).collect();
    let message = match Message::decode(frame).unwrap() {
        Message::EventBatch(EventBatchMessage::Items(items)) => {
            Message::EventBatch(EventBatchMessage::Items(keep(items)))
        }
        Message::EventNotify(notify) => Message::EventNotify(EventNotifyMessage { items: keep(notify.items) }),
        other => other,
    };
    let mut bytes = Vec::new();
    message.encode(&mut bytes).unwrap();
    bytes
}

/// Lets two talk; neither says anything in which one of these names stands.
fn talk_without(a: &mut Device, b: &mut Device, names: &BTreeSet<&str>) {
    while !(a.sent.is_empty() && b.sent.is_empty()) {
        for one in [true, false] {
            let (from, to) = if one { (&mut *a, &mut *b) } else { (&mut *b, &mut *a) };
            for (link, frame) in std::mem::take(&mut from.sent) {
                let data = about_data(&frame);
                for name in names {
                    let told = data.windows(name.len()).any(|bytes| bytes == name.as_bytes());
                    assert!(!told, "{name} is told: {:?}", Message::decode(&frame));
                }
                to.take(Input::Frame(link, frame));
            }
        }
    }
}

fn link_without(a: &mut Device, b: &mut Device, link: LinkId, names: &BTreeSet<&str>) {
    a.take(Input::LinkUp { link, peer: b.me, initiator: true, via: Via::Direct });
    b.take(Input::LinkUp { link, peer: a.me, initiator: false, via: Via::Direct });
    talk_without(a, b, names);
}

/// What a peer answers to one who asks for an entity of this type.
fn clocks_of(device: &mut Device, link: LinkId, name: &str) -> Vec<Message> {
    let scope = Scope::Entities(vec![(EntityType::new(name).unwrap(), id(1))]);
    let have = FrontierSummary { digest: crate::types::Hash::ZERO, base: 0, entries: vec![], complete: false };
    answers(device, link, &Message::SyncRequest(SyncRequestMessage { id: 9, scope, have }))
}

#[test]
fn fifty_devices_in_five_teams_see_their_own_team_s_data_and_no_sign_of_the_others() {
    const NAMES: [&str; 5] = ["plans of blue", "plans of green", "plans of red", "plans of grey", "plans of pink"];
    let mut admin = Device::new(1, Tuning::default());
    admin.init(PolicyKind::Enterprise);
    let mut devices: Vec<Device> = (0..50).map(|number| Device::new(10 + number, Tuning::default())).collect();
    for (number, device) in devices.iter_mut().enumerate() {
        admin.admit(device, SyncRole::Member);
        change(&mut admin, teams(device.me, &[NAMES[number % 5]]));
    }
    NAMES.iter().for_each(|name| change(&mut admin, entries(name, Some(name))));
    let others = |number: usize| NAMES.iter().copied().filter(|name| *name != NAMES[number % 5]).collect();
    // Each meets the Admin, writes, and meets the next device, of another team, and the next of its own team.
    for (number, device) in devices.iter_mut().enumerate() {
        let link = LinkId(1 + number as u64);
        link_without(device, &mut admin, link, &others(number));
        device.write(NAMES[number % 5], id(number as u8), "secret");
        talk_without(device, &mut admin, &others(number));
        device.take(Input::LinkDown(link));
        admin.take(Input::LinkDown(link));
    }
    for (step, link) in [(1, 100), (5, 200), (13, 300)] {
        for number in 0..devices.len() - step {
            let [one, two] = devices.get_disjoint_mut([number, number + step]).unwrap();
            let link = LinkId(link + number as u64);
            let hidden = if step % 5 == 0 { others(number) } else { NAMES.into() };
            link_without(one, two, link, &hidden);
            assert!(one.engine.sessions[&link].connected && two.hung_up.is_empty(), "{:?}", two.hung_up);
            if step == 1 {
                // It may ask: a type that it may not read is answered like one that there is not.
                let (of, nothing) = (NAMES[number % 5], "no such type..");
                let [told, none] = [of, nothing].map(|name| format!("{:?}", clocks_of(one, link, name)));
                assert_eq!(told.replace(of, nothing), none);
                assert!(matches!(
                    &clocks_of(one, link, of)[..],
                    [Message::SyncState(state)] if matches!(&state.state, SyncState::Clocks(clocks) if clocks[0].2.is_empty())
                ));
            }
            [one, two].into_iter().for_each(|device| device.take(Input::LinkDown(link)));
        }
    }
    // And the Admin once more, who has all.
    for (number, device) in devices.iter_mut().enumerate() {
        link_without(device, &mut admin, LinkId(1_000 + number as u64), &others(number));
        let known: Vec<String> = device.engine.types.iter().map(ToString::to_string).collect();
        assert_eq!(known, [NAMES[number % 5]]);
        assert_eq!(device.engine.logs.len(), 10, "those of its own team");
        assert_eq!(told(&mut admin, device.me), [(Reason::PolicyDenied, 10); 4], "those of the other four teams");
    }
    let digests: Vec<Reply> = devices.iter_mut().map(digest).collect();
    for (number, own) in digests.iter().enumerate() {
        for (other, theirs) in digests.iter().enumerate() {
            assert_eq!(own == theirs, number % 5 == other % 5, "{number} and {other}");
        }
    }
    assert_eq!(admin.engine.logs.len(), 50);
}

#[test]
fn full_and_empty_devices_never_wipe_each_other() {
    let [mut a, mut b] = [1, 2].map(|seed| Device::new(seed, SMALL));
    a.init(PolicyKind::Personal);
    a.admit(&mut b, SyncRole::Admin);
    connect(&mut a, &mut b, LinkId(1));
    for number in 1..20 {
        let by = if number % 2 == 0 { &mut a } else { &mut b };
        by.write("note", id(number), "kept");
        talk(&mut a, &mut b);
    }
    let full = digest(&mut a);
    // One loses its disk and comes back as itself, then the other; each time it is dialled or dials.
    for (round, dials) in [true, false, true, false].into_iter().enumerate() {
        let link = LinkId(10 + round as u64);
        let (kept, lost) = if round % 2 == 0 { (&mut a, &mut b) } else { (&mut b, &mut a) };
        kept.take(Input::LinkDown(LinkId(if round == 0 { 1 } else { 9 + round as u64 })));
        let seed = if round % 2 == 0 { 2 } else { 1 };
        *lost = Device::new(seed, SMALL);
        kept.admit(lost, SyncRole::Admin);
        if dials {
            connect(lost, kept, link)
        } else {
            connect(kept, lost, link)
        }
        assert_eq!((digest(kept), digest(lost)), (full.clone(), full.clone()), "round {round}");
    }
    b.write("note", id(1), "and on");
    talk(&mut a, &mut b);
    assert!(shows(&mut a, "note", 1, "and on") && shows(&mut a, "note", 19, "kept"));
    let of_b = b.me;
    agree(&mut [&mut a, &mut b], of_b, 0);
}

#[test]
fn what_a_device_brings_along_is_judged_by_the_rules_of_now_not_by_those_of_its_grant() {
    let (mut a, mut b) = (Device::new(1, Tuning::default()), Device::new(2, Tuning::default()));
    a.init(PolicyKind::Enterprise);
    let invite = |a: &mut Device, b: &Device| match a
        .call(Call::Invite { peer: b.me, role: SyncRole::Member, addresses: vec![] })
        .unwrap()
    {
        Reply::Invite(invite) => invite,
        reply => panic!("{reply:?}"),
    };
    let early = invite(&mut a, &b);
    b.init(PolicyKind::Personal);
    b.write("note", id(1), "mine");
    assert_eq!(
        b.call(Call::Join(early)).unwrap_err().code(),
        ErrorCode::PolicyDenied,
        "nobody but Admins writes `note`"
    );
    change(&mut a, entries("note", None));
    let late = invite(&mut a, &b);
    b.call(Call::Join(late)).unwrap();
    connect(&mut b, &mut a, LinkId(1));
    assert!(shows(&mut a, "note", 1, "mine"), "{:?}", a.explain(None));
    assert_eq!(digest(&mut a), digest(&mut b));
}

#[test]
fn a_device_that_was_restored_from_before_it_knew_the_other_is_told_again_who_that_is() {
    let (mut a, mut b) = (Device::new(1, Tuning::default()), Device::new(2, Tuning::default()));
    a.init(PolicyKind::Personal);
    let copy = a.disk.clone();
    a.admit(&mut b, SyncRole::Member);
    connect(&mut b, &mut a, LinkId(1));
    b.write("note", id(1), "kept");
    talk(&mut a, &mut b);
    b.take(Input::LinkDown(LinkId(1)));
    a = Device::open(1, Tuning::default(), copy);
    // What it remembers of the other is not so any more: refused once, then it shows its grant.
    connect(&mut b, &mut a, LinkId(2));
    assert_eq!(a.hung_up.pop().map(|(_, error)| error.code()), Some(ErrorCode::NotAuthorized));
    connect(&mut b, &mut a, LinkId(3));
    assert!(a.engine.sessions[&LinkId(3)].connected);
    assert!(shows(&mut a, "note", 1, "kept"));
}

#[test]
fn an_operation_made_while_a_greeting_is_under_way_reaches_the_peer_in_that_session() {
    let (mut a, mut b) = (Device::new(1, Tuning::default()), Device::new(2, Tuning::default()));
    a.init(PolicyKind::Personal);
    a.admit(&mut b, SyncRole::Member);
    connect(&mut b, &mut a, LinkId(1));
    [&mut a, &mut b].into_iter().for_each(|device| device.take(Input::LinkDown(LinkId(1))));
    // Each knows something that the other does not, and one comes to know more after its Hello has left.
    let name = |device: &mut Device, name: &str| {
        let peer = device.me;
        change(device, MemberChange::Name { peer, name: name.into() });
    };
    name(&mut a, "desk");
    b.take(Input::LinkUp { link: LinkId(2), peer: a.me, initiator: true, via: Via::Direct });
    name(&mut b, "laptop");
    a.take(Input::LinkUp { link: LinkId(2), peer: b.me, initiator: false, via: Via::Direct });
    talk(&mut a, &mut b);
    b.write("note", id(1), "counts");
    talk(&mut a, &mut b);
    assert!(shows(&mut a, "note", 1, "counts"), "{:?}", a.explain(None));
    assert_eq!(a.status().quarantined, 0);
    assert!(a.hung_up.is_empty() && b.hung_up.is_empty());
}
