//! Who leads a queue.

use std::time::{Duration, Instant};

use fireworq::store::{Campaign, Store};

use crate::support::wait::{SOON, until};

use super::tools::{Led, QUEUE, campaign, counts, define, granted, job, lead, push};

/// How long to look whether something happens that must not. Long enough for a candidate's own
/// look around; a store that is slower passes, one that is right never fails.
const A_WHILE: Duration = Duration::from_millis(500);

/// Fails if the lease is granted.
#[track_caller]
fn assert_waits(campaign: &dyn Campaign) {
    let end = Instant::now() + A_WHILE;
    while Instant::now() < end {
        assert!(campaign.lease().is_none(), "a second lease was granted");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn a_token_is_random_and_fits(store: &dyn Store) {
    define(store, QUEUE);
    let mut tokens: Vec<u64> = (0..3).map(|_| lead(store, QUEUE).token().0).collect();
    assert!(tokens.iter().all(|&token| token != 0 && token < 1 << 63), "{tokens:?}");
    tokens.sort_unstable();
    // One bit of the upper half is set in at least one of three, but for one time in 2^93.
    assert!(tokens[2] > 1 << 32, "{tokens:?}");
    tokens.dedup();
    assert_eq!(tokens.len(), 3);
}

pub fn a_candidate_is_woken_when_it_leads(one: &dyn Store, other: &dyn Store) {
    define(one, QUEUE);
    let (first, woken) = campaign(one, QUEUE);
    let woken_once = || woken.try_recv().is_ok() || first.lease().is_some();
    until("the first is woken or leads", SOON, woken_once);
    let first = granted(first);
    assert!(first.lease.is_held());

    let (second, woken) = campaign(other, QUEUE);
    assert_waits(&*second);
    // Whatever woke it so far, it was not the lease.
    let _ = woken.try_recv();
    drop(first);
    woken.recv_timeout(SOON).expect("to be woken");
    assert!(granted(second).lease.is_held());
}

pub fn one_node_leads_at_a_time(one: &dyn Store, other: &dyn Store) {
    define(one, QUEUE);
    let first = lead(one, QUEUE);
    let (second, _woken) = campaign(other, QUEUE);
    assert_waits(&*second);
    assert!(first.lease.is_held());
    let old = first.lease.clone();
    drop(first);
    assert!(!old.is_held(), "held after it was given up");
    let second = granted(second);
    assert!(second.lease.is_held());
    assert!(!old.is_held(), "held again");
    assert_ne!(second.token(), old.token());
}

pub fn a_second_campaign_of_the_same_node_waits(store: &dyn Store) {
    define(store, QUEUE);
    let first = lead(store, QUEUE);
    let (second, _woken) = campaign(store, QUEUE);
    assert_waits(&*second);
    drop(first);
    granted(second);
}

pub fn candidates_who_withdraw_are_passed_over(one: &dyn Store, other: &dyn Store) {
    define(one, QUEUE);
    let first = lead(one, QUEUE);
    let (second, _woken) = campaign(other, QUEUE);
    assert_waits(&*second);
    let (third, _woken) = campaign(other, QUEUE);
    drop(second);
    assert!(first.lease.is_held());
    assert_waits(&*third);
    drop(first);
    granted(third);
}

pub fn each_queue_is_led_on_its_own(one: &dyn Store, other: &dyn Store) {
    define(one, QUEUE);
    define(one, "r");
    let first = lead(one, QUEUE);
    let second = lead(other, "r");
    drop(first);
    assert!(second.lease.is_held());
    assert!(lead(other, QUEUE).lease.is_held());
}

/// A lease that was given up, and the one of the successor, which has grabbed the only job.
fn succession(
    one: &dyn Store,
    other: &dyn Store,
) -> (std::sync::Arc<dyn fireworq::store::Lease>, Led) {
    define(one, QUEUE);
    let old = lead(one, QUEUE).lease;
    let successor = lead(other, QUEUE);
    push(one, QUEUE, job());
    (old, successor)
}

pub fn an_ended_lease_grabs_nothing(one: &dyn Store, other: &dyn Store) {
    let (old, successor) = succession(one, other);
    assert!(old.grab(10).map_or(true, |jobs| jobs.is_empty()));
    assert_eq!(counts(one, QUEUE), (1, 0, 0));
    assert_eq!(successor.grab().len(), 1);
}

pub fn an_ended_lease_recovers_nothing(one: &dyn Store, other: &dyn Store) {
    let (old, successor) = succession(one, other);
    let job = successor.grab_one();
    assert!(old.recover(&|_, _| false).map_or(true, |count| count == 0));
    let _ = old.put_back(&[job.id]);
    assert_eq!(counts(one, QUEUE), (0, 0, 1));
}

pub fn the_holder_is_known(one: &dyn Store, other: &dyn Store) {
    define(one, QUEUE);
    assert_eq!(one.holder(QUEUE).unwrap(), None);
    let leader = lead(one, QUEUE);
    let holder = one.holder(QUEUE).unwrap().expect("a holder");
    assert!(!holder.id.is_empty() && !holder.host.is_empty(), "{holder:?}");
    assert!(!holder.host.contains(':'), "{holder:?} names a port");
    assert_eq!(other.holder(QUEUE).unwrap(), Some(holder));
    assert_eq!(one.holder("missing").unwrap(), None);
    drop(leader);
    until("nobody holds it", SOON, || other.holder(QUEUE).unwrap().is_none());
}
