//! What a store does, in prose: the contract that every driver keeps.
//!
//! A store keeps the definitions of queues and routings, the jobs of every queue and the
//! failure log. It exists once it passes the shared suite (`tests/store_contract.rs`).
//!
//! - **Durable before the answer.** When [`Jobs::push`] or [`Jobs::settle`] returns `Ok` for a row,
//!   the change survives the death of the daemon at any later moment (the in-memory store,
//!   which keeps nothing, says so at start).
//! - **Batches are one commit.** The callers gather; the store makes one transaction of what it
//!   is given. A row that the store refuses fails alone, never its batch.
//! - **Ids** grow within a queue and are never given twice while the job may still be known.
//! - **Time** is the store's own clock, in milliseconds since 1970, so that nodes whose clocks
//!   differ agree on what is due.
//! - **Only the primary grabs.** [`Lease::grab`] exists only where a lease was granted, and a row
//!   that it grabs carries the lease's [`Token`].
//! - **Nothing blocks for ever.** Every call returns within bounds that the driver documents, with
//!   [`StoreError::Unavailable`] where it has to give up. After that error the caller knows nothing
//!   about whether the change was made.
//! - **Threads.** Every method may be called from any thread at the same time.

mod clock;
mod election;
mod failure_log;
pub mod memory;
pub mod mysql;
mod row;
mod sql;
pub mod sqlite;
mod transfer;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{ConfigError, Driver, Settings};
use crate::job::{Job, JobId, NewJob};
use crate::queue_definition::{QueueDefinition, Routing};
use crate::wake::Wake;

pub use failure_log::{
    FailureHead, FailureLog, FailureOrder, MAX_RETRY_BYTES, MAX_RETRY_ROWS, Retried, RetryBatch,
};
pub use transfer::{CopyNote, LastIds, Transfer};

/// The name of a queue, shared by everything that concerns it.
pub type QueueName = Arc<str>;

/// Opens the store that the settings ask for. It need not be reachable yet.
///
/// # Errors
/// A setting cannot be used, in words for the operator.
pub fn open(settings: &Settings) -> Result<Arc<dyn Store>, ConfigError> {
    match settings.driver {
        Driver::Mysql => Ok(Arc::new(mysql::MySqlStore::open(settings)?)),
        Driver::Sqlite => {
            let store = sqlite::SqliteStore::open(settings.sqlite_path.as_ref())?;
            Ok(Arc::new(store.with_queue_default(&settings.queue_default)))
        }
        Driver::InMemory => Ok(Arc::new(memory::MemoryStore::new())),
    }
}

/// Everything that the daemon needs of a store.
pub trait Store: Definitions + Jobs + Inspection + FailureLog {
    /// One line for the log at start: which store, where it lies, what it promises. No secret.
    fn describe(&self) -> String;

    /// The store's clock, in milliseconds since 1970.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    fn now_ms(&self) -> Result<u64, StoreError>;

    /// The way to copy this store's rows as they are; `None` for one that keeps nothing.
    fn transfer(&self) -> Option<&dyn Transfer> {
        None
    }

    /// Ends the store's threads and connections. Leases must have been dropped before.
    fn close(&self);
}

/// The definitions of queues and routings. Few, small, seldom changed.
pub trait Definitions: Send + Sync {
    /// What changes whenever a definition or routing does, on any node. Cheap.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    fn revision(&self) -> Result<Revision, StoreError>;

    /// All definitions as they stand: queues by name, routings by queue name, then category.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    fn definitions(&self) -> Result<Snapshot, StoreError>;

    /// Creates or replaces a queue, its tables included, and answers what is stored now. One
    /// that changes nothing leaves the revision alone.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where a new queue would share its tables with a differently
    /// named one; [`StoreError::Unavailable`].
    fn put_queue(&self, queue: &QueueDefinition) -> Result<QueueDefinition, StoreError>;

    /// Deletes a queue's definition and answers what it was; `None` if there was none. Its jobs,
    /// its failures and the routings to it stay.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    fn delete_queue(&self, name: &str) -> Result<Option<QueueDefinition>, StoreError>;

    /// Creates or replaces the routing of a category. One that changes nothing leaves the
    /// revision alone.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such queue; [`StoreError::Unavailable`].
    fn put_routing(&self, routing: &Routing) -> Result<(), StoreError>;

    /// Deletes the routing of a category and answers what it was; `None` if there was none.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    fn delete_routing(&self, category: &str) -> Result<Option<Routing>, StoreError>;
}

/// A state of the definitions: equal revisions mean equal definitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Revision {
    /// Counts the changes of queues.
    pub queues: u64,
    /// Counts the changes of routings.
    pub routings: u64,
}

/// All definitions at one revision, or a later one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Read before the rest, so that what changed meanwhile is seen as a change next time.
    pub revision: Revision,
    /// By name.
    pub queues: Vec<QueueDefinition>,
    /// By queue name, then category.
    pub routings: Vec<Routing>,
}

/// Jobs on their way: in at [`push`](Jobs::push), taken by [`Lease::grab`], out at
/// [`settle`](Jobs::settle).
pub trait Jobs: Send + Sync {
    /// Stores a batch of new jobs in one commit and answers for each, in the same order. The
    /// ids of one queue's jobs grow in the order of the batch.
    ///
    /// Each row's error is its own: [`StoreError::TooLarge`] or [`StoreError::Rejected`] for one
    /// that the store refuses, [`StoreError::NotFound`] where the queue has no tables,
    /// [`StoreError::Unavailable`] where it cannot be known whether it was stored.
    fn push(&self, batch: &[Push]) -> Vec<Result<Pushed, StoreError>>;

    /// Stores what became of grabbed jobs, in one transaction, and answers for each whether its
    /// row was still there and still ours.
    ///
    /// A completed job's row is deleted by id and creation time, whoever holds the lease now: it
    /// is done, and deleting it spares a duplicate. A retry or a failure changes the row only
    /// while it is grabbed under the settlement's token for the settlement's try. A failure is
    /// inserted into the failure log and deleted from the queue in the same transaction.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: nothing is known; settling the same batch again is safe.
    fn settle(&self, batch: &[Settlement]) -> Result<Vec<Settled>, StoreError>;

    /// Whether somebody kept the queue's table locked when it was last written to. Who writes for
    /// all queues leaves such a one to a thread of its own, which waits for the lock.
    fn is_stuck(&self, queue: &QueueName) -> bool {
        let _ = queue;
        false
    }

    /// Stands for a queue's lease until the answer is dropped. `wake` is called when the
    /// lease is granted and when it is lost.
    fn campaign(&self, queue: &QueueName, wake: Wake) -> Box<dyn Campaign>;
}

/// A job to be stored in a queue.
#[derive(Clone, Debug)]
pub struct Push {
    /// Which queue.
    pub queue: QueueName,
    /// What is stored. Shared, since a store may hand it to a thread of its own.
    pub job: Arc<NewJob>,
}

/// What the store gave a new job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Its id.
    pub id: JobId,
    /// When it was stored, by the store's clock.
    pub created_at_ms: u64,
    /// When it is due, likewise.
    pub next_try_ms: u64,
    /// Whether it is grabbed already, see [`Lease::push_grabbed`].
    pub is_grabbed: bool,
}

/// What became of a grabbed job.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// Its queue.
    pub queue: QueueName,
    /// Its id.
    pub job_id: JobId,
    /// Its creation time: with the id it names the row even if a server gives an id again.
    pub created_at_ms: u64,
    /// The token under which it was grabbed.
    pub token: Token,
    /// How many tries had failed when it was grabbed. With the token it names the try: a
    /// settlement that is repeated because its answer was lost is not taken for that of the next
    /// try, which the same lease may have begun meanwhile.
    pub fail_count: u32,
    /// What to do with its row.
    pub step: Step,
}

/// What a settlement does to a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Delete it: done.
    Complete,
    /// Back to waiting: due `retry_delay` from now, one try fewer, one failure more.
    Retry,
    /// Into the failure log, with this as its `result` (JSON text) and one failure more.
    Fail(Vec<u8>),
}

/// Whether a settlement found its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Yes, and it was changed.
    Stored,
    /// No: the job has another owner by now, or somebody deleted it. Leave it.
    Gone,
}

/// Who grabbed a row: drawn at random when a lease begins, never 0, at most 63 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub u64);

/// A node's standing for a queue's lease; dropping it withdraws and gives up the lease.
pub trait Campaign: Send {
    /// The lease, while this node holds one. Cheap; asks nobody.
    fn lease(&self) -> Option<Arc<dyn Lease>>;
}

/// The right to run a queue's jobs. Held by one node at a time; what that rests on is told by
/// each driver.
pub trait Lease: Send + Sync {
    /// What marks the rows grabbed under this lease.
    fn token(&self) -> Token;

    /// Whether it still stands, by this node's own knowledge and clock. Cheap; asks nobody.
    /// Once false, never true again. To be looked at before each job is started.
    fn is_held(&self) -> bool;

    /// Whether a [`grab`](Lease::grab) may find something, by a look at the store that is at most
    /// `max_age` old. True where that is not known. It spares idle queues a grab each.
    fn may_grab(&self, max_age: Duration) -> bool {
        let _ = max_age;
        true
    }

    /// Takes up to `room` due jobs, oldest `next_try` first, then lowest id.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: rows may have been grabbed all the same; the next
    /// [`recover`](Lease::recover) finds them, since this process does not know them.
    fn grab(&self, room: usize) -> Result<Vec<Job>, StoreError>;

    /// Stores new jobs of this queue, none with a delay, already grabbed under this lease, in one
    /// commit, provided that the lease stands and no job that waits is due: so nothing is
    /// overtaken. Answers for each, in the same order. `None` where it cannot be done: nothing is
    /// stored then, and [`Jobs::push`] may.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: rows may have been stored all the same; the next
    /// [`recover`](Lease::recover) finds them, since this process does not know them.
    fn push_grabbed(&self, batch: &[Push]) -> Result<Option<Vec<Pushed>>, StoreError>;

    /// Puts back to waiting the grabbed rows that nobody works on: those without a token, and
    /// those for which `known` says that this process does not have the job in hand under the
    /// row's token (which may be that of an earlier lease: what was started under it still runs).
    /// In batches, by id. Answers how many.
    ///
    /// Not to be called while a `grab` or a `push_grabbed` of the same lease runs: what it grabs is
    /// not yet known.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    fn recover(&self, known: &dyn Fn(JobId, Token) -> bool) -> Result<u64, StoreError>;

    /// Puts grabbed jobs back to waiting, unchanged, as if they had never been grabbed. Rows not
    /// grabbed under this token stay as they are.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    fn put_back(&self, jobs: &[JobId]) -> Result<(), StoreError>;
}

/// Looking into queues. Works for every queue that has tables, whether defined or not; a queue
/// without answers [`StoreError::NotFound`].
pub trait Inspection: Send + Sync {
    /// Up to `page.limit` jobs after `page.after`, by `next_try`, then id.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Unavailable`].
    fn jobs(&self, queue: &str, listing: Listing, page: &Page) -> Result<Vec<Job>, StoreError>;

    /// One job.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the queue, [`StoreError::Unavailable`].
    fn job(&self, queue: &str, id: JobId) -> Result<Option<Job>, StoreError>;

    /// Deletes a job and answers what it was.
    ///
    /// # Errors
    /// As [`job`](Inspection::job).
    fn delete_job(&self, queue: &str, id: JobId) -> Result<Option<Job>, StoreError>;

    /// How much there is to do in each of these queues, in their order; `None` for one without
    /// tables. No figure is counted beyond `most`, which bounds the cost.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], also where counting took too long.
    fn backlogs(&self, queues: &[QueueName], most: u64)
    -> Result<Vec<Option<Backlog>>, StoreError>;

    /// Who holds the queue's lease; `None` if nobody does.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    fn holder(&self, queue: &str) -> Result<Option<Holder>, StoreError>;
}

/// Which jobs to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// Running, or about to.
    Grabbed,
    /// Due, and not running yet.
    Waiting,
    /// Not yet due.
    Deferred,
}

/// A part of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// At most this many rows.
    pub limit: usize,
    /// Only rows after this one, in the order of the listing.
    pub after: Option<Position>,
    /// Which end comes first. Failures are always listed descending.
    pub direction: Direction,
}

/// Where a row stands in a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The row's time in the listing's order, in milliseconds since 1970.
    pub at_ms: u64,
    /// The row's id.
    pub id: u64,
}

/// Which end of a listing comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Oldest first.
    Ascending,
    /// Latest first.
    Descending,
}

/// How much there is to do in a queue, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Jobs that are due and not grabbed.
    pub waiting: u64,
    /// Jobs that are not yet due.
    pub deferred: u64,
    /// Jobs that are grabbed: running, or about to.
    pub running: u64,
    /// Failures in the failure log.
    pub failed: u64,
    /// When the job that waits longest was due, in milliseconds since 1970.
    pub oldest_waiting_at_ms: Option<u64>,
    /// How long it has been due, in milliseconds; 0 where no job is.
    pub oldest_waiting_ms: u64,
}

/// The node that holds a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// How the store calls the session that holds it.
    pub id: String,
    /// The host it comes from, without the port.
    pub host: String,
}

/// Why a store did not do what it was asked, split by what the caller can do about it. The texts
/// are for people, and hold no secret and no SQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// It cannot be reached or is not able to at the moment. Trying again may help.
    Unavailable(String),
    /// Another process has it; this one takes over when that one ends.
    Standby(String),
    /// The disk is full, and so it is not able to. Trying again may help once it has room.
    Full(String),
    /// The queue asked about is not there.
    NotFound(String),
    /// A row is too large for the store. The text names the limit.
    TooLarge(String),
    /// A definition would share its tables with another one.
    Conflict(String),
    /// The store refuses this row and always will.
    Rejected(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Unavailable(text)
            | StoreError::Standby(text)
            | StoreError::Full(text)
            | StoreError::NotFound(text)
            | StoreError::TooLarge(text)
            | StoreError::Conflict(text)
            | StoreError::Rejected(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for StoreError {}
