//! What a worker receives.

use super::worker::Worker;
use super::*;

#[test]
fn the_payload_is_posted_with_its_headers() {
    let worker = Worker::answering(SUCCESS);
    let mut job = job(worker.url("/a%20b?c=d#e"));
    job.category = "kind of\r\njob 日".into();
    let outcome = dispatcher(&["--dispatch-user-agent=agent/1"]).post("q\r\nX: y", &job);
    assert_eq!(
        outcome,
        Outcome { status: OutcomeStatus::Success, code: 200, message: "ok".into() }
    );
    let received = &worker.received()[0];
    assert_eq!(received.line, "POST /a%20b?c=d HTTP/1.1");
    assert_eq!(received.body, job.payload);
    let mut headers = received.headers.clone();
    headers.sort();
    let host = worker.address.to_string();
    let expected = [
        ("accept-encoding", "gzip"),
        ("content-length", "7"),
        ("content-type", "application/json"),
        ("fireworq-attempt", "3"),
        ("fireworq-category", "kind%20of%0D%0Ajob%20%E6%97%A5"),
        ("fireworq-job-id", "7"),
        ("fireworq-queue", "q%0D%0AX:%20y"),
        ("host", host.as_str()),
        ("user-agent", "agent/1"),
    ];
    let headers: Vec<_> = headers.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(headers, expected);
}

#[test]
fn the_user_agent_names_the_daemon_and_its_version() {
    let worker = Worker::answering(SUCCESS);
    assert_success(&post(worker.url("/"), &[]));
    let expected = concat!("Fireworq/", env!("CARGO_PKG_VERSION"));
    assert_eq!(worker.received()[0].header("user-agent"), Some(expected));
}

#[test]
fn a_length_is_sent_for_every_payload() {
    let worker = Worker::answering(SUCCESS);
    let dispatcher = dispatcher(&[]);
    for size in [0, 1, BUFFER_BYTES - 1, BUFFER_BYTES, BUFFER_BYTES + 1, 1_000_000] {
        let mut job = job(worker.url("/"));
        job.payload = (0..size).map(|i| (i % 251) as u8).collect();
        assert_success(&dispatcher.post("q", &job));
        let received = worker.received().pop().unwrap();
        assert_eq!(received.header("content-length"), Some(size.to_string().as_str()));
        assert_eq!(received.header("transfer-encoding"), None);
        assert_eq!(received.body, job.payload);
    }
    assert_eq!(worker.connections(), 1);
}

#[test]
fn a_user_in_the_url_becomes_authorization() {
    let worker = Worker::answering(SUCCESS);
    assert_success(&post(format!("http://me:p%40ss@{}/", worker.address), &[]));
    let received = &worker.received()[0];
    assert_eq!(received.header("authorization"), Some("Basic bWU6cEBzcw=="));
    assert_eq!(received.header("host"), Some(worker.address.to_string().as_str()));
}

#[test]
fn a_long_url_is_sent_whole() {
    let worker = Worker::answering(SUCCESS);
    let path = format!("/{}", "a".repeat(65_000));
    assert_success(&post(worker.url(&path), &[]));
    assert_eq!(worker.received()[0].line, format!("POST {path} HTTP/1.1"));
    let user = "u".repeat(60_000);
    assert_success(&post(format!("http://{user}@{}/", worker.address), &[]));
    assert!(worker.received()[1].header("authorization").unwrap().len() > 80_000);
}

#[test]
fn a_url_that_cannot_be_requested_fails_its_job() {
    for url in ["", "file:///etc/passwd", "http://u:secret@h/\r\nX: y", "http://"] {
        let outcome = post(url, &[]);
        assert_no_answer(&outcome, "the URL ");
        assert!(!outcome.message.contains("secret"));
    }
}

#[test]
fn a_name_is_resolved_and_all_of_its_addresses_are_tried() {
    // Where the name has an IPv6 address too, nothing listens there.
    let worker = Worker::answering(SUCCESS);
    assert_success(&post(format!("http://localhost:{}/", worker.address.port()), &[]));
    let outcome = post("http://u:secret@name.invalid/", &[]);
    assert_no_answer(&outcome, "cannot resolve name.invalid");
    assert!(!outcome.message.contains("secret"));
}

#[test]
fn an_answer_before_the_end_of_the_request_counts() {
    // Ended with unread bytes, the connection is reset, behind the answer.
    let worker = Worker::start(|_, connection| {
        connection.receive_head();
        connection.answer("413 Too Large", r#"{"status":"permanent-failure"}"#);
    });
    let mut job = job(worker.url("/"));
    job.payload = vec![b'x'; 16_000_000];
    let outcome = dispatcher(&[]).post("q", &job);
    assert_eq!((outcome.status, outcome.code), (OutcomeStatus::PermanentFailure, 413));
}
