//! Measurements that need a process of their own: memory, and opening with a cold cache.

use std::cell::Cell;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::time::Instant;

use super::meter::{peak_rss, rss};
use super::pair::{Device, Pair, Rows2};
use super::work::{self, BATCH, Order};

const JOB: &str = "SYNC_BENCH_JOB";

/// What a process of its own does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Job {
    /// Makes W1 of so many events in `a`, and joins `b` to it. No figure.
    Write,
    /// Opens `a` without an orderly end before: seconds until it has started.
    Open,
    /// Syncs `b` from `a`: the most memory in use, both devices in one process.
    Sync,
    /// Makes W2 of so many entities on a disk store: bytes of memory an entity.
    Memory,
}

const JOBS: [(Job, &str); 4] =
    [(Job::Write, "write"), (Job::Open, "open"), (Job::Sync, "sync"), (Job::Memory, "memory")];

/// Runs a job in a process of its own; its figure.
pub fn run(job: Job, number: usize, folder: &Path) -> f64 {
    let name = JOBS.iter().find(|(known, _)| *known == job).expect("a known job").1;
    let output = Command::new(std::env::current_exe().expect("this program"))
        .env(JOB, format!("{name} {number} {}", folder.display()))
        .output()
        .expect("this program starts");
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("a figure")
}

/// Does the job that this process was started for, if it was for one.
pub fn main() -> bool {
    let Ok(job) = std::env::var(JOB) else { return false };
    let mut words = job.splitn(3, ' ');
    let (name, number, folder) = (words.next(), words.next(), words.next());
    let job = JOBS.iter().find(|(_, known)| Some(*known) == name).expect("a known job").0;
    let number: usize = number.and_then(|number| number.parse().ok()).expect("a number");
    println!("{}", work(job, number, Path::new(folder.expect("a folder"))));
    true
}

fn work(job: Job, number: usize, folder: &Path) -> f64 {
    let clock = Rc::new(Cell::new(0));
    let store = |name: &str| Rows2::disk(&folder.join(name));
    match job {
        Job::Write => {
            let mut a = Device::first(store("a"), &clock);
            Device::second(&mut a, store("b"));
            work::w1(&mut a, number);
            // No orderly end: an app is often killed.
            std::process::exit({
                println!("0");
                0
            })
        }
        Job::Open => {
            let start = Instant::now();
            let mut a = Device::open(1, store("a"), &clock);
            let taken = start.elapsed().as_secs_f64();
            assert_eq!(a.events(), number as u64);
            taken
        }
        Job::Sync => {
            let a = Device::open(1, store("a"), &clock);
            let b = Device::open(2, store("b"), &clock);
            let mut pair = Pair::new(a, b);
            pair.greet();
            pair.run();
            let peak = peak_rss();
            pair.assert_equal();
            assert_eq!(pair.b.events(), number as u64);
            peak as f64
        }
        Job::Memory => {
            let mut a = Device::first(store("a"), &clock);
            let before = rss();
            work::w2(&mut a, number, Order::Passes, BATCH);
            rss().saturating_sub(before) as f64 / number as f64
        }
    }
}
