//! Jobs in, taken and out. All of it runs on the writer's thread, within its transactions.

use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, ToSql};

use super::fault::{Fault, is_missing_table};
use super::inspection::{id_of, job_of, number};
use super::statements::SQL;
use super::{Shared, SqliteStore};
use crate::job::{Job, JobId, JobStatus, NewJob};
use crate::store::election::{self, Elections, LeasedRows, Standing};
use crate::store::row::{by_queue, due_ms, no_such_queue};
use crate::store::sql::{Statement, Tables};
use crate::store::{
    Campaign, Jobs, Push, Pushed, QueueName, Settled, Settlement, Step, StoreError, Token,
};
use crate::wake::Wake;

/// Numbers of rows that a statement inserts: few kinds, which stay prepared.
const STATEMENT_ROWS: [usize; 4] = [64, 16, 4, 1];

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
    let (mut fitting, mut answers) = (Vec::new(), Vec::new());
    for push in rows {
        let due_ms = due(&push.job, now_ms);
        fitting.extend(due_ms.as_ref().ok().map(|&due_ms| (&*push.job, due_ms)));
        answers.push(due_ms.map(|due_ms| Pushed {
            id: 0,
            created_at_ms: now_ms,
            next_try_ms: due_ms,
            is_grabbed: false,
        }));
    }
    let ids = match insert(connection, &Tables::of(queue), &fitting, None, now_ms) {
        Err(error) if is_missing_table(&error) => {
            let missing = |answer: Result<Pushed, _>| answer.and(Err(no_such_queue(queue)));
            return Ok(answers.into_iter().map(missing).collect());
        }
        ids => ids?,
    };
    let stored = answers.iter_mut().filter_map(|answer| answer.as_mut().ok());
    stored.zip(ids).for_each(|(pushed, id)| pushed.id = id);
    Ok(answers)
}

/// When a new job is due, if all of it fits its columns. The latest time is that of the column,
/// in 292 million years.
fn due(job: &NewJob, now_ms: u64) -> Result<u64, StoreError> {
    Ok(due_ms(job, now_ms)?.min(i64::MAX.cast_unsigned()))
}

/// Stores one new job.
pub(super) fn insert_job(
    connection: &Connection,
    queue: &str,
    job: &NewJob,
    now_ms: u64,
) -> Result<Pushed, Fault> {
    let due_ms = due(job, now_ms)?;
    let ids =
        on_tables(queue, |tables| insert(connection, tables, &[(job, due_ms)], None, now_ms))?;
    let id = ids.first().copied().unwrap_or_default();
    Ok(Pushed { id, created_at_ms: now_ms, next_try_ms: due_ms, is_grabbed: false })
}

/// Inserts rows, each with the time when it is due, and answers their ids. They are grabbed if a
/// token says by whom.
fn insert(
    connection: &Connection,
    tables: &Tables,
    rows: &[(&NewJob, u64)],
    grabber: Option<Token>,
    now_ms: u64,
) -> rusqlite::Result<Vec<JobId>> {
    let statement = if grabber.is_some() { &SQL.push_grabbed } else { &SQL.push };
    let mut ids = Vec::with_capacity(rows.len());
    let mut rest = rows;
    while !rest.is_empty() {
        let length = STATEMENT_ROWS.into_iter().find(|&rows| rows <= rest.len()).unwrap_or(1);
        let (some, others) = rest.split_at(length);
        let mut insert = connection.prepare_cached(&statement.repeated(tables, length))?;
        bind_rows(&mut insert, some, grabber, now_ms)?;
        insert.raw_execute()?;
        // One after the other: nobody else inserts.
        let last = connection.last_insert_rowid().cast_unsigned();
        ids.extend(last + 1 - length as u64..=last);
        rest = others;
    }
    Ok(ids)
}

fn bind_rows(
    insert: &mut CachedStatement<'_>,
    rows: &[(&NewJob, u64)],
    grabber: Option<Token>,
    now_ms: u64,
) -> rusqlite::Result<()> {
    let mut place = 0;
    let mut bind = |value: &dyn ToSql| {
        place += 1;
        insert.raw_bind_parameter(place, value)
    };
    for (job, due_ms) in rows {
        bind(&number(*due_ms))?;
        if let Some(token) = grabber {
            bind(&number(token.0))?;
        }
        bind(&number(now_ms))?;
        bind(&job.max_retries)?;
        bind(&job.retry_delay_s)?;
        bind(&job.timeout_s)?;
        bind(&job.category)?;
        bind(&job.url)?;
        bind(&job.payload)?;
    }
    Ok(())
}

/// Stores rows of one queue as grabbed; `None`, and nothing stored, where a job is due or one of
/// the rows does not fit.
fn push_grabbed(
    connection: &Connection,
    tables: &Tables,
    rows: &[Push],
    token: Token,
    now_ms: u64,
) -> rusqlite::Result<Option<Vec<Pushed>>> {
    let mut any_due = connection.prepare_cached(&SQL.any_due.on(tables))?;
    if any_due.exists((number(now_ms),))? {
        return Ok(None);
    }
    let due = rows.iter().map(|push| Ok((&*push.job, due(&push.job, now_ms)?)));
    let Ok(rows) = due.collect::<Result<Vec<(&NewJob, u64)>, StoreError>>() else {
        return Ok(None);
    };
    let ids = insert(connection, tables, &rows, Some(token), now_ms)?;
    let pushed = |(id, (_, due_ms)): (JobId, (&NewJob, u64))| Pushed {
        id,
        created_at_ms: now_ms,
        next_try_ms: due_ms,
        is_grabbed: true,
    };
    Ok(Some(ids.into_iter().zip(rows).map(pushed).collect()))
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
    let tries = settlement.fail_count;
    let prepare = |statement: &Statement| connection.prepare_cached(&statement.on(tables));
    let changed = match &settlement.step {
        Step::Complete => prepare(&SQL.complete)?.execute((id, created))?,
        Step::Retry => prepare(&SQL.retry)?.execute((id, created, token, now, tries))?,
        Step::Fail(result) => {
            let failure = (id, created, token, now, tries, result);
            let logged = prepare(&SQL.log_failure)?.execute(failure)?;
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

    fn push_grabbed(
        &self,
        queue: &QueueName,
        batch: &[Push],
        standing: &Standing,
    ) -> Result<Option<Vec<Pushed>>, StoreError> {
        let (queue, rows) = (Arc::clone(queue), batch.to_vec());
        let (standing, clock) = (standing.clone(), Arc::clone(&self.clock));
        self.writer.write(move |connection| {
            if standing.check().is_err() {
                return Ok(None);
            }
            let now_ms = clock.now_ms();
            let (tables, token) = (Tables::of(&queue), standing.token());
            match push_grabbed(connection, &tables, &rows, token, now_ms) {
                Err(error) if is_missing_table(&error) => Ok(None),
                stored => Ok(stored?),
            }
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
