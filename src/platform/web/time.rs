//! The page's clocks, waiting, and giving the page its turn.

use std::cell::Cell;
use std::time::Duration;

use gloo_timers::future::TimeoutFuture;
use js_sys::Promise;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::MessageChannel;

use crate::types::Instant;

/// The longest wait of one timer; browsers take 31 bits of milliseconds.
const MAX_TIMER_MS: u64 = i32::MAX as u64;
/// How long work may go on without the page having had a turn.
const TURN_MICROS: u64 = 8_000;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = performance, js_name = now)]
    fn performance_now() -> f64;
}

/// Reads both clocks; monotonic time counts from when this was made.
#[derive(Debug)]
pub struct Clock {
    start: f64,
    /// When the page had its last turn.
    turn: Cell<u64>,
}

impl Clock {
    /// A clock that starts now.
    #[allow(clippy::new_without_default)] // when it is made matters
    pub fn new() -> Self {
        Self { start: performance_now(), turn: Cell::new(0) }
    }

    /// Both readings. A wall clock before 1970 reads as 1970.
    pub fn now(&self) -> Instant {
        Instant { mono: self.mono(), wall: js_sys::Date::now().max(0.0) as u64 }
    }

    fn mono(&self) -> u64 {
        ((performance_now() - self.start).max(0.0) * 1_000.0) as u64
    }

    /// Lets the page draw and answer its user, if it has had no turn for 8 ms.
    pub async fn give_turn(&self) {
        if self.mono().saturating_sub(self.turn.get()) >= TURN_MICROS {
            next_task().await;
            self.turn.set(self.mono());
        }
    }
}

/// Resolves in a later task of the event loop; the page's own tasks, input and drawing come between. A timer would wait
/// for 4 ms once timers follow each other (HTML, "timer initialisation steps"), and for a second in a hidden page.
async fn next_task() {
    let Ok(channel) = MessageChannel::new() else { return TimeoutFuture::new(0).await };
    let (to, from) = (channel.port1(), channel.port2());
    let message = Promise::new(&mut |resolve, _| from.set_onmessage(Some(&resolve)));
    if to.post_message(&JsValue::NULL).is_ok() {
        // The promise is never rejected.
        let _ = JsFuture::from(message).await;
    }
    to.close();
}

/// Waits so long, or a little longer; a hidden page's timers may be a second late and more.
pub async fn sleep(time: Duration) {
    let mut left = u64::try_from(time.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX);
    loop {
        let step = left.min(MAX_TIMER_MS);
        TimeoutFuture::new(step as u32).await;
        left -= step;
        if left == 0 {
            return;
        }
    }
}
