//! Connections that are kept, and those that died while they were.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crossbeam_channel::unbounded;

use super::worker::Worker;
use super::*;

#[test]
fn a_connection_is_kept_and_used_again() {
    let worker = Worker::answering(SUCCESS);
    let dispatcher = dispatcher(&[]);
    for _ in 0..5 {
        assert_success(&dispatcher.post("q", &job(worker.url("/"))));
    }
    assert_eq!((worker.received().len(), worker.connections()), (5, 1));
    assert_eq!(worker.received()[0].header("connection"), None);
}

#[test]
fn connections_are_not_kept_where_they_shall_not() {
    let worker = Worker::answering(SUCCESS);
    let dispatcher = dispatcher(&["--dispatch-keep-alive=false"]);
    for _ in 0..3 {
        assert_success(&dispatcher.post("q", &job(worker.url("/"))));
    }
    assert_eq!(worker.connections(), 3);
    assert_eq!(worker.received()[0].header("connection"), Some("close"));
}

#[test]
fn as_many_idle_connections_are_kept_as_set() {
    // All requests of a round are answered at once, so each has a connection of its own.
    const ROUND: usize = 4;
    let waiting = AtomicUsize::new(0);
    let (open, gate) = unbounded::<()>();
    let worker = Worker::start(move |_, connection| {
        while connection.receive().is_some() {
            if waiting.fetch_add(1, Ordering::SeqCst) % ROUND == ROUND - 1 {
                (1..ROUND).for_each(|_| open.send(()).unwrap());
            } else {
                gate.recv().unwrap();
            }
            connection.answer("200 OK", SUCCESS);
        }
    });
    let dispatcher = dispatcher(&["--dispatch-max-conns-per-host=1"]);
    for connections in [ROUND, 2 * ROUND - 1] {
        thread::scope(|scope| {
            for _ in 0..ROUND {
                scope.spawn(|| assert_success(&dispatcher.post("q", &job(worker.url("/")))));
            }
        });
        assert_eq!(worker.connections(), connections);
    }
}

/// A worker that answers one request on the first connection, takes another, and ends the
/// connection as told; later connections are answered.
fn forgetful(end: impl Fn(&mut super::worker::Connection) + Send + Sync + 'static) -> Worker {
    Worker::start(move |number, connection| {
        if number == 0 {
            connection.receive();
            connection.answer("200 OK", SUCCESS);
            connection.receive();
            end(connection);
        } else {
            while connection.receive().is_some() {
                connection.answer("200 OK", SUCCESS);
            }
        }
    })
}

#[test]
fn a_kept_connection_that_died_is_replaced() {
    for reset in [false, true] {
        let worker = forgetful(move |connection| {
            if reset {
                connection.reset();
            }
        });
        let dispatcher = dispatcher(&[]);
        for _ in 0..3 {
            assert_success(&dispatcher.post("q", &job(worker.url("/"))));
        }
        assert_eq!((worker.received().len(), worker.connections()), (4, 2), "reset: {reset}");
    }
}

#[test]
fn a_kept_connection_that_died_with_an_answer_begun_is_a_failure() {
    let worker = forgetful(|connection| connection.send("HTTP/1.1 2"));
    let dispatcher = dispatcher(&[]);
    assert_success(&dispatcher.post("q", &job(worker.url("/"))));
    assert_no_answer(&dispatcher.post("q", &job(worker.url("/"))), "");
    assert_eq!(worker.received().len(), 2);
}

#[test]
fn a_fresh_connection_that_dies_is_a_failure() {
    for reset in [false, true] {
        let worker = Worker::start(move |_, connection| {
            connection.receive();
            if reset {
                connection.reset();
            }
        });
        let why = if reset { "reset" } else { "closed without an answer" };
        assert_no_answer(&post(worker.url("/"), &[]), why);
        assert_eq!(worker.received().len(), 1);
    }
}

#[test]
fn a_request_is_sent_once_more_and_never_twice() {
    // Every connection dies at its second request or, but for the first two, at its first.
    let waiting = AtomicUsize::new(0);
    let (open, gate) = unbounded::<()>();
    let worker = Worker::start(move |number, connection| {
        connection.receive();
        if number < 2 {
            // Both are needed at once, so that two connections are kept.
            match waiting.fetch_add(1, Ordering::SeqCst) {
                0 => gate.recv().unwrap(),
                _ => open.send(()).unwrap(),
            }
            connection.answer("200 OK", SUCCESS);
            connection.receive();
        }
    });
    let dispatcher = dispatcher(&[]);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| assert_success(&dispatcher.post("q", &job(worker.url("/")))));
        }
    });
    assert_eq!(worker.connections(), 2);
    // The second kept connection is not tried: the repeat goes over a new one.
    assert_no_answer(&dispatcher.post("q", &job(worker.url("/"))), "closed without an answer");
    assert_eq!((worker.received().len(), worker.connections()), (4, 3));
}

#[test]
fn workers_that_close_kept_connections_fail_no_job() {
    const THREADS: usize = 8;
    const JOBS: usize = 50;
    // The end comes right behind the third answer, so that it meets requests under way.
    let worker = Worker::start(|_, connection| {
        for _ in 0..3 {
            if connection.receive().is_some() {
                connection.answer("200 OK", SUCCESS);
            }
        }
    });
    let dispatcher = dispatcher(&[]);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..JOBS {
                    assert_success(&dispatcher.post("q", &job(worker.url("/"))));
                }
            });
        }
    });
    assert_eq!(worker.received().len(), THREADS * JOBS);
}

#[test]
fn a_connection_refused_is_no_answer() {
    let worker = Worker::answering(SUCCESS);
    let url = worker.url("/");
    drop(worker);
    assert_no_answer(&post(url, &[]), "refused");
}

#[test]
fn a_shutdown_interrupts_what_is_under_way() {
    let (arrived, waiting) = unbounded();
    let worker = Worker::start(move |_, connection| {
        connection.receive();
        arrived.send(()).unwrap();
        connection.await_end();
    });
    let dispatcher = dispatcher(&[]);
    let mut patient = job(worker.url("/"));
    patient.timeout_s = 0;
    thread::scope(|scope| {
        let posting = scope.spawn(|| dispatcher.post("q", &patient));
        waiting.recv_timeout(Duration::from_secs(60)).unwrap();
        dispatcher.shutdown();
        assert_no_answer(&posting.join().unwrap(), "");
    });
    assert_no_answer(&dispatcher.post("q", &patient), "");
    assert_eq!(worker.received().len(), 1);
}
