//! Ten thousand failures: the list stays quick, and what is done to many counts right.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use serde_json::json;

use super::failures::worker;
use crate::page::Page;
use crate::stores::Store;
use crate::support::wait::until;

/// How long it may take to make or to move thousands of jobs, on a machine that is busy.
const LONG: Duration = Duration::from_secs(120);

#[test]
fn ten_thousand_failures_are_listed_at_once_and_half_of_them_run_again() {
    let node = Store::Sqlite.shared();
    let queue = node.queue(&json!({ "max_workers": 30 }));
    let (worker, is_well) = worker();
    let payload = |number: usize| if number.is_multiple_of(2) { "even" } else { "odd" };
    // Many clients at once: their jobs are stored together.
    std::thread::scope(|scope| {
        for start in (0..10_000).step_by(250) {
            let jobs: Vec<_> = (start..start + 250)
                .map(|number| json!({ "url": worker.url("/"), "payload": payload(number) }))
                .collect();
            let queue = &queue;
            scope.spawn(move || queue.push_burst(&jobs));
        }
    });
    until("all have failed", LONG, || queue.stat("total_permanent_failures") == 10_000);

    let page = Page::open(node.address(), "");
    page.until_row_shows(&queue.name, "10,000");
    let started = Instant::now();
    page.go(&format!("#/queue/{}/failed", queue.name));
    page.until("document.querySelectorAll('.toggle').length === 50");
    let first_page = started.elapsed();
    println!("the first page of 10,000 failures was shown after {first_page:?}");
    assert!(first_page < Duration::from_secs(20), "{first_page:?}");

    is_well.store(true, Relaxed);
    page.fill("message", "odd");
    page.press("Filter");
    page.until("document.querySelectorAll('.toggle').length === 50");
    page.until("!/even/.test(document.querySelector('table').innerText)");
    page.press("Run matching again…");
    page.press_in_dialog("Run them again");
    page.until_shown("so far");
    until("all are run again", LONG, || {
        page.script("return document.body.innerText.includes('5,000 jobs run again.')") == true
    });
    page.press_in_dialog("Close");
    page.until_shown("Nothing matches");
    until("they have succeeded", LONG, || queue.stat("total_successes") == 5_000);
    let (mut failed, mut path) = (0, "/failed?limit=5000".to_owned());
    loop {
        let page = queue.get(&path).json();
        failed += page["failed_jobs"].as_array().unwrap().len();
        match page["next_cursor"].as_str().unwrap() {
            "" => break,
            cursor => path = format!("/failed?limit=5000&cursor={cursor}"),
        }
    }
    assert_eq!(failed, 5_000);
    assert_eq!(worker.received().len(), 15_000);
}
