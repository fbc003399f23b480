//! Who may run a queue's jobs, where one process has a store for itself: whoever stood for it
//! first and has not withdrawn.
//!
//! A lease is granted at once and lost only by withdrawing, or for good when the process no longer
//! has the store. Whatever a lease does that another holder would notice, the store does one thing
//! after the other, after a look at that place whether the lease still stands: a successor's first
//! recovery sees all of it or prevents it.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::job::{Job, JobId};
use crate::store::{Campaign, Holder, Lease, Push, Pushed, QueueName, StoreError, Token};
use crate::wake::Wake;

/// Rows put back at a time, so that a recovery keeps nobody waiting for long.
const RECOVERY_BATCH: usize = 1000;

/// What a lease does to the rows of its queue. Each method takes effect as a whole, and none
/// while another one does.
pub(super) trait LeasedRows: Send + Sync + 'static {
    /// Who leads which queue of this store.
    fn elections(&self) -> &Elections;

    /// Takes up to `room` due jobs, by `next_try`, then id, if the lease stands.
    fn grab(
        &self,
        queue: &QueueName,
        room: usize,
        standing: &Standing,
    ) -> Result<Vec<Job>, StoreError>;

    /// Stores new jobs as grabbed, if the lease stands and no other job is due; see
    /// [`Lease::push_grabbed`].
    fn push_grabbed(
        &self,
        queue: &QueueName,
        batch: &[Push],
        standing: &Standing,
    ) -> Result<Option<Vec<Pushed>>, StoreError>;

    /// The grabbed rows and under which token they are, by id.
    fn grabbed(&self, queue: &QueueName) -> Result<Vec<(JobId, Token)>, StoreError>;

    /// Puts back to waiting those that are still grabbed under these tokens, and answers how
    /// many; if the lease stands, where one is asked for.
    fn put_back(
        &self,
        queue: &QueueName,
        rows: &[(JobId, Token)],
        standing: Option<&Standing>,
    ) -> Result<u64, StoreError>;
}

/// Everybody who stands for a lease.
#[derive(Default)]
pub(super) struct Elections {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// For each queue the holder, then those who wait, in the order in which they came. Where
    /// nothing is granted, all wait.
    candidates: HashMap<QueueName, VecDeque<Arc<Candidate>>>,
    is_open: bool,
}

struct Candidate {
    queue: QueueName,
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

/// A candidate, to be asked whether its lease stands.
#[derive(Clone)]
pub(super) struct Standing(Arc<Candidate>);

impl Standing {
    /// The lease's token.
    pub(super) fn token(&self) -> Token {
        self.0.token
    }

    /// Whether the lease stands. To be asked where the rows are changed.
    ///
    /// # Errors
    /// It does not.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if self.0.is_holder() {
            return Ok(());
        }
        Err(StoreError::Unavailable(format!("the lease on queue {:?} has ended", self.0.queue)))
    }
}

impl Elections {
    /// Elections whose leases are granted at once.
    pub(super) fn opened() -> Elections {
        let elections = Elections::default();
        elections.open();
        elections
    }

    /// Begins to grant leases.
    pub(super) fn open(&self) {
        let mut state = self.state();
        state.is_open = true;
        let first = state.candidates.values().filter_map(|line| line.front());
        first.for_each(|candidate| candidate.grant());
    }

    /// Ends every lease; none is granted again to who stands by now.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.is_open = false;
        for candidate in state.candidates.values().flatten() {
            candidate.state.store(ENDED, Ordering::Release);
            candidate.wake.wake();
        }
        state.candidates.clear();
    }

    /// Who holds the queue's lease: this process, or nobody.
    pub(super) fn holder(&self, queue: &str) -> Option<Holder> {
        let state = self.state();
        let is_held = state.is_open && state.candidates.contains_key(queue);
        is_held.then(|| Holder { id: std::process::id().to_string(), host: "localhost".into() })
    }

    fn stand(&self, queue: &QueueName, wake: Wake) -> Arc<Candidate> {
        let (queue, token) = (Arc::clone(queue), draw_token());
        let candidate = Arc::new(Candidate { queue, token, state: AtomicU8::new(WAITING), wake });
        let mut state = self.state();
        let is_open = state.is_open;
        let line = state.candidates.entry(Arc::clone(&candidate.queue)).or_default();
        line.push_back(Arc::clone(&candidate));
        if is_open && line.len() == 1 {
            candidate.grant();
        }
        candidate
    }

    fn withdraw(&self, candidate: &Arc<Candidate>) {
        let mut state = self.state();
        let was_holder = candidate.state.swap(ENDED, Ordering::AcqRel) == HELD;
        let Some(line) = state.candidates.get_mut(&candidate.queue) else { return };
        line.retain(|other| !Arc::ptr_eq(other, candidate));
        match line.front() {
            Some(next) if was_holder => next.grant(),
            Some(_) => {}
            None => {
                state.candidates.remove(&candidate.queue);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stands for a queue's lease until the answer is dropped.
pub(super) fn campaign<R: LeasedRows>(
    rows: &Arc<R>,
    queue: &QueueName,
    wake: Wake,
) -> Box<dyn Campaign> {
    let candidate = rows.elections().stand(queue, wake);
    Box::new(LocalCampaign {
        lease: Arc::new(LocalLease { rows: Arc::clone(rows), standing: Standing(candidate) }),
    })
}

struct LocalCampaign<R: LeasedRows> {
    lease: Arc<LocalLease<R>>,
}

impl<R: LeasedRows> Campaign for LocalCampaign<R> {
    fn lease(&self) -> Option<Arc<dyn Lease>> {
        self.lease.is_held().then(|| Arc::clone(&self.lease) as Arc<dyn Lease>)
    }
}

impl<R: LeasedRows> Drop for LocalCampaign<R> {
    fn drop(&mut self) {
        self.lease.rows.elections().withdraw(&self.lease.standing.0);
    }
}

struct LocalLease<R: LeasedRows> {
    rows: Arc<R>,
    standing: Standing,
}

impl<R: LeasedRows> LocalLease<R> {
    fn queue(&self) -> &QueueName {
        &self.standing.0.queue
    }
}

impl<R: LeasedRows> Lease for LocalLease<R> {
    fn token(&self) -> Token {
        self.standing.token()
    }

    fn is_held(&self) -> bool {
        self.standing.0.is_holder()
    }

    fn grab(&self, room: usize) -> Result<Vec<Job>, StoreError> {
        self.rows.grab(self.queue(), room, &self.standing)
    }

    fn push_grabbed(&self, batch: &[Push]) -> Result<Option<Vec<Pushed>>, StoreError> {
        self.rows.push_grabbed(self.queue(), batch, &self.standing)
    }

    fn recover(&self, known: &dyn Fn(JobId, Token) -> bool) -> Result<u64, StoreError> {
        let mut stranded = self.rows.grabbed(self.queue())?;
        // Asked while no row is held: the caller may take locks of its own for the answer.
        stranded.retain(|&(id, token)| !known(id, token));
        let mut recovered = 0;
        for batch in stranded.chunks(RECOVERY_BATCH) {
            recovered += self.rows.put_back(self.queue(), batch, Some(&self.standing))?;
        }
        Ok(recovered)
    }

    fn put_back(&self, jobs: &[JobId]) -> Result<(), StoreError> {
        let token = self.token();
        let rows: Vec<(JobId, Token)> = jobs.iter().map(|&id| (id, token)).collect();
        self.rows.put_back(self.queue(), &rows, None).map(drop)
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
