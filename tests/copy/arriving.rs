//! What arrives beside the rows: the ids that are next, what deleted queues have left.

use fireworq::copy::{self, CopyError};
use mysql::prelude::Queryable;

use super::support::daemon::Options;
use super::support::mariadb;
use super::support::wait::{SOON, eventually};
use super::{must_copy, mysql, open, place_of_file, push, push_more, sqlite, support};

#[test]
fn no_id_is_given_a_second_time() {
    let folder = tempfile::tempdir().unwrap();
    let database = mariadb::shared().create_database();
    let (first, last) = (folder.path().join("first.db"), folder.path().join("last.db"));
    let store = open(&sqlite(&first));
    for (queue, left) in [("some", 10), ("none", 0)] {
        assert_eq!(push(&*store, queue, 100).last(), Some(&100));
        for id in left + 1..=100 {
            assert!(store.delete_job(queue, id).unwrap().is_some());
        }
    }
    store.close();
    // The ids of failures, as if 40 had been deleted.
    let connection = rusqlite::Connection::open(&first).unwrap();
    let given = "INSERT INTO sqlite_sequence (name, seq) VALUES ('fireworq_jq_fail(some)', 40)";
    connection.execute(given, ()).unwrap();
    drop(connection);
    let dsn = format!("mysql:{}", database.dsn());
    must_copy(&place_of_file(&first), &dsn);
    must_copy(&dsn, &place_of_file(&last));
    for target in [mysql(&database.dsn()), sqlite(&last)] {
        let store = open(&target);
        for queue in ["some", "none"] {
            assert_eq!(push_more(&*store, queue, 1), [101], "{}", store.describe());
        }
        let ids = store.transfer().unwrap().last_ids("some").unwrap();
        assert_eq!((ids.job, ids.failure), (101, 40), "{}", store.describe());
        store.close();
    }
}

#[test]
fn the_rights_of_a_daemon_are_enough_and_a_restart_forgets_no_id() {
    let folder = tempfile::tempdir().unwrap();
    let server = mariadb::MariaDb::start();
    let database = server.create_database();
    let name = &database.name;
    let rights = "SELECT, INSERT, UPDATE, DELETE, CREATE";
    let mut root = server.conn();
    root.query_drop("CREATE USER 'copier'@'%' IDENTIFIED BY 'p'").unwrap();
    root.query_drop(format!("GRANT {rights} ON {name}.* TO 'copier'@'%'")).unwrap();
    let path = folder.path().join("from.db");
    let store = open(&sqlite(&path));
    push(&*store, "q", 100);
    (1..=100).for_each(|id| assert!(store.delete_job("q", id).unwrap().is_some()));
    store.close();
    let dsn = format!("mysql:copier:p@tcp(127.0.0.1:{})/{name}", server.port());
    must_copy(&place_of_file(&path), &dsn);
    server.kill9();
    server.restart();
    let store = open(&mysql(&database.dsn()));
    assert_eq!(push_more(&*store, "q", 1), [101]);
    store.close();
}

#[test]
fn a_target_whose_jobs_are_all_done_is_not_filled_again() {
    let folder = tempfile::tempdir().unwrap();
    let database = mariadb::shared().create_database();
    let (from, to) = (folder.path().join("from.db"), folder.path().join("to.db"));
    let store = open(&sqlite(&from));
    push(&*store, "q", 3);
    store.close();
    for (target, place) in [
        (sqlite(&to), place_of_file(&to)),
        (mysql(&database.dsn()), format!("mysql:{}", database.dsn())),
    ] {
        must_copy(&place_of_file(&from), &place);
        let store = open(&target);
        (1..=3).for_each(|id| assert!(store.delete_job("q", id).unwrap().is_some()));
        store.close();
        let (code, said) = super::run_copy(&place_of_file(&from), &place);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("it has been used"), "{said}");
    }
}

#[test]
fn ids_that_the_target_has_given_are_not_taken_again() {
    let folder = tempfile::tempdir().unwrap();
    let database = mariadb::shared().create_database();
    let (from, to) = (folder.path().join("from.db"), folder.path().join("to.db"));
    let source = open(&sqlite(&from));
    push(&*source, "q", 0);
    for target in [sqlite(&to), mysql(&database.dsn())] {
        let store = open(&target);
        copy::copy(&*source, &*store, &mut |_| ()).unwrap();
        for id in push_more(&*store, "q", 90) {
            assert!(store.delete_job("q", id).unwrap().is_some());
        }
        push_more(&*source, "q", 40);
        let again = copy::copy(&*source, &*store, &mut |_| ());
        assert!(matches!(again, Err(CopyError::Differs(_))), "{again:?}");
        store.close();
    }
}

#[test]
fn what_the_start_line_advises_keeps_the_default_queue() {
    let mut daemon = Options::new().start();
    let said = daemon.errors();
    assert!(said.contains("--mysql-dsn DSN --queue-default default\n"), "{said}");
    assert_eq!(daemon.stop(), 0);
    let database = mariadb::shared().create_database();
    let from = place_of_file(&daemon.file("fireworq.db"));
    must_copy(&from, &format!("mysql:{}", database.dsn()));
    let daemon = Options::on(&database.dsn()).flag("queue-default", "default").start();
    let job = br#"{"url":"http://127.0.0.1:1/"}"#;
    let pushed = eventually("the queue is there", SOON, || {
        let answer = support::http::request(daemon.address(), "POST", "/job/any", &[], job);
        (answer.status != 503).then_some(answer)
    });
    assert_eq!(pushed.status, 200, "{}", pushed.text());
}

#[test]
fn what_deleted_queues_have_left_arrives() {
    let folder = tempfile::tempdir().unwrap();
    let database = mariadb::shared().create_database();
    let (first, last) = (folder.path().join("first.db"), folder.path().join("last.db"));
    let store = open(&sqlite(&first));
    push(&*store, "kept", 1);
    push(&*store, "gone-1", 7);
    store.delete_queue("gone-1").unwrap();
    store.close();
    let dsn = format!("mysql:{}", database.dsn());
    must_copy(&place_of_file(&first), &dsn);
    must_copy(&dsn, &place_of_file(&last));
    for target in [mysql(&database.dsn()), sqlite(&last)] {
        let store = open(&target);
        assert_eq!(store.definitions().unwrap().queues.len(), 1);
        let jobs = store.transfer().unwrap().jobs_after("gone-1", 0, 100).unwrap();
        assert_eq!(jobs.len(), 7, "{}", store.describe());
        store.close();
    }
}

#[test]
fn a_time_beyond_all_arrives_as_the_latest() {
    let folder = tempfile::tempdir().unwrap();
    let database = mariadb::shared().create_database();
    let store = open(&mysql(&database.dsn()));
    push(&*store, "q", 2);
    store.close();
    let late = "UPDATE `fireworq_jq(q)` SET next_try = 18446744073709551615 WHERE job_id = 2";
    database.conn().query_drop(late).unwrap();
    let to = place_of_file(&folder.path().join("to.db"));
    must_copy(&format!("mysql:{}", database.dsn()), &to);
    must_copy(&format!("mysql:{}", database.dsn()), &to);
}

#[test]
fn a_node_without_queues_takes_over_when_all_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let database = mariadb::shared().create_database();
    let path = folder.path().join("from.db");
    let store = open(&sqlite(&path));
    push(&*store, "q", 20);
    store.close();
    let daemon = Options::on(&database.dsn()).start();
    must_copy(&place_of_file(&path), &format!("mysql:{}", database.dsn()));
    eventually("all jobs have run", SOON, || {
        let stats = support::http::get(daemon.address(), "/queue/q/stats");
        (stats.status == 200 && stats.json()["total_permanent_failures"] == 20).then_some(())
    });
}
