//! How much there is to do in each queue, for those who look often: consoles, metrics.
//!
//! Counting costs the store a walk along an index, bounded by
//! [`MAX_COUNTED`](crate::store::MAX_COUNTED). So a sample is shared by all who ask: it is kept for
//! a second, or for twenty times as long as it took to take, whichever is more, so that counting
//! never takes more than a twentieth of one session's time, however many consoles are open. One
//! thread at a time takes samples, the first that asks for an old one; meanwhile the others get the
//! old one, unless they have none. No thread belongs to this module.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use crate::store::{Backlog, QueueName, Store, StoreError};

/// How long a sample is kept at least.
const MIN_AGE: Duration = Duration::from_secs(1);
/// How many times longer than it took a sample is kept.
const COST_FACTOR: u32 = 20;
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
type Count = dyn Fn(&[QueueName]) -> Result<Vec<Option<Backlog>>, StoreError> + Send + Sync;

#[derive(Default)]
struct Samples {
    by_queue: HashMap<QueueName, Sample>,
    failure: Option<(Instant, StoreError)>,
}

#[derive(Clone, Copy)]
struct Sample {
    /// It is new until then.
    keep_until: Instant,
    /// `None` where the queue has no tables.
    backlog: Option<Backlog>,
}

impl Backlogs {
    /// No samples yet.
    pub fn new(store: Arc<dyn Store>) -> Backlogs {
        Backlogs::counted_by(Box::new(move |queues| store.backlogs(queues)))
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
        let counted = (self.count)(&old);
        let taken = Instant::now();
        let keep_until = taken + MIN_AGE.max((taken - start) * COST_FACTOR);
        samples = self.samples();
        match counted {
            Ok(counted) => {
                // Queues that nobody asks about any more may be gone.
                samples.by_queue.retain(|_, sample| taken < sample.keep_until + MAX_AGE);
                let counted = counted.into_iter().map(|backlog| Sample { keep_until, backlog });
                samples.by_queue.extend(old.into_iter().zip(counted));
                samples.failure = None;
            }
            Err(error) => {
                samples.failure = Some((taken, error.clone()));
                return Err(error);
            }
        }
        Ok(queues.iter().map(|queue| samples.by_queue.get(queue)?.backlog).collect())
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
        queues.iter().map(|queue| sample(queue).map(|sample| sample.backlog)).collect()
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
        let count = move |queues: &[QueueName]| {
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
        let count = move |queues: &[QueueName]| {
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
        let count = |queues: &[QueueName]| {
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
        let count = move |_: &[QueueName]| {
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
}
