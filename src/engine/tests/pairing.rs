//! Pairing of whole engines: what is on disk when, who may show a code, what a restart keeps.

use super::members::digest;
use super::*;
use crate::engine::Offer;
use crate::error::ErrorCode;
use crate::pairing::{MAX_BURNED, MAX_TRIES, ShownCode};
use crate::policy::AuditKind;
use crate::test;
use crate::types::VaultId;

const LINK: LinkId = LinkId(1 << 63);
const JOIN: CallId = CallId(1_000);
const CONFIRM: CallId = CallId(1_001);

fn offer(device: &mut Device) -> Result<ShownCode> {
    match device.call(Call::PairOffer(Offer::default()))? {
        Reply::PairingCode(shown) => Ok(*shown),
        reply => panic!("{reply:?}"),
    }
}

/// `b` types a code that `a` shows, over a link of this number.
fn join(a: &mut Device, b: &mut Device, code: &str, link: LinkId) {
    let addresses = vec![format!("/memory/1/p2p/{}", a.me)];
    b.take(Input::Call(JOIN, Call::PairJoin { code: code.parse().unwrap(), addresses }));
    b.take(Input::PairingUp { link, peer: a.me, initiator: true });
    a.take(Input::PairingUp { link, peer: b.me, initiator: false });
    talk(a, b);
}

fn confirm(device: &mut Device, role: SyncRole) {
    device.take(Input::Call(CONFIRM, Call::PairConfirm(role)));
}

fn wrong(shown: &ShownCode) -> String {
    let code = shown.code.shown();
    format!("{}{}", &code[..code.len() - 1], if code.ends_with('7') { '3' } else { '7' })
}

fn vault_of(device: &mut Device) -> Option<VaultId> {
    device.status().vault
}

#[test]
fn the_new_device_joins_with_its_name_and_in_the_role_that_was_chosen() {
    let (mut a, mut b) = (Device::new(1, Tuning::default()), Device::new(2, Tuning::default()));
    a.init(PolicyKind::Personal);
    b.engine.device_name = "device 2".into();
    let shown = offer(&mut a).unwrap();
    join(&mut a, &mut b, &shown.code.shown(), LINK);
    let Some(Ok(Reply::PairingPeer(found))) = b.replies.remove(&JOIN) else { panic!("nobody was found") };
    assert_eq!((found.peer, found.about.device_name.as_str()), (a.me, "first"));
    assert_eq!(vault_of(&mut b), None);
    confirm(&mut b, SyncRole::Member);
    talk(&mut a, &mut b);
    assert_eq!(vault_of(&mut b), None, "one user is not enough");
    confirm(&mut a, SyncRole::ReadOnly);
    talk(&mut a, &mut b);
    assert_eq!(a.replies.remove(&CONFIRM), Some(Ok(Reply::Paired(b.me))));
    assert_eq!(b.replies.remove(&CONFIRM), Some(Ok(Reply::Paired(a.me))));
    assert_eq!(vault_of(&mut a), vault_of(&mut b));
    assert_eq!(b.status().role, Some(SyncRole::ReadOnly));
    // What was said is on both disks.
    let (mut a, mut b) = (Device::open(1, Tuning::default(), a.disk), Device::open(2, Tuning::default(), b.disk));
    let Reply::Peers(peers) = a.call(Call::Peers).unwrap() else { panic!() };
    assert_eq!((peers[0].name.as_str(), peers[0].role), ("device 2", Some(SyncRole::ReadOnly)));
    assert_eq!(vault_of(&mut a), vault_of(&mut b));
    // And whoever is a member already keeps its role, whatever is chosen.
    let shown = offer(&mut a).unwrap();
    join(&mut a, &mut b, &shown.code.shown(), LINK);
    confirm(&mut a, SyncRole::Admin);
    confirm(&mut b, SyncRole::Member);
    talk(&mut a, &mut b);
    assert_eq!(a.replies.remove(&CONFIRM), Some(Ok(Reply::Paired(b.me))));
    assert_eq!(b.status().role, Some(SyncRole::ReadOnly));
    assert_eq!(offer(&mut b).unwrap_err().code(), ErrorCode::PolicyDenied, "it may sign nobody in");
}

#[test]
fn a_device_is_not_signed_in_where_its_own_data_could_not_come_along() {
    let (mut a, mut b) = (Device::new(1, Tuning::default()), Device::new(2, Tuning::default()));
    a.init(PolicyKind::Personal);
    b.init(PolicyKind::Personal);
    b.write("note", id(1), "of my own");
    let before = digest(&mut b);
    for (link, role) in [(LINK, SyncRole::ReadOnly), (LinkId(LINK.0 + 1), SyncRole::Member)] {
        let shown = offer(&mut a).unwrap();
        join(&mut a, &mut b, &shown.code.shown(), link);
        b.replies.remove(&JOIN);
        confirm(&mut b, SyncRole::Member);
        confirm(&mut a, role);
        talk(&mut a, &mut b);
        let (of_a, of_b) = (a.replies.remove(&CONFIRM).unwrap(), b.replies.remove(&CONFIRM).unwrap());
        if role == SyncRole::ReadOnly {
            assert_eq!(of_a.unwrap_err().code(), ErrorCode::PolicyDenied);
            assert_eq!(of_b.unwrap_err().code(), ErrorCode::PolicyDenied);
            let Reply::Members(members) = a.call(Call::Members).unwrap() else { panic!() };
            assert_eq!(members.view.role(&b.me), None, "it is not signed in");
            assert_eq!((digest(&mut b), b.status().role), (before.clone(), Some(SyncRole::Admin)), "and keeps all");
        } else {
            assert_eq!((of_a, of_b), (Ok(Reply::Paired(b.me)), Ok(Reply::Paired(a.me))));
            assert_eq!(digest(&mut b), before, "it brings its own");
        }
    }
}

#[test]
fn pairings_are_in_the_audit_logs_of_both_and_so_are_wrong_guesses_and_a_user_s_no() {
    let (mut a, mut b) = (Device::new(1, Tuning::default()), Device::new(2, Tuning::default()));
    a.init(PolicyKind::Personal);
    let shown = offer(&mut a).unwrap();
    join(&mut a, &mut b, &wrong(&shown), LINK);
    let short = |device: &mut Device| -> Vec<_> {
        let Reply::Audit(page) = device.call(Call::Audit { after: 0, limit: 100 }).unwrap() else { panic!() };
        let entries = page.records.into_iter().map(|record| record.entry.unwrap().subject);
        entries.map(|of| (of.kind, of.by, of.peer, of.allowed)).collect()
    };
    let pair = AuditKind::Pair;
    assert_eq!(short(&mut a), [(pair, b.me, b.me, false)]);
    b.call(Call::PairCancel).unwrap();
    join(&mut a, &mut b, &shown.code.shown(), LinkId(LINK.0 + 1));
    a.call(Call::PairReject).unwrap();
    talk(&mut a, &mut b);
    let mut expected = vec![(pair, b.me, b.me, false), (pair, a.me, b.me, false)];
    assert_eq!(short(&mut a), expected);
    assert_eq!(short(&mut b), [(pair, a.me, a.me, false)]);
    let shown = offer(&mut a).unwrap();
    join(&mut a, &mut b, &shown.code.shown(), LinkId(LINK.0 + 2));
    confirm(&mut b, SyncRole::Member);
    confirm(&mut a, SyncRole::Member);
    talk(&mut a, &mut b);
    expected.push((pair, a.me, b.me, true));
    assert_eq!(short(&mut a), expected);
    assert_eq!(short(&mut b), [(pair, a.me, a.me, false), (pair, a.me, b.me, true)]);
}

#[test]
fn codes_are_shown_by_devices_with_a_vault_and_long_ones_in_enterprise_vaults() {
    let mut device = Device::new(1, Tuning::default());
    assert_eq!(offer(&mut device).unwrap_err().code(), ErrorCode::NoVault);
    device.init(PolicyKind::Enterprise);
    assert_eq!(offer(&mut device).unwrap().code.shown().len(), "K7QM-2XPW".len());
    // One that makes its vault at need makes it now.
    let mut fresh = Device::new(2, Tuning::default());
    fresh.engine = std::mem::replace(&mut fresh.engine, Device::new(3, Tuning::default()).engine)
        .with_own_vault(PolicyKind::Personal);
    assert!(offer(&mut fresh).is_ok());
    assert!(vault_of(&mut fresh).is_some());
}

#[test]
fn wrong_codes_lock_pairing_and_a_restart_does_not_unlock_it() {
    let (mut a, mut b) = (Device::new(1, Tuning::default()), Device::new(2, Tuning::default()));
    a.init(PolicyKind::Personal);
    for attempt in 0..MAX_BURNED as u64 * u64::from(MAX_TRIES) {
        let shown = offer(&mut a).unwrap();
        join(&mut a, &mut b, &wrong(&shown), LinkId(LINK.0 + attempt));
        let Some(Err(error)) = b.replies.remove(&JOIN) else { panic!("attempt {attempt} was not refused") };
        assert!([ErrorCode::CodeMismatch, ErrorCode::CodeBurned, ErrorCode::PairingLocked].contains(&error.code()));
        if attempt % 4 == 1 {
            // Pulled out of the wall in between: the guesses stay counted.
            a = Device::open(1, Tuning::default(), a.disk);
            if offer(&mut a).is_err() {
                break;
            }
        }
    }
    assert_eq!(offer(&mut a).unwrap_err().code(), ErrorCode::PairingLocked);
    let mut a = Device::open(1, Tuning::default(), a.disk);
    assert_eq!(offer(&mut a).unwrap_err().code(), ErrorCode::PairingLocked);
    a.call(Call::PairUnlock).unwrap();
    let mut a = Device::open(1, Tuning::default(), a.disk);
    assert!(offer(&mut a).is_ok());
    assert_eq!(vault_of(&mut b), None);
}

#[test]
fn a_guess_is_answered_only_after_the_disk_has_counted_it() {
    let mut a = Device::new(1, Tuning::default());
    a.init(PolicyKind::Personal);
    let shown = offer(&mut a).unwrap();
    let mut b = Device::new(2, Tuning::default());
    let addresses = vec![format!("/memory/1/p2p/{}", a.me)];
    b.take(Input::Call(JOIN, Call::PairJoin { code: shown.code.shown().parse().unwrap(), addresses }));
    b.take(Input::PairingUp { link: LINK, peer: a.me, initiator: true });
    a.take(Input::PairingUp { link: LINK, peer: b.me, initiator: false });
    // Up to the proof, which is the third thing that b says.
    for _ in 0..2 {
        std::mem::take(&mut b.sent).into_iter().for_each(|(link, frame)| a.take(Input::Frame(link, frame)));
        std::mem::take(&mut a.sent).into_iter().for_each(|(link, frame)| b.take(Input::Frame(link, frame)));
    }
    let (link, proof) = b.sent.pop_front().unwrap();
    let mut out = Vec::new();
    let now = Instant { mono: a.now, wall: 1_795_305_600_000 };
    a.engine.handle(now, Input::Frame(link, proof), &mut out);
    assert!(!out.iter().any(|output| matches!(output, Output::Send(..))), "{out:?}");
    let ticket = out.iter().find_map(|output| match output {
        Output::Write(ticket, _) => Some(*ticket),
        _ => None,
    });
    out.clear();
    a.engine.handle(now, Input::Written(ticket.unwrap(), Err(Error::storage("full"))), &mut out);
    assert!(!out.iter().any(|output| matches!(output, Output::Send(..))), "and not at all if it could not");
}
