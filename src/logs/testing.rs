//! A place for log lines that tests can look at and make misbehave.

use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::output::Output;
use super::sink::Sink;

/// Lines kept in memory. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Lines(Arc<(Mutex<Medium>, Condvar)>);

/// What is kept, and how it misbehaves.
pub(super) struct Medium {
    pub(super) bytes: Vec<u8>,
    /// How many bytes it holds before it is full.
    pub(super) room: usize,
    /// Writes wait.
    pub(super) is_stuck: bool,
    /// What was written cannot be taken back.
    pub(super) is_pipe: bool,
    /// The files that were let go by reopening.
    pub(super) old: Vec<Vec<u8>>,
    /// How many writes there were, failed ones included.
    pub(super) writes: usize,
}

impl Default for Medium {
    fn default() -> Medium {
        Medium {
            bytes: Vec::new(),
            room: usize::MAX,
            is_stuck: false,
            is_pipe: false,
            old: Vec::new(),
            writes: 0,
        }
    }
}

impl Lines {
    /// A new sink that leads here.
    pub(super) fn sink(&self) -> Arc<Sink> {
        Arc::new(Sink::start("test".to_owned(), "log-test", Box::new(self.clone())).unwrap())
    }

    /// Changes how it behaves.
    pub(super) fn change(&self, change: impl FnOnce(&mut Medium)) {
        change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }

    /// Waits until `holds`.
    pub(super) fn wait_until(&self, holds: impl Fn(&Medium) -> bool) {
        let bound = Duration::from_secs(20);
        let medium = self.0.0.lock().unwrap();
        let (medium, _) = self.0.1.wait_timeout_while(medium, bound, |m| !holds(m)).unwrap();
        assert!(holds(&medium), "{}", String::from_utf8_lossy(&medium.bytes));
    }

    /// What was written, once all of it is. Every line must be whole.
    pub(super) fn after_close(&self, sink: &Sink) -> Vec<String> {
        sink.close();
        assert!(sink.wait(Instant::now() + Duration::from_secs(20)), "the writer is stuck");
        let text = String::from_utf8(self.0.0.lock().unwrap().bytes.clone()).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "{text:?}");
        text.lines().map(str::to_owned).collect()
    }
}

impl Output for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let medium = self.0.0.lock().unwrap();
        let mut medium = self.0.1.wait_while(medium, |medium| medium.is_stuck).unwrap();
        medium.writes += 1;
        let count = bytes.len().min(medium.room);
        medium.room -= count;
        medium.bytes.extend_from_slice(&bytes[..count]);
        self.0.1.notify_all();
        if count == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(count) }
    }

    fn take_back(&mut self, torn: &[u8]) -> io::Result<()> {
        let mut medium = self.0.0.lock().unwrap();
        if medium.is_pipe {
            return Err(io::ErrorKind::Unsupported.into());
        }
        assert!(medium.bytes.ends_with(torn));
        let keep = medium.bytes.len() - torn.len();
        medium.bytes.truncate(keep);
        medium.room += torn.len();
        Ok(())
    }

    fn reopen(&mut self) -> io::Result<()> {
        let mut medium = self.0.0.lock().unwrap();
        let old = std::mem::take(&mut medium.bytes);
        medium.old.push(old);
        medium.room = usize::MAX;
        self.0.1.notify_all();
        Ok(())
    }
}
