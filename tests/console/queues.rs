//! The page of all queues: what it shows, and creating, changing and deleting one.

use crate::node::unique;
use crate::page::Page;
use crate::stores::Store;
use crate::support::wait::{SOON, until};
use crate::support::worker::Worker;
use serde_json::json;

on_both_stores! {
    a_queue_is_created_changed_and_deleted
    the_figures_of_a_queue_are_shown
}

fn a_queue_is_created_changed_and_deleted(store: Store) {
    let node = store.shared();
    let (name, path) = (unique("made"), |name: &str| format!("/queue/{name}"));
    let page = Page::open(node.address(), "");
    page.press("New queue");
    page.until_shown("A queue needs a name.");
    assert_eq!(page.curl(), "");
    // Refused by the daemon, and said where it can be put right.
    page.fill("name", &name);
    page.fill("max_workers", "many");
    page.press_in_dialog("Create");
    page.until("document.querySelector('[name=max_workers][aria-invalid]') !== null");
    page.until_shown("Invalid field: max_workers: \"many\" is not an integer");
    page.fill("max_workers", "7");
    page.fill("max_dispatches_per_second", "2.5");
    page.press_in_dialog("Create");
    page.until("document.querySelector('[name=max_burst_size][aria-invalid]') !== null");
    page.fill("max_burst_size", "3");
    let line = format!("curl -X PUT 'http://{}{}'", node.address(), path(&name));
    assert!(page.curl().starts_with(&line), "{}", page.curl());
    assert_eq!(node.get(&path(&name)).status, 404);
    page.press_in_dialog("Create");
    page.until_closed();
    page.until_row_shows(&name, "of 7");
    let expected = json!({ "name": name, "polling_interval": 100, "max_workers": 7,
        "max_dispatches_per_second": 2.5, "max_burst_size": 3 });
    assert_eq!(node.get(&path(&name)).json(), expected);

    page.press(&format!("Edit {name}"));
    page.fill("max_workers", "9");
    page.press_in_dialog("Save");
    page.until_closed();
    page.until_row_shows(&name, "of 9");
    assert_eq!(node.get(&path(&name)).json()["max_burst_size"], 3);

    page.press(&format!("Delete {name}"));
    page.press_in_dialog("Cancel");
    page.until_closed();
    assert_eq!(node.get(&path(&name)).status, 200);
    page.press(&format!("Delete {name}"));
    page.press_in_dialog("Delete the queue");
    page.until_closed();
    page.until_no_row_shows(&name);
    assert_eq!(node.get(&path(&name)).status, 404);
}

#[test]
fn a_queue_that_is_created_again_shows_its_jobs_again() {
    let node = Store::Sqlite.shared();
    let queue = node.queue(&json!({}));
    let path = format!("/queue/{}", queue.name);
    let page = Page::open(node.address(), &format!("#{path}"));
    page.until_shown("No waiting jobs");
    node.delete(&path);
    page.until_shown("The daemon answers 404");
    page.until("!document.body.innerText.includes('No waiting jobs')");
    node.put(&path, "{}");
    page.until_shown("No waiting jobs");
    page.until("!document.body.innerText.includes('The daemon answers 404')");
}

fn the_figures_of_a_queue_are_shown(store: Store) {
    let node = store.shared();
    let queue = node.queue(&json!({ "max_workers": 2 }));
    let slow = Worker::start(|_| crate::support::worker::Reaction::silence());
    for _ in 0..3 {
        queue.push(&json!({ "url": slow.url("/") }));
    }
    queue.push(&json!({ "url": slow.url("/"), "run_after": 3600 }));
    until("two jobs run", SOON, || queue.jobs("grabbed").len() >= 2);
    let page = Page::open(node.address(), "");
    page.until_row_shows(&queue.name, "2 of 2");
    page.until_row_shows(&queue.name, "this node");
    let cells = |label: &str| {
        page.text(&format!("//tr[.//a[.='{}']]//td[@data-label='{label}']", queue.name))
    };
    until("one job is deferred", SOON, || cells("Deferred") == "1");
    until("an age is shown", SOON, || cells("Oldest").ends_with('s'));
    until("nothing is pushed any more", SOON, || cells("Pushed/s") == "0");
    queue.push(&json!({ "url": slow.url("/"), "run_after": 3600 }));
    page.until_row_shows(&queue.name, "2 of 2");
    until("two jobs are deferred", SOON, || cells("Deferred") == "2");
    page.press(&queue.name);
    page.until_shown("oldest waiting");
    page.until("document.querySelectorAll('.chart-card .line[d^=M]').length === 3");
    page.until_shown("2 workers");
}

#[test]
fn a_node_that_is_not_primary_tells_what_runs_elsewhere() {
    let place = Store::Mysql.place();
    let primary = place.node(&[]);
    let queue = primary.queue(&json!({ "max_workers": 7 }));
    queue.wait_for_stat("active_nodes", 1);
    let slow = Worker::start(|_| crate::support::worker::Reaction::silence());
    queue.push(&json!({ "url": slow.url("/") }));
    slow.wait_for(1, SOON);
    let standby = place.node(&[]);
    let page = Page::open(standby.address(), "");
    page.until_row_shows(&queue.name, "1 of 7");
    page.press(&queue.name);
    page.until_shown("1 of 7");
    page.until_shown("The charts show what this node does.");
}
