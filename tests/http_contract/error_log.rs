//! The error log, and log files as such.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::node::unique;
use crate::stores::Store;
use crate::support::http;
use crate::support::wait::{SOON, until};

#[test]
fn a_file_holds_json_lines_and_standard_error_readable_ones() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("missing/folder/error.log");
    let place = Store::InMemory.place();
    let options = place.options(&["queue-default=main"]);
    let daemon = options.flag("error-log", file.to_str().unwrap()).start();
    let read = || std::fs::read_to_string(&file).unwrap_or_default();
    until("the queue is told", SOON, || read().contains("\"queue\":\"main\""));
    let text = read();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).expect(line);
        let object = line.as_object().unwrap();
        assert!(matches!(object["level"].as_str().unwrap(), "info" | "warn"), "{line}");
        object["time"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        assert!(!object["message"].as_str().unwrap().is_empty());
        let known = ["level", "time", "message", "queue"];
        assert!(object.keys().all(|key| known.contains(&key.as_str())), "{line}");
    }
    assert!(text.contains(&format!("listening on {}", daemon.address())), "{text}");
    assert_eq!(daemon.errors(), "");
    drop(daemon);

    let node = Store::InMemory.shared();
    let errors = node.errors();
    assert!(errors.contains("listening on 127.0.0.1:"), "{errors}");
    assert!(!errors.contains('\u{1b}'), "colours without a terminal: {errors}");
    assert!(!errors.lines().any(|line| line.starts_with('{')), "{errors}");
}

#[test]
fn the_store_is_told_at_the_start() {
    let errors = Store::InMemory.shared().errors();
    assert!(errors.contains("memory"), "{errors}");
    let errors = Store::Mysql.shared().errors();
    assert!(errors.to_lowercase().contains("mysql"), "{errors}");
    assert!(errors.contains("127.0.0.1"), "{errors}");
}

#[test]
fn levels_are_independent() {
    let node = Store::InMemory.place();
    let options = node.options(&["queue-log-level=error"]).variable("DEBUG", "1");
    let daemon = crate::node::Node::new(options.start());
    let settings = daemon.get("/settings").json();
    assert_eq!(settings["queue_log_level"], "error");
    assert_eq!(settings["error_log_level"], "debug");
    let options = node.options(&[]).variable("DEBUG", "");
    let daemon = crate::node::Node::new(options.start());
    assert_eq!(daemon.get("/settings").json()["queue_log_level"], "info");
}

#[test]
fn usr1_reopens_the_files() {
    let directory = tempfile::tempdir().unwrap();
    let (error_log, old_errors) = (directory.path().join("e.log"), directory.path().join("e.old"));
    let mut node = Store::InMemory.node(&[&format!("error-log={}", error_log.display())]);
    let queue = node.queue(&json!({}));
    let name = queue.name.clone();
    let job = json!({"url": "http://127.0.0.1:1/", "run_after": 3600}).to_string();
    let path = format!("/job/{name}");
    assert_eq!(node.post(&path, &job).status, 200);
    until("both logs have lines", SOON, || {
        node.queue_log().lines().count() == 1 && node.access_log().contains(&path)
    });
    let (queue_log, access_log) = (node.file("queue.log"), node.file("access.log"));
    let (old_queue, old_access) = (node.file("queue.old"), node.file("access.old"));
    std::fs::rename(&queue_log, &old_queue).unwrap();
    std::fs::rename(&access_log, &old_access).unwrap();
    std::fs::rename(&error_log, &old_errors).unwrap();
    node.signal(Signal::SIGUSR1);
    until("the files are there again", SOON, || {
        [&queue_log, &access_log, &error_log].iter().all(|file| file.exists())
    });
    let mark = unique("after");
    assert_eq!(http::get(node.address(), &format!("/version?{mark}")).status, 200);
    assert_eq!(node.post(&path, &job).status, 200);
    until("the new files have lines", SOON, || {
        node.queue_log().lines().count() == 1 && node.access_log().contains(&mark)
    });
    let old = std::fs::read_to_string(&old_queue).unwrap();
    assert_eq!(old.lines().count(), 1, "{old}");
    let another = node.queue(&json!({})).name.clone();
    until("the new error log tells of a queue", SOON, || {
        std::fs::read_to_string(&error_log).unwrap().contains(&another)
    });
    assert!(!std::fs::read_to_string(&old_errors).unwrap().contains(&another));
    assert!(!std::fs::read_to_string(&old_access).unwrap().contains(&mark));
    assert_eq!(node.stop(), 0);
}

#[test]
fn no_line_is_lost_while_files_are_rotated() {
    let mut node = Store::InMemory.node(&[]);
    let queue = node.queue(&json!({}));
    let name = queue.name.clone();
    let job = json!({"url": "http://127.0.0.1:1/", "run_after": 3600});
    for number in 0..10 {
        node.queue_of(&name).push_burst(&vec![job.clone(); 50]);
        let old = node.file(&format!("queue.{number}"));
        std::fs::rename(node.file("queue.log"), old).unwrap();
        node.signal(Signal::SIGUSR1);
        let file = node.file("queue.log");
        until("the file is there again", SOON, || file.exists());
    }
    assert_eq!(node.stop(), 0);
    let mut ids: Vec<u64> = (0..10)
        .map(|number| node.file(&format!("queue.{number}")))
        .chain([node.file("queue.log")])
        .flat_map(|file| {
            let text = std::fs::read_to_string(file).unwrap();
            let lines: Vec<Value> =
                text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
            lines.into_iter().map(|line| line["id"].as_u64().unwrap())
        })
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 500);
}
