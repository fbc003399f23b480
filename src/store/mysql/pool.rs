//! A bounded number of sessions, lent to one caller at a time.
//!
//! The driver's own pool hands out connections that answer one reply late after a time-out,
//! connects under its lock, and wants the server to be up at the start. This one is small:
//!
//! - The session used last is lent first, so that few are busy, their statements stay prepared,
//!   and the others are closed before the server's `wait_timeout` ends them.
//! - An idle session that its server ended is recognised before it is lent. So no statement is
//!   sent on a dead connection but where the server goes in that very moment; such a statement is
//!   not repeated, since nobody can know whether it was done.
//! - While the server is known to be down, calls fail at once with the reason; now and then one
//!   of them tries whether it is back.
//! - **Bounds**: a caller waits `MAX_WAIT` for a session; opening one takes at most
//!   `CONNECT_TIMEOUT` and one `READ_TIMEOUT` of a server that accepts and falls silent; no
//!   statement begins later than 2 s after the call. So every call returns within 5 s.
//!
//! No thread belongs to the pool. Nothing may be lent while its lock is held.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mysql::Error;

use super::connector::Connector;
use super::fault::{self, Fault};
use super::session::Session;
use crate::store::StoreError;

/// How long a caller waits for a session that another one has.
const MAX_WAIT: Duration = Duration::from_millis(1000);
/// How long it is remembered that the server was down, before one caller tries again.
const DOWN_MEMORY: Duration = Duration::from_millis(500);
/// How long the others are refused while one caller tries; it is done sooner.
const PROBE_TIME: Duration = Duration::from_millis(5000);
/// How long no further session is opened after the server had no room for one.
const CROWDED_MEMORY: Duration = Duration::from_millis(1000);
/// How long after its begin a call may begin a statement. With the time-out of that statement
/// this stays below the 5 s of the API's promise.
const CALL_TIME: Duration = Duration::from_millis(2000);
/// How often a transaction is repeated that others were in the way of.
const MAX_REPEATS: u32 = 10;

/// Sessions of one database, lent to one caller at a time.
pub struct Pool {
    connector: Arc<Connector>,
    capacity: usize,
    max_idle: Duration,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Sessions that nobody uses and since when; the one used last at the end.
    idle: Vec<(Session, Instant)>,
    /// How many there are: idle, lent, or being opened.
    open: usize,
    health: Health,
    /// No session is opened before this.
    crowded_until: Option<Instant>,
    closed: bool,
}

enum Health {
    Up,
    /// Calls fail at once before `until`; the first one after it tries whether this is over.
    Down {
        until: Instant,
        reason: String,
    },
}

/// What a caller gets from the state under the lock.
enum Turn {
    Lent(Session),
    /// The caller opens a session; it is counted already.
    Open,
    Refused(String),
    Wait,
}

impl Pool {
    /// A pool of at most `capacity` sessions. Nothing is connected yet.
    pub fn new(connector: Arc<Connector>, capacity: usize) -> Pool {
        let max_idle = connector.max_silence() / 2;
        let state = State {
            idle: Vec::new(),
            open: 0,
            health: Health::Up,
            crowded_until: None,
            closed: false,
        };
        Pool { connector, capacity, max_idle, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Runs `work` with a session. Where other transactions were in the way (a deadlock, a lock
    /// not granted in time), all of it is repeated some times.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] for a server that is not there for us, and what the server's
    /// refusal means.
    pub fn with<T>(
        &self,
        work: impl FnMut(&mut Session) -> Result<T, Error>,
    ) -> Result<T, StoreError> {
        self.with_repeats(work).map_err(StoreError::from)
    }

    /// As [`with`](Pool::with), with the server's refusal as it is.
    ///
    /// # Errors
    /// See [`Fault`].
    pub(super) fn with_repeats<T>(
        &self,
        work: impl FnMut(&mut Session) -> Result<T, Error>,
    ) -> Result<T, Fault> {
        self.repeat(Fault::is_contention, work)
    }

    /// As [`with_repeats`](Pool::with_repeats), for who has others to serve: a lock is waited for
    /// only once.
    ///
    /// # Errors
    /// See [`Fault`].
    pub(super) fn with_quick_repeats<T>(
        &self,
        work: impl FnMut(&mut Session) -> Result<T, Error>,
    ) -> Result<T, Fault> {
        self.repeat(|fault| fault.is_contention() && !fault.is_locked(), work)
    }

    fn repeat<T>(
        &self,
        is_worth_it: impl Fn(&Fault) -> bool,
        mut work: impl FnMut(&mut Session) -> Result<T, Error>,
    ) -> Result<T, Fault> {
        let last_start = last_start_from_now();
        let mut repeats = 0;
        loop {
            match self.attempt(last_start, &mut work) {
                Err(fault)
                    if is_worth_it(&fault)
                        && repeats < MAX_REPEATS
                        && Instant::now() < last_start =>
                {
                    repeats += 1;
                }
                answer => return answer,
            }
        }
    }

    /// Runs `work` once with a session that begins no statement after `last_start`.
    ///
    /// # Errors
    /// See [`Fault`].
    pub(super) fn attempt<T>(
        &self,
        last_start: Instant,
        work: impl FnOnce(&mut Session) -> Result<T, Error>,
    ) -> Result<T, Fault> {
        let (mut session, place) = self.lend()?;
        session.use_until(last_start);
        match work(&mut session) {
            Ok(answer) => {
                place.give_back(session);
                Ok(answer)
            }
            Err(Error::MySqlError(error)) if !fault::ends_session(&error) => {
                place.give_back(session);
                Err(Fault::Refused(error))
            }
            Err(error) => {
                session.mark_broken();
                let reason = fault::in_words(&error);
                if fault::is_silence(&error) {
                    // Perhaps only this statement was slow: the next caller finds out.
                    self.go_down(&mut self.lock(), reason.clone(), Duration::ZERO);
                }
                Err(Fault::Unavailable(reason))
            }
        }
    }

    /// What the pool opens its sessions with.
    pub fn connector(&self) -> &Arc<Connector> {
        &self.connector
    }

    /// Closes the idle sessions, and the others when they come back. Further calls fail.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let idle = std::mem::take(&mut state.idle);
        state.open -= idle.len();
        drop(state);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing is left half done under the lock, so what a panic left behind is in order.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lend(&self) -> Result<(Session, Place<'_>), Fault> {
        let wait_until = Instant::now() + MAX_WAIT;
        // Declared before the lock is taken, and so closed after it is let go.
        let mut ended = Vec::new();
        let mut state = self.lock();
        loop {
            match self.take_turn(&mut state, &mut ended) {
                Turn::Lent(session) => return Ok((session, Place { pool: self })),
                Turn::Refused(reason) => return Err(Fault::Unavailable(reason)),
                Turn::Open => {
                    drop(state);
                    ended.clear();
                    if let Some(opened) = self.open_session(Place { pool: self })? {
                        return Ok(opened);
                    }
                    state = self.lock();
                }
                Turn::Wait => {
                    let left = wait_until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        let text = "all connections to the database are busy";
                        return Err(Fault::Unavailable(text.to_owned()));
                    }
                    let waited = self.changed.wait_timeout(state, left);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    /// Decides what a caller gets. Sessions that were found dead or too old go to `ended`, to be
    /// closed without the lock.
    fn take_turn(&self, state: &mut State, ended: &mut Vec<Session>) -> Turn {
        let now = Instant::now();
        if state.closed {
            return Turn::Refused("the store is closed".to_owned());
        }
        let too_old =
            state.idle.iter().take_while(|(_, since)| now - *since > self.max_idle).count();
        ended.extend(state.idle.drain(..too_old).map(|(session, _)| session));
        state.open -= too_old;
        if let Health::Down { until, reason } = &mut state.health {
            if now < *until {
                return Turn::Refused(reason.clone());
            }
            *until = now + PROBE_TIME;
            // What is idle is from before the server fell silent; a fresh session tells more.
            state.open -= state.idle.len();
            ended.extend(state.idle.drain(..).map(|(session, _)| session));
            for session in ended {
                session.mark_broken();
            }
            state.open += 1;
            return Turn::Open;
        }
        while let Some((mut session, _)) = state.idle.pop() {
            if session.is_alive() {
                return Turn::Lent(session);
            }
            session.mark_broken();
            ended.push(session);
            state.open -= 1;
        }
        let crowded = state.crowded_until.is_some_and(|until| now < until);
        if state.open < self.capacity && !crowded {
            state.open += 1;
            return Turn::Open;
        }
        Turn::Wait
    }

    /// Opens a session for a place that is counted already. `None`: the server has no room for
    /// one more, but others of ours are open.
    fn open_session<'a>(&self, place: Place<'a>) -> Result<Option<(Session, Place<'a>)>, Fault> {
        match Session::open(&self.connector) {
            Ok(session) => {
                let mut state = self.lock();
                if let Health::Down { .. } = state.health {
                    log::info!("{}: the database is back", self.connector.describe());
                }
                state.health = Health::Up;
                drop(state);
                self.changed.notify_all();
                Ok(Some((session, place)))
            }
            Err(error) => {
                drop(place);
                let mut state = self.lock();
                if fault::is_crowded(&error) && state.open > 0 {
                    state.crowded_until = Some(Instant::now() + CROWDED_MEMORY);
                    state.health = Health::Up;
                    return Ok(None);
                }
                let reason = fault::in_words(&error);
                self.go_down(&mut state, reason.clone(), DOWN_MEMORY);
                Err(Fault::Unavailable(reason))
            }
        }
    }

    fn go_down(&self, state: &mut State, reason: String, memory: Duration) {
        if !matches!(&state.health, Health::Down { reason: known, .. } if *known == reason) {
            log::warn!("{}: {reason}", self.connector.describe());
        }
        state.health = Health::Down { until: Instant::now() + memory, reason };
        self.changed.notify_all();
    }
}

/// A session's place among those that the pool counts. Dropped, as by a panic, it is free again.
struct Place<'a> {
    pool: &'a Pool,
}

impl Place<'_> {
    /// Puts the session back. It keeps its place.
    fn give_back(self, session: Session) {
        let mut state = self.pool.lock();
        if state.closed {
            return;
        }
        state.idle.push((session, Instant::now()));
        drop(state);
        self.pool.changed.notify_one();
        std::mem::forget(self);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.pool.lock().open -= 1;
        self.pool.changed.notify_one();
    }
}

/// The last moment at which a call that begins now may begin a statement.
pub(super) fn last_start_from_now() -> Instant {
    Instant::now() + CALL_TIME
}
