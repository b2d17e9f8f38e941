//! `pair`: shows a code and waits for the device whose user types it, or joins by a code. Both ask their users whether
//! the four words are the same.

use std::io::{self, BufRead, IsTerminal};
use std::thread;
use std::time::{Duration, Instant};

use privstack_sync::error::{Error, ErrorCode, Result};
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};
use serde_json::{Value as Json, json};

use crate::client::Client;
use crate::interrupt;
use crate::output::{clean, json as print_json, line, note};
use crate::request::{Role, Spelling};

/// How often it looks how far the other device is.
const LOOK: Duration = Duration::from_millis(200);

/// How long the first code waits for an address to put into its link.
const ADDRESS_PATIENCE: Duration = Duration::from_secs(2);

/// What the user said on the command line.
pub struct Words {
    /// What the other device shows; none: this one shows a code.
    pub code: Option<String>,
    /// Say yes without asking.
    pub yes: bool,
    /// What the other device may do.
    pub role: Role,
    /// How the code is spelled.
    pub spelling: Option<Spelling>,
    /// Where the other device is.
    pub peers: Vec<String>,
}

/// Pairs; answers the exit code.
pub fn pair(client: &mut dyn Client, words: Words, as_json: bool) -> Result<u8> {
    let result = run(client, &words, as_json);
    if result.is_err() {
        // Whatever is left of it; mostly nothing is.
        let _ = client.request(json!({ "cmd": "pair_cancel" }));
    }
    result.map(|()| 0)
}

fn run(client: &mut dyn Client, words: &Words, as_json: bool) -> Result<()> {
    match &words.code {
        Some(code) => {
            let request = json!({ "cmd": "pair_join", "code": code, "addresses": words.peers, "wait": false });
            client.request(request)?;
            if !as_json {
                note("Looking for the device that shows this code …");
            }
        }
        None => {
            let kind = words.spelling.map(|spelling| match spelling {
                Spelling::Digits => "digits",
                Spelling::Letters => "letters",
            });
            client.request(json!({ "cmd": "pair_offer", "kind": kind }))?;
        }
    }
    let (mut shown, mut before) = (Json::Null, Json::Null);
    let started = Instant::now();
    let found = until(client, |state| {
        // Addresses and a relay's number come one after another: what has come to rest is shown.
        let now = &state["shown"];
        let early = !text(now, "uri").contains("&a=") && started.elapsed() < ADDRESS_PATIENCE;
        if !now.is_null() && *now != shown && *now == before && !early {
            shown = now.clone();
            show_code(&shown, as_json)?;
        }
        before = now.clone();
        Ok(Some(state["found"].clone()).filter(|found| !found.is_null()))
    })?;
    show_peer(&found, as_json)?;
    if !words.yes && !is_yes()? {
        client.request(json!({ "cmd": "pair_reject" }))?;
        return Err(Error::new(ErrorCode::Rejected, "the pairing was rejected on this device"));
    }
    client.request(json!({ "cmd": "pair_confirm", "role": words.role.word(), "wait": false }))?;
    if !as_json {
        note("Confirmed here; waiting for the other device …");
    }
    let paired = until(client, |state| Ok(state["paired"].as_str().map(str::to_owned)))?;
    match as_json {
        true => print_json(&json!({ "event": "paired", "peer": paired })),
        false => line(&format!("paired with {paired}")),
    }
}

/// Looks how far it is until `take` has what it looks for, the pairing has ended, or the user has had enough.
fn until<T>(client: &mut dyn Client, mut take: impl FnMut(&Json) -> Result<Option<T>>) -> Result<T> {
    loop {
        interrupt::check()?;
        let state = client.request(json!({ "cmd": "pair_state" }))?;
        if let Some(found) = take(&state)? {
            return Ok(found);
        }
        thread::sleep(LOOK);
    }
}

fn show_code(shown: &Json, as_json: bool) -> Result<()> {
    if as_json {
        let mut event = shown.clone();
        event["event"] = "code".into();
        return print_json(&event);
    }
    let (code, uri) = (text(shown, "code"), text(shown, "uri"));
    line(&format!("On the other device: privstack pair {}", code.replace(' ', "")))?;
    line(uri)?;
    if io::stdout().is_terminal() {
        line(&qr(uri)?)?;
    }
    note("Waiting; the code changes every two minutes. Ctrl-C ends.");
    Ok(())
}

/// A link as a QR code of half blocks, light on dark as most terminals are.
fn qr(uri: &str) -> Result<String> {
    let code = QrCode::with_error_correction_level(uri, EcLevel::L)
        .map_err(|error| Error::too_large(format!("the link does not fit into a QR code: {error}")))?;
    Ok(code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
}

fn show_peer(found: &Json, as_json: bool) -> Result<()> {
    if as_json {
        let mut event = found.clone();
        event["event"] = "found".into();
        return print_json(&event);
    }
    let words: Vec<&str> = found["words"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
    let what = if text(found, "platform") == "web" { "a browser" } else { "a computer" };
    line(&format!("{} ({what}), {}", clean(text(found, "name")), text(found, "peer")))?;
    line(&format!("  {}", words.join("  ")))
}

fn is_yes() -> Result<bool> {
    note("Does the other device show the same four words? [y/N]");
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Error::invalid(format!("standard input cannot be read: {error}; use --yes in scripts")))?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

fn text<'a>(json: &'a Json, name: &str) -> &'a str {
    json.get(name).and_then(Json::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_link_still_fits_into_a_qr_code() {
        let link = "x".repeat(privstack_sync::pairing::MAX_LINK_BYTES);
        assert!(qr(&link).unwrap().lines().count() > 20);
    }
}
