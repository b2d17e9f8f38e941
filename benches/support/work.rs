//! The workloads, as writes of an app.

use privstack_sync::crdt::Edit;
use privstack_sync::engine::{Call, EntityEdit, MemberChange};
use privstack_sync::policy::{EntityAcl, PolicyKind, SyncRole, TeamId};
use privstack_sync::types::{EntityId, EntityType, FieldName, Hash, PeerId, Value};

use super::pair::{Device, keypair};

/// Events of a commit where a workload does not say another number: what an import makes.
pub const BATCH: usize = 1_000;

/// In which order W2's events are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// Every entity's first event, then every entity's second, …
    Passes,
    /// All ten of the first entity, then of the second, …
    EntityByEntity,
}

/// Text that does not compress to nothing: `length` letters from a number.
pub fn text(number: u64, length: usize) -> String {
    let mut text = String::with_capacity(length);
    for part in 0_u64.. {
        let hash = Hash::derive("privstack-sync bench", &[number.to_le_bytes(), part.to_le_bytes()].concat());
        for byte in hash.0 {
            if text.len() == length {
                return text;
            }
            text.push(char::from(b'a' + byte % 26));
        }
    }
    text
}

/// The type of all entities.
pub fn note() -> EntityType {
    EntityType::new("note").expect("a name")
}

/// A field's name.
pub fn field(name: &str) -> FieldName {
    FieldName::new(name).expect("a name")
}

fn set(name: &FieldName, number: u64, length: usize) -> Edit {
    Edit::Set(name.clone(), Value::Text(text(number, length)))
}

/// One write of one type.
pub fn write(changes: Vec<EntityEdit>) -> Call {
    Call::Write { entity_type: note(), changes }
}

/// Makes `count` entities with one event each, a value of `length` letters.
pub fn make(device: &mut Device, count: usize, length: usize, batch: usize) -> Vec<EntityId> {
    let name = field("f0");
    let mut ids = Vec::with_capacity(count);
    while ids.len() < count {
        let from = ids.len();
        let number = batch.min(count - from);
        let changes = (from..from + number)
            .map(|number| EntityEdit { id: None, edits: vec![set(&name, number as u64, length)] })
            .collect();
        ids.extend(device.write(write(changes)));
    }
    ids
}

/// W1: `events` events in turn over 1,000 entities, each setting 240 letters; ten fields take turns.
pub fn w1(device: &mut Device, events: usize) {
    let ids = make(device, events.min(1_000), 240, BATCH);
    let names: Vec<FieldName> = (0..10).map(|place| field(&format!("f{place}"))).collect();
    let mut made = ids.len();
    while made < events {
        let count = BATCH.min(events - made);
        let change = |number: usize| EntityEdit {
            id: Some(ids[number % ids.len()]),
            edits: vec![set(&names[number / ids.len() % names.len()], number as u64, 240)],
        };
        device.write(write((made..made + count).map(change).collect()));
        made += count;
    }
}

/// W2: ten `Set`s of 25 letters on each of `entities` entities, each of another field; `batch` events a commit.
pub fn w2(device: &mut Device, entities: usize, order: Order, batch: usize) {
    let names: Vec<FieldName> = (0..10).map(|place| field(&format!("f{place}"))).collect();
    let event = |id: Option<EntityId>, entity: usize, pass: usize| EntityEdit {
        id,
        edits: vec![set(&names[pass], (entity * 10 + pass) as u64, 25)],
    };
    if order == Order::Passes {
        let ids = make(device, entities, 25, batch);
        for pass in 1..10 {
            for from in (0..entities).step_by(batch) {
                let some = from..entities.min(from + batch);
                device.write(write(some.map(|entity| event(Some(ids[entity]), entity, pass)).collect()));
            }
        }
        return;
    }
    // The ids are made up here: an entity is made and changed in one commit.
    let ids: Vec<EntityId> = (0..entities).map(made_up).collect();
    let changes: Vec<(usize, usize)> =
        (0..entities).flat_map(|entity| (0..10).map(move |pass| (entity, pass))).collect();
    for some in changes.chunks(batch) {
        device.write(write(some.iter().map(|(entity, pass)| event(Some(ids[*entity]), *entity, *pass)).collect()));
    }
}

/// An id as a device makes them up, one a millisecond.
fn made_up(number: usize) -> EntityId {
    let hash = Hash::derive("privstack-sync bench id", &number.to_le_bytes());
    EntityId::new_v7(super::pair::START + number as u64, std::array::from_fn(|at| hash.0[at]))
}

/// W3: `entities` entities with one event each, a value of 20 letters. Their ids.
pub fn w3(device: &mut Device, entities: usize) -> Vec<EntityId> {
    make(device, entities, 20, BATCH)
}

/// Changes one field of each of some entities, 20 letters each, in commits of `batch`.
pub fn change(device: &mut Device, ids: &[EntityId], batch: usize, salt: u64) {
    let name = field("f0");
    for (place, some) in ids.chunks(batch).enumerate() {
        let edit = |(at, id): (usize, &EntityId)| {
            let number = salt + (place * batch + at) as u64;
            EntityEdit { id: Some(*id), edits: vec![set(&name, number, 20)] }
        };
        device.write(write(some.iter().enumerate().map(edit).collect()));
    }
}

fn team(number: u8) -> TeamId {
    TeamId(format!("team {}", number % 5))
}

/// 48 more members; in an enterprise vault teams for all of them, and lists for 20 types, in a personal one as many
/// names: each is a signature to check. `peers` are in the team that writes what is measured.
pub fn organise(device: &mut Device, policy: PolicyKind, peers: &[PeerId]) {
    let others: Vec<PeerId> = (10..58).map(|number| keypair(number).peer_id()).collect();
    for peer in &others {
        device.call(Call::Invite { peer: *peer, role: SyncRole::Member, addresses: Vec::new() });
    }
    if policy == PolicyKind::Personal {
        for (round, peer) in (0..70).zip(peers.iter().chain(&others).cycle()) {
            device.call(Call::Change(MemberChange::Name { peer: *peer, name: format!("named {round}") }));
        }
        return;
    }
    let in_teams = peers.iter().map(|peer| (*peer, team(0))).chain(others.iter().copied().zip((0..).map(team)));
    for (peer, team) in in_teams {
        device.call(Call::Change(MemberChange::Teams { peer, teams: [team].into() }));
    }
    let names = (1..20).map(|number| (EntityType::new(format!("type {number}")).expect("a name"), team(number)));
    for (entity_type, team) in names.chain([(note(), team(0))]) {
        let entry = |role| EntityAcl {
            entity_type: entity_type.as_str().into(),
            allowed_roles: vec![role],
            team_id: Some(team.clone()),
        };
        let entries = vec![entry(SyncRole::Admin), entry(SyncRole::Member)];
        device.call(Call::Change(MemberChange::Acl { entity_type, entries }));
    }
}

/// One more membership operation, which takes no right that is used.
pub fn reorganise(device: &mut Device, policy: PolicyKind, part: u8) {
    let peer = keypair(10 + part).peer_id();
    device.call(Call::Change(match policy {
        PolicyKind::Personal => MemberChange::Name { peer, name: format!("name {part}") },
        PolicyKind::Enterprise => MemberChange::Teams { peer, teams: [team(part + 1)].into() },
    }));
}
