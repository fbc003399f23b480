//! Definitions that change on one node: the other follows, and nothing else is disturbed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::daemon::Daemon;
use crate::support::http;
use crate::support::ledger::{Fate, Ledger, Load};
use crate::support::mariadb;
use crate::support::nodes::{
    BUSY, REFRESH, define, holder, is_primary, known_queues, route, start, start_two, stat,
    wait_until_primary,
};
use crate::support::wait::{SOON, until};
use crate::support::worker::Reaction;

/// How soon the other node follows.
const FOLLOWED: Duration = REFRESH.saturating_add(BUSY);
/// How long a push may take at most while definitions change.
const UNDELAYED: Duration = Duration::from_secs(1);

#[test]
fn a_change_reaches_the_other_node_and_touches_nothing_else() {
    let database = mariadb::shared().create_database();
    let [one, two] = start_two(&database, "steady", "{}");
    define(&one, "changing", r#"{"max_workers":3}"#);
    define(&one, "going", "{}");
    wait_until_primary(&one, "changing");
    wait_until_primary(&one, "going");
    let (ledger, gate) = worker_with_long_jobs();
    ledger.push_all(5, one.address(), "steady");
    ledger.push_all(3, one.address(), "changing");
    ledger.push_kind(one.address(), "steady", "long", "");
    ledger.wait_for_count(9, SOON);
    let before = holder(&one, "steady");

    put(&two, "/queue/changing", r#"{"max_workers":7,"polling_interval":50}"#);
    until("it has other workers", FOLLOWED, || stat(&one, "changing", "total_workers") == 7);
    define(&two, "coming", "{}");
    until("a queue has come", FOLLOWED, || known_queues(&one).contains_key("coming"));
    assert_eq!(http::delete(two.address(), "/queue/going").status, 200);
    until("a queue has gone", FOLLOWED, || !known_queues(&one).contains_key("going"));
    route(&two, "changing", "coming");
    until("a category has moved", FOLLOWED, || {
        let pushed = ledger.push(one.address(), "changing");
        assert_eq!(pushed.fate, Fate::Acknowledged);
        pushed.answer.unwrap().json()["queue_name"] == "coming"
    });

    assert_eq!(stat(&one, "steady", "total_pushes"), 6, "its counters were reset");
    assert!(stat(&one, "changing", "total_pushes") >= 3, "its counters were reset");
    assert_eq!(stat(&one, "steady", "total_completes"), 5, "the long job was ended");
    assert!(is_primary(&one, "steady"));
    assert_eq!(holder(&one, "steady"), before);
    gate.open();
    ledger.close(&database, &["steady", "changing", "coming", "going"]);
}

#[test]
fn a_queue_deleted_and_created_again_while_its_job_runs() {
    let database = mariadb::shared().create_database();
    let [one, two] = start_two(&database, "q", "{}");
    let (ledger, gate) = worker_with_long_jobs();
    ledger.push_kind(one.address(), "q", "long", "");
    ledger.wait_for_count(1, SOON);
    assert_eq!(http::delete(one.address(), "/queue/q").status, 200);
    until("the other node knows", FOLLOWED, || !known_queues(&two).contains_key("q"));
    let refused = ledger.push(one.address(), "q");
    assert_eq!(refused.fate, Fate::Refused, "{refused:?}");
    put(&two, "/queue/q", r#"{"max_workers":2}"#);
    ledger.push_all(5, one.address(), "q");
    ledger.push_all(5, two.address(), "q");
    gate.open();
    ledger.close(&database, &["q"]);
    until("it has one primary", SOON, || is_primary(&one, "q") != is_primary(&two, "q"));
}

#[test]
fn a_put_beside_a_long_job_delays_no_push() {
    let database = mariadb::shared().create_database();
    let node = start("one", &database);
    for queue in ["q", "other"] {
        define(&node, queue, "{}");
        wait_until_primary(&node, queue);
    }
    let (ledger, gate) = worker_with_long_jobs();
    ledger.push_kind(node.address(), "q", "long", "");
    ledger.wait_for_count(1, SOON);
    let loads = ["q", "other"]
        .map(|queue| Load::start(1, &ledger, &[node.address()], queue, Duration::from_millis(5)));
    for workers in 1..=10 {
        put(&node, "/queue/q", &format!(r#"{{"max_workers":{workers}}}"#));
        put(&node, &format!("/queue/new_{workers}"), "{}");
    }
    loads.into_iter().for_each(Load::stop);
    let slowest = ledger.slowest_push();
    assert!(slowest < UNDELAYED + BUSY, "{slowest:?}");
    gate.open();
    ledger.close(&database, &["q", "other"]);
}

/// What holds the worker of long jobs.
struct Gate(Arc<AtomicBool>);

impl Gate {
    fn open(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Drop for Gate {
    /// So that a failed test ends.
    fn drop(&mut self) {
        self.open();
    }
}

/// Jobs of the kind `long` take until the gate is opened, and longer than the 10 s of the promise
/// if it is not.
fn worker_with_long_jobs() -> (Arc<Ledger>, Gate) {
    let is_open = Arc::new(AtomicBool::new(false));
    let gate = Gate(Arc::clone(&is_open));
    let ledger = Ledger::new(move |key| {
        let end = Instant::now() + 2 * SOON;
        while key.starts_with("long") && !is_open.load(Ordering::SeqCst) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        Reaction::success()
    });
    (ledger, gate)
}

#[track_caller]
fn put(node: &Daemon, path: &str, body: &str) {
    let answer = http::put(node.address(), path, body);
    assert_eq!(answer.status, 200, "{}", answer.text());
}
