//! How pairings end without trust: a user's no, a crash, silence, the vault's no.

use super::*;
use crate::test;

#[test]
fn either_user_can_say_no_and_the_other_hears_it() {
    for (by, cancel) in [(0, false), (1, false), (0, true), (1, true)] {
        let mut world = World::new(2);
        let shown = world.offer(0);
        world.join(1, &right(&shown));
        world.confirm(1 - by);
        let now = world.now;
        let code = match cancel {
            true => {
                world.devices[by].pairing.cancel(now);
                ErrorCode::Aborted
            }
            false => {
                world.devices[by].pairing.reject(now);
                ErrorCode::Rejected
            }
        };
        world.settle();
        assert_eq!((world.devices[0].ended(), world.devices[1].ended()), (Some(code), Some(code)));
        world.nobody_trusts_anybody();
        assert!(!world.devices[0].mode);
    }
}

#[test]
fn a_crash_of_either_side_after_any_message_ends_the_other_side_and_a_new_pairing_works() {
    let whole = {
        let mut world = World::new(2);
        let shown = world.offer(0);
        world.join(1, &right(&shown));
        world.confirm(0);
        world.confirm(1);
        world.seen.len()
    };
    for crashing in 0..2 {
        for frames in 0..whole {
            let mut world = World::new(2);
            world.frames = frames;
            let shown = world.offer(0);
            world.join(1, &right(&shown));
            let now = world.now;
            for device in &mut world.devices {
                let _ = device.pairing.confirm(now, SyncRole::Member);
            }
            world.settle();
            world.crash(crashing);
            world.wait(200);
            let survivor = &world.devices[1 - crashing];
            assert!(
                survivor.ended().is_some() || survivor.completed().is_some() || survivor.pairing.is_active(),
                "crash of {crashing} after {frames} frames leaves the other side with no answer"
            );
            let now = world.now;
            world.frames = usize::MAX;
            for device in &mut world.devices {
                device.pairing.cancel(now);
                device.events.clear();
            }
            world.settle();
            world.devices.iter_mut().for_each(|device| device.events.clear());
            let shown = world.offer(0);
            world.join(1, &right(&shown));
            world.confirm(0);
            world.confirm(1);
            assert_eq!(world.devices[1].completed(), Some(key(0)), "crash of {crashing} after {frames} frames");
        }
    }
}

#[test]
fn a_silent_device_and_a_user_who_does_not_answer_end_in_time() {
    let mut world = World::new(2);
    world.frames = 3;
    let shown = world.offer(0);
    world.join(1, &right(&shown));
    world.wait(60);
    assert!(matches!(world.devices[1].ended(), Some(ErrorCode::Timeout | ErrorCode::Unreachable)));
    let mut world = World::new(2);
    let shown = world.offer(0);
    world.join(1, &right(&shown));
    world.confirm(1);
    world.wait(121);
    assert_eq!(world.devices[0].ended(), Some(ErrorCode::Timeout));
    assert_eq!(world.devices[1].ended(), Some(ErrorCode::Timeout));
    world.nobody_trusts_anybody();
}

#[test]
fn a_vault_that_refuses_the_device_is_told_to_both() {
    let mut world = World::new(2);
    world.devices[0].invite = Err(Error::new(ErrorCode::PolicyDenied, "only Admins add devices"));
    let shown = world.offer(0);
    world.join(1, &right(&shown));
    world.confirm(0);
    world.confirm(1);
    assert_eq!(world.devices[0].ended(), Some(ErrorCode::PolicyDenied));
    assert_eq!(world.devices[1].ended(), Some(ErrorCode::PolicyDenied));
    assert_eq!(world.devices[1].joined, None);
}
