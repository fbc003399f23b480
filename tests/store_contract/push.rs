//! Storing new jobs.

use std::collections::BTreeSet;

use fireworq::job::{Job, JobStatus, NewJob};
use fireworq::store::{Listing, Push, Pushed, Store, StoreError};

use super::tools::{
    HOUR_S, QUEUE, assert_not_found, define, ids, job, job_after, job_with, lead, listed, push,
    push_many, to,
};

/// What a new job looks like in the store.
fn stored(given: &NewJob, pushed: &Pushed) -> Job {
    Job {
        id: pushed.id,
        category: given.category.clone(),
        url: given.url.clone(),
        payload: given.payload.clone(),
        status: JobStatus::Claimed,
        created_at_ms: pushed.created_at_ms,
        next_try_ms: pushed.next_try_ms,
        retry_count: given.max_retries,
        retry_delay_s: given.retry_delay_s,
        fail_count: 0,
        timeout_s: given.timeout_s,
    }
}

/// Pushes `given` and fails unless it is read back as it is.
#[track_caller]
fn assert_kept(store: &dyn Store, given: &NewJob) {
    let pushed = push(store, QUEUE, given.clone());
    // Not compared by `assert_eq!`: nobody wants to read a payload of megabytes.
    let found = store.job(QUEUE, pushed.id).unwrap().unwrap();
    assert!(found == stored(given, &pushed), "job {} is not as it was given", pushed.id);
}

pub fn a_job_is_stored_as_it_is_given(store: &dyn Store) {
    define(store, QUEUE);
    let given = NewJob {
        category: "a/b c".into(),
        url: "http://user@example.com:81/a?b=%20#é".into(),
        payload: b"{\"n\": 1.10,\n\"s\": \"'\\\\\"}".to_vec(),
        run_after_s: 7,
        timeout_s: 1,
        retry_delay_s: 2,
        max_retries: 3,
    };
    let pushed = push(store, QUEUE, given.clone());
    assert_eq!(store.job(QUEUE, pushed.id).unwrap(), Some(stored(&given, &pushed)));
}

pub fn the_largest_values_are_kept(store: &dyn Store) {
    define(store, QUEUE);
    let given = NewJob {
        category: "\u{e9}".repeat(127) + "c",
        url: format!("http://localhost/{}", "u".repeat(65_535 - 17)),
        payload: Vec::new(),
        run_after_s: u64::from(u32::MAX),
        timeout_s: u32::MAX,
        retry_delay_s: u32::MAX,
        max_retries: u32::MAX,
    };
    assert_eq!((given.category.len(), given.url.len()), (255, 65_535));
    assert_kept(store, &given);
}

/// How far a push's idea of the store's clock may be behind, so that it need not ask a server each
/// time. It is never ahead: a job without a delay is due at once.
const CLOCK_LAG_MS: u64 = 1000;

pub fn times_are_the_stores(store: &dyn Store) {
    define(store, QUEUE);
    let before = store.now_ms().unwrap();
    let answers =
        store.push(&[to(QUEUE, job()), to(QUEUE, job_after(90)), to(QUEUE, job_after(HOUR_S))]);
    let after = store.now_ms().unwrap();
    for (answer, delay_ms) in answers.into_iter().zip([0, 90_000, 3_600_000]) {
        let pushed = answer.unwrap();
        let earliest = before - CLOCK_LAG_MS;
        assert!((earliest..=after).contains(&pushed.created_at_ms), "{before} {pushed:?} {after}");
        assert_eq!(pushed.next_try_ms, pushed.created_at_ms + delay_ms);
    }
}

pub fn ids_grow_in_the_order_of_the_batch(store: &dyn Store) {
    define(store, QUEUE);
    let mut last = 0;
    for size in [1, 3, 1, 10] {
        // The due time must not matter, nor the size.
        let batch: Vec<Push> = (0..size)
            .map(|n| to(QUEUE, NewJob { payload: vec![b'x'; 100 * (size - n)], ..job_after(60) }))
            .collect();
        for (answer, row) in store.push(&batch).into_iter().zip(&batch) {
            let id = answer.unwrap().id;
            assert!(id > last, "id {id} after {last}");
            assert_eq!(store.job(QUEUE, id).unwrap().unwrap().payload, row.job.payload);
            last = id;
        }
    }
}

pub fn a_batch_may_be_empty(store: &dyn Store) {
    assert!(store.push(&[]).is_empty());
}

pub fn a_batch_may_be_long(store: &dyn Store) {
    define(store, QUEUE);
    let pushed = push_many(store, QUEUE, 3000, &job());
    assert!(pushed.is_sorted_by(|a, b| a < b));
    assert_eq!(ids(&listed(store, QUEUE, Listing::Waiting)), pushed);
}

pub fn a_batch_may_go_to_many_queues(store: &dyn Store) {
    let queues: Vec<String> = (0..30).map(|n| format!("q{n}")).collect();
    for name in &queues {
        define(store, name);
    }
    // Interleaved, each payload naming its place.
    let batch: Vec<Push> = (0..120)
        .map(|n| to(&queues[n * 7 % queues.len()], job_with(format!("\"row {n}\""))))
        .collect();
    let answers = store.push(&batch);
    assert_eq!(answers.len(), batch.len());
    for name in &queues {
        let rows = batch.iter().zip(&answers).filter(|(row, _)| *row.queue == **name);
        let expected: Vec<_> = rows
            .map(|(row, answer)| (answer.clone().unwrap().id, row.job.payload.clone()))
            .collect();
        assert!(expected.is_sorted_by_key(|(id, _)| *id));
        let found = listed(store, name, Listing::Waiting);
        let found: Vec<_> = found.into_iter().map(|job| (job.id, job.payload)).collect();
        assert_eq!(found, expected, "{name}");
    }
}

pub fn a_queue_defined_on_another_node_takes_jobs_at_once(one: &dyn Store, other: &dyn Store) {
    // What a node remembers of a queue that was not there must not stand in the way.
    assert_not_found(one.push(&[to(QUEUE, job())]).remove(0));
    define(other, QUEUE);
    let pushed = push(one, QUEUE, job());
    assert_eq!(lead(other, QUEUE).grab_one().id, pushed.id);
}

pub fn a_deleted_queue_still_takes_jobs(store: &dyn Store) {
    define(store, QUEUE);
    store.delete_queue(QUEUE).unwrap();
    let pushed = push(store, QUEUE, job());
    define(store, QUEUE);
    assert_eq!(lead(store, QUEUE).grab_one().id, pushed.id);
}

/// Pushes `bad` among good rows, fails unless those alone are stored, and answers its error.
#[track_caller]
fn refused_alone(store: &dyn Store, bad: Push) -> StoreError {
    define(store, QUEUE);
    define(store, "r");
    let batch = [to(QUEUE, job_with("1")), to("r", job_with("2")), bad, to(QUEUE, job_with("3"))];
    let mut answers = store.push(&batch);
    assert_eq!(answers.len(), 4);
    let refused = answers.remove(2).expect_err("the bad row was stored");
    let pushed: Vec<u64> = answers.into_iter().map(|answer| answer.unwrap().id).collect();
    let found = listed(store, QUEUE, Listing::Waiting);
    assert_eq!(ids(&found), [pushed[0], pushed[2]]);
    assert_eq!((&*found[0].payload, &*found[1].payload), (&b"1"[..], &b"3"[..]));
    let found = listed(store, "r", Listing::Waiting);
    assert_eq!((ids(&found), &*found[0].payload), (vec![pushed[1]], &b"2"[..]));
    assert_eq!(listed(store, QUEUE, Listing::Deferred), []);
    refused
}

pub fn a_queue_without_tables_fails_alone(store: &dyn Store) {
    assert_not_found::<()>(Err(refused_alone(store, to("missing", job()))));
}

pub fn a_payload_too_large_fails_alone(store: &dyn Store) {
    let error = refused_alone(store, to(QUEUE, job_with(vec![b'1'; 16_777_216])));
    assert!(matches!(error, StoreError::TooLarge(_)), "{error:?}");
}

pub fn a_category_too_long_fails_alone(store: &dyn Store) {
    let error = refused_alone(store, to(QUEUE, NewJob { category: "c".repeat(256), ..job() }));
    assert!(matches!(error, StoreError::TooLarge(_) | StoreError::Rejected(_)), "{error:?}");
}

pub fn a_time_out_of_range_fails_alone(store: &dyn Store) {
    for run_after_s in [u64::MAX, u64::MAX / 1000] {
        let error = refused_alone(store, to(QUEUE, job_after(run_after_s)));
        assert!(matches!(error, StoreError::Rejected(_)), "{error:?}");
        for job in listed(store, QUEUE, Listing::Waiting) {
            store.delete_job(QUEUE, job.id).unwrap();
        }
        for job in listed(store, "r", Listing::Waiting) {
            store.delete_job("r", job.id).unwrap();
        }
    }
}

pub fn payloads_keep_every_byte(store: &dyn Store) {
    define(store, QUEUE);
    for payload in [vec![], vec![0], (0..=255).collect(), vec![0xff; 3], b"'; --\\'\0\x1a".to_vec()]
    {
        assert_kept(store, &job_with(payload));
    }
}

pub fn payloads_may_be_large(store: &dyn Store) {
    define(store, QUEUE);
    let payload: Vec<u8> = (0..5_000_000_u32).map(|n| n.to_le_bytes()[n as usize % 4]).collect();
    assert_kept(store, &job_with(payload.clone()));
    let grabbed = lead(store, QUEUE).grab_one();
    assert!(grabbed.payload == payload, "the payload changed on the way");
}

pub fn pushes_at_the_same_time_get_ids_of_their_own(store: &dyn Store) {
    define(store, QUEUE);
    let pushed: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    (0..20).flat_map(|_| push_many(store, QUEUE, 5, &job())).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let distinct: BTreeSet<u64> = pushed.iter().copied().collect();
    assert_eq!((pushed.len(), distinct.len()), (400, 400));
    let found = listed(store, QUEUE, Listing::Waiting);
    assert_eq!(found.iter().map(|job| job.id).collect::<BTreeSet<_>>(), distinct);
}
