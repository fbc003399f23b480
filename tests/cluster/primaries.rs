//! One primary for each queue, and what happens when it stops, dies, or leads hundreds.

use std::time::{Duration, Instant};

use mysql::prelude::Queryable;
use nix::sys::signal::Signal;

use crate::support::daemon::Daemon;
use crate::support::http;
use crate::support::ledger::{Fate, Ledger, Load};
use crate::support::mariadb::{self, MariaDb};
use crate::support::nodes::{
    BUSY, define, holder, is_primary, known_queues, named, route, rows, start, start_two,
    throughout, wait_until_primary,
};
use crate::support::wait::{SOON, until};

/// How soon the other node dispatches when the primary has died or stopped. It takes a fraction of
/// this; what counts is that it is less than the lease time.
const TAKEOVER: Duration = Duration::from_secs(3);
/// Sessions that two nodes take, however many queues there are.
const FEW_SESSIONS: u64 = 45;

#[test]
fn each_queue_has_one_primary_and_each_job_is_delivered_once() {
    let database = mariadb::shared().create_database();
    let nodes = [start("one", &database), start("two", &database)];
    let queues = ["mails", "images"];
    queues.iter().for_each(|queue| define(&nodes[0], queue, "{}"));
    let primaries = |queue| nodes.iter().filter(|node| is_primary(node, queue)).count();
    for queue in queues {
        until("both know the queue", SOON, || {
            nodes.iter().all(|node| known_queues(node).contains_key(queue))
        });
        until("the queue has a primary", SOON, || primaries(queue) == 1);
    }
    let ledger = Ledger::with_slow_worker(Duration::from_millis(5));
    let addresses = [nodes[0].address(), nodes[1].address()];
    let loads =
        queues.map(|queue| Load::start(2, &ledger, &addresses, queue, Duration::from_millis(20)));
    throughout("each queue has one primary", Duration::from_secs(3), || {
        queues.iter().all(|queue| {
            let shown = holder(&nodes[0], queue);
            assert!(shown.as_ref().is_some_and(|(_, host)| host == "127.0.0.1"), "{shown:?}");
            primaries(queue) == 1 && shown == holder(&nodes[1], queue)
        })
    });
    loads.into_iter().for_each(Load::stop);
    let pushed = ledger.count(Fate::Acknowledged);
    assert!(pushed > 100, "{pushed} pushes");
    assert_eq!(ledger.count(Fate::Unknown) + ledger.count(Fate::Refused), 0);
    ledger.close(&database, &queues);
    assert_eq!(ledger.deliveries().len(), pushed);
}

#[test]
fn another_node_takes_over_from_one_that_is_killed() {
    const JOB: Duration = Duration::from_millis(300);
    const WORKERS: usize = 10;
    let database = mariadb::shared().create_database();
    let [mut one, two] = start_two(&database, "q", &format!(r#"{{"max_workers":{WORKERS}}}"#));
    let ledger = Ledger::with_slow_worker(JOB);
    ledger.push_all(60, one.address(), "q");
    let addresses = [one.address(), two.address()];
    let load = Load::start(2, &ledger, &addresses, "q", Duration::from_millis(20));
    ledger.wait_for_count(2 * WORKERS, SOON);
    let killed = Instant::now();
    one.kill9();
    let first = ledger.wait_for("a delivery by the other node", SOON, |job| job.node == "two");
    let took = first.at.duration_since(killed);
    assert!(took < TAKEOVER, "{took:?}");
    load.stop();
    let repeated = ledger.close_after_fault(&database, &["q"], |delivery| {
        delivery.node == "one" && delivery.is_unsettled_at(killed, JOB)
    });
    println!("took over after {took:?}, {repeated} repeated");
    assert!(repeated <= 5 * WORKERS, "{repeated} repeated");
    assert!(is_primary(&two, "q"));
}

#[test]
fn a_stop_under_load_leaves_nothing_grabbed_and_repeats_nothing() {
    const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
    let database = mariadb::shared().create_database();
    let [mut one, mut two] = start_two(&database, "q", r#"{"max_workers":10}"#);
    let ledger = Ledger::with_slow_worker(Duration::from_millis(200));
    ledger.push_all(100, one.address(), "q");
    let addresses = [one.address(), two.address()];
    let load = Load::start(2, &ledger, &addresses, "q", Duration::from_millis(20));
    ledger.wait_for_count(20, SOON);

    // The default of shutdown_timeout is 30 s; jobs of 200 ms end long before.
    let stop = |node: &mut Daemon| {
        let began = Instant::now();
        node.signal(Signal::SIGTERM);
        assert_eq!(node.wait(SOON), 0);
        println!("stopped after {:?}", began.elapsed());
        assert!(began.elapsed() < SHUTDOWN_TIMEOUT + Duration::from_secs(1) + BUSY);
        Instant::now()
    };
    let stopped = stop(&mut one);
    let first = ledger.wait_for("a delivery by the other node", SOON, |job| job.node == "two");
    assert!(first.at < stopped + TAKEOVER);
    load.stop();
    assert!(ledger.deliveries().iter().all(|job| job.node == "two" || job.at < first.at));

    ledger.push_all(100, two.address(), "q");
    stop(&mut two);
    let (waiting, grabbed) = rows(&mut database.conn(), "q");
    assert!(waiting > 0, "the queue had drained before the stop");
    assert_eq!(grabbed, 0);

    let _three = start("three", &database);
    ledger.close(&database, &["q"]);
}

#[test]
fn a_job_longer_than_the_stop_may_take_is_cut_off_and_runs_again() {
    let database = mariadb::shared().create_database();
    let mut one = named("one", &database.dsn()).flag("shutdown-timeout", "1").start();
    define(&one, "q", r#"{"max_workers":2}"#);
    let ledger = Ledger::with_slow_worker(Duration::from_secs(3));
    ledger.push_all(4, one.address(), "q");
    ledger.wait_for_count(2, SOON);
    let began = Instant::now();
    one.signal(Signal::SIGTERM);
    assert_eq!(one.wait(SOON), 0);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(2) + BUSY, "{took:?}");
    assert_eq!(rows(&mut database.conn(), "q"), (4, 0), "all wait, those that ran too");
    let _two = start("two", &database);
    let repeated = ledger.close_after_fault(&database, &["q"], |job| job.node == "one");
    assert_eq!(repeated, 2, "those that ran");
}

#[test]
fn two_hundred_queues_on_two_nodes_take_a_handful_of_sessions() {
    const QUEUES: usize = 200;
    // With MariaDB's default limit of sessions, and for these nodes alone.
    let server = MariaDb::start();
    let database = server.create_database();
    let mut one = start("one", &database);
    let two = start("two", &database);
    let names: Vec<String> = (0..QUEUES).map(|number| format!("queue_{number}")).collect();
    let put = |number: usize| {
        // Half of them through each.
        let node = [&one, &two][number % 2];
        define(node, &names[number], r#"{"polling_interval":1000,"max_workers":2}"#);
    };
    std::thread::scope(|scope| {
        for first in 0..4 {
            scope.spawn(move || (first..QUEUES).step_by(4).for_each(put));
        }
    });
    let active = |node: &Daemon| {
        let queues = known_queues(node);
        queues.values().filter(|stats| stats["active_nodes"] == 1).count()
    };
    let each_has_one = || {
        let nodes = [known_queues(&one), known_queues(&two)];
        let primaries = |queue: &String| {
            nodes
                .iter()
                .filter(|node| node.get(queue).is_some_and(|q| q["active_nodes"] == 1))
                .count()
        };
        names.iter().all(|queue| primaries(queue) == 1)
    };
    until("each queue has a primary", SOON, each_has_one);
    let ledger = Ledger::with_slow_worker(Duration::from_millis(20));
    let some: Vec<&str> = names.iter().step_by(10).map(String::as_str).collect();
    let push_to_some = |nodes: &[&Daemon]| {
        for (number, queue) in some.iter().enumerate() {
            ledger.push_all(2, nodes[number % nodes.len()].address(), queue);
        }
    };
    let mut conn = server.conn();
    let mut sessions = || -> u64 {
        let statement = "SELECT COUNT(*) FROM information_schema.processlist WHERE db = ?";
        conn.exec_first(statement, (&database.name,)).unwrap().unwrap()
    };
    push_to_some(&[&one, &two]);
    throughout("each queue has one primary", Duration::from_secs(1), each_has_one);
    let count = sessions();
    assert!(count <= FEW_SESSIONS, "{count} sessions");

    one.kill9();
    until("all queues have moved to the other node", SOON, || active(&two) == QUEUES);
    push_to_some(&[&two]);
    ledger.close_after_fault(&database, &some, |job| job.node == "one");
    let count = sessions();
    assert!(count <= FEW_SESSIONS, "{count} sessions");
}

#[test]
fn a_category_routed_on_another_node_a_moment_ago_works_at_once() {
    let database = mariadb::shared().create_database();
    // None of them looks at the definitions by itself while the test runs.
    let node = |name| named(name, &database.dsn()).flag("config-refresh-interval", "600000");
    let (one, two) = (node("one").start(), node("two").start());
    until("both have read the definitions", SOON, || {
        [&one, &two].iter().all(|node| http::post(node.address(), "/job/none", "{}").status != 503)
    });
    let ledger = Ledger::with_slow_worker(Duration::ZERO);
    for number in 0..10 {
        let queue = format!("q{number}");
        define(&one, &queue, "{}");
        ledger.push_all(1, two.address(), &queue);
        route(&one, &format!("other-{number}"), &queue);
        ledger.push_all(1, two.address(), &format!("other-{number}"));
    }
    wait_until_primary(&one, "q9");
    let queues: Vec<String> = (0..10).map(|number| format!("q{number}")).collect();
    ledger.close(&database, &queues.iter().map(String::as_str).collect::<Vec<_>>());
}
