//! The access log: a line for each request.

use serde_json::Value;

use crate::node::Node;
use crate::stores::Store;
use crate::support::http;
use crate::support::wait::{SOON, eventually};

/// The lines once there are so many.
#[track_caller]
fn lines(node: &Node, count: usize) -> Vec<Value> {
    let text = eventually(&format!("{count} lines in the access log"), SOON, || {
        Some(node.access_log()).filter(|text| text.lines().count() >= count)
    });
    assert_eq!(text.lines().count(), count, "{text}");
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

#[test]
fn a_request_has_a_line() {
    let node = Store::InMemory.node(&["access-log-tag=my.access"]);
    let mut client = node.connect();
    let request = "GET /queues?a=%0A&b=\" HTTP/1.1\r\nHost: h\r\nUser-Agent: me \"x\"\r\n\r\n";
    client.send(request.as_bytes()).unwrap();
    assert_eq!(client.receive().unwrap().status, 200);
    let line = &lines(&node, 1)[0];
    let text = node.access_log();
    let address = client.socket().local_addr().unwrap();
    let start = format!(r#"{{"level":"info","remote_addr":"{address}","#)
        + r#""user_agent":"me \"x\"","tag":"my.access","method":"GET","#
        + r#""url":"/queues?a=%0A&b=\"","status":200,"duration":"#;
    assert!(text.starts_with(&start), "{text} does not start with {start}");
    assert!(line["duration"].as_f64().is_some_and(|ms| (0.0..60_000.0).contains(&ms)), "{line}");
    let time: jiff::Timestamp = line["time"].as_str().unwrap().parse().unwrap();
    assert!((jiff::Timestamp::now().as_second() - time.as_second()).abs() < 60, "{line}");
    let keys: Vec<_> = line.as_object().unwrap().keys().collect();
    assert_eq!(keys.len(), 9, "{line}");
}

#[test]
fn every_request_has_a_line() {
    let node = Store::InMemory.node(&["max-body-size=1000"]);
    for (method, path, status) in [
        ("GET", "/version", 200),
        ("HEAD", "/version", 200),
        ("GET", "/no/such/path", 404),
        ("PATCH", "/version", 405),
        ("GET", "/queue/missing", 404),
        ("GET", "/queue/%", 400),
        ("PUT", "/queue/q", 200),
        ("DELETE", "/queue/q", 200),
        ("POST", "/job/c", 400),
    ] {
        let body = if method == "PUT" { "{}" } else { "" };
        let answer = http::request(node.address(), method, path, &[], body);
        assert_eq!(answer.status, status, "{method} {path}");
    }
    let lines = lines(&node, 9);
    let shown: Vec<_> = lines
        .iter()
        .map(|line| {
            assert!(line.get("user_agent").is_none(), "{line}");
            format!("{} {} {}", line["method"], line["url"], line["status"]).replace('"', "")
        })
        .collect();
    assert_eq!(
        shown,
        [
            "GET /version 200",
            "HEAD /version 200",
            "GET /no/such/path 404",
            "PATCH /version 405",
            "GET /queue/missing 404",
            "GET /queue/% 400",
            "PUT /queue/q 200",
            "DELETE /queue/q 200",
            "POST /job/c 400",
        ]
    );
}

#[test]
fn what_the_connection_refuses_has_a_line() {
    let node = Store::InMemory.node(&["max-body-size=1000", "request-timeout=1"]);
    let long = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(40_000));
    for (request, status) in [
        ("POST /job/c HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n", 413),
        ("POST /job/c HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n", 400),
        (long.as_str(), 414),
        ("GET /version HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n", 408),
        ("\x16\x03\x01\x02\x00\n", 400),
    ] {
        let mut client = node.connect();
        let _ = client.send(request.as_bytes());
        assert_eq!(client.receive().unwrap().status, status);
    }
    let statuses: Vec<_> =
        lines(&node, 5).iter().map(|line| line["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [413, 400, 414, 408, 400]);
}
