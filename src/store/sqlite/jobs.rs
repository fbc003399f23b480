//! Jobs in, taken and out. All of it runs on the writer's thread, within its transactions.

use std::sync::Arc;

use rusqlite::{CachedStatement, Connection};

use super::fault::{Fault, is_missing_table};
use super::inspection::{id_of, job_of, number};
use super::statements::SQL;
use super::{Shared, SqliteStore};
use crate::job::{Job, JobId, JobStatus};
use crate::store::election::{self, Elections, LeasedRows, Standing};
use crate::store::row::{by_queue, due_ms, no_such_queue};
use crate::store::sql::{Statement, Tables};
use crate::store::{
    Campaign, Jobs, Push, Pushed, QueueName, Settled, Settlement, Step, StoreError, Token,
};
use crate::wake::Wake;

impl Jobs for SqliteStore {
    fn push(&self, batch: &[Push]) -> Vec<Result<Pushed, StoreError>> {
        let (rows, shared) = (batch.to_vec(), Arc::clone(&self.shared));
        let stored = self.shared.writer.write(move |connection| {
            let now_ms = shared.clock.now_ms();
            by_queue(
                &rows,
                |push| &push.queue,
                |queue, group| {
                    let group = group.iter().map(|&row| &rows[row]);
                    push_to(connection, queue, group, now_ms)
                },
            )
        });
        stored.unwrap_or_else(|error| vec![Err(error); batch.len()])
    }

    fn settle(&self, batch: &[Settlement]) -> Result<Vec<Settled>, StoreError> {
        let (rows, shared) = (batch.to_vec(), Arc::clone(&self.shared));
        self.shared.writer.write(move |connection| {
            let now_ms = shared.clock.now_ms();
            by_queue(
                &rows,
                |settlement| &settlement.queue,
                |queue, group| {
                    let tables = Tables::of(queue);
                    let settle = |&row: &usize| settle(connection, &tables, &rows[row], now_ms);
                    match group.iter().map(settle).collect() {
                        // A queue without tables has no row to settle.
                        Err(error) if is_missing_table(&error) => {
                            Ok(vec![Settled::Gone; group.len()])
                        }
                        settled => Ok::<_, Fault>(settled?),
                    }
                },
            )
        })
    }

    fn campaign(&self, queue: &QueueName, wake: Wake) -> Box<dyn Campaign> {
        election::campaign(&self.shared, queue, wake)
    }
}

/// Stores the rows of one queue.
fn push_to<'a>(
    connection: &Connection,
    queue: &QueueName,
    rows: impl Iterator<Item = &'a Push>,
    now_ms: u64,
) -> Result<Vec<Result<Pushed, StoreError>>, Fault> {
    let mut insert = match connection.prepare_cached(&SQL.push.on(&Tables::of(queue))) {
        Ok(insert) => insert,
        Err(error) if is_missing_table(&error) => {
            return Ok(rows.map(|_| Err(no_such_queue(queue))).collect());
        }
        Err(error) => return Err(error.into()),
    };
    rows.map(|push| match due(push, now_ms) {
        Ok(due_ms) => Ok(Ok(insert_row(connection, &mut insert, push, now_ms, due_ms)?)),
        Err(refused) => Ok(Err(refused)),
    })
    .collect()
}

/// When a new job is due, if all of it fits its columns. The latest time is that of the column,
/// in 292 million years.
fn due(push: &Push, now_ms: u64) -> Result<u64, StoreError> {
    Ok(due_ms(&push.job, now_ms)?.min(i64::MAX.cast_unsigned()))
}

fn insert_row(
    connection: &Connection,
    insert: &mut CachedStatement<'_>,
    push: &Push,
    now_ms: u64,
    due_ms: u64,
) -> rusqlite::Result<Pushed> {
    let job = &push.job;
    insert.execute((
        number(due_ms),
        number(now_ms),
        job.max_retries,
        job.retry_delay_s,
        job.timeout_s,
        &job.category,
        &job.url,
        &job.payload,
    ))?;
    let id = connection.last_insert_rowid().cast_unsigned();
    Ok(Pushed { id, created_at_ms: now_ms, next_try_ms: due_ms })
}

/// Changes or removes the row of a job as its settlement says.
fn settle(
    connection: &Connection,
    tables: &Tables,
    settlement: &Settlement,
    now_ms: u64,
) -> rusqlite::Result<Settled> {
    let (id, created) = (number(settlement.job_id), number(settlement.created_at_ms));
    let (token, now) = (number(settlement.token.0), number(now_ms));
    let prepare = |statement: &Statement| connection.prepare_cached(&statement.on(tables));
    let changed = match &settlement.step {
        Step::Complete => prepare(&SQL.complete)?.execute((id, created))?,
        Step::Retry => prepare(&SQL.retry)?.execute((id, created, token, now))?,
        Step::Fail(result) => {
            let logged = prepare(&SQL.log_failure)?.execute((id, created, token, now, result))?;
            if logged > 0 {
                prepare(&SQL.complete)?.execute((id, created))?;
            }
            logged
        }
    };
    Ok(if changed > 0 { Settled::Stored } else { Settled::Gone })
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
        let (queue, standing, clock) =
            (Arc::clone(queue), standing.clone(), Arc::clone(&self.clock));
        self.writer.write(move |connection| {
            standing.check()?;
            let now_ms = clock.now_ms();
            on_tables(&queue, |tables| grab(connection, tables, room, standing.token(), now_ms))
        })
    }

    fn grabbed(&self, queue: &QueueName) -> Result<Vec<(JobId, Token)>, StoreError> {
        let queue = Arc::clone(queue);
        // By the writer, so that no grab is under way.
        self.writer.write(move |connection| {
            on_tables(&queue, |tables| {
                let mut grabbed = connection.prepare_cached(&SQL.grabbed.on(tables))?;
                grabbed.query_map((), |row| Ok((id_of(row, 0)?, Token(id_of(row, 1)?))))?.collect()
            })
        })
    }

    fn put_back(
        &self,
        queue: &QueueName,
        rows: &[(JobId, Token)],
        standing: Option<&Standing>,
    ) -> Result<u64, StoreError> {
        let (queue, rows, standing) = (Arc::clone(queue), rows.to_vec(), standing.cloned());
        self.writer.write(move |connection| {
            standing.as_ref().map_or(Ok(()), Standing::check)?;
            on_tables(&queue, |tables| {
                let mut put_back = connection.prepare_cached(&SQL.put_back.on(tables))?;
                let mut count = 0;
                for (id, token) in &rows {
                    count += put_back.execute((number(*id), number(token.0)))? as u64;
                }
                Ok(count)
            })
        })
    }
}

/// Takes up to `room` due jobs.
fn grab(
    connection: &Connection,
    tables: &Tables,
    room: usize,
    token: Token,
    now_ms: u64,
) -> rusqlite::Result<Vec<Job>> {
    let limit = i64::try_from(room).unwrap_or(i64::MAX);
    let mut jobs: Vec<Job> = connection
        .prepare_cached(&SQL.due_jobs.on(tables))?
        .query_map((number(now_ms), limit), job_of)?
        .collect::<rusqlite::Result<_>>()?;
    let mut grab = connection.prepare_cached(&SQL.grab.on(tables))?;
    for job in &mut jobs {
        grab.execute((number(job.id), number(token.0)))?;
        job.status = JobStatus::Grabbed;
    }
    Ok(jobs)
}

/// Works on the tables of a queue.
pub(super) fn on_tables<T>(
    queue: &str,
    work: impl FnOnce(&Tables) -> rusqlite::Result<T>,
) -> Result<T, Fault> {
    work(&Tables::of(queue)).map_err(|error| {
        if is_missing_table(&error) { no_such_queue(queue).into() } else { error.into() }
    })
}
