//! Looking at single jobs, and deleting them.

use fireworq::job::JobStatus;
use fireworq::store::{FailureOrder, Listing, Store};

use super::tools::{
    ALL, HOUR_S, QUEUE, assert_not_found, counts, define, failures, ids, job, job_after, lead,
    listed, push, push_many,
};

pub fn jobs_are_listed_by_where_they_stand(store: &dyn Store) {
    define(store, QUEUE);
    let grabbed = push(store, QUEUE, job()).id;
    let leader = lead(store, QUEUE);
    leader.grab_one();
    let waiting = push(store, QUEUE, job()).id;
    let deferred = push(store, QUEUE, job_after(HOUR_S)).id;
    for (listing, id, status) in [
        (Listing::Grabbed, grabbed, JobStatus::Grabbed),
        (Listing::Waiting, waiting, JobStatus::Claimed),
        (Listing::Deferred, deferred, JobStatus::Claimed),
    ] {
        let found = listed(store, QUEUE, listing);
        assert_eq!((ids(&found), found[0].status), (vec![id], status), "{listing:?}");
        assert_eq!(store.job(QUEUE, id).unwrap().as_ref(), found.first());
    }
}

pub fn one_job_is_found_by_its_id(store: &dyn Store) {
    define(store, QUEUE);
    define(store, "r");
    let pushed = push_many(store, QUEUE, 3, &job());
    for id in pushed {
        assert_eq!(store.job(QUEUE, id).unwrap().unwrap().id, id);
        assert_eq!(store.job("r", id).unwrap(), None);
    }
}

pub fn a_missing_job_is_none(store: &dyn Store) {
    define(store, QUEUE);
    let pushed = push(store, QUEUE, job());
    for id in [0, pushed.id + 1, i64::MAX.unsigned_abs() + 1, u64::MAX] {
        assert_eq!(store.job(QUEUE, id).unwrap(), None);
        assert_eq!(store.delete_job(QUEUE, id).unwrap(), None);
    }
    assert_eq!(counts(store, QUEUE), (1, 0, 0));
}

/// Deletes the only job and fails unless it was what it was, and is gone.
#[track_caller]
fn assert_deleted(store: &dyn Store, id: u64) {
    let before = store.job(QUEUE, id).unwrap();
    assert!(before.is_some());
    assert_eq!(store.delete_job(QUEUE, id).unwrap(), before);
    assert_eq!(store.delete_job(QUEUE, id).unwrap(), None);
    assert_eq!(store.job(QUEUE, id).unwrap(), None);
    assert_eq!(counts(store, QUEUE), (0, 0, 0));
    assert_eq!(failures(store, QUEUE), []);
}

pub fn a_waiting_job_is_deleted(store: &dyn Store) {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    assert_deleted(store, push(store, QUEUE, job()).id);
    assert_eq!(leader.grab(), []);
}

pub fn a_deferred_job_is_deleted(store: &dyn Store) {
    define(store, QUEUE);
    assert_deleted(store, push(store, QUEUE, job_after(HOUR_S)).id);
}

pub fn a_grabbed_job_is_deleted(store: &dyn Store) {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    push(store, QUEUE, job());
    assert_deleted(store, leader.grab_one().id);
    assert_eq!(leader.lease.recover(&|_, _| false).unwrap(), 0);
}

/// Fails unless every look into the queue finds that it is not there.
#[track_caller]
pub fn assert_no_tables(store: &dyn Store, queue: &str) {
    for listing in [Listing::Grabbed, Listing::Waiting, Listing::Deferred] {
        assert_not_found(store.jobs(queue, listing, &ALL));
    }
    for order in [FailureOrder::Failed, FailureOrder::Created] {
        assert_not_found(store.failures(queue, order, &ALL));
    }
    assert_not_found(store.job(queue, 1));
    assert_not_found(store.delete_job(queue, 1));
    assert_not_found(store.failure(queue, 1));
    assert_not_found(store.delete_failure(queue, 1));
}

pub fn a_queue_without_tables_is_not_found(store: &dyn Store) {
    assert_no_tables(store, QUEUE);
    define(store, QUEUE);
    assert_no_tables(store, "missing");
    assert_eq!(counts(store, QUEUE), (0, 0, 0));
}

pub fn a_deleted_queue_can_be_looked_into(store: &dyn Store) {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    push_many(store, QUEUE, 3, &job());
    let grabbed = leader.lease.grab(2).unwrap();
    leader.fail(store, QUEUE, &grabbed[0]);
    store.delete_queue(QUEUE).unwrap();
    assert_eq!(counts(store, QUEUE), (1, 0, 1));
    let failure = failures(store, QUEUE).remove(0);
    assert_eq!(store.delete_failure(QUEUE, failure.id).unwrap(), Some(failure));
    assert_eq!(store.delete_job(QUEUE, grabbed[1].id).unwrap().as_ref(), Some(&grabbed[1]));
}
