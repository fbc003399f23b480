//! `fireworq copy`: the definitions, jobs and failures of one store into another.
//!
//! The rows keep their ids, so that a worker recognises a job that it has seen. They are copied in
//! the order of their ids, a page in one commit; a copy that was interrupted goes on behind the
//! last row that arrived. The source stays as it is, but for jobs that a dead node had left
//! grabbed: they go back to waiting.
//!
//! While it runs, the copy holds the leases of all queues of both stores, so that no node runs
//! their jobs. It never makes a job run twice: where the target has rows that are not the source's,
//! or lacks some that it must have had, somebody has used it, and nothing is copied.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Settings;
use crate::job::{Failure, Job, JobStatus};
use crate::store::{
    self, Campaign, LastIds, Lease, QueueName, Snapshot, Store, StoreError, Transfer,
};
use crate::wake::Wake;

/// Rows of one commit.
const PAGE_ROWS: usize = 500;
/// Rows that are read at first; large ones make a page end there.
const SMALL_PAGE_ROWS: usize = 16;
/// Payloads beyond which a page is read in small pieces, in bytes.
const PAGE_BYTES: usize = 4 << 20;
/// How long the leases of a store that nobody uses may take to be granted.
const LEASE_PATIENCE: Duration = Duration::from_secs(5);

/// What was copied, or had been copied before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Queues defined in the target.
    pub queues: usize,
    /// Routings defined in the target.
    pub routings: usize,
    /// Routings left out: their queue was deleted, and they have led nowhere since.
    pub routings_left_out: usize,
    /// Jobs in the target.
    pub jobs: u64,
    /// Failures in the target.
    pub failures: u64,
}

impl fmt::Display for Copied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Copied { queues, routings, routings_left_out, jobs, failures } = self;
        write!(f, "{jobs} jobs, {failures} failures, {queues} queues, {routings} routings")?;
        match routings_left_out {
            0 => Ok(()),
            count => write!(f, " ({count} that lead to deleted queues left out)"),
        }
    }
}

/// Why nothing, or not everything, was copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyError {
    /// Somebody runs jobs of one of the stores.
    InUse(String),
    /// The target holds what does not come from the source.
    Differs(String),
    /// A store failed.
    Store(StoreError),
    /// A store keeps nothing that could be copied.
    NotPossible(String),
}

impl fmt::Display for CopyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CopyError::InUse(text) | CopyError::Differs(text) | CopyError::NotPossible(text) => {
                f.write_str(text)
            }
            CopyError::Store(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for CopyError {}

impl From<StoreError> for CopyError {
    fn from(error: StoreError) -> CopyError {
        CopyError::Store(error)
    }
}

/// [`copy`] from the store of some settings into that of others.
///
/// # Errors
/// See [`CopyError`].
pub fn run(
    from: &Settings,
    to: &Settings,
    progress: &mut dyn FnMut(&Copied),
) -> Result<Copied, CopyError> {
    let open =
        |settings| store::open(settings).map_err(|error| CopyError::NotPossible(error.to_string()));
    let (from, to) = (open(from)?, open(to)?);
    let copied = copy(&*from, &*to, progress);
    from.close();
    to.close();
    copied
}

/// Copies everything of `from` into `to`, and tells `progress` what has arrived so far.
///
/// # Errors
/// See [`CopyError`]. What was copied before stays, and a new attempt goes on from there.
pub fn copy(
    from: &dyn Store,
    to: &dyn Store,
    progress: &mut dyn FnMut(&Copied),
) -> Result<Copied, CopyError> {
    let not_possible = |store: &dyn Store| {
        CopyError::NotPossible(format!("there is nothing to copy: {}", store.describe()))
    };
    let source = from.transfer().ok_or_else(|| not_possible(from))?;
    let target = to.transfer().ok_or_else(|| not_possible(to))?;
    let definitions = from.definitions()?;
    let held = Held::of(from, &definitions, "the source")?;
    let held_in_target = Held::of(to, &to.definitions()?, "the target")?;
    let mut copied = copy_definitions(&definitions, to)?;
    // Until the end: a node that is started meanwhile stands by.
    let _held_new = Held::of_others(to, &definitions, "the target", &held_in_target)?;
    for (queue, lease) in &held.leases {
        lease.recover(&|_, _| false)?;
        copy_queue(queue, source, target, &mut copied, progress)?;
    }
    Ok(copied)
}

fn copy_definitions(definitions: &Snapshot, to: &dyn Store) -> Result<Copied, CopyError> {
    let mut copied = Copied::default();
    for queue in &definitions.queues {
        to.put_queue(queue)?;
        copied.queues += 1;
    }
    for routing in &definitions.routings {
        match to.put_routing(routing) {
            Ok(()) => copied.routings += 1,
            Err(StoreError::NotFound(_)) => copied.routings_left_out += 1,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(copied)
}

/// The leases of a store's queues.
struct Held {
    leases: BTreeMap<QueueName, Arc<dyn Lease>>,
    /// Dropping them gives up the leases.
    _campaigns: Vec<Box<dyn Campaign>>,
}

impl Held {
    fn of(store: &dyn Store, definitions: &Snapshot, which: &str) -> Result<Held, CopyError> {
        let nothing = Held { leases: BTreeMap::new(), _campaigns: Vec::new() };
        Held::of_others(store, definitions, which, &nothing)
    }

    /// Those of the queues that are not in `held` yet.
    fn of_others(
        store: &dyn Store,
        definitions: &Snapshot,
        which: &str,
        held: &Held,
    ) -> Result<Held, CopyError> {
        let (wake, woken) = Wake::channel();
        let names = definitions.queues.iter().map(|queue| QueueName::from(queue.name.as_str()));
        let campaigns: Vec<(QueueName, Box<dyn Campaign>)> = names
            .filter(|name| !held.leases.contains_key(name))
            .map(|name| (Arc::clone(&name), store.campaign(&name, wake.clone())))
            .collect();
        let deadline = Instant::now() + LEASE_PATIENCE;
        let mut leases = BTreeMap::new();
        for (name, campaign) in &campaigns {
            let lease = loop {
                if let Some(lease) = campaign.lease() {
                    break lease;
                }
                if Instant::now() >= deadline {
                    return Err(in_use(store, name, which));
                }
                let _ = woken.recv_timeout(Duration::from_millis(50));
            };
            leases.insert(Arc::clone(name), lease);
        }
        let _campaigns = campaigns.into_iter().map(|(_, campaign)| campaign).collect();
        Ok(Held { leases, _campaigns })
    }
}

fn in_use(store: &dyn Store, queue: &str, which: &str) -> CopyError {
    let by = match store.holder(queue) {
        Ok(Some(holder)) => format!("session {} from {}", holder.id, holder.host),
        _ => "somebody".to_owned(),
    };
    CopyError::InUse(format!(
        "{which} is in use: {by} runs the jobs of queue {queue}; stop every node on it first"
    ))
}

/// A row that is copied.
trait Row: PartialEq + Clone {
    const WHAT: &'static str;
    fn id(&self) -> u64;
    fn bytes(&self) -> usize;
    fn last_id(ids: &LastIds) -> u64;
    fn read(
        store: &dyn Transfer,
        queue: &str,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Self>, StoreError>;
    fn write(store: &dyn Transfer, queue: &str, rows: &[Self]) -> Result<(), StoreError>;
    fn count(copied: &mut Copied) -> &mut u64;
}

impl Row for Job {
    const WHAT: &'static str = "job";

    fn id(&self) -> u64 {
        self.id
    }

    fn bytes(&self) -> usize {
        self.payload.len()
    }

    fn last_id(ids: &LastIds) -> u64 {
        ids.job
    }

    fn read(
        store: &dyn Transfer,
        queue: &str,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Job>, StoreError> {
        let mut jobs = store.jobs_after(queue, after, limit)?;
        jobs.iter_mut().for_each(|job| job.status = JobStatus::Claimed);
        Ok(jobs)
    }

    fn write(store: &dyn Transfer, queue: &str, rows: &[Job]) -> Result<(), StoreError> {
        store.import_jobs(queue, rows)
    }

    fn count(copied: &mut Copied) -> &mut u64 {
        &mut copied.jobs
    }
}

impl Row for Failure {
    const WHAT: &'static str = "failure";

    fn id(&self) -> u64 {
        self.id
    }

    fn bytes(&self) -> usize {
        self.payload.len() + self.result.len()
    }

    fn last_id(ids: &LastIds) -> u64 {
        ids.failure
    }

    fn read(
        store: &dyn Transfer,
        queue: &str,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Failure>, StoreError> {
        store.failures_after(queue, after, limit)
    }

    fn write(store: &dyn Transfer, queue: &str, rows: &[Failure]) -> Result<(), StoreError> {
        store.import_failures(queue, rows)
    }

    fn count(copied: &mut Copied) -> &mut u64 {
        &mut copied.failures
    }
}

fn copy_queue(
    queue: &str,
    source: &dyn Transfer,
    target: &dyn Transfer,
    copied: &mut Copied,
    progress: &mut dyn FnMut(&Copied),
) -> Result<(), CopyError> {
    copy_rows::<Job>(queue, source, target, copied, progress)?;
    copy_rows::<Failure>(queue, source, target, copied, progress)
}

fn copy_rows<R: Row>(
    queue: &str,
    source: &dyn Transfer,
    target: &dyn Transfer,
    copied: &mut Copied,
    progress: &mut dyn FnMut(&Copied),
) -> Result<(), CopyError> {
    let arrived = R::last_id(&target.last_ids(queue)?);
    if arrived > R::last_id(&source.last_ids(queue)?) {
        return Err(used(queue, R::WHAT, arrived));
    }
    let mut after = 0;
    loop {
        let rows = read_page::<R>(source, queue, after)?;
        // What an earlier attempt has copied must still be there, and nothing else.
        let (before, new) = rows.split_at(rows.partition_point(|row| row.id() <= arrived));
        let end = before.last().map(Row::id).filter(|_| new.is_empty() && !rows.is_empty());
        if read_range::<R>(target, queue, after, end.unwrap_or(arrived))? != before {
            return Err(used(queue, R::WHAT, arrived));
        }
        let Some(last) = rows.last().map(Row::id) else { return Ok(()) };
        if !new.is_empty() {
            R::write(target, queue, new)?;
        }
        *R::count(copied) += rows.len() as u64;
        progress(copied);
        after = last;
    }
}

fn used(queue: &str, what: &str, id: u64) -> CopyError {
    CopyError::Differs(format!(
        "queue {queue}: the target has had a {what} {id} already, and what it has is not what the \
         source has up to there: it has been used by itself or since an earlier copy. Nothing is \
         copied twice; choose an empty target"
    ))
}

/// The next rows of a store, as many as fit a commit.
fn read_page<R: Row>(store: &dyn Transfer, queue: &str, after: u64) -> Result<Vec<R>, StoreError> {
    let rows = R::read(store, queue, after, SMALL_PAGE_ROWS)?;
    let bytes: usize = rows.iter().map(Row::bytes).sum();
    if rows.len() < SMALL_PAGE_ROWS || bytes > PAGE_BYTES * SMALL_PAGE_ROWS / PAGE_ROWS {
        return Ok(rows);
    }
    R::read(store, queue, after, PAGE_ROWS)
}

/// All rows of a store whose ids are above `after` and not above `end`.
fn read_range<R: Row>(
    store: &dyn Transfer,
    queue: &str,
    after: u64,
    end: u64,
) -> Result<Vec<R>, StoreError> {
    let mut rows = Vec::new();
    let mut at = after;
    while at < end {
        let page = read_page::<R>(store, queue, at)?;
        let Some(last) = page.last().map(Row::id) else { return Ok(rows) };
        rows.extend(page.into_iter().filter(|row| row.id() <= end));
        at = last;
    }
    Ok(rows)
}
