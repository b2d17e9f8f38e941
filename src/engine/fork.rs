//! Two chains of one log: finding where they part, proving it, and what the author does about it (PROTOCOL.md 4.6).
//!
//! Whoever notices that a peer's chain differs asks the peer to go on from further and further back, until the chains
//! meet. The author of the log takes the peer's chain where nobody can have its own, and makes its commits again in a
//! new epoch; in all other cases the two blocks after the last common commit are a proof that everybody keeps.

use std::sync::Arc;

use super::io::{LinkId, SyncEvent};
use super::layout::{self, LogKey};
use super::log::Tip;
use super::remote::Arrived;
use super::{Job, SyncEngine, Wanted};
use crate::error::{Error, Result};
use crate::policy::AuditAction;
use crate::protocol::Held;
use crate::store::{Read, Rows, Table};
use crate::types::codec::{Reader, put_bytes};
use crate::types::{Commit, EntityId, Hash, SortedSet};
use crate::wire::*;

/// Bytes of own blocks read at once.
const CHUNK: usize = 1 << 20;

/// A verified block of a log, and its commits.
type Branch = (Vec<Commit>, Arc<[u8]>);

/// A place that was found: own commits are read from there on.
#[derive(Debug)]
pub struct Divergence {
    pub(super) key: LogKey,
    /// Who is asked to go on from further back, where the chains part before what came.
    pub(super) link: Option<LinkId>,
    /// The other branch of a fork proof, where this one may turn out to be ours.
    other: Option<Branch>,
    /// A commit of the branch that an Admin has accepted, and whether ours has it, as far as that was read.
    pub(super) accepted: Option<(u64, Hash)>,
    pub(super) ours_accepted: Option<bool>,
    /// Nothing of a peer is compared: our chain is looked at for the accepted commit, and ends before this one if it is
    /// on another branch.
    pub(super) parts_at: Option<u64>,
    started: bool,
    pub(super) theirs: Vec<Commit>,
    their_block: Arc<[u8]>,
    /// The chains differ, and not only from there on.
    apart: bool,
    /// The last common commit, and our block from the one after it on.
    pub(super) found: Option<(Tip, Arc<[u8]>)>,
    /// Own blocks from there on, where they are this device's.
    pub(super) own: Vec<Vec<u8>>,
    /// The rows of our blocks from there on.
    pub(super) rows: Vec<u64>,
    pub(super) ids: SortedSet<EntityId>,
    /// How many events own commits from there on have.
    pub(super) events: u64,
    /// The start of the block that has to be cut.
    pub(super) cut: Option<(u64, Vec<Commit>)>,
}

impl Divergence {
    pub(super) fn new(key: LogKey, link: Option<LinkId>, theirs: Vec<Commit>, their_block: Arc<[u8]>) -> Self {
        Self {
            key,
            link,
            other: None,
            accepted: None,
            ours_accepted: None,
            parts_at: None,
            started: false,
            theirs,
            their_block,
            apart: false,
            found: None,
            own: Vec::new(),
            rows: Vec::new(),
            ids: SortedSet::new(),
            events: 0,
            cut: None,
        }
    }
}

impl SyncEngine {
    pub(super) fn start_divergence(
        &mut self,
        link: Option<LinkId>,
        key: LogKey,
        (theirs, their_block): Branch,
        other: Option<Branch>,
    ) {
        let accepted = self.accepted_branch(key);
        let divergence = Divergence { other, accepted, ..Divergence::new(key, link, theirs, their_block) };
        self.job = Some(Job::Divergence(divergence));
    }

    /// Starts reading once everything is on disk.
    pub(super) fn divergence_start(&mut self) {
        let Some(Job::Divergence(divergence)) = &mut self.job else { return };
        if divergence.started || !self.writes.is_empty() {
            return;
        }
        divergence.started = true;
        let key = divergence.key;
        let first = divergence.theirs.first().map(|commit| commit.header.seq);
        let seq = first.or(divergence.parts_at).unwrap_or(1);
        let read =
            Read::Floor { table: Table::Blocks, from: layout::log_prefix(key), key: layout::block_row(key, seq) };
        self.read(read, Wanted::Divergence);
    }

    pub(super) fn divergence_rows(&mut self, rows: Rows) {
        let Some(Job::Divergence(divergence)) = &mut self.job else { return };
        let (Some(vault), Some(log)) = (&self.vault, self.logs.get(&divergence.key)) else { return };
        let (vault, tip, own) = (vault.membership.vault(), log.tip.seq, log.name.id.author == self.me);
        let key = divergence.key;
        let mut last = None;
        for (_, block) in &rows.rows {
            let Ok(commits) = decode_block(block, vault) else { break };
            last = commits.last().map(|commit| commit.header.seq);
            let (mut from, mut before) = (None, Vec::new());
            let first = commits.first().map_or(0, |commit| commit.header.seq);
            for commit in commits {
                let (seq, hash) = (commit.header.seq, commit.hash);
                if let Some((at, accepted)) = divergence.accepted
                    && at == seq
                {
                    divergence.ours_accepted = Some(hash == accepted);
                }
                if divergence.found.is_none() {
                    let other = divergence.theirs.iter().find(|other| other.header.seq == seq);
                    let parts = match other {
                        Some(other) => other.hash != hash && other.header.prev == commit.header.prev,
                        None => divergence.parts_at == Some(seq) && divergence.accepted != Some((seq, hash)),
                    };
                    if !parts {
                        divergence.apart |= other.is_some_and(|other| other.hash != hash);
                        before.push(commit);
                        continue;
                    }
                    let common = Tip { seq: seq - 1, hash: commit.header.prev };
                    let Ok(suffix) = cut_suffix(block, vault, seq - 1) else { break };
                    divergence.found = Some((common, suffix.into()));
                    from = Some(seq);
                }
                divergence.events += commit.events.len() as u64;
                divergence.ids.extend(commit.events.iter().map(|event| event.entity));
            }
            if divergence.found.is_some() {
                divergence.rows.push(from.unwrap_or(first));
            }
            if from.is_some()
                && let Some(first) = before.first()
            {
                divergence.cut = Some((first.header.seq, before));
            }
            if own && let Some((common, suffix)) = &divergence.found {
                divergence.own.push(if from.is_some() && common.seq > 0 { suffix.to_vec() } else { block.clone() });
            }
        }
        let over = divergence.theirs.last().map(|commit| commit.header.seq).or(divergence.parts_at).unwrap_or(0);
        let end = last.is_none_or(|last| {
            let read = match &divergence.found {
                None => last >= over,
                // What may be taken back is read to its end.
                Some((common, _)) => !own && divergence.accepted.is_none_or(|(seq, _)| seq <= common.seq),
            };
            last >= tip || read
        });
        if !end && let Some(last) = last {
            let read = Read::Range {
                table: Table::Blocks,
                from: layout::block_row(key, last + 1),
                to: layout::block_row(key, tip + 1),
                max_rows: usize::MAX,
                max_bytes: CHUNK,
            };
            return self.read(read, Wanted::Divergence);
        }
        let Some(Job::Divergence(divergence)) = self.job.take() else { return };
        match (&divergence.found, divergence.apart) {
            (Some(_), _) => self.end_compare(key),
            // They parted before what came: further back.
            (None, true) => match (self.compares.contains_key(&key), divergence.link) {
                (false, Some(link)) => self.start_compare(link, key),
                _ => self.compare_step(key),
            },
            // They meet so far, and the blocks that follow are compared too.
            (None, false) => {}
        }
        if let Err(error) = self.settle_divergence(divergence) {
            let peer = self.me;
            self.complain(peer, &error);
        }
    }

    fn settle_divergence(&mut self, divergence: Divergence) -> Result<()> {
        let key = divergence.key;
        if let Some((seq, hash)) = divergence.accepted {
            let parts_before = divergence.found.as_ref().is_some_and(|(common, _)| common.seq < seq);
            if divergence.ours_accepted == Some(true) && (parts_before || divergence.parts_at.is_some()) {
                self.stays_on_branch(key, seq);
                return Ok(());
            }
            if parts_before {
                return self.leave_branch(divergence, seq, hash);
            }
        }
        let Some((common, ours)) = divergence.found else {
            // This branch is ours; or the chains meet further on, and the peer goes on sending.
            if let (Some(other), false) = (divergence.other, divergence.apart) {
                self.start_divergence(divergence.link, key, other, None);
            }
            return Ok(());
        };
        let Some(log) = self.logs.get(&key) else { return Ok(()) };
        let vault = self.vault()?.membership.vault();
        let theirs: Arc<[u8]> = cut_suffix(&divergence.their_block, vault, common.seq)?.into();
        let own = log.name.id.author == self.me;
        let mut arrived = Arrived::default();
        if !own {
            self.establish_fork(key, common, &ours, &theirs, None, &mut arrived);
            self.finish_arrival(arrived);
            return Ok(());
        }
        let published = log.published > common.seq;
        let mut again: Vec<Vec<u8>> = divergence.own;
        if published {
            again.push(theirs.to_vec());
            self.establish_fork(key, common, &ours, &theirs, None, &mut arrived);
        } else {
            self.adopt(key, common, divergence.events, divergence.cut, &divergence.rows, &mut arrived)?;
            self.resume_after(divergence.link, key, common);
        }
        arrived.stale.add_ids(key.ty, divergence.ids);
        self.make_again_later(key, again, &mut arrived.batch);
        self.new_epoch(&mut arrived.batch);
        self.finish_arrival(arrived);
        self.sessions.values_mut().for_each(|session| session.ask_again = true);
        Ok(())
    }

    /// Keeps a proof; from the first divergent commit on, the log counts nowhere.
    fn establish_fork(
        &mut self,
        key: LogKey,
        common: Tip,
        ours: &[u8],
        theirs: &[u8],
        from: Option<LinkId>,
        arrived: &mut Arrived,
    ) {
        let Some(log) = self.logs.get_mut(&key) else { return };
        if log.fork.is_some_and(|fork| fork.seq <= common.seq) {
            return;
        }
        log.fork = Some(common);
        if log.applied > common.seq {
            arrived.stale.add(key, common.seq + 1..log.applied + 1);
        }
        let author = log.name.id.author;
        self.ids.set_forked(key.ix, true);
        let mut row = Vec::new();
        put_bytes(&mut row, ours);
        put_bytes(&mut row, theirs);
        arrived.batch.put(Table::Logs, layout::fork_row(key), row);
        arrived.touch(key);
        self.digests.remove(&key.ty);
        self.revalidate(arrived);
        arrived.landed.tell.push((Item::Fork(ours.into(), theirs.into()), from));
        arrived.landed.events.push(SyncEvent::Forked(author));
        self.peers.values_mut().for_each(|peer| peer.branches.retain(|of, _| *of != key));
        for session in self.sessions.values_mut() {
            session.stuck.remove(&key);
            session.ask_again = true;
            if session.peer == author {
                session.sent.remove(&key);
            }
        }
    }

    /// A proof from a peer.
    pub(super) fn take_fork(
        &mut self,
        from: Option<LinkId>,
        first: &[u8],
        second: &[u8],
        arrived: &mut Arrived,
    ) -> Result<()> {
        let vault = self.vault()?;
        let vault_id = vault.membership.vault();
        let one = decode_block(first, vault_id)?;
        let two = decode_block(second, vault_id)?;
        let (Some(a), Some(b)) = (one.first(), two.first()) else { return Ok(()) };
        let proven = a.header.log == b.header.log
            && a.header.seq == b.header.seq
            && a.header.prev == b.header.prev
            && a.hash != b.hash;
        if !proven {
            return Err(Error::protocol("two blocks that prove no fork"));
        }
        if !vault.membership.knows_author(&a.header.log.id.author) {
            return Err(Error::protocol("a fork proof of somebody who is no member"));
        }
        if let Some(peer) = from.and_then(|link| self.sessions.get(&link)).map(|session| session.peer)
            && !self.may_exchange(a.header.log.entity_type.as_str(), &peer)
        {
            self.audited(
                AuditAction::Receive { entity_type: a.header.log.entity_type.as_str().to_owned(), peer },
                peer,
            );
            return Ok(()); // sent before it heard that this type is kept from it
        }
        verify_block(&one)?;
        verify_block(&two)?;
        let common = Tip { seq: a.header.seq - 1, hash: a.header.prev };
        let name = a.header.log.clone();
        let log = self.log_mut(&name);
        let (key, tip) = (log.key, log.tip);
        let settled = self.accepted_branch(key).is_some_and(|(seq, _)| seq > common.seq);
        if let Some(link) = from
            && let Some(session) = self.sessions.get_mut(&link)
        {
            session.theirs.entry(name.clone()).or_insert(Held::FORKED).cut_at_fork(common.seq, common.hash);
        }
        if settled {
            self.unsettled.insert(key);
            return Ok(());
        }
        if self.logs.get(&key).is_some_and(|log| log.fork.is_some_and(|fork| fork.seq <= common.seq)) {
            return Ok(());
        }
        let own = name.id.author == self.me;
        if tip.seq > common.seq {
            // Whether our chain is one of these branches, or leaves the log even before them, the store tells.
            if let (true, Some(log)) = (own, self.logs.get_mut(&key)) {
                log.published = tip.seq;
            }
            if self.job.is_none() {
                // The commits that differ, and no more: what follows them may part from ours too, later.
                let [one, two] = [one, two].map(|branch| branch.into_iter().take(1).collect());
                self.start_divergence(from, key, (one, first.into()), Some((two, second.into())));
            }
            return Ok(());
        }
        if tip.seq == common.seq && tip.hash != common.hash {
            if let Some(link) = from {
                self.start_compare(link, key);
            }
            return Ok(());
        }
        if own {
            self.make_again_later(key, vec![first.to_vec(), second.to_vec()], &mut arrived.batch);
            self.new_epoch(&mut arrived.batch);
        }
        self.establish_fork(key, common, first, second, from, arrived);
        Ok(())
    }

    /// Sends the proof of a fork.
    pub(super) fn send_fork(&mut self, link: LinkId, key: LogKey) {
        if let Some(session) = self.sessions.get_mut(&link) {
            session.stuck.insert(key);
        }
        self.read(Read::Get(Table::Logs, layout::fork_row(key)), Wanted::Fork(link, key));
    }

    pub(super) fn fork_rows(&mut self, link: LinkId, key: LogKey, rows: Rows) {
        let Some((_, row)) = rows.rows.into_iter().next() else { return };
        let mut reader = Reader::new(&row);
        let proof = reader.bytes(usize::MAX, "a block").and_then(|a| Ok((a, reader.bytes(usize::MAX, "a block")?)));
        if let Ok((ours, theirs)) = proof {
            self.send_items(link, std::iter::once(Item::Fork(ours.into(), theirs.into())));
        }
        let (Some(log), Some(session)) = (self.logs.get(&key), self.sessions.get_mut(&link)) else { return };
        let fork = log.fork.unwrap_or(Tip::START);
        session.theirs.entry(log.name.clone()).or_insert(Held::FORKED).cut_at_fork(fork.seq, fork.hash);
        session.stuck.remove(&key);
        session.stale = true;
    }
}
