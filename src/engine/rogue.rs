//! What a member that means harm makes of its own engine: it signs what it may not, whenever it likes and knowing as
//! little as it likes. Only in tests and in the simulation, which looks into engines as well.

use std::sync::Arc;

use super::local::Draft;
use super::remote::Arrived;
use super::{Phase, SyncEngine};
use crate::error::Result;
use crate::policy::{Body, Membership, Op};
use crate::types::{Commit, CommitHeader, EntityType, Event, Hash, LogName, events_hash};
use crate::wire::encode_block;

impl SyncEngine {
    /// The membership operations held in memory.
    pub(crate) fn membership(&self) -> Option<&Membership> {
        self.vault.as_ref().map(|vault| &vault.membership)
    }

    /// The logs that have branches, and the last commit that those share.
    pub(crate) fn forks(&self) -> Vec<(LogName, u64)> {
        self.logs.values().filter_map(|log| Some((log.name.clone(), log.fork?.seq))).collect()
    }

    /// Whether nothing keeps this engine from writing just now.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Open) && self.vault.is_some() && self.job.is_none()
    }

    /// Commits events that nobody asked whether they may be written. `heads`: what the commit says that its author knew,
    /// if not all that is held. A tick sends it.
    pub(crate) fn write_unasked(
        &mut self,
        entity_type: &EntityType,
        events: Vec<Event>,
        heads: Option<Vec<Hash>>,
    ) -> Result<()> {
        let name = self.own_log(entity_type);
        let (key, tip) = {
            let log = self.log_mut(&name);
            (log.key, log.tip)
        };
        let hlc = self.hlc.tick(self.now);
        let mut arrived = Arrived::default();
        match heads {
            None => self.commit(key, vec![Draft { hlc, stands_for: None, events }], &mut arrived)?,
            Some(heads) => {
                let header = CommitHeader {
                    vault: self.vault()?.membership.vault(),
                    log: name,
                    seq: tip.seq + 1,
                    prev: tip.hash,
                    hlc,
                    heads: heads.into(),
                    stands_for: None,
                    events: events_hash(&events, &mut Vec::new()),
                };
                let hash = header.hash();
                let commit = Commit { header, hash, events, signature: Some(self.config.keypair.sign_commit(&hash)) };
                let block: Arc<[u8]> = encode_block(std::slice::from_ref(&commit))?.into();
                self.append_own(key, commit, block, &mut arrived);
            }
        }
        self.finish_arrival(arrived);
        Ok(())
    }

    /// What it writes from now on stands in new logs.
    pub(crate) fn begin_epoch(&mut self) {
        let mut arrived = Arrived::default();
        self.new_epoch(&mut arrived.batch);
        self.finish_arrival(arrived);
    }

    /// Signs a membership operation that nobody asked whether it may be made, after these parents, if not after all that
    /// is held. A tick sends it.
    pub(crate) fn sign_unasked(&mut self, body: Body, parents: Option<Vec<Hash>>) -> Result<Hash> {
        let hlc = self.hlc.tick(self.now);
        let vault = self.vault()?;
        let parents = parents.unwrap_or_else(|| vault.membership.heads_for(&self.me, &[]));
        let op = Op::sign(&self.config.keypair, vault.membership.vault(), parents, hlc, body)?;
        let mut arrived = Arrived::default();
        self.take_membership(None, op.encoded(), &mut arrived)?;
        self.finish_arrival(arrived);
        Ok(op.hash())
    }
}
