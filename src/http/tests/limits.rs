//! Clients that want too much, or are too slow.

use std::net::{Shutdown, TcpListener};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::super::connection::Connection;
use super::super::{Handler, Listener, MAX_REQUEST_LINE_SIZE, Server};
use super::fixture::{Client, Front, Script, eventually, limits};

const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";

/// Short enough for a test to wait for, long enough for nothing else to run into it.
const SHORT: Duration = Duration::from_millis(300);

#[test]
fn heads_over_the_limit_are_refused() {
    let front = Front::with(|limits| limits.max_header_size = 20_000);
    let long = "x".repeat(MAX_REQUEST_LINE_SIZE);
    front.assert_refused(format!("GET /{long} HTTP/1.1\r\nHost: h\r\n\r\n"), 414);
    front.assert_refused(format!("GET /{long}"), 414);
    let headers = format!("A: {}\r\n", "x".repeat(1000)).repeat(20);
    front.assert_refused(format!("GET / HTTP/1.1\r\nHost: h\r\n{headers}\r\n"), 431);
    front.assert_refused(format!("GET / HTTP/1.1\r\nHost: h\r\n{headers}"), 431);
    let headers = "A: b\r\n".repeat(200);
    front.assert_refused(format!("GET / HTTP/1.1\r\nHost: h\r\n{headers}\r\n"), 431);
}

#[test]
fn bodies_over_the_limit_are_refused_and_the_client_sees_the_answer() {
    let front = Front::start();
    let head = |header: &str| format!("POST / HTTP/1.1\r\nHost: h\r\n{header}\r\n\r\n");
    front.assert_refused(head("Content-Length: 1048577"), 413);
    front.assert_refused(head("Content-Length: 9000000000000"), 413);
    let chunked = head("Transfer-Encoding: chunked");
    front.assert_refused(format!("{chunked}100001\r\n"), 413);

    // Clients that send all of it before they read must not be reset.
    let body = vec![b'x'; 8 << 20];
    let known = head(&format!("Content-Length: {}", body.len()));
    front.assert_refused([known.as_bytes(), &body].concat(), 413);
    let chunks = [b"10000\r\n".as_slice(), &body[..1 << 16], b"\r\n"].concat().repeat(40);
    front.assert_refused([chunked.as_bytes(), &chunks].concat(), 413);
}

#[test]
fn bodies_in_memory_are_bounded_by_what_has_arrived() {
    let front = Front::with(|limits| limits.max_body_memory = 1_000_000);
    let head = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n";
    // Much is announced and little sent: this must not block others.
    let mut idlers: Vec<_> = (0..20).map(|_| front.client()).collect();
    for idler in &mut idlers {
        idler.send(format!("{head}x"));
    }
    let ask = || front.ask("POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(ask().text(), "POST /b\nhello");

    let mut large = front.client();
    large.send(format!("{}{}", head.replace("/a", "/hold"), "x".repeat(999_900)));
    let mut refused = front.client();
    eventually("the memory is used up", || {
        let mut probe = front.client();
        probe.send("POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n");
        probe.send("x".repeat(1000));
        probe.answer().status == 503
    });
    refused.send(format!("{head}{}", "x".repeat(1000)));
    let answer = refused.answer();
    assert_eq!((answer.status, answer.header("Retry-After").as_deref()), (503, Some("1")));
    assert!(refused.is_closed());

    drop(large);
    eventually("the memory is given back", || ask().status == 200);
    for mut idler in idlers {
        idler.send("x".repeat(1000));
    }
    eventually("all is given back", || {
        let mut client = front.client();
        client.send(head.replace("1000000", "500000"));
        client.send("x".repeat(500_000));
        client.answer().status == 200
    });
}

#[test]
fn the_memory_of_a_body_is_given_back_with_the_answer() {
    let front = Front::with(|limits| limits.max_body_memory = 1_000_000);
    let mut client = front.client();
    for _ in 0..10 {
        client.send("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 600000\r\n\r\n");
        client.send("x".repeat(600_000));
        assert_eq!(client.answer().status, 200);
    }
}

#[test]
fn a_body_counts_as_long_as_the_handler_has_it_even_if_its_client_has_left() {
    let front = Front::with(|limits| limits.max_body_memory = 1_000_000);
    let mut client = front.client();
    client.send("POST /hold HTTP/1.1\r\nHost: h\r\nContent-Length: 900000\r\n\r\n");
    client.send("x".repeat(900_000));
    let held = front.script.held(1);
    client.reset();
    eventually("the connection is gone", || front.server.vitals().open_connections() == 0);
    let body = "x".repeat(200_000);
    let post = format!("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n{body}");
    assert_eq!(front.ask(&post).status, 503);
    drop(held);
    assert_eq!(front.ask(&post).status, 200);
}

#[test]
fn requests_sent_ahead_are_given_up_where_there_is_no_memory_for_them() {
    let front = Front::with(|limits| limits.max_body_memory = 1000);
    let mut client = front.client();
    client.send(GET.repeat(100_000));
    let answer = client.answer();
    assert_eq!((answer.status, answer.header("Connection").as_deref()), (200, Some("close")));
    assert!(client.is_closed());
    assert_eq!(front.script.handled().len(), 1);
    assert_eq!(front.ask(GET).status, 200);
}

#[test]
fn waiting_for_a_handler_is_no_work() {
    let front = Front::start();
    let mut ahead = front.client();
    ahead.send("GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut replies = front.script.held(1);
    ahead.send(GET);
    let mut finished = front.client();
    finished.send("GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
    finished.finish_sending();
    replies.extend(front.script.held(1));
    let (vitals, began) = (front.server.vitals(), Instant::now());
    let before = vitals.turns();
    thread::sleep(SHORT);
    let allowed = 20 + 2 * began.elapsed().as_secs();
    assert!(vitals.turns() - before <= allowed, "{} turns", vitals.turns() - before);
    drop(replies);
    assert_eq!(ahead.answer().status, 500);
    assert_eq!(ahead.answer().status, 200);
    assert_eq!(finished.answer().status, 500);
}

#[test]
fn a_request_that_does_not_arrive_in_time_is_answered_408() {
    let front = Front::with(|limits| limits.request_timeout = SHORT);
    for text in
        ["G", "GET / HTTP/1.1\r\nHost:", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nx"]
    {
        front.assert_refused(text, 408);
    }
    // Each byte in time, but not all of them.
    let mut client = front.client();
    let mut sender = client.stream.try_clone().unwrap();
    let dripping = thread::spawn(move || {
        use std::io::Write;
        while sender.write_all(b"x").is_ok() {
            thread::sleep(SHORT / 10);
        }
    });
    assert_eq!(client.answer().status, 408);
    client.stream.shutdown(Shutdown::Both).unwrap();
    dripping.join().unwrap();
}

#[test]
fn a_connection_that_says_nothing_is_closed_silently() {
    let front = Front::with(|limits| limits.request_timeout = SHORT);
    assert!(front.client().is_closed());
    let mut client = front.client();
    client.send("\r\n");
    assert!(client.is_closed());
    assert_eq!(front.script.log(), []);
}

#[test]
fn an_idle_connection_is_closed_silently() {
    let front = Front::with(|limits| limits.idle_timeout = SHORT);
    let mut client = front.client();
    client.send(GET);
    assert_eq!(client.answer().status, 200);
    assert!(client.is_closed());
    eventually("the connection is gone", || front.server.vitals().open_connections() == 0);
}

#[test]
fn a_slow_handler_is_no_idle_client() {
    let front = Front::with(|limits| {
        limits.idle_timeout = SHORT;
        limits.request_timeout = SHORT;
        limits.response_timeout = SHORT;
    });
    let mut client = front.client();
    client.send("GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
    let held = front.script.held(1);
    thread::sleep(SHORT * 3);
    held.into_iter().for_each(|reply| reply.send(super::super::Response::from_string("late")));
    assert_eq!(client.answer().text(), "late");
}

#[test]
fn an_answer_larger_than_the_socket_takes_arrives_whole() {
    let front = Front::start();
    let mut client = front.client();
    client.send(["GET /big?20000000 HTTP/1.1\r\nHost: h\r\n\r\n", GET].concat());
    eventually("the request is handled", || front.script.handled().len() == 1);
    let answer = client.answer();
    assert_eq!(answer.body.len(), 20_000_000);
    assert_eq!(client.answer().text(), "GET /a\n");
}

#[test]
fn a_client_that_does_not_read_its_answer_is_closed() {
    let front = Front::with(|limits| limits.response_timeout = SHORT);
    let mut client = front.client();
    client.send("GET /big?50000000 HTTP/1.1\r\nHost: h\r\n\r\n");
    eventually("the request is handled", || front.script.handled().len() == 1);
    eventually("the connection is gone", || front.server.vitals().open_connections() == 0);
}

#[test]
fn connections_over_the_limit_are_told_so() {
    let front = Front::with(|limits| limits.max_connections = 3);
    let mut clients: Vec<_> = (0..3).map(|_| front.client()).collect();
    for client in &mut clients {
        client.send(GET);
        assert_eq!(client.answer().status, 200);
    }
    let mut refused = front.client();
    let answer = refused.answer();
    assert_eq!((answer.status, answer.header("Connection").as_deref()), (503, Some("close")));
    assert!(refused.is_closed());
    assert_eq!(front.server.vitals().refused_connections(), 1);
    for client in &mut clients {
        client.send(GET);
        assert_eq!(client.answer().status, 200, "those that are open go on");
    }
    drop((clients, refused));
    eventually("there is room again", || front.server.vitals().open_connections() == 0);
    assert_eq!(front.ask(GET).status, 200);
}

#[test]
fn half_sent_requests_hold_up_nobody() {
    let front = Front::start();
    let mut slow: Vec<_> = (0..300).map(|_| front.client()).collect();
    for client in &mut slow {
        client.send("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nhalf");
    }
    for _ in 0..100 {
        assert_eq!(front.ask(GET).status, 200);
    }
    for client in &mut slow {
        client.send("x".repeat(96));
        assert_eq!(client.answer().status, 200);
    }
}

#[test]
fn an_idle_connection_is_small() {
    assert!(size_of::<Connection>() <= 512, "{} bytes", size_of::<Connection>());
}

/// The limit on descriptors is the whole process's, so that this runs in one of its own.
#[test]
fn used_up_descriptors_are_waited_out() {
    let name = "http::tests::limits::used_up_descriptors_are_waited_out_in_a_process_of_its_own";
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", "--ignored", "--nocapture", name]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
}

#[test]
#[ignore = "run by the test above"]
fn used_up_descriptors_are_waited_out_in_a_process_of_its_own() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let connect = |_| Client::new(std::net::TcpStream::connect(address).unwrap());
    let mut clients: Vec<_> = (0..60).map(connect).collect();
    let used = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, used + 30, hard).unwrap();
    let script = Arc::new(Script::default());
    let handler = Arc::clone(&script) as Arc<dyn Handler>;
    let began = Instant::now();
    let server = Server::start(vec![Listener::Tcp(listener)], limits(), handler).unwrap();
    let vitals = server.vitals();

    eventually("accepting fails", || vitals.accept_errors() >= 6);
    let pauses = began.elapsed().as_millis() as u64 / 100 + 1;
    assert!(vitals.accept_errors() <= 2 * pauses, "each failure is followed by a pause");
    let mut last = clients.split_off(40);
    drop(clients);
    for client in &mut last {
        client.send(GET);
        assert_eq!(client.answer().status, 200);
    }
}
