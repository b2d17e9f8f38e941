//! Who may read what has changed while sessions are open: from now on they follow it, in both directions.

use std::sync::Arc;

use super::SyncEngine;
use super::greeting::not_authorized;
use super::io::LinkId;
use super::layout::TypeIx;
use super::remote::Arrived;
use crate::error::{Error, ErrorCode};
use crate::policy::SyncPolicy;
use crate::types::{EntityType, PeerId, SortedSet};

/// What a session knows of types that it began or ceased to exchange while it was open.
#[derive(Default, Debug)]
pub struct AccessChanges {
    /// Granted since the last exchange of frontiers: how much the peer has of them is not known.
    pub unsure: SortedSet<TypeIx>,
    /// Taken back at some time: the peer may not have heard of that when it sent something.
    pub interrupted: SortedSet<EntityType>,
    /// Frontiers are to be exchanged once the operations that changed it are on disk and told.
    pub ask: bool,
}

impl SyncEngine {
    /// Compares what `before` let sessions exchange with what the policy lets them now.
    pub(super) fn access_changed(&mut self, before: &Arc<dyn SyncPolicy>, arrived: &mut Arrived) {
        let links: Vec<(LinkId, PeerId)> = (self.sessions.iter())
            .filter(|(_, session)| session.connected)
            .map(|(link, session)| (*link, session.peer))
            .collect();
        for (link, peer) in links {
            let was: SortedSet<TypeIx> = self.types_shared_by(before, &peer).into_iter().collect();
            let is: SortedSet<TypeIx> = self.shared_types(&peer).into_iter().collect();
            let lost: Vec<EntityType> = was.difference(&is).filter_map(|ty| self.type_name(*ty).cloned()).collect();
            let Some(session) = self.sessions.get_mut(&link) else { continue };
            if was == is {
                continue;
            }
            session.audited.retain(|ty| was.contains(ty) == is.contains(ty));
            session.access.unsure.retain(|ty| is.contains(ty));
            session.access.unsure.extend(is.difference(&was));
            session.theirs.retain(|name, _| !lost.contains(&name.entity_type));
            session.access.interrupted.extend(lost);
            session.access.ask = true;
            session.complete = false;
            session.caught_up = false;
            session.stale = true;
        }
        arrived.landed.access = true;
    }

    /// The operations are on disk and everybody was told: sessions with those who are no members any more end, and what
    /// the others exchange is compared again.
    pub(super) fn access_landed(&mut self) {
        let me = self.is_member(&self.me);
        let over: Vec<LinkId> = (self.sessions.iter())
            .filter(|(_, session)| session.connected && !(me && self.is_member(&session.peer)))
            .map(|(link, _)| *link)
            .collect();
        for link in over {
            let error = match me {
                true => Error::new(ErrorCode::NotAuthorized, "the device was removed from the vault"),
                false => not_authorized(),
            };
            self.hang_up(link, error);
        }
        for session in self.sessions.values_mut() {
            session.ask_again |= std::mem::take(&mut session.access.ask);
        }
    }

    /// Those who are no members are not looked for any more.
    pub(super) fn forget_the_removed(&mut self) {
        let Some(vault) = &self.vault else { return };
        let view = vault.membership.evaluate();
        let removed: Vec<PeerId> = (self.peers.iter())
            .filter(|(peer, known)| known.wanted && view.role(peer).is_none() && vault.membership.knows_author(peer))
            .map(|(peer, _)| *peer)
            .collect();
        removed.into_iter().for_each(|peer| self.remove_peer(peer));
    }
}
