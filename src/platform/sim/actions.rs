//! What devices, their users and fate do in one step.

use super::device::{Asked, Device, Look};
use super::disk::Disk;
use super::expect::{Expected, Must, Token, tokens_on_disk};
use super::faults::Fault;
use super::world::{Plan, World};
use crate::crdt::Edit;
use crate::engine::{Call, EntityEdit, Level};
use crate::policy::{PolicyKind, SyncRole};
use crate::store::Table;
use crate::types::{EntityId, EntityType, FieldName, Value};
use crate::wire::decode_header;

/// Characters that each stand for one edit of a text.
pub const TOKEN_CHARS: std::ops::RangeInclusive<char> = '\u{4e00}'..='\u{9fff}';
/// Entities of each type that everybody edits.
const POOL: u64 = 6;
const YEAR: i64 = 365 * 86_400_000;

impl World {
    /// The first device makes the vault; the others start, some with data of their own.
    pub fn set_up(&mut self) -> Result<(), String> {
        for d in 0..self.devices.len() {
            if self.rng.one_in(2) {
                self.devices[d].clock_error = self.rng.between(0, 2 * YEAR as u64) as i64 - YEAR;
                self.faults.add(Fault::WrongClock);
            }
            self.start(d);
        }
        self.devices[0].role = Some(SyncRole::Admin);
        let init = |world: &mut World, d: usize| {
            let root = zeroize::Zeroizing::new(world.rng.bytes());
            let mut policy = PolicyKind::Personal;
            if d == 0 {
                world.politics.root = *root;
                if world.politics.enterprise {
                    policy = PolicyKind::Enterprise;
                }
            }
            let call = Call::Init { device_name: format!("device {d}"), policy, root };
            world.call(d, call, Asked::Init);
        };
        init(self, 0);
        for d in 1..self.devices.len() {
            if self.rng.one_in(6) && !self.politics.enterprise {
                // Whoever has data may not join as a reader.
                self.devices[d].role = Some(SyncRole::Member);
                init(self, d);
                for _ in 0..self.rng.between(1, 4) {
                    self.write(d);
                }
            }
        }
        self.run_until(self.now + 1_000_000)?;
        if self.vault.is_none() {
            return Err("the first device makes no vault".into());
        }
        self.first_lists();
        Ok(())
    }

    /// One step.
    pub fn act(&mut self) {
        let working: Vec<usize> = (0..self.devices.len()).filter(|d| self.devices[*d].works()).collect();
        let Some(d) = self.rng.pick(&working).copied() else { return };
        match self.rng.below(100) {
            0..=47 => self.write(d),
            48..=55 => {
                let burst = self.rng.between(2, 12);
                (0..burst).for_each(|_| self.write(d));
            }
            56..=61 if self.pairings.on && self.rng.one_in(2) => self.pair_next(d),
            56..=61 => self.invite_next(d),
            62..=66 => {
                let links = self.open_links();
                if let Some(link) = self.rng.pick(&links).copied() {
                    self.faults.add(Fault::LinkLost);
                    self.kill(link);
                }
            }
            67 | 68 => self.partition(),
            69 | 70 => self.groups.iter_mut().for_each(|group| *group = 0),
            71..=73 => self.crash(d),
            74 => self.restart(d),
            75 => self.devices[d].disk.full = true,
            76 | 77 => {
                self.faults.add(Fault::ClockJump);
                self.devices[d].clock_error = self.rng.between(0, 2 * YEAR as u64) as i64 - YEAR;
            }
            78 | 79 => self.strange(d),
            80 | 81 => self.pause(d),
            82..=86 => self.look_around(d),
            87..=90 => {
                let other = self.rng.below(self.devices.len() as u64) as usize;
                let (a, b) = (self.devices[d].peer, self.devices[other].peer);
                // Both look for each other at the same time.
                for (from, to) in [(d, b), (other, a)] {
                    if from != to_index(self, to) && self.devices[from].engine.is_some() {
                        self.input(
                            from,
                            crate::engine::Input::PeerFound(
                                to,
                                vec![super::device::address(&to), format!("/again/{}", self.now)],
                            ),
                        );
                    }
                }
            }
            91 => {
                let sync = Call::ForceSync(None);
                self.call(d, sync, Asked::Any("force sync"));
            }
            92 => {
                self.call(d, Call::Settled(Level::Peer), Asked::Any("settled"));
            }
            _ => self.planned(d),
        }
    }

    fn partition(&mut self) {
        self.faults.add(Fault::Partition);
        for group in &mut self.groups {
            *group = self.rng.below(2) as u8;
        }
        self.cut_between_groups();
    }

    /// Links between those that cannot reach each other are lost.
    pub fn cut_between_groups(&mut self) {
        let cut: Vec<u64> = self
            .links
            .iter()
            .filter(|(_, link)| match link.ends {
                [Some((a, _)), Some((b, _))] => !link.dead && self.groups[a] != self.groups[b],
                _ => false,
            })
            .map(|(number, _)| *number)
            .collect();
        cut.into_iter().for_each(|link| self.kill(link));
    }

    fn restart(&mut self, d: usize) {
        self.faults.add(Fault::Restart);
        if !self.devices[d].disk.full {
            while self.devices[d].disk.commit_next().is_some() {}
        }
        self.crash(d);
    }

    /// An Admin invites a device that was not invited so far.
    pub fn invite_next(&mut self, by: usize) {
        let admin = match self.plan {
            Plan::Members => {
                self.view(by).is_some_and(|view| view.role(&self.devices[by].peer) == Some(SyncRole::Admin))
            }
            _ => self.devices[by].role == Some(SyncRole::Admin),
        };
        if !admin {
            return;
        }
        let Some(other) = (0..self.devices.len()).find(|d| !self.devices[*d].joined && !self.devices[*d].gone) else {
            return;
        };
        let role = self.devices[other].role.unwrap_or_else(|| match self.rng.below(6) {
            0 => SyncRole::ReadOnly,
            1 | 2 => SyncRole::Admin,
            _ => SyncRole::Member,
        });
        self.invite(by, other, role);
    }

    /// Notes that one device is about to let another in, in this role.
    pub fn note_let_in(&mut self, by: usize, other: usize, role: SyncRole) {
        self.devices[other].role = Some(role);
        let peers = (self.devices[by].peer, self.devices[other].peer);
        self.politics.signed.entry(peers.0).or_default().insert(peers.1);
    }

    pub fn invite(&mut self, by: usize, other: usize, role: SyncRole) {
        self.note_let_in(by, other, role);
        let addresses = vec![super::device::address(&self.devices[by].peer)];
        let call = Call::Invite { peer: self.devices[other].peer, role, addresses };
        self.call(by, call, Asked::Invite(other));
    }

    fn strange(&mut self, d: usize) {
        self.faults.add(Fault::Stranger);
        let link = self.stranger(d).0;
        for frame in 0..self.rng.between(0, 3) {
            self.faults.add(Fault::Garbage);
            let length = self.rng.between(0, 200);
            let mut bytes: Vec<u8> = (0..length).map(|_| self.rng.number() as u8).collect();
            if let Some(first) = bytes.first_mut() {
                *first %= 12;
            }
            self.stranger_sends(link, self.now + 1_000_000 + frame, bytes);
        }
        self.at_end_of_stranger(link);
    }

    fn at_end_of_stranger(&mut self, link: u64) {
        let at = self.now + self.rng.between(1_000_000, 40_000_000);
        self.at(at, super::world::Event::Down(link, 1));
    }

    fn pause(&mut self, d: usize) {
        let call = if self.devices[d].paused { Call::Resume } else { Call::Pause };
        if call == Call::Pause {
            self.faults.add(Fault::Paused);
        }
        self.devices[d].paused = call == Call::Pause;
        self.call(d, call, Asked::Any("pause"));
    }

    fn look_around(&mut self, d: usize) {
        let (entity_type, id) = self.some_entity();
        let (call, name) = match self.rng.below(8) {
            0 => (Call::Status, "status"),
            1 => (Call::Explain(None), "explain"),
            2 => (Call::Explain(Some(id)), "explain one"),
            3 => (Call::List { entity_type: None, after: None, limit: 5 }, "list"),
            4 => (Call::History(id), "history"),
            5 => (Call::Peers, "peers"),
            6 => (Call::Digest, "digest"),
            _ => (Call::Get { entity_type: Some(entity_type), id }, "get"),
        };
        self.call(d, call, Asked::Any(name));
    }

    /// What this run does to identities and disks.
    fn planned(&mut self, d: usize) {
        if self.now < 8_000_000 {
            return;
        }
        let joined = self.devices.iter().filter(|device| device.joined).count();
        match self.plan {
            Plan::RestoreMarked | Plan::RestoreUnmarked if joined > 1 => self.copy_or_restore(d),
            Plan::Clone | Plan::Cheat if joined > 1 => self.clone_device(d),
            Plan::Damage if joined > 1 => self.damage(d),
            Plan::Members if joined > 1 && self.politics.restores && self.rng.one_in(4) => self.copy_or_restore(d),
            Plan::Members if joined > 1 => self.change_members(),
            _ => {}
        }
    }

    fn copy_or_restore(&mut self, d: usize) {
        let Some((of, copy)) = self.copy.clone() else {
            self.copy = Some((d, self.devices[d].disk.durable().clone()));
            return;
        };
        if !self.rng.one_in(2) {
            return;
        }
        let marked = match self.plan {
            Plan::Members => self.rng.one_in(4),
            plan => plan == Plan::RestoreMarked,
        };
        self.politics.restored.insert(self.devices[of].peer);
        self.faults.add(if marked { Fault::RestoredMarked } else { Fault::RestoredUnmarked });
        self.say(format!("{of} is restored"));
        self.crash(of);
        self.devices[of].disk = Disk::holding(copy);
        if marked {
            self.devices[of].mark = self.rng.bytes();
        }
        self.note_lost(of);
        if self.rng.one_in(2) {
            self.copy = None;
        }
    }

    /// What nobody holds any more need not be there.
    pub fn note_lost(&mut self, of: usize) {
        let Some(vault) = self.vault else { return };
        let own = tokens_on_disk(self.devices[of].disk.durable(), vault);
        let others = self.devices.iter().enumerate().filter(|(d, device)| *d != of && !device.gone);
        let others = others.flat_map(|(_, device)| tokens_on_disk(device.disk.durable(), vault)).collect();
        self.expect.disk_lost(&own, &others);
    }

    /// A second device with the same key on a copy of the disk.
    fn clone_device(&mut self, d: usize) {
        if self.twins.is_some() || d == 0 && self.plan == Plan::Cheat {
            return;
        }
        let cheat = self.plan == Plan::Cheat;
        self.faults.add(if cheat { Fault::ForkedOnPurpose } else { Fault::Cloned });
        let twin = self.devices.len();
        self.say(format!("{twin} is a copy of {d}"));
        let of = &self.devices[d];
        let mut device = Device::new(*of.keypair.seed(), of.mark, of.tuning);
        device.disk = Disk::holding(of.disk.durable().clone());
        device.role = of.role;
        device.joined = super::world::vault_on(device.disk.durable()) == self.vault;
        device.clock_error = of.clock_error;
        if !device.joined {
            return;
        }
        self.devices.push(device);
        self.groups.push(1);
        self.twins = Some((d, twin));
        if cheat {
            // Each is shown to other peers only.
            for (other, group) in self.groups.iter_mut().enumerate() {
                *group = if other == d {
                    0
                } else if other == twin {
                    1
                } else {
                    (other % 2) as u8
                };
            }
            self.kill_links_of(d);
        }
        self.start(twin);
        for _ in 0..3 {
            self.write(d);
            self.write(twin);
        }
        if cheat {
            self.expect.cheater = Some(self.devices[d].peer);
        }
    }

    /// Damages a row that another device holds too.
    fn damage(&mut self, d: usize) {
        if *self.damaged.get_or_insert(d) != d {
            return;
        }
        if self.rng.one_in(2) {
            let pages = self.devices[d].disk.all(Table::Pages);
            if let Some((key, _)) = self.rng.pick(&pages).cloned() {
                self.faults.add(Fault::DamagedPage);
                self.say(format!("a page of {d} is damaged"));
                self.devices[d].disk.damage(Table::Pages, key);
            }
            return;
        }
        let blocks = self.devices[d].disk.all(Table::Blocks);
        let Some((key, block)) = self.rng.pick(&blocks).cloned() else { return };
        let Ok(header) = decode_header(&block) else { return };
        let elsewhere = self.devices.iter().enumerate().filter(|(other, _)| *other != d).any(|(_, device)| {
            super::disk::all(device.disk.durable(), Table::Blocks).iter().any(|(_, block)| {
                decode_header(block).is_ok_and(|held| held.log == header.log && held.last_seq() >= header.last_seq())
            })
        });
        // What comes after it in the log is fetched again with it.
        let last =
            blocks.iter().filter_map(|(_, block)| decode_header(block).ok()).filter(|other| other.log == header.log);
        let is_last = last.map(|other| other.last_seq()).max() == Some(header.last_seq());
        if elsewhere && is_last {
            self.faults.add(Fault::DamagedBlock);
            self.say(format!(
                "a block of {d} is damaged: {:?} {}..{}",
                header.log,
                header.first_seq,
                header.last_seq()
            ));
            self.devices[d].disk.damage(Table::Blocks, key);
            if self.rng.one_in(2) {
                self.restart(d);
            }
        }
    }

    pub fn some_entity(&mut self) -> (EntityType, EntityId) {
        let name = if self.rng.one_in(2) { "note" } else { "task" };
        let mut id = [7; 16];
        // Far from each other, so that pages of new entities come in between.
        id[0] = (self.rng.below(POOL) * 40) as u8;
        (entity_type(name), EntityId(id))
    }

    /// A user writes something.
    pub fn write(&mut self, d: usize) {
        let (entity_type, first) = self.some_entity();
        let count = if self.rng.one_in(6) { self.rng.between(2, 5) } else { 1 };
        let (mut changes, mut edits, mut looks) = (Vec::new(), Vec::new(), Vec::new());
        self.devices[d].writes += 1;
        for place in 0..count {
            let id = if place == 0 { first } else { self.some_entity().1 };
            let wishes = (0..if self.rng.one_in(4) { 3 } else { 1 })
                .map(|_| self.wish(d, &entity_type, id, &mut edits, &mut looks))
                .collect();
            changes.push(EntityEdit { id: Some(id), edits: wishes });
        }
        if self.rng.one_in(8) {
            let name = field("title");
            changes
                .push(EntityEdit { id: None, edits: vec![Edit::Create, Edit::Set(name, Value::Int(self.now as i64))] });
        }
        let look = if count == 1 { Look::of(looks) } else { None };
        self.call(d, Call::Write { entity_type, changes }, Asked::Write(edits, look));
    }

    fn wish(
        &mut self,
        d: usize,
        entity_type: &EntityType,
        id: EntityId,
        edits: &mut Vec<usize>,
        looks: &mut Vec<Look>,
    ) -> Edit {
        let number = self.expect.edits.len() as i64 + 1;
        let mut expect = |world: &mut World, token: Token| {
            let author = world.devices[d].peer;
            let (entity_type, must) = (entity_type.clone(), Must::Maybe);
            edits.push(world.expect.ask(Expected { author, entity_type, id, token, must }));
        };
        match self.rng.below(20) {
            0 => Edit::Create,
            1 | 2 => {
                let name = field(if self.rng.one_in(2) { "title" } else { "state" });
                let value = Value::Int(self.rng.number() as i64 >> 20);
                let (at, writes) = (self.now, self.devices[d].writes);
                looks.retain(|look| look.field != name);
                let (entity_type, field) = (entity_type.clone(), name.clone());
                looks.push(Look { entity_type, id, field, value: value.clone(), at, writes });
                Edit::Set(name, value)
            }
            3 => {
                looks.clear();
                Edit::Clear(field(["title", "tags", "body", "state"][self.rng.below(4) as usize]))
            }
            4 | 5 => {
                expect(self, Token::Add(number));
                Edit::Add(field("count"), number)
            }
            6..=9 => {
                expect(self, Token::Item(number));
                Edit::Insert(field("tokens"), Value::Int(number))
            }
            10 | 11 => Edit::Insert(field("tags"), Value::Int(self.rng.below(4) as i64)),
            12 => Edit::Remove(field("tags"), Value::Int(self.rng.below(4) as i64)),
            13 | 14 => {
                let Some(token) = char::from_u32(*TOKEN_CHARS.start() as u32 + number as u32) else {
                    return Edit::Create;
                };
                expect(self, Token::Char(token));
                let at = if self.rng.one_in(3) { self.rng.below(4) as u32 } else { 0 };
                Edit::TextInsert(field("log"), at, token.into())
            }
            15 => Edit::TextReplace(field("body"), format!("words {}", self.rng.below(1_000))),
            16 => Edit::TextDelete(field("body"), self.rng.below(3) as u32, 2),
            17 if self.rng.one_in(2) => Edit::Delete,
            17 | 18 => Edit::Restore,
            _ => Edit::Opaque(field("drawing"), self.rng.bytes::<9>().to_vec()),
        }
    }

    /// The entities that everybody edits.
    pub fn pool() -> Vec<(EntityType, EntityId)> {
        let entity = |name: &str, place: u64| {
            let mut id = [7; 16];
            id[0] = (place * 40) as u8;
            (entity_type(name), EntityId(id))
        };
        ["note", "task"].iter().flat_map(|name| (0..POOL).map(move |place| entity(name, place))).collect()
    }
}

fn to_index(world: &World, peer: crate::types::PeerId) -> usize {
    world.devices.iter().position(|device| device.peer == peer).unwrap_or(usize::MAX)
}

pub fn entity_type(name: &str) -> EntityType {
    EntityType::new(name).expect("a good name")
}

pub fn field(name: &str) -> FieldName {
    FieldName::new(name).expect("a good name")
}
