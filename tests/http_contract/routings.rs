//! Routings of categories to queues.

use serde_json::json;

use super::routes::assert_plain_error;
use crate::node::unique;
use crate::stores::{Store, on_every_store};

on_every_store! {
    a_routing_is_put_replaced_and_deleted
    routings_are_listed_by_queue_then_category
    a_routing_needs_its_queue
    a_routing_needs_a_body
    a_category_is_the_rest_of_the_path
    categories_are_limited
    a_routing_takes_effect_at_once
}

fn path(category: &str) -> String {
    format!("/routing/{category}")
}

fn to(queue: &str) -> String {
    json!({ "queue_name": queue }).to_string()
}

fn a_routing_is_put_replaced_and_deleted(store: Store) {
    let node = store.shared();
    let (one, two) = (node.queue(&json!({})), node.queue(&json!({})));
    let category = unique("c");
    let text = |queue: &str| format!(r#"{{"job_category":"{category}","queue_name":"{queue}"}}"#);
    let body = format!(r#"{{"job_category":"another","QUEUE_NAME":"{}","x":1}}"#, one.name);
    for (body, queue) in [(body, &one.name), (to(&two.name), &two.name)] {
        let answer = node.put(&path(&category), body);
        assert_eq!((answer.status, answer.text()), (200, text(queue).as_str()));
        assert_eq!(answer.header("Content-Type"), Some("application/json"));
        assert_eq!(node.get(&path(&category)).text(), text(queue));
    }
    let answer = node.delete(&path(&category));
    assert_eq!((answer.status, answer.text()), (200, text(&two.name).as_str()));
    assert_plain_error(&node.delete(&path(&category)), 404);
    assert_plain_error(&node.get(&path(&category)), 404);
}

fn routings_are_listed_by_queue_then_category(store: Store) {
    let node = store.node(&["queue-default="]);
    assert_eq!(node.get("/routings").text(), "[]");
    for queue in ["a", "b"] {
        assert_eq!(node.put(&format!("/queue/{queue}"), "{}").status, 200);
    }
    for (category, queue) in [("z", "a"), ("a", "b"), ("m", "a"), ("n", "b")] {
        assert_eq!(node.put(&path(category), to(queue)).status, 200);
    }
    let answer = node.get("/routings");
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
    let expected = [("m", "a"), ("z", "a"), ("a", "b"), ("n", "b")].map(|(category, queue)| {
        format!(r#"{{"job_category":"{category}","queue_name":"{queue}"}}"#)
    });
    assert_eq!(answer.text(), format!("[{}]", expected.join(",")));
}

fn a_routing_needs_its_queue(store: Store) {
    let node = store.shared();
    let category = unique("c");
    assert_plain_error(&node.put(&path(&category), to("missing")), 404);
    assert_plain_error(&node.get(&path(&category)), 404);
}

fn a_routing_needs_a_body(store: Store) {
    let node = store.shared();
    for body in ["", "{", "{}x", r#"{"queue_name":5}"#, r#"{"queue_name":["a"]}"#, "[]"] {
        assert_plain_error(&node.put(&path(&unique("c")), body), 400);
    }
    for body in ["{}", "null", r#"{"queue_name":null}"#, r#"{"queue_name":""}"#] {
        let answer = node.put(&path(&unique("c")), body);
        assert!(matches!(answer.status, 400 | 404), "{body}: {}", answer.text());
    }
}

fn a_category_is_the_rest_of_the_path(store: Store) {
    let node = store.shared();
    let queue = node.queue(&json!({}));
    let stem = unique("c");
    for (written, category) in [
        (format!("{stem}/a/b"), format!("{stem}/a/b")),
        (format!("{stem}%2Fc"), format!("{stem}/c")),
        (format!("{stem}//d/"), format!("{stem}//d/")),
        (format!("{stem}%E3%81%82%20+"), format!("{stem}あ +")),
        (format!("{stem}/../x"), format!("{stem}/../x")),
    ] {
        let answer = node.put(&path(&written), to(&queue.name));
        assert_eq!(answer.status, 200, "{written}: {}", answer.text());
        assert_eq!(answer.json()["job_category"], category.as_str());
        assert_eq!(node.get(&path(&written)).json()["job_category"], category.as_str());
        let job = r#"{"url":"http://127.0.0.1:1/","run_after":3600}"#;
        let pushed = node.post(&format!("/job/{written}?ignored=1"), job).json();
        assert_eq!(pushed["category"], category.as_str());
        assert_eq!(pushed["queue_name"], queue.name.as_str());
        let listed = &queue.jobs("deferred?limit=1")[0];
        assert_eq!(listed["category"], category.as_str());
    }
}

fn categories_are_limited(store: Store) {
    let node = store.shared();
    let queue = node.queue(&json!({}));
    let fits = format!("{:c<255}", unique("c"));
    assert_eq!(node.put(&path(&fits), to(&queue.name)).status, 200);
    let job = r#"{"url":"http://127.0.0.1:1/","run_after":3600}"#;
    assert_eq!(node.post(&format!("/job/{fits}"), job).status, 200);
    let long = format!("{fits}x");
    assert_plain_error(&node.put(&path(&long), to(&queue.name)), 400);
    assert_plain_error(&node.post(&format!("/job/{long}"), job), 400);
    // Bytes, not characters.
    let wide = "%C3%A9".repeat(128);
    assert_plain_error(&node.put(&path(&wide), to(&queue.name)), 400);
}

fn a_routing_takes_effect_at_once(store: Store) {
    let node = store.shared();
    let (one, two) = (node.queue(&json!({})), node.queue(&json!({})));
    let category = unique("c");
    for queue in [&one, &two, &one] {
        node.put(&path(&category), to(&queue.name));
        let job = r#"{"url":"http://127.0.0.1:1/","run_after":3600}"#;
        let pushed = node.post(&format!("/job/{category}"), job).json();
        assert_eq!(pushed["queue_name"], queue.name.as_str());
    }
}
