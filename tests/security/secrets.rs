//! Passwords: of the database, of a proxy. They are in no log, no answer, no error, and not in
//! what `ps` shows.

use mysql::prelude::Queryable;

use crate::support::daemon::{Daemon, Options};
use crate::support::http;
use crate::support::mariadb;
use crate::support::wait::{SOON, until};
use crate::support::worker::{Reaction, Worker};

/// With all that might confuse whoever looks for its end.
const PASSWORD: &str = "S3cr3t:p@ss/w?rd&x";
/// Pieces that must not be seen either.
const PIECES: [&str; 3] = ["S3cr3t", "p@ss", "w?rd"];

#[test]
fn the_password_of_the_database_is_shown_nowhere() {
    let server = mariadb::shared();
    let database = server.create_database();
    let mut root = server.conn();
    for host in ["127.0.0.1", "localhost"] {
        root.query_drop(format!("CREATE USER 'keeper'@'{host}' IDENTIFIED BY '{PASSWORD}'"))
            .unwrap();
        root.query_drop(format!("GRANT ALL ON {}.* TO 'keeper'@'{host}'", database.name)).unwrap();
    }
    let dsn = database.dsn().replace("root@", &format!("keeper:{PASSWORD}@"));
    // Not as a flag, which everybody on the machine can read: see doc/production.md.
    let node = Options::new()
        .variable("FIREWORQ_MYSQL_DSN", &dsn)
        .flag("error-log-level", "debug")
        .flag("queue-log-level", "debug")
        .flag("queue-default", "default")
        .start();
    let worker = Worker::start(|_| Reaction::success());
    let push = || {
        let body = format!(r#"{{"url":"{}"}}"#, worker.url("/"));
        http::post(node.address(), "/job/c", body)
    };
    until("a push is stored", SOON, || push().status == 200);
    worker.wait_for(1, SOON);
    assert_nowhere(&node, &PIECES);

    // Now it is refused, and said to be wrong.
    for host in ["127.0.0.1", "localhost"] {
        root.query_drop(format!("ALTER USER 'keeper'@'{host}' IDENTIFIED BY 'another'")).unwrap();
    }
    let statement = "SELECT id FROM information_schema.processlist WHERE user = 'keeper'";
    for id in root.query::<u64, _>(statement).unwrap() {
        let _ = root.query_drop(format!("KILL {id}"));
    }
    until("the refusal is told", SOON, || node.errors().contains("Access denied"));
    let refused = push();
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(PIECES.iter().all(|piece| !refused.text().contains(piece)), "{refused:?}");
    assert_nowhere(&node, &PIECES);
}

#[test]
fn the_password_of_a_proxy_is_shown_nowhere() {
    let node = Options::new()
        .flag("driver", "in-memory")
        .flag("error-log-level", "debug")
        .variable("HTTP_PROXY", "http://user:S3cr3t@127.0.0.1:1/")
        .variable("http_proxy", "http://user:S3cr3t@127.0.0.1:1/")
        .start();
    // Loopback is reached without a proxy; this name is not looked up here but there.
    let answer = http::post(node.address(), "/job/c", r#"{"url":"http://worker.invalid/"}"#);
    assert_eq!(answer.status, 200, "{answer:?}");
    until("the job has failed", SOON, || {
        let failed = http::get(node.address(), "/queue/default/failed").json();
        failed["failed_jobs"].as_array().is_some_and(|jobs| jobs.len() == 1)
    });
    assert_nowhere(&node, &["S3cr3t"]);
    let (_, errors) = Options::new()
        .flag("driver", "in-memory")
        .flag("bind", "999.0.0.1:1")
        .variable("HTTP_PROXY", "http://user:S3cr3t@[::/")
        .run_to_its_end();
    assert!(!errors.contains("S3cr3t"), "{errors}");
}

#[test]
fn the_words_of_a_client_are_not_logged() {
    let node = Options::new().flag("driver", "in-memory").start();
    let headers = [("Authorization", "Bearer S3cr3t"), ("Cookie", "session=S3cr3t")];
    http::request(node.address(), "GET", "/version", &headers, "");
    until("the request is logged", SOON, || node.access_log().ends_with('\n'));
    assert_nowhere(&node, &["S3cr3t"]);
}

/// Looks at all that a node shows: its logs, its answers, what `ps` tells of it.
#[track_caller]
fn assert_nowhere(node: &Daemon, secrets: &[&str]) {
    let mut shown = vec![
        ("standard error", node.errors()),
        ("standard output", node.output()),
        ("access log", node.access_log()),
        ("queue log", node.queue_log()),
        ("command line", read(&format!("/proc/{}/cmdline", node.pid()))),
    ];
    for path in [
        "/settings",
        "/queues",
        "/queues/stats",
        "/routings",
        "/queue/default",
        "/queue/default/node",
        "/queue/default/stats",
        "/queue/default/failed",
        "/version",
        "/",
    ] {
        shown.push((path, http::get(node.address(), path).text().to_owned()));
    }
    for thread in std::fs::read_dir(format!("/proc/{}/task", node.pid())).unwrap() {
        shown
            .push(("a thread's name", read(thread.unwrap().path().join("comm").to_str().unwrap())));
    }
    for (place, text) in &shown {
        let found = secrets.iter().find(|secret| text.contains(*secret));
        assert!(found.is_none(), "{place} shows {found:?}:\n{text}");
    }
}

fn read(path: &str) -> String {
    // A thread may have ended by now.
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into()).unwrap_or_default()
}
