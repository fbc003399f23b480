//! One connection: its socket, what has been read and not used yet, what has not been written yet,
//! and where it stands between the two.
//!
//! One request at a time: the next one is read once the answer is written, so that answers come in
//! the order of requests and a client that sends without reading is held back by its own socket.
//! Owned by one acceptor thread; no call here blocks, and each does a bounded amount of work.

use std::io::ErrorKind;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::buffers::{Input, Output};
use super::error::Refusal;
use super::framing::{Body, Framing, Length, framing};
use super::memory::Share;
use super::readiness::Interest;
use super::reply::Answer;
use super::request::{self, Scan};
use super::response::{Addressee, CONTINUE, Encoder};
use super::stream::Stream;
use super::{HTTPVersion, Head, Method, Request, Response, Shared};
use crate::logs::AccessEntry;

/// Reads of one connection before the others have their turn.
const READS_PER_TURN: usize = 4;

/// How long a refused client may go on sending before the connection is closed, and how much. A
/// connection closed while bytes arrive is reset, and the answer lost with it.
const LINGER_TIME: Duration = Duration::from_secs(5);
const LINGER_BYTES: usize = 64 << 20;

/// The status in the access log of a request whose client left before the answer. No client ever
/// sees it.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// What the owner lends to a connection that has something to do.
pub(super) struct Turn<'a> {
    pub(super) shared: &'a Shared,
    pub(super) encoder: &'a mut Encoder,
    /// The time when the thread last woke.
    pub(super) now: Instant,
}

/// What the owner is to do after a connection's turn.
#[derive(Debug)]
pub(super) enum Outcome {
    Wait,
    /// Hand on a request and, where it has a body, its share of the memory.
    Handle(Request, Option<Share>),
    Close,
}

pub(super) struct Connection {
    stream: Stream,
    remote_addr: Arc<str>,
    state: State,
    input: Input,
    /// When the first byte of the request in hand came.
    request_began: Instant,
    /// When the client has had enough time for what it is doing.
    deadline: Option<Instant>,
    /// Whether bytes came that were left in the socket, while a request was handled.
    has_unread: bool,
    /// Kept for the owner: what its poller and its deadlines know of this connection.
    pub(super) interest: Interest,
    pub(super) alarm: Option<Instant>,
    /// When the client connected; `None` once its first request has begun.
    pub(super) is_new_since: Option<Instant>,
}

enum State {
    /// Between two requests.
    Idle,
    /// The head of a request arrives.
    Head(Scan),
    /// The body of a request arrives.
    Body(Arc<Head>, Framing, Body),
    /// The handler has the request.
    Handling(Arc<Head>, KeepAlive),
    /// The client takes its answer too slowly for one write.
    Writing(Output, Afterwards),
    /// The last answer is written; what the client still sends is thrown away.
    Lingering { bytes: usize },
}

/// Whether the client would like to keep the connection.
#[derive(Clone, Copy)]
struct KeepAlive(bool);

/// What happens to the connection when an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Afterwards {
    KeepOpen,
    Close,
    Linger,
}

/// What the bytes at hand led to.
enum Progress {
    Continue(usize),
    NeedsMore(usize),
    Complete(usize, Request, Option<Share>),
}

/// A request that is refused before a handler saw it.
struct Refused {
    refusal: Refusal,
    head: Arc<Head>,
}

impl Connection {
    pub(super) fn new(stream: Stream, remote_addr: Arc<str>, turn: &Turn<'_>) -> Connection {
        let limits = &turn.shared.limits;
        Connection {
            stream,
            remote_addr,
            state: State::Idle,
            input: Input::new(Share::new(&turn.shared.memory)),
            request_began: turn.now,
            // Who connects means to send something.
            deadline: Some(turn.now + limits.request_timeout.min(limits.idle_timeout)),
            has_unread: false,
            interest: Interest::Read,
            alarm: None,
            is_new_since: Some(turn.now),
        }
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether there is no request in hand.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// What to wait for. While a request is handled nothing is read, but the interest stays until
    /// something comes: most clients wait for their answer, and need no change of interest at all.
    pub(super) fn wanted_interest(&self) -> Interest {
        match self.state {
            State::Writing(..) => Interest::Write,
            State::Handling(..) if self.has_unread => Interest::Nothing,
            _ => Interest::Read,
        }
    }

    /// The socket can be read or written, or is broken. `scratch` is what reads go into first.
    pub(super) fn ready(
        &mut self,
        is_broken: bool,
        turn: &mut Turn<'_>,
        scratch: &mut [u8],
    ) -> Outcome {
        match self.state {
            State::Idle | State::Head(_) | State::Body(..) => self.read(turn, scratch),
            State::Handling(..) if is_broken => Outcome::Close,
            State::Handling(..) => {
                self.has_unread = true;
                Outcome::Wait
            }
            State::Writing(..) => self.write_rest(turn),
            State::Lingering { .. } => self.drain(scratch),
        }
    }

    /// The answer to the request that is being handled.
    pub(super) fn answer(&mut self, answer: Answer, turn: &mut Turn<'_>) -> Outcome {
        let (head, keep_alive) = match mem::replace(&mut self.state, State::Idle) {
            State::Handling(head, KeepAlive(keep_alive)) => (head, keep_alive),
            other => {
                self.state = other;
                return Outcome::Wait;
            }
        };
        let afterwards = if !keep_alive || turn.shared.is_stopping() {
            Afterwards::Close
        } else if turn.shared.limits.keep_alive {
            Afterwards::KeepOpen
        } else {
            // The client does not know yet, and may have sent the next request.
            Afterwards::Linger
        };
        let (response, share) = answer.into_parts(head.wants_problem());
        self.respond(response, share, &head, afterwards, turn)
    }

    /// The deadline has passed.
    pub(super) fn expired(&mut self, turn: &mut Turn<'_>) -> Outcome {
        let head = match &self.state {
            State::Body(head, ..) => Arc::clone(head),
            State::Head(_) if !self.input.is_empty() => self.unreadable(self.input.unread()),
            _ => return Outcome::Close,
        };
        let timeout_s = turn.shared.limits.request_timeout.as_secs_f64();
        let detail = format!("The request did not arrive within {timeout_s} s");
        self.refuse(Refused { refusal: Refusal::new(408, detail), head }, turn)
    }

    /// Tells a client that there are too many connections.
    pub(super) fn turn_away(&mut self, turn: &mut Turn<'_>) -> Outcome {
        let response = Refusal::new(503, "Too many connections are open").response(false);
        let (version, method) = (HTTPVersion(1, 1), Method::Get);
        let addressee = Addressee { version: &version, method: &method, keep_alive: false };
        self.write(response, None, addressee, Afterwards::Linger, turn)
    }

    /// The connection is about to be closed by its owner.
    pub(super) fn closing(&mut self, turn: &Turn<'_>) {
        if let State::Handling(head, _) = &self.state {
            self.report(head, CLIENT_CLOSED_REQUEST, turn);
        }
    }

    fn read(&mut self, turn: &mut Turn<'_>, scratch: &mut [u8]) -> Outcome {
        for _ in 0..READS_PER_TURN {
            let size = match self.stream.read(scratch) {
                Ok(0) => return self.end_of_input(turn),
                Ok(size) => size,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Outcome::Wait,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return Outcome::Close,
            };
            let outcome = self.received(&scratch[..size], turn);
            let is_reading = matches!(self.state, State::Idle | State::Head(_) | State::Body(..));
            // A read that did not fill the buffer has emptied the socket.
            if !matches!(outcome, Outcome::Wait) || !is_reading || size < scratch.len() {
                return outcome;
            }
        }
        Outcome::Wait
    }

    /// The client sends nothing more. What it has sent in full has been dealt with by now.
    fn end_of_input(&mut self, turn: &mut Turn<'_>) -> Outcome {
        let head = match &self.state {
            State::Body(head, ..) => Arc::clone(head),
            State::Head(_) if !self.input.is_empty() => self.unreadable(self.input.unread()),
            _ => return Outcome::Close,
        };
        let refusal = Refusal::new(400, "The request ends too soon");
        self.refuse(Refused { refusal, head }, turn)
    }

    fn received(&mut self, bytes: &[u8], turn: &mut Turn<'_>) -> Outcome {
        if !self.input.is_empty() {
            let is_kept = self.input.keep(bytes);
            return if is_kept { self.resume(turn) } else { self.refuse_for_memory(turn) };
        }
        let (consumed, outcome) = self.advance(bytes, turn);
        if self.input.keep(&bytes[consumed..]) {
            return outcome;
        }
        if let State::Handling(_, keep_alive) = &mut self.state {
            // The request in hand is whole, only what comes after it is lost: close after it.
            keep_alive.0 = false;
            self.has_unread = true;
            return outcome;
        }
        self.refuse_for_memory(turn)
    }

    /// Goes on with bytes that were read earlier.
    fn resume(&mut self, turn: &mut Turn<'_>) -> Outcome {
        let (bytes, start) = self.input.take();
        let (consumed, outcome) = self.advance(&bytes[start..], turn);
        self.input.put_back(bytes, start + consumed);
        outcome
    }

    /// Uses the bytes up to the end of a request, at most. Answers how many were used: all of them
    /// if the request was refused.
    fn advance(&mut self, bytes: &[u8], turn: &mut Turn<'_>) -> (usize, Outcome) {
        let mut consumed = 0;
        loop {
            match self.step(&bytes[consumed..], turn) {
                Ok(Progress::Continue(size)) => consumed += size,
                Ok(Progress::NeedsMore(size)) => return (consumed + size, Outcome::Wait),
                Ok(Progress::Complete(size, request, share)) => {
                    self.deadline = None;
                    return (consumed + size, Outcome::Handle(request, share));
                }
                Err(refused) => return (bytes.len(), self.refuse(refused, turn)),
            }
        }
    }

    fn step(&mut self, bytes: &[u8], turn: &mut Turn<'_>) -> Result<Progress, Refused> {
        match &mut self.state {
            State::Idle if bytes.is_empty() => Ok(Progress::NeedsMore(0)),
            State::Idle => {
                self.request_began = turn.now;
                self.is_new_since = None;
                self.deadline = Some(turn.now + turn.shared.limits.request_timeout);
                self.state = State::Head(Scan::default());
                Ok(Progress::Continue(0))
            }
            State::Head(scan) if scan.is_at_start() && bytes.starts_with(b"\r\n") => {
                // RFC 9112, 2.2: some clients send an empty line after a body.
                *scan = Scan::default();
                Ok(Progress::Continue(2))
            }
            State::Head(scan) => match scan.find_end(bytes, turn.shared.limits.max_header_size) {
                Ok(None) => Ok(Progress::NeedsMore(0)),
                Ok(Some(size)) => self.head_complete(&bytes[..size], bytes.len() > size, turn),
                Err(refusal) => Err(Refused { refusal, head: self.unreadable(bytes) }),
            },
            State::Body(head, _, body) => match body.feed(bytes) {
                Ok(fed) if fed.is_complete => Ok(self.body_complete(fed.consumed)),
                Ok(fed) => Ok(Progress::NeedsMore(fed.consumed)),
                Err(refusal) => Err(Refused { refusal, head: Arc::clone(head) }),
            },
            State::Handling(..) | State::Writing(..) | State::Lingering { .. } => {
                Ok(Progress::NeedsMore(0))
            }
        }
    }

    fn head_complete(
        &mut self,
        bytes: &[u8],
        is_more_at_hand: bool,
        turn: &Turn<'_>,
    ) -> Result<Progress, Refused> {
        let head = request::parse(bytes, &self.remote_addr)
            .map_err(|refusal| Refused { refusal, head: self.unreadable(bytes) })?;
        let head = Arc::new(head);
        let max_body_size = turn.shared.limits.max_body_size;
        let framing = framing(&head, max_body_size)
            .map_err(|refusal| Refused { refusal, head: Arc::clone(&head) })?;
        if framing.length == Length::Known(0) {
            self.state = State::Handling(Arc::clone(&head), KeepAlive(framing.keep_alive));
            return Ok(Progress::Complete(bytes.len(), Request::new(head, Vec::new()), None));
        }
        if framing.expects_continue && !is_more_at_hand {
            // Nothing else is waiting to be written, so that these few bytes always fit. If the
            // connection is broken, the next read says so.
            let _ = self.stream.write(CONTINUE, &[]);
        }
        let share = Share::new(&turn.shared.memory);
        let body = Body::new(framing.length, max_body_size, share);
        self.state = State::Body(head, framing, body);
        Ok(Progress::Continue(bytes.len()))
    }

    fn body_complete(&mut self, consumed: usize) -> Progress {
        match mem::replace(&mut self.state, State::Idle) {
            State::Body(head, framing, body) => {
                self.state = State::Handling(Arc::clone(&head), KeepAlive(framing.keep_alive));
                let (bytes, share) = body.into_parts();
                Progress::Complete(consumed, Request::new(head, bytes), Some(share))
            }
            other => {
                self.state = other;
                Progress::NeedsMore(consumed)
            }
        }
    }

    fn unreadable(&self, bytes: &[u8]) -> Arc<Head> {
        Arc::new(Head::of_unreadable(bytes, Arc::clone(&self.remote_addr)))
    }

    /// Answers with an error and closes: where the next request would begin is not known.
    fn refuse(&mut self, refused: Refused, turn: &mut Turn<'_>) -> Outcome {
        let Refused { refusal, head } = refused;
        self.input.clear();
        let response = refusal.response(head.wants_problem());
        self.respond(response, None, &head, Afterwards::Linger, turn)
    }

    fn refuse_for_memory(&mut self, turn: &mut Turn<'_>) -> Outcome {
        let head = match &self.state {
            State::Body(head, ..) => Arc::clone(head),
            _ => self.unreadable(self.input.unread()),
        };
        let refusal = Refusal::new(503, "Too many requests are in memory");
        self.refuse(Refused { refusal, head }, turn)
    }

    fn respond(
        &mut self,
        response: Response,
        share: Option<Share>,
        head: &Head,
        afterwards: Afterwards,
        turn: &mut Turn<'_>,
    ) -> Outcome {
        self.report(head, response.status_code().0, turn);
        let addressee = Addressee {
            version: &head.version,
            method: &head.method,
            keep_alive: afterwards == Afterwards::KeepOpen,
        };
        self.write(response, share, addressee, afterwards, turn)
    }

    fn report(&self, head: &Head, status: u16, turn: &Turn<'_>) {
        let entry = AccessEntry {
            remote_addr: &head.remote_addr,
            user_agent: head.header("User-Agent"),
            method: head.method.as_str(),
            url: &head.target,
            status,
            duration: self.request_began.elapsed(),
        };
        turn.shared.report(head, &entry);
    }

    /// Writes as much of the answer as the socket takes; mostly that is all of it.
    fn write(
        &mut self,
        response: Response,
        share: Option<Share>,
        addressee: Addressee<'_>,
        afterwards: Afterwards,
        turn: &mut Turn<'_>,
    ) -> Outcome {
        let (head, body) = turn.encoder.encode(response, addressee);
        let written = match self.stream.write(head, &body) {
            Ok(written) => written,
            Err(error) if is_temporary(error.kind()) => 0,
            Err(_) => return Outcome::Close,
        };
        if written == head.len() + body.len() {
            // Before the next request, which may be at hand.
            drop((body, share));
            return self.written(afterwards, turn);
        }
        let output = Output::new(head.to_vec(), body, written, share);
        self.deadline = Some(turn.now + turn.shared.limits.response_timeout);
        self.state = State::Writing(output, afterwards);
        Outcome::Wait
    }

    fn write_rest(&mut self, turn: &mut Turn<'_>) -> Outcome {
        let State::Writing(output, afterwards) = &mut self.state else { return Outcome::Wait };
        let afterwards = *afterwards;
        let (head, body) = output.rest();
        match self.stream.write(head, body) {
            Ok(written) => output.wrote(written),
            Err(error) if is_temporary(error.kind()) => return Outcome::Wait,
            Err(_) => return Outcome::Close,
        }
        if output.is_written() { self.written(afterwards, turn) } else { Outcome::Wait }
    }

    fn written(&mut self, afterwards: Afterwards, turn: &mut Turn<'_>) -> Outcome {
        let has_unread = mem::take(&mut self.has_unread) || !self.input.is_empty();
        match afterwards {
            Afterwards::KeepOpen => {
                self.state = State::Idle;
                self.deadline = Some(turn.now + turn.shared.limits.idle_timeout);
                if self.input.is_empty() { Outcome::Wait } else { self.resume(turn) }
            }
            Afterwards::Close if !has_unread => Outcome::Close,
            Afterwards::Close | Afterwards::Linger => {
                self.input.clear();
                if self.stream.shutdown_write().is_err() {
                    return Outcome::Close;
                }
                self.deadline = Some(turn.now + LINGER_TIME);
                self.state = State::Lingering { bytes: 0 };
                Outcome::Wait
            }
        }
    }

    /// Throws away what a client that has its last answer still sends.
    fn drain(&mut self, scratch: &mut [u8]) -> Outcome {
        let State::Lingering { bytes } = &mut self.state else { return Outcome::Wait };
        for _ in 0..READS_PER_TURN {
            match self.stream.read(scratch) {
                Ok(0) => return Outcome::Close,
                Ok(size) => *bytes += size,
                Err(error) if is_temporary(error.kind()) => return Outcome::Wait,
                Err(_) => return Outcome::Close,
            }
            if *bytes > LINGER_BYTES {
                return Outcome::Close;
            }
        }
        Outcome::Wait
    }
}

fn is_temporary(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
