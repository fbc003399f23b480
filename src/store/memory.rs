//! The store in memory: for trying things out, for tests, and for queues that may be lost.
//!
//! Everything lies in ordered maps, one mutex a queue; definitions have one of their own. It owns
//! no thread, waits for nobody and never answers [`StoreError::Unavailable`] but to a lease that
//! has ended. Nothing outlives the process. What it refuses is what MySQL refuses, so that
//! whatever runs on it runs there too.

mod definitions;
mod election;
mod rows;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::job::{Failure, Job, JobId, JobStatus, NewJob};
use crate::queue_definition::{MAX_CATEGORY_BYTES, QueueDefinition, Routing};
use crate::store::{
    Campaign, Definitions, FailureOrder, Holder, Inspection, Jobs, Listing, Page, Push, Pushed,
    QueueName, Revision, Settled, Settlement, Snapshot, Store, StoreError,
};
use crate::wake::Wake;

use definitions::DefinitionTable;
use election::Elections;
use rows::Rows;

/// The longest URL, in bytes: in MySQL the column is a `BLOB`.
const MAX_URL_BYTES: usize = 65_535;
/// The largest payload, in bytes: in MySQL the column is a `MEDIUMBLOB`.
const MAX_PAYLOAD_BYTES: usize = 16_777_215;

/// The in-memory driver.
#[derive(Default)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

/// What the store, its campaigns and its leases share.
#[derive(Default)]
struct Shared {
    clock: Clock,
    definitions: Mutex<DefinitionTable>,
    /// By the queue's name. They stay when the queue is deleted. Written only when a queue is
    /// defined for the first time: readers do not wait for each other.
    tables: RwLock<HashMap<QueueName, Arc<Mutex<Rows>>>>,
    elections: Elections,
}

impl MemoryStore {
    /// A store with nothing in it.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }
}

impl Shared {
    /// The jobs and failures of a queue.
    fn table(&self, queue: &str) -> Result<Arc<Mutex<Rows>>, StoreError> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        tables.get(queue).map(Arc::clone).ok_or_else(|| no_such_queue(queue))
    }

    fn create_table(&self, queue: &str) {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        tables.entry(queue.into()).or_default();
    }

    /// Stores the rows of one queue, under one lock.
    fn push_to(
        &self,
        queue: &str,
        jobs: impl Iterator<Item = Result<Job, StoreError>>,
    ) -> Vec<Result<Pushed, StoreError>> {
        // Copied before the lock is taken: copying takes longer than the rest.
        let jobs: Vec<_> = jobs.collect();
        match self.table(queue) {
            Ok(table) => {
                let mut rows = lock(&table);
                jobs.into_iter().map(|job| job.map(|job| rows.push(job))).collect()
            }
            Err(error) => {
                jobs.into_iter().map(|job| Err(job.err().unwrap_or(error.clone()))).collect()
            }
        }
    }
}

impl Store for MemoryStore {
    fn describe(&self) -> String {
        "in memory: jobs and definitions are lost when this process ends".to_owned()
    }

    fn now_ms(&self) -> Result<u64, StoreError> {
        Ok(self.shared.clock.now_ms())
    }

    fn close(&self) {}
}

impl Definitions for MemoryStore {
    fn revision(&self) -> Result<Revision, StoreError> {
        Ok(lock(&self.shared.definitions).revision())
    }

    fn definitions(&self) -> Result<Snapshot, StoreError> {
        Ok(lock(&self.shared.definitions).snapshot())
    }

    fn put_queue(&self, queue: &QueueDefinition) -> Result<QueueDefinition, StoreError> {
        let mut definitions = lock(&self.shared.definitions);
        definitions.put_queue(queue)?;
        // Before the lock is released: whoever sees the definition finds the table.
        self.shared.create_table(&queue.name);
        Ok(queue.clone())
    }

    fn delete_queue(&self, name: &str) -> Result<Option<QueueDefinition>, StoreError> {
        Ok(lock(&self.shared.definitions).delete_queue(name))
    }

    fn put_routing(&self, routing: &Routing) -> Result<(), StoreError> {
        lock(&self.shared.definitions).put_routing(routing)
    }

    fn delete_routing(&self, category: &str) -> Result<Option<Routing>, StoreError> {
        Ok(lock(&self.shared.definitions).delete_routing(category))
    }
}

impl Jobs for MemoryStore {
    fn push(&self, batch: &[Push]) -> Vec<Result<Pushed, StoreError>> {
        let now_ms = self.shared.clock.now_ms();
        by_queue(
            batch,
            |push| &push.queue,
            |queue, group| {
                let jobs = group.iter().map(|&row| new_row(&batch[row].job, now_ms));
                self.shared.push_to(queue, jobs)
            },
        )
    }

    fn settle(&self, batch: &[Settlement]) -> Result<Vec<Settled>, StoreError> {
        let now_ms = self.shared.clock.now_ms();
        Ok(by_queue(
            batch,
            |settlement| &settlement.queue,
            |queue, group| {
                // A queue without a table has no row to settle.
                let Ok(table) = self.shared.table(queue) else {
                    return vec![Settled::Gone; group.len()];
                };
                let mut rows = lock(&table);
                group.iter().map(|&row| rows.settle(&batch[row], now_ms)).collect()
            },
        ))
    }

    fn campaign(&self, queue: &QueueName, wake: Wake) -> Box<dyn Campaign> {
        election::campaign(&self.shared, queue, wake)
    }
}

impl Inspection for MemoryStore {
    fn jobs(&self, queue: &str, listing: Listing, page: &Page) -> Result<Vec<Job>, StoreError> {
        let table = self.shared.table(queue)?;
        let now_ms = self.shared.clock.now_ms();
        Ok(lock(&table).jobs(listing, page, now_ms))
    }

    fn job(&self, queue: &str, id: JobId) -> Result<Option<Job>, StoreError> {
        Ok(lock(&*self.shared.table(queue)?).job(id))
    }

    fn delete_job(&self, queue: &str, id: JobId) -> Result<Option<Job>, StoreError> {
        Ok(lock(&*self.shared.table(queue)?).delete_job(id))
    }

    fn failures(
        &self,
        queue: &str,
        order: FailureOrder,
        page: &Page,
    ) -> Result<Vec<Failure>, StoreError> {
        Ok(lock(&*self.shared.table(queue)?).failures(order, page))
    }

    fn failure(&self, queue: &str, id: u64) -> Result<Option<Failure>, StoreError> {
        Ok(lock(&*self.shared.table(queue)?).failure(id))
    }

    fn delete_failure(&self, queue: &str, id: u64) -> Result<Option<Failure>, StoreError> {
        Ok(lock(&*self.shared.table(queue)?).delete_failure(id))
    }

    fn holder(&self, queue: &str) -> Result<Option<Holder>, StoreError> {
        let held = self.shared.elections.is_held(queue);
        Ok(held.then(|| Holder { id: std::process::id().to_string(), host: "localhost".into() }))
    }
}

/// Calls `handle` once for each queue in `batch`, with the places of its rows in the batch, and
/// answers what it answers in the order of the batch.
fn by_queue<T, A>(
    batch: &[T],
    queue_of: impl Fn(&T) -> &QueueName,
    mut handle: impl FnMut(&str, &[usize]) -> Vec<A>,
) -> Vec<A> {
    let mut places: Vec<usize> = (0..batch.len()).collect();
    // Stable: within a queue the order of the batch stays.
    places.sort_by_key(|&place| queue_of(&batch[place]));
    let mut answers = Vec::with_capacity(batch.len());
    for group in places.chunk_by(|&a, &b| queue_of(&batch[a]) == queue_of(&batch[b])) {
        if let Some(&first) = group.first() {
            answers.extend(group.iter().copied().zip(handle(queue_of(&batch[first]), group)));
        }
    }
    answers.sort_by_key(|&(place, _)| place);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// The row of a new job, without its id.
fn new_row(job: &NewJob, now_ms: u64) -> Result<Job, StoreError> {
    for (what, size, limit) in [
        ("category", job.category.len(), MAX_CATEGORY_BYTES),
        ("url", job.url.len(), MAX_URL_BYTES),
        ("payload", job.payload.len(), MAX_PAYLOAD_BYTES),
    ] {
        if size > limit {
            let text = format!("a {what} has at most {limit} bytes; this one has {size}");
            return Err(StoreError::TooLarge(text));
        }
    }
    let due = job.run_after_s.checked_mul(1000).and_then(|delay_ms| now_ms.checked_add(delay_ms));
    let next_try_ms = due.ok_or_else(|| {
        StoreError::Rejected(format!("run_after leads too far: {} seconds", job.run_after_s))
    })?;
    Ok(Job {
        id: 0,
        category: job.category.clone(),
        url: job.url.clone(),
        payload: job.payload.clone(),
        status: JobStatus::Claimed,
        created_at_ms: now_ms,
        next_try_ms,
        retry_count: job.max_retries,
        retry_delay_s: job.retry_delay_s,
        fail_count: 0,
        timeout_s: job.timeout_s,
    })
}

fn no_such_queue(queue: &str) -> StoreError {
    StoreError::NotFound(format!("there is no queue {queue:?}"))
}

/// The wall clock, except that it never goes back: what was due stays due.
#[derive(Default)]
struct Clock {
    latest_ms: AtomicU64,
}

impl Clock {
    fn now_ms(&self) -> u64 {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // In 500 million years it no longer fits.
        let now_ms = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
        self.latest_ms.fetch_max(now_ms, Ordering::Relaxed).max(now_ms)
    }
}

/// Takes a lock. A thread that panicked under it left whole rows: each change is complete before
/// anything can fail.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
