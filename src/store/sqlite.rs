//! The embedded store: one file of SQLite, with nothing to install.
//!
//! What is answered is on the disk: the log is synced at each commit (WAL, `synchronous=FULL`).
//! One process at a time has the file; a second daemon on it stands by and takes over when the
//! first ends, however it ends. Within the process leases are granted as in memory.
//!
//! - `files`: where the files lie, the lock, whether they still lie there.
//! - `database`, `statements`, `fault`: connections and the schema, SQL, errors understood.
//! - `writer`, `task`, `group`: the thread that writes, and its group commit.
//! - `gate`: who may use the database, and those who read.
//! - `checkpoint`: the thread that keeps the log small.
//! - `definitions`, `jobs`, `inspection`, `failure_log`, `transfer`: what the store does.
//!
//! Every call returns within 5 s; see `task`. The design is told in
//! `doc/decisions/embedded-store.md`.

mod checkpoint;
mod database;
mod definitions;
mod failure_log;
mod fault;
mod files;
mod gate;
mod group;
mod inspection;
mod jobs;
mod statements;
mod task;
mod transfer;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use self::checkpoint::Checkpointer;
use self::files::{Attempt, Files};
use self::gate::Gate;
use self::writer::{Possession, Tools, Writer};
use crate::config::ConfigError;
use crate::store::clock::WallClock;
use crate::store::election::Elections;
use crate::store::{Store, StoreError, Transfer};
use crate::wake::Wake;

/// The embedded driver.
pub struct SqliteStore {
    shared: Arc<Shared>,
    files: Arc<Files>,
    /// See [`with_queue_default`](SqliteStore::with_queue_default).
    queue_default: String,
    /// `None` after the close.
    threads: Mutex<Option<Threads>>,
}

/// What the store, its campaigns and its leases share.
struct Shared {
    clock: Arc<WallClock>,
    elections: Arc<Elections>,
    gate: Arc<Gate>,
    writer: Writer,
}

struct Threads {
    checkpointer: Checkpointer,
    writer: JoinHandle<()>,
}

impl SqliteStore {
    /// The store in the file at `path`, which is created if missing. Another process may have
    /// it: then this one stands by.
    ///
    /// # Errors
    /// The path cannot be used, the file is none of ours, damaged, from a newer release or not to
    /// be written, or the system gives no further thread.
    pub fn open(path: &Path) -> Result<SqliteStore, ConfigError> {
        let refuse = |reason: &dyn std::fmt::Display| {
            ConfigError(format!("sqlite_path: {}: {reason}", path.display()))
        };
        let files = Arc::new(Files::at(path).map_err(|error| refuse(&error))?);
        let closed = StoreError::Unavailable("the database is not open yet".to_owned());
        let gate = Arc::new(Gate::new(Arc::clone(&files), closed));
        let possession = take(&files, &gate).map_err(|error| refuse(&error))?;
        let elections = Arc::new(Elections::default());
        let (wake, woken) = Wake::channel();
        let tools = Tools {
            files: Arc::clone(&files),
            gate: Arc::clone(&gate),
            elections: Arc::clone(&elections),
            checkpointer: wake,
        };
        let (writer, writer_thread) =
            Writer::start(tools, possession).map_err(|error| refuse(&error))?;
        let finish = writer.checkpoint_request();
        let checkpointer = Checkpointer::start(Arc::clone(&gate), woken, finish)
            .map_err(|error| refuse(&error))?;
        let threads = Threads { checkpointer, writer: writer_thread };
        Ok(SqliteStore {
            shared: Arc::new(Shared { clock: Arc::default(), elections, gate, writer }),
            files,
            queue_default: String::new(),
            threads: Mutex::new(Some(threads)),
        })
    }

    /// The same store, which names this setting when it tells how to move to MySQL: there it has
    /// another default, and without it jobs that have no routing are refused.
    pub fn with_queue_default(mut self, queue: &str) -> SqliteStore {
        queue.clone_into(&mut self.queue_default);
        self
    }
}

/// Takes the database if it is free. What may pass is left to the writer, which tries again.
fn take(files: &Files, gate: &Gate) -> Result<Possession, StoreError> {
    let lock = match files.try_lock().map_err(|error| writer::lock_error(files, &error))? {
        Attempt::Ours(lock) => lock,
        Attempt::Taken(by) => {
            gate.shut(writer::stand_by(files, by));
            return Ok(Possession::default());
        }
    };
    let mut possession = Possession::of(lock);
    match possession.open(files, gate, false) {
        Err(fault) if fault.is_final() => return Err(fault.into()),
        Err(fault) => gate.shut(fault.into()),
        Ok(()) => {}
    }
    Ok(possession)
}

impl Store for SqliteStore {
    fn describe(&self) -> String {
        let path = self.files.database.display();
        let state = self.shared.gate.reason().map_or(String::new(), |reason| format!("; {reason}"));
        let queue_default = match self.queue_default.as_str() {
            "" => String::new(),
            queue => format!(" --queue-default {queue}"),
        };
        format!(
            "sqlite: {path}{state}; to move to MySQL: fireworq copy --from sqlite:{path} \
             --to mysql:DSN, then start with --mysql-dsn DSN{queue_default}"
        )
    }

    fn now_ms(&self) -> Result<u64, StoreError> {
        Ok(self.shared.clock.now_ms())
    }

    fn transfer(&self) -> Option<&dyn Transfer> {
        Some(self)
    }

    fn close(&self) {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Threads { checkpointer, writer }) = threads {
            checkpointer.close();
            self.shared.writer.close(writer);
        }
    }
}
