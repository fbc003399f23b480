//! Group commit of pushes: one thread (`intake`) for all queues of a store.
//!
//! It takes what has gathered while its last commit ran, at least one row and at most a bound,
//! stores it as one batch and answers each. Alone, a push waits for nobody; under load the rows
//! of a commit grow by themselves. No timer is involved (`doc/decisions/group-commit.md`).

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::store::{Push, Pushed, Store, StoreError};
use crate::threads;

/// Rows of one commit at the most: beyond a few hundred a commit gains nothing but latency.
const MAX_ROWS: usize = 512;
/// Bytes of one commit at the most, by what the rows carry.
const MAX_BYTES: usize = 4 << 20;
/// Pushes that may wait for the thread; further ones are refused at once.
const MAX_WAITING: usize = 100_000;

/// Told what became of a push. Called on the intake's thread: it must not block.
pub type PushDone = Box<dyn FnOnce(Push, Result<Pushed, StoreError>) + Send>;

struct Entry {
    push: Push,
    done: PushDone,
}

/// The way in for new jobs.
pub struct Intake {
    sender: Sender<Entry>,
    thread: JoinHandle<()>,
}

impl Intake {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system does not give a thread.
    pub fn start(store: Arc<dyn Store>) -> io::Result<Intake> {
        let (sender, receiver) = bounded(MAX_WAITING);
        let thread = threads::spawn("intake".to_owned(), move || run(&*store, &receiver))?;
        Ok(Intake { sender, thread })
    }

    /// Hands in a job. Never blocks; `done` is called after the commit, or at once where too
    /// many pushes are waiting.
    pub fn push(&self, push: Push, done: PushDone) {
        match self.sender.try_send(Entry { push, done }) {
            Ok(()) => {}
            Err(TrySendError::Full(entry)) => {
                let reason = format!("{MAX_WAITING} pushes are waiting for the store");
                (entry.done)(entry.push, Err(StoreError::Unavailable(reason)));
            }
            Err(TrySendError::Disconnected(entry)) => {
                let reason = "the daemon is stopping".to_owned();
                (entry.done)(entry.push, Err(StoreError::Unavailable(reason)));
            }
        }
    }

    /// Stores what is waiting and ends the thread; answers whether it ended by `deadline`.
    pub fn close(self, deadline: Instant) -> bool {
        drop(self.sender);
        threads::join_until(self.thread, deadline)
    }
}

fn run(store: &dyn Store, receiver: &Receiver<Entry>) {
    let mut batch = Vec::new();
    let mut waiting = Vec::new();
    while let Ok(first) = receiver.recv() {
        gather(first, receiver, &mut batch, &mut waiting);
        let results = store.push(&batch);
        debug_assert_eq!(results.len(), batch.len());
        for ((push, done), result) in batch.drain(..).zip(waiting.drain(..)).zip(results) {
            done(push, result);
        }
    }
}

/// Moves `first` and what else has gathered into a batch.
fn gather(
    first: Entry,
    receiver: &Receiver<Entry>,
    batch: &mut Vec<Push>,
    waiting: &mut Vec<PushDone>,
) {
    let mut bytes = 0;
    let mut next = Some(first);
    while let Some(entry) = next {
        bytes += entry.push.job.payload.len() + entry.push.job.url.len();
        batch.push(entry.push);
        waiting.push(entry.done);
        let full = batch.len() >= MAX_ROWS || bytes >= MAX_BYTES;
        next = if full { None } else { receiver.try_recv().ok() };
    }
}
