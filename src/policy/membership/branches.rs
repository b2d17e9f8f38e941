//! Which branch of a forked log an Admin has accepted.

use super::super::op::Body;
use super::Membership;
use crate::types::{Hash, LogName};

impl Membership {
    /// A commit, by its number and hash, of the branch of this log that counts, where an Admin has accepted one: by the
    /// latest `AcceptBranch` with effect; of concurrent ones by that with the lowest hash.
    pub fn accepted_branch(&self, log: &LogName) -> Option<(u64, Hash)> {
        let list = self.lists.branches.get(log)?;
        let latest = self.latest(list, &self.everything(), |_, node| node.right.is_some());
        let chosen =
            latest.into_iter().filter_map(|number| self.nodes.get(number)).min_by_key(|node| node.op.hash())?;
        match &chosen.op.body {
            Body::AcceptBranch { seq, hash, .. } => Some((*seq, *hash)),
            _ => None,
        }
    }

    /// The logs of which a branch may have been accepted.
    pub fn logs_with_branches(&self) -> impl Iterator<Item = &LogName> {
        self.lists.branches.keys()
    }
}
