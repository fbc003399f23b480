//! The failures of one queue. Pure: it is told what time it is.

use std::ops::Bound;

use super::rows::{Rows, walk};
use crate::job::{Failure, Job, JobChanges};
use crate::store::row::new_row;
use crate::store::{
    Direction, FailureHead, FailureOrder, MAX_RETRY_BYTES, MAX_RETRY_ROWS, Page, Position, Retried,
    RetryBatch, StoreError,
};

impl Rows {
    /// Moves a job that was taken out of the queue to the failure log.
    pub(super) fn log_failure(&mut self, job: Job, result: Vec<u8>, now_ms: u64) {
        self.last_failure_id += 1;
        let failure = Failure {
            id: self.last_failure_id,
            job_id: job.id,
            category: job.category,
            url: job.url,
            payload: job.payload,
            result,
            fail_count: job.fail_count.saturating_add(1),
            failed_at_ms: now_ms,
            created_at_ms: job.created_at_ms,
        };
        self.failures_by_creation.insert(creation(&failure));
        self.failures.insert(failure.id, failure);
    }

    /// What `read` makes of each failure of a page.
    pub(super) fn failures<T>(
        &self,
        order: FailureOrder,
        page: &Page,
        read: impl Fn(&Failure) -> T,
    ) -> Vec<T> {
        match order {
            FailureOrder::Failed => {
                let before = page.after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.id));
                let failures = self.failures.range((Bound::Unbounded, before)).rev();
                failures.take(page.limit).map(|(_, failure)| read(failure)).collect()
            }
            FailureOrder::Created => {
                let page = Page { direction: Direction::Descending, ..*page };
                walk(&self.failures_by_creation, &(0..=u64::MAX), &page)
                    .into_iter()
                    .filter_map(|position| self.failures.get(&position.id).map(&read))
                    .collect()
            }
        }
    }

    pub(super) fn failures_by_id(&self, ids: &[u64]) -> Vec<Failure> {
        let mut ids = ids.to_vec();
        ids.sort_unstable_by(|a, b| b.cmp(a));
        ids.iter().filter_map(|id| self.failures.get(id).cloned()).collect()
    }

    pub(super) fn failure(&self, id: u64) -> Option<Failure> {
        self.failures.get(&id).cloned()
    }

    pub(super) fn delete_failure(&mut self, id: u64) -> Option<Failure> {
        let failure = self.failures.remove(&id)?;
        self.failures_by_creation.remove(&creation(&failure));
        Some(failure)
    }

    /// See [`FailureLog::retry_failures`](crate::store::FailureLog::retry_failures).
    pub(super) fn retry_failures(
        &mut self,
        ids: &[u64],
        changes: &JobChanges,
        now_ms: u64,
    ) -> Result<RetryBatch, StoreError> {
        let (mut tried, mut bytes, mut rows) = (0, 0, Vec::new());
        for id in ids.iter().take(MAX_RETRY_ROWS) {
            if let Some(failure) = self.failures.get(id) {
                bytes += failure.payload.len() + failure.url.len();
                if tried > 0 && bytes as u64 > MAX_RETRY_BYTES {
                    break;
                }
                let job = failure.clone().into_new_job(changes);
                // Before anything is changed: a job that does not fit fails the whole batch.
                let row = new_row(&job, now_ms)?;
                rows.push((*id, job, row));
            }
            tried += 1;
        }
        let mut retried = Vec::with_capacity(rows.len());
        for (failure_id, job, row) in rows {
            // An id that is named twice is retried once.
            if self.delete_failure(failure_id).is_some() {
                retried.push(Retried { failure_id, job, pushed: self.push(row) });
            }
        }
        Ok(RetryBatch { tried, retried })
    }

    /// The ids of the failures with the lowest ids, and when they failed.
    pub(super) fn oldest_failures(&self, limit: usize) -> Vec<(u64, u64)> {
        let oldest = self.failures.iter().take(limit);
        oldest.map(|(id, failure)| (*id, failure.failed_at_ms)).collect()
    }
}

/// Where a failure stands in the order of creation.
fn creation(failure: &Failure) -> Position {
    Position { at_ms: failure.created_at_ms, id: failure.id }
}

/// A failure without what may be large.
pub(super) fn head(failure: &Failure, with_result: bool) -> FailureHead {
    FailureHead {
        id: failure.id,
        category: failure.category.clone(),
        failed_at_ms: failure.failed_at_ms,
        created_at_ms: failure.created_at_ms,
        result: if with_result { failure.result.clone() } else { Vec::new() },
    }
}
