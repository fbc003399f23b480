//! A queue's tables as they lie in its store, read beside the daemon.

use std::path::PathBuf;

use mysql::prelude::Queryable;

use super::mariadb::Database;
use super::wait::SOON;

/// The tables of the queues of a store.
pub trait Tables {
    /// How many jobs a queue has, whatever their state.
    fn count(&self, queue: &str) -> u64;

    /// The payloads of the jobs that are grabbed.
    fn grabbed(&self, queue: &str) -> Vec<String>;

    /// The payloads in the failure log.
    fn failed(&self, queue: &str) -> Vec<String>;
}

/// The part of a queue's table names that stands for it.
pub fn table(queue: &str) -> String {
    fireworq::queue_definition::table_suffix(queue)
}

impl Tables for Database {
    fn count(&self, queue: &str) -> u64 {
        let statement = format!("SELECT COUNT(*) FROM `fireworq_jq({})`", table(queue));
        self.conn().query_first(statement).unwrap().unwrap()
    }

    fn grabbed(&self, queue: &str) -> Vec<String> {
        let table = table(queue);
        let statement =
            format!("SELECT payload FROM `fireworq_jq({table})` WHERE status = 'grabbed'");
        self.conn().query(statement).unwrap()
    }

    fn failed(&self, queue: &str) -> Vec<String> {
        let statement = format!("SELECT payload FROM `fireworq_jq_fail({})`", table(queue));
        self.conn().query(statement).unwrap()
    }
}

/// The file of an embedded store.
pub struct SqliteFile(pub PathBuf);

impl SqliteFile {
    /// The rows of a statement of one column; none where there are no such tables yet.
    fn rows<T: rusqlite::types::FromSql>(&self, statement: &str) -> Vec<T> {
        let connection = rusqlite::Connection::open(&self.0).unwrap();
        connection.busy_timeout(SOON).unwrap();
        let Ok(mut statement) = connection.prepare(statement) else { return Vec::new() };
        statement.query_map((), |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    fn texts(&self, statement: &str) -> Vec<String> {
        let payloads: Vec<Vec<u8>> = self.rows(statement);
        payloads.into_iter().map(|payload| String::from_utf8(payload).unwrap()).collect()
    }
}

impl Tables for SqliteFile {
    fn count(&self, queue: &str) -> u64 {
        let statement = format!("SELECT COUNT(*) FROM `fireworq_jq({})`", table(queue));
        self.rows::<i64>(&statement).first().map_or(0, |count| count.unsigned_abs())
    }

    fn grabbed(&self, queue: &str) -> Vec<String> {
        let table = table(queue);
        self.texts(&format!("SELECT payload FROM `fireworq_jq({table})` WHERE status = 1"))
    }

    fn failed(&self, queue: &str) -> Vec<String> {
        self.texts(&format!("SELECT payload FROM `fireworq_jq_fail({})`", table(queue)))
    }
}
