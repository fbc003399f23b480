//! `fireworq copy`: there and back, interrupted, and refused where it must be.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use fireworq::config::{self, Settings};
use fireworq::copy::{self, Copied, CopyError};
use fireworq::job::{Failure, Job, NewJob};
use fireworq::queue_definition::{QueueDefaults, QueueDefinition, QueueRequest, Routing};
use fireworq::store::{self, Push, Settlement, Step, Store};
use fireworq::wake::Wake;
use support::daemon::Options;
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
        Copied { queues: 2, routings: 2, routings_left_out: 0, jobs: JOBS as u64 - 9, failures: 5 };
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

#[test]
fn a_target_that_was_used_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let from = sqlite(&folder.path().join("from.db"));
    let to = sqlite(&folder.path().join("to.db"));
    let (source, target) = (open(&from), open(&to));
    fill(&*source);
    copy::copy(&*source, &*target, &mut |_| ()).unwrap();
    // One job was done there since: it must not come back.
    let done = content(&*target).2[3].id;
    target.delete_job("a.b", done).unwrap();
    let again = copy::copy(&*source, &*target, &mut |_| ());
    assert!(matches!(again, Err(CopyError::Differs(_))), "{again:?}");
    assert_eq!(target.job("a.b", done), Ok(None));
}

fn run_copy(from: &str, to: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fireworq"))
        .args(["copy", "--from", from, "--to", to])
        .output()
        .unwrap()
}

#[test]
fn a_store_in_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let database = mariadb::shared().create_database();
    let path = folder.path().join("used.db");
    let used = [format!("sqlite:{}", path.display()), format!("mysql:{}", database.dsn())];
    let free = format!("sqlite:{}", folder.path().join("free.db").display());
    let file = Options::new().flag("driver", "sqlite").flag("sqlite-path", path.to_str().unwrap());
    let mut daemons = [file, Options::on(&database.dsn()).flag("queue-default", "default")]
        .map(|options| options.start());
    for daemon in &daemons {
        eventually("a primary", SOON, || {
            let stats = support::http::get(daemon.address(), "/queue/default/stats");
            (stats.status == 200 && stats.json()["active_nodes"] == 1).then_some(())
        });
    }
    for place in &used {
        for output in [run_copy(place, &free), run_copy(&free, place)] {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{place}: {said}");
            assert!(said.contains("in use"), "{place}: {said}");
        }
    }
    daemons.iter_mut().for_each(|daemon| assert_eq!(daemon.stop(), 0));
    for place in &used {
        let output = run_copy(place, &free);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{place}: {said}");
    }
}

#[test]
fn a_store_that_is_not_there_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let free = format!("sqlite:{}", folder.path().join("free.db").display());
    let output = run_copy("mysql:user:secret@tcp(127.0.0.1:1)/db", &free);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(!said.contains("secret") && said.contains("fireworq: "), "{said}");
    let memory = open(&settings(&["--driver=in-memory"]));
    let target = open(&sqlite(&folder.path().join("to.db")));
    let copied = copy::copy(&*memory, &*target, &mut |_| ());
    assert!(matches!(copied, Err(CopyError::NotPossible(_))), "{copied:?}");
}
