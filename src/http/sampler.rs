//! The backlogs of all queues as `/metrics` tells them, without waiting long for the store.
//!
//! The thread `backlogs` counts whenever somebody asks, and every few seconds as long as somebody
//! asks now and then. Who asks waits a moment for the new count, and gets the last one if the store
//! takes longer, as long as that one still says something.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::store::{Backlog, QueueName, StoreError};
use crate::wake::Wake;

/// How long who asks waits for a new count where there is none yet.
const PATIENCE: Duration = Duration::from_secs(1);
/// And where there is one: a scrape of hundreds of queues is over sooner than they are counted.
const SHORT_PATIENCE: Duration = Duration::from_millis(10);
/// How often is counted while somebody asks now and then, so that the last count is a recent one.
const COUNT_EVERY: Duration = Duration::from_secs(5);
/// How old a count may be that is still told.
const MAX_AGE: Duration = Duration::from_secs(60);

/// Counts, and remembers the last one.
pub(super) struct Sampler {
    state: Mutex<State>,
    changed: Condvar,
    /// `None` after the close.
    wake: Mutex<Option<Wake>>,
    woken: Receiver<()>,
}

#[derive(Default)]
struct State {
    /// How often was counted, or tried.
    turns: u64,
    last: Option<Sample>,
    asked_at: Option<Instant>,
}

impl State {
    /// The last count, as long as it says something.
    fn current(&self) -> Option<&Sample> {
        self.last.as_ref().filter(|sample| sample.at.elapsed() <= MAX_AGE)
    }
}

/// What was counted.
#[derive(Clone)]
pub(super) struct Sample {
    pub(super) at: Instant,
    /// The queues that have tables.
    pub(super) backlogs: Vec<(QueueName, Backlog)>,
}

impl Sampler {
    pub(super) fn new() -> Sampler {
        let (wake, woken) = Wake::channel();
        let wake = Mutex::new(Some(wake));
        Sampler { state: Mutex::default(), changed: Condvar::new(), wake, woken }
    }

    /// Counts by `count` until the close. Runs on a thread of its own.
    pub(super) fn run(&self, count: impl Fn() -> Result<Vec<(QueueName, Backlog)>, StoreError>) {
        while self.wait() {
            let counted = count();
            let mut state = self.state();
            state.turns += 1;
            // A failure is the store's, which says so itself.
            if let Ok(backlogs) = counted {
                state.last = Some(Sample { at: Instant::now(), backlogs });
            }
            drop(state);
            self.changed.notify_all();
        }
    }

    /// Waits until there is a reason to count; answers whether there will be others.
    fn wait(&self) -> bool {
        let is_asked =
            |asked_at: Option<Instant>| asked_at.is_some_and(|at| at.elapsed() < MAX_AGE);
        if is_asked(self.state().asked_at) {
            self.woken.recv_timeout(COUNT_EVERY) != Err(RecvTimeoutError::Disconnected)
        } else {
            self.woken.recv().is_ok()
        }
    }

    /// The backlogs now, or a little ago; `None` if the store has not told them for long.
    pub(super) fn latest(&self) -> Option<Sample> {
        let has_current = self.state().current().is_some();
        self.latest_within(if has_current { SHORT_PATIENCE } else { PATIENCE })
    }

    fn latest_within(&self, patience: Duration) -> Option<Sample> {
        let mut state = self.state();
        state.asked_at = Some(Instant::now());
        let turns = state.turns;
        self.wake.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.wake();
        let (state, _) = self
            .changed
            .wait_timeout_while(state, patience, |state| state.turns == turns)
            .unwrap_or_else(PoisonError::into_inner);
        state.current().cloned()
    }

    /// Ends [`run`](Sampler::run).
    pub(super) fn close(&self) {
        self.wake.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::unbounded;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn who_asks_gets_a_new_count_and_the_last_one_while_the_store_is_away() {
        let sampler = Sampler::new();
        let (tell, told) = unbounded();
        std::thread::scope(|scope| {
            scope.spawn(|| sampler.run(|| told.recv().unwrap()));
            assert!(sampler.latest_within(Duration::from_millis(1)).is_none());
            let backlog = |waiting| Backlog { waiting, ..Backlog::default() };
            let waiting = |sample: Option<Sample>| sample.unwrap().backlogs[0].1.waiting;
            tell.send(Ok(vec![("q".into(), backlog(7))])).unwrap();
            // The first count may end before the second is asked for, or be what is waited for.
            tell.send(Ok(vec![("q".into(), backlog(7))])).unwrap();
            assert_eq!(waiting(sampler.latest_within(LONG)), 7);
            let away = || Err(StoreError::Unavailable("away".into()));
            (0..2).for_each(|_| tell.send(away()).unwrap());
            assert_eq!(waiting(sampler.latest_within(LONG)), 7);
            assert_eq!(waiting(sampler.latest_within(Duration::from_millis(1))), 7);
            (0..4).for_each(|_| tell.send(away()).unwrap());
            sampler.close();
        });
        assert!(sampler.latest_within(LONG).is_none(), "a closed one waits for nobody");
    }
}
