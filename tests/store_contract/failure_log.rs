//! Jobs that failed for good.

use fireworq::job::Failure;
use fireworq::store::{Direction, FailureOrder, Page, Position, Settled, Step, Store};

use super::tools::{QUEUE, define, failures, job, job_with, lead, push, push_many, walk};

fn failed_at(failure: &Failure) -> Position {
    Position { at_ms: failure.failed_at_ms, id: failure.id }
}

fn created_at(failure: &Failure) -> Position {
    Position { at_ms: failure.created_at_ms, id: failure.id }
}

fn job_ids(failures: &[Failure]) -> Vec<u64> {
    failures.iter().map(|failure| failure.job_id).collect()
}

fn listed(store: &dyn Store, order: FailureOrder, page: &Page) -> Vec<Failure> {
    store.failures(QUEUE, order, page).unwrap()
}

/// Fails jobs, pushed in batches, in an order that is not theirs, and answers their ids in the
/// order in which they failed.
fn fail_many(store: &dyn Store) -> Vec<u64> {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    for _ in 0..3 {
        push_many(store, QUEUE, 4, &job());
    }
    let mut jobs = leader.grab();
    jobs.rotate_left(5);
    jobs.swap(0, 7);
    for job in &jobs {
        leader.fail(store, QUEUE, job);
    }
    jobs.iter().map(|job| job.id).collect()
}

pub fn failures_keep_every_byte(store: &dyn Store) {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    for (payload, result) in [
        (Vec::new(), Vec::new()),
        ((0..=255).collect(), (0..=255).rev().collect()),
        (b"'\\\0".to_vec(), b"\"'\\\0".to_vec()),
        (vec![b'p'; 1_000_000], vec![b'r'; 1_000_000]),
    ] {
        push(store, QUEUE, job_with(payload.clone()));
        let grabbed = leader.grab_one();
        let settled = leader.settle(store, QUEUE, &grabbed, Step::Fail(result.clone()));
        assert_eq!(settled, Settled::Stored);
        let found = failures(store, QUEUE).remove(0);
        assert!(found.payload == payload, "the payload of {} bytes changed", payload.len());
        assert!(found.result == result, "the result of {} bytes changed", result.len());
    }
}

pub fn the_latest_failure_comes_first(store: &dyn Store) {
    let mut expected = fail_many(store);
    expected.reverse();
    let found = failures(store, QUEUE);
    assert_eq!(job_ids(&found), expected);
    assert!(found.is_sorted_by(|a, b| a.id > b.id));
}

pub fn the_latest_created_job_comes_first(store: &dyn Store) {
    fail_many(store);
    let page = Page { limit: 1000, after: None, direction: Direction::Descending };
    let found = listed(store, FailureOrder::Created, &page);
    assert_eq!(found.len(), 12);
    assert!(found.is_sorted_by(|a, b| created_at(a) > created_at(b)), "{found:?}");
    assert!(found[0].job_id > found[11].job_id);
}

pub fn pages_hold_each_failure_once(store: &dyn Store) {
    let mut expected = fail_many(store);
    expected.reverse();
    // The direction says nothing here: the latest always comes first.
    for direction in [Direction::Ascending, Direction::Descending] {
        for limit in [1, 5, 12, 100] {
            let found =
                walk(limit, direction, failed_at, |page| listed(store, FailureOrder::Failed, page));
            assert_eq!(job_ids(&found), expected, "by {limit}");
        }
    }
}

pub fn pages_by_creation_hold_each_failure_once(store: &dyn Store) {
    fail_many(store);
    for direction in [Direction::Ascending, Direction::Descending] {
        for limit in [1, 5, 12, 100] {
            let found = walk(limit, direction, created_at, |page| {
                listed(store, FailureOrder::Created, page)
            });
            assert_eq!(found.len(), 12, "by {limit}");
            assert!(found.is_sorted_by(|a, b| created_at(a) > created_at(b)), "by {limit}");
        }
    }
}

pub fn a_failure_is_found_and_deleted_by_its_id(store: &dyn Store) {
    fail_many(store);
    define(store, "r");
    let mut all = failures(store, QUEUE);
    let one = all.remove(4);
    assert_eq!(store.failure(QUEUE, one.id).unwrap().as_ref(), Some(&one));
    assert_eq!(store.failure("r", one.id).unwrap(), None);
    assert_eq!(store.delete_failure("r", one.id).unwrap(), None);
    assert_eq!(store.delete_failure(QUEUE, one.id).unwrap(), Some(one.clone()));
    assert_eq!(store.delete_failure(QUEUE, one.id).unwrap(), None);
    assert_eq!(store.failure(QUEUE, one.id).unwrap(), None);
    assert_eq!(failures(store, QUEUE), all);
    let page = Page { limit: 100, after: None, direction: Direction::Descending };
    assert_eq!(listed(store, FailureOrder::Created, &page).len(), all.len());
}

pub fn a_missing_failure_is_none(store: &dyn Store) {
    define(store, QUEUE);
    assert_eq!(failures(store, QUEUE), []);
    for id in [0, 1, u64::MAX] {
        assert_eq!(store.failure(QUEUE, id).unwrap(), None);
        assert_eq!(store.delete_failure(QUEUE, id).unwrap(), None);
    }
}

pub fn a_failure_that_goes_disturbs_no_other(store: &dyn Store) {
    fail_many(store);
    for (order, position) in [
        (FailureOrder::Failed, failed_at as fn(&Failure) -> Position),
        (FailureOrder::Created, created_at),
    ] {
        let page = Page { limit: 1000, after: None, direction: Direction::Descending };
        let mut expected = listed(store, order, &page);
        // Each row goes as soon as it has been seen, and one before it is seen.
        let unseen = expected.remove(expected.len() / 2);
        let found = walk(2, Direction::Descending, position, |page| {
            store.delete_failure(QUEUE, unseen.id).unwrap();
            let rows = listed(store, order, page);
            for row in &rows[rows.len().saturating_sub(1)..] {
                store.delete_failure(QUEUE, row.id).unwrap();
            }
            rows
        });
        assert_eq!(found, expected, "{order:?}");
    }
}
