//! Connections to workers.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use crate::stores::Store;
use crate::support::worker::{Reaction, Received, Worker};
use crate::workers::{count, wait_for};

fn connections(received: &[Received]) -> BTreeSet<usize> {
    received.iter().map(|received| received.connection).collect()
}

#[test]
fn a_connection_is_used_again() {
    let node = Store::InMemory.node(&["dispatch-idle-conn-timeout=0"]);
    let queue = node.queue(&json!({"max_workers": 1}));
    let worker = Worker::successful();
    queue.push_burst(&vec![json!({ "url": worker.url("/") }); 10]);
    queue.wait_for_stat("total_successes", 10);
    assert_eq!(connections(&worker.received()).len(), 1);
}

#[test]
fn a_connection_is_not_kept_where_the_setting_says_so() {
    for setting in ["dispatch-keep-alive=false", "keep-alive=false"] {
        let node = Store::InMemory.node(&[setting]);
        let queue = node.queue(&json!({"max_workers": 1}));
        let worker = Worker::successful();
        for _ in 0..5 {
            queue.push(&json!({ "url": worker.url("/") }));
        }
        queue.wait_for_stat("total_successes", 5);
        assert_eq!(connections(&worker.received()).len(), 5, "{setting}");
    }
}

#[test]
fn an_idle_connection_is_given_up() {
    let node = Store::InMemory.node(&["dispatch-idle-conn-timeout=1"]);
    let queue = node.queue(&json!({"max_workers": 1}));
    let worker = Worker::successful();
    queue.push(&json!({ "url": worker.url("/") }));
    queue.push(&json!({"url": worker.url("/"), "run_after": 3}));
    let received = wait_for(&worker, 2);
    assert_ne!(received[0].connection, received[1].connection);
}

/// A worker that closes an idle connection in the moment when the next request comes.
#[test]
fn a_kept_connection_that_ends_is_no_failure() {
    for reaction in [Reaction::reset(), Reaction::close()] {
        let node = Store::InMemory.node(&["dispatch-idle-conn-timeout=0"]);
        let queue = node.queue(&json!({"max_workers": 1}));
        // Once on its first connection; every later request on it finds it gone.
        let worker = Worker::start(move |received| match (received.connection, received.number) {
            (0, 0) => Reaction::success(),
            (0, _) => reaction.clone(),
            _ => Reaction::success(),
        });
        queue.push(&json!({ "url": worker.url("/") }));
        queue.wait_for_stat("total_successes", 1);
        queue.push(&json!({"url": worker.url("/"), "payload": [1]}));
        queue.wait_for_stat("total_successes", 2);
        let received = worker.received();
        assert_eq!(received.len(), 3);
        assert_eq!((received[1].text(), received[2].text()), ("[1]", "[1]"));
        assert_eq!(received[2].header("Fireworq-Attempt"), Some("1"));
        assert_ne!(received[1].connection, received[2].connection);
        assert_eq!(queue.stat("total_failures"), 0);
    }
}

#[test]
fn a_fresh_connection_that_ends_is_a_failure() {
    let queue = Store::InMemory.shared().queue(&json!({}));
    let worker = Worker::start(|_| Reaction::reset());
    queue.push(&json!({ "url": worker.url("/") }));
    let result = queue.failures(1)[0]["result"].clone();
    assert_eq!(result["status"], "internal-failure", "{result}");
    assert_eq!(count(&worker), 1, "it was tried again without having been asked to");
}

#[test]
fn a_slow_worker_is_waited_for_without_a_timeout() {
    let queue = Store::InMemory.shared().queue(&json!({}));
    let worker = Worker::start(|_| Reaction::success().after(Duration::from_secs(3)));
    queue.push(&json!({ "url": worker.url("/") }));
    queue.push(&json!({"url": worker.url("/"), "timeout": 30}));
    queue.wait_for_stat("total_successes", 2);
    assert_eq!(queue.stat("total_failures"), 0);
}
