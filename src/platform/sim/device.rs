//! One device: its engine, its disk, its clocks, and what its app waits for.

use std::collections::BTreeMap;

use super::disk::Disk;
use crate::engine::{Call, CallId, EngineConfig, Reply, SyncEngine, Tuning};
use crate::error::Result;
use crate::policy::SyncRole;
use crate::types::{EntityId, EntityType, FieldName, Instant, Keypair, PeerId, Value};

/// 2026-11-22 in milliseconds since 1970.
const TODAY: i64 = 1_795_305_600_000;

/// A device of the world. Two may have the same key, where a data folder was copied.
pub struct Device {
    pub keypair: Keypair,
    pub peer: PeerId,
    pub engine: Option<SyncEngine>,
    /// Counts its starts: what was under way for an earlier one is nothing to a later one.
    pub run: u32,
    pub disk: Disk,
    pub mark: [u8; 16],
    pub tuning: Tuning,
    /// How far the wall clock is off, in milliseconds.
    pub clock_error: i64,
    /// The monotonic clock's zero, new with every start.
    pub mono_base: u64,
    pub wake: Option<u64>,
    /// When the last write that was asked for will be done.
    pub disk_until: u64,
    /// The newest link to each peer.
    pub links: BTreeMap<PeerId, u64>,
    pub asked: BTreeMap<CallId, Asked>,
    pub answers: BTreeMap<CallId, Result<Reply>>,
    pub next_call: u64,
    /// Its role, once it was invited.
    pub role: Option<SyncRole>,
    pub joined: bool,
    /// Works no more: what it held counts no more either.
    pub gone: bool,
    /// Not on the network just now.
    pub offline: bool,
    pub paused: bool,
    /// Takes pairing streams of anybody.
    pub pairing_mode: bool,
    /// When it was last given a frame.
    pub last_frame: u64,
    /// How many writes it was asked for.
    pub writes: u64,
    /// When the newest of the frames that it was given had been sent, and on which link.
    pub newest_sent: (u64, u64),
    /// Events of interest to checks.
    pub storage_failed: bool,
}

/// What the app does with an answer.
#[derive(Debug)]
pub enum Asked {
    /// A write of these edits (places in `Expect`), that may be looked at again once it is saved.
    Write(Vec<usize>, Option<Look>),
    /// The value that must be there.
    Look(Look),
    /// An invite for that device.
    Invite(usize),
    /// Joining.
    Join,
    /// A vault of its own.
    Init,
    /// A code, to be typed on that device.
    PairOffer(usize),
    /// Joining by a code of that device, or one that is nobody's; and when it was shown.
    PairJoin(Option<PeerId>, u64),
    /// The user says yes to that device.
    PairConfirm(PeerId),
    /// The answer is kept.
    Keep,
    /// The answer is of no interest, but there must be one.
    Any(&'static str),
}

/// A register that was set and must show that value, if nothing came in between.
#[derive(Clone, Debug)]
pub struct Look {
    pub entity_type: EntityType,
    pub id: EntityId,
    pub field: FieldName,
    pub value: Value,
    /// When the write was asked for, and the how manieth it was.
    pub at: u64,
    pub writes: u64,
}

impl Device {
    pub fn new(seed: [u8; 32], mark: [u8; 16], tuning: Tuning) -> Self {
        let keypair = Keypair::from_seed(&seed);
        Self {
            peer: keypair.peer_id(),
            keypair,
            engine: None,
            run: 0,
            disk: Disk::default(),
            mark,
            tuning,
            clock_error: 0,
            mono_base: 0,
            wake: None,
            disk_until: 0,
            links: BTreeMap::new(),
            asked: BTreeMap::new(),
            answers: BTreeMap::new(),
            next_call: 0,
            role: None,
            joined: false,
            gone: false,
            offline: false,
            paused: false,
            pairing_mode: false,
            last_frame: 0,
            writes: 0,
            newest_sent: (0, 0),
            storage_failed: false,
        }
    }

    /// A new engine on what the disk holds.
    pub fn start(&mut self, mono_base: u64, seed: [u8; 32]) {
        self.run += 1;
        self.mono_base = mono_base;
        self.wake = None;
        self.disk_until = 0;
        self.links.clear();
        self.asked.clear();
        self.paused = false;
        self.pairing_mode = false;
        self.storage_failed = false;
        self.engine = Some(new_engine(&self.keypair, self.mark, self.tuning, seed));
    }

    pub fn stop(&mut self) {
        self.engine = None;
        self.run += 1;
        self.wake = None;
        self.links.clear();
        self.asked.clear();
    }

    /// What its clocks show.
    pub fn clocks(&self, now: u64) -> Instant {
        let wall = TODAY + (now / 1_000) as i64 + self.clock_error;
        Instant { mono: now + self.mono_base, wall: wall.max(0) as u64 }
    }

    pub fn call_id(&mut self) -> CallId {
        self.next_call += 1;
        CallId(self.next_call)
    }

    /// Whether it runs and has a vault that others share.
    pub fn works(&self) -> bool {
        self.engine.is_some() && self.joined && !self.gone
    }
}

/// An engine with the settings of the simulation.
pub fn new_engine(keypair: &Keypair, mark: [u8; 16], tuning: Tuning, seed: [u8; 32]) -> SyncEngine {
    let config = EngineConfig {
        keypair: keypair.clone(),
        device_name: "sim".to_owned(),
        browser: false,
        live: true,
        resync_interval_ms: 60_000,
        instance_mark: mark,
        seed,
    };
    SyncEngine::new(config).with_tuning(tuning)
}

/// Where a device can be dialled.
pub fn address(peer: &PeerId) -> String {
    format!("/sim/p2p/{peer}")
}

/// A call to be made later.
#[derive(Debug)]
pub struct Later {
    pub call: Call,
    pub asked: Asked,
}
