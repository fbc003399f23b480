//! Faults of the file and of the disk: refused with the reason, nothing lost, well again when the
//! cause is gone.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use rusqlite::Connection;

use crate::support::http;
use crate::support::wait::{SOON, until};

use super::tools::{assert_refused, deferred, on, push, push_when_possible};

const MEANS: &str = "which needs `unshare` and a system that lets anybody have a user namespace; \
                     the same without mounting is in tests/faults/resources.rs";

/// A daemon's end at its start: exit code 2 and a message about the file.
#[track_caller]
fn assert_start_refused(path: &Path, reason: &str) {
    let (code, errors) = on(path).run_to_its_end();
    assert_eq!(code, 2, "{errors}");
    let name = path.display().to_string();
    assert!(errors.contains(&name) && errors.contains(reason), "{errors}");
}

#[test]
fn the_file_is_created_with_its_folder_for_the_owner_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a/b/jobs.db");
    let mut daemon = on(&path).start();
    push_when_possible(&daemon, "1");
    for name in ["jobs.db", "jobs.db-wal", "jobs.db-shm", "jobs.db-lock"] {
        let mode = fs::metadata(path.with_file_name(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name}");
    }
    let log = daemon.errors();
    assert!(log.contains(&format!("store: sqlite: {}", path.display())), "{log}");
    assert!(log.contains("--mysql-dsn"), "{log}");
    assert_eq!(daemon.stop(), 0);
    // A clean end leaves all of it in one file.
    assert!(!path.with_file_name("jobs.db-wal").exists());
    let daemon = on(&path).start();
    assert_eq!(deferred_when_loaded(&daemon), ["1"]);
}

#[track_caller]
fn deferred_when_loaded(daemon: &crate::support::daemon::Daemon) -> Vec<String> {
    let is_loaded = || http::get(daemon.address(), "/queue/default").status == 200;
    until("the definitions are read", SOON, is_loaded);
    deferred(daemon)
}

#[test]
fn a_file_that_cannot_be_used_stops_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let mut daemon = on(&path).start();
    push_when_possible(&daemon, "1");
    assert_eq!(daemon.stop(), 0);
    let whole = fs::read(&path).unwrap();
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert_start_refused(&path, "a newer release: its schema has version 99");

    fs::write(&path, b"something else\n".repeat(1000)).unwrap();
    assert_start_refused(&path, "the file is no SQLite database");
    // Nothing was done to it.
    assert_eq!(fs::read(&path).unwrap(), b"something else\n".repeat(1000));

    fs::write(&path, &whole[..3000]).unwrap();
    assert_start_refused(&path, "damaged");

    fs::remove_file(&path).unwrap();
    Connection::open(&path).unwrap().execute("CREATE TABLE accounts (n)", ()).unwrap();
    assert_start_refused(&path, "the database of another program");

    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_start_refused(&path, "cannot be opened");
}

#[test]
fn a_damaged_file_refuses_pushes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let mut daemon = on(&path).start();
    for _ in 0..200 {
        push_when_possible(&daemon, &"x".repeat(500));
    }
    assert_eq!(daemon.stop(), 0);
    let whole = fs::read(&path).unwrap();
    // The tables of the queue, not those of the definitions, which come first.
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let first = 12 * 4096;
    file.write_all_at(&vec![0xa5; whole.len() - first], first as u64).unwrap();
    let daemon = on(&path).start();
    let is_damaged = || push(&daemon, "1").text().contains("damaged");
    until("a push is refused for the damage", SOON, is_damaged);
    assert_refused(&push(&daemon, "1"), 503, "the database is damaged");
    assert!(http::get(daemon.address(), "/version").status == 200);
    // Repaired in place, from a copy.
    file.write_all_at(&whole, 0).unwrap();
    file.set_len(whole.len() as u64).unwrap();
    push_when_possible(&daemon, "2");
    assert_eq!(deferred(&daemon).len(), 201);
}

#[test]
fn damage_that_a_reader_finds_refuses_pushes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let daemon = on(&path).start();
    for _ in 0..50 {
        push_when_possible(&daemon, &"x".repeat(500));
    }
    // In the file, and no longer in the log alone.
    until("the log is copied", SOON, || fs::metadata(&path).unwrap().len() > 20_000);
    // The writer has its pages in memory, and would not notice.
    let size = fs::metadata(&path).unwrap().len();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&vec![0xa5; size as usize - 4096], 4096).unwrap();
    until("a push is refused for the damage", SOON, || {
        let answer = push(&daemon, "1");
        answer.status == 503 && answer.text().contains("damaged")
    });
    until("the node is not ready", SOON, || http::get(daemon.address(), "/readyz").status == 503);
}

#[test]
fn a_log_that_is_cut_short_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let mut daemon = on(&path).start();
    for number in 0..5 {
        push_when_possible(&daemon, &format!("before {number}"));
    }
    let log = fs::OpenOptions::new().write(true).open(directory.path().join("jobs.db-wal"));
    log.unwrap().set_len(0).unwrap();
    assert_refused(&push(&daemon, "lost"), 503, "jobs.db-wal was cut short");
    until("the log tells it", SOON, || daemon.errors().contains("may be lost"));
    // What is accepted from now on is there.
    push_when_possible(&daemon, "after");
    daemon.kill9();
    let daemon = on(&path).start();
    assert!(deferred_when_loaded(&daemon).contains(&"after".to_owned()));
}

#[test]
fn a_database_that_is_emptied_refuses_pushes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let mut daemon = on(&path).start();
    push_when_possible(&daemon, "1");
    assert_eq!(daemon.stop(), 0);
    let whole = fs::read(&path).unwrap();
    let daemon = on(&path).start();
    assert_eq!(deferred_when_loaded(&daemon), ["1"]);
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(0).unwrap();
    assert_refused(&push(&daemon, "lost"), 503, "jobs.db was emptied");
    file.write_all_at(&whole, 0).unwrap();
    push_when_possible(&daemon, "2");
    assert_eq!(deferred(&daemon), ["1", "2"]);
}

#[test]
fn a_second_name_of_the_file_is_no_second_database() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let daemon = on(&path).start();
    push_when_possible(&daemon, "1");
    let other = directory.path().join("other.db");
    fs::hard_link(&path, &other).unwrap();
    assert_start_refused(&other, "a hard link");
    push_when_possible(&daemon, "2");
}

#[test]
fn a_file_that_has_gone_refuses_pushes_until_it_is_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let aside = directory.path().join("aside");
    let daemon = on(&path).start();
    push_when_possible(&daemon, "1");
    fs::rename(&path, &aside).unwrap();
    assert_refused(&push(&daemon, "lost"), 503, "jobs.db was removed");
    let answer = http::get(daemon.address(), "/queue/default/deferred");
    assert_refused(&answer, 503, "jobs.db was removed");

    // Another file in its place is not taken for it.
    fs::copy(&aside, &path).unwrap();
    assert_refused(&push(&daemon, "lost"), 503, "jobs.db was replaced");
    until("the log tells it", SOON, || daemon.errors().contains("jobs.db was"));

    fs::rename(&aside, &path).unwrap();
    push_when_possible(&daemon, "2");
    assert_eq!(deferred(&daemon), ["1", "2"]);
    until("the log tells it", SOON, || daemon.errors().contains("can be written again"));
}

#[test]
fn a_file_put_in_the_place_of_another_is_used_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let mut daemon = on(&path).start();
    push_when_possible(&daemon, "old");
    assert_eq!(daemon.stop(), 0);
    let backup = directory.path().join("backup");
    fs::copy(&path, &backup).unwrap();

    let mut daemon = on(&path).start();
    for number in 0..50 {
        push_when_possible(&daemon, &format!("new {number}"));
    }
    let aside = directory.path().join("aside");
    fs::rename(&path, &aside).unwrap();
    fs::rename(&backup, &path).unwrap();
    assert_refused(&push(&daemon, "lost"), 503, "jobs.db was replaced");
    assert_eq!(daemon.stop(), 0);

    // What was in the log went to its own database, and not to the other.
    let mut daemon = on(&path).start();
    assert_eq!(deferred_when_loaded(&daemon), ["old"]);
    assert_eq!(daemon.stop(), 0);
    let daemon = on(&aside).start();
    assert_eq!(deferred_when_loaded(&daemon).len(), 51);
}

#[test]
fn a_removed_log_is_made_anew_and_nothing_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let log = directory.path().join("jobs.db-wal");
    let mut daemon = on(&path).start();
    let mut expected = Vec::new();
    for number in 0..3 {
        let (before, after) = (format!("{number} before"), format!("{number} after"));
        push_when_possible(&daemon, &before);
        fs::remove_file(&log).unwrap();
        let answer = push(&daemon, &after);
        expected.push(before);
        // A poll may have noticed it first, and then all is well again.
        if answer.status == 200 {
            expected.push(after);
        } else {
            assert_refused(&answer, 503, "jobs.db-wal was removed");
        }
        let told = || daemon.errors().matches("jobs.db-wal was removed").count() > number;
        until("the log tells it", SOON, told);
    }
    push_when_possible(&daemon, "last");
    expected.push("last".to_owned());
    expected.sort();
    assert!(fs::metadata(&log).unwrap().size() > 0);
    daemon.kill9();
    let daemon = on(&path).start();
    assert_eq!(deferred_when_loaded(&daemon), expected);
}

/// Runs the rest of its arguments in a mount namespace of its own, after `sh -c` of the first.
fn in_namespace(script: &str) -> Vec<String> {
    const UNSHARE: [&str; 4] = ["unshare", "--user", "--map-root-user", "--mount"];
    let tried = Command::new(UNSHARE[0]).args(&UNSHARE[1..]).arg("true").output();
    let is_allowed = tried.as_ref().is_ok_and(|output| output.status.success());
    assert!(is_allowed, "this test mounts a small disk for the daemon alone, {MEANS}: {tried:?}");
    let script = format!("{script} && exec \"$@\"");
    [&UNSHARE[..], &["sh", "-c", &script, "sh"]].concat().into_iter().map(str::to_owned).collect()
}

#[test]
fn a_full_disk_refuses_pushes_until_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let runner = in_namespace(&format!("mount -t tmpfs -o size=2m tmpfs '{}'", disk.display()));
    let runner: Vec<&str> = runner.iter().map(String::as_str).collect();
    let mut daemon = on(&disk.join("jobs.db")).under(&runner).start();
    // The disk as the daemon sees it.
    let seen = Path::new("/proc").join(daemon.pid().to_string());
    let seen = seen.join("root").join(disk.strip_prefix("/").unwrap());
    push_when_possible(&daemon, "0");

    let mut expected = vec!["0".to_owned()];
    let mut number = 0;
    for _ in 0..2 {
        fs::write(seen.join("filler"), vec![0; 700_000]).unwrap();
        let refused = loop {
            number += 1;
            assert!(number < 10_000, "the disk does not fill");
            let payload = format!("{number} {}", "x".repeat(9000));
            match push(&daemon, &payload) {
                answer if answer.status == 200 => expected.push(payload),
                refused => break refused,
            }
        };
        assert_refused(&refused, 507, "full");
        assert_eq!(http::get(daemon.address(), "/version").status, 200);
        assert_refused(&push(&daemon, &"y".repeat(9000)), 507, "full");
        assert_refused(&http::get(daemon.address(), "/readyz"), 503, "full");
        fs::remove_file(seen.join("filler")).unwrap();
        let payload = format!("room again {number}");
        push_when_possible(&daemon, &payload);
        assert_eq!(http::get(daemon.address(), "/readyz").status, 200);
        expected.push(payload);
    }
    expected.sort();
    assert!(deferred(&daemon) == expected, "some were lost or are there that were refused");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_disk_that_may_not_be_written_stops_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let path = disk.join("jobs.db");
    let shown = disk.display();
    let runner = in_namespace(&format!("mount -t tmpfs -o ro tmpfs '{shown}'"));
    let runner: Vec<&str> = runner.iter().map(String::as_str).collect();
    let (code, errors) = on(&path).under(&runner).run_to_its_end();
    assert_eq!(code, 2, "{errors}");
    assert!(errors.contains("Read-only file system"), "{errors}");
}
