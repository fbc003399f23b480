//! Paths, methods and the form of errors.

use serde_json::json;

use crate::node::{Node, unique};
use crate::stores::{Store, on_every_store};
use crate::support::http::{self, Answer};

on_every_store! {
    what_is_missing_is_404
    head_is_get_without_the_body
    errors_are_plain_text_or_a_problem
}

/// An error in its plain form: the status line's words, and a detail where there is one.
#[track_caller]
pub fn assert_plain_error(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("Content-Type"), Some("text/plain; charset=utf-8"));
    assert_eq!(answer.header("X-Content-Type-Options"), Some("nosniff"));
    let reason = match status {
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Payload Too Large",
        503 => "Service Unavailable",
        other => panic!("{other} is not expected"),
    };
    let first = format!("{status} {reason}\n");
    let text = answer.text();
    let rest = text.strip_prefix(&first).unwrap_or_else(|| panic!("{text:?} is no {first:?}"));
    let is_form = rest.is_empty() || rest.starts_with('\n') && rest.ends_with('\n');
    assert!(is_form, "{text:?}");
}

fn get_as_problem(node: &Node, method: &str, path: &str) -> Answer {
    let accept = [("Accept", "application/problem+json")];
    http::request(node.address(), method, path, &accept, b"")
}

#[test]
fn an_unknown_path_is_404() {
    let node = Store::InMemory.shared();
    for path in [
        "/x",
        "/queue",
        "/queue/",
        "/queues/",
        "/queues/x",
        "/queue/q/",
        "/queue/q/x",
        "/job",
        "/job/",
        "/routing",
        "/routing/",
        "/routings/",
        "/version/",
        "/queue/q/job",
        "/queue//",
        "/queue/q/job/1/2",
        "/queue//stats",
        "//version",
        "/stats/",
        "/QUEUES",
    ] {
        for method in ["GET", "POST", "PUT", "DELETE"] {
            let answer = node.request(method, path, "");
            assert_eq!(answer.status, 404, "{method} {path}");
            assert_eq!(answer.text(), "404 page not found\n", "{method} {path}");
            assert_eq!(answer.header("Content-Type"), Some("text/plain; charset=utf-8"));
            assert_eq!(answer.header("X-Content-Type-Options"), Some("nosniff"));
        }
    }
}

#[test]
fn another_method_is_405_and_told_what_is_allowed() {
    let node = Store::InMemory.shared();
    for (path, allowed) in [
        ("/", "GET, HEAD"),
        ("/version", "GET, HEAD"),
        ("/settings", "GET, HEAD"),
        ("/stats", "GET, HEAD"),
        ("/queues", "GET, HEAD"),
        ("/queues/stats", "GET, HEAD"),
        ("/queues/backlog", "GET, HEAD"),
        ("/routings", "GET, HEAD"),
        ("/queue/q", "DELETE, GET, HEAD, PUT"),
        ("/queue/q/stats", "GET, HEAD"),
        ("/queue/q/backlog", "GET, HEAD"),
        ("/queue/q/node", "GET, HEAD"),
        ("/queue/q/grabbed", "GET, HEAD"),
        ("/queue/q/waiting", "GET, HEAD"),
        ("/queue/q/deferred", "GET, HEAD"),
        ("/queue/q/job/1", "DELETE, GET, HEAD"),
        ("/queue/q/failed", "DELETE, GET, HEAD"),
        ("/queue/q/failed/retry", "POST"),
        ("/queue/q/failed/1", "DELETE, GET, HEAD"),
        ("/queue/q/failed/1/retry", "POST"),
        ("/routing/c", "DELETE, GET, HEAD, PUT"),
        ("/job/c", "POST"),
    ] {
        for method in ["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "PROPFIND"] {
            if allowed.split(", ").any(|known| known == method) {
                continue;
            }
            let answer = node.request(method, path, "");
            assert_eq!(answer.status, 405, "{method} {path}");
            if method != "HEAD" {
                assert_plain_error(&answer, 405);
            }
            let allow = answer.header("Allow").expect("Allow");
            let mut found: Vec<_> = allow.split(',').map(str::trim).collect();
            found.sort_unstable();
            assert_eq!(found.join(", "), allowed, "{method} {path}");
        }
    }
}

#[test]
fn a_refused_method_changes_nothing() {
    let node = Store::InMemory.shared();
    let name = unique("q");
    let path = format!("/queue/{name}");
    assert_eq!(node.post(&path, "{}").status, 405);
    assert_eq!(node.get(&path).status, 404);
}

#[test]
fn a_path_that_does_not_decode_is_400() {
    let node = Store::InMemory.shared();
    for path in ["/queue/%", "/queue/%2", "/queue/%zz", "/queue/%ff", "/routing/a%"] {
        assert_plain_error(&node.get(path), 400);
    }
    assert_plain_error(&node.post("/job/%80", r#"{"url":"http://localhost/"}"#), 400);
}

#[test]
fn an_absolute_target_is_a_path_too() {
    let node = Store::InMemory.shared();
    assert_eq!(node.get("http://elsewhere:1/version").text(), node.get("/version").text());
    assert_eq!(node.get("/version?x=1&y").status, 200);
    assert_eq!(node.get("/version?/queue/x").status, 200);
}

fn what_is_missing_is_404(store: Store) {
    let node = store.shared();
    for (method, path) in [
        ("GET", "/queue/missing"),
        ("DELETE", "/queue/missing"),
        ("GET", "/queue/missing/stats"),
        ("GET", "/queue/missing/node"),
        ("GET", "/queue/missing/grabbed"),
        ("GET", "/queue/missing/waiting"),
        ("GET", "/queue/missing/deferred"),
        ("GET", "/queue/missing/failed"),
        ("GET", "/queue/missing/job/1"),
        ("DELETE", "/queue/missing/job/1"),
        ("GET", "/queue/missing/failed/1"),
        ("DELETE", "/queue/missing/failed/1"),
        ("GET", "/routing/missing"),
        ("DELETE", "/routing/missing"),
    ] {
        assert_plain_error(&node.request(method, path, ""), 404);
    }
    let queue = node.queue(&json!({}));
    for (method, path) in [
        ("GET", "/job/1"),
        ("DELETE", "/job/1"),
        ("GET", "/failed/1"),
        ("DELETE", "/failed/1"),
        ("GET", "/job/0"),
        ("GET", "/job/18446744073709551615"),
    ] {
        let path = format!("/queue/{}{path}", queue.name);
        assert_plain_error(&node.request(method, &path, ""), 404);
    }
}

fn head_is_get_without_the_body(store: Store) {
    let node = store.shared();
    let queue = node.queue(&json!({}));
    for path in ["/version", "/queues", "/routings", "/x", "/queue/missing", "/job/x"] {
        let (head, get) = (node.request("HEAD", path, ""), node.get(path));
        assert_eq!(head.status, get.status, "{path}");
        assert!(head.body.is_empty(), "{path}");
        assert_eq!(head.header("Content-Type"), get.header("Content-Type"), "{path}");
    }
    let path = format!("/queue/{}", queue.name);
    let (head, get) = (node.request("HEAD", &path, ""), node.get(&path));
    assert_eq!(head.header("Content-Length"), get.header("Content-Length"));
    assert_eq!(head.header("Content-Type"), Some("application/json"));
}

fn errors_are_plain_text_or_a_problem(store: Store) {
    let node = store.shared();
    assert_plain_error(&node.get("/queue/missing"), 404);
    for (method, path, status, title) in [
        ("GET", "/queue/missing", 404, "Not Found"),
        ("GET", "/x", 404, "Not Found"),
        ("POST", "/queues", 405, "Method Not Allowed"),
        ("GET", "/queue/%", 400, "Bad Request"),
        ("PUT", "/queue/x", 400, "Bad Request"),
    ] {
        let answer = get_as_problem(node, method, path);
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(answer.header("Content-Type"), Some("application/problem+json"));
        let problem = answer.json();
        assert_eq!(problem["status"], status, "{problem}");
        assert_eq!(problem["title"], title, "{problem}");
        assert!(problem.get("detail").is_none_or(serde_json::Value::is_string), "{problem}");
    }
    let queue = node.queue(&json!({}));
    let answer = node.post(&format!("/job/{}", queue.name), "{}");
    assert_plain_error(&answer, 400);
    assert_eq!(answer.text(), "400 Bad Request\n\nMissing field: url\n");
}
