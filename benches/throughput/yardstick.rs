//! What the database alone does on this machine in this hour: single rows inserted into a table of
//! jobs by 32 connections of MariaDB's own load generator, each row its own durable commit.

use std::process::Command;
use std::time::Instant;

use mysql::prelude::Queryable;

use super::load::percentile;
use crate::support::mariadb::{Database, MariaDb};

const CONNECTIONS: usize = 32;
const ROWS: usize = 60_000;
const ROUNDS: usize = 3;

/// Rows a second, the median of some rounds. The database has a queue called `default`.
pub fn measure(server: &MariaDb, database: &Database) -> f64 {
    let insert = "INSERT INTO yardstick (next_try, status, created_at, retry_count, retry_delay, \
                  fail_count, category, url, payload, timeout) VALUES (1764000000000, 'claimed', \
                  1764000000000, 0, 0, 0, 'bench', 'http://127.0.0.1:3999/', \
                  '{\"number\":123456,\"sent\":1764000000000000000}', 0)";
    let mut session = database.conn();
    session.query_drop("CREATE TABLE yardstick LIKE `fireworq_jq(default)`").unwrap();
    let rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            session.query_drop("TRUNCATE TABLE yardstick").unwrap();
            let start = Instant::now();
            let output = Command::new("mariadb-slap")
                .args(["--no-defaults", "--host=127.0.0.1", "--protocol=tcp", "--user=root"])
                .args(["--no-drop".to_owned(), format!("--port={}", server.port())])
                .args([format!("--create-schema={}", database.name)])
                .args([format!("--concurrency={CONNECTIONS}")])
                .args([format!("--number-of-queries={ROWS}"), format!("--query={insert}")])
                .output()
                .expect("mariadb-slap, which comes with MariaDB's client");
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "mariadb-slap: {text}");
            ROWS as f64 / start.elapsed().as_secs_f64()
        })
        .collect();
    session.query_drop("DROP TABLE yardstick").unwrap();
    percentile(&rounds, 0.5)
}
