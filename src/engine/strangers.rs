//! How much work devices that are no members may cause: signature checks of the grants that they show in a `Hello`.

use crate::error::{Error, ErrorCode, Result};

/// Checks that may be asked for at once: those of eight of the longest credentials.
const BURST: u64 = 256;
/// One more is allowed after so many microseconds: 32 a second.
const REFILL: u64 = 31_250;

/// A token bucket for all of them together: a stranger can make as many identities as it likes.
#[derive(Debug)]
pub struct Strangers {
    tokens: u64,
    /// Up to when, on the monotonic clock, tokens have been filled in.
    filled: u64,
}

impl Default for Strangers {
    fn default() -> Self {
        Self { tokens: BURST, filled: 0 }
    }
}

impl Strangers {
    /// Fails with `busy` where no check is left. It is asked before anything that a stranger has said is looked at, so
    /// that the answer tells nothing about that.
    pub fn admit(&mut self, now: u64) -> Result<()> {
        let more = now.saturating_sub(self.filled) / REFILL;
        self.tokens = self.tokens.saturating_add(more).min(BURST);
        self.filled = self.filled.saturating_add(more * REFILL);
        if self.tokens == 0 {
            return Err(Error::new(ErrorCode::Busy, "too many unknown devices ask to be let in; try again later"));
        }
        Ok(())
    }

    /// Counts the checks of one that was admitted.
    pub fn spend(&mut self, checks: usize) {
        self.tokens = self.tokens.saturating_sub(checks as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test;

    #[test]
    fn strangers_have_a_burst_of_checks_and_then_some_a_second() {
        let mut strangers = Strangers::default();
        let mut now = 5_000_000;
        let mut checked = |now: u64| {
            let mut checked = 0;
            while strangers.admit(now).is_ok() {
                strangers.spend(32);
                checked += 32;
            }
            checked
        };
        assert_eq!(checked(now), BURST);
        assert_eq!(checked(now), 0);
        now += 31_000;
        assert_eq!(checked(now), 0, "not yet");
        now += 1_000_000;
        assert_eq!(checked(now), 32, "what is left over counts for the next");
        now += 3_600_000_000;
        assert_eq!(checked(now), BURST, "an hour gives no more than a burst");
    }
}
