//! `make bench`: how fast the daemon is, on each store, with the load, the worker, the database
//! and the daemon on this machine.
//!
//! Every figure is of the real daemon, an optimised build, over HTTP on loopback. Each delivery is
//! counted; a job that is lost or arrives twice makes the run fail. Machines differ and so do
//! hours: compare figures of one run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark")]

#[path = "../tests/support/mod.rs"]
mod support;
#[path = "throughput"]
mod throughput {
    pub mod failover;
    pub mod idle;
    pub mod load;
    pub mod sink;
}

use std::time::Duration;

use support::daemon::{Daemon, Options};
use support::mariadb::{self, Database};
use throughput::load::{Load, Pace, percentile};
use throughput::sink::Sink;
use throughput::{failover, idle};

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
    let shared = mariadb::shared();
    for (name, place) in [
        ("in-memory", Place::Memory),
        ("sqlite", Place::File(tempfile::tempdir().unwrap())),
        ("mysql", Place::Server(shared.create_database())),
    ] {
        let store = Store { name, place };
        pushes(&store);
        push_to_completion(&store);
        start_latency(&store);
    }
    let database = shared.create_database();
    let idle = idle::measure(&database.dsn(), Duration::from_secs(10));
    row("mysql, one idle queue: resident", idle.resident_bytes as f64 / 1e6, "MB");
    row("mysql, one idle queue: processor", idle.core_percent, "% of a core");
    let rounds = failover::measure(&shared.create_database(), 10);
    row("mysql, failover after kill -9: median of 10", percentile(&rounds, 0.5), "ms");
    row("mysql, failover after kill -9: longest", percentile(&rounds, 1.0), "ms");
}

fn row(what: &str, figure: f64, unit: &str) {
    println!("{what:<44}{figure:>12.2}  {unit}");
}

/// Pushes of jobs that are not due, so that nothing but pushing happens.
fn pushes(store: &Store) {
    for (clients, jobs) in [(1, 5_000), (8, 30_000), (64, 60_000)] {
        let daemon = store.start_daemon();
        let load = Load { clients, jobs, run_after_s: 100_000, pace: Pace::Free };
        let pushed = load.run(daemon.address(), "127.0.0.1:1");
        let what = format!("{}, push, {clients} clients", store.name);
        row(&what, pushed.per_second(), "/s");
        row(&format!("{what}: p99"), percentile(&pushed.latencies_ms, 0.99), "ms");
    }
}

/// From the first push to the last arrival at the worker.
fn push_to_completion(store: &Store) {
    let daemon = store.start_daemon();
    let sink = Sink::start();
    let load = Load { clients: 32, jobs: 60_000, run_after_s: 0, pace: Pace::Free };
    let pushed = load.run(daemon.address(), &sink.address());
    sink.expect_each_once(load.jobs, Duration::from_secs(120));
    let seconds = sink.last_arrival().duration_since(pushed.start).as_secs_f64();
    row(&format!("{}, push to completion", store.name), load.jobs as f64 / seconds, "/s");
}

/// From the push of a job to its arrival: one job at a time, and at a rate that leaves the machine
/// idle in between.
fn start_latency(store: &Store) {
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
        let what = format!("{}, push to worker, {how}", store.name);
        row(&format!("{what}: p50"), percentile(&latencies_ms, 0.5), "ms");
        row(&format!("{what}: p99"), percentile(&latencies_ms, 0.99), "ms");
    }
}
