//! The page of routings.

use crate::node::unique;
use crate::page::Page;
use crate::stores::Store;
use serde_json::json;

on_both_stores! {
    a_routing_is_created_changed_and_deleted
}

fn a_routing_is_created_changed_and_deleted(store: Store) {
    let node = store.shared();
    let (first, second) = (node.queue(&json!({})), node.queue(&json!({})));
    // Slashes, blanks, quotes, letters beyond ASCII: whatever a category may hold.
    let category = format!("{}/it's 100% ü/x?y#z", unique("routed"));
    let routed = || {
        let all = node.get("/routings").json();
        let found = all
            .as_array()
            .unwrap()
            .iter()
            .find(|routing| routing["job_category"] == category.as_str());
        found.map(|routing| routing["queue_name"].as_str().unwrap().to_owned())
    };
    let page = Page::open(node.address(), "#/routings");
    page.press("New routing");
    page.press_in_dialog("Create");
    page.until("document.querySelector('[name=category][aria-invalid]') !== null");
    page.fill("category", &category);
    page.choose("queue_name", &first.name);
    page.press_in_dialog("Create");
    page.until_closed();
    page.until_row_shows(&category, &first.name);
    assert_eq!(routed(), Some(first.name.clone()));

    let row = format!("//tr[td[contains(., '100% ü')]][td[contains(., '{}')]]", &category[..8]);
    page.click(&format!("{row}//button[.='Change']"));
    page.choose("queue_name", &second.name);
    page.press_in_dialog("Save");
    page.until_closed();
    page.until_row_shows(&category, &second.name);
    assert_eq!(routed(), Some(second.name.clone()));

    page.click(&format!("{row}//button[.='Delete']"));
    page.press_in_dialog("Delete the routing");
    page.until_closed();
    page.until_no_row_shows(&category);
    assert_eq!(routed(), None);
}
