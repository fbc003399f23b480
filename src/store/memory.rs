//! The store in memory: for trying things out, for tests, and for queues that may be lost.
//!
//! Everything lies in ordered maps, one mutex a queue; definitions have one of their own. It owns
//! no thread, waits for nobody and never answers [`StoreError::Unavailable`] but to a lease that
//! has ended. Nothing outlives the process. What it refuses is what MySQL refuses, so that
//! whatever runs on it runs there too.

mod definitions;
mod failures;
mod rows;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::job::{Failure, Job, JobChanges, JobId};
use crate::queue_definition::{QueueDefinition, Routing};
use crate::store::clock::WallClock;
use crate::store::election::{self, Elections, LeasedRows, Standing};
use crate::store::row::{by_queue, new_row, no_such_queue};
use crate::store::{
    Backlog, Campaign, Definitions, FailureHead, FailureLog, FailureOrder, Holder, Inspection,
    Jobs, Listing, Page, Push, Pushed, QueueName, RetryBatch, Revision, Settled, Settlement,
    Snapshot, Store, StoreError, Token,
};
use crate::wake::Wake;

use definitions::DefinitionTable;
use rows::Rows;

/// The in-memory driver.
pub struct MemoryStore {
    shared: Arc<Shared>,
}

/// What the store, its campaigns and its leases share.
struct Shared {
    clock: WallClock,
    definitions: Mutex<DefinitionTable>,
    /// By the queue's name. They stay when the queue is deleted. Written only when a queue is
    /// defined for the first time: readers do not wait for each other.
    tables: RwLock<HashMap<QueueName, Arc<Mutex<Rows>>>>,
    elections: Elections,
}

impl MemoryStore {
    /// A store with nothing in it.
    pub fn new() -> MemoryStore {
        MemoryStore {
            shared: Arc::new(Shared {
                clock: WallClock::default(),
                definitions: Mutex::default(),
                tables: RwLock::default(),
                elections: Elections::opened(),
            }),
        }
    }
}

impl Default for MemoryStore {
    fn default() -> MemoryStore {
        MemoryStore::new()
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
        let Ok(answers) = by_queue(
            batch,
            |push| &push.queue,
            |queue, group| {
                let jobs = group.iter().map(|&row| new_row(&batch[row].job, now_ms));
                Ok::<_, Infallible>(self.shared.push_to(queue, jobs))
            },
        );
        answers
    }

    fn settle(&self, batch: &[Settlement]) -> Result<Vec<Settled>, StoreError> {
        let now_ms = self.shared.clock.now_ms();
        by_queue(
            batch,
            |settlement| &settlement.queue,
            |queue, group| {
                // A queue without a table has no row to settle.
                let Ok(table) = self.shared.table(queue) else {
                    return Ok(vec![Settled::Gone; group.len()]);
                };
                let mut rows = lock(&table);
                Ok(group.iter().map(|&row| rows.settle(&batch[row], now_ms)).collect())
            },
        )
    }

    fn campaign(&self, queue: &QueueName, wake: Wake) -> Box<dyn Campaign> {
        election::campaign(&self.shared, queue, wake)
    }
}

impl LeasedRows for Shared {
    fn elections(&self) -> &Elections {
        &self.elections
    }

    fn grab(
        &self,
        queue: &QueueName,
        room: usize,
        standing: &Standing,
    ) -> Result<Vec<Job>, StoreError> {
        let table = self.table(queue)?;
        let mut rows = lock(&table);
        standing.check()?;
        Ok(rows.grab(room, standing.token(), self.clock.now_ms()))
    }

    fn push_grabbed(
        &self,
        queue: &QueueName,
        batch: &[Push],
        standing: &Standing,
    ) -> Result<Option<Vec<Pushed>>, StoreError> {
        let now_ms = self.clock.now_ms();
        let Ok(table) = self.table(queue) else { return Ok(None) };
        let jobs: Result<Vec<Job>, StoreError> =
            batch.iter().map(|push| new_row(&push.job, now_ms)).collect();
        let Ok(jobs) = jobs else { return Ok(None) };
        let mut rows = lock(&table);
        if standing.check().is_err() || rows.has_due(now_ms) {
            return Ok(None);
        }
        let token = standing.token();
        Ok(Some(jobs.into_iter().map(|job| rows.push_grabbed(job, token)).collect()))
    }

    fn grabbed(&self, queue: &QueueName) -> Result<Vec<(JobId, Token)>, StoreError> {
        let table = self.table(queue)?;
        let grabbed = lock(&table).grabbed();
        Ok(grabbed)
    }

    fn put_back(
        &self,
        queue: &QueueName,
        rows: &[(JobId, Token)],
        standing: Option<&Standing>,
    ) -> Result<u64, StoreError> {
        let table = self.table(queue)?;
        let mut table = lock(&table);
        standing.map_or(Ok(()), Standing::check)?;
        Ok(rows.iter().map(|&(id, token)| u64::from(table.put_back(id, token))).sum())
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

    fn backlogs(
        &self,
        queues: &[QueueName],
        most: u64,
    ) -> Result<Vec<Option<Backlog>>, StoreError> {
        let now_ms = self.shared.clock.now_ms();
        let backlog = |queue: &QueueName| {
            self.shared.table(queue).ok().map(|table| lock(&table).backlog(now_ms, most))
        };
        Ok(queues.iter().map(backlog).collect())
    }

    fn holder(&self, queue: &str) -> Result<Option<Holder>, StoreError> {
        Ok(self.shared.elections.holder(queue))
    }
}

impl FailureLog for MemoryStore {
    fn failures(
        &self,
        queue: &str,
        order: FailureOrder,
        page: &Page,
    ) -> Result<Vec<Failure>, StoreError> {
        Ok(lock(&*self.shared.table(queue)?).failures(order, page, Failure::clone))
    }

    fn failure_heads(
        &self,
        queue: &str,
        order: FailureOrder,
        page: &Page,
        with_results: bool,
    ) -> Result<Vec<FailureHead>, StoreError> {
        let head = |failure: &Failure| failures::head(failure, with_results);
        Ok(lock(&*self.shared.table(queue)?).failures(order, page, head))
    }

    fn failures_by_id(&self, queue: &str, ids: &[u64]) -> Result<Vec<Failure>, StoreError> {
        Ok(lock(&*self.shared.table(queue)?).failures_by_id(ids))
    }

    fn failure(&self, queue: &str, id: u64) -> Result<Option<Failure>, StoreError> {
        Ok(lock(&*self.shared.table(queue)?).failure(id))
    }

    fn delete_failure(&self, queue: &str, id: u64) -> Result<Option<Failure>, StoreError> {
        Ok(lock(&*self.shared.table(queue)?).delete_failure(id))
    }

    fn delete_failures(&self, queue: &str, ids: &[u64]) -> Result<u64, StoreError> {
        let table = self.shared.table(queue)?;
        let mut rows = lock(&table);
        Ok(ids.iter().map(|id| u64::from(rows.delete_failure(*id).is_some())).sum())
    }

    fn retry_failures(
        &self,
        queue: &str,
        ids: &[u64],
        changes: &JobChanges,
    ) -> Result<RetryBatch, StoreError> {
        let table = self.shared.table(queue)?;
        lock(&table).retry_failures(ids, changes, self.shared.clock.now_ms())
    }

    fn oldest_failures(&self, queue: &str, limit: usize) -> Result<Vec<(u64, u64)>, StoreError> {
        Ok(lock(&*self.shared.table(queue)?).oldest_failures(limit))
    }

    fn failures_beyond(&self, queue: &str, keep: u64, limit: u64) -> Result<u64, StoreError> {
        let count = lock(&*self.shared.table(queue)?).failures.len() as u64;
        Ok(count.saturating_sub(keep).min(limit))
    }
}

/// Takes a lock. A thread that panicked under it left whole rows: each change is complete before
/// anything can fail.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
