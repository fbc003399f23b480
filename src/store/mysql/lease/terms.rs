//! The times that a lease is made of, all derived from the lease time.

use std::time::Duration;

/// The shortest lease time, in seconds: below it the parts are too short to tell silence from load.
const SHORTEST_S: u64 = 2;
/// The longest lease time, in seconds: a day.
const LONGEST_S: u64 = 86_400;
/// How long the server may stall before its session is given up, however long the lease time.
const PATIENCE: Duration = Duration::from_secs(5);

/// The times of one elector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// `wait_timeout` of the holder, in seconds: when the server frees a silent node's locks.
    pub(super) wait_timeout_s: u64,
    /// For how long an answered statement lets the leases stand, from when it was sent: less than
    /// `wait_timeout_s` by a margin, in which a job whose worker has just looked is started.
    pub(super) valid_for: Duration,
    /// Between two heartbeats.
    pub(super) beat_every: Duration,
    /// How long an answer of the server may take: no longer than the leases stand that its
    /// statement was to renew, so that this patience costs nothing.
    pub(super) answer_within: Duration,
}

impl Terms {
    /// The terms for a lease time, which is brought into its bounds, in whole seconds.
    pub(super) fn of(lease_time: Duration) -> Terms {
        let wait_timeout_s = lease_time.as_secs().clamp(SHORTEST_S, LONGEST_S);
        let lease_time = Duration::from_secs(wait_timeout_s);
        let margin = (lease_time / 5).clamp(Duration::from_millis(500), Duration::from_secs(2));
        let valid_for = lease_time - margin;
        let beat_every = (lease_time / 4).min(Duration::from_secs(1));
        let answer_within = (valid_for - beat_every).min(PATIENCE);
        Terms { wait_timeout_s, valid_for, beat_every, answer_within }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_gives_up_before_the_server_does() {
        for lease_time_s in [0, 1, 2, 3, 4, 10, 60, 1_000_000] {
            let terms = Terms::of(Duration::from_secs(lease_time_s));
            let wait_timeout = Duration::from_secs(terms.wait_timeout_s);
            assert!(terms.valid_for + Duration::from_millis(500) <= wait_timeout, "{terms:?}");
            assert!(terms.beat_every + terms.answer_within <= terms.valid_for, "{terms:?}");
            assert!(terms.answer_within >= Duration::from_millis(500), "{terms:?}");
            assert!(terms.beat_every <= Duration::from_secs(1), "{terms:?}");
        }
    }

    #[test]
    fn ten_seconds_are_kept_as_they_are() {
        let terms = Terms::of(Duration::from_secs(10));
        assert_eq!(terms.wait_timeout_s, 10);
        assert_eq!(terms.valid_for, Duration::from_secs(8));
        assert_eq!(terms.answer_within, Duration::from_secs(5));
    }
}
