//! Deliveries to workers that follow a script, over real sockets on loopback.

mod bodies;
mod connections;
mod proxies;
mod redirects;
mod requests;
mod secured;
mod timeouts;
mod worker;

use std::ffi::OsString;

use ureq::tls::RootCerts;

use super::*;
use crate::config::{Command, parse};
use crate::job::{JobStatus, OutcomeStatus};

const SUCCESS: &str = r#"{"status":"success","message":"ok"}"#;

/// The settings of a command line such as `--dispatch-keep-alive=false`.
fn settings(flags: &[&str]) -> Box<Settings> {
    match parse(flags.iter().map(OsString::from), &|_| None).unwrap() {
        Command::Run(settings) => settings,
        _ => panic!("not asked to run"),
    }
}

/// A dispatcher with these flags, without proxies.
fn dispatcher(flags: &[&str]) -> Dispatcher {
    let tls = trust::trusting(RootCerts::WebPki);
    Dispatcher::with(&settings(flags), Proxies::default(), tls).unwrap()
}

fn job(url: impl Into<String>) -> Job {
    Job {
        id: 7,
        category: "c".into(),
        url: url.into(),
        payload: b"{\"a\":1}".to_vec(),
        status: JobStatus::Grabbed,
        created_at_ms: 0,
        next_try_ms: 0,
        retry_count: 0,
        retry_delay_s: 0,
        fail_count: 2,
        // Longer than any test: a lost answer fails a test and does not hang it.
        timeout_s: 60,
    }
}

/// The outcome of a job with `url`, delivered with these flags.
fn post(url: impl Into<String>, flags: &[&str]) -> Outcome {
    dispatcher(flags).post("q", &job(url))
}

#[track_caller]
fn assert_success(outcome: &Outcome) {
    assert_eq!(outcome.status, OutcomeStatus::Success, "{outcome:?}");
}

/// Asserts that there was no answer, for a reason that contains `why`.
#[track_caller]
fn assert_no_answer(outcome: &Outcome, why: &str) {
    assert_eq!((outcome.status, outcome.code), (OutcomeStatus::InternalFailure, 0), "{outcome:?}");
    assert!(outcome.message.starts_with("Request failed: "), "{outcome:?}");
    assert!(outcome.message.contains(why), "{outcome:?}");
}

#[test]
fn a_dispatcher_is_shared_by_threads() {
    fn assert_shared<T: Send + Sync>() {}
    assert_shared::<Dispatcher>();
}

#[test]
fn a_user_agent_that_no_header_can_carry_is_refused() {
    let tls = || trust::trusting(RootCerts::WebPki);
    for text in ["a\nb", "a\0b", &"a".repeat(MAX_USER_AGENT_BYTES + 1)] {
        let settings = settings(&["--dispatch-user-agent", text]);
        assert!(Dispatcher::with(&settings, Proxies::default(), tls()).is_err());
    }
}

#[test]
fn the_surroundings_of_this_machine_are_usable() {
    assert!(Dispatcher::new(&settings(&[])).is_ok());
}

#[test]
fn a_url_is_checked_as_it_will_be_used() {
    assert_eq!(check_url("https://user:pass@example.com/a?b#c"), Ok(()));
    assert_eq!(check_url("file:///x").unwrap_err(), "url has no host");
    assert_eq!(check_url("ftp://h/").unwrap_err(), "url has a scheme that is not http or https");
    assert_eq!(check_url("h").unwrap_err(), "url is not absolute");
}

#[test]
fn the_pool_is_as_set() {
    let pool = |flags: &[&str]| {
        let config = agent_config(&settings(flags), trust::trusting(RootCerts::WebPki));
        (config.max_idle_connections_per_host(), config.max_idle_age())
    };
    assert_eq!(pool(&[]), (10, Duration::from_secs(2)));
    let set = pool(&["--dispatch-max-conns-per-host=3", "--dispatch-idle-conn-timeout=7"]);
    assert_eq!(set, (3, Duration::from_secs(7)));
    assert_eq!(pool(&["--dispatch-idle-conn-timeout=0"]).1, FOR_EVER);
    assert_eq!(pool(&["--dispatch-keep-alive=0"]).0, 0);
}
