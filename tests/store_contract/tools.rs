//! What the properties say again and again.

use std::sync::Arc;

use crossbeam_channel::Receiver;
use fireworq::job::{Failure, Job, NewJob};
use fireworq::queue_definition::QueueDefinition;
use fireworq::store::{
    Campaign, Direction, FailureOrder, Lease, Listing, Page, Position, Push, Pushed, QueueName,
    Settled, Settlement, Step, Store, StoreError, Token,
};
use fireworq::wake::Wake;

use crate::support::wait::{SOON, eventually, until};

/// The queue that most properties use.
pub const QUEUE: &str = "q";
/// A delay that no test lives through.
pub const HOUR_S: u64 = 3600;
/// All rows, as far as tests go.
pub const ALL: Page = Page { limit: 100_000, after: None, direction: Direction::Ascending };

/// A queue without a throttle.
pub fn queue(name: &str) -> QueueDefinition {
    QueueDefinition {
        name: name.to_owned(),
        polling_interval_ms: 200,
        max_workers: 20,
        max_dispatches_per_second: 0.0,
        max_burst_size: 0,
    }
}

/// Creates a queue.
pub fn define(store: &dyn Store, name: &str) {
    store.put_queue(&queue(name)).unwrap();
}

/// A job that is due at once and has one retry, due an hour later.
pub fn job() -> NewJob {
    NewJob {
        category: "c".into(),
        url: "http://localhost/".into(),
        payload: b"{\"a\": 1.0}".to_vec(),
        run_after_s: 0,
        timeout_s: 0,
        retry_delay_s: 3600,
        max_retries: 1,
    }
}

/// A job that is due after a delay.
pub fn job_after(run_after_s: u64) -> NewJob {
    NewJob { run_after_s, ..job() }
}

/// A job with this payload.
pub fn job_with(payload: impl Into<Vec<u8>>) -> NewJob {
    NewJob { payload: payload.into(), ..job() }
}

/// A row of a batch.
pub fn to(queue: &str, job: NewJob) -> Push {
    Push { queue: queue.into(), job: Arc::new(job) }
}

/// Stores one job.
#[track_caller]
pub fn push(store: &dyn Store, queue: &str, job: NewJob) -> Pushed {
    let mut answers = store.push(&[to(queue, job)]);
    assert_eq!(answers.len(), 1);
    answers.remove(0).unwrap()
}

/// Stores `count` jobs in one batch and answers their ids.
#[track_caller]
pub fn push_many(store: &dyn Store, queue: &str, count: usize, job: &NewJob) -> Vec<u64> {
    let batch = vec![to(queue, job.clone()); count];
    store.push(&batch).into_iter().map(|answer| answer.unwrap().id).collect()
}

/// A queue that a node leads.
pub struct Led {
    pub lease: Arc<dyn Lease>,
    /// Dropping it gives up the lease.
    _campaign: Box<dyn Campaign>,
}

/// Stands for a queue's lease.
pub fn campaign(store: &dyn Store, queue: &str) -> (Box<dyn Campaign>, Receiver<()>) {
    let (wake, woken) = Wake::channel();
    (store.campaign(&QueueName::from(queue), wake), woken)
}

/// Stands for a queue's lease and waits until it is granted.
#[track_caller]
pub fn lead(store: &dyn Store, queue: &str) -> Led {
    granted(campaign(store, queue).0)
}

/// Waits until the lease is granted.
#[track_caller]
pub fn granted(campaign: Box<dyn Campaign>) -> Led {
    let lease = eventually("the lease is granted", SOON, || campaign.lease());
    Led { lease, _campaign: campaign }
}

impl Led {
    /// Grabs what is due.
    #[track_caller]
    pub fn grab(&self) -> Vec<Job> {
        self.lease.grab(100_000).unwrap()
    }

    /// Grabs the one job that is due.
    #[track_caller]
    pub fn grab_one(&self) -> Job {
        let mut jobs = self.grab();
        assert_eq!(jobs.len(), 1, "jobs that are due");
        jobs.remove(0)
    }

    pub fn token(&self) -> Token {
        self.lease.token()
    }

    /// Stores what became of one job.
    #[track_caller]
    pub fn settle(&self, store: &dyn Store, queue: &str, job: &Job, step: Step) -> Settled {
        settle(store, settlement(queue, job, self.token(), step))
    }

    /// Moves a job that it grabbed to the failure log.
    #[track_caller]
    pub fn fail(&self, store: &dyn Store, queue: &str, job: &Job) {
        let step = Step::Fail(b"{}".to_vec());
        assert_eq!(self.settle(store, queue, job, step), Settled::Stored);
    }
}

/// What became of a job.
pub fn settlement(queue: &str, job: &Job, token: Token, step: Step) -> Settlement {
    let Job { id: job_id, created_at_ms, fail_count, .. } = *job;
    Settlement { queue: queue.into(), job_id, created_at_ms, token, fail_count, step }
}

/// Stores what became of one job.
#[track_caller]
pub fn settle(store: &dyn Store, settlement: Settlement) -> Settled {
    let answers = store.settle(&[settlement]).unwrap();
    assert_eq!(answers.len(), 1);
    answers[0]
}

/// The jobs of a queue that stand so.
#[track_caller]
pub fn listed(store: &dyn Store, queue: &str, listing: Listing) -> Vec<Job> {
    store.jobs(queue, listing, &ALL).unwrap()
}

/// How many jobs are waiting, deferred and grabbed.
#[track_caller]
pub fn counts(store: &dyn Store, queue: &str) -> (usize, usize, usize) {
    let count = |listing| listed(store, queue, listing).len();
    (count(Listing::Waiting), count(Listing::Deferred), count(Listing::Grabbed))
}

/// The failure log of a queue.
#[track_caller]
pub fn failures(store: &dyn Store, queue: &str) -> Vec<Failure> {
    store.failures(queue, FailureOrder::Failed, &ALL).unwrap()
}

/// Waits until the store's clock shows another millisecond than it does now.
#[track_caller]
pub fn tick(store: &dyn Store) {
    let now_ms = store.now_ms().unwrap();
    until("the clock goes on", SOON, || store.now_ms().unwrap() > now_ms);
}

/// Every row of a listing, page by page.
pub fn walk<T>(
    limit: usize,
    direction: Direction,
    position: impl Fn(&T) -> Position,
    mut page: impl FnMut(&Page) -> Vec<T>,
) -> Vec<T> {
    let mut rows = Vec::new();
    let mut after = None;
    loop {
        let next = page(&Page { limit, after, direction });
        assert!(next.len() <= limit, "a page of {} rows, limit {limit}", next.len());
        let Some(last) = next.last() else { return rows };
        after = Some(position(last));
        rows.extend(next);
        assert!(rows.len() <= ALL.limit, "the pages do not end");
    }
}

/// Where a job stands in its listing.
pub fn place(job: &Job) -> Position {
    Position { at_ms: job.next_try_ms, id: job.id }
}

/// The ids of jobs.
pub fn ids(jobs: &[Job]) -> Vec<u64> {
    jobs.iter().map(|job| job.id).collect()
}

/// Fails unless the answer is [`StoreError::NotFound`].
#[track_caller]
pub fn assert_not_found<T: std::fmt::Debug>(answer: Result<T, StoreError>) {
    assert!(matches!(answer, Err(StoreError::NotFound(_))), "{answer:?}");
}
