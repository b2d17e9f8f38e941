//! What an app holds: commands in, events out, and a typed method for each thing that the engine can do.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{broadcast, mpsc, oneshot};
use zeroize::Zeroizing;

use super::blocking::block_on;
use super::config::SyncCommand;
use super::events::{EventStream, Filter, Subscription};
use crate::engine::{Call, Level, NotSynced, PeerStatus, Reply, Status, SyncEvent, TrustedPeer};
use crate::error::{Error, ErrorCode, Result};
use crate::pairing::ShownCode;
use crate::policy::{PolicyKind, SyncRole, recovery_words};
use crate::types::{EntityId, PeerId, VaultId};

/// Requests that wait for the engine; whoever calls beyond that waits for room.
pub(super) const REQUEST_CAPACITY: usize = 1_024;

/// What goes from handles to the engine's thread.
pub(super) enum Request {
    /// Open; answered when open.
    Start(oneshot::Sender<Result<()>>),
    /// Open with all links cut.
    StartPaused(oneshot::Sender<Result<()>>),
    /// Close; answered when closed.
    Stop(oneshot::Sender<Result<()>>),
    /// For the engine.
    Call(Box<Call>, oneshot::Sender<Result<Reply>>),
    /// For the engine; a failure is told as an event.
    Queue(Box<Call>),
    /// Dial an address whose peer id is not known.
    Dial(String, oneshot::Sender<Result<()>>),
    /// Use these relays.
    Relays(Vec<String>, oneshot::Sender<Result<()>>),
    /// 32 random bytes.
    Entropy(oneshot::Sender<Result<Zeroizing<[u8; 32]>>>),
}

/// Answers a request; an error that nobody waits for (the request was a command, or the caller has given up) goes to the
/// log.
pub(super) fn answer<T>(to: oneshot::Sender<Result<T>>, result: Result<T>) {
    if let Err(Err(error)) = to.send(result) {
        tracing::warn!(%error, "a request failed that nobody waits for");
    }
}

/// What the engine's thread tells of itself beside events.
#[derive(Default, Debug)]
pub(super) struct Facts {
    /// This device, once its key was read.
    pub peer_id: Option<PeerId>,
    /// Where it can be reached.
    pub addresses: Vec<String>,
    /// Why there is no engine's thread.
    pub failed: Option<Error>,
    /// The pairing code that is shown.
    pub code: Option<ShownCode>,
    /// Pairings that have ended, well or not.
    pub pairings: u64,
    /// The policy of the vault, once there is one.
    pub policy: Option<PolicyKind>,
    /// The members of the vault, but for this device.
    pub members: Arc<Vec<TrustedPeer>>,
}

pub(super) struct Shared {
    pub requests: mpsc::Sender<Request>,
    /// Weak, so that streams end with the engine's thread.
    pub subscribe: broadcast::WeakSender<SyncEvent>,
    /// Holds the events from the very first for the first reader.
    pub first: Mutex<Option<broadcast::Receiver<SyncEvent>>>,
    pub facts: Arc<Mutex<Facts>>,
    pub device_name: String,
    pub policy: PolicyKind,
}

/// A vault that was just made.
pub struct NewVault {
    /// Its id.
    pub vault: VaultId,
    /// 24 words (BIP 39, English) that stand for the vault's recovery key. This is the only time they are seen: show
    /// them to the user once, to be written down.
    pub recovery_words: Zeroizing<String>,
}

impl std::fmt::Debug for NewVault {
    /// Leaves the words out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewVault").field("vault", &self.vault).finish_non_exhaustive()
    }
}

/// The app's end of an orchestrator: cheap to clone, usable from any thread. The engine stops when the last clone is
/// dropped.
///
/// Methods are async and need no particular runtime; where a thread may block, wrap them in [`super::block_on`]. Before
/// [`SyncCommand::Start`] and after [`SyncCommand::Stop`] every call fails with `closed`, after a failed start with the
/// start's error. While the store is opened again after a failure calls fail with that failure (`storage`, mostly).
///
/// Writes are answered once they are on this device's disk.
#[derive(Clone)]
pub struct OrchestratorHandle {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for OrchestratorHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OrchestratorHandle").field("device_name", &self.shared.device_name).finish_non_exhaustive()
    }
}

/// The contract of [`Call`] says which reply each call gets; this is any other.
pub(super) fn unexpected<T>(_: Reply) -> Result<T> {
    Err(Error::new(ErrorCode::Unsupported, "the engine answered with another kind of reply than the call has"))
}

impl OrchestratorHandle {
    pub(super) fn new(shared: Shared) -> Self {
        Self { shared: Arc::new(shared) }
    }

    // ---- commands, events, and calls as they are ------------------------------------------------------------------

    /// Tells the orchestrator to do something and does not wait for it: what comes of it shows as events. Fails with
    /// `busy` while 1,024 requests wait.
    pub fn send(&self, command: SyncCommand) -> Result<()> {
        let call = |call| Request::Call(Box::new(call), oneshot::channel().0);
        let request = match command {
            SyncCommand::Start => Request::Start(oneshot::channel().0),
            SyncCommand::Stop => Request::Stop(oneshot::channel().0),
            SyncCommand::ForceSync => call(Call::ForceSync(None)),
            SyncCommand::AddPeer(peer) => call(Call::AddPeer(peer, Vec::new())),
            SyncCommand::RemovePeer(peer) => call(Call::RemovePeer(peer)),
            SyncCommand::PairDevice(code) => call(Call::PairJoin { code, addresses: Vec::new() }),
        };
        self.shared.requests.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                Error::new(ErrorCode::Busy, "too many requests wait for the engine; try again")
            }
            mpsc::error::TrySendError::Closed(_) => self.gone(),
        })
    }

    /// Asks the engine; the typed methods below do this.
    pub async fn call(&self, call: Call) -> Result<Reply> {
        self.ask(|answer| Request::Call(Box::new(call), answer)).await
    }

    /// [`OrchestratorHandle::call`] for a thread that may block.
    pub fn call_blocking(&self, call: Call) -> Result<Reply> {
        block_on(self.call(call))
    }

    /// The events from now on; the first call gets them from the very first one.
    pub fn events(&self) -> EventStream {
        let first = self.shared.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        EventStream::new(first.unwrap_or_else(|| self.receiver()))
    }

    /// Changes from now on of the entities that `filter` picks.
    pub fn subscribe(&self, filter: Filter) -> Subscription {
        Subscription::new(EventStream::new(self.receiver()), filter, self.clone())
    }

    // ---- life -----------------------------------------------------------------------------------------------------

    /// Opens the folder and the network; answers when all is open, or why it is not.
    pub async fn start(&self) -> Result<()> {
        self.ask(Request::Start).await
    }

    /// [`OrchestratorHandle::start`], paused from the beginning: no link is made before a `resume`.
    pub async fn start_paused(&self) -> Result<()> {
        self.ask(Request::StartPaused).await
    }

    /// Saves what is in flight, closes all links, releases the folder; answers when that is done.
    pub async fn stop(&self) -> Result<()> {
        self.ask(Request::Stop).await
    }

    /// This device, once a start has read its key.
    pub fn peer_id(&self) -> Option<PeerId> {
        self.facts(|facts| facts.peer_id)
    }

    /// Where this device listens now: multiaddresses that end in its peer id. [`SyncEvent::Listening`] tells of each.
    pub fn addresses(&self) -> Vec<String> {
        self.facts(|facts| facts.addresses.clone())
    }

    // ---- the vault ------------------------------------------------------------------------------------------------

    /// Makes a vault with this device as its first Admin, under the policy of the factory that made this handle.
    pub async fn init(&self) -> Result<NewVault> {
        let root = self.ask(Request::Entropy).await?;
        let recovery_words = recovery_words(&root);
        let vault = self.init_with(self.shared.policy, root).await?;
        Ok(NewVault { vault, recovery_words })
    }

    /// Makes a vault under a policy of choice, with a recovery key of choice: 32 secret bytes, of which only the public
    /// key is kept.
    pub async fn init_with(&self, policy: PolicyKind, root: Zeroizing<[u8; 32]>) -> Result<VaultId> {
        let device_name = self.shared.device_name.clone();
        match self.call(Call::Init { device_name, policy, root }).await? {
            Reply::Vault(vault, _) => Ok(vault),
            reply => unexpected(reply),
        }
    }

    /// The 24 words of a vault that a first write or invite made, until [`OrchestratorHandle::recovery_saved`].
    pub async fn recovery_words(&self) -> Result<Option<Zeroizing<String>>> {
        match self.call(Call::RecoveryKey).await? {
            Reply::RecoveryKey(key) => Ok(key.map(|key| recovery_words(&key.0))),
            reply => unexpected(reply),
        }
    }

    /// The user has saved the words: this device forgets them.
    pub async fn recovery_saved(&self) -> Result<()> {
        match self.call(Call::RecoverySaved).await? {
            Reply::Done => Ok(()),
            reply => unexpected(reply),
        }
    }

    /// Signs a device into the vault (this one must be an Admin) and gives the invite to hand to it. The invite is of
    /// use to that device only; it names the addresses where this one listens now.
    pub async fn invite(&self, peer: PeerId, role: SyncRole) -> Result<String> {
        match self.call(Call::Invite { peer, role, addresses: self.addresses() }).await? {
            Reply::Invite(invite) => Ok(invite),
            reply => unexpected(reply),
        }
    }

    /// Joins the vault of an invite made for this device; answers the vault, and how many entities of this device's own
    /// came along.
    pub async fn join(&self, invite: impl Into<String>) -> Result<(VaultId, usize)> {
        match self.call(Call::Join(invite.into())).await? {
            Reply::Vault(vault, brought) => Ok((vault, brought)),
            reply => unexpected(reply),
        }
    }

    // ---- syncing --------------------------------------------------------------------------------------------------

    /// The engine's state in short.
    pub async fn status(&self) -> Result<Status> {
        match self.call(Call::Status).await? {
            Reply::Status(status) => Ok(*status),
            reply => unexpected(reply),
        }
    }

    /// The known devices.
    pub async fn peers(&self) -> Result<Vec<PeerStatus>> {
        match self.call(Call::Peers).await? {
            Reply::Peers(peers) => Ok(peers),
            reply => unexpected(reply),
        }
    }

    /// Why an entity, or anything at all, is not in sync; nothing if it is.
    pub async fn explain(&self, id: Option<EntityId>) -> Result<Vec<NotSynced>> {
        match self.call(Call::Explain(id)).await? {
            Reply::NotSynced(reasons) => Ok(reasons),
            reply => unexpected(reply),
        }
    }

    /// Waits until every write before it is at least on this level. It may take for ever: until a peer comes by.
    pub async fn settled(&self, level: Level) -> Result<()> {
        self.done(Call::Settled(level)).await
    }

    /// Compares with a peer now, or with all connected ones; answers when nothing is owed either way, with the events
    /// sent and received.
    pub async fn force_sync(&self, peer: Option<PeerId>) -> Result<(u64, u64)> {
        match self.call(Call::ForceSync(peer)).await? {
            Reply::Synced { sent, received } => Ok((sent, received)),
            reply => unexpected(reply),
        }
    }

    /// Keeps a link to this peer wanted, at these multiaddresses or wherever it is found; it grants nothing.
    pub async fn add_peer(&self, peer: PeerId, addresses: Vec<String>) -> Result<()> {
        self.done(Call::AddPeer(peer, addresses)).await
    }

    /// Stops wanting a link to this peer; it revokes nothing.
    pub async fn remove_peer(&self, peer: PeerId) -> Result<()> {
        self.done(Call::RemovePeer(peer)).await
    }

    /// Dials a multiaddress. If it ends in `/p2p/…` this is [`OrchestratorHandle::add_peer`], which dials again until it
    /// is removed; otherwise, as nobody knows yet whose address it is, it is dialled until
    /// that succeeds once.
    pub async fn dial(&self, address: impl Into<String>) -> Result<()> {
        let address = address.into();
        match address.rsplit_once("/p2p/") {
            Some((_, peer)) if !peer.contains('/') => {
                let peer = peer.parse()?;
                self.add_peer(peer, vec![address]).await
            }
            _ => self.ask(|answer| Request::Dial(address, answer)).await,
        }
    }

    /// Reaches others through these relays from now on: at most 4 multiaddresses that end in `/p2p/` and the relay's
    /// PeerId. Links and places that stay are left alone.
    pub async fn set_relays(&self, relays: Vec<String>) -> Result<()> {
        self.ask(|answer| Request::Relays(relays, answer)).await
    }

    /// Cuts all links and keeps them cut.
    pub async fn pause(&self) -> Result<()> {
        self.done(Call::Pause).await
    }

    /// Takes links again.
    pub async fn resume(&self) -> Result<()> {
        self.done(Call::Resume).await
    }

    /// Drops every link and makes new ones at once: for after a sleep, or when the network has changed. While paused it
    /// does nothing.
    pub async fn reconnect(&self) -> Result<()> {
        self.done(Call::Reconnect).await
    }

    // ---- backup ---------------------------------------------------------------------------------------------------

    /// The whole vault in parts, for [`OrchestratorHandle::restore_backup`]; without this device's key.
    pub fn backup(&self) -> BackupStream {
        BackupStream { handle: self.clone(), after: None, ended: false }
    }

    /// Takes one part of a backup; call it with the parts in order. In a folder without a vault the first part makes
    /// this a device of that vault that is not a member yet; elsewhere the vault must be the same.
    pub async fn restore_backup(&self, items: Vec<Vec<u8>>) -> Result<()> {
        self.done(Call::Restore { items }).await
    }

    // ---- the channel ----------------------------------------------------------------------------------------------

    async fn done(&self, call: Call) -> Result<()> {
        match self.call(call).await? {
            Reply::Done => Ok(()),
            reply => unexpected(reply),
        }
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<Result<T>>) -> Request) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        self.shared.requests.send(request(answer)).await.map_err(|_| self.gone())?;
        answered.await.unwrap_or_else(|_| Err(self.gone()))
    }

    fn receiver(&self) -> broadcast::Receiver<SyncEvent> {
        match self.shared.subscribe.upgrade() {
            Some(events) => events.subscribe(),
            // The engine's thread is gone: a stream that ends at once.
            None => broadcast::channel(1).1,
        }
    }

    /// Says why there is no engine's thread.
    pub(super) fn has_no_thread(&self, error: Error) {
        self.shared.facts.lock().unwrap_or_else(PoisonError::into_inner).failed = Some(error);
    }

    pub(super) fn facts<T>(&self, read: impl FnOnce(&Facts) -> T) -> T {
        read(&self.shared.facts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Of the vault; where there is none yet, of vaults that this device makes.
    pub(super) fn policy(&self) -> PolicyKind {
        self.facts(|facts| facts.policy).unwrap_or(self.shared.policy)
    }

    /// Asks the engine and does not wait; a failure is told as an event. Whether the engine will hear of it.
    pub(super) fn queue(&self, call: Call) -> bool {
        let queued = self.shared.requests.try_send(Request::Queue(Box::new(call))).is_ok();
        if !queued {
            let text = "too many requests wait for the engine; what was asked for was not done: ask again";
            self.warn(&Error::new(ErrorCode::Busy, text));
        }
        queued
    }

    /// Tells the app of something that failed beside its calls.
    pub(super) fn warn(&self, error: &Error) {
        if let Some(events) = self.shared.subscribe.upgrade() {
            // Without a reader there is nobody to tell.
            let _ = events.send(SyncEvent::Warning(error.code(), error.message().to_owned()));
        }
    }

    fn gone(&self) -> Error {
        self.facts(|facts| facts.failed.clone())
            .unwrap_or_else(|| Error::new(ErrorCode::Closed, "the engine's thread has ended; make a new orchestrator"))
    }
}

/// The parts of a backup, in order.
#[derive(Debug)]
pub struct BackupStream {
    handle: OrchestratorHandle,
    after: Option<Vec<u8>>,
    ended: bool,
}

impl BackupStream {
    /// The next part; `None` after the last, and after an error.
    pub async fn next(&mut self) -> Option<Result<Vec<Vec<u8>>>> {
        if self.ended {
            return None;
        }
        self.ended = true;
        Some(match self.handle.call(Call::Backup { after: self.after.take() }).await {
            Ok(Reply::Backup { items, next }) => {
                self.ended = next.is_none();
                self.after = next;
                Ok(items)
            }
            Ok(reply) => unexpected(reply),
            Err(error) => Err(error),
        })
    }
}
