//! The threads of the daemon over a store that fails at every call: intake, poller, workers,
//! settler of two nodes, whose jobs go to a real worker.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fireworq::config::{self, Command, Settings};
use fireworq::dispatch::Dispatcher;
use fireworq::intake::{Entry, Express, Intake};
use fireworq::job::NewJob;
use fireworq::logs::Logs;
use fireworq::queue::{Queue, Services};
use fireworq::queue_definition::{QueueDefaults, QueueDefinition};
use fireworq::settler::Settler;
use fireworq::store::memory::MemoryStore;
use fireworq::store::{Direction, FailureOrder, Listing, Page, Push, QueueName, Store};

use crate::failing::Failing;
use crate::support::random::{self, Random};
use crate::support::wait::{SOON, until};
use crate::support::worker::{Reaction, Worker};
use crate::world::QUEUE;

/// Rounds where `ROUNDS` says nothing, and at the most.
const FEW_ROUNDS: u64 = 3;
const MAX_ROUNDS: u64 = 50;
const PUSHES: usize = 600;
/// So that a round takes a second or so.
const PAUSE: Duration = Duration::from_millis(2);
const ALL: Page = Page { limit: 100_000, after: None, direction: Direction::Ascending };

#[test]
fn queues_on_a_store_that_fails_lose_nothing() {
    let seed = random::seed();
    let rounds = random::number("ROUNDS").unwrap_or(FEW_ROUNDS).min(MAX_ROUNDS);
    let (mut failed, mut lost) = (0, 0);
    for round in 0..rounds {
        for counts in run_round(seed, round) {
            failed += counts.0 as u64;
            lost += counts.1 as u64;
        }
    }
    assert!(failed > 20 * rounds && lost > 2 * rounds, "{failed} calls, {lost} leases");
}

/// What the client knows of its pushes.
#[derive(Default)]
struct Books {
    acknowledged: BTreeSet<String>,
    unknown: BTreeSet<String>,
}

/// The threads of a node.
struct Node {
    store: Failing,
    intake: Intake,
    settler: Settler,
    queue: Arc<Queue>,
    dispatcher: Arc<Dispatcher>,
    logs: Logs,
}

/// Answers the failed calls and the lost leases of each node.
fn run_round(seed: u64, round: u64) -> [(usize, usize); 2] {
    let mut random = Random::of(seed, round);
    let inner: Arc<dyn Store> = Arc::new(MemoryStore::new());
    inner.put_queue(&definition()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("log");
    let settings = settings(file.to_str().unwrap());
    let nodes =
        [1, 2].map(|number| Node::start(&inner, Random::of(random.next(), number), &settings));
    let failures: Mutex<BTreeMap<String, usize>> = Mutex::default();
    let failures = Arc::new(failures);
    let counted = Arc::clone(&failures);
    let worker = Worker::start(move |received| {
        let key = received.text();
        let wanted = key.len() % 3;
        let mut failures = counted.lock().unwrap();
        let count = failures.entry(key.to_owned()).or_default();
        if key.ends_with('7') {
            *count += 1;
            return Reaction::permanent_failure();
        }
        if *count < wanted {
            *count += 1;
            return Reaction::failure();
        }
        Reaction::success().after(Duration::from_millis(3))
    });
    let books = Arc::new(Mutex::new(Books::default()));
    for number in 0..PUSHES {
        push(&nodes[number % 2], &worker, &books, number);
        std::thread::sleep(PAUSE);
    }
    nodes.iter().for_each(|node| node.store.heal());
    let is_empty = || {
        let listings = [Listing::Grabbed, Listing::Waiting, Listing::Deferred];
        listings.iter().all(|listing| inner.jobs(QUEUE, *listing, &ALL).unwrap().is_empty())
    };
    until("the queue drains", 2 * SOON, is_empty);
    let counts = nodes.each_ref().map(|node| node.store.counts());
    account(&*inner, &nodes, &worker, &books.lock().unwrap(), &failures.lock().unwrap());
    nodes.into_iter().for_each(Node::stop);
    println!("round {round}: failed calls and lost leases of each node: {counts:?}");
    counts
}

fn push(node: &Node, worker: &Worker, books: &Arc<Mutex<Books>>, number: usize) {
    let key = format!("{}{number}", "k".repeat(number % 3));
    let job = NewJob {
        category: "c".into(),
        url: worker.url("/"),
        payload: key.clone().into_bytes(),
        run_after_s: 0,
        timeout_s: 0,
        retry_delay_s: 0,
        max_retries: 10,
    };
    let books = Arc::clone(books);
    let done = move |_: &Push, result: Result<_, _>| {
        let mut books = books.lock().unwrap();
        let keys = if result.is_ok() { &mut books.acknowledged } else { &mut books.unknown };
        keys.insert(key);
    };
    let push = Push { queue: QueueName::from(QUEUE), job: Arc::new(job) };
    let express = Some(Arc::clone(&node.queue) as Arc<dyn Express>);
    node.intake.push(Entry { push, express, done: Box::new(done) });
}

fn account(
    inner: &dyn Store,
    nodes: &[Node; 2],
    worker: &Worker,
    books: &Books,
    failures: &BTreeMap<String, usize>,
) {
    assert_eq!(books.acknowledged.len() + books.unknown.len(), PUSHES, "a push was not answered");
    let mut delivered: BTreeMap<String, usize> = BTreeMap::new();
    for request in worker.received() {
        *delivered.entry(request.text().to_owned()).or_default() += 1;
    }
    let failed = inner.failures(QUEUE, FailureOrder::Failed, &ALL).unwrap();
    let failed: Vec<String> =
        failed.into_iter().map(|failure| String::from_utf8(failure.payload).unwrap()).collect();
    let mut to_fail: Vec<String> =
        delivered.keys().filter(|key| key.ends_with('7')).cloned().collect();
    let mut in_log = failed.clone();
    in_log.sort();
    to_fail.sort();
    assert_eq!(in_log, to_fail, "the failure log, and what the worker failed");
    for key in &books.acknowledged {
        assert!(delivered.contains_key(key), "{key} is lost");
    }
    for (key, count) in delivered {
        assert!(books.acknowledged.contains(&key) || books.unknown.contains(&key), "{key}");
        let at_risk: usize = nodes.iter().map(|node| node.store.at_risk(&key)).sum();
        let failures = failures.get(&key).copied().unwrap_or(0);
        // One that fails for good ends with a failure, any other with a success after them.
        let tries = if key.ends_with('7') { 1 } else { 1 + failures };
        assert!(count <= tries + at_risk, "{key}: {count} deliveries, at most {tries} + {at_risk}");
    }
}

impl Node {
    fn start(inner: &Arc<dyn Store>, random: Random, settings: &Settings) -> Node {
        let store = Failing::new(Arc::clone(inner), random);
        let shared: Arc<dyn Store> = Arc::new(store.clone());
        let logs = Logs::open(settings).unwrap();
        let dispatcher = Arc::new(Dispatcher::new(settings).unwrap());
        let settler = Settler::start(Arc::clone(&shared)).unwrap();
        let services = Services {
            store: Arc::clone(&shared),
            dispatcher: Arc::clone(&dispatcher),
            settler: settler.handle(),
            queue_log: Arc::clone(&logs.queue),
            defaults: QueueDefaults { polling_interval_ms: 20, max_workers: 4 },
        };
        let queue = Arc::new(Queue::start(definition(), services, None).unwrap());
        let intake = Intake::start(shared).unwrap();
        Node { store, intake, settler, queue, dispatcher, logs }
    }

    fn stop(self) {
        let deadline = Instant::now() + SOON;
        assert!(self.intake.close(deadline));
        self.queue.begin_stop();
        assert!(self.queue.join(deadline), "the queue does not stop");
        assert!(self.settler.close(deadline));
        self.dispatcher.shutdown();
        self.logs.close();
    }
}

fn definition() -> QueueDefinition {
    QueueDefinition {
        name: QUEUE.to_owned(),
        polling_interval_ms: 20,
        max_workers: 4,
        max_dispatches_per_second: 0.0,
        max_burst_size: 0,
    }
}

fn settings(log: &str) -> Settings {
    let arguments =
        ["--queue-log", log, "--access-log", log, "--error-log", log].map(std::ffi::OsString::from);
    let Ok(Command::Run(settings)) = config::parse(arguments, &|_| None) else {
        panic!("the settings are not accepted");
    };
    *settings
}
