//! The figures of one queue that its counters for the API do not have.

use std::time::{Duration, Instant};

use super::instrument::{Counter, Histogram, LONG, MEDIUM};
use crate::clock;
use crate::job::{Outcome, OutcomeStatus, Verdict};

/// What a label `outcome` says, in the order of [`QueueMetrics::answers`].
pub const OUTCOMES: [&str; 4] = ["success", "failure", "permanent-failure", "internal-failure"];

/// The figures of one queue.
pub struct QueueMetrics {
    /// Tries after which the job waits for another.
    pub retries: Counter,
    /// Outcomes whose job was no longer ours.
    pub lost: Counter,
    /// From due to sent, in microseconds.
    pub start_delay: Histogram,
    /// From pushed to done or failed for good, in microseconds.
    pub completion: Histogram,
    /// From sent to answered, in microseconds, by outcome.
    pub answers: [Histogram; 4],
}

impl QueueMetrics {
    /// Those of a queue that has done nothing.
    pub const fn new() -> QueueMetrics {
        QueueMetrics {
            retries: Counter::new(),
            lost: Counter::new(),
            start_delay: Histogram::new(&LONG),
            completion: Histogram::new(&LONG),
            answers: [const { Histogram::new(&MEDIUM) }; 4],
        }
    }

    /// A job that was due at `due_ms` is sent to its worker now. The store's clock and this node's
    /// are compared: by as much as they differ the delay is wrong.
    pub fn sent(&self, due_ms: u64) -> Instant {
        let delay_ms = clock::now_ms().saturating_sub(due_ms);
        self.start_delay.observe_time(Duration::from_millis(delay_ms));
        Instant::now()
    }

    /// What was sent at `since` has this outcome now.
    pub fn answered(&self, since: Instant, outcome: &Outcome) {
        let index = match outcome.status {
            OutcomeStatus::Success => 0,
            OutcomeStatus::Failure => 1,
            OutcomeStatus::PermanentFailure => 2,
            OutcomeStatus::InternalFailure => 3,
        };
        self.answers[index].observe_time(since.elapsed());
    }

    /// The outcome of a job is stored, which was pushed so long ago.
    pub fn settled(&self, verdict: Verdict, elapsed_ms: u64) {
        match verdict {
            Verdict::Retry => self.retries.add(1),
            Verdict::Complete | Verdict::Fail => {
                self.completion.observe_time(Duration::from_millis(elapsed_ms));
            }
        }
    }
}

impl Default for QueueMetrics {
    fn default() -> QueueMetrics {
        QueueMetrics::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart_by_the_words_of_the_api() {
        use OutcomeStatus::*;
        let metrics = QueueMetrics::new();
        for (index, status) in
            [Success, Failure, PermanentFailure, InternalFailure].into_iter().enumerate()
        {
            let outcome = Outcome { status, code: 0, message: String::new() };
            metrics.answered(Instant::now(), &outcome);
            assert_eq!(metrics.answers[index].read().count(), 1, "{status:?}");
            let word = serde_json::to_value(status).unwrap();
            assert_eq!(word, OUTCOMES[index]);
        }
    }

    #[test]
    fn a_job_of_a_clock_that_is_ahead_started_without_delay() {
        let metrics = QueueMetrics::new();
        metrics.sent(clock::now_ms() + 60_000);
        let reading = metrics.start_delay.read();
        assert_eq!((reading.count(), reading.sum), (1, 0));
        metrics.sent(clock::now_ms() - 2000);
        assert!(metrics.start_delay.read().sum >= 2_000_000);
    }
}
