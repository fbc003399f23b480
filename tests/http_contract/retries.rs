//! Tries after a failure.

use std::time::Duration;

use serde_json::json;

use crate::stores::{Store, on_every_store};
use crate::support::wait::{SOON, until};
use crate::support::worker::{Reaction, Worker};
use crate::workers::{count, failure, wait_for};

on_every_store! {
    max_retries_are_further_tries
    a_retry_waits_for_its_delay
    a_permanent_failure_is_not_retried
    an_internal_failure_is_retried
    a_success_ends_the_tries
    without_retries_there_is_one_try
}

fn max_retries_are_further_tries(store: Store) {
    let queue = store.shared().queue(&json!({}));
    let worker = Worker::start(|_| failure());
    queue.push(&json!({"url": worker.url("/"), "max_retries": 2, "payload": "same"}));
    let failed = &queue.failures(1)[0];
    assert_eq!(failed["fail_count"], 3);
    assert_eq!(count(&worker), 3);
    assert!(worker.received().iter().all(|received| received.text() == "same"));
    queue.wait_until_empty();
    assert_eq!(queue.failures(1).len(), 1);
}

fn a_retry_waits_for_its_delay(store: Store) {
    let queue = store.shared().queue(&json!({}));
    let worker = Worker::start(
        |received| {
            if received.number == 0 { failure() } else { Reaction::success() }
        },
    );
    queue.push(&json!({"url": worker.url("/"), "max_retries": 1, "retry_delay": 2}));
    wait_for(&worker, 1);
    until("it waits", SOON, || queue.jobs("deferred").len() == 1 || count(&worker) == 2);
    let received = wait_for(&worker, 2);
    let waited = received[1].at.duration_since(received[0].at);
    assert!(waited >= Duration::from_millis(1990), "tried again after {waited:?}");
    queue.wait_for_stat("total_successes", 1);
    queue.wait_until_empty();
    assert!(queue.failures(0).is_empty());
}

fn a_permanent_failure_is_not_retried(store: Store) {
    let queue = store.shared().queue(&json!({}));
    let worker = Worker::start(|_| Reaction::permanent_failure());
    queue.push(&json!({"url": worker.url("/"), "max_retries": 5}));
    let failed = &queue.failures(1)[0];
    assert_eq!(failed["fail_count"], 1);
    assert_eq!(failed["result"]["status"], "permanent-failure");
    queue.wait_until_empty();
    assert_eq!(count(&worker), 1);
}

fn an_internal_failure_is_retried(store: Store) {
    let queue = store.shared().queue(&json!({}));
    let worker = Worker::start(|_| Reaction::close());
    queue.push(&json!({"url": worker.url("/"), "max_retries": 1}));
    let failed = &queue.failures(1)[0];
    assert_eq!(failed["fail_count"], 2);
    assert_eq!(failed["result"]["status"], "internal-failure");
}

fn a_success_ends_the_tries(store: Store) {
    let queue = store.shared().queue(&json!({}));
    let worker =
        Worker::start(|received| if received.number < 2 { failure() } else { Reaction::success() });
    queue.push(&json!({"url": worker.url("/"), "max_retries": 9}));
    queue.wait_for_stat("total_successes", 1);
    queue.wait_until_empty();
    assert_eq!(count(&worker), 3);
    assert!(queue.failures(0).is_empty());
}

fn without_retries_there_is_one_try(store: Store) {
    let queue = store.shared().queue(&json!({}));
    let worker = Worker::start(|_| failure());
    queue.push(&json!({ "url": worker.url("/") }));
    assert_eq!(queue.failures(1)[0]["fail_count"], 1);
    queue.wait_until_empty();
    assert_eq!(count(&worker), 1);
}
