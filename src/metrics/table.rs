//! The one table of metrics: name, kind, unit, labels, meaning.

use std::fmt::Write;

/// A metric.
#[derive(Debug)]
pub struct Metric {
    /// As in queries; a counter's with its `_total`.
    pub name: &'static str,
    /// What its figures do.
    pub kind: Kind,
    /// The unit of its figures, with which its name ends.
    pub unit: Option<&'static str>,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it tells, in one sentence without quotes or backslashes.
    pub help: &'static str,
}

/// What the figures of a metric do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// They only grow, until the process ends.
    Counter,
    /// They go up and down.
    Gauge,
    /// They are values counted by their size.
    Histogram,
    /// They are always 1; the labels tell something.
    Info,
}

impl Kind {
    /// The word that both formats have for it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Info => "info",
        }
    }
}

impl Metric {
    /// The name without what OpenMetrics adds to it for each sample.
    pub(super) fn family_name(&self) -> &'static str {
        let suffix = match self.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        self.name.strip_suffix(suffix).unwrap_or(self.name)
    }

    /// The names of its samples.
    pub fn sample_names(&self) -> Vec<String> {
        match self.kind {
            Kind::Histogram => {
                ["_bucket", "_sum", "_count"].map(|end| format!("{}{end}", self.name)).into()
            }
            Kind::Counter | Kind::Gauge | Kind::Info => vec![self.name.to_owned()],
        }
    }
}

/// Makes a static of each row, and the table of all.
macro_rules! metrics {
    ($($section:literal: { $(
        $id:ident: $kind:ident $name:literal $(in $unit:literal)? [$($label:literal)*]
            $help:literal;
    )+ })+) => {
        $($(
            #[doc = $help]
            pub static $id: Metric = Metric {
                name: $name,
                kind: Kind::$kind,
                unit: metrics!(@unit $($unit)?),
                labels: &[$($label),*],
                help: $help,
            };
        )+)+
        /// Every metric, by the sections of the documentation.
        pub static TABLE: &[(&str, &[&Metric])] = &[$(($section, &[$(&$id),+])),+];
    };
    (@unit) => { None };
    (@unit $unit:literal) => { Some($unit) };
}

metrics! {
    "Jobs, by queue, on this node": {
        JOBS_PUSHED: Counter "fireworq_jobs_pushed_total" ["queue"]
            "Jobs stored through this node.";
        JOBS_GRABBED: Counter "fireworq_jobs_grabbed_total" ["queue"]
            "Jobs taken to be run, each retry included.";
        JOBS_SUCCEEDED: Counter "fireworq_jobs_succeeded_total" ["queue"]
            "Jobs that are done.";
        TRIES_FAILED: Counter "fireworq_tries_failed_total" ["queue"]
            "Tries that failed, whether the job is retried or not.";
        JOBS_RETRIED: Counter "fireworq_jobs_retried_total" ["queue"]
            "Failed tries after which the job waits for another one.";
        JOBS_PERMANENTLY_FAILED: Counter "fireworq_jobs_permanently_failed_total" ["queue"]
            "Jobs that moved to the failure log.";
        OUTCOMES_LOST: Counter "fireworq_outcomes_lost_total" ["queue"]
            "Tries whose job had another owner or was deleted when its outcome was stored.";
        JOB_START_DELAY: Histogram "fireworq_job_start_delay_seconds" in "seconds" ["queue"]
            "From when a job was due until it was sent to its worker.";
        JOB_COMPLETION: Histogram "fireworq_job_completion_seconds" in "seconds" ["queue"]
            "From when a job was pushed until it was done or had failed for good.";
        WORKER_ANSWER: Histogram "fireworq_worker_answer_seconds" in "seconds" ["queue" "outcome"]
            "From when a job was sent to its worker until its outcome was known.";
    }
    "Queues, on this node": {
        QUEUE_PRIMARY: Gauge "fireworq_queue_primary" ["queue"]
            "1 if this node runs the jobs of the queue, else 0.";
        QUEUE_MAX_WORKERS: Gauge "fireworq_queue_max_workers" ["queue"]
            "Jobs that the queue may run at once; 0 if this node is not primary.";
        QUEUE_RUNNING: Gauge "fireworq_queue_running_jobs" ["queue"]
            "Jobs that workers of the queue are busy with.";
        QUEUE_IN_HAND: Gauge "fireworq_queue_in_hand_jobs" ["queue"]
            "Jobs grabbed by this node whose outcome is not stored yet, those running included.";
    }
    "Queues, in the store: the same on every node, left out when it was away for a minute": {
        QUEUE_WAITING: Gauge "fireworq_queue_waiting_jobs" ["queue"]
            "Jobs that are due and not grabbed. These figures are counted up to a million.";
        QUEUE_DEFERRED: Gauge "fireworq_queue_deferred_jobs" ["queue"]
            "Jobs that are not yet due.";
        QUEUE_GRABBED: Gauge "fireworq_queue_grabbed_jobs" ["queue"]
            "Jobs that are grabbed, by whichever node: running, or about to.";
        QUEUE_FAILURES: Gauge "fireworq_queue_failures" ["queue"]
            "Jobs in the failure log.";
        QUEUE_OLDEST_DUE: Gauge "fireworq_queue_oldest_due_age_seconds" in "seconds" ["queue"]
            "How long the job that waits longest has been due; 0 if none is.";
        BACKLOG_AGE: Gauge "fireworq_queue_backlog_age_seconds" in "seconds" []
            "How long ago these were counted: over some seconds only if the store is slow.";
    }
    "The store": {
        STORE_UP: Gauge "fireworq_store_up" []
            "1 if the store answered when it was last asked, a second ago, else 0.";
        STORE_STANDBY: Gauge "fireworq_store_standby" []
            "1 while another process has the file of the embedded store, and this one stands by.";
        STORE_COMMIT: Histogram "fireworq_store_commit_seconds" in "seconds" ["operation"]
            "How long the store took for a batch of pushes or of outcomes that it stored.";
        STORE_COMMIT_ROWS: Histogram "fireworq_store_commit_rows" ["operation"]
            "Rows of such a batch.";
        STORE_ERRORS: Counter "fireworq_store_errors_total" ["operation"]
            "Batches, grabs, recoveries and looks at the store that failed as a whole.";
        STORE_CONNECTIONS_OPENED: Counter "fireworq_store_connections_opened_total" []
            "Connections opened to the database: at the start, after a failure, for a peak.";
        STORE_CONNECTION_ERRORS: Counter "fireworq_store_connection_errors_total" []
            "Connections to the database that could not be opened.";
    }
    "The HTTP front": {
        HTTP_REQUESTS: Counter "fireworq_http_requests_total" ["method" "route" "code"]
            "Requests answered; code 499 if the client left before it, route none if none fits.";
        HTTP_DURATION: Histogram "fireworq_http_request_seconds" in "seconds" ["method" "route"]
            "From the first byte of a request until its answer was there.";
        HTTP_CONNECTIONS: Gauge "fireworq_http_connections" []
            "Connections open now.";
        HTTP_ACCEPT_ERRORS: Counter "fireworq_http_accept_errors_total" []
            "Connections that could not be accepted.";
        HTTP_REFUSED_CONNECTIONS: Counter "fireworq_http_refused_connections_total" []
            "Connections turned away because too many were open.";
    }
    "The process": {
        BUILD_INFO: Info "fireworq_build_info" ["version"]
            "Always 1; the version of the daemon.";
        LOG_LINES_DROPPED: Counter "fireworq_log_lines_dropped_total" []
            "Log lines dropped because a disk or a reader did not take them fast enough.";
        PROCESS_CPU_SECONDS: Counter "process_cpu_seconds_total" in "seconds" []
            "Time of processors used by the process.";
        PROCESS_OPEN_FDS: Gauge "process_open_fds" []
            "File descriptors open now.";
        PROCESS_MAX_FDS: Gauge "process_max_fds" []
            "File descriptors that may be open at once.";
        PROCESS_VIRTUAL_MEMORY: Gauge "process_virtual_memory_bytes" in "bytes" []
            "Virtual memory of the process.";
        PROCESS_RESIDENT_MEMORY: Gauge "process_resident_memory_bytes" in "bytes" []
            "Resident memory of the process.";
        PROCESS_THREADS: Gauge "process_threads" []
            "Threads of the process.";
        PROCESS_START_TIME: Gauge "process_start_time_seconds" in "seconds" []
            "When the process started, in seconds since 1970.";
    }
}

/// The list of the documentation.
pub fn markdown() -> String {
    let mut text = String::new();
    for (section, metrics) in TABLE {
        // Writing to a text cannot fail, here and below.
        let _ = write!(
            text,
            "### {section}\n\n| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n"
        );
        for metric in *metrics {
            let labels: Vec<String> =
                metric.labels.iter().map(|label| format!("`{label}`")).collect();
            let (name, kind, help) = (metric.name, metric.kind.word(), metric.help);
            let _ = writeln!(text, "| `{name}` | {kind} | {} | {help} |", labels.join(", "));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        let mut names = HashSet::new();
        for metric in TABLE.iter().flat_map(|(_, metrics)| *metrics) {
            let name = metric.name;
            assert!(names.insert(name), "{name} is there twice");
            assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
            assert_eq!(name.ends_with("_info"), metric.kind == Kind::Info, "{name}");
            let unit = ["_seconds", "_bytes"]
                .into_iter()
                .find(|unit| metric.family_name().ends_with(unit))
                .map(|unit| &unit[1..]);
            assert_eq!(unit, metric.unit, "{name}");
            assert!(name.starts_with("fireworq_") || name.starts_with("process_"), "{name}");
            assert!(metric.help.ends_with('.'), "{name}");
            assert!(!metric.help.contains(['"', '\\', '\n', '|']), "{name}");
        }
    }
}
