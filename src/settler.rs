//! Group commit of outcomes: one thread (`settler`) for all queues of a store, and one beside it
//! (`settler-aside`) for those whose table somebody keeps locked, so that the others do not wait.
//!
//! As with pushes, a batch is what has gathered while the last commit ran. What cannot be stored
//! is kept and tried again until it can: a job whose outcome is known must not run again because
//! the store was away for a while. How much is kept is bounded by the jobs in hand, since
//! nothing new is grabbed from a store that is away.

use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use crate::metrics::STORE;
use crate::store::{QueueName, Settled, Settlement, Store, StoreError};
use crate::threads;

/// Rows of one commit at the most.
const MAX_ROWS: usize = 512;
/// The wait before the second try to store what could not be stored; it doubles from try to try.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// Where the doubling ends.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Told what became of a settlement. Called on the settler's thread: it must not block.
pub type SettleDone = Box<dyn FnOnce(Settled) + Send>;

struct Entry {
    settlement: Settlement,
    done: SettleDone,
}

enum Message {
    Settle(Entry),
    Close,
}

/// The way out for jobs that were tried.
pub struct Settler {
    handle: SettlerHandle,
    give_up: Arc<AtomicBool>,
    /// The second one ends after the first.
    threads: [JoinHandle<()>; 2],
}

/// The end of a [`Settler`] that workers hold.
#[derive(Clone)]
pub struct SettlerHandle(Sender<Message>);

impl SettlerHandle {
    /// Hands on what became of a job. Never blocks; `done` is called once it is stored.
    pub fn settle(&self, settlement: Settlement, done: SettleDone) {
        // Gone only after a close, when the row stays grabbed until a primary recovers it.
        let _ = self.0.send(Message::Settle(Entry { settlement, done }));
    }
}

impl Settler {
    /// Starts the threads.
    ///
    /// # Errors
    /// The system does not give a thread.
    pub fn start(store: Arc<dyn Store>) -> io::Result<Settler> {
        // Bounded by the jobs in hand of all queues, see above.
        let (sender, receiver) = unbounded();
        let (aside, left_aside) = unbounded();
        let give_up = Arc::new(AtomicBool::new(false));
        let start = |name: &str, receiver: Receiver<Message>, aside| {
            let (store, told) = (Arc::clone(&store), Arc::clone(&give_up));
            threads::spawn(name.to_owned(), move || {
                let kept = Vec::new();
                Loop { store: &*store, aside, kept, wait: FIRST_WAIT, is_open: true }
                    .run(&receiver, &told);
            })
        };
        let threads =
            [start("settler", receiver, Some(aside))?, start("settler-aside", left_aside, None)?];
        Ok(Settler { handle: SettlerHandle(sender), give_up, threads })
    }

    /// An end to hand outcomes to.
    pub fn handle(&self) -> SettlerHandle {
        self.handle.clone()
    }

    /// Stores what is waiting and ends the threads; answers whether all was stored by `deadline`.
    pub fn close(self, deadline: Instant) -> bool {
        let _ = self.handle.0.send(Message::Close);
        let finished = self.threads.into_iter().all(|thread| threads::join_until(thread, deadline));
        self.give_up.store(true, Ordering::Relaxed);
        finished
    }
}

struct Loop<'a> {
    store: &'a dyn Store,
    /// Where outcomes go whose queue is stuck; without it, they are kept here.
    aside: Option<Sender<Message>>,
    /// What could not be stored yet.
    kept: Vec<Entry>,
    /// How long to wait before the next try to store what is kept.
    wait: Duration,
    /// Whether more can come.
    is_open: bool,
}

impl Loop<'_> {
    fn run(&mut self, receiver: &Receiver<Message>, give_up: &AtomicBool) {
        while (self.is_open || !self.kept.is_empty()) && !give_up.load(Ordering::Relaxed) {
            let mut batch = mem::take(&mut self.kept);
            if batch.is_empty() {
                self.take(threads::wait(|| receiver.recv()).ok(), &mut batch);
            } else {
                self.pause(receiver, &mut batch);
            }
            while batch.len() < MAX_ROWS && !receiver.is_empty() {
                self.take(receiver.try_recv().ok(), &mut batch);
            }
            while !batch.is_empty() {
                let rest = batch.split_off(batch.len().min(MAX_ROWS));
                self.store_batch(mem::replace(&mut batch, rest));
            }
        }
    }

    fn take(&mut self, message: Option<Message>, batch: &mut Vec<Entry>) {
        match message {
            Some(Message::Settle(entry)) => batch.extend(self.leave_aside(entry)),
            Some(Message::Close) | None => self.is_open = false,
        }
    }

    /// Leaves an entry whose queue is stuck to the other thread; gives back any other.
    fn leave_aside(&self, entry: Entry) -> Option<Entry> {
        match &self.aside {
            Some(aside) if self.store.is_stuck(&entry.settlement.queue) => {
                // The other thread ends after this one.
                let _ = aside.send(Message::Settle(entry));
                None
            }
            _ => Some(entry),
        }
    }

    /// Waits before a new try, gathering what comes meanwhile.
    fn pause(&mut self, receiver: &Receiver<Message>, batch: &mut Vec<Entry>) {
        let until = Instant::now() + self.wait;
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        loop {
            match threads::wait(|| receiver.recv_deadline(until)) {
                Ok(message) => self.take(Some(message), batch),
                Err(RecvTimeoutError::Timeout) => return,
                Err(RecvTimeoutError::Disconnected) => {
                    std::thread::sleep(until.saturating_duration_since(Instant::now()));
                    return;
                }
            }
        }
    }

    fn store_batch(&mut self, batch: Vec<Entry>) {
        match self.settle(batch) {
            Ok(()) => {
                if self.wait != FIRST_WAIT {
                    log::info!("the outcomes that waited are stored");
                    self.wait = FIRST_WAIT;
                }
            }
            Err((batch, error)) => self.store_by_queue(batch, &error),
        }
    }

    /// After a failed batch: each queue alone, so that one whose table is stuck, or gone, does
    /// not hold up the others.
    fn store_by_queue(&mut self, batch: Vec<Entry>, error: &StoreError) {
        let is_only_one =
            batch.windows(2).all(|pair| pair[0].settlement.queue == pair[1].settlement.queue);
        let mut queues: Vec<(QueueName, Vec<Entry>)> = Vec::new();
        for entry in batch.into_iter().filter_map(|entry| self.leave_aside(entry)) {
            match queues.iter_mut().find(|(queue, _)| *queue == entry.settlement.queue) {
                Some((_, entries)) => entries.push(entry),
                None => queues.push((Arc::clone(&entry.settlement.queue), vec![entry])),
            }
        }
        for (queue, entries) in queues {
            let result =
                if is_only_one { Err((entries, error.clone())) } else { self.settle(entries) };
            match result {
                Ok(()) => {}
                Err((entries, StoreError::NotFound(_))) => {
                    let count = entries.len();
                    log::warn!(queue = &*queue; "its table is gone, and {count} jobs with it");
                    entries.into_iter().for_each(|entry| (entry.done)(Settled::Gone));
                }
                Err((entries, error)) => {
                    // Said when it begins, not at each try.
                    if self.wait == FIRST_WAIT {
                        let count = entries.len();
                        log::warn!(queue = &*queue; "{count} outcomes wait for the store: {error}");
                    }
                    self.kept.extend(entries);
                }
            }
        }
    }

    /// Stores a batch and tells everybody; gives it back with the error if that fails.
    fn settle(&self, batch: Vec<Entry>) -> Result<(), (Vec<Entry>, StoreError)> {
        let settlements: Vec<Settlement> = batch.iter().map(|e| e.settlement.clone()).collect();
        let since = Instant::now();
        let result = threads::wait(|| self.store.settle(&settlements));
        STORE.settle.done(since, settlements.len(), result.is_ok());
        match result {
            Ok(settled) => {
                debug_assert_eq!(settled.len(), batch.len());
                batch.into_iter().zip(settled).for_each(|(entry, settled)| (entry.done)(settled));
                Ok(())
            }
            Err(error) => Err((batch, error)),
        }
    }
}
