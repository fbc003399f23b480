//! Looking into queues and their failure logs, a page at a time along an index.

use std::ops::RangeInclusive;

use rusqlite::{Connection, Params, Row};

use super::SqliteStore;
use super::jobs::on_tables;
use super::statements::SQL;
use crate::job::{Failure, Job, JobId, JobStatus};
use crate::store::sql::{Statement, Tables};
use crate::store::{
    Direction, FailureOrder, Holder, Inspection, Listing, Page, Position, StoreError,
};

/// How a status is stored.
const WAITING: i64 = 0;
const GRABBED: i64 = 1;

/// Before every row: ids begin with 1.
const FIRST: Position = Position { at_ms: 0, id: 0 };
/// After every row.
const LAST: Position = Position { at_ms: u64::MAX, id: u64::MAX };

impl Inspection for SqliteStore {
    fn jobs(&self, queue: &str, listing: Listing, page: &Page) -> Result<Vec<Job>, StoreError> {
        let now_ms = self.shared.clock.now_ms();
        let (status, times_ms) = range_of(listing, now_ms);
        let (statement, first) = match page.direction {
            Direction::Ascending => (&SQL.jobs_ascending, FIRST),
            Direction::Descending => (&SQL.jobs_descending, LAST),
        };
        let after = page.after.unwrap_or(first);
        let (start, end) = (number(*times_ms.start()), number(*times_ms.end()));
        let (at, id, limit) = (number(after.at_ms), number(after.id), limit(page));
        self.read(queue, statement, (status, start, end, at, id, limit), job_of)
    }

    fn job(&self, queue: &str, id: JobId) -> Result<Option<Job>, StoreError> {
        Ok(self.read(queue, &SQL.job, (number(id),), job_of)?.pop())
    }

    fn delete_job(&self, queue: &str, id: JobId) -> Result<Option<Job>, StoreError> {
        self.delete(queue, &SQL.delete_job, id, job_of)
    }

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

    fn failure(&self, queue: &str, id: u64) -> Result<Option<Failure>, StoreError> {
        Ok(self.read(queue, &SQL.failure, (number(id),), failure_of)?.pop())
    }

    fn delete_failure(&self, queue: &str, id: u64) -> Result<Option<Failure>, StoreError> {
        self.delete(queue, &SQL.delete_failure, id, failure_of)
    }

    fn holder(&self, queue: &str) -> Result<Option<Holder>, StoreError> {
        match self.shared.gate.reason() {
            Some(reason) => Err(reason),
            None => Ok(self.shared.elections.holder(queue)),
        }
    }
}

/// The status of the jobs of a listing, and when they are due.
fn range_of(listing: Listing, now_ms: u64) -> (i64, RangeInclusive<u64>) {
    match listing {
        Listing::Grabbed => (GRABBED, 0..=u64::MAX),
        Listing::Waiting => (WAITING, 0..=now_ms),
        Listing::Deferred => (WAITING, now_ms.saturating_add(1)..=u64::MAX),
    }
}

impl SqliteStore {
    pub(super) fn read<T>(
        &self,
        queue: &str,
        statement: &Statement,
        values: impl Params,
        read: fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        self.shared.gate.read(|connection| {
            on_tables(queue, |tables| rows(connection, &statement.on(tables), values, read))
        })
    }

    fn delete<T: Send + 'static>(
        &self,
        queue: &str,
        statement: &'static Statement,
        id: u64,
        read: fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        let queue = queue.to_owned();
        self.shared.writer.write(move |connection| {
            let delete =
                |tables: &Tables| rows(connection, &statement.on(tables), (number(id),), read);
            Ok(on_tables(&queue, delete)?.pop())
        })
    }
}

pub(super) fn rows<T>(
    connection: &Connection,
    sql: &str,
    values: impl Params,
    read: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    connection.prepare_cached(sql)?.query_map(values, read)?.collect()
}

fn limit(page: &Page) -> i64 {
    i64::try_from(page.limit).unwrap_or(i64::MAX)
}

/// A number as SQLite takes it. What is larger than any number there is the largest: nothing that
/// is stored comes near.
pub(super) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A number that was stored by [`number`].
pub(super) fn id_of(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)?.cast_unsigned())
}

pub(super) fn job_of(row: &Row<'_>) -> rusqlite::Result<Job> {
    let is_grabbed = row.get::<_, i64>(4)? == GRABBED;
    Ok(Job {
        id: id_of(row, 0)?,
        category: row.get(1)?,
        url: row.get(2)?,
        payload: row.get(3)?,
        status: if is_grabbed { JobStatus::Grabbed } else { JobStatus::Claimed },
        created_at_ms: id_of(row, 5)?,
        next_try_ms: id_of(row, 6)?,
        retry_count: row.get(7)?,
        retry_delay_s: row.get(8)?,
        fail_count: row.get(9)?,
        timeout_s: row.get(10)?,
    })
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
