//! Changing who is in the vault and may do what: the rights are checked, operations signed, and a removal is followed by
//! a new vault key for those who are left.

use zeroize::Zeroizing;

use super::SyncEngine;
use super::io::{CallId, MemberChange, Members, RecoveryKey, Reply};
use super::layout::{self, meta};
use super::log::Log;
use super::remote::Arrived;
use super::vault::check_name;
use crate::error::{Error, ErrorCode, Result};
use crate::policy::{
    AddMember, Body, Cut, Cuts, EntityAcl, LogRange, MAX_ACL_ENTRIES, MAX_SEALED_KEYS, MAX_TEAMS, Refusal, Remove,
    RootVoid, SetAcl, SetKey, SetName, SetPolicy, SetRole, SetTeams, SyncRole, TeamId, View, root_keypair, seal,
    unseal,
};
use crate::store::Table;
use crate::types::limits::MAX_NAME_BYTES;
use crate::types::{EntityType, Keypair, PeerId, SortedMap};
use crate::wire::Item;

/// Logs that keep their rights are named too, as far as so many fit: two Admins who narrow something at the same time may
/// together take a right that neither takes alone.
const NAMED_LOGS: usize = 512;

impl SyncEngine {
    pub(super) fn members(&self) -> Result<Members> {
        let membership = &self.vault()?.membership;
        let mut view = (*membership.evaluate()).clone();
        for (peer, name) in &self.aliases {
            if let Some(member) = view.members.get_mut(peer) {
                member.name.clone_from(name);
            }
        }
        Ok(Members { view, requests: membership.requests() })
    }

    /// Makes the operations of a change; answers when they are on disk.
    pub(super) fn change_members(&mut self, call: CallId, change: MemberChange) -> Result<()> {
        let mut arrived = Arrived::default();
        let mut result = Ok(());
        match change {
            MemberChange::Role { peer, role } => {
                let cuts = self.cuts_of(&peer);
                self.member(&peer)?;
                self.check_last_admin(&peer, role)?;
                self.sign(Body::SetRole(SetRole { peer, role, cuts }), &mut arrived)?;
            }
            MemberChange::Remove(peer) if peer == self.me => {
                return Err(Error::invalid("a device does not remove itself; it leaves the vault (`leave`)"));
            }
            MemberChange::Remove(peer) => {
                self.member(&peer)?;
                let cuts = self.cuts_of(&peer);
                self.sign(Body::Remove(Remove { peer, cuts }), &mut arrived)?;
                // The removal stands whatever comes of the key.
                result = self.new_key(&mut arrived);
            }
            MemberChange::Teams { peer, teams } => {
                self.member(&peer)?;
                if teams.len() > MAX_TEAMS {
                    return Err(Error::too_large(format!("a device is in at most {MAX_TEAMS} teams")));
                }
                teams.iter().try_for_each(check_team)?;
                let cuts = self.cuts_of(&peer);
                self.sign(Body::SetTeams(SetTeams { peer, teams, cuts }), &mut arrived)?;
            }
            MemberChange::Acl { entity_type, entries } => {
                self.vault_at_need()?;
                let body = self.acl(entity_type, entries)?;
                self.sign(body, &mut arrived)?;
            }
            MemberChange::Policy(policy) => {
                self.vault_at_need()?;
                let after = View { kind: policy, ..(*self.vault()?.membership.evaluate()).clone() };
                let cuts = self.cuts_by(&after, |_| true);
                self.sign(Body::SetPolicy(SetPolicy { policy, cuts }), &mut arrived)?;
            }
            MemberChange::Name { peer, name } => {
                check_name(&name)?;
                self.member(&peer)?;
                if peer == self.me {
                    self.device_name.clone_from(&name);
                    arrived.batch.put(Table::Meta, meta::DEVICE_NAME, name.as_bytes());
                }
                self.sign(Body::SetName(SetName { peer, name }), &mut arrived)?;
            }
            MemberChange::Leave => {
                self.member(&self.me.clone())?;
                self.check_last_admin(&self.me.clone(), SyncRole::ReadOnly)?;
                let cuts = self.cuts_of(&self.me.clone());
                self.sign(Body::Leave { cuts }, &mut arrived)?;
            }
            MemberChange::AskToAccept(peer) => {
                for range in self.beyond_cuts(&peer)? {
                    self.sign(Body::RaiseCut(range), &mut arrived)?;
                }
            }
            MemberChange::Accept(peer) => {
                let branches = self.branches_of(&peer);
                let ranges = self.beyond_cuts(&peer);
                if branches.is_empty() {
                    ranges.as_ref().map_err(Clone::clone)?;
                }
                for branch in branches {
                    self.sign(branch, &mut arrived)?;
                }
                for range in ranges.unwrap_or_default() {
                    self.sign(Body::AcceptRange(range), &mut arrived)?;
                }
            }
            MemberChange::Recover(root) => result = self.recover(&root, &mut arrived),
            MemberChange::Void { root, ops } => {
                let root = self.root(&root)?;
                if let Some(unknown) =
                    ops.iter().find(|op| self.vault().is_ok_and(|vault| !vault.membership.contains(op)))
                {
                    return Err(Error::new(ErrorCode::NotFound, format!("no operation {unknown} is held here")));
                }
                self.sign_as(&root, Body::RootVoid(RootVoid { ops }), &mut arrived)?;
            }
        }
        match &result {
            Ok(()) => arrived.landed.replies.push((call, Reply::Done)),
            Err(error) => tracing::warn!(%error, "a change of members is only done in part"),
        }
        self.finish_arrival(arrived);
        result
    }

    /// Tells the others what this device is called, where it was signed in without a name: an invite names a key alone.
    pub(super) fn say_own_name(&mut self, arrived: &mut Arrived) {
        let Some(vault) = &self.vault else { return };
        let nameless = vault.membership.evaluate().members.get(&self.me).is_some_and(|member| member.name.is_empty());
        if !nameless || self.device_name.is_empty() {
            return;
        }
        let name = SetName { peer: self.me, name: self.device_name.clone() };
        if let Err(error) = self.sign(Body::SetName(name), arrived) {
            tracing::warn!(%error, "the others are not told this device's name");
        }
    }

    /// Signs an operation with this device's key and takes it in.
    fn sign(&mut self, body: Body, arrived: &mut Arrived) -> Result<()> {
        let keypair = self.config.keypair.clone();
        self.sign_as(&keypair, body, arrived)
    }

    fn sign_as(&mut self, author: &Keypair, body: Body, arrived: &mut Arrived) -> Result<()> {
        self.vault()?;
        let hlc = self.hlc.tick(self.now);
        let Some(vault) = &mut self.vault else { return Ok(()) };
        let place = vault.membership.len();
        let op = vault.membership.make(author, body, hlc)?;
        arrived.batch.put(Table::Membership, layout::membership_row(place), &op.encoded()[..]);
        arrived.landed.tell.push((Item::Membership(op.encoded().clone()), None));
        arrived.membership_grew(op.hash());
        Ok(())
    }

    fn member(&self, peer: &PeerId) -> Result<SyncRole> {
        self.vault()?.membership.evaluate().role(peer).ok_or_else(|| {
            Error::new(ErrorCode::NotFound, format!("{peer} is no member of this vault; `members` lists them"))
        })
    }

    /// Nobody could let anybody in again without the recovery words.
    fn check_last_admin(&self, peer: &PeerId, role: SyncRole) -> Result<()> {
        let view = self.vault()?.membership.evaluate();
        let other = view.members.iter().any(|(other, member)| other != peer && member.role == SyncRole::Admin);
        if role == SyncRole::Admin || other || view.role(peer) != Some(SyncRole::Admin) {
            return Ok(());
        }
        Err(Error::invalid("this is the vault's only Admin; make another device an Admin first (`role`)"))
    }

    fn acl(&self, entity_type: EntityType, mut entries: Vec<EntityAcl>) -> Result<Body> {
        if entries.len() > MAX_ACL_ENTRIES {
            return Err(Error::too_large(format!("a type has at most {MAX_ACL_ENTRIES} access entries")));
        }
        for entry in &mut entries {
            if entry.entity_type != entity_type.as_str() {
                return Err(Error::invalid(format!(
                    "an entry of `{}` in the list of `{entity_type}`",
                    entry.entity_type
                )));
            }
            entry.team_id.iter().try_for_each(check_team)?;
            entry.allowed_roles.sort_unstable();
            entry.allowed_roles.dedup();
        }
        let mut after = (*self.vault()?.membership.evaluate()).clone();
        after.acls.insert(entity_type.as_str().to_owned(), vec![entries.clone()]);
        let cuts = self.cuts_by(&after, |log| log.name.entity_type == entity_type);
        Ok(Body::SetAcl(SetAcl { entity_type, entries, cuts }))
    }

    /// All that is held of a device's logs.
    fn cuts_of(&self, peer: &PeerId) -> Cuts {
        self.logs.values().filter(|log| log.name.id.author == *peer).filter_map(cut).collect()
    }

    /// All that is held of these logs: those whose author may not write them `after` it, and others as room is.
    fn cuts_by(&self, after: &View, wanted: impl Fn(&Log) -> bool) -> Cuts {
        let mut logs: Vec<&Log> = self.logs.values().filter(|log| wanted(log)).collect();
        let keeps = |log: &Log| after.may_write(log.name.entity_type.as_str(), &log.name.id.author);
        logs.sort_by_key(|log| keeps(log));
        (logs.into_iter().enumerate())
            .filter(|(place, log)| *place < NAMED_LOGS || !keeps(log))
            .filter_map(|(_, log)| cut(log))
            .collect()
    }

    /// The branches that are held here of a device's forked logs that it may not write. Who may makes its commits again,
    /// those of all branches.
    fn branches_of(&self, peer: &PeerId) -> Vec<Body> {
        (self.logs.values())
            .filter(|log| log.name.id.author == *peer && log.fork.is_some_and(|fork| fork.seq < log.tip.seq))
            .filter(|log| !self.author_may_write(log))
            .map(|log| Body::AcceptBranch { log: log.name.clone(), seq: log.tip.seq, hash: log.tip.hash })
            .collect()
    }

    /// Whether the author of a log may write its type.
    pub(super) fn author_may_write(&self, log: &Log) -> bool {
        let name = &log.name;
        let view = self.vault.as_ref().map(|vault| vault.membership.evaluate());
        view.is_some_and(|view| view.may_write(name.entity_type.as_str(), &name.id.author))
    }

    /// What of a device's logs does not count for it lies beyond a cut.
    fn beyond_cuts(&self, peer: &PeerId) -> Result<Vec<LogRange>> {
        self.vault()?;
        let ranges: Vec<LogRange> = (self.logs.values())
            .filter(|log| log.name.id.author == *peer && (log.fork.is_none() || !self.author_may_write(log)))
            .filter_map(|log| {
                let vault = self.vault.as_ref()?;
                // As it counts once its branch is accepted.
                let validity = Log { fork: None, ..log.clone() }.evaluate(&vault.membership, |_| false);
                let beyond = validity.refused.iter().find(|(_, why)| *why == Refusal::BeyondCut);
                let from = beyond.map(|(range, _)| range.start)?;
                Some(LogRange { log: log.name.clone(), from, to: log.tip.seq, hash: log.tip.hash })
            })
            .collect();
        match ranges.is_empty() {
            true => Err(Error::new(ErrorCode::NotFound, format!("nothing of {peer} is held that came after a cut"))),
            false => Ok(ranges),
        }
    }

    fn root(&self, key: &RecoveryKey) -> Result<Keypair> {
        let vault = self.vault.as_ref().ok_or_else(|| {
            Error::new(
                ErrorCode::NoVault,
                "this device does not hold the vault: restore a backup of it here first (`restore`), or join it",
            )
        })?;
        let root = root_keypair(&key.0);
        match root.peer_id() == vault.membership.genesis().root {
            true => Ok(root),
            false => Err(Error::invalid("these recovery words are another vault's; check that they are this one's")),
        }
    }

    /// The recovery key makes this device an Admin.
    fn recover(&mut self, key: &RecoveryKey, arrived: &mut Arrived) -> Result<()> {
        let root = self.root(key)?;
        let add = AddMember { peer: self.me, role: SyncRole::Admin, name: self.device_name.clone() };
        self.sign_as(&root, Body::AddMember(add), arrived)?;
        // Whoever refused this device is asked again.
        self.peers.values_mut().for_each(|peer| (peer.dial_at, peer.backoff, peer.failure) = (0, 0, None));
        if self.lacks_key() { self.new_key(arrived) } else { Ok(()) }
    }

    /// A new vault key, sealed to every member.
    fn new_key(&mut self, arrived: &mut Arrived) -> Result<()> {
        let key: Zeroizing<[u8; 32]> = Zeroizing::new(self.entropy.bytes());
        let name = SetKey::name_of(&key);
        let vault = self.vault()?;
        let id = vault.membership.vault();
        let members: Vec<PeerId> = vault.membership.evaluate().members.keys().copied().collect();
        let mut sealed = SortedMap::new();
        for peer in members {
            let entropy = Zeroizing::new(self.entropy.bytes());
            // A member whose name is no key could not have opened a connection either.
            if let Ok(bytes) = seal(&peer, &id, SetKey::PURPOSE, &key[..], &entropy) {
                sealed.insert(peer, bytes);
            }
        }
        while !sealed.is_empty() {
            let rest = match sealed.keys().nth(MAX_SEALED_KEYS).copied() {
                Some(next) => sealed.split_off(&next),
                None => SortedMap::new(),
            };
            self.sign(Body::SetKey(SetKey { name, sealed: std::mem::replace(&mut sealed, rest) }), arrived)?;
        }
        Ok(())
    }

    /// Whether the vault key that is used is another than this device has.
    pub(super) fn lacks_key(&self) -> bool {
        let Some(vault) = &self.vault else { return false };
        let name = vault.membership.key_name();
        vault.key.iter().all(|byte| *byte == 0) || name.is_some_and(|name| name != SetKey::name_of(&vault.key))
    }

    /// Takes the vault key that is used now, where it was sealed to this device. The first one was never sealed: it is
    /// kept beside.
    pub(super) fn learn_key(&mut self, arrived: &mut Arrived) {
        if !self.lacks_key() {
            return;
        }
        let Some(vault) = &mut self.vault else { return };
        let Some(name) = vault.membership.key_name() else { return };
        let Some(sealed) = vault.membership.sealed_key(&name, &self.me) else { return };
        let plain = unseal(&self.config.keypair, &vault.membership.vault(), SetKey::PURPOSE, sealed);
        let key = plain.ok().and_then(|plain| <[u8; 32]>::try_from(&plain[..]).ok()).map(Zeroizing::new);
        let Some(key) = key.filter(|key| SetKey::name_of(key) == name) else {
            tracing::warn!("a vault key was sealed to this device that does not open; an Admin has to make a new one");
            return;
        };
        if vault.first_key.is_none() && vault.key.iter().any(|byte| *byte != 0) {
            arrived.batch.put(Table::Meta, meta::FIRST_KEY, &vault.key[..]);
            vault.first_key = Some(vault.key.clone());
        }
        arrived.batch.put(Table::Meta, meta::VAULT_KEY, &key[..]);
        vault.key = key;
    }
}

/// What is held of a log; of a forked one what all branches share.
fn cut(log: &Log) -> Option<(crate::types::LogName, Cut)> {
    let tip = log.fork.filter(|fork| fork.seq < log.tip.seq).unwrap_or(log.tip);
    (tip.seq > 0).then(|| (log.name.clone(), Cut { seq: tip.seq, hash: tip.hash }))
}

fn check_team(team: &TeamId) -> Result<()> {
    match team.0.is_empty() || team.0.len() > MAX_NAME_BYTES || team.0.chars().any(char::is_control) {
        true => Err(Error::invalid(format!("a team's name has 1 to {MAX_NAME_BYTES} bytes and no control characters"))),
        false => Ok(()),
    }
}
