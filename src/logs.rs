//! The three logs: of the queues, of the API's requests, and of what the daemon itself has to
//! say, which is written with the macros of the crate `log` (see [`FATAL`] for their use).
//!
//! Each file, standard output and standard error have a writer thread `log-…` of their own.
//! Nobody else does I/O for a log, and nobody waits for it: when a disk is full or a reader is
//! stuck, lines are dropped and counted. A line is written whole or not at all.

mod access;
mod error;
mod line;
mod output;
mod queue;
mod sink;

use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use access::{AccessEntry, AccessLog};
pub use error::FATAL;
pub use queue::{Action, QueueEntry, QueueLog};

use crate::config::Settings;
use error::{ErrorLog, Form};
use output::{Identity, LogFile, Output, Stream};
use sink::Sink;

/// How long the end of the daemon waits for the logs, and after them for the error log.
const CLOSE_BOUND: Duration = Duration::from_secs(1);

/// The three logs and their writer threads.
pub struct Logs {
    /// The log of jobs.
    pub queue: Arc<QueueLog>,
    /// The log of requests.
    pub access: Arc<AccessLog>,
    error: ErrorLog,
    /// Each once, the error log's among them.
    sinks: Vec<Arc<Sink>>,
}

impl Logs {
    /// Opens the logs, missing folders included, and makes the error log that of the process,
    /// for panics too.
    ///
    /// # Errors
    /// A file cannot be opened, which the text names, or the process has an error log already.
    pub fn start(settings: &Settings) -> io::Result<Logs> {
        let logs = Logs::open(settings)?;
        simplelog::CombinedLogger::init(vec![Box::new(logs.error.clone())])
            .map_err(io::Error::other)?;
        std::panic::set_hook(Box::new(|panic| {
            let thread = std::thread::current();
            log::error!("thread {} {panic}", thread.name().unwrap_or("without a name"));
        }));
        Ok(logs)
    }

    /// Opens the logs and leaves the process's error log alone.
    ///
    /// # Errors
    /// A file cannot be opened, which the text names.
    pub fn open(settings: &Settings) -> io::Result<Logs> {
        let mut places = Places { sinks: Vec::new() };
        let queue = QueueLog {
            sink: places.sink(&settings.queue_log, STDOUT, "log-queue")?,
            level: settings.queue_log_level,
            tag: settings.queue_log_tag.clone(),
            max_field_bytes: settings.queue_log_max_field_size,
        };
        let access = AccessLog {
            sink: places.sink(&settings.access_log, STDOUT, "log-access")?,
            tag: settings.access_log_tag.clone(),
        };
        let error = ErrorLog {
            sink: places.sink(&settings.error_log, STDERR, "log-error")?,
            level: settings.error_log_level,
            form: error_form(&settings.error_log),
        };
        Ok(Logs {
            queue: Arc::new(queue),
            access: Arc::new(access),
            error,
            sinks: places.sinks.into_iter().map(|(_, sink)| sink).collect(),
        })
    }

    /// Has all files reopened, once what was logged before is written.
    pub fn reopen(&self) {
        for sink in &self.sinks {
            sink.reopen();
        }
    }

    /// How many lines were dropped since the start, of all logs.
    pub fn dropped(&self) -> u64 {
        self.dropped_lines().get()
    }

    /// The same, for who does not have the logs.
    pub fn dropped_lines(&self) -> DroppedLines {
        DroppedLines(self.sinks.clone())
    }

    /// Writes what waits, within about two seconds, and ends the writer threads. Lines that come
    /// later are dropped.
    pub fn close(&self) {
        let others = || self.sinks.iter().filter(|sink| !Arc::ptr_eq(sink, &self.error.sink));
        others().for_each(|sink| sink.close());
        let deadline = Instant::now() + CLOSE_BOUND;
        for sink in others() {
            if !sink.wait(deadline) {
                log::warn!("{}: still stuck at the end, so log lines are lost", sink.name());
            }
        }
        self.error.sink.close();
        self.error.sink.wait(Instant::now() + CLOSE_BOUND);
    }
}

/// Counts the lines that were dropped. See [`Logs::dropped`].
pub struct DroppedLines(Vec<Arc<Sink>>);

impl DroppedLines {
    /// How many since the start.
    pub fn get(&self) -> u64 {
        self.0.iter().map(|sink| sink.dropped()).sum()
    }
}

const STDOUT: &str = "/dev/stdout";
const STDERR: &str = "/dev/stderr";

/// The places that logs lead to. Two logs with one place share its writer, so that their lines
/// do not run into each other.
struct Places {
    sinks: Vec<(Identity, Arc<Sink>)>,
}

impl Places {
    /// The sink for a setting's `path`, or for the stream `otherwise` where it is empty.
    fn sink(
        &mut self,
        path: &str,
        otherwise: &'static str,
        thread_name: &'static str,
    ) -> io::Result<Arc<Sink>> {
        let path = if path.is_empty() { otherwise } else { path };
        // As paths the streams could not be opened where they are sockets.
        match path {
            STDOUT => {
                let stream = Stream::new(io::stdout())?;
                self.shared("standard output", "log-stdout", stream.identity()?, stream)
            }
            STDERR => {
                let stream = Stream::new(io::stderr())?;
                self.shared("standard error", "log-stderr", stream.identity()?, stream)
            }
            path => {
                let file = LogFile::open(Path::new(path)).map_err(|error| {
                    io::Error::new(error.kind(), format!("cannot open the log {path}: {error}"))
                })?;
                self.shared(path, thread_name, file.identity()?, file)
            }
        }
    }

    fn shared(
        &mut self,
        name: &str,
        thread_name: &str,
        identity: Identity,
        output: impl Output + 'static,
    ) -> io::Result<Arc<Sink>> {
        if let Some((_, sink)) = self.sinks.iter().find(|(known, _)| *known == identity) {
            return Ok(Arc::clone(sink));
        }
        let sink = Arc::new(Sink::start(name.to_owned(), thread_name, Box::new(output))?);
        self.sinks.push((identity, Arc::clone(&sink)));
        Ok(sink)
    }
}

fn error_form(path: &str) -> Form {
    match path {
        "" | STDERR if io::stderr().is_terminal() => Form::Coloured,
        "" | STDERR => Form::Plain,
        _ => Form::Json,
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
