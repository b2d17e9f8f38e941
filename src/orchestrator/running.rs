//! An open orchestrator: waits for requests, the store, the network and the time, and carries out what the engine says.

use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::task::Poll;

use tokio::sync::{mpsc, oneshot};

use super::config::OrchestratorConfig;
use super::core::{Core, sleep_until};
use super::handle::{Request, answer};
use super::runner::App;
use super::standing::{Redials, Standing};
use super::store_driver::StoreDone;
use super::world::World;
use crate::engine::{Call, CallId, Input, LinkId, MemberChange, Output, Reply, SyncEvent};
use crate::error::{Error, ErrorCode, Result};
use crate::transport::{Transport, TransportEvent};
use crate::types::limits::MAX_DEVICE_NAME_BYTES;
use crate::types::{Keypair, PeerId, SortedSet};

/// Calls that the engine has not answered; more are refused with `busy`.
const MAX_CALLS: usize = 4_096;

/// Why a wait ended.
enum Step {
    Stored(Option<StoreDone>),
    Request(Option<Request>),
    Network(TransportEvent),
    Time,
}

/// The end of a run: who asked for it, if anybody did.
pub(super) type Stop = Option<oneshot::Sender<Result<()>>>;

/// An open orchestrator.
pub(super) struct Running<'a, W: World> {
    pub(super) world: &'a mut W,
    pub(super) config: &'a OrchestratorConfig,
    pub(super) app: &'a App,
    /// `None` while the store is closed after a failure.
    pub(super) core: Option<Core>,
    pub(super) network: Option<Box<dyn Transport>>,
    /// What the engine wants done, in order.
    pub(super) outside: Vec<Output>,
    /// Who waits for the engine's answer.
    pub(super) calls: HashMap<CallId, oneshot::Sender<Result<Reply>>>,
    /// Calls that nobody waits for, and whom they are about.
    pub(super) queued: HashMap<CallId, Option<PeerId>>,
    pub(super) next_call: u64,
    /// The open links.
    pub(super) links: HashSet<LinkId>,
    pub(super) online: SortedSet<PeerId>,
    pub(super) standing: Standing,
    pub(super) redials: Redials,
    /// When the store failed last, and how long to wait before it is opened again.
    pub(super) last_failure: Option<(u64, u64)>,
    /// Whether the engine itself has told of the failure that is being handled.
    pub(super) failure_told: bool,
}

impl<'a, W: World> Running<'a, W> {
    pub(super) async fn start(
        world: &'a mut W,
        config: &'a OrchestratorConfig,
        app: &'a App,
        paused: bool,
    ) -> Result<Self> {
        check(config)?;
        let (core, device, outside) = Core::open(world, config, app.policy).await?;
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
            queued: HashMap::new(),
            next_call: 0,
            links: HashSet::new(),
            online: SortedSet::new(),
            standing: Standing::new(config.p2p_config.enable_relay),
            redials: Redials::default(),
            last_failure: None,
            failure_told: false,
        };
        if paused {
            running.standing.note_call(&Call::Pause);
            let id = running.call_id();
            running.input(Input::Call(id, Call::Pause));
            if let Some(network) = &mut running.network {
                network.pause();
            }
        }
        running.tell_relayed();
        running.carry_out();
        Ok(running)
    }

    /// Tells the engine whether members can be reached without an address.
    pub(super) fn tell_relayed(&mut self) {
        let now = self.world.now();
        if let Some(core) = &mut self.core {
            core.finds_members(now, self.standing.relayed, &mut self.outside);
        }
    }

    /// Tells the engine where this device can be reached.
    pub(super) fn tell_addresses(&mut self) {
        let mut addresses = Vec::new();
        self.app.note(|facts| addresses.clone_from(&facts.addresses));
        let now = self.world.now();
        if let Some(core) = &mut self.core {
            core.set_addresses(now, addresses, &mut self.outside);
        }
    }

    fn set_relays(&mut self, relays: &[String]) -> Result<()> {
        self.network.as_mut().ok_or_else(no_network)?.set_relays(relays)?;
        self.standing.relayed = !relays.is_empty();
        self.tell_relayed();
        Ok(())
    }

    pub(super) async fn run(mut self, requests: &mut mpsc::Receiver<Request>) -> (Stop, Result<()>) {
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
            self.world.give_turn().await;
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

    pub(super) fn input(&mut self, input: Input) {
        let now = self.world.now();
        if let Some(core) = &mut self.core {
            core.handle(now, input, &mut self.outside);
        }
    }

    fn request(&mut self, request: Request) {
        match request {
            Request::Queue(call) => {
                let id = self.call_id();
                // A try that is wrong ends nothing, and whoever asked knows.
                if self.queued.len() < MAX_CALLS && !matches!(*call, Call::PairVerify(_)) {
                    self.queued.insert(id, subject(&call));
                }
                self.input(Input::Call(id, *call));
            }
            Request::Call(call, caller) => {
                if self.calls.len() >= MAX_CALLS {
                    // Some may wait for a peer for ever, and whoever asked has given up.
                    self.calls.retain(|_, caller| !caller.is_closed());
                }
                if self.calls.len() >= MAX_CALLS {
                    let text = format!("{MAX_CALLS} calls wait for their answers already; wait for some of them");
                    answer(caller, Err(Error::new(ErrorCode::Busy, text)));
                    return;
                }
                self.standing.note_call(&call);
                let id = self.call_id();
                self.calls.insert(id, caller);
                self.network_call(&call);
                let rests = matches!(*call, Call::Pause);
                self.input(Input::Call(id, *call));
                if rests {
                    // First the peers are told why.
                    self.carry_out();
                    if let Some(network) = &mut self.network {
                        network.rest();
                    }
                }
            }
            Request::Dial(address, caller) => answer(caller, self.dial_address(&address)),
            Request::Relays(relays, caller) => answer(caller, self.set_relays(&relays)),
            Request::Entropy(caller) => answer(caller, self.world.entropy()),
            // Open is what it is; stops end the loop before they come here.
            Request::Start(caller) | Request::StartPaused(caller) | Request::Stop(caller) => answer(caller, Ok(())),
        }
    }

    /// What a call changes of the network before the engine hears it.
    fn network_call(&mut self, call: &Call) {
        let Some(network) = &mut self.network else { return };
        match call {
            Call::Resume => network.resume(),
            Call::Reconnect if !self.standing.paused() => {
                network.pause();
                network.resume();
            }
            _ => {}
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

    pub(super) fn call_id(&mut self) -> CallId {
        self.next_call += 1;
        CallId(self.next_call)
    }

    pub(super) fn network_event(&mut self, event: TransportEvent) {
        match event {
            TransportEvent::LinkUp { link, peer, initiator, via } => {
                self.links.insert(link);
                self.input(Input::LinkUp { link, peer, initiator, via });
            }
            TransportEvent::LinkDown(link) => {
                self.links.remove(&link);
                self.input(Input::LinkDown(link));
            }
            TransportEvent::Frame(link, frame) => self.input(Input::Frame(link, frame)),
            TransportEvent::Sent(link, bytes) => self.input(Input::LinkReady(link, bytes)),
            TransportEvent::PeerFound(peer, addresses) => {
                self.standing.note_found(peer, &addresses);
                self.input(Input::PeerFound(peer, addresses));
            }
            TransportEvent::PairingUp { link, peer, initiator, .. } => {
                self.links.insert(link);
                self.input(Input::PairingUp { link, peer, initiator });
            }
            TransportEvent::PairingFailed(peer, why) => self.input(Input::PairingFailed(peer, why)),
            TransportEvent::NameplateClaimed(number) => self.input(Input::NameplateClaimed(number)),
            TransportEvent::NameplateFound(number, found) => self.input(Input::NameplateFound(number, found)),
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
                self.tell_addresses();
                self.app.emit(SyncEvent::ListenFailed(address, "it can no longer be reached here".to_owned()));
            }
            TransportEvent::Listening(address) => {
                self.app.note(|facts| {
                    if !facts.addresses.contains(&address) {
                        facts.addresses.push(address.clone());
                    }
                });
                self.tell_addresses();
                self.app.emit(SyncEvent::Listening(address));
            }
            TransportEvent::ListenFailed(address, error) => {
                self.app.emit(SyncEvent::ListenFailed(address, error.message().to_owned()));
            }
        }
    }

    /// Carries out what the engine wants done, in order, and what follows from that.
    pub(super) fn carry_out(&mut self) {
        while !self.outside.is_empty() {
            for output in std::mem::take(&mut self.outside) {
                match output {
                    Output::Send(link, frame) => {
                        if let Some(network) = &mut self.network {
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
                        None => self.input(Input::DialFailed(peer, no_network().message().to_owned())),
                    },
                    Output::Members(members, policy) => {
                        self.app.note(|facts| (facts.members, facts.policy) = (members, Some(policy)));
                    }
                    Output::PairingMode(on) => {
                        if let Some(network) = &mut self.network {
                            network.set_pairing(on);
                        }
                    }
                    Output::Pair(peer, addresses) => {
                        let network = self.network.as_mut().ok_or_else(no_network);
                        if let Err(error) = network.and_then(|network| network.pair(peer, addresses)) {
                            self.input(Input::PairingFailed(peer, error.message().to_owned()));
                        }
                    }
                    Output::ClaimNameplate => {
                        if let Some(network) = &mut self.network {
                            network.claim_nameplate();
                        }
                    }
                    Output::FindNameplate(number) => {
                        let network = self.network.as_mut().ok_or_else(no_network);
                        if let Err(error) = network.and_then(|network| network.find_nameplate(number)) {
                            self.input(Input::NameplateFound(number, Err(error)));
                        }
                    }
                    Output::Reply(id, reply) => {
                        if let Some(caller) = self.calls.remove(&id) {
                            answer(caller, reply);
                        } else if let (Some(peer), Err(error)) = (self.queued.remove(&id), reply) {
                            self.emit(match peer {
                                Some(peer) => SyncEvent::SyncError(peer, error.to_string()),
                                None => SyncEvent::PairingEnded(error.code(), error.message().to_owned()),
                            });
                        }
                    }
                    Output::Emit(event) => self.emit(event),
                    // The core has carried these out.
                    Output::Write(..) | Output::Read(..) | Output::WakeAt(_) => {}
                }
            }
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
            SyncEvent::PairingCode(shown) => self.app.note(|facts| facts.code = Some(shown.clone())),
            SyncEvent::PairingEnded(..) | SyncEvent::PairingCompleted(_) => self.app.note(|facts| {
                facts.code = None;
                facts.pairings += 1;
            }),
            SyncEvent::StorageFailed(code, text) => {
                self.failure_told = true;
                // From here on the engine only refuses.
                if let Some(core) = &mut self.core {
                    core.failed.get_or_insert_with(|| Error::new(*code, text));
                }
            }
            _ => {}
        }
        self.app.emit(event);
    }
}

/// Whom a call is about.
fn subject(call: &Call) -> Option<PeerId> {
    match call {
        Call::TrustPeer { peer, .. } | Call::Change(MemberChange::Remove(peer)) => Some(*peer),
        _ => None,
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

fn no_network() -> Error {
    Error::new(ErrorCode::Unreachable, "this device is not on the network (it was started offline)")
}

/// The network's next event; never one where there is no network.
pub(super) fn next_event(network: &mut Option<Box<dyn Transport>>) -> impl Future<Output = TransportEvent> {
    poll_fn(|cx| network.as_mut().map_or(Poll::Pending, |network| network.poll_next(cx)))
}
