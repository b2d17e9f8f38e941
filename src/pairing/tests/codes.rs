//! What a code is good for: so many guesses, one use, a while.

use super::*;
use crate::test;

#[test]
fn a_wrong_code_is_refused_and_three_burn_the_code() {
    let mut world = World::new(2);
    let shown = world.offer(0);
    for code in [ErrorCode::CodeMismatch, ErrorCode::CodeMismatch, ErrorCode::CodeBurned] {
        world.join(1, &wrong(&shown));
        world.wait(4);
        assert_eq!(world.devices[1].ended(), Some(code));
        world.devices[1].events.clear();
    }
    let next = world.devices[0].pairing.shown().unwrap().clone();
    assert!(!next.code.is_same(&shown.code), "a new code took its place");
    assert!(world.devices[0].events.iter().any(|event| *event == PairingEvent::Code(next.clone())));
    world.join(1, &right(&shown));
    world.wait(4);
    assert_eq!(world.devices[1].ended(), Some(ErrorCode::CodeMismatch), "the burned one is of no use");
    world.nobody_trusts_anybody();
}

#[test]
fn five_burned_codes_lock_pairing_until_the_user_unlocks_it_also_after_a_restart() {
    let mut world = World::new(2);
    for attempt in 0..15 {
        let shown = world.offer(0);
        world.join(1, &wrong(&shown));
        world.wait(4);
        let expected = match attempt {
            14 => ErrorCode::PairingLocked,
            2 | 5 | 8 | 11 => ErrorCode::CodeBurned,
            _ => ErrorCode::CodeMismatch,
        };
        assert_eq!(world.devices[1].ended(), Some(expected), "attempt {attempt}");
        world.devices[1].events.clear();
    }
    assert_eq!(world.devices[0].ended(), Some(ErrorCode::PairingLocked));
    world.join(1, "482951");
    world.wait(4);
    assert_eq!(world.devices[1].ended(), Some(ErrorCode::PairingLocked), "who comes late is told why");
    world.crash(0);
    let locked = world.offer_with(0, OfferOptions::default()).unwrap_err();
    assert_eq!(locked.code(), ErrorCode::PairingLocked);
    world.devices[0].pairing.unlock();
    assert!(world.offer_with(0, OfferOptions::default()).is_ok());
}

#[test]
fn a_code_is_of_no_use_a_second_time() {
    let mut world = World::new(3);
    let shown = world.offer(0);
    world.join(1, &right(&shown));
    world.join(2, &right(&shown));
    world.wait(4);
    assert_eq!(world.devices[2].ended(), Some(ErrorCode::CodeBurned));
    world.confirm(0);
    world.confirm(1);
    assert_eq!(world.devices[1].completed(), Some(key(0)));
    world.devices[2].events.clear();
    world.join(2, &right(&shown));
    world.wait(31);
    assert_eq!(world.devices[2].ended(), Some(ErrorCode::Unreachable), "nobody is in pairing mode any more");
}

#[test]
fn of_two_devices_that_type_the_code_at_once_one_is_taken() {
    let mut world = World::new(3);
    let shown = world.offer(0);
    world.devices[0].slow_disk = true;
    world.join(1, &right(&shown));
    world.join(2, &right(&shown));
    assert!(world.devices[1].found().is_none(), "nothing is answered before the try is on disk");
    world.devices[0].slow_disk = false;
    for token in std::mem::take(&mut world.devices[0].unwritten) {
        let now = world.now;
        world.devices[0].pairing.persisted(now, token);
    }
    world.settle();
    world.wait(4);
    let found: Vec<bool> = (1..3).map(|index| world.devices[index].found().is_some()).collect();
    assert_eq!(found.iter().filter(|found| **found).count(), 1, "{found:?}");
    let loser = if found[0] { 2 } else { 1 };
    assert!(matches!(world.devices[loser].ended(), Some(ErrorCode::Busy | ErrorCode::CodeBurned)));
}

#[test]
fn the_counter_is_on_disk_before_a_guess_is_answered() {
    for guess in [right as fn(&ShownCode) -> String, wrong] {
        let mut world = World::new(2);
        let shown = world.offer(0);
        world.devices[0].slow_disk = true;
        world.join(1, &guess(&shown));
        assert!(world.devices[1].events.is_empty(), "no answer yet, right or wrong");
        assert_eq!(world.devices[0].unwritten.len(), 1);
        // It is pulled out of the wall: the guess counts, and the code is gone.
        world.crash(0);
        let (row, mut expected) = (world.devices[0].row.clone().unwrap(), super::super::tries::Tries::default());
        expected.count();
        expected.opened(world.now.wall);
        assert_eq!(row, expected.encode());
    }
}

#[test]
fn a_local_check_of_a_code_counts_as_a_try() {
    let mut world = World::new(1);
    let shown = world.offer(0);
    let now = world.now;
    let pairing = &mut world.devices[0].pairing;
    assert!(pairing.verify(now, &shown.code).unwrap());
    for _ in 0..3 {
        assert!(!pairing.verify(now, &wrong(&shown).parse().unwrap()).unwrap());
    }
    assert!(!pairing.verify(now, &shown.code).unwrap(), "it is burned, another one is shown");
}

#[test]
fn codes_expire_and_links_say_so_by_themselves() {
    let mut world = World::new(2);
    let options = OfferOptions { renew: false, ttl: 30, ..OfferOptions::default() };
    let shown = world.offer_with(0, options).unwrap();
    world.wait(31);
    assert_eq!(world.devices[0].ended(), Some(ErrorCode::CodeExpired));
    world.join(1, &right(&shown));
    world.wait(4);
    assert_eq!(world.devices[1].ended(), Some(ErrorCode::CodeExpired));
    let now = world.now;
    let late = world.devices[1].pairing.join(now, shown.link.clone(), Vec::new(), true).unwrap_err();
    assert_eq!(late.code(), ErrorCode::CodeExpired);
    world.wait(60);
    assert!(!world.devices[0].mode, "and then nothing is said any more");
}

#[test]
fn a_new_code_follows_one_that_has_expired_until_the_offer_itself_is_over() {
    let mut world = World::new(1);
    let first = world.offer(0);
    world.wait(121);
    let second = world.devices[0].pairing.shown().unwrap().clone();
    assert!(!first.code.is_same(&second.code) && second.expires_at > first.expires_at);
    world.wait(15 * 60);
    assert_eq!(world.devices[0].ended(), Some(ErrorCode::CodeExpired));
    assert!(!world.devices[0].pairing.is_active());
}

/// Whether this is not a message of that tag for the device that shows the code.
fn is_other(tag: u8, to: usize, frame: &[u8]) -> bool {
    to != 0 || frame.first() != Some(&tag)
}

#[test]
fn an_exchange_that_outlasts_its_code_ends_as_expired_and_leaves_the_next_code_alone() {
    // The Hello, the share or the proof is late.
    let late: [fn(usize, &mut Vec<u8>) -> bool; 3] =
        [|to, frame| is_other(0, to, frame), |to, frame| is_other(2, to, frame), |to, frame| is_other(3, to, frame)];
    for on_its_way in late {
        let mut world = World::new(2);
        let shown = world.offer(0);
        world.wait(115);
        world.on_its_way = on_its_way;
        world.join(1, &right(&shown));
        assert_eq!(world.late.len(), 1);
        world.wait(5);
        world.on_its_way = |_, _| true;
        let late = std::mem::take(&mut world.late);
        world.wire.extend(late);
        world.settle();
        world.wait(4);
        assert_eq!(world.devices[1].ended(), Some(ErrorCode::CodeExpired));
        assert_eq!(world.devices[0].row, None, "no try is counted");
        let next = world.devices[0].pairing.shown().unwrap().clone();
        assert!(!next.code.is_same(&shown.code));
        world.nobody_trusts_anybody();
        world.devices[1].events.clear();
        world.join(1, &right(&next));
        assert!(world.devices[1].found().is_some());
    }
}

#[test]
fn a_guess_that_came_in_time_counts_also_where_the_disk_takes_longer() {
    let mut world = World::new(2);
    let shown = world.offer(0);
    world.wait(115);
    world.devices[0].slow_disk = true;
    world.join(1, &right(&shown));
    world.wait(5);
    let (now, token) = (world.now, world.devices[0].unwritten.remove(0));
    world.devices[0].pairing.persisted(now, token);
    world.settle();
    assert!(world.devices.iter().all(|device| device.found().is_some()));
}
