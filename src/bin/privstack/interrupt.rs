//! Ctrl-C and SIGTERM: the first asks for a clean end, a second one, or [`PATIENCE`] without an end, ends at once.

use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use privstack_sync::error::{Error, ErrorCode, Result};
use signal_hook::consts::{SIGINT, SIGTERM};

/// What shells use for a command that Ctrl-C ended.
pub const EXIT_CODE: u8 = 130;
/// How long a clean end may take.
const PATIENCE: Duration = Duration::from_secs(10);

static ASKED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Takes over the signals; `on_signal` runs once, on a thread of its own.
pub fn install(on_signal: impl FnOnce() + Send + 'static) -> Result<()> {
    let failed = |error: std::io::Error| {
        Error::new(ErrorCode::Unsupported, format!("the system gives no notice of Ctrl-C: {error}"))
    };
    let asked = ASKED.get_or_init(Arc::default).clone();
    for signal in [SIGINT, SIGTERM] {
        // In this order: the second signal finds the flag set.
        signal_hook::flag::register_conditional_shutdown(signal, EXIT_CODE.into(), asked.clone()).map_err(failed)?;
        signal_hook::flag::register(signal, asked.clone()).map_err(failed)?;
    }
    let wait = wait_for_signal(asked).map_err(failed)?;
    let watch = move || {
        wait();
        on_signal();
        thread::sleep(PATIENCE);
        process::exit(EXIT_CODE.into());
    };
    thread::Builder::new().name("signals".into()).spawn(watch).map(drop).map_err(failed)
}

#[cfg(unix)]
fn wait_for_signal(_: Arc<AtomicBool>) -> std::io::Result<impl FnOnce() + Send> {
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    Ok(move || {
        signals.forever().next();
    })
}

#[cfg(not(unix))]
fn wait_for_signal(asked: Arc<AtomicBool>) -> std::io::Result<impl FnOnce() + Send> {
    Ok(move || {
        while !asked.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(100));
        }
    })
}

/// Fails with `aborted` once the user asked for the end.
pub fn check() -> Result<()> {
    match ASKED.get() {
        Some(asked) if asked.load(Ordering::Relaxed) => {
            Err(Error::new(ErrorCode::Aborted, "interrupted; what was done so far is saved"))
        }
        _ => Ok(()),
    }
}
