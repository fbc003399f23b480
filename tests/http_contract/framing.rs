//! Requests and answers on the wire, over raw sockets.

use serde_json::json;

use super::routes::assert_plain_error;
use crate::stores::Store;
use crate::support::http::{Answer, Client};
use crate::support::wait::{SOON, until};

fn client() -> Client {
    Client::connect(Store::InMemory.shared().address())
}

/// Sends bytes and answers the first answer.
#[track_caller]
fn answer_to(bytes: &[u8]) -> (Answer, Client) {
    let mut client = client();
    // The server may refuse and close before everything is sent: its answer tells.
    let _ = client.send(bytes);
    let answer = client.receive().unwrap();
    (answer, client)
}

/// The request is refused with this status, and the connection closed.
#[track_caller]
fn assert_refused(bytes: &[u8], status: u16) {
    let (answer, mut client) = answer_to(bytes);
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
    assert_eq!(answer.status, status, "{shown:?}: {}", answer.text());
    assert_eq!(answer.header("Connection"), Some("close"), "{shown:?}");
    assert_eq!(answer.header("X-Content-Type-Options"), Some("nosniff"), "{shown:?}");
    assert!(client.is_closed(), "{shown:?}: the connection stays open");
}

fn put(path: &str, headers: &str, body: &str) -> String {
    format!("PUT {path} HTTP/1.1\r\nHost: h\r\n{headers}\r\n{body}")
}

#[test]
fn an_answer_has_a_length_and_a_date() {
    let (answer, _) = answer_to(b"GET /version HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("Content-Length"), Some(answer.body.len().to_string().as_str()));
    assert!(answer.header("Date").is_some_and(|date| date.ends_with(" GMT")));
    assert_eq!(answer.header("Connection"), None);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let node = Store::InMemory.shared();
    let queue = node.queue(&json!({}));
    let mut client = client();
    let mut requests = String::new();
    for number in 0..40 {
        requests.push_str(&match number % 4 {
            0 => put(&format!("/queue/{}", queue.name), "Content-Length: 2\r\n", "{}"),
            1 => "GET /version HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
            2 => format!("GET /queue/{}/waiting HTTP/1.1\r\nHost: h\r\n\r\n", queue.name),
            _ => {
                let body = format!(r#"{{"url":"http://127.0.0.1:1/{number}","run_after":3600}}"#);
                let (name, length) = (&queue.name, body.len());
                format!(
                    "POST /job/{name} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{body}"
                )
            }
        });
    }
    client.send(requests.as_bytes()).unwrap();
    for number in 0..40 {
        let answer = client.receive().unwrap();
        assert_eq!(answer.status, 200, "{number}");
        match number % 4 {
            0 => assert_eq!(answer.json()["name"], queue.name.as_str(), "{number}"),
            1 => assert!(answer.text().starts_with("Fireworq "), "{number}"),
            2 => assert!(answer.json()["jobs"].is_array(), "{number}"),
            _ => {
                let url = format!("http://127.0.0.1:1/{number}");
                assert_eq!(answer.json()["url"], url.as_str());
            }
        }
    }
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let node = Store::InMemory.shared();
    let queue = node.queue(&json!({}));
    let mut client = client();
    let path = format!("/queue/{}", queue.name);
    for byte in put(&path, "Content-Length: 17\r\n", r#"{"max_workers":5}"#).bytes() {
        client.send(&[byte]).unwrap();
    }
    assert_eq!(client.receive().unwrap().json()["max_workers"], 5);
}

#[test]
fn empty_lines_before_a_request_are_skipped() {
    let (answer, _) = answer_to(b"\r\n\r\nGET /version HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(answer.status, 200);
}

#[test]
fn a_body_may_be_chunked() {
    let queue = Store::InMemory.shared().queue(&json!({}));
    let path = format!("/queue/{}", queue.name);
    for (encoding, chunks) in [
        ("chunked", "5\r\n{\"max\r\nc\r\n_workers\":6}\r\n0\r\n\r\n"),
        ("Chunked", "11;a=b\r\n{\"max_workers\":6}\r\n000\r\nTrailer: x\r\n\r\n"),
        ("chunked", "0011\r\n{\"max_workers\":6}\r\n0\r\n\r\n"),
    ] {
        let headers = format!("Transfer-Encoding: {encoding}\r\n");
        let request = put(&path, &headers, chunks);
        let (answer, mut client) = answer_to(request.as_bytes());
        assert_eq!(answer.status, 200, "{chunks:?}: {}", answer.text());
        assert_eq!(answer.json()["max_workers"], 6);
        // The connection is at the start of the next request.
        client.send(b"GET /version HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        assert_eq!(client.receive().unwrap().status, 200);
    }
    for chunks in [
        "x\r\n",
        "-1\r\n",
        "5\r\n{}\r\n0\r\n\r\n\r\n",
        "2\r\n{}X\r\n",
        " 2\r\n{}\r\n0\r\n\r\n",
        "ffffffffffffffff1\r\n",
        "0x2\r\n{}\r\n0\r\n\r\n",
        "\r\n",
    ] {
        assert_refused(put(&path, "Transfer-Encoding: chunked\r\n", chunks).as_bytes(), 400);
    }
}

#[test]
fn an_ambiguous_length_is_refused() {
    for headers in [
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n",
        "Content-Length: 2\r\nContent-Length: 2\r\n",
        "Content-Length: 2\r\nContent-Length: 3\r\n",
        "Content-Length: 2, 2\r\n",
        "Content-Length: -2\r\n",
        "Content-Length: +2\r\n",
        "Content-Length: 0x2\r\n",
        "Content-Length: 2 2\r\n",
        "Content-Length:\r\n",
        "Content-Length: two\r\n",
        "Content-Length: 99999999999999999999999999\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding:\r\n",
    ] {
        assert_refused(put("/queue/x", headers, "{}").as_bytes(), 400);
    }
    assert_refused(put("/queue/x", "Transfer-Encoding: gzip\r\n", "{}").as_bytes(), 501);
    assert_refused(put("/queue/x", "Transfer-Encoding: gzip, chunked\r\n", "{}").as_bytes(), 501);
    let old = "PUT /queue/x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_refused(old.as_bytes(), 400);
    assert_eq!(Store::InMemory.shared().get("/queue/x").status, 404);
}

#[test]
fn a_malformed_head_is_refused() {
    for request in [
        "nonsense\r\n\r\n",
        "GET\r\n\r\n",
        "GET /version\r\n\r\n",
        "GET /version HTTP/1.1 x\r\nHost: h\r\n\r\n",
        "GET  /version HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET version HTTP/1.1\r\nHost: h\r\n\r\n",
        "G\0T /version HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /version HTTP/1.1\r\nHost : h\r\n\r\n",
        "GET /version HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n",
        "GET /version HTTP/1.1\r\nHost: h\r\nno colon\r\n\r\n",
        "GET /version HTTP/1.1\r\nHost: h\r\n: x\r\n\r\n",
        "GET /version HTTP/1.1\nHost: h\n\n",
        "GET /version HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET /version HTTP/1.1\r\n\r\n",
        "GET /version HTTP/x\r\nHost: h\r\n\r\n",
        "\x16\x03\x01\x02\x00",
    ] {
        assert_refused(request.as_bytes(), 400);
    }
    for version in ["2.0", "3.0", "0.9", "1.2"] {
        let (answer, mut client) =
            answer_to(format!("GET / HTTP/{version}\r\nHost: h\r\n\r\n").as_bytes());
        // A later 1.x may be served as 1.1.
        let is_fine = answer.status == 505 || version == "1.2" && answer.status == 200;
        assert!(is_fine, "{version}: {}", answer.status);
        assert!(answer.status == 200 || client.is_closed());
    }
}

#[test]
fn a_body_cut_short_is_refused() {
    let queue = Store::InMemory.shared().queue(&json!({}));
    let path = format!("/queue/{}", queue.name);
    for request in [
        put(&path, "Content-Length: 18\r\n", r#"{"max_workers":5}"#),
        put(&path, "Transfer-Encoding: chunked\r\n", "11\r\n{\"max_workers\":5}\r\n"),
    ] {
        let mut client = client();
        client.send(request.as_bytes()).unwrap();
        client.socket().shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(client.receive().unwrap().status, 400);
        assert!(client.is_closed());
    }
    assert_eq!(queue.get("").json()["max_workers"], 20);
}

#[test]
fn a_client_may_wait_for_the_word_to_go_on() {
    let queue = Store::InMemory.shared().queue(&json!({}));
    let path = format!("/queue/{}", queue.name);
    let mut client = client();
    let headers = "Expect: 100-Continue\r\nContent-Length: 17\r\n";
    client.send(put(&path, headers, "").as_bytes()).unwrap();
    let interim = client.receive().unwrap();
    assert_eq!((interim.status, interim.headers.len()), (100, 0));
    client.send(br#"{"max_workers":7}"#).unwrap();
    assert_eq!(client.receive().unwrap().json()["max_workers"], 7);
    assert_refused(put(&path, "Expect: magic\r\nContent-Length: 0\r\n", "").as_bytes(), 417);
    // What is refused anyway is refused before it is sent.
    let headers = "Expect: 100-continue\r\nContent-Length: 9000000000000\r\n";
    assert_refused(put(&path, headers, "").as_bytes(), 413);
}

#[test]
fn a_connection_is_kept_as_the_version_says() {
    for (request, is_kept) in [
        ("GET /version HTTP/1.1\r\nHost: h\r\n\r\n", true),
        ("GET /version HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", false),
        ("GET /version HTTP/1.1\r\nHost: h\r\nConnection: x, Close\r\n\r\n", false),
        ("GET /version HTTP/1.0\r\n\r\n", false),
        ("GET /version HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true),
        ("GET /version HTTP/1.0\r\nHost: h\r\nConnection: close\r\n\r\n", false),
    ] {
        let (answer, mut client) = answer_to(request.as_bytes());
        assert_eq!(answer.status, 200, "{request:?}");
        let is_1_0 = request.contains("HTTP/1.0");
        match (is_kept, is_1_0) {
            (true, true) => assert_eq!(answer.header("Connection"), Some("keep-alive")),
            (true, false) => assert_eq!(answer.header("Connection"), None),
            (false, _) => assert_eq!(answer.header("Connection"), Some("close")),
        }
        if is_kept {
            client.send(request.as_bytes()).unwrap();
            assert_eq!(client.receive().unwrap().status, 200, "{request:?}");
        } else {
            assert!(client.is_closed(), "{request:?}");
        }
    }
}

#[test]
fn connections_are_closed_where_the_setting_says_so() {
    let node = Store::InMemory.node(&["keep-alive=false"]);
    let mut client = node.connect();
    client.send(b"GET /version HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    let answer = client.receive().unwrap();
    assert_eq!((answer.status, answer.header("Connection")), (200, Some("close")));
    assert!(client.is_closed());
    assert_eq!(node.get("/settings").json()["dispatch_keep_alive"], "false");
}

#[test]
fn errors_of_handlers_keep_the_connection() {
    let mut client = client();
    for _ in 0..3 {
        client.send(b"GET /queue/missing HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        assert_plain_error(&client.receive().unwrap(), 404);
        client.send(b"DELETE /version HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx").unwrap();
        assert_plain_error(&client.receive().unwrap(), 405);
    }
}

#[test]
fn a_stuck_client_holds_up_nobody() {
    let node = Store::InMemory.node(&[]);
    let queue = node.queue(&json!({}));
    let payload = "x".repeat(1_000_000);
    for _ in 0..6 {
        queue.push(&json!({"url": "http://127.0.0.1:1/", "run_after": 3600, "payload": payload}));
    }
    let stuck: Vec<Client> = (0..8)
        .map(|_| {
            let mut client = node.connect();
            let name = &queue.name;
            let request = format!("GET /queue/{name}/deferred HTTP/1.1\r\nHost: h\r\n\r\n");
            client.send(request.as_bytes()).unwrap();
            client
        })
        .collect();
    let half: Vec<Client> = (0..100)
        .map(|_| {
            let mut client = node.connect();
            client.send(b"POST /job/x HTTP/1.1\r\nHost: h\r\nContent-Le").unwrap();
            client
        })
        .collect();
    until("others are served", SOON, || node.get("/queues").status == 200);
    queue.push(&json!({"url": "http://127.0.0.1:1/", "run_after": 3600}));
    drop((stuck, half));
}

#[test]
fn many_connections_at_once_are_all_answered() {
    let mut clients: Vec<Client> = (0..64).map(|_| client()).collect();
    for _ in 0..3 {
        for client in &mut clients {
            client.send(b"GET /queues HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        }
        for client in &mut clients {
            assert_eq!(client.receive().unwrap().status, 200);
        }
    }
}
