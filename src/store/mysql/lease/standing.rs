//! Whether the locks of a session may still be relied on, by this node's own knowledge and clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use nix::time::ClockId;

/// What proves that a lease stands: to the server the two locks, to this node the standing of the
/// session that holds them.
pub(super) struct Fence {
    pub(super) queue_lock: String,
    pub(super) fence_lock: String,
    pub(super) standing: Arc<Standing>,
}

/// The life of one holder session, as its leases see it. Shared by all of them.
#[derive(Debug)]
pub(super) struct Standing {
    /// Set once, by whoever sees the end first; never cleared.
    ended: AtomicBool,
    /// When it ends unless it is renewed, in milliseconds of [`boot_time`].
    ends_at_ms: AtomicU64,
}

impl Standing {
    /// A session whose first statement, since answered, was sent at `sent_at`.
    pub(super) fn since(sent_at: Duration, valid_for: Duration) -> Standing {
        Standing {
            ended: AtomicBool::new(false),
            ends_at_ms: AtomicU64::new(whole_ms(sent_at + valid_for)),
        }
    }

    /// Whether it stands. Once false, never true again: an end that is seen is kept.
    pub(super) fn stands(&self) -> bool {
        self.stands_at(boot_time())
    }

    /// Renews it after an answer to a statement that was sent at `sent_at`. One that has ended
    /// stays so: whoever saw that may have acted on it.
    pub(super) fn renew(&self, sent_at: Duration, valid_for: Duration) {
        if self.stands() {
            self.ends_at_ms.store(whole_ms(sent_at + valid_for), Ordering::Release);
        }
    }

    /// Ends it.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    fn stands_at(&self, now: Duration) -> bool {
        if self.ended.load(Ordering::Acquire) {
            return false;
        }
        if whole_ms(now) < self.ends_at_ms.load(Ordering::Acquire) {
            return true;
        }
        self.end();
        false
    }
}

/// The time since this machine started, that in suspension included.
pub(super) fn boot_time() -> Duration {
    // It fails only where the clock does not exist (Linux before 2.6.39). Then the time is
    // beyond every deadline, so that no lease ever stands.
    ClockId::CLOCK_BOOTTIME.now().map_or(Duration::MAX / 2, Duration::from)
}

fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn it_stands_until_its_time_and_never_again() {
        let standing = Standing::since(10 * SECOND, 8 * SECOND);
        assert!(standing.stands_at(10 * SECOND));
        assert!(standing.stands_at(18 * SECOND - Duration::from_millis(1)));
        assert!(!standing.stands_at(18 * SECOND));
        assert!(!standing.stands_at(10 * SECOND));
    }

    #[test]
    fn a_renewal_counts_from_when_the_statement_was_sent() {
        let sent_at = boot_time();
        let standing = Standing::since(sent_at, 100 * SECOND);
        standing.renew(sent_at + SECOND, 100 * SECOND);
        assert!(standing.stands_at(sent_at + 100 * SECOND));
        assert!(!standing.stands_at(sent_at + 101 * SECOND));
    }

    #[test]
    fn a_renewal_does_not_revive_it() {
        let standing = Standing::since(boot_time(), Duration::ZERO);
        standing.renew(boot_time(), 100 * SECOND);
        assert!(!standing.stands());
        let ended = Standing::since(boot_time(), 100 * SECOND);
        ended.end();
        ended.renew(boot_time(), 100 * SECOND);
        assert!(!ended.stands());
    }
}
