//! Answers from elsewhere, handlers that fail, clients that leave, and the end.

use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::super::{Handler, Listener, Response, Server};
use super::fixture::{Client, Front, Script, eventually, limits};

const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const HOLD: &str = "GET /hold HTTP/1.1\r\nHost: h\r\n\r\n";

fn far() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

#[test]
fn answers_come_from_other_threads() {
    let front = Front::start();
    let clients = (0..8).map(|_| {
        let mut client = front.client();
        thread::spawn(move || {
            for _ in 0..200 {
                client.send("GET /thread HTTP/1.1\r\nHost: h\r\n\r\n");
                assert_eq!(client.answer().text(), "from a thread");
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.join().unwrap();
    }
    assert_eq!(front.script.log().len(), 1600);
}

#[test]
fn many_held_requests_are_answered_at_once_by_one_thread() {
    let front = Front::start();
    let mut clients: Vec<_> = (0..100).map(|_| front.client()).collect();
    clients.iter_mut().for_each(|client| client.send(HOLD));
    for (number, reply) in front.script.held(100).into_iter().enumerate() {
        reply.send(Response::from_string(number.to_string()));
    }
    let mut answers: Vec<usize> =
        clients.iter_mut().map(|client| client.answer().text().parse().unwrap()).collect();
    answers.sort_unstable();
    assert_eq!(answers, (0..100).collect::<Vec<_>>());
}

#[test]
fn a_panic_is_a_500_and_nothing_more() {
    let front = Front::start();
    let mut client = front.client();
    for _ in 0..3 {
        client.send("GET /panic HTTP/1.1\r\nHost: h\r\n\r\n");
        let answer = client.answer();
        assert_eq!(answer.text(), "500 Internal Server Error\n");
        client.send(GET);
        assert_eq!(client.answer().status, 200);
    }
}

#[test]
fn a_dropped_reply_is_a_500() {
    let front = Front::start();
    let accept = "Accept: application/problem+json";
    let answer = front.ask(format!("GET /drop HTTP/1.1\r\nHost: h\r\n{accept}\r\n\r\n"));
    assert_eq!(answer.status, 500);
    assert_eq!(answer.header("Content-Type").as_deref(), Some("application/problem+json"));
}

#[test]
fn a_client_that_only_stops_sending_gets_its_answer() {
    let front = Front::start();
    let mut client = front.client();
    client.send(HOLD);
    client.finish_sending();
    let held = front.script.held(1);
    assert!(client.is_silent());
    held.into_iter().for_each(|reply| reply.send(Response::from_string("here")));
    assert_eq!(client.answer().text(), "here");
    assert!(client.is_closed());
}

#[test]
fn a_client_that_is_gone_is_forgotten_and_its_answer_dropped() {
    let front = Front::start();
    let mut client = front.client();
    client.send(HOLD);
    let held = front.script.held(1);
    client.reset();
    eventually("the connection is gone", || front.server.vitals().open_connections() == 0);
    assert_eq!(front.script.log()[0].status, 499);
    // Another one takes its place, which the late answer must not reach.
    let mut other = front.client();
    other.send(HOLD);
    let other_held = front.script.held(1);
    held.into_iter().for_each(|reply| reply.send(Response::from_string("late")));
    assert!(other.is_silent());
    other_held.into_iter().for_each(|reply| reply.send(Response::from_string("right")));
    assert_eq!(other.answer().text(), "right");
}

#[test]
fn unix_sockets_are_served_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let script = Arc::new(Script::default());
    let handler = Arc::clone(&script) as Arc<dyn Handler>;
    let listeners = vec![Listener::Unix(listener), Listener::Tcp(tcp)];
    let server = Server::start(listeners, limits(), handler).unwrap();

    let mut client = Client::new(UnixStream::connect(&path).unwrap());
    client.send(GET);
    assert_eq!(client.answer().status, 200);
    client.send("GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
    let held = script.held(1);
    drop(client);
    eventually("the connection is gone", || server.vitals().open_connections() == 0);
    drop(held);
    let mut client = Client::new(TcpStream::connect(address).unwrap());
    client.send(GET);
    assert_eq!(client.answer().status, 200);
    let shown: Vec<_> =
        script.log().into_iter().map(|line| (line.remote_addr, line.status)).collect();
    let local = client.stream.local_addr().unwrap().to_string();
    assert_eq!(shown, [("unix".into(), 200), ("unix".into(), 499), (local, 200)]);
}

#[test]
fn the_loops_turn_when_there_is_nothing_to_do() {
    let front = Front::start();
    let vitals = front.server.vitals();
    let began = Instant::now();
    eventually("every loop turns long after the last connection", || {
        vitals.silence() + Duration::from_secs(2) < began.elapsed()
    });
}

#[test]
fn a_stop_answers_what_is_in_hand_and_refuses_what_is_new() {
    let front = Front::start();
    let mut idle = front.client();
    idle.send(GET);
    idle.answer();
    let mut held = front.client();
    held.send(HOLD);
    let replies = front.script.held(1);
    let mut arriving = front.client();
    arriving.send("POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhe");
    let mut reading = front.client();
    reading.send("GET /big?20000000 HTTP/1.1\r\nHost: h\r\n\r\n");
    eventually("all are in hand", || front.script.handled().len() == 3);
    eventually("all are open", || front.server.vitals().open_connections() == 4);

    let address = front.address;
    let stop = thread::spawn(move || front.server.stop(far()));
    assert!(idle.is_closed());
    eventually("the listener is closed", || TcpStream::connect(address).is_err());
    assert!(!stop.is_finished());
    replies.into_iter().for_each(|reply| reply.send(Response::from_string("held")));
    let answer = held.answer();
    assert_eq!(
        (answer.text(), answer.header("Connection").as_deref()),
        ("held".into(), Some("close"))
    );
    assert!(held.is_closed());
    arriving.send("llo");
    assert_eq!(arriving.answer().text(), "POST /b\nhello");
    assert!(arriving.is_closed());
    assert_eq!(reading.answer().body.len(), 20_000_000);
    assert!(reading.is_closed());
    stop.join().unwrap();
}

#[test]
fn a_request_that_arrived_on_an_idle_connection_survives_a_stop() {
    for _ in 0..50 {
        let front = Front::start();
        let mut client = front.client();
        client.send(GET);
        client.answer();
        client.send(GET);
        front.server.stop(far());
        assert_eq!(client.answer().status, 200);
    }
}

#[test]
fn a_stop_ends_at_its_deadline_and_late_answers_go_nowhere() {
    let front = Front::start();
    let mut client = front.client();
    client.send(HOLD);
    let replies = front.script.held(1);
    front.server.stop(Instant::now() + Duration::from_millis(200));
    assert!(client.is_closed());
    replies.into_iter().for_each(|reply| reply.send(Response::from_string("late")));
}
