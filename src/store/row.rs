//! Rows as every store takes them. What MySQL refuses is refused everywhere, so that whatever
//! runs on one store runs on the others, and can move there.

use crate::job::{Job, NewJob};
use crate::queue_definition::MAX_CATEGORY_BYTES;
use crate::store::{QueueName, StoreError};

/// The longest URL, in bytes: in MySQL the column is a `BLOB`.
const MAX_URL_BYTES: usize = 65_535;
/// The largest payload, in bytes: in MySQL the column is a `MEDIUMBLOB`.
const MAX_PAYLOAD_BYTES: usize = 16_777_215;

/// When a new job is due.
///
/// # Errors
/// The job does not fit its columns.
pub(super) fn due_ms(job: &NewJob, now_ms: u64) -> Result<u64, StoreError> {
    for (what, size, limit) in [
        ("category", job.category.len(), MAX_CATEGORY_BYTES),
        ("url", job.url.len(), MAX_URL_BYTES),
        ("payload", job.payload.len(), MAX_PAYLOAD_BYTES),
    ] {
        if size > limit {
            let text = format!("a {what} has at most {limit} bytes; this one has {size}");
            return Err(StoreError::TooLarge(text));
        }
    }
    let due = job.run_after_s.checked_mul(1000).and_then(|delay_ms| now_ms.checked_add(delay_ms));
    due.ok_or_else(|| {
        StoreError::Rejected(format!("run_after leads too far: {} seconds", job.run_after_s))
    })
}

/// The row of a new job, without its id.
///
/// # Errors
/// The job does not fit its columns.
pub(super) fn new_row(job: &NewJob, now_ms: u64) -> Result<Job, StoreError> {
    let next_try_ms = due_ms(job, now_ms)?;
    Ok(job.clone().stored(0, now_ms, next_try_ms))
}

/// The error where a queue has no tables.
pub(super) fn no_such_queue(queue: &str) -> StoreError {
    StoreError::NotFound(format!("there is no queue {queue:?}"))
}

/// Calls `handle` once for each queue in `batch`, with the places of its rows in the batch, and
/// answers what it answers in the order of the batch.
///
/// # Errors
/// Those of `handle`; the queues that remain are left out.
pub(super) fn by_queue<T, A, E>(
    batch: &[T],
    queue_of: impl Fn(&T) -> &QueueName,
    mut handle: impl FnMut(&QueueName, &[usize]) -> Result<Vec<A>, E>,
) -> Result<Vec<A>, E> {
    let mut places: Vec<usize> = (0..batch.len()).collect();
    // Stable: within a queue the order of the batch stays.
    places.sort_by_key(|&place| queue_of(&batch[place]));
    let mut answers = Vec::with_capacity(batch.len());
    for group in places.chunk_by(|&a, &b| queue_of(&batch[a]) == queue_of(&batch[b])) {
        if let Some(&first) = group.first() {
            answers.extend(group.iter().copied().zip(handle(queue_of(&batch[first]), group)?));
        }
    }
    answers.sort_by_key(|&(place, _)| place);
    Ok(answers.into_iter().map(|(_, answer)| answer).collect())
}
