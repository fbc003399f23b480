//! Where requests begin and end, and what is refused.

use super::fixture::{Front, Logged};

const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn a_connection_is_kept_until_the_client_asks_to_close_it() {
    let front = Front::start();
    let mut client = front.client();
    for _ in 0..3 {
        client.send(GET);
        let answer = client.answer();
        assert_eq!((answer.status, answer.text()), (200, "GET /a\n".to_owned()));
        assert_eq!(answer.header("Connection"), None);
        assert_eq!(answer.header("Content-Length").as_deref(), Some("7"));
    }
    client.send("GET /b HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.text(), "GET /b\n");
    assert_eq!(answer.header("Connection").as_deref(), Some("close"));
    assert!(client.is_closed());
}

#[test]
fn http_1_0_closes_unless_asked_to_keep() {
    let front = Front::start();
    let mut client = front.client();
    client.send("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let answer = client.answer();
    assert!(answer.head.starts_with("HTTP/1.0 200 OK\r\n"), "{}", answer.head);
    assert_eq!(answer.header("Connection").as_deref(), Some("keep-alive"));
    client.send("GET /b HTTP/1.0\r\n\r\n");
    assert_eq!(client.answer().text(), "GET /b\n");
    assert!(client.is_closed());
}

#[test]
fn without_keep_alive_every_answer_closes() {
    let front = Front::with(|limits| limits.keep_alive = false);
    let mut client = front.client();
    client.send([GET, GET].concat());
    let answer = client.answer();
    assert_eq!((answer.status, answer.header("Connection").as_deref()), (200, Some("close")));
    assert!(client.is_closed());
    assert_eq!(front.script.handled().len(), 1, "what comes after is not looked at");
}

#[test]
fn other_versions_and_garbage_are_refused() {
    let front = Front::start();
    front.assert_refused("GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505);
    front.assert_refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505);
    front.assert_refused("GET /\r\n\r\n", 400);
    front.assert_refused("nonsense\r\n\r\n", 400);
    front.assert_refused("\x16\x03\x01\x02\x00\x01\x00", 400);
    front.assert_refused([0; 100], 400);
}

#[test]
fn smuggling_forms_are_refused() {
    let front = Front::start();
    for head in [
        "GET / HTTP/1.1\nHost: h\n\n",
        "GET / HTTP/1.1\r\nHost: h\r\nA: b\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nA: b\rC: d\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nA: b\0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nA\0: b\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n",
    ] {
        front.assert_refused(head, 400);
    }
    for (headers, status) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", 400),
        ("Content-Length: 5, 5\r\n", 400),
        ("Content-Length: +5\r\n", 400),
        ("Content-Length: -5\r\n", 400),
        ("Content-Length: 5x\r\n", 400),
        ("Content-Length: 99999999999999999999\r\n", 400),
        ("Transfer-Encoding: gzip, chunked\r\n", 501),
        ("Transfer-Encoding: xchunked\r\n", 501),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", 400),
    ] {
        front.assert_refused(
            format!("POST / HTTP/1.1\r\nHost: h\r\n{headers}\r\n0\r\n\r\n"),
            status,
        );
    }
}

#[test]
fn errors_of_the_front_have_the_form_of_the_api() {
    let front = Front::start();
    let answer = front.ask("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n");
    assert_eq!(answer.text(), "400 Bad Request\n\nContent-Length is malformed\n");
    assert_eq!(answer.header("X-Content-Type-Options").as_deref(), Some("nosniff"));
    let accept = "Accept: application/problem+json";
    let answer =
        front.ask(format!("POST / HTTP/1.1\r\nHost: h\r\n{accept}\r\nContent-Length: x\r\n\r\n"));
    assert_eq!(answer.header("Content-Type").as_deref(), Some("application/problem+json"));
    assert!(answer.text().contains("\"status\":400"), "{}", answer.text());
}

#[test]
fn every_answer_is_reported_for_the_access_log() {
    let front = Front::start();
    let mut client = front.client();
    client.send("GET /a?b=c HTTP/1.1\r\nHost: h\r\nUser-Agent: curl/8\r\n\r\n");
    client.answer();
    client.send("PUT /x HTTP/1.1\r\n\r\n");
    client.answer();
    front.ask("GET /y HTTP/3.0\r\n\r\n");
    let line = |method: &str, url: &str, status, user_agent: Option<&str>| {
        (method.to_owned(), url.to_owned(), status, user_agent.map(str::to_owned))
    };
    let log = front.script.log();
    let lines = log.iter().cloned().map(|logged| {
        let Logged { method, url, status, user_agent, .. } = logged;
        (method, url, status, user_agent)
    });
    assert_eq!(
        lines.collect::<Vec<_>>(),
        [
            line("GET", "/a?b=c", 200, Some("curl/8")),
            line("PUT", "/x", 400, None),
            line("GET", "/y", 505, None),
        ]
    );
    assert_eq!(log[0].remote_addr, client.stream.local_addr().unwrap().to_string());
}

#[test]
fn bodies_arrive_in_pieces_of_any_size() {
    let front = Front::start();
    let mut client = front.client();
    let known = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\nhello world".to_owned();
    let chunked = "POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
                   5;a=b\r\nhello\r\n6\r\n world\r\n0\r\nT: t\r\n\r\n"
        .to_owned();
    for piece in [1, 2, 7, 1000] {
        for text in [&known, &chunked] {
            for bytes in text.as_bytes().chunks(piece) {
                client.send(bytes);
            }
            let answer = client.answer();
            assert!(answer.text().ends_with("\nhello world"), "{}", answer.text());
        }
    }
}

#[test]
fn a_large_body_arrives_whole() {
    let front = Front::start();
    let body: Vec<u8> = (0..1 << 20).map(|number: u32| (number % 251) as u8).collect();
    let mut client = front.client();
    client.send(format!("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", body.len()));
    client.send(&body);
    let answer = client.answer();
    assert_eq!(answer.status, 200);
    assert!(answer.body.ends_with(&body));

    client.send("POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    for chunk in body.chunks(30_000) {
        client.send(format!("{:x}\r\n", chunk.len()));
        client.send(chunk);
        client.send("\r\n");
    }
    client.send("0\r\n\r\n");
    assert!(client.answer().body.ends_with(&body));
}

#[test]
fn malformed_chunks_are_refused() {
    let front = Front::start();
    let head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in
        ["x\r\n", "\r\n\r\n", "5\nhello\n0\n\n", "5\r\nhello0\r\n\r\n", "11112222333344445\r\n"]
    {
        front.assert_refused(format!("{head}{body}"), 400);
    }
}

#[test]
fn a_request_cut_short_is_refused() {
    let front = Front::start();
    for text in ["GET / HT", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhell"] {
        let mut client = front.client();
        client.send(text);
        client.finish_sending();
        assert_eq!(client.answer().status, 400);
        assert!(client.is_closed());
    }
    assert!(front.script.handled().is_empty());
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let front = Front::start();
    let mut client = front.client();
    let mut text = String::new();
    for number in 0..500 {
        let path = if number % 5 == 0 { "/thread" } else { "/a" };
        text +=
            &format!("POST {path}?{number} HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
    }
    client.send(&text);
    for number in 0..500 {
        let answer = client.answer();
        let expected = match number % 5 {
            0 => "from a thread".to_owned(),
            _ => format!("POST /a?{number}\nabc"),
        };
        assert_eq!(answer.text(), expected);
    }
}

#[test]
fn one_request_of_a_connection_is_handled_at_a_time() {
    let front = Front::start();
    let mut client = front.client();
    client.send(["GET /hold?1 HTTP/1.1\r\nHost: h\r\n\r\n", GET].concat());
    let mut held = front.script.held(1);
    client.send(GET);
    assert!(client.is_silent());
    assert_eq!(front.script.handled(), ["/hold?1"]);
    held.remove(0).send(super::super::Response::from_string("first"));
    assert_eq!(client.answer().text(), "first");
    assert_eq!(client.answer().text(), "GET /a\n");
    assert_eq!(client.answer().text(), "GET /a\n");
}

#[test]
fn empty_lines_between_requests_are_passed_over() {
    let front = Front::start();
    let mut client = front.client();
    client.send(["\r\n", GET, "\r\n\r\n", GET].concat());
    assert_eq!(client.answer().status, 200);
    assert_eq!(client.answer().status, 200);
    client.send("\r");
    client.send("\n");
    client.send(GET);
    assert_eq!(client.answer().status, 200);
}

#[test]
fn head_is_answered_without_a_body() {
    let front = Front::start();
    let mut client = front.client();
    client.send("HEAD /abc HTTP/1.1\r\nHost: h\r\n\r\n");
    let answer = client.answer_to_head();
    assert_eq!(answer.header("Content-Length").as_deref(), Some("10"));
    client.send(GET);
    assert_eq!(client.answer().text(), "GET /a\n");
}

#[test]
fn a_client_that_expects_100_continue_is_told_only_if_the_body_will_be_read() {
    let front = Front::start();
    let expect = "Host: h\r\nExpect: 100-continue\r\n";
    let mut client = front.client();
    client.send(format!("POST /a HTTP/1.1\r\n{expect}Content-Length: 5\r\n\r\n"));
    assert_eq!(client.answer().status, 100);
    client.send("hello");
    assert_eq!(client.answer().text(), "POST /a\nhello");
    client.send(format!("POST /a HTTP/1.1\r\n{expect}Content-Length: 5\r\n\r\nhello"));
    assert_eq!(client.answer().status, 200, "the body is there: no interim answer");

    front
        .assert_refused(format!("POST / HTTP/1.1\r\n{expect}Content-Length: 2000000\r\n\r\n"), 413);
    front.assert_refused(
        "POST / HTTP/1.1\r\nHost: h\r\nExpect: x\r\nContent-Length: 5\r\n\r\n",
        417,
    );
}

#[test]
fn a_whole_url_is_understood() {
    let front = Front::start();
    let answer = front.ask("GET http://other:1/x?y HTTP/1.1\r\nHost: other:1\r\n\r\n");
    assert_eq!(answer.text(), "GET /x?y\n");
    front.assert_refused("GET x HTTP/1.1\r\nHost: h\r\n\r\n", 400);
}
