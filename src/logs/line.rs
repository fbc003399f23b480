//! How a line is built: in a buffer of the thread's own, so that a log costs no allocation.

use std::cell::Cell;
use std::fmt::{self, Write};

use serde::{Serialize, Serializer};

use super::sink::{RETAINED_BYTES, Sink};

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Has `build` write a line without its end, and appends it to `sink`.
///
/// The buffer is out of its place meanwhile: what `build` shows may log, or panic.
pub(super) fn append(sink: &Sink, build: impl FnOnce(&mut Vec<u8>)) {
    let mut line = BUFFER.try_with(Cell::take).unwrap_or_default();
    line.clear();
    build(&mut line);
    line.push(b'\n');
    sink.append(&line);
    if line.capacity() <= RETAINED_BYTES {
        // Refused only while the thread ends.
        let _ = BUFFER.try_with(|buffer| buffer.set(line));
    }
}

/// Appends `value` to `sink` as a line of JSON.
pub(super) fn append_json(sink: &Sink, value: &impl Serialize) {
    append(sink, |line| {
        // Into memory, and of plain fields: nothing can fail.
        let _ = serde_json::to_writer(line, value);
    });
}

/// Bytes shown as text, what is not UTF-8 in them as U+FFFD, and cut where they are too long.
pub(super) struct Text<'a> {
    pub(super) bytes: &'a [u8],
    /// The most that is shown of them; 0 for no limit.
    pub(super) max_bytes: usize,
}

impl Text<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The part that is shown. A character is not cut in two.
    fn shown(&self) -> &[u8] {
        if self.max_bytes == 0 || self.bytes.len() <= self.max_bytes {
            return self.bytes;
        }
        let is_boundary = |&end: &usize| self.bytes[end] & 0b1100_0000 != 0b1000_0000;
        let nearest = (self.max_bytes.saturating_sub(3)..=self.max_bytes).rev().find(is_boundary);
        &self.bytes[..nearest.unwrap_or(self.max_bytes)]
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.shown();
        for chunk in shown.utf8_chunks() {
            f.write_str(chunk.valid())?;
            if !chunk.invalid().is_empty() {
                f.write_char(char::REPLACEMENT_CHARACTER)?;
            }
        }
        if shown.len() < self.bytes.len() {
            write!(f, "…(cut, {} bytes in all)", self.bytes.len())?;
        }
        Ok(())
    }
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Writes text into a line that people read: control characters, line breaks above all, are
/// escaped, so that no text can look like a line of its own or move a terminal's cursor.
pub(super) struct Escaping<'a>(pub(super) &'a mut Vec<u8>);

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(char::is_control) {
            let mut chars = part.chars();
            match chars.next_back().filter(|last| last.is_control()) {
                Some(last) => {
                    self.0.extend_from_slice(chars.as_str().as_bytes());
                    self.0.extend(last.escape_default().map(|c| c as u8));
                }
                None => self.0.extend_from_slice(part.as_bytes()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8], max_bytes: usize) -> String {
        Text { bytes, max_bytes }.to_string()
    }

    #[test]
    fn what_is_not_utf_8_is_replaced() {
        assert_eq!(text(b"a\xffb\xe3\x81", 0), "a\u{fffd}b\u{fffd}");
        for bytes in [&b"\xf0\x9f\x98"[..], b"\xed\xa0\xbd", b"ok", b"\x80\x80\x80\x80"] {
            assert_eq!(text(bytes, 0), String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters_and_marked() {
        assert_eq!(text(b"12345", 5), "12345");
        assert_eq!(text(b"123456", 5), "12345…(cut, 6 bytes in all)");
        let smile = "ab😀cd".as_bytes();
        for (max_bytes, shown) in [(1, "a"), (2, "ab"), (3, "ab"), (5, "ab"), (6, "ab😀")] {
            let expected = format!("{shown}…(cut, 8 bytes in all)");
            assert_eq!(text(smile, max_bytes), expected, "{max_bytes}");
        }
        assert_eq!(text(&[0x80; 9], 5), "\u{fffd}".repeat(5) + "…(cut, 9 bytes in all)");
    }

    #[test]
    fn control_characters_are_escaped() {
        let mut line = Vec::new();
        Escaping(&mut line).write_str("a\nb\r\u{1b}[1mé\u{85}\t").unwrap();
        assert_eq!(String::from_utf8(line).unwrap(), "a\\nb\\r\\u{1b}[1mé\\u{85}\\t");
    }
}
