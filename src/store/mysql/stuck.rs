//! Which queues have a table that somebody keeps locked.
//!
//! Each statement on such a table takes the session's lock wait, so whoever writes for several
//! queues together leaves it out; see [`Jobs::is_stuck`](crate::store::Jobs::is_stuck).

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The queues, by name.
#[derive(Default)]
pub(super) struct Stuck(Mutex<HashSet<String>>);

impl Stuck {
    pub(super) fn contains(&self, queue: &str) -> bool {
        self.queues().contains(queue)
    }

    /// Its rows could not be written for a lock.
    pub(super) fn insert(&self, queue: &str) {
        if self.queues().insert(queue.to_owned()) {
            log::warn!(queue = queue; "its table is locked by somebody: its jobs wait for that");
        }
    }

    /// Their rows were written.
    pub(super) fn remove<'a>(&self, written: impl IntoIterator<Item = &'a str>) {
        let mut queues = self.queues();
        if queues.is_empty() {
            return;
        }
        for queue in written {
            if queues.remove(queue) {
                log::info!(queue = queue; "its table is no longer locked");
            }
        }
    }

    fn queues(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
