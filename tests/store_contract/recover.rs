//! Jobs that are grabbed and that nobody works on.

use fireworq::job::{Job, JobStatus};
use fireworq::store::{Listing, Settled, Step, Store};

use super::tools::{
    HOUR_S, QUEUE, counts, define, failures, ids, job, job_after, lead, listed, push, push_many,
    settle, settlement,
};

/// The jobs as they were before they were grabbed.
fn waiting(grabbed: &[Job]) -> Vec<Job> {
    grabbed.iter().map(|job| Job { status: JobStatus::Claimed, ..job.clone() }).collect()
}

pub fn the_jobs_of_a_former_leader_go_back(one: &dyn Store, other: &dyn Store) {
    define(one, QUEUE);
    push_many(one, QUEUE, 3, &job());
    let grabbed = lead(one, QUEUE).grab();
    assert_eq!(counts(other, QUEUE), (0, 0, 3));
    let leader = lead(other, QUEUE);
    // It may have jobs of the same ids in hand: what counts is under which token.
    let token = leader.token();
    assert_eq!(leader.lease.recover(&|_, grabber| grabber == token).unwrap(), 3);
    assert_eq!(listed(other, QUEUE, Listing::Waiting), waiting(&grabbed));
    assert_eq!(leader.grab(), grabbed);
}

pub fn unknown_jobs_of_ones_own_go_back(store: &dyn Store) {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    let pushed = push_many(store, QUEUE, 4, &job());
    leader.grab();
    let known = [pushed[0], pushed[2]];
    assert_eq!(leader.lease.recover(&|id, _| known.contains(&id)).unwrap(), 2);
    assert_eq!(ids(&leader.grab()), [pushed[1], pushed[3]]);
}

pub fn known_jobs_stay(store: &dyn Store) {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    push_many(store, QUEUE, 3, &job());
    let grabbed = leader.grab();
    assert_eq!(leader.lease.recover(&|_, _| true).unwrap(), 0);
    assert_eq!(listed(store, QUEUE, Listing::Grabbed), grabbed);
}

pub fn what_a_process_still_runs_under_its_former_lease_stays(one: &dyn Store, other: &dyn Store) {
    define(one, QUEUE);
    push_many(one, QUEUE, 2, &job());
    let former = lead(one, QUEUE);
    let (token, grabbed) = (former.token(), former.grab());
    drop(former);
    let leader = lead(other, QUEUE);
    let running = |id, grabber| id == grabbed[0].id && grabber == token;
    assert_eq!(leader.lease.recover(&running).unwrap(), 1);
    assert_eq!(counts(other, QUEUE), (1, 0, 1));
    // Its outcome counts.
    let failed = settlement(QUEUE, &grabbed[0], token, Step::Retry);
    assert_eq!(settle(one, failed), Settled::Stored);
    assert_eq!(other.job(QUEUE, grabbed[0].id).unwrap().unwrap().fail_count, 1);
}

pub fn rows_without_a_reason_to_recover_are_left(store: &dyn Store) {
    define(store, QUEUE);
    define(store, "r");
    let leader = lead(store, QUEUE);
    assert_eq!(leader.lease.recover(&|_, _| false).unwrap(), 0);
    push(store, QUEUE, job());
    push(store, QUEUE, job_after(HOUR_S));
    push(store, "r", job());
    let other = lead(store, "r");
    let grabbed = other.grab_one();
    assert_eq!(leader.lease.recover(&|_, _| false).unwrap(), 0);
    assert_eq!(counts(store, QUEUE), (1, 1, 0));
    assert_eq!(store.job("r", grabbed.id).unwrap(), Some(grabbed));
}

pub fn many_rows_go_back_in_order(one: &dyn Store, other: &dyn Store) {
    define(one, QUEUE);
    let pushed = push_many(one, QUEUE, 2500, &job());
    assert_eq!(lead(one, QUEUE).grab().len(), 2500);
    let leader = lead(other, QUEUE);
    assert_eq!(leader.lease.recover(&|_, _| false).unwrap(), 2500);
    assert_eq!(counts(other, QUEUE), (2500, 0, 0));
    assert_eq!(ids(&leader.grab()), pushed);
}

pub fn a_former_leader_cannot_settle_what_went_back(one: &dyn Store, other: &dyn Store) {
    define(one, QUEUE);
    push_many(one, QUEUE, 2, &job());
    let former = lead(one, QUEUE);
    let (token, grabbed) = (former.token(), former.grab());
    drop(former);
    let leader = lead(other, QUEUE);
    leader.lease.recover(&|_, _| false).unwrap();
    // One waits again, the other is grabbed by the successor.
    leader.lease.grab(1).unwrap();
    for step in [Step::Retry, Step::Fail(b"{}".to_vec())] {
        for job in &grabbed {
            let late = settlement(QUEUE, job, token, step.clone());
            assert_eq!(settle(one, late), Settled::Gone);
        }
    }
    assert_eq!(counts(other, QUEUE), (1, 0, 1));
    assert_eq!(failures(other, QUEUE), []);
    assert!(grabbed.iter().all(|job| other.job(QUEUE, job.id).unwrap().unwrap().fail_count == 0));
}

pub fn jobs_are_put_back_unchanged(store: &dyn Store) {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    push_many(store, QUEUE, 3, &job());
    let grabbed = leader.grab();
    leader.lease.put_back(&ids(&grabbed[1..])).unwrap();
    assert_eq!(listed(store, QUEUE, Listing::Grabbed), grabbed[..1]);
    assert_eq!(listed(store, QUEUE, Listing::Waiting), waiting(&grabbed[1..]));
    assert_eq!(leader.grab(), grabbed[1..]);
    leader.lease.put_back(&[]).unwrap();
    assert_eq!(counts(store, QUEUE), (0, 0, 3));
}

pub fn only_ones_own_are_put_back(one: &dyn Store, other: &dyn Store) {
    define(one, QUEUE);
    let pushed = push_many(one, QUEUE, 2, &job());
    lead(one, QUEUE).lease.grab(1).unwrap();
    let leader = lead(other, QUEUE);
    // A former leader's, one that waits, one that does not exist.
    leader.lease.put_back(&[pushed[0], pushed[1], pushed[1] + 1]).unwrap();
    assert_eq!(counts(other, QUEUE), (1, 0, 1));
}
