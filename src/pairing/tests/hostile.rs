//! Others in the middle, beside, and out of line.

use super::*;
use crate::test;

/// A device in the middle that ends the connection of either side and begins another with it: it relays every message
/// as it is, for it does not know the code.
#[test]
fn a_man_in_the_middle_who_passes_all_messages_on_gets_no_keys_confirmed() {
    let mut world = World::new(3);
    let (offering, joining, middle) = (0, 1, 2);
    let shown = world.offer(offering);
    let now = world.now;
    // The joining device believes that the middle shows the code (a lying relay says so).
    world.lying_relay = Some(key(middle));
    world.devices[middle].mode = true;
    let code = shown.code.clone().with_nameplate(Some(1_000));
    world.devices[joining].pairing.join(now, code, Vec::new(), true).unwrap();
    let mut to_joining = Vec::new();
    let (a, b) = (PairLink(901), PairLink(902));
    world.devices[offering].pairing.link_up(now, b, key(middle), false);
    for _ in 0..20 {
        let mut to_offering = Vec::new();
        for output in world.devices[joining].pairing.take_out() {
            match output {
                PairingOutput::FindNameplate(number) => {
                    world.devices[joining].pairing.nameplate_found(now, number, Ok(Some(key(middle))))
                }
                PairingOutput::Dial(peer, _) => world.devices[joining].pairing.link_up(now, a, peer, true),
                PairingOutput::Send(_, frame) => to_offering.push(frame),
                PairingOutput::Tell(event) => world.devices[joining].events.push(event),
                _ => {}
            }
        }
        to_joining.drain(..).for_each(|frame: Vec<u8>| world.devices[joining].pairing.frame(now, a, &frame));
        to_offering.iter().for_each(|frame| world.devices[offering].pairing.frame(now, b, frame));
        for output in world.devices[offering].pairing.take_out() {
            match output {
                PairingOutput::Send(_, frame) => to_joining.push(frame),
                PairingOutput::Persist(_, token) => world.devices[offering].pairing.persisted(now, token),
                PairingOutput::Tell(event) => world.devices[offering].events.push(event),
                _ => {}
            }
        }
    }
    assert_eq!(world.devices[joining].ended(), Some(ErrorCode::CodeMismatch));
    assert!(world.devices.iter().all(|device| device.found().is_none()));
    world.nobody_trusts_anybody();
}

#[test]
fn a_relay_that_names_the_wrong_device_brings_no_trust() {
    let mut world = World::new(3);
    world.offer(0);
    world.offer(2);
    let shown = world.devices[0].pairing.shown().unwrap().clone();
    world.lying_relay = Some(key(2));
    world.join(1, &shown.code.shown());
    assert_eq!(world.devices[1].ended(), Some(ErrorCode::CodeMismatch));
    world.nobody_trusts_anybody();
}

#[test]
fn whoever_makes_up_many_devices_checks_no_more_than_three_guesses_at_a_typed_code() {
    let mut world = World::new(12);
    (1..12).for_each(|index| drop(world.offer(index)));
    world.join(0, "482951");
    world.wait(4);
    assert_eq!(world.devices[0].ended(), Some(ErrorCode::CodeMismatch));
    let proofs = world.seen.iter().filter(|frame| frame.first() == Some(&3)).count();
    assert!(proofs <= 3, "{proofs}");
}

#[test]
fn strangers_get_nothing_but_in_pairing_mode_and_then_a_bounded_little() {
    let mut world = World::new(2);
    let now = world.now;
    world.devices[0].pairing.link_up(now, PairLink(1), key(7), false);
    assert_eq!(world.devices[0].pairing.take_out(), [PairingOutput::HangUp(PairLink(1))]);
    world.offer(0);
    for stranger in 0..100 {
        world.devices[0].pairing.link_up(now, PairLink(10 + stranger), key(10 + stranger as usize), false);
    }
    let refused = world.devices[0].pairing.take_out();
    assert_eq!(refused.iter().filter(|output| matches!(output, PairingOutput::HangUp(_))).count(), 96);
    for (place, frame) in [&[][..], &[9; 40], &[4; 16], &[0, 1, 1, 0], &[0xff; 40_000], &[3; 33]].iter().enumerate() {
        let link = PairLink(10 + place as u64);
        world.devices[0].pairing.frame(now, link, frame);
        let out = world.devices[0].pairing.take_out();
        assert!(place >= 4 || out.contains(&PairingOutput::Send(link, vec![5, 0])), "{out:?}");
    }
    assert!(world.devices[0].pairing.is_active(), "the offer goes on");
}

#[test]
fn any_message_flipped_on_its_way_ends_without_trust() {
    let frames = {
        let mut world = World::new(2);
        let shown = world.offer(0);
        world.join(1, &right(&shown));
        world.seen.len()
    };
    for flipped in 0..frames {
        let mut world = World::new(2);
        world.frames = flipped;
        let shown = world.offer(0);
        let known = vec![(key(0), Vec::new())];
        let now = world.now;
        world.devices[1].pairing.join(now, right(&shown).parse().unwrap(), known, true).unwrap();
        // All up to the one to flip is delivered; that one is the next on the wire.
        loop {
            for index in 0..2 {
                for output in world.devices[index].pairing.take_out() {
                    world.carry_out(index, output);
                }
            }
            let Some((to, link, mut frame)) = world.wire.pop_front() else { break };
            if world.frames == 0 {
                let last = frame.len() - 1;
                frame[last] ^= 1;
                world.frames = usize::MAX;
            } else if world.frames != usize::MAX {
                world.frames -= 1;
            }
            world.devices[to].pairing.frame(now, PairLink(link), &frame);
        }
        let found = world.devices.iter().all(|device| device.found().is_some());
        assert!(!found, "frame {flipped}");
        world.nobody_trusts_anybody();
    }
}

#[test]
fn messages_of_the_wrong_side_or_twice_end_the_exchange() {
    let mut world = World::new(2);
    let shown = world.offer(0);
    world.join(1, &right(&shown));
    let link = PairLink(1);
    let now = world.now;
    let mut refuse = |frame: Vec<u8>| {
        world.devices[0].pairing.frame(now, link, &frame);
        world.settle();
        world.devices[0].ended()
    };
    let hello = PairingMessage::Hello { versions: (1, 1), sort: 0, nonce: [0; 16] };
    assert_eq!(refuse(hello.to_bytes()), Some(ErrorCode::Protocol));
}
