//! The time a try may take.

use super::worker::Worker;
use super::*;

/// The outcome of a job that may take one second.
fn hurried(worker: &Worker) -> Outcome {
    let mut job = job(worker.url("/"));
    job.timeout_s = 1;
    dispatcher(&[]).post("q", &job)
}

#[test]
fn no_answer_in_time_is_no_answer() {
    let worker = Worker::start(|_, connection| {
        connection.receive();
        connection.await_end();
    });
    assert_no_answer(&hurried(&worker), "timed out");
}

#[test]
fn half_a_head_in_time_is_no_answer() {
    let worker = Worker::start(|_, connection| {
        connection.receive();
        connection.send("HTTP/1.1 200 OK\r\nContent-");
        connection.await_end();
    });
    assert_no_answer(&hurried(&worker), "timed out");
}

#[test]
fn half_a_body_in_time_is_a_failure() {
    for head in ["", "Content-Length: 100\r\n", "Transfer-Encoding: chunked\r\n"] {
        let worker = Worker::start(move |_, connection| {
            connection.receive();
            connection.send(format!("HTTP/1.1 202 OK\r\n{head}\r\n"));
            connection.await_end();
        });
        let outcome = hurried(&worker);
        assert_eq!((outcome.status, outcome.code), (OutcomeStatus::Failure, 202), "{outcome:?}");
        assert_eq!(outcome.message, "Cannot read body: timed out");
    }
}

#[test]
fn bytes_that_drip_do_not_extend_it() {
    let worker = Worker::start(|_, connection| {
        connection.receive();
        connection.send("HTTP/1.1 200 OK\r\n\r\n");
        while std::io::Write::write_all(connection.stream().get_mut(), b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    assert_eq!(hurried(&worker).message, "Cannot read body: timed out");
}

#[test]
fn it_is_one_for_all_redirects() {
    let worker = Worker::start(|_, connection| {
        while connection.receive().is_some() {
            std::thread::sleep(Duration::from_millis(300));
            connection.answer_with("307 Go", "Location: /\r\n", "");
        }
    });
    assert_no_answer(&hurried(&worker), "timed out");
}

#[test]
fn a_payload_that_is_not_taken_times_out() {
    let worker = Worker::start(|_, connection| {
        connection.receive_head();
        std::thread::sleep(Duration::from_secs(2));
    });
    let mut job = job(worker.url("/"));
    job.payload = vec![b'x'; 32_000_000];
    job.timeout_s = 1;
    assert_no_answer(&dispatcher(&[]).post("q", &job), "timed out");
}

#[test]
fn a_job_without_one_has_the_default_or_none() {
    let worker = Worker::start(|_, connection| {
        connection.receive();
        connection.await_end();
    });
    let mut unhurried = job(worker.url("/"));
    unhurried.timeout_s = 0;
    let outcome = dispatcher(&["--dispatch-default-timeout=1"]).post("q", &unhurried);
    assert_no_answer(&outcome, "timed out");

    let worker = Worker::answering(SUCCESS);
    unhurried.url = worker.url("/");
    assert_success(&dispatcher(&[]).post("q", &unhurried));
}
