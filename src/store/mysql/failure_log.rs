//! The failure log of each queue.

use std::collections::HashMap;
use std::sync::Arc;

use mysql::Error;

use super::MySqlStore;
use super::inspection::{LAST, Text, text_of};
use super::push;
use super::session::Session;
use crate::job::{Failure, JobChanges, JobId};
use crate::store::sql::{Tables, statements};
use crate::store::{
    FailureHead, FailureLog, FailureOrder, MAX_RETRY_BYTES, MAX_RETRY_ROWS, Page, Position, Push,
    Pushed, Retried, RetryBatch, StoreError,
};

statements! {
    /// The failure log of a queue.
    FAILURES: FailureStatements = "failure_log.sql" {
        failures_by_failure, failures_by_creation, failure, lock_failure, delete_failure,
        failure_heads_by_failure, failure_heads_by_creation, failures_by_id, failure_sizes,
        lock_failures, delete_failures, oldest_failures, failures_beyond,
    }
}

/// A failure's columns as the statements select them.
pub(super) type FailureRow = (u64, JobId, Text, Text, Text, Text, u32, u64, u64);
/// A failure's columns without what may be large.
type HeadRow = (u64, Text, u64, u64, Text);

impl FailureLog for MySqlStore {
    fn failures(
        &self,
        queue: &str,
        order: FailureOrder,
        page: &Page,
    ) -> Result<Vec<Failure>, StoreError> {
        let Position { at_ms, id } = page.after.unwrap_or(LAST);
        let rows = match order {
            FailureOrder::Failed => {
                self.read(queue, &FAILURES.failures_by_failure, (id, page.limit))
            }
            FailureOrder::Created => {
                let values = (at_ms, at_ms, id, page.limit);
                self.read(queue, &FAILURES.failures_by_creation, values)
            }
        }?;
        Ok(rows.into_iter().map(failure_of).collect())
    }

    fn failure_heads(
        &self,
        queue: &str,
        order: FailureOrder,
        page: &Page,
        with_results: bool,
    ) -> Result<Vec<FailureHead>, StoreError> {
        let Position { at_ms, id } = page.after.unwrap_or(LAST);
        let rows: Vec<HeadRow> = match order {
            FailureOrder::Failed => {
                let values = (with_results, id, page.limit);
                self.read(queue, &FAILURES.failure_heads_by_failure, values)
            }
            FailureOrder::Created => {
                let values = (with_results, at_ms, at_ms, id, page.limit);
                self.read(queue, &FAILURES.failure_heads_by_creation, values)
            }
        }?;
        Ok(rows.into_iter().map(head_of).collect())
    }

    fn failures_by_id(&self, queue: &str, ids: &[u64]) -> Result<Vec<Failure>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let sql = FAILURES.failures_by_id.with(&Tables::of(queue), &list(ids));
        let rows: Vec<FailureRow> = self.inspect(queue, |session| session.query_rows(&sql))?;
        Ok(rows.into_iter().map(failure_of).collect())
    }

    fn failure(&self, queue: &str, id: u64) -> Result<Option<Failure>, StoreError> {
        let rows = self.read(queue, &FAILURES.failure, (id,))?;
        Ok(rows.into_iter().next().map(failure_of))
    }

    fn delete_failure(&self, queue: &str, id: u64) -> Result<Option<Failure>, StoreError> {
        let row = self.delete(queue, &FAILURES.lock_failure, &FAILURES.delete_failure, id)?;
        Ok(row.map(failure_of))
    }

    fn delete_failures(&self, queue: &str, ids: &[u64]) -> Result<u64, StoreError> {
        if ids.is_empty() {
            return Ok(0);
        }
        let sql = FAILURES.delete_failures.with(&Tables::of(queue), &in_order(ids));
        self.inspect(queue, |session| session.run(&sql))
    }

    fn retry_failures(
        &self,
        queue: &str,
        ids: &[u64],
        changes: &JobChanges,
    ) -> Result<RetryBatch, StoreError> {
        let tables = Tables::of(queue);
        let ids = self.first_that_fit(queue, &tables, ids)?;
        let mut refusal = None;
        let stored = self.inspect(queue, |session| {
            refusal = None;
            session.transaction_if(|session| {
                let mut batch = lock_as_pushes(session, queue, &tables, ids, changes)?;
                let stored = push::insert_jobs(session, &tables, &batch.pushes, &mut refusal)?;
                if refusal.is_some() {
                    return Ok(None);
                }
                if !batch.failure_ids.is_empty() {
                    let ids = in_order(&batch.failure_ids);
                    session.run(FAILURES.delete_failures.with(&tables, &ids))?;
                }
                Ok(Some(batch.with(&stored)))
            })
        })?;
        match (stored, refusal) {
            (Some(retried), _) => Ok(RetryBatch { tried: ids.len(), retried }),
            (None, Some(refusal)) => Err(refusal),
            (None, None) => Ok(RetryBatch { tried: ids.len(), retried: Vec::new() }),
        }
    }

    fn oldest_failures(&self, queue: &str, limit: usize) -> Result<Vec<(u64, u64)>, StoreError> {
        self.read(queue, &FAILURES.oldest_failures, (limit,))
    }

    fn failures_beyond(&self, queue: &str, keep: u64, limit: u64) -> Result<u64, StoreError> {
        let counts: Vec<(u64,)> = self.read(queue, &FAILURES.failures_beyond, (limit, keep))?;
        Ok(counts.first().map_or(0, |(count,)| *count))
    }
}

impl MySqlStore {
    /// As many of the first ids as one transaction should retry.
    fn first_that_fit<'i>(
        &self,
        queue: &str,
        tables: &Tables,
        ids: &'i [u64],
    ) -> Result<&'i [u64], StoreError> {
        let ids = &ids[..ids.len().min(MAX_RETRY_ROWS)];
        if ids.len() < 2 {
            return Ok(ids);
        }
        let sql = FAILURES.failure_sizes.with(tables, &list(ids));
        let sizes: Vec<(u64, u64)> = self.inspect(queue, |session| session.query_rows(&sql))?;
        let sizes: HashMap<u64, u64> = sizes.into_iter().collect();
        let mut bytes = 0;
        let fitting = ids.iter().take_while(|id| {
            bytes += sizes.get(id).copied().unwrap_or(0);
            bytes <= MAX_RETRY_BYTES
        });
        Ok(&ids[..fitting.count().max(1)])
    }
}

/// Failures that were locked, and the pushes that they become.
#[derive(Default)]
struct Batch {
    failure_ids: Vec<u64>,
    pushes: Vec<Push>,
}

impl Batch {
    /// What was made of it, where the pushes were stored.
    fn with(&mut self, stored: &[Pushed]) -> Vec<Retried> {
        let rows = self.failure_ids.drain(..).zip(self.pushes.drain(..)).zip(stored);
        rows.map(|((failure_id, push), pushed)| Retried {
            failure_id,
            job: Arc::unwrap_or_clone(push.job),
            pushed: *pushed,
        })
        .collect()
    }
}

/// Locks those of the failures that are there, and answers them in the order of `ids`.
fn lock_as_pushes(
    session: &mut Session,
    queue: &str,
    tables: &Tables,
    ids: &[u64],
    changes: &JobChanges,
) -> Result<Batch, Error> {
    if ids.is_empty() {
        return Ok(Batch::default());
    }
    let rows: Vec<FailureRow> =
        session.query_rows(FAILURES.lock_failures.with(tables, &in_order(ids)))?;
    let mut failures: HashMap<u64, Failure> =
        rows.into_iter().map(|row| (row.0, failure_of(row))).collect();
    let mut batch = Batch::default();
    for id in ids {
        // Taken out, so that an id that is named twice is retried once.
        if let Some(failure) = failures.remove(id) {
            let job = failure.into_new_job(changes);
            batch.failure_ids.push(*id);
            batch.pushes.push(Push { queue: queue.into(), job: Arc::new(job) });
        }
    }
    Ok(batch)
}

fn list(ids: &[u64]) -> Vec<[u64; 1]> {
    ids.iter().map(|id| [*id]).collect()
}

/// The list in the order in which rows are locked.
fn in_order(ids: &[u64]) -> Vec<[u64; 1]> {
    let mut ids = list(ids);
    ids.sort_unstable();
    ids
}

pub(super) fn failure_of(row: FailureRow) -> Failure {
    let (id, job_id, category, url, payload, result, fail_count, failed_at_ms, created_at_ms) = row;
    Failure {
        id,
        job_id,
        category: text_of(category),
        url: text_of(url),
        payload: payload.unwrap_or_default(),
        result: result.unwrap_or_default(),
        fail_count,
        failed_at_ms,
        created_at_ms,
    }
}

fn head_of(row: HeadRow) -> FailureHead {
    let (id, category, failed_at_ms, created_at_ms, result) = row;
    FailureHead {
        id,
        category: text_of(category),
        failed_at_ms,
        created_at_ms,
        result: result.unwrap_or_default(),
    }
}
