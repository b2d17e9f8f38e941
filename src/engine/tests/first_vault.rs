//! The vault that a first write makes.

use super::*;
use crate::error::ErrorCode;
use crate::test;

fn device(seed: u8) -> Device {
    let mut device = Device::new(seed, SMALL);
    device.engine.own_vault = Some(PolicyKind::Personal);
    device
}

fn note() -> EntityType {
    EntityType::new("note").unwrap()
}

fn recovery_key(device: &mut Device) -> Option<[u8; 32]> {
    match device.call(Call::RecoveryKey).unwrap() {
        Reply::RecoveryKey(key) => key.map(|key| *key.0),
        other => panic!("{other:?}"),
    }
}

fn titles(device: &mut Device, id: EntityId) -> usize {
    match device.call(Call::Get { entity_type: None, id }).unwrap() {
        Reply::Entities(found) => found.len(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_first_write_makes_a_vault_and_its_recovery_key_is_kept_until_the_user_has_saved_it() {
    let mut a = device(1);
    assert_eq!((a.status().vault, recovery_key(&mut a)), (None, None));
    a.write("note", id(1), "x");
    let (vault, key) = (a.status().vault, recovery_key(&mut a));
    assert!(vault.is_some() && key.is_some());
    let root = crate::policy::root_keypair(&zeroize::Zeroizing::new(key.unwrap())).peer_id();
    assert_eq!(a.engine.vault().unwrap().membership.evaluate().root, root);

    let mut a = Device::open(1, SMALL, a.disk);
    assert_eq!((a.status().vault, recovery_key(&mut a), titles(&mut a, id(1))), (vault, key, 1));
    a.call(Call::RecoverySaved).unwrap();
    assert_eq!(recovery_key(&mut a), None);
    let mut a = Device::open(1, SMALL, a.disk);
    assert_eq!((a.status().vault, recovery_key(&mut a)), (vault, None));
}

#[test]
fn a_first_invite_makes_a_vault_and_what_is_refused_makes_none() {
    let (mut a, b) = (device(1), device(2));
    let nothing = Call::Write { entity_type: note(), changes: vec![] };
    assert_eq!(a.call(nothing).unwrap_err().code(), ErrorCode::Invalid);
    assert_eq!(a.status().vault, None);
    a.call(Call::Invite { peer: b.me, role: SyncRole::Member, addresses: vec![] }).unwrap();
    assert!(a.status().vault.is_some());

    let mut none = Device::new(3, SMALL);
    let changes = vec![EntityEdit { id: None, edits: vec![Edit::Create] }];
    let refused = none.call(Call::Write { entity_type: note(), changes }).unwrap_err();
    assert_eq!((refused.code(), none.status().vault), (ErrorCode::NoVault, None));
}

#[test]
fn who_joins_after_a_first_write_brings_it_along_and_keeps_no_key_of_the_old_vault() {
    let (mut a, mut b) = (device(1), device(2));
    a.write("note", id(1), "x");
    b.write("note", id(2), "y");
    a.admit(&mut b, SyncRole::Member);
    assert_eq!((b.status().vault, recovery_key(&mut b)), (a.status().vault, None));
    connect(&mut a, &mut b, LinkId(1));
    assert_eq!((titles(&mut a, id(2)), titles(&mut b, id(1))), (1, 1));
    assert_eq!(recovery_key(&mut Device::open(2, SMALL, b.disk)), None);
}
