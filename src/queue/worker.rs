//! The threads `work-Q-N`: each takes a grabbed job, looks whether the lease still stands,
//! delivers the job and hands the outcome to the settler. A worker never touches the store
//! but to put back a job that it must not start, or that a stop has cut off.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;

use super::{Grabbed, Hold, Order, Shared};
use crate::clock;
use crate::job::{Job, Outcome, OutcomeStatus, Verdict, verdict};
use crate::logs::QueueEntry;
use crate::store::{Settled, Settlement, Step, Token};
use crate::threads;

/// A worker that has had nothing to do for this long ends.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// The workers of a queue, started when first needed.
pub(super) struct Workers {
    threads: Mutex<Threads>,
    /// Numbers the threads' names.
    next_number: AtomicU64,
}

struct Threads {
    handles: Vec<JoinHandle<()>>,
    /// Those that have not decided to end.
    live: usize,
}

impl Workers {
    pub(super) fn new() -> Workers {
        let threads = Threads { handles: Vec::new(), live: 0 };
        Workers { threads: Mutex::new(threads), next_number: AtomicU64::new(1) }
    }

    /// Starts workers until there is one for each job that runs or waits, or as many as the
    /// queue may have.
    pub(super) fn start_for_waiting(&self, queue: &Arc<Shared>) {
        let (_, max_workers) = queue.limits();
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = queue.handed.load(Ordering::SeqCst);
        while threads.live < wanted.min(max_workers) {
            let number = self.next_number.fetch_add(1, Ordering::Relaxed);
            let its = Arc::clone(queue);
            let name = format!("work-{}-{number}", queue.name);
            match threads::spawn(name, move || run(&its)) {
                Ok(handle) => threads.handles.push(handle),
                Err(error) => {
                    // Those that live go on; the next grab tries again.
                    log::error!(queue = &*queue.name; "cannot start a worker: {error}");
                    return;
                }
            }
            threads.live += 1;
        }
    }

    /// Whether the calling worker, which is idle, should end: nothing waits, and no job can slip
    /// in between, since [`start_for_waiting`](Workers::start_for_waiting) looks under the same
    /// lock after it was sent.
    fn may_end(&self, queue: &Shared) -> bool {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let surplus = threads.live > queue.limits().1;
        if surplus || queue.orders.is_empty() {
            threads.live -= 1;
            threads.handles.retain(|handle| !handle.is_finished());
            return true;
        }
        false
    }

    /// Ends those beyond what the queue may have now: who idles at once, who works after its job.
    pub(super) fn dismiss_surplus(&self, queue: &Shared) {
        let live = self.threads.lock().unwrap_or_else(PoisonError::into_inner).live;
        queue.lane.dismiss(live.saturating_sub(queue.limits().1));
    }

    /// Waits until all have ended, after the channel was closed.
    pub(super) fn join(&self) {
        let handles = {
            let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut threads.handles)
        };
        for handle in handles {
            // A worker that panicked has ended as well, and was reported.
            let _ = handle.join();
        }
    }

    fn are_too_many(&self, queue: &Shared) -> bool {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.live > queue.limits().1
    }
}

fn run(queue: &Arc<Shared>) {
    loop {
        match queue.orders.recv_timeout(IDLE_TIMEOUT) {
            Ok(Order::Work(grabbed)) => {
                queue.running.fetch_add(1, Ordering::Relaxed);
                work(queue, grabbed);
                queue.running.fetch_sub(1, Ordering::Relaxed);
                queue.finished.fetch_add(1, Ordering::Relaxed);
                let handed = queue.handed.fetch_sub(1, Ordering::SeqCst) - 1;
                tell_poller(queue, handed);
            }
            Ok(Order::Leave) => {}
            Err(RecvTimeoutError::Timeout) => {
                if queue.workers.may_end(queue) {
                    return;
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if queue.workers.are_too_many(queue) && queue.workers.may_end(queue) {
            return;
        }
    }
}

/// Wakes the poller where it waits for room and there is some, since only `handed` jobs are left.
fn tell_poller(queue: &Shared, handed: usize) {
    let low_mark = queue.low_mark.load(Ordering::SeqCst);
    if low_mark != usize::MAX && queue.surplus(handed) <= low_mark {
        queue.low_mark.store(usize::MAX, Ordering::SeqCst);
        queue.wake.wake();
    }
}

fn work(queue: &Arc<Shared>, grabbed: Grabbed) {
    let Grabbed { job, lease } = grabbed;
    let token = lease.token();
    let give_up = || queue.is_stopping() || !lease.is_held();
    if !queue.limiter.acquire(&give_up) {
        if lease.is_held() {
            queue.put_back(&*lease, &[job.id]);
        } else {
            // Not ours any more: whoever is primary now puts the row back.
            queue.forget(job.id, |held| held.token == token);
        }
        return;
    }
    let dispatcher = &queue.services.dispatcher;
    let sent_at = queue.metrics.sent(job.next_try_ms);
    // Whatever a worker's answer does to the code that reads it, the job must not be lost.
    let outcome = catch_unwind(AssertUnwindSafe(|| dispatcher.post(&queue.name, &job)))
        .unwrap_or_else(|panic| Outcome {
            status: OutcomeStatus::InternalFailure,
            code: 0,
            message: format!("Request failed: {}", threads::panic_text(&*panic)),
        });
    queue.metrics.answered(sent_at, &outcome);
    if dispatcher.may_have_cut_off(&outcome) {
        // The job has not failed: its try was ended here. It keeps its tries and runs again.
        return queue.put_back(&*lease, &[job.id]);
    }
    settle(queue, job, token, outcome);
}

fn settle(queue: &Arc<Shared>, job: Job, token: Token, outcome: Outcome) {
    let verdict = verdict(&outcome, &job);
    let step = match verdict {
        Verdict::Complete => Step::Complete,
        Verdict::Retry => Step::Retry,
        Verdict::Fail => Step::Fail(outcome.to_json()),
    };
    let settlement = Settlement {
        queue: Arc::clone(&queue.name),
        job_id: job.id,
        created_at_ms: job.created_at_ms,
        token,
        fail_count: job.fail_count,
        step,
    };
    let its = Arc::clone(queue);
    let done = Box::new(move |settled| {
        its.note_settled(&job, &outcome, verdict, settled);
        // Under its token the same job may be in hand again, for the next try.
        let hold = Hold::of(&job, token);
        its.forget(job.id, |held| *held == hold);
    });
    queue.services.settler.settle(settlement, done);
}

impl Shared {
    /// Counts and logs a job whose outcome was stored.
    fn note_settled(&self, job: &Job, outcome: &Outcome, verdict: Verdict, settled: Settled) {
        if settled == Settled::Gone {
            self.metrics.lost.add(1);
            log::warn!(
                queue = &*self.name;
                "job {} had another owner or was deleted when its outcome came",
                job.id
            );
        }
        let elapsed_ms = clock::now_ms().saturating_sub(job.created_at_ms);
        match verdict {
            Verdict::Complete => self.stats.count_success(elapsed_ms),
            Verdict::Retry => self.stats.count_failure(false, elapsed_ms),
            Verdict::Fail => self.stats.count_failure(true, elapsed_ms),
        }
        self.metrics.settled(verdict, elapsed_ms);
        self.services.queue_log.write(&QueueEntry::tried(&self.name, job, outcome, verdict));
    }
}
