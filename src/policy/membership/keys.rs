//! Which vault key is used, and what members ask for.

use super::super::op::{Body, LogRange, Op, SetKey};
use super::Membership;
use crate::types::{Hash, PeerId};

impl Membership {
    /// The name of the vault key that is used: of the latest effective `SetKey`s the one with the lowest hash; `None`
    /// where the key of the vault's beginning was never replaced.
    pub fn key_name(&self) -> Option<Hash> {
        let latest = self.latest(&self.lists.keys, &self.everything(), |_, _| true);
        let op =
            latest.iter().filter_map(|number| self.nodes.get(*number)).map(|node| &node.op).min_by_key(|op| op.hash());
        op.and_then(set_key).map(|set| set.name)
    }

    /// The vault key of that name as it was sealed to a device, where it was.
    pub fn sealed_key(&self, name: &Hash, peer: &PeerId) -> Option<&[u8]> {
        let keys = self.lists.keys.iter().rev().filter(|number| !self.voids.contains(**number));
        keys.filter_map(|number| set_key(&self.nodes.get(*number)?.op))
            .filter(|set| set.name == *name)
            .find_map(|set| set.sealed.get(peer).map(Vec::as_slice))
    }

    /// What members ask the Admins to accept beyond cuts, and was not accepted yet.
    pub fn requests(&self) -> Vec<LogRange> {
        let effective = |list: &[usize]| -> Vec<&LogRange> {
            let nodes = list.iter().filter(|number| !self.voids.contains(**number));
            let range = |number: &usize| match &self.nodes.get(*number)?.op.body {
                Body::AcceptRange(range) | Body::RaiseCut(range) => Some(range),
                _ => None,
            };
            nodes.filter_map(range).collect()
        };
        let accepted = effective(&self.lists.accepts);
        let covers = |range: &LogRange| {
            accepted.iter().any(|other| other.log == range.log && other.from <= range.from && range.to <= other.to)
        };
        let mut requests: Vec<LogRange> = Vec::new();
        for range in effective(&self.lists.raises).into_iter().filter(|range| !covers(range)) {
            if !requests.contains(range) {
                requests.push(range.clone());
            }
        }
        requests
    }
}

fn set_key(op: &Op) -> Option<&SetKey> {
    match &op.body {
        Body::SetKey(set) => Some(set),
        _ => None,
    }
}
