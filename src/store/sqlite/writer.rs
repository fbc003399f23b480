//! The thread `sqlite-write`: it has the lock and the one connection that writes, and commits in
//! groups what all callers hand in.
//!
//! Each waits until its own work is on the disk. Whatever has gathered meanwhile (pushes, outcomes,
//! grabs, definitions) becomes the next transaction: alone, a caller waits for nobody; together
//! they share the wait for the disk. The thread also stands by while another process has the
//! database, and opens the files anew after an error of the machine. It never waits for
//! a caller, and none waits for it longer than [`perform`] says.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use rusqlite::Connection;

use super::checkpoint;
use super::database;
use super::fault::Fault;
use super::files::{Attempt, Displaced, Files, Lock, Opened, Sizes};
use super::gate::Gate;
use super::group;
use super::task::{Task, perform};
use crate::metrics::STORE;
use crate::store::StoreError;
use crate::store::election::Elections;
use crate::threads;
use crate::wake::Wake;

/// Pieces of work in one transaction at the most.
const MAX_GROUP: usize = 128;
/// How often a backup tries the lock.
const LOCK_INTERVAL: Duration = Duration::from_millis(50);
/// How often a database that cannot be opened is tried again.
const OPEN_INTERVAL: Duration = Duration::from_millis(500);
/// How long a close waits for the thread.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

enum Message {
    Task(Box<dyn Task>),
    Checkpoint,
    Close,
}

/// The way to the thread.
pub(super) struct Writer {
    // Bounded by the callers: each waits for its answer, and what nobody waits for is not done.
    sender: Sender<Message>,
}

/// What the thread works with.
pub(super) struct Tools {
    pub(super) files: Arc<Files>,
    pub(super) gate: Arc<Gate>,
    pub(super) elections: Arc<Elections>,
    /// Told when there is something to copy into the database.
    pub(super) checkpointer: Wake,
}

/// What this process has of the database.
#[derive(Default)]
pub(super) struct Possession {
    /// Ended last.
    pub(super) lock: Option<Lock>,
    pub(super) connection: Option<Connection>,
    /// The files that were opened first. Another database is not taken for this one.
    opened: Option<Opened>,
}

/// Why the thread no longer serves.
enum End {
    Closed,
    Reopen(StoreError),
    Fenced(StoreError),
}

impl Writer {
    /// Starts the thread on what this process has already.
    ///
    /// # Errors
    /// The system does not give a thread.
    pub(super) fn start(
        tools: Tools,
        possession: Possession,
    ) -> std::io::Result<(Writer, JoinHandle<()>)> {
        let (sender, receiver) = unbounded();
        let thread = threads::spawn("sqlite-write".to_owned(), move || {
            let sizes = Sizes::default();
            Loop { tools, receiver, is_well: true, is_fenced: false, is_doubtful: false, sizes }
                .run(possession);
        })?;
        Ok((Writer { sender }, thread))
    }

    /// Does work in a transaction and answers when it is on the disk.
    ///
    /// # Errors
    /// See [`perform`].
    pub(super) fn write<T: Send + 'static>(
        &self,
        work: impl FnMut(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        perform(|task| self.sender.send(Message::Task(task)).is_ok(), work)
    }

    /// A handle that asks the thread to copy the rest of the log between two groups.
    pub(super) fn checkpoint_request(&self) -> impl Fn() + Send + 'static {
        let sender = self.sender.clone();
        move || drop(sender.send(Message::Checkpoint))
    }

    /// Ends the thread after what was handed in before.
    pub(super) fn close(&self, thread: JoinHandle<()>) {
        let _ = self.sender.send(Message::Close);
        if !threads::join_until(thread, Instant::now() + CLOSE_TIMEOUT) {
            log::warn!("the database was not closed in time; nothing is lost by that");
        }
    }
}

impl Possession {
    /// What a process has that has the lock.
    pub(super) fn of(lock: Lock) -> Possession {
        Possession { lock: Some(lock), ..Possession::default() }
    }

    /// Opens the database and its gate; one that is doubtful is looked through first. Nothing
    /// happens without the lock.
    ///
    /// # Errors
    /// The database cannot be used.
    pub(super) fn open(
        &mut self,
        files: &Files,
        gate: &Gate,
        is_doubtful: bool,
    ) -> Result<(), Fault> {
        let Some(lock) = &self.lock else { return Ok(()) };
        let cannot_open = |error: std::io::Error| {
            let path = files.database.display();
            StoreError::Unavailable(format!("{path} cannot be opened: {error}"))
        };
        match &self.opened {
            None => files.create_database().map_err(cannot_open)?,
            Some(before) => files.check_database(before).map_err(StoreError::from)?,
        }
        let connection = database::open_writer(&files.database)?;
        if is_doubtful {
            database::check(&connection)?;
        }
        let opened = files.opened(lock).map_err(cannot_open)?;
        gate.open(opened);
        self.opened = Some(opened);
        self.connection = Some(connection);
        Ok(())
    }
}

struct Loop {
    tools: Tools,
    receiver: Receiver<Message>,
    /// So that an outage is logged when it begins, not at each group.
    is_well: bool,
    /// Whether another process may have the database: then this one never has it again.
    is_fenced: bool,
    /// Whether damage was found, by whomever.
    is_doubtful: bool,
    /// After the last commit.
    sizes: Sizes,
}

impl Loop {
    fn run(mut self, mut possession: Possession) {
        loop {
            let Some(connection) = self.obtain(&mut possession) else { break };
            let end = self.serve(&connection);
            let reason = match &end {
                End::Closed => StoreError::Unavailable("the store is closed".to_owned()),
                End::Reopen(reason) | End::Fenced(reason) => reason.clone(),
            };
            // Before the connection goes: the last one to go tidies up.
            self.tools.gate.shut(reason.clone());
            close(connection);
            match end {
                End::Closed => break,
                End::Reopen(_) => {}
                End::Fenced(_) => {
                    log::error!("{reason}");
                    self.is_fenced = true;
                    self.tools.elections.end();
                }
            }
        }
        self.tools.gate.shut(StoreError::Unavailable("the store is closed".to_owned()));
        drop(possession);
    }

    /// Waits for the lock and opens the database; meanwhile whoever comes is told why not.
    /// `None` if the store is closed before.
    fn obtain(&mut self, possession: &mut Possession) -> Option<Connection> {
        loop {
            if let Some(connection) = possession.connection.take() {
                self.tools.elections.open();
                return Some(connection);
            }
            let began = Instant::now();
            let wait = match self.try_to_obtain(possession) {
                Ok(wait) => wait,
                Err(error) => {
                    if self.is_well {
                        log::error!("{error}");
                    }
                    self.is_well = false;
                    self.tools.gate.shut(error);
                    // To look through a large database again and again would take all there is.
                    OPEN_INTERVAL.max(4 * began.elapsed())
                }
            };
            if possession.connection.is_none() && !self.refuse_for(wait) {
                return None;
            }
        }
    }

    /// Takes what is free; answers how long to wait for the rest.
    fn try_to_obtain(&mut self, possession: &mut Possession) -> Result<Duration, StoreError> {
        let Tools { files, gate, .. } = &self.tools;
        if self.is_fenced {
            return Ok(OPEN_INTERVAL);
        }
        if possession.lock.is_none() {
            match files.try_lock().map_err(|error| lock_error(files, &error))? {
                Attempt::Ours(lock) => *possession = Possession::of(lock),
                Attempt::Taken(by) => {
                    gate.shut(stand_by(files, by));
                    return Ok(LOCK_INTERVAL);
                }
            }
            log::info!("this node has {} now", files.database.display());
        }
        let opened = possession.open(files, gate, self.is_doubtful);
        match &opened {
            Ok(()) => STORE.connections_opened.add(1),
            Err(_) => STORE.connection_errors.add(1),
        }
        opened?;
        self.is_doubtful = false;
        self.sizes = Sizes::default();
        Ok(Duration::ZERO)
    }

    /// Tells everybody who comes within `wait` that the gate is shut; answers whether the store is
    /// still to be open.
    fn refuse_for(&self, wait: Duration) -> bool {
        let until = Instant::now() + wait;
        loop {
            match self.receiver.recv_deadline(until) {
                Ok(Message::Task(task)) => {
                    let unknown = || StoreError::Unavailable("the database is not open".to_owned());
                    task.answer(Err(self.tools.gate.reason().unwrap_or_else(unknown)));
                }
                Ok(Message::Checkpoint) => {}
                Ok(Message::Close) | Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) => return true,
            }
        }
    }

    /// Commits one group after the other.
    fn serve(&mut self, connection: &Connection) -> End {
        loop {
            let (tasks, is_closing) = self.gather(connection);
            if !tasks.is_empty()
                && let Some(end) = self.commit(connection, tasks)
            {
                return end;
            }
            if is_closing {
                return End::Closed;
            }
        }
    }

    /// Waits for work and takes what has gathered; answers also whether that is the last.
    fn gather(&self, connection: &Connection) -> (Vec<Box<dyn Task>>, bool) {
        let mut tasks: Vec<Box<dyn Task>> = Vec::new();
        let mut next = self.receiver.recv().ok();
        loop {
            match next {
                Some(Message::Task(task)) if task.deadline() < Instant::now() => {
                    let late = StoreError::Unavailable("the database does not keep up".to_owned());
                    task.answer(Err(late));
                }
                Some(Message::Task(task)) => tasks.push(task),
                // What the checkpointer left over is little.
                Some(Message::Checkpoint) => self.copy_log(connection),
                Some(Message::Close) | None => return (tasks, true),
            }
            if tasks.len() >= MAX_GROUP {
                return (tasks, false);
            }
            next = match self.receiver.try_recv() {
                Ok(message) => Some(message),
                Err(_) => return (tasks, false),
            };
        }
    }

    fn copy_log(&self, connection: &Connection) {
        if let Err(error) = checkpoint::copy(connection) {
            log::debug!("the log cannot be copied into the database: {error}");
        }
    }

    /// Commits a group and answers all of it; answers why the connection has to go, if it has.
    fn commit(&mut self, connection: &Connection, mut tasks: Vec<Box<dyn Task>>) -> Option<End> {
        if self.tools.gate.take_doubt() {
            self.is_doubtful = true;
            let error = StoreError::Unavailable("the database is damaged".to_owned());
            tasks.into_iter().for_each(|task| task.answer(Err(error.clone())));
            return Some(End::Reopen(error));
        }
        let whole = self.tools.gate.check();
        if let Err(displaced) = whole.and_then(|()| self.tools.files.check_sizes(self.sizes)) {
            return self.refuse(tasks, displaced);
        }
        let changes = connection.total_changes();
        let outcomes = group::commit(connection, &mut tasks);
        let has_written = connection.total_changes() != changes;
        // Again, before anybody is told: what was committed to a file that has gone is lost.
        if let Err(displaced) = self.tools.gate.check() {
            return self.refuse(tasks, displaced);
        }
        for (task, answer) in tasks.into_iter().zip(outcomes.answers) {
            task.answer(answer);
        }
        if has_written {
            self.sizes = self.tools.files.sizes();
            self.tools.checkpointer.wake();
        }
        let Some(fault) = outcomes.outage else {
            if !self.is_well && has_written {
                log::info!("the database can be written again");
                self.is_well = true;
            }
            return None;
        };
        let ends_connection = fault.ends_connection();
        self.is_doubtful |= fault.is_damage();
        let error = StoreError::from(fault);
        if self.is_well {
            log::error!("{error}");
            self.is_well = false;
        }
        ends_connection.then_some(End::Reopen(error))
    }

    fn refuse(&mut self, tasks: Vec<Box<dyn Task>>, displaced: Displaced) -> Option<End> {
        let is_in_place = matches!(displaced, Displaced::Database(_));
        let is_fenced = matches!(displaced, Displaced::Lock(_));
        let error = StoreError::from(displaced);
        for task in tasks {
            task.answer(Err(error.clone()));
        }
        if self.is_well && !is_fenced {
            log::error!("{error}");
            self.is_well = false;
        }
        match (is_in_place, is_fenced) {
            // It may come back, and what is in it is known only through the descriptors.
            (true, _) => None,
            (_, true) => Some(End::Fenced(error)),
            _ => Some(End::Reopen(error)),
        }
    }
}

/// Why a node stands by.
pub(super) fn stand_by(files: &Files, by: Option<u32>) -> StoreError {
    let process = by.map_or("another process".to_owned(), |id| format!("another process ({id})"));
    StoreError::Standby(format!(
        "{} is in use by {process}: this node stands by",
        files.database.display()
    ))
}

/// Why the lock cannot be asked for.
pub(super) fn lock_error(files: &Files, error: &std::io::Error) -> StoreError {
    StoreError::Unavailable(format!("{} cannot be locked: {error}", files.database.display()))
}

/// Copies the log into the database, empties it, and closes the connection, which must be the last.
/// SQLite leaves a log alone whose database is no longer at its path; there, it would be taken for
/// that of whatever database comes next.
fn close(connection: Connection) {
    if let Err(error) = checkpoint::copy_all(&connection) {
        log::debug!("the log cannot be copied into the database: {error}");
    }
    if let Err((_, error)) = connection.close() {
        log::debug!("the database cannot be closed: {error}");
    }
}
