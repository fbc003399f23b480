//! The jobs and failures of one queue. Pure: it is told what time it is.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, RangeInclusive};

use crate::job::{Failure, Job, JobId, JobStatus};
use crate::store::{
    Backlog, Direction, Listing, Page, Position, Pushed, Settled, Settlement, Step, Token,
};

/// A queue's rows. Every operation costs O(log n) a row that it touches, and a row that goes
/// gives back its memory.
#[derive(Default)]
pub(super) struct Rows {
    jobs: BTreeMap<JobId, Row>,
    /// The jobs that wait, due or not, by `next_try`.
    waiting: BTreeSet<Position>,
    /// The jobs that are grabbed, by `next_try`.
    grabbed: BTreeSet<Position>,
    last_job_id: JobId,
    pub(super) failures: BTreeMap<u64, Failure>,
    /// The failures by their jobs' `created_at`.
    pub(super) failures_by_creation: BTreeSet<Position>,
    pub(super) last_failure_id: u64,
}

struct Row {
    job: Job,
    /// Under which token it is grabbed; `None` while it waits.
    grabber: Option<Token>,
}

impl Row {
    fn position(&self) -> Position {
        Position { at_ms: self.job.next_try_ms, id: self.job.id }
    }
}

/// Jobs on their way.
impl Rows {
    /// Adds a job and gives it its id.
    pub(super) fn push(&mut self, job: Job) -> Pushed {
        self.add(job, None)
    }

    /// Adds a job that is grabbed already.
    pub(super) fn push_grabbed(&mut self, job: Job, token: Token) -> Pushed {
        self.add(job, Some(token))
    }

    fn add(&mut self, mut job: Job, grabber: Option<Token>) -> Pushed {
        self.last_job_id += 1;
        job.id = self.last_job_id;
        if grabber.is_some() {
            job.status = JobStatus::Grabbed;
        }
        let pushed = Pushed {
            id: job.id,
            created_at_ms: job.created_at_ms,
            next_try_ms: job.next_try_ms,
            is_grabbed: grabber.is_some(),
        };
        let row = Row { job, grabber };
        let positions = if grabber.is_some() { &mut self.grabbed } else { &mut self.waiting };
        positions.insert(row.position());
        self.jobs.insert(pushed.id, row);
        pushed
    }

    /// Whether a job that waits is due.
    pub(super) fn has_due(&self, now_ms: u64) -> bool {
        self.waiting.first().is_some_and(|first| first.at_ms <= now_ms)
    }

    /// Takes up to `room` due jobs.
    pub(super) fn grab(&mut self, room: usize, token: Token, now_ms: u64) -> Vec<Job> {
        let mut taken = Vec::with_capacity(room.min(self.waiting.len()));
        while taken.len() < room {
            let Some(first) = self.waiting.first().copied() else { break };
            if first.at_ms > now_ms {
                break;
            }
            self.waiting.remove(&first);
            let Some(row) = self.jobs.get_mut(&first.id) else { continue };
            row.grabber = Some(token);
            row.job.status = JobStatus::Grabbed;
            taken.push(row.job.clone());
            self.grabbed.insert(first);
        }
        taken
    }

    /// The jobs that are grabbed, and under which token, by id.
    pub(super) fn grabbed(&self) -> Vec<(JobId, Token)> {
        let mut grabbed: Vec<_> = self
            .grabbed
            .iter()
            .filter_map(|position| Some((position.id, self.jobs.get(&position.id)?.grabber?)))
            .collect();
        grabbed.sort_unstable_by_key(|&(id, _)| id);
        grabbed
    }

    /// Puts a job back to waiting as it is. Whether it was grabbed under `token`.
    pub(super) fn put_back(&mut self, id: JobId, token: Token) -> bool {
        self.release(id, token, |_| {})
    }

    /// Changes or removes the row of a job as its settlement says.
    pub(super) fn settle(&mut self, settlement: &Settlement, now_ms: u64) -> Settled {
        let Settlement { job_id, created_at_ms, token, fail_count, ref step, .. } = *settlement;
        let Some(row) = self.jobs.get(&job_id) else { return Settled::Gone };
        let ours = row.grabber == Some(token) && row.job.fail_count == fail_count;
        if row.job.created_at_ms != created_at_ms || !(ours || *step == Step::Complete) {
            return Settled::Gone;
        }
        match step {
            Step::Complete => {
                self.delete_job(job_id);
            }
            Step::Retry => {
                self.release(job_id, token, |job| {
                    job.next_try_ms = now_ms + u64::from(job.retry_delay_s) * 1000;
                    job.retry_count = job.retry_count.saturating_sub(1);
                    job.fail_count = job.fail_count.saturating_add(1);
                });
            }
            Step::Fail(result) => {
                if let Some(job) = self.delete_job(job_id) {
                    self.log_failure(job, result.clone(), now_ms);
                }
            }
        }
        Settled::Stored
    }

    /// Back to waiting, after a change. Whether it was grabbed under `token`.
    fn release(&mut self, id: JobId, token: Token, change: impl FnOnce(&mut Job)) -> bool {
        let Some(row) = self.jobs.get_mut(&id) else { return false };
        if row.grabber != Some(token) {
            return false;
        }
        self.grabbed.remove(&row.position());
        change(&mut row.job);
        row.grabber = None;
        row.job.status = JobStatus::Claimed;
        self.waiting.insert(row.position());
        true
    }
}

/// Looking at jobs.
impl Rows {
    pub(super) fn jobs(&self, listing: Listing, page: &Page, now_ms: u64) -> Vec<Job> {
        let (index, times_ms) = match listing {
            Listing::Grabbed => (&self.grabbed, 0..=u64::MAX),
            Listing::Waiting => (&self.waiting, 0..=now_ms),
            Listing::Deferred => (&self.waiting, now_ms.saturating_add(1)..=u64::MAX),
        };
        walk(index, &times_ms, page)
            .into_iter()
            .filter_map(|position| Some(self.jobs.get(&position.id)?.job.clone()))
            .collect()
    }

    pub(super) fn job(&self, id: JobId) -> Option<Job> {
        self.jobs.get(&id).map(|row| row.job.clone())
    }

    pub(super) fn delete_job(&mut self, id: JobId) -> Option<Job> {
        let row = self.jobs.remove(&id)?;
        let index = if row.grabber.is_some() { &mut self.grabbed } else { &mut self.waiting };
        index.remove(&row.position());
        Some(row.job)
    }

    /// How much there is to do. Counting is cheap here, and always complete.
    pub(super) fn backlog(&self, now_ms: u64, most: u64) -> Backlog {
        let waiting = count_due(&self.waiting, now_ms);
        let oldest = self.waiting.first().filter(|first| first.at_ms <= now_ms);
        Backlog {
            waiting: (waiting as u64).min(most),
            deferred: ((self.waiting.len() - waiting) as u64).min(most),
            running: (self.grabbed.len() as u64).min(most),
            failed: (self.failures.len() as u64).min(most),
            oldest_waiting_at_ms: oldest.map(|first| first.at_ms),
            oldest_waiting_ms: oldest.map_or(0, |first| now_ms - first.at_ms),
        }
    }
}

/// How many of these are due. Walks from both ends, and so as far as the fewer reach.
fn count_due(waiting: &BTreeSet<Position>, now_ms: u64) -> usize {
    let (mut from_first, mut from_last) = (waiting.iter(), waiting.iter().rev());
    for walked in 0.. {
        if from_first.next().is_none_or(|position| position.at_ms > now_ms) {
            return walked;
        }
        if from_last.next().is_none_or(|position| position.at_ms <= now_ms) {
            return waiting.len() - walked;
        }
    }
    0
}

/// The positions of `page` among those of `index` whose time lies in `times_ms`.
pub(super) fn walk(
    index: &BTreeSet<Position>,
    times_ms: &RangeInclusive<u64>,
    page: &Page,
) -> Vec<Position> {
    let first = Position { at_ms: *times_ms.start(), id: 0 };
    let last = Position { at_ms: *times_ms.end(), id: u64::MAX };
    // Only the near end is a bound of the range; a range whose ends have crossed would panic.
    match page.direction {
        Direction::Ascending => {
            let start = match page.after {
                Some(after) if after >= first => Bound::Excluded(after),
                _ => Bound::Included(first),
            };
            let positions = index.range((start, Bound::Unbounded));
            positions.take_while(|&&position| position <= last).take(page.limit).copied().collect()
        }
        Direction::Descending => {
            let end = match page.after {
                Some(after) if after <= last => Bound::Excluded(after),
                _ => Bound::Included(last),
            };
            let positions = index.range((Bound::Unbounded, end)).rev();
            positions.take_while(|&&position| position >= first).take(page.limit).copied().collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: Token = Token(7);

    fn job(next_try_ms: u64) -> Job {
        Job {
            id: 0,
            category: "c".into(),
            url: "http://localhost/".into(),
            payload: vec![b'x'; 1000],
            status: JobStatus::Claimed,
            created_at_ms: 5,
            next_try_ms,
            retry_count: 0,
            retry_delay_s: 0,
            fail_count: 0,
            timeout_s: 0,
        }
    }

    fn settlement(job: &Job, step: Step) -> Settlement {
        let Job { id: job_id, created_at_ms, fail_count, .. } = *job;
        Settlement { queue: "q".into(), job_id, created_at_ms, token: TOKEN, fail_count, step }
    }

    #[test]
    fn rows_that_go_leave_nothing_behind() {
        let mut rows = Rows::default();
        for next_try_ms in [1, 1, 1, 3, 3] {
            rows.push(job(next_try_ms));
        }
        let grabbed = rows.grab(10, TOKEN, 2);
        for (job, step) in
            grabbed.iter().zip([Step::Complete, Step::Retry, Step::Fail(vec![b'x'; 1000])])
        {
            assert_eq!(rows.settle(&settlement(job, step), 2), Settled::Stored);
        }
        for job in rows.grab(2, TOKEN, 2) {
            rows.put_back(job.id, TOKEN);
        }
        for id in 1..=5 {
            rows.delete_job(id);
        }
        rows.delete_failure(1);
        let Rows { jobs, waiting, grabbed, failures, failures_by_creation, .. } = rows;
        assert!(jobs.is_empty() && waiting.is_empty() && grabbed.is_empty());
        assert!(failures.is_empty() && failures_by_creation.is_empty());
    }

    #[test]
    fn what_is_due_is_counted_from_either_end() {
        for (due, deferred) in [(0, 0), (0, 3), (3, 0), (1, 5), (5, 1), (2, 2), (2, 3), (3, 2)] {
            let times = (0..due).chain(100..100 + deferred);
            let waiting = times.map(|at_ms| Position { at_ms, id: at_ms }).collect();
            assert_eq!(count_due(&waiting, 50), due as usize, "{due} due, {deferred} deferred");
        }
    }

    #[test]
    fn what_is_due_depends_on_the_time_alone() {
        let mut rows = Rows::default();
        rows.push(job(20));
        rows.push(job(10));
        assert_eq!(rows.grab(9, TOKEN, 9), []);
        let due = |jobs: Vec<Job>| jobs.iter().map(|job| job.next_try_ms).collect::<Vec<_>>();
        assert_eq!(due(rows.grab(9, TOKEN, 10)), [10]);
        assert_eq!(due(rows.grab(9, TOKEN, 20)), [20]);
    }
}
