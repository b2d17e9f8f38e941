//! The life of the engine's thread: closed, open, closed again.

use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use tokio::sync::{broadcast, mpsc};

use super::config::OrchestratorConfig;
use super::events::EVENT_CAPACITY;
use super::handle::{Facts, OrchestratorHandle, REQUEST_CAPACITY, Request, Shared, answer};
use super::running::Running;
use super::world::World;
use crate::engine::SyncEvent;
use crate::error::{Error, ErrorCode};
use crate::policy::PolicyKind;

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
        let app = App { policy, events, facts };
        (Self { run: Box::new(move || supervise(world, config, requests_end, app).boxed_local()) }, handle)
    }

    /// Serves the handle until its last clone is dropped, then stops and ends.
    pub async fn run(self) {
        (self.run)().await;
    }
}

/// The way back to the app.
pub(super) struct App {
    /// Of vaults that this device makes.
    pub policy: PolicyKind,
    events: broadcast::Sender<SyncEvent>,
    facts: Arc<Mutex<Facts>>,
}

impl App {
    pub fn emit(&self, event: SyncEvent) {
        // Without a reader there is nobody to tell.
        let _ = self.events.send(event);
    }

    pub fn note(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.facts.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Request {
    pub fn refuse(self, error: &Error, app: &App) {
        match self {
            Request::Start(to)
            | Request::StartPaused(to)
            | Request::Stop(to)
            | Request::Dial(_, to)
            | Request::Relays(_, to) => answer(to, Err(error.clone())),
            Request::Call(_, to) => answer(to, Err(error.clone())),
            Request::Entropy(to) => answer(to, Err(error.clone())),
            Request::Queue(_) => app.emit(SyncEvent::Warning(error.code(), error.message().to_owned())),
        }
    }
}

/// Closed, open, closed again, until nobody holds a handle.
async fn supervise<W: World>(
    mut world: W,
    config: OrchestratorConfig,
    mut requests: mpsc::Receiver<Request>,
    app: App,
) {
    let mut refusal = Error::new(ErrorCode::Closed, "the engine is not started; send SyncCommand::Start first");
    while let Some(request) = requests.recv().await {
        let (starter, paused) = match request {
            Request::Start(starter) => (starter, false),
            Request::StartPaused(starter) => (starter, true),
            Request::Stop(stopper) => {
                answer(stopper, Ok(()));
                continue;
            }
            request => {
                request.refuse(&refusal, &app);
                continue;
            }
        };
        let started = match Running::start(&mut world, &config, &app, paused).await {
            Ok(started) => started,
            Err(error) => {
                app.emit(SyncEvent::StartFailed(error.code(), error.message().to_owned()));
                answer(starter, Err(error.clone()));
                refusal = error;
                continue;
            }
        };
        answer(starter, Ok(()));
        let (stop, closed) = started.run(&mut requests).await;
        app.note(|facts| facts.addresses.clear());
        app.emit(SyncEvent::Stopped);
        refusal = Error::new(ErrorCode::Closed, "the engine was stopped; send SyncCommand::Start to open it again");
        match (stop, closed) {
            (Some(stopper), closed) => answer(stopper, closed),
            (None, Err(error)) => tracing::warn!(%error, "the engine stopped because nobody holds a handle"),
            (None, Ok(())) => {}
        }
    }
}
