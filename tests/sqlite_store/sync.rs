//! A push is answered after its row is on the disk: the order of the system calls, as the kernel
//! sees them.

use std::collections::HashMap;
use std::path::Path;

use crate::support::daemon::Options;
use crate::support::http::Client;
use crate::support::wait::{SOON, until};

use super::tools::LATER;

/// What is told apart in a trace, in the order of the lines.
#[derive(Debug, PartialEq, Eq)]
enum Event {
    /// A row was written to the log.
    Written(usize),
    /// What was written to the log before is on the disk.
    Synced,
    /// A push was answered.
    Answered,
}

const PUSHES: usize = 20;

#[test]
fn a_push_is_answered_after_the_log_is_synced() {
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("trace");
    install_strace();
    let calls = "--trace=pwrite64,fdatasync,fsync,write,writev,sendto,sendmsg";
    // With -D the daemon keeps the process id, and the tracer ends with it.
    let tracer = ["strace", "-D", "-f", "-y", "-s", "9000", calls, "-o", trace.to_str().unwrap()];
    let mut daemon = Options::new().under(&tracer).start();
    let mut client = Client::connect(daemon.address());
    for number in 0..PUSHES {
        let body = format!(
            r#"{{"url": "http://127.0.0.1:1/", {LATER}, "payload": "row <{number}> end"}}"#
        );
        assert_eq!(client.request("POST", "/job/c", &[], body).status, 200);
    }
    assert_eq!(daemon.stop(), 0);
    until("the trace is complete", SOON, || read(&trace).contains("+++ exited with 0 +++"));

    let events = events(&read(&trace));
    let answers: Vec<usize> =
        (0..events.len()).filter(|&place| events[place] == Event::Answered).collect();
    assert_eq!(answers.len(), PUSHES, "{events:?}");
    for (number, answer) in answers.into_iter().enumerate() {
        let before = &events[..answer];
        let written = before.iter().position(|event| *event == Event::Written(number));
        let written = written.unwrap_or_else(|| panic!("row {number} is not in {before:?}"));
        assert!(before[written..].contains(&Event::Synced), "row {number}: {before:?}");
    }
}

fn install_strace() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/ensure.sh");
    let status = std::process::Command::new("sh").arg(script).args(["strace", "strace"]).status();
    assert!(status.unwrap().success(), "strace is needed to see system calls");
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

/// The events of a trace. A call that is interrupted by another thread's has two lines: it has
/// begun with the first and is done with the second.
fn events(trace: &str) -> Vec<Event> {
    let mut unfinished: HashMap<&str, &str> = HashMap::new();
    let mut events = Vec::new();
    for line in trace.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        let begun = unfinished.remove(thread).filter(|_| call.starts_with("<..."));
        if call.ends_with("<unfinished ...>") {
            unfinished.insert(thread, call);
        }
        let whole = begun.unwrap_or(call);
        let is_log =
            whole.split(',').next().is_some_and(|first| first.contains("fireworq.db-wal>"));
        let is_done = call.ends_with(" = 0") && !call.ends_with("<unfinished ...>");
        if whole.starts_with("pwrite64(") && is_log && begun.is_none() {
            events.extend(last_row(whole).map(Event::Written));
        } else if whole.starts_with("fdatasync(") || whole.starts_with("fsync(") {
            let syncs_log = whole.contains("fireworq.db-wal>");
            if syncs_log && is_done {
                events.push(Event::Synced);
            }
        } else if begun.is_none() && call.contains("HTTP/1.1 200") {
            events.push(Event::Answered);
        }
    }
    events
}

/// The number of the latest row on a page. Pages are filled from their ends, and what was freed
/// may still be there: the highest number is the latest.
fn last_row(page: &str) -> Option<usize> {
    let numbers = page.split("row <").skip(1);
    numbers.filter_map(|rest| rest.split_once('>')?.0.parse().ok()).max()
}

#[test]
fn a_trace_is_understood() {
    let trace = "\
        7 pwrite64(9</x/fireworq.db-wal>, \"..row <3> end..row <2> end\", 4096, 32) = 4096\n\
        7 fdatasync(9</x/fireworq.db-wal> <unfinished ...>\n\
        8 pwrite64(5</x/fireworq.db>, \"row <9>\", 4096, 0) = 4096\n\
        8 write(2</y>, \"HTTP/1.1 404\", 12) = 12\n\
        7 <... fdatasync resumed>)      = 0\n\
        8 fsync(5</x/fireworq.db>) = 0\n\
        8 sendto(6<socket:[1]>, \"HTTP/1.1 200 OK\", 15, 0) = 15\n";
    assert_eq!(events(trace), [Event::Written(3), Event::Synced, Event::Answered]);
    assert_eq!(events("7 fdatasync(9</x/fireworq.db-wal>) = -1 EIO (no)\n"), []);
}
