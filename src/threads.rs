//! Starting threads so that none dies unseen.
//!
//! A thread that panics has left something half done that others count on. It is logged, and
//! the process is told to end with an error, so that its supervisor starts it again.

mod pulse;

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crate::wake::Wake;

pub use pulse::{stuck, wait};

/// Woken when a thread has died.
static DEATH: OnceLock<Wake> = OnceLock::new();

/// Names who is woken when a thread dies. Only the first call counts.
pub fn on_death(wake: Wake) {
    let _ = DEATH.set(wake);
}

/// Starts a thread whose panic ends the daemon. The kernel shows the first 15 bytes of `name`.
///
/// # Errors
/// The system does not give another thread.
pub fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let label = name.clone();
    Builder::new().name(name).spawn(move || {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(body)) {
            log::error!("thread {label} died: {}; the daemon ends", panic_text(&*panic));
            if let Some(wake) = DEATH.get() {
                wake.wake();
            }
        }
    })
}

/// What a panic said.
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

/// Joins a thread if it ends before `deadline`; answers whether it did.
pub fn join_until(thread: JoinHandle<()>, deadline: Instant) -> bool {
    ends_by(&thread, deadline) && thread.join().is_ok()
}

/// Waits until a thread ends, but not beyond `deadline`; answers whether it did.
pub fn ends_by(thread: &JoinHandle<()>, deadline: Instant) -> bool {
    // The standard library has no join with a time-out; a stop can afford to look now and then.
    while !thread.is_finished() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        std::thread::sleep(left.min(Duration::from_millis(2)));
    }
    true
}
