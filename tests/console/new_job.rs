//! Handing in a job, and the curl command that does the same.

use std::process::Command;

use crate::page::Page;
use crate::stores::Store;
use crate::support::wait::{SOON, eventually};
use crate::support::worker::Worker;
use serde_json::json;

on_both_stores! {
    a_job_is_handed_in_as_it_was_written
}

#[test]
fn a_long_body_is_handed_out_as_the_file_that_its_command_reads() {
    let node = Store::Sqlite.shared();
    let queue = node.queue(&json!({}));
    let worker = Worker::successful();
    let folder = tempfile::tempdir().unwrap();
    let page = Page::open(node.address(), "#/job");
    let allow = json!({ "behavior": "allow", "downloadPath": folder.path() });
    page.devtools("Page.setDownloadBehavior", allow);
    page.fill("category", &queue.name);
    page.fill("url", &worker.url("/"));
    let payload = format!("\"{}\"", "ü".repeat(8000));
    page.script(&format!(
        "const field = document.querySelector('[name=payload]'); field.value = {}; \
         field.dispatchEvent(new Event('input', {{ bubbles: true }}))",
        json!(payload)
    ));
    let target = format!("http://{}/job/{}", node.address(), queue.name);
    assert_eq!(words_of(&page.curl()), [target.as_str(), "--data-binary", "@body.json"]);
    page.press("Save body.json");
    let file = folder.path().join("body.json");
    let body = eventually("the file is saved", SOON, || {
        std::fs::read(&file).ok().filter(|body| body.ends_with(b"}"))
    });
    assert_eq!(node.post(&format!("/job/{}", queue.name), body).status, 200);
    assert_eq!(worker.wait_for(1, SOON)[0].text(), "ü".repeat(8000));
}

/// The arguments that a shell hands to `curl`.
fn words_of(line: &str) -> Vec<String> {
    let script = format!("curl() {{ printf '%s\\0' \"$@\"; }}\n{line}");
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(output.status.success(), "{line}\n{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.strip_suffix('\0').unwrap().split('\0').map(str::to_owned).collect()
}

fn a_job_is_handed_in_as_it_was_written(store: Store) {
    let node = store.shared();
    let queue = node.queue(&json!({}));
    let worker = Worker::successful();
    let page = Page::open(node.address(), "#/job");
    // Without a category there is no command: it would hand in a job of another one.
    page.until_shown("A job needs a category.");
    assert_eq!(page.curl(), "");
    page.go(&format!("#/job?queue={}", queue.name));
    page.until(&format!("document.querySelector('[name=category]')?.value === '{}'", queue.name));
    // Objections stand at their fields.
    page.press("Hand in the job");
    page.until("document.querySelector('[name=url][aria-invalid]') !== null");
    page.until_shown("Missing field: url");
    page.fill("url", &worker.url("/it's?a=$HOME"));
    page.fill("payload", "{\"open\":");
    page.press("Hand in the job");
    page.until("document.querySelector('[name=payload][aria-invalid]') !== null");
    let payload = r#"{"n": 12345678901234567890, "p": 1.10, "t": "it's $(id) `id` \\ \"x\" ü"}"#;
    page.fill("payload", payload);
    page.fill("timeout", "-1");
    page.press("Hand in the job");
    page.until("document.querySelector('[name=timeout][aria-invalid]') !== null");
    page.fill("timeout", "60");
    page.fill("max_retries", "2");

    let url = worker.url("/it's?a=$HOME");
    let body = format!(r#"{{"url":"{url}","payload":{payload},"timeout":60,"max_retries":2}}"#);
    let target = format!("http://{}/job/{}", node.address(), queue.name);
    assert_eq!(words_of(&page.curl()), [target.as_str(), "-d", &body]);
    page.press("Hand in the job");
    page.until_shown(&format!("is stored in the queue {}", queue.name));
    let received = worker.wait_for(1, SOON);
    assert_eq!(received[0].text(), payload);

    // A text needs no quotes of its own.
    page.choose("kind", "text");
    page.fill("payload", "it's\ntwo \"lines\"");
    page.press("Hand in the job");
    assert_eq!(worker.wait_for(2, SOON)[1].text(), "it's\ntwo \"lines\"");
}
