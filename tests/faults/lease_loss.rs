//! A primary that loses its lock, or falls silent and comes back: it starts nothing that it must
//! not, and repeats only what was at risk.
//!
//! The queue is throttled, so that the primary has many jobs in hand that it has not started: it
//! would go on for longer than the lease time if it did not look at its lease.

use std::time::{Duration, Instant};

use mysql::prelude::Queryable;

use crate::support::daemon::Daemon;
use crate::support::http;
use crate::support::ledger::{Delivery, Ledger};
use crate::support::mariadb::{self, Database};
use crate::support::nodes::{
    REPLACED, define, is_primary, kill_lock_session, lock_name, start, start_two, throughout,
    wait_until_primary,
};
use crate::support::wait::{SOON, until};

/// 5 jobs a second, and up to 40 in hand.
pub const THROTTLED: &str =
    r#"{"max_workers":40,"max_dispatches_per_second":5,"max_burst_size":5}"#;
/// The `max_workers` of [`THROTTLED`].
pub const WORKERS: usize = 40;
/// How long the worker takes for a job.
pub const JOB: Duration = Duration::from_millis(200);
/// How long a node that lost its lock may go on to start jobs: what is promised, and what a busy
/// machine may take to bring a request that was sent in time to the worker's books.
const STILL_STARTS: Duration = Duration::from_millis(100 + 500);
/// How many times a lock is taken away until it goes to the other node.
const ROUNDS: usize = 10;

#[test]
fn a_node_whose_lock_session_is_killed_starts_nothing_more() {
    let database = mariadb::shared().create_database();
    let node = start("one", &database);
    define(&node, "q", THROTTLED);
    wait_until_primary(&node, "q");
    let ledger = Ledger::with_slow_worker(JOB);
    ledger.push_all(60, node.address(), "q");
    ledger.wait_for_count(10, SOON);

    // The test itself waits for the lock, as another node would, so that this one stays without.
    let mut rival = database.conn();
    let rival_id = rival.connection_id();
    let lock = lock_name(&database, "q");
    let (killed, mut rival) = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let granted: Option<i64> =
                rival.exec_first("SELECT GET_LOCK(?, 30)", (&lock,)).unwrap();
            assert_eq!(granted, Some(1));
            rival
        });
        wait_inside_the_server(&database, rival_id);
        let killed = kill_lock_session(&database, "q");
        (killed, waiting.join().unwrap())
    });
    until("the node knows", SOON, || !is_primary(&node, "q"));
    throughout("nothing is started", Duration::from_secs(2), || {
        ledger.deliveries().iter().all(|job| job.at <= killed + STILL_STARTS)
    });
    let late = ledger.deliveries().iter().map(|job| job.at.saturating_duration_since(killed)).max();
    println!("the last job came to its worker {:?} after the kill", late.unwrap_or_default());
    assert!(ledger.deliveries().len() < 40, "nothing was left to start");

    unthrottle(&node);
    rival.query_drop("DO RELEASE_ALL_LOCKS()").unwrap();
    // The node still has what it runs in hand, and so repeats nothing at all.
    ledger.close(&database, &["q"]);
}

#[test]
fn a_killed_lock_session_hands_the_queue_over() {
    let database = mariadb::shared().create_database();
    let nodes = start_two(&database, "q", THROTTLED);
    let names = ["one", "two"];
    let ledger = Ledger::with_slow_worker(JOB);
    ledger.push_all(40, nodes[0].address(), "q");
    ledger.wait_for_count(6, SOON);
    let mut kills = Vec::new();
    let mut has_moved = false;
    for _ in 0..ROUNDS {
        ledger.push_all(20, nodes[1].address(), "q");
        let old = usize::from(is_primary(&nodes[1], "q"));
        let killed = kill_lock_session(&database, "q");
        kills.push(killed);
        let next = ledger
            .wait_for("a delivery after the kill", SOON, |job| job.at > killed + STILL_STARTS);
        if next.node != names[old] {
            has_moved = true;
            throughout("the old node starts nothing", Duration::from_secs(1), || {
                let is_wrong =
                    |job: &Delivery| job.node == names[old] && job.at > killed + STILL_STARTS;
                !ledger.deliveries().iter().any(is_wrong) && is_primary(&nodes[1 - old], "q")
            });
            break;
        }
        // It was quicker to come back than the other one to take over, and leads again by right.
    }
    assert!(has_moved, "the other node never took over");
    unthrottle(&nodes[0]);
    ledger.close_after_fault(&database, &["q"], |job| {
        let may_run_at = |killed: Instant| job.at <= killed + STILL_STARTS;
        kills.iter().any(|killed| job.is_unsettled_at(*killed, JOB) && may_run_at(*killed))
    });
}

#[test]
fn a_frozen_primary_is_replaced_and_starts_nothing_when_it_thaws() {
    freeze_primary(Duration::ZERO);
}

#[test]
#[ignore = "takes more than a minute: make soak"]
fn a_primary_frozen_for_a_minute_is_replaced_and_starts_nothing_when_it_thaws() {
    freeze_primary(Duration::from_secs(60));
}

/// Freezes the primary until the other node has taken over, and for `at_least` this long.
fn freeze_primary(at_least: Duration) {
    let database = mariadb::shared().create_database();
    let [mut one, two] = start_two(&database, "q", THROTTLED);
    let ledger = Ledger::with_slow_worker(JOB);
    ledger.push_all(80, one.address(), "q");
    ledger.wait_for_count(10, SOON);
    let frozen = Instant::now();
    one.pause();
    let first = ledger.wait_for("a delivery by the other node", REPLACED, |job| job.node == "two");
    println!("took over after {:?}", first.at.duration_since(frozen));
    assert!(is_primary(&two, "q"));
    ledger.push_all(20, two.address(), "q");

    std::thread::sleep(at_least.saturating_sub(frozen.elapsed()));
    let thawed = Instant::now();
    one.resume();
    until("the thawed node answers", SOON, || !is_primary(&one, "q"));
    throughout("the other node stays primary", Duration::from_secs(2), || {
        is_primary(&two, "q") && !is_primary(&one, "q")
    });
    let started = |job: &&Delivery| job.node == "one" && job.at > thawed;
    let started = ledger.deliveries().iter().filter(started).count();
    // Those that were past their look at the lease; the throttle leaves few at that point.
    println!("{started} started after the thaw");
    assert!(started <= 5, "{started} started after the thaw");
    unthrottle(&two);
    let repeated = ledger.close_after_fault(&database, &["q"], |job| {
        job.node == "one" && job.is_unsettled_at(frozen, JOB)
    });
    assert!(repeated <= WORKERS, "{repeated} repeated");
}

/// Lets a [`THROTTLED`] queue drain quickly.
#[track_caller]
pub fn unthrottle(node: &Daemon) {
    let answer = http::put(node.address(), "/queue/q", format!(r#"{{"max_workers":{WORKERS}}}"#));
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// Waits until a session waits for a lock.
fn wait_inside_the_server(database: &Database, id: u32) {
    let mut conn = database.conn();
    let statement = "SELECT state FROM information_schema.processlist WHERE id = ?";
    until("the session waits inside the server", SOON, || {
        let state: Option<Option<String>> = conn.exec_first(statement, (id,)).unwrap();
        state.flatten().as_deref() == Some("User lock")
    });
}
