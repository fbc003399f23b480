//! HTTP/1.1 as the tests speak it: plain bytes over a socket, so that odd requests are possible
//! and nothing is put right on the way.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::OnceLock;
use std::time::Duration;

/// How long to wait for an answer before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// What looks at each answer to a request: told the method, the target and the answer.
type Check = fn(&str, &str, &Answer);

static CHECK: OnceLock<Check> = OnceLock::new();

/// From now on `check` looks at the answer to each request of this process, and fails the test
/// that sent it where something is wrong. The first one stays.
pub fn check_answers(check: Check) {
    CHECK.get_or_init(|| check);
}

/// The names and values of headers, as they came.
pub type Headers = Vec<(String, String)>;

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status, such as 200.
    pub status: u16,
    /// The headers.
    pub headers: Headers,
    /// The body, without its framing.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first header of this name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body in UTF-8")
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {:?}", self.status, self.text()))
    }
}

/// One request on a connection of its own.
///
/// # Panics
/// There is no connection, or no complete answer in time.
#[track_caller]
pub fn request(
    server: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl AsRef<[u8]>,
) -> Answer {
    let mut headers = headers.to_vec();
    headers.push(("Connection", "close"));
    Client::connect(server).request(method, path, &headers, body)
}

/// [`request`] with GET.
#[track_caller]
pub fn get(server: SocketAddr, path: &str) -> Answer {
    request(server, "GET", path, &[], "")
}

/// [`request`] with PUT.
#[track_caller]
pub fn put(server: SocketAddr, path: &str, body: impl AsRef<[u8]>) -> Answer {
    request(server, "PUT", path, &[], body)
}

/// [`request`] with POST.
#[track_caller]
pub fn post(server: SocketAddr, path: &str, body: impl AsRef<[u8]>) -> Answer {
    request(server, "POST", path, &[], body)
}

/// [`request`] with DELETE.
#[track_caller]
pub fn delete(server: SocketAddr, path: &str) -> Answer {
    request(server, "DELETE", path, &[], "")
}

/// A request on a connection of its own to a server that may be gone, or go meanwhile.
///
/// # Errors
/// There is no connection, or no complete answer within `patience`.
pub fn try_request(
    server: SocketAddr,
    method: &str,
    path: &str,
    body: impl AsRef<[u8]>,
    patience: Duration,
) -> std::io::Result<Answer> {
    let stream = TcpStream::connect_timeout(&server, patience)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let mut client = Client { stream: BufReader::new(stream) };
    let body = body.as_ref();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    client.send(&[head.as_bytes(), body].concat())?;
    client.receive_to(method)
}

/// A connection that is kept.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects.
    #[track_caller]
    pub fn connect(server: SocketAddr) -> Client {
        Client::try_connect(server).expect("a connection")
    }

    /// Connects to a server that may be gone.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn try_connect(server: SocketAddr) -> std::io::Result<Client> {
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        let mut client = Client { stream: BufReader::new(stream) };
        client.be_patient_for(PATIENCE);
        Ok(client)
    }

    /// How long to wait for an answer from now on.
    pub fn be_patient_for(&mut self, patience: Duration) {
        self.stream.get_ref().set_read_timeout(Some(patience)).unwrap();
        self.stream.get_ref().set_write_timeout(Some(patience)).unwrap();
    }

    /// The socket, for what goes beyond requests.
    pub fn socket(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    /// Sends a request with `Host` and, unless it is among `headers`, `Content-Length`; answers
    /// the answer to it.
    ///
    /// # Panics
    /// There is no complete answer in time.
    #[track_caller]
    pub fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Answer {
        let body = body.as_ref();
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let sent = self.send(&[head.as_bytes(), body].concat());
        // A server may answer and close before it has read everything: what counts is its answer.
        match self.receive_to(method) {
            Ok(answer) => {
                if let Some(check) = CHECK.get() {
                    check(method, path, &answer);
                }
                answer
            }
            Err(error) => panic!("{method} {path}: no answer: {error} (sent: {sent:?})"),
        }
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Reads the next answer, to any request but HEAD. A `100 Continue` is an answer too.
    ///
    /// # Errors
    /// The connection ends or nothing comes in time, or what comes is no HTTP.
    pub fn receive(&mut self) -> std::io::Result<Answer> {
        self.receive_to("GET")
    }

    /// Reads the next answer, which has no body if the request was HEAD.
    ///
    /// # Errors
    /// As [`receive`](Client::receive).
    pub fn receive_to(&mut self, method: &str) -> std::io::Result<Answer> {
        let (status_line, headers) = read_head(&mut self.stream)?;
        let code = status_line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
        let status = code.and_then(|code| code.parse().ok());
        let status: u16 = status.ok_or_else(|| malformed(&status_line))?;
        let has_no_body = method == "HEAD" || status < 200 || [204, 304].contains(&status);
        let body = if has_no_body {
            Vec::new()
        } else {
            let told = read_body(&mut self.stream, &headers)?;
            told.map_or_else(|| read_to_end(&mut self.stream), Ok)?
        };
        Ok(Answer { status, headers, body })
    }

    /// Whether the server has closed the connection, with nothing more to read. Waits for it as
    /// long as for an answer.
    pub fn is_closed(&mut self) -> bool {
        match self.stream.read(&mut [0]) {
            Ok(size) => size == 0,
            Err(error) => !is_timeout(&error),
        }
    }
}

/// The first header of this name, whatever its case.
pub fn header<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    let found = headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str())
}

/// Reads the first line and the headers.
pub fn read_head(stream: &mut impl BufRead) -> std::io::Result<(String, Headers)> {
    let first = read_line(stream)?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(stream)?;
        if line.is_empty() {
            return Ok((first, headers));
        }
        let (name, value) = line.split_once(':').ok_or_else(|| malformed(&line))?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
}

/// Reads a body whose length the head tells; `None` if it does not.
pub fn read_body(stream: &mut impl BufRead, headers: &Headers) -> std::io::Result<Option<Vec<u8>>> {
    if header(headers, "Transfer-Encoding").is_some() {
        return read_chunks(stream).map(Some);
    }
    let Some(length) = header(headers, "Content-Length") else { return Ok(None) };
    let mut body = vec![0; length.parse().map_err(|_| malformed(length))?];
    stream.read_exact(&mut body)?;
    Ok(Some(body))
}

fn read_chunks(stream: &mut impl BufRead) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = read_line(stream)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| malformed(&line))?;
        if size == 0 {
            // What may follow are headers, up to an empty line.
            while !read_line(stream)?.is_empty() {}
            return Ok(body);
        }
        let start = body.len();
        body.resize(start + size, 0);
        stream.read_exact(&mut body[start..])?;
        read_line(stream)?;
    }
}

fn read_to_end(stream: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    stream.read_to_end(&mut body)?;
    Ok(body)
}

/// A line without its end. The end of the connection is an error.
fn read_line(stream: &mut impl BufRead) -> std::io::Result<String> {
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    String::from_utf8(line).map_err(|error| malformed(&error.to_string()))
}

fn malformed(what: &str) -> std::io::Error {
    std::io::Error::new(ErrorKind::InvalidData, format!("no HTTP: {what:?}"))
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
