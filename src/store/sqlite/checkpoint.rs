//! The thread `sqlite-ckpt`: copies the log into the database, so that the log stays small.
//!
//! SQLite would do that within a commit, and everybody would wait for it. Here it is done beside
//! the writer, on a connection of its own, without waiting for anybody. But while the writer goes
//! on, such a copy never reaches the end of the log, which is begun anew only there: once
//! the log has grown beyond a bound, the writer is asked to copy the little that is left between
//! two of its transactions.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, select};
use rusqlite::Connection;

use super::gate::Gate;
use super::statements::SQL;
use crate::store::sql::Statement;
use crate::threads;

/// The time from a commit to the copy: what is changed again meanwhile is copied once.
const INTERVAL: Duration = Duration::from_secs(1);
/// Pages in the log beyond which it is to be begun anew: 16 MiB.
const MANY_PAGES: i64 = 4096;
/// How long a close waits for the thread.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How far a copy came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// Pages in the log.
    pub(super) pages: i64,
    /// Those that are in the database too.
    pub(super) copied: i64,
}

/// Copies what can be copied without waiting for anybody.
///
/// # Errors
/// The disk is full or does not work.
pub(super) fn copy(connection: &Connection) -> rusqlite::Result<Progress> {
    checkpoint(connection, &SQL.checkpoint)
}

/// Copies everything and empties the log. Nobody may be reading or writing.
///
/// # Errors
/// As [`copy`].
pub(super) fn copy_all(connection: &Connection) -> rusqlite::Result<Progress> {
    checkpoint(connection, &SQL.empty_log)
}

fn checkpoint(connection: &Connection, statement: &Statement) -> rusqlite::Result<Progress> {
    connection.query_row(&statement.text(), (), |row| {
        Ok(Progress { pages: row.get(1)?, copied: row.get(2)? })
    })
}

/// The thread.
pub(super) struct Checkpointer {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Checkpointer {
    /// Starts it. It is woken by commits; `finish` asks the writer for the rest of the log.
    ///
    /// # Errors
    /// The system does not give a thread.
    pub(super) fn start(
        gate: Arc<Gate>,
        woken: Receiver<()>,
        finish: impl Fn() + Send + 'static,
    ) -> std::io::Result<Checkpointer> {
        let (stop, stopped) = bounded(0);
        let thread = threads::spawn("sqlite-ckpt".to_owned(), move || {
            run(&gate, &woken, &stopped, &finish);
        })?;
        Ok(Checkpointer { stop, thread })
    }

    /// Ends the thread.
    pub(super) fn close(self) {
        drop(self.stop);
        threads::join_until(self.thread, Instant::now() + CLOSE_TIMEOUT);
    }
}

fn run(gate: &Gate, woken: &Receiver<()>, stopped: &Receiver<()>, finish: &dyn Fn()) {
    loop {
        select! {
            recv(woken) -> woken => if woken.is_err() { return },
            recv(stopped) -> _ => return,
        }
        if stopped.recv_timeout(INTERVAL) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        match gate.checkpoint(copy) {
            Ok(Progress { pages, .. }) if pages > MANY_PAGES => finish(),
            Ok(_) => {}
            // The writer meets the same error and says so.
            Err(error) => log::debug!("the log cannot be copied into the database: {error}"),
        }
    }
}
