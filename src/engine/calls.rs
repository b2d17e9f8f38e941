//! The app's calls, and the ones among them that wait for rows.

use std::collections::VecDeque;

use super::SyncEngine;
use super::backup::Backup;
use super::entities::Key;
use super::io::{Call, CallId, Input, Level, LinkId, Output, RecoveryKey, Reply, Status, TypeStatus};
use super::layout::{LogKey, TypeIx};
use super::listing::{self, Listing};
use super::local::PageKey;
use super::sessions::Session;
use super::withheld::{Purpose, Withheld};
use crate::crdt::EntityView;
use crate::error::{Error, ErrorCode};
use crate::policy::AuditPage;
use crate::store::Rows;
use crate::types::limits::MAX_BATCH_SIZE;
use crate::types::{Commit, EntityId, EntityType, PeerId, SortedMap};

/// Calls that may wait at once.
const MAX_ASKED: usize = 4_096;

/// A call that waits for rows.
#[derive(Debug)]
pub enum Asked {
    /// Entities, by type and ascending: those to come, those found, and the pages that are waited for.
    Get { keys: VecDeque<Key>, found: Found, waits: Vec<PageKey>, then: Then },
    /// Pages, one after the other.
    List(Listing),
    /// Blocks that may touch an entity.
    History { id: EntityId, types: Vec<TypeIx>, next: Vec<u8>, found: Vec<(LogKey, Commit)> },
    /// A part of a backup.
    Backup(Backup),
    /// A part of the audit log.
    Audit(Box<AuditPage>),
    /// What lies beyond cuts.
    Withheld(Box<Withheld>),
}

/// What was found, in the form that is asked for.
#[derive(Default, Debug)]
pub struct Found {
    views: Vec<EntityView>,
    states: Vec<(EntityId, Vec<u8>)>,
}

/// What entities are read for.
#[derive(Clone, Copy, Debug)]
pub enum Then {
    /// Their views are the answer.
    Show,
    /// Their states are.
    States,
    /// The answer is why this one is not in sync: its types are known now.
    Explain(EntityId),
}

/// A call that waits until own logs have come so far.
#[derive(Debug)]
pub struct Settling {
    pub call: CallId,
    level: Level,
    tips: Vec<(LogKey, u64)>,
}

impl SyncEngine {
    pub(super) fn call(&mut self, id: CallId, call: Call) {
        if self.asked.len() >= MAX_ASKED {
            let error = Error::new(ErrorCode::Quota, "too many calls wait at once; wait for their answers");
            return self.refuse(id, error);
        }
        let done = |engine: &mut Self| engine.out.push(Output::Reply(id, Ok(Reply::Done)));
        let result = match call {
            Call::Init { device_name, policy, root } => self.init(id, device_name, policy, root),
            Call::RecoveryKey => {
                let key = self.recovery.clone().map(RecoveryKey);
                self.out.push(Output::Reply(id, Ok(Reply::RecoveryKey(key))));
                Ok(())
            }
            Call::RecoverySaved => {
                self.recovery_saved(id);
                Ok(())
            }
            Call::Members => self.members().map(|members| {
                self.out.push(Output::Reply(id, Ok(Reply::Members(Box::new(members)))));
            }),
            Call::Change(change) => {
                let changed = self.change_members(id, change.clone());
                changed.inspect_err(|error| self.audit_change(&change, error))
            }
            Call::Audit { after, limit } => self.audit_call(id, after, limit),
            Call::Rename(peer, name) => self.rename(id, peer, name),
            Call::OpenTab(tab) => {
                self.open_tab(id, tab);
                Ok(())
            }
            Call::TabWrites { tab, number, log, writes } => self.tab_message(id, tab, number, log, writes),
            Call::Watch(entity_type) => {
                self.watch(entity_type);
                done(self);
                Ok(())
            }
            Call::States { limit, .. } if limit == 0 || limit > 10_000 => {
                Err(Error::invalid("states are read with a limit of 1 to 10,000 entities"))
            }
            Call::States { entity_type, after, limit } => {
                let types = self.types_named(Some(entity_type.clone()));
                let after = after.map(|last| (entity_type, last));
                let listing = Listing::new(self, types, after, limit, listing::Purpose::States(Vec::new()));
                self.asked.insert(id, Asked::List(listing));
                self.resume_call(id);
                Ok(())
            }
            Call::StatesOf { entity_type, ids } if (1..=MAX_BATCH_SIZE).contains(&ids.len()) => {
                self.get(id, Some(entity_type), ids, Then::States);
                Ok(())
            }
            Call::StatesOf { .. } => Err(Error::invalid(format!("1 to {MAX_BATCH_SIZE} entities are read at once"))),
            Call::Invite { peer, role, addresses } => self
                .invite(id, peer, role, String::new(), addresses)
                .inspect_err(|error| self.audit_pair_refused(error, peer)),
            Call::Join(text) => self.join(id, &text),
            Call::TrustPeer { peer, name, addresses } => {
                self.trust_peer(id, peer, name, addresses).inspect_err(|error| self.audit_pair_refused(error, peer))
            }
            call @ (Call::PairOffer(_)
            | Call::PairJoin { .. }
            | Call::PairWait
            | Call::PairConfirm(_)
            | Call::PairState
            | Call::PairReject
            | Call::PairCancel
            | Call::PairUnlock
            | Call::PairVerify(_)) => self.pairing_call(id, call),
            Call::Write { entity_type, changes } => {
                self.park_write(id, entity_type, changes);
                Ok(())
            }
            Call::Get { entity_type, id: entity } => {
                self.get(id, entity_type, vec![entity], Then::Show);
                Ok(())
            }
            Call::GetMany { ids, .. } if ids.is_empty() || ids.len() > MAX_BATCH_SIZE => {
                Err(Error::invalid(format!("1 to {MAX_BATCH_SIZE} entities are read at once")))
            }
            Call::GetMany { entity_type, ids } => {
                self.get(id, entity_type, ids, Then::Show);
                Ok(())
            }
            Call::List { entity_type, after, limit } => {
                if limit == 0 || limit > 10_000 {
                    Err(Error::invalid("a list has a limit of 1 to 10,000 entities"))
                } else {
                    let types = self.types_named(entity_type);
                    let listing = Listing::new(self, types, after, limit, listing::Purpose::Views);
                    self.asked.insert(id, Asked::List(listing));
                    self.resume_call(id);
                    Ok(())
                }
            }
            Call::Digest => {
                let types = self.types_named(None);
                let listing = Listing::new(self, types, None, usize::MAX, listing::Purpose::digest());
                self.asked.insert(id, Asked::List(listing));
                self.resume_call(id);
                Ok(())
            }
            Call::History(entity) => {
                let types = self.types_named(None);
                self.asked.insert(id, Asked::History { id: entity, types, next: Vec::new(), found: Vec::new() });
                self.history_step(id);
                Ok(())
            }
            call @ (Call::Quarantine | Call::WriteAgain) if !self.writes.is_empty() => {
                // It reads what is on disk.
                self.held_calls.push((id, call));
                Ok(())
            }
            Call::Quarantine => self.withheld(id, Purpose::Show),
            Call::WriteAgain => self.withheld(id, Purpose::WriteAgain),
            Call::Status => {
                let status = Box::new(self.status());
                self.out.push(Output::Reply(id, Ok(Reply::Status(status))));
                Ok(())
            }
            Call::Peers => {
                let peers = self.peer_states();
                self.out.push(Output::Reply(id, Ok(Reply::Peers(peers))));
                Ok(())
            }
            Call::Explain(Some(entity)) => {
                self.get(id, None, vec![entity], Then::Explain(entity));
                Ok(())
            }
            Call::Explain(None) => {
                let reasons = self.reasons(None);
                self.out.push(Output::Reply(id, Ok(Reply::NotSynced(reasons))));
                Ok(())
            }
            Call::AddPeer(peer, addresses) => {
                self.add_peer(peer, addresses);
                done(self);
                Ok(())
            }
            Call::RemovePeer(peer) => {
                self.remove_peer(peer);
                done(self);
                Ok(())
            }
            Call::ForceSync(peer) => {
                self.force_sync(id, peer);
                Ok(())
            }
            Call::Settled(level) => {
                // Local writes that wait for pages are not numbered yet: the call waits behind them.
                let own = self.logs.values().filter(|log| log.name.id.author == self.me);
                let tips = own.map(|log| (log.key, log.tip.seq)).collect();
                if self.local.is_empty() && self.tabs.is_empty() {
                    self.settling.push(Settling { call: id, level, tips });
                } else {
                    self.held_calls.push((id, Call::Settled(level)));
                }
                Ok(())
            }
            Call::Pause => {
                self.paused = true;
                let links: Vec<_> = self.sessions.keys().copied().collect();
                for link in links {
                    self.hang_up(link, Error::new(ErrorCode::Paused, "this device has paused its links"));
                }
                done(self);
                Ok(())
            }
            Call::Resume | Call::Reconnect => {
                self.paused &= !matches!(call, Call::Resume);
                self.peers.values_mut().for_each(|peer| (peer.dial_at, peer.backoff) = (0, 0));
                done(self);
                Ok(())
            }
            Call::Backup { after } => self.start_backup(id, after),
            Call::Restore { items } => self.restore(id, items),
        };
        if let Err(error) = result {
            self.refuse(id, error);
        }
    }

    fn types_named(&self, name: Option<EntityType>) -> Vec<TypeIx> {
        match name {
            Some(name) => self.find_type(&name).into_iter().collect(),
            None => {
                let mut types: Vec<TypeIx> = (0..self.types.len() as u32).map(TypeIx).collect();
                types.sort_by(|a, b| self.type_name(*a).cmp(&self.type_name(*b)));
                types
            }
        }
    }

    fn get(&mut self, call: CallId, entity_type: Option<EntityType>, mut ids: Vec<EntityId>, then: Then) {
        ids.sort_unstable();
        ids.dedup();
        let types = self.types_named(entity_type);
        let keys = types.iter().flat_map(|ty| ids.iter().map(|id| (*ty, *id))).collect();
        self.asked.insert(call, Asked::Get { keys, found: Found::default(), waits: Vec::new(), then });
        self.resume_call(call);
    }

    /// Pages have come, or a checkpoint is on disk: whoever waits for no other pages looks again.
    pub(super) fn resume_calls(&mut self) {
        let ready = |asked: &Asked| match asked {
            Asked::Get { waits, .. } => !self.are_read(waits),
            Asked::List(listing) => !self.are_read(&listing.waits),
            Asked::History { .. } | Asked::Backup(_) | Asked::Audit(_) | Asked::Withheld(_) => false,
        };
        let waiting: Vec<CallId> = self.asked.iter().filter(|(_, asked)| ready(asked)).map(|(id, _)| *id).collect();
        for id in waiting {
            self.resume_call(id);
        }
        let ready = |session: &Session| session.clocks.as_ref().is_some_and(|clocks| !self.are_read(&clocks.waits));
        let links: Vec<LinkId> = self.sessions.iter().filter(|(_, one)| ready(one)).map(|(link, _)| *link).collect();
        for link in links {
            self.clocks_step(link);
        }
    }

    fn resume_call(&mut self, call: CallId) {
        match self.asked.remove(&call) {
            Some(Asked::Get { mut keys, mut found, then, .. }) => {
                // What is there is taken at once: it need not stay in memory until the last page has come.
                while let Some(key) = keys.front().copied().filter(|key| self.entities.is_loaded(key)) {
                    keys.pop_front();
                    let state = self.entities.get(&key).filter(|state| state.exists());
                    if let (Some(state), Some(name)) = (state, self.type_name(key.0)) {
                        if let Then::States = then {
                            let mut bytes = Vec::new();
                            state.encode(&mut bytes);
                            found.states.push((key.1, bytes));
                        } else {
                            found.views.push(state.view(name.clone(), key.1, &self.ids));
                        }
                    }
                }
                if !keys.is_empty() {
                    let pages = self.entities.pages_for(&keys);
                    let waits = self.read_pages(pages);
                    self.asked.insert(call, Asked::Get { keys, found, waits, then });
                    return;
                }
                let reply = match then {
                    Then::Show => Reply::Entities(found.views),
                    Then::States => self.states(found.states, false),
                    Then::Explain(id) => Reply::NotSynced(self.reasons(Some(id))),
                };
                self.let_go();
                self.out.push(Output::Reply(call, Ok(reply)));
            }
            Some(Asked::List(listing)) => self.list_step(call, listing),
            Some(other) => {
                self.asked.insert(call, other);
            }
            None => {}
        }
    }

    /// Lets go of states above the bound, but for what a write waits to have together.
    pub(super) fn let_go(&mut self) {
        if self.local.front().is_none_or(|parked| parked.waits.is_empty()) {
            self.entities.evict(self.tuning.clean_bytes);
        }
    }

    pub(super) fn call_rows(&mut self, call: CallId, rows: Rows) {
        match self.asked.remove(&call) {
            Some(Asked::History { id, types, next, found }) => self.history_rows(call, id, types, next, found, rows),
            Some(Asked::Backup(backup)) => self.backup_rows(call, backup, rows),
            Some(Asked::Audit(page)) => self.audit_rows(call, page, rows),
            Some(Asked::List(listing)) => self.list_rows(call, listing, rows),
            Some(Asked::Withheld(withheld)) => self.withheld_rows(call, *withheld, rows),
            Some(other) => {
                self.asked.insert(call, other);
            }
            None => {}
        }
    }

    fn status(&self) -> Status {
        let own = || self.logs.values().filter(|log| log.name.id.author == self.me);
        let mut types: SortedMap<EntityType, TypeStatus> = SortedMap::new();
        for log in self.logs.values() {
            let status = types.entry(log.name.entity_type.clone()).or_default();
            status.logs += 1;
            status.commits += log.tip.seq;
            status.events += log.events;
        }
        let mut offsets: Vec<i64> = self.peers.values().filter_map(|peer| peer.clock_offset).collect();
        offsets.sort_unstable();
        Status {
            peer_id: self.me,
            vault: self.vault.as_ref().map(|vault| vault.membership.vault()),
            device_name: self.device_name.clone(),
            role: self.vault.as_ref().and_then(|vault| vault.membership.evaluate().role(&self.me)),
            paused: self.paused,
            online: self.sessions.values().filter(|session| session.connected).count(),
            syncing: self.sessions.values().filter(|session| session.connected && !session.complete).count(),
            unsaved: own().map(|log| log.tip.seq - log.stored.seq.min(log.tip.seq)).sum(),
            unsent: own().map(|log| log.stored.seq.saturating_sub(self.delivered_to_any(log.key))).sum(),
            last_sync: self.last_sync,
            clock_offset: offsets.get(offsets.len() / 2).copied(),
            events: self.logs.values().map(|log| log.events).sum(),
            sent: self.moved.0,
            received: self.moved.1,
            quarantined: self.logs.values().map(|log| self.quarantined(log)).sum(),
            forked: self.logs.values().filter(|log| log.fork.is_some()).count() as u64,
            types,
        }
    }

    /// How far some other device is known to hold a log.
    pub(super) fn delivered_to_any(&self, key: LogKey) -> u64 {
        let Some(log) = self.logs.get(&key) else { return 0 };
        let open = self.sessions.values().filter_map(|session| session.theirs.get(&log.name));
        let known = self.peers.values().filter_map(|peer| peer.holds.get(&log.name));
        open.chain(known).map(|held| held.seq).max().unwrap_or(0)
    }

    /// Why no other device will ever store what is waited for. One that may, and is away, is waited for.
    fn never_settles(&self, settling: &Settling) -> Option<Error> {
        if settling.level != Level::Peer {
            return None;
        }
        let view = self.vault.as_ref()?.membership.evaluate();
        if view.role(&self.me).is_none() {
            return Some(Error::new(
                ErrorCode::NotAuthorized,
                "this device is no member of its vault any more, so no other device takes what it wrote",
            ));
        }
        let others: Vec<&PeerId> = view.members.keys().filter(|peer| **peer != self.me).collect();
        if others.is_empty() {
            return None; // one may join
        }
        let missing = settling.tips.iter().filter(|(key, seq)| self.delivered_to_any(*key) < *seq);
        let mut types = missing.filter_map(|(key, _)| Some(self.logs.get(key)?.name.entity_type.as_str()));
        let kept = types.find(|name| !others.iter().any(|peer| view.may_read(name, peer)))?;
        Some(Error::new(
            ErrorCode::PolicyDenied,
            format!("no other device may read `{kept}`, so none will ever store it; an Admin can change that (`acl`)"),
        ))
    }

    /// Answers calls that waited for writes to reach a level.
    pub(super) fn settle_levels(&mut self) {
        if self.local.is_empty() && self.tabs.is_empty() {
            for (id, call) in std::mem::take(&mut self.held_calls) {
                self.take_open(Input::Call(id, call));
            }
        }
        for settling in std::mem::take(&mut self.settling) {
            let reached = settling.tips.iter().all(|(key, seq)| match settling.level {
                Level::Disk => self.logs.get(key).is_none_or(|log| log.stored.seq >= *seq),
                Level::Peer => self.delivered_to_any(*key) >= *seq,
            });
            match reached {
                true => self.out.push(Output::Reply(settling.call, Ok(Reply::Done))),
                false => match self.never_settles(&settling) {
                    Some(error) => self.refuse(settling.call, error),
                    None => self.settling.push(settling),
                },
            }
        }
    }
}
