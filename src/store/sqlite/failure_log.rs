//! The failure log of each queue.

use std::sync::Arc;

use rusqlite::{Connection, Row};

use super::SqliteStore;
use super::fault::Fault;
use super::inspection::{LAST, id_of, limit, number, rows};
use super::jobs::{insert_job, on_tables};
use super::statements::SQL;
use crate::job::{Failure, JobChanges};
use crate::store::sql::{Statement, Tables};
use crate::store::{
    FailureHead, FailureLog, FailureOrder, MAX_RETRY_BYTES, MAX_RETRY_ROWS, Page, Position,
    Retried, RetryBatch, StoreError,
};

impl FailureLog for SqliteStore {
    fn failures(
        &self,
        queue: &str,
        order: FailureOrder,
        page: &Page,
    ) -> Result<Vec<Failure>, StoreError> {
        let Position { at_ms, id } = page.after.unwrap_or(LAST);
        let (at, id, limit) = (number(at_ms), number(id), limit(page));
        match order {
            FailureOrder::Failed => {
                self.read(queue, &SQL.failures_by_failure, (id, limit), failure_of)
            }
            FailureOrder::Created => {
                self.read(queue, &SQL.failures_by_creation, (at, id, limit), failure_of)
            }
        }
    }

    fn failure_heads(
        &self,
        queue: &str,
        order: FailureOrder,
        page: &Page,
        with_results: bool,
    ) -> Result<Vec<FailureHead>, StoreError> {
        let Position { at_ms, id } = page.after.unwrap_or(LAST);
        let (at, id, limit) = (number(at_ms), number(id), limit(page));
        match order {
            FailureOrder::Failed => {
                let values = (with_results, id, limit);
                self.read(queue, &SQL.failure_heads_by_failure, values, head_of)
            }
            FailureOrder::Created => {
                let values = (with_results, at, id, limit);
                self.read(queue, &SQL.failure_heads_by_creation, values, head_of)
            }
        }
    }

    fn failures_by_id(&self, queue: &str, ids: &[u64]) -> Result<Vec<Failure>, StoreError> {
        self.shared.gate.read(|connection| {
            let sql = |tables: &Tables| with_ids(&SQL.failures_by_id, tables, ids);
            on_tables(queue, |tables| rows(connection, &sql(tables), (), failure_of))
        })
    }

    fn failure(&self, queue: &str, id: u64) -> Result<Option<Failure>, StoreError> {
        Ok(self.read(queue, &SQL.failure, (number(id),), failure_of)?.pop())
    }

    fn delete_failure(&self, queue: &str, id: u64) -> Result<Option<Failure>, StoreError> {
        self.delete(queue, &SQL.delete_failure, id, failure_of)
    }

    fn delete_failures(&self, queue: &str, ids: &[u64]) -> Result<u64, StoreError> {
        let (queue, ids) = (queue.to_owned(), ids.to_vec());
        self.shared.writer.write(move |connection| {
            let delete = |tables: &Tables| {
                connection.execute(&with_ids(&SQL.delete_failures, tables, &ids), ())
            };
            Ok(on_tables(&queue, delete)? as u64)
        })
    }

    fn retry_failures(
        &self,
        queue: &str,
        ids: &[u64],
        changes: &JobChanges,
    ) -> Result<RetryBatch, StoreError> {
        let (queue, ids, changes) = (queue.to_owned(), ids.to_vec(), changes.clone());
        let clock = Arc::clone(&self.shared.clock);
        self.shared
            .writer
            .write(move |connection| retry(connection, &queue, &ids, &changes, clock.now_ms()))
    }

    fn oldest_failures(&self, queue: &str, limit: usize) -> Result<Vec<(u64, u64)>, StoreError> {
        let limit = number(limit as u64);
        let read = |row: &Row<'_>| Ok((id_of(row, 0)?, id_of(row, 1)?));
        self.read(queue, &SQL.oldest_failures, (limit,), read)
    }

    fn failures_beyond(&self, queue: &str, keep: u64, limit: u64) -> Result<u64, StoreError> {
        let values = (number(limit), number(keep));
        let counts = self.read(queue, &SQL.failures_beyond, values, |row| id_of(row, 0))?;
        Ok(counts.first().copied().unwrap_or(0))
    }
}

/// A statement with these ids in its list.
fn with_ids(statement: &Statement, tables: &Tables, ids: &[u64]) -> String {
    let ids: Vec<[i64; 1]> = ids.iter().map(|id| [number(*id)]).collect();
    statement.with(tables, &ids)
}

/// Moves failures back into the queue. An error undoes all of it.
fn retry(
    connection: &Connection,
    queue: &str,
    ids: &[u64],
    changes: &JobChanges,
    now_ms: u64,
) -> Result<RetryBatch, Fault> {
    let mut batch = RetryBatch { tried: 0, retried: Vec::new() };
    let mut bytes = 0;
    for id in ids.iter().take(MAX_RETRY_ROWS) {
        let take = |tables: &Tables| {
            Ok(rows(connection, &SQL.failure.on(tables), (number(*id),), failure_of)?.pop())
        };
        if let Some(failure) = on_tables(queue, take)? {
            bytes += failure.payload.len() + failure.url.len();
            if batch.tried > 0 && bytes as u64 > MAX_RETRY_BYTES {
                break;
            }
            let job = failure.into_new_job(changes);
            let pushed = insert_job(connection, queue, &job, now_ms)?;
            let delete = |tables: &Tables| {
                connection.prepare_cached(&SQL.delete_failures.on(tables))?.execute((number(*id),))
            };
            on_tables(queue, delete)?;
            batch.retried.push(Retried { failure_id: *id, job, pushed });
        }
        batch.tried += 1;
    }
    Ok(batch)
}

pub(super) fn failure_of(row: &Row<'_>) -> rusqlite::Result<Failure> {
    Ok(Failure {
        id: id_of(row, 0)?,
        job_id: id_of(row, 1)?,
        category: row.get(2)?,
        url: row.get(3)?,
        payload: row.get(4)?,
        result: row.get(5)?,
        fail_count: row.get(6)?,
        failed_at_ms: id_of(row, 7)?,
        created_at_ms: id_of(row, 8)?,
    })
}

fn head_of(row: &Row<'_>) -> rusqlite::Result<FailureHead> {
    Ok(FailureHead {
        id: id_of(row, 0)?,
        category: row.get(1)?,
        failed_at_ms: id_of(row, 2)?,
        created_at_ms: id_of(row, 3)?,
        result: row.get(4)?,
    })
}
