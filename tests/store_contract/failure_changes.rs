//! Many failures: their heads, retrying and deleting them.

use fireworq::job::{JobChanges, NewJob};
use fireworq::store::{
    Direction, FailureHead, FailureOrder, Listing, MAX_RETRY_BYTES, MAX_RETRY_ROWS, Page, Retried,
    RetryBatch, Step, Store, StoreError,
};

use super::tools::{
    ALL, QUEUE, assert_not_found, counts, define, failures, job, job_with, lead, listed, push,
    push_many,
};

/// Fails this many jobs and answers their failures' ids, the latest first.
fn fail(store: &dyn Store, count: usize) -> Vec<u64> {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    push_many(store, QUEUE, count, &job());
    for job in leader.grab() {
        leader.fail(store, QUEUE, &job);
    }
    failures(store, QUEUE).iter().map(|failure| failure.id).collect()
}

#[track_caller]
fn retry(store: &dyn Store, ids: &[u64]) -> RetryBatch {
    store.retry_failures(QUEUE, ids, &JobChanges::default()).unwrap()
}

fn ids_of(batch: &RetryBatch) -> Vec<u64> {
    batch.retried.iter().map(|retried| retried.failure_id).collect()
}

pub fn heads_are_those_of_the_failures(store: &dyn Store) {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    for number in 0..5 {
        push(store, QUEUE, NewJob { category: format!("c{number}"), ..job() });
    }
    for (number, job) in leader.grab().iter().enumerate() {
        let result = format!("result {number}");
        leader.settle(store, QUEUE, job, Step::Fail(result.into_bytes()));
    }
    for order in [FailureOrder::Failed, FailureOrder::Created] {
        let mut after = None;
        for limit in [2, 2, 100] {
            let page = Page { limit, after, direction: Direction::Descending };
            let expected: Vec<FailureHead> = store
                .failures(QUEUE, order, &page)
                .unwrap()
                .into_iter()
                .map(|failure| FailureHead {
                    id: failure.id,
                    category: failure.category,
                    failed_at_ms: failure.failed_at_ms,
                    created_at_ms: failure.created_at_ms,
                    result: failure.result,
                })
                .collect();
            assert!(!expected.is_empty());
            assert_eq!(store.failure_heads(QUEUE, order, &page, true).unwrap(), expected);
            let bare = store.failure_heads(QUEUE, order, &page, false).unwrap();
            let without = |head: &FailureHead| FailureHead { result: Vec::new(), ..head.clone() };
            assert_eq!(bare, expected.iter().map(without).collect::<Vec<_>>());
            let last = &expected[expected.len() - 1];
            after = Some(order.position(last.id, last.failed_at_ms, last.created_at_ms));
        }
    }
}

pub fn failures_are_found_by_their_ids(store: &dyn Store) {
    let ids = fail(store, 6);
    let all = failures(store, QUEUE);
    let found = store.failures_by_id(QUEUE, &[ids[4], ids[0], u64::MAX, 0, ids[2]]).unwrap();
    assert_eq!(found, [0, 2, 4].map(|place| all[place].clone()));
    assert_eq!(store.failures_by_id(QUEUE, &[]).unwrap(), []);
}

pub fn many_failures_are_deleted_by_their_ids(store: &dyn Store) {
    let ids = fail(store, 6);
    let doomed = [ids[1], ids[5], u64::MAX, ids[0]];
    assert_eq!(store.delete_failures(QUEUE, &doomed).unwrap(), 3);
    assert_eq!(store.delete_failures(QUEUE, &doomed).unwrap(), 0);
    assert_eq!(store.delete_failures(QUEUE, &[]).unwrap(), 0);
    let left: Vec<u64> = failures(store, QUEUE).iter().map(|failure| failure.id).collect();
    assert_eq!(left, ids[2..5]);
}

pub fn a_failure_is_retried_as_it_was(store: &dyn Store) {
    let ids = fail(store, 2);
    let before_ms = store.now_ms().unwrap();
    let batch = retry(store, &ids[..1]);
    assert_eq!((batch.tried, batch.retried.len()), (1, 1));
    let Retried { failure_id, job: retried, pushed } = &batch.retried[0];
    let expected =
        NewJob { run_after_s: 0, timeout_s: 0, retry_delay_s: 0, max_retries: 0, ..job() };
    assert_eq!((*failure_id, retried), (ids[0], &expected));
    let stored = &listed(store, QUEUE, Listing::Waiting)[0];
    assert_eq!((stored.id, stored.next_try_ms), (pushed.id, pushed.next_try_ms));
    assert_eq!(
        (&stored.category, &stored.url, &stored.payload),
        (&expected.category, &expected.url, &expected.payload)
    );
    assert_eq!((stored.fail_count, stored.retry_count, stored.retry_delay_s), (0, 0, 0));
    // It is new: a millisecond is left for a clock that is read now and then.
    assert!(stored.created_at_ms + 1 >= before_ms, "{stored:?} {before_ms}");
    assert!(stored.id > 2, "{stored:?}");
    assert_eq!(counts(store, QUEUE), (1, 0, 0));
    assert_eq!(failures(store, QUEUE).len(), 1);
    // It is in the queue like any other.
    let leader = lead(store, QUEUE);
    let grabbed = leader.grab_one();
    leader.fail(store, QUEUE, &grabbed);
    let again = failures(store, QUEUE).remove(0);
    assert!(again.id > ids[0], "{again:?}");
    assert_eq!(again.job_id, stored.id);
}

pub fn a_failure_is_retried_with_changes(store: &dyn Store) {
    let ids = fail(store, 1);
    let changes = JobChanges {
        url: Some("http://elsewhere/".into()),
        payload: Some(b"\xff\0".to_vec()),
        run_after_s: Some(3600),
        timeout_s: Some(5),
        retry_delay_s: Some(6),
        max_retries: Some(7),
    };
    let batch = store.retry_failures(QUEUE, &ids, &changes).unwrap();
    assert_eq!(batch.retried.len(), 1);
    let stored = listed(store, QUEUE, Listing::Deferred).remove(0);
    assert_eq!((stored.url.as_str(), &stored.payload[..]), ("http://elsewhere/", &b"\xff\0"[..]));
    assert_eq!((stored.timeout_s, stored.retry_delay_s, stored.retry_count), (5, 6, 7));
    assert_eq!(stored.next_try_ms, stored.created_at_ms + 3_600_000);
    assert_eq!(stored.category, job().category);
}

pub fn what_is_not_there_is_passed_over(store: &dyn Store) {
    let ids = fail(store, 4);
    store.delete_failure(QUEUE, ids[1]).unwrap();
    let asked = [ids[2], ids[1], u64::MAX, ids[0], ids[2]];
    let batch = retry(store, &asked);
    assert_eq!((batch.tried, ids_of(&batch)), (5, vec![ids[2], ids[0]]));
    // The new jobs are in the order that was asked for.
    assert!(batch.retried[0].pushed.id < batch.retried[1].pushed.id);
    assert_eq!(retry(store, &asked), RetryBatch { tried: 5, retried: Vec::new() });
    assert_eq!(retry(store, &[]), RetryBatch { tried: 0, retried: Vec::new() });
    assert_eq!((counts(store, QUEUE), failures(store, QUEUE).len()), ((2, 0, 0), 1));
}

pub fn a_batch_is_bounded_in_rows(store: &dyn Store) {
    let ids = fail(store, MAX_RETRY_ROWS + 20);
    let batch = retry(store, &ids);
    assert_eq!((batch.tried, ids_of(&batch)), (MAX_RETRY_ROWS, ids[..MAX_RETRY_ROWS].to_vec()));
    let batch = retry(store, &ids[MAX_RETRY_ROWS..]);
    assert_eq!((batch.tried, batch.retried.len()), (20, 20));
    assert_eq!(counts(store, QUEUE), (MAX_RETRY_ROWS + 20, 0, 0));
    assert_eq!(failures(store, QUEUE), []);
}

pub fn a_batch_is_bounded_in_bytes(store: &dyn Store) {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    let half = usize::try_from(MAX_RETRY_BYTES / 2).unwrap();
    for size in [10, half, half, 2 * half + 1, 10, 10] {
        push(store, QUEUE, job_with(vec![b'x'; size]));
        let job = leader.grab_one();
        leader.fail(store, QUEUE, &job);
    }
    let ids: Vec<u64> = failures(store, QUEUE).iter().map(|failure| failure.id).collect();
    let (mut rest, mut sizes) = (ids.as_slice(), Vec::new());
    while !rest.is_empty() {
        let batch = retry(store, rest);
        assert_eq!(ids_of(&batch), rest[..batch.tried]);
        sizes.push(batch.tried);
        rest = &rest[batch.tried..];
    }
    assert_eq!(sizes, [2, 1, 1, 2]);
}

pub fn a_job_that_does_not_fit_leaves_everything(store: &dyn Store) {
    let ids = fail(store, 2);
    let changes = JobChanges { run_after_s: Some(u64::MAX / 1000), ..JobChanges::default() };
    let answer = store.retry_failures(QUEUE, &ids, &changes);
    assert!(matches!(answer, Err(StoreError::Rejected(_))), "{answer:?}");
    assert_eq!((counts(store, QUEUE), failures(store, QUEUE).len()), ((0, 0, 0), 2));
}

pub fn two_callers_retry_each_failure_once(store: &dyn Store, other: &dyn Store) {
    let ids = fail(store, 60);
    let run = |node: &dyn Store, ids: &[u64]| -> usize {
        ids.chunks(7).map(|some| retry(node, some).retried.len()).sum()
    };
    let backwards: Vec<u64> = ids.iter().rev().copied().collect();
    let (first, second) = std::thread::scope(|scope| {
        let first = scope.spawn(|| run(store, &ids));
        let second = scope.spawn(|| run(other, &backwards));
        (first.join().unwrap(), second.join().unwrap())
    });
    assert_eq!(first + second, 60);
    assert_eq!((counts(store, QUEUE), failures(store, QUEUE).len()), ((60, 0, 0), 0));
}

pub fn the_oldest_and_those_in_excess_are_told(store: &dyn Store) {
    let mut ids = fail(store, 9);
    ids.reverse();
    let oldest = store.oldest_failures(QUEUE, 4).unwrap();
    assert_eq!(oldest.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ids[..4]);
    assert_eq!(Some(oldest[0].1), failures(store, QUEUE).last().map(|row| row.failed_at_ms));
    assert_eq!(store.oldest_failures(QUEUE, 100).unwrap().len(), 9);
    for (keep, limit, beyond) in [(9, 5, 0), (100, 5, 0), (8, 5, 1), (0, 5, 5), (0, 100, 9)] {
        assert_eq!(store.failures_beyond(QUEUE, keep, limit).unwrap(), beyond, "{keep} {limit}");
    }
}

pub fn a_queue_without_tables_is_not_found(store: &dyn Store) {
    assert_not_found(store.failure_heads("none", FailureOrder::Failed, &ALL, true));
    assert_not_found(store.failures_by_id("none", &[1]));
    assert_not_found(store.delete_failures("none", &[1]));
    assert_not_found(store.retry_failures("none", &[1], &JobChanges::default()));
    assert_not_found(store.oldest_failures("none", 1));
    assert_not_found(store.failures_beyond("none", 1, 1));
}
