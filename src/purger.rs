//! Keeps the failure logs from growing for ever, where the settings ask for it.
//!
//! The thread `purge` goes round every few seconds. For each queue that this node is primary for it
//! deletes the failures that are too old and those that are too many, the oldest first, a few in
//! each transaction, and only as many in one round as leave the store its time. It never touches
//! a job, and nobody waits for it.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};

use crate::config::Settings;
use crate::failure_log::MAX_DELETE_ROWS;
use crate::registry::Registry;
use crate::store::{Direction, FailureOrder, Page, Store, StoreError};
use crate::threads;

/// How long the thread sleeps between two rounds.
const INTERVAL: Duration = Duration::from_secs(5);
/// Transactions for one queue in one round at the most.
const MAX_STEPS: usize = 100;

/// What a failure log may hold; 0 for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How old a failure may be, in seconds.
    pub max_age_s: u32,
    /// How many failures there may be.
    pub max_count: u32,
}

impl From<&Settings> for Limits {
    fn from(settings: &Settings) -> Limits {
        Limits {
            max_age_s: settings.failure_log_max_age,
            max_count: settings.failure_log_max_count,
        }
    }
}

/// The thread `purge`; none where there is no limit.
pub struct Purger {
    stop: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Purger {
    /// Starts the thread, if there is a limit.
    ///
    /// # Errors
    /// The system does not give a thread.
    pub fn start(
        store: Arc<dyn Store>,
        registry: Arc<Registry>,
        limits: Limits,
    ) -> io::Result<Purger> {
        let (stop, stopped) = bounded(0);
        let thread = if limits == (Limits { max_age_s: 0, max_count: 0 }) {
            None
        } else {
            let run = move || run(&*store, &registry, limits, &stopped);
            Some(threads::spawn("purge".to_owned(), run)?)
        };
        Ok(Purger { stop, thread })
    }

    /// Ends the thread; answers whether it ended by `deadline`.
    pub fn close(self, deadline: Instant) -> bool {
        drop(self.stop);
        self.thread.is_none_or(|thread| threads::join_until(thread, deadline))
    }
}

fn run(store: &dyn Store, registry: &Registry, limits: Limits, stopped: &Receiver<()>) {
    while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
        for (queue, stats) in registry.stats() {
            if stats.active_nodes == 0 {
                continue;
            }
            let is_over = || stopped.try_recv() != Err(TryRecvError::Empty);
            match purge(store, &queue, limits, &is_over) {
                Ok(0) => {}
                Ok(count) => log::info!(queue = &*queue; "{count} old failures deleted"),
                Err(error) => {
                    log::debug!(queue = &*queue; "old failures stay for now: {error}");
                }
            }
            if is_over() {
                return;
            }
        }
    }
}

/// Deletes what is too old or too much in one queue's failure log, or a part of it; answers how
/// many.
fn purge(
    store: &dyn Store,
    queue: &str,
    limits: Limits,
    is_over: &dyn Fn() -> bool,
) -> Result<u64, StoreError> {
    let mut count = 0;
    for _ in 0..MAX_STEPS {
        let doomed = doomed(store, queue, limits, store.now_ms()?)?;
        if doomed.is_empty() || is_over() {
            break;
        }
        count += store.delete_failures(queue, &doomed)?;
        if doomed.len() < MAX_DELETE_ROWS {
            break;
        }
    }
    Ok(count)
}

/// The next failures to delete, some of the oldest ones.
fn doomed(
    store: &dyn Store,
    queue: &str,
    limits: Limits,
    now_ms: u64,
) -> Result<Vec<u64>, StoreError> {
    let oldest = store.oldest_failures(queue, MAX_DELETE_ROWS)?;
    let Some((first_id, _)) = oldest.first().copied() else { return Ok(Vec::new()) };
    let mut too_old = 0;
    if limits.max_age_s > 0 {
        let oldest_kept_ms = now_ms.saturating_sub(u64::from(limits.max_age_s) * 1000);
        too_old = oldest.iter().take_while(|(_, failed_at)| *failed_at < oldest_kept_ms).count();
    }
    let mut too_many = 0;
    if limits.max_count > 0 && too_old < oldest.len() {
        let max_count = u64::from(limits.max_count);
        // Mostly the ids tell that there cannot be that many, and nothing has to be counted.
        if last_id(store, queue)?.saturating_sub(first_id) >= max_count {
            too_many = store.failures_beyond(queue, max_count, oldest.len() as u64)?;
        }
    }
    let count = too_old.max(usize::try_from(too_many).unwrap_or(usize::MAX));
    Ok(oldest.into_iter().take(count).map(|(id, _)| id).collect())
}

fn last_id(store: &dyn Store, queue: &str) -> Result<u64, StoreError> {
    let page = Page { limit: 1, after: None, direction: Direction::Descending };
    let heads = store.failure_heads(queue, FailureOrder::Failed, &page, false)?;
    Ok(heads.first().map_or(0, |head| head.id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::NewJob;
    use crate::queue_definition::{QueueDefaults, QueueDefinition, QueueRequest};
    use crate::store::memory::MemoryStore;
    use crate::store::{Definitions, FailureLog, Jobs, Push, QueueName, Settlement, Step};
    use crate::wake::Wake;

    /// A store whose queue `q` has this many failures, with ids from 1.
    fn store_with(failures: usize) -> MemoryStore {
        let store = MemoryStore::new();
        let defaults = QueueDefaults { polling_interval_ms: 200, max_workers: 20 };
        let queue = QueueDefinition::new("q", QueueRequest::default(), defaults).unwrap();
        store.put_queue(&queue).unwrap();
        let name: QueueName = "q".into();
        let job = NewJob {
            category: "c".into(),
            url: "http://localhost/".into(),
            payload: Vec::new(),
            run_after_s: 0,
            timeout_s: 0,
            retry_delay_s: 0,
            max_retries: 0,
        };
        store.push(&vec![Push { queue: Arc::clone(&name), job: Arc::new(job) }; failures]);
        let campaign = store.campaign(&name, Wake::channel().0);
        let lease = campaign.lease().unwrap();
        for job in lease.grab(failures).unwrap() {
            let step = Step::Fail(b"{}".to_vec());
            let (job_id, created_at_ms) = (job.id, job.created_at_ms);
            let queue = Arc::clone(&name);
            let token = lease.token();
            let fail_count = 0;
            store
                .settle(&[Settlement { queue, job_id, created_at_ms, token, fail_count, step }])
                .unwrap();
        }
        store
    }

    fn limits(max_age_s: u32, max_count: u32) -> Limits {
        Limits { max_age_s, max_count }
    }

    fn ids(store: &MemoryStore) -> Vec<u64> {
        store.oldest_failures("q", 10_000).unwrap().into_iter().map(|(id, _)| id).collect()
    }

    #[test]
    fn what_is_too_much_goes_the_oldest_first() {
        let store = store_with(250);
        assert_eq!(purge(&store, "q", limits(0, 250), &|| false), Ok(0));
        assert_eq!(purge(&store, "q", limits(3600, 30), &|| false), Ok(220));
        assert_eq!(ids(&store), (221..=250).collect::<Vec<_>>());
        // Ids that are gone do not count.
        store.delete_failures("q", &(230..=249).collect::<Vec<_>>()).unwrap();
        assert_eq!(purge(&store, "q", limits(0, 10), &|| false), Ok(0));
        assert_eq!(purge(&store, "q", limits(0, 9), &|| false), Ok(1));
        assert_eq!(ids(&store), (222..=229).chain([250]).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_too_old_goes() {
        let store = store_with(3);
        let now_ms = store.oldest_failures("q", 3).unwrap()[2].1;
        let doomed = |max_age_s, later_ms| {
            doomed(&store, "q", limits(max_age_s, 0), now_ms + later_ms).unwrap().len()
        };
        assert_eq!(doomed(60, 59_000), 0);
        assert_eq!(doomed(60, 60_001), 3);
        assert_eq!(doomed(0, u64::MAX / 2), 0);
    }

    #[test]
    fn a_purge_ends_when_it_is_told_to() {
        let store = store_with(250);
        assert_eq!(purge(&store, "q", limits(0, 1), &|| true), Ok(0));
        assert_eq!(ids(&store).len(), 250);
    }
}
