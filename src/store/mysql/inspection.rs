//! Looking into queues and their failure logs, a page at a time along an index.

use mysql::{Error, Params};

use super::MySqlStore;
use super::fault::{Fault, code};
use super::session::Session;
use crate::job::{Failure, Job, JobId, JobStatus};
use crate::store::sql::{Statement, Tables, statements};
use crate::store::{
    Direction, FailureOrder, Holder, Inspection, Listing, Page, Position, StoreError,
};

statements! {
    /// Looking into a queue and its failure log.
    INSPECTION: InspectionStatements = "inspection.sql" {
        jobs_ascending, jobs_descending, job, lock_job, delete_job,
        failures_by_failure, failures_by_creation, failure, lock_failure, delete_failure,
    }
}

/// Text columns that rows of older nodes may have no value in.
type Text = Option<Vec<u8>>;
/// A job's columns as the statements select them.
type JobRow = (JobId, Text, Text, Text, Vec<u8>, u64, u64, u32, u32, u32, Option<u32>);
/// A failure's columns as the statements select them.
type FailureRow = (u64, JobId, Text, Text, Text, Text, u32, u64, u64);

impl Inspection for MySqlStore {
    fn jobs(&self, queue: &str, listing: Listing, page: &Page) -> Result<Vec<Job>, StoreError> {
        let (statement, first) = match page.direction {
            Direction::Ascending => (&INSPECTION.jobs_ascending, FIRST),
            Direction::Descending => (&INSPECTION.jobs_descending, LAST),
        };
        let status = match listing {
            Listing::Grabbed => JobStatus::Grabbed,
            Listing::Waiting | Listing::Deferred => JobStatus::Claimed,
        };
        let Position { at_ms, id } = page.after.unwrap_or(first);
        let values = (
            status.as_str(),
            listing == Listing::Deferred,
            listing == Listing::Waiting,
            at_ms,
            at_ms,
            id,
            page.limit,
        );
        let rows = self.read(queue, statement, values)?;
        Ok(rows.into_iter().map(job_of).collect())
    }

    fn job(&self, queue: &str, id: JobId) -> Result<Option<Job>, StoreError> {
        let rows = self.read(queue, &INSPECTION.job, (id,))?;
        Ok(rows.into_iter().next().map(job_of))
    }

    fn delete_job(&self, queue: &str, id: JobId) -> Result<Option<Job>, StoreError> {
        let row = self.delete(queue, &INSPECTION.lock_job, &INSPECTION.delete_job, id)?;
        Ok(row.map(job_of))
    }

    fn failures(
        &self,
        queue: &str,
        order: FailureOrder,
        page: &Page,
    ) -> Result<Vec<Failure>, StoreError> {
        let Position { at_ms, id } = page.after.unwrap_or(LAST);
        let rows = match order {
            FailureOrder::Failed => {
                self.read(queue, &INSPECTION.failures_by_failure, (id, page.limit))
            }
            FailureOrder::Created => {
                let values = (at_ms, at_ms, id, page.limit);
                self.read(queue, &INSPECTION.failures_by_creation, values)
            }
        }?;
        Ok(rows.into_iter().map(failure_of).collect())
    }

    fn failure(&self, queue: &str, id: u64) -> Result<Option<Failure>, StoreError> {
        let rows = self.read(queue, &INSPECTION.failure, (id,))?;
        Ok(rows.into_iter().next().map(failure_of))
    }

    fn delete_failure(&self, queue: &str, id: u64) -> Result<Option<Failure>, StoreError> {
        let row = self.delete(queue, &INSPECTION.lock_failure, &INSPECTION.delete_failure, id)?;
        Ok(row.map(failure_of))
    }

    fn holder(&self, queue: &str) -> Result<Option<Holder>, StoreError> {
        self.elector.holder(queue)
    }
}

/// Before every row: ids begin with 1.
const FIRST: Position = Position { at_ms: 0, id: 0 };
/// After every row.
const LAST: Position = Position { at_ms: u64::MAX, id: u64::MAX };

impl MySqlStore {
    pub(super) fn read<T: mysql::prelude::FromRow>(
        &self,
        queue: &str,
        statement: &Statement,
        values: impl Into<Params>,
    ) -> Result<Vec<T>, StoreError> {
        let sql = statement.on(&Tables::of(queue));
        let values = values.into();
        self.inspect(queue, |session| session.rows(&sql, values.clone()))
    }

    /// Deletes a row and answers what it was, which nobody changes in between.
    fn delete<T: mysql::prelude::FromRow>(
        &self,
        queue: &str,
        lock: &Statement,
        delete: &Statement,
        id: u64,
    ) -> Result<Option<T>, StoreError> {
        let tables = Tables::of(queue);
        let (lock, delete) = (lock.on(&tables), delete.on(&tables));
        self.inspect(queue, |session| {
            session.transaction(|session| {
                let row = session.row(&lock, (id,))?;
                if row.is_some() {
                    session.execute(&delete, (id,))?;
                }
                Ok(row)
            })
        })
    }

    pub(super) fn inspect<T>(
        &self,
        queue: &str,
        work: impl FnMut(&mut Session) -> Result<T, Error>,
    ) -> Result<T, StoreError> {
        self.queues.with_repeats(work).map_err(|fault: Fault| match fault.code() {
            Some(code::NO_SUCH_TABLE) => {
                StoreError::NotFound(format!("there is no queue {queue:?}"))
            }
            _ => fault.into(),
        })
    }
}

pub(super) fn job_of(row: JobRow) -> Job {
    let (
        id,
        category,
        url,
        payload,
        status,
        created_at_ms,
        next_try_ms,
        retries,
        delay,
        fails,
        timeout,
    ) = row;
    Job {
        id,
        category: text_of(category),
        url: text_of(url),
        payload: payload.unwrap_or_default(),
        status: if status == b"grabbed" { JobStatus::Grabbed } else { JobStatus::Claimed },
        created_at_ms,
        next_try_ms,
        retry_count: retries,
        retry_delay_s: delay,
        fail_count: fails,
        timeout_s: timeout.unwrap_or(0),
    }
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

fn text_of(text: Text) -> String {
    String::from_utf8_lossy(&text.unwrap_or_default()).into_owned()
}
