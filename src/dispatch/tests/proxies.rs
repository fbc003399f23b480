//! Proxies.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use super::worker::{Connection, Worker};
use super::*;

fn dispatcher_with(variables: &[(&str, String)]) -> Dispatcher {
    let proxies = Proxies::from_environment(&|name| {
        variables.iter().find(|variable| variable.0 == name).map(|variable| variable.1.clone())
    });
    Dispatcher::with(&settings(&[]), proxies, trust::trusting(RootCerts::WebPki)).unwrap()
}

/// Passes bytes on in both directions until both sides are done.
pub fn join(connection: &mut Connection, to: std::net::SocketAddr) {
    let mut far = TcpStream::connect(to).unwrap();
    let mut near = connection.stream().get_ref().try_clone().unwrap();
    let (mut far_in, mut near_out) = (far.try_clone().unwrap(), near.try_clone().unwrap());
    thread::scope(|scope| {
        scope.spawn(move || {
            let _ = std::io::copy(&mut far_in, &mut near_out);
            let _ = near_out.shutdown(std::net::Shutdown::Write);
        });
        let _ = std::io::copy(&mut near, &mut far);
        let _ = far.shutdown(std::net::Shutdown::Write);
    });
}

#[test]
fn a_plain_request_is_passed_on_by_the_proxy() {
    let proxy = Worker::answering(SUCCESS);
    let dispatcher =
        dispatcher_with(&[("HTTP_PROXY", format!("http://me:secret@{}", proxy.address))]);
    // The proxy resolves the name, which this machine could not.
    for _ in 0..2 {
        let mut job = job("http://worker.invalid:8080/a?b#c");
        job.payload = vec![b'x'; 3 * BUFFER_BYTES];
        assert_success(&dispatcher.post("q", &job));
        let received = proxy.received().pop().unwrap();
        assert_eq!(received.line, "POST http://worker.invalid:8080/a?b HTTP/1.1");
        assert_eq!(received.header("host"), Some("worker.invalid:8080"));
        assert_eq!(received.header("proxy-authorization"), Some("Basic bWU6c2VjcmV0"));
        assert_eq!(received.header("authorization"), None);
        assert_eq!(received.body, job.payload);
    }
    assert_eq!(proxy.connections(), 1);
}

#[test]
fn a_kept_connection_to_a_proxy_that_died_is_replaced() {
    let proxy = Worker::start(|number, connection| {
        connection.receive();
        connection.answer("200 OK", SUCCESS);
        connection.receive();
        if number > 0 {
            connection.answer("200 OK", SUCCESS);
        }
    });
    let dispatcher = dispatcher_with(&[("http_proxy", proxy.address.to_string())]);
    for _ in 0..2 {
        assert_success(&dispatcher.post("q", &job("http://worker.invalid/")));
    }
    assert_eq!((proxy.received().len(), proxy.connections()), (3, 2));
}

#[test]
fn a_secure_request_asks_for_a_tunnel() {
    let proxy = Worker::start(|_, connection| {
        connection.receive();
        connection.send("HTTP/1.1 403 Forbidden\r\n\r\n");
    });
    let dispatcher =
        dispatcher_with(&[("HTTPS_PROXY", format!("http://me:secret@{}", proxy.address))]);
    let outcome = dispatcher.post("q", &job("https://worker.invalid/x"));
    assert_no_answer(&outcome, "403");
    assert!(!outcome.message.contains("secret"));
    let received = &proxy.received()[0];
    assert_eq!(received.line, "CONNECT worker.invalid:443 HTTP/1.1");
    assert_eq!(received.header("proxy-authorization"), Some("Basic bWU6c2VjcmV0"));
    assert_eq!(received.header("fireworq-queue"), None);
}

#[test]
fn an_exception_and_loopback_go_direct() {
    let worker = Worker::answering(SUCCESS);
    let proxy = Worker::answering("{}");
    let dispatcher = dispatcher_with(&[("HTTP_PROXY", proxy.address.to_string())]);
    assert_success(&dispatcher.post("q", &job(worker.url("/"))));
    assert_eq!(worker.received()[0].line, "POST / HTTP/1.1");
    assert_eq!(proxy.connections(), 0);
}

#[test]
fn a_socks_proxy_gets_the_name() {
    let worker = Worker::answering(SUCCESS);
    let to = worker.address;
    let proxy = Worker::start(move |_, connection| {
        let mut greeting = [0; 3];
        connection.stream().read_exact(&mut greeting).unwrap();
        assert_eq!(greeting, [5, 1, 0]);
        connection.send([5, 0]);
        let mut request = [0; 7 + 14];
        connection.stream().read_exact(&mut request).unwrap();
        assert_eq!(&request[..5], [5, 1, 0, 3, 14]);
        assert_eq!(&request[5..19], b"worker.invalid");
        connection.stream().get_mut().write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).unwrap();
        join(connection, to);
    });
    let dispatcher = dispatcher_with(&[("HTTP_PROXY", format!("socks5://{}", proxy.address))]);
    for _ in 0..2 {
        assert_success(&dispatcher.post("q", &job("http://worker.invalid/x")));
    }
    assert_eq!(worker.received()[1].line, "POST /x HTTP/1.1");
    assert_eq!(proxy.connections(), 1);
    drop(dispatcher);
}

#[test]
fn a_proxy_that_is_not_there_is_no_answer() {
    let proxy = Worker::answering(SUCCESS);
    let address = proxy.address;
    drop(proxy);
    let dispatcher = dispatcher_with(&[
        ("HTTP_PROXY", format!("http://me:secret@{address}")),
        ("HTTPS_PROXY", "http://me:secret@proxy.invalid".to_owned()),
    ]);
    let refused = dispatcher.post("q", &job("http://worker.invalid/"));
    assert_no_answer(&refused, "refused");
    let unknown = dispatcher.post("q", &job("https://worker.invalid/"));
    assert_no_answer(&unknown, "cannot resolve proxy.invalid");
    assert!(!(refused.message + &unknown.message).contains("secret"));
}
