//! Transactions that get in each other's way: those of two nodes on one queue, and those of
//! somebody else who locks rows in the order that hurts, or whole tables.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mysql::prelude::Queryable;
use mysql::{Conn, TxOpts};

use crate::support::ledger::{Fate, Ledger, Load};
use crate::support::mariadb::MariaDb;
use crate::support::nodes::{define, start, start_two, stat, wait_until_primary};
use crate::support::wait::{SOON, until};
use crate::support::worker::Reaction;

/// Deadlocks that have to happen before the test has shown something.
const ENOUGH: u64 = 3;
/// Of a client whose queue is locked.
const BETWEEN_PUSHES: Duration = Duration::from_millis(5);

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

#[test]
fn locked_tables_hold_up_no_other_queue() {
    const LOCKED: [&str; 3] = ["a", "b", "c"];
    const QUEUES: [&str; 4] = ["a", "b", "c", "free"];
    let server = MariaDb::start();
    let database = server.create_database();
    let node = start("one", &database);
    for queue in QUEUES {
        define(&node, queue, r#"{"max_workers":10}"#);
        wait_until_primary(&node, queue);
    }
    let ledger = Ledger::with_slow_worker(Duration::from_millis(500));
    for queue in LOCKED {
        ledger.push_all(4, node.address(), queue);
    }
    ledger.wait_for_count(12, SOON);

    let mut other = database.conn();
    let tables = LOCKED.map(|queue| format!("`fireworq_jq({queue})` WRITE")).join(", ");
    other.query_drop(format!("LOCK TABLES {tables}")).unwrap();
    // Their outcomes and their pushes wait for the locks; until that is known, so do others.
    let loads =
        LOCKED.map(|queue| Load::start(2, &ledger, &[node.address()], queue, BETWEEN_PUSHES));
    until("the locks are noticed", SOON, || {
        LOCKED.iter().all(|queue| node.errors().contains(&format!("[{queue}] its table is locked")))
    });
    let push = |_| ledger.push(node.address(), "free");
    until("a push to the other queue is stored", SOON, || {
        (0..20).map(push).all(|pushed| pushed.fate == Fate::Acknowledged)
    });
    let began = Instant::now();
    let pushed: Vec<_> = (0..100).map(push).collect();
    let took = began.elapsed();
    assert!(pushed.iter().all(|pushed| pushed.fate == Fate::Acknowledged));
    until("their outcomes are stored", SOON, || stat(&node, "free", "total_successes") >= 120);
    println!("100 pushes beside three locked tables took {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(stat(&node, "a", "total_successes"), 0, "a is not locked");

    other.query_drop("UNLOCK TABLES").unwrap();
    loads.into_iter().for_each(Load::stop);
    until("the others go on", SOON, || {
        LOCKED.iter().all(|queue| stat(&node, queue, "total_successes") >= 4)
    });
    ledger.close(&database, &QUEUES);
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
