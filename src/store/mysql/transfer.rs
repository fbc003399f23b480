//! Rows as they are, for copying from one store to another.

use mysql::prelude::FromRow;
use mysql::{Params, Value};

use super::MySqlStore;
use super::failure_log::{FailureRow, failure_of};
use super::fault::code;
use super::inspection::{JobRow, Text, job_of};
use super::schema;
use crate::job::{Failure, Job, JobId};
use crate::queue_definition::table_suffix;
use crate::store::sql::{Statement, Tables, queue_of_table, statements};
use crate::store::{CopyNote, LastIds, StoreError, Transfer};

/// The most that a statement takes beside the texts and payloads of its row, in bytes.
const EXTRA_BYTES: usize = 256;

statements! {
    /// Rows as they are.
    TRANSFER: TransferStatements = "transfer.sql" {
        tables, describe_jobs, describe_failures, jobs_after, failures_after, import_job,
        import_failure, create_copied, copy_note, put_copy_note, jobs_copied, failures_copied,
        reserve_job_ids, reserve_failure_ids,
    }
}

impl Transfer for MySqlStore {
    fn queues_with_tables(&self) -> Result<Vec<String>, StoreError> {
        let sql = TRANSFER.tables.text();
        let tables: Vec<(String,)> = self.queues.with(|session| session.query_rows(&sql))?;
        let mut queues: Vec<String> =
            tables.iter().filter_map(|(table,)| queue_of_table(table)).map(str::to_owned).collect();
        queues.sort();
        queues.dedup();
        Ok(queues)
    }

    fn last_ids(&self, queue: &str) -> Result<LastIds, StoreError> {
        let tables = Tables::of(queue);
        let last_id = |describe: &Statement| {
            // The name of the table, and how to create it.
            let described: Vec<(String, String)> = self.rows_if_any(&describe.on(&tables), ())?;
            let next_id = described.first().and_then(|(_, definition)| next_id(definition));
            Ok::<_, StoreError>(next_id.map_or(0, |next_id| next_id.saturating_sub(1)))
        };
        Ok(LastIds {
            job: last_id(&TRANSFER.describe_jobs)?,
            failure: last_id(&TRANSFER.describe_failures)?,
        })
    }

    fn copy_note(&self, queue: &str) -> Result<Option<CopyNote>, StoreError> {
        let rows = self.rows_if_any(&TRANSFER.copy_note.text(), (table_suffix(queue),))?;
        Ok(rows.first().map(|&(job, failure, last_job, last_failure)| CopyNote {
            arrived: LastIds { job, failure },
            last: LastIds { job: last_job, failure: last_failure },
        }))
    }

    fn begin_copy(&self, queue: &str, note: CopyNote) -> Result<(), StoreError> {
        schema::ensure_queue_tables(&self.queues, queue)?;
        let CopyNote { arrived, last } = note;
        let (job, failure) = (arrived.job, arrived.failure);
        let values =
            (table_suffix(queue), job, failure, last.job, last.failure, last.job, last.failure);
        self.queues.with(|session| {
            session.run(TRANSFER.create_copied.text())?;
            session.execute(&TRANSFER.put_copy_note.text(), values.clone())
        })?;
        // After the note: without it, ids that are reserved look like ids that were used.
        let given = self.last_ids(queue)?;
        for (given, last, reserve) in [
            (given.job, last.job, &TRANSFER.reserve_job_ids),
            (given.failure, last.failure, &TRANSFER.reserve_failure_ids),
        ] {
            if given < last {
                let sql = reserve.on(&Tables::of(queue));
                self.queues.with(|session| {
                    session.transaction_if(|session| {
                        session.execute(&sql, (last,))?;
                        Ok(None::<()>)
                    })
                })?;
            }
        }
        Ok(())
    }

    fn check_fit(&self, bytes: usize) -> Result<(), StoreError> {
        let max_packet = self.queues.with(|session| Ok(session.max_packet()))?;
        if bytes + EXTRA_BYTES <= max_packet {
            return Ok(());
        }
        Err(StoreError::TooLarge(format!(
            "it takes {bytes} bytes and does not fit the database server's max_allowed_packet of \
             {max_packet} bytes"
        )))
    }

    fn jobs_after(&self, queue: &str, after: JobId, limit: usize) -> Result<Vec<Job>, StoreError> {
        let rows: Vec<JobRow> = self.read(queue, &TRANSFER.jobs_after, (after, limit))?;
        for (id, category, url, ..) in &rows {
            check_texts(queue, "job", *id, [category, url])?;
        }
        Ok(rows.into_iter().map(job_of).collect())
    }

    fn failures_after(
        &self,
        queue: &str,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Failure>, StoreError> {
        let rows: Vec<FailureRow> = self.read(queue, &TRANSFER.failures_after, (after, limit))?;
        for (id, _, category, url, ..) in &rows {
            check_texts(queue, "failure", *id, [category, url])?;
        }
        Ok(rows.into_iter().map(failure_of).collect())
    }

    fn import_jobs(&self, queue: &str, jobs: &[Job]) -> Result<(), StoreError> {
        let rows = jobs.iter().map(job_values).collect();
        let Some(last) = jobs.last() else { return Ok(()) };
        self.import(queue, &TRANSFER.import_job, rows, &TRANSFER.jobs_copied, last.id)
    }

    fn import_failures(&self, queue: &str, failures: &[Failure]) -> Result<(), StoreError> {
        let rows = failures.iter().map(failure_values).collect();
        let Some(last) = failures.last() else { return Ok(()) };
        self.import(queue, &TRANSFER.import_failure, rows, &TRANSFER.failures_copied, last.id)
    }
}

impl MySqlStore {
    fn import(
        &self,
        queue: &str,
        statement: &Statement,
        rows: Vec<Vec<Value>>,
        note: &Statement,
        last: u64,
    ) -> Result<(), StoreError> {
        let sql = statement.on(&Tables::of(queue));
        self.inspect(queue, |session| {
            session.transaction(|session| {
                for row in &rows {
                    session.execute(&sql, Params::Positional(row.clone()))?;
                }
                session.execute(&note.text(), (last, table_suffix(queue)))?;
                Ok(())
            })
        })
    }

    /// The rows that a statement finds; none where its table is not there.
    fn rows_if_any<T: FromRow>(
        &self,
        sql: &str,
        values: impl Into<Params>,
    ) -> Result<Vec<T>, StoreError> {
        let values = values.into();
        match self.queues.with_repeats(|session| session.rows(sql, values.clone())) {
            Err(fault) if fault.code() == Some(code::NO_SUCH_TABLE) => Ok(Vec::new()),
            rows => Ok(rows?),
        }
    }
}

/// Elsewhere these columns may hold text only, and bytes that are none would come out as others.
fn check_texts(queue: &str, what: &str, id: u64, texts: [&Text; 2]) -> Result<(), StoreError> {
    if texts.into_iter().flatten().all(|text| std::str::from_utf8(text).is_ok()) {
        return Ok(());
    }
    Err(StoreError::Rejected(format!(
        "queue {queue}, {what} {id}: its category or its URL is not UTF-8, which no copy would \
         keep; delete it first"
    )))
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
