//! Tests that need a process of their own: its environment, its descriptors, its signals.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// The variable that makes a test play the part of the child.
const PART: &str = "FIREWORQ_TEST_CHILD";

/// Whether this process is the child of a test.
pub(crate) fn is_child() -> bool {
    std::env::var_os(PART).is_some()
}

/// The command line of a shell that becomes this very test, as the child, after `prelude`. The
/// test runs in the child's only thread.
pub(crate) fn child(test: &str, prelude: &str) -> Command {
    let mut command = Command::new("sh");
    let script = format!("{prelude}\nexec \"$0\" --exact --nocapture --test-threads=1 {test}");
    command.arg("-c").arg(script).arg(std::env::current_exe().unwrap());
    command.env(PART, "1").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// A running child and what it says. It is ended when this is dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    said: Receiver<String>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Running {
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, said) = channel();
        // Ends with the child.
        std::thread::spawn(move || {
            // The test harness may have begun the line.
            let said = |line: String| line.split_once("child: ").map(|(_, said)| said.to_owned());
            for line in output.lines().map_while(Result::ok).filter_map(said) {
                let _ = sender.send(line);
            }
        });
        Running { child, said }
    }

    /// Waits for the next line that a child says with [`say`], and answers it.
    pub(crate) fn next(&mut self) -> String {
        self.said.recv_timeout(Duration::from_secs(20)).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says something to the parent.
pub(crate) fn say(text: &str) {
    println!("child: {text}");
}
