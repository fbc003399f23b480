//! How the daemon ends.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::node::Node;
use crate::stores::{Store, on_every_store};
use crate::support::wait::{SOON, until};
use crate::support::worker::{Reaction, Worker};
use crate::workers::{Held, count, wait_for};

on_every_store! {
    a_queue_made_during_a_stop_holds_nothing_up
    a_stop_lets_running_jobs_end
    every_signal_stops
    a_second_signal_ends_at_once
    a_stop_ends_at_its_time_out
}

/// Longer than a stop with a time-out of a second may take on a busy machine, and much shorter
/// than one that waits for a job.
const STOP: Duration = Duration::from_secs(25);

fn a_stop_lets_running_jobs_end(store: Store) {
    let mut node = store.node(&[]);
    let queue = node.queue(&json!({}));
    let held = Held::start(|_| Reaction::success());
    queue.push(&json!({ "url": held.url("/") }));
    wait_for(&held, 1);
    let mut idle = node.connect();
    let mut half = node.connect();
    half.send(b"GET /version HTTP/1.1\r\nHost: h\r\n").unwrap();
    node.signal(Signal::SIGTERM);
    let address = node.address();
    until("the listener is closed", SOON, || std::net::TcpStream::connect(address).is_err());
    assert!(idle.is_closed());
    // The request in hand is answered.
    half.send(b"\r\n").unwrap();
    if let Ok(answer) = half.receive() {
        assert_eq!((answer.status, answer.header("Connection")), (200, Some("close")));
    }
    assert!(node.is_running());
    held.let_go();
    assert_eq!(node.wait(STOP), 0, "{}", node.errors());
    let completed = node.queue_log().lines().filter(|line| line.contains("complete")).count();
    assert_eq!(completed, 1, "{}", node.queue_log());
    assert_eq!(count(&held), 1);
}

fn every_signal_stops(store: Store) {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let mut node = store.node(&[]);
        node.signal(signal);
        assert_eq!(node.wait(STOP), 0, "{signal}: {}", node.errors());
    }
}

fn a_second_signal_ends_at_once(store: Store) {
    let mut node = store.node(&[]);
    let queue = node.queue(&json!({}));
    let held = Held::succeeding();
    queue.push(&json!({ "url": held.url("/") }));
    wait_for(&held, 1);
    node.signal(Signal::SIGTERM);
    let address = node.address();
    until("the stop has begun", SOON, || std::net::TcpStream::connect(address).is_err());
    assert!(node.is_running());
    node.signal(Signal::SIGTERM);
    // The first stop would go on for 30 seconds.
    node.wait(STOP);
}

fn a_stop_ends_at_its_time_out(store: Store) {
    let mut node = store.node(&["shutdown-timeout=1"]);
    let queue = node.queue(&json!({}));
    let held = Held::succeeding();
    queue.push(&json!({ "url": held.url("/") }));
    wait_for(&held, 1);
    node.signal(Signal::SIGTERM);
    node.wait(STOP);
}

#[test]
fn who_has_just_connected_is_answered() {
    // A busy machine may take longer than the daemon waits, but not each time.
    let is_answered = (0..10).any(|_| {
        let mut node = Store::InMemory.node(&[]);
        let address = node.address();
        let mut new = node.connect();
        node.signal(Signal::SIGTERM);
        until("the listener is closed", SOON, || std::net::TcpStream::connect(address).is_err());
        let sent = new.send(b"GET /version HTTP/1.1\r\nHost: h\r\n\r\n");
        let answer = sent.and_then(|()| new.receive());
        assert_eq!(node.wait(STOP), 0, "{}", node.errors());
        answer.is_ok_and(|answer| answer.status == 200)
    });
    assert!(is_answered);
}

/// Nobody would tell it to stop.
fn a_queue_made_during_a_stop_holds_nothing_up(store: Store) {
    let mut node = store.node(&["shutdown-timeout=60"]);
    let queue = node.queue(&json!({}));
    let held = Held::succeeding();
    queue.push(&json!({ "url": held.url("/") }));
    wait_for(&held, 1);
    let mut in_hand = node.connect();
    let head = "PUT /queue/late HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{";
    in_hand.send(head.as_bytes()).unwrap();
    node.signal(Signal::SIGTERM);
    let address = node.address();
    until("the stop has begun", SOON, || std::net::TcpStream::connect(address).is_err());
    // The rest may come too late, or be answered.
    let _ = in_hand.send(b"}");
    let _ = in_hand.receive();
    held.let_go();
    assert_eq!(node.wait(STOP), 0, "{}", node.errors());
}

/// What was grabbed and not started waits again, at once and not only for the next primary's
/// recovery; what runs ends, and what had run is gone.
#[test]
fn nothing_stays_grabbed_after_a_stop() {
    let place = Store::Mysql.place();
    let mut node: Node = place.node(&["queue-default=main"]);
    let queue = node.queue(&json!({"max_workers": 2}));
    let name = queue.name.clone();
    let fast = Worker::successful();
    queue.push_burst(&vec![json!({ "url": fast.url("/") }); 100]);
    queue.wait_for_stat("total_successes", 100);
    let held = Held::succeeding();
    queue.push_burst(&vec![json!({ "url": held.url("/") }); 50]);
    wait_for(&held, 2);
    node.signal(Signal::SIGTERM);
    let address = node.address();
    until("the stop has begun", SOON, || std::net::TcpStream::connect(address).is_err());
    held.let_go();
    assert_eq!(node.wait(STOP), 0, "{}", node.errors());
    let started = count(&held);
    let rows: Vec<(String, u64)> = place.rows(&name);
    let grabbed: Vec<_> = rows.iter().filter(|(status, _)| status == "grabbed").collect();
    assert!(grabbed.is_empty(), "{grabbed:?}");
    assert_eq!(rows.len() + started, 50, "{started} were started");

    // A new daemon goes on with them.
    let next = place.node(&[]);
    next.queue_of(&name).wait_until_empty();
    assert_eq!(count(&held), 50);
}

#[test]
fn nothing_stays_grabbed_after_a_second_signal() {
    let place = Store::Mysql.place();
    let mut node: Node = place.node(&[]);
    let queue = node.queue(&json!({"max_workers": 2}));
    let name = queue.name.clone();
    let fast = Worker::successful();
    queue.push_burst(&vec![json!({ "url": fast.url("/") }); 100]);
    queue.wait_for_stat("total_successes", 100);
    let held = Held::succeeding();
    queue.push_burst(&vec![json!({ "url": held.url("/") }); 50]);
    wait_for(&held, 2);
    node.signal(Signal::SIGTERM);
    let address = node.address();
    until("the stop has begun", SOON, || std::net::TcpStream::connect(address).is_err());
    node.signal(Signal::SIGTERM);
    node.wait(STOP);
    let rows: Vec<(String, u64)> = place.rows(&name);
    assert_eq!(rows.len(), 50);
    let grabbed = rows.iter().filter(|(status, _)| status == "grabbed").count();
    // Those that were running.
    assert!(grabbed <= 2, "{rows:?}");
}

#[test]
fn jobs_survive_the_death_of_the_daemon() {
    let place = Store::Mysql.place();
    let mut node: Node = place.node(&[]);
    let queue = node.queue(&json!({"max_workers": 3}));
    let name = queue.name.clone();
    let held = Held::succeeding();
    let ids = queue.push_burst(&vec![json!({ "url": held.url("/") }); 20]);
    wait_for(&held, 3);
    node.kill9();
    drop(node);
    held.let_go();
    let next = place.node(&[]);
    next.queue_of(&name).wait_until_empty();
    let mut delivered: Vec<u64> = held
        .received()
        .iter()
        .map(|received| received.header("Fireworq-Job-Id").unwrap().parse().unwrap())
        .collect();
    assert!(delivered.len() <= 23, "more came twice than ran: {delivered:?}");
    delivered.sort_unstable();
    delivered.dedup();
    assert_eq!(delivered, ids);
}
