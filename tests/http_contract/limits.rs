//! What is too much: 408, 413, 414, 431, 503.

use std::time::Duration;

use serde_json::json;

use super::routes::assert_plain_error;
use crate::stores::Store;
use crate::support::http::{self, Client};
use crate::support::wait::{SOON, until};

#[test]
fn a_body_over_the_limit_is_413() {
    let node = Store::InMemory.node(&["max-body-size=1000"]);
    let body = |size: usize| format!("{:<size$}", r#"{"url":"http://127.0.0.1:1/"}"#);
    assert_eq!(node.post("/job/c", body(1000)).status, 200);
    assert_plain_error(&node.post("/job/c", body(1001)), 413);
    let mut client = node.connect();
    let head = "POST /job/c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let _ = client.send(format!("{head}3e9\r\n{}\r\n0\r\n\r\n", body(1001)).as_bytes());
    assert_plain_error(&client.receive().unwrap(), 413);
    assert!(client.is_closed());
    let accept = [("Accept", "application/problem+json")];
    let answer = http::request(node.address(), "POST", "/job/c", &accept, body(5000));
    assert_eq!(answer.header("Content-Type"), Some("application/problem+json"));
    assert_eq!(answer.json()["status"], 413);
}

#[test]
fn a_length_beyond_all_measure_ends_nothing() {
    let node = Store::InMemory.shared();
    for length in ["9000000000000", "9223372036854775807", "18446744073709551615"] {
        let mut client = node.connect();
        let request =
            format!("POST /job/c HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
        client.send(request.as_bytes()).unwrap();
        assert_plain_error(&client.receive().unwrap(), 413);
        assert!(client.is_closed());
    }
    assert_eq!(node.get("/version").status, 200);
}

#[test]
fn a_target_too_long_is_414() {
    let node = Store::InMemory.shared();
    assert_eq!(node.get(&format!("/version?{}", "x".repeat(4000))).status, 200);
    let mut client = node.connect();
    let target = "x".repeat(40_000);
    let _ = client.send(format!("GET /{target} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
    let answer = client.receive().unwrap();
    assert_eq!(answer.status, 414);
    assert!(answer.text().starts_with("414 "), "{}", answer.text());
    assert!(client.is_closed());
}

#[test]
fn a_head_too_large_is_431() {
    let node = Store::InMemory.node(&["max-header-size=2000"]);
    let head = |size: usize| {
        let start = "GET /version HTTP/1.1\r\nHost: h\r\nX: ";
        format!("{start}{}\r\n\r\n", "x".repeat(size - start.len() - 4))
    };
    for (request, status) in [
        (head(2000), 200),
        (head(2001), 431),
        (head(100_000), 431),
        (format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "A: b\r\n".repeat(200)), 431),
    ] {
        let mut client = node.connect();
        let _ = client.send(request.as_bytes());
        let answer = client.receive().unwrap();
        assert_eq!(answer.status, status, "{} bytes", request.len());
        assert!(status == 200 || client.is_closed());
    }
}

#[test]
fn a_request_that_does_not_arrive_in_time_is_408() {
    let node = Store::InMemory.node(&["request-timeout=1"]);
    for (start, then) in [
        ("GET /version HTT", ""),
        ("GET /version HTTP/1.1\r\nHost: h\r\n", ""),
        ("PUT /queue/q HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n", "{"),
        ("PUT /queue/q HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", "2\r\n{}\r\n"),
    ] {
        let mut client = node.connect();
        client.send(start.as_bytes()).unwrap();
        client.send(then.as_bytes()).unwrap();
        let answer = client.receive().unwrap();
        assert_plain_error(&answer, 408);
        assert_eq!(answer.header("Connection"), Some("close"));
        assert!(client.is_closed(), "{start:?}");
    }
    assert_eq!(node.get("/queue/q").status, 404);
}

/// Bytes that come again and again do not put the end off.
#[test]
fn a_dripping_request_is_408() {
    let node = Store::InMemory.node(&["request-timeout=1"]);
    let mut client = node.connect();
    client.send(b"GET /version HTTP/1.1\r\nHost: h\r\nX: ").unwrap();
    let mut dripping = client.socket().try_clone().unwrap();
    let drip = std::thread::spawn(move || {
        use std::io::Write;
        for _ in 0..200 {
            if dripping.write_all(b"x").is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    assert_eq!(client.receive().unwrap().status, 408);
    client.socket().shutdown(std::net::Shutdown::Both).unwrap();
    drip.join().unwrap();
}

#[test]
fn an_idle_connection_is_closed_in_silence() {
    let node = Store::InMemory.node(&["idle-timeout=1"]);
    let mut unused = node.connect();
    let mut used = node.connect();
    used.send(b"GET /version HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert_eq!(used.receive().unwrap().status, 200);
    assert!(used.is_closed());
    assert!(unused.is_closed());
}

#[test]
fn a_client_that_does_not_read_is_given_up() {
    let node = Store::InMemory.node(&["response-timeout=1"]);
    let queue = node.queue(&json!({}));
    let payload = "x".repeat(1_000_000);
    for _ in 0..7 {
        queue.push(&json!({"url": "http://127.0.0.1:1/", "run_after": 3600, "payload": payload}));
    }
    let mut client = node.connect();
    let name = &queue.name;
    client
        .send(format!("GET /queue/{name}/deferred HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes())
        .unwrap();
    let (server, client_port) = (node.address(), client.socket().local_addr().unwrap().port());
    until("it is given up", SOON, || !is_established(server.port(), client_port));
    assert!(client.receive().is_err(), "the whole answer came");
}

/// Whether the end of a loopback connection at `port` is open, by the system's own table.
fn is_established(port: u16, peer: u16) -> bool {
    const ESTABLISHED: &str = "01";
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let (local, remote) = (format!(":{port:04X}"), format!(":{peer:04X}"));
    table.lines().map(str::split_whitespace).any(|mut fields| {
        let mut field = || fields.next().unwrap_or_default();
        let (_, from, to, state) = (field(), field(), field(), field());
        from.ends_with(&local) && to.ends_with(&remote) && state == ESTABLISHED
    })
}

#[test]
fn one_connection_too_many_is_503() {
    let node = Store::InMemory.node(&["max-connections=4"]);
    let mut clients: Vec<Client> = (0..4).map(|_| node.connect()).collect();
    for client in &mut clients {
        client.send(b"GET /version HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        assert_eq!(client.receive().unwrap().status, 200);
    }
    let mut turned_away = node.connect();
    let answer = turned_away.receive().unwrap();
    assert_plain_error(&answer, 503);
    assert!(answer.header("Retry-After").is_some());
    assert!(turned_away.is_closed());
    drop(clients);
    until("there is room again", SOON, || {
        let mut client = node.connect();
        let _ = client.send(b"GET /version HTTP/1.1\r\nHost: h\r\n\r\n");
        client.receive().is_ok_and(|answer| answer.status == 200)
    });
}

#[test]
fn bodies_share_a_bound() {
    let node = Store::InMemory.node(&["max-body-memory=4000000"]);
    let body = |size: usize| {
        let job = r#"{"url":"http://127.0.0.1:1/","run_after":3600}"#;
        format!("{job}{}", " ".repeat(size - job.len()))
    };
    // Each holds its memory while its last byte is missing.
    let mut half: Vec<Client> = Vec::new();
    let mut refused = None;
    for _ in 0..8 {
        let mut client = node.connect();
        let head = "POST /job/c HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n";
        client.send(head.as_bytes()).unwrap();
        client.be_patient_for(Duration::from_millis(500));
        let _ = client.send(&body(1_000_000).as_bytes()[..999_999]);
        match client.receive() {
            Ok(answer) => {
                refused = Some(answer);
                break;
            }
            Err(_) => half.push(client),
        }
    }
    let answer = refused.expect("one is refused");
    assert_plain_error(&answer, 503);
    assert!(answer.header("Retry-After").is_some());
    assert!(half.len() >= 2, "only {} bodies fit", half.len());
    assert_eq!(node.get("/version").status, 200);
    let mut first = half.remove(0);
    first.be_patient_for(SOON);
    first.send(b" ").unwrap();
    assert_eq!(first.receive().unwrap().status, 200);
    drop(half);
    until("there is room again", SOON, || node.post("/job/c", body(1_000_000)).status == 200);
}
