//! What is kept back, and who is kept out.

use super::*;
use crate::engine::Reason;
use crate::engine::log::QUARANTINE_BYTES;
use crate::engine::remote::Arrived;
use crate::error::ErrorCode;
use crate::policy::{AddMember, Body, Op};
use crate::store::Table;
use crate::test;
use crate::types::HybridTimestamp;
use crate::wire::{ErrorMessage, EventBatchMessage, HelloMessage, Item};

#[test]
fn a_type_that_the_policy_keeps_from_a_member_is_told_as_policy_denied() {
    let (mut admin, mut member) = (Device::new(1, Tuning::default()), Device::new(2, Tuning::default()));
    admin.init(PolicyKind::Enterprise);
    admin.write("note", id(1), "x");
    admin.write("task", id(2), "y");
    admin.admit(&mut member, SyncRole::Member);
    for linked in [false, true] {
        if linked {
            connect(&mut admin, &mut member, LinkId(1));
        }
        let denied = |reasons: Vec<NotSynced>| -> Vec<_> {
            let reasons = reasons.into_iter().filter(|one| one.reason == Reason::PolicyDenied);
            reasons.map(|one| (one.peer, one.entity_type.unwrap().to_string(), one.commits)).collect()
        };
        let (note, task) = ((member.me, "note".to_owned(), 1), (member.me, "task".to_owned(), 1));
        assert_eq!(denied(admin.explain(None)), [note, task.clone()]);
        assert_eq!(denied(admin.explain(Some(id(2)))), [task]);
        assert_eq!(denied(member.explain(None)), [], "a member hears nothing of types that it may not read");
    }
}

#[test]
fn nothing_is_policy_denied_in_a_personal_vault() {
    let (mut a, mut b) = (Device::new(1, Tuning::default()), Device::new(2, Tuning::default()));
    a.init(PolicyKind::Personal);
    a.write("note", id(1), "x");
    a.admit(&mut b, SyncRole::ReadOnly);
    connect(&mut a, &mut b, LinkId(1));
    assert_eq!(a.explain(None), []);
}

/// A device that knows the vault's secret shows a chain of grants that nobody has signed.
fn forged(a: &Device, from: PeerId) -> Message {
    let membership = &a.engine.vault.as_ref().unwrap().membership;
    let stranger = Keypair::from_seed(&[77; 32]);
    let grant = |peer| {
        let body = AddMember { peer, role: SyncRole::Admin, name: String::new() };
        Op::sign(&stranger, membership.vault(), membership.heads(), HybridTimestamp::default(), Body::AddMember(body))
            .unwrap()
    };
    let credential = (0..32).map(|_| grant(from).encoded().clone()).collect();
    let nonce = [3; 16];
    let proof = membership.selector(&from, &a.me, &nonce);
    Message::Hello(HelloMessage { versions: (1, 1), features: 0, nonce, proof, heads: vec![], credential })
}

fn greets(a: &mut Device, link: u64, from: PeerId, hello: &Message) -> ErrorMessage {
    let link = LinkId(link);
    a.take(Input::LinkUp { link, peer: from, initiator: false, via: Via::Direct });
    match answers(a, link, hello).pop() {
        Some(Message::Error(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn strangers_can_cause_so_many_signature_checks_and_members_are_never_limited() {
    let (mut a, mut b) = (Device::new(1, Tuning::default()), Device::new(2, Tuning::default()));
    a.init(PolicyKind::Personal);
    a.admit(&mut b, SyncRole::Member);
    let from = Keypair::from_seed(&[78; 32]).peer_id();
    let hello = forged(&a, from);
    let refused = |code| ErrorMessage { code, message: String::new() };
    for link in 0..8 {
        assert_eq!(greets(&mut a, link, from, &hello), refused(ErrorCode::NotAuthorized));
    }
    assert_eq!(greets(&mut a, 8, from, &hello), refused(ErrorCode::Busy));
    // The same answer to one that does not even know the vault: it tells nothing.
    let Message::Hello(mut wrong) = hello.clone() else { panic!() };
    wrong.proof.0[0] ^= 1;
    assert_eq!(greets(&mut a, 9, from, &Message::Hello(wrong)), refused(ErrorCode::Busy));

    connect(&mut b, &mut a, LinkId(10));
    assert!(a.engine.sessions[&LinkId(10)].connected, "a member gets in all the same");

    a.now += 1_000_000;
    assert_eq!(greets(&mut a, 11, from, &hello), refused(ErrorCode::NotAuthorized), "a second later it is heard again");
}

#[test]
fn a_member_gets_nothing_of_a_type_that_the_policy_keeps_from_it() {
    let (mut admin, mut member) = (Device::new(1, Tuning::default()), Device::new(2, Tuning::default()));
    admin.init(PolicyKind::Enterprise);
    admin.write("note", id(1), "x");
    admin.admit(&mut member, SyncRole::Member);
    connect(&mut admin, &mut member, LinkId(1));
    admin.write("note", id(1), "y");
    talk(&mut admin, &mut member);
    assert!(member.engine.sessions[&LinkId(1)].connected);
    assert!(member.engine.types.is_empty() && member.engine.logs.is_empty());
}

#[test]
fn commits_that_do_not_count_are_taken_until_the_quarantine_of_their_log_is_full() {
    let (mut a, mut b) = (Device::new(1, Tuning::default()), Device::new(2, Tuning::default()));
    a.init(PolicyKind::Personal);
    a.admit(&mut b, SyncRole::ReadOnly);
    (0..60).for_each(|number| b.write_unasked(id(number), 48_000));
    connect(&mut b, &mut a, LinkId(1));
    let held = a.engine.logs.values().next().unwrap();
    assert!((10..59).contains(&held.tip.seq), "{} commits are held", held.tip.seq);
    assert!(held.waiting_bytes < QUARANTINE_BYTES + (64 << 10));
    let reasons: Vec<Reason> = a.explain(None).iter().map(|one| one.reason).collect();
    assert!(reasons.contains(&Reason::Quota) && reasons.contains(&Reason::Quarantined), "{reasons:?}");
}

/// A grant by `admin` that only it holds so far.
fn grant_in_secret(admin: &mut Device, peer: PeerId) -> std::sync::Arc<[u8]> {
    let (keypair, hlc) = (admin.engine.config.keypair.clone(), admin.engine.hlc.tick(admin.engine.now));
    let membership = &mut admin.engine.vault.as_mut().unwrap().membership;
    let grant = AddMember { peer, role: SyncRole::Member, name: String::new() };
    membership.add_member(&keypair, grant, hlc).unwrap().encoded().clone()
}

/// Gives an operation to a device as if its app had.
fn give(device: &mut Device, op: &[u8]) {
    let mut arrived = Arrived::default();
    device.engine.take_membership(None, op, &mut arrived).unwrap();
    device.engine.finish_arrival(arrived);
    device.take(Input::Tick);
}

#[test]
fn commits_that_a_full_quarantine_refused_come_in_the_same_session_once_they_count() {
    let (mut a, mut b) = (Device::new(1, Tuning::default()), Device::new(2, Tuning::default()));
    a.init(PolicyKind::Personal);
    a.admit(&mut b, SyncRole::Member);
    connect(&mut b, &mut a, LinkId(1));
    // The commits name two operations of which the first device hears later.
    let stranger = |seed| Keypair::from_seed(&[seed; 32]).peer_id();
    let first = grant_in_secret(&mut b, stranger(50));
    (0..40).for_each(|number| b.write_unasked(id(number), 48_000));
    let second = grant_in_secret(&mut b, stranger(51));
    (40..80).for_each(|number| b.write_unasked(id(number), 48_000));
    talk(&mut a, &mut b);
    let held = |a: &Device| a.engine.logs.values().map(|log| log.tip.seq).sum::<u64>();
    let quota = |a: &mut Device| a.explain(None).iter().any(|one| one.reason == Reason::Quota);
    assert!((10..40).contains(&held(&a)) && quota(&mut a), "{} commits are held", held(&a));

    give(&mut a, &first);
    talk(&mut a, &mut b);
    assert!((50..80).contains(&held(&a)) && quota(&mut a), "{} commits are held: what counts and 1 MiB more", held(&a));
    let waiting = a.engine.logs.values().map(|log| log.waiting_bytes).sum::<u64>();
    assert!(waiting < QUARANTINE_BYTES + (64 << 10));

    give(&mut a, &second);
    talk(&mut a, &mut b);
    assert_eq!((held(&a), quota(&mut a), a.hung_up.len() + b.hung_up.len()), (80, false, 0));
    let about_b: Vec<_> = a.explain(None).into_iter().filter(|one| one.peer == b.me).collect();
    assert_eq!(about_b, []);
}

#[test]
fn what_is_left_in_a_quarantine_is_measured_again_when_some_of_it_counts() {
    let (mut a, mut b) = (Device::new(1, Tuning::default()), Device::new(2, Tuning::default()));
    a.init(PolicyKind::Personal);
    a.admit(&mut b, SyncRole::Member);
    connect(&mut b, &mut a, LinkId(1));
    let stranger = |seed| Keypair::from_seed(&[seed; 32]).peer_id();
    let first = grant_in_secret(&mut b, stranger(50));
    (0..15).for_each(|number| b.write_unasked(id(number), 48_000));
    let _second = grant_in_secret(&mut b, stranger(51));
    (15..60).for_each(|number| b.write_unasked(id(number), 48_000));
    talk(&mut a, &mut b);
    let held = |a: &Device| a.engine.logs.values().map(|log| log.tip.seq).sum::<u64>();
    let before = held(&a);
    give(&mut a, &first);
    talk(&mut a, &mut b);
    let after = held(&a);
    assert!(after >= before + 14 && after < 60, "{before} and then {after} commits are held");
    assert_eq!(a.hung_up, []);
}

/// Two members with a link; the second has written two commits, of which the first device has heard nothing. Gives their
/// blocks.
fn two_blocks_under_way() -> (Device, PeerId, Vec<Vec<u8>>) {
    let (mut a, mut b) = (Device::new(1, Tuning::default()), Device::new(2, Tuning::default()));
    a.init(PolicyKind::Personal);
    a.admit(&mut b, SyncRole::Member);
    connect(&mut a, &mut b, LinkId(1));
    b.write("note", id(1), "one");
    b.write("note", id(1), "two");
    let (from, to) = (vec![], vec![0xff; 64]);
    let read = Read::Range { table: Table::Blocks, from, to, max_rows: usize::MAX, max_bytes: usize::MAX };
    (a, b.me, b.disk.rows(&read).rows.into_iter().map(|(_, block)| block).collect())
}

/// How many commits of that author the device holds after it was given a block.
fn held_after(a: &mut Device, author: PeerId, block: &[u8]) -> u64 {
    answers(a, LinkId(1), &Message::EventBatch(EventBatchMessage::Items(vec![Item::Block(block.into())])));
    a.engine.logs.values().filter(|log| log.name.id.author == author).map(|log| log.tip.seq).sum()
}

#[test]
fn a_block_with_another_signature_is_refused_and_ends_the_session() {
    let (mut a, author, blocks) = two_blocks_under_way();
    let mut forged = blocks[1].clone();
    assert_eq!((blocks.len(), held_after(&mut a, author, &blocks[0])), (2, 1));
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!((held_after(&mut a, author, &forged), a.hung_up.len()), (1, 1));
}

#[test]
fn a_block_after_a_gap_is_refused_and_ends_the_session() {
    let (mut a, author, blocks) = two_blocks_under_way();
    assert_eq!((held_after(&mut a, author, &blocks[1]), a.hung_up.len()), (0, 1));
}
