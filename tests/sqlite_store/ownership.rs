//! One process at a time has the file.

use std::time::Duration;

use crossbeam_channel::Receiver;
use fireworq::queue_definition::{QueueDefaults, QueueDefinition, QueueRequest};
use fireworq::store::sqlite::SqliteStore;
use fireworq::store::{Campaign, Definitions, Inspection, Jobs, Store, StoreError};
use fireworq::wake::Wake;

use crate::support::wait::{SOON, eventually, until};
use crate::support::worker::Worker;

use super::tools::{assert_refused, deferred, on, push, push_when_possible};

fn campaign(store: &SqliteStore) -> (Box<dyn Campaign>, Receiver<()>) {
    let (wake, woken) = Wake::channel();
    (store.campaign(&"q".into(), wake), woken)
}

#[test]
fn a_backup_is_granted_nothing_until_it_has_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let first = SqliteStore::open(&path).unwrap();
    let defaults = QueueDefaults { polling_interval_ms: 200, max_workers: 20 };
    let queue = QueueDefinition::new("q", QueueRequest::default(), defaults).unwrap();
    first.put_queue(&queue).unwrap();
    let (leader, _woken) = campaign(&first);
    assert!(leader.lease().is_some());

    let backup = SqliteStore::open(&path).unwrap();
    let (candidate, woken) = campaign(&backup);
    let reason = format!("is in use by another process ({})", std::process::id());
    for answer in [
        backup.revision().map(drop),
        backup.put_queue(&queue).map(drop),
        backup.holder("q").map(drop),
        backup.job("q", 1).map(drop),
        backup.settle(&[]).map(drop),
    ] {
        let Err(StoreError::Standby(text)) = answer else { panic!("{answer:?}") };
        assert!(text.contains(&reason) && text.contains("stands by"), "{text}");
    }
    assert!(backup.describe().contains(&reason), "{}", backup.describe());
    // Long enough for some looks at the lock.
    assert!(woken.recv_timeout(Duration::from_millis(300)).is_err(), "a backup was woken");
    assert!(candidate.lease().is_none());

    drop(leader);
    first.close();
    woken.recv_timeout(SOON).expect("to be woken");
    assert!(candidate.lease().expect("a lease").is_held());
    assert_eq!(backup.definitions().unwrap().queues, [queue]);
    drop(candidate);
    backup.close();
    let closed = backup.revision();
    assert!(matches!(closed, Err(StoreError::Unavailable(_))), "{closed:?}");
}

#[test]
fn a_second_daemon_takes_over_however_the_first_ends() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data/jobs.db");
    let worker = Worker::successful();
    let mut first = on(&path).start();
    for round in 0..4 {
        let second = on(&path).start();
        push_when_possible(&first, &format!("later {round}"));
        let in_use = format!("is in use by another process ({})", first.pid());
        assert_refused(&push(&second, "refused"), 503, &in_use);
        if round % 2 == 0 {
            first.kill9();
        } else {
            assert_eq!(first.stop(), 0);
        }
        push_when_possible(&second, &format!("taken over {round}"));
        let body = format!(r#"{{"url": "{}"}}"#, worker.url("/"));
        let answer = crate::support::http::post(second.address(), "/job/c", body);
        assert_eq!(answer.status, 200);
        worker.wait_for(round + 1, SOON);
        first = second;
    }
    let mut expected: Vec<String> = (0..4)
        .flat_map(|round| [format!("later {round}"), format!("taken over {round}")])
        .collect();
    expected.sort();
    assert_eq!(deferred(&first), expected);
}

#[test]
fn a_removed_lock_ends_the_right_to_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let mut first = on(&path).start();
    push_when_possible(&first, "kept");
    std::fs::remove_file(directory.path().join("jobs.db-lock")).unwrap();
    let second = on(&path).start();
    push_when_possible(&second, "by the second");
    // Removed or, by now, replaced.
    assert_refused(&push(&first, "refused"), 503, "jobs.db-lock was re");
    until("the first says so", SOON, || first.errors().contains("jobs.db-lock was re"));
    assert_eq!(first.stop(), 0);
    let payloads = eventually("the second has all", SOON, || Some(deferred(&second)));
    assert_eq!(payloads, ["by the second", "kept"]);
}
