//! The test support itself: a guard that does not guard would go unnoticed elsewhere.

mod support;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use mysql::prelude::Queryable;
use support::http::{self, Client};
use support::mariadb::{self, MariaDb};
use support::proxy::Proxy;
use support::wait::{SOON, until};
use support::worker::{Reaction, Worker};

#[test]
fn every_database_is_new_and_reachable() {
    let server = mariadb::shared();
    let (one, two) = (server.create_database(), server.create_database());
    assert_ne!(one.name, two.name);
    let mut conn = one.conn();
    conn.query_drop("CREATE TABLE t (n INT)").unwrap();
    let tables: Vec<String> = two.conn().query("SHOW TABLES").unwrap();
    assert!(tables.is_empty());
    assert_eq!(one.dsn(), format!("root@tcp(127.0.0.1:{})/{}", server.port(), one.name));
}

#[test]
fn a_killed_server_comes_back_with_its_data() {
    let server = MariaDb::start();
    let database = server.create_database();
    let mut conn = database.conn();
    conn.query_drop("CREATE TABLE t (n INT) ENGINE=InnoDB").unwrap();
    conn.query_drop("INSERT INTO t VALUES (7)").unwrap();
    let first = server.pid();
    server.kill9();
    assert!(conn.query_drop("SELECT 1").is_err());
    server.restart();
    assert_ne!(server.pid(), first);
    assert_eq!(database.conn().query_first("SELECT n FROM t").unwrap(), Some(7));
}

#[test]
fn a_paused_server_answers_after_the_pause() {
    let server = MariaDb::start();
    let mut conn = server.conn();
    let state = || std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    server.pause();
    until("the server stands still", SOON, || state().contains(" T "));
    server.resume();
    assert_eq!(conn.query_first("SELECT 1").unwrap(), Some(1));
}

/// Set in the child that [`a_server_ends_with_the_test_process`] kills.
const VICTIM: &str = "FIREWORQ_TEST_VICTIM";

#[test]
fn a_server_ends_with_the_test_process() {
    if std::env::var_os(VICTIM).is_some() {
        let server = mariadb::shared();
        let directory: String = server.conn().query_first("SELECT @@datadir").unwrap().unwrap();
        println!("\n{} {directory}", server.pid());
        std::io::stdout().flush().unwrap();
        std::thread::sleep(Duration::from_secs(600));
    }
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_server_ends_with_the_test_process", "--nocapture"])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let started = lines.map(Result::unwrap).find_map(|line| {
        let (pid, directory) = line.split_once(' ')?;
        Some((pid.parse::<u32>().ok()?, directory.to_owned()))
    });
    victim.kill().unwrap();
    victim.wait().unwrap();
    let (pid, directory) = started.expect("the child's server");
    until("the server is gone", SOON, || !Path::new(&format!("/proc/{pid}")).exists());
    until("so is its directory", SOON, || !Path::new(&directory).parent().unwrap().exists());
}

#[test]
fn a_proxy_passes_freezes_and_cuts() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::to(listener.local_addr().unwrap().port());
    let connect = || TcpStream::connect(("127.0.0.1", proxy.port()));
    let mut client = connect().unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let mut byte = [0];

    client.write_all(b"a").unwrap();
    server.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"a");

    proxy.freeze();
    client.write_all(b"b").unwrap();
    server.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert!(server.read_exact(&mut byte).is_err(), "a byte passed a frozen proxy");
    proxy.thaw();
    server.set_read_timeout(Some(SOON)).unwrap();
    server.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"b");

    proxy.cut();
    assert_eq!(client.read(&mut byte).unwrap(), 0);
    assert_eq!(server.read(&mut byte).unwrap(), 0);
    assert!(connect().is_err());

    proxy.mend();
    let mut client = connect().unwrap();
    let (mut server, _) = listener.accept().unwrap();
    server.write_all(b"c").unwrap();
    client.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"c");
}

#[test]
fn a_worker_records_and_answers_what_it_is_told() {
    let worker = Worker::start(|received| match received.path.as_str() {
        "/moved" => Reaction::redirect(307, "/"),
        "/fails" => Reaction::failure(),
        _ => Reaction::success(),
    });
    let mut client = Client::connect(worker.address());
    let body = [0, 1, 254, 255];
    let answer = client.request("POST", "/a?b=c", &[("X-Key", "v")], body);
    assert_eq!((answer.status, answer.text()), (200, r#"{"status":"success"}"#));
    assert_eq!(client.request("POST", "/fails", &[], "").json()["status"], "failure");
    let answer = client.request("GET", "/moved", &[], "");
    assert_eq!((answer.status, answer.header("location")), (307, Some("/")));
    http::post(worker.address(), "/again", "{}");

    let received = worker.wait_for(4, SOON);
    assert_eq!((&*received[0].method, &*received[0].path), ("POST", "/a?b=c"));
    assert_eq!(received[0].header("x-key"), Some("v"));
    assert_eq!(received[0].body, body);
    assert!(received.is_sorted_by_key(|request| request.at));
    let connections: Vec<usize> = received.iter().map(|request| request.connection).collect();
    assert_eq!(connections, [0, 0, 0, 1]);
}

#[test]
fn a_worker_misbehaves_as_it_is_told() {
    let worker = Worker::start(|received| match received.path.as_str() {
        "/close" => Reaction::close(),
        "/reset" => Reaction::reset(),
        "/garbage" => Reaction::write_and_close("no HTTP\r\n\r\n"),
        "/drip" => Reaction::drip(Duration::from_millis(1), "[1]"),
        "/late" => Reaction::success().after(Duration::from_millis(50)),
        "/endless" => Reaction::endless(),
        _ => Reaction::silence(),
    });
    let get = |path: &str| {
        let mut client = Client::connect(worker.address());
        client.send(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
        client.be_patient_for(Duration::from_secs(10));
        client
    };
    let error = |path: &str| get(path).receive().unwrap_err().kind();
    assert_eq!(error("/close"), ErrorKind::UnexpectedEof);
    assert_eq!(error("/reset"), ErrorKind::ConnectionReset);
    assert_eq!(error("/garbage"), ErrorKind::InvalidData);
    assert_eq!(get("/drip").receive().unwrap().text(), "[1]");
    assert_eq!(get("/late").receive().unwrap().status, 200);
    let mut client = get("/silence");
    client.be_patient_for(Duration::from_millis(100));
    assert_eq!(client.receive().unwrap_err().kind(), ErrorKind::WouldBlock);
    let mut much = vec![0; 1_000_000];
    get("/endless").socket().read_exact(&mut much).unwrap();
    // Dropped with connections open in every state.
}

#[test]
fn a_client_reads_every_framing() {
    let worker = Worker::start(|received| match received.path.as_str() {
        "/chunks" => Reaction::write_and_close(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n\
             0\r\nTrailer: 1\r\n\r\n",
        ),
        "/end" => Reaction::write_and_close("HTTP/1.0 404 Not Found\r\n\r\nto the end"),
        "/continue" => Reaction::write_and_close(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        ),
        _ => Reaction::write_and_close("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
    });
    assert_eq!(http::get(worker.address(), "/chunks").text(), "abc0123456789");
    let answer = http::get(worker.address(), "/end");
    assert_eq!((answer.status, answer.text()), (404, "to the end"));
    let mut client = Client::connect(worker.address());
    client.send(b"PUT /continue HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(client.receive().unwrap().status, 100);
    assert_eq!(client.receive().unwrap().text(), "ok");
    assert!(client.is_closed());
    assert_eq!(http::request(worker.address(), "HEAD", "/", &[], "").body, b"");
}
