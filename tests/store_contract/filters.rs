//! Going through the failure log by a filter.

use fireworq::failure_log::{self, Filter, Needle, Progress};
use fireworq::job::{Failure, NewJob};
use fireworq::store::{Direction, FailureOrder, Page, Step, Store};

use super::tools::{QUEUE, counts, define, failures, job, lead, listed, push, tick};

/// Failures of two categories with different messages, each at a time of its own.
fn fail_some(store: &dyn Store) -> Vec<Failure> {
    define(store, QUEUE);
    let leader = lead(store, QUEUE);
    for number in 0..12 {
        let category = ["mail", "image"][number % 2].to_owned();
        push(store, QUEUE, NewJob { category, ..job() });
    }
    let mut jobs = leader.grab();
    jobs.rotate_left(5);
    for (number, job) in jobs.iter().enumerate() {
        let result: &[u8] = match number % 4 {
            0 => br#"{"status":"failure","code":200,"message":"No Such User"}"#,
            1 => br#"{"status":"failure","code":0,"message":"zeit\u00fcberschreitung"}"#,
            2 => br#"{"status":"failure","code":500,"message":"a \"quoted\" word"}"#,
            _ => b"no JSON: a such thing",
        };
        leader.settle(store, QUEUE, job, Step::Fail(result.to_vec()));
        tick(store);
    }
    let mut all = failures(store, QUEUE);
    all.sort_by_key(|failure| failure.id);
    all
}

fn of_category(category: &str) -> Filter {
    Filter { category: Some(category.to_owned()), ..Filter::default() }
}

fn with_message(text: &str) -> Filter {
    Filter { message: Some(Needle::new(text)), ..Filter::default() }
}

/// The failures that a filter takes, by pages of this size, and how many pages there were.
fn walk(
    store: &dyn Store,
    order: FailureOrder,
    filter: &Filter,
    limit: usize,
) -> (Vec<Failure>, usize) {
    let (mut rows, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = Page { limit, after, direction: Direction::Descending };
        let (some, next) = failure_log::page(store, QUEUE, order, filter, &page).unwrap();
        assert!(some.len() <= limit);
        rows.extend(some);
        pages += 1;
        if next.is_none() {
            return (rows, pages);
        }
        assert!(pages < 100, "the walk does not end");
        after = next;
    }
}

pub fn a_filter_takes_what_it_says(store: &dyn Store) {
    let all = fail_some(store);
    let (third, ninth) = (all[2].failed_at_ms, all[8].failed_at_ms);
    let between = Filter { since_ms: Some(third), until_ms: Some(ninth), ..Filter::default() };
    let both = Filter { category: Some("mail".into()), ..with_message("such") };
    let number = |failure: &Failure| all.iter().position(|other| other == failure).unwrap();
    type Rule<'r> = &'r dyn Fn(&Failure) -> bool;
    let cases: [(Filter, Rule<'_>); 9] = [
        (of_category("mail"), &|failure| failure.category == "mail"),
        (of_category("Mail"), &|_| false),
        (with_message("SUCH"), &|failure| number(failure) % 4 == 0 || number(failure) % 4 == 3),
        (with_message("Zeit\u{dc}ber"), &|failure| number(failure) % 4 == 1),
        (with_message("\"quoted\""), &|failure| number(failure) % 4 == 2),
        (with_message("failure"), &|_| false),
        (between, &|failure| (2..8).contains(&number(failure))),
        (both, &|failure| failure.category == "mail" && [0, 3].contains(&(number(failure) % 4))),
        (Filter::default(), &|_| true),
    ];
    for (filter, is_meant) in cases {
        for order in [FailureOrder::Failed, FailureOrder::Created] {
            let page = Page { limit: 1000, after: None, direction: Direction::Descending };
            let mut expected = store.failures(QUEUE, order, &page).unwrap();
            expected.retain(|failure| is_meant(failure));
            for limit in [1, 2, 5, 12, 100] {
                let (found, pages) = walk(store, order, &filter, limit);
                assert_eq!(found, expected, "{filter:?} {order:?} by {limit}");
                assert_eq!(pages, expected.len().div_ceil(limit).max(1), "{filter:?} by {limit}");
            }
        }
    }
}

pub fn many_failures_are_retried_by_a_filter(store: &dyn Store) {
    let all = fail_some(store);
    let filter = of_category("image");
    let (mut after, mut ids, mut steps) = (None, Vec::new(), Vec::new());
    loop {
        let mut note = |retried: &fireworq::store::Retried| ids.push(retried.failure_id);
        let Progress { count, next } =
            failure_log::retry(store, QUEUE, &filter, after, 4, &mut note).unwrap();
        steps.push(count);
        if next.is_none() {
            break;
        }
        after = next;
        // What fails again meanwhile is met no more.
        let leader = lead(store, QUEUE);
        for job in leader.grab() {
            leader.fail(store, QUEUE, &job);
        }
    }
    assert_eq!(steps, [4, 2]);
    let mut expected: Vec<u64> =
        all.iter().filter(|row| row.category == "image").map(|row| row.id).collect();
    expected.reverse();
    assert_eq!(ids, expected);
    assert_eq!(counts(store, QUEUE), (2, 0, 0));
    let waiting = listed(store, QUEUE, fireworq::store::Listing::Waiting);
    assert!(waiting.iter().all(|job| job.category == "image"), "{waiting:?}");
    assert_eq!(failures(store, QUEUE).len(), 10);
}

pub fn many_failures_are_deleted_by_a_filter(store: &dyn Store) {
    let all = fail_some(store);
    let delete = |filter: &Filter, after, limit| {
        failure_log::delete(store, QUEUE, filter, after, limit).unwrap()
    };
    let first = delete(&with_message("such"), None, 5);
    assert_eq!(first.count, 5);
    let second = delete(&with_message("such"), first.next, 5);
    assert_eq!(second, Progress { count: 1, next: None });
    assert_eq!(failures(store, QUEUE).len(), 6);
    assert_eq!(delete(&with_message("such"), None, 5), Progress { count: 0, next: None });
    let until = Filter { until_ms: Some(all[6].failed_at_ms), ..Filter::default() };
    assert_eq!(delete(&until, None, 3), Progress { count: 3, next: None });
    assert_eq!(delete(&Filter::default(), None, 3), Progress { count: 3, next: None });
    assert_eq!(failures(store, QUEUE), []);
    assert_eq!(counts(store, QUEUE), (0, 0, 0));
}
