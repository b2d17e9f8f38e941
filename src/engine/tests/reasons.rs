//! Each reason of the design's table is told where it applies (`policy_denied`, `quarantined` and `quota` are in
//! [`super::refusing`]). `missing_key` has no test: nothing is encrypted with a key that could be missing.

use super::members::told;
use super::*;
use crate::engine::Reason;
use crate::error::ErrorCode;
use crate::test;
use crate::wire::HelloAckMessage;

fn two_members() -> (Device, Device) {
    let (mut a, mut b) = (Device::new(1, Tuning::default()), Device::new(2, Tuning::default()));
    a.init(PolicyKind::Personal);
    a.admit(&mut b, SyncRole::Member);
    (a, b)
}

#[test]
fn a_member_without_an_address_has_no_route() {
    let (mut a, b) = two_members();
    a.write("note", id(1), "x");
    assert_eq!(told(&mut a, b.me), [(Reason::NoRoute, 1)]);
    a.call(Call::AddPeer(b.me, vec!["/ip4/10.0.0.1/tcp/1".into()])).unwrap();
    a.take(Input::DialFailed(b.me, "10.0.0.1 does not answer".into()));
    assert_eq!(told(&mut a, b.me), [(Reason::NoRoute, 1)]);
    assert!(a.explain(None)[0].message.contains("10.0.0.1 does not answer"));
}

#[test]
fn a_wanted_peer_that_is_no_member_is_not_trusted() {
    let (mut a, _) = two_members();
    let stranger = Keypair::from_seed(&[9; 32]).peer_id();
    a.call(Call::AddPeer(stranger, vec![])).unwrap();
    assert_eq!(told(&mut a, stranger), [(Reason::NotTrusted, 0)]);
}

#[test]
fn a_member_that_answers_as_to_a_stranger_does_not_trust_this_device() {
    let (mut a, b) = two_members();
    a.call(Call::AddPeer(b.me, vec!["/ip4/10.0.0.1/tcp/1".into()])).unwrap();
    a.take(Input::LinkUp { link: LinkId(1), peer: b.me, initiator: true, via: Via::Direct });
    let error = crate::wire::ErrorMessage { code: ErrorCode::NotAuthorized, message: String::new() };
    answers(&mut a, LinkId(1), &Message::Error(error));
    assert_eq!(told(&mut a, b.me), [(Reason::NotTrusted, 0)]);
}

#[test]
fn commits_on_their_way_are_behind_at_one_end_and_ahead_at_the_other() {
    let (mut a, mut b) = two_members();
    a.write("note", id(1), "x");
    a.write("note", id(2), "y");
    a.take(Input::LinkUp { link: LinkId(1), peer: b.me, initiator: true, via: Via::Direct });
    b.take(Input::LinkUp { link: LinkId(1), peer: a.me, initiator: false, via: Via::Direct });
    let (mut behind, mut ahead) = (false, false);
    while !(a.sent.is_empty() && b.sent.is_empty()) {
        behind |= told(&mut b, a.me).contains(&(Reason::Behind, 2));
        ahead |= told(&mut a, b.me).contains(&(Reason::Ahead, 2));
        if let Some((link, bytes)) = a.sent.pop_front() {
            b.take(Input::Frame(link, bytes));
        } else if let Some((link, bytes)) = b.sent.pop_front() {
            a.take(Input::Frame(link, bytes));
        }
    }
    assert!(behind && ahead, "behind: {behind}, ahead: {ahead}");
    assert_eq!((told(&mut a, b.me), told(&mut b, a.me)), (vec![], vec![]));
}

#[test]
fn a_log_with_two_branches_is_forked() {
    let (mut a, mut b) = two_members();
    a.write("note", id(1), "x");
    let old = a.disk.clone();
    a.write("note", id(2), "y");
    connect(&mut a, &mut b, LinkId(1));
    let mut twin = Device::open(1, Tuning::default(), old);
    twin.write("note", id(3), "z");
    b.take(Input::LinkDown(LinkId(1)));
    // The twin has started with that commit on its disk: it may have gone anywhere.
    let mut twin = Device::open(1, Tuning::default(), twin.disk);
    connect(&mut twin, &mut b, LinkId(2));
    assert!(told(&mut b, a.me).iter().any(|(reason, _)| *reason == Reason::Forked));
}

#[test]
fn a_peer_of_another_version_is_told_as_version() {
    let (mut a, b) = two_members();
    a.call(Call::AddPeer(b.me, vec!["/ip4/10.0.0.1/tcp/1".into()])).unwrap();
    a.take(Input::LinkUp { link: LinkId(1), peer: b.me, initiator: true, via: Via::Direct });
    let rejected = HelloAckMessage::Rejected { reason: ErrorCode::Version };
    answers(&mut a, LinkId(1), &Message::HelloAck(rejected));
    assert_eq!(told(&mut a, b.me), [(Reason::Version, 0)]);
    // What a dial says may have the word in it.
    a.take(Input::DialFailed(b.me, "the address names an IP version that this device does not have".into()));
    assert_eq!(told(&mut a, b.me), [(Reason::NoRoute, 0)]);
}

#[test]
fn a_peer_that_has_paused_is_told_as_paused() {
    let (mut a, mut b) = two_members();
    connect(&mut a, &mut b, LinkId(1));
    b.call(Call::Pause).unwrap();
    talk(&mut a, &mut b);
    assert_eq!(told(&mut a, b.me), [(Reason::Paused, 0)]);
}

#[test]
fn a_paused_device_says_so_of_every_peer() {
    let (mut a, b) = two_members();
    a.write("note", id(1), "x");
    a.call(Call::Pause).unwrap();
    assert_eq!(told(&mut a, b.me), [(Reason::Paused, 1)]);
}
