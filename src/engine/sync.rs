//! The frontier exchange: what each side holds, told in as few bytes as it takes.
//!
//! The asker sends its digest, with the entries that changed since the last common frontier where they are few. The
//! answer is `Equal`, or the like of the other side; where that is not enough, short digests a type, then both sides'
//! entries of the types that differ.

use super::io::{CallId, LinkId, Output, Reply, SyncEvent};
use super::sessions::{Carries, Session};
use super::{Landed, SyncEngine, layout};
use crate::error::{Error, ErrorCode, Result};
use crate::protocol::{Frontier, Held, entries_of, summarize};
use crate::store::{Durability, Table, WriteBatch};
use crate::types::{EntityType, Hash, LogName, PeerId, SortedSet};
use crate::wire::*;

/// Entries in one frame of a full exchange: each takes up to 215 bytes.
const ENTRIES_A_FRAME: usize = 250;
/// Entries that one peer may tell in one exchange.
const MAX_ENTRIES: usize = 200_000;

/// A call that waits until nothing is owed.
#[derive(Debug)]
pub struct Forced {
    pub call: CallId,
    /// The links whose exchange has not ended since.
    pub waiting: SortedSet<LinkId>,
    /// Events sent and received by those sessions before.
    pub before: (u64, u64),
    pub links: SortedSet<LinkId>,
    pub failed: bool,
}

/// A full exchange under way.
#[derive(Default, Debug)]
pub struct Exchange {
    id: u32,
    /// What was held here when the types were compared.
    ours: Frontier,
    entries: Frontier,
}

impl SyncEngine {
    /// Asks a peer for its frontier and tells ours.
    pub(super) fn ask(&mut self, link: LinkId) {
        let Some(peer) = self.sessions.get(&link).map(|session| session.peer) else { return };
        let (digest, frontier) = self.frontier_for(&peer);
        let have = summarize(digest, &frontier, self.base(&peer));
        let Some(session) = self.sessions.get_mut(&link) else { return };
        let id = session.next_request();
        session.request = Some(id);
        session.told = Some((digest, frontier));
        session.ask_again = false;
        self.send(link, &Message::SyncRequest(SyncRequestMessage { id, scope: Scope::All, have }));
    }

    fn base(&self, peer: &PeerId) -> Option<(u64, &Frontier)> {
        self.peers.get(peer)?.common.as_ref().map(|(short, frontier)| (*short, frontier))
    }

    /// A peer asks.
    pub(super) fn sync_request(&mut self, link: LinkId, request: SyncRequestMessage) -> Result<()> {
        let Some(peer) = self.sessions.get(&link).map(|session| session.peer) else { return Ok(()) };
        match request.scope {
            Scope::All => {}
            Scope::Types(_) => return self.resume_from(link, request.have.entries),
            Scope::Entities(entities) => return self.clocks_asked(link, request.id, entities),
        }
        let (digest, frontier) = self.frontier_for(&peer);
        if digest == request.have.digest {
            self.send_state(link, request.id, SyncState::Equal);
            self.frontiers_equal(link, digest, frontier);
            return Ok(());
        }
        let ours = match resolve(&request.have, self.base(&peer)) {
            Some(theirs) => {
                let base = if request.have.base == 0 { None } else { self.base(&peer) };
                let ours = summarize(digest, &frontier, base);
                if ours.complete {
                    self.theirs_known(link, theirs);
                }
                ours
            }
            None => FrontierSummary { digest, base: 0, entries: Vec::new(), complete: false },
        };
        let state = match ours.complete {
            true => SyncState::Have(ours),
            false => {
                if let Some(session) = self.sessions.get_mut(&link) {
                    session.answering = Exchange { id: request.id, ours: frontier, entries: Frontier::new() };
                }
                SyncState::Types(self.type_shorts(&peer))
            }
        };
        self.send_state(link, request.id, state);
        Ok(())
    }

    /// A peer answers, or goes on with what it asked.
    pub(super) fn sync_state(&mut self, link: LinkId, message: SyncStateMessage) -> Result<()> {
        let Some(session) = self.sessions.get_mut(&link) else { return Ok(()) };
        let peer = session.peer;
        let asked = session.request == Some(message.id);
        match message.state {
            SyncState::Equal if asked => {
                session.request = None;
                // Equal to what was told then: commits made since are new to the peer.
                if let Some((digest, frontier)) = session.told.take() {
                    self.frontiers_equal(link, digest, frontier);
                }
                Ok(())
            }
            SyncState::Have(have) if asked => {
                session.request = None;
                let theirs = resolve(&have, self.base(&peer))
                    .ok_or_else(|| Error::protocol("a frontier relative to one that was never common"))?;
                self.theirs_known(link, theirs);
                Ok(())
            }
            SyncState::Types(theirs) if asked => {
                let (_, held) = self.frontier_for(&peer);
                let ours = self.type_shorts(&peer);
                if let Some(session) = self.sessions.get_mut(&link) {
                    session.asking = Exchange { id: message.id, ours: held, entries: Frontier::new() };
                }
                let differ: SortedSet<EntityType> = (ours.iter().filter(|entry| !theirs.contains(entry)))
                    .chain(theirs.iter().filter(|entry| !ours.contains(entry)))
                    .map(|(name, _)| name.clone())
                    .collect();
                self.send_entries(link, message.id, &differ);
                Ok(())
            }
            SyncState::Entries { types, entries, .. } if types.is_empty() && message.id == 0 => {
                self.probe(link, entries)
            }
            SyncState::Entries { types, entries, last } => {
                let exchange = if asked { &mut session.asking } else { &mut session.answering };
                if exchange.id != message.id {
                    return Err(Error::protocol("entries that nobody asked for"));
                }
                exchange.entries.extend(entries.into_iter().map(named));
                if exchange.entries.len() > MAX_ENTRIES {
                    return Err(Error::protocol("a frontier with too many logs"));
                }
                if !last {
                    return Ok(());
                }
                let Exchange { ours, entries: told, .. } = std::mem::take(exchange);
                if asked {
                    session.request = None;
                }
                let types: SortedSet<EntityType> = types.into_iter().collect();
                if !asked {
                    self.send_entries(link, message.id, &types);
                }
                // Types that were not named are held alike.
                let alike = ours.into_iter().filter(|(name, _)| !types.contains(&name.entity_type));
                self.theirs_known(link, alike.chain(told).collect());
                Ok(())
            }
            SyncState::Clocks(_) | SyncState::Membership(_) => Ok(()),
            _ => Err(Error::protocol("an answer to nothing that was asked")),
        }
    }

    fn send_state(&mut self, link: LinkId, id: u32, state: SyncState) {
        self.send(link, &Message::SyncState(SyncStateMessage { id, state }));
    }

    fn type_shorts(&mut self, peer: &PeerId) -> Vec<(EntityType, u64)> {
        let types = self.shared_types(peer);
        let named = types.into_iter().filter_map(|ty| Some((self.type_name(ty)?.clone(), self.digest_of(ty).short())));
        named.collect()
    }

    fn send_entries(&mut self, link: LinkId, id: u32, types: &SortedSet<EntityType>) {
        let Some(peer) = self.sessions.get(&link).map(|session| session.peer) else { return };
        let (_, frontier) = self.frontier_for(&peer);
        let entries: Vec<FrontierEntry> =
            entries_of(&frontier).filter(|entry| types.contains(&entry.entity_type)).collect();
        // A type that it may not read (any more) is not even named.
        let types: Vec<EntityType> =
            types.iter().filter(|name| self.may_exchange(name.as_str(), &peer)).cloned().collect();
        let mut chunks = entries.chunks(ENTRIES_A_FRAME).peekable();
        if chunks.peek().is_none() {
            return self.send_state(link, id, SyncState::Entries { types, entries: Vec::new(), last: true });
        }
        while let Some(chunk) = chunks.next() {
            let last = chunks.peek().is_none();
            self.send_state(link, id, SyncState::Entries { types: types.clone(), entries: chunk.to_vec(), last });
        }
    }

    /// Both hold the same: remembered, so that the next difference is told in few bytes.
    fn frontiers_equal(&mut self, link: LinkId, digest: Hash, frontier: Frontier) {
        let Some(peer) = self.sessions.get(&link).map(|session| session.peer) else { return };
        let known = self.peers.entry(peer).or_default();
        let news = known.common.as_ref().is_none_or(|(short, _)| *short != digest.short());
        if news {
            known.common = Some((digest.short(), frontier.clone()));
            self.store_peer(peer);
        }
        self.theirs_known(link, frontier);
    }

    /// The peer's whole frontier is known: what it lacks can be sent.
    fn theirs_known(&mut self, link: LinkId, theirs: Frontier) {
        let Some(peer) = self.sessions.get(&link).map(|session| session.peer) else { return };
        self.compare_tips(link, &theirs);
        let Some(session) = self.sessions.get_mut(&link) else { return };
        // Messages come in order: whatever the peer sent or acknowledged before is in what it tells now.
        session.theirs = theirs;
        session.stuck.clear();
        session.known = true;
        if !session.access.ask && !session.ask_again {
            session.access.unsure.clear();
        }
        session.caught_up = false;
        // What is under way is not sent again.
        let pending = session.sending.under_way().filter_map(Carries::log).collect::<SortedSet<_>>();
        session.sent.retain(|key, _| pending.contains(key));
        session.stale = true;
        for forced in &mut self.forced {
            forced.waiting.remove(&link);
        }
        if let Some(known) = self.peers.get_mut(&peer) {
            known.last_seen = Some(self.now.wall);
        }
    }

    /// What the peer lacks and we hold, and the other way round, in commits.
    pub(super) fn owed(&self, session: &Session) -> (u64, u64) {
        let (mut behind, mut ahead) = (0, 0);
        let shared = self.shared_types(&session.peer);
        let counts = |name: &LogName| self.find_type(&name.entity_type).is_none_or(|ty| shared.contains(&ty));
        for (name, held) in session.theirs.iter().filter(|(name, _)| counts(name)) {
            let ours = self.log_names.get(name).and_then(|key| self.logs.get(key)).map_or(0, |log| log.shared().seq);
            behind += held.seq.saturating_sub(ours);
        }
        for ty in shared {
            for log in super::logs_of(&self.logs, ty) {
                let theirs = session.theirs.get(&log.name).map_or(0, |held| held.seq);
                ahead += log.shared().seq.saturating_sub(theirs);
            }
        }
        (behind, ahead)
    }

    /// Whether a session owes nothing either way.
    pub(super) fn in_sync(&self, session: &Session) -> bool {
        session.connected
            && session.known
            && session.request.is_none()
            && !session.ask_again
            && !session.access.ask
            && self.logs.values().all(|log| log.tip == log.stored)
            && self.owed(session) == (0, 0)
    }

    /// Remembers what a peer holds, for the time when it is not there to be asked.
    fn note_sync(&mut self, link: LinkId) {
        let Some(session) = self.sessions.get(&link) else { return };
        self.last_sync = Some(self.now.wall);
        let known = self.peers.entry(session.peer).or_default();
        known.synced_at = Some(self.now.wall);
        if known.holds != session.theirs {
            known.holds = session.theirs.clone();
            let mut batch = WriteBatch { durability: Durability::Relaxed, ..WriteBatch::default() };
            batch.put(Table::Peers, layout::peer_row(&session.peer), known.encode());
            self.write(batch, Landed::default());
        }
    }

    /// Tells whoever waited that all is in sync, or on disk.
    pub(super) fn settle(&mut self) {
        let links: Vec<LinkId> = self.sessions.keys().copied().collect();
        for link in links {
            let Some(session) = self.sessions.get(&link) else { continue };
            let complete = self.in_sync(session);
            let peer = session.peer;
            if complete && !session.complete {
                self.note_sync(link);
                if let Some(known) = self.peers.get_mut(&peer) {
                    known.backoff = 0;
                }
                self.out.push(Output::Emit(SyncEvent::SyncCompleted(peer)));
            }
            if let Some(session) = self.sessions.get_mut(&link) {
                session.complete = complete;
                session.caught_up |= complete;
                if complete {
                    session.bulk_until = 0;
                }
            }
        }
        self.settle_forced();
        self.settle_levels();
    }

    pub(super) fn force_sync(&mut self, call: CallId, peer: Option<PeerId>) {
        let links: SortedSet<LinkId> = (self.sessions.iter())
            .filter(|(_, session)| session.connected && peer.is_none_or(|peer| peer == session.peer))
            .map(|(link, _)| *link)
            .collect();
        if links.is_empty() {
            let who = peer.map_or("no other device".to_owned(), |peer| format!("{peer} is not one that"));
            let error = Error::new(ErrorCode::Unreachable, format!("{who} is connected; `explain` says why"));
            return self.refuse(call, error);
        }
        let before = self.events_moved(&links);
        for link in &links {
            if let Some(session) = self.sessions.get_mut(link) {
                session.ask_again = true;
            }
        }
        self.forced.push(Forced { call, waiting: links.clone(), links, before, failed: false });
    }

    fn events_moved(&self, links: &SortedSet<LinkId>) -> (u64, u64) {
        let sessions = links.iter().filter_map(|link| self.sessions.get(link));
        sessions.fold((0, 0), |sum, session| (sum.0 + session.sent_events, sum.1 + session.received_events))
    }

    pub(super) fn forced_link_gone(&mut self, link: LinkId) {
        for forced in &mut self.forced {
            forced.failed |= forced.links.contains(&link);
        }
    }

    fn settle_forced(&mut self) {
        let (done, waiting): (Vec<Forced>, Vec<Forced>) =
            std::mem::take(&mut self.forced).into_iter().partition(|forced| {
                let synced = |link: &LinkId| self.sessions.get(link).is_none_or(|session| self.in_sync(session));
                forced.failed || (forced.waiting.is_empty() && forced.links.iter().all(synced))
            });
        self.forced = waiting;
        for forced in done {
            if forced.failed {
                let error = Error::new(ErrorCode::Unreachable, "a link ended before all was exchanged; try again");
                self.refuse(forced.call, error);
                continue;
            }
            let (sent, received) = self.events_moved(&forced.links);
            let reply = Reply::Synced { sent: sent - forced.before.0, received: received - forced.before.1 };
            self.out.push(Output::Reply(forced.call, Ok(reply)));
        }
    }

    pub(super) fn subscribe(&mut self, link: LinkId, subscribe: SubscribeMessage) {
        match &subscribe.scope {
            Scope::All => {}
            Scope::Types(types) => self.audit_asked(link, types.iter()),
            Scope::Entities(entities) => self.audit_asked(link, entities.iter().map(|(name, _)| name)),
        }
        let Some(session) = self.sessions.get_mut(&link) else { return };
        session.live = subscribe.live;
        session.only = match subscribe.scope {
            Scope::All => None,
            Scope::Types(types) => Some(types.into_iter().collect()),
            Scope::Entities(entities) => Some(entities.into_iter().map(|(name, _)| name).collect()),
        };
    }
}

/// The whole frontier that a summary tells, if its base is known.
fn resolve(summary: &FrontierSummary, base: Option<(u64, &Frontier)>) -> Option<Frontier> {
    if !summary.complete {
        return None;
    }
    let mut frontier = match (summary.base, base) {
        (0, _) => Frontier::new(),
        (short, Some((known, frontier))) if short == known => frontier.clone(),
        _ => return None,
    };
    frontier.extend(summary.entries.iter().cloned().map(named));
    Some(frontier)
}

fn named(entry: FrontierEntry) -> (LogName, Held) {
    let name = LogName { entity_type: entry.entity_type, id: entry.log };
    (name, Held { seq: entry.seq, hash: entry.hash, forked: entry.forked })
}
