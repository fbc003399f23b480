//! `/metrics`: what is counted, and the form in which it is told.

use std::collections::{BTreeMap, BTreeSet};

use fireworq::metrics::table::{Metric, TABLE};
use serde_json::json;

use crate::node::Node;
use crate::stores::{Store, on_every_store};
use crate::support::http::Answer;
use crate::support::promtool;
use crate::support::wait::{SOON, until};
use crate::support::worker::{Reaction, Worker};
use crate::workers::{Held, failure, wait_for};

on_every_store! {
    what_became_of_jobs_is_counted
    a_queue_tells_how_busy_it_is
    what_waits_in_the_store_is_counted
    a_page_tells_all_metrics_of_the_table_and_no_others
}

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The samples of a page: what stands before the value, and the value.
struct Samples(BTreeMap<String, f64>);

impl Samples {
    #[track_caller]
    fn of(page: &str) -> Samples {
        let mut samples = BTreeMap::new();
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').expect(line);
            let value = value.parse().expect(line);
            assert!(samples.insert(series.to_owned(), value).is_none(), "twice: {series}");
        }
        Samples(samples)
    }

    /// The value of a series, named as on the page.
    #[track_caller]
    fn value(&self, series: &str) -> f64 {
        *self.0.get(series).unwrap_or_else(|| panic!("no {series}"))
    }

    /// That of a series whose only label is the queue.
    #[track_caller]
    fn of_queue(&self, name: &str, queue: &str) -> f64 {
        self.value(&format!("fireworq_{name}{{queue=\"{queue}\"}}"))
    }
}

#[track_caller]
fn page(node: &Node) -> Answer {
    let answer = node.get("/metrics");
    assert_eq!(answer.status, 200);
    answer
}

#[track_caller]
fn scrape(node: &Node) -> Samples {
    Samples::of(page(node).text())
}

fn what_became_of_jobs_is_counted(store: Store) {
    let node = store.shared();
    let queue = node.queue(&json!({}));
    let worker = Worker::start(|received| match received.path.as_str() {
        "/fails" => failure(),
        "/is-hopeless" => Reaction::permanent_failure(),
        _ => Reaction::success(),
    });
    queue.push_burst(&vec![json!({ "url": worker.url("/") }); 4]);
    queue.push(&json!({"url": worker.url("/fails"), "max_retries": 2}));
    queue.push(&json!({"url": worker.url("/is-hopeless"), "max_retries": 2}));
    let name = queue.name.as_str();
    until("all have ended", SOON, || {
        scrape(node).of_queue("job_completion_seconds_count", name) == 6.0
    });
    let samples = scrape(node);
    for (metric, expected) in [
        ("jobs_pushed_total", 6.0),
        ("jobs_grabbed_total", 8.0),
        ("jobs_succeeded_total", 4.0),
        ("tries_failed_total", 4.0),
        ("jobs_retried_total", 2.0),
        ("jobs_permanently_failed_total", 2.0),
        ("outcomes_lost_total", 0.0),
        ("job_start_delay_seconds_count", 8.0),
        ("job_completion_seconds_count", 6.0),
    ] {
        assert_eq!(samples.of_queue(metric, name), expected, "{metric}");
    }
    for (outcome, expected) in [("success", 4.0), ("failure", 3.0), ("permanent-failure", 1.0)] {
        let labels = format!("{{queue=\"{name}\",outcome=\"{outcome}\"}}");
        let count = samples.value(&format!("fireworq_worker_answer_seconds_count{labels}"));
        assert_eq!(count, expected, "{outcome}");
        assert!(samples.value(&format!("fireworq_worker_answer_seconds_sum{labels}")) > 0.0);
    }
    let slowest = format!("fireworq_job_completion_seconds_bucket{{queue=\"{name}\",le=\"+Inf\"}}");
    assert_eq!(samples.value(&slowest), 6.0);
    for operation in ["push", "settle"] {
        let rows = format!("fireworq_store_commit_rows_sum{{operation=\"{operation}\"}}");
        assert!(samples.value(&rows) >= 6.0, "{operation}");
        let time = format!("fireworq_store_commit_seconds_sum{{operation=\"{operation}\"}}");
        assert!(samples.value(&time) > 0.0, "{operation}");
    }
    let requests = "{method=\"POST\",route=\"/job/{category...}\",code=\"200\"}";
    assert!(samples.value(&format!("fireworq_http_requests_total{requests}")) >= 6.0);
}

fn a_queue_tells_how_busy_it_is(store: Store) {
    let node = store.shared();
    let queue = node.queue(&json!({"max_workers": 3}));
    let worker = Held::succeeding();
    queue.push_burst(&vec![json!({ "url": worker.url("/") }); 2]);
    wait_for(&worker, 2);
    let samples = scrape(node);
    let value = |metric: &str| samples.of_queue(metric, &queue.name);
    assert_eq!(value("queue_primary"), 1.0);
    assert_eq!(value("queue_max_workers"), 3.0);
    assert_eq!(value("queue_running_jobs"), 2.0);
    assert_eq!(value("queue_in_hand_jobs"), 2.0);
    assert_eq!(samples.value("fireworq_store_up"), 1.0);
    worker.let_go();
    until("none is in hand", SOON, || {
        scrape(node).of_queue("queue_in_hand_jobs", &queue.name) == 0.0
    });
}

fn what_waits_in_the_store_is_counted(store: Store) {
    let node = store.shared();
    let queue = node.queue(&json!({"max_workers": 1}));
    let worker = Held::start(|received| match received.path.as_str() {
        "/is-hopeless" => Reaction::permanent_failure(),
        _ => Reaction::success(),
    });
    queue.push_burst(&vec![json!({ "url": worker.url("/is-hopeless") }); 3]);
    queue.push(&json!({"url": worker.url("/"), "run_after": 3600}));
    wait_for(&worker, 1);
    // A page may tell a count from before there was this queue, which equals no figure.
    let value = |metric: &str| {
        let series = format!("fireworq_{metric}{{queue=\"{}\"}}", queue.name);
        scrape(node).0.get(&series).copied().unwrap_or(f64::NAN)
    };
    until("what waits is counted", SOON, || {
        let found = ["waiting_jobs", "deferred_jobs", "grabbed_jobs", "failures"]
            .map(|metric| value(&format!("queue_{metric}")));
        // A fast queue has some grabbed ahead.
        found[0] + found[2] == 3.0 && found[2] >= 1.0 && found[1] == 1.0 && found[3] == 0.0
    });
    until("some have waited", SOON, || {
        value("queue_waiting_jobs") == 0.0 || value("queue_oldest_due_age_seconds") > 0.0
    });
    assert!(scrape(node).value("fireworq_queue_backlog_age_seconds") < 60.0);
    worker.let_go();
    until("what failed is counted", SOON, || {
        value("queue_failures") == 3.0 && value("queue_oldest_due_age_seconds") == 0.0
    });
}

/// The name of a series and the names of its labels.
fn name_and_labels(series: &str) -> (&str, BTreeSet<&str>) {
    let Some((name, labels)) = series.split_once('{') else { return (series, BTreeSet::new()) };
    // No value of a label has a quote in it here.
    let names = labels.split('"').step_by(2).filter_map(|part| part.strip_suffix('='));
    (name, names.map(|name| name.trim_start_matches(',')).collect())
}

fn a_page_tells_all_metrics_of_the_table_and_no_others(store: Store) {
    let node = store.shared();
    let queue = node.queue(&json!({}));
    let worker = Worker::successful();
    queue.push(&json!({ "url": worker.url("/") }));
    queue.wait_for_stat("total_successes", 1);
    let metrics = || TABLE.iter().flat_map(|(_, metrics)| *metrics).copied();
    let of_sample: BTreeMap<String, &Metric> = metrics()
        .flat_map(|metric| metric.sample_names().into_iter().map(move |name| (name, metric)))
        .collect();
    // What needs a first sample of the store may come a moment later.
    until("all metrics are there", SOON, || {
        let samples = scrape(node);
        let mut missing: BTreeSet<&str> = metrics().map(|metric| metric.name).collect();
        for series in samples.0.keys() {
            let (name, labels) = name_and_labels(series);
            let metric = of_sample.get(name).unwrap_or_else(|| panic!("undeclared: {series}"));
            missing.remove(metric.name);
            let mut declared: BTreeSet<&str> = metric.labels.iter().copied().collect();
            if name.ends_with("_bucket") {
                declared.insert("le");
            }
            assert_eq!(labels, declared, "{series}");
        }
        missing.is_empty()
    });
}

#[test]
fn prometheus_understands_the_page() {
    let node = Store::InMemory.node(&[]);
    let queue = node.queue(&json!({}));
    let worker = Worker::start(|_| failure());
    queue.push(&json!({ "url": worker.url("/") }));
    queue.wait_for_stat("total_failures", 1);
    // A name that needs to be escaped.
    node.put("/queue/%22quoted%22%5C", "{}");
    let answer = page(&node);
    assert_eq!(answer.header("Content-Type"), Some(PLAIN));
    promtool::check(&["check", "metrics"], &answer.body);
}

#[test]
fn openmetrics_is_told_to_those_who_ask() {
    let node = Store::InMemory.shared();
    let accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.4,*/*;q=0.1";
    let mut client = node.connect();
    let answer = client.request("GET", "/metrics", &[("Accept", accept)], "");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("Content-Type"), Some(OPEN_METRICS));
    let text = answer.text();
    assert!(text.ends_with("\n# EOF\n"));
    for line in [
        "# TYPE fireworq_jobs_pushed counter",
        "# TYPE fireworq_build info",
        "# UNIT process_cpu_seconds seconds",
        "# TYPE fireworq_worker_answer_seconds histogram",
    ] {
        assert!(text.lines().any(|found| found == line), "no {line}");
    }
    Samples::of(text);
    // Families are told one after the other, each by its own name.
    let mut family = "";
    for line in text.lines() {
        match line.strip_prefix("# TYPE ") {
            Some(head) => family = head.split(' ').next().unwrap(),
            None if line.starts_with('#') => {}
            None => assert!(line.starts_with(family), "{line} stands below {family}"),
        }
    }
    let head = client.request("HEAD", "/metrics", &[("Accept", accept)], "");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("Content-Type"), Some(OPEN_METRICS));
    assert!(head.header("Content-Length").is_some_and(|length| length.len() >= 4));
    assert_eq!(node.post("/metrics", "").header("Allow"), Some("GET, HEAD"));
}

#[test]
fn no_label_comes_from_a_request() {
    let node = Store::InMemory.node(&[]);
    node.get("/queue/secret-1/stats");
    node.get("/secret-2");
    node.post("/job/secret-3?secret-4", "{}");
    node.request("SECRET5", "/queues", "");
    node.get("/queue/%zz");
    let answer = page(&node);
    assert!(!answer.text().to_lowercase().contains("secret"), "{}", answer.text());
    let samples = Samples::of(answer.text());
    let code = |labels: &str| samples.value(&format!("fireworq_http_requests_total{{{labels}}}"));
    assert_eq!(code(r#"method="GET",route="/queue/{queue}/stats",code="404""#), 1.0);
    assert_eq!(code(r#"method="",route="none",code="404""#), 1.0);
    assert_eq!(code(r#"method="",route="none",code="405""#), 1.0);
    assert_eq!(code(r#"method="",route="none",code="400""#), 1.0);
    assert!(samples.value("fireworq_http_connections") >= 1.0);
}
