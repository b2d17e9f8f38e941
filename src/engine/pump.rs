//! Sending what a peer lacks: live and in bulk by the same way, under its credit window.

use std::collections::VecDeque;
use std::sync::Arc;

use super::io::{LinkId, SyncEvent};
use super::layout::{self, LogKey};
use super::log::Log;
use super::sessions::Carries;
use super::{Output, SyncEngine, Wanted};
use crate::error::Error;
use crate::store::{Read, Rows, Table};
use crate::types::{Hash, PeerId};
use crate::wire::*;

/// Bytes of items in one frame: what a full block and its framing take fits.
pub const FRAME_FILL: usize = 62 << 10;
/// Bytes of one large item in one frame.
const PART_BYTES: usize = 56 << 10;
/// Bytes read for a peer at once.
const READ_BYTES: usize = 256 << 10;
/// Bytes that the transport may have queued for a peer before more is read for it.
const MAX_QUEUED: usize = 2 << 20;
/// Bytes of recent blocks kept in memory, so that live commits are not read back.
const RECENT_BYTES: usize = 4 << 20;

/// The newest blocks of all logs.
#[derive(Default, Debug)]
pub struct Recent {
    blocks: VecDeque<(LogKey, u64, u64, Arc<[u8]>)>,
    bytes: usize,
}

impl Recent {
    pub fn put(&mut self, key: LogKey, first: u64, last: u64, block: Arc<[u8]>) {
        self.bytes += block.len();
        self.blocks.push_back((key, first, last, block));
        while self.bytes > RECENT_BYTES {
            let Some((_, _, _, old)) = self.blocks.pop_front() else { return };
            self.bytes -= old.len();
        }
    }

    /// The block that starts with this commit, and its last.
    fn get(&self, key: LogKey, first: u64) -> Option<(u64, Arc<[u8]>)> {
        let found = self.blocks.iter().rev().find(|(of, from, _, _)| *of == key && *from == first)?;
        Some((found.2, found.3.clone()))
    }

    pub fn forget(&mut self, key: LogKey) {
        self.forget_upto(key, u64::MAX);
    }

    /// Forgets the blocks of a log that end at `last` or before: they are merged in the store.
    pub fn forget_upto(&mut self, key: LogKey, last: u64) {
        self.blocks.retain(|(of, _, ends, _)| *of != key || *ends > last);
        self.bytes = self.blocks.iter().map(|(_, _, _, block)| block.len()).sum();
    }
}

/// How far a peer is sent a log: to the last commit that all branches share. Its author gets the branch that is held
/// here too, and makes its commits again.
fn reach(log: &Log, peer: &PeerId) -> u64 {
    if log.name.id.author == *peer { log.stored.seq } else { log.shared().seq }
}

impl SyncEngine {
    /// Sends each peer what it lacks, as far as its window and the transport have room.
    pub(super) fn pump(&mut self) {
        if self.paused
            || matches!(self.job, Some(super::Job::Divergence(_) | super::Job::Refold(_) | super::Job::Mending(_)))
        {
            return;
        }
        let links: Vec<LinkId> =
            self.sessions.iter().filter(|(_, s)| s.stale && s.connected && s.known).map(|(link, _)| *link).collect();
        for link in links {
            self.audit_sends(link);
            while self.pump_one(link) {}
        }
    }

    /// Sends or reads for one link; false when there is nothing more to do now.
    fn pump_one(&mut self, link: LinkId) -> bool {
        let Some(session) = self.sessions.get(&link) else { return false };
        if session.reading.is_some() || session.sending.room() == 0 || session.queued > MAX_QUEUED {
            return false;
        }
        let Some((key, from, fork)) = self.next_for(link) else {
            let again = self.has_forwards();
            if let Some(session) = self.sessions.get_mut(&link) {
                session.stale = again;
            }
            return false;
        };
        if fork {
            self.send_fork(link, key);
            return true;
        }
        let Some(log) = self.logs.get(&key) else { return false };
        let Some(peer) = self.sessions.get(&link).map(|session| session.peer) else { return false };
        let (upto, live) = (reach(log, &peer), log.name.id.author == self.me);
        // The chain must be the peer's: where it is not known to be, the block is looked at before it is sent.
        let Some(session) = self.sessions.get_mut(&link) else { return false };
        let checked = session.sent.get(&key) == Some(&(from - 1));
        if let Some((last, block)) = self.recent.get(key, from)
            && last <= upto
            && (checked || self.same_chain(link, key, from, &block))
        {
            self.send_block(link, key, last, block, live);
            return true;
        }
        let Some(session) = self.sessions.get_mut(&link) else { return false };
        if session.stuck.contains(&key) {
            return true;
        }
        session.reading = Some((key, from));
        let read = match checked && !session.floor {
            true => Read::Range {
                table: Table::Blocks,
                from: layout::block_row(key, from),
                to: layout::block_row(key, upto + 1),
                max_rows: usize::MAX,
                max_bytes: READ_BYTES,
            },
            false => {
                Read::Floor { table: Table::Blocks, from: layout::log_prefix(key), key: layout::block_row(key, from) }
            }
        };
        self.read(read, Wanted::Pump(link, key));
        false
    }

    /// The next log that the peer lacks something of: from which commit, and whether it lacks a fork proof first.
    fn next_for(&self, link: LinkId) -> Option<(LogKey, u64, bool)> {
        let session = self.sessions.get(&link)?;
        let shared = self.shared_types(&session.peer);
        for ty in shared.into_iter().filter(|ty| !session.access.unsure.contains(ty)) {
            let wanted =
                session.only.as_ref().is_none_or(|only| self.type_name(ty).is_some_and(|ty| only.contains(ty)));
            for log in super::logs_of(&self.logs, ty) {
                let theirs = session.theirs.get(&log.name);
                if let Some(fork) = log.fork
                    && theirs.is_none_or(|held| !held.forked || held.seq > fork.seq)
                    && !session.stuck.contains(&log.key)
                {
                    return Some((log.key, 0, true));
                }
                let has = theirs.map_or(0, |held| held.seq).max(session.sent.get(&log.key).copied().unwrap_or(0));
                let has = has.max(self.branch_given(log, &session.peer));
                if has >= reach(log, &session.peer) || session.stuck.contains(&log.key) || !wanted {
                    continue;
                }
                // Others' live commits wait a little: their author pushes them too.
                if session.caught_up && (log.forward_at > self.now.mono || !session.live) {
                    continue;
                }
                return Some((log.key, has + 1, false));
            }
        }
        None
    }

    /// How far into a branch the author of the log was given it.
    fn branch_given(&self, log: &Log, peer: &PeerId) -> u64 {
        let given = self.peers.get(peer).and_then(|peer| peer.branches.get(&log.key)).copied().unwrap_or(0);
        if log.beyond_fork(given) { given } else { 0 }
    }

    fn has_forwards(&self) -> bool {
        self.logs.values().any(|log| log.forward_at > self.now.mono)
    }

    /// When the next of others' commits are to be forwarded.
    pub(super) fn next_forward(&self) -> Option<u64> {
        if !self.sessions.values().any(|session| session.connected) {
            return None;
        }
        self.logs.values().map(|log| log.forward_at).filter(|at| *at > self.now.mono).min()
    }

    /// Whether the block continues the chain that the peer said to hold; if not, the peer is told, and the log waits
    /// until the peer says from where.
    fn same_chain(&mut self, link: LinkId, key: LogKey, from: u64, block: &[u8]) -> bool {
        let Ok(header) = decode_header(block) else { return false };
        if header.first_seq != from {
            return true; // cut to measure later
        }
        self.chain_matches(link, key, from - 1, header.prev)
    }

    fn chain_matches(&mut self, link: LinkId, key: LogKey, seq: u64, ours: Hash) -> bool {
        let Some(log) = self.logs.get(&key) else { return false };
        let Some(session) = self.sessions.get_mut(&link) else { return false };
        let theirs = session.theirs.get(&log.name);
        let alike = theirs.is_none_or(|held| held.seq != seq || held.hash == ours || held.hash == Hash::ZERO);
        if !alike {
            session.stuck.insert(key);
            let entry = FrontierEntry { seq, hash: ours, ..log.entry() };
            let state = SyncState::Entries { types: Vec::new(), entries: vec![entry], last: true };
            self.send(link, &Message::SyncState(SyncStateMessage { id: 0, state }));
        }
        alike
    }

    /// Blocks that were read for a peer.
    pub(super) fn pump_rows(&mut self, link: LinkId, key: LogKey, rows: Rows) {
        let Some(session) = self.sessions.get_mut(&link) else { return };
        let asked = session.reading.take().map_or(0, |(_, from)| from);
        session.stale = true;
        let floor = std::mem::take(&mut session.floor);
        let peer = session.peer;
        let (Some(log), Some(vault)) = (self.logs.get(&key), &self.vault) else { return };
        let (vault, name) = (vault.membership.vault(), log.name.clone());
        if !self.may_exchange(name.entity_type.as_str(), &peer) {
            return; // it may not read this any more
        }
        let Some(session) = self.sessions.get(&link) else { return };
        let (upto, forked) = (reach(log, &session.peer), log.fork.is_some());
        let has =
            session.sent.get(&key).copied().unwrap_or(0).max(session.theirs.get(&name).map_or(0, |held| held.seq));
        let mut next = has.max(self.branch_given(log, &peer)) + 1;
        if let Some((_, seq)) = rows.damaged.first().and_then(|row| layout::read_block_row(row).ok()) {
            if let Some(session) = self.sessions.get_mut(&link) {
                session.stuck.insert(key);
            }
            return self.damaged_block(key, seq.max(next));
        }
        if next != asked || next > upto {
            return; // the peer was given it, or the log was settled, while it was read
        }
        let before = next;
        let mut under_way = false;
        for (_, block) in rows.rows {
            let Ok(header) = decode_header(&block) else { break };
            if header.last_seq() < next {
                continue;
            }
            if header.first_seq > next {
                break;
            }
            // Blocks end in the commit that is signed: one that reaches over a fork goes whole, and counts up to it.
            if header.last_seq() > upto && !forked {
                under_way = true;
                break;
            }
            let (block, last): (Arc<[u8]>, u64) = if header.first_seq < next {
                let Ok(suffix) = cut_suffix(&block, vault, next - 1) else { break };
                (suffix.into(), header.last_seq())
            } else {
                (block.into(), header.last_seq())
            };
            let prev = decode_header(&block).map(|header| header.prev).unwrap_or_default();
            if !self.chain_matches(link, key, next - 1, prev) {
                return;
            }
            self.send_block(link, key, last, block, false);
            next = last + 1;
            if self.sessions.get(&link).is_none_or(|session| session.sending.room() == 0) {
                return; // the rest is read again when there is room
            }
        }
        if next == before && !under_way {
            // The block may have been merged with those before it, and start with them now.
            if let Some(session) = self.sessions.get_mut(&link)
                && !floor
            {
                session.floor = true;
                return;
            }
            // Nothing fits: what the log's row promises is not there.
            if let Some(session) = self.sessions.get_mut(&link) {
                session.stuck.insert(key);
            }
            self.damaged_block(key, next);
        }
    }

    fn send_block(&mut self, link: LinkId, key: LogKey, last: u64, block: Arc<[u8]>, live: bool) {
        let events = decode_header(&block).map_or(0, |header| u64::from(header.events));
        if let Some(log) = self.logs.get_mut(&key) {
            log.published = log.published.max(last);
        }
        let Some(session) = self.sessions.get_mut(&link) else { return };
        session.sent.insert(key, last);
        session.sent_events += events;
        self.moved.0 += events;
        session.complete = false;
        if block.len() > FRAME_FILL {
            return self.send_parts(link, &Item::Block(block), Carries::Commits(key, last));
        }
        let items = vec![Item::Block(block)];
        let message = match live {
            true => Message::EventNotify(EventNotifyMessage { items }),
            false => Message::EventBatch(EventBatchMessage::Items(items)),
        };
        self.send_counted(link, &message, Carries::Commits(key, last));
    }

    /// Sends an item that does not fit into one frame.
    pub(super) fn send_parts(&mut self, link: LinkId, item: &Item, carries: Carries) {
        let whole = match item.to_bytes() {
            Ok(whole) => whole,
            Err(error) => return self.hang_up(link, error),
        };
        let total = whole.len() as u32;
        let mut parts = whole.chunks(PART_BYTES).peekable();
        let mut carries = Some(carries);
        while let Some(part) = parts.next() {
            let message = Message::EventBatch(EventBatchMessage::Part { total, bytes: part.to_vec() });
            let last = parts.peek().is_none();
            let carried = if last { carries.take() } else { None };
            self.send_counted(link, &message, carried.unwrap_or(Carries::Other));
        }
    }

    fn send_counted(&mut self, link: LinkId, message: &Message, carries: Carries) {
        let mut bytes = Vec::new();
        if let Err(error) = message.encode(&mut bytes) {
            return self.hang_up(link, error);
        }
        if let Some(session) = self.sessions.get_mut(&link) {
            session.sending.sent(bytes.len(), carries);
        }
        self.send_bytes(link, bytes);
    }

    /// The peer has these on disk.
    pub(super) fn delivered(&mut self, link: LinkId, done: Vec<Carries>) {
        for carried in done {
            let Carries::Commits(key, seq) = carried else { continue };
            let (Some(log), Some(session)) = (self.logs.get(&key), self.sessions.get_mut(&link)) else { continue };
            session.note_has(&log.name, seq.min(log.shared().seq));
            if log.beyond_fork(seq) && log.name.id.author == session.peer {
                self.peers.entry(session.peer).or_default().branches.insert(key, seq);
            }
        }
    }

    /// Emits an error about a peer.
    pub(super) fn complain(&mut self, peer: PeerId, error: &Error) {
        self.out.push(Output::Emit(SyncEvent::SyncError(peer, error.to_string())));
    }
}
