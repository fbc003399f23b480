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
    /// How many tokens of the future are waited for.
    waiting: usize,
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
        let state = State { bucket: Bucket::of(definition), waiting: 0, generation: 0 };
        Limiter { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Takes over a changed definition. The bucket keeps its level, as far as the new one holds
    /// as much; whoever waits under limits that changed gives its token back and takes one anew.
    pub(super) fn redefine(&self, definition: &QueueDefinition) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bucket = Bucket::of(definition);
        let limits = |b: &Bucket| (b.per_second, b.burst);
        if state.bucket.as_ref().map(limits) != bucket.as_ref().map(limits) {
            let waiting = std::mem::take(&mut state.waiting) as f64;
            if let (Some(before), Some(bucket)) = (&mut state.bucket, &mut bucket) {
                before.fill(bucket.at);
                bucket.tokens = (before.tokens + waiting).min(bucket.burst);
            }
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
            state.waiting += 1;
            let generation = state.generation;
            while state.generation == generation {
                if give_up() {
                    state.waiting -= 1;
                    if let Some(bucket) = state.bucket.as_mut() {
                        bucket.tokens += 1.0;
                    }
                    return false;
                }
                let left = due.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    state.waiting -= 1;
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

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.per_second).min(self.burst);
        self.at = now;
    }

    /// Takes a token and answers from when on it may be used.
    fn take(&mut self, now: Instant) -> Instant {
        self.fill(now);
        self.tokens -= 1.0;
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

    fn throttled(per_second: f64, burst: u32) -> QueueDefinition {
        QueueDefinition {
            name: "q".into(),
            polling_interval_ms: 100,
            max_workers: 1,
            max_dispatches_per_second: per_second as f32,
            max_burst_size: burst,
        }
    }

    #[test]
    fn other_limits_fill_no_bucket() {
        let limiter = Limiter::new(&throttled(0.01, 3));
        let take = || limiter.acquire(&|| false);
        assert!(take() && take());
        let is_empty = || {
            let looks = std::cell::Cell::new(0);
            !limiter.acquire(&|| looks.replace(looks.get() + 1) > 0)
        };
        for burst in [5, 3, 4] {
            limiter.redefine(&throttled(0.02, burst));
        }
        assert!(take(), "one was left");
        assert!(is_empty());
        limiter.redefine(&throttled(0.01, 7));
        assert!(is_empty());
    }

    #[test]
    fn who_waits_while_limits_change_gets_its_token_in_its_time() {
        let limiter = Limiter::new(&throttled(4.0, 1));
        assert!(limiter.acquire(&|| false));
        let began = Instant::now();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| limiter.acquire(&|| false));
            let mut burst = 1;
            while !waiter.is_finished() {
                burst = 3 - burst;
                limiter.redefine(&throttled(4.0, burst));
                std::thread::sleep(Duration::from_millis(10));
                assert!(began.elapsed() < Duration::from_secs(20), "it waits for ever");
            }
            assert!(waiter.join().unwrap());
        });
        assert!(began.elapsed() >= Duration::from_millis(240), "{:?}", began.elapsed());
    }

    #[test]
    fn a_waiter_gives_up_when_told() {
        let limiter = Limiter::new(&throttled(0.001, 1));
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
        let limiter = Limiter::new(&throttled(0.0, 0));
        for _ in 0..1000 {
            assert!(limiter.acquire(&|| false));
        }
        assert!(!limiter.acquire(&|| true));
    }
}
