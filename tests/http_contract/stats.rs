//! The counters of a queue.

use serde_json::{Value, json};

use crate::stores::{Store, on_every_store};
use crate::support::wait::{SOON, until};
use crate::support::worker::{Reaction, Worker};
use crate::workers::{Held, count, failure, wait_for};

on_every_store! {
    a_new_queue_has_counted_nothing
    successes_are_counted
    failures_are_counted
    a_permanent_failure_is_counted
    busy_workers_are_counted
    rates_are_of_the_last_second
}

const NAMES: &[&str] = &[
    "total_pushes",
    "total_pops",
    "total_successes",
    "total_failures",
    "total_permanent_failures",
    "total_completes",
    "total_elapsed",
    "pushes_per_second",
    "pops_per_second",
    "outstanding_jobs",
    "total_workers",
    "idle_workers",
    "active_nodes",
];

/// The counters as they settle, but for times, rates and workers.
fn totals(stats: &Value) -> [u64; 6] {
    let names = [
        "total_pushes",
        "total_pops",
        "total_successes",
        "total_failures",
        "total_permanent_failures",
        "total_completes",
    ];
    names.map(|name| stats[name].as_u64().unwrap())
}

fn a_new_queue_has_counted_nothing(store: Store) {
    let node = store.shared();
    let queue = node.queue(&json!({"max_workers": 7}));
    until("the node is primary", SOON, || queue.stat("active_nodes") == 1);
    let answer = queue.get("/stats");
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
    let stats = answer.json();
    let mut names: Vec<_> = stats.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    let mut expected = NAMES.to_vec();
    expected.sort_unstable();
    assert_eq!(names, expected);
    assert!(stats.as_object().unwrap().values().all(Value::is_u64), "{stats}");
    assert_eq!(totals(&stats), [0; 6]);
    for (name, value) in [
        ("total_workers", 7),
        ("idle_workers", 7),
        ("active_nodes", 1),
        ("outstanding_jobs", 0),
        ("total_elapsed", 0),
        ("pushes_per_second", 0),
        ("pops_per_second", 0),
    ] {
        assert_eq!(stats[name], value, "{name}");
    }
    let all = node.get("/queues/stats");
    assert_eq!(all.header("Content-Type"), Some("application/json"));
    assert_eq!(all.json()[&queue.name], stats);
}

fn successes_are_counted(store: Store) {
    let queue = store.shared().queue(&json!({}));
    let worker = Worker::successful();
    queue.push_burst(&vec![json!({"url": worker.url("/"), "max_retries": 3}); 5]);
    queue.push(&json!({"url": worker.url("/"), "run_after": 3600}));
    queue.wait_for_stat("total_successes", 5);
    until("the counters settle", SOON, || totals(&queue.stats()) == [6, 5, 5, 0, 0, 5]);
}

fn failures_are_counted(store: Store) {
    let queue = store.shared().queue(&json!({}));
    let worker =
        Worker::start(|received| if received.number < 2 { failure() } else { Reaction::success() });
    queue.push(&json!({"url": worker.url("/"), "max_retries": 2}));
    until("it succeeds at last", SOON, || totals(&queue.stats()) == [1, 3, 1, 2, 0, 1]);
    let failing = Worker::start(|_| failure());
    queue.push(&json!({"url": failing.url("/"), "max_retries": 1}));
    until("it fails at last", SOON, || totals(&queue.stats()) == [2, 5, 1, 4, 1, 2]);
}

fn a_permanent_failure_is_counted(store: Store) {
    let queue = store.shared().queue(&json!({}));
    let worker = Worker::start(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        Reaction::permanent_failure()
    });
    queue.push(&json!({"url": worker.url("/"), "max_retries": 9}));
    until("it has failed", SOON, || totals(&queue.stats()) == [1, 1, 0, 1, 1, 1]);
    let elapsed_ms = queue.stat("total_elapsed");
    // By two clocks, each in whole milliseconds.
    assert!((48..20_000).contains(&elapsed_ms), "{elapsed_ms}");
}

fn busy_workers_are_counted(store: Store) {
    let queue = store.shared().queue(&json!({"max_workers": 3}));
    let worker = Held::succeeding();
    queue.push_burst(&vec![json!({ "url": worker.url("/") }); 2]);
    wait_for(&worker, 2);
    let stats = queue.stats();
    assert_eq!(stats["total_workers"], 3, "{stats}");
    assert_eq!(stats["idle_workers"], 1, "{stats}");
    assert_eq!(stats["outstanding_jobs"], 0, "{stats}");
    queue.push_burst(&vec![json!({ "url": worker.url("/") }); 10]);
    wait_for(&worker, 3);
    until("none is idle", SOON, || queue.stat("idle_workers") == 0);
    assert!(queue.stat("outstanding_jobs") <= 9, "more is outstanding than was pushed");
    assert_eq!(count(&worker), 3);
    worker.let_go();
    until("all are idle again", SOON, || {
        let stats = queue.stats();
        totals(&stats) == [12, 12, 12, 0, 0, 12]
            && stats["idle_workers"] == 3
            && stats["outstanding_jobs"] == 0
    });
}

fn rates_are_of_the_last_second(store: Store) {
    let queue = store.shared().queue(&json!({}));
    let worker = Worker::successful();
    let jobs = vec![json!({ "url": worker.url("/") }); 20];
    until("a burst is seen whole", SOON, || {
        queue.push_burst(&jobs);
        let seen = queue.stat("pushes_per_second");
        assert!(seen <= queue.stat("total_pushes"));
        seen >= 20
    });
    until("a pop is seen", SOON, || {
        queue.push(&json!({ "url": worker.url("/") }));
        queue.stat("pops_per_second") > 0
    });
    until("the last second is over", SOON, || {
        let stats = queue.stats();
        stats["pushes_per_second"] == 0 && stats["pops_per_second"] == 0
    });
}
