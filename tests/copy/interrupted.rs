//! A copy that is cut off, at whatever moment, is started again and ends as if it had not been.

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use fireworq::copy;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::support::mariadb;
use super::support::random::Random;
use super::{JOBS, content, copy_command, fill, must_copy, mysql, open, place_of_file, sqlite};

/// Targets, and how often the copy into each is cut off.
const ROUNDS: usize = 5;
const CUTS: usize = 2;

#[test]
fn a_copy_that_was_interrupted_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let from = sqlite(&folder.path().join("from.db"));
    let to = sqlite(&folder.path().join("to.db"));
    let (source, target) = (open(&from), open(&to));
    fill(&*source);
    let interrupted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        copy::copy(&*source, &*target, &mut |copied| assert!(copied.jobs < 600, "enough"))
    }));
    assert!(interrupted.is_err());
    let arrived = content(&*target).2.len();
    assert!(arrived > 0 && arrived < JOBS - 9, "{arrived}");
    copy::copy(&*source, &*target, &mut |_| ()).unwrap();
    assert!(content(&*source) == content(&*target));
}

/// Starts a copy and cuts it off at a moment of the time that a whole one takes; answers whether
/// it had not ended before.
fn cut_off(from: &str, to: &str, whole: Duration, random: &mut Random) -> bool {
    let mut process = copy_command(from, to).spawn().unwrap();
    let after_us = random.within(0..=whole.as_micros() as u64);
    std::thread::sleep(Duration::from_micros(after_us));
    let signal = random.one_of(&[Signal::SIGKILL, Signal::SIGINT]);
    // One that has ended takes it too, until it is waited for.
    kill(Pid::from_raw(process.id().cast_signed()), signal).unwrap();
    process.wait().unwrap().signal().is_some()
}

#[test]
fn a_copy_that_is_killed_at_any_moment_can_be_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::seeded();
    let original = folder.path().join("original.db");
    let store = open(&sqlite(&original));
    fill(&*store);
    let expected = content(&*store);
    let ids = store.transfer().unwrap().last_ids("a.b");
    store.close();
    let file = place_of_file(&original);
    let full = mariadb::shared().create_database();
    let full_place = format!("mysql:{}", full.dsn());
    let begun = Instant::now();
    must_copy(&file, &full_place);
    let mut whole = begun.elapsed();
    for round in 0..ROUNDS {
        let database = mariadb::shared().create_database();
        let path = folder.path().join(format!("{round}.db"));
        for (from, to, target) in [
            (&file, format!("mysql:{}", database.dsn()), mysql(&database.dsn())),
            (&full_place, place_of_file(&path), sqlite(&path)),
        ] {
            let mut cuts = 0;
            while cuts < CUTS {
                if cut_off(from, &to, whole, &mut random) {
                    cuts += 1;
                } else {
                    // It was faster this time.
                    whole = whole * 2 / 3;
                }
            }
            must_copy(from, &to);
            let store = open(&target);
            assert!(content(&*store) == expected, "{to} differs");
            assert_eq!(store.transfer().unwrap().last_ids("a.b"), ids, "{to}");
            store.close();
        }
    }
}
