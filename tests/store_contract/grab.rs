//! Which jobs are taken, and when.

use fireworq::job::{Job, JobStatus};
use fireworq::store::{Listing, Store};

use crate::support::wait::{SOON, eventually, until};

use super::tools::{
    HOUR_S, QUEUE, counts, define, ids, job, job_after, lead, listed, push, push_many, to,
};

pub fn a_due_job_is_grabbed_whole(store: &dyn Store) {
    define(store, QUEUE);
    let pushed = push(store, QUEUE, job());
    let waiting = store.job(QUEUE, pushed.id).unwrap().unwrap();
    let grabbed = lead(store, QUEUE).grab_one();
    assert_eq!(grabbed, Job { status: JobStatus::Grabbed, ..waiting });
    assert_eq!(store.job(QUEUE, pushed.id).unwrap(), Some(grabbed.clone()));
    assert_eq!(listed(store, QUEUE, Listing::Grabbed), [grabbed]);
}

pub fn a_grabbed_job_is_not_grabbed_again(store: &dyn Store) {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    assert_eq!(leader.grab(), []);
    let first = push_many(store, QUEUE, 3, &job());
    assert_eq!(ids(&leader.grab()), first);
    assert_eq!(leader.grab(), []);
    let second = push_many(store, QUEUE, 2, &job());
    assert_eq!(ids(&leader.grab()), second);
}

pub fn no_more_is_grabbed_than_there_is_room_for(store: &dyn Store) {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    let pushed = push_many(store, QUEUE, 5, &job());
    assert_eq!(leader.lease.grab(0).unwrap(), []);
    assert_eq!(ids(&leader.lease.grab(2).unwrap()), pushed[..2]);
    assert_eq!(ids(&leader.lease.grab(1).unwrap()), pushed[2..3]);
    assert_eq!(counts(store, QUEUE), (2, 0, 3));
    assert_eq!(ids(&leader.lease.grab(3).unwrap()), pushed[3..]);
}

pub fn what_is_not_due_is_left(store: &dyn Store) {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    push(store, QUEUE, job_after(HOUR_S));
    let due = push(store, QUEUE, job());
    assert_eq!(leader.grab_one().id, due.id);
    assert_eq!(leader.grab(), []);
    assert_eq!(counts(store, QUEUE), (0, 1, 1));
}

pub fn what_becomes_due_is_grabbed(store: &dyn Store) {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    let pushed = push(store, QUEUE, job_after(1));
    let grabbed = eventually("the job is due", SOON, || leader.grab().pop());
    assert_eq!(grabbed.id, pushed.id);
    assert!(store.now_ms().unwrap() >= pushed.next_try_ms, "grabbed too early");
}

pub fn the_oldest_next_try_comes_first(store: &dyn Store) {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    let batch = [to(QUEUE, job_after(2)), to(QUEUE, job_after(1)), to(QUEUE, job())];
    let pushed: Vec<u64> = store.push(&batch).into_iter().map(|row| row.unwrap().id).collect();
    until("all are due", SOON, || listed(store, QUEUE, Listing::Waiting).len() == 3);
    assert_eq!(ids(&leader.lease.grab(2).unwrap()), [pushed[2], pushed[1]]);
    assert_eq!(ids(&leader.grab()), pushed[..1]);
}

pub fn the_lowest_id_comes_first_among_equals(store: &dyn Store) {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    // One batch is one moment.
    let pushed = push_many(store, QUEUE, 20, &job());
    for part in pushed.chunks(7) {
        assert_eq!(ids(&leader.lease.grab(7).unwrap()), part);
    }
}

pub fn each_queue_has_its_own_jobs(store: &dyn Store) {
    define(store, QUEUE);
    define(store, "r");
    let (leader, other) = (lead(store, QUEUE), lead(store, "r"));
    push_many(store, QUEUE, 2, &job());
    assert_eq!(other.grab(), []);
    assert_eq!(leader.grab().len(), 2);
}
