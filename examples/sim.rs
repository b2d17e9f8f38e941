//! Runs simulated worlds from seeds (`make sim`): `sim --seed N` repeats one with a trace, `sim --seeds N` runs many on
//! all cores and counts the faults.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use privstack_sync::platform::sim::{Faults, Options, Outcome, run};

struct Arguments {
    seed: Option<u64>,
    seeds: u64,
    from: u64,
    steps: usize,
    trace: usize,
    members: bool,
}

fn arguments() -> Result<Arguments, String> {
    let mut arguments =
        Arguments { seed: None, seeds: 1_000, from: 0, steps: Options::default().steps, trace: 400, members: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || -> Result<u64, String> {
            let text = words.next().ok_or_else(|| format!("{word} needs a number"))?;
            text.parse().map_err(|_| format!("{word} needs a number, not `{text}`"))
        };
        match word.as_str() {
            "--members" => arguments.members = true,
            "--seed" => arguments.seed = Some(number()?),
            "--seeds" => arguments.seeds = number()?,
            "--from" => arguments.from = number()?,
            "--trace" => arguments.trace = number()? as usize,
            "--steps" => arguments.steps = number()? as usize,
            _ => {
                return Err(format!(
                    "unknown argument {word}; usage: sim [--seed N | --seeds N [--from N]] [--steps N] [--trace LINES] [--members]"
                ));
            }
        }
    }
    Ok(arguments)
}

fn outcome(seed: u64, options: Options) -> Outcome {
    catch_unwind(AssertUnwindSafe(|| run(seed, options))).unwrap_or_else(|_| Outcome {
        faults: Faults::default(),
        fingerprint: 0,
        frames: 0,
        failure: Some("a panic (see above)".into()),
        trace: Vec::new(),
    })
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    if let Some(seed) = arguments.seed {
        let outcome =
            outcome(seed, Options { steps: arguments.steps, trace: arguments.trace, members: arguments.members });
        outcome.trace.iter().for_each(|line| println!("{line}"));
        print!("{}", outcome.faults);
        return match outcome.failure {
            None => {
                println!(
                    "seed {seed}: all is well, {} frames, fingerprint {:016x}",
                    outcome.frames, outcome.fingerprint
                );
                ExitCode::SUCCESS
            }
            Some(why) => {
                println!("seed {seed}: {why}");
                ExitCode::FAILURE
            }
        };
    }
    let (next, total, failed) =
        (AtomicU64::new(arguments.from), Mutex::new((Faults::default(), 0)), Mutex::new(Vec::new()));
    let end = arguments.from + arguments.seeds;
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return;
            }
            let outcome = outcome(seed, Options { steps: arguments.steps, trace: 0, members: arguments.members });
            let mut total = total.lock().expect("no panic while it is held");
            total.0.append(&outcome.faults);
            total.1 += outcome.frames;
            if let Some(why) = outcome.failure {
                println!(
                    "seed {seed}: {why}\n  cargo run --release --features sim --example sim -- --seed {seed} --steps {}{}",
                    arguments.steps,
                    if arguments.members { " --members" } else { "" }
                );
                failed.lock().expect("no panic while it is held").push(seed);
            }
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        (0..threads).for_each(|_| drop(scope.spawn(work)));
    });
    let (faults, frames) = total.into_inner().expect("all threads have ended");
    let failed = failed.into_inner().expect("all threads have ended");
    println!("{} worlds, {frames} frames, faults:\n{faults}{} failed: {failed:?}", arguments.seeds, failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
