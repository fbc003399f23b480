//! Everything too large: refused with a 4xx, and memory stays bounded.

use crate::support::daemon::{Daemon, Options};
use crate::support::http::{self, Client};
use crate::support::wait::{SOON, until};

/// How much the daemon may grow over all of this: what `max_body_memory` allows is far more.
const MAX_GROWTH: u64 = 160 << 20;

#[test]
fn what_is_too_large_is_refused_and_memory_stays_bounded() {
    let node = Options::new().flag("driver", "in-memory").start();
    let before = resident_bytes(&node);
    let push = |body: Vec<u8>| http::post(node.address(), "/job/c", body).status;
    let mega = |count: usize| "x".repeat(count << 20);
    let url = r#""url":"http://127.0.0.1:9/","run_after":86400"#;
    for (what, body, status) in [
        ("a payload of 16 MB and more", format!(r#"{{{url},"payload":"{}"}}"#, mega(16)), 413),
        ("a body over the limit", format!(r#"{{{url},"payload":"{}"}}"#, mega(33)), 413),
        ("a long URL", format!(r#"{{"url":"http://h/{}"}}"#, "u".repeat(65_536)), 400),
        ("a huge URL", format!(r#"{{"url":"http://h/{}"}}"#, mega(20)), 400),
        ("a huge number", format!(r#"{{{url},"timeout":{}}}"#, "9".repeat(1 << 20)), 400),
        ("a huge key", format!(r#"{{{url},"{}":1"#, mega(20)), 400),
        ("nothing but spaces", " ".repeat(20 << 20), 400),
        ("deep nesting", "[".repeat(20 << 20), 400),
        ("deep nesting of objects", r#"{"a":"#.repeat(4 << 20), 400),
        ("a deep payload", format!(r#"{{{url},"payload":{}"#, "[".repeat(8 << 20)), 400),
    ] {
        assert_eq!(push(body.into_bytes()), status, "{what}");
    }
    let long = "n".repeat(256);
    assert_eq!(http::put(node.address(), &format!("/queue/{long}"), "{}").status, 400);
    let category = http::post(node.address(), &format!("/job/{long}"), format!("{{{url}}}"));
    assert_eq!(category.status, 400, "{category:?}");
    let growth = resident_bytes(&node).saturating_sub(before);
    assert!(growth < MAX_GROWTH, "grew by {growth} bytes");
}

#[test]
fn what_a_connection_sends_is_bounded() {
    let node = Options::new().flag("driver", "in-memory").start();
    let many = "X: y\r\n".repeat(5000);
    for (what, request, statuses) in [
        ("a request line", format!("GET /{} HTTP/1.1\r\n", "x".repeat(70_000)), [414, 431]),
        ("a header", format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}", "y".repeat(70_000)), [431, 431]),
        ("headers", format!("GET / HTTP/1.1\r\nHost: h\r\n{many}\r\n"), [431, 431]),
        (
            "a line before a chunk",
            format!(
                "PUT /queue/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2;{}",
                "e".repeat(5000)
            ),
            [400, 413],
        ),
        (
            "trailers",
            format!(
                "PUT /queue/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{many}"
            ),
            [400, 431],
        ),
        (
            "chunks of one byte with long lines",
            format!(
                "PUT /queue/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{}",
                format!("1;{}\r\n \r\n", "e".repeat(900)).repeat(3000)
            ),
            [400, 413],
        ),
    ] {
        let mut client = Client::connect(node.address());
        // It may be answered, and closed, before all of it is sent.
        let _ = client.send(request.as_bytes());
        let answer = client.receive().unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(statuses.contains(&answer.status), "{what}: {answer:?}");
        assert!(client.is_closed(), "{what}");
    }
    assert_eq!(http::get(node.address(), "/version").status, 200);
}

#[test]
fn answers_that_nobody_reads_are_bounded() {
    const LISTING: &str = "/queue/default/deferred";
    let node = Options::new()
        .flag("driver", "in-memory")
        .flag("queue-default", "default")
        .flag("max-body-memory", "33554432")
        .start();
    let push = |size: usize| {
        let job = r#""url":"http://127.0.0.1:9/","run_after":86400"#;
        let body = format!(r#"{{{job},"payload":"{}"}}"#, "x".repeat(size));
        let answer = http::post(node.address(), "/job/c", body);
        assert_eq!(answer.status, 200);
        answer.json()["id"].as_u64().unwrap()
    };
    let ids: Vec<u64> = (0..4).map(|_| push(4 << 20)).collect();
    let before = resident_bytes(&node);
    let ask = || {
        let mut client = Client::connect(node.address());
        client.send(format!("GET {LISTING} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).unwrap();
        client
    };
    let mut crowd = Vec::new();
    until("the answers are too many", SOON, || {
        crowd.push(ask());
        let answer = http::get(node.address(), LISTING);
        answer.status == 503 && answer.text().contains("large answers")
    });
    let path = format!("/queue/default/job/{}", ids[0]);
    assert_eq!(http::delete(node.address(), &path).status, 503, "it would be lost");
    crowd.extend((0..60).map(|_| ask()));
    let small = push(1);
    push(8 << 20);
    let path = format!("/queue/default/job/{small}");
    until("it is its turn", SOON, || http::get(node.address(), &path).status == 200);
    // Unbounded they would be 750 MB.
    let growth = resident_bytes(&node).saturating_sub(before);
    assert!(growth < 350 << 20, "grew by {growth} bytes");

    drop(crowd);
    until("there is room again", SOON, || {
        let answer = http::get(node.address(), LISTING);
        answer.status == 200 && answer.body.len() > 8 << 20
    });
    let path = format!("/queue/default/job/{}", ids[0]);
    assert_eq!(http::delete(node.address(), &path).status, 200);
}

fn resident_bytes(node: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}
