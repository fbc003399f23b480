//! `make bench`: how fast the daemon is, on each store, with the load, the worker, the database
//! and the daemon on this machine.
//!
//! Every figure is of the real daemon, an optimised build, over HTTP on loopback. Each delivery is
//! counted; a job that is lost or arrives twice makes the run fail. Machines differ and so do
//! hours: compare figures of one run, best by their ratio to the yardstick (`yardstick.rs`).
//! `--json` prints JSON on standard output; what is measured is told on standard error meanwhile.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark")]

#[path = "../tests/support/mod.rs"]
mod support;
#[path = "throughput"]
mod throughput {
    pub mod backlog;
    pub mod failover;
    pub mod idle;
    pub mod load;
    pub mod report;
    pub mod sink;
    pub mod yardstick;
}

use std::time::Duration;

use support::daemon::{Daemon, Options};
use support::mariadb::{Database, MariaDb};
use throughput::load::{Load, Pace, percentile};
use throughput::report::Report;
use throughput::sink::Sink;
use throughput::{backlog, failover, idle, yardstick};

/// A server as it is installed: its buffers and its log are those of the defaults.
const SERVER_OPTIONS: [&str; 2] = ["--innodb-buffer-pool-size=256M", "--innodb-log-file-size=96M"];
/// Jobs in the backlog that is worked off.
const BACKLOG_JOBS: usize = 500_000;
/// Queues of a node that idles.
const IDLE_QUEUES: usize = 200;

/// A store under test.
struct Store {
    name: &'static str,
    place: Place,
}

/// Where it lies; kept until the daemon has ended.
enum Place {
    Memory,
    File(tempfile::TempDir),
    Server(Database),
}

impl Store {
    fn start_daemon(&self) -> Daemon {
        let options = match &self.place {
            Place::Memory => Options::new().flag("driver", "in-memory"),
            Place::File(folder) => {
                let path = folder.path().join("bench.db");
                Options::new().flag("driver", "sqlite").flag("sqlite-path", path.to_str().unwrap())
            }
            Place::Server(database) => Options::on(&database.dsn()),
        };
        options.flag("queue-default", "default").start()
    }
}

fn main() {
    let mut report = Report::new(std::env::args().any(|argument| argument == "--json"));
    let server = MariaDb::start_with(&SERVER_OPTIONS);
    let database = server.create_database();
    create_tables(&database);
    let yardstick = yardstick::measure(&server, &database);
    eprintln!("the yardstick: {yardstick:.0} rows/s");
    for (name, place) in [
        ("mysql", Place::Server(server.create_database())),
        ("sqlite", Place::File(tempfile::tempdir().unwrap())),
        ("in memory", Place::Memory),
    ] {
        let store = Store { name, place };
        pushes(&mut report, &store);
        push_to_completion(&mut report, &store);
        start_latency(&mut report, &store);
    }
    drain(&mut report, &server);
    for queues in [1, IDLE_QUEUES] {
        idle(&mut report, &server, queues);
    }
    let rounds = failover::measure(&server.create_database(), 10);
    let what = "failover after kill -9, of 10";
    report.add("mysql", format!("{what}: median"), percentile(&rounds, 0.5), "ms");
    report.add("mysql", format!("{what}: longest"), percentile(&rounds, 1.0), "ms");
    report.print(yardstick);
}

/// Has a daemon make the tables of the queue called `default`.
fn create_tables(database: &Database) {
    let daemon = Options::on(&database.dsn()).flag("queue-default", "default").start();
    failover::wait_until_primary(&daemon);
}

/// Pushes of jobs that are not due, so that nothing but pushing happens.
fn pushes(report: &mut Report, store: &Store) {
    for (clients, jobs) in [(1, 5_000), (8, 40_000), (64, 100_000)] {
        let daemon = store.start_daemon();
        let load = Load { clients, jobs, run_after_s: 100_000, pace: Pace::Free };
        let pushed = load.run(daemon.address(), "127.0.0.1:1");
        let what = format!("push, {clients} clients");
        report.add(store.name, what.as_str(), pushed.per_second(), "/s");
        let p99 = percentile(&pushed.latencies_ms, 0.99);
        report.add(store.name, format!("{what}: p50"), percentile(&pushed.latencies_ms, 0.5), "ms");
        report.add(store.name, format!("{what}: p99"), p99, "ms");
        report.add(store.name, format!("{what}: worst client's p99"), pushed.worst_p99_ms(), "ms");
    }
}

/// From the first push to the last arrival at the worker.
fn push_to_completion(report: &mut Report, store: &Store) {
    let daemon = store.start_daemon();
    let sink = Sink::start();
    let load = Load { clients: 32, jobs: 60_000, run_after_s: 0, pace: Pace::Free };
    let pushed = load.run(daemon.address(), &sink.address());
    sink.expect_each_once(load.jobs, Duration::from_secs(120));
    let seconds = sink.last_arrival().duration_since(pushed.start).as_secs_f64();
    report.add(store.name, "push to completion", load.jobs as f64 / seconds, "/s");
    let resident = idle::resident_bytes(daemon.pid());
    report.add(store.name, "resident after it", resident as f64 / 1e6, "MB");
}

/// From the push of a job to its arrival: one job at a time, and at a rate that leaves the machine
/// idle in between.
fn start_latency(report: &mut Report, store: &Store) {
    let daemon = store.start_daemon();
    for (how, every) in [("one at a time", None), ("at 100 jobs/s", Some(10))] {
        let sink = Sink::start();
        let pace = match every {
            Some(every_ms) => Pace::Every(Duration::from_millis(every_ms)),
            None => Pace::Arrived(&sink),
        };
        let load = Load { clients: 1, jobs: 1_000, run_after_s: 0, pace };
        load.run(daemon.address(), &sink.address());
        sink.expect_each_once(1_000, Duration::from_secs(30));
        let latencies_ms = sink.latencies_ms();
        let what = format!("push to worker, {how}");
        report.add(store.name, format!("{what}: p50"), percentile(&latencies_ms, 0.5), "ms");
        report.add(store.name, format!("{what}: p99"), percentile(&latencies_ms, 0.99), "ms");
    }
}

fn drain(report: &mut Report, server: &MariaDb) {
    let database = server.create_database();
    create_tables(&database);
    let drained = backlog::measure(&database, BACKLOG_JOBS);
    let what = format!("backlog of {BACKLOG_JOBS}");
    report.add("mysql", what.as_str(), drained.per_second, "/s");
    report.add("mysql", format!("{what}: the first tenth"), drained.first_tenth, "/s");
    report.add("mysql", format!("{what}: the last tenth"), drained.last_tenth, "/s");
}

fn idle(report: &mut Report, server: &MariaDb, queues: usize) {
    let idle = idle::measure(server, &server.create_database(), queues, Duration::from_secs(10));
    let what = format!("{queues} idle queues");
    report.add("mysql", format!("{what}: daemon"), idle.core_percent, "% of a core");
    report.add("mysql", format!("{what}: database"), idle.database_core_percent, "% of a core");
    report.add("mysql", format!("{what}: resident"), idle.resident_bytes as f64 / 1e6, "MB");
    report.add("mysql", format!("{what}: connections"), idle.connections as f64, "");
}
