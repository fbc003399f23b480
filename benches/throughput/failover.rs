//! How long a queue stands still when its primary is killed.

use std::time::{Duration, Instant};

use mysql::prelude::Queryable;

use super::load::{Load, Pace};
use super::sink::Sink;
use crate::support::daemon::{Daemon, Options};
use crate::support::http;
use crate::support::mariadb::Database;

/// For each round the time in milliseconds from the primary's death to the arrival of a job that
/// was pushed to the other node meanwhile.
pub fn measure(database: &Database, rounds: usize) -> Vec<f64> {
    let start = || Options::on(&database.dsn()).flag("queue-default", "default").start();
    let mut primary = start();
    wait_until_primary(&primary);
    (0..rounds)
        .map(|_| {
            let backup = start();
            wait_until_backup(database);
            let sink = Sink::start();
            let load = Load { clients: 1, jobs: 1, run_after_s: 0, pace: Pace::Free };
            let death = Instant::now();
            primary.kill9();
            load.run(backup.address(), &sink.address());
            sink.expect_each_once(1, Duration::from_secs(30));
            primary = backup;
            sink.last_arrival().duration_since(death).as_secs_f64() * 1e3
        })
        .collect()
}

/// The backup is ready to take over once it waits for the lock.
fn wait_until_backup(database: &Database) {
    let mut session = database.conn();
    let waiting = "SELECT COUNT(*) FROM information_schema.processlist \
                   WHERE state = 'User lock'";
    let deadline = Instant::now() + Duration::from_secs(30);
    while session.query_first::<u32, _>(waiting).unwrap() != Some(1) {
        // Between two waits of a second each there is a moment without one.
        assert!(Instant::now() < deadline, "the other node does not wait for the lock");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until a node leads the queue called `default`, whose tables are there by then.
pub fn wait_until_primary(daemon: &Daemon) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while http::get(daemon.address(), "/queue/default/stats").json()["active_nodes"] != 1 {
        assert!(Instant::now() < deadline, "the node does not become primary");
        std::thread::sleep(Duration::from_millis(10));
    }
}
