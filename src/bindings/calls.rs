//! Questions and news as plain objects.

use js_sys::{Array, Uint8Array};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tsify::Tsify;
use wasm_bindgen::{JsCast, JsValue};

use super::convert::{get, ids_to_js, object, set, to_error, value_to_js};
use crate::error::{Error, ErrorCode, Result};
use crate::pairing::SyncCode;
use crate::tabs::{Answer, Ask, AskChange, AskLevel, Notice, QuarantinedInfo, Update};
use crate::types::{EntityId, PeerId, Value};

/// A question by its name.
pub fn ask_from_js(name: &str, argument: &JsValue) -> Result<Ask> {
    let text = |value: &JsValue| value.as_string().ok_or_else(|| Error::invalid(format!("{name}: text is missing")));
    let peer = |value: &JsValue| text(value)?.parse::<PeerId>();
    let id = |value: &JsValue| Ok::<_, Error>(text(value)?.parse::<EntityId>()?.0);
    let given = !argument.is_undefined() && !argument.is_null();
    Ok(match name {
        "status" => Ask::Status,
        "peers" => Ask::Peers,
        "explain" => Ask::Explain(given.then(|| id(argument)).transpose()?),
        "digest" => Ask::Digest,
        "settled" => Ask::Settled(if text(argument)? == "peer" { AskLevel::Peer } else { AskLevel::Disk }),
        "sync" => Ask::Sync(given.then(|| peer(argument)).transpose()?),
        "pause" => Ask::Pause,
        "resume" => Ask::Resume,
        "reconnect" => Ask::Reconnect,
        "invite" => {
            let role = from_js(name, &get(argument, "role"))?;
            Ask::Invite(peer(&get(argument, "peer"))?, role)
        }
        "join" => Ask::Join(text(argument)?),
        "history" => Ask::History(id(argument)?),
        "backup" => Ask::Backup(argument.dyn_ref::<Uint8Array>().map(Uint8Array::to_vec)),
        "restore" => {
            let items = argument.dyn_ref::<Array>().map(Array::to_vec).unwrap_or_default();
            let items = items.iter().filter_map(|item| item.dyn_ref::<Uint8Array>().map(Uint8Array::to_vec));
            Ask::Restore(items.collect())
        }
        "words" => Ask::Words,
        "wordsSaved" => Ask::WordsSaved,
        "rename" => Ask::Rename(peer(&get(argument, "peer"))?, text(&get(argument, "name"))?),
        "dial" => Ask::Dial(text(argument)?),
        "pairOffer" => Ask::PairOffer(given.then(|| from_js(name, argument)).transpose()?),
        "pairJoin" => {
            let typed = text(argument)?;
            // What cannot be read is said at once, to whoever has typed it.
            typed.parse::<SyncCode>()?;
            Ask::PairJoin(typed)
        }
        "pairWait" => Ask::PairWait,
        "pairConfirm" => Ask::PairConfirm(from_js(name, argument)?),
        "pairState" => Ask::PairState,
        "pairReject" => Ask::PairReject,
        "pairCancel" => Ask::PairCancel,
        "pairUnlock" => Ask::PairUnlock,
        "policy" => Ask::Policy,
        "quarantine" => Ask::Quarantine,
        "writeAgain" => Ask::WriteAgain,
        "audit" => Ask::Audit(if given { from_js(name, argument)? } else { 0 }),
        "change" => {
            let change: AskChange = from_js(name, argument)?;
            change.clone().into_change()?;
            Ask::Change(change)
        }
        _ => return Err(Error::new(ErrorCode::Unsupported, format!("{name}: no such question"))),
    })
}

fn from_js<T: DeserializeOwned>(name: &str, value: &JsValue) -> Result<T> {
    serde_wasm_bindgen::from_value(value.clone()).map_err(|error| Error::invalid(format!("{name}: {error}")))
}

fn to_js<T: Tsify + Serialize>(value: &T) -> JsValue {
    // Plain structs of numbers and texts: nothing in them fails.
    value.into_ts().map(|value| value.js_value()).unwrap_or_default()
}

fn list_to_js<T: Tsify + Serialize>(values: &[T]) -> JsValue {
    values.iter().map(to_js).collect::<Array>().into()
}

fn answer_to_js(answer: &Answer) -> JsValue {
    match answer {
        Answer::Done => JsValue::UNDEFINED,
        Answer::Status(status) => to_js(status),
        Answer::Peers(peers) => list_to_js(peers),
        Answer::NotSynced(reasons) => list_to_js(reasons),
        Answer::Text(text) => text.as_str().into(),
        Answer::History(changes) => list_to_js(changes),
        Answer::Synced(sent, received) => {
            object([("sent", (*sent as f64).into()), ("received", (*received as f64).into())])
        }
        Answer::Backup(items, next) => {
            let bytes = |bytes: &Vec<u8>| JsValue::from(Uint8Array::from(bytes.as_slice()));
            let items: Array = items.iter().map(bytes).collect();
            object([("items", items.into()), ("next", next.as_ref().map_or(JsValue::UNDEFINED, bytes))])
        }
        Answer::Words(words) => words.as_deref().map_or(JsValue::NULL, JsValue::from_str),
        Answer::Code(code) => to_js(code),
        Answer::PairPeer(peer) => to_js(peer),
        Answer::PairState(state) => to_js(state),
        Answer::Policy(policy) => to_js(policy),
        Answer::Audit(entries) => list_to_js(entries),
        Answer::Quarantine(told) => told.iter().map(quarantined_to_js).collect::<Array>().into(),
    }
}

/// An entity as [`seen_to_js`](super::convert::seen_to_js) has it, with its texts, and whose it is.
fn quarantined_to_js(told: &QuarantinedInfo) -> JsValue {
    let kinds = [0; 5].map(|_| JsValue::from(js_sys::Object::new()));
    for (name, kind, value) in &told.fields {
        if let (Some(fields), Ok(value)) = (kinds.get(usize::from(*kind)), Value::from_bytes(value)) {
            set(fields, name, &value_to_js(&value));
        }
    }
    let [registers, counters, sets, texts, _] = kinds;
    object([
        ("type", told.entity_type.as_str().into()),
        ("id", EntityId(told.id).to_string().into()),
        ("by", told.by.as_str().into()),
        ("commits", told.commits.into()),
        ("requested", told.requested.into()),
        ("deleted", told.deleted.into()),
        ("registers", registers),
        ("counters", counters),
        ("sets", sets),
        ("texts", texts),
    ])
}

fn result_to_js(number: u64, result: &Result<JsValue>) -> JsValue {
    let (value, error) = match result {
        Ok(value) => (value.clone(), JsValue::UNDEFINED),
        Err(error) => (JsValue::UNDEFINED, to_error(error)),
    };
    object([("kind", "answer".into()), ("number", (number as f64).into()), ("value", value), ("error", error)])
}

fn notice_to_js(notice: &Notice) -> JsValue {
    let (name, peer) = match notice {
        Notice::Pairing => return object([("kind", "pairing".into())]),
        Notice::Members => return object([("kind", "members".into())]),
        Notice::Audited => return object([("kind", "audited".into())]),
        Notice::Paused(_) => return object([("kind", "paused".into())]),
        Notice::Connected(peer) => ("peerConnected", peer),
        Notice::Disconnected(peer) => ("peerDisconnected", peer),
        Notice::Synced(peer) => ("syncCompleted", peer),
        Notice::Paired(peer) => ("pairingCompleted", peer),
        Notice::Failed(peer, ..) | Notice::StoreFailed(peer, ..) => ("syncError", peer),
    };
    let error = match notice {
        Notice::Failed(_, code, text) | Notice::StoreFailed(_, code, text) => {
            to_error(&Error::new(ErrorCode::from_byte(*code), text))
        }
        _ => JsValue::UNDEFINED,
    };
    object([("kind", "notice".into()), ("type", name.into()), ("peer", peer.to_string().into()), ("error", error)])
}

/// News: the store is wanted by somebody else, and why.
pub fn leave_to_js(error: &Error) -> JsValue {
    object([("kind", "leave".into()), ("error", to_error(error))])
}

/// News for the facade.
pub fn update_to_js(update: &Update) -> JsValue {
    match update {
        Update::Welcome => object([("kind", "welcome".into())]),
        Update::Entities(entity_type, ids) => {
            object([("kind", "entities".into()), ("type", entity_type.as_str().into()), ("ids", ids_to_js(ids))])
        }
        Update::Ready(entity_type) => object([("kind", "ready".into()), ("type", entity_type.as_str().into())]),
        Update::Fetched(entity_type, ids) => {
            object([("kind", "fetched".into()), ("type", entity_type.as_str().into()), ("ids", ids_to_js(ids))])
        }
        Update::Text(event) => {
            let changes: Array = event
                .changes
                .iter()
                .map(|change| {
                    object([
                        ("at", change.at.into()),
                        ("gone", change.gone.into()),
                        ("new", change.new.as_str().into()),
                    ])
                })
                .collect();
            let update = event.update.as_ref().map(|update| Uint8Array::from(update.as_slice()).into());
            object([
                ("kind", "text".into()),
                ("type", event.entity_type.as_str().into()),
                ("id", event.id.to_string().into()),
                ("field", event.field.as_str().into()),
                ("changes", changes.into()),
                ("update", update.unwrap_or(JsValue::UNDEFINED)),
            ])
        }
        Update::Settled(number, result) => {
            let result = result.clone().map(|()| JsValue::UNDEFINED);
            result_to_js(*number, &result)
        }
        Update::Answer(number, result) => {
            let result = match result {
                Ok(answer) => Ok(answer_to_js(answer)),
                Err(error) => Err(error.clone()),
            };
            result_to_js(*number, &result)
        }
        Update::Saved => object([("kind", "saved".into())]),
        Update::Failed(failure) => object([
            ("kind", "failed".into()),
            ("type", failure.entity_type.as_str().into()),
            ("ids", ids_to_js(&failure.ids)),
            ("error", to_error(&failure.error)),
        ]),
        Update::Notice(notice) => notice_to_js(notice),
        Update::Changed(peer, ids) => {
            let ids = Uint8Array::from(ids.iter().flat_map(|id| id.0).collect::<Vec<u8>>().as_slice());
            object([("kind", "changed".into()), ("peer", peer.to_string().into()), ("ids", ids.into())])
        }
    }
}
