//! What the worker receives is what was pushed, byte for byte.

use serde_json::json;

use super::routes::assert_plain_error;
use crate::stores::{Store, on_every_store};
use crate::support::worker::Worker;
use crate::workers::{count, wait_for};

on_every_store! {
    a_payload_keeps_its_own_spelling
    a_string_is_decoded
    no_payload_is_an_empty_body
    a_listing_shows_json_as_it_is
    the_largest_payload
}

/// Pushes payloads one after the other and answers what the worker received of each.
fn delivered(store: Store, payloads: &[&str]) -> Vec<String> {
    let worker = Worker::successful();
    let queue = store.shared().queue(&json!({"max_workers": 1}));
    for (number, payload) in payloads.iter().enumerate() {
        let url = worker.url("/");
        queue.push_text(&format!(r#"{{"url":"{url}","payload":{payload}}}"#));
        wait_for(&worker, number + 1);
    }
    worker.received().iter().map(|received| received.text().to_owned()).collect()
}

fn a_payload_keeps_its_own_spelling(store: Store) {
    let payloads = [
        r#"{"a": 1.0}"#,
        "12345678901234567890",
        "1234567890123456789012345678901234567890.10e+0005",
        "1.10",
        "-0",
        "true",
        "false",
        "[ 1,\t2 ,\n 3 ]",
        r#"{"b":1,"a":{"x" : [ ]},"b":2}"#,
        r#"["\u0041\/\ud83d\ude00\ud83d",""]"#,
        "{ }",
        r#"["<>&あ"]"#,
    ];
    assert_eq!(delivered(store, &payloads), payloads);
    // White space around a value is not the value's.
    assert_eq!(delivered(store, &["  [1]\n", "\t7 "]), ["[1]", "7"]);
}

fn a_string_is_decoded(store: Store) {
    let received = delivered(
        store,
        &[
            r#""hello\nworld""#,
            r#""{\"a\":1}""#,
            r#""null""#,
            r#"" \u3042\ud83d\ude00\/\\\t""#,
            r#""\ud83d""#,
            r#""a\u0000b""#,
        ],
    );
    let expected = ["hello\nworld", r#"{"a":1}"#, "null", " あ\u{1f600}/\\\t", "\u{fffd}", "a\0b"];
    assert_eq!(received, expected);
}

fn no_payload_is_an_empty_body(store: Store) {
    let worker = Worker::successful();
    let queue = store.shared().queue(&json!({}));
    let url = worker.url("/");
    queue.push_text(&format!(r#"{{"url":"{url}"}}"#));
    queue.push_text(&format!(r#"{{"url":"{url}","payload":null}}"#));
    queue.push_text(&format!(r#"{{"url":"{url}","payload":""}}"#));
    queue.push_text(&format!(r#"{{"url":"{url}","payload":1,"Payload":null}}"#));
    for received in wait_for(&worker, 4) {
        assert_eq!(received.text(), "");
        assert_eq!(received.header("Content-Length"), Some("0"));
        assert_eq!(received.method, "POST");
    }
}

fn a_listing_shows_json_as_it_is(store: Store) {
    let queue = store.shared().queue(&json!({}));
    for (payload, shown) in [
        (r#"{"a": 1.0, "b":12345678901234567890}"#, r#"{"a": 1.0, "b":12345678901234567890}"#),
        (r#""hello\nworld""#, r#""hello\nworld""#),
        (r#""{\"a\": 1.0}""#, r#"{"a": 1.0}"#),
        (r#""null""#, "null"),
        ("1.10", "1.10"),
        (r#""{""#, r#""{""#),
        ("null", r#""""#),
    ] {
        let id = queue.push_text(&format!(
            r#"{{"url":"http://127.0.0.1:1/","run_after":3600,"payload":{payload}}}"#
        ));
        let answer = queue.get(&format!("/job/{id}"));
        let expected = format!(r#""payload":{shown},"status""#);
        assert!(answer.text().contains(&expected), "{} lacks {expected}", answer.text());
    }
}

/// 16,777,215 bytes is what a `MEDIUMBLOB` holds; a packet of the default size does not.
fn the_largest_payload(store: Store) {
    const MOST: usize = 16_777_215;
    let node = store.shared();
    let worker = Worker::successful();
    let queue = node.queue(&json!({}));
    let url = worker.url("/");
    let push = |size: usize| {
        let payload = "x".repeat(size);
        let body = format!(r#"{{"url":"{url}","payload":"{payload}"}}"#);
        node.post(&format!("/job/{}", queue.name), body)
    };
    let answer = push(MOST);
    if store == Store::Mysql && answer.status != 200 {
        assert_plain_error(&answer, 413);
        assert!(answer.text().contains("max_allowed_packet"), "{}", answer.text());
    } else {
        assert_eq!(answer.status, 200);
        assert_eq!(wait_for(&worker, 1)[0].body.len(), MOST);
    }
    let earlier = count(&worker);
    assert_plain_error(&push(MOST + 1), 413);
    assert_eq!(push(15_000_000).status, 200);
    assert_eq!(wait_for(&worker, earlier + 1)[earlier].body.len(), 15_000_000);
    // Not by listings, which would carry them along.
    queue.wait_for_stat("total_successes", earlier as u64 + 1);
}
