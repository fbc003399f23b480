//! Whether threads turn: each says when it waits, and whoever asks sees which of them have been
//! at work of their own for too long.
//!
//! Waiting is no fault, for however long: for something to do, for a store that is away, for a
//! client. A loop that holds a lock that it also wants, or goes round without end, waits for
//! nothing, and that is what is seen. Threads that never say [`wait`] are not watched.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The threads that are watched.
static WATCHED: Mutex<Vec<Arc<Pulse>>> = Mutex::new(Vec::new());

thread_local! {
    /// That of this thread, once it has waited for the first time.
    static OWN: RefCell<Option<Watch>> = const { RefCell::new(None) };
}

/// What is known of a watched thread.
struct Pulse {
    name: String,
    /// Since when it is at work, in milliseconds of [`now_ms`]; 0 while it waits.
    working_since_ms: AtomicU64,
}

/// Ends the watch with its thread.
struct Watch(Arc<Pulse>);

impl Drop for Watch {
    fn drop(&mut self) {
        watched().retain(|pulse| !Arc::ptr_eq(pulse, &self.0));
    }
}

/// Does what may take any time without a fault of this thread, and watches it from then on.
pub fn wait<T>(work: impl FnOnce() -> T) -> T {
    OWN.with_borrow_mut(|own| {
        let watch = own.get_or_insert_with(|| {
            let name = std::thread::current().name().unwrap_or("without a name").to_owned();
            let pulse = Arc::new(Pulse { name, working_since_ms: AtomicU64::new(0) });
            watched().push(Arc::clone(&pulse));
            Watch(pulse)
        });
        watch.0.working_since_ms.store(0, Relaxed);
    });
    let answer = work();
    OWN.with_borrow(|own| {
        if let Some(Watch(pulse)) = own {
            pulse.working_since_ms.store(now_ms(), Relaxed);
        }
    });
    answer
}

/// The threads that have been at work for longer than `limit`, and for how long.
pub fn stuck(limit: Duration) -> Vec<(String, Duration)> {
    let now_ms = now_ms();
    let working = |pulse: &Arc<Pulse>| match pulse.working_since_ms.load(Relaxed) {
        0 => Duration::ZERO,
        since_ms => Duration::from_millis(now_ms.saturating_sub(since_ms)),
    };
    watched()
        .iter()
        .map(|pulse| (pulse, working(pulse)))
        .filter(|(_, time)| *time > limit)
        .map(|(pulse, time)| (pulse.name.clone(), time))
        .collect()
}

fn watched() -> MutexGuard<'static, Vec<Arc<Pulse>>> {
    // No code under this lock can leave the list half changed.
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Milliseconds since this was first asked for, from 1. It stands still while the machine is
/// suspended: a thread that slept through that has not been at work.
fn now_ms() -> u64 {
    static STARTED: OnceLock<Instant> = OnceLock::new();
    let elapsed = STARTED.get_or_init(Instant::now).elapsed();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn is_stuck(name: &str) -> bool {
        stuck(Duration::from_millis(20)).iter().any(|(stuck, _)| stuck == name)
    }

    fn until(mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !condition() {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_thread_at_work_is_seen_and_one_that_waits_is_not() {
        let name = "pulse-test";
        let (next, steps) = mpsc::channel::<()>();
        let (reached, places) = mpsc::channel();
        let thread = std::thread::Builder::new().name(name.to_owned());
        let body = move || {
            wait(|| {
                reached.send("waits").unwrap();
                steps.recv().unwrap();
            });
            reached.send("works").unwrap();
            steps.recv().unwrap();
            wait(|| {
                reached.send("waits again").unwrap();
                steps.recv().unwrap();
            });
        };
        let thread = thread.spawn(body).unwrap();
        assert_eq!(places.recv().unwrap(), "waits");
        let since = Instant::now();
        until(|| since.elapsed() > Duration::from_millis(40));
        assert!(!is_stuck(name));
        next.send(()).unwrap();
        assert_eq!(places.recv().unwrap(), "works");
        until(|| is_stuck(name));
        next.send(()).unwrap();
        assert_eq!(places.recv().unwrap(), "waits again");
        assert!(!is_stuck(name));
        next.send(()).unwrap();
        thread.join().unwrap();
        until(|| !watched().iter().any(|pulse| pulse.name == name));
    }
}
