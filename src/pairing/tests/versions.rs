//! Devices whose builds speak other versions of pairing.

use super::*;
use crate::test;

/// Makes a message one of a build that speaks later versions only.
fn later(_: usize, frame: &mut Vec<u8>) -> bool {
    match PairingMessage::decode(frame) {
        Ok(PairingMessage::Hello { sort, nonce, .. }) => {
            let versions = (PAIRING_VERSION + 1, PAIRING_VERSION + 2);
            *frame = PairingMessage::Hello { versions, sort, nonce }.to_bytes();
        }
        Ok(PairingMessage::HelloAck { nonce, .. }) => {
            *frame = PairingMessage::HelloAck { version: PAIRING_VERSION + 1, nonce }.to_bytes();
        }
        _ => {}
    }
    true
}

/// Whoever shows the code is not told: its offer would be at the mercy of any stranger.
#[test]
fn a_device_of_another_version_that_joins_is_told_so_and_the_offer_goes_on() {
    let joins: fn(usize, &mut Vec<u8>) -> bool = |to, frame| to != 0 || later(to, frame);
    let offers: fn(usize, &mut Vec<u8>) -> bool = |to, frame| to != 1 || later(to, frame);
    for on_its_way in [joins, offers] {
        let mut world = World::new(3);
        let shown = world.offer(0);
        world.on_its_way = on_its_way;
        world.join(1, &right(&shown));
        world.wait(4);
        assert_eq!(world.devices[1].ended(), Some(ErrorCode::Version));
        let offering = &world.devices[0];
        assert_eq!((offering.ended(), offering.row.as_ref()), (None, None), "no try is counted");
        assert!(!offering.pairing.has(PairLink(1)), "the exchange is over on its side as well");
        world.nobody_trusts_anybody();
        world.on_its_way = |_, _| true;
        world.join(2, &right(&shown));
        assert!(world.devices[2].found().is_some(), "the code is as good as before");
    }
}
