//! The signals: blocked in every thread but `signals`, which takes them.
//!
//! So no other thread's system call is ever interrupted, and what follows a signal is plain code.
//! Handlers and the way from them to the thread are `signal-hook`'s; the blocking is done here.
//! `SIGPIPE` is ignored, as in every Rust program.
//!
//! The thread itself ends nothing: the main thread waits for [`Signals::stops`] and does so.

use std::io;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use nix::sys::signal::{SigSet, Signal};
use signal_hook::iterator::{Handle, Signals as Incoming};

use crate::threads;

/// Signals that ask the daemon to stop.
const STOP: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];
/// The signal that asks it to reopen its logs.
const REOPEN: Signal = Signal::SIGUSR1;
/// Stays blocked: a write beyond the limit of a file's size is to be an error like others.
const FILE_TOO_LARGE: Signal = Signal::SIGXFSZ;

/// A signal that asked the daemon to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopSignal(Signal);

impl StopSignal {
    /// `SIGTERM` and the like.
    pub fn name(self) -> &'static str {
        self.0.as_str()
    }

    /// The exit code where this signal ended the daemon before its stop was done: 128 and the
    /// signal's number, as a shell shows a process that a signal killed. Jobs may have been cut
    /// off, so it is not 0.
    pub fn exit_code(self) -> u8 {
        // Signals are numbered from 1 to 64.
        128 + u8::try_from(self.0 as i32).unwrap_or(0)
    }
}

/// The signals are blocked and wait for their thread.
pub struct Blocked(Incoming);

/// The thread `signals`. It ends when this is dropped.
pub struct Signals {
    stops: Receiver<StopSignal>,
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Signals {
    /// Blocks the signals in this thread and those it will start. To be called first of all:
    /// a thread that is there already would be interrupted.
    ///
    /// # Errors
    /// The system refuses.
    pub fn block() -> io::Result<Blocked> {
        let mut blocked = taken();
        blocked.add(FILE_TOO_LARGE);
        blocked.thread_block()?;
        let incoming = Incoming::new(taken().iter().map(|signal| signal as i32))?;
        Ok(Blocked(incoming))
    }

    /// The signals that asked for a stop, in the order of their arrival: at the first one the
    /// stop begins, at the second the main thread ends the process, with that one's exit code.
    pub fn stops(&self) -> &Receiver<StopSignal> {
        &self.stops
    }
}

impl Blocked {
    /// Starts the thread. `on_reopen` runs in it and must not block.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(self, on_reopen: impl Fn() + Send + 'static) -> io::Result<Signals> {
        let Blocked(incoming) = self;
        let handle = incoming.handle();
        // Room for the two that matter.
        let (sender, stops) = bounded(2);
        let body = move || take(incoming, &sender, on_reopen);
        let thread = threads::spawn("signals".to_owned(), body)?;
        Ok(Signals { stops, handle, thread: Some(thread) })
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            // A panic was shown when it happened.
            let _ = thread.join();
        }
    }
}

fn taken() -> SigSet {
    STOP.into_iter().chain([REOPEN]).collect()
}

/// The thread's life.
fn take(mut incoming: Incoming, stops: &Sender<StopSignal>, on_reopen: impl Fn()) {
    if let Err(error) = taken().thread_unblock() {
        log::error!("cannot take signals: {error}");
        return;
    }
    for number in incoming.forever() {
        match Signal::try_from(number) {
            Ok(REOPEN) => on_reopen(),
            Ok(signal) => {
                // Full: the end is asked for already, and a third signal adds nothing.
                let _ = stops.try_send(StopSignal(signal));
            }
            // Only signals that were asked for come here, and those are known.
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::kill;
    use nix::unistd::Pid;

    use super::*;
    use crate::child_process::{Running, child, is_child, say};

    fn start(test: &str) -> (Running, impl Fn(Signal)) {
        let running = Running::start(child(test, ""));
        let pid = Pid::from_raw(i32::try_from(running.child.id()).unwrap());
        (running, move |signal| kill(pid, signal).unwrap())
    }

    fn say_what_comes() {
        let blocked = Signals::block().unwrap();
        let signals = blocked.start(|| say("reopen")).unwrap();
        say("ready");
        while let Ok(stop) = signals.stops().recv() {
            say(&format!("{} {}", stop.name(), stop.exit_code()));
        }
    }

    #[test]
    fn signals_are_told_apart() {
        if is_child() {
            return say_what_comes();
        }
        let (mut running, send) = start("signals::tests::signals_are_told_apart");
        assert_eq!(running.next(), "ready");
        for (signal, said) in [
            (Signal::SIGUSR1, "reopen"),
            (Signal::SIGTERM, "SIGTERM 143"),
            (Signal::SIGUSR1, "reopen"),
            (Signal::SIGTERM, "SIGTERM 143"),
            (Signal::SIGINT, "SIGINT 130"),
            (Signal::SIGHUP, "SIGHUP 129"),
        ] {
            send(signal);
            assert_eq!(running.next(), said);
        }
    }

    #[test]
    fn a_signal_before_the_thread_starts_is_kept() {
        if is_child() {
            let blocked = Signals::block().unwrap();
            kill(Pid::this(), Signal::SIGTERM).unwrap();
            let signals = blocked.start(|| {}).unwrap();
            return say(signals.stops().recv().unwrap().name());
        }
        let (mut running, _) = start("signals::tests::a_signal_before_the_thread_starts_is_kept");
        assert_eq!(running.next(), "SIGTERM");
    }

    #[test]
    fn only_their_thread_takes_signals() {
        if is_child() {
            let blocked = Signals::block().unwrap();
            let mask = std::thread::spawn(|| SigSet::thread_get_mask().unwrap()).join().unwrap();
            let is_blocked = |signal: &Signal| mask.contains(*signal);
            let all = STOP.iter().chain(&[REOPEN, FILE_TOO_LARGE]).all(is_blocked);
            say(&format!("blocked elsewhere: {all}"));
            drop(blocked.start(|| {}).unwrap());
            return say("joined");
        }
        let (mut running, _) = start("signals::tests::only_their_thread_takes_signals");
        assert_eq!(running.next(), "blocked elsewhere: true");
        assert_eq!(running.next(), "joined");
    }
}
