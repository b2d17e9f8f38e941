//! The engine's side: what tabs say becomes calls, what the engine says becomes messages.

use super::answer::{Answer, Asked};
use super::message::{Notice, ToLeader, ToTab};
use crate::engine::{Call, Reply, SyncEvent, TabId};
use crate::error::{Error, ErrorCode, Result};
use crate::types::{EntityId, EntityType, PeerId, SortedMap, SortedSet};

/// About how many entities one message brings.
const PAGE: usize = 2_000;

/// What goes in.
#[derive(Debug)]
pub enum HubInput {
    /// A tab says something.
    Message(ToLeader),
    /// The answer to a call.
    Reply(u64, Result<Reply>),
    /// The engine tells something.
    Event(SyncEvent),
    /// The answer to a dial.
    Dialled(u64, Result<()>),
}

/// What comes out, in order.
#[derive(Debug)]
pub enum HubOutput {
    /// Call the engine; the answer is [`HubInput::Reply`] with the same number.
    Call(u64, Call),
    /// Dial an address, then say [`HubInput::Dialled`].
    Dial(u64, String),
    /// Tell a tab, or all.
    Post(ToTab),
}

/// What an answer is for.
#[derive(Debug)]
enum Waiting {
    Nothing,
    Welcome(TabId),
    Page(TabId, EntityType),
    Fetched(TabId, EntityType, Vec<EntityId>),
    Saved(TabId, u64),
    Answer(TabId, u64),
    /// Of a pause, or of its end.
    Paused(TabId, u64, bool),
}

/// The leader's end of all its tabs.
#[derive(Debug)]
pub struct Hub {
    me: PeerId,
    waiting: SortedMap<u64, Waiting>,
    next: u64,
    watched: SortedSet<EntityType>,
    /// Whether the engine's first start was told; a further one follows a failure of its store.
    started: bool,
    addresses: Vec<String>,
    out: Vec<HubOutput>,
}

impl Hub {
    /// The hub of a device's engine.
    pub fn new(me: PeerId) -> Self {
        Self {
            me,
            waiting: SortedMap::new(),
            next: 0,
            watched: SortedSet::new(),
            started: false,
            addresses: Vec::new(),
            // Tabs that knew the leader before say Hello to this one.
            out: vec![HubOutput::Post(ToTab::Anew)],
        }
    }

    /// Takes one input, and gives what is to be done.
    pub fn handle(&mut self, input: HubInput) -> Vec<HubOutput> {
        match input {
            HubInput::Message(message) => self.message(message),
            HubInput::Reply(number, reply) => {
                if let Some(waiting) = self.waiting.remove(&number) {
                    self.reply(waiting, reply);
                }
            }
            HubInput::Event(event) => self.event(event),
            HubInput::Dialled(number, result) => {
                if let Some(waiting) = self.waiting.remove(&number) {
                    self.reply(waiting, result.map(|()| Reply::Done));
                }
            }
        }
        self.take_out()
    }

    /// What is to be done before the first input.
    pub fn take_out(&mut self) -> Vec<HubOutput> {
        std::mem::take(&mut self.out)
    }

    fn post(&mut self, message: ToTab) {
        self.out.push(HubOutput::Post(message));
    }

    fn call(&mut self, call: Call, waiting: Waiting) {
        self.next += 1;
        self.waiting.insert(self.next, waiting);
        self.out.push(HubOutput::Call(self.next, call));
    }

    fn watch(&mut self, entity_type: &EntityType) {
        if self.watched.insert(entity_type.clone()) {
            self.call(Call::Watch(entity_type.clone()), Waiting::Nothing);
        }
    }

    fn message(&mut self, message: ToLeader) {
        match message {
            ToLeader::Hello(tab) => self.call(Call::OpenTab(tab), Waiting::Welcome(tab)),
            ToLeader::Watch(tab, entity_type) => {
                self.watch(&entity_type);
                let call = Call::States { entity_type: entity_type.clone(), after: None, limit: PAGE };
                self.call(call, Waiting::Page(tab, entity_type));
            }
            ToLeader::Fetch(tab, entity_type, ids) => {
                self.watch(&entity_type);
                let call = Call::StatesOf { entity_type: entity_type.clone(), ids: ids.clone() };
                self.call(call, Waiting::Fetched(tab, entity_type, ids));
            }
            ToLeader::Write(tab, number, log, writes) => {
                self.call(Call::TabWrites { tab, number, log, writes }, Waiting::Saved(tab, number));
            }
            ToLeader::Ask(tab, number, ask) => match ask.into_call(&self.addresses) {
                Ok(Asked::Call(call)) if matches!(*call, Call::Pause | Call::Resume) => {
                    let pauses = matches!(*call, Call::Pause);
                    self.call(*call, Waiting::Paused(tab, number, pauses));
                }
                Ok(Asked::Call(call)) => self.call(*call, Waiting::Answer(tab, number)),
                Err(error) => self.post(ToTab::Answer(tab, number, Err(error))),
                Ok(Asked::Dial(address)) => {
                    self.next += 1;
                    self.waiting.insert(self.next, Waiting::Answer(tab, number));
                    self.out.push(HubOutput::Dial(self.next, address));
                }
            },
            // What it waits for goes nowhere; what it has written is saved all the same.
            ToLeader::Bye(_) => {}
        }
    }

    fn reply(&mut self, waiting: Waiting, reply: Result<Reply>) {
        match (waiting, reply) {
            (Waiting::Nothing, _) => {}
            // The tab says it again to whoever leads next.
            (_, Err(error)) if is_end_of_lead(error.code()) => tracing::debug!(%error, "another tab answers"),
            (Waiting::Welcome(tab), Ok(Reply::Tab(opened))) => self.post(ToTab::Welcome(tab, opened)),
            (Waiting::Page(tab, entity_type), Ok(Reply::States(states))) => {
                if let Some((id, _)) = states.states.last().filter(|_| states.more) {
                    let call = Call::States { entity_type: entity_type.clone(), after: Some(*id), limit: PAGE };
                    self.call(call, Waiting::Page(tab, entity_type.clone()));
                }
                self.post(ToTab::Page(tab, entity_type, *states));
            }
            (Waiting::Fetched(tab, entity_type, ids), Ok(Reply::States(states))) => {
                self.post(ToTab::Fetched(tab, entity_type, ids, *states));
            }
            (Waiting::Saved(tab, number), Ok(Reply::TabSaved(saved))) => {
                self.post(ToTab::Saved(tab, number, Ok(saved)));
            }
            (Waiting::Saved(tab, number), Err(error)) => self.post(ToTab::Saved(tab, number, Err(error))),
            (Waiting::Paused(tab, number, pauses), reply) => {
                // All of them: whichever leads next keeps to it.
                if reply.is_ok() {
                    self.post(ToTab::Notice(Notice::Paused(pauses)));
                }
                self.post(ToTab::Answer(tab, number, reply.and_then(Answer::of)));
            }
            (Waiting::Answer(tab, number), reply) => {
                self.post(ToTab::Answer(tab, number, reply.and_then(Answer::of)));
            }
            // The store is being opened again: `Started` comes, and then all begins anew.
            (_, Err(error)) => tracing::debug!(%error, "a tab's question failed"),
            (_, Ok(_)) => tracing::error!("the engine answered with another kind of reply"),
        }
    }

    fn event(&mut self, event: SyncEvent) {
        let notice = match event {
            SyncEvent::Changed(changed) => return self.post(ToTab::Changed(changed)),
            SyncEvent::Started if !std::mem::replace(&mut self.started, true) => return,
            SyncEvent::Started | SyncEvent::VaultChanged | SyncEvent::EpochRenewed { .. } | SyncEvent::Lagged(_) => {
                self.watched.clear();
                return self.post(ToTab::Anew);
            }
            SyncEvent::Listening(address) => {
                self.addresses.retain(|known| *known != address);
                return self.addresses.push(address);
            }
            SyncEvent::ListenFailed(address, _) => return self.addresses.retain(|known| *known != address),
            SyncEvent::PeerConnected(peer) => Notice::Connected(peer),
            SyncEvent::PeerDisconnected(peer) => Notice::Disconnected(peer),
            SyncEvent::SyncCompleted(peer) => Notice::Synced(peer),
            SyncEvent::PairingCompleted(peer) => Notice::Paired(peer),
            SyncEvent::PairingCode(_) | SyncEvent::PairingFound(_) | SyncEvent::PairingEnded(..) => Notice::Pairing,
            SyncEvent::MembersChanged => Notice::Members,
            SyncEvent::Audited(_) => Notice::Audited,
            SyncEvent::SyncError(peer, text) => {
                let error = Error::from_text(&text);
                Notice::Failed(peer, error.code().to_byte(), error.message().to_owned())
            }
            SyncEvent::StorageFailed(code, _) if is_end_of_lead(code) => return,
            SyncEvent::StorageFailed(code, text) => Notice::StoreFailed(self.me, code.to_byte(), text),
            SyncEvent::Warning(code, text) => Notice::Failed(self.me, code.to_byte(), text),
            SyncEvent::StorageDamaged(text) => Notice::Failed(self.me, ErrorCode::Storage.to_byte(), text),
            _ => return,
        };
        self.post(ToTab::Notice(notice));
    }
}

/// Whether this tab's engine stopped, or another tab has taken its store: nothing has failed, another tab leads.
fn is_end_of_lead(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::Closed | ErrorCode::TabConflict)
}
