//! The clock of the stores that live on this machine.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::clock;

/// The wall clock, except that it never goes back and never stands still. It follows a clock that
/// is set forward; where one is set back, time passes on from where it was, or a job that is
/// deferred by a second would wait until the clock has caught up, an hour later or a year.
pub(super) struct WallClock {
    /// How far the wall clock was ahead of the time since the machine started, at the most.
    ahead_ms: AtomicI64,
}

impl Default for WallClock {
    fn default() -> WallClock {
        WallClock { ahead_ms: AtomicI64::new(i64::MIN) }
    }
}

impl WallClock {
    /// In milliseconds since 1970.
    pub(super) fn now_ms(&self) -> u64 {
        // In this order: what passes between the two makes the difference larger by as much.
        let boottime_ms = clock::boottime_ms();
        self.at(clock::now_ms(), boottime_ms)
    }

    fn at(&self, wall_ms: u64, boottime_ms: u64) -> u64 {
        let ahead_ms = wall_ms.cast_signed().saturating_sub(boottime_ms.cast_signed());
        let ahead_ms = self.ahead_ms.fetch_max(ahead_ms, Ordering::Relaxed).max(ahead_ms);
        boottime_ms.saturating_add_signed(ahead_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_the_wall_clock_forward_and_passes_on_when_that_is_set_back() {
        let clock = WallClock::default();
        assert_eq!(clock.at(1_000_000, 500), 1_000_000);
        assert_eq!(clock.at(1_000_010, 510), 1_000_010);
        assert_eq!(clock.at(4_600_010, 510), 4_600_010, "an hour ahead");
        assert_eq!(clock.at(1_000_020, 520), 4_600_020, "and back again");
        assert_eq!(clock.at(1_002_020, 2_520), 4_602_020);
        assert_eq!(clock.at(4_700_000, 2_530), 4_700_000, "it has caught up");
    }

    #[test]
    fn a_machine_that_does_not_know_the_year_has_a_clock_too() {
        let clock = WallClock::default();
        assert_eq!(clock.at(7, 5_000), 7);
        assert_eq!(clock.at(9, 5_002), 9);
    }
}
