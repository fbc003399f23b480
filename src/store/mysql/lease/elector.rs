//! The front of the election: what the store calls. The work is done by the threads behind it.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};

use super::candidate::{Candidate, QueueCampaign};
use super::hang_up::HangUp;
use super::hold::{self, Holding};
use super::name::Naming;
use super::session;
use super::terms::Terms;
use super::token::TokenSource;
use super::wait::Waiter;
use crate::store::mysql::connector::Connector;
use crate::store::mysql::pool::Pool;
use crate::store::{Campaign, Holder, QueueName, StoreError};
use crate::wake::Wake;

/// How long a stop leaves the holder to end by itself, which takes a millisecond unless the
/// server is silent.
const STOP_PATIENCE: Duration = Duration::from_millis(500);

/// Stands for the leases of all queues of one database. Owns two threads and two sessions.
pub struct Elector {
    shared: Arc<Shared>,
    pool: Arc<Pool>,
    naming: Naming,
    thread: Mutex<Option<HoldThread>>,
}

struct HoldThread {
    thread: JoinHandle<()>,
    hang_up: Arc<HangUp>,
    /// Disconnected when the thread ends.
    ended: Receiver<()>,
}

/// What callers and the holding thread share.
pub(super) struct Shared {
    joining: Mutex<Vec<Arc<Candidate>>>,
    closing: AtomicBool,
    waker: mio::Waker,
}

impl Elector {
    /// Starts it. No server needs to be there yet.
    ///
    /// `lock_compat`: locks are named as nodes of the original name them. `lease_time`: whole
    /// seconds; at least two.
    ///
    /// # Errors
    /// The operating system refuses a thread, a descriptor or randomness.
    pub fn start(
        connector: Arc<Connector>,
        pool: Arc<Pool>,
        lock_compat: bool,
        lease_time: Duration,
    ) -> io::Result<Elector> {
        let naming = if lock_compat { Naming::Original } else { Naming::Own };
        let terms = Terms::of(lease_time);
        let poll = mio::Poll::new()?;
        let shared = Arc::new(Shared {
            joining: Mutex::default(),
            closing: AtomicBool::new(false),
            waker: mio::Waker::new(poll.registry(), hold::WAKE)?,
        });
        let waiter = Waiter::start(Arc::clone(&connector), Arc::clone(&shared))?;
        let hang_up = Arc::new(HangUp::default());
        let tokens = TokenSource::new()?;
        let holding = Holding::new(hold::Setup {
            shared: Arc::clone(&shared),
            connector,
            pool: Arc::clone(&pool),
            naming,
            terms,
            poll,
            waiter,
            hang_up: Arc::clone(&hang_up),
            tokens,
        });
        let (alive, ended) = bounded(0);
        let thread =
            std::thread::Builder::new().name("lease-hold".to_owned()).spawn(move || {
                // Dropped when the thread ends, however it ends.
                let _alive: crossbeam_channel::Sender<()> = alive;
                holding.run();
            })?;
        let thread = Mutex::new(Some(HoldThread { thread, hang_up, ended }));
        Ok(Elector { shared, pool, naming, thread })
    }

    /// Stands for a queue's lease until the answer is dropped. `wake` is called when the lease
    /// is granted and when it is lost.
    pub fn campaign(&self, queue: &QueueName, wake: Wake) -> Box<dyn Campaign> {
        let candidate = Arc::new(Candidate::new(Arc::clone(queue), wake));
        self.shared.join(Arc::clone(&candidate));
        Box::new(QueueCampaign { candidate, shared: Arc::clone(&self.shared) })
    }

    /// Who holds the queue's lock, on whichever node; `None` if nobody does. The host is empty
    /// where the server does not show other users' sessions.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub fn holder(&self, queue: &str) -> Result<Option<Holder>, StoreError> {
        self.pool.with(|pooled| session::holder(pooled, self.naming, queue))
    }

    /// Ends all leases, the sessions and the threads. Again, it does nothing.
    pub fn close(&self) {
        self.shared.closing.store(true, Ordering::Release);
        self.shared.wake();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(HoldThread { thread, hang_up, ended }) = thread else { return };
        // Nothing is ever sent: either the thread has ended, or it waits for a silent server.
        let _ = ended.recv_timeout(STOP_PATIENCE);
        hang_up.hang_up();
        if thread.join().is_err() {
            log::error!("The thread that holds the locks of queues has panicked.");
        }
    }
}

impl Drop for Elector {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    /// Makes the holding thread look around.
    pub(super) fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            // It looks around by itself within a second.
            log::warn!("The thread that holds the locks of queues cannot be woken: {error}");
        }
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Those who began to stand since the last call.
    pub(super) fn take_joining(&self) -> Vec<Arc<Candidate>> {
        std::mem::take(&mut *self.joining.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn join(&self, candidate: Arc<Candidate>) {
        self.joining.lock().unwrap_or_else(PoisonError::into_inner).push(candidate);
        self.wake();
    }
}
