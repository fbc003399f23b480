//! Looking into queues, a page at a time along an index.

use std::ops::RangeInclusive;

use rusqlite::{Connection, Params, Row};

use super::SqliteStore;
use super::fault::{Fault, is_missing_table};
use super::jobs::on_tables;
use super::statements::SQL;
use crate::job::{Job, JobId, JobStatus};
use crate::store::sql::{Statement, Tables};
use crate::store::{
    Backlog, Direction, Holder, Inspection, Listing, Page, Position, QueueName, StoreError,
};

/// How a status is stored.
const WAITING: i64 = 0;
const GRABBED: i64 = 1;

/// Before every row: ids begin with 1.
const FIRST: Position = Position { at_ms: 0, id: 0 };
/// After every row.
pub(super) const LAST: Position = Position { at_ms: u64::MAX, id: u64::MAX };

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

    fn backlogs(
        &self,
        queues: &[QueueName],
        most: u64,
    ) -> Result<Vec<Option<Backlog>>, StoreError> {
        let now_ms = self.shared.clock.now_ms();
        self.shared.gate.read(|connection| {
            queues.iter().map(|queue| backlog(connection, queue, most, now_ms)).collect()
        })
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

    pub(super) fn delete<T: Send + 'static>(
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

/// How much there is to do in a queue; `None` where it has no tables.
fn backlog(
    connection: &Connection,
    queue: &str,
    most: u64,
    now_ms: u64,
) -> Result<Option<Backlog>, Fault> {
    let sql = SQL.backlog.on(&Tables::of(queue));
    let read = |row: &Row<'_>| {
        let oldest = row.get::<_, Option<i64>>(4)?.map(i64::cast_unsigned);
        Ok(Backlog {
            waiting: id_of(row, 0)?,
            deferred: id_of(row, 1)?,
            running: id_of(row, 2)?,
            failed: id_of(row, 3)?,
            oldest_waiting_at_ms: oldest,
            oldest_waiting_ms: oldest.map_or(0, |oldest| now_ms.saturating_sub(oldest)),
        })
    };
    let counted = connection
        .prepare_cached(&sql)
        .and_then(|mut select| select.query_row((number(now_ms), number(most)), read));
    match counted {
        Ok(backlog) => Ok(Some(backlog)),
        Err(error) if is_missing_table(&error) => Ok(None),
        Err(error) => Err(error.into()),
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

pub(super) fn limit(page: &Page) -> i64 {
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
