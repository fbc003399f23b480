//! The holder: keeps the locks of all queues that this node leads.
//!
//! Thread `lease-hold`, which owns one session and the list of candidates. It sleeps on the
//! session's socket, so that its end is seen at once, and on a wake-up. No statement that it sends
//! waits for a lock; each has the time-out of [`Terms`].

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use mysql::Error;

use super::candidate::Candidate;
use super::elector::Shared;
use super::hang_up::HangUp;
use super::look::Looks;
use super::name::Naming;
use super::rows::QueueLease;
use super::session::{HoldSession, lost};
use super::terms::Terms;
use super::token::TokenSource;
use super::wait::{Report, Waiter};
use crate::store::mysql::connector::Connector;
use crate::store::mysql::fault;
use crate::store::mysql::pool::Pool;

/// The readiness token of the wake-up.
pub(super) const WAKE: Token = Token(0);
/// That of the session's socket.
const SESSION: Token = Token(1);

/// Between two looks for locks that came free.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After a lock came free its holder may be about to let go of others, one by one: looks follow at
/// these distances, the last one first.
const LOOK_AGAIN_AFTER: [Duration; 3] =
    [Duration::from_millis(250), Duration::from_millis(50), Duration::from_millis(10)];
/// Between two attempts to open a session, growing from the first to the second.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long the thread sleeps when it has nothing to do.
const IDLE: Duration = Duration::from_secs(60);
/// How many queues a line of the log names.
const NAMES_LOGGED: usize = 10;

/// What the thread is started with.
pub(super) struct Setup {
    pub(super) shared: Arc<Shared>,
    pub(super) connector: Arc<Connector>,
    pub(super) pool: Arc<Pool>,
    pub(super) naming: Naming,
    pub(super) terms: Terms,
    pub(super) poll: Poll,
    pub(super) waiter: Waiter,
    pub(super) hang_up: Arc<HangUp>,
    pub(super) tokens: TokenSource,
}

/// What the thread owns.
pub(super) struct Holding {
    setup: Setup,
    looks: Arc<Looks>,
    seats: Vec<Seat>,
    session: Option<HoldSession>,
    /// When to try to open a session again, and how long to pause after that.
    open_at: Instant,
    pause: Duration,
    /// Whether the log says that the server cannot be reached.
    is_down: bool,
    beat_at: Instant,
    look_at: Instant,
    /// How many of [`LOOK_AGAIN_AFTER`] are left.
    looks_ahead: usize,
    /// When the waiter may be sent again, and how many times it was.
    wait_at: Instant,
    waits: usize,
}

/// A candidate, and the name of the lock that is held for it.
struct Seat {
    candidate: Arc<Candidate>,
    held: Option<String>,
}

impl Holding {
    pub(super) fn new(setup: Setup) -> Holding {
        let now = Instant::now();
        Holding {
            looks: Arc::new(Looks::new(Arc::clone(&setup.pool))),
            setup,
            seats: Vec::new(),
            session: None,
            open_at: now,
            pause: SHORTEST_PAUSE,
            is_down: false,
            beat_at: now,
            look_at: now,
            looks_ahead: 0,
            wait_at: now,
            waits: 0,
        }
    }

    /// The thread, from start to end.
    pub(super) fn run(mut self) {
        while !self.setup.shared.is_closing() {
            self.admit();
            let rest_until = self.attend().unwrap_or_else(|error| self.lose(&error));
            self.sleep(rest_until);
        }
        // The leases end first; then the session is closed, which frees their locks.
        self.end_leases();
    }

    /// Takes in those who began to stand, and looks for their locks at once.
    fn admit(&mut self) {
        for candidate in self.setup.shared.take_joining() {
            self.seats.push(Seat { candidate, held: None });
            self.look_at = Instant::now();
        }
    }

    /// Does what is due, and answers when to come back.
    fn attend(&mut self) -> Result<Instant, Error> {
        self.dismiss()?;
        let now = Instant::now();
        if self.seats.is_empty() {
            self.close_session();
            return Ok(now + IDLE);
        }
        if self.session.is_none() && !self.open(now) {
            return Ok(self.open_at);
        }
        self.heed_waiter(now);
        self.beat(now)?;
        self.look(now)?;
        self.send_waiter(now);
        Ok(self.beat_at.min(self.look_at))
    }

    /// Lets those go who have withdrawn. Their leases ended when they did.
    fn dismiss(&mut self) -> Result<(), Error> {
        let (gone, left): (Vec<Seat>, Vec<Seat>) =
            self.seats.drain(..).partition(|seat| seat.candidate.has_withdrawn());
        self.seats = left;
        let locks: Vec<String> = gone.into_iter().filter_map(|seat| seat.held).collect();
        match &mut self.session {
            Some(session) if !locks.is_empty() => {
                // Another candidate of this node may stand for the same queue.
                self.look_at = Instant::now();
                session.release(&locks)
            }
            _ => Ok(()),
        }
    }

    /// Whether there is a session now. Says once that there cannot be one.
    fn open(&mut self, now: Instant) -> bool {
        if now < self.open_at {
            return false;
        }
        match self.try_open() {
            Ok(session) => {
                if std::mem::take(&mut self.is_down) {
                    log::info!("The database can be reached again; standing for its queues.");
                }
                self.session = Some(session);
                self.pause = SHORTEST_PAUSE;
                self.beat_at = now + self.setup.terms.beat_every;
                self.look_at = now;
                true
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_down, true) {
                    log::warn!("No queue can be led: {}", fault::in_words(&error));
                }
                self.open_at = Instant::now() + self.pause;
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                false
            }
        }
    }

    fn try_open(&self) -> Result<HoldSession, Error> {
        let Setup { connector, terms, hang_up, poll, .. } = &self.setup;
        let session = HoldSession::open(connector, *terms, hang_up)?;
        let socket = session.socket();
        poll.registry().register(&mut SourceFd(&socket), SESSION, Interest::READABLE)?;
        Ok(session)
    }

    fn beat(&mut self, now: Instant) -> Result<(), Error> {
        match &mut self.session {
            Some(session) if now >= self.beat_at => {
                session.beat()?;
                self.beat_at = now + self.setup.terms.beat_every;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Takes every lock that is wanted and free.
    fn look(&mut self, now: Instant) -> Result<(), Error> {
        let Some(session) = &mut self.session else { return Ok(()) };
        if now < self.look_at {
            return Ok(());
        }
        let rest = match self.looks_ahead.checked_sub(1) {
            Some(left) => {
                self.looks_ahead = left;
                LOOK_AGAIN_AFTER[left]
            }
            None => LOOK_EVERY,
        };
        self.look_at = now + rest;
        let wanted = wanted(&self.seats, self.setup.naming, session.database());
        let locks: Vec<&str> = wanted.iter().map(|(_, lock)| lock.as_str()).collect();
        let taken = session.take(&locks)?;
        let mut gained = Vec::new();
        for ((index, lock), _) in wanted.into_iter().zip(taken).filter(|(_, taken)| *taken) {
            let seat = &mut self.seats[index];
            gained.push(seat.candidate.queue.as_ref().to_owned());
            seat.candidate.grant(Arc::new(QueueLease::new(
                Arc::clone(&seat.candidate.queue),
                self.setup.tokens.draw(),
                session.fence_of(&lock),
                Arc::clone(&self.setup.pool),
                Arc::clone(&self.looks),
            )));
            seat.held = Some(lock);
        }
        if !gained.is_empty() {
            log::debug!("Primary now for {}", listed(&gained));
        }
        Ok(())
    }

    /// Takes in what the waiter has to say.
    fn heed_waiter(&mut self, now: Instant) {
        match self.setup.waiter.report() {
            Some(Report::CameFree) => {
                self.look_at = now;
                self.looks_ahead = LOOK_AGAIN_AFTER.len();
            }
            Some(Report::Failed) => self.wait_at = now + LONGEST_PAUSE,
            Some(Report::StillHeld) | None => {}
        }
    }

    /// Sends the waiter to a lock that another node holds, each in turn.
    fn send_waiter(&mut self, now: Instant) {
        let Some(session) = &self.session else { return };
        if self.setup.waiter.is_waiting() || now < self.wait_at {
            return;
        }
        let mut wanted = wanted(&self.seats, self.setup.naming, session.database());
        if !wanted.is_empty() {
            let (_, lock) = wanted.swap_remove(self.waits % wanted.len());
            self.waits = self.waits.wrapping_add(1);
            self.setup.waiter.wait_for(lock);
        }
    }

    /// Sleeps until then, or until something happens: a wake-up, or the end of the session.
    fn sleep(&mut self, until: Instant) {
        let mut events = Events::with_capacity(4);
        let timeout = until.saturating_duration_since(Instant::now());
        // An error is an interruption, after which there is no harm in looking around.
        if self.setup.poll.poll(&mut events, Some(timeout)).is_ok()
            && events.iter().any(|event| event.token() == SESSION)
            && self.session.is_some()
        {
            // Nothing was asked, so whatever there is to read is the end.
            self.lose(&lost("the server has closed the session"));
        }
    }

    /// Ends the session and all its leases; answers when to go on.
    fn lose(&mut self, error: &Error) -> Instant {
        let lost = self.end_leases();
        if !lost.is_empty() {
            log::warn!("No longer primary for {}: {}", listed(&lost), fault::in_words(error));
        }
        self.open_at = Instant::now() + SHORTEST_PAUSE;
        self.open_at
    }

    fn end_leases(&mut self) -> Vec<String> {
        if let Some(session) = &self.session {
            session.end();
        }
        let mut lost = Vec::new();
        for seat in self.seats.iter_mut().filter(|seat| seat.held.is_some()) {
            seat.held = None;
            seat.candidate.lose();
            lost.push(seat.candidate.queue.as_ref().to_owned());
        }
        self.close_session();
        lost
    }

    fn close_session(&mut self) {
        if let Some(session) = self.session.take() {
            // Closing it would do; this only fails where that has already happened.
            let _ = self.setup.poll.registry().deregister(&mut SourceFd(&session.socket()));
        }
    }
}

/// The locks that are wanted and not held, each once, with the index of the seat that wants it.
fn wanted(seats: &[Seat], naming: Naming, database: &str) -> Vec<(usize, String)> {
    let mut seen: HashSet<String> = seats.iter().filter_map(|seat| seat.held.clone()).collect();
    let unheld = seats.iter().enumerate().filter(|(_, seat)| seat.held.is_none());
    unheld
        .map(|(index, seat)| (index, naming.queue_lock(database, &seat.candidate.queue)))
        .filter(|(_, lock)| seen.insert(lock.clone()))
        .collect()
}

/// Names of queues for a line of the log, which must not grow with their number.
fn listed(queues: &[String]) -> String {
    let named = queues[..queues.len().min(NAMES_LOGGED)].join(", ");
    match queues.len().checked_sub(NAMES_LOGGED) {
        Some(more) if more > 0 => format!("{named} and {more} more queues"),
        _ => named,
    }
}
