//! Counters and histograms. Anybody may add and anybody may read, and nobody waits.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Counts.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One that has counted nothing.
    pub const fn new() -> Counter {
        Counter(AtomicU64::new(0))
    }

    /// Counts `count` more.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    /// What was counted so far.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The most buckets that a histogram has, the one without an upper bound included.
pub const MAX_BUCKETS: usize = 16;

/// Where the buckets of a histogram end.
#[derive(Debug)]
pub struct Scale {
    /// The upper bounds, ascending, fewer than [`MAX_BUCKETS`], in units of what is observed.
    pub bounds: &'static [u64],
    /// How many such units are one of what is shown: 1,000,000 for microseconds as seconds.
    pub units: u64,
}

/// For what takes as long as a commit or a request: from 0.1 ms to 10 s.
pub static SHORT: Scale = Scale {
    bounds: &[
        100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
        1_000_000, 2_500_000, 10_000_000,
    ],
    units: 1_000_000,
};
/// For what takes as long as a worker's answer: from 1 ms to 5 minutes.
pub static MEDIUM: Scale = Scale {
    bounds: &[
        1_000,
        2_500,
        5_000,
        10_000,
        25_000,
        50_000,
        100_000,
        250_000,
        500_000,
        1_000_000,
        2_500_000,
        10_000_000,
        30_000_000,
        60_000_000,
        300_000_000,
    ],
    units: 1_000_000,
};
/// For what takes as long as a backlog: from 1 ms to a day.
pub static LONG: Scale = Scale {
    bounds: &[
        1_000,
        5_000,
        10_000,
        25_000,
        50_000,
        100_000,
        250_000,
        500_000,
        1_000_000,
        5_000_000,
        30_000_000,
        300_000_000,
        3_600_000_000,
        86_400_000_000,
    ],
    units: 1_000_000,
};
/// For rows of a commit.
pub static ROWS: Scale = Scale { bounds: &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512], units: 1 };

/// Counts values by their size, in buckets that are fixed.
#[derive(Debug)]
pub struct Histogram {
    scale: &'static Scale,
    /// Not cumulated; the bucket after the last bound takes what is larger.
    buckets: [AtomicU64; MAX_BUCKETS],
    sum: AtomicU64,
}

/// A histogram at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// What the buckets mean.
    pub scale: &'static Scale,
    /// How many values each bucket has, not cumulated.
    pub buckets: [u64; MAX_BUCKETS],
    /// The sum of all values.
    pub sum: u64,
}

impl Histogram {
    /// One that has seen nothing.
    pub const fn new(scale: &'static Scale) -> Histogram {
        assert!(scale.bounds.len() < MAX_BUCKETS, "more bounds than buckets");
        Histogram {
            scale,
            buckets: [const { AtomicU64::new(0) }; MAX_BUCKETS],
            sum: AtomicU64::new(0),
        }
    }

    /// Counts a value.
    pub fn observe(&self, value: u64) {
        let bucket = self.scale.bounds.partition_point(|bound| *bound < value);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
    }

    /// Counts a time, where the scale is one of microseconds.
    pub fn observe_time(&self, time: Duration) {
        self.observe(u64::try_from(time.as_micros()).unwrap_or(u64::MAX / 2));
    }

    /// What it has seen so far. The count is that of the buckets, so that both always agree.
    pub fn read(&self) -> Reading {
        Reading {
            scale: self.scale,
            buckets: std::array::from_fn(|bucket| self.buckets[bucket].load(Relaxed)),
            sum: self.sum.load(Relaxed),
        }
    }
}

impl Reading {
    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_the_first_bucket_that_reaches_it() {
        let histogram = Histogram::new(&ROWS);
        for rows in [1, 2, 3, 4, 512, 513, 100_000] {
            histogram.observe(rows);
        }
        let reading = histogram.read();
        assert_eq!(reading.buckets[..4], [1, 1, 2, 0]);
        assert_eq!(reading.buckets[9..12], [1, 2, 0]);
        assert_eq!((reading.count(), reading.sum), (7, 101_035));
    }

    #[test]
    fn times_are_counted_in_microseconds() {
        let histogram = Histogram::new(&SHORT);
        histogram.observe_time(Duration::from_nanos(100_999));
        histogram.observe_time(Duration::from_secs(1000));
        let reading = histogram.read();
        assert_eq!((reading.buckets[0], reading.buckets[15], reading.sum), (1, 1, 1_000_000_100));
    }

    #[test]
    fn bounds_ascend_and_leave_a_bucket_for_the_rest() {
        for scale in [&SHORT, &MEDIUM, &LONG, &ROWS] {
            assert!(scale.bounds.is_sorted_by(|a, b| a < b) && scale.bounds.len() < MAX_BUCKETS);
        }
    }
}
