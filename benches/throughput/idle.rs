//! What a daemon and its database cost when there is nothing to do.

use std::time::{Duration, Instant};

use mysql::prelude::Queryable;

use crate::support::daemon::Options;
use crate::support::http;
use crate::support::mariadb::{Database, MariaDb};

pub struct Idle {
    pub resident_bytes: u64,
    pub core_percent: f64,
    pub database_core_percent: f64,
    pub connections: usize,
}

/// A node with so many queues, looked at for `span` once it leads them all.
pub fn measure(server: &MariaDb, database: &Database, queues: usize, span: Duration) -> Idle {
    let daemon = Options::on(&database.dsn()).flag("queue-default", "default").start();
    for number in 1..queues {
        let answer = http::put(daemon.address(), &format!("/queue/q{number}"), "{}");
        assert_eq!(answer.status, 200, "{}", answer.status);
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let stats = http::get(daemon.address(), "/queues/stats").json();
        let stats = stats.as_object().unwrap();
        if stats.len() == queues && stats.values().all(|queue| queue["active_nodes"] == 1) {
            break;
        }
        assert!(Instant::now() < deadline, "the node does not become primary");
        std::thread::sleep(Duration::from_millis(50));
    }
    // What the start has left to do is over by then.
    std::thread::sleep(Duration::from_secs(2));
    let ticks = || (processor_ticks(daemon.pid()), processor_ticks(server.pid()));
    let before = ticks();
    std::thread::sleep(span);
    let after = ticks();
    // The kernel counts in hundredths of a second (USER_HZ), whatever its own clock.
    let percent = |before: u64, after: u64| (after - before) as f64 / span.as_secs_f64();
    let connections: usize = database
        .conn()
        .query_first(format!(
            "SELECT COUNT(*) - 1 FROM information_schema.processlist WHERE db = '{}'",
            database.name
        ))
        .unwrap()
        .unwrap();
    Idle {
        resident_bytes: resident_bytes(daemon.pid()),
        core_percent: percent(before.0, after.0),
        database_core_percent: percent(before.1, after.1),
        connections,
    }
}

fn processor_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // Behind the name in parentheses, user and system time are the 12th and 13th field.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// What a process has in memory.
pub fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}
