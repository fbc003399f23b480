//! Clients that connect and then say nothing, or half of something.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::support::daemon::{Daemon, Options};
use crate::support::http::{self, Client};
use crate::support::mariadb;
use crate::support::nodes::{define, wait_until_primary};
use crate::support::raise_descriptor_limit;
use crate::support::wait::{SOON, until};

/// The crowd of the test that measures.
const IDLE: usize = 10_000;
const HALF_SENT: usize = 2_000;
/// Rounds, clients, and how long they push in each.
const ROUNDS: usize = 5;
const CLIENTS: usize = 8;
const SPAN: Duration = Duration::from_secs(4);

/// Requests that were begun in several ways.
const HALVES: [&str; 4] = [
    "P",
    "POST /job/q HTTP/1.1\r\nHost: lo",
    "POST /job/q HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n{\"url\":",
    "POST /job/q HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"u",
];

#[test]
fn silent_clients_are_let_go_in_time_and_hold_up_nobody() {
    const PATIENCE_S: u64 = 3;
    raise_descriptor_limit();
    let patience = PATIENCE_S.to_string();
    let node =
        Options::new().flag("idle-timeout", &patience).flag("request-timeout", &patience).start();
    let before = connections(&node);
    let began = Instant::now();
    let crowd = crowd(node.address(), HALF_SENT / 2, HALF_SENT);
    while connections(&node) > before + 1 {
        let pushed = http::post(node.address(), "/job/c", r#"{"url":"http://127.0.0.1:9/"}"#);
        assert_eq!(pushed.status, 200, "{}", pushed.text());
        let waited = began.elapsed();
        assert!(waited < Duration::from_secs(PATIENCE_S) + SOON, "connections are still open");
    }
    println!("all were let go after {:?}", began.elapsed());
    drop(crowd);
}

/// Figures for `doc/reliability.md`: the 99th percentile of pushes without a crowd and beside it.
#[test]
#[ignore = "takes two minutes and measures: make soak"]
fn pushes_beside_ten_thousand_idle_connections_are_as_quick_as_without() {
    raise_descriptor_limit();
    let database = mariadb::shared().create_database();
    let node = Options::on(&database.dsn())
        .flag("idle-timeout", "600")
        .flag("request-timeout", "600")
        .start();
    // Jobs are only taken in.
    define(&node, "q", "{}");
    wait_until_primary(&node, "q");
    let before = connections(&node);
    let (mut without, mut beside) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        without.push(p99_of_pushes(node.address()));
        let crowd = crowd(node.address(), IDLE, HALF_SENT);
        until("the whole crowd is connected", 2 * SOON, || {
            connections(&node) >= before + IDLE + HALF_SENT
        });
        beside.push(p99_of_pushes(node.address()));
        drop(crowd);
        until("the crowd has gone", 2 * SOON, || connections(&node) <= before + 1);
        let (without, beside) = (without[round], beside[round]);
        println!(
            "round {round}: p99 of pushes {without:?} without the crowd, {beside:?} beside it"
        );
    }
    let (without, beside) = (median(without), median(beside));
    println!(
        "medians of {ROUNDS} rounds, {CLIENTS} clients: p99 of pushes {without:?} without, \
         {beside:?} beside {IDLE} idle connections and {HALF_SENT} half-sent requests"
    );
    assert!(beside <= 2 * without, "{beside:?} is more than twice {without:?}");
}

/// Connections that say nothing, and such that say half of something.
fn crowd(node: SocketAddr, idle: usize, half_sent: usize) -> Vec<TcpStream> {
    let connect = |number: usize| {
        let mut stream = TcpStream::connect(node).unwrap();
        if number >= idle {
            stream.write_all(HALVES[number % HALVES.len()].as_bytes()).unwrap();
        }
        stream
    };
    (0..idle + half_sent).map(connect).collect()
}

/// How many sockets a node has open.
fn connections(node: &Daemon) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", node.pid())).unwrap().count()
}

/// What 99 of 100 pushes take at most, from clients that keep their connections.
fn p99_of_pushes(node: SocketAddr) -> Duration {
    let mut took: Vec<Duration> = std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..CLIENTS).map(|_| scope.spawn(|| push_for_a_while(node))).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    took.sort_unstable();
    took[took.len() * 99 / 100]
}

fn push_for_a_while(node: SocketAddr) -> Vec<Duration> {
    let mut client = Client::connect(node);
    let mut took = Vec::new();
    let end = Instant::now() + SPAN;
    while Instant::now() < end {
        let began = Instant::now();
        let body = r#"{"url":"http://127.0.0.1:9/","run_after":86400}"#;
        assert_eq!(client.request("POST", "/job/q", &[], body).status, 200);
        took.push(began.elapsed());
    }
    took
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all[all.len() / 2]
}
