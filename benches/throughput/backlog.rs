//! How fast a long backlog is worked off, and whether as fast at its end as at its beginning.

use std::time::Duration;

use mysql::prelude::Queryable;

use super::sink::Sink;
use crate::support::daemon::Options;
use crate::support::mariadb::Database;

/// Jobs a second: of all, of the first tenth, of the last tenth.
pub struct Drained {
    pub per_second: f64,
    pub first_tenth: f64,
    pub last_tenth: f64,
}

/// Puts `jobs` due jobs into the table before the daemon starts. The database has a queue called
/// `default`.
pub fn measure(database: &Database, jobs: usize) -> Drained {
    let sink = Sink::start();
    let insert = format!(
        "INSERT INTO `fireworq_jq(default)` (next_try, status, created_at, category, url, payload, \
         timeout) SELECT 1, 'claimed', 1, 'bench', 'http://{}/', \
         CONCAT('{{\"number\":', seq - 1, ',\"sent\":0}}'), 0 FROM seq_1_to_{jobs}",
        sink.address()
    );
    database.conn().query_drop(insert).unwrap();
    let _daemon = Options::on(&database.dsn()).flag("queue-default", "default").start();
    sink.expect_each_once(jobs, Duration::from_secs(300));
    let arrivals = sink.arrivals();
    let rate = |from: usize, to: usize| {
        (to - from) as f64 / arrivals[to - 1].duration_since(arrivals[from]).as_secs_f64()
    };
    Drained {
        per_second: rate(0, jobs),
        first_tenth: rate(0, jobs / 10),
        last_tenth: rate(jobs - jobs / 10, jobs),
    }
}
