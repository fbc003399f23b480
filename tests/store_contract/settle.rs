//! What becomes of a job after a try.

use fireworq::job::{Job, JobStatus};
use fireworq::store::{Settled, Settlement, Step, Store, Token};

use super::tools::{
    QUEUE, counts, define, failures, ids, job, job_with, lead, push, push_many, settle, settlement,
    tick,
};

fn fail() -> Step {
    Step::Fail(b"{}".to_vec())
}

pub fn a_completed_job_is_gone(store: &dyn Store) {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    let pushed = push_many(store, QUEUE, 2, &job());
    let grabbed = leader.grab();
    assert_eq!(leader.settle(store, QUEUE, &grabbed[0], Step::Complete), Settled::Stored);
    assert_eq!(store.job(QUEUE, pushed[0]).unwrap(), None);
    assert_eq!(counts(store, QUEUE), (0, 0, 1));
    assert_eq!(failures(store, QUEUE), []);
}

pub fn a_retried_job_waits_for_its_delay(store: &dyn Store) {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    push(store, QUEUE, job());
    let grabbed = leader.grab_one();
    // So that the time of the settlement is not that of the push.
    tick(store);
    let before = store.now_ms().unwrap();
    assert_eq!(leader.settle(store, QUEUE, &grabbed, Step::Retry), Settled::Stored);
    let after = store.now_ms().unwrap();
    let found = store.job(QUEUE, grabbed.id).unwrap().unwrap();
    let delay_ms = u64::from(grabbed.retry_delay_s) * 1000;
    assert!((before + delay_ms..=after + delay_ms).contains(&found.next_try_ms), "{found:?}");
    let expected = Job {
        status: JobStatus::Claimed,
        next_try_ms: found.next_try_ms,
        retry_count: 0,
        fail_count: 1,
        ..grabbed
    };
    assert_eq!(found, expected);
    assert_eq!(counts(store, QUEUE), (0, 1, 0));
}

/// As where the answer to it was lost, and the job was grabbed again before it was repeated.
pub fn a_retry_is_not_repeated_on_the_next_try(store: &dyn Store) {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    push(store, QUEUE, fireworq::job::NewJob { retry_delay_s: 0, max_retries: 5, ..job() });
    let first = leader.grab_one();
    assert_eq!(leader.settle(store, QUEUE, &first, Step::Retry), Settled::Stored);
    let second = leader.grab_one();
    for step in [Step::Retry, fail()] {
        assert_eq!(leader.settle(store, QUEUE, &first, step), Settled::Gone);
        assert_eq!(store.job(QUEUE, first.id).unwrap().as_ref(), Some(&second));
    }
    assert_eq!(leader.settle(store, QUEUE, &second, Step::Retry), Settled::Stored);
    assert_eq!(leader.grab_one().fail_count, 2);
}

/// The batch holds what was kept of the first try and what came of the second.
pub fn two_tries_of_one_job_may_stand_in_a_batch(store: &dyn Store) {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    push(store, QUEUE, fireworq::job::NewJob { retry_delay_s: 0, max_retries: 5, ..job() });
    let first = leader.grab_one();
    assert_eq!(leader.settle(store, QUEUE, &first, Step::Retry), Settled::Stored);
    let second = leader.grab_one();
    let of = |job, step| settlement(QUEUE, job, leader.token(), step);
    let batch = [of(&first, Step::Retry), of(&second, Step::Retry)];
    assert_eq!(store.settle(&batch).unwrap(), [Settled::Gone, Settled::Stored]);
    let third = leader.grab_one();
    assert_eq!(third.fail_count, 2);
    let batch = [of(&second, fail()), of(&third, Step::Complete)];
    assert_eq!(store.settle(&batch).unwrap(), [Settled::Gone, Settled::Stored]);
    assert_eq!(store.job(QUEUE, first.id).unwrap(), None);
    assert_eq!(failures(store, QUEUE), []);
}

pub fn a_retried_job_is_grabbed_again(store: &dyn Store) {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    push(store, QUEUE, fireworq::job::NewJob { retry_delay_s: 0, max_retries: 2, ..job() });
    for attempt in 1..=3 {
        let grabbed = leader.grab_one();
        assert_eq!((grabbed.attempt(), grabbed.max_retries()), (attempt, 2));
        if attempt < 3 {
            assert_eq!(leader.settle(store, QUEUE, &grabbed, Step::Retry), Settled::Stored);
        }
    }
}

pub fn a_failed_job_moves_to_the_failure_log(store: &dyn Store) {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    push(store, QUEUE, job_with("[1]"));
    let grabbed = leader.grab_one();
    // So that the time of the settlement is not that of the push.
    tick(store);
    let before = store.now_ms().unwrap();
    let result = br#"{"status":"failure","code":500,"message":"no"}"#.to_vec();
    let settled = leader.settle(store, QUEUE, &grabbed, Step::Fail(result.clone()));
    assert_eq!(settled, Settled::Stored);
    let after = store.now_ms().unwrap();
    assert_eq!(counts(store, QUEUE), (0, 0, 0));
    let found = failures(store, QUEUE).remove(0);
    assert!(found.id > 0 && (before..=after).contains(&found.failed_at_ms), "{found:?}");
    let expected = fireworq::job::Failure {
        id: found.id,
        job_id: grabbed.id,
        category: grabbed.category,
        url: grabbed.url,
        payload: grabbed.payload,
        result,
        fail_count: 1,
        failed_at_ms: found.failed_at_ms,
        created_at_ms: grabbed.created_at_ms,
    };
    assert_eq!(found, expected);
}

pub fn a_completed_job_is_gone_whoever_leads(one: &dyn Store, other: &dyn Store) {
    define(one, QUEUE);
    push_many(one, QUEUE, 2, &job());
    let former = lead(one, QUEUE);
    let (token, grabbed) = (former.token(), former.grab());
    drop(former);
    let leader = lead(other, QUEUE);
    assert_eq!(leader.lease.recover(&|_, _| false).unwrap(), 2);
    // One waits again, the other is grabbed by the successor.
    assert_eq!(ids(&leader.lease.grab(1).unwrap()), [grabbed[0].id]);
    for job in &grabbed {
        let complete = settlement(QUEUE, job, token, Step::Complete);
        assert_eq!(settle(one, complete), Settled::Stored);
    }
    assert_eq!(counts(other, QUEUE), (0, 0, 0));
    assert_eq!(leader.settle(other, QUEUE, &grabbed[0], fail()), Settled::Gone);
    assert_eq!(failures(other, QUEUE), []);
}

pub fn a_job_is_named_by_its_creation_time_too(store: &dyn Store) {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    push(store, QUEUE, job());
    let grabbed = leader.grab_one();
    let namesake = Job { created_at_ms: grabbed.created_at_ms - 1, ..grabbed.clone() };
    for step in [Step::Complete, Step::Retry, fail()] {
        assert_eq!(leader.settle(store, QUEUE, &namesake, step), Settled::Gone);
    }
    assert_eq!(store.job(QUEUE, grabbed.id).unwrap(), Some(grabbed));
    assert_eq!(failures(store, QUEUE), []);
}

pub fn another_token_changes_nothing(store: &dyn Store) {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    push(store, QUEUE, job());
    let grabbed = leader.grab_one();
    let other = Token(leader.token().0 ^ 1);
    for step in [Step::Retry, fail()] {
        assert_eq!(settle(store, settlement(QUEUE, &grabbed, other, step)), Settled::Gone);
    }
    assert_eq!(store.job(QUEUE, grabbed.id).unwrap(), Some(grabbed));
    assert_eq!(failures(store, QUEUE), []);
}

pub fn a_waiting_job_is_neither_retried_nor_failed(store: &dyn Store) {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    let pushed = push(store, QUEUE, job());
    let waiting = store.job(QUEUE, pushed.id).unwrap().unwrap();
    for step in [Step::Retry, fail()] {
        assert_eq!(leader.settle(store, QUEUE, &waiting, step), Settled::Gone);
    }
    assert_eq!(store.job(QUEUE, pushed.id).unwrap(), Some(waiting));
    assert_eq!(failures(store, QUEUE), []);
}

pub fn settling_again_is_safe(store: &dyn Store) {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    push_many(store, QUEUE, 3, &job());
    let batch: Vec<Settlement> = leader
        .grab()
        .iter()
        .zip([Step::Complete, Step::Retry, fail()])
        .map(|(job, step)| settlement(QUEUE, job, leader.token(), step))
        .collect();
    assert_eq!(store.settle(&batch).unwrap(), [Settled::Stored; 3]);
    let (jobs, failed) = (store.job(QUEUE, batch[1].job_id).unwrap(), failures(store, QUEUE));
    assert_eq!(store.settle(&batch).unwrap(), [Settled::Gone; 3]);
    assert_eq!(store.job(QUEUE, batch[1].job_id).unwrap(), jobs);
    assert_eq!(failures(store, QUEUE), failed);
    assert_eq!(failed.len(), 1);
}

pub fn a_deleted_job_stays_gone(store: &dyn Store) {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    push_many(store, QUEUE, 3, &job());
    for (job, step) in leader.grab().iter().zip([Step::Complete, Step::Retry, fail()]) {
        assert_eq!(store.delete_job(QUEUE, job.id).unwrap().as_ref(), Some(job));
        assert_eq!(leader.settle(store, QUEUE, job, step), Settled::Gone);
    }
    assert_eq!(counts(store, QUEUE), (0, 0, 0));
    assert_eq!(failures(store, QUEUE), []);
}

pub fn a_batch_answers_in_its_order(store: &dyn Store) {
    let queues = ["q", "r", "s"];
    let leaders = queues.map(|name| {
        define(store, name);
        push_many(store, name, 8, &job());
        lead(store, name)
    });
    let grabbed: Vec<Vec<Job>> = leaders.iter().map(super::tools::Led::grab).collect();
    let steps = [Step::Complete, Step::Retry, fail(), fail(), Step::Complete, Step::Retry];
    let mut batch = Vec::new();
    let mut expected = Vec::new();
    for row in 0..8 {
        for (place, name) in queues.iter().enumerate() {
            let (job, token) = (&grabbed[place][row], leaders[place].token());
            let step = steps[(row + place) % steps.len()].clone();
            // In each queue one job was deleted meanwhile.
            let gone = row == place + 3;
            if gone {
                store.delete_job(name, job.id).unwrap();
            }
            batch.push(settlement(name, job, token, step));
            expected.push(if gone { Settled::Gone } else { Settled::Stored });
        }
    }
    assert_eq!(store.settle(&batch).unwrap(), expected);
    for name in queues {
        let stored = |kind: fn(&Step) -> bool| {
            let rows = batch.iter().zip(&expected).filter(|(row, settled)| {
                &*row.queue == name && **settled == Settled::Stored && kind(&row.step)
            });
            rows.map(|(row, _)| row.job_id).collect::<Vec<_>>()
        };
        let mut failed: Vec<_> = failures(store, name).iter().map(|found| found.job_id).collect();
        failed.sort_unstable();
        assert_eq!(failed, stored(|step| matches!(step, Step::Fail(_))), "failures of {name}");
        let retried = stored(|step| *step == Step::Retry);
        assert_eq!(counts(store, name), (0, retried.len(), 0), "{name}");
        for id in retried {
            assert_eq!(store.job(name, id).unwrap().unwrap().fail_count, 1);
        }
    }
}

pub fn a_batch_may_be_empty(store: &dyn Store) {
    assert_eq!(store.settle(&[]).unwrap(), []);
}

pub fn a_batch_may_be_long(store: &dyn Store) {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    push_many(store, QUEUE, 3000, &job());
    let steps = [Step::Complete, Step::Retry, fail()];
    let grabbed = leader.grab();
    let batch: Vec<_> = grabbed
        .iter()
        .zip(steps.iter().cycle())
        .map(|(job, step)| settlement(QUEUE, job, leader.token(), step.clone()))
        .collect();
    assert_eq!(store.settle(&batch).unwrap(), [Settled::Stored; 3000]);
    assert_eq!(counts(store, QUEUE), (0, 1000, 0));
    assert_eq!(failures(store, QUEUE).len(), 1000);
}

pub fn a_queue_without_tables_has_no_rows(store: &dyn Store) {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    push(store, QUEUE, job());
    let grabbed = leader.grab_one();
    for step in [Step::Complete, Step::Retry, fail()] {
        let batch = [
            settlement("missing", &grabbed, leader.token(), step),
            settlement(QUEUE, &grabbed, leader.token(), Step::Retry),
        ];
        let settled = store.settle(&batch).unwrap();
        assert_eq!(settled[0], Settled::Gone);
    }
    assert_eq!(store.job(QUEUE, grabbed.id).unwrap().unwrap().fail_count, 1);
}
