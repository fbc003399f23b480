//! Which queue the jobs of a category go to.

use fireworq::queue_definition::{MAX_CATEGORY_BYTES, Routing};
use fireworq::store::{Revision, Store};

use super::tools::{assert_not_found, define, queue};

fn routing(category: &str, queue: &str) -> Routing {
    Routing { job_category: category.into(), queue_name: queue.into() }
}

fn put(store: &dyn Store, category: &str, queue: &str) {
    store.put_routing(&routing(category, queue)).unwrap();
}

fn all(store: &dyn Store) -> Vec<(String, String)> {
    let routings = store.definitions().unwrap().routings;
    routings.into_iter().map(|routing| (routing.queue_name, routing.job_category)).collect()
}

#[track_caller]
fn assert_all(store: &dyn Store, expected: &[(&str, &str)]) {
    let expected: Vec<_> = expected.iter().map(|(q, c)| ((*q).into(), (*c).into())).collect();
    assert_eq!(all(store), expected);
}

pub fn a_routing_is_stored_and_replaced(store: &dyn Store) {
    define(store, "q");
    define(store, "r");
    put(store, "c", "q");
    assert_all(store, &[("q", "c")]);
    put(store, "c", "r");
    assert_all(store, &[("r", "c")]);
}

pub fn routings_are_listed_by_queue_then_category(store: &dyn Store) {
    for name in ["q2", "q1"] {
        define(store, name);
    }
    for (category, queue) in [("b", "q2"), ("z", "q1"), ("a", "q2"), ("é", "q1"), ("Z", "q1")] {
        put(store, category, queue);
    }
    let expected = [("q1", "Z"), ("q1", "z"), ("q1", "é"), ("q2", "a"), ("q2", "b")];
    assert_all(store, &expected);
}

pub fn categories_are_told_apart_by_their_bytes(store: &dyn Store) {
    define(store, "q");
    let longest = "é".repeat(MAX_CATEGORY_BYTES / 2);
    let categories = ["c", "C", "c ", "c/d", "e", "é", "e\u{301}", longest.as_str()];
    for category in categories {
        put(store, category, "q");
    }
    let mut expected = categories;
    expected.sort_unstable();
    assert_all(store, &expected.map(|category| ("q", category)));
    for category in categories {
        assert_eq!(store.delete_routing(category).unwrap(), Some(routing(category, "q")));
    }
    assert_all(store, &[]);
}

pub fn a_routing_needs_its_queue(store: &dyn Store) {
    define(store, "q");
    assert_not_found(store.put_routing(&routing("c", "missing")));
    assert_all(store, &[]);
    put(store, "c", "q");
    let before = store.revision().unwrap();
    assert_not_found(store.put_routing(&routing("c", "missing")));
    assert_all(store, &[("q", "c")]);
    assert_eq!(store.revision().unwrap(), before);
    store.delete_queue("q").unwrap();
    assert_not_found(store.put_routing(&routing("d", "q")));
}

pub fn a_deleted_routing_is_answered_once(store: &dyn Store) {
    define(store, "q");
    put(store, "c", "q");
    put(store, "d", "q");
    assert_eq!(store.delete_routing("c").unwrap(), Some(routing("c", "q")));
    assert_eq!(store.delete_routing("c").unwrap(), None);
    assert_all(store, &[("q", "d")]);
}

pub fn only_a_change_changes_the_revision(store: &dyn Store) {
    define(store, "q");
    define(store, "r");
    let mut last = store.revision().unwrap();
    let mut expect = |changes: u64, what: &str| {
        let now = store.revision().unwrap();
        let expected = Revision { queues: last.queues, routings: last.routings + changes };
        assert_eq!(now, expected, "after {what}");
        last = now;
    };
    put(store, "c", "q");
    expect(1, "a new routing");
    put(store, "c", "q");
    expect(0, "the same again");
    put(store, "c", "r");
    expect(1, "another queue");
    store.delete_routing("c").unwrap();
    expect(1, "a deletion");
    store.delete_routing("c").unwrap();
    expect(0, "a deletion of nothing");
}

pub fn routings_outlive_their_queue(store: &dyn Store) {
    define(store, "q");
    put(store, "c", "q");
    assert_eq!(store.delete_queue("q").unwrap(), Some(queue("q")));
    assert_all(store, &[("q", "c")]);
    assert_eq!(store.delete_routing("c").unwrap(), Some(routing("c", "q")));
}
