//! Tabs: pages that work on replicas of this engine's entities (`crate::tabs`) and send it operations, never calls.
//!
//! A tab makes its operations under a log that is nobody's ([`draft_log`]) and numbers its messages. Each message is
//! committed in one batch with its number, so whoever leads next answers a repeat with what became of it.

use std::collections::VecDeque;

use super::io::{CallId, Reply};
use super::layout::meta;
use super::local::Draft;
use super::remote::Arrived;
use super::{Landed, SyncEngine};
use crate::crdt::{LogIx, check_event};
use crate::error::{Error, ErrorCode, Result};
use crate::store::{Table, WriteBatch};
use crate::types::codec::{Reader, put_bytes, put_varint};
use crate::types::limits::MAX_BATCH_SIZE;
use crate::types::{
    Dot, EntityId, EntityType, Epoch, Event, FieldOp, Hash, HybridTimestamp, LogId, LogName, PeerId, SortedMap,
    SortedSet,
};

/// Tabs whose last message is remembered; of more, the one that wrote longest ago is forgotten.
const MAX_TABS: usize = 64;
/// Messages of tabs that may wait for a job to end.
const MAX_WAITING: usize = 256;
/// Bytes of an error's sentence that are kept.
const MAX_SENTENCE: usize = 1_024;

/// A tab: a random number, drawn when it opens a store and never used again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TabId(pub u64);

/// The log under which all tabs of a device name what they have made and not sent: an epoch that no log has.
pub fn draft_log(me: PeerId) -> LogId {
    LogId { author: me, epoch: Epoch(0) }
}

/// What becomes one commit.
#[derive(Clone, PartialEq, Debug)]
pub struct TabWrite {
    /// The tab's number for it: its place in the draft log.
    pub seq: u64,
    /// The type of its entities.
    pub entity_type: EntityType,
    /// The tab's time, to which the lifts belong.
    pub hlc: HybridTimestamp,
    /// 1 to `MAX_BATCH_SIZE` events. Dots may name the draft log: places in this write and in earlier ones of the same
    /// message.
    pub events: Vec<Event>,
}

/// What became of a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TabSaved {
    /// The log that its commits are in.
    pub log: LogId,
    /// For each write its commit's number, or why there is none.
    pub commits: Vec<Result<u64>>,
}

/// What a tab needs to know of the engine that it works with from now on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TabOpened {
    /// The log of this device's commits.
    pub log: LogId,
    /// The session under which the tab types into texts; no other tab has it. It stands for two of the 2^12 of a log:
    /// twice this number is the tab's own, the next one is for an editor in it that brings its own Yjs documents.
    pub session: u16,
    /// The number of the last message of this tab that is saved, and what became of it.
    pub saved: Option<(u64, TabSaved)>,
    /// The logs by their numbers in this engine.
    pub logs: Vec<LogId>,
}

/// States of entities as [`crate::crdt::decode_state`] reads them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct States {
    /// The logs by their numbers in this engine.
    pub logs: Vec<LogId>,
    /// Those among them that are forked.
    pub forked: Vec<LogIx>,
    /// The entities, deleted ones too, in the order of their ids.
    pub states: Vec<(EntityId, Vec<u8>)>,
    /// Whether more entities of a listing follow.
    pub more: bool,
}

/// What has changed, told once it is on disk.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Changed {
    /// The logs that got numbers since the last time, and the number of the first of them.
    pub logs: (usize, Vec<LogId>),
    /// The commits of watched types, in order. An entity of `updated` that none of them touches is to be read again.
    pub commits: Vec<ChangedCommit>,
    /// The entities that may show something new, by whose change.
    pub updated: Vec<(PeerId, Vec<EntityId>)>,
}

/// A commit as replicas apply it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChangedCommit {
    /// Its log.
    pub log: LogName,
    /// Its number there.
    pub seq: u64,
    /// Its time.
    pub hlc: HybridTimestamp,
    /// The first eight bytes of its hash.
    pub hash: u64,
    /// Whether it counts.
    pub counts: bool,
    /// The tab that made it, and the tab's number for it.
    pub origin: Option<(TabId, u64)>,
    /// Its events.
    pub events: Vec<Event>,
}

/// What a message brings: the tab, the message's number, the log that the tab was told, the writes.
#[derive(Debug)]
pub(super) struct Message {
    call: CallId,
    tab: TabId,
    number: u64,
    log: LogId,
    writes: Vec<TabWrite>,
}

/// The engine's tabs.
#[derive(Default, Debug)]
pub(super) struct Tabs {
    /// Whether there ever was one: without, nobody wants to be told.
    active: bool,
    /// The last session number given.
    session: u16,
    /// Each tab's last message; the one that wrote last is at the end.
    saved: Vec<(TabId, u64, TabSaved)>,
    watched: SortedSet<EntityType>,
    /// How many logs replicas were told.
    told: usize,
    waiting: VecDeque<Message>,
}

impl Tabs {
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Forgets the messages that wait, and gives the calls to answer.
    pub fn drain(&mut self) -> impl Iterator<Item = CallId> + '_ {
        self.waiting.drain(..).map(|message| message.call)
    }

    fn note(&mut self, tab: TabId, number: u64, saved: TabSaved) {
        self.saved.retain(|(known, ..)| *known != tab);
        if self.saved.len() >= MAX_TABS {
            self.saved.remove(0);
        }
        self.saved.push((tab, number, saved));
    }

    fn last(&self, tab: TabId) -> Option<(u64, &TabSaved)> {
        self.saved.iter().find(|(known, ..)| *known == tab).map(|(_, number, saved)| (*number, saved))
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, u64::from(self.session));
        put_varint(&mut out, self.saved.len() as u64);
        for (tab, number, saved) in &self.saved {
            out.extend_from_slice(&tab.0.to_le_bytes());
            put_varint(&mut out, *number);
            saved.encode(&mut out);
        }
        out
    }

    /// Reads the row.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let mut tabs = Self { session: reader.bounded(u16::MAX as usize, "a session")? as u16, ..Self::default() };
        for _ in 0..reader.count(MAX_TABS, "tabs")? {
            let tab = TabId(u64::from_le_bytes(reader.array()?));
            let number = reader.varint()?;
            tabs.saved.push((tab, number, TabSaved::decode(&mut reader)?));
        }
        reader.finish()?;
        Ok(tabs)
    }
}

impl TabSaved {
    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.log.author.0);
        out.extend_from_slice(&self.log.epoch.0.to_le_bytes());
        put_varint(out, self.commits.len() as u64);
        for commit in &self.commits {
            match commit {
                Ok(seq) => put_varint(out, *seq),
                // Commits count from 1.
                Err(error) => {
                    out.extend_from_slice(&[0, error.code().to_byte()]);
                    let mut end = error.message().len().min(MAX_SENTENCE);
                    while !error.message().is_char_boundary(end) {
                        end -= 1;
                    }
                    put_bytes(out, error.message().get(..end).unwrap_or_default().as_bytes());
                }
            }
        }
    }

    /// Reads what [`TabSaved::encode`] wrote.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let log = LogId { author: PeerId(reader.array()?), epoch: Epoch(u64::from_le_bytes(reader.array()?)) };
        let mut commits = Vec::new();
        for _ in 0..reader.count(usize::MAX, "writes")? {
            commits.push(match reader.varint()? {
                0 => {
                    let code = ErrorCode::from_byte(reader.byte()?);
                    Err(Error::new(code, reader.text(MAX_SENTENCE, "an error")?))
                }
                seq => Ok(seq),
            });
        }
        Ok(Self { log, commits })
    }
}

impl SyncEngine {
    pub(super) fn open_tab(&mut self, call: CallId, tab: TabId) {
        self.tabs.active = true;
        self.ids.intern(draft_log(self.me));
        // Session 0 is the engine's own. After the last number the first comes again: that tab is long gone, and its
        // text is part of what the new one starts from.
        self.tabs.session = self.tabs.session % (crate::crdt::MAX_TEXT_SESSIONS / 2 - 1) + 1;
        let saved = self.tabs.last(tab).map(|(number, saved)| (number, saved.clone()));
        let opened = TabOpened { log: self.own_id(), session: self.tabs.session, saved, logs: self.ids.ids().to_vec() };
        let mut batch = WriteBatch::default();
        batch.put(Table::Meta, meta::TABS, self.tabs.encode());
        let replies = vec![(call, Reply::Tab(Box::new(opened)))];
        self.write(batch, Landed { replies, ..Landed::default() });
    }

    /// Tells the commits of this type from now on.
    pub(super) fn watch(&mut self, entity_type: EntityType) {
        self.tabs.watched.insert(entity_type);
    }

    pub(super) fn tab_message(
        &mut self,
        call: CallId,
        tab: TabId,
        number: u64,
        log: LogId,
        writes: Vec<TabWrite>,
    ) -> Result<()> {
        self.vault_at_need()?;
        self.vault()?;
        if self.tabs.waiting.len() >= MAX_WAITING {
            return Err(Error::new(ErrorCode::Busy, "too many tabs wait for this device's store; try again"));
        }
        self.tabs.waiting.push_back(Message { call, tab, number, log, writes });
        Ok(())
    }

    /// Carries out the messages that wait; a job would count twice what is applied while it reads.
    pub(super) fn tab_writes(&mut self) {
        while self.job.is_none()
            && let Some(message) = self.tabs.waiting.pop_front()
        {
            let call = message.call;
            if let Err(error) = self.tab_write(message) {
                self.refuse(call, error);
            }
        }
    }

    fn tab_write(&mut self, message: Message) -> Result<()> {
        let Message { call, tab, number, log, writes } = message;
        if let Some((last, saved)) = self.tabs.last(tab).filter(|(last, _)| number <= *last) {
            if number < last {
                return Err(Error::invalid(format!("message {number} of a tab that has sent {last}")));
            }
            // A repeat: told once what it stands for is on disk.
            let replies = vec![(call, Reply::TabSaved(saved.clone()))];
            self.write(WriteBatch::default(), Landed { replies, ..Landed::default() });
            return Ok(());
        }
        if log != self.own_id() {
            return Err(Error::new(ErrorCode::Aborted, "this device goes on in a new epoch; open the tab anew"));
        }
        let mut arrived = Arrived::default();
        let mut places = SortedMap::new();
        let mut commits = Vec::with_capacity(writes.len());
        for write in writes {
            let draft = write.seq;
            let commit = self.tab_commit(tab, write, &mut places, &mut arrived);
            if commit.is_err() {
                places.remove(&draft);
            }
            commits.push(commit);
        }
        let saved = TabSaved { log, commits };
        self.tabs.note(tab, number, saved.clone());
        arrived.batch.put(Table::Meta, meta::TABS, self.tabs.encode());
        arrived.landed.replies.push((call, Reply::TabSaved(saved)));
        self.finish_arrival(arrived);
        Ok(())
    }

    /// Makes a commit of a tab's write; `places` are the numbers that drafts of this message got.
    fn tab_commit(
        &mut self,
        tab: TabId,
        write: TabWrite,
        places: &mut SortedMap<u64, u64>,
        arrived: &mut Arrived,
    ) -> Result<u64> {
        let TabWrite { seq: draft, entity_type, hlc: drafted, mut events } = write;
        self.audited_write(&entity_type)?;
        if events.is_empty() || events.len() > MAX_BATCH_SIZE || events.iter().any(|event| event.ops.is_empty()) {
            return Err(Error::invalid(format!(
                "a commit has 1 to {MAX_BATCH_SIZE} events, each of which does something"
            )));
        }
        let name = self.own_log(&entity_type);
        let key = self.log_mut(&name).key;
        let hlc = self.hlc.tick(self.now);
        let seq = self.logs.get(&key).map_or(1, |log| log.tip.seq + 1);
        places.insert(draft, seq);
        for event in &mut events {
            event.seen.retain(|(log, _)| *log != name.id && log.epoch.0 != 0);
            for op in &mut event.ops {
                undraft(op, self.me, |draft| Some(Dot { log: name.id, seq: *places.get(&draft.seq)?, ..draft }))?;
                lift(op, drafted, hlc);
            }
            check_event(event, name.id)?;
        }
        self.tabs.watched.insert(entity_type);
        self.commit(key, vec![Draft { hlc, stands_for: None, events }], arrived)?;
        if let Some(change) = arrived.landed.changed.last_mut().filter(|change| change.seq == seq) {
            change.origin = Some((tab, draft));
        }
        Ok(seq)
    }

    /// Notes a commit for the replicas.
    pub(super) fn note_change(&mut self, commit: &crate::types::Commit, counts: bool, landed: &mut Landed) {
        if !self.tabs.active {
            return;
        }
        let log = &commit.header.log;
        if self.tabs.watched.contains(&log.entity_type) {
            landed.changed.push(ChangedCommit {
                log: log.clone(),
                seq: commit.header.seq,
                hlc: commit.header.hlc,
                hash: Hash::short(&commit.hash),
                counts,
                origin: None,
                events: commit.events.clone(),
            });
        }
    }

    /// What the replicas are told of a batch that is on disk.
    pub(super) fn changed(&mut self, landed: &mut Landed) -> Vec<Changed> {
        let mut changed = Vec::new();
        if !self.tabs.active {
            return changed;
        }
        let updated = std::mem::take(&mut landed.updated);
        if !updated.is_empty() {
            changed.push(self.changed_by(updated, std::mem::take(&mut landed.changed)));
        }
        if !landed.refolded.is_empty() {
            // Nobody has changed anything: it is read again, whatever the commits before say.
            changed.push(self.changed_by(vec![(self.me, std::mem::take(&mut landed.refolded))], Vec::new()));
        }
        changed
    }

    fn changed_by(&mut self, updated: Vec<(PeerId, Vec<EntityId>)>, commits: Vec<ChangedCommit>) -> Changed {
        let from = self.tabs.told.min(self.ids.len());
        self.tabs.told = self.ids.len();
        Changed { logs: (from, self.ids.ids().get(from..).unwrap_or_default().to_vec()), commits, updated }
    }

    /// The answer with these states.
    pub(super) fn states(&self, states: Vec<(EntityId, Vec<u8>)>, more: bool) -> Reply {
        Reply::States(Box::new(States { logs: self.ids.ids().to_vec(), forked: self.ids.forked(), states, more }))
    }

    fn own_id(&self) -> LogId {
        LogId { author: self.me, epoch: self.epoch }
    }
}

/// Puts the places that drafts have got into an operation; fails where a draft has none.
pub fn undraft(op: &mut FieldOp, me: PeerId, place: impl Fn(Dot) -> Option<Dot>) -> Result<()> {
    let draft = draft_log(me);
    let lost = || Error::invalid("an operation that names a draft which is not in its message");
    let (dots, sums) = match op {
        FieldOp::Remove { dots, .. } | FieldOp::ClearSet { dots, .. } => (Some(dots), None),
        FieldOp::ClearCounter { sums, .. } => (None, Some(sums)),
        _ => return Ok(()),
    };
    if let Some(dots) = dots.filter(|dots| dots.iter().any(|dot| dot.log == draft)) {
        for dot in dots.iter_mut().filter(|dot| dot.log == draft) {
            *dot = place(*dot).ok_or_else(lost)?;
        }
        dots.sort_unstable();
        dots.dedup();
    }
    if let Some(sums) = sums
        && let Some(found) = sums.iter().position(|(dot, _)| dot.log == draft)
    {
        let (dot, sum) = sums.remove(found);
        let dot = place(dot).ok_or_else(lost)?;
        // One share a log: what the tab had drafted comes on top of what it had seen of the device's log.
        match sums.iter_mut().find(|(known, _)| known.log == dot.log) {
            Some((known, total)) => (*known, *total) = (dot, total.wrapping_add(sum)),
            None => sums.push((dot, sum)),
        }
        sums.sort_unstable();
    }
    Ok(())
}

/// Keeps a register's stamp at least as late as the tab has shown it.
fn lift(op: &mut FieldOp, drafted: HybridTimestamp, hlc: HybridTimestamp) {
    if let FieldOp::Set { lift, .. } | FieldOp::Clear { lift, .. } = op {
        let before = HybridTimestamp(drafted.lifted(*lift).0.saturating_sub(1));
        *lift = hlc.lift_over(Some(before));
    }
}
