//! A time of day that jumps: an hour ahead, an hour back. What counts time here does not notice;
//! when a deferred job is due is the database's business.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::daemon::{Daemon, Options};
use crate::support::ledger::{Fate, Ledger};
use crate::support::mariadb;
use crate::support::nodes::{BUSY, LEASE_TIME, define, is_primary, named, wait_until_primary};
use crate::support::tables::{SqliteFile, Tables};
use crate::support::wait::SOON;
use crate::support::worker::Reaction;

const MISSING: &str = "libfaketime is needed for this test and is not installed: \
                       run `make test`, or install the package faketime";
/// Ahead, back beyond the beginning, right again.
const JUMPS: [&str; 4] = ["+3600", "-3600", "+86400", "+0"];
/// How long a job is deferred.
const DEFERRED: Duration = Duration::from_secs(2);

#[test]
fn jumps_of_the_clock_leave_a_node_of_a_database_alone() {
    let database = mariadb::shared().create_database();
    let clock = Clock::new();
    let node = clock.under(named("one", &database.dsn())).start();
    jump(&clock, &node, &database);
}

#[test]
fn jumps_of_the_clock_leave_the_embedded_store_alone() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("jobs.db");
    let clock = Clock::new();
    let options = Options::new().flag("sqlite-path", file.to_str().unwrap());
    let node = clock.under(options).start();
    jump(&clock, &node, &SqliteFile(file));
}

fn jump(clock: &Clock, node: &Daemon, tables: &dyn Tables) {
    define(node, "q", r#"{"polling_interval":50}"#);
    wait_until_primary(node, "q");
    let ledger = Ledger::new(|key| {
        let delay = if key.starts_with("slow") { 500 } else { 0 };
        Reaction::success().after(Duration::from_millis(delay))
    });
    for offset in JUMPS {
        // It may take as long as five seconds, and has half a second's work before it.
        let slow = ledger.push_kind(node.address(), "q", "slow", r#","timeout":5"#);
        ledger.wait_for("the slow job runs", SOON, |job| job.key == slow.key);
        clock.set(offset);
        let fields = format!(r#","run_after":{}"#, DEFERRED.as_secs());
        let began = Instant::now();
        let deferred = ledger.push_kind(node.address(), "q", "deferred", &fields);
        let due = ledger.push(node.address(), "q");
        for pushed in [&slow, &deferred, &due] {
            assert_eq!(pushed.fate, Fate::Acknowledged, "{offset}: {pushed:?}");
        }
        ledger.wait_for("what is due is delivered", SOON, |job| job.key == due.key);
        let came = ledger.wait_for("what was deferred is delivered", SOON, |job| {
            assert!(is_primary(node, "q"), "{offset}: the lease was lost");
            job.key == deferred.key
        });
        let after = came.at.duration_since(began);
        // The server counts in milliseconds.
        let is_right = after + Duration::from_millis(5) >= DEFERRED && after < DEFERRED + BUSY;
        assert!(is_right, "{offset}: delivered after {after:?}");
    }
    std::thread::sleep(LEASE_TIME);
    assert!(is_primary(node, "q"), "the lease was lost");
    // The slow jobs too: once each.
    ledger.close(tables, &["q"]);
}

/// The time of day of a process.
struct Clock {
    directory: tempfile::TempDir,
}

impl Clock {
    fn new() -> Clock {
        let clock = Clock { directory: tempfile::tempdir().unwrap() };
        clock.set("+0");
        clock
    }

    /// A daemon that goes by it. What it uses to count time that passes is left alone, as the
    /// kernel leaves it alone when the clock is set.
    fn under(&self, options: Options) -> Options {
        options
            .variable("LD_PRELOAD", library().to_str().unwrap())
            .variable("FAKETIME_TIMESTAMP_FILE", self.file().to_str().unwrap())
            .variable("FAKETIME_NO_CACHE", "1")
            .variable("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .variable("DONT_FAKE_MONOTONIC", "1")
    }

    /// Sets it, in seconds from the real one.
    fn set(&self, offset: &str) {
        let new = self.directory.path().join("new");
        std::fs::write(&new, format!("{offset}\n")).unwrap();
        std::fs::rename(&new, self.file()).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("offset")
    }
}

/// The library that stands between a process and its clock, wherever a distribution puts it.
fn library() -> PathBuf {
    let machine = std::env::consts::ARCH;
    let folders = [
        format!("/usr/lib/{machine}-linux-gnu/faketime"),
        "/usr/lib64/faketime".to_owned(),
        "/usr/lib/faketime".to_owned(),
    ];
    let files = folders.iter().map(|folder| Path::new(folder).join("libfaketimeMT.so.1"));
    files.into_iter().find(|file| file.exists()).expect(MISSING)
}
