//! What the tests say again and again.

use std::path::Path;

use crate::support::daemon::{Daemon, Options};
use crate::support::http::{self, Answer};
use crate::support::wait::{SOON, eventually};

/// A delay that no test lives through.
pub const LATER: &str = r#""run_after": 3600"#;

/// A daemon that is to be started on the database at `path`.
pub fn on(path: &Path) -> Options {
    Options::new().flag("sqlite-path", path.to_str().unwrap())
}

/// Pushes a job that is due in an hour.
#[track_caller]
pub fn push(daemon: &Daemon, payload: &str) -> Answer {
    let body = format!(r#"{{"url": "http://127.0.0.1:1/", {LATER}, "payload": "{payload}"}}"#);
    http::post(daemon.address(), "/job/c", body)
}

/// Pushes until one is accepted.
#[track_caller]
pub fn push_when_possible(daemon: &Daemon, payload: &str) {
    eventually("a push is accepted", SOON, || (push(daemon, payload).status == 200).then_some(()));
}

/// Fails unless a push is refused with this status and a reason that holds `reason`.
#[track_caller]
pub fn assert_refused(answer: &Answer, status: u16, reason: &str) {
    assert!(answer.status == status && answer.text().contains(reason), "{answer:?}");
}

/// The payloads of the jobs that are not due yet.
#[track_caller]
pub fn deferred(daemon: &Daemon) -> Vec<String> {
    let answer = http::get(daemon.address(), "/queue/default/deferred?limit=1000");
    assert_eq!(answer.status, 200, "{answer:?}");
    let jobs = answer.json()["jobs"].as_array().unwrap().clone();
    // A text that is JSON, such as a number, is shown as that.
    let text = |payload: &serde_json::Value| {
        payload.as_str().map_or_else(|| payload.to_string(), str::to_owned)
    };
    let mut payloads: Vec<String> = jobs.iter().map(|job| text(&job["payload"])).collect();
    payloads.sort();
    payloads
}
