//! Databases that nodes of the original have left, or still use.

use std::time::Duration;

use mysql::Conn;
use mysql::prelude::Queryable;

use crate::support::http;
use crate::support::ledger::{Fate, Ledger};
use crate::support::mariadb::{self, Database};
use crate::support::nodes::{
    define, holder, is_primary, known_queues, named, rows, start, throughout, wait_until_primary,
};
use crate::support::wait::{SOON, until};

/// Longer than a primary takes between two looks for rows that nobody works on.
const LONG: Duration = Duration::from_secs(5);

#[test]
fn rows_that_a_former_node_left_grabbed_are_recovered() {
    let database = mariadb::shared().create_database();
    define_and_stop(&database, "q");
    let ledger = Ledger::with_slow_worker(Duration::from_millis(10));
    let mut conn = database.conn();
    for grabber_id in ["1", "4711", "9223372036854775807", "NULL"] {
        for _ in 0..3 {
            insert_grabbed(&mut conn, "q", &ledger, grabber_id);
        }
    }
    assert_eq!(rows(&mut conn, "q"), (12, 12));
    let _node = start("one", &database);
    ledger.close(&database, &["q"]);
    assert_eq!(ledger.deliveries().len(), 12);

    // So are those that turn up later.
    insert_grabbed(&mut conn, "q", &ledger, "NULL");
    insert_grabbed(&mut conn, "q", &ledger, "12");
    ledger.close(&database, &["q"]);
    assert_eq!(ledger.deliveries().len(), 14);
}

#[test]
fn queues_that_share_a_table_are_served_with_a_warning() {
    let database = mariadb::shared().create_database();
    define_and_stop(&database, "my_queue");
    let mut conn = database.conn();
    for statement in [
        "INSERT INTO queue (name, polling_interval, max_workers) VALUES ('my-queue', 200, 5)",
        "INSERT INTO routing (job_category, queue_name) VALUES ('my-queue', 'my-queue')",
        "UPDATE config_revision SET revision = revision + 1",
    ] {
        conn.query_drop(statement).unwrap();
    }
    let nodes = [start("one", &database), start("two", &database)];
    until("there is a warning", SOON, || nodes[0].errors().contains("share one table"));
    let ledger = Ledger::new(|key| {
        let delay = if key.starts_with("long") { LONG } else { Duration::from_millis(5) };
        crate::support::worker::Reaction::success().after(delay)
    });
    let queues = ["my_queue", "my-queue"];
    let leading = || {
        let of_node = |node| queues.iter().filter(move |queue| is_primary(node, queue)).copied();
        nodes.iter().flat_map(of_node).collect::<Vec<_>>()
    };
    for queue in queues {
        until("the queue has a primary", SOON, || holder(&nodes[0], queue).is_some());
        ledger.push_kind(nodes[0].address(), queue, "long", "");
        ledger.push_kind(nodes[1].address(), queue, "long", "");
        ledger.push_all(10, nodes[0].address(), queue);
        ledger.push_all(10, nodes[1].address(), queue);
    }
    ledger.close(&database, &queues);
    assert_eq!(ledger.deliveries().len(), 44);
    let refused = http::put(nodes[0].address(), "/queue/my.queue", "{}");
    assert_eq!(refused.status, 409, "{}", refused.text());

    // A table has one primary. Without it, another queue of the table leads.
    let leader = leading();
    assert_eq!(leader.len(), 1, "{leader:?}");
    assert_eq!(http::delete(nodes[0].address(), &format!("/queue/{}", leader[0])).status, 200);
    let left: Vec<_> = queues.into_iter().filter(|queue| *queue != leader[0]).collect();
    until("the queue that is left leads", SOON, || {
        let known = nodes.iter().all(|node| !known_queues(node).contains_key(leader[0]));
        known && nodes.iter().filter(|node| is_primary(node, left[0])).count() == 1
    });
    ledger.push_all(5, nodes[1].address(), left[0]);
    ledger.close(&database, &queues);
}

#[test]
fn beside_nodes_of_the_original_the_lock_has_its_name() {
    // Names of locks are the server's: this queue's is used by no other test.
    const QUEUE: &str = "beside_the_original";
    let database = mariadb::shared().create_database();
    define_and_stop(&database, QUEUE);
    let mut original = database.conn();
    let lock = format!("fireworq_jq({QUEUE})");
    let taken: Option<i64> = original.exec_first("SELECT GET_LOCK(?, 0)", (&lock,)).unwrap();
    assert_eq!(taken, Some(1));

    let node = named("one", &database.dsn()).flag("mysql-lock-compat", "true").start();
    let ledger = Ledger::with_slow_worker(Duration::ZERO);
    until("a push is stored", SOON, || {
        ledger.push(node.address(), QUEUE).fate == Fate::Acknowledged
    });
    let id = original.connection_id().to_string();
    assert_eq!(holder(&node, QUEUE).map(|(id, _)| id), Some(id));
    throughout("the node is not primary", Duration::from_secs(2), || {
        !is_primary(&node, QUEUE) && ledger.deliveries().is_empty()
    });
    original.exec_drop("DO RELEASE_LOCK(?)", (&lock,)).unwrap();
    wait_until_primary(&node, QUEUE);
    ledger.close(&database, &[QUEUE]);
    let taken: Option<i64> = original.exec_first("SELECT GET_LOCK(?, 0)", (&lock,)).unwrap();
    assert_eq!(taken, Some(0));
}

/// Makes the tables of a database with one queue.
fn define_and_stop(database: &Database, queue: &str) {
    let mut node = start("former", database);
    define(&node, queue, r#"{"max_workers":5}"#);
    assert_eq!(node.stop(), 0);
}

/// A row as a node of the original leaves it when it dies.
fn insert_grabbed(conn: &mut Conn, queue: &str, ledger: &Ledger, grabber_id: &str) {
    let (key, _) = ledger.body_of_another();
    let statement = format!(
        "INSERT INTO `fireworq_jq({queue})` (next_try, grabber_id, status, created_at, \
         retry_count, retry_delay, fail_count, category, url, payload, timeout) \
         VALUES (1, {grabber_id}, 'grabbed', 1, 0, 0, 0, 'c', ?, ?, 0)"
    );
    conn.exec_drop(statement, (ledger.url(), key)).unwrap();
}
