//! The audit log as JSON and for people.

use privstack_sync::engine::{Call, Reply};
use privstack_sync::error::{Error, ErrorCode, Result};
use privstack_sync::policy::{AuditCheck, AuditEntry, AuditFault, AuditPage};
use serde_json::{Value as Json, json};

use crate::client::{Client, Engine};
use crate::output::{clean, line, time};

/// Entries that one request answers with unless it says otherwise.
pub const PAGE: usize = 500;

pub fn entry_to_json(entry: &AuditEntry) -> Json {
    let subject = &entry.subject;
    json!({
        "number": entry.number,
        "at": entry.at,
        "action": subject.kind.as_str(),
        "peer": subject.peer.to_string(),
        "by": subject.by.to_string(),
        "type": subject.entity_type.as_ref().map(|name| name.as_str()),
        "decision": if subject.allowed { "allow" } else { "deny" },
        "count": entry.count,
    })
}

/// What `audit` answers; `next` is the number to go on after.
pub fn to_json(page: &AuditPage) -> Json {
    let entry = |record: &privstack_sync::policy::AuditRecord| match &record.entry {
        Some(entry) => entry_to_json(entry),
        None => json!({ "number": record.number, "damaged": true }),
    };
    json!({
        "entries": page.records.iter().map(entry).collect::<Vec<_>>(),
        "first": page.start.number + 1,
        "last": page.end.number,
        "next": page.records.last().map(|record| record.number).filter(|number| *number < page.end.number),
    })
}

/// Checks the whole log.
pub fn verify(engine: &dyn Engine) -> Result<Json> {
    let mut check = AuditCheck::default();
    loop {
        let page = match engine.call(Call::Audit { after: check.after(), limit: PAGE }, None)? {
            Reply::Audit(page) => page,
            _ => return Err(Error::new(ErrorCode::Unsupported, "the engine answered with another kind of reply")),
        };
        if check.take(&page).map_err(AuditFault::to_error)? {
            let (first, last) = check.range();
            return Ok(json!({ "entries": last + 1 - first, "first": first, "last": last }));
        }
    }
}

pub fn show_verified(answer: &Json) -> Result<()> {
    let number = |name: &str| answer.get(name).and_then(Json::as_u64).unwrap_or_default();
    let (first, last) = (number("first"), number("last"));
    match number("entries") {
        0 => line("the audit log is empty"),
        entries => line(&format!("{entries} entries, {first} to {last}, are as they were written")),
    }
}

/// Hands the entries after a number to `take`, page by page.
pub fn for_each(
    client: &mut dyn Client,
    mut after: u64,
    mut limit: usize,
    mut take: impl FnMut(&Json) -> Result<()>,
) -> Result<()> {
    while limit > 0 {
        let page = client.request(json!({ "cmd": "audit", "after": after, "limit": limit.min(PAGE) }))?;
        for entry in page.get("entries").and_then(Json::as_array).into_iter().flatten() {
            take(entry)?;
            limit -= 1;
        }
        match page.get("next").and_then(Json::as_u64) {
            Some(next) => after = next,
            None => break,
        }
    }
    Ok(())
}

/// An entry for people.
pub fn entry_line(entry: &Json) -> String {
    let text = |name: &str| clean(entry.get(name).and_then(Json::as_str).unwrap_or_default());
    let number = |name: &str| entry.get(name).and_then(Json::as_u64).unwrap_or_default();
    if entry.get("damaged").is_some() {
        return format!("{:>5}  damaged", number("number"));
    }
    let (peer, by, name) = (text("peer"), text("by"), text("type"));
    let name = if name.is_empty() { name } else { format!(" `{name}`") };
    let by = if by == peer { String::new() } else { format!(" by {by}") };
    let count = match number("count") {
        0 | 1 => String::new(),
        more => format!(", {more} more times until then"),
    };
    let (at, decision, action) = (time(number("at")), text("decision"), text("action"));
    format!("{:>5}  {at}  {decision:<5}  {action}{name}  {peer}{by}{count}", number("number"))
}

/// A denial for people who look on.
pub fn denial(entry: &AuditEntry) -> String {
    let name = entry.subject.entity_type.as_ref().map(|name| format!(" `{name}`")).unwrap_or_default();
    format!("denied: {}{name}, {} (entry {} of `audit`)", entry.subject.kind.as_str(), entry.subject.by, entry.number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_reads_as_one_line() {
        let mut entry = json!({
            "number": 7, "at": 0, "action": "receive", "peer": "p", "by": "p", "type": "note", "decision": "deny",
            "count": 1,
        });
        assert_eq!(entry_line(&entry), "    7  1970-01-01 00:00:00Z  deny   receive `note`  p");
        (entry["by"], entry["type"], entry["count"]) = ("q".into(), Json::Null, 3.into());
        assert_eq!(entry_line(&entry), "    7  1970-01-01 00:00:00Z  deny   receive  p by q, 3 more times until then");
        assert_eq!(entry_line(&json!({ "number": 8, "damaged": true })), "    8  damaged");
    }
}
