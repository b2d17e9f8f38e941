//! A tab at work: its replica, the engine while it leads, the lock and the channel that it shares with the others.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use js_sys::{Array, Function};
use tokio::sync::{mpsc, oneshot};
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::spawn_local;

use super::calls::{leave_to_js, update_to_js};
use crate::error::{Error, ErrorCode, Result};
use crate::orchestrator::{OrchestratorHandle, TAB_CAPACITY, serve_tabs};
use crate::platform::web::seal;
use crate::platform::web::tabs::{Channel, Lock, LockMode, LockNews, Visibility};
use crate::platform::web::time::{Clock, sleep};
use crate::tabs::{Election, ElectionInput, ElectionOutput, HANDOVER_US, Notice, Replica, ToLeader, ToTab, Wish};
use crate::types::Instant;

/// How often a tab that waits for an answer looks whether it waits too long.
const TICK: Duration = Duration::from_millis(250);

/// What the bytes of a channel start with.
const TO_LEADER: u8 = 0;
const TO_TAB: u8 = 1;
const WISH: u8 = 2;
/// All tabs are to close the store; nothing follows.
pub const LEAVE: u8 = 3;

/// What a tab's task hears.
pub enum News {
    Lock(u64, LockNews),
    Heard(Vec<u8>),
    Visible(bool),
    Unanswered,
    Time,
    Relays(Vec<String>),
    Close(oneshot::Sender<Result<()>>),
}

enum Outlet {
    Nowhere,
    Engine(mpsc::Sender<ToLeader>),
    Channel(Rc<Channel>),
}

/// What the exported class and the tab's task share.
pub struct Shared {
    pub replica: RefCell<Replica>,
    outlet: RefCell<Outlet>,
    told: Function,
    clock: Clock,
    ticking: Cell<bool>,
    pub leads: Cell<bool>,
    /// Whether another tab was ever heard.
    others: Cell<bool>,
    pub news: mpsc::UnboundedSender<News>,
    /// Who waits for the store to be open: until the first Welcome.
    opened: RefCell<Option<oneshot::Sender<Result<()>>>>,
}

impl Shared {
    pub fn new(
        replica: Replica,
        told: Function,
        news: mpsc::UnboundedSender<News>,
        opened: oneshot::Sender<Result<()>>,
    ) -> Rc<Self> {
        Rc::new(Self {
            replica: RefCell::new(replica),
            outlet: RefCell::new(Outlet::Nowhere),
            told,
            clock: Clock::new(),
            ticking: Cell::new(false),
            leads: Cell::new(false),
            others: Cell::new(false),
            news,
            opened: RefCell::new(Some(opened)),
        })
    }

    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Sends what the replica has to say, and tells the page its news. Nothing may be borrowed: the page calls back.
    pub fn flush(self: &Rc<Self>) {
        loop {
            if !matches!(*self.outlet.borrow(), Outlet::Nowhere) {
                let messages = self.replica.borrow_mut().take_out();
                messages.into_iter().for_each(|message| self.send(message));
            }
            let updates = self.replica.borrow_mut().take_updates();
            if updates.is_empty() {
                break;
            }
            self.tell(&updates.iter().map(update_to_js).collect());
        }
        if self.replica.borrow().waits_since().is_some() && !self.news.is_closed() && !self.ticking.replace(true) {
            spawn_local(self.clone().tick());
        }
    }

    fn tell(&self, news: &Array) {
        if let Err(error) = self.told.call1(&JsValue::UNDEFINED, news) {
            // The app's own code, called by the facade, which catches; this is a fault of the facade.
            wasm_bindgen::throw_val(error);
        }
    }

    fn send(&self, message: ToLeader) {
        match &*self.outlet.borrow() {
            Outlet::Nowhere => {}
            // A full queue loses it: the replica sends again what it has no answer for.
            Outlet::Engine(engine) => drop(engine.try_send(message)),
            Outlet::Channel(channel) => channel.post(&framed(TO_LEADER, &message.encode())),
        }
    }

    async fn tick(self: Rc<Self>) {
        loop {
            sleep(TICK).await;
            let now = self.now();
            let waits = self.replica.borrow().waits_since();
            // A tab that has closed waits for nothing any more.
            let Some(since) = waits.filter(|_| !self.news.is_closed()) else { break };
            if now.mono.saturating_sub(since) >= HANDOVER_US && !self.leads.get() {
                let _ = self.news.send(News::Unanswered);
            }
            self.replica.borrow_mut().tick(now);
            self.flush();
        }
        self.ticking.set(false);
    }

    fn take(self: &Rc<Self>, message: ToTab) {
        let now = self.now();
        self.replica.borrow_mut().take(now, message);
        self.flush();
        if self.replica.borrow().device().is_some() {
            self.answer_opened(Ok(()));
        }
    }

    /// Whether somebody still waited for that.
    fn answer_opened(&self, result: Result<()>) -> bool {
        let waits = self.opened.take();
        waits.is_some_and(|opened| {
            let _ = opened.send(result);
            true
        })
    }
}

fn framed(kind: u8, bytes: &[u8]) -> Vec<u8> {
    [&[kind], bytes].concat()
}

/// Makes the orchestrator of a store that reaches others through these relays.
pub type Maker = Box<dyn Fn(&[String]) -> OrchestratorHandle>;

/// A tab's task.
pub struct Tab {
    shared: Rc<Shared>,
    /// Makes the orchestrator when this tab leads.
    make: Maker,
    relays: Vec<String>,
    election: Election,
    /// None where the store is this page's alone.
    name: Option<String>,
    channel: Option<Rc<Channel>>,
    lock: Option<Lock>,
    locks: u64,
    engine: Option<OrchestratorHandle>,
    /// The engine's start and the stop of the one before, while they go on: tabs that ask who leads are answered meanwhile.
    starting: Option<LocalBoxFuture<'static, Result<()>>>,
    stopping: Option<LocalBoxFuture<'static, ()>>,
    /// Whether it could not be opened, and is at its end.
    failed: bool,
}

impl Tab {
    /// A tab; with a name it shares the store of that name with other tabs.
    pub fn new(shared: Rc<Shared>, election: Election, name: Option<String>, make: Maker, relays: Vec<String>) -> Self {
        Self {
            shared,
            make,
            relays,
            election,
            name,
            channel: None,
            lock: None,
            locks: 0,
            engine: None,
            starting: None,
            stopping: None,
            failed: false,
        }
    }

    /// Works until it is told to close.
    pub async fn run(mut self, mut news: mpsc::UnboundedReceiver<News>) {
        let visibility = match self.begin() {
            Ok(visibility) => visibility,
            Err(error) => return self.fail(&error),
        };
        let mut input = Some(if self.name.is_some() { ElectionInput::Start } else { ElectionInput::Granted });
        loop {
            if let Some(input) = input.take() {
                self.elect(input);
            }
            if self.failed {
                // The app was told; the store is free for whoever tries next, in this page or another.
                let _ = self.close().await;
                break;
            }
            let heard = tokio::select! {
                // The start was asked for before whatever comes next.
                biased;
                () = end_of(&mut self.stopping) => {
                    self.stopping = None;
                    input = Some(ElectionInput::Stopped);
                    continue;
                }
                started = end_of(&mut self.starting) => {
                    input = self.started(started);
                    continue;
                }
                heard = news.recv() => heard,
            };
            let Some(heard) = heard else { break };
            input = match heard {
                News::Close(done) => {
                    let closed = self.close().await;
                    let _ = done.send(closed);
                    break;
                }
                News::Lock(number, _) if number != self.locks => None,
                News::Lock(_, LockNews::Granted) => {
                    if let Some(lock) = &mut self.lock {
                        lock.granted();
                    }
                    Some(ElectionInput::Granted)
                }
                News::Lock(_, LockNews::Refused) => Some(ElectionInput::Refused),
                News::Lock(_, LockNews::Lost) => Some(ElectionInput::Stolen),
                News::Visible(visible) => Some(ElectionInput::Visible(visible)),
                News::Unanswered => Some(ElectionInput::Unanswered),
                News::Time => Some(ElectionInput::Time),
                News::Heard(bytes) => self.heard(&bytes),
                News::Relays(relays) => {
                    self.relays = relays;
                    if let Some(engine) = &self.engine
                        && let Err(error) = engine.set_relays(self.relays.clone()).await
                    {
                        tracing::warn!(%error, "the relays are not used");
                    }
                    None
                }
            };
        }
        drop(visibility);
    }

    fn begin(&mut self) -> Result<Option<Visibility>> {
        let Some(name) = &self.name else { return Ok(None) };
        let news = self.shared.news.clone();
        let channel = Channel::join(name, move |bytes| drop(news.send(News::Heard(bytes))))?;
        self.channel = Some(Rc::new(channel));
        let news = self.shared.news.clone();
        Ok(Some(Visibility::listen(move |visible| drop(news.send(News::Visible(visible))))))
    }

    fn heard(&mut self, bytes: &[u8]) -> Option<ElectionInput> {
        let (kind, bytes) = bytes.split_first()?;
        self.shared.others.set(true);
        match *kind {
            TO_LEADER => {
                if let (true, Ok(message)) = (self.shared.leads.get(), ToLeader::decode(bytes)) {
                    // Before anything else: it may lead next.
                    if matches!(message, ToLeader::Hello(_)) && self.shared.replica.borrow().is_paused() {
                        self.post(&framed(TO_TAB, &ToTab::Notice(Notice::Paused(true)).encode()));
                    }
                    self.shared.send(message);
                }
                None
            }
            TO_TAB if !self.shared.leads.get() => {
                if let Ok(message) = ToTab::decode(bytes) {
                    self.shared.take(message);
                }
                Some(ElectionInput::LeaderHeard)
            }
            WISH => Wish::decode(bytes).ok().map(ElectionInput::Heard),
            LEAVE => {
                self.leave();
                // Whoever says so holds the lock, or is next: it is not robbed.
                Some(ElectionInput::LeaderHeard)
            }
            _ => None,
        }
    }

    /// Somebody wants the store for itself: the page closes it, once all is saved.
    fn leave(&mut self) {
        let error = seal::is_changing();
        if self.shared.answer_opened(Err(error.clone())) {
            self.failed = true;
            return;
        }
        self.shared.tell(&Array::of1(&leave_to_js(&error)));
    }

    fn elect(&mut self, input: ElectionInput) {
        let now = self.shared.now().mono;
        for output in self.election.handle(now, input) {
            match output {
                ElectionOutput::TryLock => self.ask_lock(LockMode::IfFree),
                ElectionOutput::QueueLock => self.ask_lock(LockMode::InLine),
                ElectionOutput::StealLock => self.ask_lock(LockMode::Steal),
                ElectionOutput::LeaveLine | ElectionOutput::Release => self.drop_lock(),
                ElectionOutput::Lead => self.lead(),
                ElectionOutput::StopLeading => self.stop_leading(),
                ElectionOutput::Follow => self.follow(),
                ElectionOutput::Conflict => self.fail(&Error::new(
                    ErrorCode::TabConflict,
                    "this store is open in another tab; close that one, or open the store with `tabs: \"shared\"`",
                )),
                ElectionOutput::Say(wish) => self.post(&framed(WISH, &wish.encode())),
                ElectionOutput::WakeAt(at) => {
                    let news = self.shared.news.clone();
                    let wait = Duration::from_micros(at.saturating_sub(now));
                    spawn_local(async move {
                        sleep(wait).await;
                        let _ = news.send(News::Time);
                    });
                }
            }
        }
    }

    /// Tells all other tabs.
    fn post(&self, bytes: &[u8]) {
        if let Some(channel) = &self.channel {
            channel.post(bytes);
        }
    }

    fn ask_lock(&mut self, mode: LockMode) {
        self.drop_lock();
        let (news, number) = (self.shared.news.clone(), self.locks);
        let told = move |said| drop(news.send(News::Lock(number, said)));
        match self.name.as_deref().map(|name| Lock::request(name, mode, told)) {
            Some(Ok(lock)) => self.lock = Some(lock),
            Some(Err(error)) => self.fail(&error),
            None => {}
        }
    }

    /// What is said of a lock from before no longer counts.
    fn drop_lock(&mut self) {
        self.locks += 1;
        self.lock = None;
    }

    /// Tells whoever opens the store, or else whoever waits for something of it; what is not saved stays.
    fn fail(&mut self, error: &Error) {
        if self.shared.answer_opened(Err(error.clone())) {
            self.failed = true;
            return;
        }
        let me = self.shared.replica.borrow().device();
        if let Some(me) = me {
            let notice = Notice::StoreFailed(me, error.code().to_byte(), error.message().to_owned());
            self.shared.take(ToTab::Notice(notice));
        }
    }

    fn lead(&mut self) {
        let handle = (self.make)(&self.relays);
        let paused = self.shared.replica.borrow().is_paused();
        self.engine = Some(handle.clone());
        let stopping = self.stopping.take();
        let start = async move {
            // Only one at a time writes.
            if let Some(stopping) = stopping {
                stopping.await;
            }
            if paused { handle.start_paused().await } else { handle.start().await }
        };
        self.starting = Some(start.boxed_local());
    }

    fn started(&mut self, result: Result<()>) -> Option<ElectionInput> {
        self.starting = None;
        if let Err(error) = result {
            self.engine = None;
            self.fail(&error);
            return Some(ElectionInput::Failed);
        }
        let handle = self.engine.clone()?;
        let (engine, messages) = mpsc::channel(TAB_CAPACITY);
        self.shared.leads.set(true);
        *self.shared.outlet.borrow_mut() = Outlet::Engine(engine);
        let (shared, channel) = (self.shared.clone(), self.channel.clone());
        let own = shared.replica.borrow().tab();
        let post = move |message: ToTab| {
            let to = message.tab();
            // A tab that this one has never heard says Hello first, when it is told of a new leader at the latest.
            let unheard = matches!(message, ToTab::Changed(_)) && !shared.others.get();
            if let Some(channel) = channel.as_ref().filter(|_| to != Some(own) && !unheard) {
                channel.post(&framed(TO_TAB, &message.encode()));
            }
            if to.is_none_or(|tab| tab == own) {
                shared.take(message);
            }
        };
        spawn_local(serve_tabs(handle, messages, post).map(drop));
        None
    }

    fn follow(&mut self) {
        self.shared.leads.set(false);
        if let Some(channel) = &self.channel {
            *self.shared.outlet.borrow_mut() = Outlet::Channel(channel.clone());
        }
        self.shared.replica.borrow_mut().anew();
        self.shared.flush();
    }

    fn stop_leading(&mut self) {
        *self.shared.outlet.borrow_mut() = Outlet::Nowhere;
        self.shared.leads.set(false);
        self.starting = None;
        if let Some(engine) = self.engine.take() {
            let stop = async move {
                if let Err(error) = engine.stop().await {
                    tracing::warn!(%error, "the engine stopped with an error");
                }
            };
            self.stopping = Some(stop.boxed_local());
        }
    }

    async fn close(&mut self) -> Result<()> {
        let tab = self.shared.replica.borrow().tab();
        self.shared.send(ToLeader::Bye(tab));
        *self.shared.outlet.borrow_mut() = Outlet::Nowhere;
        self.shared.leads.set(false);
        self.starting = None;
        if let Some(stopping) = self.stopping.take() {
            stopping.await;
        }
        let stopped = match self.engine.take() {
            Some(engine) => engine.stop().await,
            None => Ok(()),
        };
        self.drop_lock();
        self.channel = None;
        stopped
    }
}

/// The end of what goes on, if something does.
async fn end_of<T>(work: &mut Option<LocalBoxFuture<'static, T>>) -> T {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}
