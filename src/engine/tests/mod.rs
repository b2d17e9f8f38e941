//! The engine by itself: a few devices in one test, each with a store in memory, and frames that go where the test says.

mod audit;
mod branches;
mod first_vault;
mod members;
mod pairing;
mod reading;
mod reasons;
mod refusing;
mod revoking;
mod rights;
mod scenarios;
mod taken_back;
mod withheld;
mod writing;

use std::collections::{BTreeMap, VecDeque};

use super::{
    Call, CallId, EngineConfig, EntityEdit, Input, LinkId, NotSynced, Output, Reply, Status, SyncEngine, Tuning, Via,
};
use crate::crdt::Edit;
use crate::error::{Error, Result};
use crate::policy::{PolicyKind, SyncRole};
use crate::store::{MemoryStore, Read};
use crate::types::{EntityId, EntityType, Event, FieldName, FieldOp, Instant, Keypair, PeerId};
use crate::wire::Message;

/// A device. Whatever its engine asks of the store is done at once.
pub struct Device {
    pub engine: SyncEngine,
    pub me: PeerId,
    pub now: u64,
    pub disk: MemoryStore,
    pub reads: Vec<Read>,
    /// Frames that it has sent.
    pub sent: VecDeque<(LinkId, Vec<u8>)>,
    pub hung_up: Vec<(LinkId, Error)>,
    replies: BTreeMap<CallId, Result<Reply>>,
    calls: u64,
}

/// Nothing that is on disk stays in memory, and a checkpoint comes after every few events.
pub const SMALL: Tuning = Tuning {
    checkpoint_events: 4,
    quiet_events: 4,
    bulk_events: 4,
    dirty_bytes: 1 << 20,
    merge_blocks: 256,
    clean_bytes: 0,
};

impl Device {
    pub fn new(seed: u8, tuning: Tuning) -> Self {
        Self::open(seed, tuning, MemoryStore::new())
    }

    /// A device as its disk has it.
    pub fn open(seed: u8, tuning: Tuning, disk: MemoryStore) -> Self {
        Self::open_by_chance(seed, seed, tuning, disk)
    }

    /// The same, with another seed of all that is random: no two starts of a device draw the same numbers.
    pub fn open_by_chance(seed: u8, chance: u8, tuning: Tuning, disk: MemoryStore) -> Self {
        let keypair = Keypair::from_seed(&[seed; 32]);
        let me = keypair.peer_id();
        let config = EngineConfig {
            keypair,
            // A device with a name tells it to the others when it joins, which few of these tests are about.
            device_name: String::new(),
            browser: false,
            live: true,
            resync_interval_ms: 60_000,
            instance_mark: [0; 16],
            seed: [chance; 32],
        };
        let mut device = Self {
            engine: SyncEngine::new(config).with_tuning(tuning),
            me,
            now: 1_000_000,
            disk,
            reads: Vec::new(),
            sent: VecDeque::new(),
            hung_up: Vec::new(),
            replies: BTreeMap::new(),
            calls: 0,
        };
        device.take(Input::Tick);
        device
    }

    /// Gives the engine an input, and does what it wants.
    pub fn take(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        let mut taken = 0;
        while let Some(input) = inputs.pop_front() {
            taken += 1;
            assert!(taken < 10_000, "it goes round in circles");
            let now = Instant { mono: self.now, wall: 1_795_305_600_000 + self.now / 1_000 };
            let mut out = Vec::new();
            self.engine.handle(now, input, &mut out);
            for output in out {
                match output {
                    Output::Write(ticket, batch) => {
                        self.disk.apply(batch);
                        inputs.push_back(Input::Written(ticket, Ok(())));
                    }
                    Output::Read(ticket, read) => {
                        inputs.push_back(Input::Rows(ticket, Ok(self.disk.rows(&read))));
                        self.reads.push(read);
                    }
                    Output::Send(link, bytes) => {
                        inputs.push_back(Input::LinkReady(link, bytes.len()));
                        self.sent.push_back((link, bytes));
                    }
                    Output::HangUp(link, error) => self.hung_up.push((link, error)),
                    Output::Reply(call, reply) => drop(self.replies.insert(call, reply)),
                    Output::Dial(..)
                    | Output::PairingMode(_)
                    | Output::Pair(..)
                    | Output::ClaimNameplate
                    | Output::FindNameplate(_)
                    | Output::Members(_)
                    | Output::Emit(_)
                    | Output::WakeAt(_) => {}
                }
            }
        }
    }

    pub fn call(&mut self, call: Call) -> Result<Reply> {
        self.calls += 1;
        let id = CallId(self.calls);
        self.take(Input::Call(id, call));
        self.replies.remove(&id).expect("an answer, for the store is never late")
    }

    pub fn init(&mut self, policy: PolicyKind) {
        let root = zeroize::Zeroizing::new([9; 32]);
        self.call(Call::Init { device_name: "first".into(), policy, root }).unwrap();
    }

    /// Sets the title of an entity.
    pub fn write(&mut self, name: &str, id: EntityId, title: &str) {
        let edits = vec![Edit::Set(FieldName::new("title").unwrap(), title.into())];
        let changes = vec![EntityEdit { id: Some(id), edits }];
        self.call(Call::Write { entity_type: EntityType::new(name).unwrap(), changes }).unwrap();
    }

    /// Makes a commit as its own engine would refuse to: so many random bytes.
    pub fn write_unasked(&mut self, id: EntityId, bytes: usize) {
        let noise = std::iter::repeat_with(|| self.engine.entropy.bytes::<1>()[0]).take(bytes).collect();
        let ops = vec![FieldOp::Opaque { field: FieldName::new("blob").unwrap(), bytes: noise }];
        let events = vec![Event { entity: id, seen: vec![], ops }];
        self.engine.write_unasked(&EntityType::new("note").unwrap(), events, None).unwrap();
        self.take(Input::Tick);
    }

    pub fn status(&mut self) -> Status {
        match self.call(Call::Status).unwrap() {
            Reply::Status(status) => *status,
            other => panic!("{other:?}"),
        }
    }

    pub fn explain(&mut self, id: Option<EntityId>) -> Vec<NotSynced> {
        match self.call(Call::Explain(id)).unwrap() {
            Reply::NotSynced(reasons) => reasons,
            other => panic!("{other:?}"),
        }
    }

    /// Signs `other` in; it joins.
    pub fn admit(&mut self, other: &mut Device, role: SyncRole) {
        let invite = match self.call(Call::Invite { peer: other.me, role, addresses: vec![] }).unwrap() {
            Reply::Invite(invite) => invite,
            reply => panic!("{reply:?}"),
        };
        other.call(Call::Join(invite)).unwrap();
    }
}

/// Opens a link between two devices and lets them talk until they have nothing to say.
pub fn connect(a: &mut Device, b: &mut Device, link: LinkId) {
    link_up(a, b, link);
    talk(a, b);
}

pub fn link_up(a: &mut Device, b: &mut Device, link: LinkId) {
    a.take(Input::LinkUp { link, peer: b.me, initiator: true, via: Via::Direct });
    b.take(Input::LinkUp { link, peer: a.me, initiator: false, via: Via::Direct });
}

/// Delivers what two devices have to say to each other, where neither has a link to a third one.
pub fn talk(a: &mut Device, b: &mut Device) {
    let mut rounds = 0;
    while !(a.sent.is_empty() && b.sent.is_empty()) {
        rounds += 1;
        assert!(rounds < 1_000, "they talk for ever");
        for (link, bytes) in std::mem::take(&mut a.sent) {
            b.take(Input::Frame(link, bytes));
        }
        for (link, bytes) in std::mem::take(&mut b.sent) {
            a.take(Input::Frame(link, bytes));
        }
    }
}

/// Delivers what all of these have to say to each other, over the links between them.
pub fn talk_all(devices: &mut [&mut Device], links: &[(LinkId, usize, usize)]) {
    while devices.iter().any(|device| !device.sent.is_empty()) {
        for from in 0..devices.len() {
            for (link, bytes) in std::mem::take(&mut devices[from].sent) {
                let Some((_, a, b)) = links.iter().find(|(of, ..)| *of == link) else { continue };
                let to = if *a == from { *b } else { *a };
                devices[to].take(Input::Frame(link, bytes));
            }
        }
    }
}

/// What a device has to say to a frame.
pub fn answers(device: &mut Device, link: LinkId, message: &Message) -> Vec<Message> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes).unwrap();
    device.take(Input::Frame(link, bytes));
    std::mem::take(&mut device.sent).iter().map(|(_, bytes)| Message::decode(bytes).unwrap()).collect()
}

/// The `number`th of ids that are far apart.
pub fn id(number: u8) -> EntityId {
    let mut id = [0; 16];
    id[0] = number;
    EntityId(id)
}
