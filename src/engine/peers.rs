//! Devices known to this one: where they are, what was last common with them, when to dial them.

use super::SyncEngine;
use super::layout::{self, LogKey};
use crate::engine::io::{Output, Via};
use crate::error::{Error, ErrorCode, Result};
use crate::protocol::{Frontier, Held, digest, type_digest};
use crate::store::{Table, WriteBatch};
use crate::types::codec::{Reader, put_bytes, put_varint};
use crate::types::limits::MAX_NAME_BYTES;
use crate::types::{EntityType, Epoch, Hash, LogId, LogName, PeerId, SortedMap};

/// The first wait before dialling again; it doubles up to [`MAX_BACKOFF`], with a random half.
const MIN_BACKOFF: u64 = 500_000;
const MAX_BACKOFF: u64 = 60_000_000;
/// How long a dial may take before it is taken to be lost.
const DIAL_TIME: u64 = 20_000_000;
const MAX_ADDRESSES: usize = 16;
const MAX_ADDRESS_BYTES: usize = 512;
/// Peers whose addresses are kept: members, and others up to this many.
const MAX_PEERS: usize = 1_024;

/// A device that this one knows of.
#[derive(Default, Debug)]
pub struct Peer {
    /// Whether the user asked for a link to it.
    pub wanted: bool,
    /// Whether it said that it runs in a browser.
    pub browser: bool,
    /// Where it was last known, newest first.
    pub addresses: Vec<String>,
    /// The last common frontier with its short digest.
    pub common: Option<(u64, Frontier)>,
    /// What it held when a session with it was last in sync.
    pub holds: Frontier,
    /// Wall clock milliseconds of that.
    pub synced_at: Option<u64>,
    /// The membership heads it had when a session was last open.
    pub heads: Vec<Hash>,
    /// Wall clock milliseconds of its last message.
    pub last_seen: Option<u64>,
    /// By which way it was last reached.
    pub via: Option<Via>,
    /// How far its last stamp was from our clock, in milliseconds.
    pub clock_offset: Option<i64>,
    /// When to dial it next, 0: at once; and the wait after that.
    pub dial_at: u64,
    pub backoff: u64,
    /// Until when a dial is taken to be under way, 0: none is. A transport that is just closing a link may say nothing.
    pub dialling: u64,
    /// What the last attempt said.
    pub failure: Option<Error>,
    /// How far into branches of its own logs it was given, since the start, what is held here.
    pub branches: SortedMap<LogKey, u64>,
}

impl Peer {
    /// When it is to be dialled next.
    fn due(&self) -> u64 {
        self.dial_at.max(self.dialling)
    }

    /// Puts addresses in front of those known.
    pub fn learn(&mut self, addresses: Vec<String>) {
        for address in addresses.into_iter().rev().filter(|address| address.len() <= MAX_ADDRESS_BYTES) {
            self.addresses.retain(|known| *known != address);
            self.addresses.insert(0, address);
        }
        self.addresses.truncate(MAX_ADDRESSES);
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![u8::from(self.wanted) | u8::from(self.browser) << 1];
        put_varint(&mut out, self.addresses.len() as u64);
        self.addresses.iter().for_each(|address| put_bytes(&mut out, address.as_bytes()));
        put_varint(&mut out, self.heads.len() as u64);
        self.heads.iter().for_each(|head| out.extend_from_slice(&head.0));
        put_varint(&mut out, self.last_seen.unwrap_or(0));
        let empty = Frontier::new();
        let (short, frontier) = self.common.as_ref().map_or((0, &empty), |(short, frontier)| (*short, frontier));
        out.extend_from_slice(&short.to_be_bytes());
        encode_frontier(frontier, &mut out);
        put_varint(&mut out, self.synced_at.unwrap_or(0));
        encode_frontier(&self.holds, &mut out);
        out
    }

    /// Reads the row of a peer.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let flags = reader.byte()?;
        let mut peer = Peer { wanted: flags & 1 != 0, browser: flags & 2 != 0, ..Peer::default() };
        for _ in 0..reader.count(MAX_ADDRESSES, "addresses")? {
            peer.addresses.push(reader.text(MAX_ADDRESS_BYTES, "an address")?.to_owned());
        }
        for _ in 0..reader.count(usize::MAX, "heads")? {
            peer.heads.push(Hash(reader.array()?));
        }
        peer.last_seen = Some(reader.varint()?).filter(|seen| *seen > 0);
        let short = u64::from_be_bytes(reader.array()?);
        let frontier = decode_frontier(&mut reader)?;
        peer.synced_at = Some(reader.varint()?).filter(|at| *at > 0);
        peer.holds = decode_frontier(&mut reader)?;
        reader.finish()?;
        peer.common = (short != 0).then_some((short, frontier));
        Ok(peer)
    }
}

fn encode_frontier(frontier: &Frontier, out: &mut Vec<u8>) {
    put_varint(out, frontier.len() as u64);
    for (name, held) in frontier {
        put_bytes(out, name.entity_type.as_str().as_bytes());
        out.extend_from_slice(&name.id.author.0);
        out.extend_from_slice(&name.id.epoch.0.to_be_bytes());
        put_varint(out, held.seq);
        out.extend_from_slice(&held.hash.0);
        out.push(u8::from(held.forked));
    }
}

fn decode_frontier(reader: &mut Reader<'_>) -> Result<Frontier> {
    let mut frontier = Frontier::new();
    for _ in 0..reader.count(usize::MAX, "frontier entries")? {
        let entity_type = EntityType::new(reader.text(MAX_NAME_BYTES, "a type")?)?;
        let id = LogId { author: PeerId(reader.array()?), epoch: Epoch(u64::from_be_bytes(reader.array()?)) };
        let held = Held { seq: reader.varint()?, hash: Hash(reader.array()?), forked: reader.byte()? != 0 };
        frontier.insert(LogName { entity_type, id }, held);
    }
    Ok(frontier)
}

impl SyncEngine {
    pub(super) fn store_peer(&mut self, peer: PeerId) {
        let Some(known) = self.peers.get(&peer) else { return };
        let mut batch = WriteBatch::default();
        batch.put(Table::Peers, layout::peer_row(&peer), known.encode());
        self.write(batch, super::Landed::default());
    }

    pub(super) fn add_peer(&mut self, peer: PeerId, addresses: Vec<String>) {
        let known = self.peers.entry(peer).or_default();
        known.wanted = true;
        known.dialling = 0; // the new addresses are tried beside those that are dialled now
        known.dial_at = 0;
        known.backoff = 0;
        known.learn(addresses);
        self.store_peer(peer);
    }

    pub(super) fn remove_peer(&mut self, peer: PeerId) {
        if let Some(known) = self.peers.get_mut(&peer) {
            known.wanted = false;
            self.store_peer(peer);
        }
    }

    /// Found on the local network, or told: dialled if it is a member or wanted.
    pub(super) fn peer_found(&mut self, peer: PeerId, addresses: Vec<String>) {
        if peer == self.me || (self.peers.len() >= MAX_PEERS && !self.peers.contains_key(&peer)) {
            return;
        }
        let known = self.peers.entry(peer).or_default();
        let new = addresses.iter().any(|address| !known.addresses.contains(address));
        known.learn(addresses);
        if new {
            known.dialling = 0;
            known.dial_at = 0;
            known.backoff = 0;
        }
    }

    pub(super) fn dial_failed(&mut self, peer: PeerId, why: String) {
        let jitter = self.entropy.below(1_000);
        let now = self.now.mono;
        let Some(known) = self.peers.get_mut(&peer) else { return };
        known.dialling = 0;
        let failure = Error::new(ErrorCode::Unreachable, why);
        let why = failure.to_string();
        known.failure = Some(failure);
        known.backoff = (known.backoff * 2).clamp(MIN_BACKOFF, MAX_BACKOFF);
        known.dial_at = now + known.backoff / 2 + known.backoff / 2 * jitter / 1_000;
        if known.wanted && known.backoff == MIN_BACKOFF {
            self.out.push(Output::Emit(super::SyncEvent::SyncError(peer, why)));
        }
    }

    /// A link ended: dial again soon, but not at once. The wait grows until a session has been in sync.
    pub(super) fn redial_later(&mut self, peer: PeerId) {
        let jitter = self.entropy.below(1_000);
        let now = self.now.mono;
        let Some(known) = self.peers.get_mut(&peer) else { return };
        known.dialling = 0;
        known.backoff = (known.backoff * 2).clamp(MIN_BACKOFF, MAX_BACKOFF);
        known.dial_at = now + known.backoff / 2 + known.backoff / 2 * jitter / 1_000;
    }

    pub(super) fn is_member(&self, peer: &PeerId) -> bool {
        self.vault.as_ref().is_some_and(|vault| vault.membership.evaluate().role(peer).is_some())
    }

    fn dial_candidates(&self) -> impl Iterator<Item = (&PeerId, &Peer)> {
        self.peers.iter().filter(|(id, peer)| {
            (peer.wanted || ((self.finds_members || !peer.addresses.is_empty()) && self.is_member(id)))
                && !self.sessions.values().any(|session| session.peer == **id)
        })
    }

    /// Dials whom it is time to dial.
    pub(super) fn peers_due(&mut self) {
        if self.paused || self.vault.is_none() {
            return;
        }
        if self.finds_members {
            self.know_all_members();
        }
        let due: Vec<PeerId> =
            self.dial_candidates().filter(|(_, peer)| peer.due() <= self.now.mono).map(|(id, _)| *id).collect();
        for id in due {
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.dialling = self.now.mono + DIAL_TIME;
                self.out.push(Output::Dial(id, peer.addresses.clone()));
            }
        }
    }

    /// Those whom the membership log names and nobody has told an address of.
    fn know_all_members(&mut self) {
        let Some(vault) = &self.vault else { return };
        let view = vault.membership.evaluate();
        let unknown: Vec<PeerId> = view.members.keys().filter(|peer| !self.peers.contains_key(peer)).copied().collect();
        for peer in unknown.into_iter().filter(|peer| *peer != self.me) {
            self.peers.entry(peer).or_default();
        }
    }

    /// When the next dial is due.
    pub(super) fn next_dial(&self) -> Option<u64> {
        if self.paused || self.vault.is_none() {
            return None;
        }
        self.dial_candidates().map(|(_, peer)| peer.due()).min()
    }

    /// Types that both may read, that have a log.
    pub(super) fn shared_types(&self, peer: &PeerId) -> Vec<layout::TypeIx> {
        self.vault.as_ref().map(|vault| self.types_shared_by(&vault.policy, peer)).unwrap_or_default()
    }

    /// Whether both may read a type.
    pub(super) fn may_exchange(&self, name: &str, peer: &PeerId) -> bool {
        let both = |vault: &super::Vault| vault.policy.can_send(name, peer) && vault.policy.can_send(name, &self.me);
        self.vault.as_ref().is_some_and(both)
    }

    /// The same by another policy than that of now.
    pub(super) fn types_shared_by(
        &self,
        policy: &std::sync::Arc<dyn crate::policy::SyncPolicy>,
        peer: &PeerId,
    ) -> Vec<layout::TypeIx> {
        (0..self.types.len() as u32)
            .map(layout::TypeIx)
            .filter(|ty| {
                self.type_name(*ty).is_some_and(|name| {
                    policy.can_send(name.as_str(), peer) && policy.can_send(name.as_str(), &self.me)
                })
            })
            .collect()
    }

    /// This device's frontier as far as `peer` may know it, with its digest.
    pub(super) fn frontier_for(&mut self, peer: &PeerId) -> (Hash, Frontier) {
        let types = self.shared_types(peer);
        let mut named: Vec<(EntityType, Hash)> = Vec::new();
        let mut frontier = Frontier::new();
        for ty in &types {
            let before = frontier.len();
            for log in super::logs_of(&self.logs, *ty) {
                let tip = log.shared();
                if tip.seq > 0 || log.fork.is_some() {
                    let held = Held { seq: tip.seq, hash: tip.hash, forked: log.fork.is_some() };
                    frontier.insert(log.name.clone(), held);
                }
            }
            if frontier.len() > before {
                let digest = self.digest_of(*ty);
                named.extend(self.type_name(*ty).map(|name| (name.clone(), digest)));
            }
        }
        named.sort();
        let heads = self.vault.as_ref().map(|vault| vault.membership.heads()).unwrap_or_default();
        (digest(&heads, named.iter().map(|(name, digest)| (name, *digest))), frontier)
    }

    /// The digest of one type's logs, computed again only after they changed.
    pub(super) fn digest_of(&mut self, ty: layout::TypeIx) -> Hash {
        if let Some(digest) = self.digests.get(&ty) {
            return *digest;
        }
        let mut entries: Vec<(LogName, Held)> = super::logs_of(&self.logs, ty)
            .filter(|log| log.shared().seq > 0 || log.fork.is_some())
            .map(|log| {
                let tip = log.shared();
                (log.name.clone(), Held { seq: tip.seq, hash: tip.hash, forked: log.fork.is_some() })
            })
            .collect();
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        let digest = type_digest(entries.iter().map(|(name, held)| (name, *held)));
        self.digests.insert(ty, digest);
        digest
    }
}
