//! What tests of members and their rights have in common.

use super::*;
use crate::engine::{MemberChange, Members, Reason};
use crate::error::ErrorCode;
use crate::policy::{EntityAcl, TeamId};

pub fn change(device: &mut Device, change: MemberChange) {
    assert_eq!(device.call(Call::Change(change)).unwrap(), Reply::Done);
}

pub fn refused(device: &mut Device, change: MemberChange) -> ErrorCode {
    device.call(Call::Change(change)).unwrap_err().code()
}

pub fn members(device: &mut Device) -> Members {
    match device.call(Call::Members).unwrap() {
        Reply::Members(members) => *members,
        other => panic!("{other:?}"),
    }
}

pub fn role_of(device: &mut Device, peer: PeerId) -> Option<SyncRole> {
    members(device).view.role(&peer)
}

pub fn title(device: &mut Device, name: &str, id: EntityId) -> Option<String> {
    let call = Call::Get { entity_type: Some(EntityType::new(name).unwrap()), id };
    let Reply::Entities(views) = device.call(call).unwrap() else { panic!() };
    let field = FieldName::new("title").unwrap();
    let value = views.first()?.fields.iter().find(|(name, ..)| **name == field)?;
    Some(format!("{value:?}"))
}

pub fn shows(device: &mut Device, name: &str, number: u8, text: &str) -> bool {
    title(device, name, id(number)).is_some_and(|title| title.contains(text))
}

pub fn digest(device: &mut Device) -> Reply {
    device.call(Call::Digest).unwrap()
}

pub fn entries(name: &str, team: Option<&str>) -> MemberChange {
    let entry = EntityAcl {
        entity_type: name.into(),
        allowed_roles: vec![SyncRole::Admin, SyncRole::Member, SyncRole::ReadOnly],
        team_id: team.map(|team| TeamId(team.into())),
    };
    MemberChange::Acl { entity_type: EntityType::new(name).unwrap(), entries: vec![entry] }
}

pub fn teams(peer: PeerId, names: &[&str]) -> MemberChange {
    MemberChange::Teams { peer, teams: names.iter().map(|name| TeamId((*name).into())).collect() }
}

pub fn unplug(devices: &mut [&mut Device], links: &[LinkId]) {
    for device in devices {
        links.iter().for_each(|link| device.take(Input::LinkDown(*link)));
    }
}

pub fn three(policy: PolicyKind, b: SyncRole, c: SyncRole) -> [Device; 3] {
    let [mut one, mut two, mut three] = [1, 2, 3].map(|seed| Device::new(seed, Tuning::default()));
    one.init(policy);
    one.admit(&mut two, b);
    one.admit(&mut three, c);
    [one, two, three]
}

/// Connects two, and the first does not let the other in: both know why.
pub fn shut_out(by: &mut Device, other: &mut Device, link: LinkId) {
    connect(other, by, link);
    assert_eq!(by.hung_up.last().map(|(of, error)| (*of, error.code())), Some((link, ErrorCode::NotAuthorized)));
    assert!(!by.engine.sessions.contains_key(&link) && !other.engine.sessions.contains_key(&link));
    assert!(told(other, by.me).contains(&(Reason::NotTrusted, 0)), "{:?}", other.explain(None));
}

/// All of these show the same, and say that so many commits of `author` do not count.
pub fn agree(devices: &mut [&mut Device], author: PeerId, withheld: u64) {
    let first = digest(devices[0]);
    for device in devices {
        assert_eq!(digest(device), first, "{}", device.me);
        let kept_back = told(device, author).into_iter().filter(|(reason, _)| *reason == Reason::Quarantined);
        let commits: u64 = kept_back.map(|(_, commits)| commits).sum();
        assert_eq!((commits, device.status().quarantined), (withheld, withheld), "{:?}", device.explain(None));
    }
}

/// What the device says about that peer and its commits: reasons, with how many commits.
pub fn told(device: &mut Device, peer: PeerId) -> Vec<(Reason, u64)> {
    device.explain(None).into_iter().filter(|one| one.peer == peer).map(|one| (one.reason, one.commits)).collect()
}
