//! CPU time and memory of this process, as Linux tells them.

use std::fs;
use std::time::Instant;

/// Measures from when it was made.
pub struct Meter {
    cpu: u64,
    wall: Instant,
}

/// What a measured stretch took, both sides together where both run in this process.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// CPU seconds of all threads.
    pub cpu: f64,
    /// Seconds on the clock.
    pub wall: f64,
}

impl Meter {
    /// Starts measuring.
    pub fn start() -> Self {
        Self { cpu: cpu_nanos(), wall: Instant::now() }
    }

    /// What it took so far.
    pub fn taken(&self) -> Taken {
        let cpu = cpu_nanos().saturating_sub(self.cpu) as f64 / 1e9;
        Taken { cpu, wall: self.wall.elapsed().as_secs_f64() }
    }
}

/// Nanoseconds on a CPU, of all threads that live. The kernel adds them up when a thread gives the CPU away.
fn cpu_nanos() -> u64 {
    std::thread::yield_now();
    let threads = fs::read_dir("/proc/self/task").expect("a Linux /proc");
    let nanos = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    nanos.sum()
}

fn status(field: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").expect("a Linux /proc");
    let line = text.lines().find_map(|line| line.strip_prefix(field)).expect("a field of /proc/self/status");
    let kilobytes = line.trim_start_matches(':').trim().trim_end_matches("kB").trim();
    kilobytes.parse::<u64>().expect("a number of kB") * 1_024
}

/// Bytes of memory in use now.
pub fn rss() -> u64 {
    status("VmRSS")
}

/// The most bytes of memory that were ever in use.
pub fn peak_rss() -> u64 {
    status("VmHWM")
}
