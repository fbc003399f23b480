//! The figures of the store, whichever it is: the process has one.

use std::time::Instant;

use super::instrument::{Counter, Histogram, ROWS, SHORT};

/// The figures of the process's store.
pub static STORE: StoreMetrics = StoreMetrics {
    push: Batches::new(),
    settle: Batches::new(),
    grab_errors: Counter::new(),
    recover_errors: Counter::new(),
    check_errors: Counter::new(),
    connections_opened: Counter::new(),
    connection_errors: Counter::new(),
};

/// See [`STORE`].
pub struct StoreMetrics {
    /// Of pushes.
    pub push: Batches,
    /// Of outcomes.
    pub settle: Batches,
    /// Grabs that failed.
    pub grab_errors: Counter,
    /// Recoveries that failed.
    pub recover_errors: Counter,
    /// Looks whether the store is there that found it is not.
    pub check_errors: Counter,
    /// Connections opened to the database.
    pub connections_opened: Counter,
    /// Connections that could not be opened.
    pub connection_errors: Counter,
}

/// Batches that were stored in one commit.
pub struct Batches {
    /// How long the store took, in microseconds.
    pub time: Histogram,
    /// How many rows they had.
    pub rows: Histogram,
    /// Batches that failed as a whole.
    pub errors: Counter,
}

impl Batches {
    const fn new() -> Batches {
        Batches {
            time: Histogram::new(&SHORT),
            rows: Histogram::new(&ROWS),
            errors: Counter::new(),
        }
    }

    /// A batch of `rows` was given to the store at `since`, which is done with it now.
    pub fn done(&self, since: Instant, rows: usize, is_stored: bool) {
        if is_stored {
            self.time.observe_time(since.elapsed());
            self.rows.observe(rows as u64);
        } else {
            self.errors.add(1);
        }
    }
}
