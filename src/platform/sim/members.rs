//! Who is in the vault and may do what changes, from several sides and while devices are apart; and one of them may mean
//! harm.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::actions::{entity_type, field};
use super::device::Asked;
use super::expect::{Expected, Must, Token};
use super::faults::Fault;
use super::world::World;
use crate::engine::{Call, Input, MemberChange, RecoveryKey};
use crate::policy::{
    AddMember, Body, Cuts, EntityAcl, PolicyKind, Remove, SetAcl, SetRole, SetTeams, SyncRole, TeamId, View,
};
use crate::types::{EntityType, Event, FieldOp, Hash, LogName, PeerId, SortedSet, Value};

const ROLES: [SyncRole; 3] = [SyncRole::ReadOnly, SyncRole::Member, SyncRole::Admin];
const TEAMS: [&str; 2] = ["blue", "red"];
pub const TYPES: [&str; 2] = ["note", "task"];
/// Membership heads that one that means harm remembers.
const MAX_REMEMBERED: usize = 6;

/// What a world does with its members.
#[derive(Default, Debug)]
pub struct Politics {
    pub enterprise: bool,
    pub root: [u8; 32],
    /// In the end the recovery words are used, and everybody is taken back.
    pub recovers: bool,
    /// The device that means harm.
    pub rogue: Option<usize>,
    /// Whether disks are put back to older copies, so that logs have branches.
    pub restores: bool,
    /// Whose disk was.
    pub restored: BTreeSet<PeerId>,
    /// Membership heads that it had.
    remembered: Vec<Vec<Hash>>,
    /// Who has signed something about whom: what a removed one did is undone with it.
    pub signed: BTreeMap<PeerId, BTreeSet<PeerId>>,
    /// How far devices have stored what others wrote.
    pub stored: BTreeMap<(usize, LogName), u64>,
}

impl World {
    /// Who is in the vault, as a device sees it; `None` where it is not of this vault.
    pub fn view(&self, d: usize) -> Option<Arc<View>> {
        let membership = self.devices[d].engine.as_ref()?.membership()?;
        (Some(membership.vault()) == self.vault).then(|| membership.evaluate())
    }

    fn is_admin(&self, d: usize) -> bool {
        let me = self.devices[d].peer;
        self.devices[d].works() && self.view(d).is_some_and(|view| view.role(&me) == Some(SyncRole::Admin))
    }

    /// An enterprise vault starts with lists.
    pub fn first_lists(&mut self) {
        if self.politics.enterprise {
            for name in TYPES {
                let entries = self.entries(name);
                let change = MemberChange::Acl { entity_type: entity_type(name), entries };
                self.call(0, Call::Change(change), Asked::Any("a list"));
            }
        }
    }

    fn entries(&mut self, name: &str) -> Vec<EntityAcl> {
        let roles = match self.rng.below(4) {
            0 => vec![SyncRole::Admin],
            1 => vec![SyncRole::Member, SyncRole::Admin],
            _ => vec![SyncRole::Admin, SyncRole::Member, SyncRole::ReadOnly],
        };
        let team_id = if self.rng.one_in(3) { Some(self.team()) } else { None };
        let entry = EntityAcl { entity_type: name.into(), allowed_roles: roles, team_id };
        if self.rng.one_in(8) { Vec::new() } else { vec![entry] }
    }

    fn team(&mut self) -> TeamId {
        TeamId(TEAMS[self.rng.below(2) as usize].into())
    }

    fn teams(&mut self) -> SortedSet<TeamId> {
        (0..self.rng.below(3)).map(|_| self.team()).collect()
    }

    /// One change, by whoever may make it as far as it knows; or mischief.
    pub fn change_members(&mut self) {
        match self.rng.below(12) {
            0..=2 => return self.mischief(),
            3 => return self.part_two_admins(),
            _ => {}
        }
        let admins: Vec<usize> = (0..self.devices.len()).filter(|d| self.is_admin(*d)).collect();
        let Some(by) = self.rng.pick(&admins).copied() else { return };
        let Some(view) = self.view(by) else { return };
        let members: Vec<PeerId> = view.members.keys().copied().collect();
        let Some(peer) = self.rng.pick(&members).copied() else { return };
        let enterprise = view.kind == PolicyKind::Enterprise;
        let change = match self.rng.below(16) {
            0..=3 => MemberChange::Role { peer, role: ROLES[self.rng.below(3) as usize] },
            4 | 5 => MemberChange::Remove(peer),
            6 | 7 if enterprise => MemberChange::Teams { peer, teams: self.teams() },
            8..=10 if enterprise => {
                let name = TYPES[self.rng.below(2) as usize];
                MemberChange::Acl { entity_type: entity_type(name), entries: self.entries(name) }
            }
            11 if self.rng.one_in(2) => {
                let kind = if self.rng.one_in(2) { PolicyKind::Personal } else { PolicyKind::Enterprise };
                MemberChange::Policy(kind)
            }
            6..=10 => return self.call_back(by, &view),
            11 | 12 => MemberChange::Leave,
            13 | 14 => {
                let of = self.rng.below(self.devices.len() as u64) as usize;
                let of = self.devices[of].peer;
                if self.rng.one_in(4) { MemberChange::AskToAccept(of) } else { MemberChange::Accept(of) }
            }
            _ => MemberChange::Name { peer, name: format!("name {}", self.now) },
        };
        self.change(by, change);
    }

    fn change(&mut self, by: usize, change: MemberChange) {
        let me = self.devices[by].peer;
        let everyone: Vec<PeerId> = self.devices.iter().map(|device| device.peer).collect();
        let cut_off = &mut self.expect.cut_off;
        match &change {
            MemberChange::Role { peer, .. } | MemberChange::Remove(peer) | MemberChange::Teams { peer, .. } => {
                cut_off.insert(*peer);
                self.politics.signed.entry(me).or_default().insert(*peer);
            }
            MemberChange::Leave => drop(cut_off.insert(me)),
            MemberChange::Acl { .. } | MemberChange::Policy(_) => cut_off.extend(everyone),
            _ => {}
        }
        self.faults.add(match &change {
            MemberChange::Remove(_) => Fault::MemberRemoved,
            MemberChange::Leave => Fault::MemberLeft,
            MemberChange::Teams { .. } | MemberChange::Acl { .. } | MemberChange::Policy(_) => Fault::ListChanged,
            _ => Fault::MemberChanged,
        });
        self.call(by, Call::Change(change), Asked::Any("a change of members"));
    }

    /// One that is no member any more is invited again.
    fn call_back(&mut self, by: usize, view: &View) {
        let out: Vec<usize> = (0..self.devices.len())
            .filter(|d| self.devices[*d].joined && view.role(&self.devices[*d].peer).is_none())
            .collect();
        if let Some(other) = self.rng.pick(&out).copied() {
            self.faults.add(Fault::MemberTakenBack);
            let role = ROLES[self.rng.below(3) as usize];
            self.invite(by, other, role);
        }
    }

    /// Two Admins remove each other while they are apart.
    fn part_two_admins(&mut self) {
        let mut admins: Vec<usize> = (0..self.devices.len()).filter(|d| self.is_admin(*d)).collect();
        if admins.len() < 2 {
            return;
        }
        let one = admins.swap_remove(self.rng.below(admins.len() as u64) as usize);
        let two = admins.swap_remove(self.rng.below(admins.len() as u64) as usize);
        self.faults.add(Fault::AdminsRemovedEachOther);
        self.groups.iter_mut().for_each(|group| *group = 0);
        for group in &mut self.groups {
            *group = self.rng.below(2) as u8;
        }
        (self.groups[one], self.groups[two]) = (0, 1);
        self.cut_between_groups();
        let peers = [self.devices[one].peer, self.devices[two].peer];
        self.change(one, MemberChange::Remove(peers[1]));
        self.change(two, MemberChange::Remove(peers[0]));
    }

    /// What a device does that means harm: it writes and signs what it may not, and pretends not to know what it knows.
    fn mischief(&mut self) {
        let Some(d) = self.politics.rogue.filter(|d| self.devices[*d].works()) else { return };
        let (id, everyone) = (self.some_entity().1, self.devices.iter().map(|device| device.peer).collect::<Vec<_>>());
        let name = entity_type(TYPES[self.rng.below(2) as usize]);
        let Some(engine) = self.devices[d].engine.as_ref().filter(|engine| engine.is_idle()) else { return };
        let Some(heads) = engine.membership().filter(|one| Some(one.vault()) == self.vault).map(|one| one.heads())
        else {
            return;
        };
        if self.politics.remembered.len() < MAX_REMEMBERED && !self.politics.remembered.contains(&heads) {
            self.politics.remembered.push(heads);
        }
        let me = self.devices[d].peer;
        let heads = if self.rng.one_in(2) { self.rng.pick(&self.politics.remembered).cloned() } else { None };
        self.expect.cut_off.insert(me);
        let result = if self.rng.one_in(3) {
            let body = self.unlawful(me, &everyone, name);
            if let Some(subject) = body.subject() {
                self.politics.signed.entry(me).or_default().insert(subject);
            }
            if matches!(body, Body::SetAcl(_)) {
                self.expect.cut_off.extend(everyone);
            }
            self.faults.add(Fault::SignedUnlawfully);
            self.say(format!("{d} signs {body:?} after {heads:?}"));
            self.devices[d].engine.as_mut().map(|engine| engine.sign_unasked(body, heads).map(drop))
        } else {
            let number = self.expect.edits.len() as i64 + 1;
            let token = Token::Item(number);
            self.expect.ask(Expected { author: me, entity_type: name.clone(), id, token, must: Must::Maybe });
            let ops = vec![FieldOp::Insert { field: field("tokens"), item: Value::Int(number) }];
            let events = vec![Event { entity: id, seen: Vec::new(), ops }];
            let anew = self.rng.one_in(5);
            self.faults.add(Fault::WrittenUnlawfully);
            self.say(format!("{d} commits {number} to {name} {id}, knowing {heads:?}"));
            self.devices[d].engine.as_mut().map(|engine| {
                if anew {
                    engine.begin_epoch();
                }
                engine.write_unasked(&name, events, heads)
            })
        };
        if let Some(Err(error)) = result {
            self.say(format!("{d} cannot: {error}"));
        }
        self.input(d, Input::Tick);
    }

    fn unlawful(&mut self, me: PeerId, everyone: &[PeerId], name: EntityType) -> Body {
        let peer = self.rng.pick(everyone).copied().unwrap_or(me);
        let cuts = Cuts::new();
        match self.rng.below(6) {
            0 => Body::SetRole(SetRole { peer: me, role: SyncRole::Admin, cuts }),
            1 => Body::SetTeams(SetTeams { peer: me, teams: TEAMS.map(|team| TeamId(team.into())).into(), cuts }),
            2 => Body::AddMember(AddMember { peer: me, role: SyncRole::Admin, name: "again".into() }),
            3 => Body::AddMember(AddMember { peer, role: SyncRole::Member, name: "mine".into() }),
            4 => Body::Remove(Remove { peer, cuts }),
            _ => {
                let entity_type = name.as_str().into();
                let entries = vec![EntityAcl { entity_type, allowed_roles: ROLES.into(), team_id: None }];
                Body::SetAcl(SetAcl { entity_type: name, entries, cuts })
            }
        }
    }

    /// In the end: whoever is found first becomes an Admin by the recovery words, and takes all back.
    pub fn recover_all(&mut self, round: u32) -> Result<(), String> {
        let Some(d) = (0..self.devices.len()).find(|d| self.devices[*d].works()) else {
            return Err("nobody holds the vault".into());
        };
        let me = self.devices[d].peer;
        let Some(view) = self.view(d) else { return Ok(()) };
        // One that was removed while it was away is told no more than that it is not trusted.
        let refused = (0..self.devices.len())
            .any(|other| self.view(other).is_some_and(|theirs| theirs.role(&me).is_none()))
            && round.is_multiple_of(4);
        if view.role(&me) != Some(SyncRole::Admin) || refused {
            self.say(format!("{d} is made an Admin by the recovery words"));
            self.faults.add(Fault::Recovered);
            let root = RecoveryKey(zeroize::Zeroizing::new(self.politics.root));
            self.ask(d, Call::Change(MemberChange::Recover(root)))?;
        }
        let Some(view) = self.view(d) else { return Ok(()) };
        if view.kind == PolicyKind::Enterprise && !self.politics.enterprise {
            // Whoever has data of its own would not join a vault that does not let it write.
            self.ask(d, Call::Change(MemberChange::Policy(PolicyKind::Personal)))?;
        }
        for other in 0..self.devices.len() {
            let peer = self.devices[other].peer;
            match view.role(&peer) {
                Some(_) if self.devices[other].joined => {}
                // One with data of its own does not join to read only.
                Some(SyncRole::ReadOnly) => {
                    let change = MemberChange::Role { peer, role: SyncRole::Member };
                    self.ask(d, Call::Change(change))?;
                }
                role => self.invite(d, other, role.unwrap_or(SyncRole::Member)),
            }
        }
        Ok(())
    }
}
