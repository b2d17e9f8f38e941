//! Two engines in one thread, with their stores, and frames handed from one to the other: nothing else takes time.

use std::cell::Cell;
use std::collections::VecDeque;
use std::path::Path;
use std::rc::Rc;

use privstack_sync::engine::{
    Call, CallId, EngineConfig, Input, LinkId, Output, Reply, SyncEngine, SyncEvent, Ticket, Via,
};
use privstack_sync::error::Result;
use privstack_sync::platform::native::store::DiskStore;
use privstack_sync::policy::{PolicyKind, SyncRole};
use privstack_sync::store::{Durability, MemoryStore, Read, Rows, WriteBatch};
use privstack_sync::types::codec::varint_len;
use privstack_sync::types::{EntityId, Hash, Instant, Keypair, PeerId};
use privstack_sync::wire::{EventBatchMessage, EventNotifyMessage, Item, Message, decode_header};

/// Milliseconds since 1970 at which every benchmark starts.
pub const START: u64 = 1_790_000_000_000;
/// Bytes that a frame's length takes on the stream.
const LENGTH_PREFIX: u64 = 4;

/// Where a device keeps its rows.
pub enum Rows2 {
    /// In memory.
    Memory(MemoryStore),
    /// On disk.
    Disk(DiskStore),
}

impl Rows2 {
    /// An empty store in memory.
    pub fn memory() -> Self {
        Self::Memory(MemoryStore::new())
    }

    /// The disk store in a folder, with the witness of its instance beside it.
    pub fn disk(folder: &Path) -> Self {
        Self::Disk(DiskStore::open_with_state(folder, None).expect("a store on disk"))
    }

    fn mark(&self) -> [u8; 16] {
        match self {
            Self::Memory(_) => [1; 16],
            Self::Disk(store) => store.instance_mark(),
        }
    }

    fn commit(&mut self, batch: WriteBatch) -> Result<()> {
        match self {
            Self::Memory(store) => {
                store.apply(batch);
                Ok(())
            }
            Self::Disk(store) => store.commit_now(batch),
        }
    }

    fn rows(&self, read: &Read) -> Result<Rows> {
        match self {
            Self::Memory(store) => Ok(store.rows(read)),
            Self::Disk(store) => store.read_now(read),
        }
    }
}

enum Asked {
    Write(Ticket, WriteBatch),
    Read(Ticket, Read),
}

/// One device.
pub struct Device {
    engine: SyncEngine,
    /// Its store.
    pub store: Rows2,
    /// Its public name.
    pub peer: PeerId,
    clock: Rc<Cell<u64>>,
    out: Vec<Output>,
    asked: VecDeque<Asked>,
    outbox: Vec<Vec<u8>>,
    replies: Vec<(CallId, Result<Reply>)>,
    next_call: u64,
    connected: bool,
    synced: u64,
    started: bool,
}

/// The key of the first or second device.
pub fn keypair(number: u8) -> Keypair {
    Keypair::from_seed(&[number; 32])
}

impl Device {
    /// A device over a store, opened.
    pub fn open(number: u8, store: Rows2, clock: &Rc<Cell<u64>>) -> Self {
        Self::open_with(number, store, clock, true)
    }

    /// The same, with or without live pushes.
    pub fn open_with(number: u8, store: Rows2, clock: &Rc<Cell<u64>>, live: bool) -> Self {
        let keypair = keypair(number);
        let peer = keypair.peer_id();
        let engine = SyncEngine::new(EngineConfig {
            keypair,
            device_name: format!("device {number}"),
            browser: false,
            live,
            resync_interval_ms: u64::MAX / 1_000_000,
            instance_mark: store.mark(),
            seed: [number.wrapping_add(100); 32],
        });
        let mut device = Self {
            engine,
            store,
            peer,
            clock: clock.clone(),
            out: Vec::new(),
            asked: VecDeque::new(),
            outbox: Vec::new(),
            replies: Vec::new(),
            next_call: 0,
            connected: false,
            synced: 0,
            started: false,
        };
        device.input(Input::Tick);
        device.settle();
        assert!(device.started, "the engine has opened its store");
        device
    }

    /// A device with a personal vault of its own.
    pub fn first(store: Rows2, clock: &Rc<Cell<u64>>) -> Self {
        Self::first_of(PolicyKind::Personal, store, clock)
    }

    /// A device with a vault of its own.
    pub fn first_of(policy: PolicyKind, store: Rows2, clock: &Rc<Cell<u64>>) -> Self {
        let mut device = Self::open(1, store, clock);
        let root = zeroize::Zeroizing::new([7; 32]);
        device.call(Call::Init { device_name: "first".into(), policy, root });
        device
    }

    /// A device that `first` has signed into its vault.
    pub fn second(first: &mut Device, store: Rows2) -> Self {
        let mut device = Self::open(2, store, &first.clock);
        let invite = Call::Invite { peer: device.peer, role: SyncRole::Member, addresses: Vec::new() };
        let Reply::Invite(invite) = first.call(invite) else { panic!("no invite") };
        device.call(Call::Join(invite));
        device
    }

    fn input(&mut self, input: Input) {
        let mono = self.clock.get() + 1;
        self.clock.set(mono);
        let now = Instant { mono, wall: START + mono / 1_000 };
        self.engine.handle(now, input, &mut self.out);
        for output in self.out.drain(..) {
            match output {
                Output::Write(ticket, batch) => self.asked.push_back(Asked::Write(ticket, batch)),
                Output::Read(ticket, read) => self.asked.push_back(Asked::Read(ticket, read)),
                Output::Send(_, frame) => self.outbox.push(frame),
                Output::Reply(call, reply) => self.replies.push((call, reply)),
                Output::HangUp(_, error) => panic!("the engine hangs up: {error}"),
                Output::Emit(SyncEvent::PeerConnected(_)) => self.connected = true,
                Output::Emit(SyncEvent::SyncCompleted(_)) => self.synced += 1,
                Output::Emit(SyncEvent::Started) => self.started = true,
                Output::Emit(SyncEvent::SyncError(_, error)) => panic!("{error}"),
                _ => {}
            }
        }
    }

    /// Carries out what the engine asked of its store, in order; writes that wait together are one commit, as the
    /// orchestrator makes them.
    fn settle(&mut self) {
        while let Some(asked) = self.asked.pop_front() {
            match asked {
                Asked::Read(ticket, read) => {
                    let rows = self.store.rows(&read);
                    self.input(Input::Rows(ticket, rows));
                }
                Asked::Write(ticket, mut group) => {
                    let mut tickets = vec![ticket];
                    while let Some(Asked::Write(..)) = self.asked.front() {
                        let Some(Asked::Write(ticket, batch)) = self.asked.pop_front() else { break };
                        tickets.push(ticket);
                        if batch.durability == Durability::Strict {
                            group.durability = Durability::Strict;
                        }
                        group.ops.extend(batch.ops);
                    }
                    let result = self.store.commit(group);
                    for ticket in tickets {
                        self.input(Input::Written(ticket, result.clone()));
                    }
                }
            }
        }
    }

    /// Begins a call, whose answer [`Pair::run`] or [`Device::call`] waits for.
    fn begin(&mut self, call: Call) -> CallId {
        self.next_call += 1;
        let id = CallId(self.next_call);
        self.input(Input::Call(id, call));
        id
    }

    fn answer(&mut self, id: CallId) -> Option<Result<Reply>> {
        let place = self.replies.iter().position(|(answered, _)| *answered == id)?;
        Some(self.replies.swap_remove(place).1)
    }

    /// Makes a call that no peer has a part in.
    pub fn call(&mut self, call: Call) -> Reply {
        let id = self.begin(call);
        self.settle();
        self.answer(id).expect("an answer").expect("a call that succeeds")
    }

    /// Makes a write; the ids written.
    pub fn write(&mut self, write: Call) -> Vec<EntityId> {
        // No two writes are made in the same millisecond.
        self.clock.set(self.clock.get() + 1_000);
        match self.call(write) {
            Reply::Written(ids) => ids,
            other => panic!("a write answered {other:?}"),
        }
    }

    /// The hash of all that a reader sees.
    pub fn digest(&mut self) -> Hash {
        match self.call(Call::Digest) {
            Reply::Digest(digest) => digest,
            other => panic!("a digest answered {other:?}"),
        }
    }

    /// Events held.
    pub fn events(&mut self) -> u64 {
        match self.call(Call::Status) {
            Reply::Status(status) => status.events,
            other => panic!("a status answered {other:?}"),
        }
    }
}

/// What went over the link, both directions.
#[derive(Clone, Copy, Default, Debug)]
pub struct Traffic {
    /// Bytes of frames and of their length prefixes.
    pub bytes: u64,
    /// The same with every block's body as it is before compression.
    pub plain_bytes: u64,
    /// Frames.
    pub messages: u64,
    /// Times that one side had to wait for the other: half a round trip each.
    pub flights: u64,
}

impl Traffic {
    /// Round trips.
    pub fn round_trips(&self) -> f64 {
        self.flights as f64 / 2.0
    }
}

/// Two devices and a link.
pub struct Pair {
    /// The one that has the data; it answers the other's `Hello`.
    pub a: Device,
    /// The other one.
    pub b: Device,
    /// What went over the link since it was cleared.
    pub traffic: Traffic,
    /// Measures `plain_bytes` too, which costs time.
    pub look_inside: bool,
    from_a: Option<bool>,
    link: u64,
}

impl Pair {
    /// Two devices without a link.
    pub fn new(a: Device, b: Device) -> Self {
        Self { a, b, traffic: Traffic::default(), look_inside: false, from_a: None, link: 0 }
    }

    /// Opens a link and greets; frames that carry frontiers or data are not handed over yet.
    pub fn greet(&mut self) -> Traffic {
        self.link += 1;
        self.traffic = Traffic::default();
        self.from_a = None;
        (self.a.connected, self.b.connected) = (false, false);
        let link = LinkId(self.link);
        self.a.input(Input::LinkUp { link, peer: self.b.peer, initiator: false, via: Via::Direct });
        self.b.input(Input::LinkUp { link, peer: self.a.peer, initiator: true, via: Via::Direct });
        while !(self.a.connected && self.b.connected) {
            assert!(self.hand_over(1), "the greeting goes on");
        }
        std::mem::take(&mut self.traffic)
    }

    /// Ends the link, as if the network had.
    pub fn part(&mut self) {
        let link = LinkId(self.link);
        for device in [&mut self.a, &mut self.b] {
            device.outbox.clear();
            device.input(Input::LinkDown(link));
            device.settle();
        }
    }

    /// Hands frames over until nothing moves any more.
    pub fn run(&mut self) {
        self.from_a = None;
        while self.hand_over(usize::MAX) {}
    }

    /// One comparison from an open session, until nothing is owed.
    pub fn force_sync(&mut self) {
        let id = self.b.begin(Call::ForceSync(None));
        self.run();
        self.b.answer(id).expect("an answer").expect("a sync that succeeds");
    }

    /// Panics where the two differ.
    pub fn assert_equal(&mut self) {
        assert_eq!(self.a.digest(), self.b.digest(), "both show the same");
    }

    fn hand_over(&mut self, at_most: usize) -> bool {
        let mut moved = false;
        for from_a in [false, true] {
            let (from, to) = if from_a { (&mut self.a, &mut self.b) } else { (&mut self.b, &mut self.a) };
            from.settle();
            if from.outbox.is_empty() {
                continue;
            }
            moved = true;
            if self.from_a != Some(from_a) {
                self.traffic.flights += 1;
                self.from_a = Some(from_a);
            }
            let count = at_most.min(from.outbox.len());
            let frames: Vec<Vec<u8>> = from.outbox.drain(..count).collect();
            for frame in frames {
                let length = frame.len();
                self.traffic.messages += 1;
                self.traffic.bytes += length as u64 + LENGTH_PREFIX;
                if self.look_inside {
                    self.traffic.plain_bytes += plain_length(&frame) + LENGTH_PREFIX;
                }
                from.input(Input::LinkReady(LinkId(self.link), length));
                to.input(Input::Frame(LinkId(self.link), frame));
            }
            to.settle();
        }
        moved
    }
}

/// Bytes of a frame if its blocks were not compressed.
fn plain_length(frame: &[u8]) -> u64 {
    let items = match Message::decode(frame) {
        Ok(Message::EventBatch(EventBatchMessage::Items(items)))
        | Ok(Message::EventNotify(EventNotifyMessage { items })) => items,
        _ => Vec::new(),
    };
    let saved = items.iter().map(|item| {
        let Item::Block(block) = item else { return 0 };
        let header = decode_header(block).expect("a block");
        let name = header.log.entity_type.as_str().len();
        let numbers = [header.first_seq, header.commits.into(), header.events.into(), header.body_bytes.into()];
        let plain = 3 + 1 + name + 32 + 8 + if header.first_seq > 1 { 32 } else { 0 } + 64;
        let plain = plain + numbers.into_iter().map(varint_len).sum::<usize>() + header.body_bytes as usize;
        plain.saturating_sub(block.len())
    });
    frame.len() as u64 + saved.sum::<usize>() as u64
}
