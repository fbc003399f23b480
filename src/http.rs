//! The HTTP front: a few acceptor threads that read requests and write answers.
//!
//! Each thread `http-N` owns the connections it has accepted: it alone reads, parses and writes
//! them. It hands a complete request to the [`Handler`], which answers at once or passes the
//! [`Reply`] to another thread; the answer comes back through the owner's mailbox. No thread ever
//! waits for a client, and a connection without a request in hand owns no buffer.
//!
//! `tiny_http` gives the words for methods, headers and responses; its server is not used, since
//! it has no limits or timeouts and stops accepting after the first failure.

mod vitals;
mod memory;
mod buffers;
mod slab;
mod deadlines;
mod readiness;
mod stream;
pub mod error;
mod request;
mod response;
mod reply;
mod framing;
mod connection;
mod acceptor;

mod answer;
mod json;
pub mod api;
mod listing;
mod job;
mod failure;
mod queue;
mod routing;
mod node;
mod figures;
mod health;
mod sampler;
mod metrics;
mod console;
mod route;
pub mod handler;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::config::Settings;
use crate::logs::AccessEntry;
use crate::threads;

use acceptor::Acceptor;
use memory::Memory;
use reply::Mailbox;

pub use reply::Reply;
#[cfg(test)]
pub use reply::Sent;
pub use request::{Head, Headers, MAX_HEADERS, MAX_REQUEST_LINE_SIZE, Request};
pub use stream::Listener;
pub use tiny_http::{HTTPVersion, Header, Method, StatusCode};
pub use vitals::Vitals;

/// The threads that accept, read and write. Two serve far more requests than any store commits.
const ACCEPTOR_THREADS: usize = 2;

/// An answer: status, headers and the whole body. The front itself adds `Content-Length`, `Date`
/// and `Connection`, and leaves the body out where HTTP says so.
pub type Response = tiny_http::Response<io::Cursor<Vec<u8>>>;

/// What is done with requests. Both methods run on an acceptor thread and must not block, since
/// all other connections of that thread would wait.
pub trait Handler: Send + Sync + 'static {
    /// Answers the request at once, or hands `reply` to a thread that will. A panic here is an
    /// answer of 500 to this request and nothing more.
    fn handle(&self, request: Request, reply: Reply);

    /// Called for each request that was answered, also for those that the front refuses by itself,
    /// and with status 499 for those whose client left before the answer.
    fn answered(&self, head: &Head, entry: &AccessEntry<'_>);
}

/// What clients may ask of the front. See the settings of the same names.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Whether connections are kept open between requests.
    pub keep_alive: bool,
    /// Connections open at once.
    pub max_connections: usize,
    /// Bytes of a request's head.
    pub max_header_size: usize,
    /// Bytes of a request's body.
    pub max_body_size: usize,
    /// Bytes of all requests in memory, and again of all large answers.
    pub max_body_memory: usize,
    /// From a request's first byte to its last.
    pub request_timeout: Duration,
    /// Between two requests.
    pub idle_timeout: Duration,
    /// From an answer's first byte to its last.
    pub response_timeout: Duration,
}

impl From<&Settings> for Limits {
    fn from(settings: &Settings) -> Limits {
        // Nothing can arrive within no time, so that 0 is read as the least that makes sense.
        let timeout = |timeout_s: u32| Duration::from_secs(timeout_s.max(1).into());
        Limits {
            keep_alive: settings.keep_alive,
            max_connections: usize::try_from(settings.max_connections).unwrap_or(usize::MAX),
            max_header_size: settings.max_header_size,
            max_body_size: settings.max_body_size,
            max_body_memory: settings.max_body_memory,
            request_timeout: timeout(settings.request_timeout),
            idle_timeout: timeout(settings.idle_timeout),
            response_timeout: timeout(settings.response_timeout),
        }
    }
}

/// What the acceptor threads share.
struct Shared {
    limits: Limits,
    handler: Arc<dyn Handler>,
    memory: Arc<Memory>,
    /// The memory of answers that wait to be written.
    answers: Arc<Memory>,
    vitals: Arc<Vitals>,
    /// Set once: no new connections, no new requests after those in hand.
    stopping: AtomicBool,
    /// When a stop gives up waiting for requests in hand. Set before `stopping`.
    stop_deadline: OnceLock<Instant>,
    /// When a failed accept was last logged: once a second is enough.
    accept_error_logged: Mutex<Option<Instant>>,
}

impl Shared {
    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Whether a failed accept may be logged now.
    fn may_log_accept_error(&self, now: Instant) -> bool {
        let mut logged = self.accept_error_logged.lock().unwrap_or_else(PoisonError::into_inner);
        let may = logged.is_none_or(|at| now.duration_since(at) >= Duration::from_secs(1));
        if may {
            *logged = Some(now);
        }
        may
    }

    /// Tells the handler of an answer. A panic in its log must not end the thread.
    fn report(&self, head: &Head, entry: &AccessEntry<'_>) {
        if catch_unwind(AssertUnwindSafe(|| self.handler.answered(head, entry))).is_err() {
            log::error!("The access log has panicked");
        }
    }
}

/// The running front. Dropped without [`Server::stop`] it ends at once.
pub struct Server {
    shared: Arc<Shared>,
    threads: Vec<AcceptorThread>,
}

struct AcceptorThread {
    mailbox: Arc<Mailbox>,
    thread: JoinHandle<()>,
}

impl Server {
    /// Starts to accept connections on all the listeners.
    ///
    /// # Errors
    /// If the process has no descriptors or threads left.
    pub fn start(
        listeners: Vec<Listener>,
        limits: Limits,
        handler: Arc<dyn Handler>,
    ) -> io::Result<Server> {
        let shared = Arc::new(Shared {
            memory: Arc::new(Memory::new(limits.max_body_memory)),
            answers: Arc::new(Memory::new(limits.max_body_memory)),
            limits,
            handler,
            vitals: Arc::new(Vitals::new(ACCEPTOR_THREADS)),
            stopping: AtomicBool::new(false),
            stop_deadline: OnceLock::new(),
            accept_error_logged: Mutex::new(None),
        });
        // Before the first thread takes connections, and descriptors with them, all that the others
        // need is there.
        let acceptors = (0..ACCEPTOR_THREADS).map(|index| {
            let own = listeners.iter().map(Listener::try_clone).collect::<io::Result<Vec<_>>>()?;
            Acceptor::new(index, own, Arc::clone(&shared))
        });
        let acceptors = acceptors.collect::<io::Result<Vec<_>>>()?;
        // Built before the threads, so that a failure to start one ends those that run.
        let mut server = Server { shared, threads: Vec::new() };
        for (index, acceptor) in acceptors.into_iter().enumerate() {
            let mailbox = acceptor.mailbox();
            let thread = threads::spawn(format!("http-{}", index + 1), move || acceptor.run())?;
            server.threads.push(AcceptorThread { mailbox, thread });
        }
        Ok(server)
    }

    /// Figures of the running front, for metrics and the watchdog.
    pub fn vitals(&self) -> Arc<Vitals> {
        Arc::clone(&self.shared.vitals)
    }

    /// Closes the listeners and idle connections at once, answers the requests in hand until the
    /// deadline, closes what is left and waits for the threads.
    pub fn stop(mut self, deadline: Instant) {
        self.end(deadline);
    }

    fn end(&mut self, deadline: Instant) {
        // A second call, by `drop`, finds the deadline set and no thread left.
        let _ = self.shared.stop_deadline.set(deadline);
        self.shared.stopping.store(true, Ordering::Release);
        for AcceptorThread { mailbox, .. } in &self.threads {
            mailbox.wake();
        }
        for AcceptorThread { thread, .. } in self.threads.drain(..) {
            if thread.join().is_err() {
                log::error!("An HTTP thread had ended with a panic");
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end(Instant::now());
    }
}

#[cfg(test)]
mod tests;
