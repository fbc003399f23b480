//! The database is away.

use std::time::{Duration, Instant};

use serde_json::json;

use super::routes::assert_plain_error;
use crate::node::Node;
use crate::support::daemon::Options;
use crate::support::http::{self, Answer};
use crate::support::mariadb::MariaDb;
use crate::support::wait::{SOON, eventually, until};
use crate::support::worker::Worker;
use crate::workers::{Held, count, wait_for};

/// What an answer without the store may take by the contract, and a little for a busy machine.
const REFUSAL: Duration = Duration::from_secs(8);

const JOB: &str = r#"{"url":"http://127.0.0.1:1/","run_after":3600}"#;

#[track_caller]
fn assert_unavailable(answer: &Answer) {
    assert_plain_error(answer, 503);
    assert!(answer.header("Retry-After").is_some_and(|value| value.parse::<u32>().is_ok()));
    let text = answer.text().to_lowercase();
    assert!(!text.contains("select") && !text.contains("root@"), "{text}");
}

/// Everything that needs the store is refused in time, and what does not is answered.
#[track_caller]
fn assert_refuses(node: &Node, name: &str) {
    let requests = [
        ("POST", format!("/job/{name}"), JOB),
        ("GET", "/queues".to_owned(), ""),
        ("PUT", format!("/queue/{name}"), "{}"),
        ("GET", format!("/queue/{name}/waiting"), ""),
        ("GET", "/routings".to_owned(), ""),
    ];
    std::thread::scope(|scope| {
        for (method, path, body) in &requests {
            scope.spawn(move || {
                let began = Instant::now();
                let answer = node.request(method, path, body);
                let took = began.elapsed();
                assert_unavailable(&answer);
                assert!(took < REFUSAL, "{method} {path} took {took:?}");
            });
        }
        for path in ["/version", "/settings", "/stats", "/queues/stats"] {
            assert_eq!(node.get(path).status, 200, "{path}");
        }
        assert_eq!(node.get(&format!("/queue/{name}/stats")).status, 200);
    });
}

#[test]
fn a_dead_database_is_told_and_comes_back() {
    let server = MariaDb::start();
    let database = server.create_database();
    let node = Node::new(Options::on(&database.dsn()).start());
    let queue = node.queue(&json!({}));
    let held = Held::succeeding();
    queue.push_burst(&vec![json!({ "url": held.url("/") }); 5]);
    wait_for(&held, 5);
    server.kill9();
    assert_refuses(&node, &queue.name);
    // Their outcomes are kept until they can be stored.
    held.let_go();
    server.restart();
    let back = Instant::now();
    eventually("a push works again", SOON, || {
        (node.post(&format!("/job/{}", queue.name), JOB).status == 200).then_some(())
    });
    let took = back.elapsed();
    assert!(took < Duration::from_secs(10), "working again took {took:?}");
    let worker = Worker::successful();
    queue.push(&json!({ "url": worker.url("/") }));
    wait_for(&worker, 1);
    until("what ran is done", SOON, || {
        queue.jobs("waiting").is_empty() && queue.jobs("grabbed").is_empty()
    });
    assert_eq!(count(&held), 5, "jobs ran twice though their node lived");
    assert!(node.errors().lines().count() < 200, "the error log is flooded");
}

#[test]
fn a_paused_database_hangs_nobody() {
    let server = MariaDb::start();
    let database = server.create_database();
    let node = Node::new(Options::on(&database.dsn()).start());
    let queue = node.queue(&json!({}));
    queue.push(&json!({"url": "http://127.0.0.1:1/", "run_after": 3600}));
    server.pause();
    assert_refuses(&node, &queue.name);
    // Many at once, and none of them keeps the others from their answer.
    let (address, path) = (node.address(), format!("/job/{}", queue.name));
    std::thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| {
                let began = Instant::now();
                let answer = http::post(address, &path, JOB);
                assert_unavailable(&answer);
                let took = began.elapsed();
                assert!(took < REFUSAL, "a push took {took:?}");
            });
        }
        assert_eq!(node.get("/version").status, 200);
    });
    server.resume();
    until("a push works again", SOON, || node.post(&path, JOB).status == 200);
    let worker = Worker::successful();
    queue.push(&json!({ "url": worker.url("/") }));
    wait_for(&worker, 1);
}

#[test]
fn a_daemon_may_start_before_its_database() {
    let server = MariaDb::start();
    let database = server.create_database();
    server.kill9();
    let options = Options::on(&database.dsn()).flag("queue-default", "main");
    let mut node = Node::new(options.start());
    assert_eq!(node.get("/version").status, 200);
    assert_unavailable(&node.post("/job/any", JOB));
    assert_unavailable(&node.get("/queues"));
    server.restart();
    until("a push works", SOON, || node.post("/job/any", JOB).status == 200);
    assert_eq!(node.get("/queue/main").status, 200);
    let worker = Worker::successful();
    node.post("/job/any", json!({ "url": worker.url("/") }).to_string());
    wait_for(&worker, 1);
    node.queue_of("main").wait_for_stat("total_successes", 1);
    // Nothing runs and nothing is to be stored: a stop does not wait for the database.
    server.kill9();
    let stopped = Instant::now();
    assert_eq!(node.stop(), 0, "{}", node.errors());
    let took = stopped.elapsed();
    assert!(took < Duration::from_secs(15), "the stop took {took:?}");
}
