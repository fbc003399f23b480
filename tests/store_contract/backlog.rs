//! How much there is to do.

use fireworq::store::{Backlog, QueueName, Store};

use super::tools::{HOUR_S, QUEUE, define, job, job_after, lead, push, push_many};

fn backlogs(store: &dyn Store, queues: &[&str]) -> Vec<Option<Backlog>> {
    let queues: Vec<QueueName> = queues.iter().map(|&queue| queue.into()).collect();
    store.backlogs(&queues, 1000).unwrap()
}

pub fn an_empty_queue_has_none(store: &dyn Store) {
    define(store, QUEUE);
    assert_eq!(backlogs(store, &[QUEUE]), [Some(Backlog::default())]);
    assert_eq!(backlogs(store, &[]), []);
}

pub fn the_figures_tell_where_jobs_stand(store: &dyn Store) {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    push_many(store, QUEUE, 7, &job());
    let grabbed = leader.lease.grab(5).unwrap();
    leader.fail(store, QUEUE, &grabbed[0]);
    leader.fail(store, QUEUE, &grabbed[3]);
    leader.fail(store, QUEUE, &grabbed[4]);
    push_many(store, QUEUE, 4, &job_after(HOUR_S));
    let [Some(found)] = backlogs(store, &[QUEUE])[..] else { panic!("no backlog") };
    let Backlog { waiting, deferred, running, failed, .. } = found;
    assert_eq!((waiting, deferred, running, failed), (2, 4, 2, 3));
}

pub fn no_figure_is_counted_beyond_the_most(store: &dyn Store) {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    push_many(store, QUEUE, 13, &job());
    for job in &leader.lease.grab(8).unwrap()[..4] {
        leader.fail(store, QUEUE, job);
    }
    push_many(store, QUEUE, 4, &job_after(HOUR_S));
    for (most, expected) in [(3, (3, 3, 3, 3)), (4, (4, 4, 4, 4)), (5, (5, 4, 4, 4))] {
        let [Some(found)] = store.backlogs(&[QUEUE.into()], most).unwrap()[..] else {
            panic!("no backlog")
        };
        let Backlog { waiting, deferred, running, failed, .. } = found;
        assert_eq!((waiting, deferred, running, failed), expected, "at most {most}");
    }
}

pub fn the_oldest_is_the_one_that_waits_longest(store: &dyn Store) {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    push(store, QUEUE, job_after(HOUR_S));
    push(store, QUEUE, job());
    leader.grab_one();
    let first = push(store, QUEUE, job());
    super::tools::tick(store);
    push(store, QUEUE, job());
    let before_ms = store.now_ms().unwrap();
    let [Some(found)] = backlogs(store, &[QUEUE])[..] else { panic!("no backlog") };
    assert_eq!(found.oldest_waiting_at_ms, Some(first.next_try_ms));
    let range = before_ms - first.next_try_ms..=store.now_ms().unwrap() - first.next_try_ms;
    assert!(range.contains(&found.oldest_waiting_ms), "{found:?} {range:?}");
}

pub fn many_queues_are_told_in_their_order(store: &dyn Store) {
    let names: Vec<String> = (0..120).map(|number| format!("q{number}")).collect();
    // The others are asked about as well, and have no tables.
    for (number, name) in (0..).zip(&names).step_by(3) {
        define(store, name);
        if number > 0 {
            push_many(store, name, number, &job());
        }
    }
    let queues: Vec<&str> = names.iter().map(String::as_str).collect();
    let found: Vec<Option<usize>> = backlogs(store, &queues)
        .iter()
        .map(|backlog| Some(usize::try_from(backlog.as_ref()?.waiting).unwrap()))
        .collect();
    let expected: Vec<Option<usize>> =
        (0..120).map(|number| (number % 3 == 0).then_some(number)).collect();
    assert_eq!(found, expected);
}
