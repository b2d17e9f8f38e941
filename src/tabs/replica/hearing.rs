//! What the leader says, and what of it is sent again.

use std::collections::HashSet;
use std::sync::Arc;

use super::{RESEND_US, Replica, Shown, Update, text_event};
use crate::crdt::{EventAt, LogIx, LogTable, StateReader};
use crate::engine::{Changed, ChangedCommit, States, TabOpened, TabSaved};
use crate::error::{Error, ErrorCode, Result};
use crate::tabs::draft::is_lasting;
use crate::tabs::message::{Notice, ToLeader, ToTab};
use crate::types::limits::MAX_BATCH_SIZE;
use crate::types::{EntityId, EntityType, FieldOp, Instant, LogId, SortedMap, SortedSet};

impl Replica {
    /// Takes a message that is for this tab or for all.
    pub fn take(&mut self, now: Instant, message: ToTab) {
        if message.tab().is_some_and(|tab| tab != self.tab) {
            return;
        }
        match message {
            ToTab::Welcome(_, opened) => {
                self.broken = None;
                self.welcome(*opened);
                self.drafts.raise(self.hlc.tick(now));
            }
            ToTab::Anew => self.anew(),
            ToTab::Notice(Notice::StoreFailed(peer, code, text)) => {
                self.store_failed(Error::new(ErrorCode::from_byte(code), text.clone()));
                self.updates.push(Update::Notice(Notice::StoreFailed(peer, code, text)));
            }
            ToTab::Notice(Notice::Paused(paused)) => {
                self.paused = paused;
                self.updates.push(Update::Notice(Notice::Paused(paused)));
            }
            // These stand by themselves: whoever joins another vault is told how that went while its replica begins anew.
            ToTab::Notice(notice) => self.updates.push(Update::Notice(notice)),
            ToTab::Answer(_, number, answer) => {
                if self.asks.remove(&number).is_some() {
                    self.updates.push(Update::Answer(number, answer));
                }
            }
            _ if !self.welcome => return, // it stands on what was told before
            ToTab::Page(_, entity_type, states) => {
                let last = !states.more;
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
            ToTab::Changed(changed) => self.changed(now, &changed),
        }
        self.write_blind(now);
        self.send(now);
        self.settled(None);
    }

    /// Whoever waits is told; what is not saved stays, and is sent again when the store is open again.
    fn store_failed(&mut self, error: Error) {
        self.settled(None);
        self.settled(Some(&error));
        let asked = std::mem::take(&mut self.asks);
        self.updates.extend(asked.into_keys().map(|number| Update::Answer(number, Err(error.clone()))));
        self.broken = Some(error);
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
        for (entity_type, kind) in self.kinds.iter_mut() {
            let known: SortedSet<EntityId> = std::mem::take(&mut kind.entities).into_keys().collect();
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
        let forked: SortedSet<LogIx> = states.forked.into_iter().collect();
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
        let (mut reader, mut unread) = (StateReader::default(), Vec::new());
        for (id, bytes) in states.states {
            match reader.read(&bytes) {
                Ok(base) => drop(kind.entities.insert(id, Shown { base, drafted: None })),
                Err(_) => unread.push(id),
            }
            if asked.is_none() {
                ids.push(id);
            }
        }
        if asked.is_none() {
            // A page that is not what was once written: the leader builds it anew when it reads this one by itself.
            for ids in unread.chunks(MAX_BATCH_SIZE) {
                self.out.push(ToLeader::Fetch(self.tab, entity_type.clone(), ids.to_vec()));
            }
        }
        // Most tabs that open have neither, and very many entities.
        if !self.drafts.is_empty() || !self.texts.is_empty() {
            for id in &ids {
                self.redraft(entity_type, *id);
                self.reopen_texts(entity_type, *id);
            }
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
        let mut covered: HashSet<EntityId> = HashSet::new();
        let mut touched: SortedMap<EntityType, (HashSet<EntityId>, Vec<EntityId>)> = SortedMap::new();
        for commit in &changed.commits {
            covered.extend(commit.events.iter().map(|event| event.entity));
            let (known, ids) = touched.entry(commit.log.entity_type.clone()).or_default();
            ids.extend(self.apply(commit).into_iter().filter(|id| known.insert(*id)));
            self.hlc.observe(commit.hlc, now);
            self.drafts.raise(commit.hlc);
        }
        for (entity_type, (_, ids)) in touched {
            ids.iter().for_each(|id| self.redraft(&entity_type, *id));
            self.updates.push(Update::Entities(entity_type, ids));
        }
        for (peer, ids) in &changed.updated {
            // What no commit says was folded again: it is read anew.
            for (entity_type, kind) in self.kinds.iter_mut() {
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
        let client = self.text_client();
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

    fn saved(&mut self, number: u64, saved: Result<TabSaved>) {
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
}
