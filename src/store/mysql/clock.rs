//! The database's clock, read once a second and carried on by our own.
//!
//! A push has to answer with the very `created_at` and `next_try` that were stored, and a lone push
//! is to be one round trip. So the numbers are bound in the INSERT, and to know them without
//! asking each time, a session reads the server's clock together with ours and adds what has
//! passed on ours since. Nodes whose wall clocks differ still agree, as no wall clock of a node
//! takes part: ours is CLOCK_BOOTTIME, which nobody sets and which runs on while a machine is
//! suspended.
//!
//! The result is never ahead of the server, so that a job with no delay is due at once: our time is
//! taken after the reply arrived, and a millisecond is taken off for what the two clocks
//! drift apart until the next sample.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// The age from which a sample is no longer used.
const MAX_AGE: Duration = Duration::from_secs(1);

/// Both clocks, read together.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// The server's, in milliseconds since 1970.
    server_ms: u64,
    /// Ours, read later.
    ours: Duration,
}

impl Sample {
    /// A sample of what the server just answered.
    pub fn of(server_ms: u64) -> Sample {
        Sample { server_ms, ours: our_time() }
    }

    /// The server's time in milliseconds since 1970, or a little less; `None` if the sample is
    /// too old to tell.
    pub fn now_ms(&self) -> Option<u64> {
        self.at(our_time())
    }

    fn at(&self, ours: Duration) -> Option<u64> {
        let passed = ours.checked_sub(self.ours).filter(|passed| *passed < MAX_AGE)?;
        let passed_ms = u64::try_from(passed.as_millis()).ok()?;
        Some(self.server_ms.saturating_add(passed_ms).saturating_sub(1))
    }
}

/// Time since the machine's start. The kernel has this clock since 2011; without it every
/// sample looks fresh but never ahead.
fn our_time() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_carried_on_for_a_second_and_is_never_ahead() {
        let sample = Sample { server_ms: 1_000_000, ours: Duration::from_secs(50) };
        let at = |micros| sample.at(Duration::from_secs(50) + Duration::from_micros(micros));
        assert_eq!(at(0), Some(999_999));
        assert_eq!(at(999), Some(999_999));
        assert_eq!(at(1_000), Some(1_000_000));
        assert_eq!(at(999_999), Some(1_000_998));
        assert_eq!(at(1_000_000), None);
        // A clock that went back tells nothing.
        assert_eq!(sample.at(Duration::from_secs(49)), None);
    }

    #[test]
    fn our_clock_runs() {
        let sample = Sample::of(10);
        assert!(sample.now_ms().is_none_or(|now_ms| now_ms >= 9));
        assert!(our_time() > Duration::ZERO);
    }
}
