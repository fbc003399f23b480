//! Answers as they go over the wire. Pure, but for the clock of the `Date` header.
//!
//! `tiny_http` could print its own responses, but it copies the body, formats the date anew for
//! each and names itself as the server; the head is written here instead.

use std::io::Write;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use super::{HTTPVersion, Header, Method, Response, StatusCode};

/// `100 Continue`: the client may send its body.
pub(super) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What of an answer depends on the request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addressee<'a> {
    pub(super) version: &'a HTTPVersion,
    pub(super) method: &'a Method,
    /// Whether the connection stays open after this answer.
    pub(super) keep_alive: bool,
}

/// Writes heads of answers. Keeps its buffer and the date, which changes once a second.
#[derive(Default)]
pub(super) struct Encoder {
    head: Vec<u8>,
    date: String,
    date_s: i64,
}

impl Encoder {
    /// The bytes of the head, and the body to send after it.
    pub(super) fn encode(
        &mut self,
        response: Response,
        addressee: Addressee<'_>,
    ) -> (&[u8], Vec<u8>) {
        self.refresh_date(Timestamp::now());
        self.head.clear();
        let status = response.status_code();
        self.status_line(status, addressee);
        for header in response.headers() {
            self.header(header);
        }
        let body = response.into_reader().into_inner();
        // By RFC 9110, 8.6 and 15.4.5, these have no body and must not seem to.
        let has_no_body = matches!(status.0, 100..=199 | 204 | 304);
        if !has_no_body {
            // Writing to a vector cannot fail.
            let _ = write!(self.head, "Content-Length: {}\r\n", body.len());
        }
        self.head.extend_from_slice(b"\r\n");
        let body = if has_no_body || *addressee.method == Method::Head { Vec::new() } else { body };
        (&self.head, body)
    }

    fn status_line(&mut self, status: StatusCode, addressee: Addressee<'_>) {
        let is_1_0 = *addressee.version < HTTPVersion(1, 1);
        self.head.extend_from_slice(if is_1_0 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
        // Writing to a vector cannot fail.
        let _ = write!(self.head, "{} {}", status.0, status.default_reason_phrase());
        self.head.extend_from_slice(b"\r\nDate: ");
        self.head.extend_from_slice(self.date.as_bytes());
        self.head.extend_from_slice(match (addressee.keep_alive, is_1_0) {
            (false, _) => b"\r\nConnection: close\r\n",
            (true, true) => b"\r\nConnection: keep-alive\r\n",
            (true, false) => b"\r\n",
        });
    }

    /// One header line. One with a line break in it would be several lines, put there perhaps by
    /// whoever sent the request: it is left out.
    fn header(&mut self, header: &Header) {
        let (name, value) = (header.field.as_str().as_str(), header.value.as_str());
        let breaks = |text: &str| text.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | b'\0'));
        if breaks(name) || breaks(value) {
            return;
        }
        for part in [name, ": ", value, "\r\n"] {
            self.head.extend_from_slice(part.as_bytes());
        }
    }

    fn refresh_date(&mut self, now: Timestamp) {
        if self.date.is_empty() || now.as_second() != self.date_s {
            self.date_s = now.as_second();
            // It fails only for years that RFC 9110 cannot write; no date is then better.
            let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&now);
            self.date = date.unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(response: Response, method: Method, version: (u8, u8), keep_alive: bool) -> String {
        let mut encoder = Encoder::default();
        let version = HTTPVersion(version.0, version.1);
        let addressee = Addressee { version: &version, method: &method, keep_alive };
        let (head, body) = encoder.encode(response, addressee);
        let text = [head, &body[..]].concat();
        let text = String::from_utf8(text).unwrap();
        let date = text.lines().find(|line| line.starts_with("Date: ")).unwrap().to_owned();
        assert!(date.ends_with(" GMT"), "{date}");
        text.replace(&format!("{date}\r\n"), "")
    }

    fn response(status: u16) -> Response {
        Response::from_data("hello").with_status_code(status)
    }

    #[test]
    fn an_answer_on_the_wire() {
        let text = encode(response(200), Method::Get, (1, 1), true);
        assert_eq!(text, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        let text = encode(response(404), Method::Get, (1, 1), false);
        let head = "HTTP/1.1 404 Not Found\r\nConnection: close\r\n";
        assert_eq!(text, format!("{head}Content-Length: 5\r\n\r\nhello"));
        let text = encode(response(200), Method::Get, (1, 0), true);
        let head = "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n";
        assert_eq!(text, format!("{head}Content-Length: 5\r\n\r\nhello"));
    }

    #[test]
    fn answers_without_a_body() {
        let text = encode(response(200), Method::Head, (1, 1), true);
        assert_eq!(text, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
        let text = encode(response(204), Method::Get, (1, 1), true);
        assert_eq!(text, "HTTP/1.1 204 No Content\r\n\r\n");
    }

    #[test]
    fn no_header_breaks_out_of_its_line() {
        let evil = Header::from_bytes("X", "a\r\nSet-Cookie: b").unwrap();
        let good = Header::from_bytes("Y", "c").unwrap();
        let text =
            encode(response(200).with_header(evil).with_header(good), Method::Get, (1, 1), true);
        assert_eq!(text, "HTTP/1.1 200 OK\r\nY: c\r\nContent-Length: 5\r\n\r\nhello");
    }
}
