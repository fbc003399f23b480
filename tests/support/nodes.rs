//! Nodes of one database, and what they and the server say about who is primary.

use std::time::{Duration, Instant};

use mysql::Conn;
use mysql::prelude::Queryable;
use serde_json::Value;

use super::daemon::{Daemon, Options};
use super::http;
use super::mariadb::Database;
use super::tables::table;
use super::wait::{SOON, until};

/// How long a node that fell silent stays primary.
pub const LEASE_TIME: Duration = Duration::from_secs(4);
/// How often a node looks at the definitions.
pub const REFRESH: Duration = Duration::from_millis(250);
/// What a busy machine may add to what is promised.
pub const BUSY: Duration = Duration::from_secs(2);
/// How long a silent node's replacement may take: the lease time, the wait of the other node for
/// the lock, and a look around.
pub const REPLACED: Duration = LEASE_TIME.saturating_add(Duration::from_secs(4));

/// A node whose requests to workers carry its name, and with short times.
pub fn named(name: &str, dsn: &str) -> Options {
    Options::on(dsn)
        .flag("dispatch-user-agent", name)
        .flag("mysql-lease-time", &LEASE_TIME.as_secs().to_string())
        .flag("config-refresh-interval", &REFRESH.as_millis().to_string())
}

/// Starts a node.
#[track_caller]
pub fn start(name: &str, database: &Database) -> Daemon {
    named(name, &database.dsn()).start()
}

/// Starts a node that defines `queue` and is primary for it, then a second one that is not.
#[track_caller]
pub fn start_two(database: &Database, queue: &str, definition: &str) -> [Daemon; 2] {
    let one = start("one", database);
    define(&one, queue, definition);
    wait_until_primary(&one, queue);
    let two = start("two", database);
    until("the second node knows the queue", SOON, || known_queues(&two).contains_key(queue));
    [one, two]
}

/// Defines a queue, and routes the category of its name to it, once the node can.
#[track_caller]
pub fn define(node: &Daemon, queue: &str, definition: &str) {
    until("the queue can be defined", SOON, || {
        put(node, &format!("/queue/{queue}"), definition) == 200
    });
    route(node, queue, queue);
}

/// Routes a category to a queue.
#[track_caller]
pub fn route(node: &Daemon, category: &str, queue: &str) {
    let body = format!(r#"{{"queue_name":"{queue}"}}"#);
    assert_eq!(put(node, &format!("/routing/{category}"), &body), 200);
}

fn put(node: &Daemon, path: &str, body: &str) -> u16 {
    http::put(node.address(), path, body).status
}

/// The queues that a node runs and their counters, without making it look for further ones.
#[track_caller]
pub fn known_queues(node: &Daemon) -> serde_json::Map<String, Value> {
    match http::get(node.address(), "/queues/stats").json() {
        Value::Object(queues) => queues,
        other => panic!("{other}"),
    }
}

/// A counter of a queue on a node.
#[track_caller]
pub fn stat(node: &Daemon, queue: &str, name: &str) -> u64 {
    known_queues(node)[queue][name].as_u64().unwrap()
}

/// Whether the node says that it is primary for the queue.
pub fn is_primary(node: &Daemon, queue: &str) -> bool {
    stat(node, queue, "active_nodes") == 1
}

/// Waits until the node says so.
#[track_caller]
pub fn wait_until_primary(node: &Daemon, queue: &str) {
    until("the node is primary", SOON, || is_primary(node, queue));
}

/// The id and the host of the session that holds the queue's lock, as a node tells it.
#[track_caller]
pub fn holder(node: &Daemon, queue: &str) -> Option<(String, String)> {
    let answer = http::get(node.address(), &format!("/queue/{queue}/node"));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    match answer.status {
        200 => Some((text(&answer.json()["id"]), text(&answer.json()["host"]))),
        404 => None,
        status => panic!("{status}: {}", answer.text()),
    }
}

/// The name of the queue's lock.
pub fn lock_name(database: &Database, queue: &str) -> String {
    format!("fireworq:{}:{queue}", database.name)
}

/// Kills the session that holds the queue's lock, as an administrator would; answers when it was
/// killed.
#[track_caller]
pub fn kill_lock_session(database: &Database, queue: &str) -> Instant {
    let mut conn = database.conn();
    let id: Option<Option<u64>> =
        conn.exec_first("SELECT IS_USED_LOCK(?)", (lock_name(database, queue),)).unwrap();
    let id = id.flatten().expect("a holder");
    conn.query_drop(format!("KILL {id}")).unwrap();
    Instant::now()
}

/// How many rows of the queue there are, and how many of them are grabbed.
pub fn rows(conn: &mut Conn, queue: &str) -> (u64, u64) {
    let statement = format!(
        "SELECT COUNT(*), COUNT(IF(status = 'grabbed', 1, NULL)) FROM `fireworq_jq({})`",
        table(queue)
    );
    conn.query_first(statement).unwrap().unwrap()
}

/// Looks again and again for `span` whether `condition` holds each time.
#[track_caller]
pub fn throughout(what: &str, span: Duration, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + span;
    while Instant::now() < end {
        assert!(condition(), "not all the time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
