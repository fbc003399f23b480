//! Pushing jobs, looking at them, deleting them.

use serde_json::json;

use super::routes::assert_plain_error;
use crate::node::{self, unique};
use crate::stores::{Store, on_every_store};
use crate::support::http;
use crate::support::wait::{SOON, until};
use crate::support::worker::Worker;
use crate::workers::{Held, count, failure, wait_for};

on_every_store! {
    a_far_future_is_a_time_like_any_other
    the_content_type_is_not_looked_at
    the_answer_to_a_push
    a_job_needs_a_url_that_can_be_dispatched
    urls_are_limited
    a_category_without_a_queue_is_refused
    ids_grow
    a_job_is_shown
    a_job_is_deleted
    a_running_job_is_not_stopped_by_its_deletion
    a_failure_is_shown_and_deleted
    an_id_is_a_number
    times_are_rfc_3339
}

fn the_answer_to_a_push(store: Store) {
    let node = store.shared();
    let queue = node.queue(&json!({}));
    let name = &queue.name;
    let body = r#"{"max_retries":4,"retry_delay":3,"timeout":2,"run_after":3600,
                   "payload":{"id": 12345},"url":"http://127.0.0.1:1/?a=\u0026"}"#;
    let answer = node.post(&format!("/job/{name}"), body);
    let id = answer.json()["id"].as_u64().unwrap();
    let start = format!(r#"{{"id":{id},"queue_name":"{name}","category":"{name}","#);
    let expected = start
        + r#""url":"http://127.0.0.1:1/?a=&","payload":{"id": 12345},"run_after":3600,"#
        + r#""timeout":2,"retry_delay":3,"max_retries":4}"#;
    assert_eq!((answer.status, answer.text()), (200, expected.as_str()));
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
    assert!(id > 0);

    let answer = node.post(&format!("/job/{name}"), r#"{"url":"http://127.0.0.1:1/"}"#);
    let id = answer.json()["id"].as_u64().unwrap();
    let start = format!(r#"{{"id":{id},"queue_name":"{name}","category":"{name}","#);
    let expected = start
        + r#""url":"http://127.0.0.1:1/","payload":null,"run_after":0,"#
        + r#""timeout":0,"retry_delay":0,"max_retries":0}"#;
    assert_eq!(answer.text(), expected);
}

fn a_job_needs_a_url_that_can_be_dispatched(store: Store) {
    let node = store.shared();
    let queue = node.queue(&json!({}));
    for url in [
        "",
        " ",
        "x",
        "/x",
        "localhost",
        "localhost:80",
        "//host/x",
        "http:",
        "http://",
        "http:///x",
        "ftp://host/",
        "file:///etc/passwd",
        "mailto:a@b",
        "javascript:1",
        "http://a b/",
        "http://host:99999/",
        "http://[::1/",
        "http://:80/",
        "https://?x",
        "http://%/",
    ] {
        let body = json!({"url": url, "run_after": 3600}).to_string();
        let answer = node.post(&format!("/job/{}", queue.name), body);
        assert!(answer.status == 400, "{url:?}: {}", answer.text());
        assert_plain_error(&answer, 400);
    }
    assert!(queue.jobs("deferred").is_empty());
    for url in [
        "http://localhost",
        "HTTP://localhost/",
        "https://user:pw@host:8443/a?b=c#d",
        "http://[::1]:80/",
        "http://host.invalid/\u{3042}",
        "http://a_b/",
    ] {
        let body = json!({"url": url, "run_after": 3600}).to_string();
        let answer = node.post(&format!("/job/{}", queue.name), body);
        assert_eq!(answer.status, 200, "{url:?}: {}", answer.text());
        assert_eq!(answer.json()["url"], url);
    }
}

fn urls_are_limited(store: Store) {
    let node = store.shared();
    let queue = node.queue(&json!({}));
    let fits = format!("{:x<65535}", "http://127.0.0.1:1/");
    let push = |url: &str| {
        let body = json!({"url": url, "run_after": 3600}).to_string();
        node.post(&format!("/job/{}", queue.name), body)
    };
    assert_eq!(push(&fits).status, 200);
    assert_eq!(queue.jobs("deferred")[0]["url"], fits);
    assert_plain_error(&push(&format!("{fits}x")), 400);
}

fn a_category_without_a_queue_is_refused(store: Store) {
    let node = store.node(&["queue-default="]);
    let job = r#"{"url":"http://127.0.0.1:1/"}"#;
    let answer = node.post("/job/unrouted", job);
    assert!((400..500).contains(&answer.status), "{}", answer.status);
    assert_plain_error(&answer, answer.status);
    assert!(answer.text().lines().count() > 2, "no reason is given: {}", answer.text());
    let queue = node.queue(&json!({}));
    node.delete(&format!("/queue/{}", queue.name));
    let answer = node.post(&format!("/job/{}", queue.name), job);
    assert!((400..500).contains(&answer.status), "{}", answer.status);
    assert_plain_error(&answer, answer.status);
    assert!(answer.text().contains(&queue.name), "{}", answer.text());
}

#[test]
fn a_first_push_works_without_any_setting() {
    let node = Store::InMemory.shared();
    let worker = Worker::successful();
    let job = json!({"url": worker.url("/"), "payload": {"a": 1}}).to_string();
    let answer = node.post(&format!("/job/{}", unique("new")), job);
    assert_eq!(answer.json()["queue_name"], "default");
    wait_for(&worker, 1);
}

fn ids_grow(store: Store) {
    let queue = store.shared().queue(&json!({}));
    let job = json!({"url": "http://127.0.0.1:1/", "run_after": 3600});
    let ids = queue.push_burst(&vec![job; 50]);
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
}

fn a_job_is_shown(store: Store) {
    let queue = store.shared().queue(&json!({}));
    let id = queue.push_text(
        r#"{"url":"http://127.0.0.1:1/","payload":{"b": 1.0},"run_after":3600,"timeout":2,
            "retry_delay":3,"max_retries":4}"#,
    );
    let answer = queue.get(&format!("/job/{id}"));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
    let job = answer.json();
    let (created_at, next_try) = (&job["created_at"], &job["next_try"]);
    let name = &queue.name;
    let expected = format!(r#"{{"id":{id},"category":"{name}","url":"http://127.0.0.1:1/","#)
        + r#""payload":{"b": 1.0},"status":"claimed","#
        + &format!(r#""created_at":{created_at},"next_try":{next_try},"#)
        + r#""timeout":2,"fail_count":0,"max_retries":4,"retry_delay":3}"#;
    assert_eq!(answer.text(), expected);
    let listed = queue.get("/deferred");
    assert_eq!(listed.text(), format!(r#"{{"jobs":[{expected}],"next_cursor":""}}"#));
}

fn a_job_is_deleted(store: Store) {
    let node = store.shared();
    let queue = node.queue(&json!({}));
    let id = queue.push(&json!({"url": "http://127.0.0.1:1/", "run_after": 3600}));
    let path = format!("/queue/{}/job/{id}", queue.name);
    let shown = node.get(&path);
    let deleted = node.delete(&path);
    assert_eq!((deleted.status, deleted.text()), (200, shown.text()));
    assert_plain_error(&node.get(&path), 404);
    assert_plain_error(&node.delete(&path), 404);
    assert!(queue.jobs("deferred").is_empty());
}

fn a_running_job_is_not_stopped_by_its_deletion(store: Store) {
    let node = store.shared();
    let queue = node.queue(&json!({}));
    let worker = Held::succeeding();
    let id = queue.push(&json!({ "url": worker.url("/") }));
    wait_for(&worker, 1);
    let path = format!("/queue/{}/job/{id}", queue.name);
    let deleted = node.delete(&path);
    assert_eq!(deleted.status, 200);
    assert_eq!(deleted.json()["status"], "grabbed");
    assert_eq!(node.get(&path).status, 404);
    worker.let_go();
    until("its worker is idle again", SOON, || {
        queue.stat("idle_workers") == queue.stat("total_workers")
    });
    queue.push(&json!({ "url": worker.url("/") }));
    wait_for(&worker, 2);
    queue.wait_until_empty();
    assert_eq!(count(&worker), 2);
}

fn a_failure_is_shown_and_deleted(store: Store) {
    let node = store.shared();
    let queue = node.queue(&json!({}));
    let worker = Worker::start(|_| failure());
    let url = worker.url("/");
    let body = format!(r#"{{"url":"{url}","payload":{{"b": 1.0}},"timeout":9}}"#);
    let job_id = queue.push_text(&body);
    let failure = &queue.failures(1)[0];
    let id = failure["id"].as_u64().unwrap();
    let name = &queue.name;
    let (failed_at, created_at) = (&failure["failed_at"], &failure["created_at"]);
    let expected = format!(r#"{{"id":{id},"job_id":{job_id},"category":"{name}","url":"{url}","#)
        + r#""payload":{"b": 1.0},"result":{"status":"failure","code":200,"message":"no"},"#
        + &format!(r#""fail_count":1,"failed_at":{failed_at},"created_at":{created_at}}}"#);
    let path = format!("/queue/{name}/failed/{id}");
    let shown = node.get(&path);
    assert_eq!((shown.status, shown.text()), (200, expected.as_str()));
    assert_eq!(shown.header("Content-Type"), Some("application/json"));
    let listed = queue.get("/failed");
    assert_eq!(listed.text(), format!(r#"{{"failed_jobs":[{expected}],"next_cursor":""}}"#));
    assert_plain_error(&queue.get(&format!("/job/{job_id}")), 404);
    let deleted = node.delete(&path);
    assert_eq!((deleted.status, deleted.text()), (200, expected.as_str()));
    assert_plain_error(&node.get(&path), 404);
    assert_plain_error(&node.delete(&path), 404);
    assert_eq!(queue.get("/failed").text(), r#"{"failed_jobs":[],"next_cursor":""}"#);
}

fn an_id_is_a_number(store: Store) {
    let node = store.shared();
    let queue = node.queue(&json!({}));
    for id in ["x", "-1", "1.5", "+1", "0x1", "%20", "18446744073709551616", "1a"] {
        for kind in ["job", "failed"] {
            let path = format!("/queue/{}/{kind}/{id}", queue.name);
            assert_plain_error(&node.get(&path), 400);
            assert_plain_error(&node.delete(&path), 400);
        }
    }
}

fn times_are_rfc_3339(store: Store) {
    let place = store.place();
    let node = place.options(&[]).variable("TZ", "Asia/Tokyo").start();
    let node = crate::node::Node::new(node);
    let queue = node.queue(&json!({}));
    queue.push(&json!({"url": "http://127.0.0.1:1/", "run_after": 90}));
    let job = &queue.jobs("deferred")[0];
    let parse = |name: &str| -> i64 {
        let text = job[name].as_str().unwrap();
        assert_eq!(text.len(), "2017-06-26T00:51:54.537+09:00".len(), "{text}");
        assert_eq!((&text[10..11], &text[19..20]), ("T", "."), "{text}");
        assert!(text.ends_with("+09:00"), "{text}");
        text.parse::<jiff::Timestamp>().unwrap().as_millisecond()
    };
    let (created_at, next_try) = (parse("created_at"), parse("next_try"));
    assert_eq!(next_try - created_at, 90_000);
    let now = jiff::Timestamp::now().as_millisecond();
    assert!((now - created_at).abs() < 60_000, "{created_at} is not about {now}");
}

/// As curl sends it.
fn the_content_type_is_not_looked_at(store: Store) {
    let node = store.shared();
    let queue = node.queue(&json!({}));
    for content_type in ["application/x-www-form-urlencoded", "text/plain", "nonsense", ""] {
        let headers = [("Content-Type", content_type)];
        let path = format!("/job/{}", queue.name);
        let body = r#"{"url":"http://127.0.0.1:1/","run_after":3600}"#;
        let answer = http::request(node.address(), "POST", &path, &headers, body);
        assert_eq!(answer.status, 200, "{content_type}: {}", answer.text());
    }
}

/// Milliseconds since 1970 that fit 64 bits but no calendar.
fn a_far_future_is_a_time_like_any_other(store: Store) {
    let node = store.shared();
    let queue = node.queue(&json!({}));
    let push =
        |run_after: u64| queue.push(&json!({"url": "http://127.0.0.1:1/", "run_after": run_after}));
    let ids = [3600, 300_000_000_000, 9_223_372_036_854_775, 18_446_742_000_000_000].map(push);
    let ascending = node::ids(&queue.jobs("deferred?order=asc"));
    assert_eq!(ascending, ids);
    for id in ids {
        let shown = queue.get(&format!("/job/{id}"));
        let next_try = shown.json()["next_try"].as_str().unwrap().to_owned();
        assert!(next_try.parse::<jiff::Timestamp>().is_ok(), "{next_try}");
    }
    let page = queue.get("/deferred?order=asc&limit=3").json();
    let cursor = page["next_cursor"].as_str().unwrap().replace('=', "%3D");
    assert_eq!(node::ids(&queue.jobs(&format!("deferred?order=asc&cursor={cursor}"))), ids[3..]);
}
