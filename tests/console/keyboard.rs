//! The console without a mouse.

use crate::node::unique;
use crate::page::Page;
use crate::stores::Store;
use crate::support::browser::key;

/// What has the focus, by its text or its name.
fn focused(page: &Page) -> String {
    let script = "const e = document.activeElement; return e.name || e.textContent.trim()";
    page.script(script).as_str().unwrap().to_owned()
}

/// Presses Tab until something has the focus.
fn tab_to(page: &Page, wanted: &str) {
    for _ in 0..60 {
        if focused(page) == wanted {
            return;
        }
        page.keys(&[key::TAB]);
    }
    panic!("{wanted} cannot be reached; the focus is at {}", focused(page));
}

#[test]
fn a_queue_is_created_by_keys_alone() {
    let node = Store::Sqlite.shared();
    let name = unique("keys");
    let page = Page::open(node.address(), "");
    page.until("document.querySelector('tbody tr') !== null");
    tab_to(&page, "New queue");
    // Whoever steps through the page sees where he is.
    let outline = "return getComputedStyle(document.activeElement).outlineStyle";
    assert_eq!(page.script(outline), "solid");
    page.keys(&[key::ENTER]);
    page.until("document.querySelector('dialog[open]') !== null");
    assert_eq!(focused(&page), "name");
    page.keys(&[&name]);
    tab_to(&page, "max_workers");
    page.keys(&["4"]);
    // The focus stays in the dialog: behind its last button comes no link of the page below.
    tab_to(&page, "Create");
    page.keys(&[key::ENTER]);
    page.until_closed();
    page.until_row_shows(&name, "of 4");
    assert_eq!(node.get(&format!("/queue/{name}")).json()["max_workers"], 4);
    assert_eq!(focused(&page), "New queue");

    // Escape gives up; the focus goes back to where it came from.
    page.keys(&[key::SPACE]);
    page.until("document.querySelector('dialog[open]') !== null");
    page.keys(&[key::ESCAPE]);
    page.until_closed();
    assert_eq!(focused(&page), "New queue");
}

#[test]
fn every_field_and_button_has_a_name() {
    let node = Store::Sqlite.shared();
    let page = Page::open(node.address(), "");
    page.until("document.querySelector('tbody tr') !== null");
    for (hash, shown) in
        [("#/queue/default/failed", "form.filter"), ("#/job", "form.card"), ("#/node", "tbody tr")]
    {
        page.go(hash);
        page.until(&format!("document.querySelector('{shown}') !== null"));
        let nameless = page.script(
            "return [...document.querySelectorAll('input, select, textarea, button, a')] \
             .filter((e) => !e.labels?.length && !e.getAttribute('aria-label') \
               && !e.textContent.trim()).map((e) => e.outerHTML)",
        );
        assert_eq!(nameless, serde_json::json!([]), "{hash}");
    }
}

#[test]
fn nothing_is_wider_than_a_phone() {
    let node = Store::Sqlite.shared();
    let page = Page::open(node.address(), "");
    page.resize(360, 740);
    for hash in ["#/queues", "#/queue/default/failed", "#/routings", "#/job", "#/node"] {
        page.go(hash);
        page.until("document.querySelector('main h1') !== null");
        page.until("document.documentElement.scrollWidth <= 360");
    }
}
