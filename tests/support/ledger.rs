//! Accounts for jobs exactly.
//!
//! Each push carries a key of its own and is *acknowledged* (200), *refused* (4xx) or *unknown*
//! (anything else: 5xx, a reset, no connection). The worker records each key that it receives.
//! In the end, when everything has healed and the queue has drained, what was acknowledged was
//! delivered or lies in the failure log, nothing else was delivered, and only jobs that a fault
//! put at risk were delivered more than once.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::http::{self, Answer};
use super::tables::{Tables, table};
use super::wait::until;
use super::worker::{Reaction, Received, Worker};

/// How long everything may take to heal and drain.
pub const DRAINED: Duration = Duration::from_secs(40);
/// How long a client waits for the answer to a push: longer than the daemon may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long the outcome of a job may take to be stored after its worker has answered, while
/// nothing is wrong but that the machine is busy.
const STORED_WITHIN: Duration = Duration::from_secs(1);
/// Pushes of a thread of [`Load`] at most.
const MAX_LOAD: usize = 10_000;

/// What the client knows about its push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is durable.
    Acknowledged,
    /// It was not taken, and never will be.
    Refused,
    /// It may have been taken.
    Unknown,
}

/// A push, as its client saw it.
#[derive(Debug)]
pub struct Pushed {
    pub key: String,
    pub fate: Fate,
    pub took: Duration,
    /// `None` if there was none, or no connection.
    pub answer: Option<Answer>,
}

/// A job as it came to the worker.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub key: String,
    /// The node that sent it, by its `User-Agent`.
    pub node: String,
    pub at: Instant,
}

/// The clients' and the worker's books.
pub struct Ledger {
    worker: Worker,
    /// Which keys end in the failure log.
    fails: fn(&str) -> bool,
    fates: Mutex<BTreeMap<String, (Fate, Duration)>>,
    next: AtomicUsize,
}

impl Ledger {
    /// With a worker that does with each job what `script` says about its key. None fails.
    pub fn new(script: impl Fn(&str) -> Reaction + Send + Sync + 'static) -> Arc<Ledger> {
        Ledger::with_failures(|_| false, script)
    }

    /// With a worker whose answer to the keys for which `fails` holds puts them into the failure
    /// log.
    pub fn with_failures(
        fails: fn(&str) -> bool,
        script: impl Fn(&str) -> Reaction + Send + Sync + 'static,
    ) -> Arc<Ledger> {
        let worker = Worker::start(move |received: &Received| script(received.text()));
        Arc::new(Ledger { worker, fails, fates: Mutex::default(), next: AtomicUsize::new(0) })
    }

    /// With a worker that takes this long for each job, which then succeeds.
    pub fn with_slow_worker(delay: Duration) -> Arc<Ledger> {
        Ledger::new(move |_| Reaction::success().after(delay))
    }

    /// Pushes a job with a key that begins with `kind`, and with further fields such as
    /// `,"max_retries":2`.
    pub fn push_kind(&self, node: SocketAddr, category: &str, kind: &str, fields: &str) -> Pushed {
        let key = format!("{kind}-{}", self.next.fetch_add(1, Ordering::Relaxed));
        let body = format!(r#"{{"url":"{}","payload":"{key}"{fields}}}"#, self.worker.url("/"));
        let began = Instant::now();
        let answer =
            http::try_request(node, "POST", &format!("/job/{category}"), body, PATIENCE).ok();
        let took = began.elapsed();
        let fate = fate_of(answer.as_ref());
        self.fates().insert(key.clone(), (fate, took));
        Pushed { key, fate, took, answer }
    }

    /// Pushes a job.
    pub fn push(&self, node: SocketAddr, category: &str) -> Pushed {
        self.push_kind(node, category, "job", "")
    }

    /// Pushes `count` jobs, all of which must be acknowledged.
    #[track_caller]
    pub fn push_all(&self, count: usize, node: SocketAddr, category: &str) {
        for _ in 0..count {
            let pushed = self.push(node, category);
            assert_eq!(pushed.fate, Fate::Acknowledged, "{pushed:?}");
        }
    }

    /// Books a push that was made by other means: the body for it, and its key.
    pub fn body_of_another(&self) -> (String, String) {
        let key = format!("other-{}", self.next.fetch_add(1, Ordering::Relaxed));
        let body = format!(r#"{{"url":"{}","payload":"{key}"}}"#, self.worker.url("/"));
        self.fates().insert(key.clone(), (Fate::Unknown, Duration::ZERO));
        (key, body)
    }

    /// Books what came of it.
    pub fn book(&self, key: &str, answer: Option<&Answer>, took: Duration) {
        self.fates().insert(key.to_owned(), (fate_of(answer), took));
    }

    /// The URL of the worker.
    pub fn url(&self) -> String {
        self.worker.url("/")
    }

    /// How many pushes met this fate so far.
    pub fn count(&self, fate: Fate) -> usize {
        self.fates().values().filter(|(other, _)| *other == fate).count()
    }

    /// How long the slowest push took so far.
    pub fn slowest_push(&self) -> Duration {
        self.fates().values().map(|(_, took)| *took).max().unwrap_or_default()
    }

    /// All that the worker has received so far, in the order of arrival.
    pub fn deliveries(&self) -> Vec<Delivery> {
        let received = self.worker.received();
        received.iter().map(Delivery::of).collect()
    }

    /// Waits for the first delivery that is wanted.
    #[track_caller]
    pub fn wait_for(
        &self,
        what: &str,
        within: Duration,
        wanted: impl Fn(&Delivery) -> bool,
    ) -> Delivery {
        let mut found = None;
        until(what, within, || {
            found = self.deliveries().into_iter().find(|delivery| wanted(delivery));
            found.is_some()
        });
        found.unwrap()
    }

    /// Waits until `count` deliveries or more have arrived.
    #[track_caller]
    pub fn wait_for_count(&self, count: usize, within: Duration) {
        self.worker.wait_for(count, within);
    }

    /// Waits until `queues` have drained, and checks that each job was delivered exactly once.
    #[track_caller]
    pub fn close(&self, tables: &dyn Tables, queues: &[&str]) {
        self.close_after_fault(tables, queues, |_| false);
    }

    /// Waits until `queues` have drained, and checks the books. A job may have been delivered
    /// again only after a delivery that was `at_risk`. Answers how many were.
    #[track_caller]
    pub fn close_after_fault(
        &self,
        tables: &dyn Tables,
        queues: &[&str],
        at_risk: impl Fn(&Delivery) -> bool,
    ) -> usize {
        let allowed = |_: &str, all: &[Delivery]| {
            1 + all[..all.len() - 1].iter().filter(|delivery| at_risk(delivery)).count()
        };
        let delivered = self.close_with(tables, queues, allowed);
        delivered.values().filter(|all| all.len() > 1).count()
    }

    /// Waits until `queues` have drained, and checks the books. A key may have been delivered as
    /// often as `allowed` says to it and its deliveries. Answers the deliveries by key.
    #[track_caller]
    pub fn close_with(
        &self,
        tables: &dyn Tables,
        queues: &[&str],
        allowed: impl Fn(&str, &[Delivery]) -> usize,
    ) -> BTreeMap<String, Vec<Delivery>> {
        for queue in queues {
            until(&format!("the queue {queue} drains"), DRAINED, || tables.count(queue) == 0);
        }
        let mut failed: Vec<String> = Vec::new();
        // Queues may share their tables.
        let one_each: BTreeMap<String, &str> =
            queues.iter().map(|queue| (table(queue), *queue)).collect();
        for queue in one_each.values() {
            failed.extend(tables.failed(queue));
        }
        let mut delivered: BTreeMap<String, Vec<Delivery>> = BTreeMap::new();
        for delivery in self.deliveries() {
            delivered.entry(delivery.key.clone()).or_default().push(delivery);
        }
        self.check_keys(&delivered, &failed);
        for (key, all) in &delivered {
            let most = allowed(key, all);
            assert!(all.len() <= most, "delivered again without need, at most {most}: {all:?}");
        }
        delivered
    }

    #[track_caller]
    fn check_keys(&self, delivered: &BTreeMap<String, Vec<Delivery>>, failed: &[String]) {
        let fates = self.fates();
        let lost: Vec<_> = fates
            .iter()
            .filter(|(_, (fate, _))| *fate == Fate::Acknowledged)
            .filter(|(key, _)| !delivered.contains_key(*key) && !failed.contains(key))
            .collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
        let accepted = |key: &&String| fates.get(*key).is_some_and(|(f, _)| *f != Fate::Refused);
        let unasked: Vec<_> = delivered.keys().filter(|key| !accepted(key)).collect();
        assert!(unasked.is_empty(), "delivered though never accepted: {unasked:?}");
        // In both directions, and each once: what failed is in the failure log, and nothing else.
        let mut failed: Vec<&String> = failed.iter().collect();
        failed.sort();
        let mut to_fail: Vec<&String> = delivered.keys().filter(|key| (self.fails)(key)).collect();
        to_fail.sort();
        assert_eq!(failed, to_fail, "the failure log, and what the worker failed");
    }

    fn fates(&self) -> MutexGuard<'_, BTreeMap<String, (Fate, Duration)>> {
        self.fates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fate_of(answer: Option<&Answer>) -> Fate {
    match answer.map(|answer| answer.status) {
        Some(200) => Fate::Acknowledged,
        Some(400..=499) => Fate::Refused,
        _ => Fate::Unknown,
    }
}

impl Delivery {
    fn of(received: &Received) -> Delivery {
        let node = received.header("User-Agent").unwrap_or_default().to_owned();
        Delivery { key: received.text().to_owned(), node, at: received.at }
    }

    /// Whether it was being delivered at `moment` or later, or its outcome may not have been
    /// stored by then, where the worker takes `delay`.
    pub fn is_unsettled_at(&self, moment: Instant, delay: Duration) -> bool {
        self.at + delay + STORED_WITHIN >= moment
    }
}

/// Clients that push without a break, each to one of some nodes in turn.
pub struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts `clients` of them, with a pause after each push.
    pub fn start(
        clients: usize,
        ledger: &Arc<Ledger>,
        nodes: &[SocketAddr],
        category: &str,
        pause: Duration,
    ) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let start = |client: usize| {
            let (ledger, stop) = (Arc::clone(ledger), Arc::clone(&stop));
            let (nodes, category) = (nodes.to_vec(), category.to_owned());
            let body = move || {
                let turns = nodes.iter().cycle().skip(client).take(MAX_LOAD);
                for node in turns.take_while(|_| !stop.load(Ordering::Relaxed)) {
                    ledger.push(*node, &category);
                    std::thread::sleep(pause);
                }
            };
            std::thread::Builder::new().name(format!("client-{client}")).spawn(body).unwrap()
        };
        let threads = (0..clients).map(start).collect();
        Load { stop, threads }
    }

    /// Lets each end the push that it makes, and no further one begin.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}
