//! How much there is to do in each queue, for those who look often: consoles, metrics.
//!
//! Counting costs the store a walk along an index. So samples are shared by all who ask, and their
//! cost is bounded, however many consoles are open and however many jobs wait:
//!
//! - A sample is kept for a second, or for twenty times as long as it took, whichever is more.
//! - Figures are counted up to [`FIRST_COUNT`], all queues together. Those that reach it are
//!   counted again up to [`MAX_COUNTED`], queue by queue, in a twentieth of the time; meanwhile
//!   their last count is shown.
//! - One thread at a time counts, the first that asks for what is old. Meanwhile the others get the
//!   old sample, unless there is none.
//!
//! No thread belongs to this module. `doc/decisions/backlog.md` tells what was measured.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use crate::store::{Backlog, QueueName, Store, StoreError};

/// How far a figure is counted at first.
pub const FIRST_COUNT: u64 = 10_000;
/// How far a figure is counted at all.
pub const MAX_COUNTED: u64 = 1_000_000;
/// How far long counts go, one after the other: where the store is too slow for the last one, what
/// an earlier one found is shown.
const LONG_COUNTS: [u64; 2] = [100_000, MAX_COUNTED];
/// How long a sample is kept at least.
const MIN_AGE: Duration = Duration::from_secs(1);
/// How many times longer than it took a sample is kept, and how many times longer than they
/// took no further long counts are made.
const COST_FACTOR: u32 = 20;
/// After which time no further long count is begun for the same caller.
const LONG_COUNTS_TIME: Duration = Duration::from_millis(500);
/// How long a sample that is not new any more is still shown while another one is being taken.
const MAX_AGE: Duration = Duration::from_secs(60);
/// How long a failure to take samples is remembered: whoever waited meanwhile is told at once.
const FAILURE_MEMORY: Duration = Duration::from_secs(1);

/// The samples of a store's queues.
pub struct Backlogs {
    count: Box<Count>,
    samples: Mutex<Samples>,
    /// Held while samples are taken.
    taking: Mutex<()>,
}

/// Counts; see [`Inspection::backlogs`](crate::store::Inspection::backlogs).
type Count = dyn Fn(&[QueueName], u64) -> Result<Vec<Option<Backlog>>, StoreError> + Send + Sync;

#[derive(Default)]
struct Samples {
    by_queue: HashMap<QueueName, Sample>,
    failure: Option<(Instant, StoreError)>,
    /// No long count is made before.
    long_counts_from: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Sample {
    /// It is new until then.
    keep_until: Instant,
    /// `None` where the queue has no tables.
    backlog: Option<Backlog>,
    /// The last long count, and when it was made.
    long: Option<(Instant, Backlog)>,
}

impl Backlogs {
    /// No samples yet.
    pub fn new(store: Arc<dyn Store>) -> Backlogs {
        Backlogs::counted_by(Box::new(move |queues, most| store.backlogs(queues, most)))
    }

    fn counted_by(count: Box<Count>) -> Backlogs {
        Backlogs { count, samples: Mutex::default(), taking: Mutex::default() }
    }

    /// The backlogs of these queues, in their order; `None` for one that has no tables. All that
    /// are not known yet are counted together, so that asking for many queues at once costs
    /// little more than for one. Waits for the store where a queue was not counted lately.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub fn of(&self, queues: &[QueueName]) -> Result<Vec<Option<Backlog>>, StoreError> {
        let now = Instant::now();
        if let Some(known) = self.samples().known(queues, |sample| sample.keep_until > now) {
            return Ok(known);
        }
        let taking = match self.taking.try_lock() {
            Ok(taking) => taking,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                let is_usable = |sample: &Sample| now < sample.keep_until + MAX_AGE;
                if let Some(known) = self.samples().known(queues, is_usable) {
                    return Ok(known);
                }
                self.taking.lock().unwrap_or_else(PoisonError::into_inner)
            }
        };
        let answer = self.take(queues);
        drop(taking);
        answer
    }

    /// The backlog of one queue. See [`of`](Backlogs::of).
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub fn of_queue(&self, queue: &QueueName) -> Result<Option<Backlog>, StoreError> {
        Ok(self.of(std::slice::from_ref(queue))?.first().copied().flatten())
    }

    /// Takes the samples that are not new, with `taking` held.
    fn take(&self, queues: &[QueueName]) -> Result<Vec<Option<Backlog>>, StoreError> {
        let start = Instant::now();
        let mut samples = self.samples();
        if let Some((at, error)) = &samples.failure
            && start.duration_since(*at) < FAILURE_MEMORY
        {
            return Err(error.clone());
        }
        let is_new = |sample: &Sample| sample.keep_until > start;
        let old: Vec<QueueName> = queues
            .iter()
            .filter(|queue| !samples.by_queue.get(*queue).is_some_and(is_new))
            .map(Arc::clone)
            .collect();
        drop(samples);
        let counted = (self.count)(&old, FIRST_COUNT);
        let taken = Instant::now();
        samples = self.samples();
        match counted {
            Ok(counted) => samples.keep(&old, &counted, taken, taken - start),
            Err(error) => {
                samples.failure = Some((taken, error.clone()));
                return Err(error);
            }
        }
        let large = samples.to_count_long(&old, taken);
        drop(samples);
        self.count_long(&large, taken);
        let samples = self.samples();
        Ok(queues.iter().map(|queue| samples.by_queue.get(queue)?.shown()).collect())
    }

    /// Counts those of these queues, one after the other, for which there is time.
    fn count_long(&self, queues: &[QueueName], start: Instant) {
        for queue in queues {
            for most in LONG_COUNTS {
                let counted = (self.count)(std::slice::from_ref(queue), most);
                let now = Instant::now();
                let mut samples = self.samples();
                samples.long_counts_from = Some(now + (now - start) * COST_FACTOR);
                let sample = samples.by_queue.get_mut(queue);
                let is_complete = match (counted.as_deref(), sample) {
                    (Ok([Some(backlog)]), Some(sample)) => {
                        sample.keep_long(now, *backlog, most);
                        largest(backlog) < most
                    }
                    (Ok(_), _) => true,
                    // What was counted before is shown.
                    (Err(error), _) => {
                        log::debug!(queue = &**queue; "cannot be counted: {error}");
                        true
                    }
                };
                if is_complete {
                    break;
                }
            }
            if start.elapsed() >= LONG_COUNTS_TIME {
                return;
            }
        }
    }

    fn samples(&self) -> MutexGuard<'_, Samples> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Samples {
    /// The backlogs of all these queues, if each has a sample that is good enough.
    fn known(
        &self,
        queues: &[QueueName],
        is_good: impl Fn(&Sample) -> bool,
    ) -> Option<Vec<Option<Backlog>>> {
        let sample = |queue| self.by_queue.get(queue).filter(|sample| is_good(sample));
        queues.iter().map(|queue| sample(queue).map(Sample::shown)).collect()
    }

    /// Keeps what was counted of these queues, which took `cost`.
    fn keep(
        &mut self,
        queues: &[QueueName],
        counted: &[Option<Backlog>],
        taken: Instant,
        cost: Duration,
    ) {
        let keep_until = taken + MIN_AGE.max(cost * COST_FACTOR);
        // Queues that nobody asks about any more may be gone.
        self.by_queue.retain(|_, sample| taken < sample.keep_until + MAX_AGE);
        for (queue, backlog) in queues.iter().zip(counted) {
            let long = self.by_queue.get(queue).and_then(|sample| sample.long);
            let sample = Sample { keep_until, backlog: *backlog, long };
            self.by_queue.insert(Arc::clone(queue), sample);
        }
        self.failure = None;
    }

    /// Those of these queues that have more than was counted, the one first whose last long count
    /// is oldest; none while it is too early.
    fn to_count_long(&self, queues: &[QueueName], now: Instant) -> Vec<QueueName> {
        if self.long_counts_from.is_some_and(|from| now < from) {
            return Vec::new();
        }
        let sample = |queue: &QueueName| self.by_queue.get(queue).filter(|s| s.is_large());
        let mut large: Vec<_> = queues
            .iter()
            .filter_map(|queue| Some((sample(queue)?.long.map(|(at, _)| at), Arc::clone(queue))))
            .collect();
        large.sort();
        large.into_iter().map(|(_, queue)| queue).collect()
    }
}

impl Sample {
    /// Whether a figure is larger than was counted at first.
    fn is_large(&self) -> bool {
        self.backlog.is_some_and(|backlog| largest(&backlog) >= FIRST_COUNT)
    }

    /// Keeps a long count that went up to `most`; where that was not enough, figures of an
    /// earlier one that went further stay.
    fn keep_long(&mut self, now: Instant, counted: Backlog, most: u64) {
        let before = self.long.map_or(counted, |(_, before)| before);
        self.long = Some((now, merged(counted, before, most)));
    }

    /// The first count, with the figures that it did not reach from the last long one.
    fn shown(&self) -> Option<Backlog> {
        let first = self.backlog?;
        Some(self.long.map_or(first, |(_, long)| merged(first, long, FIRST_COUNT)))
    }
}

/// The largest figure.
fn largest(backlog: &Backlog) -> u64 {
    let Backlog { waiting, deferred, running, failed, .. } = *backlog;
    waiting.max(deferred).max(running).max(failed)
}

/// The figures of `counted`, which went up to `most`; where that was not enough, those of `longer`.
fn merged(counted: Backlog, longer: Backlog, most: u64) -> Backlog {
    let figure =
        |counted: u64, longer: u64| if counted < most { counted } else { longer.max(counted) };
    Backlog {
        waiting: figure(counted.waiting, longer.waiting),
        deferred: figure(counted.deferred, longer.deferred),
        running: figure(counted.running, longer.running),
        failed: figure(counted.failed, longer.failed),
        ..counted
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use crossbeam_channel::bounded;

    use super::*;

    fn names(names: &[&str]) -> Vec<QueueName> {
        names.iter().map(|&name| name.into()).collect()
    }

    fn backlog(waiting: u64) -> Backlog {
        Backlog { waiting, ..Backlog::default() }
    }

    /// Answers how many queues have been counted before, and with that a number to each.
    fn counting() -> (Backlogs, Arc<AtomicU64>) {
        let calls = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&calls);
        let count = move |queues: &[QueueName], _| {
            let number = counted.fetch_add(1, Ordering::SeqCst);
            Ok(queues.iter().map(|queue| (&**queue != "gone").then(|| backlog(number))).collect())
        };
        (Backlogs::counted_by(Box::new(count)), calls)
    }

    #[test]
    fn a_sample_is_shared_by_all_who_ask() {
        let (backlogs, calls) = counting();
        let all = names(&["a", "b", "gone"]);
        assert_eq!(backlogs.of(&all), Ok(vec![Some(backlog(0)), Some(backlog(0)), None]));
        assert_eq!(backlogs.of(&all), Ok(vec![Some(backlog(0)), Some(backlog(0)), None]));
        assert_eq!(backlogs.of_queue(&"a".into()), Ok(Some(backlog(0))));
        assert_eq!(backlogs.of_queue(&"gone".into()), Ok(None));
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        // Only what is not known yet is counted.
        assert_eq!(backlogs.of(&names(&["c", "a"])), Ok(vec![Some(backlog(1)), Some(backlog(0))]));
        assert_eq!(backlogs.of(&[]), Ok(Vec::new()));
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn an_old_sample_is_taken_anew_and_shown_meanwhile() {
        let (release, released) = bounded::<()>(1);
        let (begin, begun) = bounded::<()>(1);
        let number = AtomicU64::new(0);
        let count = move |queues: &[QueueName], _| {
            let number = number.fetch_add(1, Ordering::SeqCst);
            if number > 0 {
                begin.send(()).unwrap();
                released.recv().unwrap();
            }
            Ok(vec![Some(backlog(number)); queues.len()])
        };
        let backlogs = Arc::new(Backlogs::counted_by(Box::new(count)));
        let queue: QueueName = "q".into();
        assert_eq!(backlogs.of_queue(&queue), Ok(Some(backlog(0))));
        backlogs.samples().by_queue.get_mut(&queue).unwrap().keep_until = Instant::now();
        let (its, name) = (Arc::clone(&backlogs), Arc::clone(&queue));
        let taker = std::thread::spawn(move || its.of_queue(&name));
        begun.recv().unwrap();
        assert_eq!(backlogs.of_queue(&queue), Ok(Some(backlog(0))));
        release.send(()).unwrap();
        assert_eq!(taker.join().unwrap(), Ok(Some(backlog(1))));
        assert_eq!(backlogs.of_queue(&queue), Ok(Some(backlog(1))));
    }

    #[test]
    fn a_costly_sample_is_kept_longer() {
        let count = |queues: &[QueueName], _| {
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(200) {
                std::thread::yield_now();
            }
            Ok(vec![Some(backlog(1)); queues.len()])
        };
        let backlogs = Backlogs::counted_by(Box::new(count));
        backlogs.of_queue(&"q".into()).unwrap();
        let kept = backlogs.samples().by_queue["q"].keep_until - Instant::now();
        assert!(kept > 2 * MIN_AGE, "{kept:?}");
    }

    #[test]
    fn a_failure_is_told_to_those_who_waited() {
        let calls = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&calls);
        let count = move |_: &[QueueName], _| {
            counted.fetch_add(1, Ordering::SeqCst);
            Err(StoreError::Unavailable("down".into()))
        };
        let backlogs = Backlogs::counted_by(Box::new(count));
        for _ in 0..2 {
            let answer = backlogs.of_queue(&"q".into());
            assert_eq!(answer, Err(StoreError::Unavailable("down".into())));
        }
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn large_figures_are_counted_again_in_a_part_of_the_time() {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let counted = Arc::clone(&calls);
        let count = move |queues: &[QueueName], most: u64| {
            counted.lock().unwrap().push((queues.to_vec(), most));
            let backlog = |queue: &QueueName| {
                let size = if &**queue == "small" { 9 } else { 123_456 };
                Some(Backlog { waiting: most.min(size), failed: 7, ..Backlog::default() })
            };
            Ok(queues.iter().map(backlog).collect())
        };
        let backlogs = Backlogs::counted_by(Box::new(count));
        let all = names(&["large", "small", "huge"]);
        let waiting = |backlogs: &Backlogs| -> Vec<u64> {
            let found = backlogs.of(&all).unwrap();
            found.into_iter().map(|backlog| backlog.unwrap().waiting).collect()
        };
        assert_eq!(waiting(&backlogs), [123_456, 9, 123_456]);
        let expected = [
            (all.clone(), FIRST_COUNT),
            (names(&["huge"]), LONG_COUNTS[0]),
            (names(&["huge"]), LONG_COUNTS[1]),
            (names(&["large"]), LONG_COUNTS[0]),
            (names(&["large"]), LONG_COUNTS[1]),
        ];
        assert_eq!(*calls.lock().unwrap(), expected);
        // What is not counted again for now is shown as it was.
        let mut samples = backlogs.samples();
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(60));
        samples.long_counts_from = Some(later);
        samples.by_queue.values_mut().for_each(|sample| sample.keep_until = now);
        drop(samples);
        assert_eq!(waiting(&backlogs), [123_456, 9, 123_456]);
        assert_eq!(calls.lock().unwrap().len(), 6);
    }

    #[test]
    fn a_store_too_slow_for_long_counts_tells_what_it_can() {
        let count = |queues: &[QueueName], most: u64| {
            if most > LONG_COUNTS[0] {
                return Err(StoreError::Unavailable("too slow".into()));
            }
            Ok(vec![Some(backlog(most)); queues.len()])
        };
        let backlogs = Backlogs::counted_by(Box::new(count));
        assert_eq!(backlogs.of_queue(&"q".into()), Ok(Some(backlog(LONG_COUNTS[0]))));
    }

    #[test]
    fn a_shorter_count_does_not_hide_a_longer_one() {
        let (now, figures) =
            (Instant::now(), |waiting, failed| Backlog { waiting, failed, ..Backlog::default() });
        let mut sample = Sample { keep_until: now, backlog: Some(figures(10_000, 5)), long: None };
        assert_eq!(sample.shown(), Some(figures(10_000, 5)));
        sample.keep_long(now, figures(500_000, 9), MAX_COUNTED);
        assert_eq!(sample.shown(), Some(figures(500_000, 5)));
        sample.keep_long(now, figures(100_000, 9), LONG_COUNTS[0]);
        assert_eq!(sample.shown(), Some(figures(500_000, 5)));
        sample.keep_long(now, figures(70_000, 9), LONG_COUNTS[0]);
        assert_eq!(sample.shown(), Some(figures(70_000, 5)));
    }
}
