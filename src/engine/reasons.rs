//! Why something is not in sync: every difference has one reason (README.md has them), and `explain` tells it.

use super::SyncEngine;
use super::io::{NotSynced, PeerStatus, Reason};
use super::layout::TypeIx;
use super::sessions::Session;
use crate::crdt::EntityState;
use crate::error::{Error, ErrorCode};
use crate::policy::Refusal;
use crate::types::{EntityId, PeerId};

impl SyncEngine {
    /// Known devices: members, and others that a link is wanted to.
    pub(super) fn peer_states(&self) -> Vec<PeerStatus> {
        let mut ids: Vec<PeerId> = self.peers.iter().filter(|(_, peer)| peer.wanted).map(|(id, _)| *id).collect();
        let view = self.vault.as_ref().map(|vault| vault.membership.evaluate());
        ids.extend(view.iter().flat_map(|view| view.members.keys()));
        ids.sort_unstable();
        ids.dedup();
        let state = |id: PeerId| {
            let session = self.session_of(&id);
            let known = self.peers.get(&id);
            let member = view.as_ref().and_then(|view| view.members.get(&id));
            let (behind, ahead) = self.owed_to(&id);
            PeerStatus {
                peer_id: id,
                name: self
                    .aliases
                    .get(&id)
                    .cloned()
                    .unwrap_or_else(|| member.map(|member| member.name.clone()).unwrap_or_default()),
                role: member.map(|member| member.role),
                online: session.is_some(),
                connecting: session.is_none()
                    && (known.is_some_and(|known| known.dialling > self.now.mono)
                        || self.sessions.values().any(|session| session.peer == id)),
                browser: known.is_some_and(|known| known.browser),
                via: session.map(|session| session.via).or(known.and_then(|known| known.via)),
                last_seen: known.and_then(|known| known.last_seen),
                behind,
                ahead,
            }
        };
        ids.into_iter().filter(|id| *id != self.me).map(state).collect()
    }

    fn session_of(&self, peer: &PeerId) -> Option<&Session> {
        self.sessions.values().find(|session| session.peer == *peer && session.connected)
    }

    /// Commits that the peer holds and we lack, and the other way round, by what was last heard.
    fn owed_to(&self, peer: &PeerId) -> (u64, u64) {
        if let Some(session) = self.session_of(peer) {
            return self.owed(session);
        }
        let holds = self.peers.get(peer).map(|known| &known.holds);
        let ahead = self.shared_types(peer).into_iter().flat_map(|ty| super::logs_of(&self.logs, ty)).map(|log| {
            let theirs = holds.and_then(|holds| holds.get(&log.name)).map_or(0, |held| held.seq);
            log.shared().seq.saturating_sub(theirs)
        });
        (0, ahead.sum())
    }

    /// All that is not in sync, with its reason. An entity, which has been read, narrows it to its own types' logs.
    pub(super) fn reasons(&self, id: Option<EntityId>) -> Vec<NotSynced> {
        let mut reasons = self.log_reasons(id);
        for peer in self.peer_states() {
            let about = |reason, commits, message: String| NotSynced {
                peer: peer.peer_id,
                entity_type: None,
                id,
                reason,
                commits,
                message,
            };
            if !self.is_member(&self.me) {
                let message =
                    "this device is no member of the vault (any more, or yet); pair it, or have it invited".into();
                reasons.push(about(Reason::NotTrusted, 0, message));
                continue;
            }
            if peer.role.is_some() {
                reasons.extend(self.denied(&peer.peer_id, id));
            }
            if self.paused {
                reasons.push(about(Reason::Paused, peer.ahead, "links are cut on purpose; resume to sync".into()));
                continue;
            }
            if peer.role.is_none() {
                let message = "not a member of this vault: invite it, or forget it".into();
                reasons.push(about(Reason::NotTrusted, 0, message));
                continue;
            }
            let Some(session) = self.session_of(&peer.peer_id) else {
                let known = self.peers.get(&peer.peer_id);
                let failure = known.and_then(|known| known.failure.as_ref());
                let reason = match failure.map(Error::code) {
                    Some(ErrorCode::Version) => Reason::Version,
                    Some(ErrorCode::NotAuthorized) => Reason::NotTrusted,
                    Some(ErrorCode::Paused) => Reason::Paused,
                    _ => Reason::NoRoute,
                };
                let message = match failure {
                    Some(failure) => failure.message().to_owned(),
                    None if known.is_some_and(|known| !known.addresses.is_empty()) => {
                        "not connected yet; it is dialled".into()
                    }
                    None => "no address of it is known, and it was not found on this network".into(),
                };
                reasons.push(about(reason, peer.ahead, message));
                continue;
            };
            let quota = session.cut_off.waiting();
            if quota > 0 {
                let message =
                    "its commits wait, for the quarantine of their log is full; an Admin has to settle it".into();
                reasons.push(about(Reason::Quota, quota, message));
            }
            if peer.behind > 0 {
                let message = format!("{} commits are still to come from it", peer.behind);
                reasons.push(about(Reason::Behind, peer.behind, message));
            }
            if peer.ahead > 0 {
                let message = format!("{} commits are still to be stored by it", peer.ahead);
                reasons.push(about(Reason::Ahead, peer.ahead, message));
            }
        }
        reasons
    }

    /// Types held here that do not go over a link to a member: the policy does not let it, or this device, read them.
    fn denied(&self, peer: &PeerId, id: Option<EntityId>) -> Vec<NotSynced> {
        let Some(vault) = &self.vault else { return Vec::new() };
        let mut denied = Vec::new();
        for (ty, name) in (0..).map(TypeIx).zip(&self.types) {
            let commits: u64 = super::logs_of(&self.logs, ty).map(|log| log.shared().seq).sum();
            let concerned = id.is_none_or(|id| self.entities.get(&(ty, id)).is_some_and(EntityState::exists));
            let who = match (vault.policy.can_send(name.as_str(), peer), vault.policy.can_send(name.as_str(), &self.me))
            {
                (true, true) => continue,
                (false, _) => "that device",
                (true, false) => "this device",
            };
            if commits > 0 && concerned {
                denied.push(NotSynced {
                    peer: *peer,
                    entity_type: Some(name.clone()),
                    id,
                    reason: Reason::PolicyDenied,
                    commits,
                    message: format!("the policy of the vault does not let {who} read `{name}`"),
                });
            }
        }
        denied
    }

    /// What is held and does not count.
    fn log_reasons(&self, id: Option<EntityId>) -> Vec<NotSynced> {
        let mut reasons = Vec::new();
        for log in self.logs.values() {
            if let Some(id) = id
                && self.entities.get(&(log.key.ty, id)).is_none_or(|state| state.last_seq(log.key.ix) == 0)
            {
                continue;
            }
            let author = log.name.id.author;
            let mut push = |reason, commits, message| {
                reasons.push(NotSynced {
                    peer: author,
                    entity_type: Some(log.name.entity_type.clone()),
                    id,
                    reason,
                    commits,
                    message,
                });
            };
            if let Some(fork) = log.fork {
                let after = match self.author_may_write(log) {
                    true => "it makes its commits again when it hears of it",
                    false => {
                        "it may write no more: an Admin may accept the branch that is held on its device (`accept`)"
                    }
                };
                let message = format!("its log has two branches after commit {}; {after}", fork.seq);
                push(Reason::Forked, log.tip.seq.saturating_sub(fork.seq), message);
            }
            for (range, refusal) in &log.validity.refused {
                let (reason, message) = match refusal {
                    Refusal::Forked | Refusal::StandsForCounting => continue,
                    Refusal::BeyondCut if self.is_written_again(log, range) => continue,
                    Refusal::HeadsMissing => {
                        (Reason::Quarantined, "it names membership operations that have not come yet".into())
                    }
                    Refusal::HeadsWentBack => {
                        (Reason::Quarantined, "its membership heads went back, which no honest device does".into())
                    }
                    Refusal::NotMember => (Reason::Quarantined, "its author was no member when it wrote".into()),
                    Refusal::MayNotWrite => (Reason::Quarantined, "its author may not write this type".into()),
                    Refusal::BeyondCut => {
                        let message = format!(
                            "commits from {} on came after what counts of a device that lost its right to write; an Admin \
                             may accept them",
                            range.start
                        );
                        (Reason::Quarantined, message)
                    }
                    Refusal::Bad => (Reason::Quarantined, format!("commits from {} on are not valid", range.start)),
                };
                push(reason, range.end - range.start, message);
            }
        }
        for (ty, commits) in self.wait_for_a_role(id) {
            reasons.push(NotSynced {
                peer: self.me,
                entity_type: self.type_name(ty).cloned(),
                id,
                reason: Reason::PolicyDenied,
                commits,
                message: "what this device wrote on a branch of its log is written again once it may write this type"
                    .into(),
            });
        }
        reasons
    }
}
