//! Finding where two chains of one log part: whoever notices that a peer's chain differs asks the peer to go on from
//! further and further back, until the chains meet (PROTOCOL.md 4.6).

use std::sync::Arc;

use super::io::LinkId;
use super::layout::{self, LogKey};
use super::sessions::Carries;
use super::{SyncEngine, Wanted};
use crate::error::{Error, Result};
use crate::protocol::Frontier;
use crate::store::{Read, Rows, Table};
use crate::types::sorted::Entry;
use crate::types::{Commit, Hash, LogName, SortedSet};
use crate::wire::*;

/// How often the way back doubles before it reaches the start of any log.
const MAX_STEPS: u32 = 48;

/// A search for the place where two chains part.
#[derive(Debug)]
pub struct Compare {
    pub link: LinkId,
    step: u32,
    /// Links whose peers have another chain too: they are asked again once this search has ended.
    others: SortedSet<LinkId>,
}

impl SyncEngine {
    /// Equal numbers with unequal hashes: two chains.
    pub(super) fn compare_tips(&mut self, link: LinkId, theirs: &Frontier) {
        let different: Vec<LogKey> = theirs
            .iter()
            .filter_map(|(name, held)| {
                let log = self.logs.get(self.log_names.get(name)?)?;
                let ours = log.shared();
                let parted = held.seq == ours.seq && held.hash != ours.hash && held.hash != Hash::ZERO;
                parted.then_some(log.key)
            })
            .collect();
        for key in different {
            self.start_compare(link, key);
        }
    }

    pub(super) fn start_compare(&mut self, link: LinkId, key: LogKey) {
        if let Entry::Vacant(place) = self.compares.entry(key) {
            place.insert(Compare { link, step: 0, others: SortedSet::new() });
            self.compare_step(key);
        }
    }

    pub(super) fn compare_step(&mut self, key: LogKey) {
        let (Some(compare), Some(log)) = (self.compares.get_mut(&key), self.logs.get(&key)) else { return };
        let link = compare.link;
        let back = if compare.step == 0 { 0 } else { 64_u64.checked_shl(compare.step).unwrap_or(u64::MAX) };
        compare.step += 1;
        if compare.step > MAX_STEPS {
            self.end_compare(key);
            return self.hang_up(link, Error::protocol("a log whose chain changes while it is compared"));
        }
        let seq = log.shared().seq.saturating_sub(back).max(1);
        let read =
            Read::Floor { table: Table::Blocks, from: layout::log_prefix(key), key: layout::block_row(key, seq) };
        self.read(read, Wanted::Probe(key, link));
    }

    /// The search is over, or has lost its link.
    pub(super) fn end_compare(&mut self, key: LogKey) {
        let Some(compare) = self.compares.remove(&key) else { return };
        for link in compare.others {
            if let Some(session) = self.sessions.get_mut(&link) {
                session.ask_again = true;
            }
        }
    }

    /// Asks the peer to go on from the start of one of our blocks.
    pub(super) fn probe_rows(&mut self, key: LogKey, link: LinkId, rows: Rows) {
        let header = rows.rows.first().and_then(|(_, block)| decode_header(block).ok());
        if !self.compares.contains_key(&key) {
            return;
        }
        let (seq, hash) = header.map_or((0, Hash::ZERO), |header| (header.first_seq - 1, header.prev));
        self.ask_to_resume(link, key, seq, hash);
    }

    /// Asks a peer to send a log from after this commit on.
    pub(super) fn ask_to_resume(&mut self, link: LinkId, key: LogKey, seq: u64, hash: Hash) {
        let (Some(log), Some(session)) = (self.logs.get(&key), self.sessions.get_mut(&link)) else { return };
        let entry = FrontierEntry { seq, hash, forked: false, ..log.entry() };
        let scope = Scope::Types(vec![log.name.entity_type.clone()]);
        let have = FrontierSummary { digest: Hash::ZERO, base: 0, entries: vec![entry], complete: false };
        let id = session.next_request();
        self.send(link, &Message::SyncRequest(SyncRequestMessage { id, scope, have }));
    }

    /// A peer asks to be sent these logs from there on.
    pub(super) fn resume_from(&mut self, link: LinkId, entries: Vec<FrontierEntry>) -> Result<()> {
        self.audit_asked(link, entries.iter().map(|entry| &entry.entity_type));
        for entry in entries {
            let name = LogName { entity_type: entry.entity_type, id: entry.log };
            let Some(key) = self.log_names.get(&name).copied() else { continue };
            let Some(session) = self.sessions.get_mut(&link) else { return Ok(()) };
            if !session.known {
                return Err(Error::protocol("a request to resume before any frontier was told"));
            }
            let held = crate::protocol::Held { seq: entry.seq, hash: entry.hash, forked: false };
            session.theirs.insert(name, held);
            session.sent.remove(&key);
            // What is under way does not fit the peer's chain: that it arrives does not say that the peer has it.
            session.sending.reconsider(|carries| {
                if matches!(carries, Carries::Commits(of, _) if *of == key) {
                    *carries = Carries::Other;
                }
            });
            session.stuck.remove(&key);
            session.stale = true;
            session.complete = false;
        }
        Ok(())
    }

    /// A peer says that its chain has another hash there.
    pub(super) fn probe(&mut self, link: LinkId, entries: Vec<FrontierEntry>) -> Result<()> {
        for entry in entries {
            let name = LogName { entity_type: entry.entity_type, id: entry.log };
            let Some(key) = self.log_names.get(&name).copied() else { continue };
            match self.compares.get_mut(&key) {
                Some(compare) if compare.link == link => self.compare_step(key),
                Some(compare) => drop(compare.others.insert(link)),
                None => self.start_compare(link, key),
            }
        }
        Ok(())
    }

    /// A block that does not continue our chain.
    pub(super) fn diverged(&mut self, link: LinkId, key: LogKey, theirs: Vec<Commit>, block: Arc<[u8]>) -> Result<()> {
        let (Some(log), Some(first)) = (self.logs.get(&key), theirs.first()) else { return Ok(()) };
        if first.header.seq > log.tip.seq {
            self.start_compare(link, key);
            return Ok(());
        }
        if self.job.is_none() {
            self.start_divergence(Some(link), key, (theirs, block), None);
        }
        Ok(())
    }
}
