//! `/metrics`: everything that is counted, as Prometheus reads it.
//!
//! Families are written one after the other, each for all queues. Figures are read from atomics;
//! for what only the store knows this waits a moment, and then tells what was last heard, or
//! nothing.

use std::sync::Arc;
use std::time::Duration;

use super::api::{Api, Call};
use super::error::Refusal;
use super::route::ROUTES;
use super::{Response, answer};
use crate::metrics::page::Value;
use crate::metrics::process::{self, ProcessFigures};
use crate::metrics::queue::OUTCOMES;
use crate::metrics::store::Batches;
use crate::metrics::table::{self, Metric};
use crate::metrics::{Form, Histogram, Page, QueueMetrics, STORE, labels};
use crate::queue::{Queue, StatsView};
use crate::store::Backlog;

pub(super) fn get(api: &Api, call: &Call) -> Result<Response, Refusal> {
    let form = Form::accepted(call.request.header("Accept"));
    let mut page = Page::new(form);
    queues(&mut page, api);
    backlogs(&mut page, api);
    store(&mut page, api);
    front(&mut page, api);
    process(&mut page, api);
    Ok(answer::with_type(200, form.content_type(), page.finish().into_bytes()))
}

/// A queue at this moment.
struct Snapshot {
    queue: Arc<Queue>,
    stats: StatsView,
    labels: String,
}

fn queues(page: &mut Page, api: &Api) {
    let queues = api.registry.queues().into_iter().map(|queue| Snapshot {
        stats: queue.stats(),
        labels: labels(&[("queue", queue.name())]),
        queue,
    });
    let queues: Vec<Snapshot> = queues.collect();
    let mut each = |metric: &'static Metric, value: &dyn Fn(&Snapshot) -> Value| {
        let mut family = page.family(metric);
        for queue in &queues {
            family.sample(&queue.labels, value(queue));
        }
    };
    each(&table::JOBS_PUSHED, &|queue| queue.stats.total_pushes.into());
    each(&table::JOBS_GRABBED, &|queue| queue.stats.total_pops.into());
    each(&table::JOBS_SUCCEEDED, &|queue| queue.stats.total_successes.into());
    each(&table::TRIES_FAILED, &|queue| queue.stats.total_failures.into());
    each(&table::JOBS_RETRIED, &|queue| queue.queue.metrics().retries.get().into());
    each(&table::JOBS_PERMANENTLY_FAILED, &|queue| queue.stats.total_permanent_failures.into());
    each(&table::OUTCOMES_LOST, &|queue| queue.queue.metrics().lost.get().into());
    each(&table::QUEUE_PRIMARY, &|queue| queue.stats.active_nodes.into());
    each(&table::QUEUE_MAX_WORKERS, &|queue| queue.stats.total_workers.into());
    each(&table::QUEUE_RUNNING, &|queue| queue.queue.running().into());
    each(&table::QUEUE_IN_HAND, &|queue| queue.queue.in_hand().into());
    let mut histograms = |metric, histogram: &dyn Fn(&QueueMetrics) -> &Histogram| {
        let mut family = page.family(metric);
        for queue in &queues {
            family.histogram(&queue.labels, &histogram(queue.queue.metrics()).read());
        }
    };
    histograms(&table::JOB_START_DELAY, &|metrics| &metrics.start_delay);
    histograms(&table::JOB_COMPLETION, &|metrics| &metrics.completion);
    let mut family = page.family(&table::WORKER_ANSWER);
    for queue in &queues {
        for (outcome, histogram) in OUTCOMES.iter().zip(&queue.queue.metrics().answers) {
            let reading = histogram.read();
            // Most queues never see most outcomes.
            if reading.count() > 0 {
                let outcome = labels(&[("outcome", outcome)]);
                family.histogram(&format!("{},{outcome}", queue.labels), &reading);
            }
        }
    }
}

fn backlogs(page: &mut Page, api: &Api) {
    // Left out rather than wrong: a queue that nobody could count is not empty.
    let Some(sample) = api.sampler.latest() else { return };
    page.single(&table::BACKLOG_AGE, sample.at.elapsed().as_secs_f64());
    let backlogs = sample.backlogs.iter();
    let queues: Vec<_> =
        backlogs.map(|(name, backlog)| (labels(&[("queue", name)]), backlog)).collect();
    let mut each = |metric: &'static Metric, value: &dyn Fn(&Backlog) -> Value| {
        let mut family = page.family(metric);
        for (labels, backlog) in &queues {
            family.sample(labels, value(backlog));
        }
    };
    each(&table::QUEUE_WAITING, &|backlog| backlog.waiting.into());
    each(&table::QUEUE_DEFERRED, &|backlog| backlog.deferred.into());
    each(&table::QUEUE_GRABBED, &|backlog| backlog.running.into());
    each(&table::QUEUE_FAILURES, &|backlog| backlog.failed.into());
    let age_s = |backlog: &Backlog| Duration::from_millis(backlog.oldest_waiting_ms).as_secs_f64();
    each(&table::QUEUE_OLDEST_DUE, &|backlog| age_s(backlog).into());
}

fn store(page: &mut Page, api: &Api) {
    page.single(&table::STORE_UP, api.readiness.store().is_ok());
    page.single(&table::STORE_STANDBY, api.readiness.is_standby());
    let batches = [("push", &STORE.push), ("settle", &STORE.settle)]
        .map(|(operation, batches)| (labels(&[("operation", operation)]), batches));
    let mut histograms = |metric, histogram: &dyn Fn(&Batches) -> &Histogram| {
        let mut family = page.family(metric);
        for (labels, batches) in &batches {
            family.histogram(labels, &histogram(batches).read());
        }
    };
    histograms(&table::STORE_COMMIT, &|batches| &batches.time);
    histograms(&table::STORE_COMMIT_ROWS, &|batches| &batches.rows);
    let mut family = page.family(&table::STORE_ERRORS);
    for (operation, errors) in [
        ("push", &STORE.push.errors),
        ("settle", &STORE.settle.errors),
        ("grab", &STORE.grab_errors),
        ("recover", &STORE.recover_errors),
        ("check", &STORE.check_errors),
    ] {
        family.sample(&labels(&[("operation", operation)]), errors.get());
    }
    page.single(&table::STORE_CONNECTIONS_OPENED, STORE.connections_opened.get());
    page.single(&table::STORE_CONNECTION_ERRORS, STORE.connection_errors.get());
}

fn front(page: &mut Page, api: &Api) {
    let names = ROUTES.iter().map(|route| (route.method.as_str(), route.path));
    let routes: Vec<_> = names.chain([("", "none")]).zip(api.figures.routes()).collect();
    let mut family = page.family(&table::HTTP_REQUESTS);
    for ((method, route), figures) in &routes {
        for (code, count) in figures.codes() {
            let code = code.to_string();
            let pairs = [("method", *method), ("route", *route), ("code", &*code)];
            family.sample(&labels(&pairs), count);
        }
    }
    let mut family = page.family(&table::HTTP_DURATION);
    for ((method, route), figures) in &routes {
        let reading = figures.time.read();
        if reading.count() > 0 {
            family.histogram(&labels(&[("method", method), ("route", route)]), &reading);
        }
    }
    if let Some(front) = api.front.get() {
        page.single(&table::HTTP_CONNECTIONS, front.open_connections());
        page.single(&table::HTTP_ACCEPT_ERRORS, front.accept_errors());
        page.single(&table::HTTP_REFUSED_CONNECTIONS, front.refused_connections());
    }
}

fn process(page: &mut Page, api: &Api) {
    let version = labels(&[("version", env!("CARGO_PKG_VERSION"))]);
    page.family(&table::BUILD_INFO).sample(&version, true);
    page.single(&table::LOG_LINES_DROPPED, api.dropped_lines.get());
    let figures = ProcessFigures::read();
    page.single(&table::PROCESS_CPU_SECONDS, figures.cpu_s);
    let (open, most) = process::descriptors();
    if let Some(open) = open {
        page.single(&table::PROCESS_OPEN_FDS, open);
    }
    if let Some(most) = most {
        page.single(&table::PROCESS_MAX_FDS, most);
    }
    page.single(&table::PROCESS_VIRTUAL_MEMORY, figures.virtual_bytes);
    page.single(&table::PROCESS_RESIDENT_MEMORY, figures.resident_bytes);
    page.single(&table::PROCESS_THREADS, figures.threads);
    page.single(&table::PROCESS_START_TIME, process::started_s());
}
