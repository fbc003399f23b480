//! Transactions that get in each other's way: those of two nodes on one queue, and those of
//! somebody else who locks rows in the order that hurts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mysql::prelude::Queryable;
use mysql::{Conn, TxOpts};

use crate::support::ledger::{Fate, Ledger, Load};
use crate::support::mariadb::MariaDb;
use crate::support::nodes::start_two;
use crate::support::wait::SOON;
use crate::support::worker::Reaction;

/// Deadlocks that have to happen before the test has shown something.
const ENOUGH: u64 = 3;

#[test]
fn deadlocks_are_repeated_and_never_seen_outside() {
    let server = MariaDb::start();
    let database = server.create_database();
    let nodes = start_two(&database, "q", r#"{"max_workers":20,"polling_interval":20}"#);
    let fails = |key: &str| key.ends_with('3');
    let ledger = Ledger::with_failures(fails, move |key| {
        let reaction = if fails(key) { Reaction::permanent_failure() } else { Reaction::success() };
        reaction.after(Duration::from_millis(10))
    });
    let addresses = [nodes[0].address(), nodes[1].address()];
    let load = Load::start(8, &ledger, &addresses, "q", Duration::from_millis(2));
    let done = AtomicBool::new(false);
    let count = std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| lock_backwards(&mut database.conn(), &done));
        }
        let mut conn = server.conn();
        let deadline = Instant::now() + SOON;
        let mut count = deadlocks(&mut conn);
        while count < ENOUGH && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
            count = deadlocks(&mut conn);
        }
        done.store(true, Ordering::Relaxed);
        count
    });
    load.stop();
    println!("{count} deadlocks, {} pushes", ledger.count(Fate::Acknowledged));
    assert!(count >= ENOUGH, "only {count} deadlocks happened");
    assert_eq!(ledger.count(Fate::Unknown) + ledger.count(Fate::Refused), 0, "seen outside");
    ledger.close(&database, &["q"]);
    for node in &nodes {
        assert!(!node.errors().contains("eadlock"), "{}", node.errors());
    }
}

/// How many deadlocks the server has counted.
fn deadlocks(conn: &mut Conn) -> u64 {
    let row: Option<(String, u64)> =
        conn.query_first("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'").unwrap();
    row.expect("a server that counts deadlocks").1
}

/// Locks the rows of the queue one by one from the highest id down, where the daemon goes up.
fn lock_backwards(conn: &mut Conn, done: &AtomicBool) {
    conn.query_drop("SET innodb_lock_wait_timeout = 1").unwrap();
    while !done.load(Ordering::Relaxed) {
        let ids: Vec<u64> =
            conn.query("SELECT job_id FROM `fireworq_jq(q)` ORDER BY job_id DESC").unwrap();
        let mut transaction = conn.start_transaction(TxOpts::default()).unwrap();
        for id in ids.iter().take(20) {
            let statement =
                "UPDATE `fireworq_jq(q)` SET retry_delay = retry_delay WHERE job_id = ?";
            // This one may be the victim.
            if transaction.exec_drop(statement, (id,)).is_err() {
                break;
            }
        }
        let _ = transaction.rollback();
    }
}
