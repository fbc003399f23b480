//! The way of new jobs straight to the workers: while this node is primary, workers are free and
//! nothing older is due, the intake stores jobs as grabbed already and hands them on.
//!
//! Called by the intake's thread; the poller shuts the way while it recovers, and for good at a
//! stop. Between the commit of such a row and [`know`](Express::know) this process does not know
//! the job that it has grabbed, so no recovery may look at the rows meanwhile.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::Sender;

use super::{Grabbed, Hold, MAX_UNSETTLED, Order, Queue, Shared};
use crate::intake::Express;
use crate::job::Job;
use crate::logs::QueueEntry;
use crate::store::{Lease, Pushed};

/// Whether the way is open, and who is on it.
pub(super) struct Lane(Mutex<State>);

struct State {
    /// The way to the workers; gone once the queue stops.
    sender: Option<Sender<Order>>,
    /// Jobs for which there is room, and which are not in hand yet.
    reserved: usize,
    is_shut: bool,
}

impl Lane {
    /// A way that is shut.
    pub(super) fn new(sender: Sender<Order>) -> Lane {
        Lane(Mutex::new(State { sender: Some(sender), reserved: 0, is_shut: true }))
    }

    /// Lets nobody in any more; answers whether nobody is on the way. Otherwise the poller is
    /// woken when that is so.
    pub(super) fn shut(&self) -> bool {
        let mut state = self.state();
        state.is_shut = true;
        state.reserved == 0
    }

    /// Lets the intake in.
    pub(super) fn open(&self) {
        self.state().is_shut = false;
    }

    /// Ends the way, once nobody is on it: the workers see the end of their channel.
    pub(super) fn end(&self) {
        self.state().sender = None;
    }

    /// Tells so many workers to end, those that idle first.
    pub(super) fn dismiss(&self, count: usize) {
        if let Some(sender) = &self.state().sender {
            // The receiver is in `Shared`, so the channel is never disconnected here.
            (0..count).for_each(|_| drop(sender.send(Order::Leave)));
        }
    }

    /// Jobs for which room is reserved.
    pub(super) fn reserved(&self) -> usize {
        self.state().reserved
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Hands a job that is in hand to the workers.
    pub(super) fn hand_on(&self, lease: &Arc<dyn Lease>, job: Job) {
        self.services.queue_log.write(&QueueEntry::grabbed(&self.name, &job));
        if let Some(sender) = &self.lane.state().sender {
            self.handed.fetch_add(1, Ordering::SeqCst);
            let _ = sender.send(Order::Work(Grabbed { job, lease: Arc::clone(lease) }));
        }
    }
}

impl Express for Queue {
    fn open(&self, count: usize) -> Option<Arc<dyn Lease>> {
        let queue = &self.shared;
        if queue.is_stopping() || queue.is_throttled() {
            return None;
        }
        let lease = queue.lease().clone().filter(|lease| lease.is_held())?;
        let room = queue.limits().1 + queue.ahead.load(Ordering::Relaxed);
        let in_hand = queue.in_hand().len();
        let mut state = queue.lane.state();
        let taken = queue.handed.load(Ordering::SeqCst) + state.reserved;
        if state.is_shut || taken + count > room || in_hand > MAX_UNSETTLED {
            return None;
        }
        state.reserved += count;
        Some(lease)
    }

    fn know(&self, lease: &Arc<dyn Lease>, jobs: &[Pushed]) {
        self.shared.stats.pops.add(jobs.len() as u64);
        let hold = Hold { token: lease.token(), fail_count: 0 };
        self.shared.in_hand().extend(jobs.iter().map(|job| (job.id, hold)));
    }

    fn deliver(&self, lease: &Arc<dyn Lease>, job: Job) {
        self.shared.hand_on(lease, job);
    }

    fn close(&self, count: usize) {
        let queue = &self.shared;
        queue.workers.start_for_waiting(queue);
        let mut state = queue.lane.state();
        state.reserved -= count;
        let is_awaited = state.is_shut && state.reserved == 0;
        drop(state);
        if is_awaited {
            queue.wake.wake();
        }
    }
}
