//! `privstack`: the engine on the command line, and for programs in other languages (`run --json`).

mod args;
mod audit;
mod backup;
mod client;
mod commands;
mod control;
mod document;
mod export;
mod field_op;
mod files;
mod import;
mod interrupt;
mod local;
mod markdown;
mod members;
mod names;
mod output;
mod pair;
mod passphrase;
mod recovery;
mod reply;
mod request;
mod run;
mod serve;
mod show;
mod sync;
mod values;

#[cfg(test)]
mod round_trip_tests;
#[cfg(test)]
mod testing;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use privstack_sync::error::ErrorCode;
use serde_json::json;

use args::Cli;
use commands::Failure;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.json;
    let outcome = commands::execute(cli).and_then(|code| {
        output::flush()?;
        Ok(code)
    });
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(Failure::Usage(message)) => {
            // Ends with exit code 2, as clap does for what it refuses itself.
            Cli::command().error(clap::error::ErrorKind::ValueValidation, message).exit()
        }
        Err(Failure::Failed(error)) => {
            if json {
                // A reader that has gone ends the program in there.
                let _ = output::json(&json!({ "error": reply::error_to_json(&error) }));
            } else {
                output::note(&format!("privstack: {}", output::clean(error.message())));
            }
            ExitCode::from(if error.code() == ErrorCode::Aborted { interrupt::EXIT_CODE } else { 1 })
        }
    }
}
