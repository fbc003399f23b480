//! Which job runs when: order, concurrency, throttling.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::node;
use crate::stores::{Store, on_every_store};
use crate::support::wait::{SOON, until};
use crate::support::worker::Worker;
use crate::workers::{Held, count, slow, wait_for};

on_every_store! {
    jobs_run_in_the_order_of_their_next_try_then_id
    no_more_run_at_once_than_there_are_workers
    more_workers_take_effect_at_once
    more_workers_take_what_was_grabbed_ahead
    fewer_workers_are_fewer_at_once
    a_throttled_queue_keeps_to_its_rate
    a_throttle_can_be_lifted
    a_blocked_queue_blocks_no_other
}

fn jobs_run_in_the_order_of_their_next_try_then_id(store: Store) {
    let queue = store.shared().queue(&json!({"max_workers": 1}));
    let held = Held::succeeding();
    queue.push(&json!({ "url": held.url("/") }));
    wait_for(&held, 1);
    // What is deferred becomes due while the worker is held, and is younger than what waits.
    let worker = Worker::successful();
    let mut jobs = vec![json!({"url": worker.url("/"), "payload": "late", "run_after": 1})];
    jobs.extend((0..30).map(|number| json!({"url": worker.url("/"), "payload": number})));
    let ids = queue.push_burst(&jobs);
    until("all are due", SOON, || queue.jobs("deferred").is_empty());
    let mut expected = queue.jobs("waiting?order=asc");
    // A few may be grabbed ahead, and those are the first.
    expected.splice(0..0, queue.jobs("grabbed?order=asc"));
    expected.retain(|job| ids.contains(&job["id"].as_u64().unwrap()));
    held.let_go();
    let received = wait_for(&worker, 31);
    let order: Vec<u64> = received
        .iter()
        .map(|received| received.header("Fireworq-Job-Id").unwrap().parse().unwrap())
        .collect();
    assert_eq!(order, node::ids(&expected));
    let key = |job: &Value| (job["next_try"].to_string(), job["id"].as_u64());
    assert!(expected.is_sorted_by_key(key), "{expected:?}");
    assert_ne!(order[0], ids[0], "the deferred job came first");
}

fn no_more_run_at_once_than_there_are_workers(store: Store) {
    let queue = store.shared().queue(&json!({"max_workers": 3}));
    let (worker, most) = slow(Duration::from_millis(20));
    let jobs = vec![json!({ "url": worker.url("/") }); 40];
    queue.push_burst(&jobs);
    queue.wait_for_stat("total_successes", 40);
    assert_eq!(count(&worker), 40);
    assert!(most.load(Ordering::Acquire) <= 3);
    // And all of them are used.
    let held = Held::succeeding();
    queue.push_burst(&vec![json!({ "url": held.url("/") }); 10]);
    wait_for(&held, 3);
    held.let_go();
    queue.wait_for_stat("total_successes", 50);
    assert_eq!(count(&held), 10);
}

fn more_workers_take_effect_at_once(store: Store) {
    let node = store.shared();
    let queue = node.queue(&json!({"max_workers": 1}));
    let held = Held::succeeding();
    queue.push_burst(&vec![json!({ "url": held.url("/") }); 8]);
    wait_for(&held, 1);
    let path = format!("/queue/{}", queue.name);
    assert_eq!(node.put(&path, r#"{"max_workers":5}"#).status, 200);
    until("five are held", SOON, || held.most_at_once() == 5);
    assert_eq!(node.put(&path, r#"{"max_workers":1}"#).status, 200);
    held.let_go();
    queue.wait_for_stat("total_successes", 8);
    assert_eq!(held.most_at_once(), 5);
    // From now on it is one at a time.
    let (worker, most) = slow(Duration::from_millis(5));
    queue.push_burst(&vec![json!({ "url": worker.url("/") }); 10]);
    wait_for(&worker, 10);
    assert_eq!(most.load(Ordering::Acquire), 1);
}

fn more_workers_take_what_was_grabbed_ahead(store: Store) {
    let node = store.shared();
    let queue = node.queue(&json!({"max_workers": 1}));
    // While jobs are done as fast as these, the next ones wait at the worker's door already.
    let (quick, held) = (Worker::successful(), Held::succeeding());
    let mut jobs = vec![json!({ "url": quick.url("/") }); 300];
    jobs.extend(vec![json!({ "url": held.url("/") }); 8]);
    queue.push_burst(&jobs);
    wait_for(&held, 1);
    let path = format!("/queue/{}", queue.name);
    assert_eq!(node.put(&path, r#"{"max_workers":5}"#).status, 200);
    until("five are held", SOON, || held.most_at_once() == 5);
    held.let_go();
    queue.wait_for_stat("total_successes", 308);
    assert_eq!(held.most_at_once(), 5);
}

fn fewer_workers_are_fewer_at_once(store: Store) {
    let node = store.shared();
    let queue = node.queue(&json!({"max_workers": 8}));
    let (worker, most) = slow(Duration::from_millis(2));
    queue.push_burst(&vec![json!({ "url": worker.url("/") }); 200]);
    queue.wait_for_stat("total_successes", 200);
    assert!(most.load(Ordering::Acquire) > 1);
    // All of them idle now, and none but one may take a job.
    let definition = json!({"max_workers": 1}).to_string();
    assert_eq!(node.put(&format!("/queue/{}", queue.name), definition).status, 200);
    let (worker, most) = slow(Duration::from_millis(5));
    queue.push_burst(&vec![json!({ "url": worker.url("/") }); 20]);
    queue.wait_for_stat("total_successes", 220);
    assert_eq!(most.load(Ordering::Acquire), 1);
}

fn a_throttled_queue_keeps_to_its_rate(store: Store) {
    let queue =
        store.shared().queue(&json!({"max_dispatches_per_second": 10, "max_burst_size": 4}));
    let worker = Worker::successful();
    let began = Instant::now();
    queue.push_burst(&vec![json!({ "url": worker.url("/") }); 24]);
    let received = wait_for(&worker, 24);
    // Beyond the burst each start needs a tenth of a second, however slow the machine is.
    for (number, received) in received.iter().enumerate() {
        let allowed = received.at.duration_since(began).as_secs_f64() * 10.0 + 4.0;
        let started = number as f64 + 1.0;
        assert!(started <= allowed + 0.5, "{started} started where {allowed} were allowed");
    }
    assert!(began.elapsed() >= Duration::from_millis(1900));
}

fn a_throttle_can_be_lifted(store: Store) {
    let node = store.shared();
    let queue = node.queue(&json!({"max_dispatches_per_second": 0.001, "max_burst_size": 2}));
    let worker = Worker::successful();
    queue.push_burst(&vec![json!({ "url": worker.url("/") }); 6]);
    wait_for(&worker, 2);
    // A job that waits for the throttle keeps a worker busy.
    until("a worker waits", SOON, || {
        let stats = queue.stats();
        stats["idle_workers"].as_u64() < stats["total_workers"].as_u64()
    });
    assert_eq!(count(&worker), 2);
    assert_eq!(node.put(&format!("/queue/{}", queue.name), "{}").status, 200);
    wait_for(&worker, 6);
    queue.wait_until_empty();
}

fn a_blocked_queue_blocks_no_other(store: Store) {
    let node = store.shared();
    let (blocked, free) = (node.queue(&json!({"max_workers": 2})), node.queue(&json!({})));
    let held = Held::succeeding();
    blocked.push_burst(&vec![json!({ "url": held.url("/") }); 5]);
    wait_for(&held, 2);
    let worker = Worker::successful();
    free.push_burst(&vec![json!({ "url": worker.url("/") }); 20]);
    free.wait_for_stat("total_successes", 20);
    assert_eq!(count(&held), 2);
}
