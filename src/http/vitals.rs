//! Figures of the running front, for metrics and the watchdog. Cheap to read from any thread.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How the front is doing.
#[derive(Debug)]
pub struct Vitals {
    started: Instant,
    /// When each acceptor thread last turned, in milliseconds since `started`.
    beats_ms: Vec<AtomicU64>,
    turns: AtomicU64,
    open_connections: AtomicUsize,
    accept_errors: AtomicU64,
    refused_connections: AtomicU64,
}

impl Vitals {
    pub(super) fn new(threads: usize) -> Vitals {
        Vitals {
            started: Instant::now(),
            beats_ms: (0..threads).map(|_| AtomicU64::new(0)).collect(),
            turns: AtomicU64::new(0),
            open_connections: AtomicUsize::new(0),
            accept_errors: AtomicU64::new(0),
            refused_connections: AtomicU64::new(0),
        }
    }

    /// Connections open now.
    pub fn open_connections(&self) -> usize {
        self.open_connections.load(Ordering::Relaxed)
    }

    /// Failed accepts since the start: descriptors used up, clients gone before their turn.
    pub fn accept_errors(&self) -> u64 {
        self.accept_errors.load(Ordering::Relaxed)
    }

    /// Connections turned away since the start because too many were open.
    pub fn refused_connections(&self) -> u64 {
        self.refused_connections.load(Ordering::Relaxed)
    }

    /// Turns of the acceptor threads since the start: how often they had something to do.
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// How long ago the acceptor thread that was last heard of longest ago turned. They turn at
    /// least every second, also when there is nothing to do.
    pub fn silence(&self) -> Duration {
        let now_ms = self.elapsed_ms(Instant::now());
        let oldest_ms = self.beats_ms.iter().map(|beat| beat.load(Ordering::Relaxed)).min();
        Duration::from_millis(now_ms.saturating_sub(oldest_ms.unwrap_or(now_ms)))
    }

    pub(super) fn beat(&self, thread: usize, now: Instant) {
        self.turns.fetch_add(1, Ordering::Relaxed);
        if let Some(beat) = self.beats_ms.get(thread) {
            beat.store(self.elapsed_ms(now), Ordering::Relaxed);
        }
    }

    pub(super) fn opened(&self) {
        self.open_connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn closed(&self) {
        self.open_connections.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn accept_failed(&self) {
        self.accept_errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self) {
        self.refused_connections.fetch_add(1, Ordering::Relaxed);
    }

    fn elapsed_ms(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.started);
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    }
}
