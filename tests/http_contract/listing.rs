//! Listings of jobs and failures: order, pages, parameters.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::node::{Queue, ids};
use crate::stores::{Store, on_every_store};
use crate::support::wait::{SOON, until};
use crate::support::worker::Worker;
use crate::workers::{Held, count, failure, wait_for};

on_every_store! {
    every_state_has_its_listing
    jobs_are_in_the_order_of_their_next_try
    a_walk_visits_every_job_once
    a_walk_survives_changes
    a_limit_is_obeyed
    nonsense_falls_back_to_the_default
    failures_have_two_orders
    a_cursor_is_base64_of_time_and_id
    a_retried_job_shows_its_counts
}

/// Jobs that nothing happens to, many of them due in the same millisecond.
fn deferred_burst(queue: &Queue<'_>, count: usize) -> Vec<u64> {
    let jobs: Vec<Value> = (0..count)
        .map(|number| {
            let run_after = 3600 + number % 3;
            json!({"url": "http://127.0.0.1:1/", "run_after": run_after, "payload": number})
        })
        .collect();
    queue.push_burst(&jobs)
}

/// Ids page by page, with the sizes of the pages.
fn walk(queue: &Queue<'_>, listing: &str, list: &str, limit: usize) -> (Vec<u64>, Vec<usize>) {
    let (mut found, mut sizes, mut cursor) = (Vec::new(), Vec::new(), String::new());
    loop {
        let parameters = format!("limit={limit}&cursor={}", cursor.replace('=', "%3D"));
        let page = queue.get(&format!("/{listing}{parameters}")).json();
        let rows = page[list].as_array().unwrap();
        found.extend(ids(rows));
        sizes.push(rows.len());
        page["next_cursor"].as_str().unwrap().clone_into(&mut cursor);
        if cursor.is_empty() {
            return (found, sizes);
        }
        assert!(sizes.len() < 1000, "the walk does not end");
    }
}

fn every_state_has_its_listing(store: Store) {
    let queue = store.shared().queue(&json!({"max_workers": 1}));
    let worker = Held::succeeding();
    for listing in ["grabbed", "waiting", "deferred"] {
        assert_eq!(queue.get(&format!("/{listing}")).text(), r#"{"jobs":[],"next_cursor":""}"#);
    }
    assert_eq!(queue.get("/failed").text(), r#"{"failed_jobs":[],"next_cursor":""}"#);
    let running = queue.push(&json!({ "url": worker.url("/") }));
    wait_for(&worker, 1);
    let due = queue.push_burst(&vec![json!({ "url": worker.url("/") }); 10]);
    let deferred = queue.push(&json!({"url": worker.url("/"), "run_after": 3600}));
    // What is grabbed ahead is little more than the workers can start.
    let grabbed = queue.jobs("grabbed?order=asc");
    assert!(ids(&grabbed).contains(&running), "{grabbed:?}");
    assert!(grabbed.iter().all(|job| job["status"] == "grabbed"), "{grabbed:?}");
    let waiting = queue.jobs("waiting?order=asc");
    assert!(!waiting.is_empty());
    assert!(waiting.iter().all(|job| job["status"] == "claimed"), "{waiting:?}");
    let both: BTreeSet<u64> = ids(&grabbed).into_iter().chain(ids(&waiting)).collect();
    assert_eq!(both, due.into_iter().chain([running]).collect());
    assert_eq!(ids(&queue.jobs("deferred")), [deferred]);
    assert_eq!(queue.jobs("deferred")[0]["status"], "claimed");
    worker.let_go();
    until("the others are done", SOON, || count(&worker) == 11);
    until("only one is left", SOON, || {
        queue.jobs("grabbed").is_empty() && queue.jobs("waiting").is_empty()
    });
}

fn jobs_are_in_the_order_of_their_next_try(store: Store) {
    let queue = store.shared().queue(&json!({}));
    let pushed = deferred_burst(&queue, 30);
    let ascending = queue.jobs("deferred?order=asc");
    let position =
        |job: &Value| (job["next_try"].as_str().unwrap().to_owned(), job["id"].as_u64().unwrap());
    assert!(ascending.is_sorted_by_key(position), "{ascending:?}");
    let mut expected = ids(&ascending);
    let everything: BTreeSet<u64> = expected.iter().copied().collect();
    assert_eq!(everything, pushed.into_iter().collect());
    expected.reverse();
    assert_eq!(ids(&queue.jobs("deferred?order=desc")), expected);
    assert_eq!(ids(&queue.jobs("deferred")), expected);
}

fn a_walk_visits_every_job_once(store: Store) {
    let queue = store.shared().queue(&json!({}));
    deferred_burst(&queue, 60);
    for order in ["asc", "desc"] {
        let listing = format!("deferred?order={order}&");
        let whole = ids(&queue.jobs(&format!("deferred?order={order}")));
        for (limit, sizes) in
            [(7, [[7; 8].as_slice(), &[4]].concat()), (60, vec![60]), (20, vec![20; 3])]
        {
            assert_eq!(walk(&queue, &listing, "jobs", limit), (whole.clone(), sizes));
        }
        assert_eq!(walk(&queue, &listing, "jobs", 1).0, whole);
    }
}

fn a_walk_survives_changes(store: Store) {
    let queue = store.shared().queue(&json!({}));
    deferred_burst(&queue, 20);
    let whole = ids(&queue.jobs("deferred?order=asc"));
    let page = queue.get("/deferred?order=asc&limit=10").json();
    let cursor = page["next_cursor"].as_str().unwrap().replace('=', "%3D");
    // The row that the cursor stands on goes, and so does one before it.
    for id in [whole[9], whole[0]] {
        let path = format!("/queue/{}/job/{id}", queue.name);
        assert_eq!(store.shared().delete(&path).status, 200);
    }
    let rest = queue.jobs(&format!("deferred?order=asc&limit=100&cursor={cursor}"));
    assert_eq!(ids(&rest), whole[10..]);
}

fn a_limit_is_obeyed(store: Store) {
    let queue = store.shared().queue(&json!({}));
    deferred_burst(&queue, 120);
    for (parameters, count) in [
        ("", 100),
        ("?limit=1", 1),
        ("?limit=119", 119),
        ("?limit=120", 120),
        ("?limit=10000", 120),
        ("?limit=99999999", 120),
    ] {
        let page = queue.get(&format!("/deferred{parameters}")).json();
        assert_eq!(page["jobs"].as_array().unwrap().len(), count, "{parameters}");
        assert_eq!(page["next_cursor"] == "", count == 120, "{parameters}");
    }
}

fn nonsense_falls_back_to_the_default(store: Store) {
    let queue = store.shared().queue(&json!({}));
    deferred_burst(&queue, 110);
    let default = queue.get("/deferred");
    for parameters in [
        "limit=x",
        "limit=-1",
        "limit=1.5",
        "limit=",
        "limit=0",
        "limit=99999999999999999999999",
        "order=x",
        "order=",
        "order=failed",
        "cursor=",
        "cursor=x",
        "cursor=%ff",
        "cursor=AAAA",
        "cursor=bm9uc2Vuc2U%3D",
        "x=y",
        "&&=&",
        "limit",
        "%",
        "LIMIT=1",
    ] {
        let answer = queue.get(&format!("/deferred?{parameters}"));
        assert_eq!(answer.status, 200, "{parameters}");
        assert_eq!(answer.text(), default.text(), "{parameters}");
    }
    for parameters in ["limit=x", "order=asc", "order=x", "cursor=x"] {
        let answer = queue.get(&format!("/failed?{parameters}"));
        assert_eq!(answer.text(), r#"{"failed_jobs":[],"next_cursor":""}"#, "{parameters}");
    }
}

fn failures_have_two_orders(store: Store) {
    let queue = store.shared().queue(&json!({}));
    let worker = Worker::start(|_| failure());
    // The first job fails last.
    let held = Held::start(|_| failure());
    let slow = queue.push(&json!({ "url": held.url("/") }));
    // The others are created in a later millisecond; within one the failures' ids would decide.
    let pushed_at = Instant::now();
    until("the clock goes on", SOON, || pushed_at.elapsed() > Duration::from_millis(5));
    let fast = queue.push_burst(&vec![json!({ "url": worker.url("/") }); 12]);
    queue.failures(12);
    held.let_go();
    let by_creation = queue.failures(13);
    let job_ids = |rows: &[Value]| -> Vec<u64> {
        rows.iter().map(|row| row["job_id"].as_u64().unwrap()).collect()
    };
    assert_eq!(job_ids(&by_creation).last(), Some(&slow));
    assert_eq!(job_ids(&by_creation).len(), 13);
    let rows = |parameters: &str| {
        let answer = queue.get(&format!("/failed{parameters}")).json();
        answer["failed_jobs"].as_array().unwrap().clone()
    };
    let by_failure = rows("");
    assert_eq!(job_ids(&by_failure)[0], slow);
    let keys = |rows: &[Value], name: &str| -> Vec<(String, u64)> {
        rows.iter()
            .map(|row| (row[name].as_str().unwrap().to_owned(), row["id"].as_u64().unwrap()))
            .collect()
    };
    assert!(keys(&by_failure, "failed_at").is_sorted_by(|a, b| a > b), "{by_failure:?}");
    assert!(keys(&by_creation, "created_at").is_sorted_by(|a, b| a > b), "{by_creation:?}");
    assert_eq!(rows("?order=failed"), by_failure);
    assert_eq!(rows("?order=nonsense"), by_failure);
    let all: BTreeSet<u64> = fast.into_iter().chain([slow]).collect();
    assert_eq!(job_ids(&by_failure).into_iter().collect::<BTreeSet<_>>(), all);
    for (order, rows) in [("failed", &by_failure), ("created", &by_creation)] {
        let listing = format!("failed?order={order}&");
        assert_eq!(walk(&queue, &listing, "failed_jobs", 5), (ids(rows), vec![5, 5, 3]));
        assert_eq!(walk(&queue, &listing, "failed_jobs", 1).0, ids(rows));
    }
}

fn a_cursor_is_base64_of_time_and_id(store: Store) {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    let queue = store.shared().queue(&json!({}));
    deferred_burst(&queue, 3);
    let page = queue.get("/deferred?limit=1").json();
    let bytes = STANDARD.decode(page["next_cursor"].as_str().unwrap()).unwrap();
    let next_try: jiff::Timestamp = page["jobs"][0]["next_try"].as_str().unwrap().parse().unwrap();
    let expected = format!("{},{}", next_try.as_millisecond(), page["jobs"][0]["id"]);
    assert_eq!(String::from_utf8(bytes).unwrap(), expected);
}

fn a_retried_job_shows_its_counts(store: Store) {
    let queue = store.shared().queue(&json!({}));
    let worker = Worker::start(|_| failure());
    queue.push(&json!({"url": worker.url("/"), "max_retries": 3, "retry_delay": 3600}));
    until("the job waits for its second try", SOON, || queue.jobs("deferred").len() == 1);
    let job = &queue.jobs("deferred")[0];
    assert_eq!((&job["fail_count"], &job["max_retries"]), (&json!(1), &json!(3)));
    assert_eq!(job["status"], "claimed");
    let time = |name: &str| job[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(time("next_try").as_second() - time("created_at").as_second() >= 3600, "{job}");
}
