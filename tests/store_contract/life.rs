//! Whole lives: of jobs, of queues, of a store.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use fireworq::job::{Job, NewJob};
use fireworq::store::{Listing, Settled, Step, Store, Token};

use crate::support::wait::{SOON, until};

use super::tools::{
    QUEUE, counts, define, failures, ids, job, lead, listed, push, push_many, settlement,
};

pub fn a_job_is_tried_until_it_fails_for_good(store: &dyn Store) {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    let pushed = push(store, QUEUE, NewJob { retry_delay_s: 0, max_retries: 2, ..job() });
    for _ in 0..2 {
        let grabbed = leader.grab_one();
        assert_eq!(leader.settle(store, QUEUE, &grabbed, Step::Retry), Settled::Stored);
    }
    let last = leader.grab_one();
    assert_eq!((last.id, last.retry_count, last.fail_count), (pushed.id, 0, 2));
    leader.fail(store, QUEUE, &last);
    let failure = failures(store, QUEUE).remove(0);
    assert_eq!((failure.job_id, failure.fail_count), (pushed.id, 3));
    assert_eq!(failure.created_at_ms, pushed.created_at_ms);
    assert_eq!(counts(store, QUEUE), (0, 0, 0));
}

pub fn a_queue_created_again_has_its_jobs(store: &dyn Store) {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    let pushed = push_many(store, QUEUE, 3, &job());
    let grabbed = leader.lease.grab(2).unwrap();
    leader.fail(store, QUEUE, &grabbed[0]);
    drop(leader);
    let failed = failures(store, QUEUE);
    store.delete_queue(QUEUE).unwrap();

    define(store, QUEUE);
    assert_eq!(failures(store, QUEUE), failed);
    let leader = lead(store, QUEUE);
    assert_eq!(leader.lease.recover(&|_, _| false).unwrap(), 1);
    assert_eq!(ids(&leader.grab()), pushed[1..]);
    assert!(push(store, QUEUE, job()).id > pushed[2]);
}

pub fn an_id_is_not_given_twice(store: &dyn Store) {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    let mut last = 0;
    for _ in 0..3 {
        // Completed, deleted, failed: the table is empty each time.
        push_many(store, QUEUE, 3, &job());
        let grabbed = leader.grab();
        assert!(grabbed[0].id > last, "id {} was given before", grabbed[0].id);
        last = grabbed[2].id;
        leader.settle(store, QUEUE, &grabbed[0], Step::Complete);
        store.delete_job(QUEUE, grabbed[1].id).unwrap();
        leader.fail(store, QUEUE, &grabbed[2]);
    }
    let mut failed: Vec<u64> = failures(store, QUEUE).iter().map(|failure| failure.id).collect();
    failed.reverse();
    assert!(failed.is_sorted_by(|a, b| a < b));
    let latest = failed[2];
    store.delete_failure(QUEUE, latest).unwrap();
    push(store, QUEUE, job());
    leader.fail(store, QUEUE, &leader.grab_one());
    assert!(failures(store, QUEUE)[0].id > latest);
}

pub fn every_job_is_delivered_once(store: &dyn Store) {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    let token = leader.token();
    let mut delivered = Vec::new();
    // Pushes, grabs, recoveries and settlements at the same time, on one queue.
    let pushed: BTreeSet<u64> = std::thread::scope(|scope| {
        let pushers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    (0..20).flat_map(|_| push_many(store, QUEUE, 5, &job())).collect::<Vec<_>>()
                })
            })
            .collect();
        until("all are delivered", 3 * SOON, || {
            let grabbed = leader.lease.grab(20).unwrap();
            assert_eq!(leader.lease.recover(&|_, _| true).unwrap(), 0);
            delivered.extend(ids(&grabbed));
            scope.spawn(move || complete(store, token, &grabbed));
            delivered.len() >= 300
        });
        pushers.into_iter().flat_map(|pusher| pusher.join().unwrap()).collect()
    });
    assert_eq!(delivered.len(), 300, "some were delivered twice");
    assert_eq!(delivered.into_iter().collect::<BTreeSet<_>>(), pushed);
    assert_eq!(listed(store, QUEUE, Listing::Grabbed), []);
    assert_eq!(counts(store, QUEUE), (0, 0, 0));
}

fn complete(store: &dyn Store, token: Token, jobs: &[Job]) {
    let complete = |job| settlement(QUEUE, job, token, Step::Complete);
    let batch: Vec<_> = jobs.iter().map(complete).collect();
    assert_eq!(store.settle(&batch).unwrap(), vec![Settled::Stored; jobs.len()]);
}

pub fn the_clock_goes_forward(one: &dyn Store, other: &dyn Store) {
    let mut last = 0;
    for _ in 0..50 {
        for node in [one, other] {
            let now = node.now_ms().unwrap();
            assert!(now >= last, "{now} after {last}");
            last = now;
        }
    }
    // A store under test keeps its time on this machine.
    let here = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let difference = here.abs_diff(Duration::from_millis(last));
    assert!(difference < Duration::from_secs(60), "{difference:?} from the wall clock");
}

pub fn a_store_describes_itself(store: &dyn Store) {
    let text = store.describe();
    assert!(!text.is_empty() && text.lines().count() == 1, "{text:?}");
}
