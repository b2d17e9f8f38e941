//! The machine's clocks.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::types::Instant;

/// Reads both clocks; monotonic time counts from when this was made.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: std::time::Instant,
}

impl Clock {
    /// A clock that starts now.
    #[allow(clippy::new_without_default)] // when it is made matters
    pub fn new() -> Self {
        Self { start: std::time::Instant::now() }
    }

    /// Both readings. A wall clock before 1970 reads as 1970.
    pub fn now(&self) -> Instant {
        Instant {
            mono: u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX),
            wall: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    /// Nobody else lives on the engine's thread.
    pub async fn give_turn(&self) {}
}

/// Waits so long, or a little longer.
pub async fn sleep(time: Duration) {
    tokio::time::sleep(time).await;
}
