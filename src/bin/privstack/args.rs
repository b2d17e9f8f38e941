//! The words of the command line.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Parser, Subcommand};
use privstack_sync::error::Error;
use privstack_sync::types::{EntityId, EntityType, PeerId};
use serde_json::Value as Json;

use crate::export::Format;
use crate::members::entry_from_word;
use crate::request::{Policy, Role, Spelling};

/// Keeps a vault of notes, tasks and the like the same on all your devices, with no server that can read it.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not in sync (`sync`), 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "privstack", version, subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// The data folder of this device.
    #[arg(long, global = true, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Read the folder's passphrase, a line, from this file descriptor; else it is asked for on the terminal.
    #[arg(long, global = true, value_name = "N")]
    pub passphrase_fd: Option<u32>,
    /// Print machine-readable JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a device and a new vault; prints its PeerId and shows the 24 recovery words once.
    Init {
        /// This device's name.
        #[arg(long)]
        name: String,
        /// The vault's rules.
        #[arg(long, value_enum, default_value_t)]
        policy: Policy,
        /// Write the recovery words into this new file instead of showing them.
        #[arg(long, value_name = "FILE")]
        recovery_file: Option<PathBuf>,
    },
    /// Print this device's PeerId, making a device without a vault if there is none.
    Id {
        /// The name of a device that is made now.
        #[arg(long)]
        name: Option<String>,
    },
    /// On an Admin device: sign a device into the vault; prints an invite for it.
    Invite {
        /// The device, as its `id` prints it.
        #[arg(value_name = "PEERID", value_parser = word::<PeerId>)]
        peer: PeerId,
        /// What it may do.
        #[arg(long, value_enum, default_value_t)]
        role: Role,
    },
    /// On that device: join the vault; its own data, if any, comes along.
    Join {
        /// The invite; `@FILE` reads it from a file, `-` from standard input.
        invite: String,
    },
    /// Pair two devices: without a code shows one, with a code joins the device that shows it.
    ///
    /// On both devices four words are shown and a question is asked; say yes only where the words are the same.
    Pair {
        /// The code or link that the other device shows.
        code: Option<String>,
        /// Say yes without asking: for scripts, and for whoever trusts the network.
        #[arg(long)]
        yes: bool,
        /// Where a code is shown: what the other device may do.
        #[arg(long, value_enum, default_value_t, conflicts_with = "code")]
        role: Role,
        /// Where a code is shown: how it is spelled [default: digits; in enterprise vaults letters].
        #[arg(long, value_enum, conflicts_with = "code")]
        spelling: Option<Spelling>,
        /// Let pairing go on after too many wrong codes, and end.
        #[arg(long, conflicts_with_all = ["code", "yes"])]
        unlock: bool,
        /// The name of a device that is made now.
        #[arg(long, requires = "code")]
        name: Option<String>,
        /// The device that shows the code is at this multiaddress, which ends in /p2p/ and its PeerId (may be
        /// repeated); else it is looked for.
        #[arg(long, value_name = "MULTIADDR", requires = "code")]
        peer: Vec<String>,
        /// Listen on this multiaddress (may be repeated).
        #[arg(long, value_name = "MULTIADDR")]
        listen: Vec<String>,
        /// Through the relay at this multiaddress, which ends in /p2p/ and its PeerId (may be repeated).
        #[arg(long, value_name = "MULTIADDR")]
        relay: Vec<String>,
        /// Neither look for devices on the local network nor be found there.
        #[arg(long)]
        no_mdns: bool,
    },
    /// Show who is in the vault and may do what.
    Members,
    /// On an Admin device: give a member another role.
    Role {
        /// The device.
        #[arg(value_name = "PEERID", value_parser = word::<PeerId>)]
        peer: PeerId,
        /// What it may do from now on.
        #[arg(value_enum)]
        role: Role,
    },
    /// On an Admin device: put a member into these teams, in place of those that it was in.
    Team {
        /// The device.
        #[arg(value_name = "PEERID", value_parser = word::<PeerId>)]
        peer: PeerId,
        /// Its teams; none takes it out of all.
        #[arg(value_name = "TEAM")]
        teams: Vec<String>,
    },
    /// On an Admin device: say who reads and writes a type in an enterprise vault, in place of what was said before.
    Acl {
        /// The type, such as `note`.
        #[arg(value_name = "TYPE", value_parser = word::<EntityType>)]
        entity_type: EntityType,
        /// ROLE[,ROLE]...[@TEAM]: whom to admit (may be repeated); without any, only Admins.
        #[arg(long, value_name = "ROLES[@TEAM]", value_parser = entry_from_word)]
        allow: Vec<Json>,
    },
    /// On an Admin device: make the vault follow other rules.
    Policy {
        /// The rules.
        #[arg(value_enum)]
        policy: Policy,
    },
    /// On an Admin device: remove a device from the vault. What it writes from then on has no effect.
    Remove {
        /// The device.
        #[arg(value_name = "PEERID", value_parser = word::<PeerId>)]
        peer: PeerId,
    },
    /// Give this device another name, which all devices show.
    Rename {
        /// The name.
        name: String,
        /// On an Admin device: another device.
        #[arg(long, value_name = "PEERID", value_parser = word::<PeerId>)]
        peer: Option<PeerId>,
    },
    /// Show what was denied, and who changed who may do what, as this device has noted it.
    Audit {
        /// Check that no entry was changed, dropped or moved since it was written.
        #[arg(long, conflicts_with_all = ["after", "limit"])]
        verify: bool,
        /// Those after the entry of this number.
        #[arg(long, value_name = "N", default_value_t = 0)]
        after: u64,
        /// At most so many.
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// Seal this device's key and data by a passphrase, change it, or take it away.
    ///
    /// The data is written anew, and the old file deleted; flash, snapshots and backups may still keep what it held.
    Passphrase {
        /// What to do.
        #[command(subcommand)]
        what: Passphrase,
    },
    /// Leave the vault. What this device has written stays.
    Leave,
    /// On an Admin device: make count what a removed or demoted device wrote before it knew, and of a removed one's
    /// forked logs the branches held here (others of these are dropped).
    Accept {
        /// The device.
        #[arg(value_name = "PEERID", value_parser = word::<PeerId>)]
        peer: PeerId,
        /// On other devices: ask the Admins to.
        #[arg(long)]
        ask: bool,
    },
    /// Show what devices wrote after they lost the right to, before they knew: it is kept, and does not count.
    Quarantine {
        /// Write this device's own part of it again; it may write by now.
        #[arg(long)]
        write_again: bool,
    },
    /// Make this device an Admin by the vault's 24 recovery words, when no Admin device is left.
    Recover {
        /// Read the words from this file; else from standard input.
        #[arg(long, value_name = "FILE")]
        recovery_file: Option<PathBuf>,
    },
    /// Stay on the network and keep in sync, until Ctrl-C.
    Run {
        /// Listen on this multiaddress (may be repeated).
        #[arg(long, value_name = "MULTIADDR")]
        listen: Vec<String>,
        /// Keep a link to the device at this multiaddress (may be repeated).
        #[arg(long, value_name = "MULTIADDR")]
        peer: Vec<String>,
        /// Keep a place at the relay at this multiaddress, which ends in /p2p/ and its PeerId (may be repeated).
        #[arg(long, value_name = "MULTIADDR")]
        relay: Vec<String>,
        /// Neither look for devices on the local network nor be found there.
        #[arg(long)]
        no_mdns: bool,
    },
    /// Sync until nothing is owed either way, then end.
    Sync {
        /// With the device at this multiaddress (may be repeated); else with all that are found.
        #[arg(long, value_name = "MULTIADDR")]
        peer: Vec<String>,
        /// Give up after so many seconds.
        #[arg(long, value_name = "S", default_value_t = crate::sync::DEFAULT_LIMIT.as_secs_f64())]
        timeout: f64,
        /// Through the relay at this multiaddress, which ends in /p2p/ and its PeerId (may be repeated).
        #[arg(long, value_name = "MULTIADDR")]
        relay: Vec<String>,
        /// Neither look for devices on the local network nor be found there.
        #[arg(long)]
        no_mdns: bool,
    },
    /// Write fields of an entity: `put TYPE [ID] FIELD-OP...`; prints its id.
    ///
    /// A FIELD-OP is one of: F=V (set; V is JSON where it parses, else a string), F! (clear), F+=N (count), F+:V
    /// (insert into a set), F-:V (remove from it), F@POS+TEXT and F@POS-LEN (text; in UTF-16 units), F<FILE (opaque
    /// bytes).
    Put {
        /// Its type, such as `note`.
        #[arg(value_name = "TYPE", value_parser = word::<EntityType>)]
        entity_type: EntityType,
        /// Its id if it is there already, then what to change.
        #[arg(value_name = "ID|FIELD-OP", required = true)]
        words: Vec<String>,
    },
    /// Show an entity.
    Get {
        /// Its id.
        #[arg(value_parser = word::<EntityId>)]
        id: EntityId,
        /// Its type, where several types have this id.
        #[arg(long = "type", value_name = "TYPE", value_parser = word::<EntityType>)]
        entity_type: Option<EntityType>,
    },
    /// List the entities that are not deleted.
    Ls {
        /// Those of one type.
        #[arg(value_name = "TYPE", value_parser = word::<EntityType>)]
        entity_type: Option<EntityType>,
    },
    /// Delete an entity; `restore` brings it back.
    Rm {
        /// Its id.
        #[arg(value_parser = word::<EntityId>)]
        id: EntityId,
        /// Its type, where several types have this id.
        #[arg(long = "type", value_name = "TYPE", value_parser = word::<EntityType>)]
        entity_type: Option<EntityType>,
    },
    /// Bring a deleted entity back with all its fields.
    Restore {
        /// Its id.
        #[arg(value_parser = word::<EntityId>)]
        id: EntityId,
        /// Its type, where several types have this id.
        #[arg(long = "type", value_name = "TYPE", value_parser = word::<EntityType>)]
        entity_type: Option<EntityType>,
    },
    /// Show every change of an entity, oldest first.
    History {
        /// Its id.
        #[arg(value_parser = word::<EntityId>)]
        id: EntityId,
    },
    /// Import files and folders: Markdown, JSON, JSON Lines. The same file updates the same entity.
    Import {
        /// Files, or folders with files.
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
        /// The type of what names none.
        #[arg(long = "type", value_name = "TYPE", value_parser = word::<EntityType>)]
        entity_type: Option<EntityType>,
    },
    /// Export all entities into a folder, in a form that `import` reads.
    Export {
        /// The folder.
        dir: PathBuf,
        /// Markdown files, one JSON array a type, or one file of JSON Lines a type.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
        /// Write over files that are in the way.
        #[arg(long)]
        overwrite: bool,
    },
    /// Write the whole vault into a file, without the device's key.
    Backup {
        /// The file; an older backup is replaced.
        file: PathBuf,
    },
    /// Read a backup: into an empty folder as a new device, elsewhere to merge.
    RestoreBackup {
        /// The file.
        file: PathBuf,
    },
    /// Show this device's state.
    Status,
    /// Show the known devices.
    Peers,
    /// Show why something is not in sync.
    Explain {
        /// Only this entity.
        #[arg(value_parser = word::<EntityId>)]
        id: Option<EntityId>,
    },
    /// Print one hash of the whole visible state: equal on devices that show the same.
    Digest,
}

/// What to do with the passphrase. `--passphrase-fd` reads the old one, where there is one, then the new one, a line each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Subcommand)]
pub enum Passphrase {
    /// Seal a folder that has none.
    Set,
    /// Seal it by another one.
    Change,
    /// Keep key and data as they are, readable for whoever reads this disk.
    Remove,
}

/// Reads a word; what is wrong with it is told without the code that programs read.
fn word<T: FromStr<Err = Error>>(word: &str) -> Result<T, String> {
    word.parse().map_err(|error: Error| error.message().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_command_line_do_not_contradict_each_other() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
