//! Rows as they are, for copying from one store to another.

use mysql::{Error, Params, Value};

use super::MySqlStore;
use super::failure_log::failure_of;
use super::inspection::job_of;
use super::session::Session;
use crate::job::{Failure, Job, JobId};
use crate::store::sql::{Statement, Tables, statements};
use crate::store::{LastIds, StoreError, Transfer};

statements! {
    /// Rows as they are.
    TRANSFER: TransferStatements = "transfer.sql" {
        describe_jobs, describe_failures, jobs_after, failures_after, import_job, import_failure,
    }
}

impl Transfer for MySqlStore {
    fn last_ids(&self, queue: &str) -> Result<LastIds, StoreError> {
        let tables = Tables::of(queue);
        self.inspect(queue, |session| {
            Ok(LastIds {
                job: last_id(session, &TRANSFER.describe_jobs, &tables)?,
                failure: last_id(session, &TRANSFER.describe_failures, &tables)?,
            })
        })
    }

    fn jobs_after(&self, queue: &str, after: JobId, limit: usize) -> Result<Vec<Job>, StoreError> {
        let rows = self.read(queue, &TRANSFER.jobs_after, (after, limit))?;
        Ok(rows.into_iter().map(job_of).collect())
    }

    fn failures_after(
        &self,
        queue: &str,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Failure>, StoreError> {
        let rows = self.read(queue, &TRANSFER.failures_after, (after, limit))?;
        Ok(rows.into_iter().map(failure_of).collect())
    }

    fn import_jobs(&self, queue: &str, jobs: &[Job]) -> Result<(), StoreError> {
        let rows = jobs.iter().map(job_values).collect();
        self.import(queue, &TRANSFER.import_job, rows)
    }

    fn import_failures(&self, queue: &str, failures: &[Failure]) -> Result<(), StoreError> {
        let rows = failures.iter().map(failure_values).collect();
        self.import(queue, &TRANSFER.import_failure, rows)
    }
}

impl MySqlStore {
    fn import(
        &self,
        queue: &str,
        statement: &Statement,
        rows: Vec<Vec<Value>>,
    ) -> Result<(), StoreError> {
        let sql = statement.on(&Tables::of(queue));
        self.inspect(queue, |session| {
            session.transaction(|session| {
                for row in &rows {
                    session.execute(&sql, Params::Positional(row.clone()))?;
                }
                Ok(())
            })
        })
    }
}

fn job_values(job: &Job) -> Vec<Value> {
    vec![
        job.id.into(),
        job.next_try_ms.into(),
        job.created_at_ms.into(),
        job.retry_count.into(),
        job.retry_delay_s.into(),
        job.fail_count.into(),
        job.timeout_s.into(),
        job.category.as_str().into(),
        job.url.as_str().into(),
        job.payload.as_slice().into(),
    ]
}

fn failure_values(failure: &Failure) -> Vec<Value> {
    vec![
        failure.id.into(),
        failure.job_id.into(),
        failure.fail_count.into(),
        failure.failed_at_ms.into(),
        failure.created_at_ms.into(),
        failure.category.as_str().into(),
        failure.url.as_str().into(),
        failure.payload.as_slice().into(),
        failure.result.as_slice().into(),
    ]
}

/// The last id that a table has given, from what the server says of the table.
fn last_id(session: &mut Session, describe: &Statement, tables: &Tables) -> Result<u64, Error> {
    let rows: Vec<(String, String)> = session.query_rows(describe.on(tables))?;
    let next_id = rows.first().and_then(|(_, definition)| next_id(definition));
    Ok(next_id.map_or(0, |next_id| next_id.saturating_sub(1)))
}

/// The number behind `AUTO_INCREMENT=`, which is left out while no id has been given.
fn next_id(definition: &str) -> Option<u64> {
    let (_, rest) = definition.rsplit_once("AUTO_INCREMENT=")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_id_is_read_from_the_definition() {
        let definition = "CREATE TABLE `t` (\n `id` bigint AUTO_INCREMENT\n) ENGINE=InnoDB \
                          AUTO_INCREMENT=42 DEFAULT CHARSET=binary";
        assert_eq!(next_id(definition), Some(42));
        assert_eq!(next_id("CREATE TABLE `t` (`id` bigint AUTO_INCREMENT) ENGINE=InnoDB"), None);
    }
}
