//! Who may use the database at the moment, and the connections of those who read.
//!
//! While this process has the database and all is well, the gate is open: inspection reads through
//! a few connections of its own, which see what is committed and block nobody. Else it is shut,
//! with the reason. It is shut before the files are opened anew, which waits for whoever
//! reads: SQLite shares what it knows of a file within a process, so the last connection
//! must be gone before the first new one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rusqlite::Connection;

use super::database;
use super::fault::Fault;
use super::files::{Displaced, Files, Opened};
use crate::store::StoreError;

/// Connections kept for reading when nobody reads.
const READERS_KEPT: usize = 4;

/// See the module.
pub(super) struct Gate {
    files: Arc<Files>,
    state: RwLock<State>,
    /// Whether somebody who read found damage.
    is_doubtful: AtomicBool,
}

enum State {
    Shut(StoreError),
    Open { opened: Opened, idle: Mutex<Vec<Connection>> },
}

impl Gate {
    /// A gate that is shut for `reason`.
    pub(super) fn new(files: Arc<Files>, reason: StoreError) -> Gate {
        let state = RwLock::new(State::Shut(reason));
        Gate { files, state, is_doubtful: AtomicBool::new(false) }
    }

    /// Opens it for the files that were just opened.
    pub(super) fn open(&self, opened: Opened) {
        self.set(State::Open { opened, idle: Mutex::default() });
    }

    /// Shuts it, waits for those who read, and closes their connections.
    pub(super) fn shut(&self, reason: StoreError) {
        self.set(State::Shut(reason));
    }

    /// Whether somebody has found damage since this was last asked.
    pub(super) fn take_doubt(&self) -> bool {
        self.is_doubtful.swap(false, Ordering::Relaxed)
    }

    /// Why it is shut, if it is.
    pub(super) fn reason(&self) -> Option<StoreError> {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Shut(reason) => Some(reason.clone()),
            State::Open { .. } => None,
        }
    }

    /// Whether the files are still where they were opened. Shut, there are none to look at.
    ///
    /// # Errors
    /// They are not.
    pub(super) fn check(&self) -> Result<(), Displaced> {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Shut(_) => Ok(()),
            State::Open { opened, .. } => self.files.check(opened),
        }
    }

    /// Reads.
    ///
    /// # Errors
    /// The gate is shut, the files are not where they were, or `work` fails.
    pub(super) fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        self.enter(|idle| {
            let lent = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection =
                lent.map_or_else(|| database::open_reader(&self.files.database), Ok)?;
            let answer = work(&connection);
            if answer.as_ref().is_err_and(Fault::is_damage) {
                self.is_doubtful.store(true, Ordering::Relaxed);
            }
            // After an error of SQLite a new one costs less than doubts.
            if !matches!(answer, Err(Fault::Sqlite(_))) {
                let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
                if idle.len() < READERS_KEPT {
                    idle.push(connection);
                }
            }
            answer
        })
    }

    /// Works on a connection that only copies the log into the database, and is closed at once.
    ///
    /// # Errors
    /// As [`read`](Gate::read).
    pub(super) fn checkpoint<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        self.enter(|_| Ok(work(&database::open_checkpointer(&self.files.database)?)?))
    }

    fn enter<T>(
        &self,
        work: impl FnOnce(&Mutex<Vec<Connection>>) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Shut(reason) => Err(reason.clone()),
            State::Open { opened, idle } => {
                self.files.check(opened)?;
                work(idle).map_err(StoreError::from)
            }
        }
    }

    fn set(&self, state: State) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
    }
}
