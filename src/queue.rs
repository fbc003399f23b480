//! One running queue: its definition, its counters, its threads, its stop.
//!
//! The thread `poll-Q` holds the lease, grabs due jobs and feeds a channel; the threads
//! `work-Q-N`, started as needed, take a job each, deliver it and hand the outcome to the
//! settler. A queue never touches another one.

mod express;
mod limiter;
mod poller;
mod stats;
mod worker;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_channel::{Receiver, unbounded};

use crate::dispatch::Dispatcher;
use crate::job::{Job, JobId, NewJob};
use crate::logs::{QueueEntry, QueueLog};
use crate::metrics::QueueMetrics;
use crate::queue_definition::{QueueDefaults, QueueDefinition};
use crate::settler::SettlerHandle;
use crate::store::{Lease, Pushed, QueueName, Store, Token};
use crate::threads;
use crate::wake::Wake;
use express::Lane;
use limiter::Limiter;
use stats::Stats;
pub use stats::StatsView;
use worker::Workers;

/// Jobs tried whose outcome is not stored yet, beyond which nothing is grabbed.
const MAX_UNSETTLED: usize = 2000;

/// What every queue works with.
#[derive(Clone)]
pub struct Services {
    /// Where the jobs are.
    pub store: Arc<dyn Store>,
    /// Delivers them.
    pub dispatcher: Arc<Dispatcher>,
    /// Takes their outcomes.
    pub settler: SettlerHandle,
    /// Gets a line for each of their steps.
    pub queue_log: Arc<QueueLog>,
    /// For definitions of older databases that leave something open.
    pub defaults: QueueDefaults,
}

/// A running queue.
pub struct Queue {
    shared: Arc<Shared>,
    poller: Mutex<Option<JoinHandle<()>>>,
}

/// What the threads of a queue share.
struct Shared {
    name: QueueName,
    services: Services,
    definition: RwLock<QueueDefinition>,
    stats: Stats,
    metrics: QueueMetrics,
    limiter: Limiter,
    /// The jobs grabbed by this process and not settled yet.
    in_hand: Mutex<HashMap<JobId, Hold>>,
    /// Grabbed jobs that wait for a worker. Bounded by what the poller grabs.
    orders: Receiver<Order>,
    workers: Workers,
    lane: Lane,
    /// How many jobs may wait for a worker, by the workers' pace; set by the poller.
    ahead: AtomicUsize,
    /// Jobs given to the workers and not finished by them: those that wait for one as well.
    handed: AtomicUsize,
    /// Jobs that workers are busy with, as far as they have told.
    running: AtomicUsize,
    /// Jobs that workers have finished since the start: the queue's pace.
    finished: AtomicUsize,
    /// The poller waits until no more than this many jobs are [`surplus`](Shared::surplus);
    /// `usize::MAX` while it waits for nothing.
    low_mark: AtomicUsize,
    /// The lease, while this node is primary. The poller may be late to notice its end, since it
    /// may be waiting for the store; the lease itself is not.
    lease: Mutex<Option<Arc<dyn Lease>>>,
    stopping: AtomicBool,
    /// After a stop was begun: whether what was not started has been put back.
    put_back: (Mutex<bool>, Condvar),
    wake: Wake,
}

/// For which try a job is in hand.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Hold {
    token: Token,
    fail_count: u32,
}

impl Hold {
    fn of(job: &Job, token: Token) -> Hold {
        Hold { token, fail_count: job.fail_count }
    }
}

/// A job in hand and the lease under which it was grabbed.
struct Grabbed {
    job: Job,
    lease: Arc<dyn Lease>,
}

/// What a worker is told.
enum Order {
    Work(Grabbed),
    /// To end, if there are more workers than there may be.
    Leave,
}

impl Queue {
    /// Starts the queue's poller, which stands for its lease once `predecessor`, a queue of the
    /// same name that was told to stop, has ended its running jobs.
    ///
    /// # Errors
    /// The system does not give a thread.
    pub fn start(
        definition: QueueDefinition,
        services: Services,
        predecessor: Option<Arc<Queue>>,
    ) -> io::Result<Queue> {
        let (wake, woken) = Wake::channel();
        let (sender, orders) = unbounded();
        let name: QueueName = definition.name.as_str().into();
        let shared = Arc::new(Shared {
            name: Arc::clone(&name),
            limiter: Limiter::new(&definition),
            definition: RwLock::new(definition),
            services,
            stats: Stats::new(),
            metrics: QueueMetrics::new(),
            in_hand: Mutex::new(HashMap::new()),
            orders,
            workers: Workers::new(),
            lane: Lane::new(sender),
            ahead: AtomicUsize::new(0),
            handed: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            finished: AtomicUsize::new(0),
            low_mark: AtomicUsize::new(usize::MAX),
            lease: Mutex::new(None),
            stopping: AtomicBool::new(false),
            put_back: (Mutex::new(false), Condvar::new()),
            wake,
        });
        let its = Arc::clone(&shared);
        let poller = threads::spawn(format!("poll-{name}"), move || {
            poller::run(&its, predecessor, &woken);
        })?;
        Ok(Queue { shared, poller: Mutex::new(Some(poller)) })
    }

    /// The queue's name.
    pub fn name(&self) -> &QueueName {
        &self.shared.name
    }

    /// Takes over a changed definition. Running jobs are not disturbed.
    pub fn redefine(&self, definition: QueueDefinition) {
        self.shared.limiter.redefine(&definition);
        *self.shared.definition.write().unwrap_or_else(PoisonError::into_inner) = definition;
        // More workers may be allowed than before, and a job may wait for one; or fewer, and some
        // that idle would take the next jobs.
        self.shared.workers.start_for_waiting(&self.shared);
        self.shared.workers.dismiss_surplus(&self.shared);
        self.shared.wake.wake();
    }

    /// To be told of each job that was stored in this queue: counts it, logs it, and wakes the
    /// poller if it is due at once.
    pub fn note_push(&self, job: &NewJob, pushed: &Pushed) {
        self.shared.stats.pushes.add(1);
        let (created_at_ms, next_try_ms) = (pushed.created_at_ms, pushed.next_try_ms);
        let name = &self.shared.name;
        self.shared.services.queue_log.write(&QueueEntry::pushed(
            name,
            job,
            pushed.id,
            created_at_ms,
            next_try_ms,
        ));
        if job.run_after_s == 0 && !pushed.is_grabbed {
            self.shared.wake.wake();
        }
    }

    /// The counters now.
    pub fn stats(&self) -> StatsView {
        self.shared.stats_view()
    }

    /// What is counted beside [`stats`](Queue::stats).
    pub fn metrics(&self) -> &QueueMetrics {
        &self.shared.metrics
    }

    /// Jobs that workers are busy with.
    pub fn running(&self) -> usize {
        self.shared.running.load(Ordering::Relaxed)
    }

    /// Jobs grabbed by this process whose outcome is not stored yet.
    pub fn in_hand(&self) -> usize {
        self.shared.in_hand().len()
    }

    /// Begins the stop: nothing more is grabbed or started, what was not started goes back to
    /// waiting, running jobs end, then the lease is given up.
    pub fn begin_stop(&self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.shared.wake.wake();
    }

    /// Waits until a stop that was begun has put back what was not started, but not beyond
    /// `deadline`.
    pub fn wait_for_put_back(&self, deadline: Instant) {
        let (is_done, changed) = &self.shared.put_back;
        let guard = is_done.lock().unwrap_or_else(PoisonError::into_inner);
        let left = deadline.saturating_duration_since(Instant::now());
        let _ = changed.wait_timeout_while(guard, left, |is_done| !*is_done);
    }

    /// Waits until a stop that was begun has ended; answers whether it did by `deadline`. If it
    /// did not, that may be asked again.
    pub fn join(&self, deadline: Instant) -> bool {
        let mut poller = self.poller.lock().unwrap_or_else(PoisonError::into_inner);
        if poller.as_ref().is_some_and(|thread| !threads::ends_by(thread, deadline)) {
            return false;
        }
        poller.take().is_none_or(|thread| thread.join().is_ok())
    }

    /// Whether a stop that was begun has ended.
    pub fn has_stopped(&self) -> bool {
        let poller = self.poller.lock().unwrap_or_else(PoisonError::into_inner);
        poller.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Shared {
    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// The limits in force: polling interval in milliseconds, workers.
    fn limits(&self) -> (u32, usize) {
        let definition = self.definition.read().unwrap_or_else(PoisonError::into_inner);
        let defaults = &self.services.defaults;
        let or = |value: u32, default: u32| if value == 0 { default } else { value };
        let workers = or(definition.max_workers, defaults.max_workers);
        (or(definition.polling_interval_ms, defaults.polling_interval_ms), workers as usize)
    }

    /// Of `handed` jobs those for which there is no worker, even once all have been started.
    fn surplus(&self, handed: usize) -> usize {
        handed.saturating_sub(self.limits().1)
    }

    fn is_primary(&self) -> bool {
        self.lease().as_ref().is_some_and(|lease| lease.is_held())
    }

    fn lease(&self) -> MutexGuard<'_, Option<Arc<dyn Lease>>> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_throttled(&self) -> bool {
        self.definition.read().unwrap_or_else(PoisonError::into_inner).is_throttled()
    }

    fn in_hand(&self) -> MutexGuard<'_, HashMap<JobId, Hold>> {
        self.in_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets a job that was settled or put back, if it is still the one that is meant: one
    /// grabbed again meanwhile, under a newer token or for a later try, stays.
    fn forget(&self, id: JobId, is_meant: impl Fn(&Hold) -> bool) {
        let mut in_hand = self.in_hand();
        if in_hand.get(&id).is_some_and(is_meant) {
            in_hand.remove(&id);
        }
        drop(in_hand);
        if self.is_stopping() || self.low_mark.load(Ordering::SeqCst) != usize::MAX {
            self.wake.wake();
        }
    }

    /// Puts a job that was grabbed and not started back to waiting.
    fn put_back(&self, lease: &dyn Lease, ids: &[JobId]) {
        if let Err(error) = lease.put_back(ids) {
            // Nothing is lost: the next primary puts back what nobody has in hand.
            log::warn!(
                queue = &*self.name;
                "{} jobs stay grabbed until a primary recovers them: {error}",
                ids.len()
            );
        }
        let token = lease.token();
        ids.iter().for_each(|id| self.forget(*id, |held| held.token == token));
    }

    fn stats_view(&self) -> StatsView {
        let mut view = self.stats.view();
        if self.is_primary() {
            let total = self.limits().1 as u64;
            let running = self.running.load(Ordering::Relaxed) as u64;
            view.active_nodes = 1;
            view.outstanding_jobs = self.orders.len() as u64;
            view.total_workers = total;
            view.idle_workers = total.saturating_sub(running);
        }
        view
    }
}
