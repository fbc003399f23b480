//! The page of the node.

use crate::page::Page;
use crate::stores::Store;
use serde_json::json;

on_both_stores! {
    version_settings_store_and_primaries_are_shown
}

fn version_settings_store_and_primaries_are_shown(store: Store) {
    let node = store.shared();
    let queue = node.queue(&json!({}));
    queue.wait_for_stat("active_nodes", 1);
    let page = Page::open(node.address(), "#/node");
    let version = node.get("/version").text().trim().replace("Fireworq ", "");
    page.until_shown(&version);
    page.until_row_shows("driver", store.driver());
    page.until_row_shows("queue_default_max_workers", "20");
    page.until_row_shows(&queue.name, "this node");
    page.until_shown(if store == Store::Mysql { "MySQL" } else { "embedded" });
}
