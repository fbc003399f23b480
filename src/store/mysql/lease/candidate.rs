//! A campaign, seen from both sides: by whoever stands for a queue, and by the thread that grants.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::elector::Shared;
use super::rows::QueueLease;
use crate::store::{Campaign, Lease, QueueName};
use crate::wake::Wake;

/// Somebody's standing for a queue.
pub(super) struct Candidate {
    /// The queue stood for.
    pub(super) queue: QueueName,
    wake: Wake,
    /// Both at once, so that nothing is granted to who has withdrawn.
    place: Mutex<Place>,
}

#[derive(Default)]
struct Place {
    lease: Option<Arc<QueueLease>>,
    withdrawn: bool,
}

impl Candidate {
    pub(super) fn new(queue: QueueName, wake: Wake) -> Candidate {
        Candidate { queue, wake, place: Mutex::default() }
    }

    /// Hands over a lease, unless the candidate has withdrawn.
    pub(super) fn grant(&self, lease: Arc<QueueLease>) {
        let mut place = self.place();
        if !place.withdrawn {
            place.lease = Some(lease);
            self.wake.wake();
        }
    }

    /// Takes the lease away, after it has ended.
    pub(super) fn lose(&self) {
        self.place().lease = None;
        self.wake.wake();
    }

    pub(super) fn has_withdrawn(&self) -> bool {
        self.place().withdrawn
    }

    /// The lease ends here and now; its lock is released later, by the thread that holds it.
    fn withdraw(&self) {
        let mut place = self.place();
        place.withdrawn = true;
        if let Some(lease) = place.lease.take() {
            lease.give_up();
        }
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the one who stands for a queue has in hand. Dropping it withdraws.
pub(super) struct QueueCampaign {
    pub(super) candidate: Arc<Candidate>,
    pub(super) shared: Arc<Shared>,
}

impl Campaign for QueueCampaign {
    fn lease(&self) -> Option<Arc<dyn Lease>> {
        let lease = self.candidate.place().lease.clone()?;
        lease.is_held().then_some(lease as Arc<dyn Lease>)
    }
}

impl Drop for QueueCampaign {
    fn drop(&mut self) {
        self.candidate.withdraw();
        self.shared.wake();
    }
}
