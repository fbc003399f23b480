//! Two nodes that share a store, without threads: what each has in hand, what the clients were
//! told, and what must hold after every step whatever happened before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fireworq::job::{Job, JobId, NewJob, Outcome, OutcomeStatus, Verdict, verdict};
use fireworq::queue_definition::QueueDefinition;
use fireworq::store::{
    Campaign, Direction, FailureOrder, Lease, Listing, Page, Push, QueueName, Settled, Settlement,
    Step, Store, Token,
};
use fireworq::wake::Wake;

use crate::support::random::Random;
use crate::support::wait::{SOON, until};

pub const QUEUE: &str = "q";
const ALL: Page = Page { limit: 100_000, after: None, direction: Direction::Ascending };

/// Whether a call of the store fails, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Luck {
    Good,
    /// Nothing is done.
    FailsBefore,
    /// All is done, and nobody is told.
    FailsAfter,
}

impl Luck {
    pub fn draw(random: &mut Random, percent: u64) -> Luck {
        match random.next() % 100 {
            roll if roll < percent => Luck::FailsBefore,
            roll if roll < 2 * percent => Luck::FailsAfter,
            _ => Luck::Good,
        }
    }

    /// The answer of a call, if there is one.
    fn answer<T>(self, call: impl FnOnce() -> T) -> Option<T> {
        match self {
            Luck::Good => Some(call()),
            Luck::FailsBefore => None,
            Luck::FailsAfter => {
                call();
                None
            }
        }
    }
}

/// A try that runs, or has ended and is not stored yet.
#[derive(Clone)]
struct Try {
    job: Job,
    token: Token,
}

#[derive(Default)]
struct Node {
    campaign: Option<Box<dyn Campaign>>,
    /// Also one that has ended, as a node may be late to notice.
    lease: Option<Arc<dyn Lease>>,
    /// What the node would say it has in hand: the token and the try, as its queue keeps it.
    in_hand: BTreeMap<JobId, (Token, u32)>,
    running: Vec<Try>,
    /// What became of tries, kept until it is stored.
    kept: Vec<(String, Settlement)>,
}

/// What is known of a job from outside.
#[derive(Default)]
struct Book {
    is_acknowledged: bool,
    /// Deliveries, and how many of them may be repetitions.
    deliveries: usize,
    at_risk: usize,
    /// Tries whose failure may have been stored.
    failed_tries: usize,
    /// Whether the store was asked to delete it as done, and to move it to the failure log.
    may_be_done: bool,
    may_have_failed: bool,
    /// Whether the store said that it has.
    is_done: bool,
    is_in_log: bool,
}

/// The store, its nodes, the books.
pub struct World {
    store: Arc<dyn Store>,
    nodes: [Node; 2],
    books: BTreeMap<String, Book>,
}

impl World {
    pub fn new(store: Arc<dyn Store>) -> World {
        let definition = QueueDefinition {
            name: QUEUE.to_owned(),
            polling_interval_ms: 200,
            max_workers: 20,
            max_dispatches_per_second: 0.0,
            max_burst_size: 0,
        };
        store.put_queue(&definition).unwrap();
        let mut world = World { store, nodes: Default::default(), books: BTreeMap::new() };
        (0..2).for_each(|node| world.stand(node));
        world.wait_for_lease();
        world
    }

    /// Clients push some jobs, which end up in one commit.
    pub fn push(&mut self, random: &mut Random, luck: Luck) {
        let batch: Vec<Push> = (0..random.within(1..=4))
            .map(|_| {
                let key = format!("job-{}", self.books.len());
                self.books.insert(key.clone(), Book::default());
                let job = NewJob {
                    category: "c".into(),
                    url: "http://localhost/".into(),
                    payload: key.into_bytes(),
                    run_after_s: 0,
                    timeout_s: 0,
                    retry_delay_s: 0,
                    max_retries: u32::try_from(random.below(4)).unwrap(),
                };
                Push { queue: QueueName::from(QUEUE), job: job.into() }
            })
            .collect();
        let Some(answers) = luck.answer(|| self.store.push(&batch)) else { return };
        for (push, answer) in batch.iter().zip(answers) {
            answer.unwrap();
            let key = std::str::from_utf8(&push.job.payload).unwrap();
            self.book(key).is_acknowledged = true;
        }
    }

    /// A node takes due jobs, by whatever lease it believes to have.
    pub fn grab(&mut self, node: usize, room: usize, luck: Luck) {
        let Some(lease) = self.lease(node) else { return };
        let Some(Ok(jobs)) = luck.answer(|| lease.grab(room)) else { return };
        assert!(lease.is_held() || jobs.is_empty(), "grabbed without a lease");
        assert!(jobs.len() <= room);
        let order: Vec<(u64, JobId)> = jobs.iter().map(|job| (job.next_try_ms, job.id)).collect();
        assert!(order.is_sorted(), "not in order: {order:?}");
        let token = lease.token();
        for job in jobs {
            let key = key_of(&job);
            self.book(&key).deliveries += 1;
            let node = &mut self.nodes[node];
            let is_same = |other: &&Try| other.job.id == job.id && other.token == token;
            let runs = node.running.iter().find(is_same);
            assert!(runs.is_none(), "{key} was grabbed while it runs under this lease");
            node.in_hand.insert(job.id, (token, job.fail_count));
            node.running.push(Try { job, token });
        }
    }

    /// A worker answers for a job that a node has in hand.
    pub fn finish(&mut self, node: usize, random: &mut Random) {
        let count = self.nodes[node].running.len();
        if count == 0 {
            return;
        }
        let status = random.one_of(&[
            OutcomeStatus::Success,
            OutcomeStatus::Success,
            OutcomeStatus::Failure,
            OutcomeStatus::InternalFailure,
            OutcomeStatus::PermanentFailure,
        ]);
        self.finish_with(node, random.below(count), status);
    }

    fn finish_with(&mut self, node: usize, number: usize, status: OutcomeStatus) {
        let Try { job, token } = self.nodes[node].running.swap_remove(number);
        let outcome = Outcome { status, code: 200, message: String::new() };
        let step = match verdict(&outcome, &job) {
            Verdict::Complete => Step::Complete,
            Verdict::Retry => Step::Retry,
            Verdict::Fail => Step::Fail(outcome.to_json()),
        };
        let Job { id: job_id, created_at_ms, fail_count, .. } = job;
        let queue = QUEUE.into();
        let settlement = Settlement { queue, job_id, created_at_ms, token, fail_count, step };
        self.nodes[node].kept.push((key_of(&job), settlement));
    }

    /// A node stores what has become of its jobs; what it is not told about it keeps.
    pub fn settle(&mut self, node: usize, luck: Luck) {
        let kept = std::mem::take(&mut self.nodes[node].kept);
        let batch: Vec<Settlement> =
            kept.iter().map(|(_, settlement)| settlement.clone()).collect();
        let answers = luck.answer(|| self.store.settle(&batch).unwrap());
        for (number, (key, settlement)) in kept.iter().enumerate() {
            let settled = answers.as_ref().map(|answers| answers[number]);
            if luck != Luck::FailsBefore {
                self.note(key, &settlement.step, settled);
            }
            let hold = (settlement.token, settlement.fail_count);
            let in_hand = &mut self.nodes[node].in_hand;
            if settled.is_some() && in_hand.get(&settlement.job_id) == Some(&hold) {
                in_hand.remove(&settlement.job_id);
            }
        }
        if answers.is_none() {
            self.nodes[node].kept = kept;
        }
    }

    /// Books what a settlement may have done: with no answer nobody knows.
    fn note(&mut self, key: &str, step: &Step, settled: Option<Settled>) {
        let book = self.book(key);
        let is_stored = settled == Some(Settled::Stored);
        match step {
            Step::Complete => {
                book.may_be_done = true;
                book.is_done |= is_stored;
            }
            Step::Retry => book.failed_tries += usize::from(settled != Some(Settled::Gone)),
            Step::Fail(_) => {
                book.may_have_failed = true;
                book.is_in_log |= is_stored;
            }
        }
    }

    /// A node that is primary puts back what nobody works on.
    pub fn recover(&mut self, node: usize, luck: Luck) {
        let Some(lease) = self.lease(node) else { return };
        let in_hand = &self.nodes[node].in_hand;
        let known = |id: JobId, token| in_hand.get(&id).is_some_and(|(held, _)| *held == token);
        let answer = luck.answer(|| lease.recover(&known));
        if let Some(Ok(_)) = answer {
            for job in self.listed(Listing::Grabbed) {
                assert!(self.nodes[node].in_hand.contains_key(&job.id), "stranded: {job:?}");
            }
        }
    }

    /// A node puts back what it has not finished, as when it is told to stop.
    pub fn put_back(&mut self, node: usize, luck: Luck) {
        let Some(lease) = self.lease(node) else { return };
        let token = lease.token();
        let node = &mut self.nodes[node];
        let (ours, others) = std::mem::take(&mut node.running)
            .into_iter()
            .partition::<Vec<Try>, _>(|running| running.token == token);
        node.running = others;
        let ids: Vec<JobId> = ours.iter().map(|running| running.job.id).collect();
        node.in_hand.retain(|id, _| !ids.contains(id));
        let _ = luck.answer(|| lease.put_back(&ids));
        for running in ours {
            // It had begun: this is what a stop that cuts off does.
            self.book(&key_of(&running.job)).at_risk += 1;
        }
    }

    /// A node loses its lease, and may be late to notice; it keeps what it has in hand.
    pub fn lose(&mut self, node: usize, notices: bool) {
        self.note_risk(node);
        self.nodes[node].campaign = None;
        let old = self.nodes[node].lease.take();
        self.stand(node);
        if !notices {
            self.nodes[node].lease = old.or(self.nodes[node].lease.take());
        }
        self.wait_for_lease();
    }

    /// A node dies, and is started again.
    pub fn crash(&mut self, node: usize) {
        self.note_risk(node);
        self.nodes[node] = Node::default();
        self.stand(node);
        self.wait_for_lease();
    }

    /// Waits until one of the nodes has the lease, which may be granted by another thread.
    fn wait_for_lease(&self) {
        until("a node has the lease", SOON, || {
            let mut campaigns = self.nodes.iter().filter_map(|node| node.campaign.as_ref());
            campaigns.any(|campaign| campaign.lease().is_some())
        });
    }

    /// A node looks whether it has a lease.
    pub fn look(&mut self, node: usize) {
        let lease = self.nodes[node].campaign.as_ref().and_then(|campaign| campaign.lease());
        self.nodes[node].lease = lease;
    }

    /// What must hold at any time.
    pub fn check(&mut self) {
        let mut rows: BTreeMap<String, Job> = BTreeMap::new();
        for listing in [Listing::Grabbed, Listing::Waiting, Listing::Deferred] {
            for job in self.listed(listing) {
                let again = rows.insert(key_of(&job), job);
                assert!(again.is_none(), "two rows of one push: {again:?}");
            }
        }
        let failures = self.store.failures(QUEUE, FailureOrder::Failed, &ALL).unwrap();
        let mut failed = BTreeSet::new();
        for failure in failures {
            let key = String::from_utf8(failure.payload).unwrap();
            assert!(!rows.contains_key(&key), "{key} has failed and waits");
            assert!(failed.insert(key.clone()), "{key} failed twice");
        }
        for (key, book) in &self.books {
            let is_there = rows.contains_key(key);
            let has_failed = failed.contains(key);
            let accounted = is_there || has_failed || book.may_be_done;
            assert!(!book.is_acknowledged || accounted, "{key} is lost");
            assert!(!(book.is_done && is_there), "{key} was done and is back");
            assert!(!has_failed || book.may_have_failed, "{key} failed by itself");
            assert!(!book.is_in_log || has_failed, "{key} went from the failure log");
            let most = 1 + book.failed_tries + book.at_risk;
            assert!(book.deliveries <= most, "{key}: {} of {most} deliveries", book.deliveries);
            if let Some(job) = rows.get(key) {
                let failures = job.fail_count as usize;
                assert!(failures <= book.failed_tries, "{key}: {failures} failures counted");
            }
        }
        assert!(rows.keys().all(|key| self.books.contains_key(key)), "a row of nobody");
    }

    /// Everything heals; a node that leads works off what there is. All must be accounted for.
    pub fn drain(&mut self) {
        for node in [0, 1] {
            self.look(node);
            self.settle(node, Luck::Good);
        }
        for _ in 0..100 {
            for node in [0, 1] {
                self.look(node);
                self.recover(node, Luck::Good);
                self.grab(node, usize::MAX / 2, Luck::Good);
                while !self.nodes[node].running.is_empty() {
                    self.finish_with(node, 0, OutcomeStatus::Success);
                }
                self.settle(node, Luck::Good);
            }
            self.check();
            let left: usize = [Listing::Grabbed, Listing::Waiting, Listing::Deferred]
                .map(|listing| self.listed(listing).len())
                .iter()
                .sum();
            if left == 0 {
                return;
            }
        }
        panic!("the queue does not drain");
    }

    /// How many jobs were acknowledged, deliveries, and those that may be repetitions.
    pub fn counts(&self) -> (usize, usize, usize) {
        let books = self.books.values();
        let acknowledged = books.clone().filter(|book| book.is_acknowledged).count();
        let deliveries = books.clone().map(|book| book.deliveries).sum();
        (acknowledged, deliveries, books.map(|book| book.at_risk).sum())
    }

    fn stand(&mut self, node: usize) {
        let (wake, _) = Wake::channel();
        self.nodes[node].campaign = Some(self.store.campaign(&QueueName::from(QUEUE), wake));
        self.look(node);
    }

    fn lease(&self, node: usize) -> Option<Arc<dyn Lease>> {
        self.nodes[node].lease.clone()
    }

    /// Whatever a node has in hand may be delivered again, by whoever leads next.
    fn note_risk(&mut self, node: usize) {
        let Node { running, kept, .. } = &self.nodes[node];
        let running = running.iter().map(|running| key_of(&running.job));
        let keys: Vec<String> = running.chain(kept.iter().map(|(key, _)| key.clone())).collect();
        for key in keys {
            self.book(&key).at_risk += 1;
        }
    }

    fn listed(&self, listing: Listing) -> Vec<Job> {
        self.store.jobs(QUEUE, listing, &ALL).unwrap()
    }

    fn book(&mut self, key: &str) -> &mut Book {
        self.books.get_mut(key).expect("a job that was pushed")
    }
}

fn key_of(job: &Job) -> String {
    String::from_utf8(job.payload.clone()).unwrap()
}
