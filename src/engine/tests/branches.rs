//! A log with branches whose author is gone: an Admin accepts one of them.

use super::revoking::{change, digest, shows};
use super::*;
use crate::engine::MemberChange;
use crate::error::ErrorCode;
use crate::test;

/// An Admin and others; one of them wrote in three ways after its disk was copied, and each way reached another device.
struct Forked {
    admin: Device,
    /// Hold the author's second and third way.
    others: [Device; 2],
    author: PeerId,
}

fn admitted(admin: &mut Device, seed: u8) -> Device {
    let mut device = Device::new(seed, Tuning::default());
    admin.admit(&mut device, SyncRole::Member);
    device
}

/// Starts again, so that what is on the disk may have gone anywhere, and syncs.
fn hand_over(author: Device, to: &mut Device, link: u64) {
    let mut author = Device::open(2, Tuning::default(), author.disk);
    connect(&mut author, to, LinkId(link));
    to.take(Input::LinkDown(LinkId(link)));
}

impl Forked {
    fn new() -> Self {
        let mut admin = Device::new(1, Tuning::default());
        admin.init(PolicyKind::Personal);
        let mut author = admitted(&mut admin, 2);
        let mut others = [3, 4].map(|seed| admitted(&mut admin, seed));
        let me = author.me;
        author.write("note", id(1), "shared");
        let earliest = author.disk.clone();
        author.write("note", id(1), "shared too");
        let early = author.disk.clone();
        for (number, title) in [(2, "kept"), (3, "kept as well")] {
            author.write("note", id(number), title);
        }
        hand_over(author, &mut admin, 1);
        let mut second = Device::open(2, Tuning::default(), early);
        second.write("note", id(4), "another way");
        hand_over(second, &mut others[0], 2);
        let mut third = Device::open(2, Tuning::default(), earliest);
        for number in 10..20 {
            third.write("note", id(number), "a third way");
        }
        hand_over(third, &mut others[1], 3);
        Self { admin, others, author: me }
    }
}

fn is_as_accepted(device: &mut Device) {
    assert!(shows(device, "note", 1, "shared too") && shows(device, "note", 2, "kept"));
    assert!(shows(device, "note", 3, "kept as well"));
    assert!(!shows(device, "note", 4, "another") && !shows(device, "note", 10, "third"));
    assert!(device.explain(None).iter().all(|reason| reason.reason != crate::engine::Reason::Forked));
    assert_eq!(device.status().quarantined, 0);
}

#[test]
fn an_admin_accepts_the_branch_it_holds_and_all_devices_go_on_with_that() {
    let Forked { mut admin, others: [mut b, mut c], author } = Forked::new();
    connect(&mut admin, &mut b, LinkId(10));
    assert!(!shows(&mut admin, "note", 2, "kept") && shows(&mut admin, "note", 1, "shared too"), "no branch counts");
    let accept = |device: &mut Device| device.call(Call::Change(MemberChange::Accept(author)));
    assert_eq!(accept(&mut admin).unwrap_err().code(), ErrorCode::NotFound, "a member makes its commits again itself");
    change(&mut admin, MemberChange::Remove(author));
    talk(&mut admin, &mut b);
    assert_eq!(accept(&mut b).unwrap_err().code(), ErrorCode::PolicyDenied);
    accept(&mut admin).unwrap();
    talk(&mut admin, &mut b);
    is_as_accepted(&mut admin);
    is_as_accepted(&mut b);
    // One that knows another way, which leaves the log even before, and hears of all this by the one that has just left
    // its own.
    admin.take(Input::LinkDown(LinkId(10)));
    b.take(Input::LinkDown(LinkId(10)));
    connect(&mut c, &mut b, LinkId(11));
    is_as_accepted(&mut c);
    is_as_accepted(&mut b);
    assert_eq!([digest(&mut b), digest(&mut c)], [digest(&mut admin), digest(&mut admin)]);
    // It is on the disks, and a new device gets it.
    let mut c = Device::open(4, Tuning::default(), c.disk);
    is_as_accepted(&mut c);
    let mut d = admitted(&mut admin, 5);
    connect(&mut d, &mut c, LinkId(12));
    assert_eq!(digest(&mut d), digest(&mut admin));
}

#[test]
fn a_branch_that_comes_after_another_was_accepted_takes_nothing_away() {
    let Forked { mut admin, others: [mut b, mut c], author } = Forked::new();
    connect(&mut admin, &mut b, LinkId(10));
    change(&mut admin, MemberChange::Remove(author));
    change(&mut admin, MemberChange::Accept(author));
    talk(&mut admin, &mut b);
    let before = digest(&mut admin);
    // The removed device's other copies find somebody who takes their commits, and that one the others.
    connect(&mut c, &mut admin, LinkId(11));
    for device in [&mut admin, &mut b, &mut c] {
        assert_eq!(digest(device), before);
        is_as_accepted(device);
    }
}

#[test]
fn of_branches_that_two_admins_accept_apart_all_end_with_the_same() {
    let Forked { mut admin, others: [mut b, mut c], author } = Forked::new();
    let other = b.me;
    change(&mut admin, MemberChange::Role { peer: other, role: SyncRole::Admin });
    change(&mut admin, MemberChange::Remove(author));
    // All hear of the removal and of each other's branches.
    connect(&mut admin, &mut b, LinkId(10));
    admin.take(Input::LinkDown(LinkId(10)));
    b.take(Input::LinkDown(LinkId(10)));
    for device in [&mut admin, &mut b] {
        change(device, MemberChange::Accept(author));
    }
    assert!(shows(&mut admin, "note", 2, "kept") && shows(&mut b, "note", 4, "another way"));
    connect(&mut admin, &mut b, LinkId(11));
    assert_eq!(digest(&mut admin), digest(&mut b));
    assert!(shows(&mut admin, "note", 2, "kept") != shows(&mut admin, "note", 4, "another way"), "one of them");
    connect(&mut c, &mut b, LinkId(12));
    talk(&mut admin, &mut b);
    assert_eq!([digest(&mut c), digest(&mut b)], [digest(&mut admin), digest(&mut admin)]);
}
