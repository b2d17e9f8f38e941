//! Hybrid logical clocks (Kulkarni et al., "Logical Physical Clocks", 2014), and the two readings that the core is told.
//!
//! Time only breaks ties between edits that did not know of each other (PROTOCOL.md section 9).

use serde::{Deserialize, Serialize};

/// What the platform tells the core with every input: the core has no clock of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Instant {
    /// Microseconds on a clock that never goes back; its zero means nothing.
    pub mono: u64,
    /// Milliseconds since 1970 on the wall; may be wrong, may jump.
    pub wall: u64,
}

/// How far a clock may pull ours ahead, in milliseconds.
const MAX_DRIFT_MS: u64 = 60_000;

/// 48 bits of milliseconds since 1970, 16 bits of counter.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug, Serialize, Deserialize)]
pub struct HybridTimestamp(pub u64);

impl HybridTimestamp {
    /// The start of the year 6000: a commit's time beyond it makes the commit invalid.
    pub const YEAR_6000: Self = Self::from_millis(127_174_492_800_000);
    /// The start of the year 8000: where a lifted stamp stops.
    pub const YEAR_8000: Self = Self::from_millis(190_288_396_800_000);

    /// The first timestamp of a millisecond.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis << 16)
    }

    /// Milliseconds since 1970.
    pub const fn millis(self) -> u64 {
        self.0 >> 16
    }

    /// The counter within the millisecond.
    pub const fn counter(self) -> u16 {
        self.0 as u16
    }

    /// The stamp of a register: this commit's time, raised by `lift`, and never beyond the year 8000.
    pub fn lifted(self, lift: u64) -> Self {
        Self(self.0.saturating_add(lift)).min(Self::YEAR_8000)
    }

    /// The lift that makes a stamp later than `overwritten`: zero where this time already is.
    pub fn lift_over(self, overwritten: Option<HybridTimestamp>) -> u64 {
        match overwritten {
            Some(old) if old >= self => old.0.saturating_add(1).min(Self::YEAR_8000.0) - self.0.min(Self::YEAR_8000.0),
            _ => 0,
        }
    }
}

/// The state of a hybrid logical clock.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Hlc {
    last: HybridTimestamp,
}

impl Hlc {
    /// A clock that goes on after `last`.
    pub fn new(last: HybridTimestamp) -> Self {
        Self { last }
    }

    /// The last time it gave or accepted.
    pub fn last(&self) -> HybridTimestamp {
        self.last
    }

    /// The time of a new commit: later than every one before it, and never more than 60 s ahead of the wall clock, not
    /// even over our own past (a day with a wrong clock must not poison the years after it).
    pub fn tick(&mut self, now: Instant) -> HybridTimestamp {
        let wall = HybridTimestamp::from_millis(clamp_wall(now.wall));
        let limit = HybridTimestamp::from_millis(clamp_wall(now.wall) + MAX_DRIFT_MS);
        let start = self.last.min(limit);
        let next = if wall > start { wall } else { HybridTimestamp(start.0 + 1) };
        self.last = next;
        next
    }

    /// Takes note of a time seen in a commit; it never moves the clock further than 60 s ahead of the wall clock.
    pub fn observe(&mut self, seen: HybridTimestamp, now: Instant) {
        let limit = HybridTimestamp::from_millis(clamp_wall(now.wall) + MAX_DRIFT_MS);
        self.last = self.last.max(seen.min(limit));
    }
}

/// A wall clock that claims a year beyond 5900 is taken for 5900, so that our own commits stay valid.
fn clamp_wall(wall: u64) -> u64 {
    wall.min(HybridTimestamp::YEAR_6000.millis() - 100 * 366 * 86_400_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test;

    fn at(wall: u64) -> Instant {
        Instant { mono: 0, wall }
    }

    #[test]
    fn ticks_only_go_up_while_the_wall_clock_stands_still() {
        let mut hlc = Hlc::default();
        let first = hlc.tick(at(1_000));
        let second = hlc.tick(at(1_000));
        assert!(second > first);
        assert_eq!(second.millis(), 1_000);
    }

    #[test]
    fn a_day_with_a_clock_years_ahead_is_forgotten_once_the_clock_is_right() {
        let mut hlc = Hlc::default();
        hlc.tick(at(2_000_000_000_000));
        assert!(hlc.tick(at(1_000_000)).millis() <= 1_060_001);
    }

    #[test]
    fn another_clock_pulls_ours_sixty_seconds_ahead_at_most() {
        let mut hlc = Hlc::default();
        hlc.observe(HybridTimestamp::from_millis(9_000_000), at(1_000));
        assert_eq!(hlc.last().millis(), 61_000);
    }

    #[test]
    fn a_lift_puts_a_stamp_just_after_the_one_it_overwrites_and_stops_at_the_year_8000() {
        let hlc = HybridTimestamp::from_millis(5);
        let old = HybridTimestamp::from_millis(9);
        assert_eq!(hlc.lifted(hlc.lift_over(Some(old))).0, old.0 + 1);
        assert_eq!(hlc.lift_over(Some(HybridTimestamp::from_millis(4))), 0);
        let end = HybridTimestamp::YEAR_8000;
        assert_eq!(hlc.lifted(hlc.lift_over(Some(end))), end);
        assert_eq!(hlc.lifted(u64::MAX), end);
    }
}
