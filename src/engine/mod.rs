//! The sync engine: `SyncEngine::handle(now, input) -> outputs`.
//!
//! State, input and time in; outputs out. The engine never reads a clock, a random source, a disk or a socket
//! ([`io`](self) is its whole contract), so all of it runs in a simulator from one seed. What must not happen before
//! something is on disk hangs on that write's `Landed` and follows when the platform says [`Input::Written`].

mod access;
mod again;
mod audit;
mod backup;
mod branches;
mod calls;
mod checkpoint;
mod clocks;
mod compare;
mod damage;
mod disk;
mod entities;
pub(crate) mod entropy;
mod fork;
mod greeting;
mod history;
mod import;
mod io;
mod layout;
mod listing;
pub(crate) mod local;
mod log;
mod members;
mod merge;
mod messages;
mod names;
mod open;
mod pairing;
mod peers;
mod pump;
mod quarantine;
mod reasons;
mod refold;
mod remote;
#[cfg(any(test, feature = "sim"))]
mod rogue;
mod sessions;
mod strangers;
mod sync;
mod tabs;
mod texts;
mod validity;
mod vault;
mod withheld;

#[cfg(test)]
mod tests;

pub use io::*;
pub use tabs::{Changed, ChangedCommit, States, TabId, TabOpened, TabSaved, TabWrite, draft_log, undraft};

use std::collections::VecDeque;
use std::sync::Arc;

use disk::{Landed, Wanted};
use entities::Entities;
use entropy::Entropy;
use layout::{LogKey, TypeIx};
use log::Log;
use names::logs_of;
use peers::Peer;
use sessions::Session;

use crate::crdt::LogTable;
use crate::error::{Error, ErrorCode, Result};
use crate::pairing::{About, Pairing};
use crate::policy::{Membership, PolicyKind, SyncPolicy};
use crate::types::{
    EntityId, EntityType, Epoch, Hash, Hlc, Instant, Keypair, LogName, PeerId, SortedMap, SortedSet, VaultId,
};

/// What the engine is told when it is made.
#[derive(Debug)]
pub struct EngineConfig {
    /// The device's key pair.
    pub keypair: Keypair,
    /// The device's name, where the store knows none yet.
    pub device_name: String,
    /// Whether this device runs in a browser, which it tells its peers.
    pub browser: bool,
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
    /// Events after which one is made as soon as nothing has come for a few seconds, so that the next opening is quick.
    pub quiet_events: u64,
    /// The same as `checkpoint_events` while a peer sends in bulk, so that an entity that it changes often is encoded few times.
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
            quiet_events: 2_000,
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
    Opening(Box<open::Opening>),
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
    /// The key of the vault's beginning, where another one is used.
    first_key: Option<zeroize::Zeroizing<[u8; 32]>>,
}

/// The engine of one device and one vault.
pub struct SyncEngine {
    config: EngineConfig,
    /// The network knows ways to members of whom no address is known.
    finds_members: bool,
    tuning: Tuning,
    me: PeerId,
    entropy: Entropy,
    now: Instant,
    out: Vec<Output>,
    phase: Phase,

    device_name: String,
    vault: Option<Vault>,
    /// The policy of the vault that a first write makes, where it may make one.
    own_vault: Option<PolicyKind>,
    /// The recovery key of that vault, until the app says that the user has saved it.
    recovery: Option<zeroize::Zeroizing<[u8; 32]>>,
    credential: Vec<Arc<[u8]>>,
    /// The vault key, read before the vault that it belongs to.
    pending_key: Option<zeroize::Zeroizing<[u8; 32]>>,
    pending_first_key: Option<zeroize::Zeroizing<[u8; 32]>>,
    epoch: Epoch,
    hlc: Hlc,

    types: Vec<EntityType>,
    ids: LogTable,
    /// How many types and log ids have their rows.
    named: (usize, usize),
    logs: SortedMap<LogKey, Log>,
    log_names: SortedMap<LogName, LogKey>,
    digests: SortedMap<TypeIx, Hash>,
    entities: Entities,
    texts: texts::Texts,
    tabs: tabs::Tabs,
    aliases: SortedMap<PeerId, String>,
    audit: audit::Audit,
    pairing: Pairing,
    pair_waiting: pairing::Waiting,
    own_addresses: Vec<String>,
    /// Vault and number of operations when the app was last told who is a member.
    told_members: Option<(VaultId, usize)>,

    peers: SortedMap<PeerId, Peer>,
    sessions: SortedMap<LinkId, Session>,
    strangers: strangers::Strangers,
    paused: bool,
    last_sync: Option<u64>,
    /// Events sent and received since the start.
    moved: (u64, u64),

    next_ticket: u64,
    writes: VecDeque<(Ticket, Landed)>,
    reads: SortedMap<Ticket, Wanted>,
    /// Pages that are being read, so that none is read twice at once.
    pages: SortedSet<(TypeIx, EntityId)>,
    recent: pump::Recent,
    local: VecDeque<local::Parked>,
    asked: SortedMap<CallId, calls::Asked>,
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
    compares: SortedMap<LogKey, compare::Compare>,
    /// Logs of which an Admin has accepted a branch, and whose chain is to be looked at.
    unsettled: SortedSet<LogKey>,
    /// A copy's original is on its way to the disk, and not compared with it yet.
    unmatched: bool,
    /// Logs with a stored block that does not read back, and the first commit that is missing for it.
    damaged: SortedMap<LogKey, u64>,
    /// Blocks of own branches whose commits are to be made again, as soon as this device may write their types.
    again: again::Blocks,
    again_unnamed: Vec<(LogName, Vec<u8>)>,
    /// Calls for which own commits are written again, and those.
    rewrites: Vec<(CallId, again::Blocks)>,
    /// A checkpoint is on its way to the disk: its pages cannot be read yet.
    checkpointing: bool,
    /// Events that are in no checkpoint, as noted last, and when the last of them came, if that was after the opening.
    noted_events: u64,
    changed_at: Option<u64>,
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
        let pairing_seed = zeroize::Zeroizing::new(blake3::derive_key("privstack-sync 1 pairing seed", &config.seed));
        let platform = if config.browser { "web" } else { "desktop" };
        let about = About { device_name: config.device_name.clone(), platform: platform.to_owned() };
        Self {
            me: config.keypair.peer_id(),
            epoch: Epoch(entropy.number()),
            now: Instant::default(),
            out: Vec::new(),
            phase: Phase::Opening(Box::default()),
            device_name: config.device_name.clone(),
            vault: None,
            own_vault: None,
            recovery: None,
            credential: Vec::new(),
            pending_key: None,
            pending_first_key: None,
            hlc: Hlc::default(),
            types: Vec::new(),
            ids: LogTable::default(),
            named: (0, 0),
            logs: SortedMap::new(),
            log_names: SortedMap::new(),
            digests: SortedMap::new(),
            entities: Entities::new(entropy.number()),
            texts: texts::Texts::default(),
            tabs: tabs::Tabs::default(),
            aliases: SortedMap::new(),
            audit: audit::Audit::default(),
            pairing: Pairing::new(config.keypair.peer_id(), about, &pairing_seed),
            pair_waiting: pairing::Waiting::default(),
            own_addresses: Vec::new(),
            told_members: None,
            peers: SortedMap::new(),
            sessions: SortedMap::new(),
            strangers: strangers::Strangers::default(),
            paused: false,
            last_sync: None,
            moved: (0, 0),
            next_ticket: 0,
            writes: VecDeque::new(),
            reads: SortedMap::new(),
            pages: SortedSet::new(),
            recent: pump::Recent::default(),
            local: VecDeque::new(),
            asked: SortedMap::new(),
            settling: Vec::new(),
            held_calls: Vec::new(),
            forced: Vec::new(),
            job: None,
            held: VecDeque::new(),
            refold_next: refold::Stale::default(),
            stale_on_disk: refold::Stale::default(),
            refolded: false,
            compares: SortedMap::new(),
            unsettled: SortedSet::new(),
            unmatched: false,
            damaged: SortedMap::new(),
            again: Vec::new(),
            again_unnamed: Vec::new(),
            rewrites: Vec::new(),
            checkpointing: false,
            noted_events: 0,
            changed_at: None,
            wake_at: 0,
            entropy,
            config,
            finds_members: false,
            tuning: Tuning::default(),
        }
    }

    /// Changes the sizes of housekeeping.
    pub fn with_tuning(mut self, tuning: Tuning) -> Self {
        self.tuning = tuning;
        self
    }

    /// Says whether the network knows ways to members of whom no address is known: through a relay, say. From the next
    /// input on they are dialled then even so.
    pub fn set_finds_members(&mut self, finds_members: bool) {
        self.finds_members = finds_members;
    }

    /// Makes a vault under this policy when the device has none and the app writes or invites; without this, that is
    /// refused with `no_vault`.
    pub fn with_own_vault(mut self, policy: PolicyKind) -> Self {
        self.own_vault = Some(policy);
        self
    }

    /// Takes one input at a time `now`, and appends what is to be done to `out`.
    pub fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        self.now = Instant { mono: self.now.mono.max(now.mono), wall: now.wall };
        self.take(input);
        self.advance();
        while self.answer_pairing() {
            self.advance();
        }
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
            Input::Frame(link, bytes) if self.is_pairing(link) => self.pairing_frame(link, &bytes),
            Input::LinkDown(link) if self.is_pairing(link) => self.pairing_down(link),
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
            Input::PeerFound(peer, addresses) => {
                self.peer_found(peer, addresses.clone());
                self.pairing_found(peer, addresses);
            }
            Input::PairingUp { link, peer, initiator } => self.pairing_up(link, peer, initiator),
            Input::PairingFailed(peer, why) => self.pairing_dial_failed(peer, &why),
            Input::NameplateClaimed(number) => self.nameplate_claimed(number),
            Input::NameplateFound(number, found) => self.nameplate_found(number, found),
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
                    self.noted_events = self.entities.dirty_events;
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
        self.settle_branches();
        self.divergence_start();
        self.refold_start();
        self.mending_start();
        if self.job.is_none() {
            self.make_again();
        }
        self.local_writes();
        self.tab_writes();
        self.pairing_due();
        self.pairing_outputs();
        self.peers_due();
        self.measure_quarantines();
        self.ask_for_refused();
        self.sessions_due();
        self.pump();
        self.settle();
        // A bulk sync may just have ended.
        if self.job.is_none() && self.checkpoint_due() {
            self.start_checkpoint();
        }
        self.tell_members();
        self.audit_due();
        self.note_quiet();
        self.set_alarm();
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
