//! Workers that misbehave: each costs a failed try, in time and with bounded memory, and its job
//! is tried as often as it asked for.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crate::support::daemon::{Daemon, Options};
use crate::support::http;
use crate::support::mariadb;
use crate::support::nodes::{BUSY, define, wait_until_primary};
use crate::support::tables::Tables;
use crate::support::wait::until;
use crate::support::worker::{Reaction, Received, Worker};

/// What goes wrong, by the path that is asked for.
const WAYS: [&str; 9] =
    ["silence", "drip", "endless", "close", "reset", "loop", "garbage", "head-without-end", "bomb"];
/// Jobs of each kind, and the tries of each job.
const JOBS: usize = 10;
const TRIES: usize = 2;
/// How long a job may take, in seconds.
const TIMEOUT_S: u64 = 1;
/// How much the daemon may grow.
const MAX_GROWTH: u64 = 96 * 1024 * 1024;

#[test]
fn every_way_to_misbehave_is_a_failure_in_time_with_bounded_memory() {
    let database = mariadb::shared().create_database();
    let node = Options::on(&database.dsn()).start();
    let workers = JOBS * WAYS.len();
    define(&node, "q", &format!(r#"{{"max_workers":{workers},"polling_interval":20}}"#));
    wait_until_primary(&node, "q");
    // Packing takes a while.
    LazyLock::force(&BOMB);
    let worker = Worker::start(react);
    let before = resident_bytes(&node);
    let began = Instant::now();
    for way in WAYS {
        for number in 0..JOBS {
            let url = worker.url(&format!("/{way}"));
            let body = format!(
                r#"{{"url":"{url}","payload":"{way}-{number}","timeout":{TIMEOUT_S},
                    "max_retries":{},"retry_delay":0}}"#,
                TRIES - 1
            );
            let answer = http::post(node.address(), "/job/q", body);
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    }
    let mut most = before;
    let limit = Duration::from_secs(TIMEOUT_S * TRIES as u64) + 4 * BUSY;
    until("every job has failed", limit, || {
        most = most.max(resident_bytes(&node));
        database.count("q") == 0
    });
    println!("{:?}, {} MB more", began.elapsed(), (most - before) >> 20);
    assert!(most - before < MAX_GROWTH, "grew by {} bytes", most - before);

    let mut failed = database.failed("q");
    failed.sort();
    let mut expected: Vec<String> = WAYS
        .iter()
        .flat_map(|way| (0..JOBS).map(move |number| format!("{way}-{number}")))
        .collect();
    expected.sort();
    assert_eq!(failed, expected);
    let mut tries: BTreeMap<(String, String), usize> = BTreeMap::new();
    for request in worker.received() {
        *tries.entry((request.path.clone(), request.text().to_owned())).or_default() += 1;
    }
    for ((path, key), count) in tries {
        let is_right = match path.as_str() {
            // Gone round ten times.
            "/loop" => count > TRIES,
            // A request whose connection was kept and ends unanswered is sent once more.
            "/close" | "/reset" => (TRIES..=2 * TRIES).contains(&count),
            _ => count == TRIES,
        };
        assert!(is_right, "{path} {key}: tried {count} times");
    }
}

/// 16 MB of nothing in a few bytes.
static BOMB: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&vec![b' '; 16 << 20]).unwrap();
    packed.finish().unwrap()
});

fn react(received: &Received) -> Reaction {
    match received.path.trim_start_matches('/') {
        "silence" => Reaction::silence(),
        "drip" => Reaction::drip(Duration::from_millis(200), r#"{"status":"success"}"#),
        "endless" => Reaction::endless(),
        "close" => Reaction::close(),
        "reset" => Reaction::reset(),
        "loop" => Reaction::redirect(307, "/loop"),
        "garbage" => Reaction::write_and_close([0xff; 2000]),
        "head-without-end" => {
            let header = "X-More: and more\r\n".repeat(100_000);
            Reaction::write_and_close(format!("HTTP/1.1 200 OK\r\n{header}"))
        }
        "bomb" => Reaction::answer(200, &[("Content-Encoding", "gzip")], &*BOMB),
        other => panic!("{other}"),
    }
}

fn resident_bytes(node: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}
