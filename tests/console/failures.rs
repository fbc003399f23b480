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

/// Pushes a job whose payload is given as JSON text and answers the id of its failure.
fn fail(queue: &Queue, worker: &Worker, payload: &str) -> u64 {
    queue.push_text(&format!(r#"{{"url":"{}","payload":{payload}}}"#, worker.url("/")));
    let failures = queue.failures(failures(queue).len().max(1));
    failures[0]["id"].as_u64().unwrap()
}

#[test]
fn an_edited_payload_is_one_json_value_and_an_emptied_one_is_empty() {
    let node = Store::Sqlite.shared();
    let queue = node.queue(&json!({}));
    let (worker, _) = worker();
    let failure = fail(&queue, &worker, "{\"a\":1,\r\n\"b\":2}");
    let page = failed_page(node, &queue);
    page.press(&format!("Failure {failure}, details"));
    page.press("Edit and run again…");
    page.until_shown("they become 0 unless they are given here");
    // What was not edited is not sent, whatever a text field makes of its ends of lines.
    page.fill("url", &worker.url("/well"));
    let body = format!(r#"{{"url":"{}"}}"#, worker.url("/well"));
    page.until(&format!("document.querySelector('dialog code').textContent.endsWith(`'{body}'`)"));

    page.fill("payload", r#"1,"max_retries":3,"payload":"smuggled""#);
    assert_eq!(page.curl(), "");
    page.press_in_dialog("Run again");
    page.until("document.querySelector('[name=payload][aria-invalid]') !== null");
    page.until_shown("The payload is not JSON");
    assert_eq!(failures(&queue).len(), 1);

    page.fill("payload", "");
    page.press_in_dialog("Run again");
    page.until_closed();
    let received = worker.wait_for(2, SOON);
    assert_eq!((received[1].path.as_str(), received[1].text()), ("/well", ""));
}

#[test]
fn what_the_log_does_not_keep_is_told_before_jobs_run_again() {
    let node = Store::Sqlite.shared();
    let queue = node.queue(&json!({}));
    let (worker, _) = worker();
    let failure = fail(&queue, &worker, "1");
    let page = failed_page(node, &queue);
    for button in [format!("Run failure {failure} again"), "Run all again…".to_owned()] {
        page.press(&button);
        page.until_shown("does not keep timeout, retry delay and retries: they become 0.");
        page.press_in_dialog("Cancel");
        page.until_closed();
    }
}

#[test]
fn a_payload_too_large_to_be_edited_is_told_and_stays() {
    let node = Store::Sqlite.shared();
    let queue = node.queue(&json!({}));
    let (worker, _) = worker();
    let payload = format!("\"{}\"", "x".repeat(200_001));
    let failure = fail(&queue, &worker, &payload);
    let page = failed_page(node, &queue);
    page.press(&format!("Failure {failure}, details"));
    page.press("Edit and run again…");
    page.until_shown("too large to be edited here");
    page.fill("url", &worker.url("/well"));
    page.press_in_dialog("Run again");
    page.until_closed();
    assert_eq!(worker.wait_for(2, SOON)[1].body.len(), 200_001);
}

#[test]
fn times_are_shown_and_typed_in_the_zone_of_the_browser() {
    let node = Store::Sqlite.shared();
    let queue = node.queue(&json!({}));
    let (worker, _) = worker();
    fail(&queue, &worker, "1");
    let failed_at = failures(&queue)[0]["failed_at"].clone();
    let page = failed_page(node, &queue);
    page.be_in_zone("Australia/Eucla");
    page.until_shown("zone, Australia/Eucla");
    // The Swedes write a time as the console does.
    let shown = page.script(&format!(
        "return new Date({failed_at}).toLocaleString('sv', {{ timeZone: 'Australia/Eucla' }})"
    ));
    let shown = shown.as_str().unwrap();
    page.until_row_shows(&queue.name, shown);
    let filter_from = |later_ms: u32| {
        page.script(&format!(
            "const time = new Date(Date.parse('{shown}Z'.replace(' ', 'T')) + {later_ms}); \
             document.querySelector('[name=since]').value = time.toISOString().slice(0, 19)"
        ));
        page.press("Filter");
    };
    filter_from(1000);
    page.until_shown("Nothing matches");
    filter_from(0);
    page.until_row_shows(&queue.name, shown);
    page.press("Delete matching…");
    page.until_shown(&format!("that failed from “{shown}”"));
}

#[test]
fn a_filter_that_is_refused_is_told_at_its_field_and_nothing_is_done_by_it() {
    let node = Store::Sqlite.shared();
    let queue = node.queue(&json!({}));
    let page = Page::open(
        node.address(),
        &format!("#/queue/{}/failed?since=garbage&message=x", queue.name),
    );
    page.until("document.querySelector('[name=since][aria-invalid]') !== null");
    page.until_shown("The parameter since is not a time");
    let buttons = "return document.querySelector('main').innerText.includes('matching')";
    assert_eq!(page.script(buttons), false);
    // The page's other figures are there all the same.
    page.until_shown("20 workers");
    page.press("Clear");
    page.until_shown("Delete all…");
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
