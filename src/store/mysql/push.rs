//! New jobs in.
//!
//! A batch is one transaction, or one statement where that is enough: a lone push is one round
//! trip. Each queue's rows go in statements of several rows, whose numbers come from a short list,
//! so that few statements have to be prepared; the ids of a statement's rows follow from the first.
//!
//! Where the server refuses a queue's rows, the batch is undone and stored again without them;
//! they are then stored one by one, so that only those fail that have a fault. A queue whose table
//! is locked fails after the session's lock wait and lets the others pass.

use std::time::Instant;

use mysql::{Error, Value};

use super::MySqlStore;
use super::fault::{Fault, code};
use super::pool::last_start_from_now;
use super::schema::{self, JOBS};
use super::session::Session;
use crate::job::NewJob;
use crate::store::sql::Tables;
use crate::store::{Push, Pushed, StoreError, Token};

/// Numbers of rows that a statement may have.
const STATEMENT_ROWS: [usize; 35] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26,
    27, 28, 29, 30, 31, 32, 64, 128, 256,
];
/// The most that the rows of one statement may take together, in bytes; a single row may take
/// more. Larger statements are no faster and keep buffers large.
const STATEMENT_BYTES: usize = 4 << 20;
/// The most that a row takes beside its texts, in bytes: numbers, lengths and types.
const ROW_EXTRA_BYTES: usize = 128;
/// The most that a statement takes beside its rows, in bytes.
const STATEMENT_EXTRA_BYTES: usize = 64;
/// How often a batch is repeated because of deadlocks.
const MAX_REPEATS: u32 = 10;

type Answer = Result<Pushed, StoreError>;

/// The rows of one queue, in the order of the batch.
struct Group<'a> {
    queue: &'a str,
    tables: Tables,
    /// Where they stand in the batch.
    rows: Vec<usize>,
    /// Whether its missing tables were created during this push.
    created: bool,
}

/// Stores a batch; see [`Jobs::push`](crate::store::Jobs::push).
pub(super) fn push(store: &MySqlStore, batch: &[Push]) -> Vec<Answer> {
    let mut answers: Vec<Option<Answer>> = vec![None; batch.len()];
    let last_start = last_start_from_now();
    if let Err(fault) = push_groups(store, batch, last_start, &mut answers) {
        let unavailable = StoreError::from(fault);
        for answer in answers.iter_mut().filter(|answer| answer.is_none()) {
            *answer = Some(Err(unavailable.clone()));
        }
    }
    let unanswered = || StoreError::Unavailable("the job was not stored".to_owned());
    answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(unanswered()))).collect()
}

/// Stores the groups of a batch in one transaction, again and again with one group fewer until
/// it succeeds.
fn push_groups(
    store: &MySqlStore,
    batch: &[Push],
    last_start: Instant,
    answers: &mut [Option<Answer>],
) -> Result<(), Fault> {
    let mut groups = group_by_queue(batch);
    let mut repeats = 0;
    while !groups.is_empty() {
        // The group whose statement failed, if it was a group's.
        let mut failed = None;
        let stored = store.queues.attempt(last_start, |session| {
            let now_ms = session.now_ms()?;
            refuse_unfit(session.max_packet(), now_ms, batch, &mut groups, answers);
            insert_groups(session, batch, &groups, now_ms, &mut failed)
        });
        let fault = match stored {
            Ok(stored) => {
                store.stuck.remove(groups.iter().map(|group| group.queue));
                for (row, pushed) in stored {
                    answers[row] = Some(Ok(pushed));
                }
                return Ok(());
            }
            Err(fault) => fault,
        };
        let is_stuck = fault.is_locked();
        if fault.is_contention() && !is_stuck && repeats < MAX_REPEATS {
            repeats += 1;
            continue;
        }
        let (Some(failed), Fault::Refused(_)) = (failed, &fault) else { return Err(fault) };
        let mut group = groups.remove(failed);
        if is_stuck {
            store.stuck.insert(group.queue);
        }
        if fault.code() == Some(code::NO_SUCH_TABLE) && !group.created {
            if create_if_defined(store, group.queue)? {
                group.created = true;
                groups.insert(failed, group);
                continue;
            }
        } else if is_about_rows(&fault) && group.rows.len() > 1 {
            push_alone(store, batch, &group, last_start, answers);
            continue;
        }
        let error = StoreError::from(fault);
        for row in group.rows {
            answers[row] = Some(Err(error.clone()));
        }
    }
    Ok(())
}

fn group_by_queue(batch: &[Push]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for (row, push) in batch.iter().enumerate() {
        match groups.iter_mut().find(|group| *group.queue == *push.queue) {
            Some(group) => group.rows.push(row),
            None => groups.push(Group {
                queue: &push.queue,
                tables: Tables::of(&push.queue),
                rows: vec![row],
                created: false,
            }),
        }
    }
    groups
}

/// Takes out the rows that fit no packet, and those whose time fits no column.
fn refuse_unfit(
    max_packet: usize,
    now_ms: u64,
    batch: &[Push],
    groups: &mut Vec<Group<'_>>,
    answers: &mut [Option<Answer>],
) {
    for group in groups.iter_mut() {
        group.rows.retain(|&row| {
            let refusal = refusal_of(&batch[row].job, max_packet, now_ms);
            let fits = refusal.is_none();
            if let Some(error) = refusal {
                answers[row] = Some(Err(error));
            }
            fits
        });
    }
    groups.retain(|group| !group.rows.is_empty());
}

fn refusal_of(job: &NewJob, max_packet: usize, now_ms: u64) -> Option<StoreError> {
    if row_bytes(job) + STATEMENT_EXTRA_BYTES > max_packet {
        return Some(StoreError::TooLarge(format!(
            "the job does not fit the database server's max_allowed_packet of {max_packet} bytes"
        )));
    }
    let too_far =
        || StoreError::Rejected(format!("run_after leads too far: {} seconds", job.run_after_s));
    due_ms(job, now_ms).is_none().then(too_far)
}

fn insert_groups(
    session: &mut Session,
    batch: &[Push],
    groups: &[Group<'_>],
    now_ms: u64,
    failed: &mut Option<usize>,
) -> Result<Vec<(usize, Pushed)>, Error> {
    let max_bytes = session.max_packet().min(STATEMENT_BYTES);
    let plans: Vec<Vec<&[usize]>> =
        groups.iter().map(|group| statements_of(batch, &group.rows, max_bytes)).collect();
    let mut insert_all = |session: &mut Session| {
        let mut stored = Vec::with_capacity(batch.len());
        for (number, (group, plan)) in groups.iter().zip(&plans).enumerate() {
            *failed = Some(number);
            for rows in plan {
                insert(session, batch, &group.tables, rows, now_ms, None, &mut stored)?;
            }
        }
        *failed = None;
        Ok(stored)
    };
    match plans.as_slice() {
        [] => Ok(Vec::new()),
        [plan] if plan.len() == 1 => insert_all(session),
        _ => session.transaction(insert_all),
    }
}

/// Splits a queue's rows into statements.
fn statements_of<'a>(batch: &[Push], rows: &'a [usize], max_bytes: usize) -> Vec<&'a [usize]> {
    let mut plan = Vec::new();
    let mut rest = rows;
    while !rest.is_empty() {
        let mut bytes = STATEMENT_EXTRA_BYTES;
        let fitting = rest
            .iter()
            .take_while(|&&row| {
                bytes += row_bytes(&batch[row].job);
                bytes <= max_bytes
            })
            .count();
        let length = STATEMENT_ROWS.iter().rev().find(|&&rows| rows <= fitting).unwrap_or(&1);
        let (statement, others) = rest.split_at(*length);
        plan.push(statement);
        rest = others;
    }
    plan
}

fn row_bytes(job: &NewJob) -> usize {
    ROW_EXTRA_BYTES + job.category.len() + job.url.len() + job.payload.len()
}

/// Inserts rows of one queue by one statement.
fn insert(
    session: &mut Session,
    batch: &[Push],
    tables: &Tables,
    rows: &[usize],
    now_ms: u64,
    grabber: Option<Token>,
    stored: &mut Vec<(usize, Pushed)>,
) -> Result<(), Error> {
    let mut values: Vec<Value> = Vec::with_capacity(rows.len() * 9);
    for &row in rows {
        let job = &batch[row].job;
        values.push(due_ms(job, now_ms).unwrap_or(u64::MAX).into());
        values.extend(grabber.map(|token| Value::from(token.0)));
        values.extend([
            now_ms.into(),
            job.max_retries.into(),
            job.retry_delay_s.into(),
            job.category.as_str().into(),
            job.url.as_str().into(),
            job.payload.as_slice().into(),
            job.timeout_s.into(),
        ]);
    }
    let statement = if grabber.is_some() { &JOBS.push_grabbed } else { &JOBS.push };
    session.execute(&statement.repeated(tables, rows.len()), values)?;
    let mut id = session.last_insert_id();
    for &row in rows {
        let next_try_ms = due_ms(&batch[row].job, now_ms).unwrap_or(u64::MAX);
        let is_grabbed = grabber.is_some();
        stored.push((row, Pushed { id, created_at_ms: now_ms, next_try_ms, is_grabbed }));
        id = id.saturating_add(session.id_step());
    }
    Ok(())
}

/// Inserts rows of one queue as grabbed under `token`. `None` where one of them does not fit.
///
/// # Errors
/// The driver's.
pub(super) fn insert_grabbed(
    session: &mut Session,
    batch: &[Push],
    tables: &Tables,
    token: Token,
) -> Result<Option<Vec<Pushed>>, Error> {
    let now_ms = session.now_ms()?;
    let max_packet = session.max_packet();
    if batch.iter().any(|push| refusal_of(&push.job, max_packet, now_ms).is_some()) {
        return Ok(None);
    }
    let rows: Vec<usize> = (0..batch.len()).collect();
    let plan = statements_of(batch, &rows, max_packet.min(STATEMENT_BYTES));
    let insert_all = |session: &mut Session| {
        let mut stored = Vec::with_capacity(batch.len());
        for rows in &plan {
            insert(session, batch, tables, rows, now_ms, Some(token), &mut stored)?;
        }
        Ok(stored)
    };
    let stored =
        if plan.len() == 1 { insert_all(session)? } else { session.transaction(insert_all)? };
    // The rows are in the order of the batch.
    Ok(Some(stored.into_iter().map(|(_, pushed)| pushed).collect()))
}

/// Stores jobs of one queue within the caller's transaction. Sets `refusal`, and stores nothing,
/// where one of them does not fit.
pub(super) fn insert_jobs(
    session: &mut Session,
    tables: &Tables,
    jobs: &[Push],
    refusal: &mut Option<StoreError>,
) -> Result<Vec<Pushed>, Error> {
    let now_ms = session.now_ms()?;
    let max_packet = session.max_packet();
    *refusal = jobs.iter().find_map(|push| refusal_of(&push.job, max_packet, now_ms));
    if refusal.is_some() {
        return Ok(Vec::new());
    }
    let rows: Vec<usize> = (0..jobs.len()).collect();
    let mut stored = Vec::with_capacity(jobs.len());
    for rows in statements_of(jobs, &rows, max_packet.min(STATEMENT_BYTES)) {
        insert(session, jobs, tables, rows, now_ms, None, &mut stored)?;
    }
    Ok(stored.into_iter().map(|(_, pushed)| pushed).collect())
}

/// When a job is first due, in milliseconds since 1970; `None` if its column cannot hold that.
fn due_ms(job: &NewJob, now_ms: u64) -> Option<u64> {
    job.run_after_s.checked_mul(1000)?.checked_add(now_ms)
}

/// Whether a refusal may be about some of the rows only.
fn is_about_rows(fault: &Fault) -> bool {
    !matches!(
        fault.code(),
        Some(
            code::LOCK_WAIT_TIMEOUT
                | code::DEADLOCK
                | code::NO_SUCH_TABLE
                | code::DISK_FULL
                | code::TABLE_FULL
                | code::TABLE_ACCESS_DENIED
        )
    )
}

/// Stores rows of one queue each for itself.
fn push_alone(
    store: &MySqlStore,
    batch: &[Push],
    group: &Group<'_>,
    last_start: Instant,
    answers: &mut [Option<Answer>],
) {
    for &row in &group.rows {
        let stored = store.queues.attempt(last_start, |session| {
            let now_ms = session.now_ms()?;
            let mut stored = Vec::with_capacity(1);
            insert(session, batch, &group.tables, &[row], now_ms, None, &mut stored)?;
            Ok(stored)
        });
        answers[row] = match stored {
            Ok(stored) => stored.first().map(|(_, pushed)| Ok(*pushed)),
            Err(fault) => Some(Err(StoreError::from(fault))),
        };
    }
}

/// Creates the missing tables of a queue, if it is defined: somebody dropped them.
fn create_if_defined(store: &MySqlStore, queue: &str) -> Result<bool, Fault> {
    let unavailable = |error: StoreError| Fault::Unavailable(error.to_string());
    let is_defined = store.is_defined(queue).map_err(unavailable)?;
    if is_defined {
        schema::ensure_queue_tables(&store.queues, queue)?;
    }
    Ok(is_defined)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn push_of(queue: &str, payload_bytes: usize) -> Push {
        Push {
            queue: queue.into(),
            job: Arc::new(NewJob {
                category: "c".into(),
                url: "u".into(),
                payload: vec![b'x'; payload_bytes],
                run_after_s: 0,
                timeout_s: 0,
                retry_delay_s: 0,
                max_retries: 0,
            }),
        }
    }

    #[test]
    fn rows_are_split_into_few_kinds_of_statements() {
        let batch: Vec<Push> = (0..1000).map(|_| push_of("q", 10)).collect();
        let rows: Vec<usize> = (0..1000).collect();
        let sizes = |count: usize| {
            let plan = statements_of(&batch, &rows[..count], STATEMENT_BYTES);
            assert_eq!(plan.concat(), rows[..count]);
            plan.iter().map(|rows| rows.len()).collect::<Vec<_>>()
        };
        assert_eq!(sizes(0), [0; 0]);
        assert_eq!(sizes(1), [1]);
        assert_eq!(sizes(16), [16]);
        assert_eq!(sizes(31), [31]);
        assert_eq!(sizes(33), [32, 1]);
        assert_eq!(sizes(100), [64, 32, 4]);
        assert_eq!(sizes(1000), [256, 256, 256, 128, 64, 32, 8]);
    }

    #[test]
    fn statements_stay_below_the_packet() {
        let batch: Vec<Push> = [600, 600, 600, 5000, 1].map(|bytes| push_of("q", bytes)).into();
        let rows: Vec<usize> = (0..batch.len()).collect();
        assert_eq!(statements_of(&batch, &rows, 2000), [&[0, 1][..], &[2][..], &[3][..], &[4][..]]);
    }

    #[test]
    fn rows_are_grouped_by_queue_in_their_order() {
        let batch = ["b", "a", "b"].map(|queue| push_of(queue, 0));
        let groups: Vec<(&str, Vec<usize>)> =
            group_by_queue(&batch).into_iter().map(|group| (group.queue, group.rows)).collect();
        assert_eq!(groups, [("b", vec![0, 2]), ("a", vec![1])]);
    }

    #[test]
    fn a_row_that_does_not_fit_is_refused_alone() {
        let mut batch = [push_of("a", 5000), push_of("b", 10), push_of("a", 10)];
        Arc::make_mut(&mut batch[2].job).run_after_s = u64::MAX / 1000;
        let mut groups = group_by_queue(&batch);
        let mut answers = vec![None; 3];
        refuse_unfit(1024, 1000, &batch, &mut groups, &mut answers);
        assert_eq!(groups.len(), 1);
        assert!(answers[1].is_none());
        let Some(Err(StoreError::TooLarge(text))) = &answers[0] else { panic!("{answers:?}") };
        assert!(text.contains("max_allowed_packet of 1024"), "{text}");
        assert!(matches!(answers[2], Some(Err(StoreError::Rejected(_)))), "{answers:?}");
    }

    #[test]
    fn a_job_is_due_when_its_delay_has_passed() {
        let mut job = NewJob::clone(&push_of("q", 0).job);
        for (run_after_s, due) in
            [(0, Some(1000)), (2, Some(3000)), (u64::MAX / 1000, None), (u64::MAX, None)]
        {
            job.run_after_s = run_after_s;
            assert_eq!(due_ms(&job, 1000), due);
        }
    }
}
