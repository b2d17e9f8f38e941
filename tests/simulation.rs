//! Worlds of devices from seeds, with every fault that DESIGN names; `make sim SEEDS=100000` runs many more.
#![cfg(not(target_arch = "wasm32"))]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use privstack_sync::platform::sim::{Faults, Options, run};

const SEEDS: u64 = 500;
const STEPS: usize = 200;

/// Seeds (with their number of steps) that once failed; the last ones with `--members`.
const REGRESSIONS: &[(u64, usize, bool)] =
    &[(4, 100, false), (120, 100, false), (200_146, 200, false), (5_286, 200, true), (10_602, 200, true)];

fn failure((seed, steps, members): (u64, usize, bool), faults: &Mutex<Faults>) -> Option<String> {
    let options = Options { steps, members, ..Options::default() };
    let outcome = catch_unwind(AssertUnwindSafe(|| run(seed, options)));
    let why = match outcome {
        Ok(outcome) => {
            faults.lock().expect("no panic while it is held").append(&outcome.faults);
            outcome.failure?
        }
        Err(_) => "a panic, see above".to_owned(),
    };
    let again = format!("cargo run --release --features sim --example sim -- --seed {seed} --steps {steps}");
    let again = again + if members { " --members" } else { "" };
    Some(format!("seed {seed}: {why}\n  repeat it: {again}"))
}

/// Runs all on all cores; gives the failures and the faults that were injected.
fn run_all(worlds: &[(u64, usize, bool)]) -> (Vec<String>, Faults) {
    let (next, faults, failures) = (AtomicU64::new(0), Mutex::new(Faults::default()), Mutex::new(Vec::new()));
    // For those who only want to know whether all is well: scripts/mutants.
    let stop_early = std::env::var_os("STOP_EARLY").is_some();
    let work = || {
        while let Some(world) = worlds.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
            if let Some(why) = failure(*world, &faults) {
                if stop_early {
                    next.store(worlds.len() as u64, Ordering::Relaxed);
                }
                failures.lock().expect("no panic while it is held").push(why);
            }
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        (0..threads).for_each(|_| drop(scope.spawn(work)));
    });
    let all = "all threads have ended";
    (failures.into_inner().expect(all), faults.into_inner().expect(all))
}

#[test]
fn every_world_converges_and_loses_nothing() {
    let worlds: Vec<_> = (0..SEEDS).map(|seed| (seed, STEPS, false)).collect();
    let (failures, faults) = run_all(&worlds);
    println!("{SEEDS} worlds of {STEPS} steps; faults injected:\n{faults}");
    assert!(failures.is_empty(), "{} of {SEEDS} failed\n{}", failures.len(), failures.join("\n"));
    assert_eq!(faults.missing(), [""; 0], "faults that never happened");
}

#[test]
fn worlds_that_once_failed_hold() {
    let (failures, _) = run_all(REGRESSIONS);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
