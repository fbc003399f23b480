//! Listeners and connections, over TCP or a unix socket alike. Everything here is non-blocking.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;

/// A socket that connections are accepted from, bound here or passed in.
#[derive(Debug)]
pub enum Listener {
    /// TCP, over IPv4 or IPv6.
    Tcp(TcpListener),
    /// A unix socket. Its path is left in place when the front stops.
    Unix(UnixListener),
}

impl Listener {
    /// Another handle of the same socket, as each acceptor thread needs one.
    pub(super) fn try_clone(&self) -> io::Result<Listener> {
        Ok(match self {
            Listener::Tcp(listener) => Listener::Tcp(listener.try_clone()?),
            Listener::Unix(listener) => Listener::Unix(listener.try_clone()?),
        })
    }

    pub(super) fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Listener::Tcp(listener) => listener.set_nonblocking(true),
            Listener::Unix(listener) => listener.set_nonblocking(true),
        }
    }

    /// Takes one waiting connection and the text for its client's address.
    pub(super) fn accept(&self) -> io::Result<(Stream, Arc<str>)> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, address) = listener.accept()?;
                stream.set_nonblocking(true)?;
                // An answer is one write: waiting for more to fill the packet only delays it. That
                // would be slow, not wrong, and is no reason to refuse a client.
                let _ = stream.set_nodelay(true);
                // A client of IPv4 on a socket of IPv6 is shown by its own address.
                let address = SocketAddr::new(address.ip().to_canonical(), address.port());
                Ok((Stream::Tcp(stream), address.to_string().into()))
            }
            Listener::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok((Stream::Unix(stream), "unix".into()))
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Tcp(listener) => listener.as_fd(),
            Listener::Unix(listener) => listener.as_fd(),
        }
    }
}

/// A connection's socket.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
        }
    }

    /// Writes both parts, as far as they fit, with one system call.
    pub(super) fn write(&mut self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        let parts = [IoSlice::new(first), IoSlice::new(second)];
        match self {
            Stream::Tcp(stream) => stream.write_vectored(&parts),
            Stream::Unix(stream) => stream.write_vectored(&parts),
        }
    }

    /// Says to the client that nothing more will come.
    pub(super) fn shutdown_write(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }
}
