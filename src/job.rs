//! A job, what a worker made of it, and what follows from that.
//!
//! Plain data and pure decisions: nothing here reads a clock, a socket or a store.

/// A job's number: unique within its queue, given by the store, never 0.
pub type JobId = u64;

/// A job as a client hands it in, already validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob {
    /// What kind of job it is; decides the queue. At most 255 bytes.
    pub category: String,
    /// Where the payload is POSTed. At most 65,535 bytes.
    pub url: String,
    /// The exact bytes that the worker receives; empty for none.
    pub payload: Vec<u8>,
    /// Delay before the first try, in seconds.
    pub run_after_s: u64,
    /// Time that a worker may take, in seconds; 0 for no limit.
    pub timeout_s: u32,
    /// Wait between two tries, in seconds.
    pub retry_delay_s: u32,
    /// How many further tries follow a failed one.
    pub max_retries: u32,
}

impl NewJob {
    /// The job once a store has it, as it waits for its first try.
    pub fn stored(self, id: JobId, created_at_ms: u64, next_try_ms: u64) -> Job {
        Job {
            id,
            category: self.category,
            url: self.url,
            payload: self.payload,
            status: JobStatus::Claimed,
            created_at_ms,
            next_try_ms,
            retry_count: self.max_retries,
            retry_delay_s: self.retry_delay_s,
            fail_count: 0,
            timeout_s: self.timeout_s,
        }
    }
}

/// Where a stored job stands. The schema's word for a job that waits is *claimed*.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobStatus {
    /// Waiting until it is due and a worker is free.
    Claimed,
    /// Taken by the primary node: running, or about to.
    Grabbed,
}

impl JobStatus {
    /// The word in the schema and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            JobStatus::Claimed => "claimed",
            JobStatus::Grabbed => "grabbed",
        }
    }
}

/// A job as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Unique within the queue.
    pub id: JobId,
    /// See [`NewJob::category`].
    pub category: String,
    /// See [`NewJob::url`].
    pub url: String,
    /// See [`NewJob::payload`].
    pub payload: Vec<u8>,
    /// Waiting or grabbed.
    pub status: JobStatus,
    /// When it was pushed, in milliseconds since 1970 by the store's clock.
    pub created_at_ms: u64,
    /// When it is due, in milliseconds since 1970 by the store's clock.
    pub next_try_ms: u64,
    /// Tries left after this one.
    pub retry_count: u32,
    /// See [`NewJob::retry_delay_s`].
    pub retry_delay_s: u32,
    /// Tries that have failed so far.
    pub fail_count: u32,
    /// See [`NewJob::timeout_s`].
    pub timeout_s: u32,
}

impl Job {
    /// How many retries the job was given: those used and those left.
    pub fn max_retries(&self) -> u64 {
        u64::from(self.fail_count) + u64::from(self.retry_count)
    }

    /// The number of the try that is next or under way, from 1.
    pub fn attempt(&self) -> u64 {
        u64::from(self.fail_count) + 1
    }
}

/// A job that failed for good, as the failure log keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Unique within the queue's failure log.
    pub id: u64,
    /// The id that the job had in its queue.
    pub job_id: JobId,
    /// See [`NewJob::category`].
    pub category: String,
    /// See [`NewJob::url`].
    pub url: String,
    /// See [`NewJob::payload`].
    pub payload: Vec<u8>,
    /// The last outcome as JSON text: `{"status","code","message"}`; see [`Outcome::to_json`].
    pub result: Vec<u8>,
    /// Tries that failed, the last one included.
    pub fail_count: u32,
    /// When the last try failed, in milliseconds since 1970 by the store's clock.
    pub failed_at_ms: u64,
    /// When the job was pushed, likewise.
    pub created_at_ms: u64,
}

/// What a failed job is to be when it is tried anew; `None` leaves it as it was, or, where the
/// failure log does not tell, at 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobChanges {
    /// See [`NewJob::url`].
    pub url: Option<String>,
    /// See [`NewJob::payload`].
    pub payload: Option<Vec<u8>>,
    /// See [`NewJob::run_after_s`]; 0 unless given.
    pub run_after_s: Option<u64>,
    /// See [`NewJob::timeout_s`]; 0 unless given.
    pub timeout_s: Option<u32>,
    /// See [`NewJob::retry_delay_s`]; 0 unless given.
    pub retry_delay_s: Option<u32>,
    /// See [`NewJob::max_retries`]; 0 unless given.
    pub max_retries: Option<u32>,
}

impl Failure {
    /// The job with which the failed one is tried anew.
    pub fn into_new_job(self, changes: &JobChanges) -> NewJob {
        NewJob {
            category: self.category,
            url: changes.url.clone().unwrap_or(self.url),
            payload: changes.payload.clone().unwrap_or(self.payload),
            run_after_s: changes.run_after_s.unwrap_or(0),
            timeout_s: changes.timeout_s.unwrap_or(0),
            retry_delay_s: changes.retry_delay_s.unwrap_or(0),
            max_retries: changes.max_retries.unwrap_or(0),
        }
    }
}

/// How a try ended. The words are the API's, for the answers of workers and in the failure log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutcomeStatus {
    /// The worker said `success`.
    Success,
    /// The worker said `failure`, or answered in a way that cannot be understood.
    Failure,
    /// The worker said `permanent-failure`: retrying is pointless.
    PermanentFailure,
    /// There was no answer: refused, reset, timed out, name not found, too many redirects.
    InternalFailure,
}

/// What came of one try.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Outcome {
    /// How it ended.
    pub status: OutcomeStatus,
    /// The HTTP status of the worker's answer; 0 if there was none.
    pub code: u16,
    /// The worker's message, or what went wrong.
    pub message: String,
}

impl Outcome {
    /// The text kept in the failure log: `{"status":"failure","code":200,"message":"…"}`.
    pub fn to_json(&self) -> Vec<u8> {
        // Serialising three plain fields into memory cannot fail; an empty text would be the
        // only trace if it did.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// What happens to a job after a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is done: the row goes.
    Complete,
    /// It waits `retry_delay` and is tried again.
    Retry,
    /// It moves to the failure log.
    Fail,
}

/// Decides what happens to `job` after a try that ended in `outcome`.
pub fn verdict(outcome: &Outcome, job: &Job) -> Verdict {
    match outcome.status {
        OutcomeStatus::Success => Verdict::Complete,
        OutcomeStatus::PermanentFailure => Verdict::Fail,
        OutcomeStatus::Failure | OutcomeStatus::InternalFailure if job.retry_count > 0 => {
            Verdict::Retry
        }
        OutcomeStatus::Failure | OutcomeStatus::InternalFailure => Verdict::Fail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(retry_count: u32) -> Job {
        Job {
            id: 1,
            category: "c".into(),
            url: "http://localhost/".into(),
            payload: Vec::new(),
            status: JobStatus::Grabbed,
            created_at_ms: 0,
            next_try_ms: 0,
            retry_count,
            retry_delay_s: 0,
            fail_count: 2,
            timeout_s: 0,
        }
    }

    fn outcome(status: OutcomeStatus) -> Outcome {
        Outcome { status, code: 200, message: String::new() }
    }

    #[test]
    fn a_failure_is_retried_while_tries_are_left() {
        use OutcomeStatus::*;
        for (status, retry_count, expected) in [
            (Success, 0, Verdict::Complete),
            (Success, 3, Verdict::Complete),
            (Failure, 1, Verdict::Retry),
            (Failure, 0, Verdict::Fail),
            (InternalFailure, 1, Verdict::Retry),
            (InternalFailure, 0, Verdict::Fail),
            (PermanentFailure, 5, Verdict::Fail),
        ] {
            assert_eq!(verdict(&outcome(status), &job(retry_count)), expected, "{status:?}");
        }
    }

    #[test]
    fn the_counters_add_up() {
        assert_eq!(job(3).max_retries(), 5);
        assert_eq!(job(3).attempt(), 3);
    }

    #[test]
    fn an_outcome_is_kept_as_json() {
        let kept = Outcome {
            status: OutcomeStatus::PermanentFailure,
            code: 500,
            message: "no \"such\" user\n".into(),
        };
        assert_eq!(
            String::from_utf8(kept.to_json()).unwrap(),
            r#"{"status":"permanent-failure","code":500,"message":"no \"such\" user\n"}"#
        );
    }
}
