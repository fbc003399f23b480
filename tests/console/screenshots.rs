//! Pictures of every page for the documentation: `make screenshots` makes them anew.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use serde_json::{Value, json};

use crate::node::Node;
use crate::page::Page;
use crate::stores::Store;
use crate::support::wait::{SOON, until};
use crate::support::worker::{Reaction, Worker};

/// How long the demonstration runs before the pictures are taken: the time-lines show two minutes.
const SHOW: Duration = Duration::from_secs(125);

/// The queues of the demonstration, each with one category.
fn queues() -> [(&'static str, &'static str, Value); 5] {
    [
        ("email", "mail/welcome", json!({ "max_workers": 20 })),
        ("invoices", "billing/invoice", json!({ "max_workers": 5 })),
        ("reports", "reports/monthly", json!({ "max_workers": 2 })),
        ("thumbnails", "media/thumbnail", json!({ "max_workers": 8 })),
        (
            "webhooks",
            "webhooks/order",
            json!({ "max_workers": 50, "max_dispatches_per_second": 30, "max_burst_size": 10 }),
        ),
    ]
}

/// Messages as mail servers write them.
const MESSAGES: [&str; 3] = [
    "452 4.2.2 The recipient's mailbox is over its quota",
    "550 5.1.1 No such account",
    "Time-out after 30 s while talking to mx3.example.com",
];

fn worker() -> Worker {
    Worker::start(|request| match request.path.as_str() {
        "/slow" => Reaction::silence(),
        "/mail" if request.number % 23 == 0 => {
            let message = MESSAGES[request.number / 23 % MESSAGES.len()];
            let answer = json!({ "status": "permanent-failure", "message": message });
            Reaction::answer(200, &[], answer.to_string())
        }
        _ => Reaction::success().after(Duration::from_millis(60)),
    })
}

fn push(node: &Node, category: &str, job: impl ToString) {
    assert_eq!(node.post(&format!("/job/{category}"), job.to_string()).status, 200);
}

/// What is there from the beginning.
fn prepare(node: &Node, worker: &Worker) {
    for (queue, category, definition) in queues() {
        assert_eq!(node.put(&format!("/queue/{queue}"), definition.to_string()).status, 200);
        let routing = json!({ "queue_name": queue }).to_string();
        assert_eq!(node.put(&format!("/routing/{category}"), routing).status, 200);
    }
    for month in 1..=6 {
        let payload = json!({ "month": format!("2026-{month:02}"), "format": "pdf" });
        push(
            node,
            "reports/monthly",
            json!({ "url": worker.url("/slow"), "payload": payload, "timeout": 1800 }),
        );
    }
    for number in 0..14 {
        let payload = json!({ "invoice": 20_260_400 + number, "customer": 512 + number });
        push(
            node,
            "billing/invoice",
            json!({ "url": worker.url("/invoice"), "payload": payload,
                "run_after": 3600 + 600 * number }),
        );
    }
}

/// Pushes jobs, more and fewer of them as time goes by, until it is told to stop.
fn keep_busy(node: &Node, worker: &Worker, stop: &AtomicBool) {
    let mut step: u32 = 0;
    while !stop.load(Relaxed) {
        let wave = |period: f64, least: f64, most: f64| {
            let phase = (f64::from(step) / period).sin() * 0.5 + 0.5;
            // Whole jobs, a fifth of a second's worth of them.
            ((least + phase * (most - least)) / 5.0).round() as u32
        };
        for number in 0..wave(31.0, 10.0, 35.0) {
            let payload = format!(
                r#"{{"to":"person{}@example.com","template":"welcome","credit":1.10}}"#,
                step + number
            );
            let job = format!(r#"{{"url":"{}","payload":{payload}}}"#, worker.url("/mail"));
            push(node, "mail/welcome", job);
        }
        for number in 0..wave(17.0, 15.0, 60.0) {
            let job = json!({ "url": worker.url("/image"),
                "payload": { "image": 90_000 + step + number, "sizes": [64, 256, 1024] } });
            push(node, "media/thumbnail", job);
        }
        for _ in 0..wave(53.0, 10.0, 45.0) {
            push(node, "webhooks/order", json!({ "url": worker.url("/hook"), "payload": [1, 2] }));
        }
        step += 1;
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Takes a page's picture in light, in dark and on a phone.
fn shoot(page: &Page, name: &str) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("doc/images");
    std::fs::create_dir_all(&directory).unwrap();
    for (variant, scheme, width, height) in
        [("", "light", 1280, 860), ("-dark", "dark", 1280, 860), ("-phone", "light", 360, 740)]
    {
        page.prefer(scheme);
        page.resize(width, height);
        page.script("document.activeElement?.blur(); scrollTo(0, 0)");
        // Where this run keeps its files is nobody's business.
        page.script(
            "for (const e of document.querySelectorAll('td span')) { \
               e.textContent = e.textContent.replace(/^.*\\/[^/]*(tmp|fireworq-)[^/]*\\//, \
                 '/var/lib/fireworq/'); }",
        );
        let file = directory.join(format!("console-{name}{variant}.png"));
        std::fs::write(file, page.screenshot()).unwrap();
    }
    page.prefer("light");
    page.resize(1280, 860);
}

#[test]
#[ignore = "makes the documentation's pictures, which takes minutes"]
fn screenshots() {
    let node = Store::Sqlite.node(&["queue-default="]);
    let worker = worker();
    prepare(&node, &worker);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| keep_busy(&node, &worker, &stop));
        // Whatever happens, the other thread is told.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| take_all(&node)));
        stop.store(true, Relaxed);
        result.unwrap();
    });
}

fn take_all(node: &Node) {
    let page = Page::open(node.address(), "");
    let opened = std::time::Instant::now();
    until("two minutes have been seen", SHOW + SOON, || opened.elapsed() >= SHOW);
    page.until_row_shows("webhooks", "this node");
    shoot(&page, "queues");
    page.go("#/queue/email/failed");
    page.click("(//button[@class='toggle'])[2]");
    page.until("document.querySelectorAll('pre').length === 2");
    shoot(&page, "queue");
    page.go("#/routings");
    page.until_row_shows("webhooks", "webhooks/order");
    shoot(&page, "routings");
    page.go("#/job?queue=email");
    page.fill("url", "http://127.0.0.1:3000/mail");
    page.fill("payload", r#"{"to": "person@example.com", "amount": 1.10}"#);
    page.fill("max_retries", "3");
    page.fill("retry_delay", "60");
    shoot(&page, "job");
    page.go("#/node");
    page.until_row_shows("webhooks", "this node");
    page.until_row_shows("driver", "sqlite");
    shoot(&page, "node");
}
