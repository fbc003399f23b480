//! `/livez` and `/readyz`, with the store and without it.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::node::Node;
use crate::stores::{Store, on_every_store};
use crate::support::daemon::Options;
use crate::support::http::Answer;
use crate::support::mariadb::MariaDb;
use crate::support::wait::{SOON, until};

on_every_store! {
    a_node_with_its_store_is_alive_and_ready
}

/// What an answer that asks nobody may take on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(3);

fn a_node_with_its_store_is_alive_and_ready(store: Store) {
    let node = store.shared();
    let queue = node.queue(&json!({}));
    let answer = node.get("/livez");
    assert_eq!((answer.status, answer.text()), (200, "ok\n"));
    assert_eq!(node.request("HEAD", "/livez", "").status, 200);
    until("it is ready and primary", SOON, || {
        let answer = node.get("/readyz");
        let is_primary = answer.json()["primary"].as_array().unwrap().contains(&json!(queue.name));
        answer.status == 200 && is_primary
    });
    let answer = node.get("/readyz");
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
    assert_eq!((&answer.json()["ready"], &answer.json()["reason"]), (&json!(true), &json!("")));
    assert_eq!(node.request("HEAD", "/readyz", "").status, 200);
}

/// An answer that must not wait for the store.
#[track_caller]
fn at_once(node: &Node, path: &str) -> Answer {
    let began = Instant::now();
    let answer = node.get(path);
    let took = began.elapsed();
    assert!(took < AT_ONCE, "{path} took {took:?}");
    answer
}

/// Until the node says that it is not ready, and why.
#[track_caller]
fn reason(node: &Node) -> String {
    until("it is not ready", SOON, || at_once(node, "/readyz").status == 503);
    let view = at_once(node, "/readyz").json();
    assert_eq!(view["ready"], json!(false));
    let reason = view["reason"].as_str().unwrap().to_owned();
    assert!(!reason.is_empty() && !reason.contains("root@"), "{reason}");
    reason
}

/// The store is away, which is no fault of the daemon's.
#[track_caller]
fn assert_alive_without_store(node: &Node) {
    assert_eq!(at_once(node, "/livez").status, 200);
    let page = at_once(node, "/metrics");
    assert_eq!(page.status, 200);
    assert!(page.text().contains("\nfireworq_store_up 0\n"), "{}", page.text());
}

#[test]
fn without_its_database_a_node_is_alive_and_not_ready() {
    let server = MariaDb::start();
    let database = server.create_database();
    let node = Node::new(Options::on(&database.dsn()).flag("queue-default", "main").start());
    until("it is ready", SOON, || node.get("/readyz").status == 200);
    server.kill9();
    reason(&node);
    assert_alive_without_store(&node);
    server.restart();
    let primary = |view: &Value| view["primary"] == json!(["main"]);
    until("it is ready and primary again", SOON, || {
        let answer = node.get("/readyz");
        answer.status == 200 && primary(&answer.json())
    });
    assert!(node.get("/metrics").text().contains("\nfireworq_store_up 1\n"));
    server.pause();
    reason(&node);
    assert_alive_without_store(&node);
    server.resume();
    until("it is ready once more", SOON, || node.get("/readyz").status == 200);
}

#[test]
fn the_watchdog_is_fed_without_the_database() {
    let server = MariaDb::start();
    let database = server.create_database();
    server.kill9();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let options = Options::on(&database.dsn()).variable("WATCHDOG_USEC", "400000");
    let node = Node::new(options.variable("NOTIFY_SOCKET", path.to_str().unwrap()).start());
    reason(&node);
    let mut beats = 0;
    let mut message = [0; 256];
    while beats < 5 {
        let size = socket.recv(&mut message).expect("a beat for the watchdog");
        beats += usize::from(&message[..size] == b"WATCHDOG=1\n");
    }
}
