//! Looking into queues, a page at a time along an index.

use mysql::{Error, Params};

use super::MySqlStore;
use super::fault::{Fault, code};
use super::session::Session;
use crate::job::{Job, JobId, JobStatus};
use crate::store::sql::{Statement, Tables, statements};
use crate::store::{
    Backlog, Direction, Holder, Inspection, Listing, Page, Position, QueueName, StoreError,
};

statements! {
    /// Looking into a queue.
    INSPECTION: InspectionStatements = "inspection.sql" {
        jobs_ascending, jobs_descending, job, lock_job, delete_job, backlog, backlogs,
    }
}

/// Text columns that rows of older nodes may have no value in.
pub(super) type Text = Option<Vec<u8>>;
/// A job's columns as the statements select them.
pub(super) type JobRow = (JobId, Text, Text, Text, Vec<u8>, u64, u64, u32, u32, u32, Option<u32>);
/// The figures of a backlog, and when the job that waits longest was due.
type BacklogRow = (u64, u64, u64, u64, Option<u64>);

/// Rows of one status that one statement counts at the most, if it counts those of several queues.
const BACKLOG_ROWS: u64 = 200_000;

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

    fn backlogs(
        &self,
        queues: &[QueueName],
        most: u64,
    ) -> Result<Vec<Option<Backlog>>, StoreError> {
        let mut backlogs = Vec::with_capacity(queues.len());
        let at_once = usize::try_from(BACKLOG_ROWS / most.max(1)).unwrap_or(1).clamp(1, 50);
        for some in queues.chunks(at_once) {
            let tables: Vec<Tables> = some.iter().map(|queue| Tables::of(queue)).collect();
            match self.backlogs_of(&tables, most) {
                Err(StoreError::NotFound(_)) => {
                    // Somebody dropped tables: the others still have theirs.
                    for tables in tables {
                        match self.backlogs_of(&[tables], most) {
                            Err(StoreError::NotFound(_)) => backlogs.push(None),
                            one => backlogs.extend(one?.into_iter().map(Some)),
                        }
                    }
                }
                all => backlogs.extend(all?.into_iter().map(Some)),
            }
        }
        Ok(backlogs)
    }

    fn holder(&self, queue: &str) -> Result<Option<Holder>, StoreError> {
        self.elector.holder(queue)
    }
}

/// Before every row: ids begin with 1.
const FIRST: Position = Position { at_ms: 0, id: 0 };
/// After every row.
pub(super) const LAST: Position = Position { at_ms: u64::MAX, id: u64::MAX };

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

    /// The backlogs of queues that have tables, by one statement.
    fn backlogs_of(&self, tables: &[Tables], most: u64) -> Result<Vec<Backlog>, StoreError> {
        let (now_ms, rows): (u64, Vec<BacklogRow>) = self.queues.with(|session| {
            let now_ms = session.server_ms()?;
            let numbers = [now_ms, most, now_ms, most, most, most, now_ms];
            let union = INSPECTION.backlog.union(tables, &numbers);
            let sql = INSPECTION.backlogs.with(&Tables::default(), &[[union]]);
            Ok((now_ms, session.query_rows(&sql)?))
        })?;
        Ok(rows.into_iter().map(|row| backlog_of(row, now_ms)).collect())
    }

    /// Deletes a row and answers what it was, which nobody changes in between.
    pub(super) fn delete<T: mysql::prelude::FromRow>(
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

fn backlog_of(row: BacklogRow, now_ms: u64) -> Backlog {
    let (waiting, deferred, running, failed, oldest_waiting_at_ms) = row;
    Backlog {
        waiting,
        deferred,
        running,
        failed,
        oldest_waiting_at_ms,
        oldest_waiting_ms: oldest_waiting_at_ms.map_or(0, |at_ms| now_ms.saturating_sub(at_ms)),
    }
}

pub(super) fn text_of(text: Text) -> String {
    String::from_utf8_lossy(&text.unwrap_or_default()).into_owned()
}
