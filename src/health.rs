//! Whether the daemon is alive, and whether it can take jobs in.
//!
//! *Alive* is about its own loops alone: a restart helps against a loop that hangs, and against
//! nothing else. *Ready* is about what a client gets: the thread `health` asks the store every
//! second, so that whoever wants to know never waits for it.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::intake::Room;
use crate::metrics::STORE;
use crate::registry::Registry;
use crate::store::{Store, StoreError};
use crate::threads;

/// How long a loop may be at work of its own before it is taken for stuck.
const STUCK: Duration = Duration::from_secs(10);
/// How long a store may take for an answer before it is taken for away. Its calls may take 5 s.
const MAX_CHECK_TIME: Duration = Duration::from_secs(3);
/// How often the store is asked.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Which of the daemon's loops no longer turn; `None` if all do. `front_silence` is how long ago
/// the front's slowest loop turned.
pub fn ailment(front_silence: Duration) -> Option<String> {
    if front_silence > STUCK {
        return Some(format!("the HTTP front has not turned for {} s", front_silence.as_secs()));
    }
    let stuck = threads::stuck(STUCK);
    let (name, time) = stuck.first()?;
    Some(format!("the thread {name} has not turned for {} s", time.as_secs()))
}

/// Whether the daemon can take jobs in, by what is known.
pub struct Readiness {
    registry: Arc<Registry>,
    room: Arc<Room>,
    look: Mutex<Look>,
}

/// The last look at the store.
struct Look {
    /// Set while it is asked.
    since: Option<Instant>,
    /// What it last answered.
    result: Result<(), String>,
    /// Whether that was that another process has it.
    is_standby: bool,
}

impl Readiness {
    fn new(registry: Arc<Registry>, room: Arc<Room>) -> Readiness {
        let result = Err("the store has not been asked yet".to_owned());
        let look = Mutex::new(Look { since: None, result, is_standby: false });
        Readiness { registry, room, look }
    }

    /// Whether the store answers.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn store(&self) -> Result<(), String> {
        let look = self.look();
        match look.since.map(|since| since.elapsed()) {
            Some(time) if time > MAX_CHECK_TIME => {
                let seconds = time.as_secs();
                Err(look
                    .result
                    .clone()
                    .err()
                    .unwrap_or_else(|| format!("the store has not answered for {seconds} s")))
            }
            _ => look.result.clone(),
        }
    }

    /// Whether another process has the store, and this one takes over when that one ends.
    pub fn is_standby(&self) -> bool {
        self.look().is_standby
    }

    /// Whether a job that came now would be stored.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn check(&self) -> Result<(), String> {
        if self.registry.is_stopping() {
            return Err("the daemon is stopping".to_owned());
        }
        self.store()?;
        self.room.check()?;
        if !self.registry.is_loaded() {
            return Err("the definitions have not been read yet".to_owned());
        }
        Ok(())
    }

    fn ask(&self, store: &dyn Store) {
        self.look().since = Some(Instant::now());
        // The jobs and the definitions may lie in two databases.
        let answer = store.now_ms().and_then(|_| store.revision());
        let is_standby = matches!(answer, Err(StoreError::Standby(_)));
        if answer.is_err() && !is_standby {
            STORE.check_errors.add(1);
        }
        let result = answer.map(drop).map_err(|error| error.to_string());
        *self.look() = Look { since: None, result, is_standby };
    }

    fn look(&self) -> MutexGuard<'_, Look> {
        self.look.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread `health`, which asks the store.
pub struct Checker {
    readiness: Arc<Readiness>,
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Checker {
    /// Starts the thread; it asks at once.
    ///
    /// # Errors
    /// The system does not give a thread.
    pub fn start(
        store: Arc<dyn Store>,
        registry: Arc<Registry>,
        room: Arc<Room>,
    ) -> io::Result<Checker> {
        let readiness = Arc::new(Readiness::new(registry, room));
        let (stop, stopped) = bounded(0);
        let its = Arc::clone(&readiness);
        let thread = threads::spawn("health".to_owned(), move || run(&*store, &its, &stopped))?;
        Ok(Checker { readiness, stop, thread })
    }

    /// What the thread finds out.
    pub fn readiness(&self) -> Arc<Readiness> {
        Arc::clone(&self.readiness)
    }

    /// Ends the thread; answers whether it ended by `deadline`.
    pub fn close(self, deadline: Instant) -> bool {
        drop(self.stop);
        threads::join_until(self.thread, deadline)
    }
}

fn run(store: &dyn Store, readiness: &Readiness, stopped: &Receiver<()>) {
    loop {
        readiness.ask(store);
        if stopped.recv_timeout(CHECK_INTERVAL) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_front_that_is_silent_is_an_ailment() {
        assert_eq!(ailment(Duration::from_secs(2)), None);
        let expected = "the HTTP front has not turned for 11 s";
        assert_eq!(ailment(Duration::from_secs(11)).as_deref(), Some(expected));
    }
}
