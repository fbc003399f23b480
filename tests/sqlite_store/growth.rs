//! The log stays small however much is written, without a pause.

use std::fs;
use std::time::Duration;

use crate::support::http::Client;
use crate::support::wait::until;

use super::tools::{LATER, on};

/// Where the log is begun anew, with as much again for what is written until then.
const BOUND: u64 = 40 << 20;

#[test]
fn the_log_stays_small_under_load() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let log = directory.path().join("jobs.db-wal");
    let daemon = on(&path).start();
    let mut client = Client::connect(daemon.address());
    let large = "x".repeat(1 << 20);
    let mut push = |payload: &str| {
        let body = format!(r#"{{"url": "http://127.0.0.1:1/", {LATER}, "payload": "{payload}"}}"#);
        let status = client.request("POST", "/job/c", &[], body).status;
        assert!(status == 200 || status == 503, "{status}");
    };
    for _ in 0..64 {
        push(&large);
    }
    let written = fs::metadata(&path).map_or(0, |database| database.len());
    // Small commits go on all the time; what was copied is cut off.
    until("the log is cut down", Duration::from_secs(60), || {
        push("small");
        let database = fs::metadata(&path).unwrap().len();
        database > 64 << 20 && fs::metadata(&log).unwrap().len() < BOUND
    });
    assert!(written <= fs::metadata(&path).unwrap().len());
}
