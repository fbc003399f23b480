//! How much there is to do, in figures.

use serde_json::{Value, json};

use crate::node::{Queue, unique};
use crate::stores::{Store, on_every_store};
use crate::support::wait::{SOON, eventually};
use crate::support::worker::Worker;
use crate::workers::{Held, failure, wait_for};

on_every_store! {
    the_figures_tell_where_jobs_stand
    all_queues_are_told_at_once
    figures_change_soon
}

/// The backlog of a queue, once `is_there` says so. Samples are shared for a second.
#[track_caller]
fn backlog(queue: &Queue<'_>, is_there: impl Fn(&Value) -> bool) -> Value {
    eventually("the backlog", SOON, || {
        let answer = queue.get("/backlog");
        assert_eq!(answer.status, 200, "{}", answer.text());
        Some(answer.json()).filter(&is_there)
    })
}

fn the_figures_tell_where_jobs_stand(store: Store) {
    let queue = store.shared().queue(&json!({"max_workers": 1}));
    let nothing = r#"{"waiting":0,"deferred":0,"running":0,"failed":0,"oldest_waiting_at":null,"oldest_waiting_ms":0}"#;
    assert_eq!(queue.get("/backlog").text(), nothing);
    let failing = Worker::start(|_| failure());
    queue.push(&json!({ "url": failing.url("/") }));
    queue.failures(1);
    let held = Held::succeeding();
    queue.push(&json!({ "url": held.url("/") }));
    wait_for(&held, 1);
    let first = queue.push(&json!({ "url": held.url("/") }));
    queue.push_burst(&vec![json!({ "url": held.url("/") }); 19]);
    queue.push(&json!({"url": held.url("/"), "run_after": 3600}));
    let found = backlog(&queue, |found| {
        let sum = found["waiting"].as_u64().unwrap() + found["running"].as_u64().unwrap();
        sum == 21 && found["deferred"] == 1 && found["failed"] == 1
    });
    assert!(found["running"].as_u64().unwrap() >= 1, "{found}");
    assert!(found["waiting"].as_u64().unwrap() >= 1, "{found}");
    let oldest: jiff::Timestamp = found["oldest_waiting_at"].as_str().unwrap().parse().unwrap();
    let job = store.shared().get(&format!("/queue/{}/job/{first}", queue.name)).json();
    let pushed: jiff::Timestamp = job["next_try"].as_str().unwrap().parse().unwrap();
    assert!(oldest >= pushed, "{found} {job}");
    assert!(found["oldest_waiting_ms"].as_u64().unwrap() < 3_600_000, "{found}");
    held.let_go();
}

fn all_queues_are_told_at_once(store: Store) {
    let node = store.node(&["queue-default="]);
    let queues: Vec<Queue<'_>> = (0..3).map(|_| node.queue(&json!({}))).collect();
    for (number, queue) in queues.iter().enumerate() {
        queue.push_burst(&vec![json!({"url": "http://127.0.0.1:1/", "run_after": 3600}); number]);
    }
    let found = eventually("the backlogs", SOON, || {
        let answer = node.get("/queues/backlog");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let found = answer.json();
        (found[&queues[2].name]["deferred"] == 2).then_some(found)
    });
    assert_eq!(found.as_object().unwrap().len(), 3, "{found}");
    for (number, queue) in queues.iter().enumerate() {
        assert_eq!(found[&queue.name], queue.get("/backlog").json());
        assert_eq!(found[&queue.name]["deferred"], number, "{found}");
    }
}

fn figures_change_soon(store: Store) {
    let queue = store.shared().queue(&json!({}));
    let deferred = |count: usize| {
        backlog(&queue, |found| found["deferred"] == count);
    };
    deferred(0);
    let id = queue.push(&json!({"url": "http://127.0.0.1:1/", "run_after": 3600}));
    deferred(1);
    store.shared().delete(&format!("/queue/{}/job/{id}", queue.name));
    deferred(0);
}

#[test]
fn a_missing_queue_is_404() {
    let node = Store::InMemory.shared();
    assert_eq!(node.get(&format!("/queue/{}/backlog", unique("none"))).status, 404);
}
