//! Going through a queue's failure log by a filter: to show, to retry, to delete.
//!
//! No index helps with what a filter asks for. So the heads of the failures are read in bounded
//! batches, without their payloads, the filter is a pure function of a head, and only what it takes
//! is read or changed, by its id. Each call ends after a bounded time wherever it has come to, and
//! says where to go on. Runs on the caller's thread; whoever pushes or grabs does not wait for it.

use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::job::{Failure, JobChanges};
use crate::store::{
    Direction, FailureHead, FailureOrder, MAX_RETRY_ROWS, Page, Position, Retried, Store,
    StoreError,
};

/// How long one call goes on reading heads.
const READ_TIME: Duration = Duration::from_millis(1000);
/// How long one call goes on changing failures. With the store's own bounds this stays below
/// the 5 s of the API's promise.
const CHANGE_TIME: Duration = Duration::from_millis(2000);
/// Heads of the first batch; while they are small, each further one has four times as many.
const FIRST_BATCH: usize = 64;
/// Heads of a batch at the most.
const MAX_BATCH: usize = 4096;
/// The results of a batch from which on batches do not grow, in bytes.
const LARGE_BATCH_BYTES: usize = 1 << 20;
/// Whole failures that are read first: few, since nobody knows yet how large they are.
const FIRST_READ: usize = 4;
/// Whole failures that are read at once at the most.
const MAX_READ: usize = 1024;
/// A page that has reached this many bytes ends there, and the next one begins.
pub const MAX_PAGE_BYTES: usize = 8 << 20;
/// Failures that one transaction deletes at the most.
pub const MAX_DELETE_ROWS: usize = 100;

/// Which failures are meant. By default all are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only those of this category.
    pub category: Option<String>,
    /// Only those whose result's message holds this text, without regard to case.
    pub message: Option<Needle>,
    /// Only those that failed at this time or later, in milliseconds since 1970.
    pub since_ms: Option<u64>,
    /// Only those that failed before this time, in milliseconds since 1970.
    pub until_ms: Option<u64>,
}

/// A text that is looked for without regard to case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needle(String);

impl Needle {
    /// Looks for `text`.
    pub fn new(text: &str) -> Needle {
        Needle(text.to_lowercase())
    }

    fn is_in(&self, text: &str) -> bool {
        text.to_lowercase().contains(&self.0)
    }
}

impl Filter {
    /// Whether all failures are meant.
    pub fn is_empty(&self) -> bool {
        *self == Filter::default()
    }

    /// Whether this failure is meant.
    pub fn takes(&self, head: &FailureHead) -> bool {
        self.category.as_ref().is_none_or(|category| *category == head.category)
            && self.since_ms.is_none_or(|since_ms| head.failed_at_ms >= since_ms)
            && self.until_ms.is_none_or(|until_ms| head.failed_at_ms < until_ms)
            && self.message.as_ref().is_none_or(|needle| needle.is_in(&message_of(&head.result)))
    }
}

/// The message in a result. Where it is no result as this daemon writes it, all of its text.
fn message_of(result: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Kept {
        #[serde(default)]
        message: String,
    }
    match serde_json::from_slice::<Kept>(result) {
        Ok(kept) => kept.message,
        Err(_) => String::from_utf8_lossy(result).into_owned(),
    }
}

/// Failures that a filter takes.
#[derive(Debug, PartialEq, Eq)]
struct Selection {
    found: Vec<Position>,
    /// After which one to go on; `None` where the log ended.
    next: Option<Position>,
}

/// The first `limit` failures after `after` that the filter takes; fewer where the time is up.
fn select(
    store: &dyn Store,
    queue: &str,
    order: FailureOrder,
    filter: &Filter,
    after: Option<Position>,
    limit: usize,
) -> Result<Selection, StoreError> {
    let deadline = Instant::now() + READ_TIME;
    let with_results = filter.message.is_some();
    let mut found = Vec::new();
    let mut page = Page { limit: FIRST_BATCH, after, direction: Direction::Descending };
    loop {
        let heads = store.failure_heads(queue, order, &page, with_results)?;
        for head in &heads {
            let position = order.position(head.id, head.failed_at_ms, head.created_at_ms);
            page.after = Some(position);
            if filter.takes(head) {
                found.push(position);
                if found.len() == limit {
                    return Ok(Selection { found, next: page.after });
                }
            }
        }
        if heads.len() < page.limit {
            return Ok(Selection { found, next: None });
        }
        if Instant::now() >= deadline {
            return Ok(Selection { found, next: page.after });
        }
        let bytes: usize = heads.iter().map(|head| head.result.len()).sum();
        if bytes < LARGE_BATCH_BYTES {
            page.limit = (page.limit * 4).min(MAX_BATCH);
        }
    }
}

/// A page of the failures that the filter takes, and after which one the next page begins; `None`
/// where nothing follows. A page may end early, or be empty, where the filter takes few of many.
///
/// # Errors
/// The store's.
pub fn page(
    store: &dyn Store,
    queue: &str,
    order: FailureOrder,
    filter: &Filter,
    page: &Page,
) -> Result<(Vec<Failure>, Option<Position>), StoreError> {
    // One more than the page holds tells whether another one follows.
    let Selection { mut found, mut next } =
        select(store, queue, order, filter, page.after, page.limit + 1)?;
    if found.len() > page.limit {
        found.truncate(page.limit);
        next = found.last().copied();
    }
    let mut failures = Vec::with_capacity(found.len());
    let (mut rest, mut bytes, mut size) = (found.as_slice(), 0, FIRST_READ);
    while let (some, others) = rest.split_at(size.min(rest.len()))
        && let Some(last) = some.last()
    {
        let ids: Vec<u64> = some.iter().map(|position| position.id).collect();
        let read = store.failures_by_id(queue, &ids)?;
        bytes += read.iter().map(|row| row.payload.len() + row.result.len()).sum::<usize>();
        failures.extend(read);
        rest = others;
        if bytes >= MAX_PAGE_BYTES && !rest.is_empty() {
            next = Some(*last);
            break;
        }
        size = next_read(size, failures.len(), bytes).min(MAX_READ);
    }
    let position = |row: &Failure| order.position(row.id, row.failed_at_ms, row.created_at_ms);
    failures.sort_unstable_by_key(|row| std::cmp::Reverse(position(row)));
    Ok((failures, next))
}

/// How many rows of a page to read next, where the last read took `last` of them and all so far are
/// `rows` with `bytes` altogether: more and more, but no more than should fit.
pub fn next_read(last: usize, rows: usize, bytes: usize) -> usize {
    let room = MAX_PAGE_BYTES.saturating_sub(bytes);
    let fitting = room.saturating_mul(rows) / bytes.max(1);
    last.saturating_mul(4).min(fitting.max(1))
}

/// How far a change of many failures has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// How many were changed.
    pub count: u64,
    /// After which one to go on; `None` where nothing is left to do.
    pub next: Option<Position>,
}

/// Retries up to `limit` failures that the filter takes, the latest failure first, in small
/// transactions, and tells `note` of each. What fails again meanwhile is met no more: it
/// stands before `after`. One whose job cannot be stored is left in the log.
///
/// # Errors
/// The store's, where nothing was done; after that it answers how far it has come.
pub fn retry(
    store: &dyn Store,
    queue: &str,
    filter: &Filter,
    after: Option<Position>,
    limit: usize,
    note: &mut dyn FnMut(&Retried),
) -> Result<Progress, StoreError> {
    let changes = JobChanges::default();
    let mut one_by_one = 0;
    change(store, queue, filter, after, limit, &mut |ids| {
        let some = &ids[..ids.len().min(if one_by_one > 0 { 1 } else { MAX_RETRY_ROWS })];
        match store.retry_failures(queue, some, &changes) {
            Ok(batch) => {
                one_by_one = usize::saturating_sub(one_by_one, batch.tried);
                batch.retried.iter().for_each(&mut *note);
                Ok(Step { tried: batch.tried, count: batch.retried.len() as u64 })
            }
            Err(StoreError::TooLarge(_) | StoreError::Rejected(_)) if some.len() > 1 => {
                one_by_one = some.len();
                Ok(Step { tried: 0, count: 0 })
            }
            Err(StoreError::TooLarge(reason) | StoreError::Rejected(reason)) => {
                log::warn!(queue = queue; "failure {} cannot be retried: {reason}", some[0]);
                one_by_one = usize::saturating_sub(one_by_one, 1);
                Ok(Step { tried: 1, count: 0 })
            }
            Err(error) => Err(error),
        }
    })
}

/// Deletes up to `limit` failures that the filter takes, the latest failure first, in small
/// transactions.
///
/// # Errors
/// As [`retry`].
pub fn delete(
    store: &dyn Store,
    queue: &str,
    filter: &Filter,
    after: Option<Position>,
    limit: usize,
) -> Result<Progress, StoreError> {
    change(store, queue, filter, after, limit, &mut |ids| {
        let some = &ids[..ids.len().min(MAX_DELETE_ROWS)];
        let count = store.delete_failures(queue, some)?;
        Ok(Step { tried: some.len(), count })
    })
}

/// One transaction of a change of many failures.
struct Step {
    /// How many of the ids it was about, the first ones.
    tried: usize,
    /// How many of those it changed.
    count: u64,
}

fn change(
    store: &dyn Store,
    queue: &str,
    filter: &Filter,
    after: Option<Position>,
    limit: usize,
    step: &mut dyn FnMut(&[u64]) -> Result<Step, StoreError>,
) -> Result<Progress, StoreError> {
    let deadline = Instant::now() + CHANGE_TIME;
    // One more than are changed tells whether anything is left.
    let Selection { mut found, mut next } =
        select(store, queue, FailureOrder::Failed, filter, after, limit + 1)?;
    if found.len() > limit {
        found.truncate(limit);
        next = found.last().copied();
    }
    let ids: Vec<u64> = found.iter().map(|position| position.id).collect();
    let (mut done, mut count) = (0, 0);
    while done < ids.len() {
        let error = match step(&ids[done..]) {
            Ok(step) => {
                done += step.tried;
                count += step.count;
                None
            }
            Err(error) => Some(error),
        };
        if (error.is_some() || Instant::now() >= deadline) && done < ids.len() {
            // What was done is told; whoever goes on is told of what is wrong.
            return match (error, done.checked_sub(1)) {
                (Some(error), None) => Err(error),
                (_, Some(last)) => Ok(Progress { count, next: Some(found[last]) }),
                (None, None) => continue,
            };
        }
    }
    Ok(Progress { count, next })
}
