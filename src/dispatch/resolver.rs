//! From a host's name to its addresses, within a time limit.
//!
//! The system's look-up (`getaddrinfo`) cannot be given a limit or interrupted, so it runs on
//! threads of its own, `resolve-N`, and whoever needs the answer waits as long as it may. The
//! threads are few, start when first needed, and belong to [`Names`]. Look-ups of one name are
//! one. Answers are kept for a moment, so that a worker without keep-alive costs no look-up a job.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::threads;

/// How long addresses are used before they are looked up again.
const MAX_AGE: Duration = Duration::from_secs(5);
/// How long a failure stands before the name is tried again.
const MAX_FAILURE_AGE: Duration = Duration::from_secs(1);
/// The most names remembered.
const MAX_NAMES: usize = 1024;
/// The most look-ups at once.
const MAX_THREADS: usize = 8;
/// How long a stop waits for threads that are within a look-up.
const MAX_STOP_WAIT: Duration = Duration::from_secs(1);

/// Why there are no addresses.
#[derive(Debug, PartialEq, Eq)]
pub enum NameError {
    /// The look-up did not end in time.
    TimedOut,
    /// The look-up failed, or was not begun, for this reason.
    Failed(String),
}

/// Looks a name up, without a limit.
type LookUp = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// The names of hosts and their addresses.
pub struct Names {
    shared: Arc<Shared>,
}

struct Shared {
    look_up: Box<LookUp>,
    state: Mutex<State>,
    /// Rung when a name is asked for, and at the stop.
    asked: Condvar,
    /// Rung when a look-up or a thread has ended, and at the stop.
    ended: Condvar,
}

#[derive(Default)]
struct State {
    names: HashMap<String, Entry>,
    /// The names that wait for a thread.
    queue: VecDeque<String>,
    threads: Vec<JoinHandle<()>>,
    /// Threads that wait for a name.
    idle: usize,
    /// Threads that have not ended.
    running: usize,
    stopped: bool,
}

enum Entry {
    /// A look-up waits or is under way.
    Asked,
    /// A look-up ended then, so.
    Ended(Instant, Result<Arc<[IpAddr]>, String>),
}

impl Names {
    /// The names as the system knows them.
    pub fn new() -> Names {
        Names::with(|name| Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect()))
    }

    fn with(look_up: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Names {
        let shared = Shared {
            look_up: Box::new(look_up),
            state: Mutex::default(),
            asked: Condvar::new(),
            ended: Condvar::new(),
        };
        Names { shared: Arc::new(shared) }
    }

    /// The addresses of the host `name`, at least one, in the order in which to try them. Waits
    /// at most `limit`; without one until the system's look-up ends.
    pub fn find(&self, name: &str, limit: Option<Duration>) -> Result<Arc<[IpAddr]>, NameError> {
        let begun = Instant::now();
        let mut state = self.shared.lock();
        loop {
            if state.stopped {
                return Err(NameError::Failed("name look-ups have been stopped".to_owned()));
            }
            match state.names.get(name) {
                Some(Entry::Asked) => {}
                Some(Entry::Ended(at, result)) if is_fresh(*at, result) => {
                    return result.clone().map_err(NameError::Failed);
                }
                _ => self.ask(&mut state, name).map_err(NameError::Failed)?,
            }
            state = match limit {
                None => self.shared.ended.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(limit) => {
                    let left = limit.saturating_sub(begun.elapsed());
                    if left.is_zero() {
                        return Err(NameError::TimedOut);
                    }
                    let woken = self.shared.ended.wait_timeout(state, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Puts `name` into the queue, and starts a thread if none is free for it.
    fn ask(&self, state: &mut State, name: &str) -> Result<(), String> {
        if state.names.len() >= MAX_NAMES {
            state.names.retain(|_, entry| matches!(entry, Entry::Asked));
            if state.names.len() >= MAX_NAMES {
                return Err("too many name look-ups are under way".to_owned());
            }
        }
        if state.idle <= state.queue.len() && state.running < MAX_THREADS {
            let shared = Arc::clone(&self.shared);
            let name = format!("resolve-{}", state.threads.len());
            let started = threads::spawn(name, move || shared.run());
            match started {
                Ok(thread) => {
                    state.running += 1;
                    state.threads.push(thread);
                }
                Err(error) if state.running == 0 => {
                    return Err(format!("cannot start a thread for name look-ups: {error}"));
                }
                // The threads there are will come to it.
                Err(_) => {}
            }
        }
        state.names.insert(name.to_owned(), Entry::Asked);
        state.queue.push_back(name.to_owned());
        self.shared.asked.notify_one();
        Ok(())
    }

    /// Ends the waits and the threads. A thread within the system's look-up cannot be
    /// interrupted: after a moment it is left to end by itself.
    pub fn stop(&self) {
        let mut state = self.shared.lock();
        state.stopped = true;
        self.shared.asked.notify_all();
        self.shared.ended.notify_all();
        let threads = std::mem::take(&mut state.threads);
        let waited =
            self.shared.ended.wait_timeout_while(state, MAX_STOP_WAIT, |state| state.running > 0);
        let all_ended = !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out();
        for thread in threads {
            if all_ended || thread.is_finished() {
                // A look-up that panicked has nothing to add here.
                let _ = thread.join();
            }
        }
    }
}

fn is_fresh(at: Instant, result: &Result<Arc<[IpAddr]>, String>) -> bool {
    at.elapsed() < if result.is_ok() { MAX_AGE } else { MAX_FAILURE_AGE }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of a thread: one name after another until the stop.
    fn run(&self) {
        let mut state = self.lock();
        while !state.stopped {
            let Some(name) = state.queue.pop_front() else {
                state.idle += 1;
                state = self.asked.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
                continue;
            };
            drop(state);
            let result = self.addresses(&name);
            state = self.lock();
            state.names.insert(name, Entry::Ended(Instant::now(), result));
            self.ended.notify_all();
        }
        state.running -= 1;
        self.ended.notify_all();
    }

    fn addresses(&self, name: &str) -> Result<Arc<[IpAddr]>, String> {
        match (self.look_up)(name) {
            Ok(addresses) if addresses.is_empty() => Err(format!("{name} has no address")),
            Ok(addresses) => Ok(addresses.into()),
            Err(error) => Err(format!("cannot resolve {name}: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use crossbeam_channel::{Sender, unbounded};

    use super::*;

    const LONG: Option<Duration> = Some(Duration::from_secs(20));

    /// Names whose look-ups each wait for a message; the counter tells how many have begun.
    fn gated() -> (Arc<Names>, Sender<()>, Arc<AtomicUsize>) {
        let (open, gate) = unbounded::<()>();
        let begun = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&begun);
        let names = Names::with(move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
            gate.recv().ok();
            Ok(vec![Ipv4Addr::LOCALHOST.into()])
        });
        (Arc::new(names), open, begun)
    }

    #[test]
    fn the_system_is_asked() {
        let names = Names::new();
        let addresses = names.find("localhost", LONG).unwrap();
        assert!(addresses.iter().all(IpAddr::is_loopback));
        names.stop();
    }

    #[test]
    fn an_answer_is_kept_for_a_moment() {
        let (names, open, begun) = gated();
        open.send(()).unwrap();
        for _ in 0..3 {
            assert_eq!(*names.find("a", LONG).unwrap(), [IpAddr::from(Ipv4Addr::LOCALHOST)]);
        }
        assert_eq!(begun.load(Ordering::SeqCst), 1);
        names.stop();
    }

    #[test]
    fn look_ups_of_one_name_are_one() {
        let (names, open, begun) = gated();
        std::thread::scope(|scope| {
            let waiting: Vec<_> = (0..20).map(|_| scope.spawn(|| names.find("a", LONG))).collect();
            open.send(()).unwrap();
            for thread in waiting {
                assert!(thread.join().unwrap().is_ok());
            }
        });
        assert_eq!(begun.load(Ordering::SeqCst), 1);
        names.stop();
    }

    #[test]
    fn a_wait_ends_with_its_limit() {
        let (names, open, _) = gated();
        assert_eq!(names.find("a", Some(Duration::from_millis(20))), Err(NameError::TimedOut));
        assert_eq!(names.find("a", Some(Duration::ZERO)), Err(NameError::TimedOut));
        // The look-up went on, and its answer is there for the next.
        open.send(()).unwrap();
        assert!(names.find("a", LONG).is_ok());
        names.stop();
    }

    #[test]
    fn threads_are_bounded() {
        let (names, open, begun) = gated();
        for i in 0..3 * MAX_THREADS {
            let limit = Some(Duration::from_millis(1));
            assert_eq!(names.find(&format!("n{i}"), limit), Err(NameError::TimedOut));
        }
        assert_eq!(names.shared.lock().threads.len(), MAX_THREADS);
        (0..3 * MAX_THREADS).for_each(|_| open.send(()).unwrap());
        for i in 0..3 * MAX_THREADS {
            assert!(names.find(&format!("n{i}"), LONG).is_ok());
        }
        assert_eq!(begun.load(Ordering::SeqCst), 3 * MAX_THREADS);
        names.stop();
    }

    #[test]
    fn names_remembered_are_bounded() {
        let names = Names::with(|_| Ok(vec![Ipv4Addr::LOCALHOST.into()]));
        for i in 0..MAX_NAMES + 10 {
            names.find(&format!("n{i}"), LONG).unwrap();
        }
        assert!(names.shared.lock().names.len() <= MAX_NAMES);
        names.stop();
    }

    #[test]
    fn a_failure_tells_the_name_and_the_reason() {
        let names = Names::with(|name| match name {
            "empty" => Ok(Vec::new()),
            _ => Err(io::Error::other("no such host")),
        });
        let failed = |text: &str| Err(NameError::Failed(text.to_owned()));
        assert_eq!(names.find("x", LONG), failed("cannot resolve x: no such host"));
        assert_eq!(names.find("empty", None), failed("empty has no address"));
        names.stop();
    }

    #[test]
    fn a_stop_ends_waits_and_threads() {
        let (names, open, _) = gated();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| names.find("a", None));
            let deadline = Instant::now() + Duration::from_secs(20);
            while names.shared.lock().running == 0 {
                assert!(Instant::now() < deadline, "no look-up has begun");
                std::thread::yield_now();
            }
            drop(open);
            names.stop();
            let result = waiting.join().unwrap();
            assert!(result.is_ok() || matches!(result, Err(NameError::Failed(_))));
        });
        assert_eq!(names.shared.lock().running, 0);
        assert!(matches!(names.find("b", None), Err(NameError::Failed(_))));
    }
}
