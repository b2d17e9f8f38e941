//! Making a vault, inviting into it, joining one.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::import::Import;
use super::io::{CallId, Output, Reply, SyncEvent, TrustedPeer};
use super::layout::{self, meta};
use super::remote::Arrived;
use super::{Landed, SyncEngine, Vault};
use crate::error::{Error, ErrorCode, Result};
use crate::policy::{
    AddMember, AuditKind, AuditSubject, Genesis, Invite, Membership, Op, PolicyKind, SyncRole, root_keypair,
    sync_policy,
};
use crate::store::{Table, WriteBatch};
use crate::types::codec::{Reader, put_bytes};
use crate::types::limits::MAX_DEVICE_NAME_BYTES;
use crate::types::{Epoch, PeerId, VaultId};

impl SyncEngine {
    /// Makes a vault with this device as its first Admin.
    pub(super) fn init(
        &mut self,
        call: CallId,
        device_name: String,
        policy: PolicyKind,
        root: Zeroizing<[u8; 32]>,
    ) -> Result<()> {
        if let Some(vault) = &self.vault {
            let vault = vault.membership.vault();
            return Err(Error::invalid(format!("this device has a vault already ({vault}); use another data folder")));
        }
        let mut arrived = Arrived::default();
        let vault = self.make_vault(device_name, policy, &root, &mut arrived)?;
        arrived.landed.replies.push((call, Reply::Vault(vault, 0)));
        self.finish_arrival(arrived);
        Ok(())
    }

    /// Makes the vault that a first write or invite needs. Nobody has seen its recovery key: it is kept until the user
    /// has saved it.
    pub(super) fn vault_at_need(&mut self) -> Result<()> {
        let (None, Some(policy)) = (&self.vault, self.own_vault) else { return Ok(()) };
        let root = Zeroizing::new(self.entropy.bytes());
        let mut arrived = Arrived::default();
        self.make_vault(self.device_name.clone(), policy, &root, &mut arrived)?;
        arrived.batch.put(Table::Meta, meta::RECOVERY, &root[..]);
        self.recovery = Some(root);
        self.finish_arrival(arrived);
        Ok(())
    }

    pub(super) fn recovery_saved(&mut self, call: CallId) {
        let mut batch = WriteBatch::default();
        if self.recovery.take().is_some() {
            batch.delete(Table::Meta, meta::RECOVERY);
        }
        self.write(batch, Landed { replies: vec![(call, Reply::Done)], ..Landed::default() });
    }

    fn make_vault(
        &mut self,
        device_name: String,
        policy: PolicyKind,
        root: &Zeroizing<[u8; 32]>,
        arrived: &mut Arrived,
    ) -> Result<VaultId> {
        check_name(&device_name)?;
        let genesis = Genesis {
            root: root_keypair(root).peer_id(),
            policy,
            admin: self.me,
            admin_name: device_name.clone(),
            secret: Zeroizing::new(self.entropy.bytes()),
        };
        let hlc = self.hlc.tick(self.now);
        let op = Op::genesis(&root_keypair(root), genesis, hlc)?;
        let key = Zeroizing::new(self.entropy.bytes());
        self.device_name = device_name;
        self.take_vault(Membership::from_genesis(op)?, key, &[], arrived)
    }

    /// Gives a device another name on this one.
    pub(super) fn rename(&mut self, call: CallId, peer: PeerId, name: String) -> Result<()> {
        check_name(&name)?;
        if !self.peer_states().iter().any(|known| known.peer_id == peer) {
            return Err(Error::new(ErrorCode::NotFound, format!("{peer} is no known device")));
        }
        if name.is_empty() {
            self.aliases.remove(&peer);
        } else {
            self.aliases.insert(peer, name);
        }
        let mut row = Vec::new();
        for (peer, name) in &self.aliases {
            row.extend_from_slice(&peer.0);
            put_bytes(&mut row, name.as_bytes());
        }
        let mut batch = WriteBatch::default();
        batch.put(Table::Meta, meta::ALIASES, row);
        self.write(batch, Landed { replies: vec![(call, Reply::Done)], ..Landed::default() });
        self.told_members = None;
        Ok(())
    }

    /// Tells who is a member, where that has changed.
    pub(super) fn tell_members(&mut self) {
        let Some(vault) = &self.vault else { return };
        let now = Some((vault.membership.vault(), vault.membership.len()));
        if self.told_members == now {
            return;
        }
        self.told_members = now;
        let view = vault.membership.evaluate();
        let members = view.members.iter().filter(|(peer, _)| **peer != self.me);
        let members = members.map(|(peer, member)| TrustedPeer {
            peer_id: *peer,
            device_name: self.aliases.get(peer).unwrap_or(&member.name).clone(),
            role: member.role,
            trusted_at: member.added,
        });
        let members = members.collect();
        self.out.push(Output::Members(Arc::new(members), view.kind));
        self.out.push(Output::Emit(SyncEvent::MembersChanged));
    }

    pub(super) fn read_aliases(&mut self, row: &[u8]) -> Result<()> {
        let mut reader = Reader::new(row);
        while !reader.is_empty() {
            let peer = PeerId(reader.array()?);
            self.aliases.insert(peer, reader.text(MAX_DEVICE_NAME_BYTES, "a device's name")?.to_owned());
        }
        Ok(())
    }

    pub(super) fn take_vault(
        &mut self,
        membership: Membership,
        key: Zeroizing<[u8; 32]>,
        credential: &[Arc<[u8]>],
        arrived: &mut Arrived,
    ) -> Result<VaultId> {
        let batch = &mut arrived.batch;
        for (place, op) in membership.ops().enumerate() {
            batch.put(Table::Membership, layout::membership_row(place), &op[..]);
        }
        batch.put(Table::Meta, meta::VAULT_KEY, &key[..]);
        batch.put(Table::Meta, meta::DEVICE_NAME, self.device_name.as_bytes());
        batch.put(Table::Meta, meta::EPOCH, self.epoch.0.to_be_bytes());
        let mut row = Vec::new();
        credential.iter().for_each(|op| put_bytes(&mut row, op));
        batch.put(Table::Meta, meta::CREDENTIAL, row);
        self.credential = credential.to_vec();
        let id = membership.vault();
        let policy = sync_policy(membership.evaluate());
        self.vault = Some(Vault { membership, policy, key, first_key: None });
        Ok(id)
    }

    /// Signs a device into the vault; what it answers is of use to that device only.
    pub(super) fn invite(
        &mut self,
        call: CallId,
        peer: PeerId,
        role: SyncRole,
        name: String,
        addresses: Vec<String>,
    ) -> Result<()> {
        check_name(&name)?;
        if peer == self.me {
            return Err(Error::invalid("this device is in the vault; an invite names another one"));
        }
        self.vault_at_need()?;
        let hlc = self.hlc.tick(self.now);
        let entropy = Zeroizing::new(self.entropy.bytes());
        self.vault()?;
        let Some(vault) = &mut self.vault else { return Ok(()) };
        let mut arrived = Arrived::default();
        let known = vault.membership.evaluate().role(&peer);
        if known.is_none_or(|known| known != role) {
            if known.is_some() {
                return Err(Error::new(
                    ErrorCode::Invalid,
                    format!("{peer} is a member already, with another role; change that (`role`)"),
                ));
            }
            let place = vault.membership.len();
            let op = vault.membership.add_member(&self.config.keypair, AddMember { peer, role, name }, hlc)?;
            arrived.batch.put(Table::Membership, layout::membership_row(place), &op.encoded()[..]);
            arrived.landed.tell.push((crate::wire::Item::Membership(op.encoded().clone()), None));
            if !Self::is_own(call) {
                arrived.landed.events.push(SyncEvent::PairingCompleted(peer));
            }
            arrived.membership_grew(op.hash());
        }
        let invite = Invite::new(&vault.membership, peer, addresses, vault.key.clone())?.to_text(&entropy)?;
        self.peers.entry(peer).or_default();
        arrived.landed.replies.push((call, Reply::Invite(invite)));
        self.finish_arrival(arrived);
        Ok(())
    }

    /// Joins a vault by an invite that names this device. What this device has written before comes along: it is
    /// written again into the joined vault, under the same ids.
    pub(super) fn join(&mut self, call: CallId, text: &str) -> Result<()> {
        let invite = Invite::from_text(text, &self.config.keypair)?;
        if self.vault.as_ref().is_some_and(|vault| vault.membership.vault() == invite.vault) {
            return self.join_again(call, &invite);
        }
        if !self.writes.is_empty() || !self.local.is_empty() || !self.tabs.is_empty() || self.job.is_some() {
            return Err(Error::new(ErrorCode::Busy, "this device is writing; try again when it is done"));
        }
        if self.vault.is_some() {
            self.collect_for(call, invite);
            return Ok(());
        }
        self.join_now(call, &invite, Vec::new())
    }

    /// An invite into the vault that this device has: what it carries is taken in.
    fn join_again(&mut self, call: CallId, invite: &Invite) -> Result<()> {
        let mut arrived = Arrived::default();
        for op in &invite.ops {
            // Operations whose parents are missing come by the first sync.
            let _ = self.take_membership(None, op, &mut arrived);
        }
        let vault = invite.vault;
        self.learn_inviter(invite)?;
        arrived.landed.replies.push((call, Reply::Vault(vault, 0)));
        self.finish_arrival(arrived);
        Ok(())
    }

    /// Takes the vault, and writes `own` into it.
    pub(super) fn join_now(&mut self, call: CallId, invite: &Invite, own: Vec<Import>) -> Result<()> {
        let (membership, complete) = invite.membership()?;
        let mut arrived = Arrived::default();
        let view = membership.evaluate();
        if let Some(import) = own.iter().find(|import| !view.may_write(import.entity_type.as_str(), &self.me)) {
            return Err(Error::new(
                ErrorCode::PolicyDenied,
                format!(
                    "that vault does not let this device write `{}`, and its own data of that type would be lost; have an \
                     Admin give it the right (`role`, `acl`) and invite it again, or join in a new data folder",
                    import.entity_type
                ),
            ));
        }
        let credential = if complete { Vec::new() } else { invite.credential()? };
        if self.vault.is_some() {
            self.drop_vault(&mut arrived);
        }
        let vault = self.take_vault(membership, invite.vault_key.clone(), &credential, &mut arrived)?;
        self.say_own_name(&mut arrived);
        if let Some(by) = view.members.get(&self.me).map(|member| member.by) {
            self.note(AuditSubject { peer: self.me, kind: AuditKind::Pair, by, entity_type: None, allowed: true });
        }
        let count = own.iter().map(|import| import.entities.len()).sum();
        for import in own {
            if let Err(error) = self.write_import(import, &mut arrived) {
                // Nothing of it is on disk: the engine goes on from there, with the old vault.
                self.fail(Error::new(error.code(), format!("the vault was not joined: {}", error.message())));
                return Err(error);
            }
        }
        arrived.landed.replies.push((call, Reply::Vault(vault, count)));
        self.finish_arrival(arrived);
        // Only now: a batch of its own must not come before the one that clears the old vault's rows.
        self.learn_inviter(invite)
    }

    fn learn_inviter(&mut self, invite: &Invite) -> Result<()> {
        for address in &invite.addresses {
            // An address ends in the peer id of whom it leads to.
            let Some(peer) = address.rsplit("/p2p/").next().and_then(|peer| peer.parse::<PeerId>().ok()) else {
                continue;
            };
            if peer != self.me {
                self.add_peer(peer, vec![address.clone()]);
            }
        }
        Ok(())
    }

    /// Forgets the old vault's rows, in the batch that puts the new one's.
    fn drop_vault(&mut self, arrived: &mut Arrived) {
        for table in [Table::Membership, Table::Logs, Table::Blocks, Table::Pages, Table::Peers] {
            arrived.batch.clear(table);
        }
        arrived.batch.delete(Table::Meta, meta::CHECKPOINT);
        // The words were those of the old vault.
        arrived.batch.delete(Table::Meta, meta::RECOVERY);
        arrived.batch.delete(Table::Meta, meta::FIRST_KEY);
        self.recovery = None;
        arrived.landed.events.push(SyncEvent::VaultChanged);
        let links: Vec<_> = self.sessions.keys().copied().collect();
        for link in links {
            self.hang_up(link, Error::new(ErrorCode::Closed, "this device has joined another vault"));
        }
        self.vault = None;
        self.types.clear();
        self.ids = Default::default();
        self.named = (0, 0);
        self.logs.clear();
        self.log_names.clear();
        self.digests.clear();
        self.entities = super::Entities::new(self.entropy.number());
        self.peers.clear();
        self.recent = Default::default();
        self.epoch = Epoch(self.entropy.number());
    }
}

pub(super) fn check_name(name: &str) -> Result<()> {
    if name.len() > MAX_DEVICE_NAME_BYTES || name.chars().any(char::is_control) {
        return Err(Error::invalid(format!(
            "a device's name has at most {MAX_DEVICE_NAME_BYTES} bytes and no control characters"
        )));
    }
    Ok(())
}
