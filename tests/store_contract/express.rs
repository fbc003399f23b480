//! New jobs that are stored as grabbed already.

use std::sync::Arc;

use fireworq::job::{Job, JobStatus, NewJob};
use fireworq::store::{Listing, Push, Pushed, Settled, Step, Store};

use crate::support::wait::{SOON, until};

use super::tools::{
    HOUR_S, Led, QUEUE, counts, define, ids, job, job_after, job_with, lead, listed, push,
    push_many, to,
};

/// A batch of these jobs.
fn batch(jobs: impl IntoIterator<Item = NewJob>) -> Vec<Push> {
    jobs.into_iter().map(|job| to(QUEUE, job)).collect()
}

impl Led {
    #[track_caller]
    fn push_grabbed(&self, batch: &[Push]) -> Option<Vec<Pushed>> {
        self.lease.push_grabbed(batch).unwrap()
    }
}

pub fn new_jobs_are_grabbed_at_once(store: &dyn Store) {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    let jobs = [job(), job_with(vec![0, 255, b'\'']), job_with(vec![b'p'; 100_000])];
    let stored = leader.push_grabbed(&batch(jobs.clone())).unwrap();
    let expected: Vec<Job> = jobs
        .into_iter()
        .zip(&stored)
        .map(|(job, pushed)| Job {
            status: JobStatus::Grabbed,
            ..job.stored(pushed.id, pushed.created_at_ms, pushed.next_try_ms)
        })
        .collect();
    assert_eq!(listed(store, QUEUE, Listing::Grabbed), expected);
    assert!(stored.iter().all(|pushed| pushed.is_grabbed));
    assert!(stored.is_sorted_by_key(|pushed| pushed.id), "{stored:?}");
    assert_eq!(leader.grab(), []);
    // They are like any other job that is grabbed.
    assert_eq!(leader.settle(store, QUEUE, &expected[0], Step::Complete), Settled::Stored);
    assert_eq!(leader.settle(store, QUEUE, &expected[1], Step::Retry), Settled::Stored);
    leader.fail(store, QUEUE, &expected[2]);
    assert_eq!(counts(store, QUEUE), (0, 1, 0));
}

pub fn many_new_jobs_are_grabbed_in_order(store: &dyn Store) {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    for count in [1, 31, 33, 300] {
        let stored = leader.push_grabbed(&batch(vec![job(); count])).unwrap();
        let grabbed = listed(store, QUEUE, Listing::Grabbed);
        let ids_stored: Vec<u64> = stored.iter().map(|pushed| pushed.id).collect();
        assert_eq!(ids_stored, ids(&grabbed));
        for job in &grabbed {
            assert_eq!(leader.settle(store, QUEUE, job, Step::Complete), Settled::Stored);
        }
    }
}

pub fn nothing_that_is_due_is_overtaken(store: &dyn Store) {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    push(store, QUEUE, job_after(HOUR_S));
    assert!(leader.push_grabbed(&batch([job()])).is_some(), "a job an hour later is no reason");
    let waiting = push_many(store, QUEUE, 2, &job());
    assert_eq!(leader.push_grabbed(&batch([job()])), None);
    assert_eq!(counts(store, QUEUE), (2, 1, 1));
    assert_eq!(ids(&leader.grab()), waiting);
    assert!(leader.push_grabbed(&batch([job()])).is_some());
    // One that becomes due counts as well.
    let late = push(store, QUEUE, job_after(1));
    until("it is due", SOON, || store.now_ms().unwrap() > late.next_try_ms);
    assert_eq!(leader.push_grabbed(&batch([job()])), None);
}

pub fn what_cannot_be_stored_stores_nothing(store: &dyn Store) {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    let too_long = NewJob { category: "c".repeat(256), ..job() };
    assert_eq!(leader.push_grabbed(&batch([job(), too_long, job()])), None);
    assert_eq!(counts(store, QUEUE), (0, 0, 0));
}

pub fn unknown_new_jobs_are_recovered(store: &dyn Store) {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    let stored = leader.push_grabbed(&batch([job(), job()])).unwrap();
    let known = stored[0].id;
    assert_eq!(leader.lease.recover(&|id, _| id == known).unwrap(), 1);
    assert_eq!(ids(&leader.grab()), [stored[1].id]);
}

pub fn an_ended_lease_stores_nothing(one: &dyn Store, other: &dyn Store) {
    define(one, QUEUE);
    let old = Arc::clone(&lead(one, QUEUE).lease);
    let successor = lead(other, QUEUE);
    assert!(matches!(old.push_grabbed(&batch([job()])), Ok(None)));
    assert_eq!(counts(one, QUEUE), (0, 0, 0));
    assert!(successor.push_grabbed(&batch([job()])).is_some());
}
