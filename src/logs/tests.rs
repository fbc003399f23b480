use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::*;
use crate::child_process::{Running, child, is_child, say};
use crate::config::{Command, parse};

fn settings(arguments: &[String]) -> Box<Settings> {
    match parse(arguments.iter().map(Into::into), &|_| None).unwrap() {
        Command::Run(settings) => settings,
        _ => panic!("not asked to run"),
    }
}

fn open(paths: &[(&str, PathBuf)]) -> io::Result<Logs> {
    let flags: Vec<String> =
        paths.iter().map(|(flag, path)| format!("--{flag}={}", path.display())).collect();
    Logs::open(&settings(&flags))
}

fn access_entry(url: &str) -> AccessEntry<'_> {
    AccessEntry {
        remote_addr: "127.0.0.1:1",
        user_agent: None,
        method: "GET",
        url,
        status: 200,
        duration: Duration::ZERO,
    }
}

#[test]
fn missing_folders_are_created() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/access.log");
    let others = folder.path().join("c/others.log");
    let logs = open(&[
        ("access-log", path.clone()),
        ("queue-log", others.clone()),
        ("error-log", others.clone()),
    ]);
    let logs = logs.unwrap();
    logs.access.write(&access_entry("/x"));
    logs.close();
    assert!(fs::read_to_string(path).unwrap().ends_with("}\n"));
    assert_eq!(fs::read_to_string(others).unwrap(), "");
}

#[test]
fn a_log_that_cannot_be_opened_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = open(&[("queue-log", folder.path().to_owned())]).err().unwrap();
    assert!(error.to_string().contains(&folder.path().display().to_string()), "{error}");
}

#[test]
fn logs_with_one_place_share_its_writer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let logs = open(&[("queue-log", path.clone()), ("access-log", link), ("error-log", path)]);
    let logs = logs.unwrap();
    assert_eq!(logs.sinks.len(), 1);
    let streams = open(&[("queue-log", PathBuf::from(STDOUT))]).unwrap();
    assert!(Arc::ptr_eq(&streams.queue.sink, &streams.access.sink));
}

#[test]
fn rotation_under_load_loses_and_tears_nothing() {
    const WRITERS: usize = 4;
    const LINES: usize = 5_000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let other = folder.path().join("other.log");
    let logs =
        open(&[("access-log", path.clone()), ("queue-log", other.clone()), ("error-log", other)])
            .unwrap();
    let has_ended = AtomicBool::new(false);
    let rotations = std::thread::scope(|scope| {
        let rotator = scope.spawn(|| {
            let mut rotations = 0;
            while !has_ended.load(Ordering::Relaxed) || rotations < 20 {
                // Until the writer has followed, there is nothing to rename.
                if fs::rename(&path, folder.path().join(format!("{rotations}.access"))).is_ok() {
                    rotations += 1;
                    logs.reopen();
                }
                std::thread::yield_now();
            }
            rotations
        });
        std::thread::scope(|writers| {
            for writer in 0..WRITERS {
                let access = &logs.access;
                writers.spawn(move || {
                    for number in 0..LINES {
                        access.write(&access_entry(&format!("/{writer}/{number}")));
                    }
                });
            }
        });
        has_ended.store(true, Ordering::Relaxed);
        rotator.join().unwrap()
    });
    assert_eq!(logs.dropped(), 0);
    logs.close();
    let mut seen = BTreeMap::new();
    let rotated = (0..rotations).map(|number| folder.path().join(format!("{number}.access")));
    for path in rotated.chain([path.clone()]) {
        for line in fs::read_to_string(path).unwrap().lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            *seen.entry(line["url"].as_str().unwrap().to_owned()).or_insert(0) += 1;
        }
    }
    assert_eq!(seen.len(), WRITERS * LINES);
    assert!(seen.values().all(|&count| count == 1));
}

#[test]
fn a_stuck_pipe_does_not_keep_the_logs_from_closing() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    let other = folder.path().join("other.log");
    let logs =
        open(&[("access-log", pipe), ("queue-log", other.clone()), ("error-log", other)]).unwrap();
    let long = "/".repeat(1 << 20);
    for _ in 0..20 {
        logs.access.write(&access_entry(&long));
    }
    assert!(logs.dropped() > 0);
    logs.close();
}

#[test]
fn a_device_that_is_always_full_drops_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.log");
    let logs = open(&[
        ("access-log", PathBuf::from("/dev/full")),
        ("queue-log", other.clone()),
        ("error-log", other),
    ])
    .unwrap();
    let access = Arc::clone(&logs.access);
    access.write(&access_entry("/x"));
    logs.close();
    assert_eq!(access.sink.dropped(), 1);
}

#[test]
fn a_file_that_may_not_grow_holds_whole_lines_and_gets_the_rest_later() {
    const LINES: usize = 50;
    if !is_child() {
        let test =
            "logs::tests::a_file_that_may_not_grow_holds_whole_lines_and_gets_the_rest_later";
        // In blocks of 512 or 1,024 bytes, as shells differ.
        let mut running = Running::start(child(test, "ulimit -S -f 2"));
        assert_eq!(running.next(), "whole lines, more to come: true");
        assert_eq!(running.next(), "lines at the end: 50");
        return;
    }
    SigSet::from(Signal::SIGXFSZ).thread_block().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let other = folder.path().join("other.log");
    let logs =
        open(&[("access-log", path.clone()), ("queue-log", other.clone()), ("error-log", other)])
            .unwrap();
    (0..LINES).for_each(|_| logs.access.write(&access_entry("/x")));
    let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    // The writer tries once a second: wait until it has taken back the line that was torn.
    let deadline = Instant::now() + Duration::from_secs(20);
    let is_whole = || fs::read(&path).unwrap().ends_with(b"}\n");
    while !is_whole() && Instant::now() < deadline {
        std::thread::yield_now();
    }
    let lines = || fs::read_to_string(&path).unwrap().lines().count();
    say(&format!("whole lines, more to come: {}", is_whole() && lines() < LINES));
    setrlimit(Resource::RLIMIT_FSIZE, hard, hard).unwrap();
    while lines() < LINES && Instant::now() < deadline {
        std::thread::yield_now();
    }
    logs.close();
    say(&format!("lines at the end: {}", lines()));
}

#[test]
fn the_error_log_tells_of_dropped_lines_and_panics() {
    if !is_child() {
        let test = "logs::tests::the_error_log_tells_of_dropped_lines_and_panics";
        let mut running = Running::start(child(test, ""));
        for expected in [
            r#""level":"warn","message":"PIPE: dropped 1 log lines that it did not take fast"#,
            r#""level":"info","message":"hello","queue":"q"}"#,
            r#""level":"error","message":"thread work-q-1 panicked at "#,
            r#""level":"warn","message":"PIPE: still stuck at the end, so log lines are lost"}"#,
        ] {
            let line = running.next();
            assert!(line.contains(expected), "{line}");
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    let error_log = folder.path().join("error.log");
    let flags = [
        format!("--access-log={}", pipe.display()),
        format!("--error-log={}", error_log.display()),
    ];
    let logs = Logs::start(&settings(&flags)).unwrap();
    assert!(Logs::start(&settings(&flags)).is_err(), "there is an error log already");
    let long = "/".repeat(1 << 20);
    while logs.dropped() == 0 {
        logs.access.write(&access_entry(&long));
    }
    log::info!(queue = "q"; "hello");
    let thread = std::thread::Builder::new().name("work-q-1".to_owned());
    thread.spawn(|| panic!("meant\nso")).unwrap().join().unwrap_err();
    logs.close();
    for line in fs::read_to_string(&error_log).unwrap().lines() {
        let (start, rest) = line.split_once("\"time\":").unwrap();
        let (_, end) = rest.split_once(',').unwrap();
        say(&format!("{start}{end}").replace(&pipe.display().to_string(), "PIPE"));
    }
}
