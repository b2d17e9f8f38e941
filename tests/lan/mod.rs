//! A local network of two machines: two network namespaces joined by a virtual cable (Linux, as root, `iproute2`).
//! mDNS needs it: libp2p leaves the loopback interface out, and there multicast has no route.

use std::io::Write;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// Networks that this process has made.
static MADE: AtomicU32 = AtomicU32::new(0);

/// Says that a test did not run. Straight to standard error: the test runner would swallow what `eprintln!` writes.
pub fn not_run(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "\nNOT RUN: {test}: {why}\n");
}

/// Removed when dropped.
pub struct Lan {
    name: String,
}

impl Lan {
    /// Makes it; says why it cannot where it cannot.
    pub fn new() -> Result<Self, String> {
        let name = format!("ps{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let lan = Self { name };
        for side in ["a", "b"] {
            lan.ip(&["netns", "add", &lan.side(side)])?;
        }
        let (a, b) = (lan.side("a"), lan.side("b"));
        lan.ip(&["link", "add", "lan", "netns", &a, "type", "veth", "peer", "name", "lan", "netns", &b])?;
        for (side, address) in [(a, "10.77.0.1/24"), (b, "10.77.0.2/24")] {
            lan.ip(&["-n", &side, "addr", "add", address, "dev", "lan"])?;
            lan.ip(&["-n", &side, "link", "set", "lo", "up"])?;
            lan.ip(&["-n", &side, "link", "set", "lan", "up"])?;
        }
        Ok(lan)
    }

    /// A command that runs on machine `side`, `a` (10.77.0.1) or `b` (10.77.0.2).
    pub fn command(&self, side: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.side(side)]).arg(program);
        command
    }

    fn side(&self, side: &str) -> String {
        format!("{}{side}", self.name)
    }

    fn ip(&self, args: &[&str]) -> Result<Output, String> {
        match Command::new("ip").args(args).output() {
            Ok(output) if output.status.success() => Ok(output),
            Ok(output) => Err(format!("ip {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim())),
            Err(error) => Err(format!("ip (Debian package iproute2): {error}")),
        }
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for side in ["a", "b"] {
            self.ip(&["netns", "del", &self.side(side)]).ok();
        }
    }
}
