//! A lease on a queue: what the primary does to the rows of its jobs.
//!
//! Called by the thread that polls the queue; runs on pooled sessions. Statements go as text, so
//! that each is one round trip however many queues and sizes of batches there are.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use mysql::Conn;
use mysql::prelude::Queryable;

use super::LEASE;
use super::look::Looks;
use super::session::quoted;
use super::standing::Fence;
use crate::job::{Job, JobId, JobStatus};
use crate::store::mysql::fault::Fault;
use crate::store::mysql::pool::{Pool, last_start_from_now};
use crate::store::mysql::push;
use crate::store::sql::{Statement, Tables};
use crate::store::{Lease, Push, Pushed, QueueName, StoreError, Token};

/// How many rows one statement changes at most.
const ROWS_A_STATEMENT: usize = 1000;
/// How many bytes of URLs and payloads are grabbed at once, but for a single job that takes more.
const BYTES_A_GRAB: usize = 64 << 20;
/// How many jobs the first statement asks for at most; see `due`.
const FIRST_BATCH: usize = 64;

/// The lease on one queue.
pub(super) struct QueueLease {
    queue: QueueName,
    tables: Tables,
    token: Token,
    fence: Fence,
    /// Set when the campaign is over, before the queue's lock is released.
    given_up: AtomicBool,
    /// How many due jobs the next statement asks for at most.
    fitting: AtomicUsize,
    pool: Arc<Pool>,
    looks: Arc<Looks>,
}

impl QueueLease {
    pub(super) fn new(
        queue: QueueName,
        token: Token,
        fence: Fence,
        pool: Arc<Pool>,
        looks: Arc<Looks>,
    ) -> QueueLease {
        let tables = Tables::of(&queue);
        let given_up = AtomicBool::new(false);
        let fitting = AtomicUsize::new(FIRST_BATCH);
        QueueLease { queue, tables, token, fence, given_up, fitting, pool, looks }
    }

    /// Ends it, while the session and its other leases go on.
    pub(super) fn give_up(&self) {
        self.given_up.store(true, Ordering::Release);
    }

    fn ensure_held(&self) -> Result<(), StoreError> {
        if self.is_held() {
            return Ok(());
        }
        Err(StoreError::Unavailable(format!("the lease on {} has ended", self.queue)))
    }

    /// Grabs the due jobs that come first, at most `room` and as many as one statement should name.
    /// They take at most `space` bytes, but for a single one that takes more.
    fn grab_batch(&self, room: usize, space: usize) -> Result<Batch, StoreError> {
        let mut batch = self.due(room, space)?;
        if batch.jobs.is_empty() {
            return Ok(batch);
        }
        let mut ids: Vec<JobId> = batch.jobs.iter().map(|job| job.id).collect();
        ids.sort_unstable();
        let changed = self.mark(&ids)?;
        if changed != ids.len() as u64 {
            // Somebody deleted some of them, or the lease has ended.
            let marked = if changed == 0 { HashSet::new() } else { self.marked(&ids)? };
            batch.jobs.retain(|job| marked.contains(&job.id));
            batch.is_last = true;
        }
        Ok(batch)
    }

    /// The due jobs that come first, as far as they fit into memory.
    ///
    /// What does not fit has to be read off the connection all the same. So the next statement asks
    /// for as many as did, and those after it for more again. Where a statement fails, the jobs
    /// may be too much for the time that it has; the next one asks for fewer.
    fn due(&self, room: usize, space: usize) -> Result<Batch, StoreError> {
        let limit = room.min(self.fitting.load(Ordering::Relaxed));
        let read = self.read_due(limit, space);
        let fitting = match &read {
            Ok((_, true)) => (2 * limit).max(FIRST_BATCH),
            Ok((jobs, false)) => jobs.len().max(1),
            Err(_) => (limit / 2).max(1),
        };
        self.fitting.store(fitting.min(ROWS_A_STATEMENT), Ordering::Relaxed);
        let (jobs, all_fit) = read?;
        let is_last = !all_fit || jobs.len() < limit;
        Ok(Batch { jobs, is_last })
    }

    /// At most `limit` due jobs, and whether all of them fit into `space` bytes.
    fn read_due(&self, limit: usize, space: usize) -> Result<(Vec<Job>, bool), StoreError> {
        let statement = LEASE.due_jobs.with(&self.tables, &[[limit]]);
        self.pool.with(|session| {
            let (mut jobs, mut bytes, mut all_fit) = (Vec::new(), 0, true);
            // To the end in any case: what is left unread would be taken for the next answer.
            for columns in session.query_iter(&statement)? {
                let columns = columns?;
                if all_fit {
                    let job = job(mysql::from_row_opt(columns)?);
                    bytes += size(&job);
                    all_fit = jobs.is_empty() || bytes <= space;
                    if all_fit {
                        jobs.push(job);
                    }
                }
            }
            Ok((jobs, all_fit))
        })
    }

    /// Marks waiting jobs as ours; answers how many.
    fn mark(&self, ids: &[JobId]) -> Result<u64, StoreError> {
        self.pool.with(|session| {
            let [queue_lock, fence_lock] = self.quoted_locks(session);
            let values = [self.token.0.to_string(), queue_lock, fence_lock];
            session.run(filled(&LEASE.grab_jobs, &self.tables, ids, &values))
        })
    }

    /// Which of these jobs carry our token.
    fn marked(&self, ids: &[JobId]) -> Result<HashSet<JobId>, StoreError> {
        let values = [self.token.0.to_string()];
        let statement = filled(&LEASE.jobs_grabbed_by, &self.tables, ids, &values);
        self.pool.with(|session| Ok(session.query_rows(&statement)?.into_iter().collect()))
    }

    /// A page of grabbed rows after the one given.
    fn grabbed_after(&self, last: Grabbed) -> Result<Vec<Grabbed>, StoreError> {
        let at_ms = last.next_try_ms.to_string();
        let values = [at_ms.clone(), at_ms, last.job_id.to_string(), ROWS_A_STATEMENT.to_string()];
        let statement = filled(&LEASE.grabbed_jobs, &self.tables, &[], &values);
        let rows = self.pool.with(|session| session.query_rows(&statement))?;
        let grabbed =
            |(job_id, grabber_id, next_try_ms)| Grabbed { job_id, grabber_id, next_try_ms };
        Ok(rows.into_iter().map(grabbed).collect())
    }

    /// Puts jobs back to waiting that are still grabbed by `grabber_id`.
    fn recover_from(&self, grabber_id: Option<u64>, ids: &[JobId]) -> Result<u64, StoreError> {
        let grabber_id = grabber_id.map_or("NULL".to_owned(), |id| id.to_string());
        self.pool.with(|session| {
            let [queue_lock, fence_lock] = self.quoted_locks(session);
            let values = [grabber_id.clone(), queue_lock, fence_lock];
            session.run(filled(&LEASE.recover_jobs, &self.tables, ids, &values))
        })
    }

    fn quoted_locks(&self, conn: &Conn) -> [String; 2] {
        [&self.fence.queue_lock, &self.fence.fence_lock].map(|lock| quoted(conn, lock))
    }
}

impl Lease for QueueLease {
    fn token(&self) -> Token {
        self.token
    }

    fn is_held(&self) -> bool {
        !self.given_up.load(Ordering::Acquire) && self.fence.standing.stands()
    }

    fn may_grab(&self, max_age: Duration) -> bool {
        self.looks.any_due(self.token, &self.tables, max_age)
    }

    fn grab(&self, room: usize) -> Result<Vec<Job>, StoreError> {
        self.ensure_held()?;
        let mut jobs = Vec::new();
        let mut space = BYTES_A_GRAB;
        while jobs.len() < room {
            match self.grab_batch(room - jobs.len(), space) {
                Ok(batch) => {
                    space = space.saturating_sub(batch.jobs.iter().map(size).sum());
                    jobs.extend(batch.jobs);
                    // A statement for the rest would mostly read what does not fit.
                    if batch.is_last || space < BYTES_A_GRAB / 2 {
                        break;
                    }
                }
                Err(error) if jobs.is_empty() => return Err(error),
                // What was grabbed before is known to be ours.
                Err(_) => break,
            }
        }
        if let Err(ended) = self.ensure_held() {
            // Nobody knows these jobs, so the sooner they wait again the better. Where that fails,
            // the successor recovers them.
            let ids: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
            let _ = self.put_back(&ids);
            return Err(ended);
        }
        Ok(jobs)
    }

    fn push_grabbed(&self, batch: &[Push]) -> Result<Option<Vec<Pushed>>, StoreError> {
        if !self.is_held() {
            return Ok(None);
        }
        let stored = self.pool.attempt(last_start_from_now(), |session| {
            let locks = self.quoted_locks(session);
            let statement = filled(&LEASE.may_push_grabbed, &self.tables, &[], &locks);
            let rows: Vec<Option<bool>> = session.query_rows(statement)?;
            if rows != [Some(true)] {
                return Ok(None);
            }
            push::insert_grabbed(session, batch, &self.tables, self.token)
        });
        match stored {
            Ok(stored) => Ok(stored),
            // The general way tells which row is to blame, and creates tables that are missing.
            Err(Fault::Refused(_)) => Ok(None),
            Err(fault) => Err(fault.into()),
        }
    }

    fn recover(&self, known: &dyn Fn(JobId, Token) -> bool) -> Result<u64, StoreError> {
        let mut recovered = 0;
        let mut last = Grabbed::default();
        loop {
            self.ensure_held()?;
            let page = self.grabbed_after(last)?;
            for (grabber_id, ids) in stranded(&page, known) {
                recovered += self.recover_from(grabber_id, &ids)?;
            }
            match page.last() {
                Some(&end) if page.len() == ROWS_A_STATEMENT => last = end,
                _ => return Ok(recovered),
            }
        }
    }

    fn put_back(&self, jobs: &[JobId]) -> Result<(), StoreError> {
        let mut ids = jobs.to_vec();
        ids.sort_unstable();
        let values = [self.token.0.to_string()];
        for chunk in ids.chunks(ROWS_A_STATEMENT) {
            let statement = filled(&LEASE.put_back_jobs, &self.tables, chunk, &values);
            self.pool.with(|session| session.run(&statement))?;
        }
        Ok(())
    }
}

impl Drop for QueueLease {
    fn drop(&mut self) {
        self.looks.forget(self.token);
    }
}

/// Jobs grabbed by one statement.
struct Batch {
    jobs: Vec<Job>,
    /// Whether it makes no sense to ask for more.
    is_last: bool,
}

/// A grabbed row, as recovery sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Grabbed {
    job_id: JobId,
    grabber_id: Option<u64>,
    next_try_ms: u64,
}

/// What a job takes in memory, in bytes, but for what all take.
fn size(job: &Job) -> usize {
    job.url.len() + job.payload.len()
}

/// Those of the grabbed rows that nobody works on, by who grabbed them, in id order.
fn stranded(
    page: &[Grabbed],
    known: &dyn Fn(JobId, Token) -> bool,
) -> BTreeMap<Option<u64>, Vec<JobId>> {
    let mut stranded: BTreeMap<Option<u64>, Vec<JobId>> = BTreeMap::new();
    for row in page {
        if !row.grabber_id.is_some_and(|token| known(row.job_id, Token(token))) {
            stranded.entry(row.grabber_id).or_default().push(row.job_id);
        }
    }
    stranded.values_mut().for_each(|ids| ids.sort_unstable());
    stranded
}

/// A statement with a list of ids, and values for the other gaps in their order.
fn filled(statement: &Statement, tables: &Tables, ids: &[JobId], values: &[String]) -> String {
    let rows: Vec<[JobId; 1]> = ids.iter().map(|&id| [id]).collect();
    let text = statement.with(tables, &rows);
    let mut values = values.iter();
    let mut filled = String::with_capacity(text.len() + 128);
    for (number, part) in text.split('?').enumerate() {
        if number > 0 {
            // Too few values are a mistake in the code; the server refuses the `?`.
            filled.push_str(values.next().map_or("?", String::as_str));
        }
        filled.push_str(part);
    }
    filled
}

/// The columns of `due_jobs`. Old databases may hold NULL in some: nothing, or 0.
type DueColumns =
    (JobId, Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>, u64, u64, u32, u32, u32, Option<u32>);

/// A job out of a row of `due_jobs`, as it is once it has been grabbed.
fn job(columns: DueColumns) -> Job {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let (id, category, url, payload, created_at_ms, next_try_ms, ..) = columns;
    let (.., retry_count, retry_delay_s, fail_count, timeout_s) = columns;
    Job {
        id,
        category: text(category),
        url: text(url.unwrap_or_default()),
        payload: payload.unwrap_or_default(),
        status: JobStatus::Grabbed,
        created_at_ms,
        next_try_ms,
        retry_count,
        retry_delay_s,
        fail_count,
        timeout_s: timeout_s.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Token = Token(2);
    const OURS_EARLIER: Token = Token(1);
    const FOREIGN: Token = Token(3);

    fn grabbed(job_id: JobId, grabber_id: Option<u64>) -> Grabbed {
        Grabbed { job_id, grabber_id, next_try_ms: 0 }
    }

    #[test]
    fn rows_that_nobody_works_on_are_those_of_others_and_the_unknown() {
        let page = [
            grabbed(9, Some(FOREIGN.0)),
            grabbed(1, Some(OURS.0)),
            grabbed(2, Some(OURS.0)),
            grabbed(3, Some(OURS_EARLIER.0)),
            grabbed(4, Some(OURS_EARLIER.0)),
            grabbed(5, None),
            grabbed(6, Some(FOREIGN.0)),
        ];
        let known = |id, token| [(1, OURS), (3, OURS_EARLIER), (6, OURS)].contains(&(id, token));
        let stranded = stranded(&page, &known);
        let expected = BTreeMap::from([
            (None, vec![5]),
            (Some(OURS.0), vec![2]),
            (Some(OURS_EARLIER.0), vec![4]),
            (Some(FOREIGN.0), vec![6, 9]),
        ]);
        assert_eq!(stranded, expected);
    }

    #[test]
    fn gaps_are_filled_in_order_and_values_are_left_alone() {
        let values = ["5".to_owned(), "'a?'".to_owned(), "'b'".to_owned()];
        let text = filled(&LEASE.grab_jobs, &Tables::of("q"), &[1, 2], &values);
        assert_eq!(
            text,
            "UPDATE `fireworq_jq(q)` FORCE INDEX (PRIMARY) SET status = 'grabbed', grabber_id = 5 \
             WHERE job_id IN (1, 2) AND status = 'claimed' \
             AND (SELECT IS_USED_LOCK('a?')) = (SELECT IS_USED_LOCK('b'))"
        );
    }
}
