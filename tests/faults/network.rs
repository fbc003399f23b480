//! A network between node and database that goes silent, or cuts connections at any point.

use std::time::{Duration, Instant};

use crate::lease_loss::{JOB, THROTTLED, WORKERS, unthrottle};
use crate::support::ledger::{Delivery, Fate, Ledger, Load};
use crate::support::mariadb;
use crate::support::nodes::{
    BUSY, REPLACED, define, is_primary, named, rows, start, wait_until_primary,
};
use crate::support::proxy::Proxy;
use crate::support::random::Random;
use crate::support::wait::{SOON, until};
use crate::support::worker::Reaction;

/// How long a push may take to be refused.
const REFUSED_WITHIN: Duration = Duration::from_secs(5);
/// How many connections are cut, and after how many packets at most.
const CUTS: usize = 60;
/// How many fall silent: each is noticed only after seconds.
const SILENCES: usize = 8;
const PACKETS: usize = 40;

#[test]
fn a_primary_in_a_black_hole_stops_before_another_node_begins() {
    let server = mariadb::shared();
    let database = server.create_database();
    let proxy = Proxy::to(server.port());
    let one = named("one", &database.dsn_at(proxy.port())).start();
    define(&one, "q", THROTTLED);
    wait_until_primary(&one, "q");
    let two = start("two", &database);
    let ledger = Ledger::with_slow_worker(JOB);
    ledger.push_all(80, one.address(), "q");
    ledger.wait_for_count(10, SOON);

    proxy.freeze();
    let silent = Instant::now();
    let load = Load::start(3, &ledger, &[one.address()], "q", Duration::from_millis(50));
    let first = ledger.wait_for("a delivery by the other node", REPLACED, |job| job.node == "two");
    assert!(is_primary(&two, "q"));
    assert!(!is_primary(&one, "q"));
    ledger.push_all(20, two.address(), "q");
    ledger.wait_for("a further delivery", SOON, |job| {
        job.node == "two" && job.at > first.at + Duration::from_secs(1)
    });
    load.stop();
    let slowest = ledger.slowest_push();
    assert!(slowest < REFUSED_WITHIN + BUSY, "{slowest:?}");
    let of_one = |job: &&Delivery| job.node == "one" && job.at > first.at;
    assert_eq!(ledger.deliveries().iter().filter(of_one).count(), 0, "both at once");

    proxy.thaw();
    unthrottle(&two);
    until("pushes through the healed network are stored", SOON, || {
        ledger.push(one.address(), "q").fate == Fate::Acknowledged
    });
    let repeated = ledger.close_after_fault(&database, &["q"], |job| {
        job.node == "one" && job.is_unsettled_at(silent, JOB)
    });
    let took = first.at.duration_since(silent);
    println!("took over after {took:?}, {repeated} repeated, the slowest push took {slowest:?}");
    assert!(repeated <= WORKERS, "{repeated} repeated");
}

#[test]
fn connections_cut_at_any_point_strand_and_lose_nothing() {
    break_connections(CUTS, SOON, Proxy::cut_at_packet);
}

/// Such as a session that falls silent inside a transaction, whose locks nobody else can have.
#[test]
fn connections_that_fall_silent_at_any_point_strand_and_lose_nothing() {
    break_connections(SILENCES, REPLACED + SOON, Proxy::silence_at_packet);
}

/// Breaks connections of a node, each `by` this at a random packet. Pushes are acknowledged again
/// `within` this after each.
fn break_connections(count: usize, within: Duration, by: fn(&Proxy, usize)) {
    let server = mariadb::shared();
    let database = server.create_database();
    let proxy = Proxy::to(server.port());
    let node = named("one", &database.dsn_at(proxy.port())).start();
    define(&node, "q", r#"{"max_workers":5,"polling_interval":50}"#);
    wait_until_primary(&node, "q");
    let fails = |key: &str| key.ends_with(['0', '5']);
    let ledger = Ledger::with_failures(fails, move |key| {
        let fails = fails(key);
        let reaction = if fails { Reaction::permanent_failure() } else { Reaction::success() };
        reaction.after(Duration::from_millis(20))
    });
    let load = Load::start(4, &ledger, &[node.address()], "q", Duration::from_millis(10));
    let mut random = Random::seeded();
    for _ in 0..count {
        by(&proxy, random.below(PACKETS) + 1);
        until("a connection is broken", SOON, || proxy.has_cut());
        let stored = ledger.count(Fate::Acknowledged);
        until("pushes are stored", within, || ledger.count(Fate::Acknowledged) > stored);
    }
    load.stop();
    assert!(ledger.count(Fate::Acknowledged) > count, "{}", ledger.count(Fate::Acknowledged));
    let slowest = ledger.slowest_push();
    assert!(slowest < REFUSED_WITHIN + BUSY, "{slowest:?}");
    println!("the slowest push took {slowest:?}");
    // Whatever was broken, this one node knew all the time what it had in hand.
    ledger.close(&database, &["q"]);
    assert_eq!(rows(&mut database.conn(), "q"), (0, 0));
}
