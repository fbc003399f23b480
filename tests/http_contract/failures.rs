//! The failure log as those who clear it up use it: filters, retries, one or many.

use serde_json::{Value, json};

use crate::contract::routes::assert_plain_error;
use crate::node::{Queue, ids};
use crate::stores::{Store, on_every_store};
use crate::support::http::{self, Answer};
use crate::support::wait::{SOON, eventually, until};
use crate::support::worker::{Reaction, Worker};
use crate::workers::{count, failure};

on_every_store! {
    failures_are_filtered
    filtered_pages_hold_each_failure_once
    a_filter_that_means_nothing_is_refused
    a_failure_is_retried
    a_failure_is_retried_with_changes
    a_retry_that_cannot_be_leaves_the_failure
    a_retry_is_a_push
    all_failures_are_retried_step_by_step
    what_fails_again_is_met_no_more
    failures_are_retried_and_deleted_by_a_filter
    two_callers_retry_each_failure_once
    a_change_of_many_is_read_strictly
    the_failure_log_is_kept_short
}

/// Pushes jobs that fail, their payloads numbered from `from`, and waits until they have.
fn fail(queue: &Queue<'_>, worker: &Worker, numbers: std::ops::Range<usize>) {
    let total = queue.failed("").len() + numbers.len();
    let jobs: Vec<Value> =
        numbers.map(|number| json!({"url": worker.url("/"), "payload": number})).collect();
    queue.push_burst(&jobs);
    eventually("the jobs have failed", SOON, || {
        (queue.failed("?limit=1000").len() == total).then_some(())
    });
}

/// A worker that fails with the message `odd` or `Even`, by the number in the payload.
fn failing() -> Worker {
    Worker::start(|received| {
        let is_odd = received.text().parse::<usize>().is_ok_and(|number| number % 2 == 1);
        let message = if is_odd { "this is odd" } else { "this is Even\u{fc}" };
        let body = json!({"status": "failure", "message": message}).to_string();
        Reaction::answer(200, &[], body)
    })
}

impl Queue<'_> {
    /// A page of the failure log.
    #[track_caller]
    fn failed(&self, parameters: &str) -> Vec<Value> {
        let answer = self.get(&format!("/failed{parameters}"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["failed_jobs"].as_array().unwrap().clone()
    }

    /// A request about the failure log.
    #[track_caller]
    fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        let path = format!("/queue/{}/failed{path}", self.name);
        http::request(self.address(), method, &path, &[], body)
    }

    /// What a change of many failures did: how many it changed, and the cursor.
    #[track_caller]
    fn change(&self, method: &str, path: &str) -> (u64, String) {
        let answer = self.ask(method, path, "");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer = answer.json();
        let cursor = answer["next_cursor"].as_str().unwrap().replace('=', "%3D");
        (answer["count"].as_u64().unwrap(), cursor)
    }
}

fn payloads(rows: &[Value]) -> Vec<u64> {
    rows.iter().map(|row| row["payload"].as_u64().unwrap()).collect()
}

fn failures_are_filtered(store: Store) {
    let queue = store.shared().queue(&json!({"max_workers": 1}));
    let worker = failing();
    fail(&queue, &worker, 0..6);
    let all = queue.failed("");
    let middle = all[2]["failed_at"].as_str().unwrap().replace('+', "%2B");
    let is_before = |row: &&Value| {
        let time = |row: &Value| row["failed_at"].as_str().unwrap().to_owned();
        time(row) < time(&all[2])
    };
    let earlier = payloads(&all.iter().filter(is_before).cloned().collect::<Vec<_>>());
    let later = payloads(&all.iter().filter(|row| !is_before(row)).cloned().collect::<Vec<_>>());
    let ms = all[2]["failed_at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let ms = ms.as_millisecond();
    let everything = payloads(&all);
    let of_rest = |rest: u64| {
        everything.iter().copied().filter(|number| number % 2 == rest).collect::<Vec<_>>()
    };
    for (parameters, expected) in [
        (String::new(), everything.clone()),
        (format!("category={}", queue.name), everything.clone()),
        ("category=other".into(), Vec::new()),
        ("message=ODD".into(), of_rest(1)),
        ("message=even%C3%BC".into(), of_rest(0)),
        ("message=this+is".into(), everything.clone()),
        ("message=status".into(), Vec::new()),
        ("message=&category=&since=&until=".into(), everything.clone()),
        (format!("since={middle}"), later.clone()),
        (format!("until={middle}"), earlier.clone()),
        (format!("since={ms}"), later),
        (format!("until={ms}"), earlier),
        ("until=0".into(), Vec::new()),
        ("since=2000-01-01T00:00:00%2B09:00&message=odd".into(), of_rest(1)),
    ] {
        assert_eq!(payloads(&queue.failed(&format!("?{parameters}"))), expected, "{parameters}");
        let created = queue.failed(&format!("?order=created&{parameters}"));
        assert_eq!(created.len(), expected.len(), "{parameters}");
    }
}

fn filtered_pages_hold_each_failure_once(store: Store) {
    let queue = store.shared().queue(&json!({}));
    let worker = failing();
    fail(&queue, &worker, 0..25);
    let expected = ids(&queue.failed("?message=odd"));
    assert_eq!(expected.len(), 12);
    for limit in [1, 5, 12, 13] {
        let (mut found, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let page = queue.get(&format!("/failed?message=odd&limit={limit}&cursor={cursor}"));
            let page = page.json();
            found.extend(ids(page["failed_jobs"].as_array().unwrap()));
            cursor = page["next_cursor"].as_str().unwrap().replace('=', "%3D");
            pages += 1;
            if cursor.is_empty() {
                break;
            }
        }
        assert_eq!((&found, pages), (&expected, 12_usize.div_ceil(limit)), "by {limit}");
    }
}

fn a_filter_that_means_nothing_is_refused(store: Store) {
    let queue = store.shared().queue(&json!({}));
    for parameters in ["since=x", "until=-1", "since=2026-01-01", "until=1e3"] {
        for (method, path) in [("GET", ""), ("DELETE", ""), ("POST", "/retry")] {
            let answer = queue.ask(method, &format!("{path}?{parameters}"), "");
            assert_plain_error(&answer, 400);
        }
    }
    // A filter in the body would be one that nobody sees.
    for body in [r#"{"category":"c"}"#, "category=c", "{}", "null"] {
        for (method, path) in [("DELETE", ""), ("POST", "/retry")] {
            assert_plain_error(&queue.ask(method, path, body), 400);
        }
    }
}

fn a_failure_is_retried(store: Store) {
    let queue = store.shared().queue(&json!({}));
    let fails = std::sync::atomic::AtomicBool::new(true);
    let worker = Worker::start(move |_| {
        if fails.swap(false, std::sync::atomic::Ordering::SeqCst) {
            failure()
        } else {
            Reaction::success()
        }
    });
    let url = worker.url("/");
    let first = queue.push_text(&format!(r#"{{"url":"{url}","payload":{{"a": 1.0}}}}"#));
    let failed = queue.failures(1).remove(0);
    let answer = queue.ask("POST", &format!("/{}/retry", failed["id"]), "");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let id = answer.json()["id"].as_u64().unwrap();
    assert!(id > first);
    let name = &queue.name;
    assert_eq!(
        answer.text(),
        format!(
            r#"{{"id":{id},"queue_name":"{name}","category":"{name}","url":"{url}","payload":{{"a": 1.0}},"run_after":0,"timeout":0,"retry_delay":0,"max_retries":0}}"#
        )
    );
    queue.wait_for_stat("total_successes", 1);
    let received = worker.received();
    assert_eq!(received.len(), 2);
    assert_eq!(received[1].text(), r#"{"a": 1.0}"#);
    assert_eq!(received[1].header("Fireworq-Attempt"), Some("1"));
    assert_eq!(queue.failed(""), [] as [Value; 0]);
    let again = queue.ask("POST", &format!("/{}/retry", failed["id"]), "");
    assert_plain_error(&again, 404);
}

fn a_failure_is_retried_with_changes(store: Store) {
    let queue = store.shared().queue(&json!({}));
    let worker = Worker::start(|_| failure());
    queue.push(&json!({"url": worker.url("/"), "payload": 1}));
    let failed = queue.failures(1).remove(0);
    let changes = r#"{"URL":"http://127.0.0.1:1/x","payload":"text\n","run_after":3600,
        "timeout":1,"retry_delay":2,"max_retries":3,"other":4}"#;
    let answer = queue.ask("POST", &format!("/{}/retry", failed["id"]), changes);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let expected = json!({
        "id": answer.json()["id"], "queue_name": queue.name, "category": queue.name,
        "url": "http://127.0.0.1:1/x", "payload": "text\n", "run_after": 3600, "timeout": 1,
        "retry_delay": 2, "max_retries": 3,
    });
    assert_eq!(answer.json(), expected);
    let job = &queue.jobs("deferred")[0];
    assert_eq!((&job["id"], &job["payload"]), (&expected["id"], &json!("text\n")));
    assert_eq!((&job["url"], &job["max_retries"]), (&expected["url"], &json!(3)));
    assert_eq!(queue.failed(""), [] as [Value; 0]);
}

fn a_retry_that_cannot_be_leaves_the_failure(store: Store) {
    let queue = store.shared().queue(&json!({}));
    let worker = Worker::start(|_| failure());
    queue.push(&json!({ "url": worker.url("/") }));
    let id = queue.failures(1)[0]["id"].clone();
    for body in [
        "x",
        "[]",
        r#"{"url":""}"#,
        r#"{"url":"file:///etc/passwd"}"#,
        r#"{"timeout":-1}"#,
        r#"{"max_retries":4294967296}"#,
        r#"{"run_after":18446744073709551615}"#,
        "{} {}",
    ] {
        assert_plain_error(&queue.ask("POST", &format!("/{id}/retry"), body), 400);
    }
    assert_plain_error(&queue.ask("POST", "/x/retry", ""), 400);
    assert_plain_error(&queue.ask("POST", "/999999/retry", ""), 404);
    assert_eq!(ids(&queue.failures(1)), [id.as_u64().unwrap()]);
    assert_eq!(count(&worker), 1);
}

fn a_retry_is_a_push(store: Store) {
    let node = store.node(&[]);
    let queue = node.queue(&json!({}));
    let worker = Worker::start(|_| failure());
    queue.push_burst(&vec![json!({ "url": worker.url("/") }); 3]);
    let failures = queue.failures(3);
    let retried = queue.ask("POST", &format!("/{}/retry", failures[0]["id"]), "{}").json();
    assert_eq!(queue.stat("total_pushes"), 4);
    let (count, _) = queue.change("POST", "/retry?limit=2");
    assert_eq!(count, 2);
    assert_eq!(queue.stat("total_pushes"), 6);
    queue.wait_for_stat("total_permanent_failures", 6);
    until("each is in the queue log", SOON, || {
        let lines = node.queue_log();
        let is_push = |line: &&str| line.contains(r#""action":"push""#);
        let pushed = |id: &Value| lines.lines().any(|line| line.contains(&format!("\"id\":{id},")));
        lines.lines().filter(is_push).count() == 6 && pushed(&retried["id"])
    });
}

fn all_failures_are_retried_step_by_step(store: Store) {
    let queue = store.shared().queue(&json!({"max_workers": 1}));
    let worker = Worker::start(|_| failure());
    fail(&queue, &worker, 0..10);
    let (mut cursor, mut counts) = (String::new(), Vec::new());
    loop {
        let (count, next) = queue.change("POST", &format!("/retry?limit=4&cursor={cursor}"));
        counts.push(count);
        cursor = next;
        if cursor.is_empty() {
            break;
        }
    }
    assert_eq!(counts, [4, 4, 2]);
    until("each has been tried twice", SOON, || count(&worker) == 20);
    eventually("each has failed twice", SOON, || (queue.failed("").len() == 10).then_some(()));
}

fn what_fails_again_is_met_no_more(store: Store) {
    let queue = store.shared().queue(&json!({}));
    let worker = Worker::start(|_| failure());
    fail(&queue, &worker, 0..6);
    let before = ids(&queue.failed(""));
    let (count, cursor) = queue.change("POST", "/retry?limit=3");
    assert_eq!(count, 3);
    eventually("they have failed again", SOON, || (queue.failed("").len() == 6).then_some(()));
    let (count, cursor) = queue.change("POST", &format!("/retry?cursor={cursor}"));
    assert_eq!((count, cursor.as_str()), (3, ""));
    eventually("so have the others", SOON, || (queue.failed("").len() == 6).then_some(()));
    assert!(ids(&queue.failed("")).iter().all(|id| *id > before[0]));
}

fn failures_are_retried_and_deleted_by_a_filter(store: Store) {
    let queue = store.shared().queue(&json!({}));
    let worker = failing();
    fail(&queue, &worker, 0..10);
    assert_eq!(queue.change("DELETE", "?message=odd&limit=3").0, 3);
    assert_eq!(queue.change("DELETE", "?message=odd"), (2, String::new()));
    assert_eq!(queue.change("DELETE", "?message=odd"), (0, String::new()));
    assert_eq!(queue.change("POST", "/retry?category=other"), (0, String::new()));
    let rest = queue.failed("");
    assert_eq!(rest.len(), 5);
    assert!(payloads(&rest).iter().all(|number| number % 2 == 0), "{rest:?}");
    let path = format!("/retry?message=even&category={}", queue.name);
    assert_eq!(queue.change("POST", &path), (5, String::new()));
    until("they are tried again", SOON, || count(&worker) == 15);
}

fn two_callers_retry_each_failure_once(store: Store) {
    let queue = store.shared().queue(&json!({}));
    let held = crate::workers::Held::start(|_| failure());
    let worker = Worker::start(|_| failure());
    let jobs = vec![json!({ "url": worker.url("/") }); 120];
    queue.push_burst(&jobs);
    eventually("all have failed", SOON, || (queue.failed("?limit=200").len() == 120).then_some(()));
    // What is retried does not come back meanwhile.
    let definition = json!({"max_workers": 1}).to_string();
    store.shared().put(&format!("/queue/{}", queue.name), definition);
    queue.push(&json!({ "url": held.url("/") }));
    crate::workers::wait_for(&held, 1);
    let retry = || queue.change("POST", "/retry").0;
    let total: u64 = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..4).map(|_| scope.spawn(retry)).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).sum()
    });
    assert_eq!(total, 120);
    assert_eq!(queue.stat("total_pushes"), 241);
    held.let_go();
    eventually("all have failed again", SOON, || {
        (queue.failed("?limit=200").len() == 121).then_some(())
    });
    assert_eq!(count(&worker), 240);
}

fn a_change_of_many_is_read_strictly(store: Store) {
    let queue = store.shared().queue(&json!({}));
    let worker = Worker::start(|_| failure());
    fail(&queue, &worker, 0..2);
    for parameters in [
        "catgory=x",
        "category=",
        "message=",
        "since=",
        "until=",
        "limit=",
        "limit=0",
        "limit=x",
        "limit=10001",
        "limit=%2B1",
        "cursor=x",
        "order=created",
        "category=a&category=b",
        "Category=x",
    ] {
        for (method, path) in [("DELETE", ""), ("POST", "/retry")] {
            let answer = queue.ask(method, &format!("{path}?{parameters}"), "");
            assert_plain_error(&answer, 400);
        }
    }
    assert_eq!((queue.failed("").len(), count(&worker)), (2, 2));
    assert_eq!(queue.change("DELETE", "?cursor=&limit=10000"), (2, String::new()));
}

fn the_failure_log_is_kept_short(store: Store) {
    let node = store.node(&["failure-log-max-count=3"]);
    let queue = node.queue(&json!({"max_workers": 1}));
    let worker = Worker::start(|_| failure());
    let jobs: Vec<Value> =
        (0..10).map(|number| json!({"url": worker.url("/"), "payload": number})).collect();
    queue.push_burst(&jobs);
    until("all have failed", SOON, || count(&worker) == 10);
    let left = eventually("only the latest are left", SOON, || {
        let rows = queue.failed("");
        (queue.stat("total_permanent_failures") == 10 && rows.len() == 3).then_some(rows)
    });
    assert_eq!(payloads(&left), [9, 8, 7]);
}

#[test]
fn old_failures_go() {
    let node = Store::Sqlite.node(&["failure-log-max-age=1"]);
    let queue = node.queue(&json!({}));
    let worker = Worker::start(|_| failure());
    queue.push(&json!({ "url": worker.url("/") }));
    queue.wait_for_stat("total_permanent_failures", 1);
    eventually("the failure is gone", SOON, || queue.failed("").is_empty().then_some(()));
}

#[test]
fn a_missing_queue_is_404() {
    let node = Store::InMemory.shared();
    for (method, path) in [
        ("DELETE", "/queue/missing/failed"),
        ("POST", "/queue/missing/failed/retry"),
        ("POST", "/queue/missing/failed/1/retry"),
    ] {
        assert_plain_error(&node.request(method, path, ""), 404);
    }
}
