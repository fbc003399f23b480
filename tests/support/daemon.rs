//! The daemon itself, as users start it: the real binary with flags and variables.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ChildStderr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::guard::{Guarded, Process};
use super::wait::{SOON, eventually};

/// What the daemon writes to its error log once it accepts connections.
const LISTENING: &str = "listening on ";
/// How long a stop may take: longer than the default of `shutdown_timeout`.
const STOP: Duration = Duration::from_secs(45);
/// What the daemon finds in its environment beside the variables of the test.
const VARIABLES_KEPT: [&str; 4] = ["PATH", "TMPDIR", "RUST_BACKTRACE", "LLVM_PROFILE_FILE"];

/// A daemon that is about to be started.
#[derive(Clone, Default)]
pub struct Options {
    /// What runs the daemon, such as a tracer; empty for nothing.
    runner: Vec<String>,
    flags: Vec<String>,
    variables: Vec<(String, String)>,
}

impl Options {
    /// The defaults, except that it listens on a free port, and that its logs and its database
    /// lie in a directory of its own.
    pub fn new() -> Options {
        Options::default()
    }

    /// A node on a MySQL database.
    pub fn on(dsn: &str) -> Options {
        Options::new().flag("mysql-dsn", dsn)
    }

    /// With a flag, without its dashes.
    pub fn flag(mut self, name: &str, value: &str) -> Options {
        self.flags.extend([format!("--{name}"), value.to_owned()]);
        self
    }

    /// Run by this command, which has to become the daemon, or to leave it the process id.
    pub fn under(mut self, runner: &[&str]) -> Options {
        self.runner = runner.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// With an environment variable.
    pub fn variable(mut self, name: &str, value: &str) -> Options {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it and waits until it accepts connections.
    ///
    /// # Panics
    /// It ends, or does not accept connections in time.
    #[track_caller]
    pub fn start(self) -> Daemon {
        let error_log = self.error_log();
        let mut daemon = self.launch();
        let address = eventually("the daemon listens", SOON, || {
            let ended = daemon.process.exit_code();
            let errors = error_log.as_deref().map_or_else(|| daemon.errors(), read);
            assert!(ended.is_none(), "the daemon ended: {ended:?}\n{errors}{}", daemon.errors());
            listening_on(&errors)
        });
        daemon.address = Some(address);
        daemon
    }

    /// Starts it where it is expected to end by itself: answers its exit code and what it wrote
    /// to standard error.
    ///
    /// # Panics
    /// It still runs after a while.
    #[track_caller]
    pub fn run_to_its_end(self) -> (i32, String) {
        let mut daemon = self.launch();
        let code = daemon.process.wait(STOP);
        daemon.join_reader();
        (code, daemon.errors())
    }

    /// The file that the error log goes to, unless it goes to standard error.
    fn error_log(&self) -> Option<PathBuf> {
        let given = self.flags.windows(2).find(|pair| pair[0] == "--error-log");
        given.map(|pair| PathBuf::from(&pair[1]))
    }

    fn launch(self) -> Daemon {
        let directory = tempfile::Builder::new().prefix("fireworq-daemon-").tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        let mut command = self.runner;
        command.push(env!("CARGO_BIN_EXE_fireworq").to_owned());
        let mut guarded = Guarded::new(command.remove(0))
            .arguments(command)
            .with_variables_of_its_own(&VARIABLES_KEPT)
            .output_to(&file("output"))
            .in_directory(directory.path());
        for (flag, default) in [
            ("--bind", "127.0.0.1:0".into()),
            ("--access-log", file("access.log").into_os_string()),
            ("--queue-log", file("queue.log").into_os_string()),
            ("--sqlite-path", file("fireworq.db").into_os_string()),
        ] {
            if !self.flags.iter().any(|given| given == flag) {
                guarded = guarded.arguments([flag.into(), default]);
            }
        }
        guarded = guarded.arguments(self.flags);
        for (name, value) in self.variables {
            guarded = guarded.variable(&name, value);
        }
        let (process, stderr) = guarded.start_with_errors();
        let errors = Arc::new(Mutex::new(String::new()));
        let reader = Some(collect(stderr, Arc::clone(&errors)));
        Daemon { process, address: None, errors, reader, directory }
    }
}

/// A running daemon. Dropping it kills it; should the test process die first, that kills it too.
pub struct Daemon {
    process: Process,
    address: Option<SocketAddr>,
    errors: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    directory: TempDir,
}

impl Daemon {
    /// Where its API listens.
    pub fn address(&self) -> SocketAddr {
        self.address.expect("a daemon that listens")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What it has written to standard error so far.
    pub fn errors(&self) -> String {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What it has written to standard output so far.
    pub fn output(&self) -> String {
        read(&self.file("output"))
    }

    /// Its access log so far, unless that was sent elsewhere.
    pub fn access_log(&self) -> String {
        read(&self.file("access.log"))
    }

    /// Its queue log so far, unless that was sent elsewhere.
    pub fn queue_log(&self) -> String {
        read(&self.file("queue.log"))
    }

    /// A file in its directory: `access.log` and `queue.log` lie there.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Sends it a signal.
    pub fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Asks it to stop and waits until it has; answers its exit code.
    ///
    /// # Panics
    /// It still runs after a while.
    #[track_caller]
    pub fn stop(&mut self) -> i32 {
        self.signal(Signal::SIGTERM);
        self.wait(STOP)
    }

    /// Waits until it ends, and answers its exit code: 128 and the number of the signal, if it
    /// was one that ended it.
    ///
    /// # Panics
    /// It still runs after `within`.
    #[track_caller]
    pub fn wait(&mut self, within: Duration) -> i32 {
        let code = self.process.wait(within);
        self.join_reader();
        code
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.process.exit_code().is_none()
    }

    /// Ends it without any warning.
    pub fn kill9(&mut self) {
        self.process.kill9();
    }

    /// Freezes it: its sockets stay open, nothing answers.
    pub fn pause(&mut self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it go on after [`pause`](Daemon::pause).
    pub fn resume(&mut self) {
        self.signal(Signal::SIGCONT);
    }

    fn join_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.process.kill9();
        self.join_reader();
        if std::thread::panicking() {
            // Shown by the test harness with the failed test.
            println!("--- the daemon's standard error:\n{}", self.errors());
        }
    }
}

/// Collects what the daemon writes to standard error until it ends.
fn collect(stderr: ChildStderr, into: Arc<Mutex<String>>) -> JoinHandle<()> {
    let read = move || {
        let mut stderr = BufReader::new(stderr);
        let mut line = Vec::new();
        while stderr.read_until(b'\n', &mut line).is_ok_and(|size| size > 0) {
            let mut text = into.lock().unwrap_or_else(PoisonError::into_inner);
            text.push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    };
    std::thread::Builder::new().name("daemon-errors".into()).spawn(read).unwrap()
}

/// The address in the first line that tells one, in whatever format the log writes its lines.
fn listening_on(errors: &str) -> Option<SocketAddr> {
    let (_, rest) = errors.split_once(LISTENING)?;
    let (line, _) = rest.split_once('\n')?;
    let is_part = |character: char| character.is_ascii_hexdigit() || "[].:".contains(character);
    let end = line.find(|character| !is_part(character)).unwrap_or(line.len());
    line[..end].parse().ok()
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_default()
}
