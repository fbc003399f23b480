//! Queues as they are defined.

use fireworq::queue_definition::{MAX_QUEUE_NAME_CHARS, QueueDefinition, validate_queue_name};
use fireworq::store::{Revision, Store, StoreError};

use super::tools::{counts, define, queue};

fn names(store: &dyn Store) -> Vec<String> {
    store.definitions().unwrap().queues.into_iter().map(|queue| queue.name).collect()
}

fn throttled(name: &str, rate: f32) -> QueueDefinition {
    QueueDefinition { max_dispatches_per_second: rate, max_burst_size: 5, ..queue(name) }
}

pub fn nothing_is_defined_at_first(store: &dyn Store) {
    let snapshot = store.definitions().unwrap();
    assert_eq!((snapshot.queues, snapshot.routings), (vec![], vec![]));
    assert_eq!(store.delete_queue("q").unwrap(), None);
}

pub fn a_queue_is_stored_as_it_is_given(store: &dyn Store) {
    let given = QueueDefinition {
        name: "q".into(),
        polling_interval_ms: 123,
        max_workers: 7,
        max_dispatches_per_second: 2.5,
        max_burst_size: 9,
    };
    assert_eq!(store.put_queue(&given).unwrap(), given);
    assert_eq!(store.definitions().unwrap().queues, [given]);
}

pub fn a_queue_is_replaced(store: &dyn Store) {
    define(store, "other");
    for given in [throttled("q", 2.0), throttled("q", 3.0), queue("q")] {
        assert_eq!(store.put_queue(&given).unwrap(), given);
        assert_eq!(store.definitions().unwrap().queues, [queue("other"), given]);
    }
}

pub fn the_largest_numbers_are_kept(store: &dyn Store) {
    let given = QueueDefinition {
        name: "q".into(),
        polling_interval_ms: u32::MAX,
        max_workers: u32::MAX,
        max_dispatches_per_second: f32::MAX,
        max_burst_size: u32::MAX,
    };
    assert_eq!(store.put_queue(&given).unwrap(), given);
    assert_eq!(store.definitions().unwrap().queues, [given]);
}

pub fn a_rate_is_read_back_exactly(store: &dyn Store) {
    // More digits than a FLOAT is shown with, the ends of what is normal, and no powers of two.
    let rates = [0.1, 2.7, 1.0 / 3.0, 0.3, 123_456.79, 16_777_216.0, 1e30, f32::MIN_POSITIVE];
    for rate in rates {
        let stored = store.put_queue(&throttled("q", rate)).unwrap();
        let read = store.definitions().unwrap().queues.remove(0);
        for found in [stored, read] {
            let found = found.max_dispatches_per_second;
            assert_eq!(found.to_bits(), rate.to_bits(), "{rate} came back as {found}");
        }
    }
}

pub fn queues_are_listed_by_name(store: &dyn Store) {
    for name in ["b", "a1", "a", "あ22", "B", "é1"] {
        define(store, name);
    }
    assert_eq!(names(store), ["B", "a", "a1", "b", "é1", "あ22"]);
}

pub fn a_name_may_hold_any_character(store: &dyn Store) {
    let longest = "𝄞".repeat(MAX_QUEUE_NAME_CHARS);
    for name in
        ["a b.c-d/e", "it's", "`tick`", "100%", "_", "\"", "back\\slash", "A(1);--", &longest]
    {
        validate_queue_name(name).unwrap();
        define(store, name);
        assert_eq!(names(store), [name]);
        assert_eq!(counts(store, name), (0, 0, 0), "{name}");
        assert_eq!(store.delete_queue(name).unwrap(), Some(queue(name)));
    }
}

pub fn a_deleted_queue_is_answered_once(store: &dyn Store) {
    define(store, "other");
    let given = throttled("q", 2.5);
    store.put_queue(&given).unwrap();
    assert_eq!(store.delete_queue("q").unwrap(), Some(given));
    assert_eq!(store.delete_queue("q").unwrap(), None);
    assert_eq!(names(store), ["other"]);
}

pub fn only_a_change_changes_the_revision(store: &dyn Store) {
    let mut last = store.revision().unwrap();
    let mut expect = |changes: u64, what: &str| {
        let now = store.revision().unwrap();
        let expected = Revision { queues: last.queues + changes, routings: last.routings };
        assert_eq!(now, expected, "after {what}");
        last = now;
    };
    store.put_queue(&throttled("q", 0.1)).unwrap();
    expect(1, "a new queue");
    store.put_queue(&throttled("q", 0.1)).unwrap();
    expect(0, "the same again");
    store.put_queue(&throttled("q", 0.2)).unwrap();
    expect(1, "another rate");
    store.put_queue(&QueueDefinition { max_burst_size: 6, ..throttled("q", 0.2) }).unwrap();
    expect(1, "another burst");
    store.put_queue(&queue("q")).unwrap();
    expect(1, "no throttle");
    store.put_queue(&queue("q")).unwrap();
    expect(0, "the same again");
    store.put_queue(&QueueDefinition { max_workers: 21, ..queue("q") }).unwrap();
    expect(1, "other workers");
    store.put_queue(&QueueDefinition { polling_interval_ms: 201, ..queue("q") }).unwrap();
    expect(1, "another interval");
    store.delete_queue("q").unwrap();
    expect(1, "a deletion");
    store.delete_queue("q").unwrap();
    expect(0, "a deletion of nothing");
    store.definitions().unwrap();
    expect(0, "a look");
}

pub fn a_snapshot_carries_its_revision(store: &dyn Store) {
    define(store, "q");
    let snapshot = store.definitions().unwrap();
    assert_eq!(snapshot.revision, store.revision().unwrap());
    define(store, "r");
    assert_ne!(snapshot.revision, store.revision().unwrap());
}

pub fn a_new_queue_shares_no_tables(store: &dyn Store) {
    define(store, "a-b");
    let before = store.revision().unwrap();
    let answer = store.put_queue(&queue("a.b"));
    assert!(matches!(answer, Err(StoreError::Conflict(_))), "{answer:?}");
    assert_eq!(names(store), ["a-b"]);
    assert_eq!(store.revision().unwrap(), before);
    // Itself it may replace.
    store.put_queue(&throttled("a-b", 1.5)).unwrap();
}

pub fn other_nodes_see_definitions(store: &dyn Store, other: &dyn Store) {
    let before = other.revision().unwrap();
    define(store, "q");
    assert_ne!(other.revision().unwrap(), before);
    assert_eq!(names(other), ["q"]);
    assert_eq!(other.delete_queue("q").unwrap(), Some(queue("q")));
    assert_eq!(names(store), [""; 0]);
}
