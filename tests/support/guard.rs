//! Processes that end with the test process, however that ends: by a panic, a signal, a time limit.
//!
//! A small shell stands between. It holds the read end of a pipe whose write end only the test
//! process has, and kills the process at end of file. No destructor has to run for that, so it
//! holds for statics and for `kill -9` too.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::wait::{SOON, eventually};

/// `$1`: a directory to remove if the test process dies, or nothing. `$2`: where standard output
/// goes. The rest: the command. Writes the command's process id, and ends with its exit code.
const SUPERVISOR: &str = r#"
directory=$1 output=$2
shift 2
exec 3<&0
"$@" 3<&- >>"$output" &
pid=$!
(
    exec 2>/dev/null
    while read -r _; do :; done
    trap "" TERM
    kill -9 "$pid"
    while kill -0 "$pid"; do sleep 0.05; done
    [ -z "$directory" ] || rm -rf "$directory"
) <&3 >/dev/null &
watcher=$!
echo "$pid"
exec >/dev/null 3<&-
wait "$pid" 2>/dev/null
code=$?
kill "$watcher" 2>/dev/null
exit "$code"
"#;

/// A command to be run under guard.
pub struct Guarded {
    program: OsString,
    arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    keeps_environment: bool,
    output: PathBuf,
    directory: PathBuf,
}

/// A process that runs under guard. Dropping it kills it.
pub struct Process {
    supervisor: Child,
    pid: Pid,
    exit_code: Option<i32>,
}

impl Guarded {
    /// Runs `program`, looked up in the path.
    pub fn new(program: impl AsRef<OsStr>) -> Guarded {
        Guarded {
            program: program.as_ref().to_owned(),
            arguments: Vec::new(),
            variables: Vec::new(),
            keeps_environment: true,
            output: PathBuf::from("/dev/null"),
            directory: PathBuf::new(),
        }
    }

    /// With these further arguments.
    pub fn arguments<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Guarded {
        self.arguments.extend(arguments.into_iter().map(|text| text.as_ref().to_owned()));
        self
    }

    /// With none of the environment variables of the test process but these.
    pub fn with_variables_of_its_own(mut self, kept: &[&str]) -> Guarded {
        self.keeps_environment = false;
        let kept = kept.iter().filter_map(|&name| Some((name.into(), std::env::var_os(name)?)));
        self.variables.extend(kept);
        self
    }

    /// With this environment variable beside the others.
    pub fn variable(mut self, name: &str, value: impl AsRef<OsStr>) -> Guarded {
        self.variables.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Appends its standard output to this file instead of throwing it away.
    pub fn output_to(mut self, file: &Path) -> Guarded {
        file.clone_into(&mut self.output);
        self
    }

    /// Removes this directory if the test process dies before the process is dropped.
    pub fn in_directory(mut self, directory: &Path) -> Guarded {
        directory.clone_into(&mut self.directory);
        self
    }

    /// Starts it, its standard error going to `errors`.
    pub fn start(self, errors: File) -> Process {
        self.spawn(errors.into()).0
    }

    /// Starts it, and answers its standard error beside it.
    pub fn start_with_errors(self) -> (Process, ChildStderr) {
        let (process, errors) = self.spawn(Stdio::piped());
        (process, errors.unwrap())
    }

    fn spawn(self, errors: Stdio) -> (Process, Option<ChildStderr>) {
        let mut command = Command::new("sh");
        if !self.keeps_environment {
            command.env_clear();
        }
        let mut supervisor = command
            .args(["-c", SUPERVISOR, "guard"])
            .args([self.directory.as_os_str(), self.output.as_os_str(), &self.program])
            .args(self.arguments)
            .envs(self.variables)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            // Ctrl-C at a terminal goes to the test process alone; the guard follows it.
            .process_group(0)
            .spawn()
            .expect("a shell");
        let mut line = String::new();
        BufReader::new(supervisor.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let pid = Pid::from_raw(line.trim().parse().expect("the process id from the guard"));
        let errors = supervisor.stderr.take();
        (Process { supervisor, pid, exit_code: None }, errors)
    }
}

impl Process {
    /// Its id. Its own, not the guard's.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// Sends it a signal, unless it has ended.
    pub fn signal(&mut self, signal: Signal) {
        if self.exit_code().is_none() {
            // It may end in this moment; then there is nobody left to signal.
            let _ = kill(self.pid, signal);
        }
    }

    /// How it ended: its exit code, or 128 and the number of the signal. `None` while it runs.
    pub fn exit_code(&mut self) -> Option<i32> {
        if self.exit_code.is_none() {
            let status = self.supervisor.try_wait().unwrap();
            self.exit_code =
                status.map(|status| status.code().or(status.signal().map(|n| 128 + n)).unwrap());
        }
        self.exit_code
    }

    /// Waits until it has ended, and answers how.
    ///
    /// # Panics
    /// It has not within `within`.
    pub fn wait(&mut self, within: Duration) -> i32 {
        let what = format!("process {} ends", self.pid);
        eventually(&what, within, || self.exit_code())
    }

    /// Ends it at once and waits until it is gone.
    pub fn kill9(&mut self) {
        self.signal(Signal::SIGKILL);
        self.wait(SOON);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
        let _ = self.supervisor.wait();
    }
}
