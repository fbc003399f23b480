//! Jobs that would like to do harm: markup where text is expected, and too much of it.

use std::time::Duration;

use crate::page::Page;
use crate::stores::Store;
use crate::support::worker::{Reaction, Worker};
use serde_json::json;

/// Whatever of this is read as markup opens a dialog or asks another host, which the test sees.
const EVIL: &str = "<script>alert(1)</script><img src=http://127.0.0.2:9/x onerror=alert(2)>\
                    <svg onload=alert(3)></svg>\"'><b>bold</b>{{1}}${1}\u{202e}";

#[test]
fn markup_in_a_job_is_shown_as_text() {
    let node = Store::Sqlite.shared();
    let queue = node.queue(&json!({}));
    let category = format!("{}/{EVIL}", queue.name);
    let encoded: String =
        category.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
    let routing = json!({ "queue_name": queue.name }).to_string();
    assert_eq!(node.put(&format!("/routing/{encoded}"), routing).status, 200);
    let worker = Worker::start(|_| {
        let answer = json!({ "status": "permanent-failure", "message": EVIL });
        Reaction::answer(200, &[], answer.to_string())
    });
    let job = json!({ "url": worker.url("/?<script>alert(4)</script>"),
        "payload": { EVIL: EVIL, "__proto__": { "x": EVIL }, "url": "javascript:alert(5)" } });
    assert_eq!(node.post(&format!("/job/{encoded}"), job.to_string()).status, 200);
    let failure = queue.failures(1)[0]["id"].as_u64().unwrap();

    let page = Page::open(node.address(), &format!("#/queue/{}/failed", queue.name));
    page.press(&format!("Failure {failure}, details"));
    let payloads = "[...document.querySelectorAll('pre')]";
    page.until(&format!("{payloads}.length === 2"));
    let texts = page.script(&format!("return {payloads}.map((pre) => pre.textContent)"));
    for text in texts.as_array().unwrap() {
        assert!(text.as_str().unwrap().contains("<img src=http"), "{text}");
    }
    page.press("Edit and run again…");
    page.until("document.querySelector('dialog') !== null");
    page.press_in_dialog("Cancel");
    page.go("#/routings");
    page.until_row_shows(&queue.name, "<script>alert(1)</script>");
    page.go("#/job");
    page.until("document.querySelector('datalist option') !== null");
    // Everything of the page is made by the console; none of it by a job.
    let made = page.script(
        "return [...document.querySelectorAll('script, img, svg, b, iframe')].filter((e) => \
         !e.closest('.timeline') && !e.src?.startsWith(location.origin + '/console/')).length",
    );
    assert_eq!(made, 0);
    // An open alert would refuse every command, and the policy's complaints fail the test at its end.
    page.go("#/node");
    page.until_row_shows("driver", "sqlite");
}

/// A queue's name is shown, linked to and asked for.
#[test]
fn a_queue_of_any_name_has_its_page() {
    let node = Store::Sqlite.shared();
    let name = "a/<b>&?#%20 ü'\"__proto__";
    let encoded: String =
        name.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
    assert_eq!(node.put(&format!("/queue/{encoded}"), "{}").status, 200);
    assert_eq!(node.put("/queue/__proto__", "{}").status, 200);
    let page = Page::open(node.address(), "");
    page.until_row_shows(name, "this node");
    page.click("//td/a[contains(., '&?#%20')]");
    page.until_shown("No waiting jobs");
    page.until_shown("20 workers");
    page.go("#/queue/__proto__");
    page.until("document.title.startsWith('__proto__')");
    page.until_shown("No waiting jobs");
    for path in [format!("/queue/{encoded}"), "/queue/__proto__".to_owned()] {
        assert_eq!(node.delete(&path).status, 200);
    }
}

#[test]
fn an_answer_of_somebody_else_is_shown_as_it_came() {
    let page = Page::open(Store::Sqlite.shared().address(), "");
    page.script(
        "window.fetch = async () => new Response('<b>Log in</b>', \
         { headers: { 'Content-Type': 'text/html' } })",
    );
    page.until_shown("The daemon answers 200: no JSON but text/html: <b>Log in</b>");
}

/// Fifty jobs of a megabyte each are not fetched every other second.
#[test]
fn a_list_that_weighs_much_is_read_seldom() {
    let node = Store::Sqlite.shared();
    let queue = node.queue(&json!({}));
    let payload = "x".repeat(1_000_000);
    for _ in 0..6 {
        queue.push(&json!({ "url": "http://127.0.0.1:9/", "run_after": 60, "payload": payload }));
    }
    let page = Page::open(node.address(), &format!("#/queue/{}/deferred", queue.name));
    page.until_shown("This list of 6 MB was read at");
    let reads = "performance.getEntriesByType('resource')\
        .filter((entry) => entry.name.includes('/deferred?')).length";
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(page.script(&format!("return {reads}")), 1);
    page.press("Read it now");
    page.until(&format!("{reads} === 2"));
}

#[test]
fn a_large_payload_is_shown_when_asked_for() {
    let node = Store::Sqlite.shared();
    let queue = node.queue(&json!({}));
    let words = "word ".repeat(200_000);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let job = |payload: &str| {
        format!(r#"{{"url":"http://127.0.0.1:9/","run_after":3600,"payload":{payload}}}"#)
    };
    let large = queue.push_text(&job(&format!(r#"{{"words":"{words}"}}"#)));
    let deep = queue.push_text(&job(&deep));
    let page = Page::open(node.address(), &format!("#/queue/{}/deferred", queue.name));
    page.press(&format!("Job {large}, details"));
    page.until("document.querySelector('pre[hidden]') !== null");
    let size = "document.querySelector('pre').textContent.length";
    assert_eq!(page.script(&format!("return {size}")), 0);
    page.press("Show 1 MB");
    page.until(&format!("{size} === 60000"));
    page.press("Show all");
    page.until(&format!("{size} > 1000000"));
    page.press(&format!("Job {large}, details"));
    page.until("document.querySelector('pre') === null");
    page.press(&format!("Job {deep}, details"));
    page.press("Show 200 kB");
    page.until(&format!("{size} === 60000"));
}
