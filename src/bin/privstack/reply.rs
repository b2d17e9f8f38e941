//! Answers, events and errors as JSON: what `--json` prints, and what the JSON lines carry.

use privstack_sync::crdt::{EntityView, FieldValue, Mark};
use privstack_sync::engine::{Change, NotSynced, PeerStatus, Quarantined, Reply, Status, SyncEvent};
use privstack_sync::error::{Error, ErrorCode};
use privstack_sync::pairing::{PairingPeer, ShownCode};
use privstack_sync::policy::SyncRole;
use privstack_sync::types::{EntityId, FieldKind};
use serde_json::{Map, Value as Json, json};

use crate::values::{bytes_to_json, to_base64, to_json};

/// What stands under `"ok"`.
pub fn reply_to_json(reply: &Reply) -> Json {
    match reply {
        Reply::Done => json!({}),
        Reply::Vault(vault, entities) => json!({ "vault": vault.to_string(), "entities": entities }),
        // `init` has told the words of a vault made here.
        Reply::RecoveryKey(_) => json!({}),
        // No command asks for what only tabs of a page work with.
        Reply::Tab(_) | Reply::TabSaved(_) | Reply::States(_) => json!({}),
        Reply::Invite(invite) => json!({ "invite": invite }),
        Reply::PairingCode(shown) => code_to_json(shown),
        Reply::PairingPeer(peer) => pairing_peer_to_json(peer),
        Reply::Paired(peer) => json!({ "peer": peer.to_string() }),
        Reply::PairingState(state) => json!({
            "shown": state.shown.as_ref().map(code_to_json),
            "found": state.peer.as_ref().map(pairing_peer_to_json),
            "paired": state.paired.map(|peer| peer.to_string()),
        }),
        Reply::Written(ids) => json!({ "entities": ids_to_json(ids) }),
        Reply::Entities(views) => json!({ "entities": views.iter().map(view_to_json).collect::<Vec<_>>() }),
        Reply::History(changes) => json!({ "changes": changes.iter().map(change_to_json).collect::<Vec<_>>() }),
        Reply::Status(status) => status_to_json(status),
        Reply::Audit(page) => crate::audit::to_json(page),
        Reply::Members(members) => crate::members::to_json(members),
        Reply::Peers(peers) => json!({ "peers": peers.iter().map(peer_to_json).collect::<Vec<_>>() }),
        Reply::NotSynced(reasons) => json!({ "reasons": reasons.iter().map(reason_to_json).collect::<Vec<_>>() }),
        Reply::Quarantine(told) => {
            json!({ "quarantine": told.iter().map(quarantined_to_json).collect::<Vec<_>>() })
        }
        Reply::Digest(hash) => json!({ "digest": hash.to_string() }),
        Reply::Synced { sent, received } => json!({ "sent": sent, "received": received }),
        Reply::Backup { items, next } => json!({
            "items": items.iter().map(|item| to_base64(item)).collect::<Vec<_>>(),
            "next": next.as_ref().map(|next| to_base64(next)),
        }),
    }
}

fn code_to_json(shown: &ShownCode) -> Json {
    json!({ "code": *shown.code.shown(), "uri": *shown.link.shown(), "expires_at": shown.expires_at })
}

fn pairing_peer_to_json(peer: &PairingPeer) -> Json {
    json!({
        "peer": peer.peer.to_string(), "name": peer.about.device_name, "platform": peer.about.platform,
        "words": peer.words, "joining": peer.joining,
    })
}

/// An object with the name of its event in front.
fn named(event: &str, mut json: Json) -> Json {
    json["event"] = event.into();
    json
}

fn ids_to_json(ids: &[EntityId]) -> Vec<String> {
    ids.iter().map(EntityId::to_string).collect()
}

/// An entity as a reader without a schema sees it: each field in the highest kind present. `kinds` names the fields
/// that are not registers, `marks` holds the marks of texts.
pub fn view_to_json(view: &EntityView) -> Json {
    let (mut fields, mut kinds, mut marks) = (Map::new(), Map::new(), Map::new());
    for (name, values) in &view.fields {
        let Some(value) = values.last() else { continue };
        fields.insert(name.to_string(), field_to_json(value));
        if value.kind() != FieldKind::Register {
            kinds.insert(name.to_string(), kind_name(value.kind()).into());
        }
        if let FieldValue::Text(_, found) = value
            && !found.is_empty()
        {
            marks.insert(name.to_string(), found.iter().map(mark_to_json).collect());
        }
    }
    let mut entity = Map::new();
    entity.insert("id".into(), view.id.to_string().into());
    entity.insert("type".into(), view.entity_type.as_str().into());
    entity.insert("deleted".into(), view.deleted.into());
    entity.insert("fields".into(), fields.into());
    if !kinds.is_empty() {
        entity.insert("kinds".into(), kinds.into());
    }
    if !marks.is_empty() {
        entity.insert("marks".into(), marks.into());
    }
    entity.into()
}

fn field_to_json(value: &FieldValue) -> Json {
    match value {
        FieldValue::Register(value) => to_json(value),
        FieldValue::Counter(sum) => (*sum).into(),
        FieldValue::Set(items) => items.iter().map(to_json).collect(),
        FieldValue::Text(text, _) => text.clone().into(),
        FieldValue::Opaque(updates) => updates.iter().map(|update| bytes_to_json(update)).collect(),
    }
}

fn mark_to_json(mark: &Mark) -> Json {
    json!({ "at": mark.at, "length": mark.length, "key": mark.key, "value": to_json(&mark.value) })
}

/// `register`, `counter`, `set`, `text`, `opaque`.
pub fn kind_name(kind: FieldKind) -> &'static str {
    match kind {
        FieldKind::Register => "register",
        FieldKind::Counter => "counter",
        FieldKind::Set => "set",
        FieldKind::Text => "text",
        FieldKind::Opaque => "opaque",
    }
}

fn change_to_json(change: &Change) -> Json {
    let clock: Map<String, Json> =
        change.clock.iter().map(|(log, seq)| (format!("{}/{}", log.author, log.epoch), (*seq).into())).collect();
    json!({
        "at": change.at.millis(), "by": change.by.to_string(), "fields": change.fields, "counts": change.counts,
        "clock": clock,
    })
}

/// `admin`, `member`, `read_only`.
pub fn role_name(role: SyncRole) -> &'static str {
    match role {
        SyncRole::Admin => "admin",
        SyncRole::Member => "member",
        SyncRole::ReadOnly => "read_only",
    }
}

fn status_to_json(status: &Status) -> Json {
    let types: Map<String, Json> = status
        .types
        .iter()
        .map(|(name, held)| {
            let held = json!({ "logs": held.logs, "commits": held.commits, "events": held.events });
            (name.to_string(), held)
        })
        .collect();
    json!({
        "peer_id": status.peer_id.to_string(),
        "vault": status.vault.map(|vault| vault.to_string()),
        "device_name": status.device_name,
        "role": status.role.map(role_name),
        "paused": status.paused,
        "online": status.online,
        "syncing": status.syncing,
        "unsaved": status.unsaved,
        "unsent": status.unsent,
        "last_sync": status.last_sync,
        "clock_offset": status.clock_offset,
        "events": status.events,
        "sent": status.sent,
        "received": status.received,
        "quarantined": status.quarantined,
        "forked": status.forked,
        "types": types,
    })
}

fn peer_to_json(peer: &PeerStatus) -> Json {
    json!({
        "peer_id": peer.peer_id.to_string(),
        "name": peer.name,
        "role": peer.role.map(role_name),
        "online": peer.online,
        "connecting": peer.connecting,
        "platform": if peer.browser { "web" } else { "desktop" },
        "via": peer.via.map(|via| via.as_str()),
        "last_seen": peer.last_seen,
        "behind": peer.behind,
        "ahead": peer.ahead,
    })
}

fn reason_to_json(reason: &NotSynced) -> Json {
    json!({
        "peer": reason.peer.to_string(),
        "type": reason.entity_type.as_ref().map(|name| name.as_str()),
        "entity": reason.id.map(|id| id.to_string()),
        "reason": reason.reason.as_str(),
        "commits": reason.commits,
        "message": reason.message,
    })
}

fn quarantined_to_json(told: &Quarantined) -> Json {
    json!({
        "by": told.by.to_string(), "commits": told.commits, "requested": told.requested,
        "entity": view_to_json(&told.entity),
    })
}

/// One event as a JSON line: its name in snake case under `"event"`, and what it carries. `None` for an event that this
/// build does not know.
pub fn event_to_json(event: &SyncEvent) -> Option<Json> {
    Some(match event {
        SyncEvent::Started => json!({ "event": "started" }),
        SyncEvent::StartFailed(code, message) => {
            json!({ "event": "start_failed", "code": code.as_str(), "message": message })
        }
        SyncEvent::Stopped => json!({ "event": "stopped" }),
        SyncEvent::Listening(address) => json!({ "event": "listening", "address": address }),
        SyncEvent::ListenFailed(address, message) => {
            json!({ "event": "listen_failed", "address": address, "message": message })
        }
        SyncEvent::Warning(code, message) => {
            json!({ "event": "warning", "code": code.as_str(), "message": message })
        }
        SyncEvent::Lagged(lost) => json!({ "event": "lagged", "lost": lost }),
        SyncEvent::PeerConnected(peer) => json!({ "event": "peer_connected", "peer": peer.to_string() }),
        SyncEvent::PeerDisconnected(peer) => json!({ "event": "peer_disconnected", "peer": peer.to_string() }),
        SyncEvent::SyncCompleted(peer) => json!({ "event": "sync_completed", "peer": peer.to_string() }),
        SyncEvent::SyncError(peer, message) => {
            let error = Error::from_text(message);
            let (code, message) = (error.code().as_str(), error.message());
            json!({ "event": "sync_error", "peer": peer.to_string(), "code": code, "message": message })
        }
        SyncEvent::EntitiesUpdated(ids) => json!({ "event": "entities_updated", "entities": ids_to_json(ids) }),
        SyncEvent::PairingCompleted(peer) => json!({ "event": "pairing_completed", "peer": peer.to_string() }),
        SyncEvent::PairingCode(shown) => named("pairing_code", code_to_json(shown)),
        SyncEvent::PairingFound(peer) => named("pairing_found", pairing_peer_to_json(peer)),
        SyncEvent::PairingEnded(code, message) => {
            json!({ "event": "pairing_ended", "code": code.as_str(), "message": message })
        }
        SyncEvent::StorageFailed(code, message) => {
            json!({ "event": "storage_failed", "code": code.as_str(), "message": message })
        }
        SyncEvent::EpochRenewed { commits } => json!({ "event": "epoch_renewed", "commits": commits }),
        SyncEvent::Audited(entry) => named("audited", crate::audit::entry_to_json(entry)),
        SyncEvent::Quarantined(peer, commits) => {
            json!({ "event": "quarantined", "peer": peer.to_string(), "commits": commits })
        }
        SyncEvent::Forked(peer) => json!({ "event": "forked", "peer": peer.to_string() }),
        SyncEvent::StorageDamaged(message) => json!({ "event": "storage_damaged", "message": message }),
        _ => return None,
    })
}

/// What stands under `"error"`.
pub fn error_to_json(error: &Error) -> Json {
    json!({ "code": error.code().as_str(), "message": error.message() })
}

/// Reads [`error_to_json`].
pub fn error_from_json(json: &Json) -> Error {
    let code = json.get("code").and_then(Json::as_str).unwrap_or_default();
    let code = ErrorCode::ALL.iter().copied().find(|known| known.as_str() == code).unwrap_or(ErrorCode::Protocol);
    Error::new(code, json.get("message").and_then(Json::as_str).unwrap_or("an answer without a message"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use privstack_sync::types::{EntityType, FieldName, Value, VectorClock};

    #[test]
    fn an_entity_shows_each_field_in_its_highest_kind() {
        let name = |name: &str| FieldName::new(name).unwrap();
        let mark = Mark { at: 0, length: 1, key: "bold".into(), value: Value::Bool(true) };
        let view = EntityView {
            entity_type: EntityType::new("note").unwrap(),
            id: EntityId([0; 16]),
            deleted: false,
            clock: VectorClock::new(),
            fields: [
                (name("title"), vec![FieldValue::Register("x".into())]),
                (name("body"), vec![FieldValue::Register(1.into()), FieldValue::Text("hi".into(), vec![mark])]),
                (name("n"), vec![FieldValue::Counter(-2)]),
                (name("tags"), vec![FieldValue::Set(["a".into()].into())]),
            ]
            .into(),
        };
        assert_eq!(
            view_to_json(&view),
            json!({
                "id": "00000000-0000-0000-0000-000000000000", "type": "note", "deleted": false,
                "fields": { "title": "x", "body": "hi", "n": -2, "tags": ["a"] },
                "kinds": { "body": "text", "n": "counter", "tags": "set" },
                "marks": { "body": [{ "at": 0, "length": 1, "key": "bold", "value": true }] },
            })
        );
    }

    #[test]
    fn errors_keep_their_code_over_json() {
        for &code in ErrorCode::ALL {
            let error = Error::new(code, "what happened");
            assert_eq!(error_from_json(&error_to_json(&error)), error);
        }
        assert_eq!(error_from_json(&json!(7)).code(), ErrorCode::Protocol);
    }
}
