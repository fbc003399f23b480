//! Group commit of pushes: one thread (`intake`) for all queues of a store, and one beside it
//! (`intake-aside`) for those whose table somebody keeps locked, so that the others do not wait.
//!
//! It takes what has gathered while its last commit ran, at least one row and at most a bound,
//! stores it as one batch and answers each. Alone, a push waits for nobody; under load the rows
//! of a commit grow by themselves. No timer is involved (`doc/decisions/group-commit.md`).
//!
//! A batch for one queue whose workers are free goes *express*: its rows are stored as grabbed
//! already, and the jobs handed on after the commit (`doc/decisions/express.md`).

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, SendError, Sender, unbounded};

use crate::job::{Job, JobStatus};
use crate::metrics::STORE;
use crate::store::{Lease, Push, Pushed, Store, StoreError};
use crate::threads;

/// Rows of one commit at the most: beyond a few hundred a commit gains nothing but latency.
const MAX_ROWS: usize = 512;
/// Bytes of one commit at the most, by what the rows carry.
const MAX_BYTES: usize = 4 << 20;
/// Pushes that may wait for the threads; further ones are refused at once.
const MAX_WAITING: usize = 100_000;
/// How long a store that was full is taken for full. Then pushes find out.
const FULL_FOR: Duration = Duration::from_secs(10);

/// Told what became of a push. Called on a thread of the intake's: it must not block.
pub type PushDone = Box<dyn FnOnce(&Push, Result<Pushed, StoreError>) + Send>;

/// A queue that can take new jobs without looking for them in the store. None of its methods
/// blocks.
pub trait Express: Send + Sync {
    /// The lease under which `count` new jobs may be stored as grabbed, and room for them, which
    /// has to be given back by [`close`](Express::close). `None` where there is no room, or this
    /// node is not primary.
    fn open(&self, count: usize) -> Option<Arc<dyn Lease>>;

    /// Takes jobs into its hands that were stored as grabbed under `lease`.
    fn know(&self, lease: &Arc<dyn Lease>, jobs: &[Pushed]);

    /// Hands one of them to a worker.
    fn deliver(&self, lease: &Arc<dyn Lease>, job: Job);

    /// Gives back the room for `count` jobs.
    fn close(&self, count: usize);
}

/// A job on its way in.
pub struct Entry {
    /// What is stored, and where.
    pub push: Push,
    /// The job's queue, if it is due at once.
    pub express: Option<Arc<dyn Express>>,
    /// Told what became of it.
    pub done: PushDone,
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
    room: Arc<Room>,
    /// The second one ends after the first.
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Whether the store had room when it was last given jobs.
#[derive(Default)]
pub struct Room(Mutex<Option<(Instant, String)>>);

impl Room {
    /// Whether there is room, by what is known.
    ///
    /// # Errors
    /// It was full a moment ago; the text is the store's.
    pub fn check(&self) -> Result<(), String> {
        match &*self.full() {
            Some((since, why)) if since.elapsed() < FULL_FOR => Err(why.clone()),
            _ => Ok(()),
        }
    }

    fn learn(&self, answer: Result<(), &StoreError>) {
        match answer {
            Ok(()) => *self.full() = None,
            Err(StoreError::Full(why)) => *self.full() = Some((Instant::now(), why.clone())),
            Err(_) => {}
        }
    }

    fn full(&self) -> MutexGuard<'_, Option<(Instant, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intake {
    /// Starts the threads.
    ///
    /// # Errors
    /// The system does not give a thread.
    pub fn start(store: Arc<dyn Store>) -> io::Result<Intake> {
        let (sender, receiver) = unbounded();
        let (aside, left_aside) = unbounded();
        let waiting = Arc::new(AtomicUsize::new(0));
        let room = Arc::<Room>::default();
        let start = |name: &str, receiver, aside| {
            let batches = Batches { receiver, waiting: Arc::clone(&waiting), aside };
            let (store, room) = (Arc::clone(&store), Arc::clone(&room));
            threads::spawn(name.to_owned(), move || run(&*store, &batches, &room))
        };
        let threads = Mutex::new(vec![
            start("intake", receiver, Some(aside))?,
            start("intake-aside", left_aside, None)?,
        ]);
        Ok(Intake { sender, waiting, room, threads })
    }

    /// Hands in a job. Never blocks; `done` is called after the commit, or at once where too
    /// many pushes are waiting.
    pub fn push(&self, entry: Entry) {
        let refuse = |entry: Entry, reason: String| {
            (entry.done)(&entry.push, Err(StoreError::Unavailable(reason)));
        };
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return refuse(entry, format!("{MAX_WAITING} pushes are waiting for the store"));
        }
        if let Err(SendError(Message::Push(entry))) = self.sender.send(Message::Push(entry)) {
            refuse(entry, "the daemon is stopping".to_owned());
        }
    }

    /// Whether the store has room.
    pub fn room(&self) -> Arc<Room> {
        Arc::clone(&self.room)
    }

    /// Stores what is waiting and ends the threads; answers whether they ended by `deadline`.
    pub fn close(&self, deadline: Instant) -> bool {
        let _ = self.sender.send(Message::Close);
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.drain(..).all(|thread| threads::join_until(thread, deadline))
    }
}

fn run(store: &dyn Store, batches: &Batches, room: &Room) {
    let mut batch = Batch::default();
    let mut is_open = true;
    while is_open {
        is_open = batches.gather(store, &mut batch);
        if !batch.pushes.is_empty() {
            batch.store(store, room);
        }
    }
}

/// A thread's end of its channel.
struct Batches {
    receiver: Receiver<Message>,
    waiting: Arc<AtomicUsize>,
    /// Where pushes go whose queue is stuck; without it, they are taken here.
    aside: Option<Sender<Message>>,
}

impl Batches {
    /// Waits for a push and moves it and what else has gathered into a batch, which stays empty
    /// where all of it was left aside. Answers whether more can come.
    fn gather(&self, store: &dyn Store, batch: &mut Batch) -> bool {
        let mut bytes = 0;
        let mut next = threads::wait(|| self.receiver.recv()).ok();
        loop {
            let Some(Message::Push(entry)) = next else { return false };
            if let Some(aside) = self.aside.as_ref().filter(|_| store.is_stuck(&entry.push.queue)) {
                // The other thread ends after this one.
                let _ = aside.send(Message::Push(Entry { express: None, ..entry }));
            } else {
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                bytes += entry.push.job.payload.len() + entry.push.job.url.len();
                batch.add(entry);
            }
            let is_full = batch.pushes.len() >= MAX_ROWS || bytes >= MAX_BYTES;
            if is_full || self.receiver.is_empty() {
                return true;
            }
            next = self.receiver.try_recv().ok();
        }
    }
}

/// What is stored by one commit.
#[derive(Default)]
struct Batch {
    pushes: Vec<Push>,
    waiting: Vec<PushDone>,
    /// The queue of all of them, if it is one and all are due at once.
    express: Option<Arc<dyn Express>>,
}

impl Batch {
    fn add(&mut self, Entry { push, express, done }: Entry) {
        if self.pushes.is_empty() {
            self.express = express;
        } else if express.is_none() || self.pushes[0].queue != push.queue {
            self.express = None;
        }
        self.pushes.push(push);
        self.waiting.push(done);
    }

    /// Stores it and tells everybody. It is empty then.
    fn store(&mut self, store: &dyn Store, room: &Room) {
        if let Some(express) = self.express.take()
            && let Some(lease) = express.open(self.pushes.len())
        {
            let count = self.pushes.len();
            self.store_express(&*express, &lease, room);
            express.close(count);
        }
        if self.pushes.is_empty() {
            return;
        }
        let since = Instant::now();
        let results = threads::wait(|| store.push(&self.pushes));
        STORE.push.done(since, results.len(), results.iter().any(Result::is_ok));
        debug_assert_eq!(results.len(), self.pushes.len());
        if let Some(last) = results.last() {
            room.learn(last.as_ref().map(drop));
        }
        for ((push, done), result) in self.drain().zip(results) {
            done(&push, result);
        }
    }

    /// Stores it as grabbed and hands the jobs on. Nothing happens where that cannot be done.
    fn store_express(&mut self, express: &dyn Express, lease: &Arc<dyn Lease>, room: &Room) {
        let since = Instant::now();
        let stored = threads::wait(|| lease.push_grabbed(&self.pushes));
        if !matches!(stored, Ok(None)) {
            STORE.push.done(since, self.pushes.len(), stored.is_ok());
            room.learn(stored.as_ref().map(drop));
        }
        match stored {
            Ok(None) => {}
            Ok(Some(stored)) => {
                debug_assert_eq!(stored.len(), self.pushes.len());
                express.know(lease, &stored);
                for ((push, done), pushed) in self.drain().zip(stored) {
                    done(&push, Ok(pushed));
                    let job = Arc::unwrap_or_clone(push.job);
                    let Pushed { id, created_at_ms, next_try_ms, .. } = pushed;
                    let job = job.stored(id, created_at_ms, next_try_ms);
                    express.deliver(lease, Job { status: JobStatus::Grabbed, ..job });
                }
            }
            Err(error) => self.drain().for_each(|(push, done)| done(&push, Err(error.clone()))),
        }
    }

    fn drain(&mut self) -> impl Iterator<Item = (Push, PushDone)> {
        self.pushes.drain(..).zip(self.waiting.drain(..))
    }
}
