//! `sync`: until nothing is owed either way.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use privstack_sync::engine::{Call, PeerStatus, Reply, Status};
use privstack_sync::error::{ErrorCode, Result};
use privstack_sync::types::PeerId;
use serde_json::{Value as Json, json};

use crate::client::Engine;
use crate::interrupt;
use crate::reply::reply_to_json;
use crate::request::{no_vault, status, unexpected};

/// How long it may take unless told otherwise.
pub const DEFAULT_LIMIT: Duration = Duration::from_secs(30);
/// How long devices that were not named may take to be found once another is in sync, and those that are there to let in
/// one that is no member.
const DISCOVERY: Duration = Duration::from_secs(5);
/// Between two looks at who is there.
const PAUSE: Duration = Duration::from_millis(100);

/// Syncs with the devices at these multiaddresses, or with all members that can be found, until nothing is owed either
/// way or the time is over. Answers `in_sync`, the devices `synced` and `unreached`, events `sent` and `received`, and
/// the `reasons` where it is not in sync.
pub fn until_in_sync(engine: &dyn Engine, addresses: &[String], limit: Option<Duration>) -> Result<Json> {
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    let this = status(engine)?;
    if this.vault.is_none() {
        return Err(no_vault());
    }
    let named = named_peers(addresses)?;
    let known: BTreeSet<PeerId> = all_peers(engine)?.iter().map(|peer| peer.peer_id).collect();
    addresses.iter().try_for_each(|address| engine.add_address(address))?;
    let result = until_in_sync_with(engine, &this, addresses, &named, limit);
    // A link to a stranger was wanted for this once.
    for peer in named.difference(&known) {
        engine.call(Call::RemovePeer(*peer), None)?;
    }
    result
}

fn until_in_sync_with(
    engine: &dyn Engine,
    this: &Status,
    addresses: &[String],
    named: &BTreeSet<PeerId>,
    limit: Duration,
) -> Result<Json> {
    let started = Instant::now();
    loop {
        interrupt::check()?;
        let others = others(engine, &this.peer_id, named)?;
        let mut synced = BTreeSet::new();
        for peer in others.iter().filter(|peer| peer.online) {
            let Some(left) = limit.checked_sub(started.elapsed()).filter(|left| !left.is_zero()) else { break };
            match engine.call(Call::ForceSync(Some(peer.peer_id)), Some(left)) {
                Ok(Reply::Synced { .. }) => {
                    synced.insert(peer.peer_id);
                }
                Ok(_) => return Err(unexpected()),
                // It went away, or is not as far yet: look again until the time is over.
                Err(error) if error.code().retryable() => {}
                Err(error) if matches!(error.code(), ErrorCode::NotAuthorized | ErrorCode::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        let missing: Vec<&PeerStatus> = others.iter().filter(|peer| !synced.contains(&peer.peer_id)).collect();
        let names_are_known = named.len() == addresses.len();
        let all = missing.is_empty() && (names_are_known || !synced.is_empty());
        let offline_only = addresses.is_empty() && !synced.is_empty() && missing.iter().all(|peer| !peer.online);
        // Whoever has removed this device has said so by now.
        let is_shut_out = started.elapsed() >= DISCOVERY && status(engine)?.role.is_none();
        let is_over = started.elapsed() >= limit || is_shut_out;
        if all || (offline_only && started.elapsed() >= DISCOVERY) || is_over {
            let in_sync = all || offline_only;
            let reasons = if in_sync { json!([]) } else { reasons(engine)? };
            // Of the whole engine: most of it may have gone over before the first look at who is there.
            let now = status(engine)?;
            let (sent, received) = (now.sent.saturating_sub(this.sent), now.received.saturating_sub(this.received));
            return Ok(json!({
                "in_sync": in_sync, "sent": sent, "received": received, "reasons": reasons,
                "synced": synced.iter().map(PeerId::to_string).collect::<Vec<_>>(),
                "unreached": missing.iter().map(|peer| peer.peer_id.to_string()).collect::<Vec<_>>(),
            }));
        }
        thread::sleep(PAUSE.min(limit.saturating_sub(started.elapsed())));
    }
}

/// The devices that addresses name at their ends.
fn named_peers(addresses: &[String]) -> Result<BTreeSet<PeerId>> {
    addresses
        .iter()
        .filter_map(|address| address.rsplit_once("/p2p/"))
        .filter(|(_, peer)| !peer.contains('/'))
        .map(|(_, peer)| peer.parse())
        .collect()
}

fn all_peers(engine: &dyn Engine) -> Result<Vec<PeerStatus>> {
    match engine.call(Call::Peers, None)? {
        Reply::Peers(peers) => Ok(peers),
        _ => Err(unexpected()),
    }
}

/// The members to sync with: those named, else all others.
fn others(engine: &dyn Engine, this: &PeerId, named: &BTreeSet<PeerId>) -> Result<Vec<PeerStatus>> {
    let mut peers = all_peers(engine)?;
    peers.retain(|peer| match named.is_empty() {
        true => peer.role.is_some() && peer.peer_id != *this,
        false => named.contains(&peer.peer_id),
    });
    for peer in named.iter().filter(|peer| **peer != *this) {
        if !peers.iter().any(|known| known.peer_id == *peer) {
            let unknown = PeerStatus {
                peer_id: *peer,
                name: String::new(),
                role: None,
                online: false,
                connecting: false,
                browser: false,
                via: None,
                last_seen: None,
                behind: 0,
                ahead: 0,
            };
            peers.push(unknown);
        }
    }
    Ok(peers)
}

fn reasons(engine: &dyn Engine) -> Result<Json> {
    let reply = engine.call(Call::Explain(None), None)?;
    Ok(reply_to_json(&reply).get_mut("reasons").map(Json::take).unwrap_or_default())
}
