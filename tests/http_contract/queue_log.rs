//! The queue log: a line for each step of a job.

use serde_json::{Value, json};

use crate::stores::{Store, on_every_store};
use crate::support::wait::{SOON, eventually, until};
use crate::support::worker::{Reaction, Worker};
use crate::workers::{failure, wait_for};

on_every_store! {
    every_step_has_its_line
    a_failed_job_has_its_lines
}

const KEYS: &[&str] = &[
    "level",
    "time",
    "tag",
    "action",
    "queue",
    "category",
    "id",
    "status",
    "created_at",
    "elapsed",
    "url",
    "payload",
    "next_try",
    "retry_count",
    "retry_delay",
    "fail_count",
    "timeout",
    "message",
];

/// The lines, taken apart; each must be a whole object.
fn lines(text: &str) -> Vec<Value> {
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is torn: {text}");
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// The keys of a line in their order.
fn keys(line: &str) -> Vec<&str> {
    let mut keys = Vec::new();
    let mut rest = line.strip_prefix('{').unwrap();
    for key in KEYS {
        let start = format!("\"{key}\":");
        if let Some(after) = rest.strip_prefix(start.as_str()) {
            keys.push(*key);
            let mut values = serde_json::Deserializer::from_str(after).into_iter::<Value>();
            values.next().unwrap().unwrap();
            let at = values.byte_offset();
            rest = after[at..].trim_start_matches(',');
        }
    }
    assert_eq!(rest, "}", "an unknown key or another order: {line}");
    keys
}

fn every_step_has_its_line(store: Store) {
    let node = store.node(&["queue-log-level=debug", "queue-log-tag=my.tag"]);
    let queue = node.queue(&json!({}));
    let worker = Worker::start(|received| {
        let body = r#"{"status":"failure","message":"not \"yet\""}"#;
        if received.number == 0 { Reaction::answer(200, &[], body) } else { Reaction::success() }
    });
    let url = worker.url("/");
    let id = queue.push_text(&format!(
        r#"{{"url":"{url}","payload":{{"a": "b\n"}},"max_retries":1,"timeout":9}}"#
    ));
    let log = eventually("five lines", SOON, || {
        Some(node.queue_log()).filter(|text| text.lines().count() >= 5)
    });
    let lines = lines(&log);
    assert_eq!(lines.len(), 5, "{log}");
    let expected = [
        ("push", "info", "claimed", 1, 0, "New job accepted"),
        ("pop", "debug", "grabbed", 1, 0, "A job grabbed"),
        ("retry", "info", "failed", 1, 1, "not \"yet\""),
        ("pop", "debug", "grabbed", 0, 1, "A job grabbed"),
        ("complete", "info", "completed", 0, 1, ""),
    ];
    // What is stored may be told only after the job was grabbed for what follows.
    let place = |line: &Value| {
        let step = |(action, .., fail_count, _): &(&str, &str, &str, i32, i32, &str)| {
            line["action"] == *action && line["fail_count"] == *fail_count
        };
        expected.iter().position(step)
    };
    let mut texts: Vec<_> = log.lines().zip(&lines).collect();
    texts.sort_by_key(|(_, line)| place(line));
    for ((text, line), (action, level, status, retry_count, fail_count, message)) in
        texts.into_iter().zip(expected)
    {
        let keys = keys(text);
        let all = if message.is_empty() { &KEYS[..KEYS.len() - 1] } else { KEYS };
        assert_eq!(keys, all, "{text}");
        for (key, value) in [
            ("level", json!(level)),
            ("tag", json!("my.tag")),
            ("action", json!(action)),
            ("queue", json!(queue.name)),
            ("category", json!(queue.name)),
            ("id", json!(id)),
            ("status", json!(status)),
            ("url", json!(url)),
            ("payload", json!("{\"a\": \"b\\n\"}")),
            ("retry_count", json!(retry_count)),
            ("retry_delay", json!(0)),
            ("fail_count", json!(fail_count)),
            ("timeout", json!(9)),
        ] {
            assert_eq!(line[key], value, "{key}: {text}");
        }
        if !message.is_empty() {
            assert_eq!(line["message"], message);
        }
        let ms = |key: &str| line[key].as_u64().unwrap();
        assert!(ms("time") > 1_700_000_000_000, "{text}");
        assert!(ms("next_try") >= ms("created_at"), "{text}");
        assert!(ms("elapsed") < 60_000, "{text}");
        assert!(ms("created_at").abs_diff(ms("time")) < 60_000, "{text}");
    }
}

fn a_failed_job_has_its_lines(store: Store) {
    let node = store.node(&[]);
    let queue = node.queue(&json!({}));
    let worker = Worker::start(|_| failure());
    queue.push(&json!({"url": worker.url("/"), "retry_delay": 1, "max_retries": 1}));
    queue.failures(1);
    let log = eventually("three lines", SOON, || {
        Some(node.queue_log()).filter(|text| text.lines().count() >= 3)
    });
    let lines = lines(&log);
    let shown: Vec<_> = lines
        .iter()
        .map(|line| {
            let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            (text("action"), text("status"), text("message"), line["fail_count"].as_u64().unwrap())
        })
        .collect();
    let owned = |a: &str, b: &str, c: &str, d| (a.to_owned(), b.to_owned(), c.to_owned(), d);
    let expected = [
        owned("push", "claimed", "New job accepted", 0),
        owned("retry", "failed", "no", 1),
        owned("complete", "failed", "no", 2),
    ];
    assert_eq!(shown, expected, "{log}");
    // Those of the try that ended.
    assert_eq!((&lines[1]["retry_count"], &lines[2]["retry_count"]), (&json!(1), &json!(0)));
    assert_eq!(lines[1]["next_try"], lines[0]["next_try"]);
    assert!(lines[2]["next_try"].as_u64() > lines[1]["next_try"].as_u64());
}

#[test]
fn odd_texts_stay_in_one_line() {
    let node = Store::InMemory.node(&[]);
    let queue = node.queue(&json!({}));
    let worker = Worker::start(|_| {
        let body = json!({"status": "failure", "message": "a\r\nb\u{2028}\u{0}\"\\\u{1b}[0m"});
        Reaction::answer(200, &[], body.to_string())
    });
    let payload = "x\n{\"y\":\"\u{7f}\u{1}\u{85}\"}\r\tあ\u{1f600}";
    queue.push(&json!({"url": worker.url("/"), "payload": payload}));
    let log = eventually("two lines", SOON, || {
        Some(node.queue_log()).filter(|text| text.lines().count() >= 2)
    });
    let lines = lines(&log);
    assert_eq!(lines.len(), 2, "{log}");
    assert!(lines.iter().all(|line| line["payload"] == payload), "{log}");
    assert_eq!(lines[1]["message"], "a\r\nb\u{2028}\u{0}\"\\\u{1b}[0m");
    let is_plain = |character: char| character == '\n' || character >= ' ';
    assert!(log.chars().all(is_plain), "{log:?}");
}

#[test]
fn long_fields_are_cut_with_a_mark() {
    let node = Store::InMemory.node(&["queue-log-max-field-size=100"]);
    let queue = node.queue(&json!({}));
    let worker = Worker::start(|_| {
        let message = "m".repeat(500);
        Reaction::answer(200, &[], format!(r#"{{"status":"failure","message":"{message}"}}"#))
    });
    let payload = "é".repeat(300);
    queue.push(&json!({"url": worker.url("/"), "payload": payload}));
    let log = eventually("two lines", SOON, || {
        Some(node.queue_log()).filter(|text| text.lines().count() >= 2)
    });
    let lines = lines(&log);
    for (line, key, whole) in
        [(&lines[0], "payload", &payload), (&lines[1], "message", &"m".repeat(500))]
    {
        let shown = line[key].as_str().unwrap();
        assert!(shown.len() < 200, "{shown}");
        let same = shown.chars().zip(whole.chars()).take_while(|(a, b)| a == b).count();
        assert!(same >= 40, "{shown}");
        assert!(shown.chars().count() > same, "there is no mark: {shown}");
    }
    // The worker and the failure log get everything.
    assert_eq!(wait_for(&worker, 1)[0].text(), payload);
    assert_eq!(queue.failures(1)[0]["result"]["message"].as_str().unwrap().len(), 500);
}

#[test]
fn the_level_decides_what_is_logged() {
    for (level, actions) in [
        ("debug", &["push", "pop", "complete"][..]),
        ("0", &["push", "pop", "complete"]),
        ("INFO", &["push", "complete"]),
        ("warning", &[]),
    ] {
        let mut node =
            Store::InMemory.node(&[&format!("queue-log-level={level}"), "error-log-level=debug"]);
        let queue = node.queue(&json!({}));
        let name = queue.name.clone();
        let worker = Worker::successful();
        queue.push(&json!({ "url": worker.url("/") }));
        queue.wait_for_stat("total_successes", 1);
        assert_eq!(node.stop(), 0);
        let found = lines(&node.queue_log());
        let mut found: Vec<_> = found.iter().map(|line| line["action"].as_str().unwrap()).collect();
        found.sort_by_key(|action| actions.iter().position(|known| known == action));
        assert_eq!(found, actions, "{level}, {name}");
        assert!(!node.access_log().is_empty());
    }
}

#[test]
fn logs_without_a_file_go_to_standard_output() {
    let mut node = Store::InMemory.node(&["queue-log=", "access-log="]);
    let queue = node.queue(&json!({}));
    let worker = Worker::successful();
    queue.push(&json!({ "url": worker.url("/") }));
    queue.wait_for_stat("total_successes", 1);
    until("the lines are there", SOON, || node.output().matches("\"action\"").count() == 2);
    assert_eq!(node.stop(), 0);
    let lines = lines(&node.output());
    let tags = |tag: &str| lines.iter().filter(|line| line["tag"] == tag).count();
    assert_eq!(tags("fireworq.queue"), 2);
    assert!(tags("fireworq.access") >= 3, "{}", node.output());
    assert_eq!(tags("fireworq.queue") + tags("fireworq.access"), lines.len());
}
