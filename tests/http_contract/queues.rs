//! Definitions of queues.

use serde_json::json;

use super::routes::assert_plain_error;
use crate::node::{Node, unique};
use crate::stores::{Store, on_every_store};
use crate::support::wait::{SOON, until};
use crate::support::worker::Worker;
use crate::workers::{Held, count, failure, wait_for};

on_every_store! {
    a_queue_that_is_recreated_runs_nothing_twice
    a_queue_is_answered_with_its_defaults
    a_queue_is_replaced_as_a_whole
    keys_stand_in_order
    queues_are_listed_by_name
    a_throttled_queue_polls_every_100_ms
    half_a_throttle_is_refused
    rates_are_floats
    names_are_limited
    names_may_hold_anything_else
    tables_are_not_shared
    a_deleted_queue_is_answered_once
    jobs_of_a_deleted_queue_come_back
    the_default_queue_comes_back
    defaults_are_settings
    a_change_disturbs_nothing
    the_holder_is_told
}

fn path(name: &str) -> String {
    format!("/queue/{name}")
}

fn a_queue_is_answered_with_its_defaults(store: Store) {
    let node = store.shared();
    let name = unique("q");
    let expected = format!(r#"{{"name":"{name}","polling_interval":200,"max_workers":20}}"#);
    let answer = node.put(&path(&name), "{}");
    assert_eq!((answer.status, answer.text()), (200, expected.as_str()));
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
    let answer = node.get(&path(&name));
    assert_eq!((answer.status, answer.text()), (200, expected.as_str()));
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
    let zeros = r#"{"polling_interval":0,"max_workers":0,"max_burst_size":0,
                    "max_dispatches_per_second":0}"#;
    assert_eq!(node.put(&path(&name), zeros).text(), expected);
}

fn a_queue_is_replaced_as_a_whole(store: Store) {
    let node = store.shared();
    let name = unique("q");
    let answer = node.put(&path(&name), r#"{"polling_interval":500,"max_workers":3}"#);
    let expected = json!({"name": name, "polling_interval": 500, "max_workers": 3});
    assert_eq!(answer.json(), expected);
    assert_eq!(node.get(&path(&name)).json(), expected);
    let answer = node.put(&path(&name), r#"{"max_workers":4}"#);
    let expected = json!({"name": name, "polling_interval": 200, "max_workers": 4});
    assert_eq!(answer.json(), expected);
    assert_eq!(node.get(&path(&name)).json(), expected);
    let most = u32::MAX;
    let body = format!(r#"{{"polling_interval":{most}}}"#);
    assert_eq!(node.put(&path(&name), body).json()["polling_interval"], most);
}

fn keys_stand_in_order(store: Store) {
    let node = store.shared();
    let name = unique("q");
    let body = r#"{"max_burst_size":5,"max_workers":2,"max_dispatches_per_second":2.5}"#;
    let expected = format!(r#"{{"name":"{name}","polling_interval":100,"max_workers":2,"#)
        + r#""max_dispatches_per_second":2.5,"max_burst_size":5}"#;
    assert_eq!(node.put(&path(&name), body).text(), expected);
    assert_eq!(node.get(&path(&name)).text(), expected);
    let listed = node.get("/queues");
    assert!(listed.text().contains(&expected), "{}", listed.text());
    assert_eq!(node.delete(&path(&name)).text(), expected);
}

fn queues_are_listed_by_name(store: Store) {
    let node = store.node(&["queue-default="]);
    let answer = node.get("/queues");
    assert_eq!((answer.status, answer.text()), (200, "[]"));
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
    assert_eq!(node.get("/queues/stats").text(), "{}");
    for name in ["b", "a.1", "a"] {
        assert_eq!(node.put(&path(name), "{}").status, 200);
    }
    let listed = node.get("/queues").json();
    let names: Vec<_> = listed.as_array().unwrap().iter().map(|queue| &queue["name"]).collect();
    assert_eq!(names, ["a", "a.1", "b"]);
    let stats = node.get("/queues/stats").json();
    let names: Vec<_> = stats.as_object().unwrap().keys().collect();
    assert_eq!(names, ["a", "a.1", "b"]);
}

fn a_throttled_queue_polls_every_100_ms(store: Store) {
    let node = store.shared();
    let name = unique("q");
    let throttled = r#"{"polling_interval":700,"max_dispatches_per_second":2,"max_burst_size":1}"#;
    assert_eq!(node.put(&path(&name), throttled).json()["polling_interval"], 100);
    let free = node.put(&path(&name), r#"{"polling_interval":700}"#).json();
    assert_eq!(free, json!({"name": name, "polling_interval": 700, "max_workers": 20}));
    assert_eq!(node.get(&path(&name)).json(), free);
}

fn half_a_throttle_is_refused(store: Store) {
    let node = store.shared();
    let name = unique("q");
    for body in [
        r#"{"max_dispatches_per_second":1}"#,
        r#"{"max_dispatches_per_second":1,"max_burst_size":0}"#,
        r#"{"max_burst_size":1}"#,
        r#"{"max_dispatches_per_second":0,"max_burst_size":1}"#,
        r#"{"max_dispatches_per_second":-1,"max_burst_size":1}"#,
        r#"{"max_dispatches_per_second":-0.5}"#,
        r#"{"max_dispatches_per_second":"1","max_burst_size":1}"#,
        r#"{"max_dispatches_per_second":1e60,"max_burst_size":1}"#,
        r#"{"max_dispatches_per_second":1e999,"max_burst_size":1}"#,
        r#"{"max_dispatches_per_second":[],"max_burst_size":1}"#,
    ] {
        assert_plain_error(&node.put(&path(&name), body), 400);
    }
    assert_eq!(node.get(&path(&name)).status, 404);
}

fn rates_are_floats(store: Store) {
    let node = store.shared();
    let name = unique("q");
    for (given, shown) in [("2.5", "2.5"), ("0.1", "0.1"), ("1e2", "100"), ("3", "3")] {
        let body = format!(r#"{{"max_dispatches_per_second":{given},"max_burst_size":1}}"#);
        let answer = node.put(&path(&name), body).json();
        let shown: f64 = shown.parse().unwrap();
        assert_eq!(answer["max_dispatches_per_second"].as_f64(), Some(shown), "{answer}");
        assert_eq!(node.get(&path(&name)).json(), answer);
    }
}

fn names_are_limited(store: Store) {
    let node = store.shared();
    let fits = unique(&"n".repeat(40));
    let fits = format!("{fits:x<46}");
    assert_eq!(node.put(&path(&fits), "{}").status, 200);
    let long = format!("{fits}x");
    assert_plain_error(&node.put(&path(&long), "{}"), 400);
    assert_eq!(node.get(&path(&long)).status, 404);
    let stem = unique("q");
    for name in [format!("{stem}%0a"), format!("{stem}%00"), format!("%7f{stem}")] {
        assert_plain_error(&node.put(&path(&name), "{}"), 400);
    }
    // 46 characters, not bytes; each is one character of the table's name.
    let wide = "%E3%81%82".repeat(46);
    assert_eq!(node.put(&path(&wide), "{}").json()["name"], "あ".repeat(46));
    assert_plain_error(&node.put(&path(&format!("{wide}x")), "{}"), 400);
}

fn names_may_hold_anything_else(store: Store) {
    let node = store.shared();
    let stem = unique("q");
    for (written, name) in [
        (format!("{stem}%20a"), format!("{stem} a")),
        (format!("{stem}b%2Fc"), format!("{stem}b/c")),
        (format!("{stem}%22%27%60%25"), format!("{stem}\"'`%")),
        (format!("{stem}%E3%81%82"), format!("{stem}あ")),
        (format!("{stem}+d(x)\\"), format!("{stem}+d(x)\\")),
    ] {
        let answer = node.put(&path(&written), "{}");
        assert_eq!(answer.status, 200, "{written}: {}", answer.text());
        assert_eq!(answer.json()["name"], name.as_str());
        assert_eq!(node.get(&path(&written)).json()["name"], name.as_str());
        assert_eq!(node.get(&format!("{}/stats", path(&written))).status, 200);
        assert_eq!(node.get(&format!("{}/waiting", path(&written))).status, 200);
    }
}

fn tables_are_not_shared(store: Store) {
    let node = store.shared();
    let stem = unique("q");
    let first = format!("{stem}-a");
    assert_eq!(node.put(&path(&first), "{}").status, 200);
    for other in [format!("{stem}.a"), format!("{stem}_a"), format!("{stem}Xa")] {
        assert_plain_error(&node.put(&path(&other), "{}"), 409);
        assert_eq!(node.get(&path(&other)).status, 404);
    }
    assert_eq!(node.put(&path(&first), r#"{"max_workers":2}"#).status, 200);
}

fn a_deleted_queue_is_answered_once(store: Store) {
    let node = store.shared();
    let name = unique("q");
    node.put(&path(&name), r#"{"max_workers":3}"#);
    let answer = node.delete(&path(&name));
    assert_eq!(answer.status, 200);
    let expected = json!({"name": name, "polling_interval": 200, "max_workers": 3});
    assert_eq!(answer.json(), expected);
    assert_plain_error(&node.delete(&path(&name)), 404);
    assert_plain_error(&node.get(&path(&name)), 404);
    assert_plain_error(&node.get(&format!("{}/stats", path(&name))), 404);
    assert!(node.get("/queues/stats").json().get(&name).is_none());
}

fn jobs_of_a_deleted_queue_come_back(store: Store) {
    let node = store.shared();
    let worker = Worker::successful();
    let queue = node.queue(&json!({}));
    let later = queue.push(&json!({"url": worker.url("/"), "run_after": 3600, "payload": "later"}));
    let failing = Worker::start(|_| failure());
    queue.push(&json!({ "url": failing.url("/") }));
    queue.failures(1);
    assert_eq!(node.delete(&path(&queue.name)).status, 200);
    let job = json!({ "url": worker.url("/") }).to_string();
    let refused = node.post(&format!("/job/{}", queue.name), &job);
    assert!((400..500).contains(&refused.status), "{}", refused.text());
    assert_eq!(node.get(&format!("/routing/{}", queue.name)).status, 200);

    assert_eq!(node.put(&path(&queue.name), "{}").status, 200);
    assert_eq!(queue.jobs("deferred")[0]["id"], later);
    assert_eq!(queue.failures(1).len(), 1);
    queue.push(&json!({"url": worker.url("/"), "payload": "new"}));
    assert_eq!(wait_for(&worker, 1)[0].text(), "new");
}

fn the_default_queue_comes_back(store: Store) {
    let node = store.node(&["queue-default=main", "config-refresh-interval=100"]);
    let is_there = || node.get("/queue/main").status == 200;
    until("the default queue is there", SOON, is_there);
    assert_eq!(node.delete("/queue/main").status, 200);
    until("the default queue is there again", SOON, is_there);
    let worker = Worker::successful();
    until("a push works", SOON, || {
        let job = json!({ "url": worker.url("/") }).to_string();
        let answer = node.post("/job/any", job);
        answer.status == 200 && answer.json()["queue_name"] == "main"
    });
    wait_for(&worker, 1);
}

fn defaults_are_settings(store: Store) {
    let node = store.node(&[
        "queue-default=main",
        "queue-default-polling-interval=321",
        "queue-default-max-workers=7",
    ]);
    let expected = |name: &str| json!({"name": name, "polling_interval": 321, "max_workers": 7});
    until("the default queue is there", SOON, || node.get("/queue/main").status == 200);
    assert_eq!(node.get("/queue/main").json(), expected("main"));
    assert_eq!(node.put("/queue/other", "{}").json(), expected("other"));
}

/// A change of one queue disturbs no other one and no running job, and no push waits for it.
fn a_change_disturbs_nothing(store: Store) {
    let node: &Node = store.shared();
    let slow = Held::succeeding();
    let fast = Worker::successful();
    let (busy, other) = (node.queue(&json!({})), node.queue(&json!({})));
    busy.push(&json!({ "url": slow.url("/") }));
    wait_for(&slow, 1);
    for max_workers in 1..=4 {
        let body = json!({ "max_workers": max_workers }).to_string();
        assert_eq!(node.put(&path(&busy.name), body).status, 200);
        // While the job runs: nothing waits for its end.
        busy.push(&json!({ "url": fast.url("/") }));
        other.push(&json!({ "url": fast.url("/") }));
    }
    // One worker is taken, and at last there are four.
    wait_for(&fast, 8);
    until("only the slow one is left", SOON, || busy.jobs("grabbed").len() == 1);
    slow.let_go();
    busy.wait_until_empty();
    assert_eq!(count(&slow), 1, "the running job was started again");
    busy.wait_for_stat("total_successes", 5);
    assert_eq!(busy.stat("total_pushes"), 5, "a change zeroed the counters");
    assert_eq!(busy.stat("total_failures"), 0);
}

fn the_holder_is_told(store: Store) {
    let queue = store.shared().queue(&json!({}));
    until("somebody holds the queue", SOON, || queue.get("/node").status == 200);
    let answer = queue.get("/node");
    let holder = answer.json();
    let id = holder["id"].as_str().unwrap();
    assert!(id.parse::<u64>().is_ok(), "{holder}");
    let host = holder["host"].as_str().unwrap();
    assert!(!host.is_empty() && !host.contains(':'), "{holder}");
    assert_eq!(answer.text(), format!(r#"{{"id":"{id}","host":"{host}"}}"#));
    if store == Store::Mysql {
        assert!(matches!(host, "127.0.0.1" | "localhost"), "{host}");
    }
}

/// Deleted and created again while a job runs: the job ends as if nothing had happened.
fn a_queue_that_is_recreated_runs_nothing_twice(store: Store) {
    let node = store.shared();
    let queue = node.queue(&json!({"max_workers": 4}));
    let held = Held::succeeding();
    queue.push(&json!({"url": held.url("/"), "payload": "first"}));
    wait_for(&held, 1);
    assert_eq!(node.delete(&path(&queue.name)).status, 200);
    assert_eq!(node.put(&path(&queue.name), r#"{"max_workers":4}"#).status, 200);
    let later = queue.push(&json!({"url": held.url("/"), "payload": "second"}));
    assert!(later > 1);
    held.let_go();
    wait_for(&held, 2);
    queue.wait_until_empty();
    let received = held.received();
    let texts: Vec<_> = received.iter().map(|received| received.text()).collect();
    assert_eq!(texts, ["first", "second"]);
}
