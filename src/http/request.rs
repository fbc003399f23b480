//! Requests, and how their heads are read. Pure: nothing here touches a socket.
//!
//! Strict on purpose: whatever two readers of HTTP might understand differently (a bare line feed,
//! a folded line, a space before a colon) is refused, since between a proxy and this server the
//! difference smuggles requests.

use std::mem::MaybeUninit;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use super::error::{self, Refusal};
use super::{HTTPVersion, Method};

/// The longest request line, in bytes; over it: 414. The longest category, percent-encoded, and
/// a query fit many times.
pub const MAX_REQUEST_LINE_SIZE: usize = 8192;

/// The most header lines of a request; over it: 431.
pub const MAX_HEADERS: usize = 100;

/// A complete request.
#[derive(Debug)]
pub struct Request {
    head: Arc<Head>,
    /// The body as sent, freed of its chunks.
    pub body: Vec<u8>,
}

impl Request {
    /// A request of these parts.
    pub fn new(head: impl Into<Arc<Head>>, body: Vec<u8>) -> Request {
        Request { head: head.into(), body }
    }
}

impl Deref for Request {
    type Target = Head;

    fn deref(&self) -> &Head {
        &self.head
    }
}

/// A request without its body.
#[derive(Debug)]
pub struct Head {
    /// The method, in the case in which it was sent.
    pub method: Method,
    /// Path and query as sent, percent-encoded; `*` where that was sent.
    pub target: String,
    /// 1.0 or 1.1.
    pub version: HTTPVersion,
    /// The header lines.
    pub headers: Headers,
    /// `host:port` of the client, or `unix`.
    pub remote_addr: Arc<str>,
    /// Where the handler sends it, once it knows.
    route: OnceLock<usize>,
}

impl Head {
    /// The value of the first header of this name, without regard to case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get_all(name).next()
    }

    /// Notes which row of its table of routes the handler found. Only the first call counts.
    pub fn set_route(&self, index: usize) {
        let _ = self.route.set(index);
    }

    /// The row that was found, if one was.
    pub fn route(&self) -> Option<usize> {
        self.route.get().copied()
    }

    /// Whether errors are to be told as RFC 9457 JSON.
    pub fn wants_problem(&self) -> bool {
        error::wants_problem(self.header("Accept"))
    }

    /// What can be said of a request whose head cannot be read, for the access log.
    pub(super) fn of_unreadable(bytes: &[u8], remote_addr: Arc<str>) -> Head {
        let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
        let line = &line[..line.len().min(MAX_REQUEST_LINE_SIZE)];
        let text = if line.iter().all(|byte| matches!(byte, b' '..=b'~')) { line } else { b"" };
        let text = String::from_utf8_lossy(text);
        let mut words = text.split(' ');
        let method = words.next().unwrap_or_default().parse().ok();
        Head {
            method: method.unwrap_or(Method::NonStandard(Default::default())),
            target: words.next().unwrap_or_default().to_owned(),
            version: HTTPVersion(1, 1),
            headers: Headers::default(),
            remote_addr,
            route: OnceLock::new(),
        }
    }
}

/// The header lines of a request, in the order in which they came. Bytes that are not UTF-8 read
/// as U+FFFD.
#[derive(Debug, Default)]
pub struct Headers {
    /// All names and values, one after the other: one allocation for a whole head.
    text: String,
    fields: Vec<Field>,
}

/// Where a header's name and value lie in the text.
#[derive(Debug)]
struct Field {
    start: usize,
    name_end: usize,
    value_end: usize,
}

impl Headers {
    /// Appends a header.
    pub fn push(&mut self, name: &str, value: &str) {
        let start = self.text.len();
        self.text.push_str(name);
        let name_end = self.text.len();
        self.text.push_str(value);
        self.fields.push(Field { start, name_end, value_end: self.text.len() });
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|field| {
            (&self.text[field.start..field.name_end], &self.text[field.name_end..field.value_end])
        })
    }

    /// The values of all headers of this name, without regard to case.
    pub fn get_all(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = self.iter().filter(move |(found, _)| found.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value)
    }
}

/// Looks for the end of a head in bytes that come piece by piece; no byte is looked at twice.
#[derive(Debug, Default)]
pub(super) struct Scan {
    scanned: usize,
    line_start: usize,
    is_request_line_complete: bool,
}

impl Scan {
    /// The length of the head, once it is complete. `bytes` are all bytes of the request so far.
    pub(super) fn find_end(
        &mut self,
        bytes: &[u8],
        max_header_size: usize,
    ) -> Result<Option<usize>, Refusal> {
        if bytes.first().is_some_and(|first| !first.is_ascii_graphic() && *first != b'\r') {
            // Not HTTP at all, TLS perhaps: no use in waiting for more.
            return Err(Refusal::new(400, "This is no HTTP request"));
        }
        while let Some(offset) = bytes[self.scanned..].iter().position(|byte| *byte == b'\n') {
            let newline = self.scanned + offset;
            if newline == 0 || bytes[newline - 1] != b'\r' {
                return Err(Refusal::new(400, "A line ends without a carriage return"));
            }
            let line_size = newline - 1 - self.line_start;
            if self.is_request_line_complete && line_size == 0 {
                let size = newline + 1;
                return check_size(size, max_header_size).map(|()| Some(size));
            }
            self.check_request_line(line_size)?;
            self.is_request_line_complete = true;
            self.line_start = newline + 1;
            self.scanned = newline + 1;
        }
        self.scanned = bytes.len();
        self.check_request_line(bytes.len() - self.line_start)?;
        check_size(bytes.len(), max_header_size).map(|()| None)
    }

    /// Whether empty lines may still come, which some clients send after a body.
    pub(super) fn is_at_start(&self) -> bool {
        self.line_start == 0
    }

    fn check_request_line(&self, line_size: usize) -> Result<(), Refusal> {
        if !self.is_request_line_complete && line_size > MAX_REQUEST_LINE_SIZE {
            let detail = format!("The request line is over {MAX_REQUEST_LINE_SIZE} bytes");
            return Err(Refusal::new(414, detail));
        }
        Ok(())
    }
}

fn check_size(size: usize, max_header_size: usize) -> Result<(), Refusal> {
    if size > max_header_size {
        return Err(Refusal::new(431, format!("The head is over {max_header_size} bytes")));
    }
    Ok(())
}

/// Reads a complete head.
pub(super) fn parse(bytes: &[u8], remote_addr: &Arc<str>) -> Result<Head, Refusal> {
    let mut storage = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(bytes, &mut storage) {
        Ok(httparse::Status::Complete(size)) if size == bytes.len() => {}
        Ok(_) => return Err(Refusal::new(400, "The head is malformed")),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Refusal::new(431, format!("There are over {MAX_HEADERS} headers")));
        }
        Err(httparse::Error::Version) => return Err(refuse_version(bytes)),
        Err(error) => return Err(Refusal::new(400, format!("The head is malformed: {error}"))),
    }
    let target = parsed.path.unwrap_or_default();
    let target = path_and_query(target)
        .ok_or_else(|| Refusal::new(400, "The request's target is no path"))?;
    let method = parsed.method.unwrap_or_default().parse();
    let mut headers = Headers {
        text: String::with_capacity(bytes.len()),
        fields: Vec::with_capacity(parsed.headers.len()),
    };
    for header in parsed.headers.iter() {
        headers.push(header.name, &String::from_utf8_lossy(header.value));
    }
    Ok(Head {
        method: method.map_err(|()| Refusal::new(400, "The method is malformed"))?,
        target,
        version: HTTPVersion(1, parsed.version.unwrap_or(1)),
        headers,
        remote_addr: Arc::clone(remote_addr),
        route: OnceLock::new(),
    })
}

/// Whether a line, its end included, is a header line that a head could hold.
pub(super) fn is_header_line(line: &[u8]) -> bool {
    let mut headers = [httparse::EMPTY_HEADER];
    let text = [line, b"\r\n"].concat();
    matches!(
        httparse::parse_headers(&text, &mut headers),
        Ok(httparse::Status::Complete((size, [_]))) if size == text.len()
    )
}

/// 505 for a version of HTTP that is not spoken here, 400 for what is no version.
fn refuse_version(head: &[u8]) -> Refusal {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    match line {
        [.., b' ', b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Refusal::new(505, "Only HTTP/1.1 and HTTP/1.0 are spoken here")
        }
        _ => Refusal::new(400, "The request line is malformed"),
    }
}

/// The target as path and query. Clients of a proxy send a whole URL, which servers have to take
/// too (RFC 9112, 3.2.2).
fn path_and_query(target: &str) -> Option<String> {
    if target.starts_with('/') || target == "*" {
        return Some(target.to_owned());
    }
    let (scheme, rest) = target.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let path = &rest[rest.find(['/', '?']).unwrap_or(rest.len())..];
    Some(if path.starts_with('/') { path.to_owned() } else { format!("/{path}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Head, Refusal> {
        parse(text.as_bytes(), &"10.0.0.1:2".into())
    }

    #[test]
    fn a_head_is_read() {
        let head =
            read("POST /job/a%2Fb?x=1 HTTP/1.1\r\nHost: h\r\nX:  a b \r\nx:c\r\n\r\n").unwrap();
        assert_eq!(head.method, Method::Post);
        assert_eq!(head.target, "/job/a%2Fb?x=1");
        assert_eq!(head.version, HTTPVersion(1, 1));
        assert_eq!(head.header("HOST"), Some("h"));
        assert_eq!(head.headers.get_all("x").collect::<Vec<_>>(), ["a b", "c"]);
        assert_eq!(&*head.remote_addr, "10.0.0.1:2");
    }

    #[test]
    fn targets() {
        assert_eq!(path_and_query("http://h:1/a?b").unwrap(), "/a?b");
        assert_eq!(path_and_query("HTTP://h").unwrap(), "/");
        assert_eq!(path_and_query("http://h?b=/c").unwrap(), "/?b=/c");
        assert_eq!(path_and_query("*").unwrap(), "*");
        assert_eq!(path_and_query("h:80"), None);
        assert_eq!(path_and_query("ftp://h/"), None);
    }

    #[test]
    fn malformed_heads_are_refused() {
        let cases = [
            ("GET / HTTP/2.0\r\n\r\n", 505),
            ("GET / HTTP/0.9\r\n\r\n", 505),
            ("GET / HTTX/1.1\r\n\r\n", 400),
            ("GET /\r\n\r\n", 400),
            ("GET  / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1 \r\n\r\n", 400),
            ("G(T / HTTP/1.1\r\n\r\n", 400),
            ("GET x HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\n A: b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nA : b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nA\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\n: b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nA: b\0c\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", 400),
            ("GET /\0 HTTP/1.1\r\n\r\n", 400),
        ];
        for (text, status) in cases {
            assert_eq!(read(text).unwrap_err().status, status, "{text:?}");
        }
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(MAX_HEADERS + 1));
        assert_eq!(read(&many).unwrap_err().status, 431);
    }

    #[test]
    fn the_end_of_a_head_is_found_piece_by_piece() {
        let text = b"GET / HTTP/1.1\r\nHost: h\r\n\r\nbody";
        let mut scan = Scan::default();
        let ends = (1..=text.len()).map(|size| scan.find_end(&text[..size], 1000).unwrap());
        let first = ends.enumerate().find_map(|(index, end)| end.map(|end| (index + 1, end)));
        assert_eq!(first, Some((text.len() - 4, text.len() - 4)));
    }

    #[test]
    fn heads_over_a_limit_are_refused_before_they_end() {
        let find = |text: &str, limit| Scan::default().find_end(text.as_bytes(), limit);
        let long = format!("GET /{}", "x".repeat(MAX_REQUEST_LINE_SIZE));
        assert_eq!(find(&long, 1 << 20).unwrap_err().status, 414);
        assert_eq!(find(&format!("{long} HTTP/1.1\r\n\r\n"), 1 << 20).unwrap_err().status, 414);
        let head = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        assert_eq!(find(head, head.len()), Ok(Some(head.len())));
        assert_eq!(find(head, head.len() - 1).unwrap_err().status, 431);
        assert_eq!(find(&head[..20], 19).unwrap_err().status, 431);
        assert_eq!(find("GET / HTTP/1.1\nHost: h\n\n", 1000).unwrap_err().status, 400);
        assert_eq!(find("\x16\x03\x01", 1000).unwrap_err().status, 400);
    }

    #[test]
    fn what_an_unreadable_request_was() {
        let head = Head::of_unreadable(b"GET /x HTTP/9\r\n", "a:1".into());
        assert_eq!((head.method.as_str(), &*head.target), ("GET", "/x"));
        let head = Head::of_unreadable(b"\x16\x03\x01", "a:1".into());
        assert_eq!((head.method.as_str(), &*head.target), ("", ""));
    }
}
