//! A piece of work for the writer, and its caller, who waits until it is on the disk.

use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use rusqlite::Connection;

use super::fault::Fault;
use crate::store::StoreError;

/// How long a caller waits. What was not begun by then is not done any more.
const PATIENCE: Duration = Duration::from_secs(5);

/// A piece of work with its caller. It may be run several times: what was undone is repeated.
pub(super) trait Task: Send {
    /// Does the work, within a transaction.
    fn run(&mut self, connection: &Connection) -> Result<(), Fault>;

    /// Tells the caller how it ended: what the last run made of it, if that is committed.
    fn answer(self: Box<Self>, outcome: Result<(), StoreError>);

    /// When the caller gives up.
    fn deadline(&self) -> Instant;
}

/// Hands work to the writer by `send` and waits for its answer.
///
/// # Errors
/// What `work` answers; or [`StoreError::Unavailable`] where the writer cannot do it, or not in
/// time: then it may or may not be done.
pub(super) fn perform<T: Send + 'static>(
    send: impl FnOnce(Box<dyn Task>) -> bool,
    work: impl FnMut(&Connection) -> Result<T, Fault> + Send + 'static,
) -> Result<T, StoreError> {
    let (reply, answer) = bounded(1);
    let deadline = Instant::now() + PATIENCE;
    if !send(Box::new(Work { work, value: None, reply, deadline })) {
        return Err(StoreError::Unavailable("the store is closed".to_owned()));
    }
    match answer.recv_deadline(deadline) {
        Ok(answer) => answer,
        Err(RecvTimeoutError::Timeout) => {
            Err(StoreError::Unavailable("the disk with the database is too slow".to_owned()))
        }
        Err(RecvTimeoutError::Disconnected) => {
            Err(StoreError::Unavailable("the store is closing".to_owned()))
        }
    }
}

struct Work<W, T> {
    work: W,
    /// What the last run made.
    value: Option<T>,
    reply: Sender<Result<T, StoreError>>,
    deadline: Instant,
}

impl<T: Send, W: FnMut(&Connection) -> Result<T, Fault> + Send> Task for Work<W, T> {
    fn run(&mut self, connection: &Connection) -> Result<(), Fault> {
        self.value = None;
        self.value = Some((self.work)(connection)?);
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<(), StoreError>) {
        let undone = || StoreError::Unavailable("the work was not done".to_owned());
        let Work { value, reply, .. } = *self;
        // The caller may have given up.
        let _ = reply.send(outcome.and_then(|()| value.ok_or_else(undone)));
    }

    fn deadline(&self) -> Instant {
        self.deadline
    }
}
