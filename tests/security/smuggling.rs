//! One request hidden in another: whatever is ambiguous is refused and its connection closed, so
//! that nothing behind it is taken for a request.

use crate::support::daemon::Options;
use crate::support::http::{self, Client};

/// A request that must never be carried out.
const HIDDEN: &str = "PUT /queue/hidden HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}";

/// Headers of a request with the body `0\r\n\r\n` and [`HIDDEN`] behind it.
const AMBIGUOUS: [&str; 22] = [
    "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    "Content-Length: 5\r\nTransfer-Encoding: identity\r\n",
    "Content-Length: 5\r\nContent-Length: 50\r\n",
    "Content-Length: 5\r\ncontent-length: 5\r\n",
    "Content-Length: 5, 50\r\n",
    "Content-Length: 0005x\r\n",
    "Content-Length: 5 5\r\n",
    "Content-Length: \u{b}5\r\n",
    "Content-Length : 5\r\n",
    "Content-Length\t: 5\r\n",
    "Transfer-Encoding : chunked\r\n",
    "Transfer-Encoding: chunked, identity\r\n",
    "Transfer-Encoding: identity, chunked\r\n",
    "Transfer-Encoding: \"chunked\"\r\n",
    "Transfer-Encoding: chunked\u{b}\r\n",
    "Transfer-Encoding: xchunked\r\n",
    "Transfer-Encoding:\r\n chunked\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    "X: y\rTransfer-Encoding: chunked\r\n",
    "X: y\nTransfer-Encoding: chunked\r\n",
    "Host: other\r\n",
];

/// Chunked bodies that another server might end elsewhere.
const CHUNKS: [&str; 9] = [
    "0\n\r\n",
    "0\r\n\n",
    "2\n{}\r\n0\r\n\r\n",
    "2\r\n{}0\r\n\r\n",
    "-2\r\n{}\r\n0\r\n\r\n",
    "+2\r\n{}\r\n0\r\n\r\n",
    "0x2\r\n{}\r\n0\r\n\r\n",
    "2\r{}\r\n0\r\n\r\n",
    "10000000000000002\r\n{}\r\n0\r\n\r\n",
];

#[test]
fn nothing_behind_an_ambiguous_request_is_a_request() {
    let node = Options::new().flag("driver", "in-memory").start();
    let first = |headers: &str, body: &str| {
        format!("PUT /queue/first HTTP/1.1\r\nHost: h\r\n{headers}\r\n{body}{HIDDEN}")
    };
    let ambiguous = AMBIGUOUS.iter().map(|headers| first(headers, "0\r\n\r\n"));
    let chunks = CHUNKS.iter().map(|body| first("Transfer-Encoding: chunked\r\n", body));
    for request in ambiguous.chain(chunks) {
        let mut client = Client::connect(node.address());
        client.send(request.as_bytes()).unwrap();
        let answer = client.receive().unwrap();
        assert!((400..=501).contains(&answer.status), "{request:?}: {answer:?}");
        assert!(client.is_closed(), "not closed after {request:?}");
        for queue in ["first", "hidden"] {
            let found = http::get(node.address(), &format!("/queue/{queue}")).status;
            assert_eq!(found, 404, "{queue} was made by {request:?}");
        }
    }
}

#[test]
fn an_older_version_knows_no_chunks() {
    let node = Options::new().flag("driver", "in-memory").start();
    let mut client = Client::connect(node.address());
    let head = "PUT /queue/first HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send(format!("{head}0\r\n\r\n{HIDDEN}").as_bytes()).unwrap();
    assert_eq!(client.receive().unwrap().status, 400);
    assert!(client.is_closed());
    assert_eq!(http::get(node.address(), "/queue/hidden").status, 404);
}
