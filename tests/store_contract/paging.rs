//! Listings of jobs, page by page.

use fireworq::job::{Job, NewJob};
use fireworq::store::{Direction, Listing, Page, Position, Store};

use super::tools::{
    HOUR_S, Led, QUEUE, define, ids, job, job_after, lead, place, push, push_many, to, walk,
};

const DIRECTIONS: [Direction; 2] = [Direction::Ascending, Direction::Descending];

fn walked(store: &dyn Store, listing: Listing, limit: usize, direction: Direction) -> Vec<Job> {
    walk(limit, direction, place, |page| store.jobs(QUEUE, listing, page).unwrap())
}

/// Fails unless pages of every size hold the rows of a listing once and in order.
#[track_caller]
fn assert_pages(store: &dyn Store, listing: Listing, expected: &mut [Job]) {
    expected.sort_by_key(place);
    for direction in DIRECTIONS {
        for limit in [1, 3, expected.len(), 1000] {
            let found = walked(store, listing, limit, direction);
            assert_eq!(found, expected, "{listing:?} {direction:?} by {limit}");
        }
        expected.reverse();
    }
    let nothing = Page { limit: 0, after: None, direction: Direction::Ascending };
    assert_eq!(store.jobs(QUEUE, listing, &nothing).unwrap(), []);
}

/// Batches of jobs that are due at the same time, with the due times out of step with the ids.
fn push_with_ties(store: &dyn Store, delays_s: [u64; 3]) -> Vec<Job> {
    let batch: Vec<_> =
        delays_s.into_iter().flat_map(|delay| vec![to(QUEUE, job_after(delay)); 4]).collect();
    let answers = store.push(&batch).into_iter();
    answers.map(|row| store.job(QUEUE, row.unwrap().id).unwrap().unwrap()).collect()
}

pub fn pages_of_waiting_jobs_hold_each_once(store: &dyn Store) {
    define(store, QUEUE);
    push_with_ties(store, [2 * HOUR_S, HOUR_S, HOUR_S]);
    let mut expected = push_with_ties(store, [0, 0, 0]);
    expected.extend(push_with_ties(store, [0, 0, 0]));
    assert_pages(store, Listing::Waiting, &mut expected);
}

pub fn pages_of_deferred_jobs_hold_each_once(store: &dyn Store) {
    define(store, QUEUE);
    push_with_ties(store, [0, 0, 0]);
    let mut expected = push_with_ties(store, [2 * HOUR_S, HOUR_S, 3 * HOUR_S]);
    assert_pages(store, Listing::Deferred, &mut expected);
}

pub fn pages_of_grabbed_jobs_hold_each_once(store: &dyn Store) {
    define(store, QUEUE);
    push_with_ties(store, [0, 0, 0]);
    let mut expected = lead(store, QUEUE).grab();
    assert_eq!(expected.len(), 12);
    push_with_ties(store, [0, HOUR_S, 0]);
    assert_pages(store, Listing::Grabbed, &mut expected);
}

pub fn a_page_starts_after_a_row_that_is_gone(store: &dyn Store) {
    define(store, QUEUE);
    let mut jobs = push_with_ties(store, [0, 0, 0]);
    for direction in DIRECTIONS {
        let first = Page { limit: 3, after: None, direction };
        let found = store.jobs(QUEUE, Listing::Waiting, &first).unwrap();
        assert_eq!(found, jobs[..3]);
        store.delete_job(QUEUE, found[2].id).unwrap();
        let second = Page { after: Some(place(&found[2])), ..first };
        assert_eq!(store.jobs(QUEUE, Listing::Waiting, &second).unwrap(), jobs[3..6]);
        jobs.remove(2);
        jobs.reverse();
    }
}

pub fn rows_that_come_and_go_disturb_no_other(store: &dyn Store) {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    for direction in DIRECTIONS {
        let pushed = push_many(store, QUEUE, 20, &job());
        // Those that are deleted, grabbed or pushed while the listing is read.
        let (doomed, grabbed) = ([pushed[6], pushed[13]], [pushed[0], pushed[1], pushed[2]]);
        let mut pages = 0;
        let found = walk(4, direction, place, |page| {
            let rows = store.jobs(QUEUE, Listing::Waiting, page).unwrap();
            pages += 1;
            match pages {
                1 => disturb(store, &leader, &doomed),
                2..10 => drop(push(store, QUEUE, NewJob { run_after_s: HOUR_S, ..job() })),
                _ => {}
            }
            rows
        });
        let found = ids(&found);
        let settled = |id: &u64| !doomed.contains(id) && !grabbed.contains(id);
        let mut expected: Vec<u64> = pushed.iter().copied().filter(settled).collect();
        if direction == Direction::Descending {
            expected.reverse();
        }
        let seen: Vec<u64> = found.iter().copied().filter(settled).collect();
        assert_eq!(seen, expected, "{direction:?}");
        for id in pushed {
            store.delete_job(QUEUE, id).unwrap();
        }
    }
}

/// Deletes some jobs and grabs the first three.
fn disturb(store: &dyn Store, leader: &Led, doomed: &[u64]) {
    for &id in doomed {
        store.delete_job(QUEUE, id).unwrap();
    }
    assert_eq!(leader.lease.grab(3).unwrap().len(), 3);
}

pub fn positions_outside_the_listing_are_harmless(store: &dyn Store) {
    define(store, QUEUE);
    let waiting = push_with_ties(store, [0, 0, 0]);
    let deferred = push_with_ties(store, [HOUR_S, HOUR_S, HOUR_S]);
    let ends = [Position { at_ms: 0, id: 0 }, Position { at_ms: u64::MAX, id: u64::MAX }];
    for (listing, jobs) in [(Listing::Waiting, &waiting), (Listing::Deferred, &deferred)] {
        let other = if listing == Listing::Waiting { &deferred } else { &waiting };
        for after in ends.into_iter().chain([place(&other[5])]) {
            for direction in DIRECTIONS {
                let page = Page { limit: 100, after: Some(after), direction };
                let found = store.jobs(QUEUE, listing, &page).unwrap();
                let all = (after < place(&jobs[0])) == (direction == Direction::Ascending);
                let expected = if all { jobs.len() } else { 0 };
                assert_eq!(found.len(), expected, "{listing:?} {page:?}");
            }
        }
    }
}
