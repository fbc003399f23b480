//! A worker that follows a script: it records what it receives and does with each request what a
//! function of the test says.

use std::collections::HashMap;
use std::io::{BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::http::{self, Headers};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Received {
    /// The method.
    pub method: String,
    /// The target: path and query.
    pub path: String,
    /// The headers.
    pub headers: Headers,
    /// The exact bytes of the body.
    pub body: Vec<u8>,
    /// When it had arrived as a whole.
    pub at: Instant,
    /// The number of the connection that it came on, from 0.
    pub connection: usize,
    /// The number of the request, from 0.
    pub number: usize,
}

impl Received {
    /// The first header of this name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        http::header(&self.headers, name)
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body in UTF-8")
    }
}

/// What a worker does with a request.
#[derive(Clone, Debug)]
pub struct Reaction {
    delay: Duration,
    deed: Deed,
}

#[derive(Clone, Debug)]
enum Deed {
    /// Writes these bytes and keeps the connection.
    Write(Vec<u8>),
    /// Writes these bytes and closes it.
    WriteAndClose(Vec<u8>),
    /// Writes these bytes one by one, with a pause before each, and keeps the connection.
    Drip(Vec<u8>, Duration),
    /// Writes the first bytes, then the second again and again.
    Endless(Vec<u8>, Vec<u8>),
    /// Closes the connection so that the client sees a reset.
    Reset,
    /// Keeps the connection and says nothing.
    Silence,
}

impl Reaction {
    fn new(deed: Deed) -> Reaction {
        Reaction { delay: Duration::ZERO, deed }
    }

    /// Answers.
    pub fn answer(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Reaction {
        Reaction::new(Deed::Write(answer(status, headers, body.as_ref())))
    }

    /// Answers 200 with this status in the body.
    pub fn status(status: &str) -> Reaction {
        Reaction::answer(200, &[], format!(r#"{{"status":"{status}"}}"#))
    }

    /// Answers that the job is done.
    pub fn success() -> Reaction {
        Reaction::status("success")
    }

    /// Answers that the job failed and may be tried again.
    pub fn failure() -> Reaction {
        Reaction::status("failure")
    }

    /// Answers that the job failed for good.
    pub fn permanent_failure() -> Reaction {
        Reaction::status("permanent-failure")
    }

    /// Answers that what is wanted lies elsewhere.
    pub fn redirect(status: u16, location: &str) -> Reaction {
        Reaction::answer(status, &[("Location", location)], "")
    }

    /// Writes these bytes, which may be anything, and keeps the connection.
    pub fn write(bytes: impl Into<Vec<u8>>) -> Reaction {
        Reaction::new(Deed::Write(bytes.into()))
    }

    /// Writes these bytes, which may be anything, and closes the connection.
    pub fn write_and_close(bytes: impl Into<Vec<u8>>) -> Reaction {
        Reaction::new(Deed::WriteAndClose(bytes.into()))
    }

    /// Closes the connection without a word.
    pub fn close() -> Reaction {
        Reaction::write_and_close("")
    }

    /// Closes the connection so that the client sees a reset.
    pub fn reset() -> Reaction {
        Reaction::new(Deed::Reset)
    }

    /// Answers byte by byte, with a pause before each.
    pub fn drip(pause: Duration, body: impl AsRef<[u8]>) -> Reaction {
        Reaction::new(Deed::Drip(answer(200, &[], body.as_ref()), pause))
    }

    /// Answers with a body that does not end.
    pub fn endless() -> Reaction {
        let head =
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"status\":\"success\",\"message\":\"";
        Reaction::new(Deed::Endless(head.into(), vec![b'x'; 64 * 1024]))
    }

    /// Never answers.
    pub fn silence() -> Reaction {
        Reaction::new(Deed::Silence)
    }

    /// The same, after a delay.
    pub fn after(self, delay: Duration) -> Reaction {
        Reaction { delay, ..self }
    }
}

fn answer(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} Scripted\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    [head.as_bytes(), body].concat()
}

/// A running worker. Dropping it closes its connections.
pub struct Worker {
    shared: Arc<Shared>,
    address: SocketAddr,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    script: Box<dyn Fn(&Received) -> Reaction + Send + Sync>,
    state: Mutex<State>,
    /// Something was received, or the worker ends.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    received: Vec<Received>,
    /// Those that are open, by number, to be closed at the end.
    connections: HashMap<usize, TcpStream>,
    ended: bool,
}

impl Worker {
    /// Starts a worker on a free port of 127.0.0.1.
    pub fn start(script: impl Fn(&Received) -> Reaction + Send + Sync + 'static) -> Worker {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script: Box::new(script),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let acceptor = spawn("worker-accept", {
            let shared = Arc::clone(&shared);
            move || shared.accept(&listener)
        });
        Worker { shared, address, acceptor: Some(acceptor) }
    }

    /// A worker that answers every request with success.
    pub fn successful() -> Worker {
        Worker::start(|_| Reaction::success())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a path, which starts with `/`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All that it has received so far, in the order of arrival.
    pub fn received(&self) -> Vec<Received> {
        self.shared.state().received.clone()
    }

    /// Waits until it has received `count` requests or more, and answers them all.
    ///
    /// # Panics
    /// It has not within `within`.
    #[track_caller]
    pub fn wait_for(&self, count: usize, within: Duration) -> Vec<Received> {
        let too_few = |state: &mut State| state.received.len() < count;
        let state = self.shared.changed.wait_timeout_while(self.shared.state(), within, too_few);
        let (state, _) = state.unwrap_or_else(PoisonError::into_inner);
        let found = state.received.len();
        assert!(found >= count, "the worker received {found} of {count} within {within:?}");
        state.received.clone()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.ended = true;
        for stream in state.connections.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        drop(state);
        self.shared.changed.notify_all();
        // Ends the wait for the next connection.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts until the worker ends, then waits for the threads that it started.
    fn accept(self: &Arc<Shared>, listener: &TcpListener) {
        let mut threads: Vec<JoinHandle<()>> = Vec::new();
        for (number, stream) in listener.incoming().enumerate() {
            let mut state = self.state();
            if state.ended {
                break;
            }
            let Ok(stream) = stream else { continue };
            stream.set_nodelay(true).unwrap();
            state.connections.insert(number, stream.try_clone().unwrap());
            let shared = Arc::clone(self);
            threads.push(spawn("worker-connection", move || {
                shared.serve(number, &stream);
                shared.state().connections.remove(&number);
            }));
            drop(state);
            threads.retain(|thread| !thread.is_finished());
        }
        for thread in threads {
            let _ = thread.join();
        }
    }

    /// Answers requests until one end closes.
    fn serve(&self, connection: usize, stream: &TcpStream) {
        let mut reader = BufReader::new(stream);
        while let Ok((first, headers)) = http::read_head(&mut reader) {
            let Ok(body) = http::read_body(&mut reader, &headers) else { return };
            let mut parts = first.split(' ').map(str::to_owned);
            let mut part = || parts.next().unwrap_or_default();
            let received = Received {
                method: part(),
                path: part(),
                headers,
                body: body.unwrap_or_default(),
                at: Instant::now(),
                connection,
                number: 0,
            };
            let received = self.record(received);
            if !self.react(stream, (self.script)(&received)) {
                return;
            }
        }
    }

    fn record(&self, mut received: Received) -> Received {
        let mut state = self.state();
        received.number = state.received.len();
        state.received.push(received.clone());
        self.changed.notify_all();
        received
    }

    /// Whether the connection is kept.
    fn react(&self, mut stream: &TcpStream, reaction: Reaction) -> bool {
        if !self.pause(reaction.delay) {
            return false;
        }
        match reaction.deed {
            Deed::Write(bytes) => stream.write_all(&bytes).is_ok(),
            Deed::WriteAndClose(bytes) => {
                let _ = stream.write_all(&bytes);
                let _ = stream.shutdown(Shutdown::Both);
                false
            }
            Deed::Drip(bytes, pause) => {
                bytes.iter().all(|&byte| self.pause(pause) && stream.write_all(&[byte]).is_ok())
            }
            Deed::Endless(head, more) => {
                let mut going_on = stream.write_all(&head).is_ok();
                while going_on {
                    going_on = stream.write_all(&more).is_ok();
                }
                false
            }
            Deed::Reset => {
                // With nothing to wait for, closing throws away what was sent: a reset. The last
                // descriptor has to go for that.
                let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
                false
            }
            Deed::Silence => {
                self.pause(Duration::MAX);
                false
            }
        }
    }

    /// Waits; `false` if the worker ends meanwhile.
    fn pause(&self, pause: Duration) -> bool {
        let going_on = |state: &mut State| !state.ended;
        let state = self.state();
        if pause.is_zero() {
            return !state.ended;
        }
        let waited = self.changed.wait_timeout_while(state, pause, going_on);
        !waited.unwrap_or_else(PoisonError::into_inner).0.ended
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).unwrap()
}
