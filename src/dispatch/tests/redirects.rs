//! Redirects.

use super::worker::Worker;
use super::*;

/// A worker that sends requests for `/from` on, and answers the others.
fn redirecting(status: &'static str, location: impl Into<String>) -> Worker {
    let location = location.into();
    Worker::start(move |_, connection| {
        while let Some(request) = connection.receive() {
            if request.line.contains(" /from") {
                connection.answer_with(status, &format!("Location: {location}\r\n"), "see there");
            } else {
                connection.answer("200 OK", SUCCESS);
            }
        }
    })
}

#[test]
fn a_see_other_becomes_a_get_without_a_body() {
    for status in ["301 Moved", "302 Found", "303 See Other"] {
        let worker = redirecting(status, "../to?x#y");
        assert_success(&post(worker.url("/from/here"), &[]));
        let received = &worker.received()[1];
        assert_eq!(received.line, "GET /to?x HTTP/1.1");
        assert!(received.body.is_empty());
        for absent in ["content-length", "content-type", "transfer-encoding"] {
            assert_eq!(received.header(absent), None);
        }
        assert_eq!(received.header("fireworq-job-id"), Some("7"));
        assert_eq!(worker.connections(), 1);
    }
}

#[test]
fn a_temporary_redirect_repeats_the_post() {
    for status in ["307 Temporary Redirect", "308 Permanent Redirect"] {
        let worker = redirecting(status, "/to");
        assert_success(&post(worker.url("/from"), &[]));
        let received = worker.received();
        assert_eq!(received[1].line, "POST /to HTTP/1.1");
        assert_eq!(received[1].body, received[0].body);
        assert_eq!(received[1].header("content-type"), Some("application/json"));
    }
}

#[test]
fn a_get_stays_a_get() {
    let worker = Worker::start(|_, connection| {
        for (status, location) in [("302 Found", "/b"), ("307 Temporary", "/c")] {
            connection.receive();
            connection.answer_with(status, &format!("Location: {location}\r\n"), "");
        }
        connection.receive();
        connection.answer("200 OK", SUCCESS);
    });
    assert_success(&post(worker.url("/a"), &[]));
    assert_eq!(worker.received()[2].line, "GET /c HTTP/1.1");
}

#[test]
fn without_a_location_it_is_an_answer() {
    for headers in ["", "Location: \r\n"] {
        let worker = Worker::start(move |_, connection| {
            connection.receive();
            connection.answer_with("302 Found", headers, SUCCESS);
        });
        let outcome = post(worker.url("/"), &[]);
        assert_success(&outcome);
        assert_eq!(outcome.code, 302);
    }
}

#[test]
fn a_location_that_leads_nowhere_is_a_failure() {
    for location in ["file:///etc/passwd", "ftp://u:secret@h/", "http://u:secret@:80", "gopher:x"] {
        let worker = redirecting("302 Found", location);
        let outcome = post(worker.url("/from"), &[]);
        assert_no_answer(&outcome, "the URL of a redirect ");
        assert!(!outcome.message.contains("secret"));
    }
}

#[test]
fn ten_redirects_are_followed_and_no_more() {
    for (redirects, succeeds) in [(10, true), (11, false)] {
        let worker = Worker::start(move |_, connection| {
            while let Some(request) = connection.receive() {
                let step: u32 = request.line.split(['/', ' ']).nth(2).unwrap().parse().unwrap();
                let next = step + 1;
                if step < redirects {
                    connection.answer_with("307 Go", &format!("Location: /{next}\r\n"), "");
                } else {
                    connection.answer("200 OK", SUCCESS);
                }
            }
        });
        let outcome = post(worker.url("/0"), &[]);
        if succeeds {
            assert_success(&outcome);
        } else {
            assert_no_answer(&outcome, "stopped after 10 redirects");
        }
        assert_eq!(worker.received().len(), 11);
    }
}

#[test]
fn a_user_does_not_leak_to_another_host() {
    let other = Worker::answering(SUCCESS);
    let worker = redirecting("307 Go", other.url("/to"));
    assert_success(&post(format!("http://me:secret@{}/from", worker.address), &[]));
    assert!(worker.received()[0].header("authorization").is_some());
    assert_eq!(other.received()[0].header("authorization"), None);
    let worker = redirecting("307 Go", format!("http://you:x@{}/to", other.address));
    assert_success(&post(format!("http://me:secret@{}/from", worker.address), &[]));
    assert_eq!(other.received()[1].header("authorization"), Some("Basic eW91Ong="));
    let worker = redirecting("307 Go", "/to");
    assert_success(&post(format!("http://me:secret@{}/from", worker.address), &[]));
    assert!(worker.received()[1].header("authorization").is_some());
}

#[test]
fn a_redirect_with_a_body_without_end_is_followed() {
    let worker = Worker::start(|_, connection| {
        let request = connection.receive().unwrap();
        if request.line.contains("/from") {
            connection.send("HTTP/1.1 302 Found\r\nLocation: /to\r\n\r\nendless");
            connection.await_end();
        } else {
            connection.answer("200 OK", SUCCESS);
        }
    });
    assert_success(&post(worker.url("/from"), &[]));
}
