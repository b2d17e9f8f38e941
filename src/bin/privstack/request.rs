//! Requests: one JSON object each, the same from `run --json`, from the control socket and from the command line.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use privstack_sync::crdt::Edit;
use privstack_sync::engine::{Call, EntityEdit, Level, MemberChange, Offer, Reply, Status};
use privstack_sync::error::{Error, ErrorCode, Result};
use privstack_sync::pairing::CodeKind;
use privstack_sync::policy::parse_recovery_words;
use privstack_sync::types::{EntityId, EntityType, FieldName, PeerId};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value as Json, json};
use zeroize::Zeroizing;

use crate::client::{Client, Engine, LocalClient};
use crate::reply::reply_to_json;
use crate::values::{bytes_from_json, from_base64, from_json};
use crate::{audit, backup, export, import, members, recovery, sync};

/// Entities that one `ls` answers with unless it says otherwise.
pub const PAGE: usize = 500;

/// A value that is written as its text.
#[derive(Clone, Copy, Debug)]
pub struct Text<T>(pub T);

impl<'de, T: FromStr<Err = Error>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Text).map_err(|error: Error| serde::de::Error::custom(error.message()))
    }
}

/// A role as it is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// All, including who else may.
    Admin,
    /// Read and write.
    #[default]
    Member,
    /// Read only.
    ReadOnly,
}

/// A spelling of pairing codes as it is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Spelling {
    /// Six digits.
    Digits,
    /// Eight letters and digits.
    Letters,
}

/// A kind of policy as it is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Every member reads all types; all but read-only members write them.
    #[default]
    Personal,
    /// Roles, teams and access lists per type.
    Enterprise,
}

/// A request without its number. Not `Debug`: one carries the recovery words.
#[derive(Deserialize)]
#[serde(tag = "cmd", rename_all = "snake_case", deny_unknown_fields)]
enum Request {
    Id {},
    Init { name: String, policy: Option<Policy>, recovery_words: Option<String> },
    Invite { peer: Text<PeerId>, role: Option<Role>, addresses: Option<Vec<String>> },
    Join { invite: String },
    PairOffer { kind: Option<Spelling>, ttl: Option<u64>, renew: Option<bool> },
    PairWait {},
    PairJoin { code: String, addresses: Option<Vec<String>>, wait: Option<bool> },
    PairConfirm { role: Option<Role>, wait: Option<bool> },
    PairState {},
    PairReject {},
    PairCancel {},
    PairUnlock {},
    Members {},
    Role { peer: Text<PeerId>, role: Role },
    Team { peer: Text<PeerId>, teams: Vec<String> },
    Acl { r#type: EntityType, entries: Vec<members::Entry> },
    Policy { policy: Policy },
    Remove { peer: Text<PeerId> },
    Rename { peer: Option<Text<PeerId>>, name: String },
    Leave {},
    Audit { after: Option<u64>, limit: Option<usize> },
    AuditVerify {},
    Accept { peer: Text<PeerId>, ask: Option<bool> },
    Quarantine {},
    WriteAgain {},
    Recover { recovery_words: String },
    Put { r#type: EntityType, entity: Option<Text<EntityId>>, ops: Option<Vec<Json>>, changes: Option<Vec<Change>> },
    Get { entity: Option<Text<EntityId>>, entities: Option<Vec<Text<EntityId>>>, r#type: Option<EntityType> },
    Ls { r#type: Option<EntityType>, after: Option<(EntityType, Text<EntityId>)>, limit: Option<usize> },
    Rm { entity: Text<EntityId>, r#type: Option<EntityType> },
    Restore { entity: Text<EntityId>, r#type: Option<EntityType> },
    History { entity: Text<EntityId> },
    Status {},
    Peers {},
    Explain { entity: Option<Text<EntityId>> },
    Digest {},
    AddPeer { peer: Option<Text<PeerId>>, addresses: Option<Vec<String>> },
    RemovePeer { peer: Text<PeerId> },
    Sync { peers: Option<Vec<String>>, timeout: Option<f64> },
    Settled { level: Option<SettledLevel>, timeout: Option<f64> },
    Pause {},
    Resume {},
    Reconnect {},
    Import { paths: Vec<PathBuf>, r#type: Option<EntityType> },
    Export { dir: PathBuf, format: Option<export::Format>, overwrite: Option<bool> },
    Backup { file: PathBuf },
    RestoreBackup { file: PathBuf },
    BackupPart { after: Option<String> },
    RestorePart { items: Vec<String> },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    entity: Option<Text<EntityId>>,
    ops: Vec<Json>,
}

/// How long a pairing has to refuse before it is taken to have begun.
const BEGIN_LIMIT: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SettledLevel {
    Disk,
    Peer,
}

/// Whether the answer may take as long as other devices do, so that later requests should not wait for it.
pub fn may_wait(request: &Map<String, Json>) -> bool {
    matches!(
        request.get("cmd").and_then(Json::as_str),
        Some("sync" | "settled" | "import" | "export" | "backup" | "pair_wait" | "pair_join" | "pair_confirm")
    )
}

/// Carries a request out and answers with what stands under `"ok"`.
pub fn perform(engine: &dyn Engine, request: Map<String, Json>) -> Result<Json> {
    let request: Request = serde_json::from_value(Json::Object(request))
        .map_err(|error| Error::invalid(format!("the request is not understood: {error}")))?;
    let call = match request {
        Request::Id {} => return Ok(json!({ "peer_id": status(engine)?.peer_id.to_string() })),
        Request::Init { name, policy, recovery_words } => {
            return init(engine, name, policy, recovery_words.map(Zeroizing::new));
        }
        Request::Invite { peer, role, addresses } => Call::Invite {
            peer: peer.0,
            role: role.unwrap_or_default().into(),
            addresses: addresses.unwrap_or_else(|| engine.addresses()),
        },
        Request::PairOffer { kind, ttl, renew } => Call::PairOffer(Offer {
            kind: kind.map(|kind| match kind {
                Spelling::Digits => CodeKind::Digits,
                Spelling::Letters => CodeKind::Letters,
            }),
            ttl,
            renew,
            addresses: Vec::new(),
            code: None,
        }),
        Request::PairWait {} => Call::PairWait,
        Request::PairJoin { code, addresses, wait } => {
            let code = Zeroizing::new(code);
            let call = Call::PairJoin { code: code.parse()?, addresses: addresses.unwrap_or_default() };
            return begin(engine, call, wait);
        }
        Request::PairConfirm { role, wait } => {
            return begin(engine, Call::PairConfirm(role.unwrap_or_default().into()), wait);
        }
        Request::PairState {} => Call::PairState,
        Request::PairReject {} => Call::PairReject,
        Request::PairCancel {} => Call::PairCancel,
        Request::PairUnlock {} => Call::PairUnlock,
        Request::Join { invite } => Call::Join(invite.trim().to_owned()),
        Request::Members {} => Call::Members,
        Request::Role { peer, role } => members::role(peer.0, role),
        Request::Team { peer, teams } => members::teams(peer.0, teams),
        Request::Acl { r#type, entries } => members::acl(r#type, entries),
        Request::Policy { policy } => Call::Change(MemberChange::Policy(policy.into())),
        Request::Remove { peer } => Call::Change(MemberChange::Remove(peer.0)),
        Request::Rename { peer, name } => members::rename(status(engine)?.peer_id, peer, name),
        Request::Audit { after, limit } => {
            Call::Audit { after: after.unwrap_or_default(), limit: limit.unwrap_or(audit::PAGE) }
        }
        Request::AuditVerify {} => return audit::verify(engine),
        Request::Leave {} => Call::Change(MemberChange::Leave),
        Request::Accept { peer, ask } => members::accept(peer.0, ask.unwrap_or_default()),
        Request::Quarantine {} => Call::Quarantine,
        Request::WriteAgain {} => Call::WriteAgain,
        Request::Recover { recovery_words } => members::recover(&Zeroizing::new(recovery_words))?,
        Request::Put { r#type, entity, ops, changes } => Call::Write {
            entity_type: r#type,
            changes: match (ops, changes, entity) {
                (Some(ops), None, entity) => vec![change(entity, &ops)?],
                (None, Some(changes), None) => {
                    changes.into_iter().map(|one| change(one.entity, &one.ops)).collect::<Result<_>>()?
                }
                _ => return Err(Error::invalid("`put` takes either `ops` (and `entity`) or `changes`")),
            },
        },
        Request::Get { entity, entities, r#type } => match (entity, entities) {
            (Some(id), None) => return get(engine, id.0, r#type),
            (None, Some(ids)) => Call::GetMany { entity_type: r#type, ids: ids.into_iter().map(|id| id.0).collect() },
            _ => return Err(Error::invalid("`get` takes either `entity` or `entities`")),
        },
        Request::Ls { r#type, after, limit } => return list(engine, r#type, after, limit.unwrap_or(PAGE)),
        Request::Rm { entity, r#type } => write_one(engine, entity.0, r#type, Edit::Delete)?,
        Request::Restore { entity, r#type } => write_one(engine, entity.0, r#type, Edit::Restore)?,
        Request::History { entity } => return history(engine, entity.0),
        Request::Status {} => Call::Status,
        Request::Peers {} => Call::Peers,
        Request::Explain { entity: Some(id) } => {
            get(engine, id.0, None)?;
            Call::Explain(Some(id.0))
        }
        // Without a vault there is nothing that could be in sync.
        Request::Explain { entity: None } if status(engine)?.vault.is_none() => return Err(no_vault()),
        Request::Explain { entity: None } => Call::Explain(None),
        Request::Digest {} => Call::Digest,
        Request::AddPeer { peer, addresses } => return add_peer(engine, peer, addresses.unwrap_or_default()),
        Request::RemovePeer { peer } => Call::RemovePeer(peer.0),
        Request::Sync { peers, timeout } => {
            let limit = timeout.map(seconds).transpose()?;
            return sync::until_in_sync(engine, &peers.unwrap_or_default(), limit);
        }
        Request::Settled { level, timeout } => {
            let level = match level {
                Some(SettledLevel::Peer) => Level::Peer,
                Some(SettledLevel::Disk) | None => Level::Disk,
            };
            let limit = timeout.map(seconds).transpose()?.unwrap_or(sync::DEFAULT_LIMIT);
            return Ok(reply_to_json(&engine.call(Call::Settled(level), Some(limit))?));
        }
        Request::Pause {} => Call::Pause,
        Request::Resume {} => Call::Resume,
        Request::Reconnect {} => Call::Reconnect,
        Request::Import { paths, r#type } => {
            return import::import(&mut LocalClient(engine), &paths, r#type, &mut |_| ())
                .map(|report| report.to_json());
        }
        Request::Export { dir, format, overwrite } => {
            let options = export::Options { format: format.unwrap_or_default(), overwrite: overwrite.unwrap_or(false) };
            return export::export(&mut LocalClient(engine), &dir, options, &mut |_| ()).map(|report| report.to_json());
        }
        Request::Backup { file } => return backup::back_up(&mut LocalClient(engine), &file, &mut |_| ()),
        Request::RestoreBackup { file } => return backup::restore(&mut LocalClient(engine), &file, &mut |_| ()),
        Request::BackupPart { after } => Call::Backup { after: after.as_deref().map(from_base64).transpose()? },
        Request::RestorePart { items } => {
            Call::Restore { items: items.iter().map(|item| from_base64(item)).collect::<Result<_>>()? }
        }
    };
    Ok(reply_to_json(&engine.call(call, None)?))
}

/// Asks what another device must answer; without `wait` only whether it could begin, for whoever looks by `pair_state`.
fn begin(engine: &dyn Engine, call: Call, wait: Option<bool>) -> Result<Json> {
    let limit = (wait == Some(false)).then_some(BEGIN_LIMIT);
    match engine.call(call, limit) {
        Ok(reply) => Ok(reply_to_json(&reply)),
        Err(error) if limit.is_some() && error.code() == ErrorCode::Timeout => Ok(json!({})),
        Err(error) => Err(error),
    }
}

/// A number of seconds as a duration.
pub fn seconds(number: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(number)
        .map_err(|_| Error::invalid(format!("{number} is not a number of seconds to wait")))
}

/// The engine's status.
pub fn status(engine: &dyn Engine) -> Result<Box<Status>> {
    match engine.call(Call::Status, None)? {
        Reply::Status(status) => Ok(status),
        _ => Err(unexpected()),
    }
}

/// An answer of another call: a fault of this program.
pub fn unexpected() -> Error {
    Error::protocol("the engine gave the answer of another call; this is a fault of this program, please report it")
}

fn init(
    engine: &dyn Engine,
    device_name: String,
    policy: Option<Policy>,
    words: Option<Zeroizing<String>>,
) -> Result<Json> {
    let policy = policy.unwrap_or_default().into();
    let (words, made_here) = match words {
        Some(words) => (words, false),
        None => (recovery::new_words()?, true),
    };
    let root = parse_recovery_words(&words)?;
    let Reply::Vault(vault, entities) = engine.call(Call::Init { device_name, policy, root }, None)? else {
        return Err(unexpected());
    };
    let peer = status(engine)?.peer_id;
    let mut answer = json!({ "peer_id": peer.to_string(), "vault": vault.to_string(), "entities": entities });
    if let (true, Some(answer)) = (made_here, answer.as_object_mut()) {
        answer.insert("recovery_words".into(), words.as_str().into());
    }
    Ok(answer)
}

fn get(engine: &dyn Engine, id: EntityId, entity_type: Option<EntityType>) -> Result<Json> {
    let reply = engine.call(Call::Get { entity_type, id }, None)?;
    match &reply {
        Reply::Entities(views) if views.is_empty() => Err(no_entity(id)),
        _ => Ok(reply_to_json(&reply)),
    }
}

fn history(engine: &dyn Engine, id: EntityId) -> Result<Json> {
    let reply = engine.call(Call::History(id), None)?;
    match &reply {
        Reply::History(changes) if changes.is_empty() => Err(no_entity(id)),
        _ => Ok(reply_to_json(&reply)),
    }
}

/// What a command says that is of no use without a vault.
pub fn no_vault() -> Error {
    Error::new(ErrorCode::NoVault, "this device has no vault yet; `init` makes one, `pair` or `join` joins one")
}

fn no_entity(id: EntityId) -> Error {
    Error::new(ErrorCode::NotFound, format!("there is no entity {id} on this device"))
}

fn list(
    engine: &dyn Engine,
    entity_type: Option<EntityType>,
    after: Option<(EntityType, Text<EntityId>)>,
    limit: usize,
) -> Result<Json> {
    let after = after.map(|(name, id)| (name, id.0));
    let reply = engine.call(Call::List { entity_type, after, limit }, None)?;
    let Reply::Entities(views) = &reply else { return Err(unexpected()) };
    // The page after a full one may be empty; there is none after one that is not full.
    let last = views.last().filter(|_| views.len() >= limit);
    let next = last.map(|view| json!([view.entity_type.as_str(), view.id.to_string()]));
    let mut answer = reply_to_json(&reply);
    if let Some(answer) = answer.as_object_mut() {
        answer.insert("next".into(), next.unwrap_or(Json::Null));
    }
    Ok(answer)
}

/// A write of one edit to an entity that must be there; its type may be left out where the id is enough.
fn write_one(engine: &dyn Engine, id: EntityId, entity_type: Option<EntityType>, edit: Edit) -> Result<Call> {
    let Reply::Entities(views) = engine.call(Call::Get { entity_type, id }, None)? else { return Err(unexpected()) };
    match views.as_slice() {
        [] => Err(no_entity(id)),
        [view] => Ok(Call::Write {
            entity_type: view.entity_type.clone(),
            changes: vec![EntityEdit { id: Some(id), edits: vec![edit] }],
        }),
        _ => Err(Error::invalid(format!("{id} is the id of entities of several types; say which with the type"))),
    }
}

fn add_peer(engine: &dyn Engine, peer: Option<Text<PeerId>>, addresses: Vec<String>) -> Result<Json> {
    match peer {
        Some(peer) => engine.call(Call::AddPeer(peer.0, addresses), None).map(|reply| reply_to_json(&reply)),
        None if addresses.is_empty() => Err(Error::invalid("`add_peer` takes a `peer`, `addresses`, or both")),
        None => {
            addresses.iter().try_for_each(|address| engine.add_address(address))?;
            Ok(json!({}))
        }
    }
}

fn change(id: Option<Text<EntityId>>, ops: &[Json]) -> Result<EntityEdit> {
    Ok(EntityEdit { id: id.map(|id| id.0), edits: ops.iter().map(edit).collect::<Result<_>>()? })
}

/// One operation: `"create"`, `"delete"`, `"restore"`, or an object with one name such as `{"set": ["title", "x"]}`.
fn edit(op: &Json) -> Result<Edit> {
    let wrong = || {
        Error::invalid(format!(
            "`{}` is not an operation; it looks like {{\"set\": [\"title\", \"x\"]}}",
            crate::output::shorten(&op.to_string(), 80)
        ))
    };
    if let Some(name) = op.as_str() {
        return match name {
            "create" => Ok(Edit::Create),
            "delete" => Ok(Edit::Delete),
            "restore" => Ok(Edit::Restore),
            _ => Err(wrong()),
        };
    }
    let map = op.as_object().filter(|map| map.len() == 1).ok_or_else(wrong)?;
    let (name, args) = map.iter().next().ok_or_else(wrong)?;
    let args: &[Json] = match args {
        Json::Array(args) => args,
        field => std::slice::from_ref(field),
    };
    let number = |json: &Json| json.as_u64().and_then(|number| u32::try_from(number).ok()).ok_or_else(wrong);
    let text = |json: &Json| json.as_str().map(str::to_owned).ok_or_else(wrong);
    let (field, args) = args.split_first().ok_or_else(wrong)?;
    let field = FieldName::new(field.as_str().ok_or_else(wrong)?)?;
    Ok(match (name.as_str(), args) {
        ("set", [value]) => Edit::Set(field, from_json(value)?),
        ("clear", []) => Edit::Clear(field),
        ("add", [by]) => Edit::Add(field, by.as_i64().ok_or_else(wrong)?),
        ("insert", [item]) => Edit::Insert(field, from_json(item)?),
        ("remove", [item]) => Edit::Remove(field, from_json(item)?),
        ("text_insert", [at, new]) => Edit::TextInsert(field, number(at)?, text(new)?),
        ("text_delete", [at, length]) => Edit::TextDelete(field, number(at)?, number(length)?),
        ("text_replace", [new]) => Edit::TextReplace(field, text(new)?),
        ("text_mark", [at, length, key, value]) => {
            Edit::TextMark(field, number(at)?, number(length)?, text(key)?, from_json(value)?)
        }
        ("text_update", [update]) => Edit::TextUpdate(field, bytes_from_json(update)?),
        ("opaque", [bytes]) => Edit::Opaque(field, bytes_from_json(bytes)?),
        _ => return Err(wrong()),
    })
}

/// Asks for the entities that are not deleted, page by page, and hands each to `take`.
pub fn for_each_entity(
    client: &mut dyn Client,
    entity_type: Option<&str>,
    mut take: impl FnMut(&Json) -> Result<()>,
) -> Result<()> {
    let mut after = Json::Null;
    loop {
        let page = client.request(json!({ "cmd": "ls", "type": entity_type, "after": after, "limit": PAGE }))?;
        for entity in page.get("entities").and_then(Json::as_array).into_iter().flatten() {
            take(entity)?;
        }
        match page.get("next") {
            Some(next) if !next.is_null() => after = next.clone(),
            _ => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str) -> FieldName {
        FieldName::new(name).unwrap()
    }

    #[test]
    fn every_operation_is_read() {
        let id = "0190a0b0-7c1d-7abc-8def-0123456789ab";
        for (json, expected) in [
            (json!("create"), Edit::Create),
            (
                json!({"set": ["t", {"$bytes": "AQ=="}]}),
                Edit::Set(field("t"), privstack_sync::types::Value::Bytes(vec![1])),
            ),
            (json!({"clear": "t"}), Edit::Clear(field("t"))),
            (json!({"add": ["n", -1]}), Edit::Add(field("n"), -1)),
            (json!({"text_insert": ["b", 3, "x"]}), Edit::TextInsert(field("b"), 3, "x".into())),
            (
                json!({"text_mark": ["b", 0, 1, "bold", true]}),
                Edit::TextMark(field("b"), 0, 1, "bold".into(), true.into()),
            ),
            (json!({"opaque": ["d", {"$bytes": ""}]}), Edit::Opaque(field("d"), vec![])),
        ] {
            assert_eq!(edit(&json).unwrap(), expected);
        }
        let request = json!({"cmd": "put", "type": "note", "entity": id, "ops": []});
        assert!(serde_json::from_value::<Request>(request).is_ok());
    }

    #[test]
    fn malformed_operations_and_requests_are_errors() {
        for json in [
            json!(1),
            json!("explode"),
            json!({}),
            json!([]),
            json!({"set": []}),
            json!({"set": ["t"]}),
            json!({"set": ["", 1]}),
            json!({"add": ["n", 0.5]}),
            json!({"text_insert": ["b", -1, "x"]}),
            json!({"text_delete": ["b", 4294967296_u64, 1]}),
            json!({"set": ["a", 1], "clear": "a"}),
        ] {
            assert_eq!(edit(&json).unwrap_err().code(), ErrorCode::Invalid, "{json}");
        }
        for json in [
            json!({"cmd": "fly"}),
            json!({}),
            json!({"cmd": "get", "entity": "x"}),
            json!({"cmd": "ls", "typ": "note"}),
            json!({"cmd": "put", "type": "", "ops": []}),
        ] {
            assert!(serde_json::from_value::<Request>(json.clone()).is_err(), "{json}");
        }
    }
}
