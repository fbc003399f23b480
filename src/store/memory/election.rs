//! Who may run a queue's jobs: whoever stood for it first and has not withdrawn.
//!
//! There is one process, so a lease is granted at once and lost only by withdrawing. Whatever a
//! lease does that another holder would notice, it does under the lock of the rows, after a look
//! there whether it still stands: a successor's first recovery sees all of it or prevents it.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use crate::job::{Job, JobId};
use crate::store::{Campaign, Lease, QueueName, StoreError, Token};
use crate::wake::Wake;

use super::{Shared, lock};

/// Rows put back under one lock, so that a recovery keeps nobody waiting for long.
const RECOVERY_BATCH: usize = 1000;

/// Everybody who stands for a lease.
#[derive(Default)]
pub(super) struct Elections {
    /// For each queue the holder, then those who wait, in the order in which they came.
    candidates: Mutex<HashMap<QueueName, VecDeque<Arc<Candidate>>>>,
}

struct Candidate {
    token: Token,
    state: AtomicU8,
    wake: Wake,
}

const WAITING: u8 = 0;
const HELD: u8 = 1;
const ENDED: u8 = 2;

impl Candidate {
    fn is_holder(&self) -> bool {
        self.state.load(Ordering::Acquire) == HELD
    }

    fn grant(&self) {
        self.state.store(HELD, Ordering::Release);
        self.wake.wake();
    }
}

impl Elections {
    /// Whether somebody holds the queue's lease.
    pub(super) fn is_held(&self, queue: &str) -> bool {
        lock(&self.candidates).contains_key(queue)
    }

    fn stand(&self, queue: &QueueName, wake: Wake) -> Arc<Candidate> {
        let state = AtomicU8::new(WAITING);
        let candidate = Arc::new(Candidate { token: draw_token(), state, wake });
        let mut candidates = lock(&self.candidates);
        let line = candidates.entry(Arc::clone(queue)).or_default();
        line.push_back(Arc::clone(&candidate));
        if line.len() == 1 {
            candidate.grant();
        }
        candidate
    }

    fn withdraw(&self, queue: &QueueName, candidate: &Arc<Candidate>) {
        let mut candidates = lock(&self.candidates);
        let was_holder = candidate.state.swap(ENDED, Ordering::AcqRel) == HELD;
        let Some(line) = candidates.get_mut(queue) else { return };
        line.retain(|other| !Arc::ptr_eq(other, candidate));
        match line.front() {
            Some(next) if was_holder => next.grant(),
            Some(_) => {}
            None => {
                candidates.remove(queue);
            }
        }
    }
}

/// Stands for a queue's lease until the answer is dropped.
pub(super) fn campaign(shared: &Arc<Shared>, queue: &QueueName, wake: Wake) -> Box<dyn Campaign> {
    let candidate = shared.elections.stand(queue, wake);
    let (shared, queue) = (Arc::clone(shared), Arc::clone(queue));
    Box::new(MemoryCampaign { lease: Arc::new(MemoryLease { shared, queue, candidate }) })
}

struct MemoryCampaign {
    lease: Arc<MemoryLease>,
}

impl Campaign for MemoryCampaign {
    fn lease(&self) -> Option<Arc<dyn Lease>> {
        self.lease.is_held().then(|| Arc::clone(&self.lease) as Arc<dyn Lease>)
    }
}

impl Drop for MemoryCampaign {
    fn drop(&mut self) {
        self.lease.shared.elections.withdraw(&self.lease.queue, &self.lease.candidate);
    }
}

struct MemoryLease {
    shared: Arc<Shared>,
    queue: QueueName,
    candidate: Arc<Candidate>,
}

impl MemoryLease {
    /// To be asked under the lock of the rows.
    fn check_held(&self) -> Result<(), StoreError> {
        if self.is_held() {
            return Ok(());
        }
        Err(StoreError::Unavailable(format!("the lease on queue {:?} has ended", self.queue)))
    }
}

impl Lease for MemoryLease {
    fn token(&self) -> Token {
        self.candidate.token
    }

    fn is_held(&self) -> bool {
        self.candidate.is_holder()
    }

    fn grab(&self, room: usize) -> Result<Vec<Job>, StoreError> {
        let table = self.shared.table(&self.queue)?;
        let mut rows = lock(&table);
        self.check_held()?;
        Ok(rows.grab(room, self.token(), self.shared.clock.now_ms()))
    }

    fn recover(&self, known: &dyn Fn(JobId, Token) -> bool) -> Result<u64, StoreError> {
        let table = self.shared.table(&self.queue)?;
        let mut stranded = lock(&table).grabbed();
        // Asked outside the lock: the caller may take locks of its own for the answer.
        stranded.retain(|&(id, token)| !known(id, token));
        let mut recovered = 0;
        for batch in stranded.chunks(RECOVERY_BATCH) {
            let mut rows = lock(&table);
            self.check_held()?;
            for &(id, token) in batch {
                recovered += u64::from(rows.put_back(id, token));
            }
        }
        Ok(recovered)
    }

    fn put_back(&self, jobs: &[JobId]) -> Result<(), StoreError> {
        let table = self.shared.table(&self.queue)?;
        let mut rows = lock(&table);
        for &id in jobs {
            rows.put_back(id, self.token());
        }
        Ok(())
    }
}

/// A random token: 63 bits, not 0.
fn draw_token() -> Token {
    loop {
        // The standard library's only source of randomness: keys drawn for each hasher.
        let drawn = RandomState::new().build_hasher().finish() >> 1;
        if drawn != 0 {
            return Token(drawn);
        }
    }
}
