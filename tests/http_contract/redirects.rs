//! Redirects of workers.

use std::time::Duration;

use serde_json::json;

use crate::stores::Store;
use crate::support::worker::{Reaction, Received, Worker};
use crate::workers::{count, wait_for};

/// A worker that redirects `/<status>` to `/end` and is done there.
fn redirecting() -> Worker {
    Worker::start(|received| match received.path[1..].parse() {
        Ok(status) => Reaction::redirect(status, "/end"),
        Err(_) => Reaction::success(),
    })
}

fn paths(received: &[Received]) -> Vec<(&str, &str)> {
    received.iter().map(|one| (one.method.as_str(), one.path.as_str())).collect()
}

#[test]
fn the_method_after_a_redirect() {
    let queue = Store::InMemory.shared().queue(&json!({"max_workers": 1}));
    let mut done = 0;
    for (status, method) in [(301, "GET"), (302, "GET"), (303, "GET"), (307, "POST"), (308, "POST")]
    {
        let worker = redirecting();
        let start = format!("/{status}");
        queue.push(&json!({"url": worker.url(&start), "payload": [1]}));
        let received = wait_for(&worker, 2);
        assert_eq!(paths(&received), [("POST", start.as_str()), (method, "/end")]);
        let last = &received[1];
        if method == "POST" {
            assert_eq!(last.text(), "[1]");
            assert_eq!(last.header("Content-Type"), Some("application/json"));
            assert_eq!(last.header("Content-Length"), Some("3"));
        } else {
            assert_eq!(last.text(), "");
            assert!(matches!(last.header("Content-Length"), None | Some("0")));
        }
        assert!(last.header("Fireworq-Job-Id").is_some());
        // The worker is dropped only when its answer has arrived.
        done += 1;
        queue.wait_for_stat("total_successes", done);
    }
    assert!(queue.failures(0).is_empty());
}

#[test]
fn other_statuses_and_no_location_are_answers_like_any_other() {
    let queue = Store::InMemory.shared().queue(&json!({}));
    let worker = Worker::start(|received| {
        let status = received.path[1..].parse().unwrap();
        let headers: &[(&str, &str)] =
            if received.text() == "bare" { &[] } else { &[("Location", "/elsewhere")] };
        Reaction::answer(status, headers, r#"{"status":"success"}"#)
    });
    for status in [300, 305, 306, 201, 404] {
        queue.push(&json!({ "url": worker.url(&format!("/{status}")) }));
    }
    for status in [301, 302, 303, 307, 308] {
        queue.push(&json!({"url": worker.url(&format!("/{status}")), "payload": "bare"}));
    }
    queue.wait_for_stat("total_successes", 10);
    assert_eq!(count(&worker), 10);
}

#[test]
fn ten_redirects_are_followed_and_no_more() {
    let queue = Store::InMemory.shared().queue(&json!({}));
    let worker = Worker::start(|received| {
        let left: u32 = received.path[1..].parse().unwrap();
        match left {
            0 => Reaction::success(),
            left => Reaction::redirect(307, &format!("/{}", left - 1)),
        }
    });
    queue.push(&json!({ "url": worker.url("/9") }));
    queue.wait_for_stat("total_successes", 1);
    assert_eq!(count(&worker), 10);
    let endless = Worker::start(|_| Reaction::redirect(302, "/again"));
    queue.push(&json!({ "url": endless.url("/") }));
    let result = &queue.failures(1)[0]["result"];
    assert_eq!(result["status"], "internal-failure", "{result}");
    assert_eq!(result["code"], 0, "{result}");
    assert!(result["message"].as_str().unwrap().starts_with("Request failed: "), "{result}");
    assert!((10..=11).contains(&count(&endless)), "{}", count(&endless));
}

#[test]
fn a_location_may_be_of_any_form() {
    let queue = Store::InMemory.shared().queue(&json!({"max_workers": 1}));
    let other = Worker::successful();
    let absolute = other.url("/there?x=y#z");
    let mut done = 0;
    let scheme_less = format!("//{}/less", other.address());
    for (location, path) in [
        (absolute.as_str(), "/there?x=y"),
        (scheme_less.as_str(), "/less"),
        ("sibling?q", "/a/sibling?q"),
        ("../up", "/up"),
        ("?only=query", "/a/b?only=query"),
        ("/root", "/root"),
    ] {
        let sent = location.to_owned();
        let worker = Worker::start(move |received| match received.number {
            0 => Reaction::redirect(308, &sent),
            _ => Reaction::success(),
        });
        let before = count(&other);
        queue.push(&json!({"url": worker.url("/a/b"), "payload": 5}));
        let last = if location.contains("//") {
            wait_for(&other, before + 1).swap_remove(before)
        } else {
            wait_for(&worker, 2).swap_remove(1)
        };
        assert_eq!((last.method.as_str(), last.path.as_str()), ("POST", path), "{location}");
        assert_eq!(last.text(), "5");
        done += 1;
        queue.wait_for_stat("total_successes", done);
    }
}

/// A worker could otherwise have another host be shown the password, or a file be read.
#[test]
fn a_password_stays_with_its_host() {
    let queue = Store::InMemory.shared().queue(&json!({"max_workers": 1}));
    let other = Worker::successful();
    // By name, so that it is another host.
    let location = format!("http://localhost:{}/", other.address().port());
    let worker = Worker::start(move |_| Reaction::redirect(307, &location));
    queue.push(&json!({ "url": format!("http://user:pw@{}/", worker.address()) }));
    assert_eq!(wait_for(&other, 1)[0].header("Authorization"), None);
    assert!(worker.received()[0].header("Authorization").is_some());
    for location in ["file:///etc/passwd", "ftp://localhost/", "http://"] {
        let earlier = queue.failures(0).len();
        let worker = Worker::start(move |_| Reaction::redirect(302, location));
        queue.push(&json!({ "url": worker.url("/") }));
        let result = queue.failures(earlier + 1)[0]["result"].clone();
        assert_eq!(result["status"], "internal-failure", "{location}: {result}");
        assert_eq!(count(&worker), 1);
    }
}

#[test]
fn the_time_out_holds_for_all_hops_together() {
    let queue = Store::InMemory.shared().queue(&json!({}));
    let worker = Worker::start(|received| {
        let next = Reaction::redirect(307, &format!("/{}", received.number));
        if received.number < 6 {
            next.after(Duration::from_millis(400))
        } else {
            Reaction::success()
        }
    });
    queue.push(&json!({"url": worker.url("/"), "timeout": 1}));
    let result = queue.failures(1)[0]["result"].clone();
    assert_eq!(result["status"], "internal-failure", "{result}");
    assert!(count(&worker) < 6, "{}", count(&worker));
}
