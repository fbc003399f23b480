//! A database that dies, or stops, or is not there yet: clients are told so in time, jobs that
//! run are neither lost nor repeated, and work goes on soon after it is back.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::support::http::{self, Client};
use crate::support::ledger::{Fate, Ledger, Load};
use crate::support::mariadb::MariaDb;
use crate::support::nodes::{BUSY, define, is_primary, known_queues, start, wait_until_primary};
use crate::support::raise_descriptor_limit;
use crate::support::wait::{SOON, eventually, until};
use crate::support::worker::Reaction;

/// How long a push may take to be refused.
const REFUSED_WITHIN: Duration = Duration::from_secs(5);
/// How soon everything works once the database answers again.
const WORKING_WITHIN: Duration = Duration::from_secs(3);
/// Clients that push at once.
const CLIENTS: usize = 1000;
/// How long `/version` may take meanwhile, nearly always.
const VERSION_WITHIN: Duration = Duration::from_millis(500);

#[test]
fn jobs_that_run_while_the_database_dies_are_neither_lost_nor_repeated() {
    let server = MariaDb::start();
    let database = server.create_database();
    let node = start("one", &database);
    define(&node, "q", r#"{"max_workers":12}"#);
    wait_until_primary(&node, "q");
    let fails = |key: &str| key.starts_with("failing");
    let ledger = Ledger::with_failures(fails, |key| {
        let long = |reaction: Reaction| reaction.after(Duration::from_secs(3));
        match key.split('-').next().unwrap() {
            "long" => long(Reaction::success()),
            "failing" => long(Reaction::permanent_failure()),
            _ => Reaction::success().after(Duration::from_millis(50)),
        }
    });
    for kind in ["long", "failing"] {
        for _ in 0..4 {
            assert_eq!(ledger.push_kind(node.address(), "q", kind, "").fate, Fate::Acknowledged);
        }
    }
    ledger.wait_for_count(8, SOON);
    let load = Load::start(4, &ledger, &[node.address()], "q", Duration::from_millis(20));
    ledger.wait_for_count(30, SOON);

    server.kill9();
    let refused = eventually("pushes are refused", SOON, || {
        ledger.push(node.address(), "q").answer.filter(|answer| answer.status == 503)
    });
    assert!(refused.header("Retry-After").is_some(), "{refused:?}");
    until("the long jobs have ended", SOON, || {
        // Their outcomes have to wait for the database.
        known_queues(&node)["q"]["idle_workers"] == 12 || !is_primary(&node, "q")
    });
    server.restart();
    let back = Instant::now();
    let pushed = eventually("pushes are stored again", SOON, || {
        let pushed = ledger.push(node.address(), "q");
        (pushed.fate == Fate::Acknowledged).then_some(pushed)
    });
    ledger.wait_for("a job is delivered again", SOON, |job| job.key == pushed.key);
    let took = back.elapsed();
    assert!(took < WORKING_WITHIN + BUSY, "{took:?}");
    load.stop();
    let slowest = ledger.slowest_push();
    println!("working {took:?} after the database was back; the slowest push took {slowest:?}");
    assert!(slowest < REFUSED_WITHIN + BUSY, "{slowest:?}");
    ledger.close(&database, &["q"]);
}

#[test]
fn a_daemon_that_starts_before_its_database_waits_for_it() {
    let server = MariaDb::start();
    let database = server.create_database();
    {
        let node = start("former", &database);
        define(&node, "q", "{}");
    }
    server.kill9();
    let node = start("one", &database);
    let ledger = Ledger::with_slow_worker(Duration::ZERO);
    for _ in 0..10 {
        let pushed = ledger.push(node.address(), "q");
        assert!(pushed.took < REFUSED_WITHIN + BUSY, "{pushed:?}");
        let answer = pushed.answer.expect("an answer");
        assert_eq!(answer.status, 503);
        assert!(answer.header("Retry-After").is_some(), "{answer:?}");
        assert_eq!(http::get(node.address(), "/version").status, 200);
    }
    server.restart();
    let back = Instant::now();
    until("pushes are stored", SOON, || {
        ledger.push(node.address(), "q").fate == Fate::Acknowledged
    });
    ledger.wait_for_count(1, SOON);
    let took = back.elapsed();
    assert!(took < WORKING_WITHIN + BUSY, "{took:?}");
    ledger.close(&database, &["q"]);
}

#[test]
fn a_thousand_clients_are_told_in_time_that_the_database_is_frozen() {
    let server = MariaDb::start();
    tell_a_thousand_clients(&server, || server.pause(), || server.resume());
}

#[test]
fn a_thousand_clients_are_told_in_time_that_the_database_is_dead() {
    let server = MariaDb::start();
    tell_a_thousand_clients(&server, || server.kill9(), || server.restart());
}

fn tell_a_thousand_clients(server: &MariaDb, fail: impl Fn(), heal: impl Fn()) {
    raise_descriptor_limit();
    let database = server.create_database();
    let node = start("one", &database);
    define(&node, "q", "{}");
    wait_until_primary(&node, "q");
    let ledger = Ledger::with_slow_worker(Duration::ZERO);
    ledger.push_all(10, node.address(), "q");
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| Client::connect(node.address())).collect();

    fail();
    let versions = std::thread::scope(|scope| {
        let (done, is_done) = crossbeam_channel::bounded::<()>(0);
        let address = node.address();
        let versions = scope.spawn(move || ask_for_version_until(address, &is_done));
        push_from_all(&mut clients, &ledger);
        drop(done);
        versions.join().unwrap()
    });
    println!(
        "the slowest push took {:?}, the slowest of {} looks at /version {:?}",
        ledger.slowest_push(),
        versions.len(),
        versions.iter().max()
    );
    let slow: Vec<_> = versions.iter().filter(|took| **took > VERSION_WITHIN).collect();
    assert!(slow.len() <= versions.len() / 10, "{slow:?} of {}", versions.len());
    assert!(slow.iter().all(|took| **took < VERSION_WITHIN + BUSY), "{slow:?}");
    heal();
    until("pushes are stored again", SOON, || {
        ledger.push(node.address(), "q").fate == Fate::Acknowledged
    });
    ledger.close(&database, &["q"]);
}

/// Pushes from each client and waits for all answers: 503, and in time.
fn push_from_all(clients: &mut [Client], ledger: &Ledger) {
    let sent: Vec<(String, Instant)> = clients
        .iter_mut()
        .map(|client| {
            let (key, body) = ledger.body_of_another();
            let head = format!(
                "POST /job/q HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            client.send(&[head.as_bytes(), body.as_bytes()].concat()).unwrap();
            (key, Instant::now())
        })
        .collect();
    for (client, (key, sent)) in clients.iter_mut().zip(sent) {
        let answer = client.receive().unwrap();
        // They are read one by one, so that this is later than it came, if anything.
        let took = sent.elapsed();
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(took < REFUSED_WITHIN + BUSY, "{took:?}");
        ledger.book(&key, Some(&answer), took);
    }
}

/// Asks again and again until `done` is closed; answers how long each answer took.
fn ask_for_version_until(
    node: SocketAddr,
    done: &crossbeam_channel::Receiver<()>,
) -> Vec<Duration> {
    let mut took = Vec::new();
    while done.try_recv() == Err(crossbeam_channel::TryRecvError::Empty) {
        let began = Instant::now();
        assert_eq!(http::get(node, "/version").status, 200);
        took.push(began.elapsed());
        std::thread::sleep(Duration::from_millis(10));
    }
    took
}
