//! Waiting until sockets can be read or written: the system's epoll, in level mode.
//!
//! The crate `polling` would do it on more systems, but its registration is unsafe and each of
//! its waits takes five system calls where this takes one.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

/// Events taken with one wait. Few enough that the answers to the first need not wait long.
const EVENTS_PER_TURN: usize = 128;

/// Names a registered socket in its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Token(pub(super) u64);

/// What is waited for. A broken connection is reported whatever the interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interest {
    Nothing,
    Read,
    Write,
}

impl Interest {
    fn flags(self) -> EpollFlags {
        match self {
            Interest::Nothing => EpollFlags::empty(),
            Interest::Read => EpollFlags::EPOLLIN,
            Interest::Write => EpollFlags::EPOLLOUT,
        }
    }
}

/// Something that has happened to a socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    pub(super) token: Token,
    /// The connection is broken or closed in both directions.
    pub(super) is_broken: bool,
}

/// The sockets of one thread.
pub(super) struct Poller {
    epoll: Epoll,
    events: Vec<EpollEvent>,
    ready: usize,
}

impl Poller {
    pub(super) fn new() -> io::Result<Poller> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Poller { epoll, events: vec![EpollEvent::empty(); EVENTS_PER_TURN], ready: 0 })
    }

    pub(super) fn add(
        &self,
        source: impl AsFd,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        Ok(self.epoll.add(source, EpollEvent::new(interest.flags(), token.0))?)
    }

    pub(super) fn change(
        &self,
        source: impl AsFd,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        Ok(self.epoll.modify(source, &mut EpollEvent::new(interest.flags(), token.0))?)
    }

    /// To be called for a socket that has another handle; closing the only one does the same.
    pub(super) fn remove(&self, source: impl AsFd) -> io::Result<()> {
        Ok(self.epoll.delete(source)?)
    }

    /// Waits until something happens, at most so long. What has happened is in `event`.
    pub(super) fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        // Rounded up: a wait that ends just before a deadline would be repeated for nothing.
        let timeout_ms = timeout.as_micros().div_ceil(1000);
        let timeout = EpollTimeout::try_from(timeout_ms).unwrap_or(EpollTimeout::MAX);
        self.ready = 0;
        match self.epoll.wait(&mut self.events, timeout) {
            Ok(ready) => self.ready = ready,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(())
    }

    /// The event of this index of the last wait, so that the caller can use the poller between.
    pub(super) fn event(&self, index: usize) -> Option<Event> {
        let event = self.events.get(..self.ready)?.get(index)?;
        let broken = EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP;
        Some(Event { token: Token(event.data()), is_broken: event.events().intersects(broken) })
    }
}

/// Ends the wait of a thread from another one.
pub(super) struct Waker(EventFd);

impl Waker {
    /// A waker; it is to be added to the poller of the thread.
    pub(super) fn new() -> io::Result<Waker> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Waker(EventFd::from_flags(flags)?))
    }

    pub(super) fn wake(&self) {
        // It fails only when so many wake-ups are already waiting that one more says nothing.
        let _ = self.0.write(1);
    }

    /// Called by the woken thread, or it would not sleep again.
    pub(super) fn clear(&self) {
        // It fails only when there was no wake-up, which is as good.
        let _ = self.0.read();
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}
