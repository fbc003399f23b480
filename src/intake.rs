//! Group commit of pushes: one thread (`intake`) for all queues of a store.
//!
//! It takes what has gathered while its last commit ran, at least one row and at most a bound,
//! stores it as one batch and answers each. Alone, a push waits for nobody; under load the rows
//! of a commit grow by themselves. No timer is involved (`doc/decisions/group-commit.md`).

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_channel::{Receiver, SendError, Sender, unbounded};

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

enum Message {
    Push(Entry),
    Close,
}

/// The way in for new jobs.
pub struct Intake {
    // Bounded by `waiting`: a bounded channel has its memory, megabytes of it, from the start.
    sender: Sender<Message>,
    /// Pushes in the channel.
    waiting: Arc<AtomicUsize>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Intake {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system does not give a thread.
    pub fn start(store: Arc<dyn Store>) -> io::Result<Intake> {
        let (sender, receiver) = unbounded();
        let waiting = Arc::new(AtomicUsize::new(0));
        let batches = Batches { receiver, waiting: Arc::clone(&waiting) };
        let thread = threads::spawn("intake".to_owned(), move || run(&*store, &batches))?;
        Ok(Intake { sender, waiting, thread: Mutex::new(Some(thread)) })
    }

    /// Hands in a job. Never blocks; `done` is called after the commit, or at once where too
    /// many pushes are waiting.
    pub fn push(&self, push: Push, done: PushDone) {
        let refuse = |entry: Entry, reason: String| {
            (entry.done)(entry.push, Err(StoreError::Unavailable(reason)));
        };
        let entry = Entry { push, done };
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return refuse(entry, format!("{MAX_WAITING} pushes are waiting for the store"));
        }
        if let Err(SendError(Message::Push(entry))) = self.sender.send(Message::Push(entry)) {
            refuse(entry, "the daemon is stopping".to_owned());
        }
    }

    /// Stores what is waiting and ends the thread; answers whether it ended by `deadline`.
    pub fn close(&self, deadline: Instant) -> bool {
        let _ = self.sender.send(Message::Close);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        thread.is_none_or(|thread| threads::join_until(thread, deadline))
    }
}

fn run(store: &dyn Store, batches: &Batches) {
    let mut batch = Vec::new();
    let mut waiting = Vec::new();
    let mut is_open = true;
    while is_open {
        is_open = batches.gather(&mut batch, &mut waiting);
        let results = if batch.is_empty() { Vec::new() } else { store.push(&batch) };
        debug_assert_eq!(results.len(), batch.len());
        for ((push, done), result) in batch.drain(..).zip(waiting.drain(..)).zip(results) {
            done(push, result);
        }
    }
}

/// The thread's end of the channel.
struct Batches {
    receiver: Receiver<Message>,
    waiting: Arc<AtomicUsize>,
}

impl Batches {
    /// Waits for a push and moves it and what else has gathered into a batch. Answers whether
    /// more can come.
    fn gather(&self, batch: &mut Vec<Push>, waiting: &mut Vec<PushDone>) -> bool {
        let mut bytes = 0;
        let mut next = self.receiver.recv().ok();
        loop {
            let Some(Message::Push(entry)) = next else { return false };
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            bytes += entry.push.job.payload.len() + entry.push.job.url.len();
            batch.push(entry.push);
            waiting.push(entry.done);
            if batch.len() >= MAX_ROWS || bytes >= MAX_BYTES || self.receiver.is_empty() {
                return true;
            }
            next = self.receiver.try_recv().ok();
        }
    }
}
