//! What answers mean, from their first byte to their last.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::worker::Worker;
use super::*;

/// The outcome of an answer with exactly these bytes, after which the connection ends.
fn outcome_of(bytes: impl Into<Vec<u8>>) -> Outcome {
    let bytes = bytes.into();
    let worker = Worker::start(move |_, connection| {
        connection.receive();
        connection.send(&bytes);
    });
    post(worker.url("/"), &[])
}

/// The outcome of a body sent with these headers and settings.
fn outcome_with(headers: &'static str, body: Vec<u8>, flags: &[&str]) -> Outcome {
    let worker = Worker::start(move |_, connection| {
        connection.receive();
        connection.answer_with("200 OK", headers, &body);
        connection.await_end();
    });
    post(worker.url("/"), flags)
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn the_body_decides_and_the_status_is_recorded() {
    for status in [200, 201, 300, 302, 304, 400, 404, 429, 500, 503, 599] {
        let text = format!("{status} Whatever");
        let worker = Worker::start(move |_, connection| {
            connection.receive();
            connection.answer(&text, SUCCESS);
        });
        let outcome = post(worker.url("/"), &[]);
        assert_eq!(outcome.code, status);
        // These two have no body, whatever comes after the head.
        if status == 304 {
            assert!(outcome.message.starts_with("Cannot parse body as JSON: "), "{outcome:?}");
        } else {
            assert_success(&outcome);
        }
    }
}

#[test]
fn no_body_is_no_answer() {
    for head in ["204 No Content\r\n", "304 Not Modified\r\n", "200 OK\r\nContent-Length: 0\r\n"] {
        let outcome = outcome_of(format!("HTTP/1.1 {head}\r\n"));
        assert_eq!(outcome.status, OutcomeStatus::Failure);
        assert!(outcome.message.starts_with("Cannot parse body as JSON: "), "{outcome:?}");
        assert!(outcome.message.ends_with("\nOriginal response body:\n"), "{outcome:?}");
    }
}

#[test]
fn a_body_ends_as_http_says() {
    let length = SUCCESS.len();
    let sized = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{SUCCESS}");
    let rest = &SUCCESS[1..];
    let chunks = format!("1\r\n{{\r\n{:x}\r\n{rest}\r\n0\r\n\r\n", length - 1);
    for answer in [
        format!("HTTP/1.1 200 OK\r\n\r\n{SUCCESS}"),
        format!("HTTP/1.0 200 OK\r\n\r\n{SUCCESS}"),
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"),
        format!("HTTP/1.1 100 Continue\r\n\r\n{sized}"),
        format!("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n{sized}"),
    ] {
        assert_success(&outcome_of(answer));
    }
}

#[test]
fn a_body_cut_short_is_a_failure() {
    let length = SUCCESS.len();
    let gzip = gzipped(SUCCESS.as_bytes());
    let cut_gzip =
        [b"HTTP/1.1 207 OK\r\nContent-Encoding: gzip\r\n\r\n", &gzip[..gzip.len() - 9]].concat();
    for answer in [
        format!("HTTP/1.1 207 OK\r\nContent-Length: {}\r\n\r\n{SUCCESS}", length + 1).into_bytes(),
        format!("HTTP/1.1 207 OK\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{SUCCESS}\r\n")
            .into_bytes(),
        b"HTTP/1.1 207 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n".to_vec(),
        cut_gzip,
    ] {
        let outcome = outcome_of(answer);
        assert_eq!((outcome.status, outcome.code), (OutcomeStatus::Failure, 207), "{outcome:?}");
        assert!(outcome.message.starts_with("Cannot read body: "), "{outcome:?}");
    }
}

#[test]
fn what_is_not_http_is_no_answer() {
    for answer in [
        "",
        "nonsense\r\n\r\n",
        "HTTP/1.1 200",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 000 OK\r\n\r\n",
    ] {
        assert_no_answer(&outcome_of(answer), "");
    }
    assert_no_answer(&outcome_of(""), "closed without an answer");
}

#[test]
fn a_head_without_end_is_no_answer() {
    let worker = Worker::start(|_, connection| {
        connection.receive();
        connection.send("HTTP/1.1 200 OK\r\nX: ");
        connection.send(vec![b'x'; 1_000_000]);
        connection.await_end();
    });
    assert_no_answer(&post(worker.url("/"), &[]), "larger than 16384 bytes");
}

#[test]
fn gzip_is_understood() {
    let body = gzipped(SUCCESS.as_bytes());
    assert_success(&outcome_with("Content-Encoding: gzip\r\n", body, &[]));
    let broken = outcome_with("Content-Encoding: gzip\r\n", b"not gzip at all".to_vec(), &[]);
    assert!(broken.message.starts_with("Cannot read body: "), "{broken:?}");
}

#[test]
fn an_answer_is_read_up_to_the_limit() {
    let padded = |size: usize| format!("{SUCCESS}{}", " ".repeat(size - SUCCESS.len()));
    let flags = ["--dispatch-max-response-size=1000"];
    assert_success(&outcome_with("", padded(1000).into_bytes(), &flags));
    let over = outcome_with("", padded(1001).into_bytes(), &flags);
    assert_eq!((over.status, over.code), (OutcomeStatus::Failure, 200));
    assert_eq!(over.message, "Cannot read body: larger than 1000 bytes");
    // Decoded bytes count: these are 10 MB.
    let bomb = gzipped(&vec![b' '; 10_000_000]);
    let over = outcome_with("Content-Encoding: gzip\r\n", bomb, &flags);
    assert_eq!(over.message, "Cannot read body: larger than 1000 bytes");
}

#[test]
fn an_answer_without_end_is_given_up_at_the_limit() {
    let worker = Worker::start(|_, connection| {
        connection.receive();
        connection.send("HTTP/1.1 200 OK\r\n\r\n");
        while connection.stream().get_ref().take_error().unwrap().is_none() {
            if std::io::Write::write_all(connection.stream().get_mut(), &[b' '; 4096]).is_err() {
                break;
            }
        }
    });
    let outcome = post(worker.url("/"), &[]);
    assert_eq!(outcome.message, "Cannot read body: larger than 1048576 bytes");
}

#[test]
fn the_message_kept_is_cut() {
    let body = format!(r#"{{"status":"failure","message":"{}"}}"#, "é".repeat(100));
    let outcome = outcome_with("", body.into_bytes(), &["--dispatch-max-message-size=15"]);
    assert_eq!(outcome.message, "é".repeat(7));
    let outcome = outcome_with("", b"x".repeat(1000), &["--dispatch-max-message-size=30"]);
    assert_eq!(outcome.message.len(), 30);
}
