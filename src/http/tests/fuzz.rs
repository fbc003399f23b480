//! The reading of requests, with bytes that nobody would think of.

use std::sync::Arc;

use super::super::framing::{Body, framing};
use super::super::job::PushRequest;
use super::super::memory::{Memory, Share};
use super::super::request::{Scan, parse};
use crate::fuzz::{self, Random};

const MAX_HEADER_SIZE: usize = 2000;
const MAX_BODY_SIZE: usize = 1000;

const REQUESTS: [&[u8]; 9] = [
    b"GET /version HTTP/1.1\r\nHost: h\r\n\r\n",
    b"POST /job/c?x=%20 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}\
      GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    b"PUT /q HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
      2;a=\"b\"\r\n{}\r\n0\r\nX: y\r\n\r\n",
    b"PUT /q HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
      1\r\n{\r\n01\r\n}\r\n00\r\n\r\n",
    b"GET http://elsewhere:1/version HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: h\r\nConnection: close, x\r\n\r\n",
    b"\r\n\r\nDELETE /queue/%2f HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\
      Content-Length: 0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n\
      0\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
];

#[test]
fn requests_are_the_same_in_whatever_pieces_they_come() {
    fuzz::run(&REQUESTS, |bytes, random| {
        let (whole, word) = read(bytes, &[bytes.len()]);
        let (in_pieces, _) = read(bytes, &cuts(bytes.len(), random));
        assert_eq!(whole, in_pieces);
        word
    });
}

/// Where the pieces end.
fn cuts(size: usize, random: &mut Random) -> Vec<usize> {
    let mut cuts = vec![size];
    for _ in 0..random.below(12) {
        cuts.push(random.below(size + 1));
    }
    cuts.sort_unstable();
    cuts
}

/// The requests that are understood, and whether what follows is refused; and a word for it.
fn read(bytes: &[u8], cuts: &[usize]) -> (Vec<String>, String) {
    let memory = Arc::new(Memory::new(1 << 20));
    let mut requests = Vec::new();
    let mut word = String::new();
    let (mut scan, mut body) = (Scan::default(), None::<(String, Body)>);
    let mut start = 0;
    for &end in cuts {
        loop {
            let rest = &bytes[start..end];
            let step = match &mut body {
                None => scan.find_end(rest, MAX_HEADER_SIZE).and_then(|size| {
                    let Some(size) = size else { return Ok(false) };
                    let head = parse(&rest[..size], &"a:1".into())?;
                    check_head(&head.target, head.headers.iter());
                    let framing = framing(&head, MAX_BODY_SIZE)?;
                    let text = format!("{:?} {} {:?}", head.method, head.target, framing);
                    let share = Share::new(&memory);
                    body = Some((text, Body::new(framing.length, MAX_BODY_SIZE, share)));
                    start += size;
                    Ok(true)
                }),
                Some((text, reading)) => reading.feed(rest).map(|fed| {
                    start += fed.consumed;
                    if fed.is_complete {
                        requests.push(std::mem::take(text));
                    }
                    fed.is_complete
                }),
            };
            match step {
                Ok(false) => break,
                Ok(true) => {
                    let is_complete = body.as_ref().is_some_and(|(text, _)| text.is_empty());
                    if let Some((_, read)) = body.take_if(|_| is_complete) {
                        let (read, _) = read.into_parts();
                        assert!(read.len() <= MAX_BODY_SIZE, "{} bytes", read.len());
                        requests.push(String::from_utf8_lossy(&read).into_owned());
                        word.push('.');
                        scan = Scan::default();
                    }
                }
                Err(refusal) => {
                    // Which of several reasons is found depends on the pieces.
                    requests.push("refused".to_owned());
                    return (requests, format!("{word}{refusal:?}"));
                }
            }
        }
    }
    (requests, word)
}

/// Nothing of a head that was understood can break a line of a log.
fn check_head<'a>(target: &str, headers: impl Iterator<Item = (&'a str, &'a str)>) {
    assert!(!target.contains(|c: char| c.is_ascii_control() || c == ' '), "{target:?}");
    for (name, value) in headers {
        assert!(!name.contains(['\r', '\n', '\0', ' ', ':']), "{name:?}");
        assert!(!value.contains(['\r', '\n', '\0']), "{value:?}");
    }
}

#[test]
fn bodies_of_pushes_are_read_or_refused() {
    let corpus: [&[u8]; 8] = [
        br#"{"url":"http://h/","payload":{"a":[1.50,null,"x"]},"run_after":5,"timeout":60}"#,
        br#"{"URL":"https://u:p@[::1]:8/?q#f","payload":"\ud83d\ude00\ud800\u0000","timeout":3}"#,
        br#"{"url":"http://h","url":"http://i","retry_delay":4294967295,"x":{"y":[[[[]]]]}}"#,
        br#" {"url" : "http:\/\/h\/" , "payload" : null } "#,
        br#"{"url":"http://h/","payload":18446744073709551616e-400,"timeout":-1}"#,
        br#"{"url":5}"#,
        b"null",
        b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    ];
    fuzz::run(&corpus, |body, _| match PushRequest::parse("c", body) {
        Ok(request) => {
            let job = request.job;
            assert!(job.url.to_ascii_lowercase().starts_with("http"), "{}", job.url);
            assert!(!job.url.contains(char::is_control), "{:?}", job.url);
            // It was read from JSON, and so has a form in it again.
            let shown = super::super::listing::raw_json(&job.payload);
            serde_json::from_str::<&serde_json::value::RawValue>(shown.get()).unwrap();
            format!("{} {}", job.timeout_s > 0, job.payload.len().min(9))
        }
        Err(refusal) => {
            assert_eq!(refusal.status, 400, "{refusal:?}");
            let text = format!("{refusal:?}");
            text.split(|c: char| c.is_ascii_digit()).next().unwrap_or_default().to_owned()
        }
    });
}
