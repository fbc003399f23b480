//! Jobs and failures, which are copied in the same way.

use std::collections::VecDeque;

use super::held::Held;
use super::{Copied, CopyError, Source};
use crate::job::{Failure, Job, JobStatus};
use crate::store::{LastIds, StoreError, Transfer};

/// Rows that are read at once.
const PAGE_ROWS: usize = 500;
/// Rows that are read at first; large ones make a page end there.
const SMALL_PAGE_ROWS: usize = 16;
/// What the rows of one commit may take together, in bytes; one alone may take more.
const PAGE_BYTES: usize = 4 << 20;
/// The latest time that every store keeps. One that is later is taken for that.
const LATEST_MS: u64 = i64::MAX.cast_unsigned();

/// A row that is copied.
pub(super) trait Row: PartialEq + Sized {
    const WHAT: &'static str;
    fn id(&self) -> u64;
    fn bytes(&self) -> usize;
    /// Makes it equal to whatever a store may have made of it.
    fn level(&mut self);
    fn of(ids: &LastIds) -> u64;
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
        self.category.len() + self.url.len() + self.payload.len()
    }

    fn level(&mut self) {
        // Those that a dead node had left grabbed arrive as waiting ones.
        self.status = JobStatus::Claimed;
        self.next_try_ms = self.next_try_ms.min(LATEST_MS);
        self.created_at_ms = self.created_at_ms.min(LATEST_MS);
    }

    fn of(ids: &LastIds) -> u64 {
        ids.job
    }

    fn read(
        store: &dyn Transfer,
        queue: &str,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Job>, StoreError> {
        store.jobs_after(queue, after, limit)
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
        self.category.len() + self.url.len() + self.payload.len() + self.result.len()
    }

    fn level(&mut self) {
        self.failed_at_ms = self.failed_at_ms.min(LATEST_MS);
        self.created_at_ms = self.created_at_ms.min(LATEST_MS);
    }

    fn of(ids: &LastIds) -> u64 {
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

/// Looks whether the target has all rows of the source up to `arrived`, which are counted, and no
/// other ones, and whether it takes the rest.
///
/// # Errors
/// [`CopyError::Differs`], or that of a store.
pub(super) fn check<R: Row>(
    queue: &str,
    source: &dyn Transfer,
    target: &dyn Transfer,
    arrived: u64,
    copied: &mut Copied,
) -> Result<(), CopyError> {
    let mut theirs = All::<R>::of(target, queue);
    let (mut largest_bytes, mut largest_id) = (0, 0);
    for ours in All::<R>::of(source, queue) {
        let ours = ours?;
        if ours.id() <= arrived {
            if theirs.next().transpose()?.as_ref() != Some(&ours) {
                return Err(used::<R>(queue, ours.id()));
            }
            *R::count(copied) += 1;
        } else if ours.bytes() >= largest_bytes {
            (largest_bytes, largest_id) = (ours.bytes(), ours.id());
        }
    }
    if let Some(other) = theirs.next().transpose()? {
        return Err(used::<R>(queue, other.id()));
    }
    target
        .check_fit(largest_bytes)
        .map_err(|error| CopyError::NotPossible(about::<R>(queue, largest_id, &error)))
}

/// Why the target is taken for one that has been used.
pub(super) fn used<R: Row>(queue: &str, id: u64) -> CopyError {
    CopyError::Differs(about::<R>(
        queue,
        id,
        &"the target has, or lacks, what cannot come from a copy of this source: it has been used \
          by itself or since an earlier copy. Nothing is copied twice; choose an empty target",
    ))
}

fn about<R: Row>(queue: &str, id: u64, what: &dyn std::fmt::Display) -> String {
    format!("queue {queue}, {} {id}: {what}", R::WHAT)
}

/// Where rows come from and go to.
pub(super) struct Rows<'a> {
    pub(super) source: &'a Source<'a>,
    pub(super) target: &'a dyn Transfer,
    /// The leases of the target.
    pub(super) held: &'a Held,
    pub(super) copied: &'a mut Copied,
}

impl Rows<'_> {
    /// Copies the rows of a queue whose ids are above `after`.
    ///
    /// # Errors
    /// See [`CopyError`].
    pub(super) fn copy<R: Row>(
        &mut self,
        queue: &str,
        after: u64,
        progress: &mut dyn FnMut(&Copied),
    ) -> Result<(), CopyError> {
        let mut after = after;
        loop {
            let rows = read_page::<R>(self.source.rows, queue, after)?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.id();
            for piece in pieces(&rows) {
                self.source.held.check()?;
                self.held.check()?;
                R::write(self.target, queue, piece)?;
                *R::count(self.copied) += piece.len() as u64;
                progress(self.copied);
            }
        }
    }
}

/// Rows in pieces of a commit each.
fn pieces<R: Row>(rows: &[R]) -> impl Iterator<Item = &[R]> {
    let mut bytes = rows.first().map_or(0, Row::bytes);
    rows.chunk_by(move |_, next| {
        bytes += next.bytes();
        let fits = bytes <= PAGE_BYTES;
        if !fits {
            bytes = next.bytes();
        }
        fits
    })
}

/// The next rows of a store, not too many at once. A queue without tables has none.
fn read_page<R: Row>(store: &dyn Transfer, queue: &str, after: u64) -> Result<Vec<R>, StoreError> {
    let read = |limit| match R::read(store, queue, after, limit) {
        Err(StoreError::NotFound(_)) => Ok(Vec::new()),
        rows => rows,
    };
    let rows = read(SMALL_PAGE_ROWS)?;
    let bytes: usize = rows.iter().map(Row::bytes).sum();
    if rows.len() < SMALL_PAGE_ROWS || bytes > PAGE_BYTES * SMALL_PAGE_ROWS / PAGE_ROWS {
        return Ok(rows);
    }
    read(PAGE_ROWS)
}

/// All rows of a queue, made level.
struct All<'a, R> {
    store: &'a dyn Transfer,
    queue: &'a str,
    after: u64,
    page: VecDeque<R>,
}

impl<'a, R: Row> All<'a, R> {
    fn of(store: &'a dyn Transfer, queue: &'a str) -> All<'a, R> {
        All { store, queue, after: 0, page: VecDeque::new() }
    }
}

impl<R: Row> Iterator for All<'_, R> {
    type Item = Result<R, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.is_empty() {
            match read_page::<R>(self.store, self.queue, self.after) {
                Ok(rows) => self.page = rows.into(),
                Err(error) => return Some(Err(error)),
            }
        }
        let mut row = self.page.pop_front()?;
        self.after = row.id();
        row.level();
        Some(Ok(row))
    }
}
