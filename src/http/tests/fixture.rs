//! A server with a small handler, and a client that sees every byte.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::logs::AccessEntry;

use super::super::{Handler, Head, Limits, Listener, Reply, Request, Response, Server};

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until the condition holds.
pub(super) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A line of the access log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Logged {
    pub(super) remote_addr: String,
    pub(super) user_agent: Option<String>,
    pub(super) method: String,
    pub(super) url: String,
    pub(super) status: u16,
}

/// Answers by the path of the request.
#[derive(Default)]
pub(super) struct Script {
    held: Mutex<Vec<Reply>>,
    log: Mutex<Vec<Logged>>,
    handled: Mutex<Vec<String>>,
}

impl Script {
    /// The targets of the requests that reached the handler.
    pub(super) fn handled(&self) -> Vec<String> {
        self.handled.lock().unwrap().clone()
    }

    pub(super) fn log(&self) -> Vec<Logged> {
        self.log.lock().unwrap().clone()
    }

    /// Waits for so many requests to `/hold` and takes their replies.
    pub(super) fn held(&self, count: usize) -> Vec<Reply> {
        eventually("requests reach the handler", || self.held.lock().unwrap().len() == count);
        std::mem::take(&mut self.held.lock().unwrap())
    }
}

impl Handler for Script {
    fn handle(&self, request: Request, reply: Reply) {
        self.handled.lock().unwrap().push(request.target.clone());
        match request.target.split('?').next().unwrap_or_default() {
            "/hold" => self.held.lock().unwrap().push(reply),
            "/panic" => panic!("as asked"),
            "/drop" => drop(reply),
            "/thread" => {
                thread::spawn(move || reply.send(Response::from_string("from a thread")));
            }
            "/big" => {
                let size = request.target["/big?".len()..].parse().unwrap();
                reply.send(Response::from_data(vec![b'x'; size]));
            }
            _ => {
                let text = format!("{} {}\n", request.method, request.target);
                let echo = [text.as_bytes(), &request.body].concat();
                reply.send(Response::from_data(echo));
            }
        }
    }

    fn answered(&self, _: &Head, entry: &AccessEntry<'_>) {
        self.log.lock().unwrap().push(Logged {
            remote_addr: entry.remote_addr.to_owned(),
            user_agent: entry.user_agent.map(str::to_owned),
            method: entry.method.to_owned(),
            url: entry.url.to_owned(),
            status: entry.status,
        });
    }
}

/// Limits that no test meets by accident.
pub(super) fn limits() -> Limits {
    Limits {
        keep_alive: true,
        max_connections: 1000,
        max_header_size: 64 * 1024,
        max_body_size: 1 << 20,
        max_body_memory: 64 << 20,
        request_timeout: Duration::from_secs(60),
        idle_timeout: Duration::from_secs(60),
        response_timeout: Duration::from_secs(60),
    }
}

pub(super) struct Front {
    pub(super) server: Server,
    pub(super) script: Arc<Script>,
    pub(super) address: SocketAddr,
}

impl Front {
    pub(super) fn start() -> Front {
        Front::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut Limits)) -> Front {
        let mut limits = limits();
        change(&mut limits);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Script::default());
        let handler = Arc::clone(&script) as Arc<dyn Handler>;
        let server = Server::start(vec![Listener::Tcp(listener)], limits, handler).unwrap();
        Front { server, script, address }
    }

    pub(super) fn client(&self) -> Client<TcpStream> {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client::new(stream)
    }

    /// Sends this on a fresh connection; the status of the answer, and the answer.
    pub(super) fn ask(&self, text: impl AsRef<[u8]>) -> Answer {
        let mut client = self.client();
        client.send(text);
        client.answer()
    }

    /// Sends what must be refused: the answer has this status, the connection is closed, and the
    /// handler saw nothing.
    pub(super) fn assert_refused(&self, text: impl AsRef<[u8]>, status: u16) {
        let shown = String::from_utf8_lossy(&text.as_ref()[..text.as_ref().len().min(200)]);
        let before = self.script.handled().len();
        let mut client = self.client();
        client.send(&text);
        let answer = client.answer();
        assert_eq!(answer.status, status, "{shown:?}: {}", answer.text());
        assert_eq!(answer.header("Connection").as_deref(), Some("close"), "{shown:?}");
        assert!(client.is_closed(), "{shown:?}");
        assert_eq!(self.script.handled().len(), before, "{shown:?}");
    }
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<String> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub(super) struct Client<S> {
    pub(super) stream: S,
    received: Vec<u8>,
}

impl<S: Read + Write> Client<S> {
    pub(super) fn new(stream: S) -> Client<S> {
        Client { stream, received: Vec::new() }
    }

    pub(super) fn send(&mut self, text: impl AsRef<[u8]>) {
        self.stream.write_all(text.as_ref()).unwrap();
    }

    /// The next answer.
    pub(super) fn answer(&mut self) -> Answer {
        self.answer_with_body(true)
    }

    /// The next answer, where it has no body whatever its `Content-Length`.
    pub(super) fn answer_to_head(&mut self) -> Answer {
        self.answer_with_body(false)
    }

    fn answer_with_body(&mut self, has_body: bool) -> Answer {
        let end = loop {
            let end = self.received.windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(end) = end {
                break end + 4;
            }
            assert!(self.receive(), "an answer, not the end: {:?}", self.received);
        };
        let head = String::from_utf8(self.received.drain(..end).collect()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer { status, head, body: Vec::new() };
        let length = answer.header("Content-Length").map_or(0, |length| length.parse().unwrap());
        if has_body {
            while self.received.len() < length {
                assert!(self.receive(), "a whole body");
            }
            answer.body = self.received.drain(..length).collect();
        }
        answer
    }

    /// Whether the connection ends without a further byte.
    pub(super) fn is_closed(&mut self) -> bool {
        self.received.is_empty() && !self.receive()
    }

    fn receive(&mut self) -> bool {
        let mut buffer = [0; 64 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(size) => {
                self.received.extend_from_slice(&buffer[..size]);
                size > 0
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("no answer: {error}"),
        }
    }
}

impl Client<TcpStream> {
    pub(super) fn finish_sending(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Closes with a reset, as a client does that was killed with answers unread.
    pub(super) fn reset(self) {
        let socket = socket2::Socket::from(self.stream);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Whether nothing comes for a moment. Only to see that something has not happened yet.
    pub(super) fn is_silent(&mut self) -> bool {
        self.stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let mut buffer = [0; 1];
        let result = self.stream.read(&mut buffer);
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        result.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}
