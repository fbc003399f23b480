//! What a store does with the failure log of a queue.
//!
//! A failure leaves the log by being deleted, or by being retried: then its job enters the queue
//! anew, in the same transaction. Whoever goes through many failures reads their heads, which are
//! small, and names those that are meant by their ids; see `crate::failure_log`.

use super::{Page, Position, Pushed, StoreError};
use crate::job::{Failure, JobChanges, NewJob};

/// Failures that one transaction retries at the most.
pub const MAX_RETRY_ROWS: usize = 100;
/// What their payloads and URLs may take together, in bytes; one alone may take more.
pub const MAX_RETRY_BYTES: u64 = 4 << 20;

/// The failure log of every queue that has tables, whether defined or not; a queue without answers
/// [`StoreError::NotFound`].
pub trait FailureLog: Send + Sync {
    /// Up to `page.limit` failures after `page.after`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Unavailable`].
    fn failures(
        &self,
        queue: &str,
        order: FailureOrder,
        page: &Page,
    ) -> Result<Vec<Failure>, StoreError>;

    /// The heads of the same failures, with their results if asked for. Payloads are not read.
    ///
    /// # Errors
    /// As [`failures`](FailureLog::failures).
    fn failure_heads(
        &self,
        queue: &str,
        order: FailureOrder,
        page: &Page,
        with_results: bool,
    ) -> Result<Vec<FailureHead>, StoreError>;

    /// Those of the failures with these ids that are there, the highest id first.
    ///
    /// # Errors
    /// As [`failures`](FailureLog::failures).
    fn failures_by_id(&self, queue: &str, ids: &[u64]) -> Result<Vec<Failure>, StoreError>;

    /// One failure.
    ///
    /// # Errors
    /// As [`failures`](FailureLog::failures).
    fn failure(&self, queue: &str, id: u64) -> Result<Option<Failure>, StoreError>;

    /// Deletes a failure and answers what it was.
    ///
    /// # Errors
    /// As [`failures`](FailureLog::failures).
    fn delete_failure(&self, queue: &str, id: u64) -> Result<Option<Failure>, StoreError>;

    /// Deletes failures in one transaction and answers how many of them were there.
    ///
    /// # Errors
    /// As [`failures`](FailureLog::failures).
    fn delete_failures(&self, queue: &str, ids: &[u64]) -> Result<u64, StoreError>;

    /// Moves failures back into the queue, each as a new job, in one transaction: as many of the
    /// first of `ids` as [`MAX_RETRY_ROWS`] and [`MAX_RETRY_BYTES`] allow, at least one. One that
    /// is no longer there is passed over; two callers never retry the same one.
    ///
    /// # Errors
    /// As [`failures`](FailureLog::failures), and [`StoreError::TooLarge`] or
    /// [`StoreError::Rejected`] where one of the new jobs cannot be stored. Nothing is changed
    /// then.
    fn retry_failures(
        &self,
        queue: &str,
        ids: &[u64],
        changes: &JobChanges,
    ) -> Result<RetryBatch, StoreError>;

    /// The ids of the `limit` failures that have been in the log longest, lowest first, and when
    /// each failed, in milliseconds since 1970.
    ///
    /// # Errors
    /// As [`failures`](FailureLog::failures).
    fn oldest_failures(&self, queue: &str, limit: usize) -> Result<Vec<(u64, u64)>, StoreError>;

    /// How many failures there are beyond `keep`, counted up to `limit`.
    ///
    /// # Errors
    /// As [`failures`](FailureLog::failures).
    fn failures_beyond(&self, queue: &str, keep: u64, limit: u64) -> Result<u64, StoreError>;
}

/// How failures are ordered, latest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureOrder {
    /// By when they entered the failure log (their id; the position's time is `failed_at`).
    Failed,
    /// By when their jobs were pushed (`created_at`, then id).
    Created,
}

/// A failure without what may be large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureHead {
    /// See [`Failure::id`].
    pub id: u64,
    /// See [`Failure::category`].
    pub category: String,
    /// See [`Failure::failed_at_ms`].
    pub failed_at_ms: u64,
    /// See [`Failure::created_at_ms`].
    pub created_at_ms: u64,
    /// See [`Failure::result`]; empty unless asked for.
    pub result: Vec<u8>,
}

impl FailureOrder {
    /// Where a failure stands in this order.
    pub fn position(self, id: u64, failed_at_ms: u64, created_at_ms: u64) -> Position {
        let at_ms = match self {
            FailureOrder::Failed => failed_at_ms,
            FailureOrder::Created => created_at_ms,
        };
        Position { at_ms, id }
    }
}

/// What became of failures that were to be retried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryBatch {
    /// How many of the ids this is about, the first ones.
    pub tried: usize,
    /// Those that were there, in the order of the ids.
    pub retried: Vec<Retried>,
}

/// A failure that has become a new job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retried {
    /// The id that it had in the failure log.
    pub failure_id: u64,
    /// The new job.
    pub job: NewJob,
    /// What the store gave it.
    pub pushed: Pushed,
}
