//! A worker that does what a test's script says, byte for byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long a script waits for bytes before it gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub struct Received {
    pub line: String,
    /// Names in small letters.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Received {
    /// The only value of a header.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|header| header.0 == name);
        let value = values.next().map(|header| header.1.as_str());
        assert!(values.next().is_none(), "{name} is there twice");
        value
    }
}

/// One connection to the worker.
pub struct Connection {
    stream: BufReader<TcpStream>,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Connection {
    /// The head of the next request, or `None` at the end of the connection.
    pub fn receive_head(&mut self) -> Option<Received> {
        let mut request = Received { line: self.line()?, ..Received::default() };
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(": ") else { break };
            request.headers.push((name.to_lowercase(), value.to_owned()));
        }
        Some(request)
    }

    /// The next request, which the test finds in [`Worker::received`].
    pub fn receive(&mut self) -> Option<Received> {
        let mut request = self.receive_head()?;
        let length = request.header("content-length").map_or(0, |text| text.parse().unwrap());
        request.body.resize(length, 0);
        self.stream.read_exact(&mut request.body).ok()?;
        self.received.lock().unwrap().push(request.clone());
        Some(request)
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line).ok()?;
        line.strip_suffix("\r\n").map(str::to_owned)
    }

    /// Sends these bytes; that the other side is gone is no fault of the script.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.get_mut().write_all(bytes.as_ref());
    }

    /// Answers with a status and a body.
    pub fn answer(&mut self, status: &str, body: impl AsRef<[u8]>) {
        self.answer_with(status, "", body);
    }

    /// Answers with a status, lines of headers that end in line breaks, and a body.
    pub fn answer_with(&mut self, status: &str, headers: &str, body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n");
        self.send([head.as_bytes(), body].concat());
    }

    /// Ends the connection with a reset.
    pub fn reset(&self) {
        let socket = socket2::SockRef::from(self.stream.get_ref());
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Waits for the other side to end the connection.
    pub fn await_end(&mut self) {
        let _ = std::io::copy(&mut self.stream, &mut std::io::sink());
    }

    pub fn stream(&mut self) -> &mut BufReader<TcpStream> {
        &mut self.stream
    }
}

/// A worker; its threads end with it.
pub struct Worker {
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    connections: Arc<AtomicUsize>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    stopped: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl Worker {
    /// A worker that runs `script` for each connection, numbered from 0, on a thread of its own;
    /// the connection ends with the script.
    pub fn start(script: impl Fn(usize, &mut Connection) + Send + Sync + 'static) -> Worker {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut worker = Worker {
            address: listener.local_addr().unwrap(),
            received: Arc::default(),
            connections: Arc::default(),
            open: Arc::default(),
            stopped: Arc::default(),
            acceptor: None,
        };
        let received = Arc::clone(&worker.received);
        let connections = Arc::clone(&worker.connections);
        let open = Arc::clone(&worker.open);
        let stopped = Arc::clone(&worker.stopped);
        worker.acceptor = Some(thread::spawn(move || {
            thread::scope(|scope| {
                while let Ok((stream, _)) = listener.accept() {
                    if stopped.load(Ordering::SeqCst) {
                        break;
                    }
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    stream.set_nodelay(true).unwrap();
                    open.lock().unwrap().push(stream.try_clone().unwrap());
                    let number = connections.fetch_add(1, Ordering::SeqCst);
                    let received = Arc::clone(&received);
                    let (script, open) = (&script, &open);
                    scope.spawn(move || {
                        let peer = stream.peer_addr().ok();
                        script(
                            number,
                            &mut Connection { stream: BufReader::new(stream), received },
                        );
                        // The clone would keep the connection open.
                        open.lock().unwrap().retain(|other| other.peer_addr().ok() != peer);
                    });
                }
            });
        }));
        worker
    }

    /// A worker that answers every request with this body.
    pub fn answering(body: impl Into<Vec<u8>>) -> Worker {
        let body = body.into();
        Worker::start(move |_, connection| {
            while connection.receive().is_some() {
                connection.answer("200 OK", &body);
            }
        })
    }

    /// The URL of a path on this worker.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The requests that came whole so far.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        for stream in self.open.lock().unwrap().iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take()
            && acceptor.join().is_err()
            && !thread::panicking()
        {
            panic!("a worker's script panicked");
        }
    }
}
