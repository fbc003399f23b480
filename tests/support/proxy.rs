//! A TCP proxy between a client and a server of a test: a network that can fail.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use super::wait::{SOON, eventually};

/// How often a thread of the proxy looks whether something has changed.
const LOOK: Duration = Duration::from_millis(5);
/// Bytes passed on at once.
const CHUNK: usize = 64 * 1024;

/// A proxy in front of a port of 127.0.0.1. Dropping it closes everything.
pub struct Proxy {
    shared: Arc<Shared>,
    port: u16,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Bytes pass.
    Open,
    /// Nothing passes. Sockets stay open, new ones are accepted and hear nothing.
    Frozen,
    /// The proxy ends.
    Ended,
}

struct Shared {
    target: u16,
    /// Read while bytes are passed on, so that none is once a change has been made.
    state: RwLock<State>,
    /// `None` while new connections are refused.
    listener: Mutex<Option<TcpListener>>,
    /// Both ends of every connection since the last cut.
    open: Mutex<Vec<TcpStream>>,
    /// How many packets from now is the one that its connection is cut at; 0 for none.
    packets_to_cut: AtomicUsize,
    /// Whether the connection is not closed then, but falls silent for good.
    cuts_silently: AtomicBool,
}

/// What becomes of a packet.
enum Passage {
    Passes,
    Cut,
    Swallowed,
}

impl Proxy {
    /// A proxy that passes everything on to `target`.
    pub fn to(target: u16) -> Proxy {
        let listener = listen(0).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            target,
            state: RwLock::new(State::Open),
            listener: Mutex::new(Some(listener)),
            open: Mutex::new(Vec::new()),
            packets_to_cut: AtomicUsize::new(0),
            cuts_silently: AtomicBool::new(false),
        });
        let acceptor = spawn("proxy-accept", {
            let shared = Arc::clone(&shared);
            move || shared.accept()
        });
        Proxy { shared, port, acceptor: Some(acceptor) }
    }

    /// The port that it listens on, at 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops passing bytes on, and keeps all sockets open: a black hole.
    pub fn freeze(&self) {
        self.shared.set(State::Frozen);
    }

    /// Goes on after [`freeze`](Proxy::freeze); what was sent meanwhile arrives now.
    pub fn thaw(&self) {
        self.shared.set(State::Open);
    }

    /// Closes the connections there are. New ones are accepted.
    pub fn close_connections(&self) {
        for stream in lock(&self.shared.open).drain(..) {
            // It may be closed by now.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Of the packets from now on, in either direction and on whatever connection, does not pass
    /// on number `number` (from 1): closes its connection instead.
    pub fn cut_at_packet(&self, number: usize) {
        self.shared.cuts_silently.store(false, Ordering::SeqCst);
        self.shared.packets_to_cut.store(number, Ordering::SeqCst);
    }

    /// As [`cut_at_packet`](Proxy::cut_at_packet), except that the connection stays open on both
    /// sides, and nothing passes on it any more.
    pub fn silence_at_packet(&self, number: usize) {
        self.shared.cuts_silently.store(true, Ordering::SeqCst);
        self.shared.packets_to_cut.store(number, Ordering::SeqCst);
    }

    /// Whether the cut that was asked for last has happened.
    pub fn has_cut(&self) -> bool {
        self.shared.packets_to_cut.load(Ordering::SeqCst) == 0
    }

    /// Closes all connections and refuses new ones.
    pub fn cut(&self) {
        *lock(&self.shared.listener) = None;
        self.close_connections();
    }

    /// Accepts connections again after [`cut`](Proxy::cut), on the same port.
    pub fn mend(&self) {
        let listener = eventually("the proxy's port is free", SOON, || listen(self.port).ok());
        *lock(&self.shared.listener) = Some(listener);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.set(State::Ended);
        self.cut();
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn state(&self) -> State {
        *self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: State) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// Accepts until the proxy ends, then waits for the threads that it started.
    fn accept(self: &Arc<Shared>) {
        let mut pumps: Vec<JoinHandle<()>> = Vec::new();
        while self.state() != State::Ended {
            let listener = lock(&self.listener);
            match listener.as_ref().map(TcpListener::accept) {
                // Still under the lock of the listener, so that a cut closes this one too.
                Some(Ok((client, _))) => pumps.extend(self.connect(client)),
                Some(Err(_)) | None => {
                    drop(listener);
                    std::thread::sleep(LOOK);
                }
            }
            pumps.retain(|pump| !pump.is_finished());
        }
        for pump in pumps {
            let _ = pump.join();
        }
    }

    /// Passes on both ways between `client` and the target. A target that refuses closes the
    /// client's connection.
    fn connect(self: &Arc<Shared>, client: TcpStream) -> Vec<JoinHandle<()>> {
        let Ok(server) = TcpStream::connect(("127.0.0.1", self.target)) else { return Vec::new() };
        for stream in [&client, &server] {
            stream.set_nonblocking(false).unwrap();
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(LOOK)).unwrap();
            stream.set_write_timeout(Some(LOOK)).unwrap();
            lock(&self.open).push(stream.try_clone().unwrap());
        }
        let is_silent = Arc::new(AtomicBool::new(false));
        [(&client, &server), (&server, &client)]
            .map(|(from, to)| {
                let is_silent = Arc::clone(&is_silent);
                let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                let shared = Arc::clone(self);
                spawn("proxy-pump", move || {
                    shared.pump(&from, &to, &is_silent);
                    // The end of one direction is the end of both: nothing here half-closes.
                    let _ = from.shutdown(Shutdown::Both);
                    let _ = to.shutdown(Shutdown::Both);
                })
            })
            .into()
    }

    /// Passes on what `from` sends until either end closes.
    fn pump(&self, mut from: &TcpStream, to: &TcpStream, is_silent: &AtomicBool) {
        let mut buffer = vec![0; CHUNK];
        while self.state() != State::Ended {
            if self.state() == State::Frozen || is_silent.load(Ordering::SeqCst) {
                std::thread::sleep(LOOK);
                continue;
            }
            match from.read(&mut buffer) {
                // An end that comes after a freeze is not passed on before the thaw either.
                Ok(0) if self.state() == State::Frozen => {}
                Ok(0) => return,
                Ok(size) => match self.passage() {
                    Passage::Passes if self.pass_on(&buffer[..size], to) => {}
                    Passage::Passes | Passage::Cut => return,
                    Passage::Swallowed => is_silent.store(true, Ordering::SeqCst),
                },
                Err(error) if is_pause(&error) || self.state() == State::Frozen => {}
                Err(_) => return,
            }
        }
    }

    /// Counts a packet, and says what becomes of it.
    fn passage(&self) -> Passage {
        let counted =
            self.packets_to_cut
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |packets| packets.checked_sub(1));
        match counted {
            Ok(1) if self.cuts_silently.load(Ordering::SeqCst) => Passage::Swallowed,
            Ok(1) => Passage::Cut,
            _ => Passage::Passes,
        }
    }

    /// Whether all of `bytes` arrived at `to`.
    fn pass_on(&self, mut bytes: &[u8], mut to: &TcpStream) -> bool {
        while !bytes.is_empty() {
            // Held while writing, which takes a moment at most: see `Shared::state`.
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            match *state {
                State::Ended => return false,
                State::Frozen => {
                    drop(state);
                    std::thread::sleep(LOOK);
                }
                State::Open => match to.write(bytes) {
                    Ok(size) => bytes = &bytes[size..],
                    Err(error) if is_pause(&error) => {}
                    Err(_) => return false,
                },
            }
        }
        true
    }
}

fn is_pause(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn listen(port: u16) -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).unwrap()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
