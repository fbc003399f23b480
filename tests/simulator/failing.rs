//! A store in front of another one that fails at any call: before the other is asked, or after it
//! has done all. It also takes leases away.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fireworq::job::{Failure, Job, JobChanges, JobId};
use fireworq::queue_definition::{QueueDefinition, Routing};
use fireworq::store::{
    Backlog, Campaign, Definitions, Direction, FailureHead, FailureLog, FailureOrder, Holder,
    Inspection, Jobs, Lease, Listing, Page, Push, Pushed, QueueName, RetryBatch, Revision, Settled,
    Settlement, Snapshot, Store, StoreError, Token,
};
use fireworq::wake::Wake;

use crate::support::random::Random;
use crate::world::Luck;

/// Of a hundred calls, those that fail before, and those that fail after.
const PERCENT_UNLUCKY: u64 = 10;
/// Of a hundred looks at a lease, those at which it is taken away.
const PERCENT_LOST: u64 = 10;
const ALL: Page = Page { limit: 100_000, after: None, direction: Direction::Ascending };

type Result<T> = std::result::Result<T, StoreError>;

/// The store, as one node has it.
#[derive(Clone)]
pub struct Failing(Arc<Shared>);

struct Shared {
    inner: Arc<dyn Store>,
    random: Mutex<Random>,
    is_well: AtomicBool,
    failed_calls: AtomicUsize,
    lost_leases: AtomicUsize,
    /// Held while new jobs are stored as grabbed, and while a lease is taken away.
    pushing_grabbed: Mutex<()>,
    /// How many times a lease was taken away while the job of this payload was grabbed.
    at_risk: Mutex<BTreeMap<Vec<u8>, usize>>,
}

impl Failing {
    pub fn new(inner: Arc<dyn Store>, random: Random) -> Failing {
        Failing(Arc::new(Shared {
            inner,
            random: Mutex::new(random),
            is_well: AtomicBool::new(false),
            failed_calls: AtomicUsize::new(0),
            lost_leases: AtomicUsize::new(0),
            pushing_grabbed: Mutex::default(),
            at_risk: Mutex::default(),
        }))
    }

    /// From now on nothing fails.
    pub fn heal(&self) {
        self.0.is_well.store(true, Ordering::SeqCst);
    }

    /// How many times the job was at risk.
    pub fn at_risk(&self, key: &str) -> usize {
        lock(&self.0.at_risk).get(key.as_bytes()).copied().unwrap_or(0)
    }

    /// How many calls have failed, and how many leases were taken away.
    pub fn counts(&self) -> (usize, usize) {
        let count = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
        (count(&self.0.failed_calls), count(&self.0.lost_leases))
    }
}

impl Shared {
    fn call<T>(&self, call: impl FnOnce() -> Result<T>) -> Result<T> {
        if self.is_well.load(Ordering::SeqCst) {
            return call();
        }
        let luck = Luck::draw(&mut lock(&self.random), PERCENT_UNLUCKY);
        match luck {
            Luck::Good => return call(),
            Luck::FailsBefore => {}
            Luck::FailsAfter => drop(call()),
        }
        self.failed_calls.fetch_add(1, Ordering::SeqCst);
        Err(StoreError::Unavailable("out of luck".to_owned()))
    }

    fn loses_lease(&self) -> bool {
        !self.is_well.load(Ordering::SeqCst) && lock(&self.random).chance(PERCENT_LOST)
    }
}

impl Store for Failing {
    fn describe(&self) -> String {
        "a store that fails".to_owned()
    }

    fn now_ms(&self) -> Result<u64> {
        self.0.inner.now_ms()
    }

    fn close(&self) {}
}

impl Definitions for Failing {
    fn revision(&self) -> Result<Revision> {
        self.0.inner.revision()
    }

    fn definitions(&self) -> Result<Snapshot> {
        self.0.inner.definitions()
    }

    fn put_queue(&self, queue: &QueueDefinition) -> Result<QueueDefinition> {
        self.0.inner.put_queue(queue)
    }

    fn delete_queue(&self, name: &str) -> Result<Option<QueueDefinition>> {
        self.0.inner.delete_queue(name)
    }

    fn put_routing(&self, routing: &Routing) -> Result<()> {
        self.0.inner.put_routing(routing)
    }

    fn delete_routing(&self, category: &str) -> Result<Option<Routing>> {
        self.0.inner.delete_routing(category)
    }
}

impl Jobs for Failing {
    fn push(&self, batch: &[Push]) -> Vec<Result<Pushed>> {
        let answers = self.0.call(|| Ok(self.0.inner.push(batch)));
        answers.unwrap_or_else(|error| vec![Err(error); batch.len()])
    }

    fn settle(&self, batch: &[Settlement]) -> Result<Vec<Settled>> {
        self.0.call(|| self.0.inner.settle(batch))
    }

    fn campaign(&self, queue: &QueueName, wake: Wake) -> Box<dyn Campaign> {
        let inner = self.0.inner.campaign(queue, wake.clone());
        let queue = Arc::clone(queue);
        let shared = Arc::clone(&self.0);
        Box::new(FailingCampaign { shared, queue, wake, inner: Mutex::new(Some(inner)) })
    }
}

struct FailingCampaign {
    shared: Arc<Shared>,
    queue: QueueName,
    wake: Wake,
    inner: Mutex<Option<Box<dyn Campaign>>>,
}

impl Campaign for FailingCampaign {
    /// Called by the thread that grabs, so that nothing is grabbed meanwhile but by a push.
    fn lease(&self) -> Option<Arc<dyn Lease>> {
        let mut inner = lock(&self.inner);
        let lease = inner.as_ref()?.lease();
        if lease.is_some() && self.shared.loses_lease() {
            self.shared.lost_leases.fetch_add(1, Ordering::SeqCst);
            let _nothing_is_pushed = lock(&self.shared.pushing_grabbed);
            let in_hand = self.shared.inner.jobs(&self.queue, Listing::Grabbed, &ALL).unwrap();
            for job in in_hand {
                *lock(&self.shared.at_risk).entry(job.payload).or_default() += 1;
            }
            // Another node has it before this one stands again.
            *inner = None;
            *inner = Some(self.shared.inner.campaign(&self.queue, self.wake.clone()));
            return None;
        }
        let shared = Arc::clone(&self.shared);
        lease.map(|lease| -> Arc<dyn Lease> { Arc::new(FailingLease { shared, inner: lease }) })
    }
}

struct FailingLease {
    shared: Arc<Shared>,
    inner: Arc<dyn Lease>,
}

impl Lease for FailingLease {
    fn token(&self) -> Token {
        self.inner.token()
    }

    fn is_held(&self) -> bool {
        self.inner.is_held()
    }

    fn grab(&self, room: usize) -> Result<Vec<Job>> {
        self.shared.call(|| self.inner.grab(room))
    }

    fn push_grabbed(&self, batch: &[Push]) -> Result<Option<Vec<Pushed>>> {
        let _not_while_it_is_lost = lock(&self.shared.pushing_grabbed);
        self.shared.call(|| self.inner.push_grabbed(batch))
    }

    fn recover(&self, known: &dyn Fn(JobId, Token) -> bool) -> Result<u64> {
        self.shared.call(|| self.inner.recover(known))
    }

    fn put_back(&self, jobs: &[JobId]) -> Result<()> {
        self.shared.call(|| self.inner.put_back(jobs))
    }
}

impl Inspection for Failing {
    fn jobs(&self, queue: &str, listing: Listing, page: &Page) -> Result<Vec<Job>> {
        self.0.inner.jobs(queue, listing, page)
    }

    fn job(&self, queue: &str, id: JobId) -> Result<Option<Job>> {
        self.0.inner.job(queue, id)
    }

    fn delete_job(&self, queue: &str, id: JobId) -> Result<Option<Job>> {
        self.0.inner.delete_job(queue, id)
    }

    fn backlogs(&self, queues: &[QueueName], most: u64) -> Result<Vec<Option<Backlog>>> {
        self.0.inner.backlogs(queues, most)
    }

    fn holder(&self, queue: &str) -> Result<Option<Holder>> {
        self.0.inner.holder(queue)
    }
}

impl FailureLog for Failing {
    fn failures(&self, queue: &str, order: FailureOrder, page: &Page) -> Result<Vec<Failure>> {
        self.0.inner.failures(queue, order, page)
    }

    fn failure_heads(
        &self,
        queue: &str,
        order: FailureOrder,
        page: &Page,
        with_results: bool,
    ) -> Result<Vec<FailureHead>> {
        self.0.inner.failure_heads(queue, order, page, with_results)
    }

    fn failures_by_id(&self, queue: &str, ids: &[u64]) -> Result<Vec<Failure>> {
        self.0.inner.failures_by_id(queue, ids)
    }

    fn failure(&self, queue: &str, id: u64) -> Result<Option<Failure>> {
        self.0.inner.failure(queue, id)
    }

    fn delete_failure(&self, queue: &str, id: u64) -> Result<Option<Failure>> {
        self.0.inner.delete_failure(queue, id)
    }

    fn delete_failures(&self, queue: &str, ids: &[u64]) -> Result<u64> {
        self.0.inner.delete_failures(queue, ids)
    }

    fn retry_failures(&self, queue: &str, ids: &[u64], changes: &JobChanges) -> Result<RetryBatch> {
        self.0.inner.retry_failures(queue, ids, changes)
    }

    fn oldest_failures(&self, queue: &str, limit: usize) -> Result<Vec<(u64, u64)>> {
        self.0.inner.oldest_failures(queue, limit)
    }

    fn failures_beyond(&self, queue: &str, keep: u64, limit: u64) -> Result<u64> {
        self.0.inner.failures_beyond(queue, keep, limit)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
