//! A daemon that goes away and comes back.

use std::time::{Duration, Instant};

use crate::node::Node;
use crate::page::Page;
use crate::stores::Store;
use crate::support::daemon::Options;
use crate::support::mariadb;
use crate::support::proxy::Proxy;

#[test]
fn a_lost_contact_is_told_and_made_good() {
    let place = Store::Sqlite.place();
    let mut node = place.node(&[]);
    let address = node.address();
    node.put("/queue/before", "{}");
    let page = Page::open(address, "");
    page.until_row_shows("before", "this node");
    page.until("document.getElementById('contact').hidden");

    node.stop();
    page.until_shown("Lost contact");
    let seconds = "Number(/contact (\\d+) s ago/.exec(document.body.innerText)?.[1] ?? 0)";
    page.until(&format!("{seconds} >= 2"));
    // What was known stays to be read, and what cannot be done says so.
    page.until_row_shows("before", "20");
    page.press("New queue");
    page.fill("name", "lost");
    page.press_in_dialog("Create");
    page.until_shown("The daemon does not answer");
    page.press_in_dialog("Cancel");

    let node = place.node(&[&format!("bind={address}")]);
    node.put("/queue/after", "{}");
    page.until("document.getElementById('contact').hidden");
    page.until_row_shows("after", "this node");
    assert_eq!(node.get("/queue/lost").status, 404);
}

#[test]
fn a_daemon_that_says_nothing_counts_as_lost() {
    let mut node = Store::Sqlite.node(&[]);
    let page = Page::open(node.address(), "");
    page.until("document.querySelector('tbody tr') !== null");
    node.pause();
    page.until_shown("Lost contact");
    node.resume();
    page.until("document.getElementById('contact').hidden");
}

#[test]
fn without_its_database_a_node_tells_what_it_can() {
    let server = mariadb::shared();
    let database = server.create_database();
    let proxy = Proxy::to(server.port());
    let node = Node::new(Options::on(&database.dsn_at(proxy.port())).start());
    let page = Page::open(node.address(), "");
    node.put("/queue/kept", "{}");
    page.until_row_shows("kept", "this node");
    proxy.cut();
    page.until_shown("The daemon answers 503");
    page.go("#/node");
    page.until_shown(node.get("/version").text().trim().trim_start_matches("Fireworq "));
    page.until_row_shows("driver", "mysql");
    page.until("/threads\\s+\\d/.test(document.querySelector('.tiles').innerText)");
    page.until_shown("The daemon answers 503");

    // A page that could not be built is, soon after the database is back.
    page.go("#/job");
    page.until_shown("The daemon answers 503");
    proxy.mend();
    let mended = Instant::now();
    page.until("document.querySelector('[name=category]') !== null");
    assert!(mended.elapsed() < Duration::from_secs(30), "{:?}", mended.elapsed());
}
