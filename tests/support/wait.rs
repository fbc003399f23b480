//! Waiting for a condition with a deadline: tests never sleep for luck.

use std::time::{Duration, Instant};

/// How long to wait for what should take a moment, on a machine that is busy.
pub const SOON: Duration = Duration::from_secs(20);

/// How long to wait between two looks: short enough to cost nothing, long enough not to spin.
const PAUSE: Duration = Duration::from_millis(5);

/// Looks until `look` finds something and answers that.
///
/// # Panics
/// Nothing is found within `within`.
#[track_caller]
pub fn eventually<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        std::thread::sleep(PAUSE);
    }
}

/// Looks until `condition` holds.
///
/// # Panics
/// It does not within `within`.
#[track_caller]
pub fn until(what: &str, within: Duration, mut condition: impl FnMut() -> bool) {
    eventually(what, within, || condition().then_some(()));
}
