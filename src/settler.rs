//! Group commit of outcomes: one thread (`settler`) for all queues of a store.
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

use crate::store::{QueueName, Settled, Settlement, Store, StoreError};
use crate::threads;

/// Rows of one commit at the most.
const MAX_ROWS: usize = 512;
/// Waits between two tries to store what could not be stored: the first and the longest.
const RETRY_WAIT: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Told what became of a settlement. Called on the settler's thread: it must not block.
pub type SettleDone = Box<dyn FnOnce(Settled) + Send>;

struct Entry {
    settlement: Settlement,
    done: SettleDone,
}

/// The way out for jobs that were tried.
pub struct Settler {
    sender: Sender<Entry>,
    give_up: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// The end of a [`Settler`] that workers hold. The settler ends when all are dropped.
#[derive(Clone)]
pub struct SettlerHandle(Sender<Entry>);

impl SettlerHandle {
    /// Hands on what became of a job. Never blocks; `done` is called once it is stored.
    pub fn settle(&self, settlement: Settlement, done: SettleDone) {
        // The thread outlives every handle; if it has died, the daemon is about to end.
        let _ = self.0.send(Entry { settlement, done });
    }
}

impl Settler {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system does not give a thread.
    pub fn start(store: Arc<dyn Store>) -> io::Result<Settler> {
        // Bounded by the jobs in hand of all queues, see above.
        let (sender, receiver) = unbounded();
        let give_up = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&give_up);
        let thread = threads::spawn("settler".to_owned(), move || {
            Loop { store: &*store, kept: Vec::new(), wait: RETRY_WAIT.0 }.run(&receiver, &told);
        })?;
        Ok(Settler { sender, give_up, thread })
    }

    /// An end to hand outcomes to.
    pub fn handle(&self) -> SettlerHandle {
        SettlerHandle(self.sender.clone())
    }

    /// Stores what is waiting and ends the thread; answers whether all was stored by `deadline`.
    /// Every handle must have been dropped.
    pub fn close(self, deadline: Instant) -> bool {
        drop(self.sender);
        let give_up = self.give_up;
        let finished = threads::join_until(self.thread, deadline);
        give_up.store(true, Ordering::Relaxed);
        finished
    }
}

struct Loop<'a> {
    store: &'a dyn Store,
    /// What could not be stored yet.
    kept: Vec<Entry>,
    /// How long to wait before the next try.
    wait: Duration,
}

impl Loop<'_> {
    fn run(&mut self, receiver: &Receiver<Entry>, give_up: &AtomicBool) {
        let mut open = true;
        while open || !self.kept.is_empty() {
            let mut batch = mem::take(&mut self.kept);
            if batch.is_empty() {
                match receiver.recv() {
                    Ok(entry) => batch.push(entry),
                    Err(_) => return,
                }
            } else {
                open = self.pause(receiver, &mut batch, open);
            }
            if give_up.load(Ordering::Relaxed) {
                return;
            }
            batch.extend(receiver.try_iter().take(MAX_ROWS.saturating_sub(batch.len())));
            while !batch.is_empty() {
                let rest = batch.split_off(batch.len().min(MAX_ROWS));
                self.store_batch(mem::replace(&mut batch, rest));
            }
        }
    }

    /// Waits before a new try, gathering what comes meanwhile. Answers whether more can come.
    fn pause(&mut self, receiver: &Receiver<Entry>, batch: &mut Vec<Entry>, open: bool) -> bool {
        let until = Instant::now() + self.wait;
        self.wait = (self.wait * 2).min(RETRY_WAIT.1);
        if !open {
            std::thread::sleep(self.wait);
            return false;
        }
        loop {
            match receiver.recv_deadline(until) {
                Ok(entry) => batch.push(entry),
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    fn store_batch(&mut self, batch: Vec<Entry>) {
        let settlements: Vec<Settlement> = batch.iter().map(|e| e.settlement.clone()).collect();
        match self.store.settle(&settlements) {
            Ok(settled) => {
                self.wait = RETRY_WAIT.0;
                for (entry, settled) in batch.into_iter().zip(settled) {
                    (entry.done)(settled);
                }
            }
            Err(error) => self.store_by_queue(batch, &error),
        }
    }

    /// After a failed batch: each queue alone, so that one whose table is stuck, or gone, does
    /// not hold up the others.
    fn store_by_queue(&mut self, batch: Vec<Entry>, error: &StoreError) {
        log::warn!("{} outcomes could not be stored and are kept: {error}", batch.len());
        let mut queues: Vec<(QueueName, Vec<Entry>)> = Vec::new();
        for entry in batch {
            match queues.iter_mut().find(|(queue, _)| *queue == entry.settlement.queue) {
                Some((_, entries)) => entries.push(entry),
                None => queues.push((Arc::clone(&entry.settlement.queue), vec![entry])),
            }
        }
        let alone = queues.len() == 1;
        for (queue, entries) in queues {
            let settlements: Vec<Settlement> =
                entries.iter().map(|e| e.settlement.clone()).collect();
            let result = if alone { Err(error.clone()) } else { self.store.settle(&settlements) };
            match result {
                Ok(settled) => {
                    entries.into_iter().zip(settled).for_each(|(e, settled)| (e.done)(settled));
                }
                Err(StoreError::NotFound(_)) => {
                    log::warn!(
                        "queue {queue}: its table is gone, and so are {} jobs",
                        entries.len()
                    );
                    entries.into_iter().for_each(|e| (e.done)(Settled::Gone));
                }
                Err(_) => self.kept.extend(entries),
            }
        }
    }
}
