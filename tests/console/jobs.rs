//! The jobs of a queue: waiting, running, deferred; their pages, their payloads, deleting one.

use crate::page::Page;
use crate::stores::Store;
use crate::support::wait::{SOON, until};
use crate::support::worker::{Reaction, Worker};
use serde_json::json;

on_both_stores! {
    jobs_are_shown_with_their_payloads_and_deleted
    the_pages_of_a_list_are_walked
}

/// A payload that a parser of floating-point numbers would change.
const EXACT: &str = r#"{"n":12345678901234567890,"price":1.10,"e":1e400,"t":"a\"]b","x":[]}"#;
/// How it is laid out.
const LAID_OUT: &str = "{\n  \"n\": 12345678901234567890,\n  \"price\": 1.10,\n  \"e\": 1e400,\n  \
                        \"t\": \"a\\\"]b\",\n  \"x\": []\n}";

fn jobs_are_shown_with_their_payloads_and_deleted(store: Store) {
    let node = store.shared();
    let queue = node.queue(&json!({ "max_workers": 1 }));
    let slow = Worker::start(|_| Reaction::silence());
    let push = |run_after| {
        let url = slow.url("/");
        queue.push_text(&format!(
            r#"{{"url":"{url}","payload":{EXACT},"run_after":{run_after},"max_retries":3}}"#
        ))
    };
    let running = push(0);
    let runs = || queue.get("/grabbed").text().contains("\"status\":\"grabbed\"");
    until("a job runs", SOON, runs);
    let (waiting, deferred) = (push(0), push(3600));
    let page = Page::open(node.address(), &format!("#/queue/{}", queue.name));

    page.until_row_shows(&waiting.to_string(), &queue.name);
    page.press(&format!("Job {waiting}, details"));
    page.until("document.querySelector('pre') !== null");
    let shown = page.script("return document.querySelector('pre').textContent");
    assert_eq!(shown, LAID_OUT);
    // It stays unfolded while the list is refreshed.
    page.until("document.querySelector('pre') !== null");
    page.press(&format!("Delete job {waiting}"));
    let line =
        format!("curl -X DELETE 'http://{}/queue/{}/job/{waiting}'", node.address(), queue.name);
    assert_eq!(page.curl(), line);
    page.press_in_dialog("Delete the job");
    page.until_closed();
    page.until_shown("No waiting jobs");
    assert_eq!(queue.get(&format!("/job/{waiting}")).status, 404);

    page.click("//nav[@class='tabs']/a[starts-with(., 'Running')]");
    page.until_row_shows(&running.to_string(), &queue.name);
    page.click("//nav[@class='tabs']/a[starts-with(., 'Deferred')]");
    page.until_row_shows(&deferred.to_string(), &queue.name);
    page.press(&format!("Delete job {deferred}"));
    page.press_in_dialog("Delete the job");
    page.until_shown("No deferred jobs");
    assert_eq!(queue.get("/deferred").text(), r#"{"jobs":[],"next_cursor":""}"#);
}

#[test]
fn a_text_is_shown_as_its_worker_receives_it() {
    let node = Store::Sqlite.shared();
    let queue = node.queue(&json!({}));
    let push = |payload: &str| {
        queue.push(&json!({ "url": "http://127.0.0.1:9/", "run_after": 60, "payload": payload }))
    };
    let (short, escaped, long) = (push("x"), push("a\"\\\n\"b"), push(&"\u{1}".repeat(1000)));
    let page = Page::open(node.address(), &format!("#/queue/{}/deferred", queue.name));
    page.until_row_shows(&short.to_string(), "Delete");
    let preview =
        |id: u64| page.text(&format!("//tr[.//button[.='{id}']]/td[@data-label='Payload']"));
    assert_eq!(preview(short), "x");
    assert_eq!(preview(escaped), "a\"\\ \"b");
    assert!(preview(long).ends_with('…'));
    page.press(&format!("Job {short}, details"));
    page.until_shown("text, 1 B");
}

fn the_pages_of_a_list_are_walked(store: Store) {
    let node = store.shared();
    let queue = node.queue(&json!({}));
    // A page holds 50.
    let jobs: Vec<_> = (0..120)
        .map(|number| json!({ "url": "http://127.0.0.1:9/", "run_after": 3600 + 10 * number }))
        .collect();
    let ids = queue.push_burst(&jobs);
    let page = Page::open(node.address(), &format!("#/queue/{}/deferred", queue.name));
    let shows = |first: usize, last: usize| {
        let (first, last) = (ids[first], ids[last]);
        page.until(&format!(
            "(() => {{ const rows = [...document.querySelectorAll('.toggle')]; \
             return rows.at(0)?.textContent === '{first}' && rows.at(-1).textContent === '{last}' \
             }})()"
        ));
    };
    shows(0, 49);
    page.press("Next page");
    shows(50, 99);
    page.press("Next page");
    shows(100, 119);
    page.press("Previous page");
    shows(50, 99);
    page.press("First page");
    shows(0, 49);
}
