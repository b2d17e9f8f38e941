//! Answers for people.

use privstack_sync::error::Result;
use serde_json::Value as Json;

use crate::output::{clean, line, shorten, time};

fn text<'a>(json: &'a Json, name: &str) -> &'a str {
    json.get(name).and_then(Json::as_str).unwrap_or_default()
}

fn number(json: &Json, name: &str) -> u64 {
    json.get(name).and_then(Json::as_u64).unwrap_or_default()
}

fn list<'a>(json: &'a Json, name: &str) -> &'a [Json] {
    json.get(name).and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn when(json: &Json, name: &str) -> String {
    json.get(name).and_then(Json::as_u64).map_or_else(|| "never".to_owned(), time)
}

/// A line of `ls`: id, type, title.
pub fn entity_line(entity: &Json) -> Result<()> {
    let fields = entity.get("fields");
    let title = ["title", "name", "path"].iter().find_map(|name| fields?.get(name)?.as_str()).unwrap_or_default();
    let title = shorten(&clean(title), 80);
    line(format!("{}  {}  {title}", text(entity, "id"), clean(text(entity, "type"))).trim_end())
}

/// One entity with all its fields.
pub fn entity(entity: &Json) -> Result<()> {
    let deleted = if entity.get("deleted").and_then(Json::as_bool) == Some(true) { " (deleted)" } else { "" };
    line(&format!("{} {}{deleted}", clean(text(entity, "type")), text(entity, "id")))?;
    for (name, value) in entity.get("fields").and_then(Json::as_object).into_iter().flatten() {
        let kind = entity.get("kinds").map(|kinds| text(kinds, name)).filter(|kind| !kind.is_empty());
        let kind = kind.map(|kind| format!(" ({kind})")).unwrap_or_default();
        match value.as_str() {
            Some(value) if value.contains('\n') => {
                line(&format!("{}{kind}:", clean(name)))?;
                value.lines().try_for_each(|one| line(&format!("  {}", clean(one))))?;
            }
            Some(value) => line(&format!("{}{kind}: {}", clean(name), clean(value)))?,
            None => line(&format!("{}{kind}: {}", clean(name), clean(&value.to_string())))?,
        }
    }
    Ok(())
}

/// The changes of an entity.
pub fn history(answer: &Json) -> Result<()> {
    for change in list(answer, "changes") {
        let fields: Vec<String> = list(change, "fields").iter().filter_map(Json::as_str).map(clean).collect();
        let counts =
            if change.get("counts").and_then(Json::as_bool) == Some(false) { "  (does not count)" } else { "" };
        line(&format!("{}  {}  {}{counts}", when(change, "at"), text(change, "by"), fields.join(" ")))?;
    }
    Ok(())
}

/// A device's role, as the command line spells it.
pub fn role_of(of: &Json) -> String {
    of.get("role").and_then(Json::as_str).unwrap_or("not a member").replace('_', "-")
}

/// The state of this device.
pub fn status(status: &Json) -> Result<()> {
    line(&format!("device    {} {}", clean(text(status, "device_name")), text(status, "peer_id")))?;
    match status.get("vault").and_then(Json::as_str) {
        Some(vault) => {
            let role = role_of(status);
            line(&format!("vault     {vault} ({role})"))?;
        }
        None => line("vault     none yet; `init` makes one, `pair` or `join` joins one")?,
    }
    let paused = if status.get("paused").and_then(Json::as_bool) == Some(true) { ", paused" } else { "" };
    line(&format!("peers     {} online, {} syncing{paused}", number(status, "online"), number(status, "syncing")))?;
    line(&format!("last sync {}", when(status, "last_sync")))?;
    line(&format!("unsent    {} commits, {} not on disk yet", number(status, "unsent"), number(status, "unsaved")))?;
    if let Some(offset) = status.get("clock_offset").and_then(Json::as_i64)
        && offset.unsigned_abs() > 60_000
    {
        let way = if offset > 0 { "ahead of" } else { "behind" };
        line(&format!("clock     {} s {way} the other devices; set it right", offset.unsigned_abs() / 1_000))?;
    }
    let (quarantined, forked) = (number(status, "quarantined"), number(status, "forked"));
    if quarantined + forked > 0 {
        line(&format!("trouble   {quarantined} commits in quarantine, {forked} forked logs; see `explain`"))?;
    }
    line(&format!("events    {}", number(status, "events")))?;
    for (name, held) in status.get("types").and_then(Json::as_object).into_iter().flatten() {
        let (events, commits, logs) = (number(held, "events"), number(held, "commits"), number(held, "logs"));
        line(&format!("  {}: {events} events in {commits} commits of {logs} logs", clean(name)))?;
    }
    Ok(())
}

/// The known devices.
pub fn peers(answer: &Json) -> Result<()> {
    for peer in list(answer, "peers") {
        let role = role_of(peer);
        let state = match peer.get("online").and_then(Json::as_bool) {
            Some(true) => format!("online ({})", text(peer, "via")),
            _ => format!("offline, last seen {}", when(peer, "last_seen")),
        };
        let (behind, ahead) = (number(peer, "behind"), number(peer, "ahead"));
        let owed = if behind + ahead == 0 { String::new() } else { format!(", behind {behind}, ahead {ahead}") };
        line(&format!("{}  {}  {role}, {state}{owed}", text(peer, "peer_id"), clean(text(peer, "name"))))?;
    }
    Ok(())
}

/// Why something is not in sync.
pub fn reasons(answer: &Json) -> Result<()> {
    if list(answer, "reasons").is_empty() {
        return line("everything is in sync");
    }
    list(answer, "reasons").iter().try_for_each(|reason| line(&reason_line(reason)))
}

/// What lies beyond cuts.
pub fn quarantine(answer: &Json) -> Result<()> {
    if list(answer, "quarantine").is_empty() {
        return line("nothing lies beyond a cut");
    }
    for told in list(answer, "quarantine") {
        let asked = if told.get("requested").and_then(Json::as_bool) == Some(true) { ", asked to accept" } else { "" };
        line(&format!("by {}, {} commits{asked}:", text(told, "by"), number(told, "commits")))?;
        told.get("entity").map_or(Ok(()), entity)?;
    }
    Ok(())
}

/// One reason on a line.
pub fn reason_line(reason: &Json) -> String {
    let subject = [text(reason, "type"), text(reason, "entity")].map(clean).join(" ");
    let commits = match number(reason, "commits") {
        0 => String::new(),
        commits => format!(", {commits} commits"),
    };
    let subject = if subject.trim().is_empty() { String::new() } else { format!(" {}", subject.trim()) };
    format!("{}{subject} {}{commits}: {}", text(reason, "peer"), text(reason, "reason"), clean(text(reason, "message")))
}
