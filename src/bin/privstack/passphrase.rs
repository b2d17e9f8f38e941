//! The passphrase of a folder: from the terminal, without an echo, or from a file descriptor; never from the command line
//! or the environment, which other programs can read.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use console::Term;
use privstack_sync::error::{Error, ErrorCode, Result};
use privstack_sync::orchestrator::{block_on, seal_key};
use privstack_sync::platform::native::{keys, seal};
use privstack_sync::platform::passphrase::MAX_PASSPHRASE_BYTES;
use privstack_sync::store::SealKey;
use serde_json::json;
use zeroize::Zeroizing;

use crate::args::Passphrase;
use crate::control::ControlClient;
use crate::interrupt;
use crate::output::{Progress, Step, json as print_json, line};

/// Where passphrases come from.
enum Source {
    Terminal(Term),
    Descriptor(Box<dyn BufRead>),
}

impl Source {
    /// A file descriptor where one is named, else the terminal.
    fn of(fd: Option<u32>) -> Result<Self> {
        if let Some(fd) = fd {
            return descriptor(fd).map(Source::Descriptor);
        }
        let terminal = Term::stderr();
        match terminal.is_term() {
            true => Ok(Source::Terminal(terminal)),
            false => Err(Error::new(
                ErrorCode::Locked,
                "this folder's passphrase is needed, and there is no terminal to ask on; give it by --passphrase-fd",
            )),
        }
    }

    /// A line of it.
    fn read(&mut self, prompt: &str) -> Result<Zeroizing<String>> {
        let failed = |error: std::io::Error| Error::invalid(format!("the passphrase cannot be read: {error}"));
        match self {
            Source::Terminal(terminal) => {
                terminal.write_str(prompt).map_err(failed)?;
                let word = Zeroizing::new(terminal.read_secure_line().map_err(failed)?);
                interrupt::check()?;
                Ok(word)
            }
            Source::Descriptor(input) => {
                // With room from the start: no copy stays behind where it grows.
                let mut word = Zeroizing::new(Vec::with_capacity(MAX_PASSPHRASE_BYTES + 3));
                input.by_ref().take(MAX_PASSPHRASE_BYTES as u64 + 2).read_until(b'\n', &mut word).map_err(failed)?;
                let text = std::str::from_utf8(&word).map_err(|_| Error::invalid("the passphrase is not UTF-8"))?;
                Ok(Zeroizing::new(text.trim_end_matches(['\n', '\r']).to_owned()))
            }
        }
    }

    /// A new one, twice where somebody types it.
    fn read_new(&mut self) -> Result<Zeroizing<String>> {
        let word = self.read("New passphrase: ")?;
        if matches!(self, Source::Terminal(_)) && self.read("The same again: ")? != word {
            return Err(Error::invalid("the two were not the same; nothing has changed"));
        }
        match word.is_empty() {
            true => Err(Error::invalid("an empty passphrase seals nothing; nothing has changed")),
            false => Ok(word),
        }
    }
}

/// Standard input is shared with whoever reads on from it; of others a byte at a time is taken for the same reason.
fn descriptor(fd: u32) -> Result<Box<dyn BufRead>> {
    if fd == 0 {
        return Ok(Box::new(std::io::stdin().lock()));
    }
    if !cfg!(unix) {
        return Err(Error::new(ErrorCode::Unsupported, "on this system --passphrase-fd takes only 0, standard input"));
    }
    let file = std::fs::File::open(format!("/dev/fd/{fd}"))
        .map_err(|error| Error::invalid(format!("--passphrase-fd {fd}: it is not open for reading: {error}")))?;
    Ok(Box::new(BufReader::with_capacity(1, file)))
}

/// The key of the folder's passphrase, where it has one, or where a new folder gets one.
pub fn unlock(data: &Path, fd: Option<u32>) -> Result<Option<SealKey>> {
    match (keys::is_sealed(data)?, fd) {
        (Some(true), _) | (_, Some(_)) => {
            let word = Source::of(fd)?.read("Passphrase: ")?;
            block_on(seal_key(data, &word)).map(Some)
        }
        (_, None) => Ok(None),
    }
}

/// Sets, changes or removes the passphrase.
pub fn change(data: &Path, what: Passphrase, fd: Option<u32>, as_json: bool) -> Result<()> {
    if ControlClient::connect(data)?.is_some() {
        let text = format!("{}: a `privstack run` holds this folder; end that one first", data.display());
        return Err(Error::new(ErrorCode::Locked, text));
    }
    // Before anything is asked.
    match (what, keys::is_sealed(data)?) {
        (_, None) => {
            let text = format!("no device is in {}; `init` makes one", data.display());
            return Err(Error::new(ErrorCode::NotFound, text));
        }
        (Passphrase::Set, Some(true)) => {
            let text = format!("{} has a passphrase already; change it (`passphrase change`)", data.display());
            return Err(Error::new(ErrorCode::Locked, text));
        }
        (Passphrase::Change | Passphrase::Remove, Some(false)) => {
            let text = format!("{} has no passphrase; set one (`passphrase set`)", data.display());
            return Err(Error::new(ErrorCode::Locked, text));
        }
        _ => {}
    }
    let mut source = Source::of(fd)?;
    let old = match what {
        Passphrase::Set => None,
        Passphrase::Change | Passphrase::Remove => Some(source.read("Passphrase: ")?),
    };
    if let (Some(old), Source::Terminal(_)) = (&old, &source) {
        // Told before a new one is typed.
        block_on(seal_key(data, old))?;
    }
    let new = match what {
        Passphrase::Remove => None,
        Passphrase::Set | Passphrase::Change => Some(source.read_new()?),
    };
    let bar = Progress::new("bytes");
    let mut progress = |done, total| {
        bar.step(Step::Total(total));
        bar.step(Step::Done(done));
        interrupt::check()
    };
    let old = old.as_deref().map(String::as_str);
    let changed = block_on(seal::change(data, old, new.as_deref().map(String::as_str), &mut progress));
    drop(bar);
    changed.map_err(|error| match error.code() {
        ErrorCode::Aborted => Error::new(ErrorCode::Aborted, "interrupted; nothing has changed"),
        _ => error,
    })?;
    match as_json {
        true => print_json(&json!({ "sealed": new.is_some() })),
        false => line(if new.is_some() { "sealed by the passphrase" } else { "not sealed any more" }),
    }
}
