//! Rows as they are, for copying from one store to another.

use rusqlite::{Connection, Params, Row};

use super::SqliteStore;
use super::definitions::create_tables;
use super::failure_log::failure_of;
use super::fault::{Fault, is_missing_table};
use super::inspection::{id_of, job_of, number, rows};
use super::jobs::on_tables;
use super::statements::SQL;
use crate::job::{Failure, Job, JobId};
use crate::queue_definition::table_suffix;
use crate::store::sql::{Statement, Tables, queue_of_table};
use crate::store::{CopyNote, LastIds, StoreError, Transfer};

impl Transfer for SqliteStore {
    fn queues_with_tables(&self) -> Result<Vec<String>, StoreError> {
        let tables: Vec<String> = self
            .shared
            .gate
            .read(|connection| Ok(rows(connection, &SQL.tables.text(), (), |row| row.get(0))?))?;
        let mut queues: Vec<String> =
            tables.iter().filter_map(|table| queue_of_table(table)).map(str::to_owned).collect();
        queues.sort();
        queues.dedup();
        Ok(queues)
    }

    fn last_ids(&self, queue: &str) -> Result<LastIds, StoreError> {
        self.shared.gate.read(|connection| last_ids(connection, &Tables::of(queue)))
    }

    fn copy_note(&self, queue: &str) -> Result<Option<CopyNote>, StoreError> {
        let note = |row: &Row<'_>| {
            Ok(CopyNote {
                arrived: LastIds { job: id_of(row, 0)?, failure: id_of(row, 1)? },
                last: LastIds { job: id_of(row, 2)?, failure: id_of(row, 3)? },
            })
        };
        self.shared.gate.read(|connection| {
            first_if_any(connection, &SQL.copy_note.text(), (table_suffix(queue),), note)
        })
    }

    fn begin_copy(&self, queue: &str, note: CopyNote) -> Result<(), StoreError> {
        let queue = queue.to_owned();
        self.shared.writer.write(move |connection| {
            let CopyNote { arrived, last } = note;
            create_tables(connection, &queue)?;
            connection.execute(&SQL.create_copied.text(), ())?;
            connection.execute(
                &SQL.put_copy_note.text(),
                (
                    table_suffix(&queue),
                    number(arrived.job),
                    number(arrived.failure),
                    number(last.job),
                    number(last.failure),
                ),
            )?;
            let tables = Tables::of(&queue);
            let given = last_ids(connection, &tables)?;
            for (given, last, reserve) in [
                (given.job, last.job, &SQL.reserve_job_ids),
                (given.failure, last.failure, &SQL.reserve_failure_ids),
            ] {
                if given < last {
                    connection.execute(&reserve.on(&tables), (number(last),))?;
                }
            }
            Ok(())
        })
    }

    fn check_fit(&self, _bytes: usize) -> Result<(), StoreError> {
        Ok(())
    }

    fn jobs_after(&self, queue: &str, after: JobId, limit: usize) -> Result<Vec<Job>, StoreError> {
        let values = (number(after), number(limit as u64));
        self.read(queue, &SQL.jobs_after, values, job_of)
    }

    fn failures_after(
        &self,
        queue: &str,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Failure>, StoreError> {
        let values = (number(after), number(limit as u64));
        self.read(queue, &SQL.failures_after, values, failure_of)
    }

    fn import_jobs(&self, queue: &str, jobs: &[Job]) -> Result<(), StoreError> {
        let (queue, jobs) = (queue.to_owned(), jobs.to_vec());
        self.shared.writer.write(move |connection| {
            on_tables(&queue, |tables| import_jobs(connection, tables, &queue, &jobs))
        })
    }

    fn import_failures(&self, queue: &str, failures: &[Failure]) -> Result<(), StoreError> {
        let (queue, failures) = (queue.to_owned(), failures.to_vec());
        self.shared.writer.write(move |connection| {
            on_tables(&queue, |tables| import_failures(connection, tables, &queue, &failures))
        })
    }
}

/// The last ids that the tables of a queue have given.
fn last_ids(connection: &Connection, tables: &Tables) -> Result<LastIds, Fault> {
    let last_id = |statement: &Statement| {
        let id = first_if_any(connection, &statement.on(tables), (), |row| id_of(row, 0))?;
        Ok::<_, Fault>(id.unwrap_or(0))
    };
    Ok(LastIds { job: last_id(&SQL.last_job_id)?, failure: last_id(&SQL.last_failure_id)? })
}

/// The first row of a table that may not be there.
fn first_if_any<T>(
    connection: &Connection,
    sql: &str,
    values: impl Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, Fault> {
    let found = connection
        .prepare_cached(sql)
        .and_then(|mut select| select.query_map(values, read)?.next().transpose());
    match found {
        Err(error) if is_missing_table(&error) => Ok(None),
        found => Ok(found?),
    }
}

/// Notes the last row that has been copied into a queue.
fn note(
    connection: &Connection,
    statement: &Statement,
    queue: &str,
    last: Option<u64>,
) -> rusqlite::Result<()> {
    if let Some(last) = last {
        connection.execute(&statement.text(), (number(last), table_suffix(queue)))?;
    }
    Ok(())
}

fn import_jobs(
    connection: &Connection,
    tables: &Tables,
    queue: &str,
    jobs: &[Job],
) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(&SQL.import_job.on(tables))?;
    for job in jobs {
        insert.execute((
            number(job.id),
            number(job.next_try_ms),
            number(job.created_at_ms),
            job.retry_count,
            job.retry_delay_s,
            job.fail_count,
            job.timeout_s,
            &job.category,
            &job.url,
            &job.payload,
        ))?;
    }
    note(connection, &SQL.jobs_copied, queue, jobs.last().map(|job| job.id))
}

fn import_failures(
    connection: &Connection,
    tables: &Tables,
    queue: &str,
    failures: &[Failure],
) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(&SQL.import_failure.on(tables))?;
    for failure in failures {
        insert.execute((
            number(failure.id),
            number(failure.job_id),
            failure.fail_count,
            number(failure.failed_at_ms),
            number(failure.created_at_ms),
            &failure.category,
            &failure.url,
            &failure.payload,
            &failure.result,
        ))?;
    }
    note(connection, &SQL.failures_copied, queue, failures.last().map(|failure| failure.id))
}
