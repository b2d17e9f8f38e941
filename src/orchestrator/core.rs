//! The engine with its store: what has nothing to do with network or app.

use std::collections::VecDeque;

use super::config::OrchestratorConfig;
use super::store_driver::{StoreCommand, StoreDone, StoreLink};
use super::world::{Opened, World};
use crate::engine::{EngineConfig, Input, Output, SyncEngine, SyncEvent};
use crate::error::{Error, ErrorCode, Result};
use crate::policy::PolicyKind;
use crate::types::{Instant, PeerId};

/// Reads and writes under way beyond which no call and no frame is taken, so that a slow disk slows down whoever feeds
/// it instead of filling memory.
const MAX_UNDER_WAY: usize = 256;
/// The same for the bytes of writes.
const MAX_UNDER_WAY_BYTES: usize = 32 << 20;
/// How long a close waits for the disk.
const CLOSE_LIMIT_US: u64 = 10_000_000;

/// The engine and its store.
pub(super) struct Core {
    engine: SyncEngine,
    store: StoreLink,
    outputs: Vec<Output>,
    /// What the store has not answered yet, in order: the bytes of each write, 0 for a read.
    under_way: VecDeque<usize>,
    /// Their sum.
    under_way_bytes: usize,
    /// When the engine wants to be woken, on the monotonic clock.
    pub wake: Option<u64>,
    /// Why this store can save nothing more.
    pub failed: Option<Error>,
}

impl Core {
    /// Opens store and engine; gives with it the device, and what the engine wants done outside.
    pub async fn open<W: World>(
        world: &mut W,
        config: &OrchestratorConfig,
        policy: PolicyKind,
    ) -> Result<(Self, Device, Vec<Output>)> {
        let seed = world.entropy()?;
        let Opened { keypair, instance_mark, browser, store } = world.open().await?;
        let device = Device { peer_id: keypair.peer_id(), seed: keypair.seed() };
        let sync = &config.sync_config;
        let mut engine = SyncEngine::new(EngineConfig {
            keypair,
            device_name: sync.device_name.clone(),
            browser,
            live: sync.live,
            resync_interval_ms: u64::try_from(sync.resync_interval.as_millis()).unwrap_or(u64::MAX),
            instance_mark,
            seed: *seed,
        });
        if sync.makes_vault {
            engine = engine.with_own_vault(policy);
        }
        let mut core = Self {
            engine,
            store,
            outputs: Vec::new(),
            under_way: VecDeque::new(),
            under_way_bytes: 0,
            wake: None,
            failed: None,
        };
        let mut outside = Vec::new();
        match core.wait_started(world, &mut outside).await {
            Ok(()) => Ok((core, device, outside)),
            Err(error) => {
                core.close_after(&error, world).await;
                Err(error)
            }
        }
    }

    async fn wait_started<W: World>(&mut self, world: &W, outside: &mut Vec<Output>) -> Result<()> {
        self.handle(world.now(), Input::Tick, outside);
        let mut looked_at = 0;
        loop {
            for output in outside.iter().skip(looked_at) {
                match output {
                    Output::Emit(SyncEvent::Started) => return Ok(()),
                    Output::Emit(SyncEvent::StorageFailed(code, text)) => return Err(Error::new(*code, text)),
                    _ => {}
                }
            }
            looked_at = outside.len();
            if let Some(error) = &self.failed {
                return Err(error.clone());
            }
            if self.under_way.is_empty() && self.wake.is_none() {
                return Err(Error::storage("the engine stopped before its store was open; please report this"));
            }
            tokio::select! {
                done = self.store.done.recv() => self.stored(world.now(), done, outside),
                () = sleep_until(world, self.wake) => self.tick(world.now(), outside),
            }
        }
    }

    /// Says whether the network reaches members without knowing an address, now.
    pub fn finds_members(&mut self, now: Instant, finds: bool, outside: &mut Vec<Output>) {
        self.engine.set_finds_members(finds);
        self.handle(now, Input::Tick, outside);
    }

    /// Says where this device can be reached.
    pub fn set_addresses(&mut self, now: Instant, addresses: Vec<String>, outside: &mut Vec<Output>) {
        self.engine.set_addresses(addresses);
        self.handle(now, Input::Tick, outside);
    }

    /// Whether calls and frames may come in.
    pub fn has_room(&self) -> bool {
        self.under_way.len() < MAX_UNDER_WAY && self.under_way_bytes < MAX_UNDER_WAY_BYTES
    }

    /// The store's next answer; `None` if the store has ended. Cancel-safe.
    pub async fn next_stored(&mut self) -> Option<StoreDone> {
        self.store.done.recv().await
    }

    /// Hands the store's answer to the engine.
    pub fn stored(&mut self, now: Instant, done: Option<StoreDone>, outside: &mut Vec<Output>) {
        let input = match done {
            Some(StoreDone::Written(ticket, result)) => {
                if let Err(error) = &result {
                    self.failed.get_or_insert_with(|| error.clone());
                }
                Input::Written(ticket, result)
            }
            Some(StoreDone::Rows(ticket, rows)) => Input::Rows(ticket, rows),
            Some(StoreDone::Failed(error)) => {
                self.failed.get_or_insert(error);
                return;
            }
            None => {
                self.failed.get_or_insert_with(|| Error::storage("the store's thread has ended"));
                return;
            }
        };
        let bytes = self.under_way.pop_front().unwrap_or(0);
        self.under_way_bytes = self.under_way_bytes.saturating_sub(bytes);
        self.handle(now, input, outside);
    }

    /// Tells the engine the time.
    pub fn tick(&mut self, now: Instant, outside: &mut Vec<Output>) {
        self.wake = None;
        self.handle(now, Input::Tick, outside);
    }

    /// Hands an input to the engine, and its reads and writes to the store; the rest goes to `outside`, in order.
    pub fn handle(&mut self, now: Instant, input: Input, outside: &mut Vec<Output>) {
        self.engine.handle(now, input, &mut self.outputs);
        for output in self.outputs.drain(..) {
            let (bytes, command) = match output {
                Output::Write(ticket, batch) => (batch.bytes(), StoreCommand::Write(ticket, batch)),
                Output::Read(ticket, read) => (0, StoreCommand::Read(ticket, read)),
                Output::WakeAt(time) => {
                    self.wake = Some(time);
                    continue;
                }
                output => {
                    outside.push(output);
                    continue;
                }
            };
            self.under_way.push_back(bytes);
            self.under_way_bytes = self.under_way_bytes.saturating_add(bytes);
            if self.store.commands.send(command).is_err() {
                self.failed.get_or_insert_with(|| Error::storage("the store's thread has ended"));
            }
        }
    }

    /// Finishes what the store was asked for and what follows from it; the replies go to `outside`.
    pub async fn finish<W: World>(&mut self, world: &W, outside: &mut Vec<Output>) {
        let limit = world.now().mono.saturating_add(CLOSE_LIMIT_US);
        while !self.under_way.is_empty() && self.failed.is_none() {
            tokio::select! {
                done = self.store.done.recv() => self.stored(world.now(), done, outside),
                () = sleep_until(world, Some(limit)) => return,
            }
        }
    }

    /// Closes the store after an error that matters more than one of closing.
    pub async fn close_after<W: World>(self, error: &Error, world: &W) {
        if let Err(late) = self.close(world).await {
            tracing::warn!(%error, "{late}");
        }
    }

    /// Closes the store; when this is done its folder is free. Fails if the disk takes longer than 10 s.
    pub async fn close<W: World>(self, world: &W) -> Result<()> {
        tokio::select! {
            () = self.store.close() => Ok(()),
            () = world.sleep(CLOSE_LIMIT_US) => {
                Err(Error::new(ErrorCode::Timeout, "the disk has not finished writing after 10 s; the folder is still held"))
            }
        }
    }
}

/// Who this device is.
pub(super) struct Device {
    /// Its public name.
    pub peer_id: PeerId,
    /// Its secret.
    pub seed: zeroize::Zeroizing<[u8; 32]>,
}

/// Waits for a time on the monotonic clock, or for ever.
pub(super) async fn sleep_until<W: World>(world: &W, time: Option<u64>) {
    match time {
        Some(time) => world.sleep(time.saturating_sub(world.now().mono)).await,
        None => std::future::pending().await,
    }
}
