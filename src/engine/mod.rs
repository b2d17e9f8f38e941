//! The sync engine: `SyncEngine::handle(now, input) -> outputs`.
//!
//! State, input and time in; outputs out. The engine never reads a clock, a random source, a disk or a socket
//! ([`io`](self) is its whole contract), so all of it runs in a simulator from one seed. What must not happen before
//! something is on disk hangs on that write's `Landed` and follows when the platform says [`Input::Written`].

mod again;
mod backup;
mod calls;
mod checkpoint;
mod clocks;
mod compare;
mod damage;
mod entities;
pub(crate) mod entropy;
mod fork;
mod io;
mod layout;
mod listing;
pub(crate) mod local;
mod log;
mod merge;
mod open;
mod peers;
mod pump;
mod reasons;
mod refold;
mod remote;
mod sessions;
mod strangers;
mod sync;
mod tabs;
mod texts;
mod validity;
mod vault;

#[cfg(test)]
mod tests;

pub use io::*;
pub use tabs::{Changed, ChangedCommit, States, TabId, TabOpened, TabSaved, TabWrite, draft_log, undraft};

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use entities::Entities;
use entropy::Entropy;
use layout::{LogKey, TypeIx};
use log::{Log, Tip};
use peers::Peer;
use sessions::Session;

use crate::crdt::{LogIx, LogTable};
use crate::error::{Error, ErrorCode, Result};
use crate::policy::{Membership, SyncPolicy};
use crate::store::{Read, Table, WriteBatch};
use crate::types::{EntityId, EntityType, Epoch, Hash, Hlc, Instant, Keypair, LogId, LogName, PeerId};

/// What the engine is told when it is made.
#[derive(Debug)]
pub struct EngineConfig {
    /// The device's key pair.
    pub keypair: Keypair,
    /// The device's name, where the store knows none yet.
    pub device_name: String,
    /// Whether new commits are pushed as they are made.
    pub live: bool,
    /// How often connected peers compare digests, in milliseconds.
    pub resync_interval_ms: u64,
    /// The store's instance mark: another one than last time means a copied or restored store, and a new epoch.
    pub instance_mark: [u8; 16],
    /// 32 random bytes: all ids, epochs and nonces come from them.
    pub seed: [u8; 32],
}

/// Sizes that decide when housekeeping happens and never what it does; a simulation makes them small.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// Events after which a checkpoint is due: what opening replays at most, but after a crash amid a bulk sync.
    pub checkpoint_events: u64,
    /// The same while a peer sends in bulk, so that an entity that it changes often is encoded few times.
    pub bulk_events: u64,
    /// Bytes of states and waiting events that are not on disk, roughly, after which a checkpoint is due in any case.
    pub dirty_bytes: usize,
    /// How many small blocks in a row are merged.
    pub merge_blocks: u32,
    /// Bytes of entity states that may stay in memory though they are on disk.
    pub clean_bytes: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            checkpoint_events: 20_000,
            bulk_events: 400_000,
            dirty_bytes: 24 << 20,
            merge_blocks: 256,
            clean_bytes: 24 << 20,
        }
    }
}

/// What the engine is doing.
#[derive(Debug)]
enum Phase {
    /// Reading its store.
    Opening(open::Opening),
    /// Working.
    Open,
    /// The store failed: every call is answered with this, nothing else happens. The platform opens a new engine.
    Failed(Error),
}

/// The vault, once there is one.
struct Vault {
    membership: Membership,
    policy: Arc<dyn SyncPolicy>,
    key: zeroize::Zeroizing<[u8; 32]>,
}

/// What follows once a write is on disk.
#[derive(Default, Debug)]
struct Landed {
    tips: Vec<(LogKey, Tip)>,
    replies: Vec<(CallId, Reply)>,
    updated: Vec<EntityId>,
    /// The same by whose commits, and the commits themselves, where replicas are told.
    authors: Vec<(PeerId, Vec<EntityId>)>,
    changed: Vec<ChangedCommit>,
    acks: Vec<(LinkId, usize)>,
    events: Vec<SyncEvent>,
    /// Membership operations and fork proofs that all sessions are told, but for the one that they came from.
    tell: Vec<(crate::wire::Item, Option<LinkId>)>,
    /// The pages of a checkpoint.
    checkpoint: bool,
}

/// Who waits for rows.
#[derive(Debug)]
enum Wanted {
    Open,
    Page(TypeIx, EntityId),
    Checkpoint(TypeIx, EntityId),
    Pump(LinkId, LogKey),
    Refold,
    Divergence,
    Mending,
    HashAt(LogKey, u64),
    Probe(LogKey, LinkId),
    Fork(LinkId, LogKey),
    Merge(LogKey, u64),
    Call(CallId),
}

/// The engine of one device and one vault.
pub struct SyncEngine {
    config: EngineConfig,
    tuning: Tuning,
    me: PeerId,
    entropy: Entropy,
    now: Instant,
    out: Vec<Output>,
    phase: Phase,

    device_name: String,
    vault: Option<Vault>,
    credential: Vec<Arc<[u8]>>,
    /// The vault key, read before the vault that it belongs to.
    pending_key: Option<zeroize::Zeroizing<[u8; 32]>>,
    epoch: Epoch,
    hlc: Hlc,

    types: Vec<EntityType>,
    ids: LogTable,
    /// How many types and log ids have their rows.
    named: (usize, usize),
    logs: BTreeMap<LogKey, Log>,
    log_names: BTreeMap<LogName, LogKey>,
    digests: BTreeMap<TypeIx, Hash>,
    entities: Entities,
    texts: texts::Texts,
    tabs: tabs::Tabs,
    aliases: BTreeMap<PeerId, String>,
    /// The seed of the recovery key, until the user has written its words down.
    recovery: Option<zeroize::Zeroizing<[u8; 32]>>,

    peers: BTreeMap<PeerId, Peer>,
    sessions: BTreeMap<LinkId, Session>,
    strangers: strangers::Strangers,
    paused: bool,
    last_sync: Option<u64>,
    /// Events sent and received since the start.
    moved: (u64, u64),

    next_ticket: u64,
    writes: VecDeque<(Ticket, Landed)>,
    reads: BTreeMap<Ticket, Wanted>,
    /// Pages that are being read, so that none is read twice at once.
    pages: BTreeSet<(TypeIx, EntityId)>,
    recent: pump::Recent,
    local: VecDeque<local::Parked>,
    asked: BTreeMap<CallId, calls::Asked>,
    settling: Vec<calls::Settling>,
    /// Calls that wait for the local writes before them.
    held_calls: Vec<(CallId, Call)>,
    forced: Vec<sync::Forced>,
    /// A job that folds, checkpoints or settles a fork: frames and local writes wait for it in `held`.
    job: Option<Job>,
    held: VecDeque<Input>,
    /// What is to be folded again after the job that runs now.
    refold_next: refold::Stale,
    /// What the store says is to be folded again, until a checkpoint has saved the states that were.
    stale_on_disk: refold::Stale,
    /// The next checkpoint saves a refold that has ended.
    refolded: bool,
    compares: BTreeMap<LogKey, compare::Compare>,
    /// A copy's original is on its way to the disk, and not compared with it yet.
    unmatched: bool,
    /// Logs with a stored block that does not read back, and the first commit that is missing for it.
    damaged: BTreeMap<LogKey, u64>,
    /// Blocks of own branches whose commits are to be made again.
    again: Vec<(LogKey, Vec<u8>)>,
    again_unnamed: Vec<(LogName, Vec<u8>)>,
    /// A checkpoint is on its way to the disk: its pages cannot be read yet.
    checkpointing: bool,
    wake_at: u64,
}

/// What makes new input wait. Reads of the store come in between, so the engine goes on answering readers.
#[derive(Debug)]
enum Job {
    Checkpoint(checkpoint::Checkpoint),
    Refold(refold::Refold),
    Divergence(fork::Divergence),
    Mending(damage::Mending),
}

impl SyncEngine {
    /// A device's engine. It asks for nothing before its first [`SyncEngine::handle`], which starts reading the store.
    pub fn new(config: EngineConfig) -> Self {
        let mut entropy = Entropy::new(&config.seed);
        Self {
            me: config.keypair.peer_id(),
            epoch: Epoch(entropy.number()),
            now: Instant::default(),
            out: Vec::new(),
            phase: Phase::Opening(open::Opening::default()),
            device_name: config.device_name.clone(),
            vault: None,
            credential: Vec::new(),
            pending_key: None,
            hlc: Hlc::default(),
            types: Vec::new(),
            ids: LogTable::default(),
            named: (0, 0),
            logs: BTreeMap::new(),
            log_names: BTreeMap::new(),
            digests: BTreeMap::new(),
            entities: Entities::new(entropy.number()),
            texts: texts::Texts::default(),
            tabs: tabs::Tabs::default(),
            aliases: BTreeMap::new(),
            recovery: None,
            peers: BTreeMap::new(),
            sessions: BTreeMap::new(),
            strangers: strangers::Strangers::default(),
            paused: false,
            last_sync: None,
            moved: (0, 0),
            next_ticket: 0,
            writes: VecDeque::new(),
            reads: BTreeMap::new(),
            pages: BTreeSet::new(),
            recent: pump::Recent::default(),
            local: VecDeque::new(),
            asked: BTreeMap::new(),
            settling: Vec::new(),
            held_calls: Vec::new(),
            forced: Vec::new(),
            job: None,
            held: VecDeque::new(),
            refold_next: refold::Stale::default(),
            stale_on_disk: refold::Stale::default(),
            refolded: false,
            compares: BTreeMap::new(),
            unmatched: false,
            damaged: BTreeMap::new(),
            again: Vec::new(),
            again_unnamed: Vec::new(),
            checkpointing: false,
            wake_at: 0,
            entropy,
            config,
            tuning: Tuning::default(),
        }
    }

    /// Changes the sizes of housekeeping.
    pub fn with_tuning(mut self, tuning: Tuning) -> Self {
        self.tuning = tuning;
        self
    }

    /// Takes one input at a time `now`, and appends what is to be done to `out`.
    pub fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        self.now = Instant { mono: self.now.mono.max(now.mono), wall: now.wall };
        self.take(input);
        self.advance();
        out.append(&mut self.out);
    }

    fn take(&mut self, input: Input) {
        match (&mut self.phase, input) {
            (Phase::Failed(error), Input::Call(call, _)) => {
                let error = error.clone();
                self.out.push(Output::Reply(call, Err(error)));
            }
            (Phase::Failed(_), _) => {}
            (_, Input::Written(ticket, result)) => self.written(ticket, result),
            (_, Input::Rows(ticket, rows)) => self.rows(ticket, rows),
            (Phase::Opening(opening), input) => match opening.begin_or_hold(input, &mut self.held) {
                Some(Input::Call(call, _)) => self.refuse(call, busy()),
                Some(Input::Frame(link, _) | Input::LinkUp { link, .. }) => self.out.push(Output::HangUp(link, busy())),
                _ => {}
            },
            (Phase::Open, input) => self.take_open(input),
        }
    }

    fn take_open(&mut self, input: Input) {
        match input {
            // What changes entities waits while a job folds them.
            Input::Frame(link, _) if self.job.is_some() && self.held.len() >= MAX_HELD => self.hang_up(link, busy()),
            Input::Frame(..) if self.job.is_some() => self.held.push_back(input),
            Input::Frame(link, bytes) => self.frame(link, &bytes),
            Input::Call(id, call) => self.call(id, call),
            Input::LinkUp { link, peer, initiator, via } => self.link_up(link, peer, initiator, via),
            Input::LinkDown(link) => {
                // Frames that came before the end still count.
                if self.job.is_some() && self.held.iter().any(|held| matches!(held, Input::Frame(l, _) if *l == link)) {
                    self.held.push_back(Input::LinkDown(link));
                } else {
                    self.link_down(link);
                }
            }
            Input::LinkReady(link, bytes) => self.link_ready(link, bytes),
            Input::PeerFound(peer, addresses) => self.peer_found(peer, addresses),
            Input::DialFailed(peer, why) => self.dial_failed(peer, why),
            Input::Tick | Input::Written(..) | Input::Rows(..) => {}
        }
    }

    /// Does whatever can be done now: what waited, due work, what peers lack.
    fn advance(&mut self) {
        loop {
            match &self.phase {
                Phase::Failed(_) => return,
                Phase::Opening(_) => {
                    self.open_step();
                    if !matches!(self.phase, Phase::Open) {
                        return;
                    }
                }
                Phase::Open => {}
            }
            if self.job.is_none()
                && let Some(input) = self.held.pop_front()
            {
                self.take_open(input);
                continue;
            }
            if self.job.is_none() && self.checkpoint_due() {
                self.start_checkpoint();
                continue;
            }
            break;
        }
        if self.job.is_none() && !self.refold_next.is_empty() {
            self.start_refold(refold::Stale::default());
        }
        self.divergence_start();
        self.refold_start();
        self.mending_start();
        if self.job.is_none() {
            self.make_again();
        }
        self.local_writes();
        self.tab_writes();
        self.peers_due();
        self.sessions_due();
        self.pump();
        self.settle();
        // A bulk sync may just have ended.
        if self.job.is_none() && self.checkpoint_due() {
            self.start_checkpoint();
        }
        self.set_alarm();
    }

    // ---- reads and writes ------------------------------------------------------------------------------------------

    fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }

    fn read(&mut self, read: Read, wanted: Wanted) {
        let ticket = self.ticket();
        self.reads.insert(ticket, wanted);
        self.out.push(Output::Read(ticket, read));
    }

    /// Commits a batch, with the rows of new names in it; `landed` follows when it is on disk.
    fn write(&mut self, mut batch: WriteBatch, landed: Landed) {
        self.name_rows(&mut batch);
        if batch.is_empty() {
            // Nothing to wait for but what is under way.
            match self.writes.back_mut() {
                Some((_, last)) => last.append(landed),
                None => self.landed(landed),
            }
            return;
        }
        let ticket = self.ticket();
        self.writes.push_back((ticket, landed));
        self.out.push(Output::Write(ticket, batch));
    }

    /// Adds rows for the types and logs that got a number since the last batch.
    fn name_rows(&mut self, batch: &mut WriteBatch) {
        while let Some(name) = self.types.get(self.named.0) {
            batch.put(Table::Logs, layout::type_row(TypeIx(self.named.0 as u32)), name.as_str().as_bytes());
            self.named.0 += 1;
        }
        while let Some(id) = self.ids.id(LogIx(self.named.1 as u32)) {
            let value = [&id.author.0[..], &id.epoch.0.to_be_bytes()].concat();
            batch.put(Table::Logs, layout::log_id_row(LogIx(self.named.1 as u32)), value);
            self.named.1 += 1;
        }
    }

    fn written(&mut self, ticket: Ticket, result: Result<()>) {
        let Some(place) = self.writes.iter().position(|(waiting, _)| *waiting == ticket) else { return };
        match result {
            Ok(()) => {
                if let Some((_, landed)) = self.writes.remove(place) {
                    self.landed(landed);
                }
            }
            Err(error) => self.fail(error),
        }
    }

    fn landed(&mut self, mut landed: Landed) {
        for (key, tip) in std::mem::take(&mut landed.tips) {
            if let Some(log) = self.logs.get_mut(&key) {
                log.stored = tip;
            }
            self.digests.remove(&key.ty);
        }
        if let Some(changed) = self.changed(&mut landed) {
            self.out.push(Output::Emit(SyncEvent::Changed(Arc::new(changed))));
        }
        for (call, reply) in landed.replies {
            self.out.push(Output::Reply(call, Ok(reply)));
        }
        for event in landed.events {
            self.out.push(Output::Emit(event));
        }
        if !landed.updated.is_empty() {
            let mut ids = landed.updated;
            ids.sort_unstable();
            ids.dedup();
            self.out.push(Output::Emit(SyncEvent::EntitiesUpdated(ids)));
        }
        for (link, bytes) in landed.acks {
            self.acknowledge(link, bytes);
        }
        for (item, from) in landed.tell {
            self.tell_all(&item, from);
        }
        if landed.checkpoint {
            self.checkpointing = false;
            self.entities.evict(self.tuning.clean_bytes);
            self.resume_calls();
        }
        if self.unmatched {
            self.watch_originals();
        }
        self.sessions.values_mut().for_each(|session| session.stale = true);
    }

    /// The store failed: nothing that is not on disk has happened. Everybody who waits is told.
    fn fail(&mut self, error: Error) {
        let mut calls: Vec<CallId> =
            self.writes.drain(..).flat_map(|(_, landed)| landed.replies).map(|(id, _)| id).collect();
        calls.extend(self.local.drain(..).map(|parked| parked.call));
        calls.extend(self.tabs.drain());
        calls.extend(std::mem::take(&mut self.asked).into_keys());
        calls.extend(self.settling.drain(..).map(|settling| settling.call));
        calls.extend(self.held_calls.drain(..).map(|(id, _)| id));
        calls.extend(self.forced.drain(..).map(|forced| forced.call));
        for input in self.held.drain(..) {
            if let Input::Call(id, _) = input {
                calls.push(id);
            }
        }
        for call in calls {
            self.out.push(Output::Reply(call, Err(error.clone())));
        }
        for link in std::mem::take(&mut self.sessions).into_keys() {
            self.out.push(Output::HangUp(link, error.clone()));
        }
        self.out.push(Output::Emit(SyncEvent::StorageFailed(error.code(), error.message().to_owned())));
        self.phase = Phase::Failed(error);
    }

    fn rows(&mut self, ticket: Ticket, rows: Result<crate::store::Rows>) {
        let Some(wanted) = self.reads.remove(&ticket) else { return };
        let rows = match rows {
            Ok(rows) => rows,
            Err(error) => return self.fail(error),
        };
        match wanted {
            Wanted::Open => self.open_rows(rows),
            Wanted::Page(ty, first) => self.page_read(ty, first, rows),
            Wanted::Checkpoint(ty, first) => self.checkpoint_page(ty, first, rows),
            Wanted::Pump(link, key) => self.pump_rows(link, key, rows),
            Wanted::Refold => self.refold_rows(rows),
            Wanted::Divergence => self.divergence_rows(rows),
            Wanted::Mending => self.mending_rows(rows),
            Wanted::HashAt(key, seq) => self.hash_at_rows(key, seq, rows),
            Wanted::Probe(key, link) => self.probe_rows(key, link, rows),
            Wanted::Fork(link, key) => self.fork_rows(link, key, rows),
            Wanted::Merge(key, upto) => self.merge_rows(key, upto, rows),
            Wanted::Call(call) => self.call_rows(call, rows),
        }
    }

    // ---- names -----------------------------------------------------------------------------------------------------

    /// The number of a type, given to it now if it has none.
    fn type_ix(&mut self, name: &EntityType) -> TypeIx {
        match self.find_type(name) {
            Some(ty) => ty,
            None => {
                self.types.push(name.clone());
                TypeIx(self.types.len() as u32 - 1)
            }
        }
    }

    fn find_type(&self, name: &EntityType) -> Option<TypeIx> {
        // Types are few: a user's app has a handful.
        self.types.iter().position(|known| known == name).map(|place| TypeIx(place as u32))
    }

    fn type_name(&self, ty: TypeIx) -> Option<&EntityType> {
        self.types.get(ty.0 as usize)
    }

    /// The log of that name, made now if it is not known.
    fn log_mut(&mut self, name: &LogName) -> &mut Log {
        let key = match self.log_names.get(name) {
            Some(key) => *key,
            None => {
                let key = LogKey { ty: self.type_ix(&name.entity_type), ix: self.ids.intern(name.id) };
                self.log_names.insert(name.clone(), key);
                key
            }
        };
        self.logs.entry(key).or_insert_with(|| Log::new(name.clone(), key))
    }

    fn own_log(&self, entity_type: &EntityType) -> LogName {
        LogName { entity_type: entity_type.clone(), id: LogId { author: self.me, epoch: self.epoch } }
    }

    fn vault(&self) -> Result<&Vault> {
        self.vault.as_ref().ok_or_else(|| {
            Error::new(
                ErrorCode::NoVault,
                "this device has no vault yet; make one (`init`), or join one with an invite (`join`)",
            )
        })
    }
}

/// Inputs that may wait while the store is opened or a job runs: what peers may send within their windows, and calls.
const MAX_HELD: usize = 8_192;

fn busy() -> Error {
    Error::new(ErrorCode::Busy, "this device is busy with its store; try again")
}

/// The logs of one type.
fn logs_of(logs: &BTreeMap<LogKey, Log>, ty: TypeIx) -> impl Iterator<Item = &Log> {
    logs.range(LogKey { ty, ix: LogIx(0) }..=LogKey { ty, ix: LogIx(u32::MAX) }).map(|(_, log)| log)
}

impl Landed {
    fn append(&mut self, mut other: Landed) {
        self.tips.append(&mut other.tips);
        self.replies.append(&mut other.replies);
        self.updated.append(&mut other.updated);
        self.authors.append(&mut other.authors);
        self.changed.append(&mut other.changed);
        self.acks.append(&mut other.acks);
        self.events.append(&mut other.events);
        self.tell.append(&mut other.tell);
        self.checkpoint |= other.checkpoint;
    }
}
