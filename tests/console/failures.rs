//! Failed jobs: looking at them, running them again, deleting them, one or many.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use serde_json::{Value, json};

use crate::node::{Node, Queue};
use crate::page::Page;
use crate::stores::Store;
use crate::support::wait::{SOON, until};
use crate::support::worker::{Reaction, Worker};

on_both_stores! {
    a_failed_job_is_run_again_or_deleted
    many_are_run_again_or_deleted_by_a_filter
}

/// A worker that fails for good, with the payload's text as the message, until told to succeed.
pub fn worker() -> (Worker, Arc<AtomicBool>) {
    let is_well = Arc::new(AtomicBool::new(false));
    let well = Arc::clone(&is_well);
    let worker = Worker::start(move |request| {
        if well.load(Relaxed) || request.path == "/well" {
            return Reaction::success();
        }
        let answer = json!({ "status": "permanent-failure", "message": request.text() });
        Reaction::answer(200, &[], answer.to_string())
    });
    (worker, is_well)
}

fn failed_page(node: &Node, queue: &Queue) -> Page {
    Page::open(node.address(), &format!("#/queue/{}/failed", queue.name))
}

fn failures(queue: &Queue) -> Vec<Value> {
    queue.get("/failed?limit=10000").json()["failed_jobs"].as_array().unwrap().clone()
}

fn a_failed_job_is_run_again_or_deleted(store: Store) {
    let node = store.shared();
    let queue = node.queue(&json!({}));
    let (worker, _) = worker();
    for number in 1..=3 {
        queue
            .push(&json!({ "url": worker.url("/"), "payload": format!("out of cheese {number}") }));
    }
    let mut ids: Vec<u64> =
        queue.failures(3).iter().map(|failure| failure["id"].as_u64().unwrap()).collect();
    ids.sort_unstable();
    let page = failed_page(node, &queue);
    page.until_row_shows("out of cheese 1", &queue.name);
    page.press(&format!("Failure {}, details", ids[0]));
    page.until_shown("\"status\": \"permanent-failure\"");

    // As it was: it fails again, and so is a new failure.
    page.press(&format!("Run failure {} again", ids[0]));
    let path = format!("/queue/{}/failed/{}/retry", queue.name, ids[0]);
    assert_eq!(page.curl(), format!("curl -X POST 'http://{}{path}'", node.address()));
    page.press_in_dialog("Run again");
    page.until_closed();
    worker.wait_for(4, SOON);
    until("it has failed again", SOON, || failures(&queue).len() == 3);
    assert_eq!(queue.get(&format!("/failed/{}", ids[0])).status, 404);

    // With another address and payload.
    page.press(&format!("Failure {}, details", ids[1]));
    page.press("Edit and run again…");
    page.fill("url", "nonsense");
    page.press_in_dialog("Run again");
    page.until("document.querySelector('[name=url][aria-invalid]') !== null");
    page.fill("url", &worker.url("/well"));
    page.fill("payload", r#"{"amount": 1.10}"#);
    page.press_in_dialog("Run again");
    page.until_closed();
    let received = worker.wait_for(5, SOON);
    assert_eq!((received[4].path.as_str(), received[4].text()), ("/well", r#"{"amount": 1.10}"#));
    until("it is done", SOON, || failures(&queue).len() == 2);

    page.press(&format!("Delete failure {}", ids[2]));
    page.press_in_dialog("Delete the failure");
    page.until_closed();
    page.until_no_row_shows("out of cheese 3");
    assert_eq!(queue.get(&format!("/failed/{}", ids[2])).status, 404);
    assert_eq!(failures(&queue).len(), 1);
}

fn many_are_run_again_or_deleted_by_a_filter(store: Store) {
    let node = store.shared();
    let queue = node.queue(&json!({}));
    let (worker, is_well) = worker();
    let jobs: Vec<Value> = (0..60)
        .map(|number| {
            let message = if number % 3 == 0 { "Tea is out" } else { "No 50% off" };
            json!({ "url": worker.url("/"), "payload": message })
        })
        .collect();
    queue.push_burst(&jobs);
    queue.failures(60);
    is_well.store(true, Relaxed);
    let page = failed_page(node, &queue);
    page.press("Run all again…");
    page.press_in_dialog("Cancel");
    page.until_closed();
    page.fill("message", "tea IS");
    page.press("Filter");
    page.until("document.querySelectorAll('.toggle').length === 20");
    page.until("!document.querySelector('.listing').innerText.includes('50%')");
    page.press("Run matching again…");
    page.press_in_dialog("Run them again");
    page.until_shown("20 jobs run again.");
    page.press_in_dialog("Close");
    page.until_closed();
    page.until_shown("Nothing matches");
    worker.wait_for(80, SOON);
    assert_eq!(failures(&queue).len(), 40);

    // What the filter does not find stays, whatever signs of a pattern it holds.
    page.fill("message", "0_ off");
    page.press("Filter");
    page.until_shown("Nothing matches");
    page.press("Delete matching…");
    page.press_in_dialog("Delete them");
    page.until_shown("0 jobs deleted.");
    page.press_in_dialog("Close");
    page.until_closed();
    assert_eq!(failures(&queue).len(), 40);

    // By time: nothing failed after now.
    let in_an_hour = "const d = new Date(Date.now() + 3600000); \
         document.querySelector('[name=since]').value = \
         new Date(d - d.getTimezoneOffset() * 60000).toISOString().slice(0, 19)";
    page.fill("message", "");
    page.script(in_an_hour);
    page.press("Filter");
    page.until("location.hash.includes('since=')");
    page.until_shown("Nothing matches");
    page.press("Clear");
    page.until("document.querySelectorAll('.toggle').length === 40");
    page.fill("category", &queue.name);
    page.press("Filter");
    page.until("location.hash.includes('category=')");
    page.press("Delete matching…");
    page.press_in_dialog("Delete them");
    page.until_shown("40 jobs deleted.");
    page.press_in_dialog("Close");
    page.until_closed();
    page.until_shown("Nothing matches");
    assert_eq!(failures(&queue).len(), 0);
}
