//! The thread `poll-Q`: stands for the queue's lease and, while it holds it, grabs due jobs and
//! feeds the workers. It alone grabs and recovers, so that what it grabs is always known before
//! it looks for rows that nobody knows.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use super::{Hold, MAX_UNSETTLED, Order, Queue, Shared};
use crate::job::{Job, JobId};
use crate::metrics::STORE;
use crate::store::{Campaign, Lease, StoreError};
use crate::threads;

/// How often rows that nobody works on are looked for.
const RECOVERY_INTERVAL: Duration = Duration::from_secs(3);
/// How long a node that is not primary sleeps, unless the lease is granted.
const BACKUP_WAIT: Duration = Duration::from_secs(1);
/// How often a queue that was defined again looks whether its predecessor has ended.
const PREDECESSOR_LOOK: Duration = Duration::from_millis(50);
/// What is grabbed beyond the free workers is what they will have started after this time, by
/// the queue's pace: enough to keep fast workers busy, next to nothing for slow ones.
const AHEAD: Duration = Duration::from_millis(50);
/// The most that is grabbed ahead.
const MAX_AHEAD: usize = 256;
/// How long the pace is measured before it counts.
const PACE_WINDOW: Duration = Duration::from_millis(50);

pub(super) fn run(queue: &Arc<Shared>, predecessor: Option<Arc<Queue>>, woken: &Receiver<()>) {
    while predecessor.as_ref().is_some_and(|queue| !queue.has_stopped()) && !queue.is_stopping() {
        let _ = woken.recv_timeout(PREDECESSOR_LOOK);
    }
    drop(predecessor);
    let campaign = queue.services.store.campaign(&queue.name, queue.wake.clone());
    let mut poller = Poller {
        queue,
        lease: None,
        next_recovery: Instant::now(),
        pace: Pace { since: Instant::now(), finished: 0, ahead: 0 },
        store_is_well: true,
        was_idle: false,
    };
    while !queue.is_stopping() {
        poller.follow(&*campaign);
        let until = Instant::now() + poller.serve();
        if threads::wait(|| woken.recv_deadline(until)).is_ok() {
            poller.was_idle = false;
        }
    }
    threads::wait(|| poller.stop(woken));
    queue.lease().take();
    // The lease goes last: until here no other node may run this queue's jobs.
    drop(campaign);
}

struct Poller<'a> {
    queue: &'a Arc<Shared>,
    lease: Option<Arc<dyn Lease>>,
    next_recovery: Instant,
    pace: Pace,
    /// So that an outage is logged when it begins, not at each poll.
    store_is_well: bool,
    /// Whether the last grab found nothing, and nobody has said since that there is something.
    was_idle: bool,
}

/// How fast the workers are.
struct Pace {
    since: Instant,
    finished: usize,
    ahead: usize,
}

impl Poller<'_> {
    /// Notices that the lease was granted or lost.
    fn follow(&mut self, campaign: &dyn Campaign) {
        let lease = campaign.lease().filter(|lease| lease.is_held());
        let token = |lease: &Option<Arc<dyn Lease>>| lease.as_ref().map(|lease| lease.token());
        if token(&lease) != token(&self.lease) {
            // Rows of the former primary are put back before anything is grabbed.
            self.next_recovery = Instant::now();
            self.queue.lane.shut();
            self.queue.lease().clone_from(&lease);
            let was_primary = std::mem::replace(&mut self.lease, lease).is_some();
            match (was_primary, self.lease.is_some()) {
                (_, true) => log::info!(queue = &*self.queue.name; "this node is primary"),
                (true, false) => log::warn!(queue = &*self.queue.name; "no longer primary"),
                (false, false) => {}
            }
        }
    }

    /// Recovers, grabs as much as there is room for, and answers how long to sleep unless woken.
    fn serve(&mut self) -> Duration {
        let Some(lease) = self.lease.clone() else { return BACKUP_WAIT };
        let interval = Duration::from_millis(u64::from(self.queue.limits().0));
        match self.recover_and_grab(&lease) {
            Ok(()) => {
                if !self.store_is_well {
                    log::info!(queue = &*self.queue.name; "jobs can be grabbed again");
                    self.store_is_well = true;
                }
            }
            Err(error) => {
                if self.store_is_well && lease.is_held() {
                    log::warn!(queue = &*self.queue.name; "cannot grab jobs: {error}");
                    self.store_is_well = false;
                }
                // What was grabbed with its reply lost is not known here.
                self.next_recovery = Instant::now();
            }
        }
        interval
    }

    fn recover_and_grab(&mut self, lease: &Arc<dyn Lease>) -> Result<(), StoreError> {
        let queue = self.queue;
        // What goes express is not in hand yet, and would be taken for nobody's. Where some is on
        // its way, this thread is woken when it has arrived.
        if Instant::now() >= self.next_recovery && queue.lane.shut() {
            let known =
                |id: JobId, token| queue.in_hand().get(&id).is_some_and(|held| held.token == token);
            let recovered = threads::wait(|| lease.recover(&known))
                .inspect_err(|_| STORE.recover_errors.add(1))?;
            if recovered > 0 {
                log::warn!(queue = &*queue.name; "{recovered} jobs put back to waiting");
                self.was_idle = false;
            }
            self.next_recovery = Instant::now() + RECOVERY_INTERVAL;
            queue.lane.open();
        }
        let max_age = Duration::from_millis(u64::from(queue.limits().0) / 2);
        if self.was_idle && !threads::wait(|| lease.may_grab(max_age)) {
            return Ok(());
        }
        loop {
            let room = self.room();
            if room == 0 {
                // Told by a worker when there is room again, unless that has happened by now.
                let low_mark = self.pace.ahead / 2;
                queue.low_mark.store(low_mark, Ordering::SeqCst);
                if self.room() == 0 {
                    return Ok(());
                }
                continue;
            }
            queue.low_mark.store(usize::MAX, Ordering::SeqCst);
            if queue.is_stopping() || !lease.is_held() {
                return Ok(());
            }
            let jobs =
                threads::wait(|| lease.grab(room)).inspect_err(|_| STORE.grab_errors.add(1))?;
            let grabbed = jobs.len();
            self.was_idle = grabbed == 0;
            self.hand_out(lease, jobs);
            if grabbed < room {
                return Ok(());
            }
        }
    }

    /// How many jobs to grab now: free workers, and what they can soon start. None while enough
    /// wait for a worker, so that rows are grabbed many at a time.
    fn room(&mut self) -> usize {
        let queue = self.queue;
        let (_, max_workers) = queue.limits();
        let ahead = if queue.is_throttled() { 0 } else { self.pace.ahead(queue, max_workers) };
        queue.ahead.store(ahead, Ordering::Relaxed);
        // In this order: what is handed over in between counts twice, and never not at all.
        let reserved = queue.lane.reserved();
        let taken = reserved + queue.handed.load(Ordering::SeqCst);
        let unsettled = queue.in_hand().len().saturating_sub(taken);
        if queue.surplus(taken) > ahead / 2 || unsettled > MAX_UNSETTLED {
            return 0;
        }
        (max_workers + ahead).saturating_sub(taken)
    }

    fn hand_out(&self, lease: &Arc<dyn Lease>, jobs: Vec<Job>) {
        let queue = self.queue;
        if jobs.is_empty() {
            return;
        }
        queue.stats.pops.add(jobs.len() as u64);
        let token = lease.token();
        queue.in_hand().extend(jobs.iter().map(|job| (job.id, Hold::of(job, token))));
        for job in jobs {
            queue.hand_on(lease, job);
        }
        queue.workers.start_for_waiting(queue);
    }

    /// Puts back what was not started, lets the workers end what runs, and waits until every
    /// outcome is stored.
    fn stop(self, woken: &Receiver<()>) {
        let queue = self.queue;
        while !queue.lane.shut() {
            let _ = threads::wait(|| woken.recv_timeout(BACKUP_WAIT));
        }
        queue.lane.end();
        let mut unstarted: Vec<(Arc<dyn Lease>, Vec<JobId>)> = Vec::new();
        for order in queue.orders.try_iter() {
            let Order::Work(grabbed) = order else { continue };
            let same = |lease: &Arc<dyn Lease>| lease.token() == grabbed.lease.token();
            match unstarted.iter_mut().find(|(lease, _)| same(lease)) {
                Some((_, ids)) => ids.push(grabbed.job.id),
                None => unstarted.push((grabbed.lease, vec![grabbed.job.id])),
            }
        }
        for (lease, ids) in &unstarted {
            queue.put_back(&**lease, ids);
        }
        let (is_done, changed) = &queue.put_back;
        *is_done.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
        queue.workers.join();
        while !queue.in_hand().is_empty() {
            // Each outcome that is stored wakes this thread.
            let _ = woken.recv_timeout(BACKUP_WAIT);
        }
    }
}

impl Pace {
    /// How many jobs the workers finish within [`AHEAD`], by what was seen lately.
    fn ahead(&mut self, queue: &Shared, max_workers: usize) -> usize {
        let passed = self.since.elapsed();
        if passed >= PACE_WINDOW {
            let finished = queue.finished.load(Ordering::Relaxed);
            let count = finished.wrapping_sub(self.finished) as u128;
            let ahead = count * AHEAD.as_micros() / passed.as_micros().max(1);
            // A queue whose workers take longer than this finishes less than its workers in that
            // time, and gains nothing from jobs grabbed ahead.
            self.ahead = usize::try_from(ahead).unwrap_or(MAX_AHEAD).min(MAX_AHEAD);
            if self.ahead < max_workers {
                self.ahead = 0;
            }
            self.since = Instant::now();
            self.finished = finished;
        }
        self.ahead
    }
}
