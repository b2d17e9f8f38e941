//! What tabs and the leader say to each other, and its bytes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::answer::{Answer, Ask};
use crate::crdt::LogIx;
use crate::engine::{Changed, ChangedCommit, States, TabId, TabOpened, TabSaved, TabWrite};
use crate::error::{Error, ErrorCode, Result};
use crate::types::codec::{Reader, put_bytes, put_varint};
use crate::types::limits::{MAX_NAME_BYTES, MAX_OPS};
use crate::types::{
    EntityId, EntityType, Epoch, Event, HybridTimestamp, InFull, LogId, LogName, PeerId, ReadNames, WriteNames,
};

/// From a tab to the leader.
#[derive(Clone, PartialEq, Debug)]
pub enum ToLeader {
    /// A tab begins, or begins anew; answered by [`ToTab::Welcome`].
    Hello(TabId),
    /// Send all entities of a type, and what changes of them.
    Watch(TabId, EntityType),
    /// Send these entities, and what changes in their type.
    Fetch(TabId, EntityType, Vec<EntityId>),
    /// Save this: the message's number, the log that the tab was welcomed with, the writes.
    Write(TabId, u64, LogId, Vec<TabWrite>),
    /// A question, with the tab's number for it.
    Ask(TabId, u64, Ask),
    /// The tab closes.
    Bye(TabId),
}

/// From the leader to a tab, or to all.
#[derive(Clone, PartialEq, Debug)]
pub enum ToTab {
    /// The leader is here, and the tab may work.
    Welcome(TabId, Box<TabOpened>),
    /// Entities of a type that was watched.
    Page(TabId, EntityType, States),
    /// The entities that were fetched: of these ids, those that are not among the states do not exist.
    Fetched(TabId, EntityType, Vec<EntityId>, States),
    /// What became of a message.
    Saved(TabId, u64, Result<TabSaved>),
    /// The answer to a question.
    Answer(TabId, u64, Result<Answer>),
    /// To all: something has changed.
    Changed(Arc<Changed>),
    /// To all: what was told before no longer holds; say Hello.
    Anew,
    /// To all: an event for the app.
    Notice(Notice),
}

/// What an app is told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Notice {
    /// A session is open.
    Connected(PeerId),
    /// It has ended.
    Disconnected(PeerId),
    /// Nothing is owed.
    Synced(PeerId),
    /// A device was signed in.
    Paired(PeerId),
    /// Pairing has come further, or ended: ask how far it is.
    Pairing,
    /// Who is in the vault, or may do what, has changed.
    Members,
    /// The audit log has another entry.
    Audited,
    /// Something failed: with this device, or here (then it is this one).
    Failed(PeerId, u8, String),
    /// All links are cut on purpose, or taken again.
    Paused(bool),
    /// The store failed: what is not saved stays in memory, and goes on when the store is open again.
    StoreFailed(PeerId, u8, String),
}

impl ToTab {
    /// Whom it is for; `None` for all.
    pub fn tab(&self) -> Option<TabId> {
        match self {
            ToTab::Welcome(tab, _)
            | ToTab::Page(tab, ..)
            | ToTab::Fetched(tab, ..)
            | ToTab::Saved(tab, ..)
            | ToTab::Answer(tab, ..) => Some(*tab),
            ToTab::Changed(_) | ToTab::Anew | ToTab::Notice(_) => None,
        }
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            ToTab::Welcome(tab, opened) => {
                put_tab(&mut out, 0, *tab);
                put_log(&mut out, &opened.log);
                put_varint(&mut out, u64::from(opened.session));
                match &opened.saved {
                    Some((number, saved)) => {
                        out.push(1);
                        put_varint(&mut out, *number);
                        saved.encode(&mut out);
                    }
                    None => out.push(0),
                }
                put_logs(&mut out, &opened.logs);
            }
            ToTab::Page(tab, name, states) => {
                put_tab(&mut out, 1, *tab);
                put_name(&mut out, name);
                put_states(&mut out, states);
            }
            ToTab::Fetched(tab, name, ids, states) => {
                put_tab(&mut out, 2, *tab);
                put_name(&mut out, name);
                put_ids(&mut out, ids);
                put_states(&mut out, states);
            }
            ToTab::Saved(tab, number, saved) => {
                put_tab(&mut out, 3, *tab);
                put_varint(&mut out, *number);
                put_result(&mut out, saved, |out, saved| saved.encode(out));
            }
            ToTab::Answer(tab, number, answer) => {
                put_tab(&mut out, 4, *tab);
                put_varint(&mut out, *number);
                put_result(&mut out, answer, put_serde);
            }
            ToTab::Changed(changed) => {
                out.push(5);
                put_changed(&mut out, changed);
            }
            ToTab::Anew => out.push(6),
            ToTab::Notice(notice) => {
                out.push(7);
                put_serde(&mut out, notice);
            }
        }
        out
    }

    /// Reads [`ToTab::encode`].
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let message = match reader.byte()? {
            0 => {
                let tab = read_tab(&mut reader)?;
                let log = read_log(&mut reader)?;
                let session = reader.bounded(u16::MAX as usize, "a session")? as u16;
                let saved = match reader.byte()? {
                    0 => None,
                    _ => Some((reader.varint()?, TabSaved::decode(&mut reader)?)),
                };
                ToTab::Welcome(tab, Box::new(TabOpened { log, session, saved, logs: read_logs(&mut reader)? }))
            }
            1 => {
                let (tab, name) = (read_tab(&mut reader)?, read_name(&mut reader)?);
                ToTab::Page(tab, name, read_states(&mut reader)?)
            }
            2 => {
                let (tab, name) = (read_tab(&mut reader)?, read_name(&mut reader)?);
                ToTab::Fetched(tab, name, read_ids(&mut reader)?, read_states(&mut reader)?)
            }
            3 => {
                let (tab, number) = (read_tab(&mut reader)?, reader.varint()?);
                ToTab::Saved(tab, number, read_result(&mut reader, TabSaved::decode)?)
            }
            4 => {
                let (tab, number) = (read_tab(&mut reader)?, reader.varint()?);
                ToTab::Answer(tab, number, read_result(&mut reader, read_serde)?)
            }
            5 => ToTab::Changed(Arc::new(read_changed(&mut reader)?)),
            6 => ToTab::Anew,
            7 => ToTab::Notice(read_serde(&mut reader)?),
            _ => return Err(unknown()),
        };
        reader.finish()?;
        Ok(message)
    }
}

impl ToLeader {
    /// Whose it is.
    pub fn tab(&self) -> TabId {
        match self {
            ToLeader::Hello(tab)
            | ToLeader::Watch(tab, _)
            | ToLeader::Fetch(tab, ..)
            | ToLeader::Write(tab, ..)
            | ToLeader::Ask(tab, ..)
            | ToLeader::Bye(tab) => *tab,
        }
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            ToLeader::Hello(tab) => put_tab(&mut out, 0, *tab),
            ToLeader::Watch(tab, name) => {
                put_tab(&mut out, 1, *tab);
                put_name(&mut out, name);
            }
            ToLeader::Fetch(tab, name, ids) => {
                put_tab(&mut out, 2, *tab);
                put_name(&mut out, name);
                put_ids(&mut out, ids);
            }
            ToLeader::Write(tab, number, log, writes) => {
                put_tab(&mut out, 3, *tab);
                put_varint(&mut out, *number);
                put_log(&mut out, log);
                put_varint(&mut out, writes.len() as u64);
                for write in writes {
                    put_varint(&mut out, write.seq);
                    put_name(&mut out, &write.entity_type);
                    put_varint(&mut out, write.hlc.0);
                    put_events(&mut out, &write.events);
                }
            }
            ToLeader::Ask(tab, number, ask) => {
                put_tab(&mut out, 4, *tab);
                put_varint(&mut out, *number);
                put_serde(&mut out, ask);
            }
            ToLeader::Bye(tab) => put_tab(&mut out, 5, *tab),
        }
        out
    }

    /// Reads [`ToLeader::encode`].
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let (kind, tab) = (reader.byte()?, read_tab(&mut reader)?);
        let message = match kind {
            0 => ToLeader::Hello(tab),
            1 => ToLeader::Watch(tab, read_name(&mut reader)?),
            2 => {
                let name = read_name(&mut reader)?;
                ToLeader::Fetch(tab, name, read_ids(&mut reader)?)
            }
            3 => {
                let (number, log) = (reader.varint()?, read_log(&mut reader)?);
                let mut writes = Vec::new();
                for _ in 0..reader.count(usize::MAX, "writes")? {
                    let (seq, entity_type) = (reader.varint()?, read_name(&mut reader)?);
                    let hlc = HybridTimestamp(reader.varint()?);
                    // Own drafts name no log as their own: what they have seen may name any.
                    writes.push(TabWrite { seq, entity_type, hlc, events: read_events(&mut reader)? });
                }
                ToLeader::Write(tab, number, log, writes)
            }
            4 => {
                let number = reader.varint()?;
                ToLeader::Ask(tab, number, read_serde(&mut reader)?)
            }
            5 => ToLeader::Bye(tab),
            _ => return Err(unknown()),
        };
        reader.finish()?;
        Ok(message)
    }
}

fn unknown() -> Error {
    Error::new(ErrorCode::Version, "a message of another version of this page; reload all of its tabs")
}

fn put_tab(out: &mut Vec<u8>, kind: u8, tab: TabId) {
    out.push(kind);
    out.extend_from_slice(&tab.0.to_le_bytes());
}

fn read_tab(reader: &mut Reader<'_>) -> Result<TabId> {
    Ok(TabId(u64::from_le_bytes(reader.array()?)))
}

fn put_name(out: &mut Vec<u8>, name: &EntityType) {
    put_bytes(out, name.as_str().as_bytes());
}

fn read_name(reader: &mut Reader<'_>) -> Result<EntityType> {
    EntityType::new(reader.text(MAX_NAME_BYTES, "an entity type")?)
}

fn put_ids(out: &mut Vec<u8>, ids: &[EntityId]) {
    put_varint(out, ids.len() as u64);
    ids.iter().for_each(|id| out.extend_from_slice(&id.0));
}

fn read_ids(reader: &mut Reader<'_>) -> Result<Vec<EntityId>> {
    (0..reader.count(usize::MAX, "ids")?).map(|_| Ok(EntityId(reader.array()?))).collect()
}

fn put_log(out: &mut Vec<u8>, log: &LogId) {
    WriteNames::log(&mut InFull, out, log);
}

fn read_log(reader: &mut Reader<'_>) -> Result<LogId> {
    ReadNames::log(&mut InFull, reader)
}

fn put_logs(out: &mut Vec<u8>, logs: &[LogId]) {
    put_varint(out, logs.len() as u64);
    logs.iter().for_each(|log| put_log(out, log));
}

fn read_logs(reader: &mut Reader<'_>) -> Result<Vec<LogId>> {
    (0..reader.count(usize::MAX, "logs")?).map(|_| read_log(reader)).collect()
}

fn put_states(out: &mut Vec<u8>, states: &States) {
    put_logs(out, &states.logs);
    put_varint(out, states.forked.len() as u64);
    states.forked.iter().for_each(|log| put_varint(out, u64::from(log.0)));
    put_varint(out, states.states.len() as u64);
    for (id, state) in &states.states {
        out.extend_from_slice(&id.0);
        put_bytes(out, state);
    }
    out.push(u8::from(states.more));
}

fn read_states(reader: &mut Reader<'_>) -> Result<States> {
    let logs = read_logs(reader)?;
    let mut forked = Vec::new();
    for _ in 0..reader.count(usize::MAX, "forked logs")? {
        forked.push(LogIx(reader.bounded(u32::MAX as usize, "a log")? as u32));
    }
    let mut states = Vec::new();
    for _ in 0..reader.count(usize::MAX, "states")? {
        states.push((EntityId(reader.array()?), reader.bytes(usize::MAX, "a state")?.to_vec()));
    }
    Ok(States { logs, forked, states, more: reader.byte()? != 0 })
}

fn put_events(out: &mut Vec<u8>, events: &[Event]) {
    put_varint(out, events.len() as u64);
    events.iter().for_each(|event| event.encode(out, &mut InFull));
}

/// A log that stands for none: no event in a tab's message names it.
const NOBODY: LogId = LogId { author: PeerId([0; 32]), epoch: Epoch(0) };

fn read_events(reader: &mut Reader<'_>) -> Result<Vec<Event>> {
    (0..reader.count(MAX_OPS.max(1_000), "events")?).map(|_| Event::decode(reader, &mut InFull, &NOBODY)).collect()
}

fn put_changed(out: &mut Vec<u8>, changed: &Changed) {
    put_varint(out, changed.logs.0 as u64);
    put_logs(out, &changed.logs.1);
    put_varint(out, changed.commits.len() as u64);
    for commit in &changed.commits {
        put_log(out, &commit.log.id);
        put_name(out, &commit.log.entity_type);
        put_varint(out, commit.seq);
        put_varint(out, commit.hlc.0);
        out.extend_from_slice(&commit.hash.to_le_bytes());
        out.push(u8::from(commit.counts) | u8::from(commit.origin.is_some()) << 1);
        if let Some((tab, draft)) = commit.origin {
            out.extend_from_slice(&tab.0.to_le_bytes());
            put_varint(out, draft);
        }
        put_events(out, &commit.events);
    }
    put_varint(out, changed.updated.len() as u64);
    for (peer, ids) in &changed.updated {
        out.extend_from_slice(&peer.0);
        put_ids(out, ids);
    }
}

fn read_changed(reader: &mut Reader<'_>) -> Result<Changed> {
    let logs = (reader.bounded(u32::MAX as usize, "a log")?, read_logs(reader)?);
    let mut commits = Vec::new();
    for _ in 0..reader.count(usize::MAX, "commits")? {
        let log = LogName { id: read_log(reader)?, entity_type: read_name(reader)? };
        let (seq, hlc) = (reader.varint()?, HybridTimestamp(reader.varint()?));
        let hash = u64::from_le_bytes(reader.array()?);
        let flags = reader.byte()?;
        let origin = if flags & 2 != 0 { Some((read_tab(reader)?, reader.varint()?)) } else { None };
        let events = read_events(reader)?;
        commits.push(ChangedCommit { log, seq, hlc, hash, counts: flags & 1 != 0, origin, events });
    }
    let mut updated = Vec::new();
    for _ in 0..reader.count(usize::MAX, "authors")? {
        updated.push((PeerId(reader.array()?), read_ids(reader)?));
    }
    Ok(Changed { logs, commits, updated })
}

fn put_result<T>(out: &mut Vec<u8>, result: &Result<T>, put: impl FnOnce(&mut Vec<u8>, &T)) {
    match result {
        Ok(value) => {
            out.push(1);
            put(out, value);
        }
        Err(error) => {
            out.extend_from_slice(&[0, error.code().to_byte()]);
            put_bytes(out, error.message().as_bytes());
        }
    }
}

fn read_result<T>(reader: &mut Reader<'_>, read: impl FnOnce(&mut Reader<'_>) -> Result<T>) -> Result<Result<T>> {
    Ok(match reader.byte()? {
        0 => {
            let code = ErrorCode::from_byte(reader.byte()?);
            Err(Error::new(code, reader.text(usize::MAX, "an error")?))
        }
        _ => Ok(read(reader)?),
    })
}

fn put_serde<T: Serialize>(out: &mut Vec<u8>, value: &T) {
    // Serialising to memory fails for no type that is used here.
    put_bytes(out, &postcard::to_allocvec(value).unwrap_or_default());
}

fn read_serde<T: for<'a> Deserialize<'a>>(reader: &mut Reader<'_>) -> Result<T> {
    postcard::from_bytes(reader.bytes(usize::MAX, "a value")?).map_err(|_| unknown())
}
