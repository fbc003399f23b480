//! What a worker's answer means.

use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::node::Queue;
use crate::stores::{Store, on_every_store};
use crate::support::worker::{Reaction, Worker};
use crate::workers::count;

on_every_store! {
    success_deletes_the_job
    the_body_decides_whatever_the_http_status
    failures_are_recorded_exactly
    what_is_no_answer_is_a_failure
    no_answer_is_an_internal_failure
    a_time_out_before_the_answer
    a_time_out_within_the_body
}

/// Delivers one job to a worker with this reaction and answers the recorded result.
#[track_caller]
fn result_of(queue: &Queue<'_>, reaction: Reaction) -> Value {
    let earlier = queue.failures(0).len();
    let worker = Worker::start(move |_| reaction.clone());
    queue.push(&json!({"url": worker.url("/"), "timeout": 20}));
    let failure = queue.failures(earlier + 1).swap_remove(0);
    assert_eq!(failure["fail_count"], 1);
    failure["result"].clone()
}

fn success_deletes_the_job(store: Store) {
    let queue = store.shared().queue(&json!({}));
    let answers: Vec<String> = [
        r#"{"status":"success"}"#,
        r#" {"message":"done","status":"success","code":0} "#,
        r#"{"STATUS":"success","Message":null,"Code":null}"#,
        r#"{"status":"failure","status":"success"}"#,
        r#"{"status":"success","other":{"status":"failure"}}"#,
        r#"{"status":"success","message":"\ud83d"}"#,
        r#"{"status":"success","code":-5}"#,
        "\n\t{\"status\":\"success\"}\r\n",
    ]
    .map(str::to_owned)
    .into();
    let number = answers.len();
    let worker = Worker::start(move |received| {
        let answer: usize = received.text().parse().unwrap();
        Reaction::answer(200, &[("Content-Type", "text/html")], &answers[answer])
    });
    for answer in 0..number {
        queue.push(&json!({"url": worker.url("/"), "payload": answer, "max_retries": 1}));
    }
    queue.wait_for_stat("total_successes", number as u64);
    queue.wait_until_empty();
    assert_eq!(count(&worker), number);
    assert!(queue.failures(0).is_empty());
    assert_eq!(queue.stat("total_failures"), 0);
}

fn the_body_decides_whatever_the_http_status(store: Store) {
    let queue = store.shared().queue(&json!({}));
    let codes = [200, 201, 202, 299, 300, 400, 401, 404, 418, 429, 500, 503, 599];
    let worker = Worker::start(|received| {
        let code: u16 = received.path[1..].parse().unwrap();
        let body = format!(r#"{{"status":"{}","message":"{code}"}}"#, received.text());
        Reaction::answer(code, &[], body)
    });
    for code in codes {
        let url = worker.url(&format!("/{code}"));
        queue.push(&json!({"url": url, "payload": "success"}));
        queue.push(&json!({"url": url, "payload": "failure"}));
    }
    let failures = queue.failures(codes.len());
    assert_eq!(failures.len(), codes.len());
    for code in codes {
        let expected = json!({"status": "failure", "code": code, "message": code.to_string()});
        let found = failures.iter().any(|failure| failure["result"] == expected);
        assert!(found, "{expected} is not in {failures:?}");
    }
    queue.wait_for_stat("total_successes", codes.len() as u64);
}

fn failures_are_recorded_exactly(store: Store) {
    let queue = store.shared().queue(&json!({}));
    for (body, status, message) in [
        (r#"{"status":"failure"}"#, "failure", ""),
        (r#"{"status":"failure","message":null}"#, "failure", ""),
        (r#"{"status":"failure","message":"a \"b\"\n\u3042","code":7}"#, "failure", "a \"b\"\nあ"),
        (r#"{"status":"permanent-failure","message":"p"}"#, "permanent-failure", "p"),
        (r#"{"Status":"permanent-failure"}"#, "permanent-failure", ""),
    ] {
        let result = result_of(&queue, Reaction::answer(203, &[], body));
        assert_eq!(result, json!({"status": status, "code": 203, "message": message}), "{body}");
    }
    let shown = queue.get("/failed?limit=1").text().to_owned();
    let expected = r#""result":{"status":"permanent-failure","code":203,"message":""}"#;
    assert!(shown.contains(expected), "{shown}");
    let bytes = b"{\"status\":\"failure\",\"message\":\"a\xffb\"}";
    let result = result_of(&queue, Reaction::answer(200, &[], bytes));
    assert_eq!(result["message"], "a\u{fffd}b");
}

fn what_is_no_answer_is_a_failure(store: Store) {
    let queue = store.shared().queue(&json!({}));
    for (start, body) in [
        ("Invalid result status: ", r#"{"status":"done"}"#),
        ("Invalid result status: ", r#"{"status":"Success"}"#),
        ("Invalid result status: ", r#"{"status":"internal-failure"}"#),
        ("Invalid result status: ", r#"{"status":null}"#),
        ("Invalid result status: ", r#"{"status":""}"#),
        ("Invalid result status: ", "{}"),
        ("Cannot parse body as JSON: ", ""),
        ("Cannot parse body as JSON: ", "OK"),
        ("Cannot parse body as JSON: ", "null"),
        ("Cannot parse body as JSON: ", "[]"),
        ("Cannot parse body as JSON: ", r#"[{"status":"success"}]"#),
        ("Cannot parse body as JSON: ", r#"{"status":"success"}x"#),
        ("Cannot parse body as JSON: ", r#"{"status":"success"}{}"#),
        ("Cannot parse body as JSON: ", r#"{"status":"success","message":5}"#),
        ("Cannot parse body as JSON: ", r#"{"status":"success","message":["a"]}"#),
        ("Cannot parse body as JSON: ", r#"{"status":"success","code":"200"}"#),
        ("Cannot parse body as JSON: ", r#"{"status":"success","code":1.5}"#),
        ("Cannot parse body as JSON: ", r#"{"status":["success"]}"#),
        ("Cannot parse body as JSON: ", "\u{feff}{\"status\":\"success\"}"),
    ] {
        let result = result_of(&queue, Reaction::answer(201, &[], body));
        assert_eq!(
            (&result["status"], &result["code"]),
            (&json!("failure"), &json!(201)),
            "{body}"
        );
        let message = result["message"].as_str().unwrap();
        assert!(message.starts_with(start), "{body}: {message}");
        let end = format!("\nOriginal response body:\n{body}");
        assert!(message.ends_with(&end), "{body}: {message}");
    }
    let result = result_of(&queue, Reaction::answer(200, &[], r#"{"status":"done"}"#));
    let expected = "Invalid result status: done\nOriginal response body:\n{\"status\":\"done\"}";
    assert_eq!(result["message"], expected);
    let deep = format!(r#"{{"status":"success","x":{}"#, "[".repeat(100_000));
    let result = result_of(&queue, Reaction::answer(200, &[], deep));
    assert_eq!(result["status"], "failure");
}

#[track_caller]
fn assert_internal_failure(result: &Value) {
    assert_eq!((&result["status"], &result["code"]), (&json!("internal-failure"), &json!(0)));
    let message = result["message"].as_str().unwrap();
    assert!(message.starts_with("Request failed: "), "{message}");
    assert!(message.len() > "Request failed: ".len(), "no reason is given");
}

fn no_answer_is_an_internal_failure(store: Store) {
    let queue = store.shared().queue(&json!({}));
    for reaction in [
        Reaction::close(),
        Reaction::reset(),
        Reaction::write_and_close("HTTP/1.1 200 OK\r\nContent-Le"),
        Reaction::write_and_close("nonsense\r\n\r\n"),
    ] {
        assert_internal_failure(&result_of(&queue, reaction));
    }
    let free = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let earlier = queue.failures(0).len();
    queue.push(&json!({"url": format!("http://{free}/"), "timeout": 20}));
    queue.push(&json!({"url": "http://no-such-host.invalid/", "timeout": 20}));
    for failure in queue.failures(earlier + 2).iter().take(2) {
        assert_internal_failure(&failure["result"]);
    }
}

fn a_time_out_before_the_answer(store: Store) {
    let queue = store.shared().queue(&json!({}));
    let silent = Worker::start(|_| Reaction::silence());
    // Accepted by the system, and by nobody else.
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let half =
        Worker::start(|_| Reaction::drip(Duration::from_secs(30), r#"{"status":"success"}"#));
    for url in [silent.url("/"), format!("http://{}/", deaf.local_addr().unwrap()), half.url("/")] {
        queue.push(&json!({"url": url, "timeout": 1}));
    }
    for failure in queue.failures(3) {
        assert_internal_failure(&failure["result"]);
        let time = |name: &str| {
            let text = failure[name].as_str().unwrap();
            text.parse::<jiff::Timestamp>().unwrap().as_millisecond()
        };
        assert!(time("failed_at") - time("created_at") >= 900, "{failure}");
    }
}

fn a_time_out_within_the_body(store: Store) {
    let queue = store.shared().queue(&json!({}));
    let worker = Worker::start(|_| {
        // The rest never comes, and the connection stays open.
        Reaction::write("HTTP/1.1 202 Slow\r\nContent-Length: 20\r\n\r\n{\"status\":\"suc")
    });
    queue.push(&json!({"url": worker.url("/"), "timeout": 1}));
    let result = &queue.failures(1)[0]["result"];
    assert_eq!((&result["status"], &result["code"]), (&json!("failure"), &json!(202)));
    let message = result["message"].as_str().unwrap();
    assert!(message.starts_with("Cannot read body: "), "{message}");
}

#[test]
fn a_body_cut_short_is_a_failure() {
    let queue = Store::InMemory.shared().queue(&json!({}));
    for bytes in [
        "HTTP/1.1 202 Cut\r\nContent-Length: 30\r\n\r\n{\"status\":\"success\"}",
        "HTTP/1.1 202 Cut\r\nTransfer-Encoding: chunked\r\n\r\n14\r\n{\"status\":\"success\"}\r\n",
        "HTTP/1.1 202 Cut\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "HTTP/1.1 202 Cut\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
    ] {
        let result = result_of(&queue, Reaction::write_and_close(bytes));
        assert_eq!(
            (&result["status"], &result["code"]),
            (&json!("failure"), &json!(202)),
            "{bytes}"
        );
        let message = result["message"].as_str().unwrap();
        assert!(message.starts_with("Cannot read body: "), "{bytes}: {message}");
    }
}

#[test]
fn every_framing_of_a_body_is_understood() {
    let queue = Store::InMemory.shared().queue(&json!({}));
    let body = r#"{"status":"success"}"#;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(body.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let chunked =
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n14\r\n{body}\r\n0\r\n\r\n");
    let until_close = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{body}");
    let old = format!("HTTP/1.0 200 OK\r\n\r\n{body}");
    let continued =
        format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{body}");
    let reactions = [
        Reaction::answer(200, &[("Content-Encoding", "gzip")], &gzip),
        Reaction::write_and_close(chunked),
        Reaction::write_and_close(until_close),
        Reaction::write_and_close(old),
        Reaction::write_and_close(continued),
        Reaction::drip(Duration::from_millis(2), body),
    ];
    let number = reactions.len();
    let worker =
        Worker::start(move |received| reactions[received.text().parse::<usize>().unwrap()].clone());
    for reaction in 0..number {
        queue.push(&json!({"url": worker.url("/"), "payload": reaction, "timeout": 20}));
    }
    queue.wait_until_empty();
    let failures = queue.failures(0);
    assert!(failures.is_empty(), "{failures:?}");
    queue.wait_for_stat("total_successes", number as u64);
}

#[test]
fn an_answer_over_the_limit_is_a_failure() {
    let node =
        Store::InMemory.node(&["dispatch-max-response-size=1000", "dispatch-max-message-size=100"]);
    let queue = node.queue(&json!({}));
    let long = format!(r#"{{"status":"success","message":"{}"}}"#, "x".repeat(2000));
    let endless = Reaction::endless();
    for reaction in [Reaction::answer(200, &[], long), endless] {
        let result = result_of(&queue, reaction);
        assert_eq!((&result["status"], &result["code"]), (&json!("failure"), &json!(200)));
    }
    let fits = format!(r#"{{"status":"failure","message":"{}"}}"#, "é".repeat(200));
    let result = result_of(&queue, Reaction::answer(200, &[], fits));
    let message = result["message"].as_str().unwrap();
    assert!(message.len() <= 100 && message.len() > 90, "{message}");
    assert!(message.chars().all(|character| character == 'é'), "{message}");
}

#[test]
fn a_default_limit_holds_for_jobs_without_one() {
    let node = Store::InMemory.node(&["dispatch-default-timeout=1"]);
    let queue = node.queue(&json!({}));
    let worker = Worker::start(|_| Reaction::silence());
    queue.push(&json!({ "url": worker.url("/") }));
    assert_internal_failure(&queue.failures(1)[0]["result"]);
}
