//! `fireworq copy`: there and back, what arrives, interrupted, and refused where it must be.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

#[path = "copy/arriving.rs"]
mod arriving;
#[path = "copy/interrupted.rs"]
mod interrupted;
#[path = "copy/refused.rs"]
mod refused;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use fireworq::config::{self, Settings};
use fireworq::copy::{self, Copied};
use fireworq::job::{Failure, Job, NewJob};
use fireworq::queue_definition::{QueueDefaults, QueueDefinition, QueueRequest, Routing};
use fireworq::store::{self, Push, Settlement, Step, Store};
use fireworq::wake::Wake;
use support::mariadb;
use support::wait::{SOON, eventually};

/// More than some pages, with one payload that fills a page by itself.
const JOBS: usize = 1300;

fn settings(flags: &[&str]) -> Box<Settings> {
    match config::parse(flags.iter().map(Into::into), &|_| None).unwrap() {
        config::Command::Run(settings) => settings,
        _ => panic!("not settings"),
    }
}

fn sqlite(path: &Path) -> Box<Settings> {
    settings(&["--driver=sqlite", &format!("--sqlite-path={}", path.display())])
}

fn mysql(dsn: &str) -> Box<Settings> {
    settings(&["--mysql-dsn", dsn])
}

fn open(settings: &Settings) -> Arc<dyn Store> {
    store::open(settings).unwrap()
}

/// Two queues, routings, jobs of many kinds, some deleted, some failures, one left grabbed.
fn fill(store: &dyn Store) {
    let defaults = QueueDefaults { polling_interval_ms: 200, max_workers: 20 };
    let throttled = QueueRequest {
        max_dispatches_per_second: Some(2.7),
        max_burst_size: Some(3),
        ..QueueRequest::default()
    };
    for (name, request) in [("a.b", QueueRequest::default()), ("other", throttled)] {
        store.put_queue(&QueueDefinition::new(name, request, defaults).unwrap()).unwrap();
    }
    for category in ["x", "y/z"] {
        let routing = Routing { job_category: category.into(), queue_name: "a.b".into() };
        store.put_routing(&routing).unwrap();
    }
    let payload = |number: usize| match number {
        7 => vec![b'p'; 5 << 20],
        _ => (0..=255).cycle().skip(number).take(number % 300).collect(),
    };
    let batch: Vec<Push> = (0..JOBS)
        .map(|number| Push {
            queue: "a.b".into(),
            job: Arc::new(NewJob {
                category: format!("kind{number}"),
                url: format!("http://127.0.0.1:1/{number}"),
                payload: payload(number),
                run_after_s: number as u64 % 3 * 3600,
                timeout_s: number as u32,
                retry_delay_s: 5,
                max_retries: number as u32 % 4,
            }),
        })
        .collect();
    for part in batch.chunks(200) {
        store.push(part).into_iter().for_each(|pushed| assert!(pushed.is_ok()));
    }
    let (wake, _woken) = Wake::channel();
    let campaign = store.campaign(&"a.b".into(), wake);
    let lease = eventually("the lease", SOON, || campaign.lease());
    let grabbed = lease.grab(10).unwrap();
    let failed: Vec<Settlement> = grabbed[..9]
        .iter()
        .enumerate()
        .map(|(number, job)| Settlement {
            queue: "a.b".into(),
            job_id: job.id,
            created_at_ms: job.created_at_ms,
            token: lease.token(),
            fail_count: job.fail_count,
            step: if number < 5 { Step::Fail(b"{\"code\":0}".to_vec()) } else { Step::Complete },
        })
        .collect();
    store.settle(&failed).unwrap();
}

/// Everything that a store keeps, as if nobody ran anything.
fn content(store: &dyn Store) -> (Vec<QueueDefinition>, Vec<Routing>, Vec<Job>, Vec<Failure>) {
    let definitions = store.definitions().unwrap();
    let transfer = store.transfer().unwrap();
    let mut jobs = transfer.jobs_after("a.b", 0, 10_000).unwrap();
    jobs.iter_mut().for_each(|job| job.status = fireworq::job::JobStatus::Claimed);
    let failures = transfer.failures_after("a.b", 0, 10_000).unwrap();
    (definitions.queues, definitions.routings, jobs, failures)
}

#[test]
fn there_and_back_everything_is_equal() {
    let folder = tempfile::tempdir().unwrap();
    let database = mariadb::shared().create_database();
    let first = sqlite(&folder.path().join("first.db"));
    let second = mysql(&database.dsn());
    let third = sqlite(&folder.path().join("new/third.db"));
    let store = open(&first);
    fill(&*store);
    let original = content(&*store);
    store.close();
    assert_eq!((original.2.len(), original.3.len()), (JOBS - 9, 5));
    let expected =
        Copied { queues: 2, routings: 2, jobs: JOBS as u64 - 9, failures: 5, ..Copied::default() };
    assert_eq!(copy::run(&first, &second, &mut |_| ()), Ok(expected));
    assert_eq!(copy::run(&second, &third, &mut |_| ()), Ok(expected));
    for copied in [&first, &second, &third] {
        let store = open(copied);
        assert!(content(&*store) == original, "{} differs", store.describe());
        store.close();
    }
    // Again it finds everything there.
    assert_eq!(copy::run(&first, &second, &mut |_| ()), Ok(expected));
}

fn copy_command(from: &str, to: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fireworq"));
    command.args(["copy", "--from", from, "--to", to]);
    command
}

/// The exit code of a copy and what it said to standard error.
fn run_copy(from: &str, to: &str) -> (Option<i32>, String) {
    let output = copy_command(from, to).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Copies, which has to succeed.
fn must_copy(from: &str, to: &str) {
    let (code, said) = run_copy(from, to);
    assert_eq!(code, Some(0), "{said}");
}

fn place_of_file(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

/// A queue, and so many jobs in it.
fn push(store: &dyn Store, queue: &str, count: usize) -> Vec<u64> {
    let defaults = QueueDefaults { polling_interval_ms: 200, max_workers: 20 };
    let definition = QueueDefinition::new(queue, QueueRequest::default(), defaults).unwrap();
    store.put_queue(&definition).unwrap();
    push_more(store, queue, count)
}

fn push_more(store: &dyn Store, queue: &str, count: usize) -> Vec<u64> {
    let job = NewJob {
        category: "c".into(),
        url: "http://127.0.0.1:1/".into(),
        payload: b"p".to_vec(),
        run_after_s: 0,
        timeout_s: 0,
        retry_delay_s: 0,
        max_retries: 0,
    };
    let push = Push { queue: queue.into(), job: Arc::new(job) };
    store.push(&vec![push; count]).into_iter().map(|pushed| pushed.unwrap().id).collect()
}
