//! A TCP connection to a worker or a proxy.
//!
//! In place of `ureq`'s own, for TCP keep-alive: without it a worker whose host has vanished
//! would hold a job without a timeout for ever. It also takes fewer system calls a request: head
//! and body go out together, so that the worker is woken once.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{SockRef, TcpKeepalive};
use ureq::Error;
use ureq::unversioned::transport::time;
use ureq::unversioned::transport::{Buffers, LazyBuffers, NextTimeout, ShutdownHandle, Transport};

/// How long a connection is silent before the other side is asked whether it still is there, and
/// the time between two such questions; after a handful without an answer it is reset.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// The least time that an address is given, so that a long list does not starve its end.
const MIN_CONNECT_TIME: Duration = Duration::from_millis(10);
/// Time limits are rounded up to a multiple of this, so that most requests find the socket set.
const TIMEOUT_STEP_MS: u128 = 10;

/// Connects to the first of `addresses` that takes it. Each address gets an equal share of the
/// time that the ones before it have left.
pub fn connect(addresses: &[SocketAddr], timeout: NextTimeout) -> Result<TcpStream, Error> {
    let limit = exact(timeout);
    let begun = Instant::now();
    let mut last_error = Error::HostNotFound;
    for (number, address) in addresses.iter().enumerate() {
        let result = match limit {
            None => TcpStream::connect(address),
            Some(limit) => {
                let left = limit.saturating_sub(begun.elapsed());
                if left.is_zero() {
                    return Err(Error::Timeout(timeout.reason));
                }
                let share = left / u32::try_from(addresses.len() - number).unwrap_or(u32::MAX);
                TcpStream::connect_timeout(address, share.max(MIN_CONNECT_TIME))
            }
        };
        last_error = match result {
            Ok(stream) => return prepared(stream).map_err(Error::Io),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Error::Timeout(timeout.reason),
            Err(error) => Error::Io(error),
        };
    }
    Err(last_error)
}

fn prepared(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    let keep_alive =
        TcpKeepalive::new().with_time(KEEP_ALIVE_INTERVAL).with_interval(KEEP_ALIVE_INTERVAL);
    SockRef::from(&stream).set_tcp_keepalive(&keep_alive)?;
    Ok(stream)
}

fn exact(timeout: NextTimeout) -> Option<Duration> {
    match timeout.after {
        time::Duration::Exact(limit) => Some(limit),
        time::Duration::NotHappening => None,
    }
}

/// The limit to set on a socket.
fn socket_limit(timeout: NextTimeout) -> Result<Option<Duration>, Error> {
    let Some(limit) = exact(timeout) else { return Ok(None) };
    if limit.is_zero() {
        return Err(Error::Timeout(timeout.reason));
    }
    let steps = limit.as_millis() / TIMEOUT_STEP_MS + 1;
    let limit_ms = u64::try_from(steps * TIMEOUT_STEP_MS).unwrap_or(u64::MAX);
    Ok(Some(Duration::from_millis(limit_ms)))
}

/// A longer piece of a request is sent at once.
const MAX_KEPT_BYTES: usize = 4 * 1024;

/// The connection as `ureq` uses it.
pub struct TcpConnection {
    /// Shared with whoever interrupts it.
    stream: Arc<TcpStream>,
    buffers: LazyBuffers,
    /// What was written and has not been sent: the head of a request, while its body may follow.
    unsent: Vec<u8>,
    /// The limits that are set on the socket.
    read_limit: Option<Duration>,
    write_limit: Option<Duration>,
    /// Whether something was read and the connection not looked at since.
    just_read: bool,
}

impl TcpConnection {
    /// `stream` with these buffers.
    pub fn new(stream: TcpStream, buffers: LazyBuffers) -> TcpConnection {
        TcpConnection {
            stream: Arc::new(stream),
            buffers,
            unsent: Vec::new(),
            read_limit: None,
            write_limit: None,
            just_read: false,
        }
    }

    /// What interrupts it from another thread.
    pub fn shutdown_handle(&self) -> Weak<dyn ShutdownHandle> {
        let handle: Arc<dyn ShutdownHandle> = Arc::clone(&self.stream) as _;
        Arc::downgrade(&handle)
    }

    /// Sends what was kept, and `amount` bytes of the output buffer.
    fn send(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let limit = socket_limit(timeout)?;
        if limit != self.write_limit {
            self.stream.set_write_timeout(limit)?;
            self.write_limit = limit;
        }
        let output = &self.buffers.output()[..amount];
        let result = if self.unsent.is_empty() {
            (&*self.stream).write_all(output)
        } else {
            self.unsent.extend_from_slice(output);
            (&*self.stream).write_all(&self.unsent)
        };
        self.unsent.clear();
        result.map_err(|error| timed(error, timeout))
    }
}

impl Transport for TcpConnection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    /// The first piece of a request is kept back: its head, whose body comes with the next call.
    /// Whatever is kept goes out before an answer is awaited.
    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        if !self.unsent.is_empty() || amount > MAX_KEPT_BYTES {
            return self.send(amount, timeout);
        }
        let output = &self.buffers.output()[..amount];
        self.unsent.extend_from_slice(output);
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        if !self.unsent.is_empty() {
            match self.send(0, timeout) {
                // The worker may have answered before it had read everything: the read tells.
                Err(Error::Io(error)) if is_end(&error) => {}
                result => result?,
            }
        }
        let limit = socket_limit(timeout)?;
        if limit != self.read_limit {
            self.stream.set_read_timeout(limit)?;
            self.read_limit = limit;
        }
        let input = self.buffers.input_append_buf();
        let amount = loop {
            match (&*self.stream).read(input) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result.map_err(|error| timed(error, timeout))?,
            }
        };
        self.buffers.input_appended(amount);
        self.just_read = amount > 0;
        Ok(amount > 0)
    }

    /// An idle connection with something to read is at its end, or out of step. `ureq` asks after
    /// an answer and again before the next request: the second time is the one that counts.
    fn is_open(&mut self) -> bool {
        if std::mem::take(&mut self.just_read) {
            return true;
        }
        let mut sockets = [PollFd::new(self.stream.as_fd(), PollFlags::POLLIN)];
        poll(&mut sockets, PollTimeout::ZERO) == Ok(0)
    }
}

/// Whether the other side, or the way there, has ended the connection.
pub fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(
        error.kind(),
        ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof | NotConnected
    )
}

/// The error, as a time-out if it is one: a socket says `WouldBlock` at its limit.
fn timed(error: io::Error, timeout: NextTimeout) -> Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Error::Timeout(timeout.reason),
        _ => Error::Io(error),
    }
}

impl fmt::Debug for TcpConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TcpConnection")
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn within(limit: Duration) -> NextTimeout {
        NextTimeout { after: limit.into(), ..NextTimeout::default() }
    }

    #[test]
    fn addresses_are_tried_until_one_takes_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap();
        let closed = {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap()
        };
        for timeout in [NextTimeout::default(), within(Duration::from_secs(60))] {
            let stream = connect(&[closed, closed, open], timeout).unwrap();
            assert_eq!(stream.peer_addr().unwrap(), open);
            assert!(SockRef::from(&stream).keepalive().unwrap());
            assert!(stream.nodelay().unwrap());
            let Err(Error::Io(error)) = connect(&[closed], timeout) else { panic!("connected") };
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
            assert!(matches!(connect(&[], timeout), Err(Error::HostNotFound)));
        }
        let late = connect(&[open], within(Duration::ZERO));
        assert!(matches!(late, Err(Error::Timeout(_))));
    }

    #[test]
    fn a_limit_is_rounded_up_and_never_none() {
        let rounded =
            |limit| socket_limit(within(limit)).ok().map(|limit| limit.unwrap().as_millis());
        assert_eq!(rounded(Duration::from_nanos(1)), Some(10));
        assert_eq!(rounded(Duration::from_millis(1999)), Some(2000));
        assert_eq!(rounded(Duration::from_secs(2)), Some(2010));
        assert_eq!(rounded(Duration::ZERO), None);
        assert!(socket_limit(NextTimeout::default()).unwrap().is_none());
    }

    #[test]
    fn an_idle_connection_that_was_closed_is_not_open() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (other, _) = listener.accept().unwrap();
        let mut connection = TcpConnection::new(stream, LazyBuffers::new(16, 16));
        assert!(connection.is_open());
        drop(other);
        // The end is there once a read returns.
        assert!(!connection.await_input(within(Duration::from_secs(60))).unwrap());
        assert!(!connection.is_open());
    }
}
