//! Workers as several themes need them.

use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::support::wait::SOON;
use crate::support::worker::{Reaction, Received, Worker};

/// A worker that keeps its answers back until it is let go.
pub struct Held {
    worker: Worker,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
    waiting: AtomicUsize,
    most_waiting: AtomicUsize,
}

impl Held {
    /// Succeeds, once let go.
    pub fn succeeding() -> Held {
        Held::start(|_| Reaction::success())
    }

    /// Reacts by `script`, once let go.
    pub fn start(script: impl Fn(&Received) -> Reaction + Send + Sync + 'static) -> Held {
        let gate = Arc::new(Gate::default());
        let passed = Arc::clone(&gate);
        let worker = Worker::start(move |received| {
            passed.pass();
            script(received)
        });
        Held { worker, gate }
    }

    /// Lets it answer, from now on.
    pub fn let_go(&self) {
        *self.gate.is_open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.gate.opened.notify_all();
    }

    /// The most requests that were held at once.
    pub fn most_at_once(&self) -> usize {
        self.gate.most_waiting.load(Ordering::Acquire)
    }
}

impl Gate {
    fn pass(&self) {
        let waiting = self.waiting.fetch_add(1, Ordering::AcqRel) + 1;
        self.most_waiting.fetch_max(waiting, Ordering::AcqRel);
        let is_open = self.is_open.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.opened.wait_timeout_while(is_open, 3 * SOON, |is_open| !*is_open);
        drop(waited);
        self.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Deref for Held {
    type Target = Worker;

    fn deref(&self) -> &Worker {
        &self.worker
    }
}

impl Drop for Held {
    /// Before the worker is dropped, which waits for its answers.
    fn drop(&mut self) {
        self.let_go();
    }
}

/// A worker that is slow, and the most requests that it had in hand at once.
pub fn slow(pause: Duration) -> (Worker, Arc<AtomicUsize>) {
    let (running, most) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let worker = Worker::start(move |_| {
        let now = running.fetch_add(1, Ordering::AcqRel) + 1;
        seen.fetch_max(now, Ordering::AcqRel);
        std::thread::sleep(pause);
        running.fetch_sub(1, Ordering::AcqRel);
        Reaction::success()
    });
    (worker, most)
}

/// Fails with the message `no`.
pub fn failure() -> Reaction {
    Reaction::answer(200, &[], r#"{"status":"failure","message":"no"}"#)
}

/// How many requests a worker has received.
pub fn count(worker: &Worker) -> usize {
    worker.received().len()
}

/// Waits for `number` requests.
#[track_caller]
pub fn wait_for(worker: &Worker, number: usize) -> Vec<Received> {
    worker.wait_for(number, SOON)
}
