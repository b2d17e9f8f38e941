//! Who is in the vault and may do what: requests, their words, and the answer.

use std::io::Read;
use std::path::Path;

use privstack_sync::engine::{Call, MemberChange, Members, RecoveryKey};
use privstack_sync::error::{Error, Result};
use privstack_sync::policy::{EntityAcl, LogRange, PolicyKind, SyncRole, TeamId, parse_recovery_words};
use privstack_sync::types::{EntityType, PeerId};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use zeroize::Zeroizing;

use crate::files;
use crate::output::{clean, line, time};
use crate::reply::role_name;
use crate::request::{Policy, Role, Text};
use crate::show::role_of;

/// Bytes of a file with recovery words.
const MAX_WORDS_BYTES: u64 = 4_096;

/// An entry of an access list as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    roles: Vec<Role>,
    team: Option<String>,
}

/// What a request changes.
pub fn role(peer: PeerId, role: Role) -> Call {
    Call::Change(MemberChange::Role { peer, role: role.into() })
}

pub fn teams(peer: PeerId, teams: Vec<String>) -> Call {
    Call::Change(MemberChange::Teams { peer, teams: teams.into_iter().map(TeamId).collect() })
}

pub fn acl(entity_type: EntityType, entries: Vec<Entry>) -> Call {
    let entry = |entry: Entry| EntityAcl {
        entity_type: entity_type.as_str().to_owned(),
        allowed_roles: entry.roles.into_iter().map(SyncRole::from).collect(),
        team_id: entry.team.map(TeamId),
    };
    let entries = entries.into_iter().map(entry).collect();
    Call::Change(MemberChange::Acl { entity_type, entries })
}

pub fn rename(me: PeerId, peer: Option<Text<PeerId>>, name: String) -> Call {
    Call::Change(MemberChange::Name { peer: peer.map_or(me, |peer| peer.0), name })
}

pub fn accept(peer: PeerId, ask: bool) -> Call {
    Call::Change(if ask { MemberChange::AskToAccept(peer) } else { MemberChange::Accept(peer) })
}

pub fn recover(words: &str) -> Result<Call> {
    Ok(Call::Change(MemberChange::Recover(RecoveryKey(parse_recovery_words(words)?))))
}

/// One `--allow` of the command line: `ROLE[,ROLE]...[@TEAM]`.
pub fn entry_from_word(word: &str) -> Result<Json, String> {
    let (roles, team) = word.split_once('@').map_or((word, None), |(roles, team)| (roles, Some(team)));
    let roles: Vec<&str> = roles
        .split(',')
        .map(|role| match role {
            "admin" => Ok("admin"),
            "member" => Ok("member"),
            "read-only" | "read_only" => Ok("read_only"),
            _ => Err(format!("`{role}` is no role; there are admin, member and read-only")),
        })
        .collect::<Result<_, _>>()?;
    Ok(json!({ "roles": roles, "team": team }))
}

/// Recovery words out of a file, or from standard input.
pub fn recovery_words(file: Option<&Path>) -> Result<Zeroizing<String>> {
    let bytes = match file {
        Some(path) => files::read_bounded(path, MAX_WORDS_BYTES)?,
        None => {
            crate::output::note("The vault's 24 recovery words, then Ctrl-D:");
            // With room from the start: no copy stays behind where it grows.
            let mut bytes = Vec::with_capacity(MAX_WORDS_BYTES as usize);
            std::io::stdin()
                .take(MAX_WORDS_BYTES)
                .read_to_end(&mut bytes)
                .map_err(|error| Error::invalid(format!("standard input cannot be read: {error}")))?;
            bytes
        }
    };
    let bytes = Zeroizing::new(bytes);
    std::str::from_utf8(&bytes)
        .map(|words| Zeroizing::new(words.to_owned()))
        .map_err(|_| Error::invalid("the recovery words are not text"))
}

impl Role {
    /// As it stands in requests.
    pub fn word(self) -> &'static str {
        role_name(self.into())
    }
}

impl Policy {
    /// As it stands in requests.
    pub fn word(self) -> &'static str {
        match self {
            Policy::Personal => "personal",
            Policy::Enterprise => "enterprise",
        }
    }
}

impl From<Role> for SyncRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Admin => SyncRole::Admin,
            Role::Member => SyncRole::Member,
            Role::ReadOnly => SyncRole::ReadOnly,
        }
    }
}

impl From<Policy> for PolicyKind {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::Personal => PolicyKind::Personal,
            Policy::Enterprise => PolicyKind::Enterprise,
        }
    }
}

/// What `members` answers.
pub fn to_json(members: &Members) -> Json {
    let view = &members.view;
    let member = |(peer, member): (&PeerId, &privstack_sync::policy::Member)| {
        json!({
            "peer_id": peer.to_string(),
            "name": member.name,
            "role": role_name(member.role),
            "teams": member.teams.iter().map(|team| &team.0).collect::<Vec<_>>(),
            "added": member.added.millis(),
            "by": member.by.to_string(),
        })
    };
    let entry = |entry: &EntityAcl| {
        let roles: Vec<&str> = entry.allowed_roles.iter().map(|role| role_name(*role)).collect();
        json!({ "roles": roles, "team": entry.team_id.as_ref().map(|team| &team.0) })
    };
    // Lists that were set at the same time each have to admit.
    let list = |list: &Vec<EntityAcl>| Json::from(list.iter().map(entry).collect::<Vec<_>>());
    let acls = view.acls.iter().flat_map(|(name, lists)| {
        lists.iter().map(move |entries| json!({ "type": name, "entries": list(entries) })).collect::<Vec<_>>()
    });
    let request = |range: &LogRange| {
        json!({
            "peer_id": range.log.id.author.to_string(), "type": range.log.entity_type.as_str(),
            "commits": range.to - range.from + 1,
        })
    };
    json!({
        "policy": match view.kind { PolicyKind::Personal => "personal", PolicyKind::Enterprise => "enterprise" },
        "members": view.members.iter().map(member).collect::<Vec<_>>(),
        "acls": acls.collect::<Vec<_>>(),
        "requests": members.requests.iter().map(request).collect::<Vec<_>>(),
    })
}

/// The same for people.
pub fn show(answer: &Json) -> Result<()> {
    let text = |json: &Json, name: &str| clean(json.get(name).and_then(Json::as_str).unwrap_or_default());
    let list = |json: &Json, name: &str| json.get(name).and_then(Json::as_array).cloned().unwrap_or_default();
    let words = |items: Vec<Json>| items.iter().filter_map(Json::as_str).map(clean).collect::<Vec<_>>().join(", ");
    for member in list(answer, "members") {
        let teams = words(list(&member, "teams"));
        let teams = if teams.is_empty() { teams } else { format!(", teams: {teams}") };
        let added = time(member.get("added").and_then(Json::as_u64).unwrap_or_default());
        let (peer, name, role) = (text(&member, "peer_id"), text(&member, "name"), role_of(&member));
        line(&format!("{peer}  {name}  {role}, since {added}{teams}"))?;
    }
    for acl in list(answer, "acls") {
        let entries: Vec<String> = (list(&acl, "entries").iter())
            .map(|entry| {
                let team = text(entry, "team");
                let team = if team.is_empty() { team } else { format!(" of team {team}") };
                format!("{}{team}", words(list(entry, "roles")).replace('_', "-"))
            })
            .collect();
        let entries = if entries.is_empty() { "only Admins".to_owned() } else { entries.join("; ") };
        line(&format!("{}: {entries}", text(&acl, "type")))?;
    }
    for request in list(answer, "requests") {
        let commits = request.get("commits").and_then(Json::as_u64).unwrap_or_default();
        let (peer, name) = (text(&request, "peer_id"), text(&request, "type"));
        line(&format!("asked for: {commits} commits of `{name}` by {peer}; `accept {peer}` makes them count"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_entry_reads_as_roles_and_a_team() {
        assert_eq!(
            entry_from_word("member,read-only@blue").unwrap(),
            json!({ "roles": ["member", "read_only"], "team": "blue" })
        );
        assert_eq!(entry_from_word("admin").unwrap(), json!({ "roles": ["admin"], "team": null }));
        assert!(entry_from_word("boss").is_err() && entry_from_word("").is_err());
    }
}
