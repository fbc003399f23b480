//! A machine that runs out of something: descriptors, room under a log.

use std::process::Command;
use std::time::Duration;

use crate::support::daemon::{Daemon, Options};
use crate::support::http::{self, Client};
use crate::support::ledger::{Fate, Ledger};
use crate::support::mariadb;
use crate::support::nodes::{define, wait_until_primary};
use crate::support::tables::SqliteFile;
use crate::support::wait::{SOON, until};
use crate::support::worker::Reaction;

/// Descriptors that the daemon may have, and connections that want one.
const DESCRIPTORS: usize = 120;
const CROWD: usize = 300;

#[test]
fn a_daemon_without_descriptors_neither_ends_nor_spins_and_recovers() {
    let database = mariadb::shared().create_database();
    let limit = format!("--nofile={DESCRIPTORS}:{DESCRIPTORS}");
    let mut node = Options::on(&database.dsn())
        // Nothing is given back by patience, and no connection to a worker is at hand.
        .flag("idle-timeout", "600")
        .flag("dispatch-keep-alive", "false")
        .under(&["prlimit", &limit])
        .start();
    define(&node, "q", r#"{"max_workers":4,"polling_interval":50}"#);
    wait_until_primary(&node, "q");
    let ledger = Ledger::with_slow_worker(Duration::ZERO);
    ledger.push_all(5, node.address(), "q");
    ledger.wait_for_count(5, SOON);

    let mut early = Client::connect(node.address());
    assert_eq!(early.request("GET", "/version", &[], "").status, 200);
    let crowd: Vec<Client> = (0..CROWD).map(|_| Client::connect(node.address())).collect();
    until("no descriptor is left", SOON, || descriptors(&node) >= DESCRIPTORS);
    let before = processor_ticks(&node);
    // A span to measure over, not a wait.
    std::thread::sleep(Duration::from_secs(2));
    let ticks = processor_ticks(&node) - before;
    assert!(ticks < 100, "{ticks} hundredths of a second of work in 2 s");
    // What is connected is served; this job cannot be delivered as long as nothing is free.
    let (key, body) = ledger.body_of_another();
    let body = body.replace('}', r#","max_retries":1000,"retry_delay":0}"#);
    let answer = early.request("POST", "/job/q", &[], body);
    assert_eq!(answer.status, 200, "{answer:?}");
    ledger.book(&key, Some(&answer), Duration::ZERO);
    assert!(node.is_running());

    drop(crowd);
    until("a new connection is served", SOON, || {
        let patience = Duration::from_secs(1);
        http::try_request(node.address(), "GET", "/version", "", patience)
            .is_ok_and(|answer| answer.status == 200)
    });
    ledger.push_all(5, node.address(), "q");
    ledger.close(&database, &["q"]);
}

#[test]
fn logs_without_room_cost_lines_and_nothing_else() {
    let database = mariadb::shared().create_database();
    let node = Options::on(&database.dsn())
        .flag("access-log", "/dev/full")
        .flag("queue-log", "/dev/full")
        .start();
    define(&node, "q", "{}");
    let ledger = Ledger::new(|_| Reaction::success());
    ledger.push_all(200, node.address(), "q");
    ledger.close(&database, &["q"]);
    // The error log has room, and tells that the others have lost lines.
    until("the loss is told", SOON, || node.errors().contains("/dev/full"));
    assert_eq!(http::get(node.address(), "/version").status, 200);
}

/// As a disk that is full, for which nothing has to be mounted. One that is really full is in
/// `tests/sqlite_store/files.rs`.
#[test]
fn a_database_that_may_not_grow_refuses_and_recovers() {
    const LIMIT: &str = "--fsize=3000000:unlimited";
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("jobs.db");
    let node = Options::new()
        .flag("sqlite-path", file.to_str().unwrap())
        .under(&["prlimit", LIMIT])
        .start();
    define(&node, "q", r#"{"polling_interval":50}"#);
    wait_until_primary(&node, "q");
    let ledger = Ledger::with_slow_worker(Duration::ZERO);
    let large = format!(r#","x":0,"run_after":1,"url":"{}#{}""#, ledger.url(), "f".repeat(60_000));
    let mut refused = None;
    for _ in 0..500 {
        let pushed = ledger.push_kind(node.address(), "q", "job", &large);
        if pushed.fate != Fate::Acknowledged {
            refused = pushed.answer;
            break;
        }
    }
    let refused = refused.expect("a push that is refused");
    assert!([503, 507].contains(&refused.status), "{refused:?}");
    assert_eq!(http::get(node.address(), "/version").status, 200);
    let pid = node.pid().to_string();
    let raised = Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited"]).status();
    assert!(raised.unwrap().success());
    until("a push is stored again", SOON, || {
        ledger.push(node.address(), "q").fate == Fate::Acknowledged
    });
    ledger.close(&SqliteFile(file), &["q"]);
}

fn descriptors(node: &Daemon) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", node.pid())).unwrap().count()
}

/// Hundredths of a second that a process has worked.
fn processor_ticks(node: &Daemon) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", node.pid())).unwrap();
    // Behind the name in parentheses, user and system time are the 12th and 13th field.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
