//! The queue log: a line of JSON for each step of a job.

use std::sync::Arc;

use serde::Serialize;

use super::line::{self, Text};
use super::sink::Sink;
use crate::clock;
use crate::config::Level;
use crate::job::{Job, JobId, NewJob, Outcome, Verdict};

/// The queue log. Every method may be called from any thread and never waits for I/O.
pub struct QueueLog {
    pub(super) sink: Arc<Sink>,
    pub(super) level: Level,
    pub(super) tag: String,
    /// The most that is shown of `payload` and `message`, in bytes; 0 for no limit.
    pub(super) max_field_bytes: usize,
}

/// A step of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It was stored.
    Push,
    /// It was taken by the queue's primary node.
    Pop,
    /// It ended, well or not.
    Complete,
    /// A try failed, and another one follows.
    Retry,
}

impl Action {
    /// The weight of its lines.
    pub fn level(self) -> Level {
        match self {
            Action::Pop => Level::Debug,
            Action::Push | Action::Complete | Action::Retry => Level::Info,
        }
    }
}

/// What a line of the queue log tells. The level follows from the action, the time is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueEntry<'a> {
    /// Which step it is.
    pub action: Action,
    /// The queue's name.
    pub queue: &'a str,
    /// See [`NewJob::category`].
    pub category: &'a str,
    /// The job's id.
    pub id: JobId,
    /// Where the step left the job: `claimed`, `grabbed`, `completed` or `failed`.
    pub status: &'a str,
    /// When it was pushed, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// See [`NewJob::url`].
    pub url: &'a str,
    /// See [`NewJob::payload`].
    pub payload: &'a [u8],
    /// When this try was due, in milliseconds since 1970.
    pub next_try_ms: u64,
    /// Tries left after this one.
    pub retry_count: u32,
    /// See [`NewJob::retry_delay_s`].
    pub retry_delay_s: u32,
    /// Tries that have failed, one that has just failed included.
    pub fail_count: u32,
    /// See [`NewJob::timeout_s`].
    pub timeout_s: u32,
    /// What there is to say; left out when empty.
    pub message: &'a str,
}

impl<'a> QueueEntry<'a> {
    /// A job was stored under `id`.
    pub fn pushed(
        queue: &'a str,
        job: &'a NewJob,
        id: JobId,
        created_at_ms: u64,
        next_try_ms: u64,
    ) -> QueueEntry<'a> {
        QueueEntry {
            action: Action::Push,
            queue,
            category: &job.category,
            id,
            status: "claimed",
            created_at_ms,
            url: &job.url,
            payload: &job.payload,
            next_try_ms,
            retry_count: job.max_retries,
            retry_delay_s: job.retry_delay_s,
            fail_count: 0,
            timeout_s: job.timeout_s,
            message: "New job accepted",
        }
    }

    /// A job was grabbed.
    pub fn grabbed(queue: &'a str, job: &'a Job) -> QueueEntry<'a> {
        QueueEntry {
            action: Action::Pop,
            queue,
            category: &job.category,
            id: job.id,
            status: "grabbed",
            created_at_ms: job.created_at_ms,
            url: &job.url,
            payload: &job.payload,
            next_try_ms: job.next_try_ms,
            retry_count: job.retry_count,
            retry_delay_s: job.retry_delay_s,
            fail_count: job.fail_count,
            timeout_s: job.timeout_s,
            message: "A job grabbed",
        }
    }

    /// A try of `job`, as it was grabbed, ended in `outcome`, and `verdict` follows.
    pub fn tried(
        queue: &'a str,
        job: &'a Job,
        outcome: &'a Outcome,
        verdict: Verdict,
    ) -> QueueEntry<'a> {
        let (action, status) = match verdict {
            Verdict::Complete => (Action::Complete, "completed"),
            Verdict::Fail => (Action::Complete, "failed"),
            Verdict::Retry => (Action::Retry, "failed"),
        };
        let failed_now = u32::from(verdict != Verdict::Complete);
        QueueEntry {
            action,
            status,
            fail_count: job.fail_count.saturating_add(failed_now),
            message: &outcome.message,
            ..QueueEntry::grabbed(queue, job)
        }
    }
}

/// A line, its keys in the order in which they stand.
#[derive(Serialize)]
struct Line<'a> {
    level: Level,
    time: u64,
    tag: &'a str,
    action: Action,
    queue: &'a str,
    category: &'a str,
    id: JobId,
    status: &'a str,
    created_at: u64,
    elapsed: u64,
    url: &'a str,
    payload: Text<'a>,
    next_try: u64,
    retry_count: u32,
    retry_delay: u32,
    fail_count: u32,
    timeout: u32,
    #[serde(skip_serializing_if = "Text::is_empty")]
    message: Text<'a>,
}

impl QueueLog {
    /// Whether lines of this weight are written. Cheap.
    pub fn enabled(&self, level: Level) -> bool {
        level >= self.level
    }

    /// Writes a line, if its weight is enough.
    pub fn write(&self, entry: &QueueEntry<'_>) {
        if self.enabled(entry.action.level()) {
            line::append_json(&self.sink, &self.line(entry, clock::now_ms()));
        }
    }

    fn line<'a>(&'a self, entry: &QueueEntry<'a>, time: u64) -> Line<'a> {
        let text = |bytes| Text { bytes, max_bytes: self.max_field_bytes };
        Line {
            level: entry.action.level(),
            time,
            tag: &self.tag,
            action: entry.action,
            queue: entry.queue,
            category: entry.category,
            id: entry.id,
            status: entry.status,
            created_at: entry.created_at_ms,
            // The creation time is by the store's clock, which may be ahead of this one.
            elapsed: time.saturating_sub(entry.created_at_ms),
            url: entry.url,
            payload: text(entry.payload),
            next_try: entry.next_try_ms,
            retry_count: entry.retry_count,
            retry_delay: entry.retry_delay_s,
            fail_count: entry.fail_count,
            timeout: entry.timeout_s,
            message: text(entry.message.as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{JobStatus, OutcomeStatus};
    use crate::logs::testing::Lines;

    fn log(lines: &Lines, level: Level, max_field_bytes: usize) -> QueueLog {
        QueueLog { sink: lines.sink(), level, tag: "fireworq.queue".to_owned(), max_field_bytes }
    }

    fn job() -> Job {
        Job {
            id: 7,
            category: "cat".to_owned(),
            url: "http://localhost/a?b=\"c\"".to_owned(),
            payload: b"{\"a\":\"\n\xff\"}".to_vec(),
            status: JobStatus::Grabbed,
            created_at_ms: 1_000,
            next_try_ms: 2_000,
            retry_count: 3,
            retry_delay_s: 4,
            fail_count: 5,
            timeout_s: 6,
        }
    }

    fn outcome(status: OutcomeStatus, message: &str) -> Outcome {
        Outcome { status, code: 200, message: message.to_owned() }
    }

    /// The line that `entry` is at the time 9,000.
    fn line_of(entry: &QueueEntry<'_>, max_field_bytes: usize) -> String {
        let log = log(&Lines::default(), Level::Debug, max_field_bytes);
        serde_json::to_string(&log.line(entry, 9_000)).unwrap()
    }

    #[test]
    fn the_keys_stand_in_order() {
        let outcome = outcome(OutcomeStatus::Failure, "no\nsuch user");
        let line = line_of(&QueueEntry::tried("q", &job(), &outcome, Verdict::Retry), 0);
        assert_eq!(
            line,
            [
                r#"{"level":"info","time":9000,"tag":"fireworq.queue","action":"retry","#,
                r#""queue":"q","category":"cat","id":7,"status":"failed","created_at":1000,"#,
                r#""elapsed":8000,"url":"http://localhost/a?b=\"c\"","#,
                "\"payload\":\"{\\\"a\\\":\\\"\\n\u{fffd}\\\"}\",",
                r#""next_try":2000,"retry_count":3,"retry_delay":4,"fail_count":6,"#,
                r#""timeout":6,"message":"no\nsuch user"}"#,
            ]
            .concat()
        );
    }

    #[test]
    fn each_step_has_its_words() {
        let (job, lines) = (job(), Lines::default());
        let log = log(&lines, Level::Debug, 0);
        let new = NewJob {
            category: "cat".to_owned(),
            url: "u".to_owned(),
            payload: Vec::new(),
            run_after_s: 0,
            timeout_s: 6,
            retry_delay_s: 4,
            max_retries: 9,
        };
        let success = outcome(OutcomeStatus::Success, "");
        let failure = outcome(OutcomeStatus::PermanentFailure, "gone");
        for entry in [
            QueueEntry::pushed("q", &new, 8, 1_000, 2_000),
            QueueEntry::grabbed("q", &job),
            QueueEntry::tried("q", &job, &success, Verdict::Complete),
            QueueEntry::tried("q", &job, &failure, Verdict::Fail),
        ] {
            log.write(&entry);
        }
        let written = lines.after_close(&log.sink);
        let shown: Vec<String> = written
            .iter()
            .map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                let keys =
                    ["level", "action", "status", "message", "retry_count", "fail_count", "id"];
                keys.map(|key| line[key].to_string()).join(" ")
            })
            .collect();
        assert_eq!(
            shown,
            [
                r#""info" "push" "claimed" "New job accepted" 9 0 8"#,
                r#""debug" "pop" "grabbed" "A job grabbed" 3 5 7"#,
                r#""info" "complete" "completed" null 3 5 7"#,
                r#""info" "complete" "failed" "gone" 3 6 7"#,
            ]
        );
        assert!(!written[2].contains("message"), "{}", written[2]);
    }

    #[test]
    fn light_lines_are_left_out() {
        let (job, lines) = (job(), Lines::default());
        let log = log(&lines, Level::Info, 0);
        assert!(log.enabled(Level::Error) && !log.enabled(Level::Debug));
        log.write(&QueueEntry::grabbed("q", &job));
        assert!(lines.after_close(&log.sink).is_empty());
    }

    #[test]
    fn long_fields_are_cut() {
        let job = Job { payload: "aéé".into(), ..job() };
        let outcome = outcome(OutcomeStatus::Failure, "long");
        let line = line_of(&QueueEntry::tried("q", &job, &outcome, Verdict::Fail), 3);
        assert!(line.contains("\"payload\":\"aé…(cut, 5 bytes in all)\""), "{line}");
        assert!(line.contains("\"message\":\"lon…(cut, 4 bytes in all)\""), "{line}");
    }

    #[test]
    fn a_creation_time_ahead_of_this_clock_is_no_negative_age() {
        let job = Job { created_at_ms: 10_000, ..job() };
        let line = line_of(&QueueEntry::grabbed("q", &job), 0);
        assert!(line.contains("\"elapsed\":0,"), "{line}");
    }
}
