//! Workers behind TLS.

use std::io::{BufRead, BufReader, Read, Write};
use std::sync::Arc;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use ureq::tls::Certificate;

use super::proxies::join;
use super::worker::Worker;
use super::*;

/// A certificate for two hosts, signed by itself: how to serve with it and how to trust it.
fn identity() -> (Arc<ServerConfig>, TlsConfig) {
    let hosts = ["127.0.0.1".to_owned(), "worker.invalid".to_owned()];
    let made = rcgen::generate_simple_self_signed(hosts).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let root = Certificate::from_der(made.cert.der()).to_owned();
    let server = ServerConfig::builder_with_provider(crate::tls::crypto_provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (Arc::new(server), trust::trusting(RootCerts::new_with_certs(&[root])))
}

/// A worker behind TLS that answers so many requests on a connection and takes one more.
fn secured(server: Arc<ServerConfig>, answers: usize) -> Worker {
    Worker::start(move |_, connection| {
        let socket = connection.stream().get_ref().try_clone().unwrap();
        let tls = ServerConnection::new(Arc::clone(&server)).unwrap();
        let mut stream = BufReader::new(StreamOwned::new(tls, socket));
        for number in 0..=answers {
            let mut length = 0;
            loop {
                let mut line = String::new();
                match stream.read_line(&mut line) {
                    Ok(0) | Err(_) => return,
                    Ok(_) if line == "\r\n" => break,
                    Ok(_) => {}
                }
                if let Some(text) = line.strip_prefix("content-length: ") {
                    length = text.trim().parse().unwrap();
                }
            }
            stream.read_exact(&mut vec![0; length]).unwrap();
            if number < answers {
                let length = SUCCESS.len();
                let answer =
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{SUCCESS}");
                stream.get_mut().write_all(answer.as_bytes()).unwrap();
            }
        }
    })
}

fn secure_url(worker: &Worker) -> String {
    format!("https://{}/", worker.address)
}

#[test]
fn a_trusted_worker_gets_its_job() {
    let (server, trust) = identity();
    let worker = secured(server, 10);
    let dispatcher = Dispatcher::with(&settings(&[]), Proxies::default(), trust).unwrap();
    for timeout_s in [60, 60, 0] {
        let mut job = job(secure_url(&worker));
        job.timeout_s = timeout_s;
        job.payload = vec![b'x'; 100_000];
        assert_success(&dispatcher.post("q", &job));
    }
    assert_eq!(worker.connections(), 1);
}

#[test]
fn a_worker_that_is_not_trusted_gets_none() {
    let (server, _) = identity();
    let worker = secured(server, 10);
    let outcome = post(secure_url(&worker), &[]);
    assert_no_answer(&outcome, "certificate");
    let plain = Worker::answering(SUCCESS);
    assert_no_answer(&post(secure_url(&plain), &[]), "");
    assert!(plain.received().is_empty());
}

#[test]
fn a_kept_secure_connection_that_died_is_replaced() {
    let (server, trust) = identity();
    let worker = secured(server, 1);
    let dispatcher = Dispatcher::with(&settings(&[]), Proxies::default(), trust).unwrap();
    for connections in 1..4 {
        assert_success(&dispatcher.post("q", &job(secure_url(&worker))));
        assert_eq!(worker.connections(), connections);
    }
}

#[test]
fn a_secure_request_goes_through_a_tunnel() {
    let (server, trust) = identity();
    let worker = secured(server, 1);
    let to = worker.address;
    let proxy = Worker::start(move |_, connection| {
        assert_eq!(connection.receive().unwrap().line, "CONNECT worker.invalid:443 HTTP/1.1");
        connection.send("HTTP/1.1 200 Connected\r\n\r\n");
        join(connection, to);
    });
    let address = proxy.address.to_string();
    let proxies =
        Proxies::from_environment(&|name| (name == "HTTPS_PROXY").then(|| address.clone()));
    let dispatcher = Dispatcher::with(&settings(&[]), proxies, trust).unwrap();
    // The second request finds the kept tunnel dead.
    for connections in 1..3 {
        assert_success(&dispatcher.post("q", &job("https://worker.invalid/")));
        assert_eq!(proxy.connections(), connections);
    }
}
