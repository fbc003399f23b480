//! Nothing goes wrong, a hundred thousand times.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::daemon::{Daemon, Options};
use crate::support::http::Client;
use crate::support::mariadb;
use crate::support::nodes::{define, start_two, wait_until_primary};
use crate::support::tables::{SqliteFile, Tables};
use crate::support::wait::until;
use crate::support::worker::{Reaction, Worker};

const JOBS: usize = 100_000;
const CLIENTS: usize = 16;
/// How long it may take altogether, on a machine that is busy.
const DRAINED: Duration = Duration::from_secs(300);
const QUEUE: &str = r#"{"max_workers":32,"polling_interval":50}"#;

#[test]
#[ignore = "takes minutes: make soak"]
fn a_hundred_thousand_jobs_on_two_nodes_are_delivered_once_each() {
    let database = mariadb::shared().create_database();
    let nodes = start_two(&database, "q", QUEUE);
    deliver_all(&[&nodes[0], &nodes[1]], &database);
}

#[test]
#[ignore = "takes minutes: make soak"]
fn a_hundred_thousand_jobs_on_the_embedded_store_are_delivered_once_each() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("jobs.db");
    let node = on(&file).start();
    define(&node, "q", QUEUE);
    wait_until_primary(&node, "q");
    deliver_all(&[&node], &SqliteFile(file));
}

fn on(file: &Path) -> Options {
    Options::new().flag("sqlite-path", file.to_str().unwrap())
}

fn deliver_all(nodes: &[&Daemon], tables: &dyn Tables) {
    let worker = Worker::start(|_| Reaction::success());
    let url = worker.url("/");
    let began = Instant::now();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (node, url) = (nodes[client % nodes.len()].address(), &url);
            scope.spawn(move || push_share(node, url, client));
        }
    });
    let pushed = began.elapsed();
    until("all are delivered", DRAINED, || tables.count("q") == 0);
    println!("{JOBS} jobs: pushed after {pushed:?}, delivered after {:?}", began.elapsed());
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for request in worker.received() {
        *times.entry(request.text().to_owned()).or_default() += 1;
    }
    assert_eq!(times.len(), JOBS, "some are lost");
    let repeated: Vec<_> = times.iter().filter(|(_, times)| **times != 1).collect();
    assert!(repeated.is_empty(), "{repeated:?}");
}

fn push_share(node: SocketAddr, url: &str, client: usize) {
    let mut connection = Client::connect(node);
    for number in (client..JOBS).step_by(CLIENTS) {
        let body = format!(r#"{{"url":"{url}","payload":"{number}"}}"#);
        let answer = connection.request("POST", "/job/q", &[], body);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}
