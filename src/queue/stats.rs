//! What a queue has done since this process started. Only counters: anybody may add, anybody may
//! read, nobody waits.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// The counters of one queue.
pub struct Stats {
    pub(crate) pushes: Rate,
    pub(crate) pops: Rate,
    pub(crate) successes: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) permanent_failures: AtomicU64,
    /// Milliseconds from creation to completion, summed over all completed jobs.
    pub(crate) elapsed_ms: AtomicU64,
}

/// The counters at one moment, named as in the API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct StatsView {
    /// Jobs stored through this node.
    pub total_pushes: u64,
    /// Rows grabbed, retries included.
    pub total_pops: u64,
    /// Tries that succeeded.
    pub total_successes: u64,
    /// Tries that failed, whether retried or not.
    pub total_failures: u64,
    /// Jobs that failed for good.
    pub total_permanent_failures: u64,
    /// Jobs that ended: successes and permanent failures.
    pub total_completes: u64,
    /// Milliseconds from creation to completion, summed.
    pub total_elapsed: u64,
    /// Pushes in the last second.
    pub pushes_per_second: u64,
    /// Rows grabbed in the last second.
    pub pops_per_second: u64,
    /// Jobs grabbed that wait for a worker.
    pub outstanding_jobs: u64,
    /// Workers that the queue may use; 0 on a node that is not primary.
    pub total_workers: u64,
    /// Workers that have nothing to do; 0 on a node that is not primary.
    pub idle_workers: u64,
    /// 1 on the node that is primary for the queue, else 0.
    pub active_nodes: u64,
}

impl Stats {
    pub(super) fn new() -> Stats {
        let epoch = Instant::now();
        Stats {
            pushes: Rate::new(epoch),
            pops: Rate::new(epoch),
            successes: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            permanent_failures: AtomicU64::new(0),
            elapsed_ms: AtomicU64::new(0),
        }
    }

    /// A try that failed, for good or not.
    pub(super) fn count_failure(&self, for_good: bool, elapsed_ms: u64) {
        self.failures.fetch_add(1, Relaxed);
        if for_good {
            self.permanent_failures.fetch_add(1, Relaxed);
            self.elapsed_ms.fetch_add(elapsed_ms, Relaxed);
        }
    }

    /// A job that is done.
    pub(super) fn count_success(&self, elapsed_ms: u64) {
        self.successes.fetch_add(1, Relaxed);
        self.elapsed_ms.fetch_add(elapsed_ms, Relaxed);
    }

    /// The counters now; what concerns workers is left 0.
    pub(super) fn view(&self) -> StatsView {
        let total_successes = self.successes.load(Relaxed);
        let total_permanent_failures = self.permanent_failures.load(Relaxed);
        StatsView {
            total_pushes: self.pushes.total(),
            total_pops: self.pops.total(),
            total_successes,
            total_failures: self.failures.load(Relaxed),
            total_permanent_failures,
            total_completes: total_successes + total_permanent_failures,
            total_elapsed: self.elapsed_ms.load(Relaxed),
            pushes_per_second: self.pushes.last_second(),
            pops_per_second: self.pops.last_second(),
            ..StatsView::default()
        }
    }
}

/// How many buckets a second has: the last second is known to a tenth.
const BUCKETS: usize = 10;
const BUCKET_MS: u64 = 1000 / BUCKETS as u64;

/// A counter that also knows how much was counted in the last second.
pub(crate) struct Rate {
    epoch: Instant,
    total: AtomicU64,
    /// For each tenth of a second, in a ring: its number in the upper half, its count in the
    /// lower. The number tells whether a count is of this second.
    buckets: [AtomicU64; BUCKETS],
}

impl Rate {
    fn new(epoch: Instant) -> Rate {
        Rate { epoch, total: AtomicU64::new(0), buckets: Default::default() }
    }

    pub(crate) fn add(&self, count: u64) {
        self.add_at(count, self.now_ms());
    }

    pub(crate) fn total(&self) -> u64 {
        self.total.load(Relaxed)
    }

    pub(crate) fn last_second(&self) -> u64 {
        self.last_second_at(self.now_ms())
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn add_at(&self, count: u64, now_ms: u64) {
        self.total.fetch_add(count, Relaxed);
        // The first bucket has number 1, so that an untouched one is never of this second.
        let number = now_ms / BUCKET_MS + 1;
        let bucket = &self.buckets[number as usize % BUCKETS];
        let add = |old: u64| {
            let kept = if old >> 32 == number & 0xffff_ffff { old & 0xffff_ffff } else { 0 };
            Some((number << 32) | (kept + count).min(0xffff_ffff))
        };
        // The closure never gives up, so this cannot fail.
        let _ = bucket.fetch_update(Relaxed, Relaxed, add);
    }

    fn last_second_at(&self, now_ms: u64) -> u64 {
        let number = now_ms / BUCKET_MS + 1;
        self.buckets
            .iter()
            .map(|bucket| bucket.load(Relaxed))
            .filter(|value| (number & 0xffff_ffff).wrapping_sub(value >> 32) < BUCKETS as u64)
            .map(|value| value & 0xffff_ffff)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_second_forgets() {
        let rate = Rate::new(Instant::now());
        assert_eq!(rate.last_second_at(0), 0);
        rate.add_at(3, 0);
        rate.add_at(4, 950);
        assert_eq!(rate.last_second_at(999), 7);
        assert_eq!(rate.last_second_at(1000), 4);
        rate.add_at(1, 1050);
        assert_eq!(rate.last_second_at(1100), 5);
        assert_eq!(rate.last_second_at(60_000), 0);
        assert_eq!(rate.total(), 8);
    }

    #[test]
    fn completes_are_successes_and_permanent_failures() {
        let stats = Stats::new();
        stats.count_success(10);
        stats.count_failure(false, 5);
        stats.count_failure(true, 7);
        let view = stats.view();
        assert_eq!(
            (view.total_successes, view.total_failures, view.total_permanent_failures),
            (1, 2, 1)
        );
        assert_eq!((view.total_completes, view.total_elapsed), (2, 17));
    }
}
