//! A tab's side: the entities that it shows, as they are saved and with its own drafts over them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::answer::{Answer, Ask};
use super::draft::{Drafts, Failure, is_lasting, to_write};
use super::message::{Notice, ToLeader, ToTab};
use super::texts::{TextKey, Texts};
use crate::crdt::{
    Edit, EntityState, EventAt, FieldValue, LogIx, LogTable, TextChange, TextSession, decode_state, text_client_id,
};
use crate::engine::entropy::Entropy;
use crate::engine::local::check_size;
use crate::engine::{Changed, ChangedCommit, States, TabId, TabOpened, draft_log};
use crate::error::{Error, ErrorCode, Result};
use crate::types::limits::MAX_BATCH_SIZE;
use crate::types::{EntityId, EntityType, Event, FieldName, FieldOp, Hlc, Instant, LogId, PeerId};

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
    entities: BTreeMap<EntityId, Shown>,
    watched: bool,
    ready: bool,
    fetching: BTreeSet<EntityId>,
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
    kinds: BTreeMap<EntityType, Kind>,
    texts: Texts,
    drafts: Drafts,
    blind: VecDeque<Blind>,
    /// Texts that were typed in an epoch that has ended, as the user saw them.
    retype: Vec<(TextKey, String)>,
    asks: BTreeMap<u64, Ask>,
    settling: Vec<Settling>,
    next_ask: u64,
    sent_at: u64,
    welcome: bool,
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
            kinds: BTreeMap::new(),
            texts: Texts::default(),
            drafts: Drafts::default(),
            blind: VecDeque::new(),
            retype: Vec::new(),
            asks: BTreeMap::new(),
            settling: Vec::new(),
            next_ask: 0,
            sent_at: 0,
            welcome: false,
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

    /// [`Update::Settled`] comes with the number given once all that was written before is saved, or was refused.
    pub fn settle(&mut self) -> u64 {
        self.next_ask += 1;
        let (number, waits) = (self.next_ask, self.waits_for_entities());
        self.settling.push(Settling { number, before: self.drafts.next_seq(), waits });
        self.settled(None);
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

    // ---- what the leader says --------------------------------------------------------------------------------------

    /// Takes a message that is for this tab or for all.
    pub fn take(&mut self, now: Instant, message: ToTab) {
        if message.tab().is_some_and(|tab| tab != self.tab) {
            return;
        }
        match message {
            ToTab::Welcome(_, opened) => {
                self.welcome(*opened);
                self.drafts.raise(self.hlc.tick(now));
            }
            ToTab::Anew => self.anew(),
            _ if !self.welcome => return, // it stands on what was told before
            ToTab::Page(_, entity_type, states, last) => {
                self.take_states(&entity_type, states, None);
                if last {
                    self.kinds.entry(entity_type.clone()).or_default().ready = true;
                    self.updates.push(Update::Ready(entity_type));
                }
            }
            ToTab::Fetched(_, entity_type, ids, states) => {
                self.take_states(&entity_type, states, Some(&ids));
                self.updates.push(Update::Fetched(entity_type, ids));
            }
            ToTab::Saved(_, number, saved) => self.saved(number, saved),
            ToTab::Answer(_, number, answer) => {
                if self.asks.remove(&number).is_some() {
                    self.updates.push(Update::Answer(number, answer));
                }
            }
            ToTab::Changed(changed) => self.changed(now, &changed),
            ToTab::Notice(notice) => self.updates.push(Update::Notice(notice)),
        }
        self.write_blind(now);
        self.send(now);
        self.settled(None);
    }

    /// The time goes on: what has no answer is sent again.
    pub fn tick(&mut self, now: Instant) {
        if now.mono.saturating_sub(self.sent_at) < RESEND_US {
            return;
        }
        if !self.welcome {
            self.sent_at = now.mono;
            self.out.push(ToLeader::Hello(self.tab));
        } else if let Some(message) = self.message_under_way() {
            self.sent_at = now.mono;
            self.out.push(message);
        }
    }

    /// Another leader, or the same one anew: nothing that was told before holds, but for what the user wrote.
    pub fn anew(&mut self) {
        self.welcome = false;
        // The rest is said again to whoever answers.
        self.out = vec![ToLeader::Hello(self.tab)];
    }

    /// Since when a message has had no answer, if one waits.
    pub fn waits_since(&self) -> Option<u64> {
        (!self.welcome || self.drafts.message().is_some()).then_some(self.sent_at)
    }

    fn welcome(&mut self, opened: TabOpened) {
        let renewed = self.own.is_some_and(|own| own != opened.log);
        if self.own.is_none() || renewed {
            self.session = opened.session;
        }
        self.own = Some(opened.log);
        self.welcome = true;
        if let Some((number, saved)) = opened.saved {
            self.saved(number, Ok(saved));
        }
        self.drafts.drop_placed();
        if renewed {
            for key in self.drafts.take_texts() {
                let text = self.texts.get(&key).map(|document| document.text().to_owned());
                self.retype.extend(text.map(|text| (key, text)));
            }
        }
        self.logs = LogTable::default();
        for log in opened.logs {
            self.logs.intern(log);
        }
        for (entity_type, kind) in &mut self.kinds {
            let known: BTreeSet<EntityId> = std::mem::take(&mut kind.entities).into_keys().collect();
            if kind.watched {
                kind.ready = false;
                self.out.push(ToLeader::Watch(self.tab, entity_type.clone()));
                // A watched type's page has only what exists.
                kind.fetching.clear();
            } else {
                kind.fetching.extend(known);
            }
            let ids: Vec<EntityId> = kind.fetching.iter().copied().collect();
            for ids in ids.chunks(MAX_BATCH_SIZE) {
                self.out.push(ToLeader::Fetch(self.tab, entity_type.clone(), ids.to_vec()));
            }
        }
        for (number, ask) in &self.asks {
            self.out.push(ToLeader::Ask(self.tab, *number, ask.clone()));
        }
        self.out.extend(self.message_under_way());
        self.updates.push(Update::Welcome);
    }

    fn take_states(&mut self, entity_type: &EntityType, states: States, asked: Option<&[EntityId]>) {
        if !self.learn_logs(0, &states.logs) {
            return self.anew();
        }
        let forked: BTreeSet<LogIx> = states.forked.into_iter().collect();
        for number in (0..self.logs.len() as u32).map(LogIx) {
            if self.logs.is_forked(number) != forked.contains(&number) {
                self.logs.set_forked(number, forked.contains(&number));
            }
        }
        let kind = self.kinds.entry(entity_type.clone()).or_default();
        let mut ids: Vec<EntityId> = Vec::with_capacity(states.states.len());
        for id in asked.into_iter().flatten() {
            kind.fetching.remove(id);
            kind.entities.insert(*id, Shown::default());
            ids.push(*id);
        }
        for (id, bytes) in states.states {
            // It was encoded by this very code in another tab.
            let Ok(base) = decode_state(&bytes) else { continue };
            kind.entities.insert(id, Shown { base, drafted: None });
            if asked.is_none() {
                ids.push(id);
            }
        }
        for id in &ids {
            self.redraft(entity_type, *id);
            self.reopen_texts(entity_type, *id);
        }
        self.updates.push(Update::Entities(entity_type.clone(), ids));
    }

    /// Takes note of logs by their numbers; false where they contradict what is known.
    fn learn_logs(&mut self, from: usize, logs: &[LogId]) -> bool {
        for (number, log) in (from..).zip(logs) {
            match self.logs.ids().get(number) {
                Some(known) if known == log => {}
                None if number == self.logs.len() && self.logs.find(log).is_none() => {
                    self.logs.intern(*log);
                }
                _ => return false,
            }
        }
        true
    }

    fn changed(&mut self, now: Instant, changed: &Arc<Changed>) {
        if !self.learn_logs(changed.logs.0, &changed.logs.1) {
            return self.anew();
        }
        let mut covered: BTreeSet<EntityId> = BTreeSet::new();
        let mut touched: BTreeMap<EntityType, BTreeSet<EntityId>> = BTreeMap::new();
        for commit in &changed.commits {
            covered.extend(commit.events.iter().map(|event| event.entity));
            touched.entry(commit.log.entity_type.clone()).or_default().extend(self.apply(commit));
            self.hlc.observe(commit.hlc, now);
            self.drafts.raise(commit.hlc);
        }
        for (entity_type, ids) in touched {
            ids.iter().for_each(|id| self.redraft(&entity_type, *id));
            self.updates.push(Update::Entities(entity_type, ids.into_iter().collect()));
        }
        for (peer, ids) in &changed.updated {
            // What no commit says was folded again: it is read anew.
            for (entity_type, kind) in &mut self.kinds {
                let again: Vec<EntityId> = ids
                    .iter()
                    .filter(|id| !covered.contains(id))
                    .filter(|id| kind.entities.contains_key(id) || (kind.watched && changed.commits.is_empty()))
                    .copied()
                    .collect();
                for ids in again.chunks(MAX_BATCH_SIZE) {
                    self.out.push(ToLeader::Fetch(self.tab, entity_type.clone(), ids.to_vec()));
                }
            }
            self.updates.push(Update::Changed(*peer, ids.clone()));
        }
    }

    /// Applies a commit to what is here; gives the entities that read otherwise.
    fn apply(&mut self, commit: &ChangedCommit) -> Vec<EntityId> {
        let Some(own) = self.own else { return Vec::new() };
        let mut ids = Vec::new();
        // The number was told with the commit, or before.
        let at = EventAt {
            log: self.logs.intern(commit.log.id),
            seq: commit.seq,
            index: 0,
            hlc: commit.hlc,
            commit: commit.hash,
            counts: commit.counts,
        };
        let mine = commit.origin.filter(|(tab, _)| *tab == self.tab).map(|(_, draft)| draft);
        let mine = mine.and_then(|draft| {
            self.drafts.place(draft, commit.log.id, commit.seq, own.author);
            self.drafts.remove(draft)
        });
        let client = text_client_id(own, self.session * 2);
        let kind = self.kinds.entry(commit.log.entity_type.clone()).or_default();
        for (index, event) in (0..).zip(&commit.events) {
            let shown = match kind.entities.get_mut(&event.entity) {
                Some(shown) => shown,
                // A watched type has all its entities: this one is new.
                None if kind.ready => kind.entities.entry(event.entity).or_default(),
                None => continue,
            };
            shown.base.apply(event, &EventAt { index, ..at }, &mut self.logs);
            ids.push(event.entity);
            if mine.is_some() {
                continue; // its texts have it
            }
            for op in &event.ops {
                let FieldOp::Text { field, update } = op else { continue };
                let key = (commit.log.entity_type.clone(), event.entity, field.clone());
                if commit.counts {
                    self.texts.apply(&key, update, &shown.base, &self.logs, client);
                } else {
                    self.texts.open_again(&key, &shown.base, &self.logs, client);
                }
                text_event(&mut self.texts, &mut self.updates, key, Some(update.clone()));
            }
        }
        if let Some(draft) = mine {
            // What it touched here is shown without it now.
            ids.extend(draft.ids());
            self.updates.push(Update::Saved);
        }
        ids
    }

    fn saved(&mut self, number: u64, saved: Result<crate::engine::TabSaved>) {
        let Some(own) = self.own else { return };
        let failed = match saved {
            Ok(saved) => self.drafts.saved(number, saved, own.author),
            Err(error) if error.code() == ErrorCode::Aborted => return self.anew(),
            Err(error) => match is_lasting(&error) {
                // It is sent again after a while.
                Ok(()) => return,
                Err(error) => {
                    let under_way: Vec<u64> = match self.drafts.message() {
                        Some((under_way, drafts)) if under_way == number => drafts.iter().map(|one| one.seq).collect(),
                        _ => return,
                    };
                    let drafts = under_way.into_iter().filter_map(|seq| self.drafts.remove(seq));
                    drafts.map(|draft| (draft, error.clone())).collect()
                }
            },
        };
        for (draft, error) in failed {
            let (entity_type, ids) = (draft.entity_type.clone(), draft.ids());
            for id in &ids {
                self.redraft(&entity_type, *id);
                self.reopen_texts(&entity_type, *id);
            }
            self.updates.push(Update::Entities(entity_type.clone(), ids.clone()));
            self.fail(entity_type, ids, error);
        }
        self.updates.push(Update::Saved);
    }

    // ---- drafts ----------------------------------------------------------------------------------------------------

    /// Lays an entity's drafts over what is saved of it.
    fn redraft(&mut self, entity_type: &EntityType, id: EntityId) {
        let Some(own) = self.own else { return };
        let Some(shown) = self.kinds.get_mut(entity_type).and_then(|kind| kind.entities.get_mut(&id)) else { return };
        let log = self.logs.intern(draft_log(own.author));
        let mut drafted: Option<EntityState> = None;
        for draft in self.drafts.of(entity_type, &id) {
            let state = drafted.get_or_insert_with(|| shown.base.clone());
            let at = EventAt { log, seq: draft.seq, index: 0, hlc: draft.hlc, commit: 0, counts: true };
            for (index, event) in (0..).zip(&draft.events).filter(|(_, event)| event.entity == id) {
                state.apply(event, &EventAt { index, ..at }, &mut self.logs);
            }
        }
        shown.drafted = drafted;
    }

    fn reopen_texts(&mut self, entity_type: &EntityType, id: EntityId) {
        let Some(own) = self.own else { return };
        let client = text_client_id(own, self.session * 2);
        for key in self.texts.of(entity_type, &id) {
            let Some(shown) = self.kinds.get(entity_type).and_then(|kind| kind.entities.get(&id)) else { return };
            self.texts.open_again(&key, shown.state(), &self.logs, client);
            text_event(&mut self.texts, &mut self.updates, key, None);
        }
    }

    /// A new entity's id.
    pub fn new_id(&mut self, now: Instant) -> EntityId {
        self.entropy.entity_id(now.wall)
    }

    /// Writes entities of one type as one commit, all or none. It shows at once. Of an entity that is not here the
    /// write waits until it is.
    pub fn write(&mut self, now: Instant, entity_type: &EntityType, changes: Vec<(EntityId, Vec<Edit>)>) -> Result<()> {
        if changes.len() > MAX_BATCH_SIZE {
            return Err(Error::too_large(format!(
                "a batch of {} changes; {MAX_BATCH_SIZE} are the limit: split it",
                changes.len()
            )));
        }
        if self.unsaved() >= MAX_DRAFTS {
            return Err(Error::new(ErrorCode::Quota, "too many writes wait to be saved; wait for `settled()`"));
        }
        let kind = self.kinds.entry(entity_type.clone()).or_default();
        let mut unknown: Vec<EntityId> = Vec::new();
        for (id, edits) in &changes {
            // An id that was made just now is nowhere else.
            if matches!(edits.first(), Some(Edit::Create)) || (kind.ready && !kind.entities.contains_key(id)) {
                kind.entities.entry(*id).or_default();
            } else if !kind.entities.contains_key(id) {
                unknown.push(*id);
            }
        }
        let waits = |(of, earlier): &Blind| {
            of == entity_type && earlier.iter().any(|(id, _)| changes.iter().any(|(other, _)| other == id))
        };
        if !unknown.is_empty() || !self.welcome || self.blind.iter().any(waits) {
            self.fetch(entity_type, &unknown);
            self.blind.push_back((entity_type.clone(), changes));
            return Ok(());
        }
        self.draft(now, entity_type, changes)?;
        self.send(now);
        Ok(())
    }

    fn draft(&mut self, now: Instant, entity_type: &EntityType, changes: Vec<(EntityId, Vec<Edit>)>) -> Result<()> {
        let hlc = self.hlc.tick(now);
        let mut events: Vec<Event> = Vec::with_capacity(changes.len());
        let mut done: Vec<EntityId> = Vec::with_capacity(changes.len());
        let mut result = Ok(());
        for (id, edits) in changes {
            done.push(id);
            if let Err(error) = self.draft_one(entity_type, id, edits, hlc, &mut events) {
                result = Err(error);
                break;
            }
        }
        result = result.and_then(|()| check_size(&events, &mut Vec::new()));
        if let Err(error) = result {
            for id in done {
                self.redraft(entity_type, id);
                self.reopen_texts(entity_type, id);
            }
            return Err(error);
        }
        if !events.is_empty() {
            self.drafts.push(entity_type.clone(), hlc, events);
            self.updates.push(Update::Entities(entity_type.clone(), done));
        }
        Ok(())
    }

    fn draft_one(
        &mut self,
        entity_type: &EntityType,
        id: EntityId,
        edits: Vec<Edit>,
        hlc: crate::types::HybridTimestamp,
        events: &mut Vec<Event>,
    ) -> Result<()> {
        let own = self.own.ok_or_else(|| Error::new(ErrorCode::Closed, "the store is not open yet"))?;
        let client = text_client_id(own, self.session * 2);
        let edits = self.typed(entity_type, id, edits, client)?;
        let log = self.logs.intern(draft_log(own.author));
        let at = EventAt { log, seq: self.drafts.next_seq(), index: events.len() as u32, hlc, commit: 0, counts: true };
        let kind = self.kinds.entry(entity_type.clone()).or_default();
        let shown = kind.entities.entry(id).or_default();
        let state = shown.state();
        let ops = state.prepare_in(&edits, &at, &self.logs, &mut TextSession::new(client))?;
        if ops.is_empty() {
            return Ok(());
        }
        let event = Event { entity: id, seen: state.seen_for(log, &self.logs), ops };
        // A field that was cleared may be a text that is open.
        for op in &event.ops {
            let FieldOp::Text { field, update } = op else { continue };
            let key = (entity_type.clone(), id, field.clone());
            self.texts.apply(&key, update, shown.state(), &self.logs, client);
            let users = self.texts.is_watched(&key);
            if users {
                text_event(&mut self.texts, &mut self.updates, key, Some(update.clone()));
            }
        }
        if shown.drafted.is_none() {
            shown.drafted = Some(shown.base.clone());
        }
        if let Some(state) = &mut shown.drafted {
            state.apply(&event, &at, &mut self.logs);
        }
        events.push(event);
        Ok(())
    }

    /// Puts edits of texts into updates, by the documents that the user sees.
    fn typed(&mut self, entity_type: &EntityType, id: EntityId, edits: Vec<Edit>, client: u64) -> Result<Vec<Edit>> {
        let mut typed = Vec::with_capacity(edits.len());
        for edit in edits {
            let field = match &edit {
                Edit::TextInsert(field, ..)
                | Edit::TextDelete(field, ..)
                | Edit::TextReplace(field, ..)
                | Edit::TextMark(field, ..)
                | Edit::TextUpdate(field, ..) => field.clone(),
                _ => {
                    typed.push(edit);
                    continue;
                }
            };
            let kind = self.kinds.entry(entity_type.clone()).or_default();
            let state = kind.entities.entry(id).or_default().state();
            if state.exists() && !state.is_visible() {
                return Err(Error::new(ErrorCode::Deleted, "the entity is deleted; restore it first"));
            }
            let key = (entity_type.clone(), id, field.clone());
            let update = self.texts.document(&key, state, &self.logs, client)?.edit(&edit)?;
            typed.extend(update.map(|update| Edit::TextUpdate(field, update)));
        }
        Ok(typed)
    }

    /// Writes what waited for entities that are here now.
    fn write_blind(&mut self, now: Instant) {
        if !self.welcome {
            return;
        }
        for (key, text) in std::mem::take(&mut self.retype) {
            if self.is_here(&key.0, &key.1) {
                let edits = vec![Edit::TextReplace(key.2.clone(), text)];
                if let Err(error) = self.draft(now, &key.0, vec![(key.1, edits)]) {
                    self.fail(key.0, vec![key.1], error);
                }
            } else {
                self.retype.push((key, text));
            }
        }
        while let Some((entity_type, changes)) = self.blind.front()
            && changes.iter().all(|(id, _)| self.is_here(entity_type, id))
        {
            let Some((entity_type, changes)) = self.blind.pop_front() else { return };
            let ids: Vec<EntityId> = changes.iter().map(|(id, _)| *id).collect();
            if let Err(error) = self.draft(now, &entity_type, changes) {
                self.fail(entity_type, ids, error);
                self.updates.push(Update::Saved);
            }
        }
    }

    fn is_here(&self, entity_type: &EntityType, id: &EntityId) -> bool {
        self.kinds.get(entity_type).is_some_and(|kind| kind.ready || kind.entities.contains_key(id))
    }

    fn send(&mut self, now: Instant) {
        if self.welcome && self.drafts.next_message().is_some() {
            self.sent_at = now.mono;
            self.out.extend(self.message_under_way());
        }
    }

    fn message_under_way(&self) -> Option<ToLeader> {
        let own = self.own?;
        let (number, drafts) = self.drafts.message()?;
        let log = self.logs.find(&own);
        let writes = drafts.into_iter().map(|draft| {
            let kind = self.kinds.get(&draft.entity_type);
            to_write(draft, own, own.author, |id| {
                let shown = kind.and_then(|kind| kind.entities.get(id));
                log.zip(shown).map(|(log, shown)| shown.base.named_by(log, &self.logs)).unwrap_or_default()
            })
        });
        Some(ToLeader::Write(self.tab, number, own, writes.collect()))
    }

    // ---- reading ---------------------------------------------------------------------------------------------------

    /// Wants all entities of a type, and what changes of them: [`Update::Ready`] tells when they are here.
    pub fn watch(&mut self, entity_type: &EntityType) {
        let kind = self.kinds.entry(entity_type.clone()).or_default();
        if !std::mem::replace(&mut kind.watched, true) && self.welcome {
            self.out.push(ToLeader::Watch(self.tab, entity_type.clone()));
        }
    }

    /// Whether all entities of a type are here.
    pub fn is_ready(&self, entity_type: &EntityType) -> bool {
        self.kinds.get(entity_type).is_some_and(|kind| kind.ready)
    }

    /// Wants these entities: [`Update::Fetched`] tells when they are here.
    pub fn fetch(&mut self, entity_type: &EntityType, ids: &[EntityId]) {
        let kind = self.kinds.entry(entity_type.clone()).or_default();
        let new: Vec<EntityId> =
            ids.iter().filter(|id| !kind.entities.contains_key(id) && kind.fetching.insert(**id)).copied().collect();
        if self.welcome {
            for ids in new.chunks(MAX_BATCH_SIZE) {
                self.out.push(ToLeader::Fetch(self.tab, entity_type.clone(), ids.to_vec()));
            }
        }
    }

    /// What an entity shows.
    pub fn read(&self, entity_type: &EntityType, id: &EntityId) -> Seen {
        let Some(kind) = self.kinds.get(entity_type) else { return Seen::Unknown };
        match kind.entities.get(id) {
            Some(shown) if shown.state().exists() => {
                Seen::There { deleted: !shown.state().is_visible(), fields: shown.state().fields_but_texts(&self.logs) }
            }
            Some(_) => Seen::Absent,
            None if kind.ready => Seen::Absent,
            None => Seen::Unknown,
        }
    }

    /// The entities of a type that are here and not deleted, in the order of their ids.
    pub fn ids(&self, entity_type: &EntityType) -> Vec<EntityId> {
        let Some(kind) = self.kinds.get(entity_type) else { return Vec::new() };
        kind.entities.iter().filter(|(_, shown)| shown.state().is_visible()).map(|(id, _)| *id).collect()
    }

    // ---- texts -----------------------------------------------------------------------------------------------------

    /// What a text shows; empty where its entity is not here.
    pub fn text(&self, key: &(EntityType, EntityId, FieldName)) -> String {
        if let Some(document) = self.texts.get(key) {
            return document.text().to_owned();
        }
        let Some(own) = self.own else { return String::new() };
        let shown = self.kinds.get(&key.0).and_then(|kind| kind.entities.get(&key.1));
        let document = shown.and_then(|shown| {
            let client = text_client_id(own, self.session * 2);
            crate::crdt::TextDocument::open(shown.state(), &key.2, &self.logs, client).ok()
        });
        document.map(|document| document.text().to_owned()).unwrap_or_default()
    }

    /// Tells changes of a text from now on, until [`Replica::unwatch_text`].
    pub fn watch_text(&mut self, key: &(EntityType, EntityId, FieldName)) -> Result<()> {
        self.texts.watch(key);
        self.open_text(key)
    }

    /// See [`Replica::watch_text`].
    pub fn unwatch_text(&mut self, key: &(EntityType, EntityId, FieldName)) {
        self.texts.unwatch(key);
    }

    /// The Yjs client id for editors in this tab: not the one under which the tab itself types, for Yjs gives up an id
    /// that it sees somebody else use.
    pub fn editor_client(&self) -> u64 {
        self.own.map_or(0, |own| text_client_id(own, self.session * 2 + 1))
    }

    fn text_client(&self) -> u64 {
        self.own.map_or(0, |own| text_client_id(own, self.session * 2))
    }

    /// A text, or what is new of it since a state vector, as a Yjs update.
    pub fn encode_text(&mut self, key: &(EntityType, EntityId, FieldName), since: Option<&[u8]>) -> Result<Vec<u8>> {
        self.open_text(key)?;
        match self.texts.get(key) {
            Some(document) => document.encode(since),
            None => Err(Error::new(ErrorCode::NotFound, "the text's entity is not here (yet); read it first")),
        }
    }

    fn open_text(&mut self, key: &TextKey) -> Result<()> {
        let client = self.text_client();
        let shown = self.kinds.get(&key.0).and_then(|kind| kind.entities.get(&key.1));
        match shown {
            Some(shown) => self.texts.document(key, shown.state(), &self.logs, client).map(drop),
            None => Ok(()),
        }
    }

    // ---- questions -------------------------------------------------------------------------------------------------

    /// Asks the leader; [`Update::Answer`] comes with the same number. A leader that comes after is asked again.
    pub fn ask(&mut self, ask: Ask) -> u64 {
        self.next_ask += 1;
        if self.welcome {
            self.out.push(ToLeader::Ask(self.tab, self.next_ask, ask.clone()));
        }
        self.asks.insert(self.next_ask, ask);
        self.next_ask
    }

    /// Nobody waits for this answer any more.
    pub fn forget(&mut self, ask: u64) {
        self.asks.remove(&ask);
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
