//! What a store offers to whoever copies it into another one, or another one into it.

use super::StoreError;
use crate::job::{Failure, Job, JobId};

/// Rows as they are, ids included, for copying from one store to another. The caller holds the
/// lease of the queue. Queues need not be defined.
pub trait Transfer: Send + Sync {
    /// The queues that have tables, called as their tables are
    /// ([`table_suffix`](crate::queue_definition::table_suffix)).
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    fn queues_with_tables(&self) -> Result<Vec<String>, StoreError>;

    /// The highest ids that a queue has given to a job and to a failure, deleted ones included as
    /// far as the store remembers; 0 for none.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    fn last_ids(&self, queue: &str) -> Result<LastIds, StoreError>;

    /// What was noted of the last copy into a queue; `None` if there was none.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    fn copy_note(&self, queue: &str) -> Result<Option<CopyNote>, StoreError>;

    /// Creates the tables of a queue where they are missing, takes the note, whose `arrived` stays
    /// as it is where there was one, and sees to it that no id up to `last` is given to a new row.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    fn begin_copy(&self, queue: &str, note: CopyNote) -> Result<(), StoreError>;

    /// Whether a row fits whose texts and payloads take so many bytes.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`], [`StoreError::Unavailable`].
    fn check_fit(&self, bytes: usize) -> Result<(), StoreError>;

    /// Up to `limit` jobs whose ids are above `after`, by id, whatever their status.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the queue, [`StoreError::Rejected`] where a row cannot be
    /// told as it is, [`StoreError::Unavailable`].
    fn jobs_after(&self, queue: &str, after: JobId, limit: usize) -> Result<Vec<Job>, StoreError>;

    /// Up to `limit` failures whose ids are above `after`, by id.
    ///
    /// # Errors
    /// As [`jobs_after`](Transfer::jobs_after).
    fn failures_after(
        &self,
        queue: &str,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Failure>, StoreError>;

    /// Stores jobs under their own ids, all waiting, and notes that they have been imported, in one
    /// commit. Comes after [`begin_copy`](Transfer::begin_copy).
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the queue, [`StoreError::TooLarge`] or
    /// [`StoreError::Rejected`] where a row does not fit, or its id is taken,
    /// [`StoreError::Unavailable`]. Nothing is stored then.
    fn import_jobs(&self, queue: &str, jobs: &[Job]) -> Result<(), StoreError>;

    /// Stores failures likewise.
    ///
    /// # Errors
    /// As [`import_jobs`](Transfer::import_jobs).
    fn import_failures(&self, queue: &str, failures: &[Failure]) -> Result<(), StoreError>;
}

/// The ids of a queue's last rows; 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastIds {
    /// Of the jobs.
    pub job: JobId,
    /// Of the failures.
    pub failure: u64,
}

/// How far a copy into a queue has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyNote {
    /// The last rows that were imported.
    pub arrived: LastIds,
    /// The last ids that the source had given.
    pub last: LastIds,
}
