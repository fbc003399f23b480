//! The loop of a thread `http-N`: waits for sockets, accepts, and gives each connection that has
//! something to do its turn. The thread owns its connections; nothing else touches their sockets.
//!
//! One turn of the loop does a bounded amount of work for each connection, and one request of each
//! at most, so that none keeps the others waiting. It must never block but in its poller.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connection::{Connection, Outcome, Turn};
use super::deadlines::Deadlines;
use super::memory::Share;
use super::readiness::{Event, Interest, Poller, Token};
use super::reply::{Letter, Mailbox, Reply};
use super::response::Encoder;
use super::slab::Slab;
use super::stream::{Listener, Stream};
use super::{Request, Shared};

/// The longest sleep, so that the watchdog sees the loop turn.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How long accepting pauses when the system has nothing left for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections that one thread accepts in one turn: few, so that the others get their share.
const ACCEPTS_PER_TURN: usize = 8;

/// Connections over the limit that are told so in peace. One more is closed without ceremony.
const MAX_TURNED_AWAY: usize = 256;

/// The bytes that one read can take.
const SCRATCH_SIZE: usize = 64 * 1024;

/// How long a stop waits for the first request of a client that had just connected.
const FIRST_REQUEST_GRACE: Duration = Duration::from_millis(500);

/// The waker's token. Tokens of connections have small lower halves.
const WAKER: Token = Token(u64::MAX);

/// The token of a listener.
fn listener_token(index: usize) -> Token {
    Token(u64::MAX - 1 - index as u64)
}

pub(super) struct Acceptor {
    index: usize,
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox>,
    poller: Poller,
    /// Empty once the front stops.
    listeners: Vec<Listener>,
    /// Whether this thread has begun to stop.
    is_stopping: bool,
    /// Set while accepting pauses.
    accept_again_at: Option<Instant>,
    connections: Slab<Connection>,
    deadlines: Deadlines,
    /// The letters being delivered; kept for its memory.
    letters: Vec<Letter>,
    scratch: Vec<u8>,
    encoder: Encoder,
    /// The time when the thread last woke.
    now: Instant,
}

impl Acceptor {
    pub(super) fn new(
        index: usize,
        listeners: Vec<Listener>,
        shared: Arc<Shared>,
    ) -> io::Result<Acceptor> {
        let poller = Poller::new()?;
        let mailbox = Arc::new(Mailbox::new(Arc::clone(&shared.answers))?);
        poller.add(mailbox.waker(), WAKER, Interest::Read)?;
        for (index, listener) in listeners.iter().enumerate() {
            listener.set_nonblocking()?;
            poller.add(listener, listener_token(index), Interest::Read)?;
        }
        Ok(Acceptor {
            index,
            shared,
            mailbox,
            poller,
            listeners,
            is_stopping: false,
            accept_again_at: None,
            connections: Slab::new(),
            deadlines: Deadlines::default(),
            letters: Vec::new(),
            scratch: vec![0; SCRATCH_SIZE],
            encoder: Encoder::default(),
            now: Instant::now(),
        })
    }

    pub(super) fn mailbox(&self) -> Arc<Mailbox> {
        Arc::clone(&self.mailbox)
    }

    /// Turns until the front stops.
    pub(super) fn run(mut self) {
        loop {
            if let Err(error) = self.turn() {
                // Nothing can be done without the poller. The watchdog sees the silence.
                log::error!("An HTTP thread ends, since it cannot wait for sockets: {error}");
                break;
            }
            if !self.is_stopping && self.shared.is_stopping() {
                self.begin_stop();
            }
            let deadline = self.shared.stop_deadline.get();
            let is_over = deadline.is_some_and(|deadline| *deadline <= self.now);
            if self.is_stopping && (is_over || self.connections.len() == 0) {
                break;
            }
        }
        self.end();
    }

    fn turn(&mut self) -> io::Result<()> {
        let timeout = if self.mailbox.may_sleep() { self.sleep_time() } else { Duration::ZERO };
        self.poller.wait(timeout)?;
        self.mailbox.awake();
        self.now = Instant::now();
        self.shared.vitals.beat(self.index, self.now);
        let mut index = 0;
        while let Some(event) = self.poller.event(index) {
            self.event(event);
            index += 1;
        }
        self.deliver();
        self.expire();
        self.resume_accepting();
        Ok(())
    }

    fn sleep_time(&self) -> Duration {
        let now = Instant::now();
        let stop_deadline = self.shared.stop_deadline.get().copied();
        let alarms = [self.deadlines.next(), self.accept_again_at, stop_deadline];
        let next = alarms.into_iter().flatten().min();
        next.map_or(HEARTBEAT, |next| next.saturating_duration_since(now).min(HEARTBEAT))
    }

    fn event(&mut self, event: Event) {
        if event.token == WAKER {
            self.mailbox.waker().clear();
            return;
        }
        let listener = u64::MAX - 1 - event.token.0;
        match usize::try_from(listener) {
            Ok(index) if index < self.listeners.len() => self.accept(index),
            _ => self.give_turn(event.token, |connection, turn, scratch| {
                connection.ready(event.is_broken, turn, scratch)
            }),
        }
    }

    /// Hands the letters of this moment to their connections. Those that come meanwhile, answers
    /// to pipelined requests among them, wait for the next turn.
    fn deliver(&mut self) {
        let mut letters = std::mem::take(&mut self.letters);
        self.mailbox.take(&mut letters);
        for Letter { token, answer } in letters.drain(..) {
            self.give_turn(token, |connection, turn, _| connection.answer(answer, turn));
        }
        self.letters = letters;
    }

    fn expire(&mut self) {
        while let Some((at, token)) = self.deadlines.pop_due(self.now) {
            let Some(connection) = self.connections.get_mut(token) else { continue };
            if connection.alarm != Some(at) {
                continue;
            }
            connection.alarm = None;
            let is_due = connection.deadline().is_some_and(|deadline| deadline <= self.now);
            self.give_turn(
                token,
                |connection, turn, _| {
                    if is_due { connection.expired(turn) } else { Outcome::Wait }
                },
            );
        }
        let connections = &self.connections;
        self.deadlines.sweep(connections.len(), |at, token| {
            connections.get(token).is_some_and(|connection| connection.alarm == Some(at))
        });
    }

    /// Lets a connection do something, and does what comes of it.
    fn give_turn(
        &mut self,
        token: Token,
        action: impl FnOnce(&mut Connection, &mut Turn<'_>, &mut [u8]) -> Outcome,
    ) {
        let Some(connection) = self.connections.get_mut(token) else { return };
        let mut turn = Turn { shared: &self.shared, encoder: &mut self.encoder, now: self.now };
        let outcome = action(connection, &mut turn, &mut self.scratch);
        let is_done = self.is_stopping
            && connection.is_idle()
            && first_request_by(connection).is_none_or(|by| by <= self.now);
        match outcome {
            Outcome::Close => self.close(token),
            Outcome::Wait if is_done => self.close(token),
            Outcome::Wait => self.settle(token),
            Outcome::Handle(request, share) => {
                self.settle(token);
                self.handle(token, request, share);
            }
        }
    }

    /// Tells the poller and the deadlines what the connection waits for now.
    fn settle(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(token) else { return };
        let first_by = first_request_by(connection).filter(|_| self.is_stopping);
        if let Some(deadline) = connection.deadline().into_iter().chain(first_by).min()
            && connection.alarm.is_none_or(|alarm| deadline < alarm)
        {
            connection.alarm = Some(deadline);
            self.deadlines.set(deadline, token);
        }
        let interest = connection.wanted_interest();
        if interest == connection.interest {
            return;
        }
        connection.interest = interest;
        if let Err(error) = self.poller.change(connection.stream(), token, interest) {
            log::warn!("A connection is closed, since it cannot be waited for: {error}");
            self.close(token);
        }
    }

    fn handle(&self, token: Token, request: Request, share: Option<Share>) {
        let reply = Reply::new(&self.mailbox, token, share);
        let handler = &self.shared.handler;
        let result = catch_unwind(AssertUnwindSafe(|| handler.handle(request, reply)));
        if result.is_err() {
            // The reply was dropped by the panic, which answers 500.
            log::error!("A handler of HTTP requests has panicked");
        }
    }

    fn close(&mut self, token: Token) {
        let Some(mut connection) = self.connections.remove(token) else { return };
        let turn = Turn { shared: &self.shared, encoder: &mut self.encoder, now: self.now };
        connection.closing(&turn);
        self.shared.vitals.closed();
    }

    fn accept(&mut self, index: usize) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = self.listeners.get(index) else { return };
            match listener.accept() {
                Ok((stream, remote_addr)) => self.open(stream, remote_addr),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.accept_failed(&error);
                    // A client that left before its turn takes nothing from the next one.
                    if error.kind() != io::ErrorKind::ConnectionAborted {
                        self.pause_accepting();
                        return;
                    }
                }
            }
        }
    }

    fn accept_failed(&self, error: &io::Error) {
        self.shared.vitals.accept_failed();
        if self.shared.may_log_accept_error(self.now) {
            let count = self.shared.vitals.accept_errors();
            log::error!("A connection could not be accepted ({count} since the start): {error}");
        }
    }

    fn open(&mut self, stream: Stream, remote_addr: Arc<str>) {
        let limit = self.shared.limits.max_connections;
        let open = self.shared.vitals.open_connections();
        self.shared.vitals.opened();
        let turn = Turn { shared: &self.shared, encoder: &mut self.encoder, now: self.now };
        let connection = Connection::new(stream, remote_addr, &turn);
        let token = self.connections.insert(connection);
        let Some(connection) = self.connections.get(token) else { return };
        if let Err(error) = self.poller.add(connection.stream(), token, Interest::Read) {
            self.accept_failed(&error);
            self.close(token);
        } else if open < limit {
            self.settle(token);
        } else {
            self.shared.vitals.refused();
            self.give_turn(token, |connection, turn, _| connection.turn_away(turn));
            if open >= limit.saturating_add(MAX_TURNED_AWAY) {
                self.close(token);
            }
        }
    }

    /// Without a pause the listener would be ready again and again, and the thread would spin.
    fn pause_accepting(&mut self) {
        self.accept_again_at = Some(self.now + ACCEPT_PAUSE);
        self.listen(Interest::Nothing);
    }

    fn resume_accepting(&mut self) {
        if self.accept_again_at.is_some_and(|at| at <= self.now) {
            self.accept_again_at = None;
            self.listen(Interest::Read);
        }
    }

    fn listen(&self, interest: Interest) {
        for (index, listener) in self.listeners.iter().enumerate() {
            if let Err(error) = self.poller.change(listener, listener_token(index), interest) {
                log::error!("A listener cannot be waited for: {error}");
            }
        }
    }

    /// Closes the listeners and the idle connections. A request that has arrived on one of them
    /// and was not read yet still counts as in hand; so does, for a moment, that of a new one.
    fn begin_stop(&mut self) {
        self.is_stopping = true;
        for listener in self.listeners.drain(..) {
            // The socket may live on in another process, and would then still be waited for.
            let _ = self.poller.remove(&listener);
        }
        for token in self.connections.tokens() {
            if self.connections.get(token).is_some_and(Connection::is_idle) {
                self.give_turn(token, |connection, turn, scratch| {
                    connection.ready(false, turn, scratch)
                });
            }
        }
    }

    fn end(&mut self) {
        self.mailbox.close();
        for token in self.connections.tokens() {
            self.close(token);
        }
    }
}

/// Until when a stop waits for the connection's first request; `None` if it has begun.
fn first_request_by(connection: &Connection) -> Option<Instant> {
    connection.is_new_since.map(|since| since + FIRST_REQUEST_GRACE)
}
