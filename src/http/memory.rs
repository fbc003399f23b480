//! The bounds on the bytes in memory, one for those of all requests and one for those of all large
//! answers, so that clients who do not read keep no job from being pushed.
//!
//! Of a request counts what has been buffered, not what was announced, so that clients who promise
//! much and send nothing take nothing from others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The bytes that may be buffered, and those that are.
#[derive(Debug)]
pub(super) struct Memory {
    limit_bytes: usize,
    used_bytes: AtomicUsize,
}

impl Memory {
    pub(super) fn new(limit_bytes: usize) -> Memory {
        Memory { limit_bytes, used_bytes: AtomicUsize::new(0) }
    }

    /// Whether the limit is not exceeded. It can be, by what was taken [anyway](Share::forced).
    pub(super) fn has_room(&self) -> bool {
        self.used_bytes.load(Ordering::Relaxed) <= self.limit_bytes
    }

    fn take(&self, bytes: usize) -> bool {
        let used = self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = used.checked_add(bytes).is_some_and(|used| used <= self.limit_bytes);
        if !fits {
            self.give_back(bytes);
        }
        fits
    }

    fn give_back(&self, bytes: usize) {
        self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// One buffer's share. It goes back when this is dropped.
#[derive(Debug)]
pub(super) struct Share {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Share {
    pub(super) fn new(memory: &Arc<Memory>) -> Share {
        Share { memory: Arc::clone(memory), bytes: 0 }
    }

    /// A share of something that is in memory already, whether it fits or not.
    pub(super) fn forced(memory: &Arc<Memory>, bytes: usize) -> Share {
        memory.used_bytes.fetch_add(bytes, Ordering::Relaxed);
        Share { memory: Arc::clone(memory), bytes }
    }

    /// Its size in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes the share this large. A failure to grow leaves it as it was.
    #[must_use]
    pub(super) fn resize(&mut self, bytes: usize) -> bool {
        if bytes > self.bytes {
            if !self.memory.take(bytes - self.bytes) {
                return false;
            }
        } else if bytes < self.bytes {
            self.memory.give_back(self.bytes - bytes);
        }
        self.bytes = bytes;
        true
    }

    /// Gives all of it back.
    pub(super) fn release(&mut self) {
        if self.bytes > 0 {
            self.memory.give_back(self.bytes);
            self.bytes = 0;
        }
    }

    /// Makes room in the buffer for `additional` bytes and counts it. The buffer doubles, where
    /// that fits, so that it is not copied at each step; but it never grows beyond `limit_bytes`
    /// altogether, which the caller has made sure is enough.
    #[must_use]
    pub(super) fn reserve(
        &mut self,
        buffer: &mut Vec<u8>,
        additional: usize,
        limit_bytes: usize,
    ) -> bool {
        let needed = buffer.len() + additional;
        if needed <= buffer.capacity() {
            return true;
        }
        let doubled = limit_bytes.min(buffer.capacity().saturating_mul(2));
        // Where there is no memory for more than needed, copying at each step is the lesser evil.
        let Some(capacity) = [needed.max(doubled), needed].into_iter().find(|it| self.resize(*it))
        else {
            return false;
        };
        buffer.reserve_exact(capacity - buffer.len());
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_never_exceeds_the_limit() {
        let memory = Arc::new(Memory::new(100));
        let (mut one, mut two) = (Share::new(&memory), Share::new(&memory));
        assert!(one.resize(60));
        assert!(!two.resize(41), "41 bytes do not fit beside 60");
        assert!(two.resize(40));
        assert!(!one.resize(usize::MAX));
        drop(one);
        assert!(two.resize(100));
        two.release();
        assert_eq!(memory.used_bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_there_anyway_counts_too() {
        let memory = Arc::new(Memory::new(100));
        let forced = Share::forced(&memory, 101);
        assert!(!memory.has_room());
        assert!(!Share::new(&memory).resize(1));
        drop(forced);
        assert!(memory.has_room());
    }

    #[test]
    fn a_buffer_grows_by_doubling_up_to_its_limit() {
        let memory = Arc::new(Memory::new(1 << 20));
        let mut share = Share::new(&memory);
        let mut buffer = Vec::new();
        assert!(share.reserve(&mut buffer, 600, 1000));
        buffer.resize(600, 0);
        assert!(share.reserve(&mut buffer, 1, 1000));
        assert_eq!(memory.used_bytes.load(Ordering::Relaxed), 1000);
        assert!(buffer.capacity() >= 1000);

        let memory = Arc::new(Memory::new(900));
        let mut share = Share::new(&memory);
        let mut buffer = Vec::new();
        assert!(share.reserve(&mut buffer, 600, 1000));
        buffer.resize(600, 0);
        assert!(share.reserve(&mut buffer, 1, 1000), "one byte fits, if not twice as many");
        assert_eq!(memory.used_bytes.load(Ordering::Relaxed), 601);
        buffer.push(0);
        assert!(!share.reserve(&mut buffer, 300, 1000));
    }
}
