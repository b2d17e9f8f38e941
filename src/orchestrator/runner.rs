//! The engine's thread: waits for requests, the store, the network and the time, and carries out what the engine says.
//!
//! It is crash-only: where the store fails, everything built on it is dropped and opened again, as after a power cut.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::config::OrchestratorConfig;
use super::core::{Core, sleep_until};
use super::events::EVENT_CAPACITY;
use super::handle::{Facts, OrchestratorHandle, REQUEST_CAPACITY, Request, Shared};
use super::standing::{Redials, Standing};
use super::store_driver::StoreDone;
use super::world::World;
use crate::engine::{Call, CallId, Input, LinkId, Output, Reply, SyncEvent};
use crate::error::{Error, ErrorCode, Result};
use crate::policy::PolicyKind;
use crate::transport::{Transport, TransportEvent};
use crate::types::limits::MAX_DEVICE_NAME_BYTES;
use crate::types::{Keypair, PeerId};

/// Calls that the engine has not answered; more are refused with `busy`.
const MAX_CALLS: usize = 4_096;
/// Bytes that a link may have queued before the engine holds back.
const LINK_WINDOW: usize = 1 << 20;
/// How long a stop lets links send what they have.
const HANG_UP_LIMIT_US: u64 = 500_000;
/// The first wait before the store is opened again; it doubles with each failure up to the last.
const FIRST_BACKOFF_US: u64 = 100_000;
const LAST_BACKOFF_US: u64 = 30_000_000;
/// After so long without a failure the waits start anew.
const CALM_US: u64 = 60_000_000;

/// Owns engine, store and network; [`SyncOrchestrator::run`] is the life of the engine's thread.
pub struct SyncOrchestrator {
    run: Box<dyn FnOnce() -> LocalBoxFuture<'static, ()> + Send>,
}

impl std::fmt::Debug for SyncOrchestrator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SyncOrchestrator").finish_non_exhaustive()
    }
}

impl SyncOrchestrator {
    /// An orchestrator in a world of its own and the handle to it. Nothing happens before [`SyncOrchestrator::run`] is
    /// polled and a `Start` has come. Of `config`, the world decides what `db_path` and `p2p_config` mean; `policy` is
    /// for vaults that this device makes.
    pub fn new<W: World + Send + 'static>(
        world: W,
        config: OrchestratorConfig,
        policy: PolicyKind,
    ) -> (Self, OrchestratorHandle) {
        let (requests, requests_end) = mpsc::channel(REQUEST_CAPACITY);
        let (events, first) = broadcast::channel(EVENT_CAPACITY);
        let facts = Arc::new(Mutex::new(Facts::default()));
        let handle = OrchestratorHandle::new(Shared {
            requests,
            first: Mutex::new(Some(first)),
            facts: facts.clone(),
            device_name: config.sync_config.device_name.clone(),
            policy,
            subscribe: events.downgrade(),
        });
        let app = App { events, facts };
        (Self { run: Box::new(move || supervise(world, config, requests_end, app).boxed_local()) }, handle)
    }

    /// Serves the handle until its last clone is dropped, then stops and ends.
    pub async fn run(self) {
        (self.run)().await;
    }
}

/// The way back to the app.
struct App {
    events: broadcast::Sender<SyncEvent>,
    facts: Arc<Mutex<Facts>>,
}

impl App {
    fn emit(&self, event: SyncEvent) {
        // Without a reader there is nobody to tell.
        let _ = self.events.send(event);
    }

    fn note(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.facts.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Request {
    fn refuse(self, error: &Error) {
        // Whoever has given up waiting needs no answer.
        match self {
            Request::Start(answer) | Request::Stop(answer) | Request::Dial(_, answer) => {
                let _ = answer.send(Err(error.clone()));
            }
            Request::Call(_, answer) => {
                let _ = answer.send(Err(error.clone()));
            }
            Request::Entropy(answer) => {
                let _ = answer.send(Err(error.clone()));
            }
        }
    }
}

type Answer = oneshot::Sender<Result<()>>;

/// Closed, open, closed again, until nobody holds a handle.
async fn supervise<W: World>(
    mut world: W,
    config: OrchestratorConfig,
    mut requests: mpsc::Receiver<Request>,
    app: App,
) {
    let mut refusal = Error::new(ErrorCode::Closed, "the engine is not started; send SyncCommand::Start first");
    while let Some(request) = requests.recv().await {
        let answer = match request {
            Request::Start(answer) => answer,
            Request::Stop(answer) => {
                let _ = answer.send(Ok(()));
                continue;
            }
            request => {
                request.refuse(&refusal);
                continue;
            }
        };
        let started = match Running::start(&mut world, &config, &app).await {
            Ok(started) => started,
            Err(error) => {
                app.emit(SyncEvent::StartFailed(error.code(), error.message().to_owned()));
                let _ = answer.send(Err(error.clone()));
                refusal = error;
                continue;
            }
        };
        let _ = answer.send(Ok(()));
        let (stop, closed) = started.run(&mut requests).await;
        app.note(|facts| facts.addresses.clear());
        app.emit(SyncEvent::Stopped);
        refusal = Error::new(ErrorCode::Closed, "the engine was stopped; send SyncCommand::Start to open it again");
        if let Some(stop) = stop {
            let _ = stop.send(closed);
        }
    }
}

/// A call that the engine has not answered.
struct Pending {
    answer: oneshot::Sender<Result<Reply>>,
    /// What the network does once the call has succeeded.
    network: Option<Gate>,
}

#[derive(Clone, Copy)]
enum Gate {
    Shut,
    Open,
}

/// Why a wait ended.
enum Step {
    Stored(Option<StoreDone>),
    Request(Option<Request>),
    Network(TransportEvent),
    Time,
}

/// The end of a run: who asked for it, if anybody did.
type Stop = Option<Answer>;

/// An open orchestrator.
struct Running<'a, W: World> {
    world: &'a mut W,
    config: &'a OrchestratorConfig,
    app: &'a App,
    /// `None` while the store is closed after a failure.
    core: Option<Core>,
    network: Option<W::Transport>,
    /// What the engine wants done, in order.
    outside: Vec<Output>,
    calls: HashMap<CallId, Pending>,
    next_call: u64,
    /// Bytes queued on each open link.
    links: HashMap<LinkId, usize>,
    online: BTreeSet<PeerId>,
    standing: Standing,
    redials: Redials,
    /// When the store failed last, and how long to wait before it is opened again.
    last_failure: Option<(u64, u64)>,
    /// Whether the engine itself has told of the failure that is being handled.
    failure_told: bool,
}

impl<'a, W: World> Running<'a, W> {
    async fn start(world: &'a mut W, config: &'a OrchestratorConfig, app: &'a App) -> Result<Self> {
        check(config)?;
        let (core, device, outside) = Core::open(world, config).await?;
        app.note(|facts| facts.peer_id = Some(device.peer_id));
        let network = match world.connect(&Keypair::from_seed(&device.seed)).await {
            Ok(network) => network,
            Err(error) => {
                core.close_after(&error, world).await;
                return Err(error);
            }
        };
        let mut running = Self {
            world,
            config,
            app,
            core: Some(core),
            network,
            outside,
            calls: HashMap::new(),
            next_call: 0,
            links: HashMap::new(),
            online: BTreeSet::new(),
            standing: Standing::default(),
            redials: Redials::default(),
            last_failure: None,
            failure_told: false,
        };
        running.carry_out();
        Ok(running)
    }

    async fn run(mut self, requests: &mut mpsc::Receiver<Request>) -> (Stop, Result<()>) {
        let stop = loop {
            let step = self.wait(requests).await;
            let now = self.world.now();
            let Some(core) = &mut self.core else { break None };
            match step {
                Step::Stored(done) => core.stored(now, done, &mut self.outside),
                Step::Time => {
                    if core.wake.is_some_and(|wake| wake <= now.mono) {
                        core.tick(now, &mut self.outside);
                    }
                    for address in self.redials.due(now.mono) {
                        self.dial_again(address);
                    }
                }
                Step::Network(event) => self.network_event(event),
                Step::Request(None) => break None,
                Step::Request(Some(Request::Stop(answer))) => break Some(answer),
                Step::Request(Some(request)) => self.request(request),
            }
            self.carry_out();
            if let Some(error) = self.core.as_mut().and_then(|core| core.failed.take())
                && let Some(stop) = self.open_again(error, requests).await
            {
                break stop;
            }
        };
        let closed = self.close().await;
        (stop, closed)
    }

    async fn wait(&mut self, requests: &mut mpsc::Receiver<Request>) -> Step {
        let Some(core) = &mut self.core else { return Step::Request(None) };
        let room = core.has_room();
        let wake = [core.wake, self.redials.next()].into_iter().flatten().min();
        tokio::select! {
            done = core.next_stored() => Step::Stored(done),
            request = requests.recv(), if room => Step::Request(request),
            event = next_event(&mut self.network), if room => Step::Network(event),
            () = sleep_until(self.world, wake) => Step::Time,
        }
    }

    fn input(&mut self, input: Input) {
        let now = self.world.now();
        if let Some(core) = &mut self.core {
            core.handle(now, input, &mut self.outside);
        }
    }

    fn request(&mut self, request: Request) {
        match request {
            Request::Call(call, answer) => {
                if self.calls.len() >= MAX_CALLS {
                    let text = format!("{MAX_CALLS} calls wait for their answers already; wait for some of them");
                    let _ = answer.send(Err(Error::new(ErrorCode::Busy, text)));
                    return;
                }
                let network = match &*call {
                    Call::Pause => Some(Gate::Shut),
                    Call::Resume => Some(Gate::Open),
                    call => {
                        self.standing.note_call(call);
                        None
                    }
                };
                let id = self.call_id();
                self.calls.insert(id, Pending { answer, network });
                self.input(Input::Call(id, *call));
            }
            Request::Dial(address, answer) => {
                let _ = answer.send(self.dial_address(&address));
            }
            Request::Entropy(answer) => {
                let _ = answer.send(self.world.entropy());
            }
            Request::Start(answer) | Request::Stop(answer) => {
                let _ = answer.send(Ok(()));
            }
        }
    }

    fn dial_address(&mut self, address: &str) -> Result<()> {
        self.network.as_mut().ok_or_else(no_network)?.dial_address(address)
    }

    fn dial_again(&mut self, address: String) {
        if let Err(error) = self.dial_address(&address) {
            // It was an address the first time, so this may pass.
            tracing::debug!(%address, %error, "dialling again failed");
            self.redials.failed(address, self.world.now().mono);
        }
    }

    fn call_id(&mut self) -> CallId {
        self.next_call += 1;
        CallId(self.next_call)
    }

    fn network_event(&mut self, event: TransportEvent) {
        match event {
            TransportEvent::LinkUp { link, peer, initiator, via } => {
                self.links.insert(link, 0);
                self.input(Input::LinkUp { link, peer, initiator, via });
                self.input(Input::LinkReady(link, LINK_WINDOW));
            }
            TransportEvent::LinkDown(link) => {
                self.links.remove(&link);
                self.input(Input::LinkDown(link));
            }
            TransportEvent::Frame(link, frame) => self.input(Input::Frame(link, frame)),
            TransportEvent::Sent(link, bytes) => {
                let Some(queued) = self.links.get_mut(&link) else { return };
                *queued = queued.saturating_sub(bytes);
                let queued = *queued;
                // Room in large pieces: one call of the engine for many frames.
                if queued <= LINK_WINDOW / 2 {
                    self.input(Input::LinkReady(link, LINK_WINDOW - queued));
                }
            }
            TransportEvent::PeerFound(peer, addresses) => {
                self.standing.note_found(peer, &addresses);
                self.input(Input::PeerFound(peer, addresses));
            }
            TransportEvent::DialFailed(peer, why) => self.input(Input::DialFailed(peer, why)),
            TransportEvent::AddressFailed(address, error) => {
                self.app.emit(SyncEvent::Warning(error.code(), error.message().to_owned()));
                self.redials.failed(address, self.world.now().mono);
            }
            TransportEvent::Warning(error) => {
                self.app.emit(SyncEvent::Warning(error.code(), error.message().to_owned()));
            }
            TransportEvent::ListenEnded(address) => {
                self.app.note(|facts| facts.addresses.retain(|other| *other != address));
                self.app.emit(SyncEvent::ListenFailed(address, "it can no longer be reached here".to_owned()));
            }
            TransportEvent::Listening(address) => {
                self.app.note(|facts| {
                    if !facts.addresses.contains(&address) {
                        facts.addresses.push(address.clone());
                    }
                });
                self.app.emit(SyncEvent::Listening(address));
            }
            TransportEvent::ListenFailed(address, error) => {
                self.app.emit(SyncEvent::ListenFailed(address, error.to_string()));
            }
        }
    }

    /// Carries out what the engine wants done, in order, and what follows from that.
    fn carry_out(&mut self) {
        while !self.outside.is_empty() {
            for output in std::mem::take(&mut self.outside) {
                match output {
                    Output::Send(link, frame) => {
                        if let (Some(network), Some(queued)) = (&mut self.network, self.links.get_mut(&link)) {
                            *queued = queued.saturating_add(frame.len());
                            network.send(link, frame);
                        }
                    }
                    Output::HangUp(link, why) => {
                        tracing::debug!(?link, %why, "hanging up");
                        if let Some(network) = &mut self.network {
                            network.hang_up(link);
                        }
                    }
                    Output::Dial(peer, addresses) => match &mut self.network {
                        Some(network) => network.dial(peer, addresses),
                        None => self.input(Input::DialFailed(peer, no_network().to_string())),
                    },
                    Output::Reply(id, reply) => self.reply(id, reply),
                    Output::Emit(event) => self.emit(event),
                    // The core has carried these out.
                    Output::Write(..) | Output::Read(..) | Output::WakeAt(_) => {}
                }
            }
        }
    }

    fn reply(&mut self, id: CallId, reply: Result<Reply>) {
        let Some(Pending { answer, network }) = self.calls.remove(&id) else { return };
        if let (Ok(_), Some(gate)) = (&reply, network) {
            self.standing.paused = matches!(gate, Gate::Shut);
            match (&mut self.network, gate) {
                (Some(network), Gate::Shut) => network.pause(),
                (Some(network), Gate::Open) => network.resume(),
                (None, _) => {}
            }
        }
        if let Err(Err(error)) = answer.send(reply) {
            // A command, or a caller that has given up: at least the log knows.
            tracing::warn!(%error, "a call failed that nobody waits for");
        }
    }

    fn emit(&mut self, event: SyncEvent) {
        match &event {
            SyncEvent::PeerConnected(peer) => {
                self.online.insert(*peer);
            }
            SyncEvent::PeerDisconnected(peer) => {
                self.online.remove(peer);
            }
            SyncEvent::StorageFailed(..) => self.failure_told = true,
            _ => {}
        }
        self.app.emit(event);
    }

    /// Drops what stood on a store that failed and opens it again, as often as it takes; `Some` if a stop came first.
    async fn open_again(&mut self, mut error: Error, requests: &mut mpsc::Receiver<Request>) -> Option<Stop> {
        let now = self.world.now().mono;
        // A store that opens but soon fails again (a full disk) is not opened in a tight loop.
        let mut backoff = match self.last_failure {
            Some((at, backoff)) if now.saturating_sub(at) < CALM_US => next_backoff(backoff),
            _ => FIRST_BACKOFF_US,
        };
        if let Some(network) = &mut self.network {
            network.pause();
        }
        self.links.clear();
        for peer in std::mem::take(&mut self.online) {
            self.app.emit(SyncEvent::PeerDisconnected(peer));
        }
        if !std::mem::take(&mut self.failure_told) {
            self.tell_failure(&error);
        }
        for (_, pending) in self.calls.drain() {
            let _ = pending.answer.send(Err(error.clone()));
        }
        if let Some(core) = self.core.take()
            && let Err(late) = core.close(self.world).await
        {
            error = late;
        }
        loop {
            if let Some(stop) = self.wait_closed(backoff, &error, requests).await {
                return Some(stop);
            }
            match Core::open(self.world, self.config).await {
                Ok((core, _, outside)) => {
                    self.core = Some(core);
                    self.outside = outside;
                    break;
                }
                Err(again) => {
                    if again != error {
                        error = again;
                        self.tell_failure(&error);
                    }
                    backoff = next_backoff(backoff);
                }
            }
        }
        self.last_failure = Some((self.world.now().mono, backoff));
        for call in self.standing.calls() {
            let id = self.call_id();
            self.input(Input::Call(id, call));
        }
        for (peer, addresses) in self.standing.found() {
            self.input(Input::PeerFound(peer, addresses));
        }
        if let (Some(network), false) = (&mut self.network, self.standing.paused) {
            network.resume();
        }
        self.carry_out();
        None
    }

    fn tell_failure(&self, error: &Error) {
        self.app.emit(SyncEvent::StorageFailed(error.code(), error.message().to_owned()));
    }

    /// Waits with the store closed: requests are refused, the network's news noted.
    async fn wait_closed(
        &mut self,
        micros: u64,
        error: &Error,
        requests: &mut mpsc::Receiver<Request>,
    ) -> Option<Stop> {
        let until = self.world.now().mono.saturating_add(micros);
        loop {
            tokio::select! {
                () = sleep_until(self.world, Some(until)) => return None,
                request = requests.recv() => match request {
                    None => return Some(None),
                    Some(Request::Stop(answer)) => return Some(Some(answer)),
                    Some(request) => request.refuse(error),
                },
                event = next_event(&mut self.network) => {
                    // Links and dials belong to the engine that is gone.
                    match event {
                        TransportEvent::LinkUp { .. }
                        | TransportEvent::LinkDown(_)
                        | TransportEvent::Frame(..)
                        | TransportEvent::Sent(..)
                        | TransportEvent::DialFailed(..) => {}
                        event => self.network_event(event),
                    }
                }
            }
        }
    }

    async fn close(mut self) -> Result<()> {
        if let Some(core) = &mut self.core {
            core.finish(self.world, &mut self.outside).await;
            self.carry_out();
        }
        let error = Error::new(ErrorCode::Closed, "the engine was stopped before it answered");
        for (_, pending) in self.calls.drain() {
            let _ = pending.answer.send(Err(error.clone()));
        }
        let limit = self.world.now().mono.saturating_add(HANG_UP_LIMIT_US);
        if let Some(network) = &mut self.network {
            self.links.keys().for_each(|link| network.hang_up(*link));
        }
        while !self.links.is_empty() {
            tokio::select! {
                () = sleep_until(self.world, Some(limit)) => break,
                event = next_event(&mut self.network) => {
                    if let TransportEvent::LinkDown(link) = event {
                        self.links.remove(&link);
                    }
                }
            }
        }
        for peer in std::mem::take(&mut self.online) {
            self.app.emit(SyncEvent::PeerDisconnected(peer));
        }
        match self.core {
            Some(core) => core.close(self.world).await,
            None => Ok(()),
        }
    }
}

fn check(config: &OrchestratorConfig) -> Result<()> {
    if config.cloud_config.is_some() {
        return Err(Error::new(
            ErrorCode::Unsupported,
            "this version has no cloud storage; set `cloud_config` to `None`",
        ));
    }
    let length = config.sync_config.device_name.len();
    if length == 0 || length > MAX_DEVICE_NAME_BYTES {
        return Err(Error::invalid(format!(
            "the device name has {length} bytes; give it 1 to {MAX_DEVICE_NAME_BYTES} bytes"
        )));
    }
    Ok(())
}

fn next_backoff(backoff: u64) -> u64 {
    backoff.saturating_mul(2).min(LAST_BACKOFF_US)
}

fn no_network() -> Error {
    Error::new(ErrorCode::Unreachable, "this device was started without a network (`SyncConfig::offline`)")
}

async fn next_event<T: Transport>(network: &mut Option<T>) -> TransportEvent {
    match network {
        Some(network) => network.next().await,
        None => std::future::pending().await,
    }
}
