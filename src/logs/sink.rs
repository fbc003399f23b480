//! One place where lines go: a bounded buffer, and the thread `log-…` that empties it.
//!
//! Whoever logs copies a whole line into the buffer under a short lock, and never does I/O, never
//! waits for a disk or a reader. When the buffer is full, the line is dropped and counted, and
//! the error log says so. The lock is never held while anything is logged, since that line may
//! come back to the same sink.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::output::Output;
use crate::threads;

/// When this much waits, lines are dropped. One line may reach beyond it.
const MAX_PENDING_BYTES: usize = 8 << 20;
/// After a write the writer lets lines gather for this long, or until this much has gathered:
/// under load that is a few writes instead of thousands, and a wake-up for each of those.
const GATHER_TIME: Duration = Duration::from_millis(5);
const GATHER_BYTES: usize = 256 << 10;
/// A buffer that grew beyond this is given back after use.
pub(super) const RETAINED_BYTES: usize = 1 << 20;
/// The wait after a failed write before the next try.
const RETRY_TIME: Duration = Duration::from_secs(1);
/// The least time between two lines about dropped lines.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// A buffer and its writer thread. All methods may be called from any thread.
pub(super) struct Sink {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    /// What it is called in the error log.
    name: String,
    state: Mutex<State>,
    /// The writer waits on it.
    called: Condvar,
    /// Who closes the sink waits on it.
    ended: Condvar,
}

struct State {
    /// Whole lines.
    pending: Vec<u8>,
    /// The writer wants to be woken when this much is pending.
    wake_at: usize,
    /// What the writer is asked to do beside writing, and has not taken up yet.
    call: Call,
    /// No more lines are taken.
    is_closed: bool,
    has_ended: bool,
    dropped: Dropped,
}

/// What a writer is asked to do, once all that was pending before is written.
#[derive(Clone, Copy, Default)]
struct Call {
    reopen: bool,
    close: bool,
}

/// The lines that were dropped.
#[derive(Default)]
struct Dropped {
    total: u64,
    unreported: u64,
    reported_at: Option<Instant>,
}

/// A count of dropped lines that is due to be shown.
struct Report {
    since_last: u64,
    total: u64,
}

impl Sink {
    /// Starts the writer thread. `name` is what the error log calls the sink.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn start(
        name: String,
        thread_name: &str,
        output: Box<dyn Output>,
    ) -> io::Result<Sink> {
        let shared = Arc::new(Shared {
            name,
            state: Mutex::new(State {
                pending: Vec::new(),
                wake_at: usize::MAX,
                call: Call::default(),
                is_closed: false,
                has_ended: false,
                dropped: Dropped::default(),
            }),
            called: Condvar::new(),
            ended: Condvar::new(),
        });
        let writer = Writer { shared: Arc::clone(&shared), output, call: Call::default() };
        let thread = threads::spawn(thread_name.to_owned(), move || writer.run())?;
        Ok(Sink { shared, writer: Mutex::new(Some(thread)) })
    }

    /// What the error log calls the sink.
    pub(super) fn name(&self) -> &str {
        &self.shared.name
    }

    /// Takes a line, which ends in its only line break, or drops and counts it.
    pub(super) fn append(&self, line: &[u8]) {
        let mut state = self.shared.lock();
        if state.is_closed || state.pending.len() >= MAX_PENDING_BYTES {
            state.dropped.count(1);
            let report = state.due_report();
            drop(state);
            self.shared.show(report);
            return;
        }
        state.pending.extend_from_slice(line);
        let wake = state.pending.len() >= state.wake_at;
        if wake {
            state.wake_at = usize::MAX;
        }
        drop(state);
        if wake {
            self.shared.called.notify_one();
        }
    }

    /// Has the file reopened. Lines appended before go to the old file, later ones to the new.
    pub(super) fn reopen(&self) {
        self.shared.lock().call.reopen = true;
        self.shared.called.notify_one();
    }

    /// How many lines were dropped since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.shared.lock().dropped.total
    }

    /// Takes no more lines, and has the writer end once it has written those that wait.
    pub(super) fn close(&self) {
        let mut state = self.shared.lock();
        state.is_closed = true;
        state.call.close = true;
        drop(state);
        self.shared.called.notify_one();
    }

    /// After [`close`](Sink::close), waits until the writer has ended, but not beyond `deadline`:
    /// one that is stuck in a write is left behind, and ends with the process. Answers whether
    /// it ended.
    pub(super) fn wait(&self, deadline: Instant) -> bool {
        let state = self.shared.lock();
        let bound = deadline.saturating_duration_since(Instant::now());
        let (state, _) = self
            .shared
            .ended
            .wait_timeout_while(state, bound, |state| !state.has_ended)
            .unwrap_or_else(PoisonError::into_inner);
        if !state.has_ended {
            return false;
        }
        drop(state);
        let thread = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A panic of the writer was shown when it happened.
        thread.is_none_or(|thread| thread.join().is_ok())
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code under this lock can leave the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, report: Option<Report>) {
        if let Some(Report { since_last, total }) = report {
            log::warn!(
                "{}: dropped {since_last} log lines that it did not take fast enough \
                 ({total} since the start)",
                self.name
            );
        }
    }

    /// Waits until there is something to do, and swaps `lines`, which is empty, for those that
    /// are pending.
    fn next(&self, lines: &mut Vec<u8>) -> Call {
        let mut state = self.lock();
        state.wake_at = GATHER_BYTES;
        (state, _) = self
            .called
            .wait_timeout_while(state, GATHER_TIME, |state| {
                state.pending.len() < GATHER_BYTES && !state.call.is_made()
            })
            .unwrap_or_else(PoisonError::into_inner);
        let mut report = state.due_report();
        while state.pending.is_empty() && !state.call.is_made() && report.is_none() {
            state.wake_at = 1;
            state = match state.report_due_in() {
                Some(time) => {
                    let waited = self.called.wait_timeout(state, time);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.called.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
            report = state.due_report();
        }
        state.wake_at = usize::MAX;
        std::mem::swap(lines, &mut state.pending);
        let call = std::mem::take(&mut state.call);
        drop(state);
        self.show(report);
        call
    }

    /// Waits for the next try of a failed write, or until something is asked for.
    fn wait_to_retry(&self) -> Call {
        let state = self.lock();
        let (mut state, _) = self
            .called
            .wait_timeout_while(state, RETRY_TIME, |state| !state.call.is_made())
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut state.call)
    }
}

impl State {
    /// The count of dropped lines to be shown now, if any.
    fn due_report(&mut self) -> Option<Report> {
        if self.report_due_in()? > Duration::ZERO {
            return None;
        }
        self.dropped.reported_at = Some(Instant::now());
        let since_last = std::mem::take(&mut self.dropped.unreported);
        Some(Report { since_last, total: self.dropped.total })
    }

    /// When the count of dropped lines is to be shown, if there are any.
    fn report_due_in(&self) -> Option<Duration> {
        if self.dropped.unreported == 0 || self.is_closed {
            return None;
        }
        let since_last = self.dropped.reported_at.map_or(REPORT_INTERVAL, |at| at.elapsed());
        Some(REPORT_INTERVAL.saturating_sub(since_last))
    }
}

impl Call {
    fn is_made(self) -> bool {
        self.reopen || self.close
    }
}

impl Dropped {
    fn count(&mut self, lines: u64) {
        self.total += lines;
        self.unreported += lines;
    }
}

/// What the writer thread owns.
struct Writer {
    shared: Arc<Shared>,
    output: Box<dyn Output>,
    /// What is still to be done after the lines at hand.
    call: Call,
}

impl Writer {
    fn run(mut self) {
        let mut lines = Vec::new();
        while !self.call.close {
            self.call = self.shared.next(&mut lines);
            self.write(&lines);
            lines.clear();
            if lines.capacity() > RETAINED_BYTES {
                lines = Vec::new();
            }
            if std::mem::take(&mut self.call.reopen) {
                self.reopen();
            }
        }
        self.shared.lock().has_ended = true;
        self.shared.ended.notify_all();
    }

    /// Writes all lines, trying again for as long as it takes, but only once more when the sink
    /// closes.
    fn write(&mut self, lines: &[u8]) {
        let mut done = 0;
        let mut has_failed = false;
        while let (written, Err(error)) = write_lines(&mut *self.output, &lines[done..]) {
            done += written;
            if self.call.close {
                let lost = lines[done..].iter().filter(|&&byte| byte == b'\n').count();
                self.shared.lock().dropped.count(lost as u64);
                return;
            }
            if !has_failed {
                log::error!("{}: cannot be written, lines wait: {error}", self.shared.name);
                has_failed = true;
            }
            if !self.call.reopen {
                self.call = self.shared.wait_to_retry();
            }
            // A rotation may be the way out of a full disk, so it does not wait for the lines.
            if std::mem::take(&mut self.call.reopen) && self.reopen() {
                done = start_of_line(lines, done);
            }
        }
        if has_failed {
            log::warn!("{}: is written again", self.shared.name);
        }
    }

    fn reopen(&mut self) -> bool {
        let result = self.output.reopen();
        if let Err(error) = &result {
            log::error!(
                "{}: cannot be reopened, so the old file is written on: {error}",
                self.shared.name
            );
        }
        result.is_ok()
    }
}

/// Writes `lines` and answers how many bytes are written and stay so. After an error they end
/// with a whole line, unless the output cannot take back the start of one.
fn write_lines(output: &mut dyn Output, lines: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < lines.len() {
        match output.write(&lines[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                let whole = start_of_line(lines, written);
                let torn = &lines[whole..written];
                let is_whole = torn.is_empty() || output.take_back(torn).is_ok();
                return (if is_whole { whole } else { written }, Err(error));
            }
        }
    }
    (written, Ok(()))
}

/// Where the line begins that `position` lies in.
fn start_of_line(lines: &[u8], position: usize) -> usize {
    lines[..position].iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1)
}

#[cfg(test)]
mod tests;
