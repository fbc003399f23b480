//! Ending a thread's wait for the server from outside: at a stop nobody waits out a time-out.

use std::os::fd::RawFd;
use std::sync::{Mutex, PoisonError};

use nix::sys::socket::{Shutdown, shutdown};

/// The socket that a thread may be waiting on. Once hung up, this one and all later ones fail.
#[derive(Debug, Default)]
pub(super) struct HangUp(Mutex<Line>);

#[derive(Debug, Default)]
struct Line {
    socket: Option<RawFd>,
    hung_up: bool,
}

impl HangUp {
    /// Names the socket that the thread uses from now on. It must be forgotten before it is closed.
    pub(super) fn watch(&self, socket: RawFd) {
        let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        line.socket = Some(socket);
        if line.hung_up {
            cut(socket);
        }
    }

    /// Forgets the socket, whose number may belong to something else as soon as it is closed.
    pub(super) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).socket = None;
    }

    /// Ends whatever waits on the socket, and whatever will.
    pub(super) fn hang_up(&self) {
        let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        line.hung_up = true;
        line.socket.into_iter().for_each(cut);
    }
}

fn cut(socket: RawFd) {
    // A socket that has lost its peer by itself cannot be shut down, and need not be.
    let _ = shutdown(socket, Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn it_ends_a_wait_under_way_and_later_ones() {
        let hang_up = HangUp::default();
        let (mut ours, _theirs) = UnixStream::pair().unwrap();
        hang_up.watch(ours.as_raw_fd());
        std::thread::scope(|scope| {
            let wait = scope.spawn(move || ours.read(&mut [0]).unwrap());
            hang_up.hang_up();
            assert_eq!(wait.join().unwrap(), 0);
        });
        hang_up.forget();
        let (mut later, _theirs) = UnixStream::pair().unwrap();
        hang_up.watch(later.as_raw_fd());
        assert_eq!(later.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn a_forgotten_socket_is_left_alone() {
        let hang_up = HangUp::default();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        hang_up.watch(ours.as_raw_fd());
        hang_up.forget();
        hang_up.hang_up();
        theirs.set_nonblocking(true).unwrap();
        let error = theirs.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    }
}
