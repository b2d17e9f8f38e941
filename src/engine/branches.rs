//! Branches of forked logs that an Admin has accepted: who has that branch goes on with the log, who has another one
//! drops it and takes the accepted one from whoever has it (PROTOCOL.md 4.6).

use super::fork::Divergence;
use super::io::LinkId;
use super::layout::{self, LogKey};
use super::log::{Left, Original, Tip};
use super::remote::Arrived;
use super::{Job, SyncEngine};
use crate::error::Result;
use crate::store::Table;
use crate::types::{Commit, Hash};
use crate::wire::encode_block;

impl SyncEngine {
    /// A commit of the branch of this log that an Admin has accepted.
    pub(super) fn accepted_branch(&self, key: LogKey) -> Option<(u64, Hash)> {
        self.vault.as_ref()?.membership.accepted_branch(&self.logs.get(&key)?.name)
    }

    /// Branches were accepted, now or before the start: the chains held here are looked at.
    pub(super) fn look_at_branches(&mut self) {
        let Some(vault) = &self.vault else { return };
        let keys = vault.membership.logs_with_branches().filter_map(|name| self.log_names.get(name));
        self.unsettled.extend(keys.copied());
    }

    /// Looks at the next chain of which an Admin has accepted a branch.
    pub(super) fn settle_branches(&mut self) {
        while self.job.is_none()
            && let Some(key) = self.unsettled.pop_first()
        {
            let (Some((seq, hash)), Some(log)) = (self.accepted_branch(key), self.logs.get(&key)) else { continue };
            let fork = log.fork.filter(|fork| fork.seq < seq);
            let parts_at = match fork {
                // Too short to tell: it is taken back to what all branches share.
                Some(fork) if log.tip.seq < seq => fork.seq + 1,
                None if log.tip.seq < seq => continue,
                _ => seq,
            };
            if log.tip.seq < parts_at {
                let mut arrived = Arrived::default();
                self.fork_is_settled(key, &mut arrived);
                self.finish_arrival(arrived);
                continue;
            }
            let mut divergence = Divergence::new(key, None, Vec::new(), Vec::new().into());
            (divergence.accepted, divergence.parts_at) = (Some((seq, hash)), Some(parts_at));
            self.job = Some(Job::Divergence(divergence));
        }
    }

    /// Our chain has the accepted commit, so no fork before that counts any more. One behind it does.
    pub(super) fn stays_on_branch(&mut self, key: LogKey, seq: u64) {
        if self.logs.get(&key).and_then(|log| log.fork).is_some_and(|fork| fork.seq < seq) {
            let mut arrived = Arrived::default();
            self.fork_is_settled(key, &mut arrived);
            self.finish_arrival(arrived);
        }
    }

    /// Our chain parts from the accepted one, or from the peer's, which may be it.
    pub(super) fn leave_branch(&mut self, divergence: Divergence, seq: u64, hash: Hash) -> Result<()> {
        let key = divergence.key;
        let (Some((common, _)), Some(log)) = (&divergence.found, self.logs.get(&key)) else { return Ok(()) };
        let theirs = divergence.theirs.iter().find(|commit| commit.header.seq == seq).map(|commit| commit.hash == hash);
        let held = divergence.link.and_then(|link| self.sessions.get(&link)?.theirs.get(&log.name));
        let claims = held.is_some_and(|held| !held.forked && held.seq >= seq);
        let leaves = divergence.ours_accepted == Some(false)
            || theirs == Some(true)
            || divergence.parts_at.is_some()
            || (theirs.is_none() && claims);
        if !leaves {
            return Ok(()); // too little is held here and there to tell; it stays as it is until the branch comes
        }
        let mut arrived = Arrived::default();
        let own = log.name.id.author == self.me;
        let (mut to, mut events, mut rows, mut ids) = (*common, divergence.events, divergence.rows, divergence.ids);
        let mut cut = divergence.cut;
        if !own && let Some((first, before)) = cut.take() {
            // Only its author can sign the start of a block again: it comes anew with the branch.
            to = Tip { seq: first - 1, hash: before.first().map_or(Hash::ZERO, |commit| commit.header.prev) };
            events += before.iter().map(|commit| commit.events.len() as u64).sum::<u64>();
            ids.extend(before.iter().flat_map(|commit| commit.events.iter().map(|event| event.entity)));
            rows.push(first);
        }
        self.adopt(key, to, events, cut, &rows, &mut arrived)?;
        self.forget_originals(key, to.seq);
        arrived.stale.add_ids(key.ty, ids);
        if own {
            self.make_again_later(key, divergence.own, &mut arrived.batch);
            self.new_epoch(&mut arrived.batch);
        }
        self.fork_is_settled(key, &mut arrived);
        self.resume_after(divergence.link.filter(|_| theirs != Some(false)), key, to);
        self.finish_arrival(arrived);
        Ok(())
    }

    /// Commits that copies stand for are gone: whether they come again is open.
    fn forget_originals(&mut self, key: LogKey, after: u64) {
        let Some(id) = self.logs.get(&key).map(|log| log.name.id) else { return };
        for log in self.logs.values_mut().filter(|log| log.key.ty == key.ty && log.name.id.author == id.author) {
            for copy in log.copies.iter_mut().filter(|copy| copy.of.epoch == id.epoch && copy.of.seq > after) {
                copy.original = Original::Missing;
            }
        }
    }

    /// The log goes on as one.
    fn fork_is_settled(&mut self, key: LogKey, arrived: &mut Arrived) {
        let Some(log) = self.logs.get_mut(&key) else { return };
        if log.fork.take().is_some() {
            self.ids.set_forked(key.ix, false);
            arrived.batch.delete(Table::Logs, layout::fork_row(key));
            for session in self.sessions.values_mut() {
                session.stuck.remove(&key);
                session.sent.remove(&key);
            }
        }
        arrived.touch(key);
        self.digests.remove(&key.ty);
        self.revalidate(arrived);
        self.sessions.values_mut().for_each(|session| session.ask_again = true);
    }

    /// Drops a branch of so many events, in these rows: this device's own, which nobody else can have, so that the
    /// peer's is taken in its place, or one that was not accepted.
    pub(super) fn adopt(
        &mut self,
        key: LogKey,
        common: Tip,
        events: u64,
        cut: Option<(u64, Vec<Commit>)>,
        rows: &[u64],
        arrived: &mut Arrived,
    ) -> Result<()> {
        let Some(log) = self.logs.get_mut(&key) else { return Ok(()) };
        let waiting_bytes = if log.validity.is_valid(common.seq) { 0 } else { log.waiting_bytes };
        log.roll_back(common, Left { events: log.events.saturating_sub(events), waiting_bytes });
        log.applied = common.seq;
        for row in rows {
            arrived.batch.delete(Table::Blocks, layout::block_row(key, *row));
        }
        if let Some((first, mut before)) = cut {
            // The start of the block that was cut ends in a commit of ours: signed again.
            if let Some(last) = before.last_mut() {
                last.signature = Some(self.config.keypair.sign_commit(&last.hash));
            }
            arrived.batch.put(Table::Blocks, layout::block_row(key, first), encode_block(&before)?);
        }
        self.recent.forget(key);
        self.digests.remove(&key.ty);
        arrived.touch(key);
        Ok(())
    }

    /// The peer goes on after the last common commit. What it has sent beyond that follows nothing any more.
    pub(super) fn resume_after(&mut self, link: Option<LinkId>, key: LogKey, common: Tip) {
        let (Some(link), Some(log)) = (link, self.logs.get(&key)) else { return };
        if let Some(session) = self.sessions.get_mut(&link) {
            session.cut_off.ask_again(&log.name);
        }
        self.ask_to_resume(link, key, common.seq, common.hash);
    }
}
