//! The throttle of a queue: a token bucket.
//!
//! A job costs a token. The bucket fills at the queue's rate up to its burst size. Who finds it
//! empty takes a token of the future and waits for it, so that waiters are served in the order
//! in which they came.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::queue_definition::QueueDefinition;

/// How long a waiter sleeps before it looks again whether to give up.
const LOOK: Duration = Duration::from_millis(100);

/// A token bucket, or none for a queue that is not throttled.
pub(super) struct Limiter {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    bucket: Option<Bucket>,
    /// Counts the changes of the limits, so that waiters notice one.
    generation: u64,
}

struct Bucket {
    per_second: f64,
    burst: f64,
    /// What is in it at `at`; below zero where tokens of the future were taken.
    tokens: f64,
    at: Instant,
}

impl Limiter {
    pub(super) fn new(definition: &QueueDefinition) -> Limiter {
        let state = State { bucket: Bucket::of(definition), generation: 0 };
        Limiter { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Takes over a changed definition. A bucket whose limits stay as they were keeps its level;
    /// whoever waits under limits that changed starts anew.
    pub(super) fn redefine(&self, definition: &QueueDefinition) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = Bucket::of(definition);
        let limits = |b: &Bucket| (b.per_second, b.burst);
        if state.bucket.as_ref().map(limits) != bucket.as_ref().map(limits) {
            state.bucket = bucket;
            state.generation += 1;
            self.changed.notify_all();
        }
    }

    /// Waits for a token. Answers false, without one, as soon as `give_up` says so.
    pub(super) fn acquire(&self, give_up: &dyn Fn() -> bool) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let Some(bucket) = state.bucket.as_mut() else { return !give_up() };
            let due = bucket.take(Instant::now());
            let generation = state.generation;
            while state.generation == generation {
                if give_up() {
                    if let Some(bucket) = state.bucket.as_mut() {
                        bucket.tokens += 1.0;
                    }
                    return false;
                }
                let left = due.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return true;
                }
                state = match self.changed.wait_timeout(state, left.min(LOOK)) {
                    Ok((state, _)) => state,
                    Err(poisoned) => poisoned.into_inner().0,
                };
            }
        }
    }
}

impl Bucket {
    fn of(definition: &QueueDefinition) -> Option<Bucket> {
        let burst = f64::from(definition.max_burst_size);
        definition.is_throttled().then(|| Bucket {
            per_second: f64::from(definition.max_dispatches_per_second),
            burst,
            tokens: burst,
            at: Instant::now(),
        })
    }

    /// Takes a token and answers from when on it may be used.
    fn take(&mut self, now: Instant) -> Instant {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.per_second).min(self.burst) - 1.0;
        self.at = now;
        let wait_s = (-self.tokens / self.per_second).max(0.0);
        // A day is as good as never: whoever waits looks around meanwhile.
        now + Duration::from_secs_f64(wait_s.min(86_400.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(per_second: f64, burst: f64) -> (Bucket, Instant) {
        let at = Instant::now();
        (Bucket { per_second, burst, tokens: burst, at }, at)
    }

    #[test]
    fn a_burst_is_free_and_the_rest_comes_at_the_rate() {
        let (mut bucket, start) = bucket(10.0, 3.0);
        for _ in 0..3 {
            assert_eq!(bucket.take(start), start);
        }
        assert_eq!(bucket.take(start), start + Duration::from_millis(100));
        assert_eq!(bucket.take(start), start + Duration::from_millis(200));
        let later = start + Duration::from_millis(250);
        assert_eq!(bucket.take(later), start + Duration::from_millis(300));
    }

    #[test]
    fn a_pause_fills_the_bucket_no_further_than_the_burst() {
        let (mut bucket, start) = bucket(10.0, 2.0);
        let later = start + Duration::from_secs(60);
        assert_eq!(bucket.take(later), later);
        assert_eq!(bucket.take(later), later);
        assert!(bucket.take(later) > later);
    }

    #[test]
    fn a_waiter_gives_up_when_told() {
        let definition = QueueDefinition {
            name: "q".into(),
            polling_interval_ms: 100,
            max_workers: 1,
            max_dispatches_per_second: 0.001,
            max_burst_size: 1,
        };
        let limiter = Limiter::new(&definition);
        assert!(limiter.acquire(&|| false));
        let looks = std::cell::Cell::new(0);
        let give_up = || {
            looks.set(looks.get() + 1);
            looks.get() > 2
        };
        assert!(!limiter.acquire(&give_up));
    }

    #[test]
    fn without_a_throttle_nobody_waits() {
        let definition = QueueDefinition {
            name: "q".into(),
            polling_interval_ms: 200,
            max_workers: 1,
            max_dispatches_per_second: 0.0,
            max_burst_size: 0,
        };
        let limiter = Limiter::new(&definition);
        for _ in 0..1000 {
            assert!(limiter.acquire(&|| false));
        }
        assert!(!limiter.acquire(&|| true));
    }
}
