//! A tab's side: the entities that it shows, as they are saved and with its own drafts over them.

mod hearing;
mod reading;
mod writing;

use std::collections::VecDeque;

use super::answer::{Answer, Ask};
use super::draft::{Drafts, Failure};
use super::message::{Notice, ToLeader};
use super::texts::{TextKey, Texts};
use crate::crdt::{Edit, EntityState, FieldValue, LogTable, TextChange};
use crate::engine::TabId;
use crate::engine::entropy::Entropy;
use crate::error::{Error, Result};
use crate::types::{EntityId, EntityType, FieldName, Hlc, LogId, PeerId, SortedMap, SortedSet};

/// A message without an answer is sent again after so long.
const RESEND_US: u64 = 1_000_000;
/// Writes that may wait to be saved.
const MAX_DRAFTS: usize = 65_536;

/// What a replica knows of an entity.
#[derive(Clone, PartialEq, Debug)]
pub enum Seen {
    /// Nothing: it has not been fetched.
    Unknown,
    /// There is none.
    Absent,
    /// It is there, deleted or not; its fields but for texts.
    There {
        /// Whether it is deleted.
        deleted: bool,
        /// The fields.
        fields: Vec<(FieldName, FieldValue)>,
    },
}

/// What [`Replica::look`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Looked<T> {
    /// Nothing is known of the entity: it has not been fetched.
    Unknown,
    /// There is none, or it is deleted.
    Gone,
    /// It is there.
    Visible(T),
}

/// A change of a text that is watched.
#[derive(Clone, PartialEq, Debug)]
pub struct TextEvent {
    /// The type.
    pub entity_type: EntityType,
    /// The entity.
    pub id: EntityId,
    /// The field.
    pub field: FieldName,
    /// What it shows otherwise than before.
    pub changes: Vec<TextChange>,
    /// The Yjs update; none where the text was read anew.
    pub update: Option<Vec<u8>>,
}

/// What a replica tells its page.
#[derive(Clone, PartialEq, Debug)]
pub enum Update {
    /// A leader is there (again).
    Welcome,
    /// These entities read otherwise.
    Entities(EntityType, Vec<EntityId>),
    /// All entities of a watched type are here.
    Ready(EntityType),
    /// Entities that were fetched are here, or do not exist.
    Fetched(EntityType, Vec<EntityId>),
    /// A text changed.
    Text(TextEvent),
    /// The answer to [`Replica::settle`].
    Settled(u64, Result<()>),
    /// How much is not saved has changed.
    Saved,
    /// A write will not be saved.
    Failed(Failure),
    /// An answer.
    Answer(u64, Result<Answer>),
    /// An event.
    Notice(Notice),
    /// Entities changed by this device, shown here or not.
    Changed(PeerId, Vec<EntityId>),
}

#[derive(Default)]
struct Shown {
    /// As it is saved.
    base: EntityState,
    /// With the drafts, where there are some.
    drafted: Option<EntityState>,
}

impl Shown {
    fn state(&self) -> &EntityState {
        self.drafted.as_ref().unwrap_or(&self.base)
    }
}

#[derive(Default)]
struct Kind {
    entities: SortedMap<EntityId, Shown>,
    watched: bool,
    ready: bool,
    fetching: SortedSet<EntityId>,
}

/// Who waits for what was written before.
struct Settling {
    number: u64,
    /// Drafts below this number.
    before: u64,
    /// Writes among them have no number yet.
    waits: bool,
}

/// A write of entities that are not all here.
type Blind = (EntityType, Vec<(EntityId, Vec<Edit>)>);

/// A tab's replica.
pub struct Replica {
    tab: TabId,
    entropy: Entropy,
    own: Option<LogId>,
    session: u16,
    hlc: Hlc,
    logs: LogTable,
    kinds: SortedMap<EntityType, Kind>,
    texts: Texts,
    drafts: Drafts,
    blind: VecDeque<Blind>,
    /// Texts that were typed in an epoch that has ended, as the user saw them.
    retype: Vec<(TextKey, String)>,
    asks: SortedMap<u64, Ask>,
    settling: Vec<Settling>,
    next_ask: u64,
    sent_at: u64,
    welcome: bool,
    /// Why the leader's store is closed, until it is open again.
    broken: Option<Error>,
    /// Whether all links are cut on purpose.
    paused: bool,
    out: Vec<ToLeader>,
    updates: Vec<Update>,
}

impl Replica {
    /// A tab's replica; it says Hello at once. `seed` is 32 random bytes.
    pub fn new(seed: &[u8; 32]) -> Self {
        let mut entropy = Entropy::new(seed);
        let tab = TabId(entropy.number());
        Self {
            tab,
            entropy,
            own: None,
            session: 0,
            hlc: Hlc::default(),
            logs: LogTable::default(),
            kinds: SortedMap::new(),
            texts: Texts::default(),
            drafts: Drafts::default(),
            blind: VecDeque::new(),
            retype: Vec::new(),
            asks: SortedMap::new(),
            settling: Vec::new(),
            next_ask: 0,
            sent_at: 0,
            welcome: false,
            broken: None,
            paused: false,
            out: vec![ToLeader::Hello(tab)],
            updates: Vec::new(),
        }
    }

    /// The tab's name.
    pub fn tab(&self) -> TabId {
        self.tab
    }

    /// The device, once a leader has said so.
    pub fn device(&self) -> Option<PeerId> {
        self.own.map(|log| log.author)
    }

    /// Whether all links are cut on purpose, as far as this tab has heard.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Messages to the leader, in order.
    pub fn take_out(&mut self) -> Vec<ToLeader> {
        std::mem::take(&mut self.out)
    }

    /// News for the page, in order.
    pub fn take_updates(&mut self) -> Vec<Update> {
        std::mem::take(&mut self.updates)
    }

    /// Writes that are not known to be saved.
    pub fn unsaved(&self) -> usize {
        self.drafts.unsaved() + self.blind.len() + self.retype.len()
    }

    /// Entities of a type with writes that are not known to be saved.
    pub fn unsaved_of(&self, entity_type: &EntityType) -> Vec<EntityId> {
        let blind = self.blind.iter().filter(|(of, _)| of == entity_type).flat_map(|(_, changes)| changes);
        let retyped = self.retype.iter().filter(|((of, ..), _)| of == entity_type).map(|((_, id, _), _)| *id);
        let mut ids = self.drafts.ids_of(entity_type);
        ids.extend(blind.map(|(id, _)| *id).chain(retyped));
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// [`Update::Settled`] comes with the number given once all that was written before is saved, or was refused.
    pub fn settle(&mut self) -> u64 {
        self.next_ask += 1;
        let (number, waits) = (self.next_ask, self.waits_for_entities());
        self.settling.push(Settling { number, before: self.drafts.next_seq(), waits });
        self.settled(None);
        if let Some(error) = self.broken.clone() {
            self.settled(Some(&error));
        }
        number
    }

    fn waits_for_entities(&self) -> bool {
        !self.blind.is_empty() || !self.retype.is_empty()
    }

    fn settled(&mut self, failed: Option<&Error>) {
        let (waits, next, oldest) = (self.waits_for_entities(), self.drafts.next_seq(), self.drafts.oldest_unsaved());
        let updates = &mut self.updates;
        self.settling.retain_mut(|settling| {
            if let Some(error) = failed {
                updates.push(Update::Settled(settling.number, Err(error.clone())));
                return false;
            }
            if settling.waits && !waits {
                // What waited for its entities has numbers now.
                (settling.before, settling.waits) = (next, false);
            }
            let done = !settling.waits && oldest >= settling.before;
            if done {
                updates.push(Update::Settled(settling.number, Ok(())));
            }
            !done
        });
    }

    fn fail(&mut self, entity_type: EntityType, ids: Vec<EntityId>, error: Error) {
        self.settled(Some(&error));
        self.updates.push(Update::Failed(Failure { entity_type, ids, error }));
    }
}

/// Tells what has changed of a text.
fn text_event(texts: &mut Texts, updates: &mut Vec<Update>, key: TextKey, update: Option<Vec<u8>>) {
    let changes = texts.take_changes(&key);
    if texts.get(&key).is_some() && (update.is_some() || !changes.is_empty()) {
        let (entity_type, id, field) = key;
        updates.push(Update::Text(TextEvent { entity_type, id, field, changes, update }));
    }
}
