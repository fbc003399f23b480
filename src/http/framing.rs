//! Where a request's body begins and ends (RFC 9112, 6). Pure: nothing here touches a socket.
//!
//! Strict on purpose, as `request.rs` is: a length that could be understood in two ways is refused
//! and the connection closed, so that no request hides in another one's body.

use super::HTTPVersion;
use super::error::Refusal;
use super::memory::Share;
use super::request::{Head, is_header_line};

/// The longest line before a chunk, its extensions included, in bytes.
const MAX_CHUNK_LINE_SIZE: usize = 1024;

/// The most bytes of trailers after a chunked body; they are read and thrown away.
const MAX_TRAILERS_SIZE: usize = 8192;

/// The most bytes around chunks that a body may have, beside some for each of its own bytes.
const MAX_CHUNK_OVERHEAD: usize = 16 * 1024;
const MAX_CHUNK_OVERHEAD_PER_BYTE: usize = 16;

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    Known(usize),
    Chunked,
}

/// What a head says about the rest of its request.
#[derive(Debug)]
pub(super) struct Framing {
    pub(super) length: Length,
    /// The client waits for `100 Continue` before it sends the body.
    pub(super) expects_continue: bool,
    /// The client would like to keep the connection.
    pub(super) keep_alive: bool,
}

/// Decides by the head how the body is framed and whether it may come at all.
pub(super) fn framing(head: &Head, max_body_size: usize) -> Result<Framing, Refusal> {
    let is_1_0 = head.version < HTTPVersion(1, 1);
    let hosts = head.headers.get_all("Host").count();
    if hosts > 1 || (hosts == 0 && !is_1_0) {
        return Err(Refusal::new(400, "There must be one Host header"));
    }
    let length = length(head, is_1_0)?;
    // HTTP/1.0 knows no expectations, and a client of it no interim answer.
    let expectation = if is_1_0 { None } else { head.header("Expect") };
    if let Some(expectation) = expectation
        && !expectation.eq_ignore_ascii_case("100-continue")
    {
        return Err(Refusal::new(417, "Only 100-continue can be expected"));
    }
    if let Length::Known(size) = length
        && size > max_body_size
    {
        return Err(too_large(max_body_size));
    }
    let keep_alive = if is_1_0 {
        has_connection_option(head, "keep-alive") && !has_connection_option(head, "close")
    } else {
        !has_connection_option(head, "close")
    };
    Ok(Framing { length, expects_continue: expectation.is_some(), keep_alive })
}

fn length(head: &Head, is_1_0: bool) -> Result<Length, Refusal> {
    let mut lengths = head.headers.get_all("Content-Length");
    let mut encodings = head.headers.get_all("Transfer-Encoding");
    match (lengths.next(), encodings.next()) {
        (None, None) => Ok(Length::Known(0)),
        (Some(_), Some(_)) => {
            Err(Refusal::new(400, "Content-Length and Transfer-Encoding exclude each other"))
        }
        (Some(text), None) => {
            if lengths.next().is_some() {
                return Err(Refusal::new(400, "There are several Content-Length headers"));
            }
            content_length(text).ok_or_else(|| Refusal::new(400, "Content-Length is malformed"))
        }
        (None, Some(encoding)) => {
            if encodings.next().is_some() || is_1_0 || encoding.is_empty() {
                return Err(Refusal::new(400, "Transfer-Encoding is malformed"));
            }
            if !encoding.eq_ignore_ascii_case("chunked") {
                return Err(Refusal::new(
                    501,
                    "Only the transfer encoding `chunked` is understood",
                ));
            }
            Ok(Length::Chunked)
        }
    }
}

/// Digits and nothing else: what Rust's own parsing takes, a plus sign included, is too much.
fn content_length(text: &str) -> Option<Length> {
    let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_digits { text.parse().ok().map(Length::Known) } else { None }
}

fn has_connection_option(head: &Head, option: &str) -> bool {
    let mut options = head.headers.get_all("Connection").flat_map(|value| value.split(','));
    options.any(|found| found.trim().eq_ignore_ascii_case(option))
}

fn too_large(max_body_size: usize) -> Refusal {
    Refusal::new(413, format!("The body is over {max_body_size} bytes"))
}

fn malformed_chunk() -> Refusal {
    Refusal::new(400, "The chunked body is malformed")
}

/// A body that is arriving.
#[derive(Debug)]
pub(super) struct Body {
    bytes: Vec<u8>,
    share: Share,
    max_size: usize,
    progress: Progress,
    /// Bytes read so far that are not the body's own.
    overhead: usize,
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
enum Progress {
    /// So many bytes, and no more.
    Sized { remaining: usize },
    /// The line with the size of a chunk.
    ChunkLine,
    /// So many bytes of a chunk.
    Chunk { remaining: usize },
    /// The line end after a chunk.
    ChunkEnd,
    /// The lines after the last chunk, up to an empty one; so many bytes have been read.
    Trailers { size: usize },
}

/// What came of some more bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fed {
    /// How many were used. Those that were not are to be given again, with more.
    pub(super) consumed: usize,
    pub(super) is_complete: bool,
}

/// What one step of reading leads to.
enum Step {
    Used(usize),
    NeedsMore,
    Complete(usize),
}

impl Body {
    /// A body of which nothing has arrived. `share` is to account for its memory.
    pub(super) fn new(length: Length, max_body_size: usize, share: Share) -> Body {
        let (max_size, progress) = match length {
            Length::Known(size) => (size, Progress::Sized { remaining: size }),
            Length::Chunked => (max_body_size, Progress::ChunkLine),
        };
        Body { bytes: Vec::new(), share, max_size, progress, overhead: 0 }
    }

    /// The body, once it is complete, and its share of the memory.
    pub(super) fn into_parts(self) -> (Vec<u8>, Share) {
        (self.bytes, self.share)
    }

    /// Takes more bytes from the connection.
    pub(super) fn feed(&mut self, input: &[u8]) -> Result<Fed, Refusal> {
        let mut consumed = 0;
        loop {
            match self.step(&input[consumed..])? {
                Step::Used(size) => consumed += size,
                Step::NeedsMore => return Ok(Fed { consumed, is_complete: false }),
                Step::Complete(size) => {
                    return Ok(Fed { consumed: consumed + size, is_complete: true });
                }
            }
        }
    }

    fn step(&mut self, rest: &[u8]) -> Result<Step, Refusal> {
        match self.progress {
            Progress::Sized { remaining: 0 } => Ok(Step::Complete(0)),
            Progress::Sized { .. } | Progress::Chunk { .. } if rest.is_empty() => {
                Ok(Step::NeedsMore)
            }
            Progress::Sized { remaining } => {
                let size = self.append(rest, remaining)?;
                self.progress = Progress::Sized { remaining: remaining - size };
                Ok(Step::Used(size))
            }
            Progress::ChunkLine => self.chunk_line(rest),
            Progress::Chunk { remaining } => {
                let size = self.append(rest, remaining)?;
                self.progress = match remaining - size {
                    0 => Progress::ChunkEnd,
                    remaining => Progress::Chunk { remaining },
                };
                Ok(Step::Used(size))
            }
            Progress::ChunkEnd => match rest {
                [b'\r', b'\n', ..] => {
                    self.progress = Progress::ChunkLine;
                    Ok(Step::Used(2))
                }
                [] | [b'\r'] => Ok(Step::NeedsMore),
                _ => Err(malformed_chunk()),
            },
            Progress::Trailers { size } => self.trailer(rest, size),
        }
    }

    fn append(&mut self, rest: &[u8], remaining: usize) -> Result<usize, Refusal> {
        let size = rest.len().min(remaining);
        if !self.share.reserve(&mut self.bytes, size, self.max_size) {
            return Err(Refusal::new(503, "Too many requests are in memory"));
        }
        self.bytes.extend_from_slice(&rest[..size]);
        Ok(size)
    }

    fn chunk_line(&mut self, rest: &[u8]) -> Result<Step, Refusal> {
        let Some(line_size) = line_size(rest, MAX_CHUNK_LINE_SIZE)? else {
            return Ok(Step::NeedsMore);
        };
        let line = &rest[..line_size];
        let text = &line[..line_size - 2];
        // `httparse` takes an empty line for the last chunk, and anything in an extension.
        let is_clean = text.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control());
        if !is_clean || !text.first().is_some_and(u8::is_ascii_hexdigit) {
            return Err(malformed_chunk());
        }
        let size = match httparse::parse_chunk_size(line) {
            Ok(httparse::Status::Complete((parsed, size))) if parsed == line_size => size,
            _ => return Err(malformed_chunk()),
        };
        self.overhead += line_size;
        let allowed = self.bytes.len().saturating_mul(MAX_CHUNK_OVERHEAD_PER_BYTE);
        if self.overhead > allowed.saturating_add(MAX_CHUNK_OVERHEAD) {
            return Err(malformed_chunk());
        }
        let room = self.max_size - self.bytes.len();
        self.progress = match usize::try_from(size) {
            Ok(0) => Progress::Trailers { size: 0 },
            Ok(size) if size <= room => Progress::Chunk { remaining: size },
            _ => return Err(too_large(self.max_size)),
        };
        Ok(Step::Used(line_size))
    }

    fn trailer(&mut self, rest: &[u8], size: usize) -> Result<Step, Refusal> {
        match line_size(rest, MAX_TRAILERS_SIZE - size)? {
            None => Ok(Step::NeedsMore),
            Some(2) => Ok(Step::Complete(2)),
            Some(line_size) if !is_header_line(&rest[..line_size]) => {
                Err(Refusal::new(400, "A trailer is malformed"))
            }
            Some(line_size) => {
                self.progress = Progress::Trailers { size: size + line_size };
                Ok(Step::Used(line_size))
            }
        }
    }
}

/// The size of the first line with its end, once it is complete.
fn line_size(bytes: &[u8], max_size: usize) -> Result<Option<usize>, Refusal> {
    let newline = bytes.iter().take(max_size).position(|byte| *byte == b'\n');
    match newline {
        Some(newline) if newline > 0 && bytes[newline - 1] == b'\r' => Ok(Some(newline + 1)),
        None if bytes.len() < max_size => Ok(None),
        _ => Err(malformed_chunk()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::memory::Memory;
    use super::super::request;
    use super::*;

    fn plan(headers: &str) -> Result<Framing, Refusal> {
        plan_of("1.1", &format!("Host: h\r\n{headers}"))
    }

    fn plan_of(version: &str, headers: &str) -> Result<Framing, Refusal> {
        let text = format!("POST / HTTP/{version}\r\n{headers}\r\n");
        framing(&request::parse(text.as_bytes(), &"a:1".into()).unwrap(), 1000)
    }

    #[test]
    fn lengths() {
        assert_eq!(plan("").unwrap().length, Length::Known(0));
        assert_eq!(plan("Content-Length: 0010\r\n").unwrap().length, Length::Known(10));
        assert_eq!(plan("Transfer-Encoding: CHUNKED\r\n").unwrap().length, Length::Chunked);
        let refused = [
            ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", 400),
            ("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n", 400),
            ("Content-Length: 1\r\nContent-Length: 1\r\n", 400),
            ("Content-Length: 1, 1\r\n", 400),
            ("Content-Length: -1\r\n", 400),
            ("Content-Length: +1\r\n", 400),
            ("Content-Length: 0x1\r\n", 400),
            ("Content-Length: 1 2\r\n", 400),
            ("Content-Length:\r\n", 400),
            ("Content-Length: 99999999999999999999999\r\n", 400),
            ("Content-Length: 1001\r\n", 413),
            ("Content-Length: 9000000000000\r\n", 413),
            ("Transfer-Encoding: gzip, chunked\r\n", 501),
            ("Transfer-Encoding: identity\r\n", 501),
            ("Transfer-Encoding: chunked, chunked\r\n", 501),
            ("Transfer-Encoding: \x0bchunked\r\n", 400),
            ("Transfer-Encoding:\r\n", 400),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400),
            ("Expect: 200-ok\r\n", 417),
            ("Host: h\r\n", 400),
        ];
        for (headers, status) in refused {
            let text = format!("POST / HTTP/1.1\r\nHost: h\r\n{headers}\r\n");
            let head = request::parse(text.as_bytes(), &"a:1".into());
            let refusal = head.and_then(|head| framing(&head, 1000)).unwrap_err();
            assert_eq!(refusal.status, status, "{headers:?}");
        }
        assert_eq!(plan_of("1.1", "").unwrap_err().status, 400);
        assert_eq!(plan_of("1.0", "Transfer-Encoding: chunked\r\n").unwrap_err().status, 400);
    }

    #[test]
    fn who_keeps_a_connection() {
        assert!(plan("").unwrap().keep_alive);
        assert!(!plan("Connection: x, Close\r\n").unwrap().keep_alive);
        assert!(!plan("Connection: x\r\nConnection: close\r\n").unwrap().keep_alive);
        assert!(!plan_of("1.0", "").unwrap().keep_alive);
        assert!(plan_of("1.0", "Connection: Keep-Alive\r\n").unwrap().keep_alive);
        assert!(plan("Expect: 100-Continue\r\n").unwrap().expects_continue);
        assert!(!plan_of("1.0", "Expect: 100-continue\r\n").unwrap().expects_continue);
    }

    /// Feeds the text in pieces of this size; answers the body and what was left over.
    fn unchunk(text: &[u8], piece: usize) -> Result<Option<(Vec<u8>, usize)>, Refusal> {
        let share = Share::new(&Arc::new(Memory::new(1 << 20)));
        let mut body = Body::new(Length::Chunked, 1000, share);
        let mut waiting = Vec::new();
        for (index, bytes) in text.chunks(piece).enumerate() {
            waiting.extend_from_slice(bytes);
            let fed = body.feed(&waiting)?;
            waiting.drain(..fed.consumed);
            if fed.is_complete {
                let unread = text.len() - text.len().min((index + 1) * piece);
                return Ok(Some((body.into_parts().0, waiting.len() + unread)));
            }
        }
        Ok(None)
    }

    #[test]
    fn chunks_in_pieces_of_every_size() {
        let text = b"5\r\nhello\r\n00A ; x=\"y\"\r\n0123456789\r\n0\r\nTrailer: t\r\n\r\nGET";
        for piece in 1..text.len() {
            let expected = Some((b"hello0123456789".to_vec(), 3));
            assert_eq!(unchunk(text, piece).unwrap(), expected, "{piece}");
        }
        assert_eq!(unchunk(b"0\r\n\r\n", 1).unwrap(), Some((Vec::new(), 0)));
        assert_eq!(unchunk(b"5\r\nhel", 1).unwrap(), None);
    }

    #[test]
    fn malformed_chunks_are_refused() {
        let long = format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(MAX_CHUNK_LINE_SIZE));
        let trailers = format!("0\r\n{}\r\n", "T: t\r\n".repeat(MAX_TRAILERS_SIZE / 6 + 1));
        let dear = format!("1;{}\r\nx\r\n", "e".repeat(1000)).repeat(100);
        let cases: [(&[u8], u16); 24] = [
            (b"\r\n\r\n", 400),
            (b"x\r\n", 400),
            (b"-1\r\n", 400),
            (b"+1\r\nx\r\n", 400),
            (b"0x1\r\nx\r\n", 400),
            (b" 1\r\nx\r\n", 400),
            (b"1\nx\n0\n\n", 400),
            (b"1;a\nb\r\nx\r\n", 400),
            (b"1;a\rb\r\nx\r\n", 400),
            (b"1;a\0b\r\nx\r\n", 400),
            (b"1\r\nxy\r\n", 400),
            (b"10000000000000001\r\nx\r\n", 400),
            (b"ffffffffffffffff\r\nx\r\n", 413),
            (long.as_bytes(), 400),
            (trailers.as_bytes(), 400),
            (dear.as_bytes(), 400),
            (b"0\r\nX y\r\n\r\n", 400),
            (b"0\r\n: y\r\n\r\n", 400),
            (b"0\r\nX : y\r\n\r\n", 400),
            (b"0\r\nX: a\0b\r\n\r\n", 400),
            (b"0\r\nX: a\rb\r\n\r\n", 400),
            (b"0\r\nX: a\nY: b\r\n\r\n", 400),
            (b"0\r\nX: a\r\n b\r\n\r\n", 400),
            (b"0\r\n\r\r\n\r\n", 400),
        ];
        for (text, status) in cases {
            for piece in [1, text.len()] {
                let refusal = unchunk(text, piece).unwrap_err();
                assert_eq!(refusal.status, status, "{:?}", String::from_utf8_lossy(text));
            }
        }
        let over = b"1f4\r\n".iter().chain(&[b'x'; 500]).chain(b"\r\n1f5\r\n").copied();
        assert_eq!(unchunk(&over.collect::<Vec<_>>(), 7).unwrap_err().status, 413);
    }

    #[test]
    fn a_body_of_known_length_takes_no_more_than_its_own() {
        let memory = Arc::new(Memory::new(6));
        let new = || Body::new(Length::Known(6), 1000, Share::new(&memory));
        let fed = |consumed, is_complete| Ok(Fed { consumed, is_complete });
        let mut body = new();
        assert_eq!(body.feed(b"abc"), fed(3, false));
        assert_eq!(body.feed(b"defGET"), fed(3, true));
        let (bytes, share) = body.into_parts();
        assert_eq!(bytes, b"abcdef");

        let mut second = new();
        assert_eq!(second.feed(b"a").unwrap_err().status, 503);
        drop(share);
        assert_eq!(second.feed(b"a"), fed(1, false));
    }
}
