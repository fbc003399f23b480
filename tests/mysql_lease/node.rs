//! Nodes that stand for leases, and a queue whose rows can be looked at.

use std::sync::Arc;
use std::time::Duration;

use fireworq::job::JobId;
use fireworq::store::mysql::connector::Connector;
use fireworq::store::mysql::dsn::Dsn;
use fireworq::store::mysql::lease::Elector;
use fireworq::store::mysql::pool::Pool;
use fireworq::store::{Campaign, Lease};
use fireworq::wake::Wake;
use mysql::Conn;
use mysql::prelude::Queryable;

use crate::support::mariadb::{Database, MariaDb};
use crate::support::wait::{SOON, eventually, until};

/// Long enough that no test lives to see it run out.
pub const LONG: Duration = Duration::from_secs(60);
/// Short enough to wait for.
pub const SHORT: Duration = Duration::from_secs(3);

/// What a node has of a store.
pub struct Node {
    pub elector: Elector,
}

impl Node {
    pub fn start(dsn: &str, lease_time: Duration) -> Node {
        Node::with_ways(dsn, dsn, lease_time)
    }

    /// A node whose locks and whose rows take different ways to the server.
    pub fn with_ways(lock_dsn: &str, row_dsn: &str, lease_time: Duration) -> Node {
        let pool = Arc::new(Pool::new(connector(row_dsn, lease_time), 4));
        let connector = connector(lock_dsn, lease_time);
        let elector = Elector::start(connector, pool, false, lease_time).unwrap();
        Node { elector }
    }

    /// A node that names locks as the original does.
    pub fn beside_the_original(dsn: &str) -> Node {
        let connector = connector(dsn, LONG);
        let pool = Arc::new(Pool::new(Arc::clone(&connector), 1));
        Node { elector: Elector::start(connector, pool, true, LONG).unwrap() }
    }

    pub fn campaign(&self, queue: &str) -> Box<dyn Campaign> {
        self.elector.campaign(&queue.into(), Wake::channel().0)
    }
}

pub fn connector(dsn: &str, lease_time: Duration) -> Arc<Connector> {
    Arc::new(Connector::new(&Dsn::parse(dsn).unwrap(), lease_time, None).unwrap())
}

pub fn granted(campaign: &dyn Campaign) -> Arc<dyn Lease> {
    eventually("the lease is granted", SOON, || campaign.lease())
}

/// A database with the tables of queue `q`, in which jobs can be put.
pub fn database_with_queue(server: &MariaDb) -> (Database, Conn) {
    let database = server.create_database();
    let mut conn = database.conn();
    conn.query_drop(
        "CREATE TABLE `fireworq_jq(q)` (
            job_id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
            next_try BIGINT UNSIGNED NOT NULL,
            grabber_id BIGINT UNSIGNED,
            status ENUM('claimed', 'grabbed') NOT NULL DEFAULT 'claimed',
            created_at BIGINT UNSIGNED NOT NULL,
            retry_count INT UNSIGNED NOT NULL DEFAULT 0,
            retry_delay INT UNSIGNED NOT NULL DEFAULT 0,
            fail_count INT UNSIGNED NOT NULL DEFAULT 0,
            category VARCHAR(255) NOT NULL,
            url BLOB, payload MEDIUMBLOB, timeout INT UNSIGNED,
            KEY `grab` (status, next_try)
        ) ENGINE=InnoDB DEFAULT CHARSET=binary",
    )
    .unwrap();
    (database, conn)
}

/// Puts in a job that is due at `next_try`, with nothing in the columns that may hold nothing.
pub fn put_job(conn: &mut Conn, next_try: u64) -> JobId {
    let statement =
        "INSERT INTO `fireworq_jq(q)` (next_try, created_at, category) VALUES (?, 7, 'c')";
    conn.exec_drop(statement, (next_try,)).unwrap();
    conn.last_insert_id()
}

pub fn mark(conn: &mut Conn, id: JobId, grabber_id: Option<u64>) {
    conn.exec_drop(
        "UPDATE `fireworq_jq(q)` SET status = 'grabbed', grabber_id = ? WHERE job_id = ?",
        (grabber_id, id),
    )
    .unwrap();
}

/// The ids of the grabbed rows.
pub fn grabbed(conn: &mut Conn) -> Vec<JobId> {
    let statement = "SELECT job_id FROM `fireworq_jq(q)` WHERE status = 'grabbed' ORDER BY job_id";
    conn.query(statement).unwrap()
}

pub fn lock_of(database: &Database, queue: &str) -> String {
    format!("fireworq:{}:{queue}", database.name)
}

/// The id of the session that holds a queue's lock.
pub fn holder(conn: &mut Conn, database: &Database, queue: &str) -> Option<u32> {
    conn.exec_first("SELECT IS_USED_LOCK(?)", (lock_of(database, queue),)).unwrap().unwrap()
}

/// Waits until a session of the database waits for a lock.
pub fn waits_inside_the_server(conn: &mut Conn, database: &Database) {
    let waiting = "SELECT COUNT(*) FROM information_schema.processlist WHERE db = ? \
                   AND state = 'User lock'";
    until("a session waits inside the server", SOON, || {
        conn.exec_first(waiting, (&database.name,)).unwrap() == Some(1)
    });
}
