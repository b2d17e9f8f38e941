//! The world: what happens when, and what devices do about it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::device::{Asked, Device, Later, Look, address, new_engine};
use super::expect::{Expect, Must};
use super::faults::{Fault, Faults};
use super::members::Politics;
use super::network::Link;
use super::pairing::Pairings;
use super::rng::Rng;
use super::{Options, Outcome};
use crate::crdt::FieldValue;
use crate::engine::{Call, CallId, Input, LinkId, Output, Reply, SyncEngine, SyncEvent, Ticket, Tuning};
use crate::error::{Error, ErrorCode, Result};
use crate::store::{MemoryStore, Read};
use crate::types::{FieldKind, Instant, PeerId, VaultId};

/// Events of a world at most: beyond them something goes round in circles.
const MAX_EVENTS: u64 = 2_000_000;

/// What happens at some time.
#[derive(Debug)]
pub enum Event {
    /// A write is done.
    Written(usize, u32),
    /// A read is done.
    Read(usize, u32, Ticket, Read),
    Wake(usize, u32, u64),
    Dialled(usize, u32, PeerId),
    Up(u64, usize),
    Frame(u64, usize, u64, Vec<u8>),
    Sent(u64, usize, usize),
    Down(u64, usize),
    Start(usize, u32),
    Call(usize, Box<Later>),
    Found(usize, u32, PeerId),
    PairDialled(usize, u32, PeerId),
    Tell(usize, u32, Box<Input>),
}

/// Which fault concerns whose identity; at most one a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plan {
    Plain,
    RestoreMarked,
    RestoreUnmarked,
    Clone,
    Cheat,
    Damage,
    /// Members are removed, added again, and change their roles.
    Members,
}

pub struct World {
    pub options: Options,
    pub rng: Rng,
    pub now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    order: u64,
    handled: u64,
    pub plan: Plan,
    pub devices: Vec<Device>,
    /// Devices with different numbers cannot reach each other.
    pub groups: Vec<u8>,
    pub links: BTreeMap<u64, Link>,
    pub next_link: u64,
    pub dialling: BTreeSet<(usize, PeerId)>,
    pub expect: Expect,
    pub vault: Option<VaultId>,
    /// An old copy of a device's disk.
    pub copy: Option<(usize, MemoryStore)>,
    /// Two devices with the same key.
    pub twins: Option<(usize, usize)>,
    /// The device whose disk goes bad.
    pub damaged: Option<usize>,
    pub politics: Politics,
    pub pairings: Pairings,
    pub faults: Faults,
    /// No more faults.
    pub healed: bool,
    pub frames: u64,
    fingerprint: u64,
    failure: Option<String>,
    trace: VecDeque<String>,
}

impl World {
    pub fn new(seed: u64, options: Options) -> Self {
        let mut rng = Rng::new(seed);
        let count = rng.between(2, 8) as usize;
        let plan = match rng.below(12) {
            _ if options.members => Plan::Members,
            0..=3 if !seed.is_multiple_of(3) => Plan::Members,
            0..=3 => Plan::Plain,
            4 => Plan::RestoreMarked,
            5 | 6 => Plan::RestoreUnmarked,
            7 | 8 => Plan::Clone,
            9 => Plan::Cheat,
            _ => Plan::Damage,
        };
        let checkpoint_events = rng.between(5, 60);
        let tuning = Tuning {
            checkpoint_events,
            quiet_events: checkpoint_events / 4,
            bulk_events: checkpoint_events * 4,
            dirty_bytes: 20_000,
            merge_blocks: rng.between(3, 12) as u32,
            clean_bytes: if rng.one_in(2) { 0 } else { 4_000 },
        };
        let devices = (0..count).map(|_| Device::new(rng.bytes(), rng.bytes(), tuning)).collect();
        let mut politics = Politics::default();
        if plan == Plan::Members {
            politics.enterprise = rng.one_in(2);
            politics.recovers = rng.one_in(2);
            politics.restores = seed % 4 == 1;
            politics.rogue = if rng.one_in(2) { Some(rng.between(1, count as u64 - 1) as usize) } else { None };
        }
        Self {
            options,
            rng,
            now: 1_000_000,
            queue: BTreeMap::new(),
            order: 0,
            handled: 0,
            plan,
            devices,
            groups: vec![0; count],
            links: BTreeMap::new(),
            next_link: 0,
            dialling: BTreeSet::new(),
            expect: Expect::default(),
            vault: None,
            copy: None,
            twins: None,
            damaged: None,
            politics,
            pairings: Pairings::new(!seed.is_multiple_of(2)),
            faults: Faults::default(),
            healed: false,
            frames: 0,
            fingerprint: seed,
            failure: None,
            trace: VecDeque::new(),
        }
    }

    pub fn outcome(self, failure: Option<String>) -> Outcome {
        Outcome {
            faults: self.faults,
            fingerprint: self.fingerprint,
            frames: self.frames,
            failure: failure.map(|why| format!("{:?}, {} devices: {why}", self.plan, self.devices.len())),
            trace: self.trace.into(),
        }
    }

    /// The whole run.
    pub fn play(&mut self) -> Result<(), String> {
        self.say(format!("plan {:?}, {} devices", self.plan, self.devices.len()));
        self.set_up()?;
        for _ in 0..self.options.steps {
            self.act();
            let pause = match self.rng.below(4) {
                0 => self.rng.between(0, 2_000),
                1 | 2 => self.rng.between(0, 200_000),
                _ => self.rng.between(0, 3_000_000),
            };
            self.run_until(self.now + pause)?;
        }
        self.check_all()
    }

    pub fn at(&mut self, time: u64, event: Event) {
        self.order += 1;
        self.queue.insert((time, self.order), event);
    }

    /// Lets everything happen that happens up to a time.
    pub fn run_until(&mut self, end: u64) -> Result<(), String> {
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > end {
                break;
            }
            let ((time, _), event) = entry.remove_entry();
            self.now = self.now.max(time);
            self.handled += 1;
            if self.handled > MAX_EVENTS {
                return Err("the devices go round in circles".into());
            }
            self.happen(event);
            if let Some(failure) = self.failure.take() {
                return Err(failure);
            }
        }
        self.now = self.now.max(end);
        Ok(())
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Written(d, run) if self.is(d, run) => self.written(d),
            Event::Read(d, run, ticket, read) if self.is(d, run) => {
                let rows = self.devices[d].disk.read(&read);
                self.input(d, Input::Rows(ticket, Ok(rows)));
            }
            Event::Wake(d, run, time) if self.is(d, run) && self.devices[d].wake == Some(time) => {
                self.devices[d].wake = None;
                self.input(d, Input::Tick);
            }
            Event::Dialled(d, run, peer) if self.is(d, run) => self.dialled(d, peer),
            Event::Found(d, run, peer) if self.is(d, run) => {
                self.input(d, Input::PeerFound(peer, vec![address(&peer)]));
            }
            Event::PairDialled(d, run, peer) if self.is(d, run) => self.pair_dialled(d, peer),
            Event::Tell(d, run, input) if self.is(d, run) => self.input(d, *input),
            Event::Up(link, end) => self.up(link, end),
            Event::Frame(link, end, sent, frame) => self.frame(link, end, sent, frame),
            Event::Sent(link, end, bytes) => self.sent(link, end, bytes),
            Event::Down(link, end) => self.down(link, end),
            Event::Start(d, run) if self.devices[d].run == run => self.start(d),
            Event::Call(d, later) if self.devices[d].engine.is_some() => self.user_calls(d, *later),
            _ => {}
        }
    }

    fn is(&self, d: usize, run: u32) -> bool {
        self.devices[d].run == run && self.devices[d].engine.is_some()
    }

    /// Starts a device; the others of the network are found soon.
    pub fn start(&mut self, d: usize) {
        if self.devices[d].gone {
            return;
        }
        let (base, seed) = (self.rng.between(0, 1_000_000_000_000), self.rng.bytes());
        self.devices[d].disk.full = false;
        // Nobody waits any more for what an engine asked of a full disk: its answers would be taken for later ones.
        self.devices[d].disk.writing.clear();
        self.devices[d].start(base, seed);
        self.pairings.forget(d);
        self.say(format!("{d} starts"));
        self.input(d, Input::Tick);
        self.find_others(d);
    }

    /// Tells a device of all others in the end.
    pub fn find_others(&mut self, d: usize) {
        let run = self.devices[d].run;
        for other in 0..self.devices.len() {
            let peer = self.devices[other].peer;
            if peer != self.devices[d].peer && (self.healed || self.rng.one_in(2)) {
                let at = self.now + self.rng.between(1_000, 2_000_000);
                self.at(at, Event::Found(d, run, peer));
            }
        }
    }

    /// Stops a device as a power cut does.
    pub fn crash(&mut self, d: usize) {
        self.say(format!("{d} crashes"));
        self.kill_links_of(d);
        self.pairings.forget(d);
        let device = &mut self.devices[d];
        device.stop();
        device.disk.crash(&mut self.rng, &mut self.faults);
        device.joined &= self.vault.is_some_and(|vault| vault_on(&device.disk.copy()) == Some(vault));
        let (run, at) = (self.devices[d].run, self.now + self.rng.between(1_000, 3_000_000));
        self.at(at, Event::Start(d, run));
    }

    fn written(&mut self, d: usize) {
        if self.devices[d].disk.full {
            let Some((ticket, _)) = self.devices[d].disk.writing.pop_front() else { return };
            self.faults.add(Fault::WriteFailed);
            let error = Error::new(ErrorCode::Quota, "the disk is full; make room");
            self.input(d, Input::Written(ticket, Err(error)));
            return;
        }
        if let Some(ticket) = self.devices[d].disk.commit_next() {
            self.input(d, Input::Written(ticket, Ok(())));
        }
    }

    /// Makes a call of the app.
    pub fn call(&mut self, d: usize, call: Call, asked: Asked) -> CallId {
        let id = self.devices[d].call_id();
        if self.options.trace > 0 {
            self.say(format!("{d} is asked {}: {call:?}", id.0));
        }
        self.devices[d].asked.insert(id, asked);
        self.input(d, Input::Call(id, call));
        id
    }

    /// Calls, and waits for the answer.
    pub fn ask(&mut self, d: usize, call: Call) -> Result<Reply, String> {
        let name = format!("{call:?}").chars().take(40).collect::<String>();
        let id = self.call(d, call, Asked::Keep);
        for _ in 0..600 {
            if let Some(answer) = self.devices[d].answers.remove(&id) {
                return answer.map_err(|error| format!("device {d} answers {name} with {error}"));
            }
            self.run_until(self.now + 50_000)?;
        }
        Err(format!("device {d} does not answer {name}"))
    }

    /// Gives an engine an input, and does what it says.
    pub fn input(&mut self, d: usize, input: Input) {
        let now = self.devices[d].clocks(self.now);
        if self.options.trace > 0 && !matches!(input, Input::Call(..) | Input::Tick | Input::LinkReady(..)) {
            let text: String = match &input {
                Input::Frame(link, bytes) => format!("frame of link {} ({} bytes)", link.0, bytes.len()),
                Input::Rows(ticket, Ok(rows)) => format!("rows {ticket:?}: {}", rows.rows.len()),
                other => format!("{other:?}").chars().take(200).collect(),
            };
            self.say(format!("{d} <- {text}"));
        }
        let mut outputs = Vec::new();
        let Some(engine) = &mut self.devices[d].engine else { return };
        engine.handle(now, input, &mut outputs);
        self.mix(d as u64 ^ (outputs.len() as u64) << 8 ^ self.now << 16);
        for output in outputs {
            self.output(d, output);
        }
    }

    fn output(&mut self, d: usize, output: Output) {
        let run = self.devices[d].run;
        if self.devices[d].engine.is_none() {
            return;
        }
        match output {
            Output::Write(ticket, batch) => {
                let wait = if self.rng.one_in(10) { self.rng.between(0, 200_000) } else { self.rng.between(10, 5_000) };
                let at = self.devices[d].disk_until.max(self.now + wait) + 1;
                self.devices[d].disk_until = at;
                self.mix(batch.bytes() as u64);
                if self.plan == Plan::Members {
                    self.check_stored(d, &batch);
                }
                self.say_with(|| format!("{d} writes {ticket:?}: {} rows", batch.ops.len()));
                self.devices[d].disk.writing.push_back((ticket, batch));
                self.at(at, Event::Written(d, run));
            }
            Output::Read(ticket, read) => {
                let wait = if self.rng.one_in(10) { self.rng.between(0, 200_000) } else { self.rng.between(10, 5_000) };
                self.say_with(|| format!("{d} reads {ticket:?}: {read:?}"));
                self.at(self.now + wait, Event::Read(d, run, ticket, read));
            }
            Output::Send(link, frame) => {
                self.mix(frame.len() as u64);
                self.send(d, link, frame);
            }
            Output::HangUp(link, error) => {
                self.say_with(|| format!("{d} hangs up {link:?}: {error}"));
                self.hang_up(d, link);
            }
            Output::Dial(peer, _) => {
                self.say_with(|| format!("{d} dials {peer:?}"));
                self.dial(d, peer);
            }
            Output::PairingMode(on) => self.devices[d].pairing_mode = on,
            Output::Pair(peer, _) => self.pair_dial(d, peer),
            Output::ClaimNameplate => self.claim_nameplate(d),
            Output::FindNameplate(number) => self.find_nameplate(d, number),
            Output::Members(..) => {}
            Output::Reply(call, reply) => self.reply(d, call, reply),
            Output::Emit(event) => {
                self.say_with(|| format!("{d} tells {event:?}"));
                if let SyncEvent::StorageFailed(code, text) = &event {
                    if !self.devices[d].disk.full {
                        self.fail(format!("device {d} says that its store failed: {code:?} {text}"));
                    }
                    if !std::mem::replace(&mut self.devices[d].storage_failed, true) {
                        self.kill_links_of(d);
                        let at = self.now + self.rng.between(100_000, 3_000_000);
                        self.at(at, Event::Start(d, run));
                    }
                }
                self.pairing_event(d, event);
            }
            Output::WakeAt(time) => {
                let time = time.saturating_sub(self.devices[d].mono_base).max(self.now);
                self.devices[d].wake = Some(time);
                self.at(time, Event::Wake(d, run, time));
            }
        }
    }

    fn reply(&mut self, d: usize, call: CallId, reply: Result<Reply>) {
        self.say_with(|| {
            format!("{d} answers {}: {}", call.0, format!("{reply:?}").chars().take(400).collect::<String>())
        });
        let Some(asked) = self.devices[d].asked.remove(&call) else {
            return self.fail(format!("device {d} answers {call:?} twice, or without being asked"));
        };
        match (asked, reply) {
            (Asked::Write(edits, look), Ok(_)) => {
                self.expect.answer(&edits, Must::Yes);
                if let Some(look) = look {
                    let get = Call::Get { entity_type: Some(look.entity_type.clone()), id: look.id };
                    self.call(d, get, Asked::Look(look));
                }
                if self.devices[d].role == Some(crate::policy::SyncRole::ReadOnly) && self.plan != Plan::Members {
                    self.fail(format!("device {d} may only read, and wrote"));
                }
            }
            (Asked::Write(edits, _), Err(error)) => {
                let stored = matches!(error.code(), ErrorCode::Quota | ErrorCode::Storage);
                if error.code() == ErrorCode::PolicyDenied {
                    self.faults.add(Fault::WriteRefused);
                }
                if !stored {
                    self.expect.answer(&edits, Must::Never);
                }
            }
            (Asked::Look(look), Ok(Reply::Entities(views))) => {
                let device = &self.devices[d];
                let alone = device.last_frame.saturating_add(2_000_000) < look.at && device.writes == look.writes;
                let shown = views.first().and_then(|view| view.field_of(look.field.as_str(), FieldKind::Register));
                let same = matches!(shown, Some(FieldValue::Register(value)) if *value == look.value);
                if alone && !same && matches!(self.plan, Plan::Plain | Plan::RestoreMarked) {
                    self.fail(format!("device {d} set {look:?} and shows {shown:?}"));
                }
            }
            (Asked::Invite(other), Ok(Reply::Invite(text))) => {
                let at = self.now + self.rng.between(0, 10_000_000);
                let later = Later { call: Call::Join(text), asked: Asked::Join };
                self.at(at, Event::Call(other, Box::new(later)));
            }
            (Asked::Join, Ok(Reply::Vault(vault, _))) => {
                if Some(vault) == self.vault {
                    self.devices[d].joined = true;
                    self.find_others(d);
                }
            }
            (Asked::Init, Ok(Reply::Vault(vault, _))) => {
                if d == 0 {
                    self.vault = Some(vault);
                    self.devices[d].joined = true;
                }
            }
            (asked @ (Asked::PairOffer(_) | Asked::PairJoin(..) | Asked::PairConfirm(_)), reply) => {
                self.pairing_reply(d, &asked, reply)
            }
            (Asked::Keep, reply) => {
                self.devices[d].answers.insert(call, reply);
            }
            (_, _) => {}
        }
    }

    /// The number that stands for all that happened.
    fn mix(&mut self, number: u64) {
        self.fingerprint = (self.fingerprint ^ number).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(5);
    }

    /// Something is wrong; the run ends with the first such thing.
    pub fn fail(&mut self, why: String) {
        self.failure.get_or_insert(why);
    }

    pub fn say(&mut self, text: String) {
        if self.options.trace > 0 {
            if self.trace.len() >= self.options.trace {
                self.trace.pop_front();
            }
            self.trace.push_back(format!("{:>10.3} ms  {text}", self.now as f64 / 1_000.0));
        }
    }

    fn say_with(&mut self, text: impl FnOnce() -> String) {
        if self.options.trace > 0 {
            self.say(text());
        }
    }

    /// Opens what a disk holds with a new engine, apart from the world, and asks it.
    pub fn open_apart(&mut self, d: usize, store: MemoryStore, call: Call) -> Result<Reply, String> {
        let device = &self.devices[d];
        let engine = new_engine(&device.keypair, device.mark, device.tuning, [7; 32]);
        let now = device.clocks(self.now);
        Apart { engine, store, now }.ask(call).map_err(|why| format!("device {d} opened again: {why}"))
    }
}

/// An engine with a disk that does everything at once.
struct Apart {
    engine: SyncEngine,
    store: MemoryStore,
    now: Instant,
}

impl Apart {
    fn ask(mut self, call: Call) -> Result<Reply, String> {
        let mut inputs = VecDeque::from([Input::Tick, Input::Call(CallId(1), call)]);
        let mut outputs = Vec::new();
        for _ in 0..100_000 {
            let Some(input) = inputs.pop_front() else { return Err("no answer".into()) };
            self.now.mono += 1;
            self.engine.handle(self.now, input, &mut outputs);
            for output in outputs.drain(..) {
                match output {
                    Output::Write(ticket, batch) => {
                        self.store.apply(batch);
                        inputs.push_back(Input::Written(ticket, Ok(())));
                    }
                    Output::Read(ticket, read) => inputs.push_back(Input::Rows(ticket, Ok(self.store.rows(&read)))),
                    Output::Reply(_, reply) => return reply.map_err(|error| error.to_string()),
                    Output::Emit(SyncEvent::StorageFailed(_, text) | SyncEvent::StorageDamaged(text)) => {
                        return Err(text);
                    }
                    _ => {}
                }
            }
        }
        Err("no end of reads and writes".into())
    }
}

/// The vault that a disk holds.
pub fn vault_on(store: &MemoryStore) -> Option<VaultId> {
    let genesis = super::disk::all(store, crate::store::Table::Membership).into_iter().next()?.1;
    Some(crate::policy::Membership::new(&genesis).ok()?.vault())
}

impl Look {
    /// Never looked at where nothing was set.
    pub fn of(looks: Vec<Look>) -> Option<Look> {
        looks.into_iter().next_back()
    }
}

impl World {
    /// Sends a frame from outside of the world.
    pub fn stranger_sends(&mut self, link: u64, at: u64, frame: Vec<u8>) {
        self.at(at, Event::Frame(link, 1, self.now, frame));
    }

    /// A number for a link of a stranger.
    pub fn stranger(&mut self, d: usize) -> LinkId {
        let peer = crate::types::Keypair::from_seed(&self.rng.bytes()).peer_id();
        let run = self.devices[d].run;
        LinkId(self.open([None, Some((d, run))], [peer, self.devices[d].peer]))
    }
}
