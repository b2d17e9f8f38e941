//! Carries the commands out: one request each, mostly, and its answer shown.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

use privstack_sync::error::{Error, Result};
use privstack_sync::types::{EntityId, EntityType};
use serde_json::{Map, Value as Json, json};
use zeroize::Zeroizing;

use crate::args::{Cli, Command};
use crate::client::{Client, Connection, connect};
use crate::field_op::{FieldOp, looks_like_field_op};
use crate::local::{Network, Options};
use crate::output::{Progress, json as print_json, line, note};
use crate::request::{Policy, for_each_entity};
use crate::{audit, backup, export, files, import, interrupt, members, pair, passphrase, recovery, run, show};

/// Bytes of an invite.
const MAX_INVITE_BYTES: u64 = 1 << 20;
/// `sync` ended without being in sync.
const NOT_IN_SYNC: u8 = 3;

/// Why a command did not do what it should.
pub enum Failure {
    /// Its words are wrong.
    Usage(String),
    /// It failed.
    Failed(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Failed(error)
    }
}

/// Carries a command out and answers the exit code.
pub fn execute(cli: Cli) -> Result<u8, Failure> {
    let data = cli.data.ok_or_else(|| Failure::Usage("--data DIR is needed: the data folder of this device".into()))?;
    if data.exists() && !data.is_dir() {
        let what = format!("{}: is a file; --data names the folder of this device", data.display());
        return Err(Error::invalid(what).into());
    }
    if let Command::Run { listen, peer, relay, no_mdns } = cli.command {
        run::run(&data, Network { listen, relays: relay, no_mdns }, cli.passphrase_fd, &peer, cli.json)?;
        return Ok(0);
    }
    let mut options = match &cli.command {
        Command::Init { name, .. } => Options { name: Some(name.clone()), ..Options::default() },
        Command::Id { name } => Options { name: name.clone(), ..Options::default() },
        Command::Sync { relay, no_mdns, .. } => {
            let network = Network { listen: Vec::new(), relays: relay.clone(), no_mdns: *no_mdns };
            Options { network: Some(network), ..Options::default() }
        }
        Command::Pair { listen, relay, no_mdns, name, .. } => {
            let network = Network { listen: listen.clone(), relays: relay.clone(), no_mdns: *no_mdns };
            Options { name: name.clone(), network: Some(network), ..Options::default() }
        }
        _ => Options::default(),
    };
    options.passphrase_fd = cli.passphrase_fd;
    // Words first: what is wrong with them is told before a folder is made.
    let put = match &cli.command {
        Command::Put { entity_type, words } => Some(put_request(entity_type, words)?),
        _ => None,
    };
    if !makes_a_folder(&cli.command) && !data.exists() {
        let what = format!("{}: there is no such folder; `init` or `id` makes a device there", data.display());
        return Err(Error::new(privstack_sync::error::ErrorCode::NotFound, what).into());
    }
    interrupt::install(|| ())?;
    if let Command::Passphrase { what } = cli.command {
        passphrase::change(&data, what, cli.passphrase_fd, cli.json)?;
        return Ok(0);
    }
    let mut session = Session { client: connect(&data, &options)?, json: cli.json };
    match cli.command {
        Command::Run { .. } | Command::Passphrase { .. } => Ok(0), // above
        Command::Init { name, policy, recovery_file } => session.init(&name, policy, recovery_file.as_deref()),
        Command::Id { .. } => session.show(json!({ "cmd": "id" }), |answer| line(text(answer, "peer_id"))),
        Command::Invite { peer, role } => {
            let request = json!({ "cmd": "invite", "peer": peer.to_string(), "role": role.word() });
            session.show(request, |answer| line(text(answer, "invite")))
        }
        Command::Join { invite } => {
            let request = json!({ "cmd": "join", "invite": invite_text(&invite)? });
            session.show(request, |answer| {
                line(&format!("joined vault {}", text(answer, "vault")))?;
                match answer.get("entities").and_then(Json::as_u64) {
                    None | Some(0) => Ok(()),
                    Some(count) => line(&format!("{count} entities of this device came along")),
                }
            })
        }
        Command::Pair { unlock: true, .. } => session.show(json!({ "cmd": "pair_unlock" }), |_| Ok(())),
        Command::Pair { code, yes, role, spelling, peer, .. } => {
            let words = pair::Words { code, yes, role, spelling, peers: peer };
            pair::pair(&mut session.client, words, session.json).map_err(Failure::from)
        }
        Command::Members => session.show(json!({ "cmd": "members" }), members::show),
        Command::Role { peer, role } => {
            session.quiet(json!({ "cmd": "role", "peer": peer.to_string(), "role": role.word() }))
        }
        Command::Team { peer, teams } => {
            session.quiet(json!({ "cmd": "team", "peer": peer.to_string(), "teams": teams }))
        }
        Command::Acl { entity_type, allow } => {
            session.quiet(json!({ "cmd": "acl", "type": entity_type, "entries": allow }))
        }
        Command::Policy { policy } => session.quiet(json!({ "cmd": "policy", "policy": policy.word() })),
        Command::Remove { peer } => session.quiet(json!({ "cmd": "remove", "peer": peer.to_string() })),
        Command::Rename { name, peer } => {
            let peer = peer.map(|peer| peer.to_string());
            session.quiet(json!({ "cmd": "rename", "peer": peer, "name": name }))
        }
        Command::Audit { verify: true, .. } => session.show(json!({ "cmd": "audit_verify" }), audit::show_verified),
        Command::Audit { after, limit, .. } => {
            let json = session.json;
            audit::for_each(&mut session, after, limit.unwrap_or(usize::MAX), |entry| match json {
                true => print_json(entry),
                false => line(&audit::entry_line(entry)),
            })?;
            Ok(0)
        }
        Command::Leave => session.quiet(json!({ "cmd": "leave" })),
        Command::Accept { peer, ask } => {
            session.quiet(json!({ "cmd": "accept", "peer": peer.to_string(), "ask": ask }))
        }
        Command::Quarantine { write_again: true } => session.quiet(json!({ "cmd": "write_again" })),
        Command::Quarantine { .. } => session.show(json!({ "cmd": "quarantine" }), show::quarantine),
        Command::Recover { recovery_file } => {
            let words = members::recovery_words(recovery_file.as_deref())?;
            session.show(json!({ "cmd": "recover", "recovery_words": words.as_str() }), |_| {
                line("this device is an Admin of the vault now")
            })
        }
        Command::Sync { peer, timeout, .. } => session.sync(&peer, timeout),
        Command::Put { .. } => session.show(put.unwrap_or_default(), |answer| {
            let ids = answer.get("entities").and_then(Json::as_array);
            ids.into_iter().flatten().filter_map(Json::as_str).try_for_each(line)
        }),
        Command::Get { id, entity_type } => session.show(about("get", id, entity_type), |answer| {
            let found = answer.get("entities").and_then(Json::as_array);
            found.into_iter().flatten().try_for_each(show::entity)
        }),
        Command::Ls { entity_type } => session.list(entity_type.as_ref().map(EntityType::as_str)),
        Command::Rm { id, entity_type } => session.show(about("rm", id, entity_type), |_| Ok(())),
        Command::Restore { id, entity_type } => session.show(about("restore", id, entity_type), |_| Ok(())),
        Command::History { id } => session.show(json!({ "cmd": "history", "entity": id.to_string() }), show::history),
        Command::Import { paths, entity_type } => session.import(&paths, entity_type),
        Command::Export { dir, format, overwrite } => session.export(&dir, export::Options { format, overwrite }),
        Command::Backup { file } => session.with_progress("items", |client, step| backup::back_up(client, &file, step)),
        Command::RestoreBackup { file } => {
            session.with_progress("items", |client, step| backup::restore(client, &file, step))
        }
        Command::Status => session.show(json!({ "cmd": "status" }), show::status),
        Command::Peers => session.show(json!({ "cmd": "peers" }), show::peers),
        Command::Explain { id } => {
            session.show(json!({ "cmd": "explain", "entity": id.map(|id| id.to_string()) }), show::reasons)
        }
        Command::Digest => session.show(json!({ "cmd": "digest" }), |answer| line(text(answer, "digest"))),
    }
}

/// Whether a command is there to make a device where there is none; of the others a folder that is missing is a slip of
/// the pen.
fn makes_a_folder(command: &Command) -> bool {
    matches!(
        command,
        Command::Init { .. }
            | Command::Id { .. }
            | Command::Join { .. }
            | Command::Pair { code: Some(_), .. }
            | Command::RestoreBackup { .. }
    )
}

fn text<'a>(json: &'a Json, name: &str) -> &'a str {
    json.get(name).and_then(Json::as_str).unwrap_or_default()
}

fn about(command: &str, id: EntityId, entity_type: Option<EntityType>) -> Json {
    json!({ "cmd": command, "entity": id.to_string(), "type": entity_type })
}

fn put_request(entity_type: &EntityType, words: &[String]) -> Result<Json, Failure> {
    let usage = |error: Error| Failure::Usage(error.message().to_owned());
    let (id, ops) = match words.split_first() {
        Some((first, rest)) if !looks_like_field_op(first) => {
            let id: EntityId = first.parse().map_err(|_| {
                let more = match first.contains('@') {
                    true => "; what follows @ is a number and then + and a text, or - and a length",
                    false => "",
                };
                Failure::Usage(format!(
                    "`{first}` is neither an entity's id (a UUID) nor a FIELD-OP such as title=x{more}"
                ))
            })?;
            (Some(id), rest)
        }
        _ => (None, words),
    };
    if ops.is_empty() {
        return Err(Failure::Usage("a FIELD-OP is needed, such as title=x".into()));
    }
    let ops: Vec<FieldOp> = ops.iter().map(|word| word.parse()).collect::<Result<_>>().map_err(usage)?;
    let ops: Vec<Json> = ops.iter().map(FieldOp::to_json).collect::<Result<_>>()?;
    Ok(json!({ "cmd": "put", "type": entity_type, "entity": id.map(|id| id.to_string()), "ops": ops }))
}

/// An invite as it was given: itself, `@FILE`, or `-` for standard input.
fn invite_text(word: &str) -> Result<String> {
    let bytes = match word.strip_prefix('@') {
        Some(path) => files::read_bounded(Path::new(path), MAX_INVITE_BYTES)?,
        None if word == "-" => {
            let mut bytes = Vec::new();
            std::io::stdin()
                .take(MAX_INVITE_BYTES)
                .read_to_end(&mut bytes)
                .map_err(|error| Error::invalid(format!("standard input cannot be read: {error}")))?;
            bytes
        }
        None => return Ok(word.to_owned()),
    };
    String::from_utf8(bytes).map_err(|_| Error::invalid("the invite is not text"))
}

/// A client that stops asking once the user asked for the end.
struct Session {
    client: Connection,
    json: bool,
}

impl Client for Session {
    fn request(&mut self, request: Json) -> Result<Json> {
        interrupt::check()?;
        self.client.request(request)
    }
}

impl Session {
    fn show(&mut self, request: Json, for_people: impl FnOnce(&Json) -> Result<()>) -> Result<u8, Failure> {
        let answer = self.request(request)?;
        if self.json {
            print_json(&answer)?
        } else {
            for_people(&answer)?
        }
        Ok(0)
    }

    /// A request whose answer says nothing.
    fn quiet(&mut self, request: Json) -> Result<u8, Failure> {
        self.show(request, |_| Ok(()))
    }

    fn init(&mut self, name: &str, policy: Policy, recovery_file: Option<&Path>) -> Result<u8, Failure> {
        let words = recovery::new_words()?;
        // On disk before the vault exists: a vault whose words nobody knows cannot be recovered.
        if let Some(path) = recovery_file {
            recovery::write_words(path, &words)?;
        }
        let request = json!({ "cmd": "init", "name": name, "policy": policy.word(), "recovery_words": words.as_str() });
        let answer = self.request(request).inspect_err(|_| {
            if let Some(path) = recovery_file {
                let _ = fs::remove_file(path);
            }
        })?;
        if self.json {
            let mut answer: Map<String, Json> = answer.as_object().cloned().unwrap_or_default();
            if recovery_file.is_none() {
                answer.insert("recovery_words".into(), words.as_str().into());
            }
            print_json(&answer.into())?;
            return Ok(0);
        }
        line(text(&answer, "peer_id"))?;
        match recovery_file {
            Some(path) => note(&format!("The recovery words are in {}; keep that file safe.", path.display())),
            None => {
                let numbered: Vec<String> =
                    words.split(' ').enumerate().map(|(n, word)| format!("{:2} {word}", n + 1)).collect();
                let rows: Vec<String> = numbered.chunks(6).map(|row| format!("  {}", row.join("  "))).collect();
                let shown = Zeroizing::new(rows.join("\n"));
                note("Write these 24 recovery words down; they are not shown again:");
                note(&shown);
            }
        }
        Ok(0)
    }

    fn list(&mut self, entity_type: Option<&str>) -> Result<u8, Failure> {
        let json = self.json;
        for_each_entity(self, entity_type, |entity| if json { print_json(entity) } else { show::entity_line(entity) })?;
        Ok(0)
    }

    fn sync(&mut self, peers: &[String], timeout: f64) -> Result<u8, Failure> {
        crate::request::seconds(timeout).map_err(|error| Failure::Usage(error.message().to_owned()))?;
        let started = Instant::now();
        let answer = self.request(json!({ "cmd": "sync", "peers": peers, "timeout": timeout }))?;
        let in_sync = answer.get("in_sync").and_then(Json::as_bool) == Some(true);
        if self.json {
            print_json(&answer)?;
        } else {
            let count = |name: &str| answer.get(name).and_then(Json::as_u64).unwrap_or_default();
            let devices = answer.get("synced").and_then(Json::as_array).map_or(0, Vec::len);
            if in_sync {
                let (sent, received) = (count("sent"), count("received"));
                let devices = if devices == 1 { "1 device".into() } else { format!("{devices} devices") };
                line(&format!("in sync with {devices}: {sent} events sent, {received} received"))?;
            } else {
                note(&format!("privstack: not in sync after {:.0} s", started.elapsed().as_secs_f64()));
                if devices == 0 {
                    peers
                        .iter()
                        .for_each(|address| note(&format!("{address}: no device of this vault was reached there")));
                }
            }
            let reasons = answer.get("reasons").and_then(Json::as_array);
            reasons.into_iter().flatten().for_each(|reason| note(&show::reason_line(reason)));
        }
        Ok(if in_sync { 0 } else { NOT_IN_SYNC })
    }

    fn import(&mut self, paths: &[PathBuf], entity_type: Option<EntityType>) -> Result<u8, Failure> {
        let progress = Progress::new("files");
        let report = import::import(self, paths, entity_type, &mut |step| progress.step(step))?;
        drop(progress);
        let answer = report.to_json();
        if self.json {
            print_json(&answer)?;
        } else {
            for (file, message) in report.notes.iter().chain(&report.failed) {
                note(&format!("{}: {}", crate::output::clean(file), crate::output::clean(message)));
            }
            line(&report.summary())?;
        }
        Ok(u8::from(!report.failed.is_empty()))
    }

    fn export(&mut self, folder: &Path, options: export::Options) -> Result<u8, Failure> {
        let progress = Progress::new("entities");
        let report = export::export(self, folder, options, &mut |step| progress.step(step))?;
        drop(progress);
        if self.json {
            print_json(&report.to_json())?;
        } else {
            for (id, message) in &report.failed {
                note(&format!("{id}: not exported: {}", crate::output::clean(message)));
            }
            line(&report.summary())?;
        }
        Ok(u8::from(!report.failed.is_empty()))
    }

    fn with_progress(
        &mut self,
        what: &str,
        work: impl FnOnce(&mut dyn Client, &mut dyn FnMut(crate::output::Step)) -> Result<Json>,
    ) -> Result<u8, Failure> {
        let progress = Progress::new(what);
        let answer = work(self, &mut |step| progress.step(step))?;
        drop(progress);
        if self.json {
            print_json(&answer)?;
        } else {
            let items = answer.get("items").and_then(Json::as_u64).unwrap_or_default();
            line(&format!("{items} {what}"))?;
        }
        Ok(0)
    }
}
