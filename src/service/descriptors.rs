//! Takes over listening sockets that the parent process left open.
//!
//! The only module with `unsafe`: a descriptor arrives as a number in an environment variable,
//! and only `unsafe` makes an owned socket of a number.
#![expect(unsafe_code, reason = "a number becomes an owned descriptor")]

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use socket2::{Domain, SockRef, Type};

use crate::http::Listener;

/// The descriptors taken so far: each has one owner.
static TAKEN: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());

/// What a listening socket is.
#[derive(Clone, Copy)]
enum Kind {
    Tcp,
    Unix,
}

/// Takes over descriptor `number`, which must have been open when the process started. It is not
/// handed on to child processes.
///
/// # Errors
/// It is no listening stream socket, or was taken before. It is left alone then.
pub(super) fn take(number: RawFd) -> io::Result<Listener> {
    if number <= 2 {
        return Err(invalid("it is a standard stream"));
    }
    // SAFETY: the number is positive. Should nothing be open under it, `fcntl` says so, and the
    // borrow goes no further.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl(borrowed, FcntlArg::F_GETFD).map_err(|_| invalid("it is not open"))?;
    let kind = check(borrowed)?;
    if !TAKEN.lock().unwrap_or_else(PoisonError::into_inner).insert(number) {
        return Err(invalid("it is given twice"));
    }
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    // SAFETY: it is open, and this is its only owner: the parent left it open for this, `TAKEN`
    // keeps it from being taken twice, and the daemon's own sockets do not listen before the
    // inherited ones are taken.
    let owned = unsafe { OwnedFd::from_raw_fd(number) };
    Ok(match kind {
        Kind::Tcp => Listener::Tcp(owned.into()),
        Kind::Unix => Listener::Unix(owned.into()),
    })
}

fn check(descriptor: impl AsFd) -> io::Result<Kind> {
    let socket = SockRef::from(&descriptor);
    let socket_type = socket.r#type().map_err(|_| invalid("it is not a socket"))?;
    if socket_type != Type::STREAM {
        return Err(invalid("it is not a stream socket"));
    }
    if !socket.is_listener()? {
        return Err(invalid("it does not listen"));
    }
    match socket.domain()? {
        Domain::IPV4 | Domain::IPV6 => Ok(Kind::Tcp),
        Domain::UNIX => Ok(Kind::Unix),
        _ => Err(invalid("it is neither a TCP nor a unix socket")),
    }
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::{AsRawFd, IntoRawFd};
    use std::os::unix::net::UnixListener;

    use super::*;

    fn refused(descriptor: impl AsFd) -> String {
        take(descriptor.as_fd().as_raw_fd()).unwrap_err().to_string()
    }

    #[test]
    fn only_listening_stream_sockets_are_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(refused(io::stderr()), "it is a standard stream");
        assert_eq!(refused(std::fs::File::open("/dev/null").unwrap()), "it is not a socket");
        assert_eq!(refused(UdpSocket::bind(address).unwrap()), "it is not a stream socket");
        assert_eq!(refused(TcpStream::connect(address).unwrap()), "it does not listen");
        assert_eq!(take(RawFd::MAX).unwrap_err().to_string(), "it is not open");
        assert_eq!(take(-1).unwrap_err().to_string(), "it is a standard stream");
    }

    #[test]
    fn a_listener_is_taken_once_and_not_handed_on() {
        let folder = tempfile::tempdir().unwrap();
        let number = UnixListener::bind(folder.path().join("socket")).unwrap().into_raw_fd();
        let Listener::Unix(unix) = take(number).unwrap() else { panic!("not a unix socket") };
        assert_eq!(refused(&unix), "it is given twice");
        let flags = fcntl(&unix, FcntlArg::F_GETFD).unwrap();
        assert!(FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC));
    }
}
