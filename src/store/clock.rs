//! The clock of the stores that live on this machine.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock;

/// The wall clock, except that it never goes back: what was due stays due.
#[derive(Default)]
pub(super) struct WallClock {
    latest_ms: AtomicU64,
}

impl WallClock {
    /// In milliseconds since 1970.
    pub(super) fn now_ms(&self) -> u64 {
        let now_ms = clock::now_ms();
        self.latest_ms.fetch_max(now_ms, Ordering::Relaxed).max(now_ms)
    }
}
