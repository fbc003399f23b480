//! The request that a worker receives.

use serde_json::json;

use crate::node::unique;
use crate::stores::{Store, on_every_store};
use crate::support::http;
use crate::support::wait::{SOON, until};
use crate::support::worker::{Reaction, Received, Worker};
use crate::workers::{count, failure, wait_for};

on_every_store! {
    a_job_is_posted_with_these_headers
    the_attempt_is_counted
    names_are_percent_encoded_in_headers
    a_push_is_delivered_without_waiting_for_a_poll
    run_after_puts_a_job_off
}

fn a_job_is_posted_with_these_headers(store: Store) {
    let worker = Worker::successful();
    let queue = store.shared().queue(&json!({}));
    let id = queue.push_text(&format!(
        r#"{{"url":"{}","payload":{{"id": 7}}}}"#,
        worker.url("/a/b%20c?d=e&f")
    ));
    let received = &wait_for(&worker, 1)[0];
    assert_eq!((received.method.as_str(), received.path.as_str()), ("POST", "/a/b%20c?d=e&f"));
    assert_eq!(received.text(), r#"{"id": 7}"#);
    let (host, id) = (worker.address().to_string(), id.to_string());
    for (name, value) in [
        ("Host", host.as_str()),
        ("Content-Type", "application/json"),
        ("Content-Length", "9"),
        ("User-Agent", concat!("Fireworq/", env!("CARGO_PKG_VERSION"))),
        ("Fireworq-Queue", &queue.name),
        ("Fireworq-Category", &queue.name),
        ("Fireworq-Job-Id", &id),
        ("Fireworq-Attempt", "1"),
        ("Accept-Encoding", "gzip"),
    ] {
        assert_eq!(received.header(name), Some(value), "{name}");
    }
    // Nothing else but what HTTP itself may need.
    let known = [
        "host",
        "content-type",
        "content-length",
        "user-agent",
        "fireworq-queue",
        "fireworq-category",
        "fireworq-job-id",
        "fireworq-attempt",
        "accept-encoding",
        "accept",
        "connection",
    ];
    for (name, value) in &received.headers {
        assert!(known.contains(&name.to_ascii_lowercase().as_str()), "{name}: {value}");
    }
    let mut names: Vec<_> = received.headers.iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), received.headers.len(), "a header comes twice");
}

fn the_attempt_is_counted(store: Store) {
    let worker = Worker::start(|_| failure());
    let queue = store.shared().queue(&json!({}));
    let id = queue.push(&json!({"url": worker.url("/"), "max_retries": 2}));
    queue.failures(1);
    let attempts: Vec<_> = worker
        .received()
        .iter()
        .map(|received| {
            assert_eq!(received.header("Fireworq-Job-Id"), Some(id.to_string().as_str()));
            received.header("Fireworq-Attempt").unwrap().to_owned()
        })
        .collect();
    assert_eq!(attempts, ["1", "2", "3"]);
}

fn names_are_percent_encoded_in_headers(store: Store) {
    let node = store.shared();
    let worker = Worker::successful();
    let stem = unique("q");
    let written = format!("{stem}%E3%81%82%20%22%25%0D");
    assert_eq!(node.put(&format!("/queue/{stem}%E3%81%82"), "{}").status, 200);
    let routing = json!({"queue_name": format!("{stem}あ")}).to_string();
    assert_eq!(node.put(&format!("/routing/{written}"), routing).status, 200);
    let job = json!({ "url": worker.url("/") }).to_string();
    assert_eq!(node.post(&format!("/job/{written}"), job).status, 200);
    let received = &wait_for(&worker, 1)[0];
    let decode = |name: &str| {
        let value = received.header(name).unwrap();
        assert!(value.bytes().all(|byte| byte.is_ascii_graphic()), "{name}: {value:?}");
        percent_encoding::percent_decode_str(value).decode_utf8().unwrap().into_owned()
    };
    assert_eq!(decode("Fireworq-Queue"), format!("{stem}あ"));
    assert_eq!(decode("Fireworq-Category"), format!("{stem}あ \"%\r"));
}

fn a_push_is_delivered_without_waiting_for_a_poll(store: Store) {
    let node = store.node(&["queue-default-polling-interval=3600000"]);
    let queue = node.queue(&json!({}));
    let worker = Worker::successful();
    for number in 1..=3 {
        queue.push(&json!({ "url": worker.url("/") }));
        wait_for(&worker, number);
    }
}

fn run_after_puts_a_job_off(store: Store) {
    let worker = Worker::successful();
    let queue = store.shared().queue(&json!({}));
    let pushed = std::time::Instant::now();
    queue.push(&json!({"url": worker.url("/later"), "run_after": 2}));
    queue.push(&json!({ "url": worker.url("/now") }));
    let received = wait_for(&worker, 2);
    let paths: Vec<_> = received.iter().map(|received| received.path.as_str()).collect();
    assert_eq!(paths, ["/now", "/later"]);
    let waited = received[1].at.duration_since(pushed);
    // The store's clock counts in whole milliseconds.
    assert!(waited.as_millis() >= 1990, "after {waited:?}");
}

#[test]
fn the_user_agent_is_a_setting() {
    let node = Store::InMemory.node(&["dispatch-user-agent=my agent/2.0 (x)"]);
    let worker = Worker::successful();
    let queue = node.queue(&json!({}));
    queue.push(&json!({ "url": worker.url("/") }));
    assert_eq!(wait_for(&worker, 1)[0].header("User-Agent"), Some("my agent/2.0 (x)"));
}

#[test]
fn user_and_fragment_are_no_part_of_the_target() {
    let node = Store::InMemory.shared();
    let worker = Worker::successful();
    let queue = node.queue(&json!({"max_workers": 1}));
    let address = worker.address();
    let deliver = |url: String| -> Received {
        let before = count(&worker);
        queue.push(&json!({ "url": url }));
        wait_for(&worker, before + 1).swap_remove(before)
    };
    let received = deliver(format!("http://user:pass%40w@{address}/a?b#c?d"));
    assert_eq!(received.path, "/a?b");
    // user:pass@w
    assert_eq!(received.header("Authorization"), Some("Basic dXNlcjpwYXNzQHc="));
    assert_eq!(received.header("Host"), Some(address.to_string().as_str()));
    let received = deliver(format!("http://user@{address}/"));
    assert_eq!(received.header("Authorization"), Some("Basic dXNlcjo="));
    let received = deliver(format!("http://{address}#x"));
    assert_eq!((received.path.as_str(), received.header("Authorization")), ("/", None));
    let received = deliver(format!("http://{address}?x=1"));
    assert_eq!(received.path, "/?x=1");
    let received = deliver(format!("HTTP://{address}/あ%20b"));
    assert_eq!(received.path, "/%E3%81%82%20b");
}

#[test]
fn a_proxy_of_the_environment_is_used() {
    let proxy = Worker::start(|_| Reaction::success());
    let place = Store::InMemory.place();
    let url = format!("http://user:pw@{}", proxy.address());
    let options =
        place.options(&[]).variable("HTTP_PROXY", &url).variable("NO_PROXY", ".direct.test");
    let node = crate::node::Node::new(options.start());
    let queue = node.queue(&json!({}));
    queue.push(&json!({"url": "http://worker.test/a?b", "payload": "through"}));
    let received = &wait_for(&proxy, 1)[0];
    assert_eq!(received.path, "http://worker.test/a?b");
    assert_eq!(received.header("Host"), Some("worker.test"));
    assert_eq!(received.header("Proxy-Authorization"), Some("Basic dXNlcjpwdw=="));
    assert_eq!(received.text(), "through");
    // Neither loopback nor what NO_PROXY names goes through it.
    let worker = Worker::successful();
    queue.push(&json!({ "url": worker.url("/") }));
    wait_for(&worker, 1);
    queue.push(&json!({"url": "http://x.direct.test/", "timeout": 5}));
    queue.failures(1);
    assert_eq!(count(&proxy), 1);
}

#[test]
fn a_node_can_deliver_to_itself() {
    let node = Store::InMemory.shared();
    let worker = Worker::successful();
    let (outer, inner) = (node.queue(&json!({})), node.queue(&json!({})));
    let job = json!({ "url": worker.url("/") }).to_string();
    let url = format!("http://{}/job/{}", node.address(), inner.name);
    outer.push(&json!({"url": url, "payload": job}));
    wait_for(&worker, 1);
    // The answer to a push is no answer of a worker.
    let failure = &outer.failures(1)[0];
    let message = failure["result"]["message"].as_str().unwrap();
    assert!(message.starts_with("Invalid result status: "), "{message}");
}

#[test]
fn many_jobs_are_delivered_exactly_once() {
    let node = Store::InMemory.shared();
    let worker = Worker::successful();
    let queue = node.queue(&json!({}));
    let jobs: Vec<_> =
        (0..500).map(|number| json!({"url": worker.url("/"), "payload": number})).collect();
    queue.push_burst(&jobs);
    queue.wait_for_stat("total_successes", 500);
    let mut numbers: Vec<usize> =
        worker.received().iter().map(|received| received.text().parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..500).collect::<Vec<_>>());
    until("the queue is empty", SOON, || queue.jobs("grabbed").is_empty());
    assert_eq!(http::get(node.address(), "/version").status, 200);
}

#[test]
fn a_name_is_resolved() {
    let node = Store::InMemory.shared();
    let worker = Worker::successful();
    let queue = node.queue(&json!({}));
    // It may have an address of IPv6 first, where nobody listens.
    let host = format!("localhost:{}", worker.address().port());
    queue.push(&json!({"url": format!("http://{host}/"), "timeout": 20}));
    assert_eq!(wait_for(&worker, 1)[0].header("Host"), Some(host.as_str()));
    queue.wait_for_stat("total_successes", 1);
    assert!(queue.failures(0).is_empty());
}
