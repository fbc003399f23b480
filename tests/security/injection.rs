//! Line breaks and quotes in everything that reaches a header or a log: no line is forged, no
//! header is added.

use serde_json::Value;

use crate::support::daemon::{Daemon, Options};
use crate::support::http::{self, Client};
use crate::support::wait::{SOON, eventually, until};
use crate::support::worker::{Reaction, Worker};

/// What somebody would like to see as a line or a header of its own.
const EVIL: &str = "\r\nX-Evil: 1\r\n\r\n{\"forged\": true}\n";
/// The same within a path.
const EVIL_PATH: &str = "%0d%0aX-Evil:%201%0d%0a%0d%0a%7B%22forged%22:true%7D%0a";

fn start() -> Daemon {
    Options::new().flag("driver", "in-memory").flag("queue-log-level", "debug").start()
}

/// The lines of a log, once there are so many; each is one object.
fn lines(count: usize, log: impl Fn() -> String) -> Vec<Value> {
    let text = eventually("the lines of a log", SOON, || {
        let text = log();
        (text.lines().count() >= count && text.ends_with('\n')).then_some(text)
    });
    let parse = |line: &str| -> Value { serde_json::from_str(line).expect(line) };
    let lines: Vec<Value> = text.lines().map(parse).collect();
    assert_eq!(lines.len(), count, "{text}");
    assert!(lines.iter().all(|line| line.get("forged").is_none()), "{text}");
    lines
}

#[test]
fn the_access_log_has_a_line_for_each_request_whatever_is_in_it() {
    let node = start();
    for path in [
        format!("/queue/{EVIL_PATH}"),
        format!("/job/{EVIL_PATH}"),
        format!("/{EVIL_PATH}"),
        format!("/queues?cursor={EVIL_PATH}"),
        "/queue/%22%5c%00%1b%5b31m".to_owned(),
    ] {
        http::get(node.address(), &path);
    }
    for headers in [
        "User-Agent: \"}\t{\\\r\nReferer: \u{85}\u{2028}\r\n",
        "X-Forwarded-For: \"\\\r\nCookie: \u{7f}\r\n",
    ] {
        let mut client = Client::connect(node.address());
        let request = format!("GET /version HTTP/1.1\r\nHost: \"\\\r\n{headers}\r\n");
        client.send(request.as_bytes()).unwrap();
        client.receive().unwrap();
    }
    lines(7, || node.access_log());
}

#[test]
fn fields_of_a_job_forge_no_line_and_no_header() {
    let node = start();
    let worker = Worker::start(|_| {
        let message = format!("no{EVIL}");
        let body = serde_json::json!({"status": "permanent-failure", "message": message});
        Reaction::answer(200, &[], body.to_string())
    });
    let url = worker.url("/x");
    let port = url.split(':').nth(2).unwrap().split('/').next().unwrap();
    let mut accepted = 0;
    for bad in [
        format!("{url}{EVIL}"),
        format!("{url}?{EVIL}"),
        format!("{url}#{EVIL}"),
        format!("http://user{EVIL}:pass@127.0.0.1:{port}/"),
        format!("http://127.0.0.1:{port}{EVIL}/"),
        format!("http://127.0.0.1{EVIL}:{port}/"),
        format!("{url}\t\r\n"),
        format!("{url}{EVIL_PATH}"),
        format!("http://user{EVIL_PATH}:pass@127.0.0.1:{port}/"),
    ] {
        let body = serde_json::json!({"url": bad, "payload": EVIL}).to_string();
        let answer = http::post(node.address(), &format!("/job/c{EVIL_PATH}"), body);
        assert!([200, 400].contains(&answer.status), "{bad:?}: {answer:?}");
        assert!(answer.header("X-Evil").is_none(), "{answer:?}");
        accepted += usize::from(answer.status == 200);
    }
    assert!(accepted > 0, "nothing was accepted");
    let requests = worker.wait_for(accepted, SOON);
    for request in &requests {
        assert_eq!(request.method, "POST", "{request:?}");
        assert_eq!(request.text(), EVIL, "{request:?}");
        assert!(request.header("X-Evil").is_none(), "{request:?}");
    }
    // Pushed, grabbed, failed.
    lines(3 * accepted, || node.queue_log());
    assert_eq!(worker.received().len(), accepted);
    let failed = http::get(node.address(), "/queue/default/failed").json();
    assert_eq!(failed["failed_jobs"].as_array().unwrap().len(), accepted);
}

#[test]
fn names_with_line_breaks_are_refused() {
    let node = start();
    for (path, body) in [
        (format!("/queue/a{EVIL_PATH}"), "{}".to_owned()),
        (
            "/routing/c".to_owned(),
            serde_json::json!({"queue_name": format!("default{EVIL}")}).to_string(),
        ),
    ] {
        let answer = http::put(node.address(), &path, body);
        assert!([400, 404].contains(&answer.status), "{answer:?}");
        assert!(answer.header("X-Evil").is_none(), "{answer:?}");
    }
    assert!(!node.errors().contains("forged"), "{}", node.errors());
}

#[test]
fn settings_with_line_breaks_forge_nothing() {
    let options = || Options::new().flag("driver", "in-memory");
    let (code, errors) = options().flag("dispatch-user-agent", EVIL).run_to_its_end();
    assert_eq!(code, 2, "{errors}");
    let node = options().flag("access-log-tag", EVIL).flag("queue-log-tag", EVIL).start();
    let worker = Worker::start(|_| Reaction::success());
    let body = format!(r#"{{"url":"{}"}}"#, worker.url("/"));
    assert_eq!(http::post(node.address(), "/job/c", body).status, 200);
    worker.wait_for(1, SOON);
    until("the settings are shown", SOON, || {
        http::get(node.address(), "/settings").json()["access_log_tag"] == EVIL
    });
    lines(2, || node.access_log());
    lines(2, || node.queue_log());
}
