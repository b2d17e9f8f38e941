//! A log with branches whose author is gone: an Admin accepts one of them.

use proptest::collection::vec;
use proptest::prelude::*;

use super::members::{change, digest, shows};
use super::*;
use crate::engine::{MemberChange, Reason};
use crate::error::ErrorCode;
use crate::policy::AuditKind;
use crate::store::MemoryStore;
use crate::test;

/// An Admin and others; one of them wrote in three ways after its disk was copied, and each way reached another device.
struct Forked {
    admin: Device,
    /// Hold the author's second and third way.
    others: [Device; 2],
    author: PeerId,
    /// The author's disk after its second way.
    second: MemoryStore,
}

fn admitted(admin: &mut Device, seed: u8) -> Device {
    let mut device = Device::new(seed, Tuning::default());
    admin.admit(&mut device, SyncRole::Member);
    device
}

/// Starts again, so that what is on the disk may have gone anywhere, and syncs.
fn hand_over(author: Device, to: &mut Device, link: u8) {
    let mut author = Device::open_by_chance(2, 100 + link, Tuning::default(), author.disk);
    let link = u64::from(link);
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
        let way = second.disk.clone();
        hand_over(second, &mut others[0], 2);
        let mut third = Device::open(2, Tuning::default(), earliest);
        for number in 10..20 {
            third.write("note", id(number), "a third way");
        }
        hand_over(third, &mut others[1], 3);
        Self { admin, others, author: me, second: way }
    }
}

fn is_as_accepted(device: &mut Device) {
    assert!(shows(device, "note", 1, "shared too") && shows(device, "note", 2, "kept"));
    assert!(shows(device, "note", 3, "kept as well"));
    assert!(!shows(device, "note", 4, "another") && !shows(device, "note", 10, "third"));
    assert!(device.explain(None).iter().all(|reason| reason.reason != Reason::Forked));
    assert_eq!(device.status().quarantined, 0);
}

#[test]
fn what_a_restored_device_wrote_waits_for_its_role_and_is_not_lost() {
    let mut admin = Device::new(1, Tuning::default());
    admin.init(PolicyKind::Personal);
    let mut author = admitted(&mut admin, 2);
    let me = author.me;
    author.write("note", id(1), "shared");
    let early = author.disk.clone();
    author.write("note", id(2), "handed over");
    author.write("note", id(4), "handed over too");
    connect(&mut author, &mut admin, LinkId(1));
    admin.take(Input::LinkDown(LinkId(1)));
    // Its disk was copied before that, the copy went on, and it has lost its role when it meets others.
    let mut copy = Device::open(2, Tuning::default(), early);
    copy.write("note", id(3), "of the copy");
    change(&mut admin, MemberChange::Role { peer: me, role: SyncRole::ReadOnly });
    connect(&mut admin, &mut copy, LinkId(2));
    for device in [&mut admin, &mut copy] {
        assert!(shows(device, "note", 2, "handed over") && !shows(device, "note", 3, "of the copy"));
    }
    let waits_of = |device: &mut Device, of| {
        let reasons = device.explain(of).into_iter();
        reasons.filter(|one| one.peer == me && one.reason == Reason::PolicyDenied).map(|one| one.commits).sum::<u64>()
    };
    let waits = |device: &mut Device| waits_of(device, None);
    assert_eq!(waits(&mut copy), 1);
    assert_eq!([3, 2].map(|number| waits_of(&mut copy, Some(id(number)))), [1, 0]);
    let mut copy = Device::open_by_chance(2, 77, Tuning::default(), copy.disk);
    assert_eq!(waits(&mut copy), 1, "after a start");
    admin.take(Input::LinkDown(LinkId(2)));
    change(&mut admin, MemberChange::Role { peer: me, role: SyncRole::Member });
    connect(&mut admin, &mut copy, LinkId(3));
    for device in [&mut admin, &mut copy] {
        assert!(shows(device, "note", 2, "handed over") && shows(device, "note", 3, "of the copy"));
        assert_eq!(waits(device), 0);
    }
    assert_eq!(digest(&mut admin), digest(&mut copy));
}

#[test]
fn of_a_device_that_lost_its_role_an_admin_accepts_a_branch_and_the_others_come_with_the_role() {
    let Forked { mut admin, others: [mut b, _], author, second } = Forked::new();
    connect(&mut admin, &mut b, LinkId(10));
    change(&mut admin, MemberChange::Role { peer: author, role: SyncRole::ReadOnly });
    talk(&mut admin, &mut b);
    let forked = |device: &mut Device| device.explain(None).into_iter().any(|one| one.reason == Reason::Forked);
    assert!(forked(&mut b) && !shows(&mut b, "note", 2, "kept"));
    change(&mut admin, MemberChange::Accept(author));
    talk(&mut admin, &mut b);
    is_as_accepted(&mut admin);
    is_as_accepted(&mut b);
    // The device itself comes with the disk that went another way.
    let mut second = Device::open_by_chance(2, 99, Tuning::default(), second);
    let links = [(LinkId(10), 0, 1), (LinkId(11), 0, 2)];
    link_up(&mut admin, &mut second, LinkId(11));
    talk_all(&mut [&mut admin, &mut b, &mut second], &links);
    for device in [&mut admin, &mut second] {
        assert!(shows(device, "note", 2, "kept") && !shows(device, "note", 4, "another way"));
    }
    assert_eq!(digest(&mut admin), digest(&mut second));
    change(&mut admin, MemberChange::Role { peer: author, role: SyncRole::Member });
    talk_all(&mut [&mut admin, &mut b, &mut second], &links);
    // Others' commits are passed on after a while, for their author may have done it.
    admin.now += 1_000_000;
    admin.take(Input::Tick);
    talk_all(&mut [&mut admin, &mut b, &mut second], &links);
    for device in [&mut admin, &mut b, &mut second] {
        assert!(shows(device, "note", 2, "kept") && shows(device, "note", 4, "another way"));
        let left = device.explain(None).into_iter().filter(|one| one.reason != Reason::NoRoute).collect::<Vec<_>>();
        assert!(left.is_empty() && device.status().quarantined == 0, "{left:?}");
    }
    assert_eq!([digest(&mut b), digest(&mut second)], [digest(&mut admin), digest(&mut admin)]);
}

#[test]
fn an_admin_accepts_the_branch_it_holds_and_all_devices_go_on_with_that() {
    let Forked { mut admin, others: [mut b, mut c], author, .. } = Forked::new();
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
    for device in [&mut admin, &mut b] {
        let Ok(Reply::Audit(page)) = device.call(Call::Audit { after: 0, limit: 100 }) else { panic!("no audit log") };
        let last = page.records.into_iter().filter_map(|record| record.entry).next_back().map(|entry| entry.subject);
        assert!(last.is_some_and(|last| last.kind == AuditKind::PolicyChanged && last.allowed));
    }
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
    let Forked { mut admin, others: [mut b, mut c], author, .. } = Forked::new();
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
fn a_fork_behind_the_accepted_commit_is_one_as_any_other() {
    let mut admin = Device::new(1, Tuning::default());
    admin.init(PolicyKind::Personal);
    let mut author = admitted(&mut admin, 2);
    let [mut b, mut c, mut d] = [3, 4, 5].map(|seed| admitted(&mut admin, seed));
    let of_author = author.me;
    let start = author.disk.clone();
    author.write("note", id(1), "kept");
    let accepted = author.disk.clone();
    hand_over(author, &mut admin, 1);
    let mut apart = Device::open_by_chance(2, 90, Tuning::default(), start);
    for number in 2..4 {
        apart.write("note", id(number), "dropped");
    }
    hand_over(apart, &mut b, 2);
    connect(&mut admin, &mut b, LinkId(10));
    change(&mut admin, MemberChange::Remove(of_author));
    change(&mut admin, MemberChange::Accept(of_author));
    // Two copies of its disk go on from the accepted commit, each in its own way, to devices that have not heard of that.
    for (number, to) in [(4, &mut c), (5, &mut d)] {
        let mut copy = Device::open_by_chance(2, 90 + number, Tuning::default(), accepted.clone());
        for later in 0..number {
            copy.write("note", id(10 * number + later), "later");
        }
        hand_over(copy, to, number);
    }
    connect(&mut c, &mut d, LinkId(11));
    connect(&mut c, &mut admin, LinkId(12));
    talk(&mut c, &mut d);
    let forks = |device: &Device| device.engine.logs.values().filter_map(|log| Some(log.fork?.seq)).collect::<Vec<_>>();
    for device in [&mut admin, &mut c, &mut d] {
        assert!(shows(device, "note", 1, "kept"));
        assert_eq!(forks(device), [1], "they part behind it");
    }
    assert_eq!([digest(&mut c), digest(&mut d)], [digest(&mut admin), digest(&mut admin)]);
    let again = Device::open(4, Tuning::default(), c.disk);
    assert_eq!(forks(&again), [1]);
}

#[test]
fn of_branches_that_two_admins_accept_apart_all_end_with_the_same() {
    let Forked { mut admin, others: [mut b, mut c], author, .. } = Forked::new();
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

/// What happens before the author is removed, and after.
#[derive(Clone, Debug)]
struct Story {
    /// Commits of the log that all branches share.
    shared: u8,
    /// How many of those a branch goes on from, and how many commits it has of its own.
    branches: Vec<(u8, u8)>,
    /// Which branch, with how many of its own commits, reaches which device.
    told: Vec<(usize, u8, usize)>,
    /// Who meets whom while the author is a member.
    before: Vec<(usize, usize)>,
    /// Whether a second Admin accepts what it holds, not knowing of the first.
    twice: bool,
    /// Who meets whom after.
    after: Vec<(usize, usize)>,
}

const DEVICES: usize = 4;

fn story() -> impl Strategy<Value = Story> {
    let meetings = |max| vec((0..DEVICES, 0..DEVICES), 0..max);
    let branches = vec((0_u8..5, 1_u8..6), 2..4);
    (1_u8..5, branches, vec((0..3_usize, 0_u8..6, 0..DEVICES), 1..8), meetings(4), any::<bool>(), meetings(8)).prop_map(
        |(shared, branches, told, before, twice, after)| Story { shared, branches, told, before, twice, after },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_of_which_branch_is_held_where_all_end_with_the_accepted_one(story in story()) {
        let tuning = || Tuning { merge_blocks: 3, ..Tuning::default() };
        let mut admin = Device::new(1, tuning());
        admin.init(PolicyKind::Personal);
        let mut author = Device::new(2, tuning());
        admin.admit(&mut author, SyncRole::Member);
        let mut devices = vec![admin];
        for seed in 3..3 + DEVICES as u8 - 1 {
            let mut device = Device::new(seed, tuning());
            let role = if seed == 3 { SyncRole::Admin } else { SyncRole::Member };
            devices[0].admit(&mut device, role);
            devices.push(device);
        }
        // The author's disk after each commit that all branches share, and those of its branches.
        let mut disks = vec![author.disk.clone()];
        for number in 0..story.shared {
            author.write("note", id(number), "shared");
            disks.push(author.disk.clone());
        }
        let of_branch: Vec<Vec<MemoryStore>> = story.branches.iter().enumerate().map(|(branch, (from, own))| {
            let from = usize::from((*from).min(story.shared));
            let mut author = Device::open_by_chance(2, 200 + branch as u8, tuning(), disks[from].clone());
            let mut states = vec![author.disk.clone()];
            for number in 0..*own {
                author.write("note", id(20 + 10 * branch as u8 + number), "of a branch");
                states.push(author.disk.clone());
            }
            states
        }).collect();
        let mut link = 0;
        for (branch, upto, to) in &story.told {
            let Some(states) = of_branch.get(*branch) else { continue };
            let disk = states[usize::from(*upto).min(states.len() - 1)].clone();
            link += 1;
            let mut author = Device::open_by_chance(2, 100 + link as u8, tuning(), disk);
            connect(&mut author, &mut devices[*to], LinkId(link));
            devices[*to].take(Input::LinkDown(LinkId(link)));
        }
        let mut meet = |devices: &mut Vec<Device>, one: usize, other: usize| {
            let (low, high) = (one.min(other), one.max(other));
            if low < high {
                link += 1;
                let (first, second) = devices.split_at_mut(high);
                connect(&mut first[low], &mut second[0], LinkId(link));
                // Others' commits are passed on after a moment.
                for _ in 0..4 {
                    for device in [&mut first[low], &mut second[0]] {
                        device.now += 300_000;
                        device.take(Input::Tick);
                    }
                    talk(&mut first[low], &mut second[0]);
                }
                first[low].take(Input::LinkDown(LinkId(link)));
                second[0].take(Input::LinkDown(LinkId(link)));
            }
        };
        for (one, other) in &story.before {
            meet(&mut devices, *one, *other);
        }
        change(&mut devices[0], MemberChange::Remove(author.me));
        meet(&mut devices, 0, 1);
        let accepted = (0..=usize::from(story.twice))
            .filter(|admin| devices[*admin].call(Call::Change(MemberChange::Accept(author.me))).is_ok())
            .count();
        for (one, other) in &story.after {
            meet(&mut devices, *one, *other);
        }
        for _ in 0..3 {
            for one in 0..DEVICES {
                for other in 0..one {
                    meet(&mut devices, one, other);
                }
            }
        }
        let digests: Vec<Reply> = devices.iter_mut().map(digest).collect();
        prop_assert!(digests.iter().all(|digest| *digest == digests[0]), "{} accepted", accepted);
        // A start changes nothing.
        for (seed, device) in [1, 3, 4, 5].into_iter().zip(devices) {
            let mut again = Device::open(seed, tuning(), device.disk);
            prop_assert_eq!(&digest(&mut again), &digests[0]);
        }
    }
}
