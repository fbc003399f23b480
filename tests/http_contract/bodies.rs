//! How JSON bodies are read.

use serde_json::json;

use super::routes::assert_plain_error;
use crate::node::{Node, unique};
use crate::stores::{Store, on_every_store};

on_every_store! {
    keys_match_without_regard_to_case
    the_last_of_a_repeated_key_wins
    null_leaves_the_default
    unknown_keys_are_ignored
    numbers_must_be_integers_that_fit
    the_largest_numbers_fit
    what_is_not_one_object_is_refused
    deep_nesting_is_survived
    a_lone_surrogate_reads_as_the_replacement_character
}

/// A URL that nothing is ever sent to: the job is put off for an hour.
const LATER: &str = r#""url":"http://127.0.0.1:1/","run_after":3600"#;

fn push(node: &Node, name: &str, body: impl AsRef<[u8]>) -> crate::support::http::Answer {
    node.post(&format!("/job/{name}"), body)
}

fn keys_match_without_regard_to_case(store: Store) {
    let queue = store.shared().queue(&json!({}));
    let body = r#"{"URL":"http://127.0.0.1:1/","Payload":[1],"RUN_AFTER":3600,"Timeout":7,
                   "retry_Delay":8,"Max_Retries":9}"#;
    let answer = push(store.shared(), &queue.name, body).json();
    for (key, value) in
        [("run_after", 3600), ("timeout", 7), ("retry_delay", 8), ("max_retries", 9)]
    {
        assert_eq!(answer[key], value, "{answer}");
    }
    assert_eq!(answer["payload"], json!([1]));
    let path = format!("/queue/{}", queue.name);
    let definition = store.shared().put(&path, r#"{"MAX_WORKERS":3,"Polling_Interval":9}"#).json();
    assert_eq!(definition["max_workers"], 3);
    assert_eq!(definition["polling_interval"], 9);
}

fn the_last_of_a_repeated_key_wins(store: Store) {
    let queue = store.shared().queue(&json!({}));
    let body = r#"{"url":"nonsense","run_after":1,"URL":"http://127.0.0.1:1/","timeout":-1,
                   "Timeout":5,"payload":1,"payload":2,"run_after":3600}"#;
    let answer = push(store.shared(), &queue.name, body).json();
    assert_eq!(answer["url"], "http://127.0.0.1:1/");
    assert_eq!(answer["run_after"], 3600);
    assert_eq!(answer["timeout"], 5);
    assert_eq!(answer["payload"], 2);
}

fn null_leaves_the_default(store: Store) {
    let node = store.shared();
    let queue = node.queue(&json!({}));
    let body = r#"{"url":"http://127.0.0.1:1/","run_after":3600,"payload":null,"timeout":null,
                   "retry_delay":null,"max_retries":null}"#;
    let answer = push(node, &queue.name, body).json();
    assert_eq!(answer["payload"], json!(null));
    assert_eq!((&answer["timeout"], &answer["max_retries"]), (&json!(0), &json!(0)));
    let path = format!("/queue/{}", queue.name);
    let defaults = json!({"name": queue.name, "polling_interval": 200, "max_workers": 20});
    for body in ["null", " null ", "{}", r#"{"max_workers":null,"polling_interval":null}"#] {
        assert_eq!(node.put(&path, body).json(), defaults, "{body}");
    }
    assert_plain_error(&push(node, &queue.name, "null"), 400);
    assert_plain_error(&push(node, &queue.name, r#"{"url":null}"#), 400);
}

fn unknown_keys_are_ignored(store: Store) {
    let queue = store.shared().queue(&json!({}));
    let body = format!(r#"{{{LATER},"x":{{"url":5,"y":[null,1e999,"\u0000"]}},"":1,"ur l":2}}"#);
    assert_eq!(push(store.shared(), &queue.name, body).status, 200);
    let body = r#"{"name":"another","x":-1}"#;
    let answer = store.shared().put(&format!("/queue/{}", queue.name), body);
    assert_eq!(answer.json()["name"], queue.name.as_str());
}

fn numbers_must_be_integers_that_fit(store: Store) {
    let node = store.shared();
    let queue = node.queue(&json!({}));
    for value in [
        "-1",
        "1.5",
        "1.0",
        "1e3",
        "\"5\"",
        "true",
        "10000000000000000000000",
        "[]",
        "{}",
        "4294967296",
        "18446744073709551616",
    ] {
        for field in ["timeout", "retry_delay", "max_retries"] {
            let body = format!(r#"{{{LATER},"{field}":{value}}}"#);
            assert_plain_error(&push(node, &queue.name, body), 400);
        }
        for field in ["polling_interval", "max_workers", "max_burst_size"] {
            let body = format!(r#"{{"max_dispatches_per_second":1,"{field}":{value}}}"#);
            assert_plain_error(&node.put(&format!("/queue/{}", queue.name), body), 400);
        }
        if value != "4294967296" {
            let body = format!(r#"{{"url":"http://127.0.0.1:1/","run_after":{value}}}"#);
            assert_plain_error(&push(node, &queue.name, body), 400);
        }
    }
    // Milliseconds since 1970 no longer fit 64 bits.
    for value in ["18446744073709551615", "18446744073709552"] {
        let body = format!(r#"{{"url":"http://127.0.0.1:1/","run_after":{value}}}"#);
        assert_plain_error(&push(node, &queue.name, body), 400);
    }
    assert!(queue.jobs("deferred").is_empty());
}

fn the_largest_numbers_fit(store: Store) {
    let queue = store.shared().queue(&json!({}));
    let most = u32::MAX;
    let body = format!(
        r#"{{"url":"http://127.0.0.1:1/","run_after":4294967296,"timeout":{most},
            "retry_delay":{most},"max_retries":{most}}}"#
    );
    let answer = push(store.shared(), &queue.name, body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["run_after"], 4_294_967_296_u64);
    let job = &queue.jobs("deferred")[0];
    for field in ["timeout", "retry_delay", "max_retries"] {
        assert_eq!(job[field], most, "{job}");
    }
}

fn what_is_not_one_object_is_refused(store: Store) {
    let node = store.shared();
    let queue = node.queue(&json!({}));
    let good = format!("{{{LATER}}}");
    for body in [
        String::new(),
        " ".to_owned(),
        "[]".to_owned(),
        "5".to_owned(),
        "\"x\"".to_owned(),
        "true".to_owned(),
        "{".to_owned(),
        "{]".to_owned(),
        "nul".to_owned(),
        good.replace('}', ""),
        good.replace('}', ",}"),
        format!("{good}x"),
        format!("{good}{good}"),
        format!("{good},"),
        format!("\u{feff}{good}"),
        format!("[{good}]"),
        good.replace("3600", "03600"),
        good.replace('"', "'"),
        good.replace("127", "\n127"),
        "{\"url\":5}".to_owned(),
        "{\"url\":{}}".to_owned(),
        "{\"url\":\"\"}".to_owned(),
    ] {
        assert_plain_error(&push(node, &queue.name, &body), 400);
        if !body.starts_with("{\"url") {
            assert_plain_error(&node.put(&format!("/queue/{}", unique("q")), &body), 400);
            assert_plain_error(&node.put(&format!("/routing/{}", unique("c")), &body), 400);
        }
    }
    let invalid = [good.as_bytes().strip_suffix(b"}").unwrap(), b",\"payload\":\"\xff\"}"].concat();
    assert_plain_error(&push(node, &queue.name, invalid), 400);
    assert_plain_error(&push(node, &queue.name, b"{\"\xc3\x28\":1}"), 400);
    assert!(queue.jobs("deferred").is_empty());
    let answer = push(node, &queue.name, format!(" \t\r\n{good}\n \r\t"));
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn deep_nesting_is_survived(store: Store) {
    let node = store.shared();
    let queue = node.queue(&json!({}));
    let depth = 200_000;
    let (opening, closing) = ("[".repeat(depth), "]".repeat(depth));
    for body in [
        opening.clone(),
        format!(r#"{{{LATER},"x":{opening}"#),
        format!(r#"{{{LATER},"timeout":{opening}{closing}}}"#),
        format!("{}{}", "{\"a\":".repeat(depth), "}".repeat(depth)),
    ] {
        assert!(push(node, &queue.name, body).status < 500);
    }
    let answer = push(node, &queue.name, format!(r#"{{{LATER},"x":{opening}{closing}}}"#));
    assert_eq!(answer.status, 200);
    let body = format!(r#"{{{LATER},"payload":{opening}{closing}}}"#);
    let answer = push(node, &queue.name, body);
    assert_eq!(answer.status, 200);
    let stored = queue.get("/deferred?limit=1");
    assert_eq!(stored.status, 200);
    assert_eq!(node.get("/version").status, 200);
}

fn a_lone_surrogate_reads_as_the_replacement_character(store: Store) {
    let node = store.shared();
    let queue = node.queue(&json!({}));
    let body = format!(r#"{{{LATER},"payload":"a\ud83db\ude00","\ud83d":1}}"#);
    let answer = push(node, &queue.name, body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let job = &queue.jobs("deferred")[0];
    assert_eq!(job["payload"], "a\u{fffd}b\u{fffd}");
    let url = r#"{"url":"http://127.0.0.1:1/\ud83d","run_after":3600}"#;
    let answer = push(node, &queue.name, url);
    assert_eq!(answer.json()["url"], "http://127.0.0.1:1/\u{fffd}");
}
