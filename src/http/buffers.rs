//! What a connection has read and not used yet, and what it has not written yet.

use std::mem;

use super::memory::Share;

/// Bytes that were read and not used yet. It owns no memory while there are none.
pub(super) struct Input {
    bytes: Vec<u8>,
    start: usize,
    share: Share,
}

impl Input {
    pub(super) fn new(share: Share) -> Input {
        Input { bytes: Vec::new(), start: 0, share }
    }

    pub(super) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// Appends bytes; false if there is no memory left for them.
    #[must_use]
    pub(super) fn keep(&mut self, bytes: &[u8]) -> bool {
        if bytes.is_empty() {
            return true;
        }
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        if !self.share.reserve(&mut self.bytes, bytes.len(), usize::MAX) {
            return false;
        }
        self.bytes.extend_from_slice(bytes);
        true
    }

    /// Lends the bytes out, and where the unread ones start. To be followed by `put_back`.
    pub(super) fn take(&mut self) -> (Vec<u8>, usize) {
        (mem::take(&mut self.bytes), mem::take(&mut self.start))
    }

    /// Takes the bytes back; the unread ones start here.
    pub(super) fn put_back(&mut self, bytes: Vec<u8>, start: usize) {
        self.bytes = bytes;
        self.start = start;
        if self.is_empty() {
            self.clear();
        }
    }

    pub(super) fn clear(&mut self) {
        self.bytes = Vec::new();
        self.start = 0;
        self.share.release();
    }
}

/// An answer that did not fit into the socket at once.
pub(super) struct Output {
    head: Vec<u8>,
    body: Vec<u8>,
    written: usize,
    /// Its share of the memory, which goes back with it.
    _share: Option<Share>,
}

impl Output {
    /// An answer of which so many bytes are written.
    pub(super) fn new(
        head: Vec<u8>,
        body: Vec<u8>,
        written: usize,
        share: Option<Share>,
    ) -> Output {
        Output { head, body, written, _share: share }
    }

    /// What is left of head and body.
    pub(super) fn rest(&self) -> (&[u8], &[u8]) {
        let of_head = self.written.min(self.head.len());
        (&self.head[of_head..], &self.body[self.written - of_head..])
    }

    pub(super) fn wrote(&mut self, size: usize) {
        self.written += size;
    }

    pub(super) fn is_written(&self) -> bool {
        self.written == self.head.len() + self.body.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::memory::Memory;
    use super::*;

    #[test]
    fn input_owns_nothing_once_it_is_used() {
        let memory = Arc::new(Memory::new(10));
        let mut input = Input::new(Share::new(&memory));
        assert!(input.keep(b"abcdef"));
        let (bytes, start) = input.take();
        input.put_back(bytes, start + 2);
        assert_eq!(input.unread(), b"cdef");
        assert!(input.keep(b"gh"));
        assert_eq!(input.unread(), b"cdefgh");
        assert!(!input.keep(b"12345"), "no memory for more");
        let (bytes, start) = input.take();
        input.put_back(bytes, start + 6);
        assert!(input.is_empty());
        assert_eq!(input.bytes.capacity(), 0);
        let mut other = Share::new(&memory);
        assert!(other.resize(10), "all is given back");
    }

    #[test]
    fn output_is_written_in_any_portions() {
        let mut output = Output::new(b"head".to_vec(), b"body".to_vec(), 0, None);
        let mut written = Vec::new();
        while !output.is_written() {
            let (head, body) = output.rest();
            let next: Vec<u8> = head.iter().chain(body).take(3).copied().collect();
            output.wrote(next.len());
            written.extend(next);
        }
        assert_eq!(written, b"headbody");
    }
}
