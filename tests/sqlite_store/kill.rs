//! `kill -9` at random moments, while jobs come in and are delivered.
//!
//! Each push carries a key. Acknowledged ones are delivered; what is delivered was sent; a key is
//! delivered once more than the number of kills that found its job grabbed, at the most. After
//! each kill the files are copied as they lie, and the copy is sound.
//!
//! `ROUNDS` and `SEED` may be given in the environment.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rusqlite::Connection;

use crate::support::http::Client;
use crate::support::random::{self, Random};
use crate::support::wait::{SOON, until};
use crate::support::worker::{Reaction, Worker};

use super::tools::on;

const PUSHERS: usize = 4;
const QUEUE: &str = "fireworq_jq(default)";

/// What became of the pushes, by key.
#[derive(Default)]
struct Account {
    acknowledged: BTreeSet<String>,
    unknown: BTreeSet<String>,
    /// How many kills found the key's job grabbed.
    grabbed: BTreeMap<String, usize>,
}

#[test]
fn no_acknowledged_job_is_lost_by_kills() {
    let rounds = random::number("ROUNDS").unwrap_or(20);
    let mut random = Random::seeded();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let worker = Worker::start(|request| {
        // Some take longer, so that kills find them running.
        let delay = if request.number.is_multiple_of(7) { 20 } else { 0 };
        Reaction::success().after(Duration::from_millis(delay))
    });
    let url = worker.url("/");
    let keys = AtomicUsize::new(0);
    let mut account = Account::default();
    for round in 0..rounds {
        let mut daemon = on(&path).start();
        let address = daemon.address();
        std::thread::scope(|scope| {
            let pushers: Vec<_> = (0..PUSHERS)
                .map(|_| scope.spawn(|| push_until_the_end(address, &url, &keys)))
                .collect();
            std::thread::sleep(Duration::from_millis(random.within(0..=400)));
            daemon.kill9();
            for pusher in pushers {
                let (acknowledged, unknown) = pusher.join().unwrap();
                account.acknowledged.extend(acknowledged);
                account.unknown.extend(unknown);
            }
        });
        for key in check_copy(&path, directory.path(), round) {
            *account.grabbed.entry(key).or_default() += 1;
        }
        // What waits must not grow for ever.
        if (round + 1).is_multiple_of(10) || round + 1 == rounds {
            let _daemon = on(&path).start();
            until("every job is delivered", 3 * SOON, || is_empty(&path));
            println!("{} of {rounds} kills, {} jobs", round + 1, account.acknowledged.len());
        }
    }
    account.check(&worker);
    println!(
        "{} acknowledged, {} unknown, {} found grabbed",
        account.acknowledged.len(),
        account.unknown.len(),
        account.grabbed.len()
    );
    assert!(account.acknowledged.len() as u64 > rounds, "next to nothing was pushed");
}

/// Pushes one job after the other until the daemon is gone; answers the keys that were
/// acknowledged and those of which it is not known.
fn push_until_the_end(
    address: SocketAddr,
    url: &str,
    keys: &AtomicUsize,
) -> (Vec<String>, Vec<String>) {
    let (mut acknowledged, mut unknown) = (Vec::new(), Vec::new());
    // It may be gone by now.
    let Ok(mut client) = Client::try_connect(address) else { return (acknowledged, unknown) };
    loop {
        let key = format!("key {}", keys.fetch_add(1, Ordering::Relaxed));
        let body = format!(r#"{{"url": "{url}", "payload": "{key}"}}"#);
        let head = format!("POST /job/c HTTP/1.1\r\nHost: x\r\nContent-Length: {}", body.len());
        let sent = client.send(format!("{head}\r\n\r\n{body}").as_bytes());
        match sent.and_then(|()| client.receive()) {
            Ok(answer) if answer.status == 200 => acknowledged.push(key),
            Ok(answer) => {
                // Not ready yet, or not any more.
                assert_eq!(answer.status, 503, "{answer:?}");
                unknown.push(key);
            }
            Err(_) => {
                unknown.push(key);
                return (acknowledged, unknown);
            }
        }
    }
}

/// Copies the files as the kill left them, checks the copy, and answers the keys of its
/// grabbed jobs.
fn check_copy(path: &Path, directory: &Path, round: u64) -> Vec<String> {
    let copy = directory.join("copy.db");
    for suffix in ["", "-wal", "-shm"] {
        let to = format!("{}{suffix}", copy.display());
        let _ = fs::remove_file(&to);
        let from = format!("{}{suffix}", path.display());
        if suffix != "-shm" && Path::new(&from).exists() {
            fs::copy(&from, &to).unwrap();
        }
    }
    let connection = Connection::open(&copy).unwrap();
    let sound: String =
        connection.query_row("PRAGMA integrity_check", (), |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok", "round {round}");
    let sql = format!("SELECT payload FROM `{QUEUE}` WHERE status = 1");
    // The first kill may come before there is a queue.
    let Ok(mut statement) = connection.prepare(&sql) else { return Vec::new() };
    let payloads = statement.query_map((), |row| row.get::<_, Vec<u8>>(0)).unwrap();
    payloads.map(|payload| String::from_utf8(payload.unwrap()).unwrap()).collect()
}

impl Account {
    /// Compares with what was delivered, once everything is.
    fn check(&self, worker: &Worker) {
        let mut delivered: BTreeMap<String, usize> = BTreeMap::new();
        for request in worker.received() {
            *delivered.entry(request.text().to_owned()).or_default() += 1;
        }
        let lost: Vec<_> =
            self.acknowledged.iter().filter(|key| !delivered.contains_key(*key)).collect();
        assert!(lost.is_empty(), "acknowledged and never delivered: {lost:?}");
        for (key, times) in delivered {
            let sent = self.acknowledged.contains(&key) || self.unknown.contains(&key);
            assert!(sent, "{key} was never sent");
            let most = 1 + self.grabbed.get(&key).copied().unwrap_or(0);
            assert!(times <= most, "{key} was delivered {times} times, at most {most}");
        }
    }
}

/// Whether the queue has no jobs, whatever their state, by one look into the file.
fn is_empty(path: &Path) -> bool {
    let connection = Connection::open(path).unwrap();
    connection.busy_timeout(SOON).unwrap();
    let sql = format!("SELECT COUNT(*) FROM `{QUEUE}`");
    connection.query_row(&sql, (), |row| row.get::<_, i64>(0)).unwrap() == 0
}
