//! Rows as they are, for copying from one store to another.

use rusqlite::Connection;

use super::SqliteStore;
use super::failure_log::failure_of;
use super::inspection::{id_of, job_of, number, rows};
use super::jobs::on_tables;
use super::statements::SQL;
use crate::job::{Failure, Job, JobId};
use crate::store::sql::{Statement, Tables};
use crate::store::{LastIds, StoreError, Transfer};

impl Transfer for SqliteStore {
    fn last_ids(&self, queue: &str) -> Result<LastIds, StoreError> {
        self.shared.gate.read(|connection| {
            on_tables(queue, |tables| {
                // Asked for, so that a queue without tables is not taken for an empty one.
                rows(connection, &SQL.jobs_after.on(tables), (0, 0), job_of)?;
                let last_id = |statement: &Statement| -> rusqlite::Result<u64> {
                    let ids = rows(connection, &statement.on(tables), (), |row| id_of(row, 0))?;
                    Ok(ids.first().copied().unwrap_or(0))
                };
                Ok(LastIds {
                    job: last_id(&SQL.last_job_id)?,
                    failure: last_id(&SQL.last_failure_id)?,
                })
            })
        })
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
            on_tables(&queue, |tables| import_jobs(connection, tables, &jobs))
        })
    }

    fn import_failures(&self, queue: &str, failures: &[Failure]) -> Result<(), StoreError> {
        let (queue, failures) = (queue.to_owned(), failures.to_vec());
        self.shared.writer.write(move |connection| {
            on_tables(&queue, |tables| import_failures(connection, tables, &failures))
        })
    }
}

fn import_jobs(connection: &Connection, tables: &Tables, jobs: &[Job]) -> rusqlite::Result<()> {
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
    Ok(())
}

fn import_failures(
    connection: &Connection,
    tables: &Tables,
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
    Ok(())
}
